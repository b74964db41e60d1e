/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A worker: one thread, one event loop, one share of the DMA memory, and the connections that were
 * given to it. A connection lives and dies on one worker; so do its commands and its queue pairs'
 * interrupts.
 *
 * **No lock, no allocation and no shared counter on a worker's I/O path.** Whatever concerns more
 * than one connection (controllers, subsystems, the SSD's admin queue) is the main thread's, and
 * travels there and back as messages (util/loop.h).
 */
#ifndef NVMETD_TARGET_WORKER_H
#define NVMETD_TARGET_WORKER_H

#include <pthread.h>
#include <stdbool.h>

#include "pcie/dma.h"
#include "util/counter.h"
#include "util/loop.h"

/* Written by the worker's thread, readable by all. */
struct worker_stats {
	struct counter connections;     /* now */
	struct counter requests;        /* now: command slots in use */
	struct counter commands;        /* ever: admin and fabrics commands too */
	struct counter bytes_in;        /* ever: payload from hosts */
	struct counter bytes_out;       /* ever: payload to hosts */
	struct counter protocol_errors; /* ever: TermReqs sent, streams cut */
	struct counter tls_failures;    /* ever: hosts that did not get through TLS, or know none */
	struct counter page_waits;      /* ever: requests that had to wait for DMA pages */
	struct counter recvs;           /* ever: system calls that received, or found nothing */
	struct counter sends;           /* ever: system calls that sent, or found no room */
};

#define WORKER_ANY_CPU (-1)
/* Bytes of DMA memory that a worker's pool needs: a few of the largest transfers. Of less than a
 * block more none is to receive into. */
#define WORKER_POOL_MIN ((size_t)4 * DMA_BLOCK_SIZE)

struct worker {
	struct loop loop;
	unsigned index;
	char name[16];
	struct dma_pool *pool;
	struct dma_buf recv_mem; /* for the transport to receive into; none: little memory */
	struct worker_stats stats;
	size_t fused_halves; /* of fused commands, on their way to the SSD: bounded (fuse.c) */

	int cpu; /* that it is pinned to, or WORKER_ANY_CPU; main thread */
	pthread_t thread;
	bool running;
};

/* Sets the worker up with `bytes` of the arena: its pool, and a block to receive into, if enough is
 * left (WORKER_POOL_MIN). Its thread does not run yet. 0 or -errno. */
int worker_init(struct worker *worker, unsigned index, struct dma_arena *arena, size_t bytes);
/* Starts the thread. 0 or -errno. */
int worker_start(struct worker *worker);
/* Keeps the running thread on one CPU. 0 or -errno. */
int worker_pin(struct worker *worker, unsigned cpu);
/* Where the thread may run. 0, or -ESRCH: it does not. */
int worker_cpus(const struct worker *worker, cpu_set_t *cpus);
/* Stops the thread (main thread; the worker has no connection left) and waits for it. */
void worker_stop(struct worker *worker);
/* Stops it if it runs, frees its pool and its loop. Main thread. */
void worker_fini(struct worker *worker);

#endif
