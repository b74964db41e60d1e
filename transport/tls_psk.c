/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who is it? The PSK identities of a ClientHello → one key.
 *
 * An identity of version 0 does not say which key it means: the host may have the old one or the
 * new one, derived in the form of the specification or in that of older tools. The binder tells
 * (RFC 8446, 4.2.11.2): it is computed for each candidate here, before OpenSSL asks, and OpenSSL
 * checks the chosen one again. The hash of the identity also decides the cipher suite, which
 * OpenSSL chooses before it looks at PSKs.
 *
 * A Linux host with GnuTLS 3.8.9 makes every binder with SHA-256. That leaves one suite for a PSK
 * of SHA-384, ChaCha20-Poly1305 with SHA-256, and such a host offers it; the length of the binder
 * tells.
 */
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "security/keyring.h"
#include "transport/tls_internal.h"
#include "util/clock.h"

#define HELLO_MAX 16384 /* a larger ClientHello is none of an NVMe host */

/* --- Bytes ------------------------------------------------------------------------------------ */

struct reader {
	const uint8_t *at;
	size_t left;
};

/* A vector with a length of one or two bytes in front of it (RFC 8446, 3.4). */
static bool take_vector(struct reader *from, size_t len_size, struct reader *ret)
{
	size_t len;

	if (from->left < len_size)
		return false;
	len = len_size == 1 ? from->at[0] : (size_t)from->at[0] << 8 | from->at[1];
	if (from->left - len_size < len)
		return false;
	*ret = (struct reader){ from->at + len_size, len };
	from->at += len_size + len;
	from->left -= len_size + len;
	return true;
}

static bool skip(struct reader *from, size_t len)
{
	if (from->left < len)
		return false;
	from->at += len;
	from->left -= len;
	return true;
}

/* --- The choice ------------------------------------------------------------------------------- */

const struct tls_suite tls_suites[] = {
	[TLS_SUITE_AES_128] = { "TLS_AES_128_GCM_SHA256", { 0x13, 0x01 }, HASH_SHA256 },
	[TLS_SUITE_AES_256] = { "TLS_AES_256_GCM_SHA384", { 0x13, 0x02 }, HASH_SHA384 },
	[TLS_SUITE_CHACHA20] = { "TLS_CHACHA20_POLY1305_SHA256", { 0x13, 0x03 }, HASH_SHA256 },
};

static enum tls_suite_id suite_for(const struct psk_identity *identity, size_t binder_len)
{
	if (identity->hash == HASH_SHA256)
		return TLS_SUITE_AES_128;
	return binder_len == hash_len(HASH_SHA256) ? TLS_SUITE_CHACHA20 : TLS_SUITE_AES_256;
}

/* Of the candidates, the one that the binder was made with; -1: none. */
static int match_binder(const struct tls *tls, const struct psk_identity *identity,
			const struct reader *binder, size_t binders_len, uint8_t psks[][HASH_MAX],
			unsigned n)
{
	const enum hash_id hash = tls_suites[suite_for(identity, binder->left)].hash;
	uint8_t expected[HASH_MAX];

	if (!tls->hello || tls->hello_len < binders_len || binder->left != hash_len(hash))
		return -1;
	for (unsigned i = 0; i < n; i++) {
		if (psk_binder(hash, psks[i], hash_len(identity->hash), tls->hello,
			       tls->hello_len - binders_len, expected) == 0 &&
		    secret_equal(expected, binder->at, binder->left))
			return (int)i;
	}
	return -1;
}

static void choose(struct tls *tls, const struct psk_identity *identity, enum tls_suite_id suite,
		   const uint8_t *psk)
{
	tls->chosen = true;
	tls->identity = *identity;
	tls->suite = suite;
	psk_identity_format(identity, tls->identity_text);
	memcpy(tls->psk, psk, hash_len(identity->hash));
}

/* True: this identity is it, with the right key or, for OpenSSL to refuse, with a wrong one. */
static bool try_identity(struct tls *tls, const struct reader *text, const struct reader *binder,
			 size_t binders_len)
{
	uint8_t psks[KEYRING_MAX_PSKS][HASH_MAX];
	struct psk_identity identity;
	int found = -1;
	unsigned n;

	if (psk_identity_parse(text->at, text->left, &identity)) {
		snprintf(tls->why, sizeof(tls->why),
			 "TLS identity \"%.*s\" is none that NVMe hosts have",
			 (int)(text->left > 64 ? 64 : text->left), (const char *)text->at);
		return false;
	}
	n = keyring_tls_psks(tls->ctx->keys, &identity, clock_now_ns(), psks);
	if (n)
		found = match_binder(tls, &identity, binder, binders_len, psks, n);
	if (found < 0)
		snprintf(tls->why, sizeof(tls->why), "TLS identity \"%.*s\": %s", (int)text->left,
			 (const char *)text->at,
			 n ? "its key is not the host's"
			 : keyring_has(tls->ctx->keys, KEY_USE_TLS, identity.hostnqn,
				       identity.subnqn)
				 ? "it names another key than the host's"
				 : "this host has no key here");
	if (n)
		choose(tls, &identity, suite_for(&identity, binder->left),
		       psks[found < 0 ? 0 : found]);
	secret_wipe(psks, sizeof(psks));
	return n > 0;
}

/* pre_shared_key of a ClientHello: identities with an age each, then binders. */
static void try_offer(struct tls *tls, struct reader ext)
{
	const size_t all = ext.left;
	struct reader identities, binders, text, binder;
	size_t binders_len;

	if (!take_vector(&ext, 2, &identities))
		return;
	binders_len = ext.left;
	if (!take_vector(&ext, 2, &binders) || ext.left || binders_len > all)
		return;
	while (identities.left) {
		if (!take_vector(&identities, 2, &text) || !skip(&identities, 4) ||
		    !take_vector(&binders, 1, &binder))
			return;
		if (try_identity(tls, &text, &binder, binders_len))
			return;
	}
}

static int on_client_hello(SSL *ssl, int *alert, void *arg)
{
	struct tls *tls = SSL_get_app_data(ssl);
	const unsigned char *bytes;
	size_t len;

	(void)alert;
	(void)arg;
	/* After a HelloRetryRequest the first choice stands. */
	if (tls->chosen)
		return SSL_CLIENT_HELLO_SUCCESS;
	if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_psk, &bytes, &len) == 1)
		try_offer(tls, (struct reader){ bytes, len });
	else
		snprintf(tls->why, sizeof(tls->why), "TLS without a pre-shared key");
	if (tls->chosen && SSL_set_ciphersuites(ssl, tls_suites[tls->suite].name) != 1)
		return SSL_CLIENT_HELLO_ERROR;
	return SSL_CLIENT_HELLO_SUCCESS;
}

SSL_SESSION *tls_psk_session(const struct tls *tls)
{
	const SSL_CIPHER *cipher = SSL_CIPHER_find(tls->ssl, tls_suites[tls->suite].number);
	SSL_SESSION *session = SSL_SESSION_new();

	if (session &&
	    SSL_SESSION_set1_master_key(session, tls->psk, hash_len(tls->identity.hash)) == 1 &&
	    SSL_SESSION_set_cipher(session, cipher) == 1 &&
	    SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION) == 1)
		return session;
	SSL_SESSION_free(session);
	return NULL;
}

/* OpenSSL asks for each identity in turn. */
static int on_find_session(SSL *ssl, const unsigned char *text, size_t len, SSL_SESSION **ret)
{
	const struct tls *tls = SSL_get_app_data(ssl);

	*ret = NULL;
	if (!tls->chosen || strlen(tls->identity_text) != len ||
	    memcmp(tls->identity_text, text, len) != 0)
		return 1;
	*ret = tls_psk_session(tls);
	return *ret != NULL;
}

/* --- What passes by --------------------------------------------------------------------------- */

/* Keeps the first ClientHello: binders are made over it. */
static void on_message(int write, int version, int type, const void *bytes, size_t len, SSL *ssl,
		       void *arg)
{
	struct tls *tls = arg;

	(void)version;
	(void)ssl;
	if (write || type != SSL3_RT_HANDSHAKE || tls->hello || len > HELLO_MAX ||
	    len < SSL3_HM_HEADER_LENGTH || *(const uint8_t *)bytes != SSL3_MT_CLIENT_HELLO)
		return;
	tls->hello = malloc(len);
	if (!tls->hello)
		return; /* the first candidate is tried, then */
	memcpy(tls->hello, bytes, len);
	tls->hello_len = len;
}

/* "LABEL CLIENT_RANDOM SECRET", in hexadecimal: the traffic secrets are what kTLS needs. */
static void on_secret(const SSL *ssl, const char *line)
{
	struct tls *tls = SSL_get_app_data(ssl);
	const char *hex = strrchr(line, ' ');
	struct tls_secret *secret = NULL;
	long len = 0;
	uint8_t *bytes;

	if (strncmp(line, "CLIENT_TRAFFIC_SECRET_0 ", 24) == 0)
		secret = &tls->rx_secret;
	else if (strncmp(line, "SERVER_TRAFFIC_SECRET_0 ", 24) == 0)
		secret = &tls->tx_secret;
	bytes = secret && hex ? OPENSSL_hexstr2buf(hex + 1, &len) : NULL;
	if (bytes && len <= HASH_MAX) {
		memcpy(secret->bytes, bytes, (size_t)len);
		secret->len = (size_t)len;
	}
	OPENSSL_clear_free(bytes, (size_t)len);
}

void tls_psk_setup(SSL_CTX *ssl_ctx)
{
	SSL_CTX_set_client_hello_cb(ssl_ctx, on_client_hello, NULL);
	SSL_CTX_set_psk_find_session_callback(ssl_ctx, on_find_session);
	SSL_CTX_set_keylog_callback(ssl_ctx, on_secret);
}

bool tls_psk_begin(struct tls *tls)
{
	if (SSL_set_app_data(tls->ssl, tls) != 1)
		return false;
	SSL_set_msg_callback(tls->ssl, on_message);
	SSL_set_msg_callback_arg(tls->ssl, tls);
	return true;
}

void tls_psk_end(struct tls *tls)
{
	if (tls->ssl)
		SSL_set_msg_callback(tls->ssl, NULL);
	free(tls->hello);
	tls->hello = NULL;
	tls->why[0] = '\0';
	secret_wipe(tls->psk, sizeof(tls->psk));
	secret_wipe(&tls->rx_secret, sizeof(tls->rx_secret));
	secret_wipe(&tls->tx_secret, sizeof(tls->tx_secret));
}
