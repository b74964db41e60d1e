/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Commands on the SSD's admin queue: each is an object that ends exactly once, with the SSD's
 * answer or, when the SSD fails, with Host Path Error. One timer watches the deadlines; an SSD that
 * leaves an admin command unanswered is reset. Commands of hosts outlive that: they are parked, and
 * sent again.
 */
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>

#include "pcie/ctrl_internal.h"
#include "util/clock.h"
#include "util/list.h"
#include "util/log.h"
#include "util/num.h"

#define DEADLINE_LOOK_S   1
#define LONG_COMMAND_MS   600000
#define EVENTS_PER_SECOND 32 /* an SSD that has more to say is heard again a second later */

static void cmd_end(struct nvme_admin_cmd *cmd, const struct nvme_cqe *cqe)
{
	nvme_done_fn *done = cmd->done;
	void *arg = cmd->arg;

	TAILQ_REMOVE(&cmd->ctrl->admin_cmds, cmd, link);
	/* Whatever it says: one that was cut off by a reset may have been done, in part or in
	 * whole. */
	if (cmd->deadline_ns && nvme_ns_is_changed_by(cmd->ctrl, &cmd->sqe))
		cmd->ctrl->scan.due = true;
	if (!cmd->embedded)
		free(cmd);
	done(arg, cqe);
}

/* Waiting is of use: the SSD is being reset, or may return. */
static bool may_park(const struct nvme_ctrl *ctrl)
{
	return ctrl->known && !ctrl->out_of_patience && ctrl->state != NVME_CTRL_SHUTDOWN &&
	       ctrl->state != NVME_CTRL_STOPPED && ctrl->state != NVME_CTRL_FAILED;
}

/* Whether a second execution changes nothing: what only asks. */
static bool may_go_again(struct nvme_admin_cmd *cmd)
{
	switch (cmd->sqe.opcode) {
	case NVME_ADMIN_IDENTIFY:
	case NVME_ADMIN_GET_LOG_PAGE:
	case NVME_ADMIN_GET_FEATURES:
		return ++cmd->tries < NVME_MAX_TRIES;
	default:
		return !cmd->deadline_ns; /* it has not been sent yet */
	}
}

static void on_done(void *arg, const struct nvme_cqe *cqe)
{
	struct nvme_admin_cmd *cmd = arg;

	/* The SSD is off: it did not answer, we do. */
	if (!cmd->ctrl->admin_up && !cmd->ours && nvme_cqe_status(cqe) && may_park(cmd->ctrl) &&
	    may_go_again(cmd)) {
		cmd->parked = true;
		cmd->deadline_ns = 0;
		return;
	}
	cmd_end(cmd, cqe);
}

static void arm_timer(struct nvme_ctrl *ctrl)
{
	const struct timeval look = { .tv_sec = DEADLINE_LOOK_S };

	if (!evtimer_pending(ctrl->admin_timer, NULL))
		evtimer_add(ctrl->admin_timer, &look);
}

/* Formatting a large SSD takes minutes; so may a vendor's command. */
static unsigned timeout_ms(const struct nvme_admin_cmd *cmd)
{
	unsigned usual = cmd->ctrl->params.command_timeout_ms;

	switch (cmd->sqe.opcode) {
	case NVME_ADMIN_ABORT:
		return num_min(usual, (unsigned)NVME_ABORT_MS);
	case NVME_ADMIN_FW_COMMIT:
	case NVME_ADMIN_SELF_TEST:
	case NVME_ADMIN_FORMAT:
	case NVME_ADMIN_SECURITY_SEND:
	case NVME_ADMIN_SECURITY_RECV:
	case NVME_ADMIN_SANITIZE:
		return num_max(usual, (unsigned)LONG_COMMAND_MS);
	default:
		return cmd->sqe.opcode >= NVME_ADMIN_VENDOR
			       ? num_max(usual, (unsigned)LONG_COMMAND_MS)
			       : usual;
	}
}

bool nvme_admin_is_busy(const struct nvme_ctrl *ctrl)
{
	const struct nvme_admin_cmd *cmd;

	TAILQ_FOREACH (cmd, &ctrl->admin_cmds, link) {
		if (cmd->deadline_ns && timeout_ms(cmd) > ctrl->params.command_timeout_ms)
			return true;
	}
	return false;
}

/*
 * Hosts may have many more commands outstanding than the ring holds. The time that one waits for
 * room says nothing about the SSD, so its deadline begins here; and what we need ourselves, to make
 * and delete queue pairs, does not wait behind theirs.
 */
static void cmd_submit(struct nvme_admin_cmd *cmd)
{
	struct nvme_ctrl *ctrl = cmd->ctrl;

	if (nvme_qpair_submit(ctrl->adminq, &cmd->sqe, cmd->iova, cmd->len, on_done, cmd)) {
		if (cmd->ours)
			nvme_qpair_wait_first(ctrl->adminq, &cmd->waiter);
		else
			nvme_qpair_wait(ctrl->adminq, &cmd->waiter);
		return;
	}
	if (cmd->sqe.opcode != NVME_ADMIN_AER) {
		cmd->deadline_ns = clock_now_ns() + timeout_ms(cmd) * NSEC_PER_MSEC;
		arm_timer(ctrl);
	}
}

static void cmd_room(struct nvme_waiter *waiter)
{
	cmd_submit(container_of(waiter, struct nvme_admin_cmd, waiter));
}

static void send_aers(struct nvme_ctrl *ctrl);

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct nvme_ctrl *ctrl = arg;
	struct nvme_admin_cmd *cmd;
	uint64_t now = clock_now_ns();
	bool watched = false;

	(void)fd;
	(void)what;
	/* An interrupt may have been lost: nobody else watches this queue. */
	if (ctrl->admin_up)
		nvme_qpair_reap(ctrl->adminq);
	if (ctrl->events_heard > EVENTS_PER_SECOND && ctrl->state == NVME_CTRL_READY) {
		ctrl->events_heard = 0;
		send_aers(ctrl);
	}
	TAILQ_FOREACH (cmd, &ctrl->admin_cmds, link) {
		if (!cmd->deadline_ns)
			continue;
		watched = true;
		if (now < cmd->deadline_ns)
			continue;
		log_err("%s: admin command %02xh was not answered within %u ms", ctrl->name,
			cmd->sqe.opcode, timeout_ms(cmd));
		nvme_ctrl_recover(ctrl, "an admin command was not answered");
		return;
	}
	if (watched)
		arm_timer(ctrl);
}

void nvme_admin_init(struct nvme_ctrl *ctrl)
{
	TAILQ_INIT(&ctrl->admin_cmds);
	ctrl->admin_timer = evtimer_new(ctrl->params.loop->base, on_timer, ctrl);
}

void nvme_admin_fini(struct nvme_ctrl *ctrl)
{
	must(TAILQ_EMPTY(&ctrl->admin_cmds));
	if (ctrl->admin_timer)
		event_free(ctrl->admin_timer);
}

/* `cmd` has its sqe, and is otherwise zero but for what it is. */
static void cmd_start(struct nvme_ctrl *ctrl, struct nvme_admin_cmd *cmd, nvme_done_fn *done,
		      void *arg)
{
	cmd->ctrl = ctrl;
	cmd->done = done;
	cmd->arg = arg;
	cmd->waiter.run = cmd_room;
	TAILQ_INSERT_TAIL(&ctrl->admin_cmds, cmd, link);
	if (!cmd->ours && ctrl->state != NVME_CTRL_READY)
		cmd->parked = true;
	else
		cmd_submit(cmd);
}

static int cmd_send(struct nvme_ctrl *ctrl, bool ours, const struct nvme_sqe *sqe, uint64_t iova,
		    size_t len, nvme_done_fn *done, void *arg)
{
	struct nvme_admin_cmd *cmd;

	if (!ctrl->admin_up && (ours || !may_park(ctrl)))
		return -ENODEV;
	cmd = calloc(1, sizeof(*cmd));
	if (!cmd)
		return -ENOMEM;
	cmd->ours = ours;
	cmd->sqe = *sqe;
	cmd->iova = iova;
	cmd->len = len;
	cmd_start(ctrl, cmd, done, arg);
	return 0;
}

int nvme_admin_send_in(struct nvme_ctrl *ctrl, struct nvme_admin_cmd *cmd,
		       const struct nvme_sqe *sqe, nvme_done_fn *done, void *arg)
{
	if (!ctrl->admin_up)
		return -ENODEV;
	*cmd = (struct nvme_admin_cmd){ .sqe = *sqe, .ours = true, .embedded = true };
	cmd_start(ctrl, cmd, done, arg);
	return 0;
}

int nvme_admin_send(struct nvme_ctrl *ctrl, const struct nvme_sqe *sqe, uint64_t iova, size_t len,
		    nvme_done_fn *done, void *arg)
{
	return cmd_send(ctrl, true, sqe, iova, len, done, arg);
}

int nvme_ctrl_admin(struct nvme_ctrl *ctrl, const struct nvme_sqe *sqe, const struct dma_buf *buf,
		    size_t len, nvme_done_fn *done, void *arg)
{
	if (ctrl->state != NVME_CTRL_READY && !may_park(ctrl))
		return -ENODEV;
	if (len > ctrl->info.max_transfer)
		return -EINVAL;
	return cmd_send(ctrl, false, sqe, buf ? buf->iova : 0, buf ? len : 0, done, arg);
}

void nvme_admin_quiet(struct nvme_ctrl *ctrl)
{
	const struct nvme_cqe cqe = nvme_cqe_failed(0, NVME_SC_HOST_PATH_ERROR);
	struct nvme_admin_cmd *cmd, *next;

	if (!ctrl->adminq)
		return;
	nvme_qpair_take_completions(ctrl->adminq);
	TAILQ_FOREACH_SAFE (cmd, &ctrl->admin_cmds, link, next) {
		if (cmd->waiter.queued) {
			nvme_qpair_unwait(ctrl->adminq, &cmd->waiter);
			on_done(cmd, &cqe);
		}
	}
	nvme_qpair_abort_all(ctrl->adminq, NVME_SC_HOST_PATH_ERROR);
}

void nvme_admin_end_parked(struct nvme_ctrl *ctrl)
{
	const struct nvme_cqe cqe = nvme_cqe_failed(0, NVME_SC_HOST_PATH_ERROR);
	struct nvme_admin_cmd *cmd, *next;

	TAILQ_FOREACH_SAFE (cmd, &ctrl->admin_cmds, link, next) {
		if (cmd->parked)
			cmd_end(cmd, &cqe);
	}
}

void nvme_admin_send_parked(struct nvme_ctrl *ctrl)
{
	struct nvme_admin_cmd *cmd;

	TAILQ_FOREACH (cmd, &ctrl->admin_cmds, link) {
		if (!cmd->parked)
			continue;
		cmd->parked = false;
		cmd_submit(cmd);
	}
}

/* --- Asynchronous events ---------------------------------------------------------------------- */

static void aer_send(struct nvme_ctrl *ctrl);

static void log_read(void *arg, const struct nvme_cqe *cqe)
{
	(void)arg;
	(void)cqe; /* what it says reaches hosts when they read it themselves */
}

/* An event is not raised again until its log page was read (Base 5.2). */
static void acknowledge(struct nvme_ctrl *ctrl, uint32_t lid)
{
	const size_t len = 512; /* reading the beginning is enough */
	const struct nvme_sqe sqe = {
		.opcode = NVME_ADMIN_GET_LOG_PAGE,
		.nsid = le32_set(NVME_NSID_ALL),
		.cdw10 = le32_set((uint32_t)(len / 4 - 1) << 16 | lid),
	};

	if (ctrl->state != NVME_CTRL_READY ||
	    nvme_admin_send(ctrl, &sqe, ctrl->buf.iova, len, log_read, ctrl))
		log_warn("%s: log page %02xh of an event could not be read", ctrl->name, lid);
}

/* An SSD that raises events as fast as it is asked for them must not take all of the
 * main thread. */
static bool one_more_event(struct nvme_ctrl *ctrl)
{
	uint64_t second = clock_now_ns() / NSEC_PER_SEC;

	if (second != ctrl->events_second && ctrl->events_heard <= EVENTS_PER_SECOND) {
		ctrl->events_second = second;
		ctrl->events_heard = 0;
	}
	return ++ctrl->events_heard <= EVENTS_PER_SECOND;
}

static bool is_event(uint32_t dw0, enum nvme_aer_type type, uint8_t info)
{
	return NVME_AER_TYPE(dw0) == type && NVME_AER_INFO(dw0) == info;
}

static void aer_done(void *arg, const struct nvme_cqe *cqe)
{
	static struct log_limit limit = LOG_LIMIT_INIT(50); /* main thread only */
	struct nvme_ctrl *ctrl = arg;
	uint32_t dw0 = le32_get(cqe->dw0);

	ctrl->aers--;
	if (nvme_cqe_status(cqe) || ctrl->state != NVME_CTRL_READY)
		return;
	log_limited(&limit, LOG_LEVEL_WARN,
		    "%s: asynchronous event: type %u, information %02xh, log page %02xh",
		    ctrl->name, NVME_AER_TYPE(dw0), NVME_AER_INFO(dw0), NVME_AER_LID(dw0));
	acknowledge(ctrl, NVME_AER_LID(dw0));
	if (one_more_event(ctrl))
		aer_send(ctrl);
	else
		arm_timer(ctrl);
	if (is_event(dw0, NVME_AER_NOTICE, NVME_AER_NOTICE_NS_CHANGED))
		nvme_ctrl_rescan(ctrl);
	if (ctrl->params.events->async_event)
		ctrl->params.events->async_event(ctrl, dw0, ctrl->params.arg);
	if (is_event(dw0, NVME_AER_ERROR, NVME_AER_ERROR_PERSISTENT))
		nvme_ctrl_recover(ctrl, "it reports a persistent internal error");
}

static void aer_send(struct nvme_ctrl *ctrl)
{
	const struct nvme_sqe sqe = { .opcode = NVME_ADMIN_AER };

	if (nvme_admin_send(ctrl, &sqe, 0, 0, aer_done, ctrl) == 0)
		ctrl->aers++;
	else
		log_warn("%s: no memory to wait for asynchronous events", ctrl->name);
}

static void aec_done(void *arg, const struct nvme_cqe *cqe)
{
	struct nvme_ctrl *ctrl = arg;

	if (nvme_cqe_status(cqe) && ctrl->state == NVME_CTRL_READY)
		log_warn("%s: it does not take an asynchronous event configuration", ctrl->name);
}

static void send_aers(struct nvme_ctrl *ctrl)
{
	unsigned n = num_min(ctrl->info.id.aerl + 1u, (unsigned)NVME_MAX_AERS);

	while (ctrl->aers < n) {
		unsigned before = ctrl->aers;

		aer_send(ctrl);
		if (ctrl->aers == before)
			break;
	}
}

void nvme_admin_arm_aers(struct nvme_ctrl *ctrl)
{
	uint32_t offered = le32_get(ctrl->info.id.oaes);
	const struct nvme_sqe sqe = {
		.opcode = NVME_ADMIN_SET_FEATURES,
		.cdw10 = le32_set(NVME_FEAT_AEC),
		.cdw11 = le32_set(NVME_AEC_SMART | (offered & NVME_AEC_NS_ATTR)),
	};

	if (nvme_admin_send(ctrl, &sqe, 0, 0, aec_done, ctrl))
		log_warn("%s: no memory to configure asynchronous events", ctrl->name);
	send_aers(ctrl);
}
