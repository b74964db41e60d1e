/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Admin commands that concern the whole SSD: format, sanitize, firmware, security, self-test,
 * vendor specific ones, and the log pages that go with them. The SSD is shared, so a host may use
 * none of them, until its subsystem's configuration permits it (allow_commands in nvmet.conf(5)).
 */
#ifndef NVMETD_TARGET_PASSTHRU_H
#define NVMETD_TARGET_PASSTHRU_H

#include <stdint.h>

struct nvme_effects_log;
struct nvme_id_ctrl;
struct nvmet_ctrl;
struct nvmet_req;
struct nvmet_subsystem;

/* What a subsystem permits: a bit each, struct nvmet_subsystem.permissions. */
enum nvmet_permission {
	NVMET_ALLOW_FORMAT = 1u << 0,
	NVMET_ALLOW_SANITIZE = 1u << 1,
	NVMET_ALLOW_FIRMWARE = 1u << 2,
	NVMET_ALLOW_SECURITY = 1u << 3,
	NVMET_ALLOW_SELF_TEST = 1u << 4,
	NVMET_ALLOW_VENDOR = 1u << 5,
	NVMET_ALLOW_TELEMETRY = 1u << 6,
};

/* The permission of that name; 0: there is none. */
uint32_t nvmet_permission_by_name(const char *name);

/* Which of these commands a controller offers that sees the subsystem's first n SSDs: those that
 * are permitted and that all of the SSDs have, by their permissions. Main thread. */
uint32_t nvmet_passthru_offered(const struct nvmet_subsystem *subsys, unsigned n_ssds);

/* Checks a command that admin.c does not know; Invalid Opcode unless it is permitted. Worker. */
uint16_t nvmet_parse_passthru(struct nvmet_req *req);

/* The permission that a log page of the SSD needs; 0: it is not one of these. */
uint32_t nvmet_passthru_log_permission(uint8_t lid);
/* control function: Get Log Page, sent to the SSD as it is. Main thread. */
void nvmet_passthru_log(struct nvmet_req *req);

/* What permitted commands add to Identify Controller and to the effects log page. Main thread. */
void nvmet_passthru_identify(const struct nvmet_ctrl *ctrl, struct nvme_id_ctrl *id);
void nvmet_passthru_effects(const struct nvmet_ctrl *ctrl, struct nvme_effects_log *log);

#endif
