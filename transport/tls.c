/* SPDX-License-Identifier: BSD-3-Clause */
/* TLS: handshake, and records where OpenSSL keeps them; see tls.h. */
#include "transport/tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "transport/tls_internal.h"
#include "util/log.h"
#include "util/num.h"

/* --- Context ---------------------------------------------------------------------------------- */

static bool configure(SSL_CTX *ctx)
{
	SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	/* Each KeyUpdate is seen by tls_readv(), see answer_is_stuck(). */
	SSL_CTX_clear_mode(ctx, SSL_MODE_AUTO_RETRY);
	/* What a blocked socket did not take is offered again, perhaps from elsewhere. */
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
				      SSL_MODE_RELEASE_BUFFERS);
	return SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) == 1 &&
	       SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) == 1 &&
	       SSL_CTX_set_ciphersuites(ctx, "TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256") ==
		       1 &&
	       SSL_CTX_set_num_tickets(ctx, 0) == 1;
}

int tls_ctx_new(struct keyring *keys, struct tls_ctx **ret_ctx)
{
	struct tls_ctx *ctx = calloc(1, sizeof(*ctx));

	if (!ctx)
		return -ENOMEM;
	ctx->keys = keys;
	ctx->ssl_ctx = SSL_CTX_new(TLS_server_method());
	if (!ctx->ssl_ctx || !configure(ctx->ssl_ctx)) {
		const char *why = ERR_reason_error_string(ERR_get_error());

		log_err("TLS cannot be set up: %s", why ? why : strerror(ENOMEM));
		tls_ctx_free(ctx);
		return -ENOMEM;
	}
	tls_psk_setup(ctx->ssl_ctx);
	*ret_ctx = ctx;
	return 0;
}

void tls_ctx_free(struct tls_ctx *ctx)
{
	if (!ctx)
		return;
	SSL_CTX_free(ctx->ssl_ctx);
	free(ctx);
}

/* --- Life ------------------------------------------------------------------------------------- */

int tls_new(struct tls_ctx *ctx, int fd, struct tls **ret_tls)
{
	struct tls *tls = calloc(1, sizeof(*tls));

	if (!tls)
		return -ENOMEM;
	tls->ctx = ctx;
	tls->fd = fd;
	tls->ssl = SSL_new(ctx->ssl_ctx);
	if (!tls->ssl || SSL_set_fd(tls->ssl, fd) != 1 || !tls_psk_begin(tls)) {
		ERR_clear_error();
		SSL_free(tls->ssl);
		free(tls);
		return -ENOMEM;
	}
	SSL_set_accept_state(tls->ssl);
	*ret_tls = tls;
	return 0;
}

void tls_close(struct tls *tls)
{
	ERR_clear_error();
	if (!tls->ssl)
		ktls_goodbye(tls);
	else if (SSL_is_init_finished(tls->ssl) && !tls->mid_record)
		SSL_shutdown(tls->ssl); /* if the socket takes it: nobody waits */
	ERR_clear_error();
	tls_psk_end(tls);
	SSL_free(tls->ssl);
	tls->ssl = NULL;
	tls->fd = -1;
}

void tls_free(struct tls *tls)
{
	free(tls);
}

const char *tls_why(const struct tls *tls)
{
	return tls->why;
}

const struct psk_identity *tls_identity(const struct tls *tls)
{
	return &tls->identity;
}

const char *tls_describe(const struct tls *tls)
{
	return tls->description;
}

/* --- Handshake -------------------------------------------------------------------------------- */

static enum tls_step done(struct tls *tls)
{
	const char *cipher = SSL_get_cipher_name(tls->ssl);
	int kernel;

	if (!tls->chosen || !SSL_session_reused(tls->ssl)) {
		snprintf(tls->why, sizeof(tls->why), "TLS without a pre-shared key");
		return TLS_FAILED; /* cannot be: we have no certificate */
	}
	kernel = ktls_take_over(tls);
	if (kernel < 0) {
		snprintf(tls->why, sizeof(tls->why), "TLS records in the kernel: %s",
			 strerror(-kernel));
		return TLS_FAILED;
	}
	snprintf(tls->description, sizeof(tls->description), "%s, records in %s", cipher,
		 kernel ? "the kernel" : "OpenSSL");
	tls_psk_end(tls);
	if (kernel) {
		SSL_free(tls->ssl);
		tls->ssl = NULL;
	}
	return TLS_DONE;
}

/* OpenSSL's reason goes behind what tls_psk.c found out about the identity. */
static enum tls_step failed(struct tls *tls, int error)
{
	const char *reason = ERR_reason_error_string(ERR_peek_error());
	size_t len = strlen(tls->why);

	if (error == SSL_ERROR_SYSCALL)
		reason = errno ? strerror(errno) : "the host closed the connection";
	snprintf(tls->why + len, sizeof(tls->why) - len, "%s%s",
		 len ? ": " : "TLS handshake: ", reason ? reason : "no reason");
	ERR_clear_error();
	return TLS_FAILED;
}

enum tls_step tls_handshake(struct tls *tls)
{
	int result, error;

	ERR_clear_error();
	errno = 0;
	result = SSL_do_handshake(tls->ssl);
	if (result == 1)
		return done(tls);
	error = SSL_get_error(tls->ssl, result);
	if (error == SSL_ERROR_WANT_READ)
		return TLS_WANT_READ;
	if (error == SSL_ERROR_WANT_WRITE)
		return TLS_WANT_WRITE;
	return failed(tls, error);
}

/* --- Records ---------------------------------------------------------------------------------- */

/* A host that has no more to say may just close its socket: PDUs tell themselves where they end. */
static bool host_has_left(int error)
{
	return error == SSL_ERROR_ZERO_RETURN ||
	       (error == SSL_ERROR_SSL &&
		ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING);
}

static ssize_t still_broken(const struct tls *tls)
{
	errno = tls->broken;
	return -1;
}

/* Why nothing moved: -1 with errno, or 0 when the host has ended its side. OpenSSL tells only once
 * what is wrong for good, perhaps behind bytes that did move. */
static ssize_t nothing(struct tls *tls, int result)
{
	static _Thread_local struct log_limit limit = LOG_LIMIT_INIT(20);
	int error = SSL_get_error(tls->ssl, result);

	if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
		errno = EAGAIN;
		return -1;
	}
	if (host_has_left(error))
		return 0;
	if (error == SSL_ERROR_SYSCALL) {
		tls->broken = errno ? errno : ECONNRESET;
	} else {
		const char *why = ERR_reason_error_string(ERR_peek_error());

		log_limited(&limit, LOG_LEVEL_INFO, "TLS: %s", why ? why : "no reason given");
		tls->broken = EPROTO;
	}
	return still_broken(tls);
}

/*
 * The answer to a KeyUpdate cannot be sent, because half a record is. Nothing more is read until it
 * has been: OpenSSL would answer a second one in the middle of the record, and fail for good.
 */
static bool answer_is_stuck(const struct tls *tls)
{
	return tls->mid_record && SSL_get_key_update_type(tls->ssl) != SSL_KEY_UPDATE_NONE;
}

ssize_t tls_readv(struct tls *tls, const struct iovec *iov, int n_iov)
{
	size_t total = 0;

	if (!tls->ssl)
		return ktls_readv(tls, iov, n_iov);
	if (tls->broken)
		return still_broken(tls);
	ERR_clear_error();
	for (int i = 0; i < n_iov; i++) {
		for (size_t at = 0; at < iov[i].iov_len;) {
			size_t n = 0;
			int result;

			tls->must_send_first = answer_is_stuck(tls);
			if (tls->must_send_first) {
				errno = EAGAIN;
				return total ? (ssize_t)total : -1;
			}
			errno = 0;
			result = SSL_read_ex(tls->ssl, (uint8_t *)iov[i].iov_base + at,
					     iov[i].iov_len - at, &n);
			if (result != 1) {
				ssize_t end = nothing(tls, result);

				tls->must_send_first = SSL_want_write(tls->ssl);
				return total ? (ssize_t)total : end;
			}
			at += n;
			total += n;
		}
	}
	return (ssize_t)total;
}

/* A place in an iovec. */
struct cursor {
	const struct iovec *iov;
	size_t n_iov, at;
};

static void advance(struct cursor *cursor, size_t len)
{
	while (len) {
		size_t part = num_min(len, cursor->iov->iov_len - cursor->at);

		cursor->at += part;
		len -= part;
		if (cursor->at == cursor->iov->iov_len) {
			cursor->iov++;
			cursor->n_iov--;
			cursor->at = 0;
		}
	}
}

/*
 * What goes into the next record: straight from its place if that fills one, otherwise copied
 * together, so that a response of three parts is not three records. A record that OpenSSL has begun
 * to send is offered again with the same bytes, even if there are more by now: with those OpenSSL
 * would begin a second record, and report both as taken only when both are sent; the host would
 * have seen the first one long before.
 */
static const void *gather(const struct tls *tls, const struct cursor *cursor, uint8_t *buf,
			  size_t *ret_len)
{
	const size_t most = tls->mid_record ? tls->mid_record : TLS_RECORD_MAX;
	struct cursor from = *cursor;
	size_t len = 0;

	if (from.iov->iov_len - from.at >= most) {
		*ret_len = most;
		return (const uint8_t *)from.iov->iov_base + from.at;
	}
	while (from.n_iov && len < most) {
		size_t part = num_min(from.iov->iov_len - from.at, most - len);

		memcpy(buf + len, (const uint8_t *)from.iov->iov_base + from.at, part);
		len += part;
		advance(&from, part);
	}
	*ret_len = len;
	return buf;
}

ssize_t tls_sendmsg(struct tls *tls, const struct msghdr *msg)
{
	static _Thread_local uint8_t buf[TLS_RECORD_MAX];
	struct cursor cursor = { .iov = msg->msg_iov, .n_iov = msg->msg_iovlen };
	size_t total = 0;

	if (!tls->ssl)
		return sendmsg(tls->fd, msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (tls->broken)
		return still_broken(tls);
	ERR_clear_error();
	while (cursor.n_iov) {
		size_t len, n = 0;
		const void *bytes = gather(tls, &cursor, buf, &len);
		int result;

		errno = 0;
		result = SSL_write_ex(tls->ssl, bytes, len, &n);
		if (result != 1) {
			bool ended = nothing(tls, result) == 0;

			tls->mid_record = errno == EAGAIN ? len : 0;
			if (total)
				return (ssize_t)total;
			if (ended)
				errno = EPIPE;
			return -1;
		}
		tls->mid_record = 0;
		total += n;
		advance(&cursor, n);
	}
	return (ssize_t)total;
}

/* Of half a record there is nothing to be read: the socket tells when the rest is there. */
bool tls_has_more(const struct tls *tls)
{
	return tls->ssl && SSL_pending(tls->ssl) > 0;
}

bool tls_is_mid_record(const struct tls *tls)
{
	return tls->mid_record != 0;
}

bool tls_must_send_first(const struct tls *tls)
{
	return tls->must_send_first;
}
