/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A remote queue: going live on its worker, and the way it is taken apart.
 *
 * The release crosses threads twice. Each step is a message, so every hand-over is also the memory
 * barrier for the fields that change owner:
 *
 *   worker   nvmet_queue_release()   stops submitting, posts
 *   main     release_on_main()       tells the controller, waits for its own requests of the queue
 *   main     nvmet_queue_release_continue()
 *                                    gives the SSD's queue pairs back (ssd.c), forgets the queue,
 *                                    posts
 *   worker   released_on_worker()    calls the transport
 */
#include "target/queue.h"

#include <errno.h>
#include <stdlib.h>

#include "pcie/qpair.h"
#include "target/assoc.h"
#include "target/auth.h"
#include "target/ctrl.h"
#include "target/host.h"
#include "target/latency.h"
#include "target/req.h"
#include "target/ssd.h"
#include "target/subsystem.h"
#include "target/target.h"
#include "target/transport.h"
#include "target/worker.h"
#include "util/bits.h"
#include "util/log.h"

int nvmet_queue_init(struct nvmet_queue *queue)
{
	queue->cid_map = calloc(BITS_WORDS(UINT16_MAX), sizeof(queue->cid_map[0]));
	if (!queue->cid_map)
		return -ENOMEM;
	for (unsigned i = 0; i < NVMET_MAX_SSDS; i++)
		queue->paths[i].queue = queue;
	return 0;
}

void nvmet_queue_fini(struct nvmet_queue *queue)
{
	nvmet_latency_free(queue->latency);
	queue->latency = NULL;
	free(queue->cid_map);
	queue->cid_map = NULL;
}

void nvmet_queue_connect_answered(struct nvmet_queue *queue, struct nvmet_req *req)
{
	queue->connecting = false;
	queue->refused = nvme_cqe_status(&req->cqe) != 0;
	if (queue->refused || queue->releasing)
		return;
	for (unsigned i = 0; i < queue->n_paths; i++) {
		int err = nvmet_ssd_attach(&queue->paths[i]);

		if (err) {
			req->cqe.status = nvme_status_to_wire(nvmet_status_from_errno(err), false);
			queue->ops->close(queue, "its queue pair could not be attached");
			return;
		}
	}
	queue->trusted = !queue->must_authenticate;
	queue->live = true;
	queue->ops->connected(queue);
}

void nvmet_queue_end_disconnect(struct nvmet_queue *queue)
{
	struct nvmet_req *req = queue->disconnect;

	queue->disconnect = NULL;
	nvmet_req_complete(req, 0);
}

static void close_on_worker(struct loop_msg *msg)
{
	struct nvmet_queue *queue = container_of(msg, struct nvmet_queue, close_msg);

	queue->ops->close(queue, queue->close_why);
}

void nvmet_queue_close(struct nvmet_queue *queue, const char *why)
{
	if (queue->close_posted || queue->dying)
		return;
	queue->close_posted = true;
	queue->close_why = why;
	loop_post(&queue->worker->loop, &queue->close_msg, close_on_worker);
}

static void released_on_worker(struct loop_msg *msg)
{
	struct nvmet_queue *queue = container_of(msg, struct nvmet_queue, release_msg);

	queue->released(queue);
}

static void path_put(struct nvmet_queue *queue)
{
	queue->paths_left--;
	nvmet_queue_release_continue(queue);
}

void nvmet_queue_release_continue(struct nvmet_queue *queue)
{
	struct nvmet_ctrl *ctrl = queue->ctrl;

	if (queue->control_outstanding || queue->paths_left || queue->released_posted)
		return;
	/* Every put() is asynchronous, so this loop is through before the first one comes back. */
	for (unsigned i = 0; i < NVMET_MAX_SSDS; i++) { /* one that came late may not count yet */
		if (queue->paths[i].share && !queue->paths[i].putting) {
			queue->paths_left++;
			nvmet_ssd_put(queue, i, path_put);
		}
	}
	if (queue->paths_left)
		return;
	queue->released_posted = true;
	nvmet_auth_forget(queue);
	queue->ctrl = NULL;
	if (ctrl) {
		if (queue->qid)
			nvmet_totals_add(queue->target->ended, queue);
		nvmet_ctrl_remove_queue(ctrl, queue);
	}
	loop_post(&queue->worker->loop, &queue->release_msg, released_on_worker);
}

static void release_on_main(struct loop_msg *msg)
{
	struct nvmet_queue *queue = container_of(msg, struct nvmet_queue, release_msg);

	queue->dying = true;
	/* What waits here for something that may take long ends now; each end comes back to
	 * continue. */
	queue->control_outstanding++;
	nvmet_assoc_unpark(queue);
	if (queue->ctrl) {
		nvmet_host_forget(queue);
		nvmet_ctrl_queue_dying(queue->ctrl, queue);
	}
	queue->control_outstanding--;
	nvmet_queue_release_continue(queue);
}

static bool is_of_queue(struct nvme_waiter *waiter, const void *queue)
{
	return container_of(waiter, struct nvmet_req, waiter)->queue == queue;
}

void nvmet_queue_release(struct nvmet_queue *queue, void (*released)(struct nvmet_queue *queue))
{
	must(!queue->releasing);
	queue->releasing = true;
	queue->released = released;
	if (queue->live || queue->disconnected) {
		/* Commands that wait for room in a shared ring would outlive the queue. */
		for (unsigned i = 0; i < queue->n_paths; i++)
			nvme_qpair_unwait_all(queue->paths[i].qpair, is_of_queue, queue);
	}
	queue->live = false;
	nvmet_fuse_forget(queue);
	loop_post(queue->target->loop, &queue->release_msg, release_on_main);
}
