/* SPDX-License-Identifier: BSD-3-Clause */
/* What the parts of TLS share: tls.c (life, records), tls_psk.c (who is it), ktls.c
 * (the kernel). */
#ifndef NVMETD_TRANSPORT_TLS_INTERNAL_H
#define NVMETD_TRANSPORT_TLS_INTERNAL_H

#include <openssl/ssl.h>
#include <sys/uio.h>

#include "security/psk.h"
#include "transport/tls.h"

#define TLS_RECORD_MAX 16384

/* With a PSK of SHA-256, of SHA-384, and of SHA-384 from a host that can prove it with SHA-256
 * only. */
enum tls_suite_id { TLS_SUITE_AES_128, TLS_SUITE_AES_256, TLS_SUITE_CHACHA20 };

struct tls_suite {
	const char *name;
	unsigned char number[2]; /* RFC 8446, B.4 */
	enum hash_id hash;
};

struct tls_ctx {
	SSL_CTX *ssl_ctx;
	struct keyring *keys;
};

/* One direction's traffic secret (RFC 8446, 7.3). */
struct tls_secret {
	uint8_t bytes[HASH_MAX];
	size_t len; /* 0: not known */
};

struct tls {
	struct tls_ctx *ctx;
	int fd;
	SSL *ssl; /* NULL: the kernel has the records */
	char why[PSK_IDENTITY_MAX + 160];

	/* Of the handshake; wiped at its end. */
	uint8_t *hello; /* first ClientHello */
	size_t hello_len;
	bool chosen; /* identity, psk and suite are set: */
	char identity_text[PSK_IDENTITY_MAX + 1];
	uint8_t psk[HASH_MAX];
	struct tls_secret rx_secret, tx_secret;

	struct psk_identity identity;
	enum tls_suite_id suite;
	char description[80];
	size_t mid_record;    /* bytes of a record that OpenSSL has begun to send */
	bool must_send_first; /* why the last read gave nothing */
	int broken;           /* errno of all that follows, once OpenSSL can do no more; or 0 */
};

/* tls_psk.c: by enum tls_suite_id. */
extern const struct tls_suite tls_suites[];

/* Makes a context look PSKs up, and remember what a failure needs to be told. */
void tls_psk_setup(SSL_CTX *ssl_ctx);
/* What OpenSSL takes a PSK as: that of tls->psk, identity.hash and suite. The caller's; NULL: no
 * memory. */
SSL_SESSION *tls_psk_session(const struct tls *tls);
/* For tls_new(). */
bool tls_psk_begin(struct tls *tls); /* false: no memory */
/* The handshake is over, either way. */
void tls_psk_end(struct tls *tls);

/* ktls.c: has the kernel do the records from here on. 1: it does, both ways; 0: it cannot, and
 * nothing has changed; -errno: one way only, the connection must end. */
int ktls_take_over(struct tls *tls);
ssize_t ktls_readv(struct tls *tls, const struct iovec *iov, int n_iov);
void ktls_goodbye(struct tls *tls);

#endif
