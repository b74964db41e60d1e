/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the format of an SSD's namespace means for hosts: how long a block is on the way, whether
 * there is metadata and protection information, and which commands can be offered.
 *
 * Fabrics have no buffer for metadata of its own: it goes with the data (extended LBA), or not at
 * all. A namespace whose metadata has a buffer of its own is shown without any:
 *
 *   metadata is with the data       everything is passed on as it is
 *   8 bytes, protection information the SSD makes and checks it (PRACT = 1)
 *   without protection information  writes store zeroes, reads throw it away: one buffer of zeroes
 *                                   and one to throw into serve all commands of the namespace
 *   else                            refused
 *
 * NVM Command Set 1.0: 2.1.6 (metadata), 5.2 (protection information).
 */
#ifndef NVMETD_TARGET_FORMAT_H
#define NVMETD_TARGET_FORMAT_H

#include <stdbool.h>
#include <stdint.h>

struct nvme_ctrl_info;
struct nvme_id_ns;
struct nvme_sqe;
struct nvmet_req;

enum nvmet_metadata {
	NVMET_METADATA_NONE,
	NVMET_METADATA_EXTENDED, /* behind each block's data, to and from hosts */
	NVMET_METADATA_STRIPPED, /* protection information between us and the SSD */
	NVMET_METADATA_IGNORED,  /* in memory of ours */
};

/* Plain data; constant while commands may use it. */
struct nvmet_format {
	uint8_t lba_shift;    /* log2 of a block's data bytes */
	uint8_t metadata;     /* enum nvmet_metadata */
	uint8_t pi_type;      /* 1 .. 3; 0: no protection information */
	uint16_t ms;          /* bytes of metadata of a block, on the SSD */
	uint32_t block_bytes; /* of a block between host and SSD, metadata included */
	uint16_t oncs;        /* optional commands that can be offered */

	/* Copy: most blocks of a range, of all ranges, and most ranges, 0's based. */
	uint16_t mssrl;
	uint32_t mcl;
	uint8_t msrc;
};

/*
 * The format of a namespace that its SSD describes so. 0, or -ENOTSUP and in *ret_why what is in
 * the way, a sentence.
 */
int nvmet_format_of(const struct nvme_id_ns *id, const struct nvme_ctrl_info *ssd,
		    struct nvmet_format *ret, const char **ret_why);
/* Whether commands that were made for one are right for the other. */
bool nvmet_format_same(const struct nvmet_format *a, const struct nvmet_format *b);
/* For the log, behind the block size: " with metadata behind each"; "" without metadata. */
const char *nvmet_format_note(const struct nvmet_format *format);

/* Bytes that the SSD transfers for a Read, Write or Compare of `blocks`. Worker. */
uint64_t nvmet_format_bytes(const struct nvmet_req *req, uint32_t blocks);
/* Fills in what the SSD's command says of metadata and protection information. Worker. */
void nvmet_format_apply(const struct nvmet_req *req, struct nvme_sqe *sqe);
/* Identify Namespace as hosts see it: formats and protection information. */
void nvmet_format_show(const struct nvmet_format *format, struct nvme_id_ns *id);

#endif
