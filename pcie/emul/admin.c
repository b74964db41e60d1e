/* SPDX-License-Identifier: BSD-3-Clause */
/* The emulated SSD's admin commands (Base 5). Main thread. */
#include "pcie/emul/admin.h"

#include <stdio.h>
#include <string.h>

#include "pcie/emul/events.h"
#include "pcie/emul/fault.h"
#include "pcie/emul/io.h"
#include "pcie/emul/maintenance.h"
#include "pcie/emul/state.h"
#include "util/num.h"

#define TEMPERATURE_K 310

uint16_t emul_answer(const struct emul *emul, const struct nvme_sqe *sqe, const void *data,
		     size_t size, uint64_t offset, size_t len)
{
	struct iovec iov[EMUL_MAX_IOVS + 1];
	unsigned n;
	uint16_t status;

	if (len > emul->options.mdts)
		return NVME_SC_INVALID_FIELD | NVME_STATUS_DNR;
	status = emul_prps(emul, sqe, len, iov, &n);
	for (unsigned i = 0; !status && i < n; i++) {
		size_t part = offset < size ? num_min(size - offset, iov[i].iov_len) : 0;

		memcpy(iov[i].iov_base, (const uint8_t *)data + (part ? offset : 0), part);
		memset((uint8_t *)iov[i].iov_base + part, 0, iov[i].iov_len - part);
		offset += iov[i].iov_len;
	}
	return status;
}

/* --- Identify --------------------------------------------------------------------------------- */

static void identify_ctrl(const struct emul *emul, struct nvme_id_ctrl *id)
{
	nvme_text_set(id->sn, sizeof(id->sn), emul->options.serial);
	nvme_text_set(id->mn, sizeof(id->mn), "nvmetd emulated SSD");
	memcpy(id->fr, emul->firmware, sizeof(id->fr));
	id->mdts = (uint8_t)(num_log2_up(emul->options.mdts) - NVME_PAGE_SHIFT);
	id->cntlid = le16_set(1);
	id->ver = le32_set(EMUL_VERSION);
	id->cntrltype = NVME_CNTRLTYPE_IO;
	id->oacs = le16_set(NVME_OACS_SECURITY | NVME_OACS_FORMAT | NVME_OACS_FIRMWARE |
			    NVME_OACS_SELF_TEST | (emul->options.dbbuf ? NVME_OACS_DBBUF : 0));
	id->sanicap = le32_set(1 | 1 << 1); /* crypto erase, block erase */
	id->avscc = NVME_AVSCC_STANDARD;
	id->fna = (uint8_t)emul->options.fna;
	id->edstt = le16_set(1);
	id->acl = 3;
	id->aerl = EMUL_AERS - 1;
	id->oaes = le32_set(NVME_OAES_NS_ATTR);
	id->frmw = 1 << 1 | 1 << 4; /* one slot, activation without reset */
	id->lpa = NVME_LPA_EFFECTS | NVME_LPA_EXTENDED | NVME_LPA_TELEMETRY;
	id->elpe = 0;
	id->wctemp = le16_set(343);
	id->cctemp = le16_set(353);
	id->sqes = NVME_SQE_SHIFT << 4 | NVME_SQE_SHIFT;
	id->cqes = NVME_CQE_SHIFT << 4 | NVME_CQE_SHIFT;
	id->nn = le32_set(emul->options.namespaces);
	id->oncs = le16_set(NVME_ONCS_COMPARE | NVME_ONCS_DSM | NVME_ONCS_WRITE_ZEROES |
			    NVME_ONCS_VERIFY | (emul->options.pi ? 0 : NVME_ONCS_COPY) |
			    (emul->media.ram ? NVME_ONCS_WRITE_UNCORRECTABLE : 0));
	id->ocfs = le16_set(NVME_OCFS_FORMAT0);
	if (emul->options.fused) {
		id->fuses = le16_set(NVME_FUSES_COMPARE_AND_WRITE);
		id->acwu = le16_set((uint16_t)(emul->options.mdts / emul->block_bytes - 1));
	}
	id->awun = id->awupf = le16_set((uint16_t)emul->options.awun);
	id->vwc = emul->media.volatile_cache ? NVME_VWC_PRESENT | 3 << 1 : 0;
	snprintf(id->subnqn, sizeof(id->subnqn), "nqn.2026-11.io.nvmetd:emulated:%s",
		 emul->options.serial);
}

static void identify_nvm(const struct emul *emul, struct nvme_id_ctrl_nvm *id)
{
	id->wzsl = (uint8_t)emul->options.wzsl;
	id->dmrl = (uint8_t)emul->options.dmrl;
	id->dmrsl = le32_set(emul->options.dmrsl);
	id->dmsl = le64_set(emul->options.dmsl);
}

static void identify_ns(const struct emul *emul, uint32_t nsid, struct nvme_id_ns *id)
{
	id->nsze = id->ncap = id->nuse = le64_set(emul->ns_blocks);
	id->nsfeat = emul->media.ram ? 0 : 1; /* thin provisioning: a sparse file */
	id->dlfeat = 1 | 1 << 3; /* deallocated blocks read as zeroes; DEAC in Write Zeroes */
	for (unsigned i = 0; emul_format_shift(emul, i); i++) {
		id->lbaf[i].lbads = (uint8_t)emul_format_shift(emul, i);
		id->nlbaf = (uint8_t)i;
	}
	id->lbaf[0].ms = le16_set((uint16_t)emul->options.ms);
	if (emul->options.ms) {
		id->flbas = emul->options.separate ? 0 : NVME_FLBAS_EXTENDED;
		id->mc = emul->options.separate ? NVME_MC_SEPARATE : NVME_MC_EXTENDED;
		id->dpc = emul->options.pi ? (uint8_t)(1u << (emul->options.pi - 1) | 1u << 3) : 0;
		id->dps = emul->options.pi ? (uint8_t)(emul->options.pi | NVME_DPS_FIRST) : 0;
	}
	id->mssrl = le16_set(EMUL_COPY_RANGE_BLOCKS);
	id->mcl = le32_set(EMUL_COPY_BLOCKS);
	id->msrc = EMUL_COPY_RANGES - 1;
	memcpy(id->nguid, emul->ns_uuid[nsid - 1], sizeof(id->nguid));
}

static void identify_descriptors(const struct emul *emul, uint32_t nsid, uint8_t *list)
{
	struct nvme_ns_id_desc desc = { .nidt = NVME_NIDT_UUID, .nidl = 16 };

	memcpy(list, &desc, sizeof(desc));
	memcpy(list + sizeof(desc), emul->ns_uuid[nsid - 1], 16);
}

static void identify_list(const struct emul *emul, uint32_t after, le32 *list)
{
	for (uint32_t nsid = after + 1; nsid <= atomic_load(&emul->n_ns); nsid++)
		*list++ = le32_set(nsid);
}

static uint16_t identify(struct emul *emul, const struct nvme_sqe *sqe)
{
	uint8_t data[NVME_IDENTIFY_SIZE] __attribute__((aligned(8))) = { 0 };
	uint32_t nsid = le32_get(sqe->nsid), cns = le32_get(sqe->cdw10) & 0xff;
	bool known = emul_has_ns(emul, nsid);

	switch (cns) {
	case NVME_CNS_CTRL:
		identify_ctrl(emul, (void *)data);
		break;
	case NVME_CNS_NS:
	case NVME_CNS_NS_DESC_LIST:
		emul_follow_medium(emul);
		if (!known)
			return NVME_SC_INVALID_NS | NVME_STATUS_DNR;
		if (cns == NVME_CNS_NS)
			identify_ns(emul, nsid, (void *)data);
		else
			identify_descriptors(emul, nsid, data);
		break;
	case NVME_CNS_CS_CTRL:
		if (le32_get(sqe->cdw11) >> 24 != NVME_CSI_NVM)
			return NVME_SC_INVALID_FIELD | NVME_STATUS_DNR;
		identify_nvm(emul, (void *)data);
		break;
	case NVME_CNS_ACTIVE_NS_LIST:
		if (nsid >= 0xfffffffe)
			return NVME_SC_INVALID_NS | NVME_STATUS_DNR;
		identify_list(emul, nsid, (void *)data);
		break;
	default:
		return NVME_SC_INVALID_FIELD | NVME_STATUS_DNR;
	}
	return emul_answer(emul, sqe, data, sizeof(data), 0, sizeof(data));
}

/* --- Log pages -------------------------------------------------------------------------------- */

static void put128(uint8_t to[16], uint64_t value)
{
	le64 raw = le64_set(value);

	memcpy(to, &raw, sizeof(raw));
}

static void log_smart(const struct emul *emul, struct nvme_smart_log *log)
{
	uint64_t reads = 0, writes = 0, blocks_read = 0, blocks_written = 0;

	for (unsigned qid = 1; qid <= emul->options.queues; qid++) {
		reads += counter_get(&emul->sq[qid].reads);
		writes += counter_get(&emul->sq[qid].writes);
		blocks_read += counter_get(&emul->sq[qid].blocks_read);
		blocks_written += counter_get(&emul->sq[qid].blocks_written);
	}
	log->critical_warning = emul->critical_warning;
	log->temperature[0] = TEMPERATURE_K & 0xff;
	log->temperature[1] = TEMPERATURE_K >> 8;
	log->avail_spare = 100;
	log->spare_thresh = 10;
	put128(log->data_units_read,
	       (blocks_read + 999) / 1000); /* units of 1000 blocks, rounded up */
	put128(log->data_units_written, (blocks_written + 999) / 1000);
	put128(log->host_reads, reads);
	put128(log->host_writes, writes);
	put128(log->power_cycles, 1);
}

static void log_effects(const struct emul *emul, struct nvme_effects_log *log)
{
	static const uint8_t admin[] = { NVME_ADMIN_DELETE_SQ,    NVME_ADMIN_CREATE_SQ,
					 NVME_ADMIN_GET_LOG_PAGE, NVME_ADMIN_DELETE_CQ,
					 NVME_ADMIN_CREATE_CQ,    NVME_ADMIN_IDENTIFY,
					 NVME_ADMIN_ABORT,        NVME_ADMIN_SET_FEATURES,
					 NVME_ADMIN_GET_FEATURES, NVME_ADMIN_AER };
	static const uint8_t io[] = { NVME_IO_FLUSH, NVME_IO_READ, NVME_IO_COMPARE,
				      NVME_IO_VERIFY };
	static const uint8_t io_changes[] = { NVME_IO_WRITE, NVME_IO_WRITE_ZEROES, NVME_IO_DSM,
					      NVME_IO_COPY };

	for (size_t i = 0; i < ARRAY_SIZE(admin); i++)
		log->acs[admin[i]] = le32_set(NVME_EFFECTS_CSUPP);
	if (emul->options.dbbuf)
		log->acs[NVME_ADMIN_DBBUF_CONFIG] = le32_set(NVME_EFFECTS_CSUPP);
	for (size_t i = 0; i < ARRAY_SIZE(io); i++)
		log->iocs[io[i]] = le32_set(NVME_EFFECTS_CSUPP);
	for (size_t i = 0; i < ARRAY_SIZE(io_changes); i++)
		log->iocs[io_changes[i]] = le32_set(NVME_EFFECTS_CSUPP | NVME_EFFECTS_LBCC);
	if (emul->media.ram)
		log->iocs[NVME_IO_WRITE_UNCORRECTABLE] =
			le32_set(NVME_EFFECTS_CSUPP | NVME_EFFECTS_LBCC);
}

static uint16_t get_log_page(const struct emul *emul, const struct nvme_sqe *sqe)
{
	uint8_t data[NVME_IDENTIFY_SIZE] __attribute__((aligned(8))) = { 0 };
	uint32_t cdw10 = le32_get(sqe->cdw10);
	uint64_t offset = nvme_log_offset(sqe);
	struct nvme_fw_slot_log *slots = (void *)data;
	size_t size;

	switch (cdw10 & 0xff) {
	case NVME_LOG_ERROR:
		size = sizeof(struct nvme_error_entry);
		break;
	case NVME_LOG_SMART:
		log_smart(emul, (void *)data);
		size = sizeof(struct nvme_smart_log);
		break;
	case NVME_LOG_FW_SLOT:
		slots->afi = 1;
		memcpy(slots->frs[0], emul->firmware, sizeof(slots->frs[0]));
		size = sizeof(*slots);
		break;
	case NVME_LOG_CHANGED_NS: /* which is not told: whoever hears of it looks at all */
		*(le32 *)(void *)data = le32_set(NVME_NSID_ALL);
		size = NVME_IDENTIFY_SIZE;
		break;
	case NVME_LOG_SELF_TEST:
		size = emul_log_self_test(emul, data);
		break;
	case NVME_LOG_TELEMETRY_HOST:
	case NVME_LOG_TELEMETRY_CTRL:
		size = emul_log_telemetry((uint8_t)cdw10, data);
		break;
	case NVME_LOG_SANITIZE:
		size = emul_log_sanitize(emul, data);
		break;
	case NVME_LOG_EFFECTS:
		log_effects(emul, (void *)data);
		size = sizeof(struct nvme_effects_log);
		break;
	default:
		return NVME_SC_INVALID_LOG_PAGE | NVME_STATUS_DNR;
	}
	if ((offset & 3) || offset >= size)
		return NVME_SC_INVALID_FIELD | NVME_STATUS_DNR;
	return emul_answer(emul, sqe, data, size, offset, nvme_log_len(sqe));
}

/* --- Features --------------------------------------------------------------------------------- */

static bool known_feature(const struct emul *emul, unsigned fid)
{
	switch (fid) {
	case NVME_FEAT_ARBITRATION:
	case NVME_FEAT_POWER:
	case NVME_FEAT_TEMP_THRESHOLD:
	case NVME_FEAT_ERROR_RECOVERY:
	case NVME_FEAT_NUM_QUEUES:
	case NVME_FEAT_INT_COALESCING:
	case NVME_FEAT_INT_VECTOR:
	case NVME_FEAT_WRITE_ATOMICITY:
	case NVME_FEAT_AEC:
		return true;
	case NVME_FEAT_VWC:
		return emul->media.volatile_cache;
	default:
		return false;
	}
}

static uint32_t queues_granted(const struct emul *emul)
{
	uint32_t n = emul->options.queues - 1;

	return n << 16 | n;
}

static uint16_t set_features(struct emul *emul, const struct nvme_sqe *sqe, uint32_t *ret_dw0)
{
	unsigned fid = le32_get(sqe->cdw10) & 0xff;
	uint32_t value = le32_get(sqe->cdw11);

	if (!known_feature(emul, fid))
		return NVME_SC_INVALID_FIELD | NVME_STATUS_DNR;
	if (le32_get(sqe->cdw10) >> 31)
		return NVME_SC_FEATURE_NOT_SAVEABLE | NVME_STATUS_DNR;
	if (fid == NVME_FEAT_NUM_QUEUES) {
		if ((value & 0xffff) == 0xffff || value >> 16 == 0xffff)
			return NVME_SC_INVALID_FIELD | NVME_STATUS_DNR;
		*ret_dw0 = queues_granted(emul);
		return 0;
	}
	if (fid == NVME_FEAT_VWC && !(value & 1))
		return NVME_SC_FEATURE_NOT_CHANGEABLE | NVME_STATUS_DNR;
	emul->features[fid] = value;
	return 0;
}

static uint16_t get_features(const struct emul *emul, const struct nvme_sqe *sqe, uint32_t *ret_dw0)
{
	unsigned fid = le32_get(sqe->cdw10) & 0xff;

	if (!known_feature(emul, fid))
		return NVME_SC_INVALID_FIELD | NVME_STATUS_DNR;
	if (fid == NVME_FEAT_NUM_QUEUES)
		*ret_dw0 = queues_granted(emul);
	else if (fid == NVME_FEAT_VWC)
		*ret_dw0 = 1;
	else
		*ret_dw0 = emul->features[fid];
	return 0;
}

/* --- Queues ----------------------------------------------------------------------------------- */

static uint16_t create_cq(struct emul *emul, const struct nvme_sqe *sqe)
{
	uint32_t cdw10 = le32_get(sqe->cdw10), cdw11 = le32_get(sqe->cdw11);
	uint32_t qid = cdw10 & 0xffff, entries = (cdw10 >> 16) + 1, vector = cdw11 >> 16;

	if (qid == 0 || qid > emul->options.queues || emul->cq[qid].created)
		return NVME_SC_QID_INVALID | NVME_STATUS_DNR;
	if (entries < 2 || entries > emul->options.depth)
		return NVME_SC_QUEUE_SIZE_INVALID | NVME_STATUS_DNR;
	if (!(cdw11 & 1))
		return NVME_SC_INVALID_FIELD | NVME_STATUS_DNR;
	if ((cdw11 & 2) && vector >= emul->n_irqs)
		return NVME_SC_INTERRUPT_VECTOR_INVALID | NVME_STATUS_DNR;
	return emul_create_cq(emul, (uint16_t)qid, le64_get(sqe->prp1), entries, (uint16_t)vector,
			      cdw11 & 2);
}

/* A submission queue completes to the queue of its own number: their owner is one thread. */
static uint16_t create_sq(struct emul *emul, const struct nvme_sqe *sqe)
{
	uint32_t cdw10 = le32_get(sqe->cdw10), cdw11 = le32_get(sqe->cdw11);
	uint32_t qid = cdw10 & 0xffff, entries = (cdw10 >> 16) + 1, cqid = cdw11 >> 16;

	if (qid == 0 || qid > emul->options.queues || atomic_load(&emul->sq[qid].enabled))
		return NVME_SC_QID_INVALID | NVME_STATUS_DNR;
	if (cqid != qid || !emul->cq[cqid].created)
		return NVME_SC_CQ_INVALID | NVME_STATUS_DNR;
	if (entries < 2 || entries > emul->options.depth)
		return NVME_SC_QUEUE_SIZE_INVALID | NVME_STATUS_DNR;
	if (!(cdw11 & 1))
		return NVME_SC_INVALID_FIELD | NVME_STATUS_DNR;
	return emul_create_sq(emul, (uint16_t)qid, (uint16_t)cqid, le64_get(sqe->prp1), entries);
}

static uint16_t delete_sq(struct emul *emul, const struct nvme_sqe *sqe)
{
	uint32_t qid = le32_get(sqe->cdw10) & 0xffff;

	if (qid == 0 || qid > emul->options.queues || !atomic_load(&emul->sq[qid].enabled))
		return NVME_SC_QID_INVALID | NVME_STATUS_DNR;
	return emul_delete_sq(emul, (uint16_t)qid);
}

static uint16_t delete_cq(struct emul *emul, const struct nvme_sqe *sqe)
{
	uint32_t qid = le32_get(sqe->cdw10) & 0xffff;

	if (qid == 0 || qid > emul->options.queues || !emul->cq[qid].created)
		return NVME_SC_QID_INVALID | NVME_STATUS_DNR;
	if (atomic_load(&emul->sq[qid].enabled))
		return NVME_SC_INVALID_QUEUE_DELETION | NVME_STATUS_DNR;
	emul->cq[qid].created = false;
	return 0;
}

static uint16_t dbbuf_config(struct emul *emul, const struct nvme_sqe *sqe)
{
	const void *shadow = emul_dma(emul, le64_get(sqe->prp1), NVME_PAGE_SIZE);
	void *events = emul_dma(emul, le64_get(sqe->prp2), NVME_PAGE_SIZE);

	if (!emul->options.dbbuf)
		return NVME_SC_INVALID_OPCODE | NVME_STATUS_DNR;
	if (!shadow || !events)
		return NVME_SC_INVALID_FIELD | NVME_STATUS_DNR;
	emul->events = events; /* the shadow is never read: the driver is to ring every time */
	return 0;
}

uint16_t emul_admin(struct emul *emul, const struct nvme_sqe *sqe, uint32_t *ret_dw0)
{
	switch (sqe->opcode) {
	case NVME_ADMIN_IDENTIFY:
		return identify(emul, sqe);
	case NVME_ADMIN_GET_LOG_PAGE:
		return get_log_page(emul, sqe);
	case NVME_ADMIN_SET_FEATURES:
		return set_features(emul, sqe, ret_dw0);
	case NVME_ADMIN_GET_FEATURES:
		return get_features(emul, sqe, ret_dw0);
	case NVME_ADMIN_CREATE_CQ:
		return create_cq(emul, sqe);
	case NVME_ADMIN_CREATE_SQ:
		return create_sq(emul, sqe);
	case NVME_ADMIN_DELETE_SQ:
		return delete_sq(emul, sqe);
	case NVME_ADMIN_DELETE_CQ:
		return delete_cq(emul, sqe);
	case NVME_ADMIN_DBBUF_CONFIG:
		return dbbuf_config(emul, sqe);
	case NVME_ADMIN_AER:
		return emul_async_event(emul, sqe, ret_dw0);
	case NVME_ADMIN_ABORT:
		return emul_fault_abort(emul, (uint16_t)le32_get(sqe->cdw10),
					(uint16_t)(le32_get(sqe->cdw10) >> 16), ret_dw0);
	case NVME_ADMIN_FORMAT:
		return emul_format(emul, sqe);
	case NVME_ADMIN_SANITIZE:
		return emul_sanitize(emul, sqe);
	case NVME_ADMIN_FW_DOWNLOAD:
	case NVME_ADMIN_FW_COMMIT:
		return emul_firmware(emul, sqe);
	case NVME_ADMIN_SECURITY_SEND:
	case NVME_ADMIN_SECURITY_RECV:
		return emul_security(emul, sqe);
	case NVME_ADMIN_SELF_TEST:
		return emul_self_test(emul, sqe);
	default:
		return emul_vendor(emul, sqe, ret_dw0);
	}
}
