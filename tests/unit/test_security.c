/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Keys, PSKs and DH-HMAC-CHAP responses against vectors. Those marked "kernel" are the ones that
 * the Linux kernel's own unit test expects; the others were computed with Python's hmac and hashlib
 * from the specification's formulas.
 */
#include "tests/unit/unit.h"

#include <errno.h>
#include <stdio.h>

#include "security/dhchap.h"
#include "security/keyring.h"
#include "security/psk.h"
#include "util/check.h"
#include "util/clock.h"

#define HOST "nqn.2014-08.org.nvmexpress:uuid:11111111-1111-4111-8111-111111111111"
#define SUB  "nqn.2026-11.io.nvmetd:test"

static void assert_hex(const uint8_t *bytes, size_t len, const char *hex)
{
	char text[2 * 64 + 1];

	assert_true(len <= 64);
	for (size_t i = 0; i < len; i++)
		snprintf(text + 2 * i, 3, "%02x", bytes[i]);
	assert_string_equal(text, hex);
}

/* --- Texts ------------------------------------------------------------------------------------ */

#define KEY32 "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAl7OaH"
#define KEY48 "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAhIiMkJSYnKCkqKywtLi8wyg3Bcw=="
#define KEY64                                                          \
	"AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAhIiMkJSYnKCkqKywt" \
	"Li8wMTIzNDU2Nzg5Ojs8PT4/QJn7gCg="

static void good_texts(void **state)
{
	static const struct {
		enum key_kind kind;
		const char *text;
		enum hash_id hash;
		size_t len;
	} rows[] = {
		{ KEY_TLS, "NVMeTLSkey-1:00:" KEY32 ":", HASH_NONE, 32 },
		{ KEY_TLS, "NVMeTLSkey-1:01:" KEY32 ":", HASH_SHA256, 32 },
		{ KEY_TLS, "NVMeTLSkey-1:01:" KEY48 ":", HASH_SHA256, 48 },
		{ KEY_TLS, "NVMeTLSkey-1:02:" KEY48 ":", HASH_SHA384, 48 },
		{ KEY_DHCHAP, "DHHC-1:00:" KEY32 ":", HASH_NONE, 32 },
		{ KEY_DHCHAP, "DHHC-1:01:" KEY32 ":", HASH_SHA256, 32 },
		{ KEY_DHCHAP, "DHHC-1:02:" KEY48 ":", HASH_SHA384, 48 },
		{ KEY_DHCHAP, "DHHC-1:03:" KEY64 ":", HASH_SHA512, 64 },
		/* Printed by nvme gen-dhchap-key. */
		{ KEY_DHCHAP, "DHHC-1:00:ABEiM0RVZneImaq7zN3u/wARIjNEVWZ3iJmqu8zd7v8qDMNU:", 0,
		  32 },
		{ KEY_DHCHAP, "DHHC-1:01:oQPqb7SRsEHbXVxrxUC1nkp3QXneD75ISKmG1EXX5KBbgVcf:", 1,
		  32 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char text[KEY_TEXT_MAX];
		const char *why = NULL;
		struct secret key;

		assert_int_equal(key_parse(rows[i].kind, rows[i].text, &key, &why), 0);
		assert_int_equal(key.hash, rows[i].hash);
		assert_int_equal(key.len, rows[i].len);
		key_format(rows[i].kind, &key, text);
		assert_string_equal(text, rows[i].text);
	}
}

static void bad_texts(void **state)
{
	static const char *const rows[][2] = {
		{ "", "begin" },
		{ "DHHC-1:00:" KEY32 ":", "begin" },
		{ "NVMeTLSkey-2:00:" KEY32 ":", "begin" },
		{ "NVMeTLSkey-1:", "hash" },
		{ "NVMeTLSkey-1:0", "hash" },
		{ "NVMeTLSkey-1:04:" KEY32 ":", "hash" },
		{ "NVMeTLSkey-1:03:" KEY32 ":", "hash" },
		{ "NVMeTLSkey-1:00:" KEY64 ":", "length" },
		{ "NVMeTLSkey-1:00;" KEY32 ":", "hash" },
		{ "NVMeTLSkey-1:00:" KEY32, "colon" },
		{ "NVMeTLSkey-1:00::", "base64" },
		{ "NVMeTLSkey-1:00:AQI=:", "length" },
		{ "NVMeTLSkey-1:00:" KEY32 "====:", "base64" },
		{ "NVMeTLSkey-1:00:" KEY32 " :", "base64" },
		{ "NVMeTLSkey-1:00:=QIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAl7OaH:", "base64" },
		{ "NVMeTLSkey-1:00:AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAl7OaI:", "checksum" },
		{ "NVMeTLSkey-1:00:BQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAl7OaH:", "checksum" },
		{ "NVMeTLSkey-1:00:" KEY64 KEY64 KEY64 KEY64 KEY64 KEY64 KEY64 ":", "base64" },
		{ "NVMeTLSkey-1:00:" KEY32 KEY32 KEY32 KEY32 KEY32 KEY32 KEY32 ":", "base64" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const char *why = "";
		struct secret key;

		assert_int_equal(key_parse(KEY_TLS, rows[i][0], &key, &why), -EINVAL);
		if (!strstr(why, rows[i][1]))
			fail_msg("%s: %s, expected: %s", rows[i][0], why, rows[i][1]);
	}
}

static void generated_texts(void **state)
{
	struct secret a, b;

	(void)state;
	assert_int_equal(key_generate(KEY_TLS, HASH_SHA384, 48, &a), 0);
	assert_int_equal(key_generate(KEY_TLS, HASH_SHA384, 48, &b), 0);
	assert_false(secret_equal(a.bytes, b.bytes, 48));
	assert_int_equal(key_generate(KEY_TLS, HASH_SHA512, 64, &a), -EINVAL);
	assert_int_equal(key_generate(KEY_DHCHAP, HASH_SHA512, 63, &a), -EINVAL);
}

/* --- PSKs ------------------------------------------------------------------------------------- */

static const struct {
	const char *text;
	enum hash_id hash;
	bool legacy;
	const char *retained, *psk_v0, *digest, *psk_v1;
} psks[] = {
	{ "NVMeTLSkey-1:00:" KEY32 ":", HASH_SHA256, false,
	  "0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20",
	  "5b1e07e082db42b924dbf72ee75af660e7a5ba8b9b183b21999686fd6be359b9",
	  "IcUR0DifgTy62ebahLZpKafgqyOysT4BRFzQyp19JD8=",
	  "1b73687e04c6eb47a28034fedcff261bd45116015663d85cb171c2f6caecbb23" },
	{ "NVMeTLSkey-1:01:" KEY32 ":", HASH_SHA256, false,
	  "ca98d61633ad94ac9d23e2043629d60f06b12e82df6091b0fbff88fc796baf5c",
	  "69eb32abb58262fd410c14e2bed61b8c4ea62a1b753abfdb9ee594e71eebec3e",
	  "gKp6wQR/12P0Iejeo+z8XHWGgZ1xc7APKOzEbN/2qrc=",
	  "aba9dee8e25f63fdc7b998d82eda98772ce41fa7eecb8c1e4055327ed8c95b1b" },
	{ "NVMeTLSkey-1:01:" KEY32 ":", HASH_SHA256, true,
	  "85491c49736e3530f1fd60c5df072e4fca7ef30dc39e51d1a4acfe1f4fca368b",
	  "6ae3e69ed92b9574e7dfbeb63ddb7fb742e4b86fec07c38d17902a0ba1a2d24c",
	  "rMMRSadWVE2IP9rXA+ywHG6sBq6dVRW/ddT4LPOJtgc=",
	  "9b8a42a2f4edf010854feb45d6ae3a543526cca31c6739aa679e5e950bb8b414" },
	{ "NVMeTLSkey-1:02:" KEY48 ":", HASH_SHA384, false,
	  "51b7162bc292de0b7cf1d8e6051bd5ed850b0e06427c1656b9fe26b14d98b118"
	  "60d0d30206f301f10ee7f273c34a25c8",
	  "cef62b7ad8fcf85840b8b0b178a78e15402ae634068b3cfd3537f0fc0b7578f2"
	  "09aad2c83305ed2a05b05d5c25d07f77",
	  "A7xI3AwWCFtB3tjyxaP+vo0YxbUZ8nOaqn2TxkZaobIYan2P4NEAkk5yBJzRHNi+",
	  "43a0729967764a2a1313276e2a173a2607dc5329d8bb5c46c1dcdd8d42dcd8c2"
	  "71625acb3860c35e16784fa718566079" },
	{ "NVMeTLSkey-1:02:" KEY48 ":", HASH_SHA384, true,
	  "cfe0cb68413782a51804707e6c1660dd9f97984bc4b27b1dc5eaecccfb150f72"
	  "45295f885ed78429ec494e61a4f9ef63",
	  "4b5e282cf5edf1ef345e70a3f382a0faa0434af50635e5d35feceaa289b7a261"
	  "97172866cd9fe12cb9e3773be98ae491",
	  "QQcRRVcdXuNyxXC2pE+6Ynf8QaGPIFFWkwfeSZYEmO88UFsPhIrnt5dxLMRD2H9C",
	  "e811a37e50e51825c2a6c588fe361f1aaec429db8d2db1b44884abfed2b93245"
	  "8bd4402f9c9267e43352318056def67e" },
	/* HKDF over two blocks. */
	{ "NVMeTLSkey-1:01:" KEY48 ":", HASH_SHA256, false,
	  "a15b130feb99240878023bbb17103c824b74d3a35b0af9b56c631e1e9923313a"
	  "6ec99c649106a23a3720cd0faafaaad4",
	  "4f74a608a1911024c8ef280438d589adbda545af32e50762f8d9703b6e76e524",
	  "BMQPtVAPWwsQ/508Jml2ZskGeE8kmXJYTRtx3R/tbtQ=",
	  "8a89b6446152d446fb95f8bf28e11f96d1a84fafc7dc745ccbaccfbbdbe16035" },
};

static void configured_psks(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(psks); i++) {
		struct psk_identity identity = {
			.type = 'R', .hash = psks[i].hash, .hostnqn = HOST, .subnqn = SUB
		};
		size_t len = hash_len(psks[i].hash);
		struct secret configured, retained;
		uint8_t psk[HASH_MAX];
		const char *why;

		assert_int_equal(key_parse(KEY_TLS, psks[i].text, &configured, &why), 0);
		assert_int_equal(psk_default_hash(&configured), psks[i].hash);
		assert_int_equal(psk_retained(&configured, HOST, psks[i].legacy, &retained), 0);
		assert_hex(retained.bytes, retained.len, psks[i].retained);
		assert_int_equal(psk_tls(&identity, &retained, psks[i].legacy, psk), 0);
		assert_hex(psk, len, psks[i].psk_v0);
		identity.version = 1;
		assert_int_equal(psk_set_digest(&identity, &retained), 0);
		assert_string_equal(identity.digest, psks[i].digest);
		assert_int_equal(psk_tls(&identity, &retained, psks[i].legacy, psk), 0);
		assert_hex(psk, len, psks[i].psk_v1);
	}
}

/* Kernel: from a session key and two challenges to the TLS PSK of secure channel concatenation. */
static void generated_psks(void **state)
{
	static const struct {
		enum hash_id hash;
		const char *psk, *digest, *tls;
	} rows[] = {
		{ HASH_SHA256, "1733c59fa7f48fcf37f5f26fc4ff0268ad4f78e030f4f3b0bfd1d47e7bb1447a",
		  "OldoKuTfKddMuyCznAZojkWD7P4D9/AtzDzLimtOxqI=",
		  "3c17da628474a04d2247c4cab47968c915388193f7c071bd9489cc3666cd7cc8" },
		{ HASH_SHA384,
		  "f14b2dd3234c459694d3bc63f8968bd6b37c2c6de849e22e11874900"
		  "1ce4bbe8640b9e3a748cb11ce4b1d71d359cce39",
		  "cffMWk8TSS7HOQebjgYEIkrPrjWPV4JE5cdPB8WhEvY4JBW5YynKyv66XscN4A9n",
		  "2774753233537b3fa50eb7d16a8e43457d85f4906c005b2236616c5d"
		  "80939d0898fff15bb8b77119d2be0aac423e7590" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct psk_identity identity = { .version = 1,
						 .type = 'G',
						 .hash = rows[i].hash,
						 .hostnqn = "hostnqn",
						 .subnqn = "subsysnqn" };
		uint8_t ks[HASH_MAX], c1[HASH_MAX], c2[HASH_MAX], tls[HASH_MAX];
		struct secret psk;

		for (unsigned n = 0; n < HASH_MAX; n++) {
			ks[n] = (uint8_t)('A' + n);
			c1[n] = (uint8_t)n;
			c2[n] = (uint8_t)(0xff - n);
		}
		assert_int_equal(psk_generated(rows[i].hash, ks, c1, c2, &psk), 0);
		assert_hex(psk.bytes, psk.len, rows[i].psk);
		assert_int_equal(psk_set_digest(&identity, &psk), 0);
		assert_string_equal(identity.digest, rows[i].digest);
		assert_int_equal(psk_tls(&identity, &psk, false, tls), 0);
		assert_hex(tls, psk.len, rows[i].tls);
	}
}

static struct psk_identity generated_identity(const char *hostnqn, const char *subnqn, uint8_t byte,
					      struct secret *ret_psk)
{
	struct psk_identity identity = { .version = 1, .type = 'G', .hash = HASH_SHA256 };

	snprintf(identity.hostnqn, sizeof(identity.hostnqn), "%s", hostnqn);
	snprintf(identity.subnqn, sizeof(identity.subnqn), "%s", subnqn);
	*ret_psk = (struct secret){ .hash = HASH_SHA256, .len = 32, .bytes = { byte } };
	assert_int_equal(psk_set_digest(&identity, ret_psk), 0);
	return identity;
}

static uint64_t now_ns;

static unsigned n_psks(struct keyring *ring, const struct psk_identity *identity)
{
	uint8_t found[KEYRING_MAX_PSKS][HASH_MAX];

	return keyring_tls_psks(ring, identity, now_ns, found);
}

/* One for a host and a subsystem; the next one of the same two replaces it, and no other. */
static void generated_keyring(void **state)
{
	struct psk_identity first[3], again, other_hash;
	struct keyring *ring = keyring_new();
	struct secret psk;

	(void)state;
	assert_non_null(ring);
	for (unsigned i = 0; i < 3; i++) {
		first[i] = generated_identity(i == 1 ? "h2" : "h1", i == 2 ? "s2" : "s1", 1, &psk);
		assert_int_equal(n_psks(ring, &first[i]), 0);
		assert_int_equal(keyring_set_generated(ring, &first[i], &psk, now_ns), 0);
	}
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(n_psks(ring, &first[i]), 1);
	again = generated_identity("h1", "s1", 2, &psk);
	assert_int_equal(n_psks(ring, &again), 0);
	assert_int_equal(keyring_set_generated(ring, &again, &psk, now_ns), 0);
	assert_int_equal(n_psks(ring, &again), 1);
	assert_int_equal(n_psks(ring, &first[0]), 0);
	assert_int_equal(n_psks(ring, &first[1]), 1);
	assert_int_equal(n_psks(ring, &first[2]), 1);
	other_hash = again;
	other_hash.hash = HASH_SHA384;
	assert_int_equal(n_psks(ring, &other_hash), 0);
	keyring_free(ring);
}

/* Ten minutes, each from its own beginning. */
static void generated_keyring_ages(void **state)
{
	const uint64_t minute = 60 * NSEC_PER_SEC, life = 10 * minute;
	struct psk_identity identities[3];
	struct keyring *ring = keyring_new();
	struct secret psk;

	(void)state;
	assert_non_null(ring);
	for (unsigned i = 0; i < 3; i++) {
		now_ns = (i + 1) * minute;
		identities[i] =
			generated_identity("h", (const char *[]){ "a", "b", "c" }[i], 1, &psk);
		assert_int_equal(keyring_set_generated(ring, &identities[i], &psk, now_ns), 0);
	}
	/* Whoever looks may have read the clock before they were made. */
	for (now_ns = 0; now_ns < life + minute; now_ns += life + minute - 1) {
		for (unsigned i = 0; i < 3; i++)
			assert_int_equal(n_psks(ring, &identities[i]), 1);
	}
	now_ns = life + 2 * minute - 1;
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(n_psks(ring, &identities[i]), i != 0);
	/* Generated again: it lives anew. */
	identities[1] = generated_identity("h", "b", 2, &psk);
	assert_int_equal(keyring_set_generated(ring, &identities[1], &psk, now_ns), 0);
	now_ns = life + 3 * minute;
	assert_int_equal(n_psks(ring, &identities[1]), 1);
	assert_int_equal(n_psks(ring, &identities[2]), 0);
	keyring_free(ring);
	now_ns = 0;
}

/* Hosts can have keys generated under many names: the oldest ones go. */
static void generated_keyring_is_full(void **state)
{
	const unsigned most = 1024; /* MAX_GENERATED */
	struct keyring *ring = keyring_new();
	struct psk_identity identity;
	struct secret psk;
	char hostnqn[16];

	(void)state;
	assert_non_null(ring);
	for (unsigned i = 0; i <= most; i++) {
		snprintf(hostnqn, sizeof(hostnqn), "h%u", i);
		identity = generated_identity(hostnqn, "s", 1, &psk);
		assert_int_equal(keyring_set_generated(ring, &identity, &psk, now_ns), 0);
		if (i == most - 1) {
			identity = generated_identity("h0", "s", 1, &psk);
			assert_int_equal(n_psks(ring, &identity), 1);
		}
	}
	identity = generated_identity("h5", "s", 1, &psk); /* takes its own place */
	assert_int_equal(keyring_set_generated(ring, &identity, &psk, now_ns), 0);
	for (unsigned i = 0; i <= most; i += i == 1 ? most - 1 : 1) {
		snprintf(hostnqn, sizeof(hostnqn), "h%u", i);
		identity = generated_identity(hostnqn, "s", 1, &psk);
		assert_int_equal(n_psks(ring, &identity), i != 0);
	}
	keyring_free(ring);
}

static void identities(void **state)
{
	static const char *const good[] = {
		"NVMe0R01 " HOST " " SUB,
		"NVMe0R02 " HOST " " SUB,
		"NVMe1R01 " HOST " " SUB " gKp6wQR/12P0Iejeo+z8XHWGgZ1xc7APKOzEbN/2qrc=",
		"NVMe1G02 a b c",
	};
	static const char *const bad[] = {
		"",
		"NVMe",
		"NVMe0R01",
		"NVMe0R01 ",
		"NVMe0R01 a",
		"NVMe0R01 a ",
		"NVMe0R01  b",
		"NVMe0R03 a b",
		"NVMe0R00 a b",
		"NVMe2R01 a b",
		"NVMe0X01 a b",
		"nvme0R01 a b",
		"NVMe0R011 a b",
		"NVMe0R01 a b c",
		"NVMe1R01 a b",
		"NVMe1R01 a b ",
		"NVMe1R01 a b c d",
		"NVMe0R01 a b\n",
		"NVMe0R01 a\tb c",
		"NVMe0R01 a b ",
		"NVMe0R01 a\x7f b",
		"NVMe0R01 a\x01 b",
	};
	struct psk_identity identity;
	char text[PSK_IDENTITY_MAX + 1], longer[3 * PSK_IDENTITY_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		assert_int_equal(psk_identity_parse(good[i], strlen(good[i]), &identity), 0);
		psk_identity_format(&identity, text);
		assert_string_equal(text, good[i]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(psk_identity_parse(bad[i], strlen(bad[i]), &identity), -EINVAL);
	assert_int_equal(psk_identity_parse("NVMe0R01 a\0 b", 13, &identity), -EINVAL);
	memset(longer, 'a', sizeof(longer));
	memcpy(longer, "NVMe0R01 ", 9);
	assert_int_equal(psk_identity_parse(longer, sizeof(longer), &identity), -EINVAL);
	longer[9 + NVMF_NQN_MAX + 1] = ' ';
	assert_int_equal(psk_identity_parse(longer, 9 + NVMF_NQN_MAX + 3, &identity), -EINVAL);
	longer[9 + NVMF_NQN_MAX + 1] = 'a';
	longer[9 + NVMF_NQN_MAX] = ' ';
	assert_int_equal(psk_identity_parse(longer, 9 + NVMF_NQN_MAX + 1 + NVMF_NQN_MAX, &identity),
			 0);
}

/* --- DH-HMAC-CHAP ----------------------------------------------------------------------------- */

static void transformed_keys(void **state)
{
	static const char *const rows[][2] = {
		{ "DHHC-1:00:" KEY32 ":",
		  "0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20" },
		{ "DHHC-1:01:" KEY32 ":",
		  "0b38c0af9d28c01270924531458a915e058405b88f8ce9f7c7610318225359e5" },
		{ "DHHC-1:02:" KEY48 ":",
		  "8a6d0e8661c22de431716a64c538de26da2f5496a81755963f248fa1084281bb"
		  "41595f63bf367d9b917f2368b7a1006b" },
		{ "DHHC-1:03:" KEY64 ":",
		  "7088acaab045f618625b2e7fefe884d4794fe010a0c13278502978cef5cf7919"
		  "65e2f44681e601b1ec0410fd226b615affd88dc88c26179ecf7cd44b28a020ec" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct secret key, transformed;
		const char *why;

		assert_int_equal(key_parse(KEY_DHCHAP, rows[i][0], &key, &why), 0);
		assert_int_equal(dhchap_transform(&key, HOST, &transformed), 0);
		assert_hex(transformed.bytes, transformed.len, rows[i][1]);
	}
}

static void responses(void **state)
{
	/* Key DHHC-1:03:KEY64; challenge 80h, 81h, …; Ks, where there is one, H("secret"). */
	static const struct {
		enum hash_id hash;
		bool dh;
		const char *host, *controller;
	} rows[] = {
		{ HASH_SHA256, false,
		  "775515fbec1cf05c5b037437cb220a442c8e29040c8d42a9abbb6a3a049a78ab",
		  "35c74f1d711afaf33c8933f61365c1f535b968dc5620b6eb3fe1714fc476c461" },
		{ HASH_SHA256, true,
		  "6c0362223e4e57eb95c415eb6f7ebf6274c1ba32b7dbe630f56254696382cdb8",
		  "603087215813a61bd546d7164c5009973c278bfa316f0d95a70e79db0ba1a5fa" },
		{ HASH_SHA384, true,
		  "b2b1fa0992ecd5bd6ac36292264d885f7081cb08b7a14a825d91a7629f2f321d"
		  "2d30f2e64990782e1ca58e0c1e13720c",
		  "7225b8999136578a2646f0190ad53ab34da056ecb55027d119b3b6651c232773"
		  "932cbe7dfe3b076525a74045ec2b8375" },
		{ HASH_SHA512, true,
		  "badd9b4d6ce7542e52249f57196f59370af3563cc420645dafe4b550a1cd844e"
		  "ac460c2507399c987d103ba069b9a758f5129acae893cb74eb47e0dcce6bf2c2",
		  "2797801c172a16d012d9a07d51f35b542dd73025a04d0c20e9a650c1bb7657a4"
		  "58764cfdf670b5293f00dce63121215760a928257c106194c4774e67cbdbd51a" },
	};
	struct secret key, transformed;
	const char *why;

	(void)state;
	assert_int_equal(key_parse(KEY_DHCHAP, "DHHC-1:03:" KEY64 ":", &key, &why), 0);
	assert_int_equal(dhchap_transform(&key, HOST, &transformed), 0);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint8_t challenge[HASH_MAX], ks[HASH_MAX], out[HASH_MAX];
		struct dhchap_proof proof = { .role = DHCHAP_HOST,
					      .hash = rows[i].hash,
					      .key = &transformed,
					      .challenge = challenge,
					      .ks = rows[i].dh ? ks : NULL,
					      .seqnum = 0x12345678,
					      .t_id = 0xabcd,
					      .hostnqn = HOST,
					      .subnqn = SUB };

		for (unsigned n = 0; n < HASH_MAX; n++)
			challenge[n] = (uint8_t)(0x80 + n);
		assert_int_equal(hash_digest(rows[i].hash, "secret", 6, ks), 0);
		assert_int_equal(dhchap_response(&proof, out), 0);
		assert_hex(out, hash_len(rows[i].hash), rows[i].host);
		proof.role = DHCHAP_CONTROLLER;
		assert_int_equal(dhchap_response(&proof, out), 0);
		assert_hex(out, hash_len(rows[i].hash), rows[i].controller);
	}
}

static void groups(void **state)
{
	(void)state;
	for (enum dh_group group = DH_FFDHE2048; group <= DH_FFDHE8192; group++) {
		uint8_t a_pub[DH_MAX], b_pub[DH_MAX], a_ks[HASH_MAX], b_ks[HASH_MAX];
		uint8_t bad[DH_MAX] = { 0 };
		size_t len = dh_len(group);
		struct dh *a, *b;

		assert_int_equal(dh_new(group, &a), 0);
		assert_int_equal(dh_new(group, &b), 0);
		assert_int_equal(dh_public(a, a_pub), 0);
		assert_int_equal(dh_public(b, b_pub), 0);
		assert_int_equal(dh_session_key(a, HASH_SHA512, b_pub, len, a_ks), 0);
		assert_int_equal(dh_session_key(b, HASH_SHA512, a_pub, len, b_ks), 0);
		assert_memory_equal(a_ks, b_ks, 64);
		/* 0, 1 and p - 1 or more would make the secret known. */
		assert_int_equal(dh_session_key(a, HASH_SHA256, bad, len, a_ks), -EINVAL);
		bad[len - 1] = 1;
		assert_int_equal(dh_session_key(a, HASH_SHA256, bad, len, a_ks), -EINVAL);
		memset(bad, 0xff, len);
		assert_int_equal(dh_session_key(a, HASH_SHA256, bad, len, a_ks), -EINVAL);
		bad[len - 1] = 0xfe; /* p - 1: p is odd and ends with 64 one bits */
		assert_int_equal(dh_session_key(a, HASH_SHA256, bad, len, a_ks), -EINVAL);
		assert_int_equal(dh_session_key(a, HASH_SHA256, b_pub, len - 1, a_ks), -EINVAL);
		dh_free(a);
		dh_free(b);
	}
	assert_int_equal(dh_len(DH_NULL), 0);
	assert_int_equal(dh_len((enum dh_group)6), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_texts),
		cmocka_unit_test(bad_texts),
		cmocka_unit_test(generated_texts),
		cmocka_unit_test(configured_psks),
		cmocka_unit_test(generated_psks),
		cmocka_unit_test(identities),
		cmocka_unit_test(transformed_keys),
		cmocka_unit_test(responses),
		cmocka_unit_test(groups),
		cmocka_unit_test(generated_keyring),
		cmocka_unit_test(generated_keyring_ages),
		cmocka_unit_test(generated_keyring_is_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
