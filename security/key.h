/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Keys as people exchange them, one line of text each:
 *
 *   NVMeTLSkey-1:HH:BASE64:   configured PSK for TLS, 32 or 48 bytes (TCP transport 1.0, 3.6.1.5)
 *   DHHC-1:HH:BASE64:         DH-HMAC-CHAP key, 32, 48 or 64 bytes (Base 2.0, 8.13.5.8)
 *
 * BASE64 is the key and its CRC-32, little endian; HH says by which hash the key is transformed for
 * a host, 00: not at all. Pure; any thread. Who has a struct secret wipes it.
 */
#ifndef NVMETD_SECURITY_KEY_H
#define NVMETD_SECURITY_KEY_H

#include "security/hash.h"

enum key_kind { KEY_TLS, KEY_DHCHAP };

#define KEY_MAX      64  /* bytes */
#define KEY_TEXT_MAX 128 /* bytes of a key's text, with NUL */

struct secret {
	enum hash_id hash; /* of the transformation */
	size_t len;        /* 32, 48 or 64 */
	uint8_t bytes[KEY_MAX];
};

/* Whole text → key. 0, or -EINVAL with what is wrong with it in *ret_why (which
 * never quotes it). */
int key_parse(enum key_kind kind, const char *text, struct secret *ret_key, const char **ret_why);
/* `text` holds KEY_TEXT_MAX. */
void key_format(enum key_kind kind, const struct secret *key, char *text);
/* A new random key. -EINVAL: no key of this kind has this hash or length; -ENOMEM. */
int key_generate(enum key_kind kind, enum hash_id hash, size_t len, struct secret *ret_key);

#endif
