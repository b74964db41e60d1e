/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the controller driver does to a queue pair whose SSD is switched off, or has forgotten its
 * queues. For pcie/ctrl.c and its files (ctrl_internal.h) alone; who uses a queue pair sees it only
 * as one whose commands wait, or end with an error.
 */
#ifndef NVMETD_PCIE_QPAIR_RECOVERY_H
#define NVMETD_PCIE_QPAIR_RECOVERY_H

#include "pcie/qpair.h"

/* As nvme_qpair_reap(), of the completions that are in memory; touches nothing of the SSD. */
unsigned nvme_qpair_take_completions(struct nvme_qpair *qp);

/*
 * In this order, by the owner. Between pause and resume commands wait, as if the ring
 * were full; `refuse` lets them wait no longer.
 */
void nvme_qpair_pause(struct nvme_qpair *qp);
/*
 * The SSD is off, and will not touch the rings or the commands' memory before it has been set up
 * anew. Hands out what it completed before; puts the rest at the beginning of the ring again, in
 * order of arrival. A command that was overdue NVME_MAX_TRIES times is ended.
 */
void nvme_qpair_replay(struct nvme_qpair *qp);
/*
 * Ends all commands, and those that come, until the next resume. After nvme_qpair_replay(). What
 * comes later ends a tick of the watchdog later: a host that tries again at once must not do so at
 * the network's speed.
 */
void nvme_qpair_refuse(struct nvme_qpair *qp, uint16_t status);
/* The SSD knows the queues again. */
void nvme_qpair_resume(struct nvme_qpair *qp);

/* watch.c: the answer to a report has come; an Abort, if one was sent, was answered. If the
 * commands are excused, it is as if they had been issued now. */
void nvme_watch_answered(struct nvme_qpair *qp);

/*
 * Ends every outstanding command with `status`. Only when the SSD can no longer touch their memory:
 * its queue is deleted, or the controller is reset.
 */
void nvme_qpair_abort_all(struct nvme_qpair *qp, uint16_t status);

#endif
