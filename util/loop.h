/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A thread's event loop: a libevent base, a mailbox for other threads, and the work that is put off
 * to the end of a wake-up.
 *
 * One wake-up runs all ready events first and then the deferred tasks, in the order in which they
 * were deferred, until none is left. That is where batches come from: events only note that a
 * doorbell is to be rung or a socket to be written; the task does it once.
 *
 * Threads: everything but loop_post() and loop_stop() belongs to the thread that runs the loop (or
 * to the thread that sets it up, before it runs).
 */
#ifndef NVMETD_UTIL_LOOP_H
#define NVMETD_UTIL_LOOP_H

#include <pthread.h>
#include <stdbool.h>
#include <sys/queue.h>

struct event_base;
struct event;

/* Work deferred to the end of the current wake-up. Embedded in its owner; queued at most once. */
struct loop_task {
	TAILQ_ENTRY(loop_task) link;
	void (*run)(struct loop_task *task);
	bool queued;
};

/* A message to another thread's loop. Embedded in its owner; may be posted again once it ran. */
struct loop_msg {
	STAILQ_ENTRY(loop_msg) link;
	void (*run)(struct loop_msg *msg);
};

struct loop {
	struct event_base *base;
	TAILQ_HEAD(, loop_task) deferred;
	const char *name; /* for the log: "main", "worker 0" */
	bool stopping;

	pthread_mutex_t mail_lock; /* covers `mail`: not on the I/O path */
	STAILQ_HEAD(loop_mail, loop_msg) mail;
	int mail_fd; /* eventfd */
	struct event *mail_event;
};

/* 0 or -errno. `name` must outlive the loop. */
int loop_init(struct loop *loop, const char *name);
/* Frees a loop that is not running. Undelivered messages are dropped (their owners own them). */
void loop_fini(struct loop *loop);

/* Runs on the calling thread until loop_stop(). Returns after the deferred work of the last
 * wake-up. */
void loop_run(struct loop *loop);
/* One wake-up: what is ready now and the deferred work. Waits for the first of it only if told to.
 */
void loop_turn(struct loop *loop, bool wait);
/* Makes loop_run() return soon. Any thread. */
void loop_stop(struct loop *loop);

static inline void loop_task_init(struct loop_task *task, void (*run)(struct loop_task *))
{
	task->run = run;
	task->queued = false;
}
/* Runs the task once, at the end of this wake-up; nothing happens when it is queued already. */
static inline void loop_defer(struct loop *loop, struct loop_task *task)
{
	if (!task->queued) {
		task->queued = true;
		TAILQ_INSERT_TAIL(&loop->deferred, task, link);
	}
}
/* Takes a task back that was deferred and did not run yet. */
static inline void loop_cancel(struct loop *loop, struct loop_task *task)
{
	if (task->queued) {
		task->queued = false;
		TAILQ_REMOVE(&loop->deferred, task, link);
	}
}

/*
 * Hands a message to the loop's thread, which calls msg->run(msg). Any thread. Messages of one
 * sender arrive in order. What the sender wrote before is visible to run(). The message must not be
 * posted again before it ran.
 */
void loop_post(struct loop *loop, struct loop_msg *msg, void (*run)(struct loop_msg *));

#endif
