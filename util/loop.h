/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A thread's event loop: a libevent base, a mailbox for other threads, and the work that is put off
 * to the end of a wake-up.
 *
 * One wake-up runs all ready events first and then the deferred tasks, in the order in which they
 * were deferred, until none is left. That is where batches come from: events only note that a
 * doorbell is to be rung or a socket to be written; the task does it once. Last comes one of those
 * that let others go first, and what it defers: what goes on for long is done in many wake-ups.
 *
 * Between two wake-ups that brought traffic the loop may look instead of sleeping: for a bounded
 * time, which follows the time between those wake-ups and is 0 when there is little traffic, it
 * asks its pollers and, without waiting, its file descriptors. Being woken up costs more than the
 * wait that it ends. When all traffic comes from one source, it mostly looks at that one alone,
 * which takes in what it finds: a system call less than to be told that there is something, and to
 * take it.
 *
 * Threads: everything but loop_post() and loop_stop() belongs to the thread that runs the loop (or
 * to the thread that sets it up, before it runs).
 */
#ifndef NVMETD_UTIL_LOOP_H
#define NVMETD_UTIL_LOOP_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "util/clock.h"
#include "util/counter.h"

struct event_base;
struct event;

/* Work deferred to the end of the current wake-up. Embedded in its owner; queued at most once. */
struct loop_task {
	TAILQ_ENTRY(loop_task) link;
	void (*run)(struct loop_task *task);
	bool queued;
	bool late;     /* of loop->late, when queued */
	uint32_t turn; /* late: the wake-up behind which it may run */
};

TAILQ_HEAD(loop_tasks, loop_task);

/* A message to another thread's loop. Embedded in its owner; may be posted again once it ran. */
struct loop_msg {
	STAILQ_ENTRY(loop_msg) link;
	void (*run)(struct loop_msg *msg);
};

/* Somebody who can tell without a system call whether there is work. Embedded in its owner. */
struct loop_poller {
	LIST_ENTRY(loop_poller) link;
	bool (*look)(struct loop_poller *poller); /* true: there was, and it is deferred */
};

/* Somebody who can be asked for traffic by itself, with a system call that does not wait. Embedded
 * in its owner. */
struct loop_source {
	bool (*look)(struct loop_source *source); /* true: there was, and it is taken in */
};

/* Written by the loop's thread, readable by all. Their sum is how often epoll_wait was called. */
struct loop_stats {
	struct counter sleeps; /* waits that may have slept */
	struct counter looks;  /* looks at all file descriptors, without waiting */
	struct counter polled; /* times that looking found the work, and a sleep was saved */
};

struct loop {
	struct event_base *base;
	struct loop_tasks deferred;
	struct loop_tasks late; /* one for each wake-up, behind all others; none sleeps before */
	uint32_t turn;          /* counts wake-ups */

	/* Looking before sleeping. */
	LIST_HEAD(, loop_poller) pollers;
	struct loop_source *source; /* the last that brought traffic; or NULL */
	bool shared;                /* this wake-up it was another one than before */
	uint64_t shared_ns;         /* when that last was so */
	uint32_t poll_max_ns;       /* longest time to look before sleeping; 0: never */
	uint32_t gap_ns;            /* mean quiet time between two wake-ups with traffic */
	uint32_t last_gap_ns;       /* the last one; cut, as the mean is: GAP_CLIP */
	uint32_t at_once;           /* how often the first look finds traffic, of 65,536 */
	unsigned untried;           /* sleeps since it last tried whether looking would pay */
	bool trying;                /* it does now */
	bool traffic;               /* this wake-up brought some */
	unsigned unseen;            /* wake-ups by pollers since it looked at file descriptors */
	uint64_t seen_ns;           /* when it last looked at all of them, not at the source */
	uint64_t quiet_since_ns;    /* when the last wake-up with traffic was over */
	uint64_t now_ns;            /* loop_tick() */
	struct loop_stats stats;

	bool stopping;
	pthread_mutex_t mail_lock; /* covers `mail`: not on the I/O path */
	STAILQ_HEAD(loop_mail, loop_msg) mail;
	int mail_fd; /* eventfd */
	struct event *mail_event;
};

/* 0 or -errno. */
int loop_init(struct loop *loop);
/* Frees a loop that is not running. Undelivered messages are dropped (their owners own them). */
void loop_fini(struct loop *loop);

/* The longest time the loop may look before it sleeps; 0: it sleeps at once. Before it runs. */
void loop_set_poll(struct loop *loop, unsigned max_us);
/* While looking, the poller is asked every time. It must be removed before its memory goes. */
static inline void loop_add_poller(struct loop *loop, struct loop_poller *poller)
{
	LIST_INSERT_HEAD(&loop->pollers, poller, link);
}
static inline void loop_remove_poller(struct loop_poller *poller)
{
	LIST_REMOVE(poller, link);
}
/* Reads the clock into loop->now_ns: when a batch of work has come or is over. */
static inline void loop_tick(struct loop *loop)
{
	loop->now_ns = clock_now_ns();
}
/* For events of the I/O path: after this wake-up more of the kind may come soon. */
static inline void loop_traffic(struct loop *loop)
{
	loop->traffic = true;
}
/* The same, by those who can be looked at. Where its event is deleted the source is forgotten. */
static inline void loop_traffic_from(struct loop *loop, struct loop_source *source)
{
	loop_traffic(loop);
	loop->shared |= source != loop->source;
	loop->source = source;
}
static inline void loop_forget(struct loop *loop, const struct loop_source *source)
{
	if (loop->source == source)
		loop->source = NULL;
}

/* Runs on the calling thread until loop_stop(). Returns after the deferred work of the last
 * wake-up. */
void loop_run(struct loop *loop);
/* One wake-up: what is ready now and the deferred work. Waits for the first of it
 * only if told to. */
void loop_turn(struct loop *loop, bool wait);
/* Makes loop_run() return soon. Any thread. */
void loop_stop(struct loop *loop);

static inline void loop_task_init(struct loop_task *task, void (*run)(struct loop_task *))
{
	task->run = run;
	task->queued = task->late = false;
}
/* Runs the task once, at the end of this wake-up; nothing happens when it is queued already. */
static inline void loop_defer(struct loop *loop, struct loop_task *task)
{
	if (!task->queued) {
		task->queued = true;
		TAILQ_INSERT_TAIL(&loop->deferred, task, link);
	}
}
static inline void loop_defer_late_from(struct loop *loop, struct loop_task *task, uint32_t turn)
{
	if (!task->queued) {
		task->queued = task->late = true;
		task->turn = turn;
		TAILQ_INSERT_TAIL(&loop->late, task, link);
	}
}
/*
 * Runs the task once, when all others have had a turn: at the end of the next wake-up, which comes
 * at once, or of a later one, for each has time for one such task. Nothing happens when it is
 * queued already.
 */
static inline void loop_defer_late(struct loop *loop, struct loop_task *task)
{
	loop_defer_late_from(loop, task, loop->turn);
}
/* The same at the end of this wake-up already, if it has time. */
static inline void loop_defer_last(struct loop *loop, struct loop_task *task)
{
	loop_defer_late_from(loop, task, loop->turn - 1);
}
/* Wake-ups in which a late task could have run, this one included; 0: it is not queued. */
static inline uint32_t loop_waited(const struct loop *loop, const struct loop_task *task)
{
	return task->queued && task->late ? loop->turn - task->turn : 0;
}
/* Takes a task back that was deferred and did not run yet. */
static inline void loop_cancel(struct loop *loop, struct loop_task *task)
{
	if (!task->queued)
		return;
	if (task->late)
		TAILQ_REMOVE(&loop->late, task, link);
	else
		TAILQ_REMOVE(&loop->deferred, task, link);
	task->queued = task->late = false;
}

/* Runs a task now that was deferred; nothing happens when it is not queued. */
static inline void loop_advance(struct loop *loop, struct loop_task *task)
{
	if (task->queued) {
		loop_cancel(loop, task);
		task->run(task);
	}
}

/*
 * Hands a message to the loop's thread, which calls msg->run(msg). Any thread. Messages of one
 * sender arrive in order. What the sender wrote before is visible to run(). The message must not be
 * posted again before it ran.
 */
void loop_post(struct loop *loop, struct loop_msg *msg, void (*run)(struct loop_msg *));

#endif
