/* SPDX-License-Identifier: BSD-3-Clause */
/* What ctrl.c, admin.c, io_queues.c and ns.c share. For them alone. */
#ifndef NVMETD_PCIE_CTRL_INTERNAL_H
#define NVMETD_PCIE_CTRL_INTERNAL_H

#include "pcie/ctrl.h"
#include "pcie/device.h"
#include "pcie/dma.h"
#include "util/loop.h"

#define NVME_ADMIN_ENTRIES 64
#define NVME_MAX_AERS      4
#define NVME_MAX_NS        1024

enum nvme_ctrl_state {
	NVME_CTRL_NEW,
	NVME_CTRL_DISABLING,
	NVME_CTRL_ENABLING,
	NVME_CTRL_IDENTIFY,
	NVME_CTRL_QUEUES,
	NVME_CTRL_NAMESPACES,
	NVME_CTRL_READY,
	NVME_CTRL_SHUTDOWN,
	NVME_CTRL_STOPPED,
	NVME_CTRL_FAILED,
};

/* An admin command under way or waiting for room. */
struct nvme_admin_cmd {
	TAILQ_ENTRY(nvme_admin_cmd) link;
	struct nvme_ctrl *ctrl;
	struct nvme_sqe sqe;
	uint64_t iova;
	size_t len;
	nvme_done_fn *done;
	void *arg;
	bool embedded;        /* in what its sender owns */
	bool ours;            /* not a host's: goes ahead of those that wait for room */
	uint64_t deadline_ns; /* 0: none (AER), or still waiting for room */
	struct nvme_waiter waiter;
};

/* Finding the namespaces (ns.c). */
struct nvme_ns_scan {
	bool running, again; /* asked for anew while running */
	bool changed;
	uint32_t list[NVME_MAX_NS];
	unsigned n_list, next;
	struct nvme_ns found; /* being put together */
	struct dma_buf buf;
};

struct nvme_ctrl {
	struct nvme_ctrl_params params;
	struct pcie_device *dev;
	enum nvme_ctrl_state state;
	struct nvme_ctrl_info info;
	uint32_t doorbell_stride;

	struct event *timer; /* register polls of bring-up and shutdown */
	uint64_t deadline_ns;

	struct nvme_qpair *adminq;
	TAILQ_HEAD(, nvme_admin_cmd) admin_cmds;
	struct event *admin_timer;
	unsigned aers;
	unsigned events_heard; /* in second `events_second`: more than a few, and they must wait */
	uint64_t events_second;

	int *irq_fds;
	unsigned n_irqs;

	struct dma_buf buf;            /* answers of bring-up commands */
	struct dma_buf shadow, events; /* doorbell buffers */
	bool shadow_on;

	struct nvme_ns **ns;
	unsigned n_ns;
	struct nvme_ns_scan scan;

	uint64_t *qids; /* bit set: in use */
	unsigned qids_used;
	struct loop_msg failed_msg;
	const char *failed_why;
};

/* ctrl.c */
void nvme_ctrl_set_state(struct nvme_ctrl *ctrl, enum nvme_ctrl_state state);
/* Gives the SSD up: no DMA from it any more, all admin commands end, events->failed() follows. */
void nvme_ctrl_fail(struct nvme_ctrl *ctrl, const char *why);
/* All namespaces are known. */
void nvme_ctrl_ns_done(struct nvme_ctrl *ctrl);

/* admin.c */
void nvme_admin_init(struct nvme_ctrl *ctrl);
void nvme_admin_fini(struct nvme_ctrl *ctrl);
/* As nvme_ctrl_admin(), in any state in which the admin queue works, and ahead of what waits for
 * room. */
int nvme_admin_send(struct nvme_ctrl *ctrl, const struct nvme_sqe *sqe, uint64_t iova, size_t len,
		    nvme_done_fn *done, void *arg);
/* The same without data, in memory of the sender's that is free for it until done(): -ENODEV only.
 */
int nvme_admin_send_in(struct nvme_ctrl *ctrl, struct nvme_admin_cmd *cmd,
		       const struct nvme_sqe *sqe, nvme_done_fn *done, void *arg);
/* The SSD is off: ends all commands with Host Path Error. */
void nvme_admin_abort_all(struct nvme_ctrl *ctrl);
/* Asks the SSD for its asynchronous events from now on. */
void nvme_admin_arm_aers(struct nvme_ctrl *ctrl);

/* ns.c: finds the namespaces. At bring-up nvme_ctrl_ns_done() follows, later events->namespaces().
 */
void nvme_ns_scan(struct nvme_ctrl *ctrl);

#endif
