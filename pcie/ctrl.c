/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The SSD's controller: from whatever state it was left in to READY, and down again. See ctrl.h.
 *
 * Base 3.5.1 (initialisation) and 3.6 (shutdown). One state per wait: register waits are polled by
 * a timer against a deadline, command waits go on in the command's done function (identify.c,
 * ns.c).
 */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pcie/ctrl_internal.h"
#include "pcie/mmio.h"
#include "util/bits.h"
#include "util/clock.h"
#include "util/log.h"
#include "util/num.h"

#define REG_POLL_MS         5
#define SHUTDOWN_DEFAULT_MS 10000u
#define SHUTDOWN_MAX_MS     20000u
#define NVME_GONE           UINT32_C(0xffffffff)

static const char *const state_names[] = {
	[NVME_CTRL_NEW] = "new",           [NVME_CTRL_DISABLING] = "disabling",
	[NVME_CTRL_ENABLING] = "enabling", [NVME_CTRL_IDENTIFY] = "identify",
	[NVME_CTRL_QUEUES] = "queues",     [NVME_CTRL_NAMESPACES] = "namespaces",
	[NVME_CTRL_READY] = "ready",       [NVME_CTRL_PAUSING] = "pausing",
	[NVME_CTRL_ABSENT] = "absent",     [NVME_CTRL_REQUEUING] = "requeuing",
	[NVME_CTRL_SHUTDOWN] = "shutdown", [NVME_CTRL_STOPPED] = "stopped",
	[NVME_CTRL_FAILED] = "failed",
};

#define TO(state) (1u << NVME_CTRL_##state)

/* Where each may go, a bit each; ctrl_internal.h has it in words. */
static const unsigned state_next[] = {
	[NVME_CTRL_NEW] = TO(DISABLING) | TO(PAUSING) | TO(STOPPED),
	[NVME_CTRL_DISABLING] = TO(DISABLING) | TO(ENABLING) | TO(PAUSING) | TO(STOPPED),
	[NVME_CTRL_ENABLING] = TO(IDENTIFY) | TO(PAUSING) | TO(STOPPED),
	[NVME_CTRL_IDENTIFY] = TO(QUEUES) | TO(PAUSING) | TO(STOPPED),
	[NVME_CTRL_QUEUES] = TO(NAMESPACES) | TO(PAUSING) | TO(STOPPED),
	[NVME_CTRL_NAMESPACES] = TO(READY) | TO(REQUEUING) | TO(PAUSING) | TO(STOPPED),
	[NVME_CTRL_READY] = TO(PAUSING) | TO(SHUTDOWN),
	[NVME_CTRL_PAUSING] = TO(DISABLING) | TO(ABSENT) | TO(FAILED) | TO(STOPPED),
	[NVME_CTRL_REQUEUING] = TO(READY) | TO(PAUSING) | TO(STOPPED),
	[NVME_CTRL_ABSENT] = TO(DISABLING) | TO(PAUSING) | TO(STOPPED),
	[NVME_CTRL_SHUTDOWN] = TO(PAUSING) | TO(STOPPED),
	[NVME_CTRL_STOPPED] = 0,
	[NVME_CTRL_FAILED] = TO(DISABLING) | TO(PAUSING) | TO(STOPPED),
};

void nvme_ctrl_set_state(struct nvme_ctrl *ctrl, enum nvme_ctrl_state state)
{
	must(state_next[ctrl->state] & 1u << state);
	log_debug("%s: %s -> %s", ctrl->name, state_names[ctrl->state], state_names[state]);
	ctrl->state = state;
}

bool nvme_ctrl_is_ready(const struct nvme_ctrl *ctrl)
{
	return ctrl->state == NVME_CTRL_READY;
}

const char *nvme_ctrl_name(const struct nvme_ctrl *ctrl)
{
	return ctrl->name;
}

const char *nvme_ctrl_state_name(const struct nvme_ctrl *ctrl)
{
	return state_names[ctrl->state];
}

bool nvme_ctrl_responds(const struct nvme_ctrl *ctrl)
{
	return ctrl->dev && mmio_read32(ctrl->dev, NVME_REG_CSTS) != NVME_GONE;
}

const struct nvme_ctrl_info *nvme_ctrl_info(const struct nvme_ctrl *ctrl)
{
	return &ctrl->info;
}

static void poll_after(struct nvme_ctrl *ctrl, unsigned ms)
{
	const struct timeval after = clock_timeval(ms);

	evtimer_add(ctrl->timer, &after);
}

static void wait_until(struct nvme_ctrl *ctrl, enum nvme_ctrl_state state, uint64_t timeout_ms)
{
	nvme_ctrl_set_state(ctrl, state);
	ctrl->deadline_ns = clock_now_ns() + timeout_ms * NSEC_PER_MSEC;
	poll_after(ctrl, 0);
}

/* --- Bring-up --------------------------------------------------------------------------------- */

static uint64_t cap_timeout_ms(const struct nvme_ctrl *ctrl)
{
	uint64_t ms = NVME_CAP_TO(ctrl->info.cap) * UINT64_C(500);

	return ms ? ms : 500;
}

/* The same one after a reset: its commands have ended, or wait elsewhere. */
static int make_adminq(struct nvme_ctrl *ctrl)
{
	const struct nvme_qpair_params params = {
		.dev = ctrl->dev,
		.name = ctrl->name,
		.pool = ctrl->params.pool,
		.irq_fd = ctrl->n_irqs ? ctrl->irq_fds[0] : -1,
		.entries = NVME_ADMIN_ENTRIES,
		.max_transfer = ctrl->params.max_transfer,
		.doorbell_stride = ctrl->doorbell_stride,
	};
	int err = 0;

	if (ctrl->adminq) {
		nvme_qpair_rewind(ctrl->adminq);
		ctrl->adminq->dev = ctrl->dev;
	} else {
		err = nvme_qpair_new(&params, &ctrl->adminq);
	}
	return err ? err : nvme_qpair_attach(ctrl->adminq, ctrl->params.loop);
}

static void enable(struct nvme_ctrl *ctrl)
{
	int err = nvme_vectors_on(ctrl);

	if (!err)
		err = make_adminq(ctrl);
	if (err) {
		log_err("%s: no admin queue: %s", ctrl->name, strerror(-err));
		nvme_ctrl_fail(ctrl, "interrupts or memory for the admin queue could not be had");
		return;
	}
	mmio_write32(ctrl->dev, NVME_REG_AQA,
		     (NVME_ADMIN_ENTRIES - 1) << 16 | (NVME_ADMIN_ENTRIES - 1));
	mmio_write64(ctrl->dev, NVME_REG_ASQ, ctrl->adminq->sq_iova);
	mmio_write64(ctrl->dev, NVME_REG_ACQ, ctrl->adminq->cq_iova);
	mmio_write32(ctrl->dev, NVME_REG_CC,
		     NVME_SQE_SHIFT << NVME_CC_IOSQES_SHIFT |
			     NVME_CQE_SHIFT << NVME_CC_IOCQES_SHIFT | NVME_CC_EN);
	ctrl->admin_up = true;
	wait_until(ctrl, NVME_CTRL_ENABLING, cap_timeout_ms(ctrl));
}

void nvme_ctrl_ns_done(struct nvme_ctrl *ctrl)
{
	if (ctrl->known) {
		nvme_recovery_requeue(ctrl);
		return;
	}
	ctrl->known = true;
	ctrl->out_of_patience = ctrl->was_gone = false; /* of tries before: no command was there */
	nvme_admin_arm_aers(ctrl);
	nvme_ctrl_set_state(ctrl, NVME_CTRL_READY);
	nvme_retry_ready(ctrl);
	log_info("%s: ready: %u namespaces, %u I/O queue pairs of up to %u entries, %u interrupt "
		 "vectors, transfers up to %zu KiB%s",
		 ctrl->name, ctrl->n_ns, ctrl->info.n_queues, ctrl->info.max_entries, ctrl->n_irqs,
		 ctrl->info.max_transfer >> 10, ctrl->shadow_on ? ", shadow doorbells" : "");
	ctrl->scan.changed = false; /* whoever hears of READY looks for himself */
	ctrl->params.events->ready(ctrl, ctrl->params.arg);
}

/* --- Register waits --------------------------------------------------------------------------- */

static void stopped(struct nvme_ctrl *ctrl)
{
	if (ctrl->dev)
		ctrl->dev->ops->set_interrupts(ctrl->dev, NULL, 0);
	evtimer_del(ctrl->timer);
	nvme_ctrl_set_state(ctrl, NVME_CTRL_STOPPED);
	nvme_recovery_quiet(ctrl);
	nvme_admin_end_parked(ctrl);
	ctrl->params.events->stopped(ctrl, ctrl->params.arg);
}

/* Looks at CSTS for what the state waits for; returns false to go on waiting. */
static bool register_reached(struct nvme_ctrl *ctrl, uint32_t csts)
{
	switch (ctrl->state) {
	case NVME_CTRL_DISABLING:
		if (csts & NVME_CSTS_RDY)
			return false;
		if (ctrl->known)
			nvme_recovery_quiet(ctrl);
		enable(ctrl);
		return true;
	case NVME_CTRL_ENABLING:
		if (!(csts & NVME_CSTS_RDY))
			return false;
		nvme_ctrl_identify(ctrl);
		return true;
	case NVME_CTRL_SHUTDOWN:
		if (NVME_CSTS_SHST(csts) != NVME_CSTS_SHST_DONE)
			return false;
		mmio_write32(ctrl->dev, NVME_REG_CC, 0);
		stopped(ctrl);
		return true;
	default:
		return true;
	}
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct nvme_ctrl *ctrl = arg;
	uint32_t csts = mmio_read32(ctrl->dev, NVME_REG_CSTS);

	(void)fd;
	(void)what;
	if (csts == NVME_GONE) {
		nvme_ctrl_gone(ctrl, "its registers read all ones: it is gone");
	} else if ((csts & NVME_CSTS_CFS) && ctrl->state == NVME_CTRL_ENABLING) {
		nvme_ctrl_recover(ctrl, "it reports a fatal error (CSTS.CFS)");
	} else if (!register_reached(ctrl, csts)) {
		if (clock_now_ns() < ctrl->deadline_ns)
			poll_after(ctrl, REG_POLL_MS);
		else if (ctrl->state == NVME_CTRL_SHUTDOWN)
			nvme_ctrl_fail(ctrl, "it does not finish its shutdown in time");
		else
			nvme_ctrl_recover(ctrl, "CSTS.RDY does not follow CC.EN within CAP.TO");
	}
}

void nvme_ctrl_disable(struct nvme_ctrl *ctrl)
{
	mmio_write32(ctrl->dev, NVME_REG_CC,
		     mmio_read32(ctrl->dev, NVME_REG_CC) & ~(NVME_CC_EN | NVME_CC_SHN_MASK));
	wait_until(ctrl, NVME_CTRL_DISABLING, cap_timeout_ms(ctrl));
}

/* What a try before has found: it was never READY, so this may be another SSD. */
static void forget(struct nvme_ctrl *ctrl)
{
	nvme_qpair_free(ctrl->adminq, ctrl->params.pool);
	ctrl->adminq = NULL;
	nvme_vectors_fini(ctrl);
	nvme_ns_forget(ctrl);
	ctrl->info = (struct nvme_ctrl_info){ 0 };
	ctrl->shadow_on = false;
}

/* Whatever a predecessor left: a fatal error needs a reset, an enabled controller is disabled. */
void nvme_ctrl_start(struct nvme_ctrl *ctrl)
{
	struct pcie_device *dev = ctrl->dev;
	uint32_t csts = mmio_read32(dev, NVME_REG_CSTS);
	uint64_t cap;

	if (csts == NVME_GONE) {
		nvme_ctrl_gone(ctrl, "its registers read all ones: it does not answer");
		return;
	}
	if ((csts & NVME_CSTS_CFS) && dev->ops->reset(dev))
		log_warn("%s: it reports a fatal error and cannot be reset", dev->name);
	if (!ctrl->known)
		forget(ctrl);
	cap = mmio_read64(dev, NVME_REG_CAP);
	if (ctrl->known && cap != ctrl->info.cap) {
		nvme_ctrl_fail(ctrl, "another SSD is in its place (CAP)");
		return;
	}
	ctrl->info.cap = cap;
	ctrl->info.vs = mmio_read32(dev, NVME_REG_VS);
	ctrl->info.max_entries = NVME_CAP_MQES(ctrl->info.cap) + 1;
	ctrl->doorbell_stride = 4u << NVME_CAP_DSTRD(ctrl->info.cap);
	if (NVME_CAP_MPSMIN(ctrl->info.cap) > 0) {
		nvme_ctrl_fail(ctrl, "its smallest memory page is over 4 KiB (CAP.MPSMIN)");
		return;
	}
	if (!(NVME_CAP_CSS(ctrl->info.cap) & 1)) {
		nvme_ctrl_fail(ctrl, "it does not know the NVM command set (CAP.CSS)");
		return;
	}
	if (NVME_CAP_MQES(ctrl->info.cap) == 0) {
		nvme_ctrl_fail(ctrl, "its queues hold no command (CAP.MQES is 0)");
		return;
	}
	if (!nvme_ctrl_doorbell_pairs(ctrl)) {
		nvme_ctrl_fail(ctrl, "its doorbells are beyond its BAR (CAP.DSTRD)");
		return;
	}
	nvme_ctrl_disable(ctrl);
}

void nvme_ctrl_shutdown(struct nvme_ctrl *ctrl)
{
	/* Microseconds in the field; a lying SSD's must not outlast a service
	 * manager's patience. */
	uint32_t rtd3e_ms = num_min(le32_get(ctrl->info.id.rtd3e) / 1000, SHUTDOWN_MAX_MS);
	uint32_t cc;

	ctrl->leaving = true;
	if (ctrl->state != NVME_CTRL_READY) {
		nvme_recovery_quiesce(ctrl);
		stopped(ctrl);
		return;
	}
	cc = mmio_read32(ctrl->dev, NVME_REG_CC) & ~NVME_CC_SHN_MASK;
	mmio_write32(ctrl->dev, NVME_REG_CC, cc | NVME_CC_SHN_NORMAL << NVME_CC_SHN_SHIFT);
	wait_until(ctrl, NVME_CTRL_SHUTDOWN, num_max(rtd3e_ms, SHUTDOWN_DEFAULT_MS));
}

/* --- Life ------------------------------------------------------------------------------------- */

static void on_device_event(void *arg, enum pcie_device_event event)
{
	struct nvme_ctrl *ctrl = arg;

	switch (event) {
	case PCIE_DEVICE_GONE:
		nvme_ctrl_gone(ctrl, "it was removed");
		break;
	case PCIE_DEVICE_BACK:
		if (ctrl->state == NVME_CTRL_ABSENT)
			nvme_ctrl_take_up(ctrl, ctrl->dev);
		break;
	case PCIE_DEVICE_REQUEST:
		nvme_ctrl_gone(ctrl, "the kernel asks for it back");
		break;
	case PCIE_DEVICE_ERROR:
		ctrl->hard = true;
		nvme_ctrl_recover(ctrl, "an uncorrected PCIe error was signalled");
		break;
	}
}

static int take_device(struct nvme_ctrl *ctrl, struct pcie_device *dev)
{
	ctrl->dev = dev;
	dev->looks_after_doorbell = true; /* nvme_qpair's work_run() */
	if (!ctrl->known)                 /* else it is the same, and queue pairs' owners read it */
		snprintf(ctrl->name, sizeof(ctrl->name), "%s", dev->name);
	return dev->ops->watch(dev, ctrl->params.loop, on_device_event, ctrl);
}

void nvme_ctrl_take_up(struct nvme_ctrl *ctrl, struct pcie_device *dev)
{
	must(ctrl->state == NVME_CTRL_ABSENT);
	log_info("%s: it is there%s", ctrl->name, ctrl->known ? " again" : "");
	if (ctrl->dev != dev) {
		int err = take_device(ctrl, dev);

		if (err)
			log_warn("%s: its events cannot be watched: %s", ctrl->name,
				 strerror(-err));
	}
	ctrl->absent_told = false;
	ctrl->was_gone = true;
	ctrl->attempts = 0;
	nvme_ctrl_set_state(ctrl, NVME_CTRL_DISABLING);
	nvme_ctrl_start(ctrl);
}

int nvme_ctrl_new(const struct nvme_ctrl_params *params, struct nvme_ctrl **ret_ctrl)
{
	struct nvme_ctrl *ctrl = calloc(1, sizeof(*ctrl));
	int err = -ENOMEM;

	if (!ctrl)
		return -ENOMEM;
	ctrl->params = *params;
	if (!params->dev) {
		ctrl->state = NVME_CTRL_ABSENT;
		ctrl->why = "it was not there, or could not be opened, at the start";
		snprintf(ctrl->name, sizeof(ctrl->name), "%s", params->name);
	}
	nvme_admin_init(ctrl);
	nvme_recovery_init(ctrl);
	ctrl->qids = calloc(BITS_WORDS(UINT16_MAX), sizeof(ctrl->qids[0]));
	ctrl->timer = evtimer_new(params->loop->base, on_timer, ctrl);
	if (!ctrl->qids || !ctrl->timer || !ctrl->admin_timer || !ctrl->patience ||
	    !nvme_retry_init(ctrl) || !nvme_ns_init(ctrl) ||
	    !dma_alloc(params->pool, NVME_IDENTIFY_SIZE, &ctrl->buf))
		goto fail;
	err = params->dev ? take_device(ctrl, params->dev) : 0;
	if (err)
		goto fail;
	*ret_ctrl = ctrl;
	return 0;

fail:
	nvme_ctrl_free(ctrl);
	return err;
}

void nvme_ctrl_free(struct nvme_ctrl *ctrl)
{
	if (!ctrl)
		return;
	must(ctrl->qids_used == 0);
	nvme_admin_fini(ctrl);
	nvme_recovery_fini(ctrl);
	nvme_retry_fini(ctrl);
	nvme_ns_fini(ctrl);
	if (ctrl->adminq)
		nvme_qpair_detach(ctrl->adminq);
	nvme_qpair_free(ctrl->adminq, ctrl->params.pool);
	if (ctrl->timer)
		event_free(ctrl->timer);
	nvme_vectors_fini(ctrl);
	dma_free(ctrl->params.pool, &ctrl->buf);
	dma_free(ctrl->params.pool, &ctrl->shadow);
	dma_free(ctrl->params.pool, &ctrl->events);
	free(ctrl->qids);
	free(ctrl);
}
