/* SPDX-License-Identifier: BSD-3-Clause */
/* What qpair.c, replay.c and watch.c share. For them alone; the owner's thread. */
#ifndef NVMETD_PCIE_QPAIR_INTERNAL_H
#define NVMETD_PCIE_QPAIR_INTERNAL_H

#include "pcie/qpair_recovery.h"

/* qpair.c: both rings empty, as the SSD has them after their creation. */
void nvme_qpair_rings_rewind(struct nvme_qpair *qp);
/* What has no command is free, and no Abort knows it any more. */
void nvme_qpair_slots_rebuild(struct nvme_qpair *qp);
/* Fills the next entry; the doorbell is rung later. There is room. */
void nvme_qpair_put_on_ring(struct nvme_qpair *qp, const struct nvme_sqe *sqe);
/* The command is over; whether its slot is free is the caller's business. */
void nvme_qpair_end_command(struct nvme_qpair *qp, struct nvme_slot *slot,
			    const struct nvme_cqe *cqe);
/* A slot that was held and whose command has ended. */
void nvme_qpair_slot_free(struct nvme_qpair *qp, uint16_t cid);

/* replay.c: puts a command that is under way into the ring once more. */
void nvme_qpair_issue_again(struct nvme_qpair *qp, uint16_t cid);
/* Ends what waits while the SSD is refusing. */
void nvme_qpair_end_waiters(struct nvme_qpair *qp);

/* watch.c: the watchdog. */
int nvme_watch_attach(struct nvme_qpair *qp);
void nvme_watch_detach(struct nvme_qpair *qp);
void nvme_watch_arm(struct nvme_qpair *qp);

#endif
