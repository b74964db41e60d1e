/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A small NVMe/TCP host for load: connections without SQ flow control and without digests, commands
 * by slot. Set-up is blocking; I/O is by poll. One thread.
 */
#ifndef NVMETD_TESTS_INITIATOR_H
#define NVMETD_TESTS_INITIATOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pcie/nvme.h"

#define INITIATOR_DEPTH_MAX 1024

struct initiator_queue;

/* A command ended. `data` is what a read returned (valid during the call), NULL otherwise. */
typedef void initiator_done_fn(void *arg, unsigned slot, uint16_t status, const uint8_t *data);

/*
 * Connects queue `qid` (0: admin). *cntlid is written by the admin queue, read by the others.
 * `depth` slots of up to `max_io` bytes. NULL: a message was printed.
 */
struct initiator_queue *initiator_connect(const char *addr, const char *port, const char *nqn,
					  unsigned qid, unsigned depth, size_t max_io,
					  uint16_t *cntlid);
void initiator_close(struct initiator_queue *queue);

/*
 * Blocking: CC.EN and CSTS.RDY, Identify Namespace: 0 or -1 (printed). Number of queues: how many
 * were granted, or -1.
 */
int initiator_enable(struct initiator_queue *admin);
int initiator_set_queues(struct initiator_queue *admin, unsigned n);
int initiator_identify_ns(struct initiator_queue *admin, uint32_t nsid, struct nvme_id_ns *ns);

/* Queues a read or write in a free slot; the data of a write is copied. Sent by initiator_flush().
 */
void initiator_rw(struct initiator_queue *queue, unsigned slot, bool write, uint32_t nsid,
		  uint64_t slba, unsigned blocks, const void *data, size_t len);
/* Sends what is queued, as far as the socket takes it. 0 or -1. */
int initiator_flush(struct initiator_queue *queue);
/* Takes what has come and calls done(); never blocks. 0 or -1 (closed, or the target broke a rule).
 */
int initiator_receive(struct initiator_queue *queue, initiator_done_fn *done, void *arg);
int initiator_fd(const struct initiator_queue *queue);
/* Something is left to send: wait for POLLOUT too. */
bool initiator_wants_write(const struct initiator_queue *queue);

#endif
