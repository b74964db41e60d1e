/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A command slot of a connection. Its index is the transfer tag (TTAG) of its R2T. Slots are made
 * with the queue: as many as the host may have commands outstanding, so that a host that keeps to
 * its queue size never finds none. A slot is free again when the last byte of its response is in
 * the socket.
 */
#ifndef NVMETD_TRANSPORT_CMD_H
#define NVMETD_TRANSPORT_CMD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "target/req.h"
#include "transport/pdu.h"

struct nvme_tcp_conn;

enum cmd_state {
	CMD_FREE,
	CMD_PAGES,     /* waits for DMA pages */
	CMD_CAPSULE,   /* its in-capsule data is coming, wanted or not */
	CMD_R2T,       /* R2T is queued or sent; its data is coming */
	CMD_EXECUTING, /* the target has it */
	CMD_SENDING,   /* its response is queued */
};

struct nvme_tcp_cmd {
	struct nvmet_req req;
	struct nvme_tcp_conn *conn;
	TAILQ_ENTRY(nvme_tcp_cmd) link; /* list free_cmds, waiting or tx, as the state says */
	uint16_t index;
	uint8_t state; /* enum cmd_state */
	bool r2t_sent;
	bool cid_conflict; /* its CID is another command's */
	bool in_place;     /* its data lies where it was received (inbox.h) */
	bool ddgst_error;  /* of a part of its data: told when all of it has come */
	bool aborted;      /* ends with Command Abort Requested as soon as its data has come */
	uint16_t refused;  /* the status it ends with as soon as its capsule has come; 0: none */
	uint32_t received; /* bytes of its data */

	/* The PDU or PDUs being sent: header, data, digest, response. */
	uint32_t head_len, data_len, tail_len;
	uint32_t sent; /* of all of them together */
	_Alignas(8) uint8_t head[PDU_SENT_HEADER_MAX];
	_Alignas(8) uint8_t tail[8 + sizeof(struct nvme_tcp_capsule_resp) + NVME_TCP_DIGEST_SIZE];
};

TAILQ_HEAD(nvme_tcp_cmd_list, nvme_tcp_cmd);

/* Makes `n` slots; earlier ones end what they are doing and are not used again. At most twice. 0 or
 * -ENOMEM. */
int cmd_slots_make(struct nvme_tcp_conn *conn, unsigned n);
/* Frees all slots and their pages: the connection is released. */
void cmd_slots_free(struct nvme_tcp_conn *conn);

/* A free slot, or NULL: the host has more commands outstanding than its queue holds. */
struct nvme_tcp_cmd *cmd_take(struct nvme_tcp_conn *conn);
/* The command is over: pages, CID and slot are free again. */
void cmd_put(struct nvme_tcp_cmd *cmd);

static inline struct nvme_tcp_cmd *cmd_of(struct nvmet_req *req)
{
	return container_of(req, struct nvme_tcp_cmd, req);
}

#endif
