/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * In-band authentication as it lies on the wire: Authentication Send and Receive (NVM Express Base
 * Specification 2.0, 6.1 and 6.2) and the messages of DH-HMAC-CHAP (8.13.5).
 */
#ifndef NVMETD_TARGET_NVMF_AUTH_H
#define NVMETD_TARGET_NVMF_AUTH_H

#include <stdint.h>

#include "pcie/nvme.h"
#include "util/check.h"
#include "util/le.h"

struct nvmf_auth_cmd {
	uint8_t opcode;
	uint8_t flags;
	le16 cid;
	uint8_t fctype;
	uint8_t rsvd5[19];
	struct nvme_sgl_desc sgl;
	uint8_t rsvd40;
	uint8_t spsp0;
	uint8_t spsp1;
	uint8_t secp;
	le32 len; /* TL of Send, AL of Receive: bytes */
	uint8_t rsvd48[16];
};
WIRE_SIZE(struct nvmf_auth_cmd, 64);
WIRE_AT(struct nvmf_auth_cmd, spsp0, 41);
WIRE_AT(struct nvmf_auth_cmd, secp, 43);
WIRE_AT(struct nvmf_auth_cmd, len, 44);
#define NVMF_AUTH_SPSP 0x01
#define NVMF_AUTH_SECP 0xe9

enum nvmf_auth_type { NVMF_AUTH_COMMON = 0x00, NVMF_AUTH_DHCHAP = 0x01 };

/* AUTH_ID: with the common type NEGOTIATE and the failures, with DHCHAP the rest. */
enum nvmf_auth_id {
	NVMF_AUTH_NEGOTIATE = 0x00,
	NVMF_AUTH_CHALLENGE = 0x01,
	NVMF_AUTH_REPLY = 0x02,
	NVMF_AUTH_SUCCESS1 = 0x03,
	NVMF_AUTH_SUCCESS2 = 0x04,
	NVMF_AUTH_FAILURE2 = 0xf0, /* the host's */
	NVMF_AUTH_FAILURE1 = 0xf1, /* the controller's */
};

/* Reason code explanations; the reason code is always "authentication failed". */
enum nvmf_auth_failure {
	NVMF_AUTH_FAILED = 0x01,
	NVMF_AUTH_NOT_USABLE = 0x02,
	NVMF_AUTH_CONCAT_MISMATCH = 0x03,
	NVMF_AUTH_HASH_UNUSABLE = 0x04,
	NVMF_AUTH_GROUP_UNUSABLE = 0x05,
	NVMF_AUTH_INCORRECT_PAYLOAD = 0x06,
	NVMF_AUTH_INCORRECT_MESSAGE = 0x07,
};
#define NVMF_AUTH_REASON_FAILED 0x01

/* SC_C: secure channel concatenation. */
enum nvmf_auth_sc {
	NVMF_AUTH_SC_NONE = 0x00,
	NVMF_AUTH_SC_NEW_PSK = 0x02,     /* for TLS on the next connections */
	NVMF_AUTH_SC_REPLACE_PSK = 0x03, /* over TLS with such a PSK */
};

/* What every message begins with. */
struct nvmf_auth_header {
	uint8_t auth_type;
	uint8_t auth_id;
	uint8_t rsvd2[2];
	le16 t_id;
};
WIRE_SIZE(struct nvmf_auth_header, 6);

struct nvmf_auth_negotiate {
	struct nvmf_auth_header header;
	uint8_t sc_c;
	uint8_t napd; /* protocol descriptors that follow */
};
WIRE_SIZE(struct nvmf_auth_negotiate, 8);

#define NVMF_AUTH_MAX_IDS 30
struct nvmf_auth_protocol {
	uint8_t authid; /* 1: DH-HMAC-CHAP */
	uint8_t rsvd1;
	uint8_t halen; /* hash identifiers, at most 30 */
	uint8_t dhlen; /* group identifiers, at most 30 */
	uint8_t hashes[NVMF_AUTH_MAX_IDS];
	uint8_t groups[NVMF_AUTH_MAX_IDS];
};
WIRE_SIZE(struct nvmf_auth_protocol, 64);
WIRE_AT(struct nvmf_auth_protocol, groups, 34);

/* Followed by HL bytes of challenge and DHVLEN bytes of public value. */
struct nvmf_auth_challenge {
	struct nvmf_auth_header header;
	uint8_t hl;
	uint8_t rsvd7;
	uint8_t hash;
	uint8_t group;
	le16 dhvlen;
	le32 seqnum;
};
WIRE_SIZE(struct nvmf_auth_challenge, 16);
WIRE_AT(struct nvmf_auth_challenge, seqnum, 12);

/* Followed by HL bytes of response, HL bytes of challenge and DHVLEN bytes of public value. */
struct nvmf_auth_reply {
	struct nvmf_auth_header header;
	uint8_t hl;
	uint8_t rsvd7;
	uint8_t cvalid; /* 1: there is a challenge for us */
	uint8_t rsvd9;
	le16 dhvlen;
	le32 seqnum; /* 0: the challenge only serves to generate a PSK */
};
WIRE_SIZE(struct nvmf_auth_reply, 16);
WIRE_AT(struct nvmf_auth_reply, dhvlen, 10);

/* Followed by HL bytes of response, when RVALID is 1. */
struct nvmf_auth_success1 {
	struct nvmf_auth_header header;
	uint8_t hl;
	uint8_t rsvd7;
	uint8_t rvalid;
	uint8_t rsvd9[7];
};
WIRE_SIZE(struct nvmf_auth_success1, 16);

struct nvmf_auth_success2 {
	struct nvmf_auth_header header;
	uint8_t rsvd6[10];
};
WIRE_SIZE(struct nvmf_auth_success2, 16);

struct nvmf_auth_failed {
	struct nvmf_auth_header header;
	uint8_t reason;
	uint8_t explanation;
};
WIRE_SIZE(struct nvmf_auth_failed, 8);

#endif
