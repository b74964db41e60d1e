/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * NVMe over Fabrics as it lies on the wire, whatever the transport: fabrics commands, Connect data,
 * properties, the discovery log. NVM Express Base Specification 2.0, 3.3.2 (capsules), 6 (fabrics
 * commands), 5.16.1.23 (discovery log page).
 */
#ifndef NVMETD_TARGET_NVMF_H
#define NVMETD_TARGET_NVMF_H

#include <stdint.h>

#include "pcie/nvme.h"
#include "security/nqn.h"
#include "util/check.h"
#include "util/le.h"

#define NVMF_NQN_FIELD     256 /* bytes of an NQN field on the wire */
#define NVMF_DISCOVERY_NQN "nqn.2014-08.org.nvmexpress.discovery"

enum nvmf_fctype {
	NVMF_PROPERTY_SET = 0x00,
	NVMF_CONNECT = 0x01,
	NVMF_PROPERTY_GET = 0x04,
	NVMF_AUTH_SEND = 0x05,
	NVMF_AUTH_RECV = 0x06,
	NVMF_DISCONNECT = 0x08,
};

/* Base 3.3.2.1 and 4.1: SGL identifiers that a host may use over TCP. */
#define NVMF_SGL_DATA_OFFSET 0x01 /* data block, offset: the data is in the capsule */
#define NVMF_SGL_TRANSPORT   0x5a /* transport data block: the data moves in PDUs of its own */

/* What every fabrics command has. */
struct nvmf_cmd {
	uint8_t opcode;
	uint8_t flags;
	le16 cid;
	uint8_t fctype;
	uint8_t rsvd5[35];
	uint8_t specific[24];
};
WIRE_SIZE(struct nvmf_cmd, 64);
WIRE_AT(struct nvmf_cmd, fctype, 4);

/* Base 6.3: Connect. */
struct nvmf_connect_cmd {
	uint8_t opcode;
	uint8_t flags;
	le16 cid;
	uint8_t fctype;
	uint8_t rsvd5[19];
	struct nvme_sgl_desc sgl;
	le16 recfmt;
	le16 qid;
	le16 sqsize; /* 0's based */
	uint8_t cattr;
	uint8_t rsvd47;
	le32 kato; /* ms */
	uint8_t rsvd52[12];
};
WIRE_SIZE(struct nvmf_connect_cmd, 64);
WIRE_AT(struct nvmf_connect_cmd, sgl, 24);
WIRE_AT(struct nvmf_connect_cmd, recfmt, 40);
WIRE_AT(struct nvmf_connect_cmd, cattr, 46);
WIRE_AT(struct nvmf_connect_cmd, kato, 48);
#define NVMF_CATTR_DISABLE_SQFC (1u << 2)

struct nvmf_connect_data {
	uint8_t hostid[16];
	le16 cntlid;
	uint8_t rsvd18[238];
	char subnqn[NVMF_NQN_FIELD];
	char hostnqn[NVMF_NQN_FIELD];
	uint8_t rsvd768[256];
};
WIRE_SIZE(struct nvmf_connect_data, 1024);
WIRE_AT(struct nvmf_connect_data, subnqn, 256);
WIRE_AT(struct nvmf_connect_data, hostnqn, 512);
#define NVMF_CNTLID_MAX     0xffef /* of a controller; what is above is reserved */
#define NVMF_CNTLID_DYNAMIC 0xffff
#define NVMF_CNTLID_STATIC  0xfffe

/* DW0 of a successful Connect: CNTLID 15:0, authentication requirements 31:16. Of one with invalid
 * parameters: IPO 15:0, IATTR bit 16 (0: in the SQE, 1: in the data). */
#define NVMF_CONNECT_ATR        (UINT32_C(1) << 17) /* authentication required */
#define NVMF_CONNECT_IATTR_DATA (UINT32_C(1) << 16)

/* Base 6.5, 6.6: Property Get and Set. */
struct nvmf_property_cmd {
	uint8_t opcode;
	uint8_t flags;
	le16 cid;
	uint8_t fctype;
	uint8_t rsvd5[35];
	uint8_t attrib; /* 2:0 size: 0 = 4 bytes, 1 = 8 bytes */
	uint8_t rsvd41[3];
	le32 offset;
	le64 value; /* Set only */
	uint8_t rsvd56[8];
};
WIRE_SIZE(struct nvmf_property_cmd, 64);
WIRE_AT(struct nvmf_property_cmd, attrib, 40);
WIRE_AT(struct nvmf_property_cmd, value, 48);

/* Base 6.4: Disconnect. */
struct nvmf_disconnect_cmd {
	uint8_t opcode;
	uint8_t flags;
	le16 cid;
	uint8_t fctype;
	uint8_t rsvd5[35];
	le16 recfmt;
	uint8_t rsvd42[22];
};
WIRE_SIZE(struct nvmf_disconnect_cmd, 64);

/* Base 5.16.1.23: discovery log page. */
struct nvmf_disc_entry {
	uint8_t trtype;
	uint8_t adrfam;
	uint8_t subtype;
	uint8_t treq;
	le16 portid;
	le16 cntlid;
	le16 asqsz;
	le16 eflags;
	uint8_t rsvd12[20];
	char trsvcid[32];
	uint8_t rsvd64[192];
	char subnqn[NVMF_NQN_FIELD];
	char traddr[256];
	uint8_t tsas[256];
};
WIRE_SIZE(struct nvmf_disc_entry, 1024);
WIRE_AT(struct nvmf_disc_entry, trsvcid, 32);
WIRE_AT(struct nvmf_disc_entry, subnqn, 256);
WIRE_AT(struct nvmf_disc_entry, tsas, 768);

struct nvmf_disc_log {
	le64 genctr;
	le64 numrec;
	le16 recfmt;
	uint8_t rsvd18[1006];
};
WIRE_SIZE(struct nvmf_disc_log, 1024);

enum nvmf_trtype { NVMF_TRTYPE_TCP = 3 };
enum nvmf_adrfam { NVMF_ADRFAM_IPV4 = 1, NVMF_ADRFAM_IPV6 = 2 };
enum nvmf_subtype {
	NVMF_SUBTYPE_REFERRAL = 1,
	NVMF_SUBTYPE_NVM = 2,
	NVMF_SUBTYPE_CURRENT_DISCOVERY = 3,
};
/* TREQ: secure channel. Old nvme-cli shows "not required" with SQFC_DISABLE as unknown. */
#define NVMF_TREQ_NOT_SPECIFIED 0
#define NVMF_TREQ_REQUIRED      1
#define NVMF_TREQ_NOT_REQUIRED  2
#define NVMF_TREQ_SQFC_DISABLE  (1u << 2) /* the target can do without SQ flow control */
#define NVMF_TSAS_SECTYPE_NONE  0
#define NVMF_TSAS_SECTYPE_TLS13 2
#define NVMF_EFLAGS_DUPRETINFO  (1u << 0)
#define NVMF_EFLAGS_EPCSD       (1u << 1)

#endif
