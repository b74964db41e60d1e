/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One association of a host after the other. A host that comes back may have left a connection
 * behind, with a write in it. Nothing of that may reach the SSD once the host can see the new
 * association work, or it would land on top of a newer write. So Connect of an admin queue waits:
 *
 *   1. until the workers have looked at all connections of this host (host NQN and host ID, same
 *      subsystem), and have closed those that the host has closed, whatever lies unread in them,
 *      or whose queue it has disconnected;
 *   2. until the SSD has let go of what is closed.
 *
 * A connection that the host has not closed, as far as the network has told, stays: a host may have
 * several associations at a time. Main thread's.
 */
#ifndef NVMETD_TARGET_ASSOC_H
#define NVMETD_TARGET_ASSOC_H

#include <stdbool.h>

struct nvmet_ctrl;
struct nvmet_queue;
struct nvmet_req;
struct nvmet_subsystem;

/*
 * Whether a Connect of an admin queue, which was checked, must wait. True: nvmet_connect() is
 * called for it again, or it ends with Controller Busy after 5 to 6 s.
 */
bool nvmet_assoc_wait(struct nvmet_req *req, const struct nvmet_subsystem *subsys);
/*
 * The same for Connect of an I/O queue whose number `old` has, in the same controller: a host may
 * have lost just that connection, or disconnected that queue. False: as far as the network has
 * told, it has it still.
 */
bool nvmet_assoc_wait_for_queue(struct nvmet_req *req, struct nvmet_queue *old);
/* A queue of this controller, or all of it, is out of the way: looks at the Connects that wait for
 * it. */
void nvmet_assoc_retry(const struct nvmet_ctrl *ctrl);
/* The connection of a Connect that may be waiting goes away: ends it. */
void nvmet_assoc_unpark(struct nvmet_queue *queue);

#endif
