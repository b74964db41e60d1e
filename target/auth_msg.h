/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The messages of DH-HMAC-CHAP: bytes of a host → fields, every length checked; fields → bytes of
 * ours. Pure.
 */
#ifndef NVMETD_TARGET_AUTH_MSG_H
#define NVMETD_TARGET_AUTH_MSG_H

#include <stddef.h>
#include <stdint.h>

#include "security/dhchap.h"
#include "target/nvmf_auth.h"

#define AUTH_MSG_MAX (sizeof(struct nvmf_auth_reply) + 2 * HASH_MAX + DH_MAX)

/* 0: fine; otherwise the reason to tell the host. */
typedef uint8_t auth_failure;

/* AUTH_Negotiate: what the host can do. Identifiers as they came, unknown ones among them. */
struct auth_offer {
	uint16_t t_id;
	uint8_t sc_c;
	const uint8_t *hashes, *groups;
	unsigned n_hashes, n_groups;
};
auth_failure auth_parse_negotiate(const void *msg, size_t len, struct auth_offer *ret_offer);

/* DH-HMAC-CHAP_Reply; pointers into the message. */
struct auth_reply {
	const uint8_t *response;  /* `hl` bytes */
	const uint8_t *challenge; /* `hl` bytes; NULL: none */
	const uint8_t *public;    /* `dhvlen` bytes */
	uint32_t seqnum;
};
/* `hl` and `dhvlen`: what our challenge asked for. */
auth_failure auth_parse_reply(const void *msg, size_t len, size_t hl, size_t dhvlen,
			      struct auth_reply *ret_reply);

/* Each returns the message's length, at most AUTH_MSG_MAX. */
size_t auth_build_failure(void *msg, uint16_t t_id, auth_failure failure);
size_t auth_build_challenge(void *msg, uint16_t t_id, enum hash_id hash, const uint8_t *challenge,
			    uint32_t seqnum, enum dh_group group, const uint8_t *public);
/* `response` NULL: the host did not ask for one. */
size_t auth_build_success1(void *msg, uint16_t t_id, enum hash_id hash, const uint8_t *response);

/* "authentication failed: the keys differ": for the log. Any value is allowed. */
const char *auth_failure_name(auth_failure failure);

#endif
