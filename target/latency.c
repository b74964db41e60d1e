/* SPDX-License-Identifier: BSD-3-Clause */
/* Histograms of queues: making, adding up, naming; see latency.h. */
#include "target/latency.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "target/target.h"

/* Pages of its own, which are not resident before they are written. Neighbours look like one large
 * mapping to the kernel, so it must be told not to back it by huge pages. */
struct nvmet_latency *nvmet_latency_new(void)
{
	struct nvmet_latency *latency = mmap(NULL, sizeof(*latency), PROT_READ | PROT_WRITE,
					     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (latency == MAP_FAILED)
		return NULL;
	(void)madvise(latency, sizeof(*latency), MADV_NOHUGEPAGE); /* a kernel without has none */
	return latency;
}

void nvmet_latency_free(struct nvmet_latency *latency)
{
	if (latency)
		munmap(latency, sizeof(*latency));
}

void nvmet_latency_late(struct nvmet_req *req, uint64_t now)
{
	struct hist *stages = req->latency->stages[req->dir];

	/* Pages that took time have been counted, and moved stage_ns on. */
	if (req->stage_ns == req->begun_ns && req->dir != NVMET_DIR_NONE)
		hist_add(&stages[NVMET_STAGE_PAGES], 0, 1);
	hist_add(&stages[NVMET_STAGE_IN], now - req->stage_ns, 1);
	req->stage_ns = now;
}

void nvmet_latency_add(struct hist *to, const struct nvmet_queue *queue, enum nvmet_dir kind,
		       enum nvmet_stage stage)
{
	const struct nvmet_latency *latency = queue->latency;

	if (!latency || !counter_get(&queue->stats.commands[kind]))
		return;
	hist_merge(to, &latency->stages[kind][stage]);
	if (stage == NVMET_STAGE_IN || (stage == NVMET_STAGE_PAGES && kind != NVMET_DIR_NONE))
		hist_add(to, 0, counter_get(&latency->at_once[kind]));
}

uint64_t nvmet_latency_sum(const struct nvmet_queue *queue, enum nvmet_stage stage)
{
	uint64_t sum = 0;

	for (unsigned kind = 0; kind < NVMET_KINDS; kind++) {
		if (queue->latency && counter_get(&queue->stats.commands[kind]))
			sum += counter_get(&queue->latency->stages[kind][stage].sum);
	}
	return sum;
}

void nvmet_totals_add(struct nvmet_totals *to, const struct nvmet_queue *queue)
{
	const struct nvmet_queue_stats *stats = &queue->stats;

	for (unsigned kind = 0; kind < NVMET_KINDS; kind++) {
		counter_add(&to->stats.commands[kind], counter_get(&stats->commands[kind]));
		counter_add(&to->stats.bytes[kind], counter_get(&stats->bytes[kind]));
		for (unsigned stage = 0; stage < NVMET_STAGES; stage++)
			nvmet_latency_add(&to->latency.stages[kind][stage], queue, kind, stage);
	}
	counter_add(&to->stats.errors, counter_get(&stats->errors));
	counter_add(&to->stats.page_waits, counter_get(&stats->page_waits));
}

static void add_queue(void *arg, const struct nvmet_queue *queue)
{
	nvmet_totals_add(arg, queue);
}

struct nvmet_totals *nvmet_totals_gather(const struct nvmet_target *target)
{
	struct nvmet_totals *totals = malloc(sizeof(*totals));

	if (!totals)
		return NULL;
	*totals = *target->ended;
	nvmet_target_each_queue(target, add_queue, totals);
	return totals;
}

const enum nvmet_dir nvmet_kinds[NVMET_KINDS] = {
	NVMET_DIR_READ,
	NVMET_DIR_WRITE,
	NVMET_DIR_NONE,
};

const char *nvmet_kind_name(enum nvmet_dir dir)
{
	switch (dir) {
	case NVMET_DIR_READ:
		return "read";
	case NVMET_DIR_WRITE:
		return "write";
	default:
		return "other";
	}
}

const char *nvmet_stage_name(enum nvmet_stage stage)
{
	static const char *const names[NVMET_STAGES] = {
		[NVMET_STAGE_PAGES] = "pages", [NVMET_STAGE_IN] = "network_in",
		[NVMET_STAGE_SSD] = "ssd",     [NVMET_STAGE_OUT] = "network_out",
		[NVMET_STAGE_TOTAL] = "total",
	};

	return names[stage];
}
