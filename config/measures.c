/* SPDX-License-Identifier: BSD-3-Clause */
/* Measurements as JSON; see measures.h. */
#include "config/measures.h"

#include <stdlib.h>
#include <string.h>

#include "config/daemon.h"
#include "config/report.h"
#include "target/ctrl.h"
#include "target/latency.h"
#include "target/queue.h"
#include "target/ssd.h"
#include "target/subsystem.h"
#include "target/worker.h"
#include "util/check.h"

static json_t *number(const struct counter *counter)
{
	return json_integer((json_int_t)counter_get(counter));
}

static json_t *us(const struct hist *hist, double part)
{
	return json_real((double)hist_percentile(hist, part) / 1000);
}

static json_t *buckets(const struct hist *hist)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < HIST_BUCKETS; i++) {
		uint64_t count = counter_get(&hist->buckets[i]);

		if (count)
			json_array_append_new(list, json_pack("[i, I]", (int)i, (json_int_t)count));
	}
	return list;
}

/* --- One queue -------------------------------------------------------------------------------- */

/* A stage of all kinds of commands, in `hist`. */
static void read_stage(const struct nvmet_queue *queue, enum nvmet_stage stage, struct hist *hist)
{
	memset(hist, 0, sizeof(*hist));
	for (unsigned kind = 0; kind < NVMET_KINDS; kind++)
		nvmet_latency_add(hist, queue, kind, stage);
}

json_t *measures_queue_latency(const struct nvmet_queue *queue)
{
	static const enum nvmet_stage order[NVMET_STAGES] = {
		NVMET_STAGE_TOTAL, NVMET_STAGE_PAGES, NVMET_STAGE_IN,
		NVMET_STAGE_SSD,   NVMET_STAGE_OUT,
	};
	json_t *list = json_array();

	for (unsigned i = 0; i < NVMET_STAGES; i++) {
		struct hist hist;

		read_stage(queue, order[i], &hist);
		if (hist_count(&hist))
			json_array_append_new(list,
					      json_pack("{s:s, s:I, s:o, s:o}", "stage",
							nvmet_stage_name(order[i]), "count",
							(json_int_t)hist_count(&hist), "p50_us",
							us(&hist, 0.5), "p99_us", us(&hist, 0.99)));
	}
	return list;
}

/* Sums of the times in each stage, and of the whole. */
static void add_times(json_t *item, const struct nvmet_queue *queue, bool with_buckets)
{
	struct hist total;

	for (unsigned stage = 0; stage < NVMET_STAGES; stage++) {
		char name[24];

		snprintf(name, sizeof(name), "%s_us", nvmet_stage_name(stage));
		json_object_set_new(
			item, name,
			json_integer((json_int_t)(nvmet_latency_sum(queue, stage) / 1000)));
	}
	if (!with_buckets)
		return;
	read_stage(queue, NVMET_STAGE_TOTAL, &total);
	json_object_set_new(item, "buckets", buckets(&total));
}

struct queue_list {
	json_t *list;
	bool with_buckets;
};

static void add_queue(void *arg, const struct nvmet_queue *queue)
{
	const struct queue_list *queues = arg;
	const struct nvmet_queue_stats *stats = &queue->stats;
	const struct nvmet_ctrl *ctrl = queue->ctrl;
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
	json_object_set_new(item, "page_waits", number(&stats->page_waits));
	add_times(item, queue, queues->with_buckets);
	json_array_append_new(queues->list, item);
}

json_t *measures_queues(const struct daemon *daemon, const json_t *request)
{
	struct queue_list queues = {
		.list = json_array(),
		.with_buckets = json_is_true(json_object_get(request, "buckets")),
	};

	nvmet_target_each_queue(&daemon->target, add_queue, &queues);
	return json_pack("{s:o}", "queues", queues.list);
}

/* --- Queue pairs ------------------------------------------------------------------------------ */

static json_t *pair_item(const struct daemon_ssd *ssd, const struct nvmet_qpair_share *share)
{
	const struct nvme_qpair *qpair = share->qpair;
	const struct nvme_qpair_stats *stats = &qpair->stats;
	json_t *item = json_pack("{s:o, s:i, s:i, s:i}", "ssd", report_text(ssd->conf->name), "qid",
				 qpair->qid, "worker", share->worker->index, "users",
				 share->n_users);

	json_object_set_new(item, "submitted", number(&stats->submitted));
	json_object_set_new(item, "completed", number(&stats->completed));
	json_object_set_new(item, "doorbells", number(&stats->doorbells));
	json_object_set_new(item, "interrupts", number(&stats->interrupts));
	json_object_set_new(item, "cq_polls", number(&stats->polls));
	json_object_set_new(item, "lost_interrupts", number(&stats->lost_interrupts));
	json_object_set_new(item, "overdue", number(&stats->overdue));
	json_object_set_new(item, "reissued", number(&stats->reissued));
	return item;
}

json_t *measures_pairs(const struct daemon *daemon, const json_t *request)
{
	const struct nvmet_qpair_share *share;
	json_t *list = json_array();

	(void)request;
	for (unsigned i = 0; i < daemon->n_ssds; i++) {
		if (!daemon->ssds[i].ssd)
			continue;
		TAILQ_FOREACH (share, &daemon->ssds[i].ssd->shares, link) {
			if (share->qpair)
				json_array_append_new(list, pair_item(&daemon->ssds[i], share));
		}
	}
	return json_pack("{s:o}", "pairs", list);
}

/* --- Each kind of command in each stage ------------------------------------------------------- */

static const struct nvmet_queue *find_queue(const struct daemon *daemon, const json_t *request)
{
	const char *nqn = json_string_value(json_object_get(request, "subsystem"));
	json_int_t cntlid = json_integer_value(json_object_get(request, "cntlid"));
	json_int_t qid = json_integer_value(json_object_get(request, "qid"));
	const struct nvmet_subsystem *subsys;
	const struct nvmet_ctrl *ctrl;

	if (!nqn || qid < 1 || qid > NVMET_MAX_QUEUES)
		return NULL;
	TAILQ_FOREACH (subsys, &daemon->target.subsystems, link) {
		if (strcmp(subsys->nqn, nqn) != 0)
			continue;
		TAILQ_FOREACH (ctrl, &subsys->ctrls, link) {
			if (ctrl->cntlid == cntlid)
				return ctrl->queues[qid];
		}
	}
	return NULL;
}

/* What the request is about: one queue, or all. The caller frees it. NULL: it has been refused. */
static struct nvmet_totals *gather(const struct daemon *daemon, const json_t *request,
				   json_t **ret_error)
{
	struct nvmet_totals *totals = NULL;
	const struct nvmet_queue *queue;

	if (!json_object_get(request, "subsystem") && !json_object_get(request, "cntlid") &&
	    !json_object_get(request, "qid")) {
		totals = nvmet_totals_gather(&daemon->target);
	} else {
		queue = find_queue(daemon, request);
		if (!queue) {
			*ret_error = report_error("there is no such I/O queue: see \"queues\"");
			return NULL;
		}
		totals = calloc(1, sizeof(*totals));
		if (totals)
			nvmet_totals_add(totals, queue);
	}
	if (!totals)
		*ret_error = report_error("out of memory");
	return totals;
}

static json_t *stages(const struct daemon *daemon, const json_t *request, bool with_buckets)
{
	json_t *list, *error = NULL;
	struct nvmet_totals *totals = gather(daemon, request, &error);

	if (!totals)
		return error;
	list = json_array();
	for (unsigned i = 0; i < NVMET_KINDS * NVMET_STAGES; i++) {
		enum nvmet_dir kind = nvmet_kinds[i / NVMET_STAGES];
		enum nvmet_stage stage = i % NVMET_STAGES;
		const struct hist *hist = &totals->latency.stages[kind][stage];
		json_t *item = json_pack("{s:s, s:s, s:I, s:I}", "command", nvmet_kind_name(kind),
					 "stage", nvmet_stage_name(stage), "count",
					 (json_int_t)hist_count(hist), "sum_us",
					 (json_int_t)(counter_get(&hist->sum) / 1000));

		if (with_buckets) {
			json_object_set_new(item, "buckets", buckets(hist));
		} else {
			json_object_set_new(item, "p50_us", us(hist, 0.5));
			json_object_set_new(item, "p99_us", us(hist, 0.99));
			json_object_set_new(item, "p999_us", us(hist, 0.999));
		}
		json_array_append_new(list, item);
	}
	free(totals);
	return json_pack("{s:o}", "stages", list);
}

json_t *measures_latency(const struct daemon *daemon, const json_t *request)
{
	return stages(daemon, request, false);
}

json_t *measures_histograms(const struct daemon *daemon, const json_t *request)
{
	return stages(daemon, request, true);
}
