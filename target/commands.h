/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The commands, grouped by file. nvmet_parse_…() run on the worker: they check fields and lengths,
 * set req->execute (and req->control) and return 0 or a status. nvmet_…() take a request on the
 * main thread, as req->control, and complete it.
 */
#ifndef NVMETD_TARGET_COMMANDS_H
#define NVMETD_TARGET_COMMANDS_H

#include <stdint.h>

struct nvmet_ctrl;
struct nvmet_req;

/* fabrics.c: Connect, Property Get and Set, Disconnect. */
uint16_t nvmet_parse_fabrics(struct nvmet_req *req);

/* admin.c: opcode → function, for NVM subsystems and (with less in it) discovery; Abort, Keep
 * Alive. */
uint16_t nvmet_parse_admin(struct nvmet_req *req);

/* identify.c */
uint16_t nvmet_parse_identify(struct nvmet_req *req);

/* features.c */
uint16_t nvmet_parse_set_features(struct nvmet_req *req);
uint16_t nvmet_parse_get_features(struct nvmet_req *req);
/* An entry of the Feature Identifiers Supported and Effects log page; 0: it is not there. Main
 * thread. */
uint32_t nvmet_feature_effects(const struct nvmet_ctrl *ctrl, uint8_t fid);

/* log_page.c */
uint16_t nvmet_parse_get_log_page(struct nvmet_req *req);

/*
 * discovery.c: fills req->data with log page 70h from `offset` on, for the host of the request, on
 * the address that it came to. Main thread. 0 or a status.
 */
uint16_t nvmet_discovery_log(struct nvmet_req *req, uint64_t offset);

/* nvm.c: I/O queues. Everything on the worker. */
uint16_t nvmet_parse_io(struct nvmet_req *req);

#endif
