/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A host, by its NQN, and what it takes up in all subsystems together: controllers, and its share
 * of the SSDs' admin queues. It exists while it has a controller. Main thread's.
 *
 * An SSD's admin queue is short, and all hosts' admin commands go there, as do ours that make and
 * delete queue pairs. A host may have NVMET_HOST_SHARE commands there; the others wait here, first
 * come, first served, so another host waits for the shares of those before it and for no more.
 */
#ifndef NVMETD_TARGET_HOST_H
#define NVMETD_TARGET_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/queue.h>

#include "pcie/qpair.h"
#include "target/nvmf.h"

struct nvmet_queue;
struct nvmet_req;
struct nvmet_ssd;
struct nvmet_target;

#define NVMET_HOST_SHARE 8 /* of the 59 places that the ring has for hosts */

struct nvmet_host {
	LIST_ENTRY(nvmet_host) link; /* target's */
	char nqn[NVMF_NQN_MAX + 1];
	unsigned n_ctrls;     /* those that are being taken apart too */
	unsigned n_forwarded; /* commands at SSDs' admin queues */
	TAILQ_HEAD(, nvmet_req) waiting;
};

/* One more controller of this host. NULL: no memory. */
struct nvmet_host *nvmet_host_get(struct nvmet_target *target, const char *nqn);
/* One controller less. */
void nvmet_host_put(struct nvmet_host *host);
/* Controllers, I/O or discovery ones, that count against a Connect. */
struct nvmet_host_ctrls {
	unsigned of_host; /* by NQN those of I/O hosts that have proved who they are; the others,
			   * and all discovery controllers, by address: anybody can claim an NQN */
	unsigned of_net;  /* from the same IPv6 network, whoever they say they are */
};
/* Of the host `nqn` that connects on `queue`. */
struct nvmet_host_ctrls nvmet_host_count_ctrls(const struct nvmet_queue *queue, const char *nqn,
					       bool discovery);

/*
 * Sends an admin command on behalf of `req` to the SSD, with the first `len` bytes of its data (0:
 * none); done(req, cqe) follows. While the host has its share there, nothing is sent: req->control
 * is called again, from the beginning, when it is its turn. 0 in both cases, or what
 * nvme_ctrl_admin() says.
 */
int nvmet_host_forward(struct nvmet_req *req, const struct nvmet_ssd *ssd,
		       const struct nvme_sqe *sqe, size_t len, nvme_done_fn *done);
/* The queue is released: its commands that wait here end. */
void nvmet_host_forget(struct nvmet_queue *queue);

#endif
