/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where the time of I/O commands goes: each passes four stages, and each stage has a histogram for
 * each kind of command, once a worker.
 *
 *   pages        from its capsule to its DMA pages: nothing, unless they ran out
 *   network in   from its pages to its last byte of data: nothing but for writes
 *   ssd          from there to the SSD's completion
 *   network out  from there to the last byte of the answer being in the socket
 *
 * Time is the wake-up's (loop_tick()): it is read once a recv, once a reap and once a send, not for
 * each command. Written by the worker; readable by all.
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
	NVMET_STAGES,
};

#define NVMET_KINDS 3 /* enum nvmet_dir: none, write, read */

struct worker_latency {
	struct hist stages[NVMET_KINDS][NVMET_STAGES];
};

/* The command has come. Worker. */
static inline void nvmet_latency_begin(struct nvmet_req *req)
{
	req->begun_ns = req->stage_ns = req->queue->worker->loop.now_ns;
}

/* A command has left a stage. Counted are those that found their namespace (req->ns): neither admin
 * commands nor I/O that was refused before. Worker. */
static inline void nvmet_latency_stage(struct nvmet_req *req, enum nvmet_stage stage)
{
	struct worker *worker = req->queue->worker;
	uint64_t now = worker->loop.now_ns;

	if (!req->ns)
		return;
	hist_add(&worker->latency->stages[req->dir][stage], now - req->stage_ns, 1);
	req->stage_ns = now;
}

/* The last byte of its answer is in the socket: its last stage is over, and its queue counts it.
 * Worker. */
static inline void nvmet_latency_end(struct nvmet_req *req)
{
	struct nvmet_queue_stats *stats = &req->queue->stats;

	if (!req->ns)
		return;
	nvmet_latency_stage(req, NVMET_STAGE_OUT);
	counter_add(&stats->commands[req->dir], 1);
	counter_add(&stats->bytes[req->dir], req->transfer_len);
	counter_add(&stats->busy_ns, req->stage_ns - req->begun_ns);
	if (nvme_cqe_status(&req->cqe))
		counter_add(&stats->errors, 1);
}

/* "read", "write", "other"; "pages", "network_in", "ssd", "network_out". */
const char *nvmet_kind_name(enum nvmet_dir dir);
const char *nvmet_stage_name(enum nvmet_stage stage);

#endif
