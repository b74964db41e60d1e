/* SPDX-License-Identifier: BSD-3-Clause */
/* What hosts rely on; see promise.h. */
#include "target/promise.h"

#include <stddef.h>

#include "pcie/ctrl.h"
#include "target/fuse.h"
#include "target/ns.h"
#include "target/nvm.h"
#include "target/passthru.h"
#include "target/ssd.h"
#include "target/subsystem.h"
#include "util/num.h"

#define UNSEEN_TRANSFER (128u << 10) /* bytes */

static bool has_write_cache(const struct nvmet_subsystem *subsys, unsigned n_ssds)
{
	for (unsigned i = 0; i < n_ssds; i++) {
		if (nvme_ctrl_info(subsys->ssds[i]->ctrl)->volatile_write_cache)
			return true;
	}
	return false;
}

/* The lesser of two limits, where 0 is none. */
static uint64_t lesser(uint64_t a, uint64_t b)
{
	return a && b ? num_min(a, b) : a | b;
}

/* The least of the limits that SSDs have; 0 is none. */
static uint8_t least_limit(const struct nvmet_subsystem *subsys, unsigned n_ssds, size_t offset)
{
	uint8_t least = 0;

	for (unsigned i = 0; i < n_ssds; i++) {
		const struct nvme_ctrl_info *info = nvme_ctrl_info(subsys->ssds[i]->ctrl);
		uint8_t limit = ((const uint8_t *)&info->nvm)[offset];

		if (limit)
			limit = (uint8_t)num_min(limit + NVME_CAP_MPSMIN(info->cap), 63u);
		least = (uint8_t)lesser(least, limit);
	}
	return least;
}

/* Blocks that are written whole or not at all: what every SSD does. */
static void least_atomic(const struct nvmet_subsystem *subsys, unsigned n_ssds,
			 struct nvmet_promise *ret)
{
	ret->awun = ret->awupf = n_ssds ? UINT16_MAX : 0;
	for (unsigned i = 0; i < n_ssds; i++) {
		const struct nvme_id_ctrl *ssd = &nvme_ctrl_info(subsys->ssds[i]->ctrl)->id;

		ret->awun = num_min(ret->awun, le16_get(ssd->awun));
		ret->awupf = num_min(ret->awupf, le16_get(ssd->awupf));
	}
}

/* NVM Command Set 3.2.3.1: either all of them are set or none, and if they are then the command is
 * offered. */
static void least_dsm(const struct nvmet_subsystem *subsys, unsigned n_ssds,
		      struct nvmet_promise *ret)
{
	uint64_t dmrl = 0, dmrsl = 0, dmsl = 0;

	if (!(ret->oncs & NVME_ONCS_DSM))
		return;
	for (unsigned i = 0; i < n_ssds; i++) {
		const struct nvme_id_ctrl_nvm *ssd = &nvme_ctrl_info(subsys->ssds[i]->ctrl)->nvm;

		dmrl = lesser(dmrl, ssd->dmrl);
		dmrsl = lesser(dmrsl, le32_get(ssd->dmrsl));
		dmsl = lesser(dmsl, le64_get(ssd->dmsl));
	}
	if (!dmrl && !dmrsl && !dmsl)
		return;
	ret->dmrl = (uint8_t)lesser(dmrl, UINT8_MAX);
	ret->dmrsl = (uint32_t)lesser(dmrsl, UINT32_MAX);
	ret->dmsl = lesser(dmsl, UINT64_MAX);
}

/* Blocks of a fused pair: what suits every namespace. */
static uint32_t fused_blocks(const struct nvmet_subsystem *subsys, unsigned n_ssds)
{
	uint32_t least = 0;

	for (uint32_t nsid = 1; nsid <= subsys->max_nsid; nsid++) {
		const struct nvmet_ns *ns = nvmet_subsystem_ns(subsys, nsid);

		if (ns && ns->path < n_ssds)
			least = (uint32_t)lesser(least, nvmet_fuse_acwu(ns) + 1u);
	}
	return least;
}

void nvmet_promise_make(const struct nvmet_subsystem *subsys, unsigned n_ssds,
			struct nvmet_promise *ret)
{
	*ret = (struct nvmet_promise){
		.max_transfer = subsys->max_transfer,
		.oncs = nvmet_nvm_oncs(subsys, n_ssds),
		.write_cache = subsys->expects || has_write_cache(subsys, n_ssds),
		.admin = nvmet_passthru_offered(subsys, n_ssds),
		.fused_blocks = fused_blocks(subsys, n_ssds),
		.fuses = nvmet_fuse_offered(subsys, n_ssds),
		.vsl = least_limit(subsys, n_ssds, offsetof(struct nvme_id_ctrl_nvm, vsl)),
		.wzsl = least_limit(subsys, n_ssds, offsetof(struct nvme_id_ctrl_nvm, wzsl)),
		.wusl = least_limit(subsys, n_ssds, offsetof(struct nvme_id_ctrl_nvm, wusl)),
	};
	least_atomic(subsys, n_ssds, ret);
	least_dsm(subsys, n_ssds, ret);
	if (subsys->expects && !n_ssds)
		ret->max_transfer = num_min(ret->max_transfer, UNSEEN_TRANSFER);
}

/* Of a command that hosts were offered. */
static bool limit_holds(const struct nvmet_promise *promise, uint16_t oncs, uint64_t limit,
			uint64_t now)
{
	return !(promise->oncs & oncs) || !now || (limit && limit <= now);
}

static bool limits_hold(const struct nvmet_promise *promise, const struct nvmet_promise *now)
{
	return limit_holds(promise, NVME_ONCS_VERIFY, promise->vsl, now->vsl) &&
	       limit_holds(promise, NVME_ONCS_WRITE_ZEROES, promise->wzsl, now->wzsl) &&
	       limit_holds(promise, NVME_ONCS_WRITE_UNCORRECTABLE, promise->wusl, now->wusl) &&
	       limit_holds(promise, NVME_ONCS_DSM, promise->dmrl, now->dmrl) &&
	       limit_holds(promise, NVME_ONCS_DSM, promise->dmrsl, now->dmrsl) &&
	       limit_holds(promise, NVME_ONCS_DSM, promise->dmsl, now->dmsl);
}

/* Where there is no namespace nobody was told of a size. */
static bool fused_pairs_hold(const struct nvmet_promise *promise, const struct nvmet_promise *now)
{
	if (!promise->fuses)
		return true;
	return now->fuses && (!promise->fused_blocks || !now->fused_blocks ||
			      promise->fused_blocks <= now->fused_blocks);
}

bool nvmet_promise_holds(const struct nvmet_promise *promise, const struct nvmet_promise *now)
{
	return promise->max_transfer <= now->max_transfer && !(promise->oncs & ~now->oncs) &&
	       (promise->write_cache || !now->write_cache) && fused_pairs_hold(promise, now) &&
	       !(promise->admin & ~now->admin) && promise->awun <= now->awun &&
	       promise->awupf <= now->awupf && limits_hold(promise, now);
}
