/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A small NVMe/TCP host for load: connections without SQ flow control, commands by slot, digests if
 * asked for. Set-up is blocking; I/O is by poll. One thread.
 *
 * It costs as little as it can, so that it is the target that is measured: data of reads is handed
 * out where the socket left it, data of writes is sent from where it lies.
 */
#ifndef NVMETD_TESTS_INITIATOR_H
#define NVMETD_TESTS_INITIATOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pcie/nvme.h"

#define INITIATOR_DEPTH_MAX 1024

struct initiator_queue;

/* What a connection tells its user. Called from initiator_receive(). */
struct initiator_events {
	/* A part of a read's data: `len` bytes from byte `offset` of it on; parts come in order. */
	void (*data)(void *arg, unsigned slot, size_t offset, const uint8_t *bytes, size_t len);
	/* A command ended; all data of a successful read has come. `cqe` is NULL when success was
	 * told with the data. */
	void (*done)(void *arg, unsigned slot, uint16_t status, const struct nvme_cqe *cqe);
	void *arg;
};

struct initiator_params {
	const char *addr, *port, *nqn; /* numeric */
	unsigned qid;                  /* 0: admin */
	unsigned depth;                /* slots, 1 .. INITIATOR_DEPTH_MAX */
	bool digests;                  /* of headers and of data */
	const char *tls_key;           /* file with the key for TLS; NULL: none */
	const char *congestion;        /* TCP_CONGESTION; NULL: the system's */
	bool arrival;                  /* initiator_arrived() is asked for; not with TLS */
};

/* Connects a queue. *cntlid is written by the admin queue, read by the others. NULL: a message was
 * printed. */
struct initiator_queue *initiator_connect(const struct initiator_params *params, uint16_t *cntlid);
void initiator_close(struct initiator_queue *queue);

/*
 * Blocking: CC.EN and CSTS.RDY, Identify Namespace: 0 or -1 (printed). Number of queues: how many
 * were granted, or -1.
 */
int initiator_enable(struct initiator_queue *admin);
int initiator_set_queues(struct initiator_queue *admin, unsigned n);
int initiator_identify_ns(struct initiator_queue *admin, uint32_t nsid, struct nvme_id_ns *ns);

/*
 * Queues a read or write of `blocks` blocks, `len` bytes, in a free slot. `data` of a write stays
 * the caller's and unchanged until the command is done. Sent by initiator_flush().
 */
void initiator_rw(struct initiator_queue *queue, unsigned slot, bool write, uint32_t nsid,
		  uint64_t slba, unsigned blocks, const void *data, size_t len);
/* Sends what is queued, as far as the socket takes it. 0 or -1. */
int initiator_flush(struct initiator_queue *queue);
/* Takes what has come; never blocks. 0 or -1 (closed, or the target broke a rule; printed). */
int initiator_receive(struct initiator_queue *queue, const struct initiator_events *events);
/* Asked in an event: when what brought it came to this host's kernel, however long the process then
 * had to wait for a CPU; ns, as clock_now_ns(). */
uint64_t initiator_arrived(const struct initiator_queue *queue);
int initiator_fd(const struct initiator_queue *queue);
/* Something is left to send: wait for POLLOUT too. */
bool initiator_wants_write(const struct initiator_queue *queue);

#endif
