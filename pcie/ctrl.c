/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The SSD's controller: from whatever state it was left in to READY, and down again. See ctrl.h.
 *
 * Base 3.5.1 (initialisation) and 3.6 (shutdown). One state per wait: register waits are polled by
 * a timer against a deadline, command waits go on in the command's done function.
 */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pcie/ctrl_internal.h"
#include "pcie/mmio.h"
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

void nvme_ctrl_set_state(struct nvme_ctrl *ctrl, enum nvme_ctrl_state state)
{
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

/* --- Bring-up -----------------------------------------------------------------------------------
 */

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

/* As many queues have their doorbells inside the BAR. */
static uint32_t doorbell_pairs(const struct nvme_ctrl *ctrl)
{
	size_t len = num_max(ctrl->dev->bar0_len, (size_t)NVME_REG_DOORBELLS);

	return (uint32_t)num_min((len - NVME_REG_DOORBELLS) / (2 * (size_t)ctrl->doorbell_stride),
				 (size_t)UINT16_MAX + 1);
}

/* What fails is tried again after a reset, if it worked before. */
static void broken(struct nvme_ctrl *ctrl, const char *why)
{
	if (ctrl->known)
		nvme_ctrl_recover(ctrl, why);
	else
		nvme_ctrl_fail(ctrl, why);
}

static void queues_done(void *arg, const struct nvme_cqe *cqe);

/* Base 5.27.1.5: 0's based counts of submission and completion queues, asked and granted. */
static void ask_queues(struct nvme_ctrl *ctrl)
{
	uint32_t n = ctrl->params.max_queues - 1;
	const struct nvme_sqe sqe = {
		.opcode = NVME_ADMIN_SET_FEATURES,
		.cdw10 = le32_set(NVME_FEAT_NUM_QUEUES),
		.cdw11 = le32_set(n << 16 | n),
	};

	nvme_ctrl_set_state(ctrl, NVME_CTRL_QUEUES);
	if (nvme_admin_send(ctrl, &sqe, 0, 0, queues_done, ctrl))
		nvme_ctrl_fail(ctrl, "out of memory");
}

static void begin_namespaces(struct nvme_ctrl *ctrl)
{
	nvme_ctrl_set_state(ctrl, NVME_CTRL_NAMESPACES);
	nvme_ns_scan(ctrl);
}

static void dbbuf_done(void *arg, const struct nvme_cqe *cqe)
{
	struct nvme_ctrl *ctrl = arg;

	ctrl->shadow_on = nvme_cqe_status(cqe) == 0;
	if (ctrl->state == NVME_CTRL_QUEUES)
		begin_namespaces(ctrl);
}

/* Shadow doorbells, when the SSD has them (Base 5.9): fewer exits for an emulated or virtual SSD.
 */
static void ask_dbbuf(struct nvme_ctrl *ctrl)
{
	struct nvme_sqe sqe = { .opcode = NVME_ADMIN_DBBUF_CONFIG };
	size_t needed = 2 * ((size_t)ctrl->info.n_queues + 1) * ctrl->doorbell_stride;

	if (!(le16_get(ctrl->info.id.oacs) & NVME_OACS_DBBUF) || needed > NVME_PAGE_SIZE ||
	    (!ctrl->shadow.va && !dma_alloc(ctrl->params.pool, NVME_PAGE_SIZE, &ctrl->shadow)) ||
	    (!ctrl->events.va && !dma_alloc(ctrl->params.pool, NVME_PAGE_SIZE, &ctrl->events))) {
		begin_namespaces(ctrl);
		return;
	}
	memset(ctrl->shadow.va, 0, NVME_PAGE_SIZE);
	memset(ctrl->events.va, 0, NVME_PAGE_SIZE);
	sqe.prp1 = le64_set(ctrl->shadow.iova);
	sqe.prp2 = le64_set(ctrl->events.iova);
	if (nvme_admin_send(ctrl, &sqe, 0, 0, dbbuf_done, ctrl))
		nvme_ctrl_fail(ctrl, "out of memory");
}

static void queues_done(void *arg, const struct nvme_cqe *cqe)
{
	struct nvme_ctrl *ctrl = arg;
	uint32_t granted = le32_get(cqe->dw0);
	uint32_t nsqa = (granted & 0xffff) + 1, ncqa = (granted >> 16) + 1;

	if (ctrl->state != NVME_CTRL_QUEUES)
		return;
	if (nvme_cqe_status(cqe)) {
		broken(ctrl, "it grants no I/O queues");
		return;
	}
	/* Admin queue not counted: its doorbells were looked at before the first was rung. */
	granted = num_min(num_min(ctrl->params.max_queues, num_min(nsqa, ncqa)),
			  doorbell_pairs(ctrl) - 1);
	if (!granted) {
		nvme_ctrl_fail(ctrl, "its BAR has no room for doorbells of I/O queues");
		return;
	}
	if (ctrl->known && granted < ctrl->info.n_queues) {
		nvme_ctrl_fail(ctrl, "it grants fewer I/O queues than before");
		return;
	}
	if (!ctrl->known)
		ctrl->info.n_queues = granted;
	ask_dbbuf(ctrl);
}

static size_t least_transfer(const struct nvme_ctrl *ctrl)
{
	unsigned shift = ctrl->info.id.mdts + NVME_PAGE_SHIFT + NVME_CAP_MPSMIN(ctrl->info.cap);
	size_t ours = ctrl->params.max_transfer;

	if (!ctrl->info.id.mdts || shift >= 31)
		return ours;
	return num_min(ours, (size_t)1 << shift);
}

static void limits_done(void *arg, const struct nvme_cqe *cqe)
{
	struct nvme_ctrl *ctrl = arg;

	if (ctrl->state != NVME_CTRL_IDENTIFY)
		return;
	if (nvme_cqe_status(cqe) == 0)
		memcpy(&ctrl->info.nvm, ctrl->buf.va, sizeof(ctrl->info.nvm));
	ask_queues(ctrl);
}

/* What the NVM command set's own structure says of Write Zeroes and Verify, for hosts to know. */
static void ask_limits(struct nvme_ctrl *ctrl)
{
	const struct nvme_sqe sqe = {
		.opcode = NVME_ADMIN_IDENTIFY,
		.cdw10 = le32_set(NVME_CNS_CS_CTRL),
		.cdw11 = le32_set((uint32_t)NVME_CSI_NVM << 24),
	};

	if (ctrl->info.vs < NVME_VS(1, 4, 0)) {
		ask_queues(ctrl); /* it came with the I/O command sets; older SSDs log an error */
		return;
	}
	memset(ctrl->buf.va, 0, NVME_IDENTIFY_SIZE);
	if (nvme_admin_send(ctrl, &sqe, ctrl->buf.iova, NVME_IDENTIFY_SIZE, limits_done, ctrl))
		nvme_ctrl_fail(ctrl, "out of memory");
}

/* A text field of Identify, padded with spaces (Base 1.4.2), for %.*s. */
#define PADDED(field) text_len(field, sizeof(field)), (field)

static int text_len(const char *text, size_t size)
{
	size_t len = strnlen(text, size);

	while (len && text[len - 1] == ' ')
		len--;
	return (int)len;
}

/* What hosts were told of it, and what its queue pairs and their commands rely on. */
static bool same_ssd(const struct nvme_ctrl *ctrl, const struct nvme_id_ctrl *now)
{
	const struct nvme_id_ctrl *before = &ctrl->info.id;

	return memcmp(now->sn, before->sn, sizeof(now->sn)) == 0 &&
	       memcmp(now->mn, before->mn, sizeof(now->mn)) == 0 && now->mdts == before->mdts &&
	       le16_get(now->oncs) == le16_get(before->oncs) && now->vwc == before->vwc;
}

static void identify_done(void *arg, const struct nvme_cqe *cqe)
{
	struct nvme_ctrl *ctrl = arg;
	struct nvme_ctrl_info *info = &ctrl->info;

	if (ctrl->state != NVME_CTRL_IDENTIFY)
		return;
	if (nvme_cqe_status(cqe)) {
		broken(ctrl, "it does not answer Identify Controller");
		return;
	}
	if (ctrl->known && !same_ssd(ctrl, ctrl->buf.va)) {
		const struct nvme_id_ctrl *now = ctrl->buf.va;

		log_err("%s: found %.*s, serial %.*s, where %.*s, serial %.*s, was", ctrl->name,
			PADDED(now->mn), PADDED(now->sn), PADDED(info->id.mn), PADDED(info->id.sn));
		nvme_ctrl_fail(ctrl, "another SSD is in its place");
		return;
	}
	memcpy(&info->id, ctrl->buf.va, sizeof(info->id));
	if (info->id.cntrltype > 1) {
		nvme_ctrl_fail(ctrl, "it is no I/O controller");
		return;
	}
	info->max_transfer = least_transfer(ctrl);
	info->oncs = le16_get(info->id.oncs);
	info->volatile_write_cache = info->id.vwc & NVME_VWC_PRESENT;
	log_info("%s: %.*s, serial %.*s, firmware %.*s", ctrl->name, PADDED(info->id.mn),
		 PADDED(info->id.sn), PADDED(info->id.fr));
	ask_limits(ctrl);
}

static void identify(struct nvme_ctrl *ctrl)
{
	const struct nvme_sqe sqe = {
		.opcode = NVME_ADMIN_IDENTIFY,
		.cdw10 = le32_set(NVME_CNS_CTRL),
	};

	nvme_ctrl_set_state(ctrl, NVME_CTRL_IDENTIFY);
	memset(ctrl->buf.va, 0, NVME_IDENTIFY_SIZE);
	if (nvme_admin_send(ctrl, &sqe, ctrl->buf.iova, NVME_IDENTIFY_SIZE, identify_done, ctrl))
		nvme_ctrl_fail(ctrl, "out of memory");
}

void nvme_ctrl_ns_done(struct nvme_ctrl *ctrl)
{
	if (ctrl->known) {
		nvme_recovery_requeue(ctrl);
		return;
	}
	ctrl->known = true;
	nvme_admin_arm_aers(ctrl);
	nvme_ctrl_set_state(ctrl, NVME_CTRL_READY);
	log_info("%s: ready: %u namespaces, %u I/O queue pairs of up to %u entries, %u interrupt "
		 "vectors, transfers up to %zu KiB%s",
		 ctrl->name, ctrl->n_ns, ctrl->info.n_queues, ctrl->info.max_entries, ctrl->n_irqs,
		 ctrl->info.max_transfer >> 10, ctrl->shadow_on ? ", shadow doorbells" : "");
	ctrl->scan.changed = false; /* whoever hears of READY looks for himself */
	ctrl->params.events->ready(ctrl, ctrl->params.arg);
}

/* --- Register waits -----------------------------------------------------------------------------
 */

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
		identify(ctrl);
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
		broken(ctrl, "it reports a fatal error (CSTS.CFS)");
	} else if (!register_reached(ctrl, csts)) {
		if (clock_now_ns() < ctrl->deadline_ns)
			poll_after(ctrl, REG_POLL_MS);
		else if (ctrl->state == NVME_CTRL_SHUTDOWN)
			nvme_ctrl_fail(ctrl, "it does not finish its shutdown in time");
		else
			broken(ctrl, "CSTS.RDY does not follow CC.EN within CAP.TO");
	}
}

void nvme_ctrl_disable(struct nvme_ctrl *ctrl)
{
	mmio_write32(ctrl->dev, NVME_REG_CC,
		     mmio_read32(ctrl->dev, NVME_REG_CC) & ~(NVME_CC_EN | NVME_CC_SHN_MASK));
	wait_until(ctrl, NVME_CTRL_DISABLING, cap_timeout_ms(ctrl));
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
	if (!doorbell_pairs(ctrl)) {
		nvme_ctrl_fail(ctrl, "its doorbells are beyond its BAR (CAP.DSTRD)");
		return;
	}
	nvme_ctrl_disable(ctrl);
}

void nvme_ctrl_shutdown(struct nvme_ctrl *ctrl)
{
	/* Microseconds in the field; a lying SSD's must not outlast a service manager's patience.
	 */
	uint32_t rtd3e_ms = num_min(le32_get(ctrl->info.id.rtd3e) / 1000, SHUTDOWN_MAX_MS);
	uint32_t cc;

	if (ctrl->state != NVME_CTRL_READY) {
		nvme_recovery_quiesce(ctrl);
		stopped(ctrl);
		return;
	}
	cc = mmio_read32(ctrl->dev, NVME_REG_CC) & ~NVME_CC_SHN_MASK;
	mmio_write32(ctrl->dev, NVME_REG_CC, cc | NVME_CC_SHN_NORMAL << NVME_CC_SHN_SHIFT);
	wait_until(ctrl, NVME_CTRL_SHUTDOWN, num_max(rtd3e_ms, SHUTDOWN_DEFAULT_MS));
}

/* --- Life ---------------------------------------------------------------------------------------
 */

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

void nvme_ctrl_take_up(struct nvme_ctrl *ctrl, struct pcie_device *dev)
{
	must(ctrl->state == NVME_CTRL_ABSENT);
	log_info("%s: it is there again", ctrl->name);
	if (ctrl->dev != dev) {
		int err = dev->ops->watch(dev, ctrl->params.loop, on_device_event, ctrl);

		ctrl->dev = dev;
		dev->looks_after_doorbell = true;
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
	ctrl->dev = params->dev;
	ctrl->dev->looks_after_doorbell = true; /* nvme_qpair's work_run() */
	snprintf(ctrl->name, sizeof(ctrl->name), "%s", ctrl->dev->name);
	nvme_admin_init(ctrl);
	nvme_recovery_init(ctrl);
	ctrl->qids = calloc(65536 / 64, sizeof(ctrl->qids[0]));
	ctrl->timer = evtimer_new(params->loop->base, on_timer, ctrl);
	if (!ctrl->qids || !ctrl->timer || !ctrl->patience ||
	    !dma_alloc(params->pool, NVME_IDENTIFY_SIZE, &ctrl->buf) ||
	    !dma_alloc(params->pool, NVME_IDENTIFY_SIZE, &ctrl->scan.buf))
		goto fail;
	err = params->dev->ops->watch(params->dev, params->loop, on_device_event, ctrl);
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
	if (ctrl->adminq)
		nvme_qpair_detach(ctrl->adminq);
	nvme_qpair_free(ctrl->adminq, ctrl->params.pool);
	if (ctrl->timer)
		event_free(ctrl->timer);
	nvme_vectors_fini(ctrl);
	dma_free(ctrl->params.pool, &ctrl->buf);
	dma_free(ctrl->params.pool, &ctrl->scan.buf);
	dma_free(ctrl->params.pool, &ctrl->shadow);
	dma_free(ctrl->params.pool, &ctrl->events);
	for (unsigned i = 0; i < ctrl->n_ns; i++)
		free(ctrl->ns[i]);
	free(ctrl->ns);
	free(ctrl->qids);
	free(ctrl);
}
