/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Connects that wait for an older association of their host; see assoc.h.
 *
 * A look goes to the worker of a queue and back in one message of the queue's. It is sent only
 * while the queue is not dying. So it overtakes neither the release of the queue on the way there,
 * nor the connection's end on the way back: the queue is there when it arrives.
 */
#include "target/assoc.h"

#include <event2/event.h>
#include <string.h>

#include "target/ctrl.h"
#include "target/fabrics.h"
#include "target/queue.h"
#include "target/req.h"
#include "target/subsystem.h"
#include "target/target.h"
#include "target/transport.h"
#include "target/worker.h"
#include "util/clock.h"
#include "util/list.h"
#include "util/loop.h"

#define PARK_TIME    (5 * NSEC_PER_SEC) /* from its capsule on */
#define PARK_LOOK_MS 1000               /* between looks at who has waited for as long */

static bool same_host(const struct nvmet_ctrl *ctrl, const struct nvmet_req *connect)
{
	const struct nvmf_connect_data *data = connect->data.va;

	return memcmp(ctrl->hostid, data->hostid, sizeof(ctrl->hostid)) == 0 &&
	       strcmp(ctrl->hostnqn, data->hostnqn) == 0;
}

/* --- Looking ---------------------------------------------------------------------------------- */

static void look_at(struct nvmet_queue *queue);

static void look_over(struct loop_msg *msg)
{
	struct nvmet_queue *queue = container_of(msg, struct nvmet_queue, look_msg);

	queue->looking = false;
	if (queue->look_again)
		look_at(queue);
	if (queue->ctrl && !queue->looking)
		nvmet_assoc_retry(queue->ctrl);
}

static void look_on_worker(struct loop_msg *msg)
{
	struct nvmet_queue *queue = container_of(msg, struct nvmet_queue, look_msg);

	queue->ops->look(queue); /* its release, if it comes to that, is posted before the answer */
	loop_post(queue->target->loop, &queue->look_msg, look_over);
}

static void look_at(struct nvmet_queue *queue)
{
	queue->look_again = queue->looking; /* which may have been too early for this Connect */
	if (queue->looking || queue->dying)
		return;
	queue->looking = true;
	loop_post(&queue->worker->loop, &queue->look_msg, look_on_worker);
}

static void look_at_all(const struct nvmet_ctrl *ctrl)
{
	for (unsigned qid = 0; qid <= NVMET_MAX_QUEUES; qid++) {
		if (ctrl->queues[qid])
			look_at(ctrl->queues[qid]);
	}
}

/* --- Waiting ---------------------------------------------------------------------------------- */

static bool queue_in_the_way(const struct nvmet_queue *queue)
{
	return queue->looking || queue->dying || queue->close_posted;
}

/* Something of it is over, or may turn out to be. */
static bool in_the_way(const struct nvmet_ctrl *ctrl)
{
	if (ctrl->dead)
		return true;
	for (unsigned qid = 0; qid <= NVMET_MAX_QUEUES; qid++) {
		if (ctrl->queues[qid] && queue_in_the_way(ctrl->queues[qid]))
			return true;
	}
	return false;
}

static void unpark(struct nvmet_req *req)
{
	TAILQ_REMOVE(&req->queue->target->parked_connects, req, link);
}

static void park_look(evutil_socket_t fd, short what, void *arg)
{
	const struct timeval again = clock_timeval(PARK_LOOK_MS);
	struct nvmet_target *target = arg;
	uint64_t now = clock_now_ns();
	struct nvmet_req *req, *next;

	(void)fd;
	(void)what;
	TAILQ_FOREACH_SAFE (req, &target->parked_connects, link, next) {
		if (now - req->begun_ns < PARK_TIME)
			continue;
		unpark(req);
		nvmet_connect_finish(req, NVME_SC_CONNECT_BUSY);
	}
	if (!TAILQ_EMPTY(&target->parked_connects))
		evtimer_add(target->park_timer, &again);
}

static void park(struct nvmet_req *req, const struct nvmet_ctrl *waits_for)
{
	struct nvmet_target *target = req->queue->target;
	const struct timeval soon = clock_timeval(PARK_LOOK_MS);

	if (!target->park_timer)
		target->park_timer = evtimer_new(target->loop->base, park_look, target);
	if (!target->park_timer) {
		nvmet_connect_finish(req, NVME_SC_CONNECT_BUSY);
		return;
	}
	if (!evtimer_pending(target->park_timer, NULL))
		evtimer_add(target->park_timer, &soon);
	req->waits_for = waits_for;
	TAILQ_INSERT_TAIL(&target->parked_connects, req, link);
}

bool nvmet_assoc_wait(struct nvmet_req *req, const struct nvmet_subsystem *subsys)
{
	const struct nvmet_ctrl *ctrl, *last = NULL;
	bool first = !req->queue->looked_around;

	req->queue->looked_around = true;
	TAILQ_FOREACH (ctrl, &subsys->ctrls, link) {
		if (!same_host(ctrl, req))
			continue;
		if (first)
			look_at_all(ctrl);
		/* Looks come back in the order in which they were sent: when the last one is out of
		 * the way the others mostly are. */
		if (in_the_way(ctrl))
			last = ctrl;
	}
	if (last)
		park(req, last);
	return last;
}

bool nvmet_assoc_wait_for_queue(struct nvmet_req *req, struct nvmet_queue *old)
{
	bool first = !req->queue->looked_around;

	req->queue->looked_around = true;
	if (first)
		look_at(old);
	if (!queue_in_the_way(old))
		return false;
	park(req, old->ctrl);
	return true;
}

void nvmet_assoc_retry(const struct nvmet_ctrl *ctrl)
{
	struct nvmet_target *target = ctrl->subsys->target;
	struct nvmet_req_list found = TAILQ_HEAD_INITIALIZER(found);
	struct nvmet_req *req, *next;

	TAILQ_FOREACH_SAFE (req, &target->parked_connects, link, next) {
		if (req->waits_for != ctrl)
			continue;
		unpark(req);
		TAILQ_INSERT_TAIL(&found, req, link);
	}
	while ((req = TAILQ_FIRST(&found)) != NULL) {
		TAILQ_REMOVE(&found, req, link);
		nvmet_connect(req);
	}
}

void nvmet_assoc_unpark(struct nvmet_queue *queue)
{
	struct nvmet_req *req;

	TAILQ_FOREACH (req, &queue->target->parked_connects, link) {
		if (req->queue == queue) {
			unpark(req);
			nvmet_req_complete(req, NVME_SC_CONNECT_BUSY);
			return;
		}
	}
}
