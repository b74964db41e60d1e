/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The I/O commands of the NVM command set that we know: what each needs, which of its fields reach
 * the SSD, and what hosts are told of it. docs/io-commands.md is this table in words.
 */
#ifndef NVMETD_TARGET_NVM_H
#define NVMETD_TARGET_NVM_H

#include <stdint.h>

#include "util/le.h"

struct nvme_ctrl_info;
struct nvmet_ctrl;
struct nvmet_req;
struct nvmet_subsystem;

struct nvmet_nvm_op {
	/* Worker: checks the command, says how much data it has. 0 or a status. NULL: not known. */
	uint16_t (*parse)(struct nvmet_req *req);
	/* Worker: checks its data (ranges), which is all here. 0 or a status. NULL:
	 * none to check. */
	uint16_t (*check_data)(struct nvmet_req *req);
	uint16_t oncs;    /* the ONCS bit that offers it; 0: every SSD has it */
	uint32_t effects; /* NVME_EFFECTS_…, besides that it is supported */

	/* Bits of the host's command that reach the SSD, all others being zero there. */
	uint32_t cdw10, cdw11, cdw12, cdw13;
	uint32_t cdw12_pi; /* of CDW12, about protection information: dropped without it */
};

/* Optional commands (ONCS) of an SSD that can be offered. Any thread. */
uint16_t nvmet_nvm_ssd_oncs(const struct nvme_ctrl_info *ssd);
/* ONCS of a controller that sees the subsystem's first n SSDs: what all these and their namespaces
 * can do and we forward. Any thread. */
uint16_t nvmet_nvm_oncs(const struct nvmet_subsystem *subsys, unsigned n_ssds);
/* The I/O half of the commands supported and effects log, which agrees with that. */
void nvmet_nvm_effects(const struct nvmet_ctrl *ctrl, le32 iocs[256]);

#endif
