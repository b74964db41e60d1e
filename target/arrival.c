/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * SSDs that come late; see arrival.h.
 *
 * A controller takes the SSDs of its subsystem in their order, one at a time. Each of its I/O
 * queues gets a queue pair (ssd.h), by way of the main thread, and attaches it on its worker; when
 * the last of them has, the controller uses the SSD. A queue is not released meanwhile
 * (control_outstanding), so neither queue nor controller goes away.
 *
 * A queue whose Connect is under way takes what its subsystem has by then (fabrics.c).
 */
#include "target/arrival.h"

#include <errno.h>
#include <string.h>

#include "target/aen.h"
#include "target/ctrl.h"
#include "target/queue.h"
#include "target/ssd.h"
#include "target/subsystem.h"
#include "target/target.h"
#include "target/worker.h"
#include "util/log.h"

static void take_next(struct nvmet_ctrl *ctrl);

static const struct nvmet_ssd *next_ssd(const struct nvmet_ctrl *ctrl)
{
	return ctrl->subsys->ssds[ctrl->n_ssds];
}

/* It is asked no more, for SSDs have their order: the line is about all that come later, too. */
static void stay_behind(struct nvmet_ctrl *ctrl, const char *why)
{
	static struct log_limit limit = LOG_LIMIT_INIT(20); /* main thread only */

	ctrl->stays_behind = true;
	log_limited(&limit, LOG_LEVEL_WARN,
		    "%s: it does not see the SSD %s until its host connects anew (nvme reset), "
		    "nor later ones: %s",
		    nvmet_ctrl_name(ctrl), next_ssd(ctrl)->name, why);
}

/* All its queues have a path. */
static void use(struct nvmet_ctrl *ctrl)
{
	const struct nvmet_subsystem *subsys = ctrl->subsys;
	unsigned path = ctrl->n_ssds;

	ctrl->n_ssds = path + 1;
	for (uint32_t nsid = 1; nsid <= subsys->max_nsid; nsid++) {
		const struct nvmet_ns *ns = nvmet_ctrl_ns(ctrl, nsid);

		if (ns && ns->path == path)
			nvmet_aen_namespace(ctrl, nsid);
	}
}

/* One queue has its path, or will not have it. */
static void step_over(struct nvmet_ctrl *ctrl, int err)
{
	if (err && !ctrl->stays_behind)
		stay_behind(ctrl, err == -EBUSY ? "no queue pair is left for its queues"
						: strerror(-err));
	if (--ctrl->n_arriving || ctrl->dead || ctrl->stays_behind)
		return;
	use(ctrl);
	take_next(ctrl);
}

static void path_over(struct nvmet_queue *queue, int err)
{
	step_over(queue->ctrl, err);
	queue->control_outstanding--;
	if (queue->dying)
		nvmet_queue_release_continue(queue);
}

static void attached(struct loop_msg *msg)
{
	struct nvmet_queue *queue = container_of(msg, struct nvmet_queue, arrival_msg);

	path_over(queue, queue->arrival_err);
}

/* Worker. A queue that is not live any more takes no command. */
static void attach(struct loop_msg *msg)
{
	struct nvmet_queue *queue = container_of(msg, struct nvmet_queue, arrival_msg);

	queue->arrival_err = 0;
	if (queue->live) {
		queue->arrival_err = nvmet_ssd_attach(&queue->paths[queue->n_paths]);
		if (!queue->arrival_err)
			queue->n_paths++;
	}
	loop_post(queue->target->loop, &queue->arrival_msg, attached);
}

static void got_path(struct nvmet_queue *queue, int err)
{
	if (err || queue->dying)
		path_over(queue, err);
	else
		loop_post(&queue->worker->loop, &queue->arrival_msg, attach);
}

static void take_path(struct nvmet_queue *queue, struct nvmet_ssd *ssd, unsigned index)
{
	int err;

	if (queue->dying || queue->connect || queue->paths[index].share)
		return;
	queue->ctrl->n_arriving++;
	queue->control_outstanding++;
	queue->paths[index].late = true;
	err = nvmet_ssd_get(ssd, queue, index, queue->entries, got_path);
	if (err != -EINPROGRESS)
		got_path(queue, err);
}

static void take_next(struct nvmet_ctrl *ctrl)
{
	const struct nvmet_subsystem *subsys = ctrl->subsys;
	unsigned index = ctrl->n_ssds;
	struct nvmet_promise now;

	if (ctrl->dead || ctrl->stays_behind || ctrl->n_arriving || index == subsys->n_ssds)
		return;
	nvmet_promise_make(subsys, index + 1, &now);
	if (!nvmet_promise_holds(&ctrl->promise, &now)) {
		stay_behind(ctrl,
			    "it can do less than this host was told (MDTS, commands and their "
			    "limits, atomic writes, fused pairs), or has a write cache");
		return;
	}
	ctrl->n_arriving = 1; /* none is the last before all were asked */
	for (unsigned qid = 1; qid <= NVMET_MAX_QUEUES; qid++) {
		if (ctrl->queues[qid])
			take_path(ctrl->queues[qid], subsys->ssds[index], index);
	}
	step_over(ctrl, 0);
}

void nvmet_ssd_arrived(struct nvmet_ssd *ssd)
{
	struct nvmet_subsystem *subsys;
	struct nvmet_ctrl *ctrl;

	TAILQ_FOREACH (subsys, &ssd->target->subsystems, link) {
		if (nvmet_subsystem_path_of(subsys, ssd) < 0)
			continue;
		TAILQ_FOREACH (ctrl, &subsys->ctrls, link)
			take_next(ctrl);
	}
}
