/* SPDX-License-Identifier: BSD-3-Clause */
/* The arithmetic of DH-HMAC-CHAP; see dhchap.h. */
#include "security/dhchap.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <stdlib.h>
#include <string.h>

#include "security/nqn.h"
#include "util/check.h"

/* --- Diffie-Hellman --------------------------------------------------------------------------- */

struct dh {
	enum dh_group group;
	EVP_PKEY *key;
};

static const struct {
	const char *name;
	size_t len;
} groups[] = {
	[DH_NULL] = { "null", 0 },
	[DH_FFDHE2048] = { "ffdhe2048", 256 },
	[DH_FFDHE3072] = { "ffdhe3072", 384 },
	[DH_FFDHE4096] = { "ffdhe4096", 512 },
	[DH_FFDHE6144] = { "ffdhe6144", 768 },
	[DH_FFDHE8192] = { "ffdhe8192", 1024 },
};

size_t dh_len(enum dh_group group)
{
	return (size_t)group < ARRAY_SIZE(groups) ? groups[group].len : 0;
}

const char *dh_name(enum dh_group group)
{
	return (size_t)group < ARRAY_SIZE(groups) ? groups[group].name : "unknown";
}

static EVP_PKEY *generate(enum dh_group group)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "DH", NULL);
	EVP_PKEY *key = NULL;

	if (ctx && EVP_PKEY_keygen_init(ctx) > 0 &&
	    EVP_PKEY_CTX_set_group_name(ctx, groups[group].name) > 0 &&
	    EVP_PKEY_generate(ctx, &key) <= 0)
		key = NULL;
	EVP_PKEY_CTX_free(ctx);
	return key;
}

int dh_new(enum dh_group group, struct dh **ret_dh)
{
	struct dh *dh;

	must(dh_len(group));
	dh = calloc(1, sizeof(*dh));
	if (!dh)
		return -ENOMEM;
	dh->group = group;
	dh->key = generate(group);
	if (!dh->key) {
		dh_free(dh);
		return -ENOMEM;
	}
	*ret_dh = dh;
	return 0;
}

void dh_free(struct dh *dh)
{
	if (!dh)
		return;
	EVP_PKEY_free(dh->key);
	free(dh);
}

int dh_public(const struct dh *dh, uint8_t *out)
{
	unsigned char *encoded = NULL;
	size_t len = EVP_PKEY_get1_encoded_public_key(dh->key, &encoded);
	int err = len == dh_len(dh->group) ? 0 : -ENOMEM;

	if (!err)
		memcpy(out, encoded, len);
	OPENSSL_free(encoded);
	return err;
}

/*
 * The peer's value as a key of our group, if it lies between 1 and p - 1. These primes are safe, so
 * there is no other small subgroup to lead us into (RFC 7919, 5.1); whether the value is a square
 * would take an exponentiation as long as the prime to find out (0.1 s with 8192 bits) and could
 * tell the peer one bit of an exponent that is used once.
 */
static EVP_PKEY *peer_key(const struct dh *dh, const uint8_t *value, size_t len)
{
	EVP_PKEY *peer = EVP_PKEY_new();
	EVP_PKEY_CTX *check = NULL;

	if (peer && EVP_PKEY_copy_parameters(peer, dh->key) > 0 &&
	    EVP_PKEY_set1_encoded_public_key(peer, value, len) > 0)
		check = EVP_PKEY_CTX_new_from_pkey(NULL, peer, NULL);
	if (!check || EVP_PKEY_public_check_quick(check) <= 0) {
		EVP_PKEY_free(peer);
		peer = NULL;
	}
	EVP_PKEY_CTX_free(check);
	return peer;
}

static int shared_secret(const struct dh *dh, EVP_PKEY *peer, uint8_t secret[DH_MAX], size_t *len)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, dh->key, NULL);
	unsigned pad = 1; /* leading zeros count: both sides hash the whole group's length */
	const OSSL_PARAM params[] = {
		OSSL_PARAM_construct_uint(OSSL_EXCHANGE_PARAM_PAD, &pad),
		OSSL_PARAM_construct_end(),
	};
	int err = -ENOMEM;

	*len = DH_MAX;
	if (ctx && EVP_PKEY_derive_init_ex(ctx, params) > 0 &&
	    EVP_PKEY_derive_set_peer_ex(ctx, peer, 0) > 0 && EVP_PKEY_derive(ctx, secret, len) > 0)
		err = 0;
	EVP_PKEY_CTX_free(ctx);
	return err;
}

int dh_session_key(const struct dh *dh, enum hash_id hash, const uint8_t *peer, size_t peer_len,
		   uint8_t *ks)
{
	uint8_t secret[DH_MAX];
	EVP_PKEY *key;
	size_t len;
	int err;

	if (peer_len != dh_len(dh->group))
		return -EINVAL;
	key = peer_key(dh, peer, peer_len);
	if (!key)
		return -EINVAL;
	err = shared_secret(dh, key, secret, &len);
	if (!err)
		err = hash_digest(hash, secret, len, ks);
	secret_wipe(secret, sizeof(secret));
	EVP_PKEY_free(key);
	return err;
}

/* --- Responses -------------------------------------------------------------------------------- */

struct bytes {
	uint8_t buf[HASH_MAX + 4 + 2 + 1 + 10 + NVMF_NQN_MAX + 1 + NVMF_NQN_MAX];
	size_t len;
};

static void add(struct bytes *bytes, const void *data, size_t len)
{
	must(len <= sizeof(bytes->buf) - bytes->len);
	memcpy(bytes->buf + bytes->len, data, len);
	bytes->len += len;
}

int dhchap_transform(const struct secret *key, const char *nqn, struct secret *ret_key)
{
	static const char seed[] = "NVMe-over-Fabrics";
	struct bytes bytes = { .len = 0 };

	*ret_key = *key;
	if (key->hash == HASH_NONE)
		return 0;
	add(&bytes, nqn, strlen(nqn));
	add(&bytes, seed, strlen(seed));
	ret_key->len = hash_len(key->hash);
	return hash_hmac(key->hash, key->bytes, key->len, bytes.buf, bytes.len, ret_key->bytes);
}

/* With DH the challenge is bound to the session key (8.13.5.4). */
static int augment(const struct dhchap_proof *proof, uint8_t *ca)
{
	size_t len = hash_len(proof->hash);

	if (proof->ks)
		return hash_hmac(proof->hash, proof->ks, len, proof->challenge, len, ca);
	memcpy(ca, proof->challenge, len);
	return 0;
}

int dhchap_response(const struct dhchap_proof *proof, uint8_t *out)
{
	const bool host = proof->role == DHCHAP_HOST;
	const char *first = host ? proof->hostnqn : proof->subnqn;
	const char *second = host ? proof->subnqn : proof->hostnqn;
	const uint8_t numbers[] = {
		(uint8_t)proof->seqnum,
		(uint8_t)(proof->seqnum >> 8),
		(uint8_t)(proof->seqnum >> 16),
		(uint8_t)(proof->seqnum >> 24),
		(uint8_t)proof->t_id,
		(uint8_t)(proof->t_id >> 8),
		proof->sc_c,
	};
	struct bytes bytes = { .len = 0 };
	uint8_t ca[HASH_MAX];
	int err = augment(proof, ca);

	if (err)
		return err;
	add(&bytes, ca, hash_len(proof->hash));
	add(&bytes, numbers, sizeof(numbers));
	add(&bytes, host ? "HostHost" : "Controller", host ? 8 : 10);
	add(&bytes, first, strlen(first));
	add(&bytes, "", 1);
	add(&bytes, second, strlen(second));
	err = hash_hmac(proof->hash, proof->key->bytes, proof->key->len, bytes.buf, bytes.len, out);
	secret_wipe(ca, sizeof(ca));
	secret_wipe(&bytes, sizeof(bytes));
	return err;
}
