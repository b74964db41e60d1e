/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the transport has once for each worker: the memory it receives into, the worker's
 * connections, and who waits for DMA pages. Made with nvme_tcp_new(). The worker's, but for what
 * says otherwise.
 */
#ifndef NVMETD_TRANSPORT_TCP_WORKER_H
#define NVMETD_TRANSPORT_TCP_WORKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "transport/inbox.h"
#include "util/counter.h"
#include "util/loop.h"

struct nvme_tcp_conn;
struct pages_host;
struct worker;

struct tcp_worker {
	struct worker *worker;
	struct inbox inbox;
	LIST_HEAD(, nvme_tcp_conn) conns;
	unsigned n_given;        /* main thread's: connections of this worker that are not freed */
	struct counter io_conns; /* of them, live I/O queues: what a stop waits for */
	bool draining;
	struct loop_msg msg, close_msg; /* the daemon stops: first this, then that */

	/* DMA pages (pages.h). */
	size_t reserve; /* bytes for in-capsule data only */
	LIST_HEAD(, pages_host) hosts;
	size_t discovery_held, discovery_max; /* bytes, of all discovery controllers' connections */
	TAILQ_HEAD(, nvme_tcp_conn) waiting;
	struct loop_task retry;

	/* Sharing the worker (share.h). */
	uint64_t modest_until; /* a host with few commands was here lately */
};

#endif
