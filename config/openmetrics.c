/* SPDX-License-Identifier: BSD-3-Clause */
/* Measurements as OpenMetrics; see openmetrics.h. */
#include "config/openmetrics.h"

#include <errno.h>
#include <event2/buffer.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "config/daemon.h"
#include "config/report.h"
#include "pcie/ctrl.h"
#include "pcie/dma.h"
#include "target/ctrl.h"
#include "target/latency.h"
#include "target/queue.h"
#include "target/ssd.h"
#include "target/subsystem.h"
#include "target/worker.h"
#include "util/check.h"
#include "util/clock.h"
#include "util/utf8.h"
#include "util/version.h"

#define LE_FIRST 10 /* bounds of buckets: 2^10 ns, about a microsecond, … */
#define LE_LAST  32 /* … to 2^32 ns, about 4 seconds, each twice the one before */

static void describe(struct evbuffer *out, const char *name, const char *type, const char *unit,
		     const char *help)
{
	evbuffer_add_printf(out, "# TYPE nvmetd_%s %s\n", name, type);
	if (unit)
		evbuffer_add_printf(out, "# UNIT nvmetd_%s %s\n", name, unit);
	evbuffer_add_printf(out, "# HELP nvmetd_%s %s\n", name, help);
}

/* The value of a label. Hosts choose their names, so it may have any byte in it. What is no UTF-8,
 * or must not be shown, is written as \xNN, so that two names never become one. */
static void add_escaped(struct evbuffer *out, const char *text)
{
	size_t left = strlen(text), n;

	for (; left; text += n, left -= n) {
		n = utf8_char(text, left);
		if (*text == '"' || *text == '\\')
			evbuffer_add_printf(out, "\\%c", *text);
		else if (n)
			evbuffer_add(out, text, n);
		else if (*text == '\n')
			evbuffer_add_printf(out, "\\n");
		else
			evbuffer_add_printf(out, "\\\\x%02x", (unsigned char)*text);
		n = n ? n : 1;
	}
}

static unsigned long long value(const struct counter *counter)
{
	return counter_get(counter);
}

static double seconds(const struct counter *ns)
{
	return (double)counter_get(ns) / 1e9;
}

/* --- The daemon ------------------------------------------------------------------------------- */

/* Which one it is, and since when: all totals began with it. */
static void add_daemon(const struct daemon *daemon, struct evbuffer *out)
{
	describe(out, "build", "info", NULL, "The daemon's version.");
	evbuffer_add_printf(out, "nvmetd_build_info{version=\"%s\"} 1\n", NVMETD_VERSION);
	describe(out, "uptime_seconds", "gauge", "seconds", "Time since it started.");
	evbuffer_add_printf(out, "nvmetd_uptime_seconds %.3f\n",
			    (double)(clock_now_ns() - daemon->started_ns) / 1e9);
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
		{ "commands", "counter", "Commands that came, of any kind." },
		{ "bytes_in", "counter", "Payload from hosts." },
		{ "bytes_out", "counter", "Payload to hosts." },
		{ "protocol_errors", "counter", "Hosts that broke the protocol." },
		{ "connections_refused", "counter", "Connections beyond a limit." },
		{ "tls_failures", "counter", "Hosts that did not get through TLS, or know none." },
		{ "connects_refused", "counter", "Connect commands that were refused." },
		{ "authentication_failures", "counter",
		  "Authentications that failed, or never began." },
		{ "page_waits", "counter", "Commands that had to wait for DMA memory." },
		{ "unknown_cids", "counter", "Completions that no command asked for." },
		{ "interrupts", "counter", "Interrupts of SSDs." },
		{ "cq_polls", "counter", "Looks that found completions before an interrupt." },
		{ "lost_interrupts", "counter", "Interrupts that did not come." },
		{ "recvs", "counter", "System calls that received." },
		{ "sends", "counter", "System calls that sent." },
		{ "sleeps", "counter", "Waits of workers that may have slept." },
		{ "looks", "counter", "Looks of workers for traffic before they sleep." },
		{ "polled", "counter",
		  "Times that looking, at all file descriptors or at one connection, found work "
		  "and spared a sleep." },
	};
	json_t *counters = report(daemon, "counters", NULL);

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		bool total = strcmp(rows[i].type, "counter") == 0;

		describe(out, rows[i].name, rows[i].type, NULL, rows[i].help);
		evbuffer_add_printf(
			out, "nvmetd_%s%s %lld\n", rows[i].name, total ? "_total" : "",
			(long long)json_integer_value(json_object_get(counters, rows[i].name)));
	}
	/* "_total" is for counters. */
	describe(out, "dma_pages", "gauge", NULL, "Pages of DMA memory for payload.");
	evbuffer_add_printf(
		out, "nvmetd_dma_pages %lld\n",
		(long long)json_integer_value(json_object_get(counters, "dma_pages_total")));
	json_decref(counters);
}

static void add_workers(const struct daemon *daemon, struct evbuffer *out)
{
	describe(out, "worker_dma_pages_used", "gauge", NULL,
		 "Pages of DMA memory in use, by worker.");
	for (unsigned i = 0; i < daemon->n_workers; i++)
		evbuffer_add_printf(out, "nvmetd_worker_dma_pages_used{worker=\"%u\"} %llu\n", i,
				    (unsigned long long)dma_pool_used(daemon->workers[i].pool));
	describe(out, "worker_page_waits", "counter", NULL,
		 "Commands that had to wait for them, by worker.");
	for (unsigned i = 0; i < daemon->n_workers; i++)
		evbuffer_add_printf(out, "nvmetd_worker_page_waits_total{worker=\"%u\"} %llu\n", i,
				    value(&daemon->workers[i].stats.page_waits));
}

/* --- SSDs ------------------------------------------------------------------------------------- */

static unsigned ssd_is_ready(const struct daemon_ssd *ssd)
{
	return nvme_ctrl_is_ready(ssd->ctrl);
}

static unsigned ssd_resets(const struct daemon_ssd *ssd)
{
	return nvme_ctrl_n_resets(ssd->ctrl);
}

static unsigned ssd_retries(const struct daemon_ssd *ssd)
{
	return nvme_ctrl_n_retries(ssd->ctrl);
}

static unsigned ssd_aborts(const struct daemon_ssd *ssd)
{
	return nvme_ctrl_n_aborts(ssd->ctrl);
}

static unsigned ssd_queue_pairs(const struct daemon_ssd *ssd)
{
	return nvme_ctrl_info(ssd->ctrl)->n_queues;
}

static unsigned ssd_queue_pairs_used(const struct daemon_ssd *ssd)
{
	return ssd->ssd ? ssd->ssd->n_shares : 0;
}

static void add_ssds(const struct daemon *daemon, struct evbuffer *out)
{
	static const struct {
		const char *name, *type, *help;
		unsigned (*get)(const struct daemon_ssd *ssd);
	} rows[] = {
		{ "ssd_ready", "gauge",
		  "1: it takes commands; 0: it is reset, gone, failed or was never there.",
		  ssd_is_ready },
		{ "ssd_resets", "counter", "Resets.", ssd_resets },
		{ "ssd_retries", "counter", "Tries of an SSD that was given up.", ssd_retries },
		{ "ssd_aborts", "counter", "Commands that were not answered in time.", ssd_aborts },
		{ "ssd_queue_pairs", "gauge", "I/O queue pairs that it has.", ssd_queue_pairs },
		{ "ssd_queue_pairs_used", "gauge", "I/O queue pairs in use.",
		  ssd_queue_pairs_used },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		bool total = strcmp(rows[i].type, "counter") == 0;

		describe(out, rows[i].name, rows[i].type, NULL, rows[i].help);
		for (unsigned n = 0; n < daemon->n_ssds; n++) {
			evbuffer_add_printf(out, "nvmetd_%s%s{ssd=\"", rows[i].name,
					    total ? "_total" : "");
			add_escaped(out, daemon->ssds[n].conf->name);
			evbuffer_add_printf(out, "\"} %u\n", rows[i].get(&daemon->ssds[n]));
		}
	}
}

/* --- Queue pairs of the SSDs ------------------------------------------------------------------ */

static void add_pair(struct evbuffer *out, const char *family, const char *ssd,
		     const struct nvme_qpair *qpair, const struct counter *counter)
{
	if (!counter_get(&qpair->stats.submitted))
		return;
	evbuffer_add_printf(out, "nvmetd_%s_total{ssd=\"", family);
	add_escaped(out, ssd);
	evbuffer_add_printf(out, "\",qid=\"%u\"} %llu\n", qpair->qid, value(counter));
}

static void add_pairs(const struct daemon *daemon, struct evbuffer *out)
{
	static const struct {
		const char *name, *help;
		size_t offset;
	} rows[] = {
		{ "pair_commands", "Commands, by queue pair of the SSD.",
		  offsetof(struct nvme_qpair_stats, submitted) },
		{ "pair_doorbells", "Doorbells that told of them, by queue pair.",
		  offsetof(struct nvme_qpair_stats, doorbells) },
		{ "pair_interrupts", "Interrupts, by queue pair.",
		  offsetof(struct nvme_qpair_stats, interrupts) },
		{ "pair_cq_polls", "Looks that came before the interrupt, by queue pair.",
		  offsetof(struct nvme_qpair_stats, polls) },
	};
	const struct nvmet_qpair_share *share;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		describe(out, rows[i].name, "counter", NULL, rows[i].help);
		for (unsigned n = 0; n < daemon->n_ssds; n++) {
			const struct daemon_ssd *ssd = &daemon->ssds[n];

			if (!ssd->ssd)
				continue;
			TAILQ_FOREACH (share, &ssd->ssd->shares, link) {
				if (share->qpair)
					add_pair(out, rows[i].name, ssd->conf->name, share->qpair,
						 (const void *)((const char *)&share->qpair->stats +
								rows[i].offset));
			}
		}
	}
}

/* --- Queues of hosts -------------------------------------------------------------------------- */

/* One family of metrics: its lines of one queue. */
struct family {
	struct evbuffer *out;
	void (*add)(struct evbuffer *out, const struct nvmet_queue *queue);
};

static void add_name(struct evbuffer *out, const char *name, const struct nvmet_queue *queue)
{
	evbuffer_add_printf(out, "nvmetd_%s_total{subsystem=\"", name);
	add_escaped(out, queue->ctrl->subsys->nqn);
	evbuffer_add_printf(out, "\",host=\"");
	add_escaped(out, queue->ctrl->hostnqn);
	evbuffer_add_printf(out, "\",cntlid=\"%u\",qid=\"%u\"", queue->ctrl->cntlid, queue->qid);
}

static void add_kinds(struct evbuffer *out, const char *name, const struct nvmet_queue *queue,
		      const struct counter *counters)
{
	for (unsigned i = 0; i < NVMET_KINDS; i++) {
		if (!counter_get(&queue->stats.commands[nvmet_kinds[i]]))
			continue;
		add_name(out, name, queue);
		evbuffer_add_printf(out, ",command=\"%s\"} %llu\n", nvmet_kind_name(nvmet_kinds[i]),
				    value(&counters[nvmet_kinds[i]]));
	}
}

static void add_commands(struct evbuffer *out, const struct nvmet_queue *queue)
{
	add_kinds(out, "queue_commands", queue, queue->stats.commands);
}

static void add_bytes(struct evbuffer *out, const struct nvmet_queue *queue)
{
	add_kinds(out, "queue_bytes", queue, queue->stats.bytes);
}

static void add_errors(struct evbuffer *out, const struct nvmet_queue *queue)
{
	add_name(out, "queue_errors", queue);
	evbuffer_add_printf(out, "} %llu\n", value(&queue->stats.errors));
}

static void add_page_waits(struct evbuffer *out, const struct nvmet_queue *queue)
{
	add_name(out, "queue_page_waits", queue);
	evbuffer_add_printf(out, "} %llu\n", value(&queue->stats.page_waits));
}

static void add_stage_sums(struct evbuffer *out, const struct nvmet_queue *queue)
{
	for (unsigned stage = 0; stage < NVMET_STAGE_TOTAL; stage++) {
		add_name(out, "queue_stage_seconds", queue);
		evbuffer_add_printf(out, ",stage=\"%s\"} %.9f\n", nvmet_stage_name(stage),
				    (double)nvmet_latency_sum(queue, stage) / 1e9);
	}
}

/* A queue that never answered a command has no line. */
static void add_queue(void *arg, const struct nvmet_queue *queue)
{
	const struct family *family = arg;
	uint64_t commands = 0;

	for (unsigned i = 0; i < NVMET_KINDS; i++)
		commands += counter_get(&queue->stats.commands[i]);
	if (commands)
		family->add(family->out, queue);
}

static void add_queues(const struct daemon *daemon, struct evbuffer *out)
{
	static const struct {
		const char *name, *unit, *help;
		void (*add)(struct evbuffer *out, const struct nvmet_queue *queue);
	} rows[] = {
		{ "queue_commands", NULL, "I/O commands answered, by queue.", add_commands },
		{ "queue_bytes", "bytes", "Their payload, by queue.", add_bytes },
		{ "queue_errors", NULL, "Those that failed, by queue.", add_errors },
		{ "queue_page_waits", NULL, "Those that waited for DMA memory, by queue.",
		  add_page_waits },
		{ "queue_stage_seconds", "seconds", "Their time in each stage, by queue.",
		  add_stage_sums },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct family family = { out, rows[i].add };

		describe(out, rows[i].name, "counter", rows[i].unit, rows[i].help);
		nvmet_target_each_queue(&daemon->target, add_queue, &family);
	}
}

/* --- All queues, those that are gone included ------------------------------------------------- */

static void add_sums(const struct nvmet_queue_stats *stats, struct evbuffer *out)
{
	describe(out, "io_commands", "counter", NULL, "I/O commands answered.");
	for (unsigned i = 0; i < NVMET_KINDS; i++)
		evbuffer_add_printf(out, "nvmetd_io_commands_total{command=\"%s\"} %llu\n",
				    nvmet_kind_name(nvmet_kinds[i]),
				    value(&stats->commands[nvmet_kinds[i]]));
	describe(out, "io_bytes", "counter", "bytes", "Their payload.");
	for (unsigned i = 0; i < NVMET_KINDS; i++)
		evbuffer_add_printf(out, "nvmetd_io_bytes_total{command=\"%s\"} %llu\n",
				    nvmet_kind_name(nvmet_kinds[i]),
				    value(&stats->bytes[nvmet_kinds[i]]));
	describe(out, "io_errors", "counter", NULL, "Those that failed.");
	evbuffer_add_printf(out, "nvmetd_io_errors_total %llu\n", value(&stats->errors));
}

static void add_histogram(struct evbuffer *out, const char *name, const char *labels,
			  const struct hist *hist)
{
	unsigned long long count = hist_count(hist);

	for (unsigned shift = LE_FIRST; shift <= LE_LAST; shift++)
		evbuffer_add_printf(
			out, "nvmetd_%s_bucket{%s,le=\"%.10g\"} %llu\n", name, labels,
			(double)(UINT64_C(1) << shift) / 1e9,
			(unsigned long long)hist_count_below(hist, UINT64_C(1) << shift));
	evbuffer_add_printf(out, "nvmetd_%s_bucket{%s,le=\"+Inf\"} %llu\n", name, labels, count);
	evbuffer_add_printf(out, "nvmetd_%s_count{%s} %llu\n", name, labels, count);
	evbuffer_add_printf(out, "nvmetd_%s_sum{%s} %.9f\n", name, labels, seconds(&hist->sum));
}

static void add_histograms(const struct nvmet_latency *latency, struct evbuffer *out)
{
	char labels[64];

	describe(out, "command_seconds", "histogram", "seconds",
		 "Time of I/O commands from capsule to answer.");
	for (unsigned i = 0; i < NVMET_KINDS; i++) {
		snprintf(labels, sizeof(labels), "command=\"%s\"", nvmet_kind_name(nvmet_kinds[i]));
		add_histogram(out, "command_seconds", labels,
			      &latency->stages[nvmet_kinds[i]][NVMET_STAGE_TOTAL]);
	}
	describe(out, "stage_seconds", "histogram", "seconds",
		 "Time of I/O commands in each stage.");
	for (unsigned i = 0; i < NVMET_KINDS * NVMET_STAGE_TOTAL; i++) {
		enum nvmet_dir kind = nvmet_kinds[i / NVMET_STAGE_TOTAL];
		enum nvmet_stage stage = i % NVMET_STAGE_TOTAL;

		snprintf(labels, sizeof(labels), "command=\"%s\",stage=\"%s\"",
			 nvmet_kind_name(kind), nvmet_stage_name(stage));
		add_histogram(out, "stage_seconds", labels, &latency->stages[kind][stage]);
	}
}

int openmetrics_write(const struct daemon *daemon, struct evbuffer *out)
{
	struct nvmet_totals *totals = nvmet_totals_gather(&daemon->target);

	if (!totals)
		return -ENOMEM;
	add_daemon(daemon, out);
	add_counters(daemon, out);
	add_ssds(daemon, out);
	add_workers(daemon, out);
	add_pairs(daemon, out);
	add_queues(daemon, out);
	add_sums(&totals->stats, out);
	add_histograms(&totals->latency, out);
	free(totals);
	return evbuffer_add_printf(out, "# EOF\n") > 0 ? 0 : -ENOMEM;
}
