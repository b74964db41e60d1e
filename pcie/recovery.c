/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An SSD that breaks down, and how it comes back without its users' noticing more than a pause.
 *
 *   fault → PAUSING: every owner of a queue pair lets go (a visit to its thread and back)
 *         → DISABLING: CC.EN = 0, or a reset of the function; from CSTS.RDY = 0 on the SSD is
 *           quiet: completions that came before count, the other commands go back on their rings
 *         → bring-up as at the start; it must be the same SSD with the same namespaces
 *         → REQUEUING: Create CQ and SQ for each queue pair → READY: their owners go on
 *
 * A fault on the way begins anew; NVME_MAX_ATTEMPTS for one outage and NVME_MAX_RESETS within
 * NVME_RESETS_S end in FAILED, from where it is tried again (retry.c). A device that is gone waits
 * in ABSENT, quiet, for its return.
 *
 * Between PAUSING and READY the rings are their owners' still: the main thread has visits done to
 * them, one at a time for each queue pair. Queue pairs that are being made or deleted are the main
 * thread's own (with_main).
 *
 * To issue a command again means that the SSD may execute it twice: docs/reliability.md says what
 * follows from that.
 */
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "pcie/ctrl_internal.h"
#include "pcie/mmio.h"
#include "util/clock.h"
#include "util/log.h"
#include "util/num.h"

/* What is done to a queue pair on its owner's thread, in this order. */
enum visit {
	VISIT_PAUSE = 1,
	VISIT_ANSWER = 2, /* to its report */
	VISIT_REPLAY = 4,
	VISIT_REFUSE = 8,
	VISIT_RESUME = 16,
};

/* --- Visits ----------------------------------------------------------------------------------- */

static void visit_do(struct nvme_qpair *qp, unsigned what)
{
	/* Detached with commands: it is on its way to its deletion, which ends them. */
	bool leaving = !qp->loop && qp->outstanding;

	if (what & VISIT_PAUSE)
		nvme_qpair_pause(qp);
	if (what & VISIT_ANSWER)
		nvme_watch_answered(qp);
	if (leaving)
		return;
	if (what & VISIT_REPLAY)
		nvme_qpair_replay(qp);
	if (what & VISIT_REFUSE)
		nvme_qpair_refuse(qp, NVME_SC_HOST_PATH_ERROR);
	if (what & VISIT_RESUME) {
		qp->dev = qp->main.ctrl->dev;
		qp->data_align = qp->dev->data_align;
		nvme_qpair_resume(qp);
	}
}

/* Goes on with what waits for all visits to be over. */
static void visits_look(struct nvme_ctrl *ctrl)
{
	void (*over)(struct nvme_ctrl *) = ctrl->visits_over;

	if (ctrl->n_visits || !over)
		return;
	ctrl->visits_over = NULL;
	over(ctrl);
}

static void visit_back(struct loop_msg *msg);

/* On the owner's thread. */
static void visit_on_owner(struct loop_msg *msg)
{
	struct nvme_qpair *qp = container_of(msg, struct nvme_qpair, main.visit);

	visit_do(qp, qp->main.doing);
	loop_post(qp->main.ctrl->params.loop, &qp->main.visit, visit_back);
}

static void visit_send(struct nvme_qpair *qp)
{
	qp->main.doing = qp->main.wanted;
	qp->main.wanted = 0;
	qp->main.visiting = true;
	qp->main.ctrl->n_visits++;
	loop_post(qp->main.home, &qp->main.visit, visit_on_owner);
}

static void visit_back(struct loop_msg *msg)
{
	struct nvme_qpair *qp = container_of(msg, struct nvme_qpair, main.visit);
	struct nvme_ctrl *ctrl = qp->main.ctrl;

	qp->main.visiting = false;
	ctrl->n_visits--;
	if (qp->main.deletion)
		nvme_queues_deletion_continue(qp);
	else if (qp->main.wanted)
		visit_send(qp);
	visits_look(ctrl);
}

static void visit(struct nvme_qpair *qp, unsigned what)
{
	if (qp->main.deletion)
		return;
	if (qp->main.with_main) {
		visit_do(qp, what);
		return;
	}
	if (what & VISIT_PAUSE)
		qp->main.wanted &= ~(unsigned)VISIT_RESUME;
	if (what & VISIT_RESUME)
		qp->main.wanted &= ~(unsigned)VISIT_REFUSE;
	qp->main.wanted |= what;
	if (!qp->main.visiting)
		visit_send(qp);
}

static void visit_all(struct nvme_ctrl *ctrl, unsigned what)
{
	struct nvme_qpair *qp;

	TAILQ_FOREACH (qp, &ctrl->qpairs, main.link)
		visit(qp, what);
}

static void step(struct loop_msg *msg)
{
	struct nvme_ctrl *ctrl = container_of(msg, struct nvme_ctrl, step_msg);

	ctrl->step_posted = false;
	visits_look(ctrl);
}

/* `over` is called from the loop when no visit is under way any more. */
static void after_visits(struct nvme_ctrl *ctrl, void (*over)(struct nvme_ctrl *ctrl))
{
	ctrl->visits_over = over;
	if (ctrl->n_visits || ctrl->step_posted)
		return;
	ctrl->step_posted = true;
	loop_post(ctrl->params.loop, &ctrl->step_msg, step);
}

/* --- Outages ---------------------------------------------------------------------------------- */

void nvme_recovery_quiesce(struct nvme_ctrl *ctrl)
{
	int err;

	if (!ctrl->dev || ctrl->state == NVME_CTRL_FAILED)
		return;
	ctrl->dev->ops->set_interrupts(ctrl->dev, NULL, 0);
	if (!nvme_ctrl_responds(ctrl))
		return; /* what is not there does no DMA */
	mmio_write32(ctrl->dev, NVME_REG_CC, 0);
	err = ctrl->dev->ops->reset(ctrl->dev);
	if (err && ctrl->dev->ops->stop_dma)
		err = ctrl->dev->ops->stop_dma(ctrl->dev); /* as when the kernel is unbinding it */
	if (!err || err == -ENOTSUP)
		return;
	log_err("%s: reset failed: %s", ctrl->name, strerror(-err));
	if (!nvme_ctrl_responds(ctrl))
		return;
	/* The pages of its commands are about to be used again. The end of the process closes the
	 * device, and with that the kernel takes all memory from it. */
	log_err("%s: it cannot be kept from DMA: ending", ctrl->name);
	abort();
}

void nvme_recovery_quiet(struct nvme_ctrl *ctrl)
{
	struct nvme_qpair *qp;

	ctrl->admin_up = false;
	if (ctrl->adminq)
		nvme_qpair_detach(ctrl->adminq);
	TAILQ_FOREACH (qp, &ctrl->qpairs, main.link)
		qp->main.on_ssd = false;
	nvme_admin_quiet(ctrl);
	nvme_queues_deletions(ctrl);
	visit_all(ctrl, VISIT_REPLAY | (ctrl->out_of_patience ? VISIT_REFUSE : 0));
}

static void tell_unavailable(struct nvme_ctrl *ctrl)
{
	const struct nvme_ctrl_events *events = ctrl->params.events;

	if (ctrl->unavailable_told)
		return;
	ctrl->unavailable_told = true;
	if (events->unavailable)
		events->unavailable(ctrl, ctrl->why, ctrl->params.arg);
}

static void report_failed(struct loop_msg *msg)
{
	struct nvme_ctrl *ctrl = container_of(msg, struct nvme_ctrl, failed_msg);

	if (ctrl->known)
		tell_unavailable(ctrl);
	ctrl->params.events->failed(ctrl, ctrl->why, ctrl->params.arg);
}

static void failed(struct nvme_ctrl *ctrl)
{
	nvme_recovery_quiesce(ctrl);
	ctrl->out_of_patience = true;
	nvme_ctrl_set_state(ctrl, NVME_CTRL_FAILED);
	nvme_recovery_quiet(ctrl);
	nvme_admin_end_parked(ctrl);
	evtimer_del(ctrl->patience);
	nvme_retry_later(ctrl);
	loop_post(ctrl->params.loop, &ctrl->failed_msg, report_failed);
}

static void tell_absent(struct nvme_ctrl *ctrl)
{
	if (ctrl->state != NVME_CTRL_ABSENT || ctrl->dev->returns || ctrl->absent_told)
		return;
	ctrl->absent_told = true;
	if (!ctrl->params.events->absent)
		return;
	ctrl->dev = NULL;
	ctrl->params.events->absent(ctrl, ctrl->params.arg);
}

static void gone(struct nvme_ctrl *ctrl)
{
	nvme_recovery_quiesce(ctrl);
	nvme_ctrl_set_state(ctrl, NVME_CTRL_ABSENT);
	nvme_recovery_quiet(ctrl);
	after_visits(ctrl, tell_absent);
}

void nvme_recovery_reset_function(struct nvme_ctrl *ctrl)
{
	int err = ctrl->dev->ops->reset(ctrl->dev);

	if (err)
		log_warn("%s: the function cannot be reset: %s", ctrl->name, strerror(-err));
}

static void reset(struct nvme_ctrl *ctrl)
{
	if (!nvme_ctrl_responds(ctrl)) {
		gone(ctrl);
		return;
	}
	if (ctrl->hard || ctrl->attempts > 1)
		nvme_recovery_reset_function(ctrl);
	ctrl->hard = false;
	nvme_ctrl_disable(ctrl);
}

/* Nobody uses the SSD but us. */
static void paused(struct nvme_ctrl *ctrl)
{
	if (ctrl->state != NVME_CTRL_PAUSING)
		return; /* it was shut down in the meantime */
	switch (ctrl->outage) {
	case NVME_OUTAGE_RESET:
		reset(ctrl);
		break;
	case NVME_OUTAGE_GONE:
		gone(ctrl);
		break;
	case NVME_OUTAGE_FAILED:
		failed(ctrl);
		break;
	}
}

static void out_of_patience(evutil_socket_t fd, short what, void *arg)
{
	struct nvme_ctrl *ctrl = arg;

	(void)fd;
	(void)what;
	if (ctrl->out_of_patience)
		return;
	log_err("%s: not back after %u ms (%s): commands end with an error until it is", ctrl->name,
		ctrl->params.patience_ms, ctrl->why);
	ctrl->out_of_patience = true;
	nvme_admin_end_parked(ctrl);
	tell_unavailable(ctrl);
	if (ctrl->state != NVME_CTRL_PAUSING && ctrl->state != NVME_CTRL_DISABLING)
		visit_all(ctrl, VISIT_REFUSE); /* else as soon as it is quiet */
}

static void begin(struct nvme_ctrl *ctrl, enum nvme_outage outage, const char *why)
{
	const struct timeval patience = clock_timeval(ctrl->params.patience_ms);
	bool already = ctrl->state == NVME_CTRL_PAUSING;

	if (ctrl->state == NVME_CTRL_READY) {
		ctrl->outage_ns = clock_now_ns();
		evtimer_add(ctrl->patience, &patience);
	}
	if (!already || outage > ctrl->outage) {
		ctrl->outage = outage;
		ctrl->why = why;
	}
	if (already)
		return;
	evtimer_del(ctrl->timer);
	nvme_ctrl_set_state(ctrl, NVME_CTRL_PAUSING);
	visit_all(ctrl, VISIT_PAUSE);
	after_visits(ctrl, paused);
}

static bool over(const struct nvme_ctrl *ctrl)
{
	return ctrl->state == NVME_CTRL_FAILED || ctrl->state == NVME_CTRL_STOPPED;
}

void nvme_ctrl_fail(struct nvme_ctrl *ctrl, const char *why)
{
	if (over(ctrl) || (ctrl->state == NVME_CTRL_PAUSING && ctrl->outage == NVME_OUTAGE_FAILED))
		return;
	log_err("%s: failed while %s: %s", ctrl->name, nvme_ctrl_state_name(ctrl), why);
	begin(ctrl, NVME_OUTAGE_FAILED, why);
}

/* Whether as many resets as are allowed are all recent. */
static bool too_many(struct nvme_ctrl *ctrl)
{
	uint64_t now = clock_now_ns(), *oldest = &ctrl->resets_ns[ctrl->n_resets % NVME_MAX_RESETS];

	if (*oldest && now - *oldest < NVME_RESETS_S * NSEC_PER_SEC)
		return true;
	*oldest = now;
	ctrl->n_resets++;
	return false;
}

void nvme_ctrl_recover(struct nvme_ctrl *ctrl, const char *why)
{
	if (over(ctrl) || ctrl->state == NVME_CTRL_PAUSING || ctrl->state == NVME_CTRL_ABSENT)
		return;
	if (!ctrl->known || ctrl->state == NVME_CTRL_SHUTDOWN) {
		nvme_ctrl_fail(ctrl, why);
		return;
	}
	if (ctrl->state == NVME_CTRL_READY)
		ctrl->attempts = 0;
	if (ctrl->attempts == NVME_MAX_ATTEMPTS || too_many(ctrl)) {
		log_err("%s: it does not stay up: no more resets", ctrl->name);
		nvme_ctrl_fail(ctrl, why);
		return;
	}
	log_warn("%s: %s: resetting it", ctrl->name, why);
	begin(ctrl, NVME_OUTAGE_RESET, why);
	ctrl->attempts++;
}

void nvme_ctrl_gone(struct nvme_ctrl *ctrl, const char *why)
{
	if (ctrl->state == NVME_CTRL_STOPPED || ctrl->state == NVME_CTRL_ABSENT)
		return;
	if (!nvme_ctrl_may_return(ctrl) || ctrl->state == NVME_CTRL_SHUTDOWN) {
		nvme_ctrl_fail(ctrl, why);
		return;
	}
	log_err("%s: gone while %s: %s", ctrl->name, nvme_ctrl_state_name(ctrl), why);
	begin(ctrl, NVME_OUTAGE_GONE, why);
}

/* --- The way back ----------------------------------------------------------------------------- */

static void ready_again(struct nvme_ctrl *ctrl)
{
	const struct nvme_ctrl_events *events = ctrl->params.events;

	nvme_ctrl_set_state(ctrl, NVME_CTRL_READY);
	log_warn("%s: ready again after %llu ms (%s)", ctrl->name,
		 (unsigned long long)((clock_now_ns() - ctrl->outage_ns) / NSEC_PER_MSEC),
		 ctrl->why);
	evtimer_del(ctrl->patience);
	nvme_retry_ready(ctrl);
	ctrl->out_of_patience = false;
	if (ctrl->was_gone && ctrl->info.volatile_write_cache && events->cache_lost)
		events->cache_lost(ctrl, ctrl->params.arg);
	ctrl->was_gone = false;
	nvme_admin_arm_aers(ctrl);
	visit_all(ctrl, VISIT_RESUME);
	nvme_admin_send_parked(ctrl);
	nvme_queues_deletions(ctrl);
	nvme_ns_tell(ctrl);
	if (!ctrl->unavailable_told)
		return;
	ctrl->unavailable_told = false;
	if (events->available)
		events->available(ctrl, ctrl->params.arg);
}

static void requeue_next(struct nvme_ctrl *ctrl)
{
	struct nvme_qpair *qp;

	if (ctrl->state != NVME_CTRL_REQUEUING)
		return;
	TAILQ_FOREACH (qp, &ctrl->qpairs, main.link) {
		if (qp->main.on_ssd || qp->main.deletion)
			continue;
		nvme_queues_create_again(qp, requeue_next);
		return;
	}
	ready_again(ctrl);
}

void nvme_recovery_requeue(struct nvme_ctrl *ctrl)
{
	nvme_ctrl_set_state(ctrl, NVME_CTRL_REQUEUING);
	after_visits(ctrl, requeue_next); /* the rings are in order then */
}

/* --- Reports of watchdogs --------------------------------------------------------------------- */

static void answer(struct nvme_qpair *qp)
{
	visit(qp, VISIT_ANSWER);
}

/* Whatever it says, what counts is whether the command ends: the watchdog looks again. */
static void abort_done(void *arg, const struct nvme_cqe *cqe)
{
	struct nvme_ctrl *ctrl = arg;
	struct nvme_qpair *qp = ctrl->abort_qp;

	ctrl->abort_qp = NULL;
	ctrl->abort_qid = 0;
	log_debug("%s: Abort answered with status %03xh, DW0 %u", ctrl->name, nvme_cqe_status(cqe),
		  le32_get(cqe->dw0));
	if (qp)
		answer(qp);
}

static bool send_abort(struct nvme_ctrl *ctrl, struct nvme_qpair *qp)
{
	const struct nvme_sqe sqe = {
		.opcode = NVME_ADMIN_ABORT,
		.cdw10 = le32_set((uint32_t)qp->held_cid << 16 | qp->qid),
	};

	/* NVME_SLOT_HELD keeps the CID from being any other command's. */
	if (ctrl->abort_qid || qp->n_overdue != 1 || qp->aborted_before ||
	    nvme_admin_send(ctrl, &sqe, 0, 0, abort_done, ctrl))
		return false;
	log_warn("%s: queue %u: a command is not answered: aborting it", ctrl->name, qp->qid);
	ctrl->abort_qp = qp;
	ctrl->abort_qid = qp->qid;
	ctrl->n_aborts++;
	return true;
}

static void on_report(struct loop_msg *msg)
{
	struct nvme_qpair *qp = container_of(msg, struct nvme_qpair, report);
	struct nvme_ctrl *ctrl = qp->main.ctrl;

	qp->main.reports_seen++;
	if (qp->main.deletion) {
		nvme_queues_deletion_continue(qp);
		return;
	}
	if (ctrl->state == NVME_CTRL_READY) {
		uint32_t csts = mmio_read32(ctrl->dev, NVME_REG_CSTS);

		if (!nvme_ctrl_responds(ctrl)) {
			nvme_ctrl_gone(ctrl, "its registers read all ones: it is gone");
		} else if (csts & NVME_CSTS_CFS) {
			nvme_ctrl_recover(ctrl, "it reports a fatal error (CSTS.CFS)");
		} else if (!(csts & NVME_CSTS_RDY)) {
			nvme_ctrl_recover(ctrl, "it was reset, not by us");
		} else if (nvme_admin_is_busy(ctrl)) {
			qp->excused = true;
		} else if (qp->n_overdue) {
			if (send_abort(ctrl, qp))
				return; /* answered when the Abort is */
			log_warn("%s: queue %u: %u commands are not answered", ctrl->name, qp->qid,
				 qp->n_overdue);
			nvme_ctrl_recover(ctrl, "it does not answer I/O commands");
		}
	}
	answer(qp);
}

/* --- Life ------------------------------------------------------------------------------------- */

const char *nvme_ctrl_why(const struct nvme_ctrl *ctrl)
{
	return ctrl->state == NVME_CTRL_READY ? NULL : ctrl->why;
}

unsigned nvme_ctrl_n_resets(const struct nvme_ctrl *ctrl)
{
	return ctrl->n_resets;
}

unsigned nvme_ctrl_n_aborts(const struct nvme_ctrl *ctrl)
{
	return ctrl->n_aborts;
}

void nvme_recovery_forget(struct nvme_ctrl *ctrl, struct nvme_qpair *qp)
{
	must(!qp->main.visiting);
	if (ctrl->abort_qp == qp)
		ctrl->abort_qp = NULL;
	TAILQ_REMOVE(&ctrl->qpairs, qp, main.link);
}

/* A tick is an eighth of the timeout, so that a lost interrupt costs little; 20 ms .. 1 s. */
void nvme_recovery_init(struct nvme_ctrl *ctrl)
{
	unsigned timeout = ctrl->params.io_timeout_ms;
	unsigned tick = num_max(num_min(timeout / 8, 1000u), 20u);

	TAILQ_INIT(&ctrl->qpairs);
	ctrl->watch = (struct nvme_watch){
		.loop = ctrl->params.loop,
		.report = on_report,
		.tick_ms = tick,
		.timeout_ticks = num_max((timeout + tick - 1) / tick, 3u),
	};
	ctrl->patience = evtimer_new(ctrl->params.loop->base, out_of_patience, ctrl);
}

void nvme_recovery_fini(struct nvme_ctrl *ctrl)
{
	if (ctrl->patience)
		event_free(ctrl->patience);
}
