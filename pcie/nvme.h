/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * NVMe as it is defined for PCIe and shared by every transport: registers, submission and
 * completion queue entries, opcodes, status codes, Identify and log data.
 *
 * NVM Express Base Specification 2.0, NVM Command Set Specification 1.0. Structures lie exactly as
 * on the wire; each is followed by its size and by offsets wherever padding could go unnoticed.
 *
 * One file, although a long one: it is the specification's tables, looked up and not read through,
 * and every layer needs some of each part.
 */
#ifndef NVMETD_PCIE_NVME_H
#define NVMETD_PCIE_NVME_H

#include <stdbool.h>
#include <stdint.h>

#include "util/check.h"
#include "util/le.h"

/* Base 3.1.3: controller properties (registers). */
enum nvme_reg {
	NVME_REG_CAP = 0x00,
	NVME_REG_VS = 0x08,
	NVME_REG_INTMS = 0x0c,
	NVME_REG_INTMC = 0x10,
	NVME_REG_CC = 0x14,
	NVME_REG_CSTS = 0x1c,
	NVME_REG_NSSR = 0x20,
	NVME_REG_AQA = 0x24,
	NVME_REG_ASQ = 0x28,
	NVME_REG_ACQ = 0x30,
	NVME_REG_CRTO = 0x68,
	NVME_REG_DOORBELLS = 0x1000,
};

#define NVME_CAP_MQES(cap)              ((uint32_t)((cap)&0xffff)) /* 0's based */
#define NVME_CAP_CQR(cap)               ((uint32_t)((cap) >> 16 & 1))
#define NVME_CAP_TO(cap)                ((uint32_t)((cap) >> 24 & 0xff)) /* 500 ms units */
#define NVME_CAP_DSTRD(cap)             ((uint32_t)((cap) >> 32 & 0xf)) /* stride = 4 << DSTRD bytes */
#define NVME_CAP_CSS(cap)               ((uint32_t)((cap) >> 37 & 0xff))
#define NVME_CAP_MPSMIN(cap)            ((uint32_t)((cap) >> 48 & 0xf)) /* page = 4096 << MPSMIN bytes */
#define NVME_CAP_MPSMAX(cap)            ((uint32_t)((cap) >> 52 & 0xf))

#define NVME_CAP_MQES_SHIFT             0
#define NVME_CAP_CQR_BIT                (UINT64_C(1) << 16)
#define NVME_CAP_TO_SHIFT               24
#define NVME_CAP_DSTRD_SHIFT            32
#define NVME_CAP_CSS_SHIFT              37
#define NVME_CAP_CRWMS_BIT              (UINT64_C(1) << 59) /* CRTO is there */

#define NVME_CC_EN                      (1u << 0)
#define NVME_CC_CSS(cc)                 ((cc) >> 4 & 7)
#define NVME_CC_MPS(cc)                 ((cc) >> 7 & 0xf)
#define NVME_CC_AMS(cc)                 ((cc) >> 11 & 7)
#define NVME_CC_SHN(cc)                 ((cc) >> 14 & 3)
#define NVME_CC_IOSQES(cc)              ((cc) >> 16 & 0xf)
#define NVME_CC_IOCQES(cc)              ((cc) >> 20 & 0xf)
#define NVME_CC_MPS_SHIFT               7
#define NVME_CC_SHN_SHIFT               14
#define NVME_CC_SHN_MASK                (3u << 14)
#define NVME_CC_SHN_NORMAL              1u
#define NVME_CC_SHN_ABRUPT              2u
#define NVME_CC_IOSQES_SHIFT            16
#define NVME_CC_IOCQES_SHIFT            20

#define NVME_CSTS_RDY                   (1u << 0)
#define NVME_CSTS_CFS                   (1u << 1)
#define NVME_CSTS_SHST(csts)            ((csts) >> 2 & 3)
#define NVME_CSTS_SHST_SHIFT            2
#define NVME_CSTS_SHST_MASK             (3u << 2)
#define NVME_CSTS_SHST_BUSY             1u
#define NVME_CSTS_SHST_DONE             2u
#define NVME_CSTS_NSSRO                 (1u << 4)

#define NVME_VS(major, minor, tertiary) ((uint32_t)(major) << 16 | (minor) << 8 | (tertiary))

#define NVME_SQE_SHIFT                  6 /* 64-byte entries */
#define NVME_CQE_SHIFT                  4 /* 16-byte entries */
#define NVME_PAGE_SIZE                  4096u
#define NVME_PAGE_SHIFT                 12
#define NVME_NSID_ALL                   UINT32_C(0xffffffff)
#define NVME_IDENTIFY_SIZE              4096u

/* Base 4.1: common command format, with PRPs (PCIe) or one SGL descriptor (Fabrics). */
struct nvme_sgl_desc {
	le64 addr;
	le32 length;
	uint8_t rsvd[3];
	uint8_t type; /* 7:4 type, 3:0 subtype */
};
WIRE_SIZE(struct nvme_sgl_desc, 16);
WIRE_AT(struct nvme_sgl_desc, type, 15);

struct nvme_sqe {
	uint8_t opcode;
	uint8_t flags; /* 1:0 FUSE, 7:6 PSDT */
	le16 cid;
	le32 nsid;
	le32 cdw2;
	le32 cdw3;
	le64 mptr;
	union {
		struct {
			le64 prp1;
			le64 prp2;
		};
		struct nvme_sgl_desc sgl;
	};
	le32 cdw10;
	le32 cdw11;
	le32 cdw12;
	le32 cdw13;
	le32 cdw14;
	le32 cdw15;
};
WIRE_SIZE(struct nvme_sqe, 64);
WIRE_AT(struct nvme_sqe, nsid, 4);
WIRE_AT(struct nvme_sqe, mptr, 16);
WIRE_AT(struct nvme_sqe, prp1, 24);
WIRE_AT(struct nvme_sqe, sgl, 24);
WIRE_AT(struct nvme_sqe, cdw10, 40);
WIRE_AT(struct nvme_sqe, cdw15, 60);

#define NVME_SQE_FUSE(flags) ((flags)&3)
#define NVME_FUSE_FIRST      1u
#define NVME_FUSE_SECOND     2u
#define NVME_SQE_PSDT(flags) ((flags) >> 6)
#define NVME_PSDT_PRP        0u
#define NVME_PSDT_SGL        1u

/* Base 4.2: completion queue entry. status: bit 0 phase, 8:1 SC, 11:9 SCT, 13:12 CRD, 14 More, 15
 * DNR. */
struct nvme_cqe {
	le32 dw0;
	le32 dw1;
	le16 sqhd;
	le16 sqid;
	le16 cid;
	le16 status;
};
WIRE_SIZE(struct nvme_cqe, 16);
WIRE_AT(struct nvme_cqe, sqhd, 8);
WIRE_AT(struct nvme_cqe, status, 14);

#define NVME_CQE_PHASE 1u

/*
 * A status in this program is a uint16_t with SC in 7:0, SCT in 10:8, CRD 12:11, More 13, DNR 14:
 * the wire's status field without the phase bit. 0 is success.
 */
#define NVME_STATUS_DNR      ((uint16_t)0x4000)
#define NVME_STATUS_MORE     ((uint16_t)0x2000)
#define NVME_STATUS_CRD_MASK ((uint16_t)0x1800)
#define NVME_STATUS_SCT(st)  ((st) >> 8 & 7)
#define NVME_STATUS_SC(st)   ((st)&0xff)

static inline uint16_t nvme_cqe_status(const struct nvme_cqe *cqe)
{
	return (uint16_t)(le16_get(cqe->status) >> 1);
}
static inline le16 nvme_status_to_wire(uint16_t status, bool phase)
{
	return le16_set((uint16_t)(status << 1 | (phase ? NVME_CQE_PHASE : 0)));
}

/* The completion that a command gets from us, when the SSD gives none. */
static inline struct nvme_cqe nvme_cqe_failed(uint16_t cid, uint16_t status)
{
	return (struct nvme_cqe){ .cid = le16_set(cid),
				  .status = nvme_status_to_wire(status, false) };
}

/* Base 4.2.3 and NVM Command Set 1.0, 3.1: status codes. */
enum nvme_status_code {
	NVME_SC_SUCCESS = 0x000,
	NVME_SC_INVALID_OPCODE = 0x001,
	NVME_SC_INVALID_FIELD = 0x002,
	NVME_SC_CID_CONFLICT = 0x003,
	NVME_SC_DATA_TRANSFER_ERROR = 0x004,
	NVME_SC_POWER_LOSS_ABORT = 0x005,
	NVME_SC_INTERNAL = 0x006,
	NVME_SC_ABORT_REQUESTED = 0x007,
	NVME_SC_ABORTED_SQ_DELETION = 0x008,
	NVME_SC_ABORTED_FUSED_FAILED = 0x009,
	NVME_SC_ABORTED_FUSED_MISSING = 0x00a,
	NVME_SC_INVALID_NS = 0x00b,
	NVME_SC_CMD_SEQUENCE = 0x00c,
	NVME_SC_INVALID_SGL_SEGMENT = 0x00d,
	NVME_SC_INVALID_SGL_COUNT = 0x00e,
	NVME_SC_SGL_LENGTH_INVALID = 0x00f,
	NVME_SC_SGL_TYPE_INVALID = 0x011,
	NVME_SC_INVALID_CMB_USE = 0x012,
	NVME_SC_INVALID_PRP_OFFSET = 0x013,
	NVME_SC_ATOMIC_WRITE_UNIT = 0x014,
	NVME_SC_SGL_OFFSET_INVALID = 0x016,
	NVME_SC_HOSTID_INCONSISTENT = 0x018,
	NVME_SC_KATO_EXPIRED = 0x019,
	NVME_SC_KATO_INVALID = 0x01a,
	NVME_SC_OPERATION_DENIED = 0x015,
	NVME_SC_NS_WRITE_PROTECTED = 0x020,
	NVME_SC_CMD_INTERRUPTED = 0x021,
	NVME_SC_TRANSIENT_TRANSPORT = 0x022,
	NVME_SC_LBA_RANGE = 0x080,
	NVME_SC_CAPACITY_EXCEEDED = 0x081,
	NVME_SC_NS_NOT_READY = 0x082,
	NVME_SC_RESERVATION_CONFLICT = 0x083,
	NVME_SC_FORMAT_IN_PROGRESS = 0x084,

	NVME_SC_CQ_INVALID = 0x100,
	NVME_SC_QID_INVALID = 0x101,
	NVME_SC_QUEUE_SIZE_INVALID = 0x102,
	NVME_SC_ABORT_LIMIT = 0x103,
	NVME_SC_AER_LIMIT = 0x105,
	NVME_SC_INTERRUPT_VECTOR_INVALID = 0x108,
	NVME_SC_INVALID_FIRMWARE_SLOT = 0x106,
	NVME_SC_INVALID_FIRMWARE_IMAGE = 0x107,
	NVME_SC_INVALID_LOG_PAGE = 0x109,
	NVME_SC_INVALID_FORMAT = 0x10a,
	NVME_SC_FIRMWARE_NEEDS_RESET = 0x10b,
	NVME_SC_INVALID_QUEUE_DELETION = 0x10c,
	NVME_SC_FEATURE_NOT_SAVEABLE = 0x10d,
	NVME_SC_FEATURE_NOT_CHANGEABLE = 0x10e,
	NVME_SC_FEATURE_NOT_NS_SPECIFIC = 0x10f,
	/* Fabrics share the command-specific numbers (Base 4.2.3.2). */
	NVME_SC_CONNECT_FORMAT = 0x180,
	NVME_SC_CONNECT_BUSY = 0x181,
	NVME_SC_CONNECT_INVALID_PARAM = 0x182,
	NVME_SC_CONNECT_RESTART_DISCOVERY = 0x183,
	NVME_SC_CONNECT_INVALID_HOST = 0x184,
	NVME_SC_INVALID_QUEUE_TYPE = 0x185,
	NVME_SC_DISCOVERY_RESTART = 0x190,
	NVME_SC_AUTH_REQUIRED = 0x191,
	NVME_SC_CONFLICTING_ATTRIBUTES = 0x180,
	NVME_SC_INVALID_PI = 0x181,
	NVME_SC_READ_ONLY_RANGE = 0x182,
	NVME_SC_SIZE_LIMIT = 0x183,

	NVME_SC_WRITE_FAULT = 0x280,
	NVME_SC_UNRECOVERED_READ = 0x281,
	NVME_SC_GUARD_CHECK = 0x282,
	NVME_SC_APP_TAG_CHECK = 0x283,
	NVME_SC_REF_TAG_CHECK = 0x284,
	NVME_SC_COMPARE_FAILURE = 0x285,
	NVME_SC_ACCESS_DENIED = 0x286,
	NVME_SC_DEALLOCATED_BLOCK = 0x287,

	NVME_SC_INTERNAL_PATH_ERROR = 0x300,
	NVME_SC_HOST_PATH_ERROR = 0x370,
	NVME_SC_HOST_ABORTED = 0x371,
};

/* Base 5: admin opcodes. */
enum nvme_admin_opcode {
	NVME_ADMIN_DELETE_SQ = 0x00,
	NVME_ADMIN_CREATE_SQ = 0x01,
	NVME_ADMIN_GET_LOG_PAGE = 0x02,
	NVME_ADMIN_DELETE_CQ = 0x04,
	NVME_ADMIN_CREATE_CQ = 0x05,
	NVME_ADMIN_IDENTIFY = 0x06,
	NVME_ADMIN_ABORT = 0x08,
	NVME_ADMIN_SET_FEATURES = 0x09,
	NVME_ADMIN_GET_FEATURES = 0x0a,
	NVME_ADMIN_AER = 0x0c,
	NVME_ADMIN_NS_MGMT = 0x0d,
	NVME_ADMIN_FW_COMMIT = 0x10,
	NVME_ADMIN_FW_DOWNLOAD = 0x11,
	NVME_ADMIN_SELF_TEST = 0x14,
	NVME_ADMIN_NS_ATTACH = 0x15,
	NVME_ADMIN_KEEP_ALIVE = 0x18,
	NVME_ADMIN_DIRECTIVE_SEND = 0x19,
	NVME_ADMIN_DIRECTIVE_RECV = 0x1a,
	NVME_ADMIN_DBBUF_CONFIG = 0x7c,
	NVME_OPCODE_FABRICS = 0x7f,
	NVME_ADMIN_FORMAT = 0x80,
	NVME_ADMIN_SECURITY_SEND = 0x81,
	NVME_ADMIN_SECURITY_RECV = 0x82,
	NVME_ADMIN_SANITIZE = 0x84,
	NVME_ADMIN_VENDOR = 0xc0, /* .. FFh */
};

/* NVM Command Set 3: I/O opcodes. */
enum nvme_io_opcode {
	NVME_IO_FLUSH = 0x00,
	NVME_IO_WRITE = 0x01,
	NVME_IO_READ = 0x02,
	NVME_IO_WRITE_UNCORRECTABLE = 0x04,
	NVME_IO_COMPARE = 0x05,
	NVME_IO_WRITE_ZEROES = 0x08,
	NVME_IO_DSM = 0x09,
	NVME_IO_VERIFY = 0x0c,
	NVME_IO_COPY = 0x19,
};

/* CDW12. */
#define NVME_IO_FUA         (UINT32_C(1) << 30)
#define NVME_IO_PRACT       (UINT32_C(1) << 29) /* protection information: made, stripped */
#define NVME_IO_PRCHK_GUARD (UINT32_C(1) << 28)
#define NVME_IO_PRCHK_APP   (UINT32_C(1) << 27)
#define NVME_IO_PRCHK_REF   (UINT32_C(1) << 26)

/* SLBA of the commands that have one: CDW10 and CDW11. */
static inline uint64_t nvme_slba(const struct nvme_sqe *sqe)
{
	return le32_get(sqe->cdw10) | (uint64_t)le32_get(sqe->cdw11) << 32;
}

struct nvme_dsm_range {
	le32 cattr;
	le32 nlb; /* 1's based */
	le64 slba;
};
WIRE_SIZE(struct nvme_dsm_range, 16);
#define NVME_DSM_AD         (UINT32_C(1) << 2) /* CDW11: deallocate */
#define NVME_DSM_ATTRIBUTES UINT32_C(7)        /* and integral dataset for read, write */

/* NVM Command Set 3.2.2: a source range of Copy, descriptor format 0. */
struct nvme_copy_range {
	uint8_t rsvd0[8];
	le64 slba;
	le16 nlb; /* 0's based */
	uint8_t rsvd18[6];
	le32 eilbrt;
	le16 elbat;
	le16 elbatm;
};
WIRE_SIZE(struct nvme_copy_range, 32);
WIRE_AT(struct nvme_copy_range, eilbrt, 24);
#define NVME_COPY_FORMAT(cdw12) ((cdw12) >> 8 & 0xf)
#define NVME_OCFS_FORMAT0       (1u << 0)

/* CDW10 of Identify: CNS. */
enum nvme_cns {
	NVME_CNS_NS = 0x00,
	NVME_CNS_CTRL = 0x01,
	NVME_CNS_ACTIVE_NS_LIST = 0x02,
	NVME_CNS_NS_DESC_LIST = 0x03,
	NVME_CNS_CS_NS = 0x05,
	NVME_CNS_CS_CTRL = 0x06,
	NVME_CNS_CS_ACTIVE_NS_LIST = 0x07,
	NVME_CNS_INDEPENDENT_NS = 0x08,
	NVME_CNS_ALLOCATED_NS_LIST = 0x10,
	NVME_CNS_ALLOCATED_NS = 0x11,
	NVME_CNS_NS_CTRL_LIST = 0x12,
	NVME_CNS_CTRL_LIST = 0x13,
	NVME_CNS_CS_ALLOCATED_NS_LIST = 0x1a,
	NVME_CNS_CS_ALLOCATED_NS = 0x1b,
	NVME_CNS_IOCS = 0x1c,
};

enum nvme_feature {
	NVME_FEAT_ARBITRATION = 0x01,
	NVME_FEAT_POWER = 0x02,
	NVME_FEAT_LBA_RANGE_TYPE = 0x03,
	NVME_FEAT_TEMP_THRESHOLD = 0x04,
	NVME_FEAT_ERROR_RECOVERY = 0x05,
	NVME_FEAT_VWC = 0x06,
	NVME_FEAT_NUM_QUEUES = 0x07,
	NVME_FEAT_INT_COALESCING = 0x08,
	NVME_FEAT_INT_VECTOR = 0x09,
	NVME_FEAT_WRITE_ATOMICITY = 0x0a,
	NVME_FEAT_AEC = 0x0b,
	NVME_FEAT_TIMESTAMP = 0x0e,
	NVME_FEAT_KATO = 0x0f,
	NVME_FEAT_HOST_BEHAVIOR = 0x16,
	NVME_FEAT_HOST_ID = 0x81,
	NVME_FEAT_RESV_MASK = 0x82,
	NVME_FEAT_RESV_PERSIST = 0x83,
	NVME_FEAT_WRITE_PROTECT = 0x84,
};

enum nvme_log_page {
	NVME_LOG_SUPPORTED = 0x00,
	NVME_LOG_ERROR = 0x01,
	NVME_LOG_SMART = 0x02,
	NVME_LOG_FW_SLOT = 0x03,
	NVME_LOG_CHANGED_NS = 0x04,
	NVME_LOG_EFFECTS = 0x05,
	NVME_LOG_SELF_TEST = 0x06,
	NVME_LOG_TELEMETRY_HOST = 0x07,
	NVME_LOG_TELEMETRY_CTRL = 0x08,
	NVME_LOG_FEATURE_EFFECTS = 0x12,
	NVME_LOG_MI_EFFECTS = 0x13,
	NVME_LOG_DISCOVERY = 0x70,
	NVME_LOG_SANITIZE = 0x81,
};

/* Base 5.2: asynchronous events, DW0 of the completion: type 2:0, information 15:8,
 * log page 23:16. */
enum nvme_aer_type {
	NVME_AER_ERROR = 0,
	NVME_AER_SMART = 1,
	NVME_AER_NOTICE = 2,
	NVME_AER_IO = 6,
	NVME_AER_VENDOR = 7,
};
enum nvme_aer_error { NVME_AER_ERROR_PERSISTENT = 0x03 }; /* it serves no command any more */
enum nvme_aer_smart {
	NVME_AER_SMART_RELIABILITY = 0x00,
	NVME_AER_SMART_TEMPERATURE = 0x01,
	NVME_AER_SMART_SPARE = 0x02,
};
enum nvme_aer_notice { NVME_AER_NOTICE_NS_CHANGED = 0x00, NVME_AER_NOTICE_DISCOVERY = 0xf0 };
#define NVME_AER_DW0(type, info, lid) \
	((uint32_t)(type) | (uint32_t)(info) << 8 | (uint32_t)(lid) << 16)
#define NVME_AER_TYPE(dw0) ((unsigned)((dw0)&7))
#define NVME_AER_INFO(dw0) ((uint8_t)((dw0) >> 8 & 0xff))
#define NVME_AER_LID(dw0)  ((uint8_t)((dw0) >> 16 & 0xff))
#define NVME_AEC_SMART     UINT32_C(0xff) /* one bit per critical warning */
#define NVME_AEC_NS_ATTR   (UINT32_C(1) << 8)
#define NVME_AEC_DISCOVERY (UINT32_C(1) << 31)

/* Base 5.17.2.1: Identify Controller. */
enum nvme_cntrltype {
	NVME_CNTRLTYPE_NOT_REPORTED = 0, /* before 1.4 */
	NVME_CNTRLTYPE_IO = 1,
	NVME_CNTRLTYPE_DISCOVERY = 2,
};
struct nvme_id_power {
	uint8_t bytes[32];
};
struct nvme_id_ctrl {
	le16 vid;
	le16 ssvid;
	char sn[20];
	char mn[40];
	char fr[8];
	uint8_t rab;
	uint8_t ieee[3];
	uint8_t cmic;
	uint8_t mdts; /* maximum transfer = MPSMIN page << mdts; 0: no limit */
	le16 cntlid;
	le32 ver;
	le32 rtd3r;
	le32 rtd3e;
	le32 oaes;
	le32 ctratt;
	le16 rrls;
	uint8_t rsvd102[9];
	uint8_t cntrltype; /* enum nvme_cntrltype */
	uint8_t fguid[16];
	le16 crdt1;
	le16 crdt2;
	le16 crdt3;
	uint8_t rsvd134[119];
	uint8_t nvmsr;
	uint8_t vwci;
	uint8_t mec;
	le16 oacs;
	uint8_t acl;
	uint8_t aerl; /* 0's based */
	uint8_t frmw;
	uint8_t lpa;
	uint8_t elpe; /* 0's based */
	uint8_t npss;
	uint8_t avscc;
	uint8_t apsta;
	le16 wctemp;
	le16 cctemp;
	le16 mtfa;
	le32 hmpre;
	le32 hmmin;
	uint8_t tnvmcap[16];
	uint8_t unvmcap[16];
	le32 rpmbs;
	le16 edstt;
	uint8_t dsto;
	uint8_t fwug;
	le16 kas; /* 100 ms units */
	le16 hctma;
	le16 mntmt;
	le16 mxtmt;
	le32 sanicap;
	le32 hmminds;
	le16 hmmaxd;
	le16 nsetidmax;
	le16 endgidmax;
	uint8_t anatt;
	uint8_t anacap;
	le32 anagrpmax;
	le32 nanagrpid;
	le32 pels;
	le16 domain;
	uint8_t rsvd358[10];
	uint8_t megcap[16];
	uint8_t rsvd384[128];
	uint8_t sqes; /* 3:0 required, 7:4 maximum, log2 bytes */
	uint8_t cqes;
	le16 maxcmd;
	le32 nn;
	le16 oncs;
	le16 fuses;
	uint8_t fna;
	uint8_t vwc;
	le16 awun;
	le16 awupf;
	uint8_t icsvscc;
	uint8_t nwpc;
	le16 acwu;
	le16 ocfs;
	le32 sgls;
	le32 mnan;
	uint8_t maxdna[16];
	le32 maxcna;
	uint8_t rsvd564[204];
	char subnqn[256];
	uint8_t rsvd1024[768];
	le32 ioccsz; /* 16-byte units */
	le32 iorcsz;
	le16 icdoff;
	uint8_t fcatt;
	uint8_t msdbd;
	le16 ofcs;
	uint8_t dctype;
	uint8_t rsvd1807[241];
	struct nvme_id_power psd[32];
	uint8_t vs[1024];
};
WIRE_SIZE(struct nvme_id_ctrl, 4096);
WIRE_AT(struct nvme_id_ctrl, mdts, 77);
WIRE_AT(struct nvme_id_ctrl, ver, 80);
WIRE_AT(struct nvme_id_ctrl, cntrltype, 111);
WIRE_AT(struct nvme_id_ctrl, oacs, 256);
WIRE_AT(struct nvme_id_ctrl, kas, 320);
WIRE_AT(struct nvme_id_ctrl, anacap, 343);
WIRE_AT(struct nvme_id_ctrl, sqes, 512);
WIRE_AT(struct nvme_id_ctrl, vwc, 525);
WIRE_AT(struct nvme_id_ctrl, sgls, 536);
WIRE_AT(struct nvme_id_ctrl, subnqn, 768);
WIRE_AT(struct nvme_id_ctrl, ioccsz, 1792);
WIRE_AT(struct nvme_id_ctrl, ofcs, 1804);
WIRE_AT(struct nvme_id_ctrl, psd, 2048);

#define NVME_ONCS_COMPARE             (1u << 0)
#define NVME_ONCS_WRITE_UNCORRECTABLE (1u << 1)
#define NVME_ONCS_DSM                 (1u << 2)
#define NVME_ONCS_WRITE_ZEROES        (1u << 3)
#define NVME_ONCS_SAVE_SELECT         (1u << 4)
#define NVME_ONCS_RESERVATIONS        (1u << 5)
#define NVME_ONCS_TIMESTAMP           (1u << 6)
#define NVME_ONCS_VERIFY              (1u << 7)
#define NVME_ONCS_COPY                (1u << 8)

#define NVME_FUSES_COMPARE_AND_WRITE  (1u << 0)

#define NVME_OACS_SECURITY            (1u << 0)
#define NVME_OACS_FORMAT              (1u << 1)
#define NVME_OACS_FIRMWARE            (1u << 2)
#define NVME_OACS_SELF_TEST           (1u << 4)
#define NVME_OACS_DBBUF               (1u << 8)
#define NVME_VWC_PRESENT              (1u << 0)
#define NVME_FNA_FORMAT_ALL           (1u << 0) /* Format reaches all namespaces */
#define NVME_FNA_ERASE_ALL            (1u << 1) /* so it does when it erases securely */
#define NVME_AVSCC_STANDARD           (1u << 0) /* vendor commands have NDT in CDW10 */
#define NVME_LPA_EFFECTS              (1u << 1)
#define NVME_LPA_EXTENDED             (1u << 2)
#define NVME_LPA_TELEMETRY            (1u << 3)
#define NVME_LPA_SUPPORTED            (1u << 5) /* log pages 00h, 12h and 13h */

#define NVME_OAES_NS_ATTR             (UINT32_C(1) << 8)
#define NVME_OAES_DISCOVERY           (UINT32_C(1) << 31)
#define NVME_CTRATT_HOSTID128         (UINT32_C(1) << 0)
#define NVME_CTRATT_TBKAS             (UINT32_C(1) << 6)
#define NVME_CTRATT_ELBAS             (UINT32_C(1) << 15)
#define NVME_CMIC_MULTI_PORT          (1u << 0)
#define NVME_CMIC_MULTI_CTRL          (1u << 1)

/* NVM Command Set 4.1.5.1: Identify Namespace. */
struct nvme_lbaf {
	le16 ms; /* metadata bytes per block */
	uint8_t lbads;
	uint8_t rp;
};
WIRE_SIZE(struct nvme_lbaf, 4);

struct nvme_id_ns {
	le64 nsze;
	le64 ncap;
	le64 nuse;
	uint8_t nsfeat;
	uint8_t nlbaf; /* 0's based */
	uint8_t flbas; /* 3:0 and 6:5 format index, 4 extended metadata */
	uint8_t mc;
	uint8_t dpc;
	uint8_t dps;
	uint8_t nmic;
	uint8_t rescap;
	uint8_t fpi;
	uint8_t dlfeat;
	le16 nawun;
	le16 nawupf;
	le16 nacwu;
	le16 nabsn;
	le16 nabo;
	le16 nabspf;
	le16 noiob;
	uint8_t nvmcap[16];
	le16 npwg;
	le16 npwa;
	le16 npdg;
	le16 npda;
	le16 nows;
	le16 mssrl;
	le32 mcl;
	uint8_t msrc;
	uint8_t rsvd81[11];
	le32 anagrpid;
	uint8_t rsvd96[3];
	uint8_t nsattr;
	le16 nvmsetid;
	le16 endgid;
	uint8_t nguid[16];
	uint8_t eui64[8];
	struct nvme_lbaf lbaf[64];
	uint8_t vs[3712];
};
WIRE_SIZE(struct nvme_id_ns, 4096);
#define NVME_NSATTR_WRITE_PROTECTED 0x01
WIRE_AT(struct nvme_id_ns, nmic, 30);
WIRE_AT(struct nvme_id_ns, nawun, 34);
WIRE_AT(struct nvme_id_ns, nvmcap, 48);
WIRE_AT(struct nvme_id_ns, mssrl, 74);
WIRE_AT(struct nvme_id_ns, anagrpid, 92);
WIRE_AT(struct nvme_id_ns, nguid, 104);
WIRE_AT(struct nvme_id_ns, lbaf, 128);

/* NVM Command Set 4.1.5.4: CNS 06h. */
struct nvme_id_ctrl_nvm {
	uint8_t vsl; /* limits: 2^n pages of CAP.MPSMIN; 0: none */
	uint8_t wzsl;
	uint8_t wusl;
	uint8_t dmrl;
	le32 dmrsl;
	le64 dmsl;
	uint8_t rsvd16[4080];
};
WIRE_SIZE(struct nvme_id_ctrl_nvm, 4096);
WIRE_AT(struct nvme_id_ctrl_nvm, dmsl, 8);

/* Base 5.17.2.8: CNS 08h. */
struct nvme_id_ns_indep {
	uint8_t nsfeat;
	uint8_t nmic;
	uint8_t rescap;
	uint8_t fpi;
	le32 anagrpid;
	uint8_t nsattr;
	uint8_t rsvd9;
	le16 nvmsetid;
	le16 endgid;
	uint8_t nstat;
	uint8_t rsvd15[4081];
};
WIRE_SIZE(struct nvme_id_ns_indep, 4096);
WIRE_AT(struct nvme_id_ns_indep, nstat, 14);

#define NVME_NSTAT_NRDY (1u << 0) /* ready */
#define NVME_CSI_NVM    0

/* Base 4.4.1. */
struct nvme_ctrl_list {
	le16 n;
	le16 id[2047];
};
WIRE_SIZE(struct nvme_ctrl_list, 4096);

/* FLBAS 3:0 and 6:5: index of the format in use, 0 .. 63. */
static inline unsigned nvme_id_ns_format(const struct nvme_id_ns *id)
{
	return (id->flbas & 0xf) | (id->flbas >> 5 & 3) << 4;
}

#define NVME_NSFEAT_ATOMIC  (1u << 1) /* NAWUN, NAWUPF and NACWU mean something */
#define NVME_NMIC_SHARED    (1u << 0)
#define NVME_DPS_TYPE       7u
#define NVME_DPS_FIRST      (1u << 3) /* it is the first eight bytes of the metadata */
#define NVME_FLBAS_EXTENDED (1u << 4)
#define NVME_MC_EXTENDED    (1u << 0)
#define NVME_MC_SEPARATE    (1u << 1)

/* Base 5.17.2.3: namespace identification descriptor; `nidl` bytes follow. */
struct nvme_ns_id_desc {
	uint8_t nidt;
	uint8_t nidl;
	uint8_t rsvd[2];
};
WIRE_SIZE(struct nvme_ns_id_desc, 4);
enum nvme_nidt { NVME_NIDT_EUI64 = 1, NVME_NIDT_NGUID = 2, NVME_NIDT_UUID = 3, NVME_NIDT_CSI = 4 };

/* Base 5.16.1.2: error information log entry. */
struct nvme_error_entry {
	le64 error_count;
	le16 sqid;
	le16 cid;
	le16 status;               /* as in the CQE, phase included */
	le16 param_error_location; /* 7:0 byte, 10:8 bit */
	le64 lba;
	le32 nsid;
	uint8_t vs;
	uint8_t trtype;
	uint8_t rsvd30[2];
	le64 cs;
	le16 trtype_spec;
	uint8_t rsvd42[22];
};
WIRE_SIZE(struct nvme_error_entry, 64);
WIRE_AT(struct nvme_error_entry, lba, 16);
WIRE_AT(struct nvme_error_entry, cs, 32);

/* Base 5.16.1.3: SMART / health information. */
#define NVME_SMART_SPARE         (1u << 0) /* critical warnings */
#define NVME_SMART_TEMPERATURE   (1u << 1)
#define NVME_SMART_DEGRADED      (1u << 2)
#define NVME_SMART_READ_ONLY     (1u << 3)
#define NVME_SMART_BACKUP_FAILED (1u << 4) /* of volatile memory */
struct nvme_smart_log {
	uint8_t critical_warning;
	uint8_t temperature[2]; /* Kelvin, le16, unaligned */
	uint8_t avail_spare;
	uint8_t spare_thresh;
	uint8_t percent_used;
	uint8_t endurance_critical_warning;
	uint8_t rsvd7[25];
	uint8_t data_units_read[16];
	uint8_t data_units_written[16];
	uint8_t host_reads[16];
	uint8_t host_writes[16];
	uint8_t controller_busy_time[16];
	uint8_t power_cycles[16];
	uint8_t power_on_hours[16];
	uint8_t unsafe_shutdowns[16];
	uint8_t media_errors[16];
	uint8_t error_log_entries[16];
	le32 warning_temp_time;
	le32 critical_comp_time;
	le16 temp_sensor[8];
	uint8_t rsvd216[296];
};
WIRE_SIZE(struct nvme_smart_log, 512);
WIRE_AT(struct nvme_smart_log, data_units_read, 32);
WIRE_AT(struct nvme_smart_log, warning_temp_time, 192);

/* Base 5.16.1.4: firmware slot information. */
struct nvme_fw_slot_log {
	uint8_t afi;
	uint8_t rsvd1[7];
	char frs[7][8];
	uint8_t rsvd64[448];
};
WIRE_SIZE(struct nvme_fw_slot_log, 512);

#define NVME_LOG_RAE (1u << 15) /* Get Log Page, CDW10: retain asynchronous event */

/* Base 5.16: what a Get Log Page asks for, in bytes. NUMD is 0's based, in dwords. */
static inline uint64_t nvme_log_len(const struct nvme_sqe *sqe)
{
	uint32_t numdl = le32_get(sqe->cdw10) >> 16, numdu = le32_get(sqe->cdw11) & 0xffff;

	return ((uint64_t)(numdu << 16 | numdl) + 1) * 4;
}
static inline uint64_t nvme_log_offset(const struct nvme_sqe *sqe)
{
	return le32_get(sqe->cdw12) | (uint64_t)le32_get(sqe->cdw13) << 32;
}

/* Base 5.16.1.6: commands supported and effects. */
struct nvme_effects_log {
	le32 acs[256];
	le32 iocs[256];
	uint8_t rsvd2048[2048];
};
WIRE_SIZE(struct nvme_effects_log, 4096);
#define NVME_EFFECTS_CSUPP        (UINT32_C(1) << 0)
#define NVME_EFFECTS_LBCC         (UINT32_C(1) << 1)  /* logical block content change */
#define NVME_EFFECTS_NCC          (UINT32_C(1) << 2)  /* namespace capability change */
#define NVME_EFFECTS_CSE_SAME     (UINT32_C(1) << 16) /* alone on its namespace */
#define NVME_EFFECTS_CSE_ALL      (UINT32_C(2) << 16) /* alone on the SSD */
#define NVME_EFFECTS_SCOPE_NS     (UINT32_C(1) << 20) /* what it may have an effect on */
#define NVME_EFFECTS_SCOPE_CTRL   (UINT32_C(1) << 21)
#define NVME_EFFECTS_SCOPE_SUBSYS (UINT32_C(1) << 25)

/* Base 5.14: CDW10 of Format NVM: index of the format, secure erase settings. */
#define NVME_FORMAT_INDEX(cdw10) (((cdw10)&0xf) | ((cdw10) >> 12 & 3) << 4)
#define NVME_FORMAT_SES(cdw10)   ((cdw10) >> 9 & 7)

#define NVME_ABORT_NOT_ABORTED   1u /* DW0 bit 0 of an Abort's completion: it was not aborted */

/* Base 1.4.2: ASCII strings in data structures are padded with spaces, without NUL. */
static inline void nvme_text_set(char *to, size_t size, const char *text)
{
	size_t len = strnlen(text, size);

	memset(to, ' ', size);
	memcpy(to, text, len);
}
/* Its length without the padding. */
static inline size_t nvme_text_len(const char *text, size_t size)
{
	size_t len = strnlen(text, size);

	while (len && text[len - 1] == ' ')
		len--;
	return len;
}

#endif
