/* SPDX-License-Identifier: BSD-3-Clause */
/* What the rest of target/ needs of Connect. Main thread's. */
#ifndef NVMETD_TARGET_FABRICS_H
#define NVMETD_TARGET_FABRICS_H

struct nvmet_queue;
struct nvmet_target;

/*
 * A Connect of a host whose previous association is still being taken apart on the SSD is parked,
 * so that no write of the old one can land after a write of the new one. A controller is gone:
 * looks at the parked Connects again.
 */
void nvmet_connect_retry_parked(struct nvmet_target *target);
/* The connection of a parked Connect goes away: ends it. */
void nvmet_connect_unpark(struct nvmet_queue *queue);

#endif
