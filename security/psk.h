/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From a key to the pre-shared key of a TLS 1.3 handshake (NVMe/TCP transport specification 1.0 and
 * 1.1, 3.6.1):
 *
 *   configured PSK → retained PSK       bound to a host, or left as it is (HH = 00)
 *   DH-HMAC-CHAP   → generated PSK      secure channel concatenation (Base 8.13.5.9)
 *   either, and a PSK identity → TLS PSK
 *
 *   NVMe0R01 HOSTNQN SUBNQN             identity of version 0, SHA-256, retained PSK
 *   NVMe1R02 HOSTNQN SUBNQN DIGEST      of version 1, SHA-384; names its key by a digest
 *
 * Older host tools build the HKDF labels without the length octets of RFC 8446, under the same
 * identities: `legacy` derives what they do.
 *
 * Pure; any thread. int functions: 0, -EINVAL, or -ENOMEM when OpenSSL could not do it.
 */
#ifndef NVMETD_SECURITY_PSK_H
#define NVMETD_SECURITY_PSK_H

#include "security/key.h"
#include "security/nqn.h"

#define PSK_DIGEST_MAX   64 /* characters: base64 of 48 bytes */
#define PSK_IDENTITY_MAX (9 + NVMF_NQN_MAX + 1 + NVMF_NQN_MAX + 1 + PSK_DIGEST_MAX)

struct psk_identity {
	unsigned version;  /* 0 or 1 */
	char type;         /* 'R' retained, 'G' generated */
	enum hash_id hash; /* SHA-256 or SHA-384: of the cipher suite too */
	char hostnqn[NVMF_NQN_MAX + 1];
	char subnqn[NVMF_NQN_MAX + 1];
	char digest[PSK_DIGEST_MAX + 1]; /* version 1 */
};

/* What a peer sent → identity. -EINVAL: none that there is. */
int psk_identity_parse(const void *bytes, size_t len, struct psk_identity *ret_identity);
/* `text` holds PSK_IDENTITY_MAX + 1. */
void psk_identity_format(const struct psk_identity *identity, char *text);

/* What a configured PSK becomes for a host. */
int psk_retained(const struct secret *configured, const char *hostnqn, bool legacy,
		 struct secret *ret_retained);
/* Fills identity->digest from the other fields; nothing to do for version 0. */
int psk_set_digest(struct psk_identity *identity, const struct secret *psk);
/* The PSK for TLS: hash_len(identity->hash) bytes at `out`. */
int psk_tls(const struct psk_identity *identity, const struct secret *psk, bool legacy,
	    uint8_t *out);
/* The hash that host tools take for a key: its own, or what fits its length. */
enum hash_id psk_default_hash(const struct secret *configured);

/* Generated PSK: session key Ks and both challenges, each hash_len(hash) bytes. */
int psk_generated(enum hash_id hash, const uint8_t *ks, const uint8_t *c1, const uint8_t *c2,
		  struct secret *ret_psk);

/*
 * Binder (RFC 8446, 4.2.11.2) that a host with this TLS PSK puts at the end of its first
 * ClientHello: `hello` is that message up to the binders, with its header. hash_len(hash) bytes at
 * `out`. `hash` is the cipher suite's, which need not be the PSK's.
 */
int psk_binder(enum hash_id hash, const uint8_t *psk, size_t psk_len, const void *hello,
	       size_t hello_len, uint8_t *out);

#endif
