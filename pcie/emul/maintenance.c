/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The emulated SSD's commands for the SSD as a whole (Base 5: Format NVM, Sanitize, Firmware Image
 * Download and Commit, Security Send and Receive, Device Self-test; two vendor specific ones) and
 * the log pages that go with them. Each does what it says as far as there is something to do: data
 * are erased, a firmware revision changes, a test passes. Main thread.
 */
#include "pcie/emul/maintenance.h"

#include <string.h>

#include "pcie/emul/admin.h"
#include "pcie/emul/state.h"
#include "util/num.h"

#define FIRMWARE_SLOT    1
#define COMMIT_NOW       3 /* commit action: replace and activate without a reset */
#define VENDOR_TAKE      (NVME_ADMIN_VENDOR | 1)
#define VENDOR_GIVE      (NVME_ADMIN_VENDOR | 2)
#define SECURITY_INFO    0x00
#define SECURITY_OURS    0xf0 /* gives back what was sent last */
#define SANITIZE_FAILURE 1
#define SANITIZE_BLOCK   2
#define SANITIZE_CRYPTO  4
#define TELEMETRY_BLOCKS 2

/* A namespace, or NVME_NSID_ALL. One that is alone has all of the medium, which may have grown
 * since it was opened. 0, or the status of a command whose data is still there. */
static uint16_t erase(struct emul *emul, uint32_t nsid)
{
	uint64_t offset = 0, len = emul->media.size;

	if (nsid != NVME_NSID_ALL && emul->options.namespaces > 1) {
		len = emul->ns_span * emul->block_bytes;
		offset = (nsid - 1) * len;
	}
	if (emul_media_erase(&emul->media, offset, len))
		return NVME_SC_INTERNAL;
	if (emul->media.ram)
		emul_bad_clear(&emul->bad, offset / emul->block_bytes, len / emul->block_bytes);
	return 0;
}

/* --- Format ----------------------------------------------------------------------------------- */

/* The block size that format `index` has; 0: there is no such format. */
unsigned emul_format_shift(const struct emul *emul, unsigned index)
{
	if (index == 0)
		return emul->options.lba_shift;
	/* The other one. Namespaces that lie side by side, or have metadata, keep
	 * what they have. */
	if (index > 1 || emul->options.namespaces > 1 || emul->options.ms)
		return 0;
	return emul->options.lba_shift == 9 ? 12 : 9;
}

uint16_t emul_format(struct emul *emul, const struct nvme_sqe *sqe)
{
	uint32_t cdw10 = le32_get(sqe->cdw10), nsid = le32_get(sqe->nsid);
	unsigned ses = NVME_FORMAT_SES(cdw10);
	unsigned shift = emul_format_shift(emul, NVME_FORMAT_INDEX(cdw10));
	uint8_t all = NVME_FNA_FORMAT_ALL | (ses ? NVME_FNA_ERASE_ALL : 0);
	uint16_t status;

	if (!emul_has_ns(emul, nsid))
		return NVME_SC_INVALID_NS | NVME_STATUS_DNR;
	if (!shift || (cdw10 >> 4 & 0x1f) || ses > 2)
		return NVME_SC_INVALID_FORMAT | NVME_STATUS_DNR;
	status = erase(emul, emul->options.fna & all ? NVME_NSID_ALL : nsid);
	if (status)
		return status;
	if (shift != emul->options.lba_shift) {
		emul->options.lba_shift = shift;
		emul->block_bytes = 1u << shift;
		emul->ns_span = emul->media.size >> shift;
		atomic_store(&emul->ns_blocks, emul->ns_span);
	}
	return 0;
}

uint16_t emul_sanitize(struct emul *emul, const struct nvme_sqe *sqe)
{
	unsigned action = le32_get(sqe->cdw10) & 7;
	uint16_t status;

	if (action == SANITIZE_FAILURE)
		return 0; /* leaves a failure mode that it never is in */
	if (action != SANITIZE_BLOCK && action != SANITIZE_CRYPTO)
		return NVME_SC_INVALID_FIELD | NVME_STATUS_DNR;
	status = erase(emul, NVME_NSID_ALL);
	emul->sanitized = !status;
	return status;
}

/* --- Commands with data ----------------------------------------------------------------------- */

/* Takes up to sizeof(emul->store) bytes of what the host sent. */
static uint16_t take(struct emul *emul, const struct nvme_sqe *sqe, uint64_t len)
{
	struct iovec iov[EMUL_MAX_IOVS + 1];
	uint16_t status;
	unsigned n;

	if (len > emul->options.mdts)
		return NVME_SC_INVALID_FIELD | NVME_STATUS_DNR;
	emul->store_len = 0;
	status = len ? emul_prps(emul, sqe, len, iov, &n) : 0;
	for (unsigned i = 0; !status && len && i < n; i++) {
		size_t part = num_min(iov[i].iov_len, sizeof(emul->store) - emul->store_len);

		memcpy(emul->store + emul->store_len, iov[i].iov_base, part);
		emul->store_len += part;
	}
	return status;
}

uint16_t emul_firmware(struct emul *emul, const struct nvme_sqe *sqe)
{
	uint32_t cdw10 = le32_get(sqe->cdw10);
	unsigned slot = cdw10 & 7;

	if (sqe->opcode == NVME_ADMIN_FW_DOWNLOAD)
		return take(emul, sqe, ((uint64_t)cdw10 + 1) * 4);
	if (slot > FIRMWARE_SLOT)
		return NVME_SC_INVALID_FIRMWARE_SLOT | NVME_STATUS_DNR;
	if (emul->store_len < sizeof(emul->firmware))
		return NVME_SC_INVALID_FIRMWARE_IMAGE | NVME_STATUS_DNR;
	if ((cdw10 >> 3 & 7) != COMMIT_NOW)
		return NVME_SC_FIRMWARE_NEEDS_RESET | NVME_STATUS_DNR;
	/* The image begins with the revision that it is. */
	memcpy(emul->firmware, emul->store, sizeof(emul->firmware));
	emul->store_len = 0;
	return 0;
}

uint16_t emul_security(struct emul *emul, const struct nvme_sqe *sqe)
{
	unsigned protocol = le32_get(sqe->cdw10) >> 24;
	uint32_t len = le32_get(sqe->cdw11);
	const uint8_t protocols[] = { 0, 0, 0, 0, 0, 0, 0, 2, SECURITY_INFO, SECURITY_OURS };

	if (protocol == SECURITY_OURS && sqe->opcode == NVME_ADMIN_SECURITY_SEND)
		return take(emul, sqe, len);
	if (protocol == SECURITY_OURS)
		return emul_answer(emul, sqe, emul->store, emul->store_len, 0, len);
	if (protocol == SECURITY_INFO && sqe->opcode == NVME_ADMIN_SECURITY_RECV)
		return emul_answer(emul, sqe, protocols, sizeof(protocols), 0, len);
	return NVME_SC_INVALID_FIELD | NVME_STATUS_DNR;
}

uint16_t emul_vendor(struct emul *emul, const struct nvme_sqe *sqe, uint32_t *ret_dw0)
{
	uint64_t len = (uint64_t)le32_get(sqe->cdw10) * 4;

	switch (sqe->opcode) {
	case NVME_ADMIN_VENDOR:
		*ret_dw0 = (uint32_t)emul->store_len;
		return 0;
	case VENDOR_TAKE:
		return take(emul, sqe, len);
	case VENDOR_GIVE: /* no more than it has; of what lies behind it nothing is said */
		len = num_min(len, (uint64_t)emul->store_len);
		return len ? emul_answer(emul, sqe, emul->store, len, 0, len) : 0;
	default:
		return NVME_SC_INVALID_OPCODE | NVME_STATUS_DNR;
	}
}

uint16_t emul_self_test(struct emul *emul, const struct nvme_sqe *sqe)
{
	unsigned code = le32_get(sqe->cdw10) & 0xf;

	if (code == 0xf)
		return 0; /* aborts one that never runs that long */
	if (code != 1 && code != 2)
		return NVME_SC_INVALID_FIELD | NVME_STATUS_DNR;
	emul->self_tests[1] = emul->self_tests[0];
	emul->self_tests[0] = (uint8_t)(code << 4); /* 3:0: completed without error */
	return 0;
}

/* --- Log pages -------------------------------------------------------------------------------- */

size_t emul_log_self_test(const struct emul *emul, uint8_t *log)
{
	const size_t header = 4, entry = 28, entries = 20;

	for (size_t i = 0; i < entries; i++)
		log[header + i * entry] = i < ARRAY_SIZE(emul->self_tests) && emul->self_tests[i]
						  ? emul->self_tests[i]
						  : 0xf;
	return header + entries * entry;
}

size_t emul_log_sanitize(const struct emul *emul, uint8_t *log)
{
	log[0] = log[1] = 0xff; /* no sanitize operation in progress */
	log[2] = emul->sanitized ? 1 : 0;
	return 20;
}

/* A header and two blocks of 512 bytes that say which they are. */
size_t emul_log_telemetry(uint8_t lid, uint8_t *log)
{
	log[0] = lid;
	for (unsigned area = 0; area < 3; area++)
		log[8 + 2 * area] = TELEMETRY_BLOCKS;
	for (unsigned block = 1; block <= TELEMETRY_BLOCKS; block++)
		memset(log + (size_t)block * 512, (int)block, 512);
	return (size_t)(1 + TELEMETRY_BLOCKS) * 512;
}
