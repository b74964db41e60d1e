/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A transport without a wire: commands and their data are handed to the target as any transport
 * would, on the rig's workers. Each command ends exactly once, and what a host reads was written
 * for it: direct.c aborts when not.
 */
#ifndef NVMETD_TESTS_FUZZ_DIRECT_H
#define NVMETD_TESTS_FUZZ_DIRECT_H

#include <stdbool.h>
#include <stddef.h>

#include "target/queue.h"
#include "target/req.h"

#define DIRECT_QUEUES   4
#define DIRECT_COMMANDS 64 /* under way on one queue */

struct direct_command {
	struct nvmet_req req;
	bool busy;
};

struct direct_queue {
	struct nvmet_queue queue;
	bool open, releasing;
	struct direct_command commands[DIRECT_COMMANDS];
};

extern struct direct_queue direct_queues[DIRECT_QUEUES];
/* Sees each answer, with the data that was read, before it is forgotten. May be NULL. */
extern void (*direct_answered)(struct direct_queue *dq, const struct nvmet_req *req);

/* Before the first command of an input; opens nothing. */
void direct_init(void);
/* As a transport that has received a command: the queue is opened if it is closed. `data`: what the
 * host writes, zeroes behind its end. Nothing happens when the queue is full or being released. */
void direct_run(struct direct_queue *dq, const struct nvme_sqe *sqe, bool in_capsule,
		const void *data, size_t len);
/* The host hangs up. */
void direct_close(struct direct_queue *dq);
/* Closes all queues; aborts when one is not released, or anything of it is left. */
void direct_end(void);
/* The worker that has this queue. */
struct loop *direct_loop(struct direct_queue *dq);

#endif
