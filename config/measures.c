/* SPDX-License-Identifier: BSD-3-Clause */
/* Measurements as JSON and as OpenMetrics; see measures.h. */
#include "config/measures.h"

#include <errno.h>
#include <event2/buffer.h>
#include <stdlib.h>
#include <string.h>

#include "config/daemon.h"
#include "config/report.h"
#include "target/ctrl.h"
#include "target/latency.h"
#include "target/queue.h"
#include "target/subsystem.h"
#include "target/worker.h"
#include "util/check.h"

#define LE_FIRST 10 /* bounds of OpenMetrics buckets: 2^10 ns, about a microsecond, … */
#define LE_LAST  32 /* … to 2^32 ns, about 4 seconds, each twice the one before */

static const enum nvmet_dir kinds[NVMET_KINDS] = { NVMET_DIR_READ, NVMET_DIR_WRITE,
						   NVMET_DIR_NONE };

/* One kind and stage of all workers. The caller frees it. NULL: no memory. */
static struct hist *gather(const struct daemon *daemon, enum nvmet_dir kind, enum nvmet_stage stage)
{
	struct hist *hist = calloc(1, sizeof(*hist));

	for (unsigned i = 0; hist && i < daemon->n_workers; i++)
		hist_merge(hist, &daemon->workers[i].latency->stages[kind][stage]);
	return hist;
}

/* Calls fn for each kind and stage. */
static void for_each_stage(const struct daemon *daemon,
			   void (*fn)(void *arg, enum nvmet_dir kind, enum nvmet_stage stage,
				      const struct hist *hist),
			   void *arg)
{
	for (unsigned i = 0; i < NVMET_KINDS; i++) {
		for (unsigned stage = 0; stage < NVMET_STAGES; stage++) {
			struct hist *hist = gather(daemon, kinds[i], stage);

			if (hist)
				fn(arg, kinds[i], stage, hist);
			free(hist);
		}
	}
}

/* Calls fn for each I/O queue of a host. */
static void for_each_queue(const struct daemon *daemon,
			   void (*fn)(void *arg, const struct nvmet_ctrl *ctrl,
				      const struct nvmet_queue *queue),
			   void *arg)
{
	const struct nvmet_subsystem *subsys;
	const struct nvmet_ctrl *ctrl;

	TAILQ_FOREACH (subsys, &daemon->target.subsystems, link) {
		TAILQ_FOREACH (ctrl, &subsys->ctrls, link) {
			for (unsigned qid = 1; qid <= NVMET_MAX_QUEUES; qid++) {
				if (ctrl->queues[qid])
					fn(arg, ctrl, ctrl->queues[qid]);
			}
		}
	}
}

/* --- JSON ---------------------------------------------------------------------------------------
 */

static json_t *number(const struct counter *counter)
{
	return json_integer((json_int_t)counter_get(counter));
}

static void add_queue(void *arg, const struct nvmet_ctrl *ctrl, const struct nvmet_queue *queue)
{
	const struct nvmet_queue_stats *stats = &queue->stats;
	json_t *item = json_pack("{s:o, s:o, s:i, s:i, s:s, s:i}", "subsystem",
				 report_text(ctrl->subsys->nqn), "hostnqn",
				 report_text(ctrl->hostnqn), "cntlid", ctrl->cntlid, "qid",
				 queue->qid, "peer", queue->peer, "worker", queue->worker->index);

	json_object_set_new(item, "reads", number(&stats->commands[NVMET_DIR_READ]));
	json_object_set_new(item, "writes", number(&stats->commands[NVMET_DIR_WRITE]));
	json_object_set_new(item, "others", number(&stats->commands[NVMET_DIR_NONE]));
	json_object_set_new(item, "bytes_read", number(&stats->bytes[NVMET_DIR_READ]));
	json_object_set_new(item, "bytes_written", number(&stats->bytes[NVMET_DIR_WRITE]));
	json_object_set_new(item, "errors", number(&stats->errors));
	json_object_set_new(item, "busy_us",
			    json_integer((json_int_t)(counter_get(&stats->busy_ns) / 1000)));
	json_array_append_new(arg, item);
}

json_t *measures_queues(const struct daemon *daemon)
{
	json_t *list = json_array();

	for_each_queue(daemon, add_queue, list);
	return json_pack("{s:o}", "queues", list);
}

static double us(const struct hist *hist, double part)
{
	return (double)hist_percentile(hist, part) / 1000;
}

static json_t *stage_item(enum nvmet_dir kind, enum nvmet_stage stage, const struct hist *hist)
{
	return json_pack("{s:s, s:s, s:I, s:I}", "command", nvmet_kind_name(kind), "stage",
			 nvmet_stage_name(stage), "count", (json_int_t)hist_count(hist), "sum_us",
			 (json_int_t)(counter_get(&hist->sum) / 1000));
}

static void add_percentiles(void *arg, enum nvmet_dir kind, enum nvmet_stage stage,
			    const struct hist *hist)
{
	json_t *item = stage_item(kind, stage, hist);

	json_object_set_new(item, "p50_us", json_real(us(hist, 0.5)));
	json_object_set_new(item, "p99_us", json_real(us(hist, 0.99)));
	json_object_set_new(item, "p999_us", json_real(us(hist, 0.999)));
	json_array_append_new(arg, item);
}

json_t *measures_latency(const struct daemon *daemon)
{
	json_t *list = json_array();

	for_each_stage(daemon, add_percentiles, list);
	return json_pack("{s:o}", "stages", list);
}

static void add_buckets(void *arg, enum nvmet_dir kind, enum nvmet_stage stage,
			const struct hist *hist)
{
	json_t *item = stage_item(kind, stage, hist), *buckets = json_array();

	for (unsigned i = 0; i < HIST_BUCKETS; i++) {
		uint64_t count = counter_get(&hist->buckets[i]);

		if (count)
			json_array_append_new(buckets,
					      json_pack("[i, I]", (int)i, (json_int_t)count));
	}
	json_object_set_new(item, "buckets", buckets);
	json_array_append_new(arg, item);
}

json_t *measures_histograms(const struct daemon *daemon)
{
	json_t *list = json_array();

	for_each_stage(daemon, add_buckets, list);
	return json_pack("{s:o}", "stages", list);
}

/* --- OpenMetrics --------------------------------------------------------------------------------
 */

static void describe(struct evbuffer *out, const char *name, const char *type, const char *unit,
		     const char *help)
{
	evbuffer_add_printf(out, "# TYPE nvmetd_%s %s\n", name, type);
	if (unit)
		evbuffer_add_printf(out, "# UNIT nvmetd_%s %s\n", name, unit);
	evbuffer_add_printf(out, "# HELP nvmetd_%s %s\n", name, help);
}

/* Of a label: hosts choose their names. */
static void add_escaped(struct evbuffer *out, const char *text)
{
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			evbuffer_add_printf(out, "\\%c", *text);
		else
			evbuffer_add_printf(out, "%c", *text < 0x20 || *text > 0x7e ? '?' : *text);
	}
}

/* Numbers of `counters` that the JSON report has already: one name, one value. */
static void add_counters(const struct daemon *daemon, struct evbuffer *out)
{
	static const struct {
		const char *name, *type, *help;
	} rows[] = {
		{ "connections", "gauge", "Connections that exist." },
		{ "controllers", "gauge", "Controllers that exist." },
		{ "queue_pairs", "gauge", "I/O queue pairs of SSDs in use." },
		{ "queue_pair_users", "gauge", "Connections that use them." },
		{ "requests", "gauge", "Commands under way." },
		{ "dma_pages_used", "gauge", "Pages of DMA memory in use, 4 KiB each." },
		{ "dma_pages_total", "gauge", "Pages of DMA memory for payload." },
		{ "commands", "counter", "Commands that came, of any kind." },
		{ "bytes_in", "counter", "Payload from hosts." },
		{ "bytes_out", "counter", "Payload to hosts." },
		{ "protocol_errors", "counter", "Hosts that broke the protocol." },
		{ "page_waits", "counter", "Commands that had to wait for DMA memory." },
		{ "unknown_cids", "counter", "Completions that no command asked for." },
		{ "interrupts", "counter", "Interrupts of SSDs." },
		{ "recvs", "counter", "System calls that received." },
		{ "sends", "counter", "System calls that sent." },
		{ "sleeps", "counter", "Waits of workers that may have slept." },
		{ "looks", "counter", "Looks of workers for traffic before they sleep." },
		{ "polled", "counter", "Looks that found work." },
	};
	json_t *counters = report(daemon, "counters");

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		bool total = strcmp(rows[i].type, "counter") == 0;

		describe(out, rows[i].name, rows[i].type, NULL, rows[i].help);
		evbuffer_add_printf(
			out, "nvmetd_%s%s %lld\n", rows[i].name, total ? "_total" : "",
			(long long)json_integer_value(json_object_get(counters, rows[i].name)));
	}
	json_decref(counters);
}

static void add_histogram(void *arg, enum nvmet_dir kind, enum nvmet_stage stage,
			  const struct hist *hist)
{
	struct evbuffer *out = arg;
	unsigned long long count = hist_count(hist);
	const char *labels[2] = { nvmet_kind_name(kind), nvmet_stage_name(stage) };

	for (unsigned shift = LE_FIRST; shift <= LE_LAST; shift++)
		evbuffer_add_printf(
			out,
			"nvmetd_stage_seconds_bucket{command=\"%s\",stage=\"%s\","
			"le=\"%.10g\"} %llu\n",
			labels[0], labels[1], (double)(UINT64_C(1) << shift) / 1e9,
			(unsigned long long)hist_count_below(hist, UINT64_C(1) << shift));
	evbuffer_add_printf(
		out, "nvmetd_stage_seconds_bucket{command=\"%s\",stage=\"%s\",le=\"+Inf\"} %llu\n",
		labels[0], labels[1], count);
	evbuffer_add_printf(out, "nvmetd_stage_seconds_count{command=\"%s\",stage=\"%s\"} %llu\n",
			    labels[0], labels[1], count);
	evbuffer_add_printf(out, "nvmetd_stage_seconds_sum{command=\"%s\",stage=\"%s\"} %.9f\n",
			    labels[0], labels[1], (double)counter_get(&hist->sum) / 1e9);
}

struct family {
	struct evbuffer *out;
	const char *name;
	const struct counter *(*pick)(const struct nvmet_queue_stats *stats, enum nvmet_dir kind);
};

static const struct counter *pick_commands(const struct nvmet_queue_stats *stats,
					   enum nvmet_dir kind)
{
	return &stats->commands[kind];
}

static const struct counter *pick_bytes(const struct nvmet_queue_stats *stats, enum nvmet_dir kind)
{
	return &stats->bytes[kind];
}

static void add_queue_lines(void *arg, const struct nvmet_ctrl *ctrl,
			    const struct nvmet_queue *queue)
{
	const struct family *family = arg;

	for (unsigned i = 0; i < NVMET_KINDS; i++) {
		evbuffer_add_printf(family->out, "nvmetd_%s_total{subsystem=\"", family->name);
		add_escaped(family->out, ctrl->subsys->nqn);
		evbuffer_add_printf(family->out, "\",host=\"");
		add_escaped(family->out, ctrl->hostnqn);
		evbuffer_add_printf(
			family->out, "\",cntlid=\"%u\",qid=\"%u\",command=\"%s\"} %llu\n",
			ctrl->cntlid, queue->qid, nvmet_kind_name(kinds[i]),
			(unsigned long long)counter_get(family->pick(&queue->stats, kinds[i])));
	}
}

int measures_openmetrics(const struct daemon *daemon, struct evbuffer *out)
{
	struct family commands = { out, "queue_commands", pick_commands };
	struct family bytes = { out, "queue_bytes", pick_bytes };

	add_counters(daemon, out);
	describe(out, "queue_commands", "counter", NULL, "I/O commands answered, by queue.");
	for_each_queue(daemon, add_queue_lines, &commands);
	describe(out, "queue_bytes", "counter", "bytes", "Their payload, by queue.");
	for_each_queue(daemon, add_queue_lines, &bytes);
	describe(out, "stage_seconds", "histogram", "seconds",
		 "Time of I/O commands in each stage.");
	for_each_stage(daemon, add_histogram, out);
	return evbuffer_add_printf(out, "# EOF\n") > 0 ? 0 : -ENOMEM;
}
