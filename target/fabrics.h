/* SPDX-License-Identifier: BSD-3-Clause */
/* Connect, for those who make one wait (assoc.h). Main thread's. */
#ifndef NVMETD_TARGET_FABRICS_H
#define NVMETD_TARGET_FABRICS_H

#include <stdint.h>

struct nvmet_req;

/* Checks a Connect and does what it asks for, from the beginning. */
void nvmet_connect(struct nvmet_req *req);
/* Ends it: `status` 0 is success. */
void nvmet_connect_finish(struct nvmet_req *req, uint16_t status);

#endif
