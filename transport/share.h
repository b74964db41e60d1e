/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How connections share a worker. An I/O connection with few commands under way is modest: its host
 * waits for each answer. While a worker has a modest connection, one of the others receives in each
 * wake-up, when all else is done, and none receives or sends more than a share in one: SHARE_BYTES
 * of payload, and what is around it. So a modest connection's command waits for a small part of
 * their work, and not for all of it. Where no other connection is modest nobody is held back: large
 * batches are what makes them fast. Worker.
 * Inline, for it is asked with every recv and every sendmsg.
 */
#ifndef NVMETD_TRANSPORT_SHARE_H
#define NVMETD_TRANSPORT_SHARE_H

#include "target/worker.h"
#include "transport/conn.h"
#include "transport/inbox.h"
#include "transport/pages.h"
#include "transport/pdu.h"
#include "util/clock.h"
#include "util/num.h"

#define SHARE_BYTES    (32u << 10)          /* of payload, in a wake-up */
#define SHARE_COMMANDS 8u                   /* the same, of commands */
#define SHARE_MODEST   4u                   /* commands under way, at most */
#define SHARE_MEMORY   (10 * NSEC_PER_MSEC) /* how long a modest one is remembered */
#define SHARE_UNIT     16u                  /* of conn->crowd */

/* Bytes of one sendmsg: a share's payload and what is around it, so that the answers to what one
 * recv brought leave together. */
#define SHARE_SEND_BYTES (SHARE_BYTES + SHARE_COMMANDS * PDU_SENT_HEADER_MAX)

/* Only I/O queues can be modest: keep-alives of many idle hosts must not hold back
 * one that works. */
static inline bool share_counts(const struct nvme_tcp_conn *conn)
{
	return conn->queue.live && conn->queue.qid != 0;
}

static inline bool share_is_modest(const struct nvme_tcp_conn *conn)
{
	return conn->crowd <= SHARE_MODEST * SHARE_UNIT;
}

/* What came was parsed. The peak of the commands under way counts, for a while. */
static inline void share_received(struct nvme_tcp_conn *conn)
{
	uint32_t now = conn->n_busy * SHARE_UNIT, fallen = conn->crowd - conn->crowd / SHARE_UNIT;

	conn->crowd = num_max(now, fallen);
	if (share_is_modest(conn) && share_counts(conn)) {
		conn->modest_until = conn->queue.worker->loop.now_ns + SHARE_MEMORY;
		conn->tw->modest_until = conn->modest_until;
	}
}

/* Whether the connection must leave room for others. That it was modest itself a moment ago is no
 * reason to. */
static inline bool share_is_held_back(const struct nvme_tcp_conn *conn)
{
	return !share_is_modest(conn) && conn->tw->modest_until != conn->modest_until &&
	       conn->queue.worker->loop.now_ns < conn->tw->modest_until;
}

/* Bytes that one recv takes from a connection that is held back, INBOX_ROOM at most: as many
 * commands like its last one as make up its share. */
static inline size_t share_recv_bytes(const struct nvme_tcp_conn *conn)
{
	uint32_t len = num_max(conn->last_transfer, 1u);
	uint32_t n = num_max(num_min(SHARE_BYTES / len, SHARE_COMMANDS), 1u);
	uint32_t data = num_min(n * conn->shape.data_len, SHARE_BYTES);

	return n * sizeof(struct nvme_tcp_capsule_cmd) + data;
}
_Static_assert(SHARE_COMMANDS * sizeof(struct nvme_tcp_capsule_cmd) + SHARE_BYTES <= INBOX_ROOM,
	       "a share fits into the room");

#endif
