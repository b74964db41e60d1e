/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The arithmetic of DH-HMAC-CHAP (NVM Express Base Specification 2.0, 8.13.5), without messages and
 * without state: both sides' responses and the finite-field Diffie-Hellman groups of RFC 7919.
 *
 * Pure; any thread. int functions: 0, -EINVAL, or -ENOMEM when OpenSSL could not do it.
 */
#ifndef NVMETD_SECURITY_DHCHAP_H
#define NVMETD_SECURITY_DHCHAP_H

#include "security/key.h"

enum dh_group {
	DH_NULL = 0,
	DH_FFDHE2048 = 1,
	DH_FFDHE3072 = 2,
	DH_FFDHE4096 = 3,
	DH_FFDHE6144 = 4,
	DH_FFDHE8192 = 5,
};
#define DH_MAX 1024 /* bytes of the largest group's numbers */

/* Bytes of a group's public values; 0: DH_NULL, or there is no such group. */
size_t dh_len(enum dh_group group);
/* "ffdhe2048"; "null". */
const char *dh_name(enum dh_group group);

struct dh; /* our half of one exchange */

/* A new random exponent. */
int dh_new(enum dh_group group, struct dh **ret_dh);
/* Wipes it. NULL is allowed. */
void dh_free(struct dh *dh);
/* Our public value, dh_len() bytes, big endian. */
int dh_public(const struct dh *dh, uint8_t *out);
/*
 * Session key Ks: the hash of the shared secret, hash_len(hash) bytes. -EINVAL: the peer's public
 * value is of another length, or not in 2 .. p - 2.
 */
int dh_session_key(const struct dh *dh, enum hash_id hash, const uint8_t *peer, size_t peer_len,
		   uint8_t *ks);

/* A key as `nqn` uses it (8.13.5.8): transformed if its text says so. */
int dhchap_transform(const struct secret *key, const char *nqn, struct secret *ret_key);

enum dhchap_role { DHCHAP_HOST, DHCHAP_CONTROLLER };

/* What one side proves its key with. */
struct dhchap_proof {
	enum dhchap_role role;
	enum hash_id hash;
	const struct secret *key; /* transformed */
	const uint8_t *challenge; /* hash_len(hash) bytes, as sent */
	const uint8_t *ks;        /* session key; NULL: no DH */
	uint32_t seqnum;
	uint16_t t_id;
	uint8_t sc_c;
	const char *hostnqn, *subnqn;
};
/* The response, hash_len(hash) bytes. */
int dhchap_response(const struct dhchap_proof *proof, uint8_t *out);

#endif
