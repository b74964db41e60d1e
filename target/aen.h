/* SPDX-License-Identifier: BSD-3-Clause */
/* Asynchronous events of a controller (Base 5.2). Main thread's. */
#ifndef NVMETD_TARGET_AEN_H
#define NVMETD_TARGET_AEN_H

#include <stdbool.h>
#include <stdint.h>

struct nvmet_ctrl;
struct nvmet_req;
struct nvmet_ssd;

/* As after a controller reset: nothing pending, nothing masked or enabled. No AER waits. */
void nvmet_aen_init(struct nvmet_ctrl *ctrl);
/* An AER came in: it is answered at once, kept, or refused with Asynchronous Event Request Limit
 * Exceeded. */
void nvmet_aen_request(struct nvmet_ctrl *ctrl, struct nvmet_req *req);
/* Something happened: sent now, or kept until an AER comes; dropped when the host did not enable it
 * or when one of its kind is pending or not yet read. dw0 as NVME_AER_DW0(). */
void nvmet_aen_raise(struct nvmet_ctrl *ctrl, uint32_t dw0);
/* A namespace came, went or changed: noted in the list of changed ones, and raised. */
void nvmet_aen_namespace(struct nvmet_ctrl *ctrl, uint32_t nsid);
/* The host read the log page without RAE: events that point to it may be sent again, and one that
 * no AER has carried yet is old news. */
void nvmet_aen_log_read(struct nvmet_ctrl *ctrl, uint8_t lid);
/* Ends all waiting AERs with `status` (Abort; queue or controller going away). */
void nvmet_aen_abort_all(struct nvmet_ctrl *ctrl, uint16_t status);
/* Ends the AER with this CID, if it waits here. Returns whether it did. */
bool nvmet_aen_abort(struct nvmet_ctrl *ctrl, uint16_t cid);

/* An SSD raised an event: told to every controller whose namespaces may be concerned. */
void nvmet_aen_from_ssd(struct nvmet_ssd *ssd, uint32_t dw0);

#endif
