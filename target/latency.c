/* SPDX-License-Identifier: BSD-3-Clause */
/* Names of what is measured; see latency.h. */
#include "target/latency.h"

const char *nvmet_kind_name(enum nvmet_dir dir)
{
	switch (dir) {
	case NVMET_DIR_READ:
		return "read";
	case NVMET_DIR_WRITE:
		return "write";
	default:
		return "other";
	}
}

const char *nvmet_stage_name(enum nvmet_stage stage)
{
	static const char *const names[NVMET_STAGES] = {
		[NVMET_STAGE_PAGES] = "pages",
		[NVMET_STAGE_IN] = "network_in",
		[NVMET_STAGE_SSD] = "ssd",
		[NVMET_STAGE_OUT] = "network_out",
	};

	return names[stage];
}
