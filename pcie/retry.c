/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An SSD that was given up (FAILED) is tried again, for what was wrong may pass or be put right: it
 * was too hot, another one was in its slot, its firmware hung until it lost power. A try is one
 * bring-up behind a reset of the function, and READY only if it is the same SSD; hosts' commands
 * end with Host Path Error until then. One that is awaited and was never READY may be any SSD, and
 * no host knows of it. Pauses between tries double, so that an SSD that is broken for good costs a
 * few lines of the log in NVME_RETRY_MAX_MS. Main thread.
 */
#include <errno.h>
#include <event2/event.h>

#include "pcie/ctrl_internal.h"
#include "util/clock.h"
#include "util/log.h"
#include "util/num.h"

static void try_again(struct nvme_ctrl *ctrl)
{
	evtimer_del(ctrl->retry.timer);
	ctrl->retry.n++;
	log_warn("%s: trying it again", ctrl->name);
	/* Nobody has watched it: it may have lost power. */
	ctrl->was_gone = true;
	ctrl->attempts = NVME_MAX_ATTEMPTS; /* this is the only one */
	nvme_ctrl_set_state(ctrl, NVME_CTRL_DISABLING);
	nvme_recovery_reset_function(ctrl);
	nvme_ctrl_start(ctrl);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct nvme_ctrl *ctrl = arg;

	(void)fd;
	(void)what;
	if (ctrl->state == NVME_CTRL_FAILED) /* and has not gone meanwhile */
		try_again(ctrl);
}

int nvme_ctrl_retry(struct nvme_ctrl *ctrl)
{
	if (ctrl->state != NVME_CTRL_FAILED || !nvme_ctrl_may_return(ctrl))
		return -ENODEV;
	ctrl->retry.pause_ms = 0;
	try_again(ctrl);
	return 0;
}

/* Whether it was READY for so long that this is another outage than the last. */
static bool had_recovered(const struct nvme_ctrl *ctrl)
{
	uint64_t least =
		num_max(NVME_RESETS_S * NSEC_PER_SEC, ctrl->retry.pause_ms * NSEC_PER_MSEC);

	return ctrl->retry.ready_ns && ctrl->outage_ns - ctrl->retry.ready_ns >= least;
}

void nvme_retry_later(struct nvme_ctrl *ctrl)
{
	struct nvme_retry *retry = &ctrl->retry;
	unsigned first = ctrl->params.retry_ms;
	struct timeval pause;

	if (!first || !nvme_ctrl_may_return(ctrl) || ctrl->leaving)
		return;
	if (!retry->pause_ms || had_recovered(ctrl))
		retry->pause_ms = first;
	else
		retry->pause_ms = num_max(num_min(2 * retry->pause_ms, NVME_RETRY_MAX_MS), first);
	retry->ready_ns = 0;
	pause = clock_timeval(retry->pause_ms);
	evtimer_add(retry->timer, &pause);
	log_warn("%s: it is tried again in %u ms", ctrl->name, retry->pause_ms);
}

void nvme_retry_ready(struct nvme_ctrl *ctrl)
{
	ctrl->retry.ready_ns = clock_now_ns();
}

unsigned nvme_ctrl_n_retries(const struct nvme_ctrl *ctrl)
{
	return ctrl->retry.n;
}

bool nvme_retry_init(struct nvme_ctrl *ctrl)
{
	ctrl->retry.timer = evtimer_new(ctrl->params.loop->base, on_timer, ctrl);
	return ctrl->retry.timer != NULL;
}

void nvme_retry_fini(struct nvme_ctrl *ctrl)
{
	if (ctrl->retry.timer)
		event_free(ctrl->retry.timer);
}
