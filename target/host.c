/* SPDX-License-Identifier: BSD-3-Clause */
/* What a host takes up; see host.h. */
#include "target/host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pcie/ctrl.h"
#include "target/ctrl.h"
#include "target/queue.h"
#include "target/req.h"
#include "target/ssd.h"
#include "target/subsystem.h"
#include "target/target.h"
#include "util/check.h"
#include "util/list.h"

static struct nvmet_host *find(const struct nvmet_target *target, const char *nqn)
{
	struct nvmet_host *host;

	LIST_FOREACH (host, &target->hosts, link) {
		if (strcmp(host->nqn, nqn) == 0)
			return host;
	}
	return NULL;
}

struct nvmet_host *nvmet_host_get(struct nvmet_target *target, const char *nqn)
{
	struct nvmet_host *host = find(target, nqn);

	if (!host) {
		host = calloc(1, sizeof(*host));
		if (!host)
			return NULL;
		snprintf(host->nqn, sizeof(host->nqn), "%.*s", NVMF_NQN_MAX, nqn);
		TAILQ_INIT(&host->waiting);
		LIST_INSERT_HEAD(&target->hosts, host, link);
	}
	host->n_ctrls++;
	return host;
}

void nvmet_host_put(struct nvmet_host *host)
{
	if (--host->n_ctrls)
		return;
	must(!host->n_forwarded && TAILQ_EMPTY(&host->waiting));
	LIST_REMOVE(host, link);
	free(host);
}

/* What is still being taken apart counts, for it holds queue pairs. */
struct nvmet_host_ctrls nvmet_host_count_ctrls(const struct nvmet_queue *queue, const char *nqn,
					       bool discovery)
{
	const struct nvmet_host *host = find(queue->target, nqn);
	struct nvmet_host_ctrls n = { 0 };
	const struct nvmet_subsystem *subsys;
	const struct nvmet_ctrl *ctrl;

	TAILQ_FOREACH (subsys, &queue->target->subsystems, link) {
		if (subsys->discovery != discovery)
			continue;
		TAILQ_FOREACH (ctrl, &subsys->ctrls, link) {
			const struct nvmet_queue *admin = ctrl->queues[0];

			n.of_net += admin &&
				    nvmet_peer_same_net(&admin->peer_addr, &queue->peer_addr);
			if (ctrl->proven && !discovery)
				n.of_host += ctrl->host == host;
			else
				n.of_host += admin && nvmet_peer_same_addr(&admin->peer_addr,
									   &queue->peer_addr);
		}
	}
	return n;
}

/* Each that is called is sent, or ends: either way it leaves the line. */
static void serve(struct nvmet_host *host)
{
	struct nvmet_req *req;

	while (host->n_forwarded < NVMET_HOST_SHARE &&
	       (req = TAILQ_FIRST(&host->waiting)) != NULL) {
		TAILQ_REMOVE(&host->waiting, req, link);
		req->control(req);
	}
}

/* The host stays until done() is through with the command: its controller waits for that. */
static void forward_done(void *arg, const struct nvme_cqe *cqe)
{
	struct nvmet_req *req = arg;
	struct nvmet_host *host = req->queue->ctrl->host;

	host->n_forwarded--;
	serve(host);
	req->forward_done(req, cqe);
}

int nvmet_host_forward(struct nvmet_req *req, const struct nvmet_ssd *ssd,
		       const struct nvme_sqe *sqe, size_t len, nvme_done_fn *done)
{
	struct nvmet_host *host = req->queue->ctrl->host;
	int err;

	if (host->n_forwarded >= NVMET_HOST_SHARE) {
		TAILQ_INSERT_TAIL(&host->waiting, req, link);
		return 0;
	}
	req->forward_done = done;
	err = nvme_ctrl_admin(ssd->ctrl, sqe, len ? &req->data : NULL, len, forward_done, req);
	if (!err)
		host->n_forwarded++;
	return err;
}

void nvmet_host_forget(struct nvmet_queue *queue)
{
	struct nvmet_host *host = queue->ctrl->host;
	struct nvmet_req *req, *next;

	TAILQ_FOREACH_SAFE (req, &host->waiting, link, next) {
		if (req->queue != queue)
			continue;
		TAILQ_REMOVE(&host->waiting, req, link);
		nvmet_req_complete(req, NVME_SC_ABORTED_SQ_DELETION);
	}
}
