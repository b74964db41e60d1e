/* SPDX-License-Identifier: BSD-3-Clause */
/* Numbers, wire integers, and the loop: order of messages and of deferred work, across threads. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <event2/event.h>
#include <limits.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "util/check.h"
#include "util/hist.h"
#include "util/le.h"
#include "util/loop.h"
#include "util/num.h"
#include "util/utf8.h"

static void sizes(void **state)
{
	uint64_t v = 7;

	(void)state;
	assert_int_equal(num_parse_size("4K", 0, UINT64_MAX, &v), 0);
	assert_int_equal(v, 4096);
	assert_int_equal(num_parse_size("16777215T", 0, UINT64_MAX, &v), 0);
	assert_int_equal(num_parse_size("16777216T", 0, UINT64_MAX, &v), -ERANGE);
	assert_int_equal(num_parse_size("99999999999999999999", 0, UINT64_MAX, &v), -ERANGE);
	assert_int_equal(num_parse_size("5", 6, 10, &v), -ERANGE);
	assert_int_equal(num_parse_size("", 0, 10, &v), -EINVAL);
	assert_int_equal(num_parse_size("-1", 0, 10, &v), -EINVAL);
	assert_int_equal(num_parse_size("1k", 0, UINT64_MAX, &v), -EINVAL);
	assert_int_equal(num_parse_size("1 K", 0, UINT64_MAX, &v), -EINVAL);
	assert_int_equal(num_parse_u64("0x10", 0, 100, &v), -EINVAL);
}

static void texts(void **state)
{
	char text[NUM_TEXT_SIZE];

	(void)state;
	num_format_size(0, text);
	assert_string_equal(text, "0");
	num_format_size(1536, text);
	assert_string_equal(text, "1536");
	num_format_size(UINT64_C(5) << 40, text);
	assert_string_equal(text, "5T");
	num_format_size(UINT64_MAX, text);
	assert_string_equal(text, "18446744073709551615");
	num_format_duration_ms(1500, text);
	assert_string_equal(text, "1500ms");
	num_format_duration_ms(90000, text);
	assert_string_equal(text, "90s");
	num_format_duration_ms(600000, text);
	assert_string_equal(text, "10m");
}

static void durations(void **state)
{
	uint64_t v;

	(void)state;
	assert_int_equal(num_parse_duration_ms("2m", 0, UINT64_MAX, &v), 0);
	assert_int_equal(v, 120000);
	assert_int_equal(num_parse_duration_ms("0", 0, 10, &v), 0);
	assert_int_equal(v, 0);
	assert_int_equal(num_parse_duration_ms("10", 0, 100, &v), -EINVAL);
	assert_int_equal(num_parse_duration_ms("1500ms", 0, 1000, &v), -ERANGE);
}

static void arithmetic(void **state)
{
	(void)state;
	assert_int_equal(num_log2_up(0), 0);
	assert_int_equal(num_log2_up(1), 0);
	assert_int_equal(num_log2_up(4096), 12);
	assert_int_equal(num_log2_up(4097), 13);
	assert_int_equal(num_round_up(4097, 4096), 8192);
	assert_false(num_is_pow2(0));
	assert_true(num_is_pow2(UINT64_C(1) << 63));
}

static void wire_order(void **state)
{
	const uint8_t bytes[] = { 0x01, 0x02, 0x03, 0x04, 0x05 };
	uint8_t out[4];

	(void)state;
	assert_int_equal(le32_load(bytes + 1), 0x05040302);
	le32_store(out, 0x0a0b0c0d);
	assert_int_equal(out[0], 0x0d);
	assert_int_equal(le16_get(le16_set(0xbeef)), 0xbeef);
}

/* --- The loop --------------------------------------------------------------------------------- */

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
	assert_int_equal(loop_init(&loop, "test"), 0);
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
	assert_int_equal(loop_init(&loop, "test"), 0);
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

/* --- Looking before sleeping ------------------------------------------------------------------ */

struct prey {
	struct loop loop;
	struct loop_poller poller;
	int fd;
	bool again;      /* each event causes the next one */
	unsigned events; /* that came */
	unsigned found;  /* times that the poller will say so */
	unsigned asked;  /* times it was */
};

static void on_prey(evutil_socket_t fd, short what, void *arg)
{
	const uint64_t one = 1;
	struct prey *prey = arg;
	uint64_t n;

	(void)what;
	assert_int_equal(read(fd, &n, sizeof(n)), sizeof(n));
	loop_traffic(&prey->loop);
	prey->events++;
	if (prey->again)
		assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
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

	*prey = (struct prey){ .poller = { .look = prey_look }, .again = true };
	assert_int_equal(loop_init(&prey->loop, "test"), 0);
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

/* Every value is in a bucket that holds it, to one part in sixteen, and buckets touch. */
static void histogram_buckets(void **state)
{
	uint64_t from = 0;

	(void)state;
	for (unsigned i = 0; i < HIST_BUCKETS; i++) {
		uint64_t above = hist_above(i);

		assert_true(above > from && (above - from) * HIST_SUB <= num_max(from, HIST_SUB));
		assert_int_equal(hist_index(from), i);
		assert_int_equal(hist_index(above - 1), i);
		from = above;
	}
	assert_int_equal(from, HIST_VALUE_MAX + 1);
	assert_int_equal(hist_index(UINT64_MAX), HIST_BUCKETS - 1);
}

static void histogram_percentiles(void **state)
{
	static struct hist hist, twice;

	(void)state;
	assert_int_equal(hist_percentile(&hist, 0.5), 0);
	for (uint64_t us = 1; us <= 1000; us++)
		hist_add(&hist, us * 1000, 1);
	assert_int_equal(hist_count(&hist), 1000);
	assert_int_equal(counter_get(&hist.sum), 500500000);
	assert_in_range(hist_percentile(&hist, 0.5), 470000, 530000);
	assert_in_range(hist_percentile(&hist, 0.99), 930000, 1050000);
	assert_int_equal(hist_count_below(&hist, 1 << 18), 262);
	hist_merge(&twice, &hist);
	hist_merge(&twice, &hist);
	hist_add(&twice, 7, 3);
	assert_int_equal(hist_count(&twice), 2003);
	assert_int_equal(hist_percentile(&twice, 0.001), 7);
}

static void utf8(void **state)
{
	static const struct {
		const char *text;
		size_t len, expected;
	} cases[] = {
		{ "a", 1, 1 },
		{ "\xc3\xa9", 2, 2 },
		{ "\xe2\x82\xac", 3, 3 },
		{ "\xf0\x9f\x98\x80", 4, 4 },
		{ "\xf4\x8f\xbf\xbf", 4, 4 },
		{ "\xc2\xa0", 2, 2 },
		{ "", 0, 0 },
		{ "\x1b", 1, 0 },
		{ "\x7f", 1, 0 },
		{ "\xc2\x9b", 2, 0 },         /* CSI */
		{ "\x9b", 1, 0 },             /* a continuation alone */
		{ "\xff", 1, 0 },             /* never a first byte */
		{ "\xc3", 1, 0 },             /* cut */
		{ "\xe2\x82", 2, 0 },         /* cut */
		{ "\xc3x", 2, 0 },            /* no continuation */
		{ "\xc0\xaf", 2, 0 },         /* overlong */
		{ "\xe0\x80\xaf", 3, 0 },     /* overlong */
		{ "\xf0\x80\x80\xaf", 4, 0 }, /* overlong */
		{ "\xed\xa0\x80", 3, 0 },     /* surrogate */
		{ "\xf4\x90\x80\x80", 4, 0 }, /* beyond the last */
		{ "\xe2\x80\xa8", 3, 0 },     /* a line ends */
		{ "\xe2\x80\xae", 3, 0 },     /* what follows goes to the left */
		{ "\xe2\x81\xa9", 3, 0 },     /* and back */
		{ "\xe2\x80\xaf", 3, 3 },     /* a narrow space */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(utf8_char(cases[i].text, cases[i].len), cases[i].expected);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes),
		cmocka_unit_test(texts),
		cmocka_unit_test(durations),
		cmocka_unit_test(arithmetic),
		cmocka_unit_test(wire_order),
		cmocka_unit_test(messages_in_order),
		cmocka_unit_test(cancelled_task),
		cmocka_unit_test(looking),
		cmocka_unit_test(looking_is_tried),
		cmocka_unit_test(looking_at_once),
		cmocka_unit_test(looking_is_tried_for_a_while),
		cmocka_unit_test(pollers_leave_room),
		cmocka_unit_test(stopped_while_looking),
		cmocka_unit_test(not_looking),
		cmocka_unit_test(histogram_buckets),
		cmocka_unit_test(histogram_percentiles),
		cmocka_unit_test(utf8),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
