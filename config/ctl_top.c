/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * nvmetctl top: asks for counters, queues and histograms, again after each interval, and shows the
 * difference: what the terminal has room for, or lines of 80 columns. The daemon keeps no state for
 * it.
 */
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/ctl.h"
#include "config/ctl_text.h"
#include "util/check.h"
#include "util/clock.h"
#include "util/hist.h"
#include "util/num.h"
#include "util/std.h"

#define MAX_LINES 16 /* queues shown: the busiest */
#define COLUMNS   80
#define HOST_MIN  16 /* columns for its name; more where the terminal has more than COLUMNS */
#define HOST_MAX  223
#define LINE_SIZE 1024

/* The stages of a queue, as `queues` names their times, and as they are shown. */
static const struct {
	const char *key, *name, *short_name;
} stages[] = {
	{ "pages_us", "pages", "pages" },
	{ "network_in_us", "network_in", "in" },
	{ "ssd_us", "ssd", "ssd" },
	{ "network_out_us", "network_out", "out" },
};

/* Totals of `counters`, shown as rates. */
static const char *const rates[] = { "commands", "bytes_in",   "bytes_out", "recvs",
				     "sends",    "interrupts", "cq_polls",  "sleeps",
				     "looks",    "polled",     "page_waits" };

struct sample {
	uint64_t ns;
	json_t *counters, *queues, *histograms;
};

/* With the histogram of each queue, if there are queues in it. */
static json_t *ask_for(const char *path, const char *name)
{
	json_t *request = json_pack("{s:s, s:b}", "request", name, "buckets", true);
	json_t *answer = NULL;

	if (ctl_ask(path, request, &answer) == 0 && json_object_get(answer, "error")) {
		ctl_print_error(answer);
		json_decref(answer);
		answer = NULL;
	}
	json_decref(request);
	return answer;
}

static int sample_take(const char *path, struct sample *sample)
{
	sample->ns = clock_now_ns();
	sample->counters = ask_for(path, "counters");
	sample->queues = sample->counters ? ask_for(path, "queues") : NULL;
	sample->histograms = sample->queues ? ask_for(path, "histograms") : NULL;
	return sample->histograms ? 0 : -1;
}

static void sample_free(struct sample *sample)
{
	json_decref(sample->counters);
	json_decref(sample->queues);
	json_decref(sample->histograms);
}

static uint64_t get(const json_t *object, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(object, key));
}

static const char *get_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "?";
}

/* --- Differences ------------------------------------------------------------------------------ */

static double rate(const struct sample *old, const struct sample *new, const json_t *before,
		   const json_t *after, const char *key)
{
	uint64_t was = get(before, key), is = get(after, key);

	return is > was ? (double)(is - was) * 1e9 / (double)(new->ns - old->ns) : 0;
}

/* The queue's entry in the sample before, or NULL: it is new. The peer tells queues apart that had
 * the same number. */
static const json_t *same_queue(const json_t *queues, const json_t *queue)
{
	const json_t *other;
	size_t i;

	json_array_foreach (queues, i, other) {
		if (get(other, "cntlid") == get(queue, "cntlid") &&
		    get(other, "qid") == get(queue, "qid") &&
		    strcmp(get_text(other, "peer"), get_text(queue, "peer")) == 0)
			return other;
	}
	return NULL;
}

/* Adds the buckets, `sign` times. */
static void add_buckets(struct hist *hist, const json_t *stage, int sign)
{
	const json_t *pair;
	size_t i;

	json_array_foreach (json_object_get(stage, "buckets"), i, pair) {
		size_t index = (size_t)json_integer_value(json_array_get(pair, 0));
		uint64_t count = (uint64_t)json_integer_value(json_array_get(pair, 1));

		if (index >= HIST_BUCKETS)
			continue;
		if (sign > 0)
			counter_add(&hist->buckets[index], count);
		else
			counter_sub(&hist->buckets[index], count);
	}
}

/* Adds to `item` how many there were in between, and percentiles. */
static void set_percentiles(json_t *item, const json_t *before, const json_t *after)
{
	struct hist hist = { 0 };

	add_buckets(&hist, after, 1);
	add_buckets(&hist, before, -1);
	json_object_set_new(item, "count", json_integer((json_int_t)hist_count(&hist)));
	json_object_set_new(item, "p50_us", json_real((double)hist_percentile(&hist, 0.5) / 1000));
	json_object_set_new(item, "p99_us", json_real((double)hist_percentile(&hist, 0.99) / 1000));
}

static json_t *stage_difference(const json_t *before, const json_t *after)
{
	json_t *item = json_pack("{s:s, s:s}", "command", get_text(after, "command"), "stage",
				 get_text(after, "stage"));

	set_percentiles(item, before, after);
	return item;
}

/* The part of the time that was spent in each stage, and the name of the one with most of it. */
static void set_parts(json_t *item, const struct sample *old, const struct sample *new,
		      const json_t *before, const json_t *after)
{
	double times[ARRAY_SIZE(stages)], sum = 0;
	size_t most = 0;

	for (size_t i = 0; i < ARRAY_SIZE(stages); i++) {
		times[i] = rate(old, new, before, after, stages[i].key);
		sum += times[i];
		most = times[i] > times[most] ? i : most;
	}
	for (size_t i = 0; i < ARRAY_SIZE(stages); i++) {
		char name[32];

		snprintf(name, sizeof(name), "%s_percent", stages[i].name);
		json_object_set_new(item, name, json_real(sum > 0 ? 100 * times[i] / sum : 0));
	}
	json_object_set_new(item, "most_time_in",
			    sum > 0 ? json_string(stages[most].name) : json_null());
}

static json_t *queue_difference(const struct sample *old, const struct sample *new,
				const json_t *after)
{
	const json_t *before = same_queue(json_object_get(old->queues, "queues"), after);
	json_t *item = json_pack(
		"{s:s, s:s, s:I, s:I, s:s, s:I}", "subsystem", get_text(after, "subsystem"),
		"hostnqn", get_text(after, "hostnqn"), "cntlid", (json_int_t)get(after, "cntlid"),
		"qid", (json_int_t)get(after, "qid"), "peer", get_text(after, "peer"), "worker",
		(json_int_t)get(after, "worker"));
	double reads = rate(old, new, before, after, "reads"),
	       writes = rate(old, new, before, after, "writes"),
	       others = rate(old, new, before, after, "others"),
	       busy_us = rate(old, new, before, after, "total_us");

	json_object_set_new(item, "reads_per_s", json_real(reads));
	json_object_set_new(item, "writes_per_s", json_real(writes));
	json_object_set_new(item, "read_mb_per_s",
			    json_real(rate(old, new, before, after, "bytes_read") / 1e6));
	json_object_set_new(item, "write_mb_per_s",
			    json_real(rate(old, new, before, after, "bytes_written") / 1e6));
	json_object_set_new(item, "errors_per_s",
			    json_real(rate(old, new, before, after, "errors")));
	json_object_set_new(
		item, "mean_us",
		json_real(reads + writes + others > 0 ? busy_us / (reads + writes + others) : 0));
	set_percentiles(item, before, after);
	set_parts(item, old, new, before, after);
	return item;
}

/* Totals never go back, but those of a daemon that was started again begin anew. */
static bool is_another_daemon(const struct sample *old, const struct sample *new)
{
	for (size_t i = 0; i < ARRAY_SIZE(rates); i++) {
		if (get(new->counters, rates[i]) < get(old->counters, rates[i]))
			return true;
	}
	return false;
}

/* What happened between two samples, as one object. */
static json_t *difference(const struct sample *old, const struct sample *new)
{
	static const char *const levels[] = { "connections", "requests", "dma_pages_used",
					      "dma_pages_total" };
	const struct sample nothing = { .ns = old->ns };
	json_t *result = json_object(), *queues = json_array(), *list = json_array();
	const json_t *after, *before;
	size_t i;

	if (is_another_daemon(old, new))
		old = &nothing;
	before = json_object_get(old->histograms, "stages");

	for (i = 0; i < ARRAY_SIZE(levels); i++)
		json_object_set_new(result, levels[i],
				    json_integer((json_int_t)get(new->counters, levels[i])));
	for (i = 0; i < ARRAY_SIZE(rates); i++) {
		char name[40];

		snprintf(name, sizeof(name), "%s_per_s", rates[i]);
		json_object_set_new(
			result, name,
			json_real(rate(old, new, old->counters, new->counters, rates[i])));
	}
	json_array_foreach (json_object_get(new->queues, "queues"), i, after)
		json_array_append_new(queues, queue_difference(old, new, after));
	json_array_foreach (json_object_get(new->histograms, "stages"), i, after)
		json_array_append_new(list, stage_difference(json_array_get(before, i), after));
	json_object_set_new(result, "queues", queues);
	json_object_set_new(result, "stages", list);
	return result;
}

/* --- Text ------------------------------------------------------------------------------------- */

static double real(const json_t *object, const char *key)
{
	return json_number_value(json_object_get(object, key));
}

/* What there is room for: after the last line the terminal would scroll. */
struct screen {
	unsigned columns, lines;
};

static struct screen screen_now(void)
{
	const struct ctl_terminal terminal = ctl_text_terminal();

	if (!terminal.columns)
		return (struct screen){ .columns = COLUMNS, .lines = UINT_MAX };
	return (struct screen){ .columns = terminal.columns, .lines = terminal.rows - 1 };
}

/* A line, cut off where the screen ends, if there is one left. */
__attribute__((format(printf, 2, 3))) static void put_line(struct screen *screen,
							   const char *format, ...)
{
	char line[LINE_SIZE], fit[LINE_SIZE];
	va_list args;

	if (!screen->lines)
		return;
	screen->lines--;
	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	ctl_text_fit(fit, sizeof(fit), line, screen->columns, false);
	printf("%s\n", fit);
}

/* Microseconds in six columns. */
static const char *time_text(double us, char text[static 16])
{
	if (us < 1e5)
		snprintf(text, 16, us < 100 ? "%.1f" : "%.0f", us);
	else if (us < 1e7)
		snprintf(text, 16, "%.0fms", us / 1e3);
	else
		snprintf(text, 16, "%.0fs", us / 1e6);
	return text;
}

static void print_head(struct screen *screen, const json_t *now)
{
	put_line(screen,
		 "%lld connections, %lld commands under way; %.0f/s, in %.0f, out %.0f MB/s",
		 (long long)get(now, "connections"), (long long)get(now, "requests"),
		 real(now, "commands_per_s"), real(now, "bytes_in_per_s") / 1e6,
		 real(now, "bytes_out_per_s") / 1e6);
	put_line(screen, "%.0f recvs/s, %.0f sends/s, %.0f sleeps/s (%.0f spared), %.0f looks/s",
		 real(now, "recvs_per_s"), real(now, "sends_per_s"), real(now, "sleeps_per_s"),
		 real(now, "polled_per_s"), real(now, "looks_per_s"));
	put_line(screen,
		 "%.0f interrupts/s, %.0f CQ polls/s; DMA pages: %lld of %lld, %.0f waits/s",
		 real(now, "interrupts_per_s"), real(now, "cq_polls_per_s"),
		 (long long)get(now, "dma_pages_used"), (long long)get(now, "dma_pages_total"),
		 real(now, "page_waits_per_s"));
}

static void print_stages(struct screen *screen, const json_t *now)
{
	const json_t *stage;
	size_t i;

	put_line(screen, "%s", "");
	put_line(screen, "%-8s %-12s %10s %10s %10s", "command", "stage", "count", "p50 us",
		 "p99 us");
	json_array_foreach (json_object_get(now, "stages"), i, stage) {
		if (get(stage, "count"))
			put_line(screen, "%-8s %-12s %10lld %10.1f %10.1f",
				 get_text(stage, "command"), get_text(stage, "stage"),
				 (long long)get(stage, "count"), real(stage, "p50_us"),
				 real(stage, "p99_us"));
	}
}

static double load_of(const json_t *queue)
{
	return real(queue, "reads_per_s") + real(queue, "writes_per_s");
}

static int by_load(const void *a, const void *b)
{
	double left = load_of(*(json_t *const *)a), right = load_of(*(json_t *const *)b);

	return left < right ? 1 : left > right ? -1 : 0;
}

/* "ssd 97%": where most of its time went. */
static const char *stage_text(const json_t *queue, char text[static 16])
{
	const char *most = get_text(queue, "most_time_in");
	char percent[32];

	snprintf(percent, sizeof(percent), "%s_percent", most);
	text[0] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(stages); i++) {
		if (strcmp(stages[i].name, most) == 0)
			snprintf(text, 16, "%s %.0f%%", stages[i].short_name, real(queue, percent));
	}
	return text;
}

/* A host's name is cut from the left, where it says little. */
static void print_queue(struct screen *screen, const json_t *queue, unsigned host_columns)
{
	char host[LINE_SIZE / 2], p50[16], p99[16], stage[16];
	unsigned columns =
		ctl_text_fit(host, sizeof(host), get_text(queue, "hostnqn"), host_columns, true);

	put_line(screen, "%s%*s %5lld %3lld %2lld %8.0f %8.0f %7.1f %6s %6s %s", host,
		 (int)(host_columns - columns), "", (long long)get(queue, "cntlid"),
		 (long long)get(queue, "qid"), (long long)get(queue, "worker"),
		 real(queue, "reads_per_s"), real(queue, "writes_per_s"),
		 real(queue, "read_mb_per_s") + real(queue, "write_mb_per_s"),
		 time_text(real(queue, "p50_us"), p50), time_text(real(queue, "p99_us"), p99),
		 stage_text(queue, stage));
}

/* The busiest queues. */
static void print_queues(struct screen *screen, const json_t *now)
{
	const json_t *queues = json_object_get(now, "queues");
	size_t n = json_array_size(queues), shown;
	unsigned host_columns = HOST_MIN;
	const json_t **sorted = calloc(n + 1, sizeof(sorted[0]));

	if (!sorted)
		return;
	for (size_t i = 0; i < n; i++)
		sorted[i] = json_array_get(queues, i);
	qsort(sorted, n, sizeof(sorted[0]), by_load);
	put_line(screen, "%s", "");
	if (screen->columns > COLUMNS)
		host_columns = num_min(HOST_MIN + screen->columns - COLUMNS, (unsigned)HOST_MAX);
	put_line(screen, "%-*s %5s %3s %2s %8s %8s %7s %6s %6s %s", (int)host_columns, "host",
		 "ctrl", "q", "w", "reads/s", "writes/s", "MB/s", "p50 us", "p99 us", "time in");
	shown = num_min(n, (size_t)MAX_LINES);
	if (shown >= screen->lines && n > screen->lines)
		shown = screen->lines ? screen->lines - 1 : 0;
	for (size_t i = 0; i < shown; i++)
		print_queue(screen, sorted[i], host_columns);
	if (n > shown)
		put_line(screen, "and %zu more", n - shown);
	free(sorted);
}

static void print(const json_t *now, bool as_json)
{
	struct screen screen = screen_now();

	if (as_json) {
		json_dumpf(now, stdout, JSON_COMPACT);
		printf("\n");
		return;
	}
	if (isatty(STDOUT_FILENO))
		printf("\033[H\033[2J");
	print_head(&screen, now);
	print_stages(&screen, now);
	print_queues(&screen, now);
}

int ctl_top(const char *path, unsigned seconds, unsigned count, bool as_json)
{
	struct sample old = { 0 }, new = { 0 };
	int err = sample_take(path, &old);

	for (unsigned i = 0; !err && (!count || i < count); i++) {
		sleep(seconds);
		err = sample_take(path, &new);
		if (!err) {
			json_t *now = difference(&old, &new);

			print(now, as_json);
			json_decref(now);
			err = std_flush();
		}
		sample_free(&old);
		old = new;
		new = (struct sample){ 0 };
	}
	sample_free(&old);
	return err ? 1 : 0;
}
