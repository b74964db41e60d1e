/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * TLS 1.3 with pre-shared keys, our side of it (NVMe/TCP transport specification, 3.6): OpenSSL
 * does the handshake; then the kernel takes the records over, if it can (kTLS), and OpenSSL goes on
 * with them otherwise.
 *
 * PSK identities and nothing else let a host in: there is no certificate, no ticket, no early data,
 * no earlier version, and always an ephemeral key exchange.
 *
 * A context is the daemon's: made on the main thread, used by all. A struct tls is its connection's
 * worker's.
 */
#ifndef NVMETD_TRANSPORT_TLS_H
#define NVMETD_TRANSPORT_TLS_H

#include <stdbool.h>
#include <sys/types.h>

struct iovec;
struct keyring;
struct msghdr;
struct psk_identity;
struct tls;
struct tls_ctx;

/* `keys` outlives it. 0 or -ENOMEM (logged). */
int tls_ctx_new(struct keyring *keys, struct tls_ctx **ret_ctx);
/* NULL is allowed. */
void tls_ctx_free(struct tls_ctx *ctx);

/* For an accepted socket that does not block; it stays the caller's. 0 or -ENOMEM. */
int tls_new(struct tls_ctx *ctx, int fd, struct tls **ret_tls);
/* The socket is closed next: says good-bye to the host if that does not take waiting, wipes keys.
 * Only the identity is left. */
void tls_close(struct tls *tls);
/* NULL is allowed. Any thread, once it is closed. */
void tls_free(struct tls *tls);

enum tls_step { TLS_DONE, TLS_WANT_READ, TLS_WANT_WRITE, TLS_FAILED };
/* Goes on with the handshake. */
enum tls_step tls_handshake(struct tls *tls);
/* Why it failed, with the identity that was offered. */
const char *tls_why(const struct tls *tls);
/* After TLS_DONE: who the host has proved to be; alive as long as `tls`, and constant. */
const struct psk_identity *tls_identity(const struct tls *tls);
/* After TLS_DONE: "TLS_AES_128_GCM_SHA256, records in the kernel"; as alive and constant. */
const char *tls_describe(const struct tls *tls);

/* As readv(2) and sendmsg(2), see stream.h. */
ssize_t tls_readv(struct tls *tls, const struct iovec *iov, int n_iov);
ssize_t tls_sendmsg(struct tls *tls, const struct msghdr *msg);
bool tls_has_more(const struct tls *tls);
bool tls_is_mid_record(const struct tls *tls);
bool tls_must_send_first(const struct tls *tls);

#endif
