/* SPDX-License-Identifier: BSD-3-Clause */
/* NVMe/TCP on the wire: NVM Express TCP Transport Specification 1.0, section 3.6. */
#ifndef NVMETD_TRANSPORT_NVME_TCP_H
#define NVMETD_TRANSPORT_NVME_TCP_H

#include <stdint.h>

#include "pcie/nvme.h"
#include "util/check.h"
#include "util/le.h"

enum nvme_tcp_pdu_type {
	NVME_TCP_ICREQ = 0x00,
	NVME_TCP_ICRESP = 0x01,
	NVME_TCP_H2C_TERM = 0x02,
	NVME_TCP_C2H_TERM = 0x03,
	NVME_TCP_CAPSULE_CMD = 0x04,
	NVME_TCP_CAPSULE_RESP = 0x05,
	NVME_TCP_H2C_DATA = 0x06,
	NVME_TCP_C2H_DATA = 0x07,
	NVME_TCP_R2T = 0x09,
};

#define NVME_TCP_F_HDGST     (1u << 0)
#define NVME_TCP_F_DDGST     (1u << 1)
#define NVME_TCP_F_LAST      (1u << 2)
#define NVME_TCP_F_SUCCESS   (1u << 3)

#define NVME_TCP_DIGEST_SIZE 4u

/* 3.6.1: common header. */
struct nvme_tcp_ch {
	uint8_t type;
	uint8_t flags;
	uint8_t hlen;
	uint8_t pdo;
	le32 plen;
};
WIRE_SIZE(struct nvme_tcp_ch, 8);
WIRE_AT(struct nvme_tcp_ch, pdo, 3);
WIRE_AT(struct nvme_tcp_ch, plen, 4);

/* 3.6.2.2 and 3.6.2.3. */
#define NVME_TCP_DGST_HEADER (1u << 0)
#define NVME_TCP_DGST_DATA   (1u << 1)
#define NVME_TCP_HPDA_MAX    31
struct nvme_tcp_icreq {
	struct nvme_tcp_ch ch;
	le16 pfv;
	uint8_t hpda; /* alignment of data to the host: (hpda + 1) * 4 bytes */
	uint8_t dgst; /* NVME_TCP_DGST_…: those that the host wants */
	le32 maxr2t;  /* 0's based */
	uint8_t rsvd16[112];
};
WIRE_SIZE(struct nvme_tcp_icreq, 128);
WIRE_AT(struct nvme_tcp_icreq, hpda, 10);
WIRE_AT(struct nvme_tcp_icreq, maxr2t, 12);

struct nvme_tcp_icresp {
	struct nvme_tcp_ch ch;
	le16 pfv;
	uint8_t cpda;
	uint8_t dgst;
	le32 maxh2cdata;
	uint8_t rsvd16[112];
};
WIRE_SIZE(struct nvme_tcp_icresp, 128);
WIRE_AT(struct nvme_tcp_icresp, cpda, 10);
WIRE_AT(struct nvme_tcp_icresp, maxh2cdata, 12);

/* 3.6.2.4 and 3.6.2.5: termination requests; up to 128 bytes of the offending PDU's
 * header follow. */
struct nvme_tcp_term {
	struct nvme_tcp_ch ch;
	le16 fes;
	uint8_t fei[4]; /* le32, unaligned */
	uint8_t rsvd14[10];
};
WIRE_SIZE(struct nvme_tcp_term, 24);
WIRE_AT(struct nvme_tcp_term, fes, 8);
WIRE_AT(struct nvme_tcp_term, fei, 10);
#define NVME_TCP_TERM_DATA_MAX 128u

enum nvme_tcp_fes {
	NVME_TCP_FES_INVALID_HEADER = 1, /* FEI: offset of the field */
	NVME_TCP_FES_SEQUENCE = 2,
	NVME_TCP_FES_HDGST = 3, /* FEI: the digest that came */
	NVME_TCP_FES_RANGE = 4,
	NVME_TCP_FES_LIMIT = 5,
	NVME_TCP_FES_UNSUPPORTED = 6, /* FEI: offset of the field */
};

/* 3.6.2.6 and 3.6.2.7: in-capsule data may follow the one, nothing the other. */
struct nvme_tcp_capsule_cmd {
	struct nvme_tcp_ch ch;
	struct nvme_sqe sqe;
};
WIRE_SIZE(struct nvme_tcp_capsule_cmd, 72);

struct nvme_tcp_capsule_resp {
	struct nvme_tcp_ch ch;
	struct nvme_cqe cqe;
};
WIRE_SIZE(struct nvme_tcp_capsule_resp, 24);

/* 3.6.2.8 and 3.6.2.9: H2CData and C2HData. C2HData has no TTAG. */
struct nvme_tcp_data {
	struct nvme_tcp_ch ch;
	le16 cccid;
	le16 ttag;
	le32 datao;
	le32 datal;
	uint8_t rsvd20[4];
};
WIRE_SIZE(struct nvme_tcp_data, 24);
WIRE_AT(struct nvme_tcp_data, cccid, 8);
WIRE_AT(struct nvme_tcp_data, ttag, 10);
WIRE_AT(struct nvme_tcp_data, datao, 12);
WIRE_AT(struct nvme_tcp_data, datal, 16);

/* 3.6.2.10 */
struct nvme_tcp_r2t {
	struct nvme_tcp_ch ch;
	le16 cccid;
	le16 ttag;
	le32 r2to;
	le32 r2tl;
	uint8_t rsvd20[4];
};
WIRE_SIZE(struct nvme_tcp_r2t, 24);
WIRE_AT(struct nvme_tcp_r2t, r2to, 12);
WIRE_AT(struct nvme_tcp_r2t, r2tl, 16);

#endif
