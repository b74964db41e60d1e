/* SPDX-License-Identifier: BSD-3-Clause */
/* The loop: order of messages and of deferred work, across threads; when and where it looks. */
#include "tests/unit/unit.h"

#include <event2/event.h>
#include <limits.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "util/check.h"
#include "util/loop.h"

#define MESSAGES 20000

struct prey;

struct counted {
	struct loop_msg msg;
	unsigned number;
	struct prey *prey;
};

static struct loop loop;
static struct counted messages[MESSAGES];
static unsigned next_expected, task_runs;
static struct loop_task task;

static void on_message(struct loop_msg *msg)
{
	struct counted *counted = container_of(msg, struct counted, msg);

	assert_int_equal(counted->number, next_expected);
	next_expected++;
	loop_defer(&loop, &task); /* many times a wake-up; it runs once */
	if (next_expected == MESSAGES)
		loop_stop(&loop);
}

static void on_task(struct loop_task *t)
{
	assert_ptr_equal(t, &task);
	task_runs++;
}

static void on_other(struct loop_task *t)
{
	assert_int_equal(task_runs, 0);
	assert_false(t->queued);
}

static void *post_all(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < MESSAGES; i++) {
		messages[i].number = i;
		loop_post(&loop, &messages[i].msg, on_message);
	}
	return NULL;
}

static void messages_in_order(void **state)
{
	pthread_t thread;

	(void)state;
	assert_int_equal(loop_init(&loop), 0);
	loop_task_init(&task, on_task);
	assert_int_equal(pthread_create(&thread, NULL, post_all, NULL), 0);
	loop_run(&loop);
	pthread_join(thread, NULL);
	assert_int_equal(next_expected, MESSAGES);
	assert_in_range(task_runs, 1, MESSAGES);
	loop_fini(&loop);
}

static void cancelled_task(void **state)
{
	(void)state;
	assert_int_equal(loop_init(&loop), 0);
	task_runs = 0;
	loop_task_init(&task, on_task);
	loop_defer(&loop, &task);
	loop_defer(&loop, &task);
	loop_cancel(&loop, &task);
	loop_stop(&loop);
	loop_run(&loop);
	assert_int_equal(task_runs, 0);
	loop_fini(&loop);
}

/* One late task ends a wake-up, in the order of their line, and none sleeps before all have run.
 * The count of wake-ups comes round meanwhile. */
static void late_tasks(void **state)
{
	struct loop_task last, late;

	(void)state;
	assert_int_equal(loop_init(&loop), 0);
	loop.turn = UINT32_MAX;
	task_runs = 0;
	loop_task_init(&task, on_task);
	loop_task_init(&last, on_other);
	loop_task_init(&late, on_other);
	loop_defer_last(&loop, &last);
	loop_defer_late(&loop, &late);
	loop_turn(&loop, true); /* the count is 0: the line was made in the wake-up before */
	assert_false(last.queued);
	assert_int_equal(loop_waited(&loop, &late), 1);
	loop_defer_late(&loop, &last);
	loop_defer_last(&loop, &task); /* behind both, whatever it is told */
	assert_int_equal(loop_waited(&loop, &last), 0);
	loop_turn(&loop, true);
	assert_false(late.queued);
	loop_turn(&loop, true);
	assert_false(last.queued);
	assert_int_equal(task_runs, 0);
	assert_int_equal(loop_waited(&loop, &task), 3);
	loop_turn(&loop, true);
	assert_int_equal(task_runs, 1);
	assert_int_equal(counter_get(&loop.stats.sleeps), 0);
	assert_int_equal(counter_get(&loop.stats.looks), 4);

	task_runs = 0;
	loop_defer_last(&loop, &late);
	loop_defer_last(&loop, &last);
	loop_cancel(&loop, &late);
	loop_turn(&loop, true);
	assert_false(last.queued);
	loop_fini(&loop);
}

/* --- Looking before sleeping ------------------------------------------------------------------ */

struct prey {
	struct loop loop;
	struct loop_poller poller;
	struct loop_source source;
	int fd;
	bool again;      /* each event causes the next one */
	unsigned events; /* that came */
	unsigned found;  /* times that the poller will say so */
	unsigned asked;  /* times it was */
	unsigned taken;  /* events that looking at the source found */
};

static void prey_take(struct prey *prey)
{
	const uint64_t one = 1;

	if (prey->again)
		assert_int_equal(write(prey->fd, &one, sizeof(one)), sizeof(one));
}

static void on_prey(evutil_socket_t fd, short what, void *arg)
{
	struct prey *prey = arg;
	uint64_t n;

	(void)what;
	assert_int_equal(read(fd, &n, sizeof(n)), sizeof(n));
	loop_traffic_from(&prey->loop, &prey->source);
	prey->events++;
	prey_take(prey);
}

static bool source_look(struct loop_source *source)
{
	struct prey *prey = container_of(source, struct prey, source);
	uint64_t n;

	if (read(prey->fd, &n, sizeof(n)) < 0)
		return false;
	prey->taken++;
	prey_take(prey);
	return true;
}

static bool prey_look(struct loop_poller *poller)
{
	struct prey *prey = container_of(poller, struct prey, poller);

	prey->asked++;
	if (!prey->found)
		return false;
	prey->found--;
	return true;
}

static struct event *prey_init(struct prey *prey, unsigned poll_us)
{
	struct event *event;

	*prey = (struct prey){ .poller = { .look = prey_look },
			       .source = { .look = source_look },
			       .again = true };
	assert_int_equal(loop_init(&prey->loop), 0);
	loop_set_poll(&prey->loop, poll_us);
	loop_add_poller(&prey->loop, &prey->poller);
	prey->fd = eventfd(1, EFD_NONBLOCK);
	event = event_new(prey->loop.base, prey->fd, EV_READ | EV_PERSIST, on_prey, prey);
	assert_non_null(event);
	assert_int_equal(event_add(event, NULL), 0);
	return event;
}

static void prey_fini(struct prey *prey, struct event *event)
{
	loop_remove_poller(&prey->poller);
	event_free(event);
	close(prey->fd);
	loop_fini(&prey->loop);
}

/* Dense traffic makes the loop look before it sleeps: at its pollers, then everywhere; when the
 * traffic ends, so does looking. */
static void looking(void **state)
{
	const struct loop_stats *stats;
	const uint64_t one = 1;
	struct prey prey;
	struct event *event = prey_init(&prey, 1000);
	uint64_t looks;

	(void)state;
	stats = &prey.loop.stats;
	for (unsigned i = 0; i < 100000 && !counter_get(&stats->polled); i++)
		loop_turn(&prey.loop, true);
	assert_true(counter_get(&stats->polled) > 0 && prey.asked > 0);
	assert_true(prey.loop.gap_ns <= prey.loop.poll_max_ns);

	prey.found = 1; /* a poller that finds something saves the look at the rest */
	looks = counter_get(&stats->looks);
	loop_turn(&prey.loop, true);
	assert_int_equal(counter_get(&stats->looks), looks);

	prey.again = false;
	loop_turn(&prey.loop, true); /* the last event */
	for (unsigned i = 0; i < 10; i++) {
		/* Traffic that comes later than looking may last: gaps grow until none is done. */
		assert_int_equal(write(prey.fd, &one, sizeof(one)), sizeof(one));
		prey.loop.traffic = false;
		prey.loop.quiet_since_ns = 1;
		loop_turn(&prey.loop, true);
	}
	assert_true(prey.loop.gap_ns > prey.loop.poll_max_ns);
	looks = counter_get(&stats->looks);
	assert_int_equal(write(prey.fd, &one, sizeof(one)), sizeof(one));
	loop_turn(&prey.loop, true);
	assert_int_equal(counter_get(&stats->looks), looks);
	prey_fini(&prey, event);
}

/* Turns of a loop that sleeps, whose gaps are `gap_ns` each, until it looked; at most 100. */
static unsigned turns_until_a_look(struct prey *prey, uint32_t gap_ns)
{
	unsigned turns = 0;

	while (!counter_get(&prey->loop.stats.polled) && turns++ < 100) {
		prey->loop.gap_ns = prey->loop.last_gap_ns = gap_ns;
		prey->loop.traffic = true;
		loop_turn(&prey->loop, true);
	}
	return turns;
}

/* Asleep because of gaps that sleeping itself may have made: now and then it tries to look, and
 * goes on when that pays. Gaps that are long by themselves are left alone. */
static void looking_is_tried(void **state)
{
	struct prey prey;
	struct event *event = prey_init(&prey, 300000);
	const uint32_t longest = prey.loop.gap_ns; /* what an idle loop starts with */

	(void)state;
	assert_int_equal(turns_until_a_look(&prey, longest), 101);
	assert_in_range(turns_until_a_look(&prey, longest - 1), 2, 20);
	assert_true(prey.loop.gap_ns < prey.loop.poll_max_ns); /* believed at once */
	loop_turn(&prey.loop, true);
	assert_int_equal(counter_get(&prey.loop.stats.polled), 2);
	prey_fini(&prey, event);
}

/* Where the first look has seldom found anything, it is not done at once. */
static void looking_at_once(void **state)
{
	struct prey prey;
	struct event *event = prey_init(&prey, 1400000); /* the machine may be busy */
	unsigned asked;

	(void)state;
	prey.loop.gap_ns = 200 * NSEC_PER_MSEC;
	prey.loop.traffic = true;
	loop_turn(&prey.loop, true);
	assert_int_equal(counter_get(&prey.loop.stats.looks), 1);
	assert_true(prey.asked > 1);

	asked = prey.asked;
	loop_turn(&prey.loop, true); /* it found something: now it does */
	assert_int_equal(counter_get(&prey.loop.stats.looks), 2);
	assert_int_equal(prey.asked, asked + 1);
	prey_fini(&prey, event);
}

static void write_to_prey(evutil_socket_t fd, short what, void *arg)
{
	const uint64_t one = 1;
	struct prey *prey = arg;

	(void)fd;
	(void)what;
	assert_int_equal(write(prey->fd, &one, sizeof(one)), sizeof(one));
}

/* What a loop tries to find need not be there at once, however long its gaps have become. More than
 * one try, for the machine may take the CPU away for as long as one lasts. */
static void looking_is_tried_for_a_while(void **state)
{
	const struct timeval at_once = { .tv_sec = 0 };
	struct prey prey;
	struct event *event = prey_init(&prey, 20000), *later;
	const uint32_t longest = prey.loop.gap_ns;

	(void)state;
	later = evtimer_new(prey.loop.base, write_to_prey, &prey);
	assert_non_null(later);
	prey.again = false;
	loop_turn(&prey.loop, true); /* the event that prey_init() leaves */
	for (unsigned i = 0; i < 50 && !counter_get(&prey.loop.stats.polled); i++) {
		prey.loop.gap_ns = prey.loop.last_gap_ns = longest - 1;
		prey.loop.untried = UINT_MAX / 2;
		prey.loop.traffic = true;
		assert_int_equal(evtimer_add(later, &at_once), 0); /* runs with the first look */
		loop_turn(&prey.loop, true);
	}
	assert_int_equal(counter_get(&prey.loop.stats.polled), 1);
	event_free(later);
	prey_fini(&prey, event);
}

static void count(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	++*(unsigned *)arg;
}

/* However short the gaps were, file descriptors are not looked at all the time: at least 3 us lie
 * between two looks. */
static void looks_are_apart(void **state)
{
	const struct timeval later = { .tv_usec = 100000 };
	struct prey prey;
	struct event *event = prey_init(&prey, 4000), *end;
	unsigned ends = 0;

	(void)state;
	prey.again = false;
	loop_turn(&prey.loop, true); /* the event that prey_init() leaves */
	end = evtimer_new(prey.loop.base, count, &ends);
	assert_non_null(end);
	assert_int_equal(evtimer_add(end, &later), 0);
	prey.loop.gap_ns = 0; /* then it looks for a quarter of the longest time: 1000 us */
	prey.loop.traffic = true;
	loop_turn(&prey.loop, true);
	assert_int_equal(counter_get(&prey.loop.stats.polled), 0);
	assert_in_range(counter_get(&prey.loop.stats.looks), 1, 1000 / 3 + 1);
	event_free(end);
	prey_fini(&prey, event);
}

/* A poller that always finds something does not keep events waiting. */
static void pollers_leave_room(void **state)
{
	struct prey prey;
	struct event *event = prey_init(&prey, 1000);

	(void)state;
	loop_turn(&prey.loop, true);
	prey.events = 0;
	prey.found = UINT_MAX;
	for (unsigned i = 0; i < 100; i++) {
		prey.loop.gap_ns = 0;
		loop_turn(&prey.loop, true);
	}
	assert_int_equal(counter_get(&prey.loop.stats.polled), 100);
	assert_in_range(prey.events, 100 / 8, 100 / 2);
	prey_fini(&prey, event);
}

/* Turns until something was found by looking at the source alone; at most 100,000. */
static unsigned turns_until_taken(struct prey *prey)
{
	unsigned turns = 0;

	while (!prey->taken && turns < 100000) {
		loop_turn(&prey->loop, true);
		turns++;
	}
	return turns;
}

/* The source of all traffic is looked at by itself; what else there is has its turn nonetheless. */
static void the_only_source(void **state)
{
	const struct loop_stats *stats;
	struct prey prey;
	struct event *event = prey_init(&prey, 1000), *other;
	unsigned turns, others = 0;
	uint64_t waits;

	(void)state;
	stats = &prey.loop.stats;
	turns = turns_until_taken(&prey);
	assert_int_equal(prey.taken, 1);
	waits = counter_get(&stats->sleeps) + counter_get(&stats->looks);
	assert_true(waits < turns); /* without an epoll_wait */

	other = event_new(prey.loop.base, prey.fd, EV_WRITE | EV_PERSIST, count, &others);
	assert_non_null(other);
	assert_int_equal(event_add(other, NULL), 0);
	for (unsigned i = 0; i < 100000 && !others; i++)
		loop_turn(&prey.loop, true);
	assert_int_equal(others, 1);
	event_free(other);

	prey.taken = 0;
	turns_until_taken(&prey);
	assert_int_equal(prey.taken, 1); /* it still is */
	loop_forget(&prey.loop, &prey.source);
	loop_turn(&prey.loop, true);
	assert_int_equal(prey.taken, 1);
	prey_fini(&prey, event);
}

static void on_another(evutil_socket_t fd, short what, void *arg)
{
	static struct loop_source another;
	struct prey *prey = arg;
	uint64_t n;

	(void)what;
	assert_int_equal(read(fd, &n, sizeof(n)), sizeof(n));
	loop_traffic_from(&prey->loop, &another);
}

/* Where traffic comes from two, none is preferred, however much of it is the other one's. */
static void one_of_two_sources(void **state)
{
	const uint64_t one = 1;
	struct prey prey;
	struct event *event = prey_init(&prey, 1000), *another;
	int fd = eventfd(0, EFD_NONBLOCK);

	(void)state;
	another = event_new(prey.loop.base, fd, EV_READ | EV_PERSIST, on_another, &prey);
	assert_non_null(another);
	assert_int_equal(event_add(another, NULL), 0);
	for (unsigned i = 0; i < 1000; i++) {
		if (i % 50 == 0)
			assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
		loop_turn(&prey.loop, true);
	}
	assert_int_equal(prey.taken, 0);
	assert_in_range(prey.events, 999, 1000);
	event_free(another);
	close(fd);
	prey_fini(&prey, event);
}

static void stop_it(struct loop_msg *msg)
{
	loop_stop(&container_of(msg, struct counted, msg)->prey->loop);
}

static void on_late(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	*(bool *)arg = true;
}

/* The wake-up of loop_stop() may come while the loop looks: it does not sleep after that. */
static void stopped_while_looking(void **state)
{
	const struct timeval late = { .tv_sec = 60 };
	struct prey prey;
	struct event *event = prey_init(&prey, 1000), *timer;
	struct counted message = { .prey = &prey };
	bool was_late = false;

	(void)state;
	timer = evtimer_new(prey.loop.base, on_late, &was_late);
	assert_non_null(timer);
	assert_int_equal(evtimer_add(timer, &late), 0);
	prey.again = false;
	loop_turn(&prey.loop, true);
	prey.loop.gap_ns = 0;
	prey.loop.traffic = true;
	loop_post(&prey.loop, &message.msg, stop_it);
	loop_run(&prey.loop);
	assert_false(was_late);
	event_free(timer);
	prey_fini(&prey, event);
}

static void not_looking(void **state)
{
	struct prey prey;
	struct event *event = prey_init(&prey, 0);

	(void)state;
	for (unsigned i = 0; i < 100; i++)
		loop_turn(&prey.loop, true);
	assert_int_equal(counter_get(&prey.loop.stats.sleeps), 100);
	assert_int_equal(counter_get(&prey.loop.stats.looks), 0);
	assert_int_equal(prey.asked, 0);
	prey_fini(&prey, event);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_in_order),
		cmocka_unit_test(cancelled_task),
		cmocka_unit_test(late_tasks),
		cmocka_unit_test(looking),
		cmocka_unit_test(looking_is_tried),
		cmocka_unit_test(looking_at_once),
		cmocka_unit_test(looking_is_tried_for_a_while),
		cmocka_unit_test(looks_are_apart),
		cmocka_unit_test(pollers_leave_room),
		cmocka_unit_test(the_only_source),
		cmocka_unit_test(one_of_two_sources),
		cmocka_unit_test(stopped_while_looking),
		cmocka_unit_test(not_looking),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
