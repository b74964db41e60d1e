/* SPDX-License-Identifier: BSD-3-Clause */
/* A thread's event loop; see loop.h for the rules. */
#include "util/loop.h"

#include <errno.h>
#include <event2/event.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "util/check.h"

static void loop_run_deferred(struct loop *loop)
{
	struct loop_task *task;

	while ((task = TAILQ_FIRST(&loop->deferred)) != NULL) {
		TAILQ_REMOVE(&loop->deferred, task, link);
		task->queued = false;
		task->run(task);
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

void loop_turn(struct loop *loop, bool wait)
{
	event_base_loop(loop->base, wait ? EVLOOP_ONCE : EVLOOP_NONBLOCK);
	loop_run_deferred(loop);
}

void loop_run(struct loop *loop)
{
	loop_run_deferred(loop); /* what set-up left behind, before the first sleep */
	while (!__atomic_load_n(&loop->stopping, __ATOMIC_ACQUIRE))
		loop_turn(loop, true);
}

static struct event_base *base_new(void)
{
	struct event_config *config = event_config_new();
	struct event_base *base = NULL;

	if (!config)
		return NULL;
	/* Edge-triggered eventfds need epoll; the base is used by one thread, so it takes no lock.
	 */
	if (event_config_require_features(config, EV_FEATURE_ET) == 0 &&
	    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK) == 0 &&
	    event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER) == 0)
		base = event_base_new_with_config(config);
	event_config_free(config);
	return base;
}

int loop_init(struct loop *loop, const char *name)
{
	int err;

	*loop = (struct loop){ .name = name, .mail_fd = -1 };
	TAILQ_INIT(&loop->deferred);
	STAILQ_INIT(&loop->mail);
	pthread_mutex_init(&loop->mail_lock, NULL);
	loop->base = base_new();
	if (!loop->base) {
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
