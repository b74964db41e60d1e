/* SPDX-License-Identifier: BSD-3-Clause */
/* A host's controller; see ctrl.h. NVM Express Base Specification 2.0, 3.1.3, 3.5, 3.9. */
#include "target/ctrl.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pcie/ctrl.h"
#include "target/aen.h"
#include "target/assoc.h"
#include "target/auth.h"
#include "target/host.h"
#include "target/queue.h"
#include "target/req.h"
#include "target/ssd.h"
#include "target/subsystem.h"
#include "target/target.h"
#include "util/check.h"
#include "util/clock.h"
#include "util/log.h"
#include "util/loop.h"
#include "util/num.h"

/* Hosts can come and go as often as they like. Main thread. */
static struct log_limit life_limit = LOG_LIMIT_INIT(500);
#define log_life(...)  log_limited(&life_limit, LOG_LEVEL_INFO, __VA_ARGS__)

#define CAP_TO_500MS   20 /* 10 s: taking I/O queues off the SSD is all that RDY ever waits for */
#define CC_WRITABLE    UINT32_C(0x00fffff1) /* the other bits are read-only: 0 */
#define CC_ENTRY_SIZES (UINT32_C(0xff) << NVME_CC_IOSQES_SHIFT) /* IOSQES, IOCQES */

const char *nvmet_ctrl_name(const struct nvmet_ctrl *ctrl)
{
	static char name[2 * NVMF_NQN_MAX + 32]; /* main thread only */

	snprintf(name, sizeof(name), "ctrl %u of %s at %s", ctrl->cntlid, ctrl->hostnqn,
		 ctrl->subsys->nqn);
	return name;
}

struct nvmet_ctrl *nvmet_ctrl_find(struct nvmet_subsystem *subsys, uint16_t cntlid)
{
	struct nvmet_ctrl *ctrl;

	TAILQ_FOREACH (ctrl, &subsys->ctrls, link) {
		if (ctrl->cntlid == cntlid)
			return ctrl;
	}
	return NULL;
}

/* Each in turn, so that a number is not used again soon. 0: none is left. */
static uint16_t next_cntlid(struct nvmet_subsystem *subsys)
{
	for (unsigned tries = 0; tries < NVMF_CNTLID_MAX; tries++) {
		uint16_t cntlid = subsys->next_cntlid;

		subsys->next_cntlid = cntlid == NVMF_CNTLID_MAX ? 1 : (uint16_t)(cntlid + 1);
		if (!nvmet_ctrl_find(subsys, cntlid))
			return cntlid;
	}
	return 0;
}

/* MQES: what every SSD of the subsystem can hold, with one ring entry kept free (Base 3.3.1.1). */
static uint64_t make_cap(const struct nvmet_subsystem *subsys)
{
	uint32_t entries = NVMET_MAX_ENTRIES;

	for (unsigned i = 0; i < subsys->n_ssds; i++) {
		uint32_t max = nvme_ctrl_info(subsys->ssds[i]->ctrl)->max_entries;

		entries = num_min(entries, max - 1);
	}
	if (entries < 2)
		entries = 2; /* MQES may not be 0; a ring that is too small makes commands wait */
	return (uint64_t)(entries - 1) << NVME_CAP_MQES_SHIFT | NVME_CAP_CQR_BIT |
	       (uint64_t)CAP_TO_500MS << NVME_CAP_TO_SHIFT | UINT64_C(1) << NVME_CAP_CSS_SHIFT |
	       NVME_CAP_CRWMS_BIT;
}

static void keep_alive_expired(evutil_socket_t fd, short what, void *arg);
static void enable_expired(evutil_socket_t fd, short what, void *arg);
static void watch_enabled(struct nvmet_ctrl *ctrl);

/* What it has of others; as far as it has it. */
static void ctrl_destroy(struct nvmet_ctrl *ctrl)
{
	if (ctrl->keep_alive)
		event_free(ctrl->keep_alive);
	if (ctrl->enable_timer)
		event_free(ctrl->enable_timer);
	if (ctrl->host)
		nvmet_host_put(ctrl->host);
	free(ctrl);
}

int nvmet_ctrl_new(struct nvmet_subsystem *subsys, const struct nvmf_connect_data *data,
		   uint32_t kato_ms, struct nvmet_ctrl **ret_ctrl)
{
	struct nvmet_ctrl *ctrl = calloc(1, sizeof(*ctrl));
	const struct nvmet_host_entry *entry;

	if (!ctrl)
		return -ENOMEM;
	ctrl->cntlid = next_cntlid(subsys);
	if (!ctrl->cntlid) {
		free(ctrl);
		return -ENOSPC;
	}
	ctrl->keep_alive = evtimer_new(subsys->target->loop->base, keep_alive_expired, ctrl);
	ctrl->enable_timer = evtimer_new(subsys->target->loop->base, enable_expired, ctrl);
	snprintf(ctrl->hostnqn, sizeof(ctrl->hostnqn), "%.*s", NVMF_NQN_MAX, data->hostnqn);
	ctrl->host = nvmet_host_get(subsys->target, ctrl->hostnqn);
	if (!ctrl->keep_alive || !ctrl->enable_timer || !ctrl->host) {
		ctrl_destroy(ctrl);
		return -ENOMEM;
	}
	ctrl->subsys = subsys;
	memcpy(ctrl->hostid, data->hostid, sizeof(ctrl->hostid));
	ctrl->cap = make_cap(subsys);
	ctrl->n_ssds = subsys->n_ssds;
	nvmet_promise_make(subsys, ctrl->n_ssds, &ctrl->promise);
	entry = nvmet_subsystem_host(subsys, ctrl->hostnqn);
	ctrl->access = entry ? &entry->access : NULL;
	ctrl->max_qid = subsys->max_queues;
	if (ctrl->access && ctrl->access->max_queues)
		ctrl->max_qid = num_min(ctrl->max_qid, ctrl->access->max_queues);
	nvmet_aen_init(ctrl);
	TAILQ_INSERT_TAIL(&subsys->ctrls, ctrl, link);
	subsys->target->n_ctrls++;
	subsys->target->n_discovery_ctrls += subsys->discovery;
	nvmet_ctrl_set_kato(ctrl, kato_ms);
	watch_enabled(ctrl);
	*ret_ctrl = ctrl;
	return 0;
}

static void ctrl_free(struct nvmet_ctrl *ctrl)
{
	struct nvmet_target *target = ctrl->subsys->target;

	log_life("%s: gone", nvmet_ctrl_name(ctrl));
	TAILQ_REMOVE(&ctrl->subsys->ctrls, ctrl, link);
	target->n_ctrls--;
	target->n_discovery_ctrls -= ctrl->subsys->discovery;
	nvmet_host_put(ctrl->host); /* who waits may need its place */
	ctrl->host = NULL;
	nvmet_assoc_retry(ctrl);
	ctrl_destroy(ctrl);
}

void nvmet_ctrl_add_queue(struct nvmet_ctrl *ctrl, struct nvmet_queue *queue)
{
	must(!ctrl->queues[queue->qid]);
	ctrl->queues[queue->qid] = queue;
	ctrl->n_queues++;
	queue->ctrl = ctrl;
}

static void close_io_queues(struct nvmet_ctrl *ctrl, const char *why)
{
	for (unsigned qid = 1; qid <= NVMET_MAX_QUEUES; qid++) {
		if (ctrl->queues[qid])
			nvmet_queue_close(ctrl->queues[qid], why);
	}
}

/* Closes all connections of the controller; `why` is a constant string. */
static void kill_ctrl(struct nvmet_ctrl *ctrl, const char *why)
{
	ctrl->dead = true;
	ctrl->csts |= NVME_CSTS_CFS;
	event_del(ctrl->keep_alive);
	event_del(ctrl->enable_timer);
	close_io_queues(ctrl, why);
	if (ctrl->queues[0])
		nvmet_queue_close(ctrl->queues[0], why);
}

void nvmet_ctrl_queue_dying(struct nvmet_ctrl *ctrl, struct nvmet_queue *queue)
{
	if (queue->qid != 0)
		return;
	kill_ctrl(ctrl, "its controller's admin connection ended");
	nvmet_aen_abort_all(ctrl, NVME_SC_ABORTED_SQ_DELETION);
}

static void set_shst(struct nvmet_ctrl *ctrl, uint32_t shst)
{
	ctrl->csts = (ctrl->csts & ~NVME_CSTS_SHST_MASK) | shst << NVME_CSTS_SHST_SHIFT;
}

/* CC.EN = 0 and CC.SHN are done when the SSD has let go of the I/O queues (Base 3.5.3, 3.6). */
static void io_queues_gone(struct nvmet_ctrl *ctrl)
{
	if (!(ctrl->cc & NVME_CC_EN))
		ctrl->csts &= ~(NVME_CSTS_RDY | NVME_CSTS_CFS);
	if (NVME_CC_SHN(ctrl->cc))
		set_shst(ctrl, NVME_CSTS_SHST_DONE);
}

void nvmet_ctrl_remove_queue(struct nvmet_ctrl *ctrl, struct nvmet_queue *queue)
{
	must(ctrl->queues[queue->qid] == queue);
	ctrl->queues[queue->qid] = NULL;
	ctrl->n_queues--;
	if (ctrl->n_queues == 0 && ctrl->dead) {
		ctrl_free(ctrl);
		return;
	}
	if (!nvmet_ctrl_has_io_queues(ctrl))
		io_queues_gone(ctrl);
	if (!ctrl->dead)
		nvmet_assoc_retry(ctrl);
}

/* What we have, or not set yet: hosts learn the sizes by Identify, once it is enabled. */
static bool size_supported(uint32_t shift, uint32_t ours)
{
	return shift == 0 || shift == ours;
}

/* Base 3.1.3.5: what we can do is what CAP says. */
static bool cc_supported(uint32_t cc)
{
	return NVME_CC_MPS(cc) == 0 && NVME_CC_CSS(cc) == 0 && NVME_CC_AMS(cc) == 0 &&
	       size_supported(NVME_CC_IOSQES(cc), NVME_SQE_SHIFT) &&
	       size_supported(NVME_CC_IOCQES(cc), NVME_CQE_SHIFT);
}

bool nvmet_ctrl_takes_io_queues(const struct nvmet_ctrl *ctrl)
{
	return nvmet_ctrl_is_enabled(ctrl) && !NVME_CC_SHN(ctrl->cc) && NVME_CC_IOSQES(ctrl->cc) &&
	       NVME_CC_IOCQES(ctrl->cc);
}

static void ctrl_enable(struct nvmet_ctrl *ctrl)
{
	if (!cc_supported(ctrl->cc)) {
		log_limited(&life_limit, LOG_LEVEL_WARN,
			    "%s: enabled with CC %08x, which it was not offered",
			    nvmet_ctrl_name(ctrl), ctrl->cc);
		ctrl->csts |= NVME_CSTS_CFS;
		return;
	}
	ctrl->csts = NVME_CSTS_RDY;
	log_life("%s: enabled", nvmet_ctrl_name(ctrl));
}

/* What must not be changed while the controller is enabled. */
static uint16_t check_cc_change(const struct nvmet_ctrl *ctrl, uint32_t cc)
{
	uint32_t fixed = ~(NVME_CC_EN | NVME_CC_SHN_MASK);

	if (!(ctrl->cc & NVME_CC_EN) || !(cc & NVME_CC_EN))
		return 0;
	if (!nvmet_ctrl_has_io_queues(ctrl) && cc_supported(cc))
		fixed &= ~CC_ENTRY_SIZES;
	return (ctrl->cc ^ cc) & fixed ? NVME_SC_INVALID_FIELD | NVME_STATUS_DNR : 0;
}

uint16_t nvmet_ctrl_set_cc(struct nvmet_ctrl *ctrl, uint32_t value)
{
	/* Without I/O queues they have no entries: reserved in discovery controllers. */
	uint32_t writable = ctrl->subsys->discovery ? CC_WRITABLE & ~CC_ENTRY_SIZES : CC_WRITABLE;
	uint32_t cc = value & writable, old = ctrl->cc;
	uint16_t status = check_cc_change(ctrl, cc);

	if (status)
		return status;
	ctrl->cc = cc;
	if ((cc & NVME_CC_EN) && !(old & NVME_CC_EN))
		ctrl_enable(ctrl);
	if (!(cc & NVME_CC_EN) && (old & NVME_CC_EN)) {
		log_life("%s: disabled", nvmet_ctrl_name(ctrl));
		nvmet_aen_abort_all(ctrl, NVME_SC_ABORTED_SQ_DELETION);
		nvmet_aen_init(ctrl);
		close_io_queues(ctrl, "its controller was disabled");
	}
	if (NVME_CC_SHN(cc) && !NVME_CC_SHN(old)) {
		log_life("%s: shut down", nvmet_ctrl_name(ctrl));
		set_shst(ctrl, NVME_CSTS_SHST_BUSY);
		close_io_queues(ctrl, "its controller was shut down");
	}
	if (!NVME_CC_SHN(cc))
		ctrl->csts &= ~NVME_CSTS_SHST_MASK;
	if (!nvmet_ctrl_has_io_queues(ctrl))
		io_queues_gone(ctrl);
	watch_enabled(ctrl);
	return 0;
}

/* A controller that is not enabled, or was shut down, is of no use to its host, and takes the place
 * of another. The specification has no deadline for that; hosts enable one at once. */
static void watch_enabled(struct nvmet_ctrl *ctrl)
{
	unsigned ms = ctrl->subsys->target->limits.enable_timeout_ms;
	const struct timeval timeout = clock_timeval(ms);

	if (!ms || ctrl->dead || (nvmet_ctrl_is_enabled(ctrl) && !NVME_CC_SHN(ctrl->cc)))
		evtimer_del(ctrl->enable_timer);
	else if (!evtimer_pending(ctrl->enable_timer, NULL))
		evtimer_add(ctrl->enable_timer, &timeout);
}

static void enable_expired(evutil_socket_t fd, short what, void *arg)
{
	struct nvmet_ctrl *ctrl = arg;

	(void)fd;
	(void)what;
	log_limited(&life_limit, LOG_LEVEL_WARN,
		    "%s: not enabled by its host in time: ending the association",
		    nvmet_ctrl_name(ctrl));
	kill_ctrl(ctrl, "its controller was not enabled in time");
}

/*
 * Base 3.9, traffic based keep-alive: any command of the host counts. The timer looks once per
 * KATO, so a host has gone unheard for one to two KATO when its association is ended. A host that
 * is at its authentication has nothing to say while it calculates; that has a deadline of its own.
 */
static void keep_alive_expired(evutil_socket_t fd, short what, void *arg)
{
	struct nvmet_ctrl *ctrl = arg;
	bool heard = false;

	(void)fd;
	(void)what;
	for (unsigned qid = 0; qid <= NVMET_MAX_QUEUES; qid++) {
		struct nvmet_queue *queue = ctrl->queues[qid];

		if (queue && (__atomic_exchange_n(&queue->active, false, __ATOMIC_RELAXED) ||
			      !nvmet_auth_done(queue)))
			heard = true;
	}
	if (heard) {
		nvmet_ctrl_set_kato(ctrl, ctrl->kato_ms);
		return;
	}
	log_limited(&life_limit, LOG_LEVEL_WARN,
		    "%s: keep-alive timer expired (KATO %u ms): ending the association",
		    nvmet_ctrl_name(ctrl), ctrl->kato_ms);
	kill_ctrl(ctrl, "keep-alive timer expired");
}

/* Base 5.27.1.12: up to the granularity that Identify's KAS states. */
static uint32_t round_kato(uint32_t kato_ms)
{
	const uint32_t most = UINT32_MAX - UINT32_MAX % NVMET_KAS_MS;

	if (kato_ms >= most)
		return most;
	return (kato_ms + NVMET_KAS_MS - 1) / NVMET_KAS_MS * NVMET_KAS_MS;
}

void nvmet_ctrl_set_kato(struct nvmet_ctrl *ctrl, uint32_t kato_ms)
{
	const struct nvmet_limits *limits = &ctrl->subsys->target->limits;
	unsigned ms = round_kato(kato_ms);
	struct timeval timeout;

	ctrl->kato_ms = ms;
	if (!ms && ctrl->subsys->discovery)
		ms = limits->discovery_timeout_ms; /* theirs, when they ask for none */
	timeout = clock_timeval(ms);
	if (ms && !ctrl->dead)
		evtimer_add(ctrl->keep_alive, &timeout);
	else
		evtimer_del(ctrl->keep_alive);
}

void nvmet_ctrl_log_error(struct nvmet_ctrl *ctrl, const struct nvmet_req *req)
{
	struct nvme_error_entry *entry = &ctrl->errors[ctrl->error_count % NVMET_ERROR_SLOTS];
	const struct nvmf_cmd *fabrics = (const struct nvmf_cmd *)&req->cmd;

	/* Base 6.3: one of a queue that is connected already is not the controller's to log. */
	if (fabrics->opcode == NVME_OPCODE_FABRICS && fabrics->fctype == NVMF_CONNECT)
		return;
	ctrl->error_count++;
	*entry = (struct nvme_error_entry){
		.error_count = le64_set(ctrl->error_count),
		.sqid = le16_set(req->queue->qid),
		.cid = req->cmd.cid,
		.status = req->cqe.status,
		.param_error_location = le16_set(req->error_loc),
		.nsid = req->cmd.nsid,
		.trtype = NVMF_TRTYPE_TCP,
	};
	if (req->queue->qid != 0 && req->ns)
		entry->lba = le64_set(nvmet_slba(req));
}
