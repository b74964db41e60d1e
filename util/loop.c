/* SPDX-License-Identifier: BSD-3-Clause */
/* A thread's event loop; see loop.h for the rules. */
#include "util/loop.h"

#include <errno.h>
#include <event2/event.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "util/check.h"
#include "util/num.h"

#define TIMERS 1024u /* at a time: memory for so many is there from the start */

/* A gap longer than this many times the longest look counts as this many: a pause between two
 * bursts is soon forgotten, a handful of them is not. */
#define GAP_CLIP   3u
#define GAP_WEIGHT 8u    /* each gap is an eighth of the mean */
#define LOOK_GAPS  4u    /* gaps vary: looking goes on for so many mean ones */
#define LOOK_STEPS 8u    /* looks at the file descriptors in a mean gap: each is a system call */
#define LOOK_NS    3000u /* and they are never closer together */
#define TRY_EVERY  8u    /* wake-ups that looking might have spared: see worth_a_try() */
/* Traffic is seldom there at once when it is less than one time in so many. */
#define AT_ONCE    8u
#define ALWAYS     65536u /* of loop->at_once */
#define UNSEEN_MAX 4u     /* looks in a row that what pollers find may save */
/* A source that for so long has had no other beside it is taken for the only one. */
#define ALONE_NS (10 * NSEC_PER_MSEC)
#define SEEN_NS  100000u /* others may come all the same: time between looks at all */

static void loop_run_deferred(struct loop *loop)
{
	struct loop_task *task;

	while ((task = TAILQ_FIRST(&loop->deferred)) != NULL) {
		TAILQ_REMOVE(&loop->deferred, task, link);
		task->queued = false;
		task->run(task);
	}
}

/* One that let others go first: before the next one they have their turn again. */
static void loop_run_late(struct loop *loop)
{
	struct loop_task *task = TAILQ_FIRST(&loop->late);

	if (task && task->turn != loop->turn) {
		loop_cancel(loop, task);
		task->run(task);
		loop_run_deferred(loop);
	}
}

static void loop_on_mail(evutil_socket_t fd, short what, void *arg)
{
	struct loop *loop = arg;
	struct loop_mail mail = STAILQ_HEAD_INITIALIZER(mail);
	struct loop_msg *msg;
	uint64_t posts;

	(void)what;
	/* Level-triggered: the count goes back to 0 before the mailbox is emptied, so no post is
	 * lost. */
	if (read(fd, &posts, sizeof(posts)) < 0 && errno != EAGAIN)
		must(!"the mailbox eventfd of a loop cannot be read");
	pthread_mutex_lock(&loop->mail_lock);
	STAILQ_CONCAT(&mail, &loop->mail);
	pthread_mutex_unlock(&loop->mail_lock);
	while ((msg = STAILQ_FIRST(&mail)) != NULL) {
		STAILQ_REMOVE_HEAD(&mail, link);
		msg->run(msg);
	}
}

static void loop_wake(struct loop *loop)
{
	const uint64_t one = 1;

	/* The counter would have to reach 2^64 - 2 for this to fail. */
	if (write(loop->mail_fd, &one, sizeof(one)) != (ssize_t)sizeof(one))
		must(!"the mailbox eventfd of a loop cannot be written");
}

void loop_post(struct loop *loop, struct loop_msg *msg, void (*run)(struct loop_msg *))
{
	bool was_empty;

	msg->run = run;
	pthread_mutex_lock(&loop->mail_lock);
	was_empty = STAILQ_EMPTY(&loop->mail);
	STAILQ_INSERT_TAIL(&loop->mail, msg, link);
	pthread_mutex_unlock(&loop->mail_lock);
	if (was_empty)
		loop_wake(loop);
}

void loop_stop(struct loop *loop)
{
	__atomic_store_n(&loop->stopping, true, __ATOMIC_RELEASE);
	loop_wake(loop);
}

void loop_set_poll(struct loop *loop, unsigned max_us)
{
	loop->poll_max_ns = max_us * 1000u;
	loop->gap_ns = GAP_CLIP * loop->poll_max_ns; /* nothing is known: as if idle */
}

/*
 * Sleeping makes gaps longer than they would be: our wake-up is part of them, and so is that of a
 * host which had time to fall asleep as well. So a loop that sleeps would go on sleeping, where one
 * that looks would go on looking, with the same host. While gaps are short enough for that, one
 * of a few wake-ups looks all the same.
 */
static bool worth_a_try(struct loop *loop)
{
	if (loop->last_gap_ns >= GAP_CLIP * loop->poll_max_ns || ++loop->untried < TRY_EVERY)
		return false;
	loop->untried = 0;
	loop->trying = true;
	return true;
}

/* How long to look after a wake-up that brought traffic: not at all when the next traffic usually
 * takes longer than looking may. */
static uint32_t poll_bound(struct loop *loop)
{
	if (loop->gap_ns > loop->poll_max_ns && !worth_a_try(loop))
		return 0;
	return num_min(num_max(LOOK_GAPS * loop->gap_ns, loop->poll_max_ns / LOOK_GAPS),
		       loop->poll_max_ns);
}

static void learn_gap(struct loop *loop, uint64_t gap_ns)
{
	uint32_t clipped = (uint32_t)num_min(gap_ns, (uint64_t)GAP_CLIP * loop->poll_max_ns);

	if (loop->trying && clipped < loop->poll_max_ns)
		loop->gap_ns = clipped; /* the mean is of gaps that sleeping had made so long */
	else
		loop->gap_ns = (uint32_t)((loop->gap_ns * (uint64_t)(GAP_WEIGHT - 1) + clipped) /
					  GAP_WEIGHT);
	loop->last_gap_ns = clipped;
	loop->trying = false;
}

static void ask_pollers(struct loop *loop)
{
	struct loop_poller *poller;

	LIST_FOREACH (poller, &loop->pollers, link)
		loop->traffic |= poller->look(poller);
	loop->unseen += loop->traffic;
}

static void look_at_events(struct loop *loop)
{
	loop->unseen = 0;
	counter_add(&loop->stats.looks, 1);
	/* Without EVLOOP_ONCE libevent goes on as long as it finds something. */
	event_base_loop(loop->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
}

/* At the only source of traffic, where there is one; at all file descriptors now and then. */
static void look_at_source(struct loop *loop, uint64_t now)
{
	if (loop->source && now - loop->shared_ns >= ALONE_NS && now - loop->seen_ns < SEEN_NS) {
		loop->traffic |= loop->source->look(loop->source);
	} else {
		loop->seen_ns = now;
		look_at_events(loop);
	}
}

/* Whether the first look at the file descriptors found traffic: it may have been there at once. */
static void learn_at_once(struct loop *loop, bool was_there)
{
	loop->at_once -= loop->at_once / GAP_WEIGHT;
	loop->at_once += was_there ? ALWAYS / GAP_WEIGHT : 0;
}

/*
 * Looks until the bound is over, there is traffic, or another event left work to do: at the pollers
 * all the time, at the file descriptors at once, when that often pays, and from half a mean gap on.
 * What pollers find does not keep sockets, messages and timers waiting for long.
 */
static void look_for_traffic(struct loop *loop, uint32_t bound_ns)
{
	uint32_t gap = num_min(loop->gap_ns, bound_ns / 2);
	uint64_t now = loop->quiet_since_ns, end = now + bound_ns, half = now + gap / 2;
	uint64_t next = loop->at_once < ALWAYS / AT_ONCE ? half : now;
	unsigned looks = 0;

	do {
		ask_pollers(loop);
		if (loop->traffic && loop->unseen >= UNSEEN_MAX) {
			look_at_events(loop);
		} else if (!loop->traffic && now >= next) {
			look_at_source(loop, now);
			if (!looks++)
				learn_at_once(loop, loop->traffic);
			next = num_max(half, now + num_max(gap / LOOK_STEPS, LOOK_NS));
		}
		if (loop->traffic || !TAILQ_EMPTY(&loop->deferred))
			break;
		now = clock_now_ns();
	} while (now < end);
	counter_add(&loop->stats.polled, loop->traffic);
}

static bool is_stopping(const struct loop *loop)
{
	return __atomic_load_n(&loop->stopping, __ATOMIC_ACQUIRE);
}

static void sleep_for_events(struct loop *loop)
{
	loop->unseen = 0;
	counter_add(&loop->stats.sleeps, 1);
	event_base_loop(loop->base, EVLOOP_ONCE);
}

static void look_or_sleep(struct loop *loop)
{
	uint32_t bound = loop->traffic ? poll_bound(loop) : 0;

	if (loop->traffic)
		loop->quiet_since_ns = clock_now_ns();
	if (loop->shared)
		loop->shared_ns = loop->quiet_since_ns;
	loop->traffic = loop->shared = false;
	if (bound)
		look_for_traffic(loop, bound);
	/* What wakes a loop that is to stop may have been seen while it looked. */
	if (!loop->traffic && TAILQ_EMPTY(&loop->deferred) && !is_stopping(loop))
		sleep_for_events(loop);
	if (loop->traffic)
		learn_gap(loop, clock_now_ns() - loop->quiet_since_ns);
}

void loop_turn(struct loop *loop, bool wait)
{
	loop->turn++;
	if (!wait || !TAILQ_EMPTY(&loop->late))
		look_at_events(loop);
	else if (loop->poll_max_ns)
		look_or_sleep(loop);
	else
		sleep_for_events(loop);
	loop_run_deferred(loop);
	loop_run_late(loop);
}

void loop_run(struct loop *loop)
{
	loop_run_deferred(loop); /* what set-up left behind, before the first sleep */
	while (!is_stopping(loop))
		loop_turn(loop, true);
}

static void on_reserved(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
}

static struct event_base *base_new(void)
{
	struct event_config *config = event_config_new();
	struct event_base *base = NULL;

	if (!config)
		return NULL;
	/* Edge-triggered eventfds need epoll; the base is used by one thread, so it takes no lock.
	 * Timers of a finer resolution than a millisecond would cost a system call each wake-up. */
	if (event_config_require_features(config, EV_FEATURE_ET) == 0 &&
	    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK) == 0)
		base = event_base_new_with_config(config);
	event_config_free(config);
	return base;
}

/*
 * To arm a timer must not fail: what waits for it would wait for ever. libevent grows its heap of
 * timers when it is full, and never shrinks it. A worker may have more connections than this; one
 * whose timer cannot be set ends.
 */
static int reserve_timers(struct event_base *base)
{
	const struct timeval later = { .tv_sec = 3600 };
	const size_t size = event_get_struct_event_size();
	char *timers = calloc(TIMERS, size);
	unsigned n = 0;

	if (!timers)
		return -ENOMEM;
	for (; n < TIMERS; n++) {
		struct event *timer = (struct event *)(void *)(timers + n * size);

		if (evtimer_assign(timer, base, on_reserved, NULL) < 0 ||
		    evtimer_add(timer, &later) < 0)
			break;
	}
	for (unsigned i = 0; i < n; i++)
		evtimer_del((struct event *)(void *)(timers + i * size));
	free(timers);
	return n == TIMERS ? 0 : -ENOMEM;
}

int loop_init(struct loop *loop)
{
	int err;

	*loop = (struct loop){ .mail_fd = -1 };
	TAILQ_INIT(&loop->deferred);
	TAILQ_INIT(&loop->late);
	LIST_INIT(&loop->pollers);
	STAILQ_INIT(&loop->mail);
	pthread_mutex_init(&loop->mail_lock, NULL);
	loop->base = base_new();
	if (!loop->base || reserve_timers(loop->base)) {
		err = -ENOMEM;
		goto fail;
	}
	loop->mail_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (loop->mail_fd < 0) {
		err = -errno;
		goto fail;
	}
	loop->mail_event =
		event_new(loop->base, loop->mail_fd, EV_READ | EV_PERSIST, loop_on_mail, loop);
	if (!loop->mail_event || event_add(loop->mail_event, NULL) < 0) {
		err = -ENOMEM;
		goto fail;
	}
	return 0;

fail:
	loop_fini(loop);
	return err;
}

void loop_fini(struct loop *loop)
{
	if (loop->mail_event)
		event_free(loop->mail_event);
	if (loop->mail_fd >= 0)
		close(loop->mail_fd);
	if (loop->base)
		event_base_free(loop->base);
	pthread_mutex_destroy(&loop->mail_lock);
	*loop = (struct loop){ .mail_fd = -1 };
}
