/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An SSD comes to subsystems that hosts use already. Controllers that are made from now on have it
 * like every other. Those that were made before get it if what they were told holds for it too
 * (promise.h) and each of their I/O queues can have a queue pair of it; until then, and else until
 * their hosts connect anew, they do not see its namespaces. Main thread.
 */
#ifndef NVMETD_TARGET_ARRIVAL_H
#define NVMETD_TARGET_ARRIVAL_H

struct nvmet_ssd;

/* Its namespaces have been added to the subsystems, and to all of them. Hosts are told by events,
 * each when it sees them. */
void nvmet_ssd_arrived(struct nvmet_ssd *ssd);

#endif
