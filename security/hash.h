/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Hashes, HMAC and HKDF as NVMe's security protocols use them, over OpenSSL; and what every holder
 * of a secret needs: wiping, comparing without telling by time, random bytes. Pure; any thread.
 *
 * Functions that return int give 0, or -ENOMEM when OpenSSL could not do it.
 */
#ifndef NVMETD_SECURITY_HASH_H
#define NVMETD_SECURITY_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Identifiers of DH-HMAC-CHAP (Base 8.13.5.2), of key texts and, but for the last, of PSK
 * identities (TCP transport 3.6.1). */
enum hash_id { HASH_NONE = 0, HASH_SHA256 = 1, HASH_SHA384 = 2, HASH_SHA512 = 3 };

#define HASH_MAX       64 /* bytes of the longest digest */
#define HASH_LABEL_MAX 255

/* Bytes of its digest; 0: there is no such hash. */
size_t hash_len(enum hash_id id);
/* "SHA-256". */
const char *hash_name(enum hash_id id);

/* `out` holds hash_len(id) bytes. `id` is one that exists. */
int hash_digest(enum hash_id id, const void *data, size_t len, uint8_t *out);
int hash_hmac(enum hash_id id, const void *key, size_t key_len, const void *data, size_t len,
	      uint8_t *out);

/* RFC 5869: HKDF-Extract with a salt of zeros. */
int hkdf_extract(enum hash_id id, const void *ikm, size_t len, uint8_t *prk);
/* RFC 5869: HKDF-Expand; at most 255 blocks, `info_len` up to HKDF_INFO_MAX. */
#define HKDF_INFO_MAX 1024
int hkdf_expand(enum hash_id id, const uint8_t *prk, const void *info, size_t info_len,
		uint8_t *out, size_t out_len);
/* RFC 8446, 7.1: HKDF-Expand-Label. -EINVAL: "tls13 " + label, or the context, over 255 bytes. */
int hkdf_expand_label(enum hash_id id, const uint8_t *prk, const char *label, const void *context,
		      size_t context_len, uint8_t *out, size_t out_len);

/* Overwrites a secret; the compiler does not leave it out. */
void secret_wipe(void *bytes, size_t len);
/* In a time that depends on `len` alone. */
bool secret_equal(const void *a, const void *b, size_t len);
int secret_random(void *bytes, size_t len);

/* Bytes → base64 with padding and NUL; `text` holds BASE64_SIZE(len). */
#define BASE64_SIZE(len) (((len) + 2) / 3 * 4 + 1)
void base64_encode(const uint8_t *bytes, size_t len, char *text);
/* The whole of text[0..text_len) → bytes. Returns their number, or -EINVAL: no base64, or more than
 * `size` bytes. */
int base64_decode(const char *text, size_t text_len, uint8_t *bytes, size_t size);

#endif
