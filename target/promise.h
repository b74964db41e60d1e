/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a controller says of the SSDs behind it as a whole, and hosts rely on from then on: the
 * least of what they can do. Plain data. Main thread, but for a controller's own, which is
 * constant.
 */
#ifndef NVMETD_TARGET_PROMISE_H
#define NVMETD_TARGET_PROMISE_H

#include <stdbool.h>
#include <stdint.h>

struct nvmet_subsystem;

struct nvmet_promise {
	uint32_t max_transfer; /* bytes: MDTS */
	uint16_t oncs;
	uint32_t admin;          /* enum nvmet_permission: commands for the whole SSD */
	bool write_cache;        /* a volatile one: hosts must flush */
	bool fuses;              /* fused pairs */
	uint32_t fused_blocks;   /* of a pair that are written as one; 0: there is no namespace */
	uint16_t awun, awupf;    /* blocks that are written whole or not at all, 0's based */
	uint8_t vsl, wzsl, wusl; /* in units of 2^n pages of 4 KiB; 0: no limit */
	/* Of Dataset Management: what is beyond is passed over. 0: no limit. */
	uint8_t dmrl;
	uint32_t dmrsl;
	uint64_t dmsl;
};

/*
 * What holds now for a controller that sees the first n_ssds SSDs of a subsystem; max_transfer is
 * the least of all its SSDs. Of SSDs that are expected and were never seen nothing is known:
 * one of them may have a write cache; and where there is no other to go by, transfers are kept to
 * what nearly every SSD can do.
 */
void nvmet_promise_make(const struct nvmet_subsystem *subsys, unsigned n_ssds,
			struct nvmet_promise *ret);

/* Whether a host that was told `promise` may go on by it where `now` holds. */
bool nvmet_promise_holds(const struct nvmet_promise *promise, const struct nvmet_promise *now);

#endif
