/* SPDX-License-Identifier: BSD-3-Clause */
/* Hashes, HMAC, HKDF, base64; see hash.h. */
#include "security/hash.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <openssl/rand.h>
#include <string.h>

#include "util/check.h"

static const struct {
	const char *name;
	size_t len;
	const EVP_MD *(*md)(void);
} hashes[] = {
	[HASH_SHA256] = { "SHA-256", 32, EVP_sha256 },
	[HASH_SHA384] = { "SHA-384", 48, EVP_sha384 },
	[HASH_SHA512] = { "SHA-512", 64, EVP_sha512 },
};

static bool known(enum hash_id id)
{
	return (size_t)id < ARRAY_SIZE(hashes) && hashes[id].md;
}

size_t hash_len(enum hash_id id)
{
	return known(id) ? hashes[id].len : 0;
}

const char *hash_name(enum hash_id id)
{
	return known(id) ? hashes[id].name : "no hash";
}

int hash_digest(enum hash_id id, const void *data, size_t len, uint8_t *out)
{
	must(known(id));
	return EVP_Digest(data, len, out, NULL, hashes[id].md(), NULL) == 1 ? 0 : -ENOMEM;
}

int hash_hmac(enum hash_id id, const void *key, size_t key_len, const void *data, size_t len,
	      uint8_t *out)
{
	must(known(id));
	return HMAC(hashes[id].md(), key, (int)key_len, data, len, out, NULL) ? 0 : -ENOMEM;
}

/* One half of HKDF; `info` is the second one's. */
static int hkdf(enum hash_id id, int mode, const void *key, size_t key_len, const void *info,
		size_t info_len, uint8_t *out, size_t out_len)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_id(EVP_PKEY_HKDF, NULL);
	bool done = ctx && EVP_PKEY_derive_init(ctx) > 0 &&
		    EVP_PKEY_CTX_set_hkdf_mode(ctx, mode) > 0 &&
		    EVP_PKEY_CTX_set_hkdf_md(ctx, hashes[id].md()) > 0 &&
		    EVP_PKEY_CTX_set1_hkdf_key(ctx, key, (int)key_len) > 0 &&
		    (!info_len || EVP_PKEY_CTX_add1_hkdf_info(ctx, info, (int)info_len) > 0) &&
		    EVP_PKEY_derive(ctx, out, &out_len) > 0;

	EVP_PKEY_CTX_free(ctx);
	return done ? 0 : -ENOMEM;
}

int hkdf_extract(enum hash_id id, const void *ikm, size_t len, uint8_t *prk)
{
	must(known(id));
	return hkdf(id, EVP_PKEY_HKDEF_MODE_EXTRACT_ONLY, ikm, len, NULL, 0, prk, hash_len(id));
}

int hkdf_expand(enum hash_id id, const uint8_t *prk, const void *info, size_t info_len,
		uint8_t *out, size_t out_len)
{
	must(known(id) && info_len <= HKDF_INFO_MAX && out_len <= 255 * hash_len(id));
	return hkdf(id, EVP_PKEY_HKDEF_MODE_EXPAND_ONLY, prk, hash_len(id), info, info_len, out,
		    out_len);
}

/* HkdfLabel's parts, one after the other. */
struct label {
	uint8_t bytes[2 + 1 + HASH_LABEL_MAX + 1 + HASH_LABEL_MAX];
	size_t len;
};

static void add(struct label *label, const void *bytes, size_t len)
{
	memcpy(label->bytes + label->len, bytes, len);
	label->len += len;
}

int hkdf_expand_label(enum hash_id id, const uint8_t *prk, const char *label, const void *context,
		      size_t context_len, uint8_t *out, size_t out_len)
{
	static const char prefix[] = "tls13 ";
	size_t prefix_len = sizeof(prefix) - 1, label_len = strlen(label);
	const uint8_t head[] = { (uint8_t)(out_len >> 8), (uint8_t)out_len,
				 (uint8_t)(prefix_len + label_len) };
	const uint8_t context_head = (uint8_t)context_len;
	struct label info = { .len = 0 };

	if (prefix_len + label_len > HASH_LABEL_MAX || context_len > HASH_LABEL_MAX)
		return -EINVAL;
	add(&info, head, sizeof(head));
	add(&info, prefix, prefix_len);
	add(&info, label, label_len);
	add(&info, &context_head, 1);
	if (context_len)
		add(&info, context, context_len);
	return hkdf_expand(id, prk, info.bytes, info.len, out, out_len);
}

void secret_wipe(void *bytes, size_t len)
{
	OPENSSL_cleanse(bytes, len);
}

bool secret_equal(const void *a, const void *b, size_t len)
{
	return CRYPTO_memcmp(a, b, len) == 0;
}

int secret_random(void *bytes, size_t len)
{
	return RAND_bytes(bytes, (int)len) == 1 ? 0 : -ENOMEM;
}

void base64_encode(const uint8_t *bytes, size_t len, char *text)
{
	EVP_EncodeBlock((unsigned char *)text, bytes, (int)len);
}

int base64_decode(const char *text, size_t text_len, uint8_t *bytes, size_t size)
{
	static const char letters[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	uint8_t decoded[512];
	size_t pads = 0, n;
	bool good;

	if (text_len == 0 || text_len % 4 || text_len / 4 * 3 > sizeof(decoded))
		return -EINVAL;
	while (pads < 2 && text[text_len - 1 - pads] == '=')
		pads++;
	for (size_t i = 0; i < text_len - pads; i++) {
		if (!text[i] || !strchr(letters, text[i]))
			return -EINVAL;
	}
	n = text_len / 4 * 3 - pads;
	good = n <= size &&
	       EVP_DecodeBlock(decoded, (const unsigned char *)text, (int)text_len) >= 0;
	if (good)
		memcpy(bytes, decoded, n);
	secret_wipe(decoded, sizeof(decoded));
	return good ? (int)n : -EINVAL;
}
