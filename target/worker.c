/* SPDX-License-Identifier: BSD-3-Clause */
/* Worker threads; see worker.h for the rules. */
#include "target/worker.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "pcie/dma.h"
#include "security/sandbox.h"
#include "util/check.h"

int worker_init(struct worker *worker, unsigned index, struct dma_arena *arena, size_t bytes)
{
	int err;

	*worker = (struct worker){ .index = index, .cpu = WORKER_ANY_CPU };
	snprintf(worker->name, sizeof(worker->name), "worker %u", index);
	err = loop_init(&worker->loop);
	if (err)
		return err;
	if (bytes >= WORKER_POOL_MIN + DMA_BLOCK_SIZE) {
		err = dma_arena_cut(arena, DMA_BLOCK_SIZE, &worker->recv_mem);
		bytes -= worker->recv_mem.len;
	}
	if (!err)
		err = dma_pool_new(arena, bytes, &worker->pool);
	if (err)
		worker_fini(worker);
	return err;
}

static void *worker_main(void *arg)
{
	struct worker *worker = arg;

	if (sandbox_enter(SANDBOX_WORKER))
		_exit(EXIT_FAILURE); /* nothing is served yet, and nothing will be without it */
	loop_run(&worker->loop);
	return NULL;
}

int worker_start(struct worker *worker)
{
	sigset_t all, before;
	int err;

	/* Signals are the main thread's: a new thread inherits the mask. But for one that says
	 * what a thread has done itself, which may have a handler (pcie/emul/mapping.c). */
	sigfillset(&all);
	sigdelset(&all, SIGBUS);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&worker->thread, NULL, worker_main, worker);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (err)
		return -err;
	pthread_setname_np(worker->thread, worker->name);
	worker->running = true;
	return 0;
}

int worker_pin(struct worker *worker, unsigned cpu)
{
	cpu_set_t set;
	int err;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	err = -pthread_setaffinity_np(worker->thread, sizeof(set), &set);
	if (!err)
		worker->cpu = (int)cpu;
	return err;
}

int worker_cpus(const struct worker *worker, cpu_set_t *cpus)
{
	if (!worker->running)
		return -ESRCH;
	return -pthread_getaffinity_np(worker->thread, sizeof(*cpus), cpus);
}

void worker_stop(struct worker *worker)
{
	if (!worker->running)
		return;
	loop_stop(&worker->loop);
	pthread_join(worker->thread, NULL);
	worker->running = false;
}

void worker_fini(struct worker *worker)
{
	worker_stop(worker);
	dma_pool_free(worker->pool);
	worker->pool = NULL;
	loop_fini(&worker->loop);
}
