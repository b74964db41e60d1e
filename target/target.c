/* SPDX-License-Identifier: BSD-3-Clause */
/* The root of the model; see target.h. */
#include "target/target.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "pcie/ctrl.h"
#include "target/aen.h"
#include "target/ctrl.h"
#include "target/latency.h"
#include "target/ssd.h"
#include "target/subsystem.h"
#include "util/check.h"
#include "util/num.h"

int nvmet_target_init(struct nvmet_target *target, struct loop *loop, struct worker *workers,
		      unsigned n_workers)
{
	struct nvmet_subsystem *discovery;
	int err;

	*target = (struct nvmet_target){
		.loop = loop,
		.workers = workers,
		.n_workers = n_workers,
		.max_transfer = 1u << 20,
	};
	TAILQ_INIT(&target->subsystems);
	TAILQ_INIT(&target->ports);
	TAILQ_INIT(&target->ssds);
	LIST_INIT(&target->hosts);
	TAILQ_INIT(&target->parked_connects);
	target->ended = calloc(1, sizeof(*target->ended));
	if (!target->ended)
		return -ENOMEM;
	err = nvmet_subsystem_new(target, NVMF_DISCOVERY_NQN, &discovery);
	if (err) {
		free(target->ended);
		target->ended = NULL;
		return err;
	}
	discovery->discovery = true;
	discovery->max_queues = 0;
	discovery->max_transfer = NVMET_DISCOVERY_TRANSFER;
	return 0;
}

void nvmet_target_fini(struct nvmet_target *target)
{
	struct nvmet_subsystem *subsys;
	struct nvmet_ssd *ssd;

	must(TAILQ_EMPTY(&target->parked_connects));
	while ((subsys = TAILQ_FIRST(&target->subsystems)) != NULL)
		nvmet_subsystem_free(subsys);
	while ((ssd = TAILQ_FIRST(&target->ssds)) != NULL)
		nvmet_ssd_free(ssd);
	if (target->park_timer)
		event_free(target->park_timer);
	target->park_timer = NULL;
	free(target->ended);
	target->ended = NULL;
}

void nvmet_target_add_port(struct nvmet_target *target, struct nvmet_port *port)
{
	uint16_t portid = 1;
	struct nvmet_port *other;

	TAILQ_FOREACH (other, &target->ports, link)
		portid = other->portid >= portid ? (uint16_t)(other->portid + 1) : portid;
	port->portid = portid;
	TAILQ_INSERT_TAIL(&target->ports, port, link);
	nvmet_target_discovery_changed(target);
}

void nvmet_target_remove_port(struct nvmet_target *target, struct nvmet_port *port)
{
	TAILQ_REMOVE(&target->ports, port, link);
	nvmet_target_discovery_changed(target);
}

void nvmet_target_discovery_changed(struct nvmet_target *target)
{
	const uint32_t dw0 =
		NVME_AER_DW0(NVME_AER_NOTICE, NVME_AER_NOTICE_DISCOVERY, NVME_LOG_DISCOVERY);
	struct nvmet_subsystem *subsys;
	struct nvmet_ctrl *ctrl;

	target->genctr++;
	TAILQ_FOREACH (subsys, &target->subsystems, link) {
		if (!subsys->discovery)
			continue;
		TAILQ_FOREACH (ctrl, &subsys->ctrls, link)
			nvmet_aen_raise(ctrl, dw0);
	}
}

unsigned nvmet_target_n_usable_workers(const struct nvmet_target *target)
{
	const struct nvmet_ssd *ssd;
	unsigned n = target->n_workers;

	TAILQ_FOREACH (ssd, &target->ssds, link)
		n = num_min(n, nvme_ctrl_info(ssd->ctrl)->n_queues);
	return num_max(n, 1u);
}

void nvmet_target_each_queue(const struct nvmet_target *target,
			     void (*fn)(void *arg, const struct nvmet_queue *queue), void *arg)
{
	const struct nvmet_subsystem *subsys;
	const struct nvmet_ctrl *ctrl;

	TAILQ_FOREACH (subsys, &target->subsystems, link) {
		TAILQ_FOREACH (ctrl, &subsys->ctrls, link) {
			for (unsigned qid = 1; qid <= NVMET_MAX_QUEUES; qid++) {
				if (ctrl->queues[qid])
					fn(arg, ctrl->queues[qid]);
			}
		}
	}
}

struct nvmet_subsystem *nvmet_target_find(struct nvmet_target *target, const char *nqn)
{
	struct nvmet_subsystem *subsys;

	TAILQ_FOREACH (subsys, &target->subsystems, link) {
		if (strcmp(subsys->nqn, nqn) == 0)
			return subsys;
	}
	return NULL;
}
