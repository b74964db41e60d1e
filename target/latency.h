/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where the time of I/O commands goes: each passes four stages, and each queue has a histogram of
 * each stage, and of the whole, for each kind of command.
 *
 *   pages        from its capsule to its DMA pages: nothing, unless they ran out
 *   network in   from its pages to its last byte of data: nothing but for writes
 *   ssd          from there to the SSD's completion
 *   network out  from there to the last byte of the answer being in the socket
 *   total        from its capsule to there
 *
 * Time is the wake-up's (loop_tick()): it is read once a recv, once a reap and once a send, not for
 * each command. Most commands run in the wake-up that they came in: that is one counter for the
 * first two stages, and who reads adds it to both (nvmet_latency_add()).
 *
 * A queue's are made by Connect, so the I/O path allocates nothing, and their memory is not
 * resident before it is counted in, so an idle queue costs none. Written by its worker, readable on
 * the main thread as long as the queue is its controller's. What a queue leaves behind is added to
 * the target's `ended` as it leaves its controller: totals never go backwards.
 */
#ifndef NVMETD_TARGET_LATENCY_H
#define NVMETD_TARGET_LATENCY_H

#include "target/queue.h"
#include "target/req.h"
#include "target/worker.h"
#include "util/hist.h"

enum nvmet_stage {
	NVMET_STAGE_PAGES,
	NVMET_STAGE_IN,
	NVMET_STAGE_SSD,
	NVMET_STAGE_OUT,
	NVMET_STAGE_TOTAL,
	NVMET_STAGES,
};

struct nvmet_latency {
	/* Commands that took no time in the first two stages; they are not in those. */
	struct counter at_once[NVMET_KINDS];
	struct hist stages[NVMET_KINDS][NVMET_STAGES];
};

/* What several queues amount to. Main thread's. */
struct nvmet_totals {
	struct nvmet_queue_stats stats;
	struct nvmet_latency latency;
};

/* All zero. NULL: no memory. */
struct nvmet_latency *nvmet_latency_new(void);
/* NULL is allowed. */
void nvmet_latency_free(struct nvmet_latency *latency);

/* For nvmet_latency_in() only. */
void nvmet_latency_late(struct nvmet_req *req, uint64_t now);

/* The command has come. Worker. */
static inline void nvmet_latency_begin(struct nvmet_req *req)
{
	req->begun_ns = req->stage_ns = req->queue->worker->loop.now_ns;
}

/* It is one that is counted: on an I/O queue, and its namespace was found. Worker. */
static inline void nvmet_latency_counts(struct nvmet_req *req)
{
	req->latency = req->queue->latency;
}

/* It has its DMA pages. That this took no time is counted later, if it ever runs. Worker. */
static inline void nvmet_latency_pages(struct nvmet_req *req)
{
	uint64_t now = req->queue->worker->loop.now_ns;

	if (__builtin_expect(now == req->stage_ns, 1))
		return;
	if (req->latency)
		hist_add(&req->latency->stages[req->dir][NVMET_STAGE_PAGES], now - req->stage_ns,
			 1);
	req->stage_ns = now;
}

/* All its data has come, or none was due: it runs. Worker. */
static inline void nvmet_latency_in(struct nvmet_req *req)
{
	uint64_t now = req->queue->worker->loop.now_ns;

	if (!req->latency)
		return;
	if (now == req->begun_ns)
		counter_add(&req->latency->at_once[req->dir], 1);
	else
		nvmet_latency_late(req, now);
}

/* The SSD has completed it. Worker. */
static inline void nvmet_latency_ssd(struct nvmet_req *req)
{
	uint64_t now = req->queue->worker->loop.now_ns;

	if (!req->latency)
		return;
	hist_add(&req->latency->stages[req->dir][NVMET_STAGE_SSD], now - req->stage_ns, 1);
	req->stage_ns = now;
}

/* The last byte of its answer is in the socket: its last stage is over, and its queue counts it.
 * Worker. */
static inline void nvmet_latency_end(struct nvmet_req *req)
{
	struct nvmet_queue *queue = req->queue;
	struct nvmet_queue_stats *stats = &queue->stats;
	uint64_t now = queue->worker->loop.now_ns;
	struct hist *stages;

	if (!req->latency)
		return;
	stages = req->latency->stages[req->dir];
	hist_add(&stages[NVMET_STAGE_OUT], now - req->stage_ns, 1);
	hist_add(&stages[NVMET_STAGE_TOTAL], now - req->begun_ns, 1);
	counter_add(&stats->commands[req->dir], 1);
	counter_add(&stats->bytes[req->dir], req->transfer_len);
	if (nvme_cqe_status(&req->cqe))
		counter_add(&stats->errors, 1);
}

/*
 * Adds one kind's histogram of a stage of the queue to `to`, whose writer is the caller. Nothing is
 * added, and no memory touched, of a kind of which no command has ended yet. Main thread.
 */
void nvmet_latency_add(struct hist *to, const struct nvmet_queue *queue, enum nvmet_dir kind,
		       enum nvmet_stage stage);
/* ns that commands of all kinds spent in a stage of the queue. Main thread. */
uint64_t nvmet_latency_sum(const struct nvmet_queue *queue, enum nvmet_stage stage);
/* Adds what a queue amounts to. Main thread. */
void nvmet_totals_add(struct nvmet_totals *to, const struct nvmet_queue *queue);
/* All I/O queues that are there, and those that were. A new object; free() it. NULL: no memory.
 * Main thread. */
struct nvmet_totals *nvmet_totals_gather(const struct nvmet_target *target);

/* All kinds of commands, in the order in which reports show them. */
extern const enum nvmet_dir nvmet_kinds[NVMET_KINDS];
/* "read", "write", "other"; "pages", "network_in", "ssd", "network_out", "total". */
const char *nvmet_kind_name(enum nvmet_dir dir);
const char *nvmet_stage_name(enum nvmet_stage stage);

#endif
