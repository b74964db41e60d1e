/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * TLS records in the kernel (Documentation/networking/tls.rst): after the handshake the socket gets
 * both directions' keys. What is sent goes from the DMA pages into records without a copy of ours,
 * and nothing of the session is left in this process.
 */
#include <errno.h>
#include <linux/tls.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

#include "transport/tls_internal.h"
#include "util/check.h"
#include "util/log.h"

#ifndef TCP_ULP
#define TCP_ULP 31
#endif
#ifndef SOL_TLS
#define SOL_TLS 282
#endif

#define RECORD_ALERT     21
#define RECORD_HANDSHAKE 22
#define RECORD_DATA      23
#define ALERT_WARNING    1
#define CLOSE_NOTIFY     0

/* --- Keys ------------------------------------------------------------------------------------- */

union crypto_info {
	struct tls_crypto_info info;
	struct tls12_crypto_info_aes_gcm_128 gcm128;
	struct tls12_crypto_info_aes_gcm_256 gcm256;
	struct tls12_crypto_info_chacha20_poly1305 chacha20;
};

/* How the kernel names a suite, and where it wants the key and the IV's two parts. */
#define LAYOUT(type, member)                                           \
	{                                                              \
		type, sizeof(((union crypto_info *)0)->member),        \
			offsetof(union crypto_info, member.key),       \
			sizeof(((union crypto_info *)0)->member.key),  \
			offsetof(union crypto_info, member.salt),      \
			sizeof(((union crypto_info *)0)->member.salt), \
			offsetof(union crypto_info, member.iv),        \
			sizeof(((union crypto_info *)0)->member.iv),   \
	}
static const struct layout {
	uint16_t type;
	size_t size, key, key_len, salt, salt_len, iv, iv_len;
} layouts[] = {
	[TLS_SUITE_AES_128] = LAYOUT(TLS_CIPHER_AES_GCM_128, gcm128),
	[TLS_SUITE_AES_256] = LAYOUT(TLS_CIPHER_AES_GCM_256, gcm256),
	[TLS_SUITE_CHACHA20] = LAYOUT(TLS_CIPHER_CHACHA20_POLY1305, chacha20),
};

/* RFC 8446, 7.3: a traffic secret → key and IV; the sequence begins at 0. 0 or -EINVAL. */
static int make_info(const struct layout *layout, enum hash_id hash,
		     const struct tls_secret *secret, union crypto_info *crypto)
{
	uint8_t *bytes = (uint8_t *)crypto, iv[12];
	int err = -EINVAL;

	must(layout->salt_len + layout->iv_len == sizeof(iv));
	memset(crypto, 0, sizeof(*crypto));
	crypto->info.version = TLS_1_3_VERSION;
	crypto->info.cipher_type = layout->type;
	if (secret->len == hash_len(hash) &&
	    hkdf_expand_label(hash, secret->bytes, "key", NULL, 0, bytes + layout->key,
			      layout->key_len) == 0 &&
	    hkdf_expand_label(hash, secret->bytes, "iv", NULL, 0, iv, sizeof(iv)) == 0) {
		memcpy(bytes + layout->salt, iv, layout->salt_len);
		memcpy(bytes + layout->iv, iv + layout->salt_len, layout->iv_len);
		err = 0;
	}
	secret_wipe(iv, sizeof(iv));
	return err;
}

static int set_direction(struct tls *tls, int direction, const struct tls_secret *secret)
{
	union crypto_info crypto;
	const struct layout *layout = &layouts[tls->suite];
	int err = make_info(layout, tls_suites[tls->suite].hash, secret, &crypto);

	if (!err && setsockopt(tls->fd, SOL_TLS, direction, &crypto, (socklen_t)layout->size) < 0)
		err = -errno;
	secret_wipe(&crypto, sizeof(crypto));
	return err;
}

int ktls_take_over(struct tls *tls)
{
	int err;

	/* What OpenSSL has read beyond the handshake, the kernel would miss. */
	if (SSL_has_pending(tls->ssl) ||
	    setsockopt(tls->fd, SOL_TCP, TCP_ULP, "tls", sizeof("tls")) < 0)
		return 0;
	/* Without keys the socket is as it was. */
	if (set_direction(tls, TLS_RX, &tls->rx_secret))
		return 0;
	err = set_direction(tls, TLS_TX, &tls->tx_secret);
	return err ? err : 1;
}

/* --- Records ---------------------------------------------------------------------------------- */

static uint8_t record_type(struct msghdr *msg)
{
	const struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg);

	if (cmsg && cmsg->cmsg_level == SOL_TLS && cmsg->cmsg_type == TLS_GET_RECORD_TYPE)
		return *CMSG_DATA(cmsg);
	return RECORD_DATA;
}

/* Not data: an alert, or a handshake message. */
static ssize_t take_control(const struct iovec *iov, ssize_t n, uint8_t type)
{
	static _Thread_local struct log_limit limit = LOG_LIMIT_INIT(20);
	const uint8_t *bytes = iov->iov_base;
	/* An alert begins where data was awaited, of which one byte may have been missing. */
	const bool alert = type == RECORD_ALERT && n == 2 && iov->iov_len >= 2;

	if (alert && bytes[1] == CLOSE_NOTIFY)
		return 0;
	if (alert)
		log_limited(&limit, LOG_LEVEL_INFO, "TLS: alert %u from the host", bytes[1]);
	else if (type == RECORD_HANDSHAKE)
		log_limited(&limit, LOG_LEVEL_INFO,
			    "TLS: the host wants new record keys; the kernel's cannot be changed");
	errno = EPROTO;
	return -1;
}

ssize_t ktls_readv(struct tls *tls, const struct iovec *iov, int n_iov)
{
	char control[CMSG_SPACE(1)];
	struct iovec copy[2];
	struct msghdr msg = {
		.msg_iov = copy,
		.msg_iovlen = (size_t)n_iov,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	uint8_t type;
	ssize_t n;

	must(n_iov <= 2);
	memcpy(copy, iov, (size_t)n_iov * sizeof(iov[0]));
	n = recvmsg(tls->fd, &msg, MSG_DONTWAIT);
	if (n <= 0)
		return n;
	type = record_type(&msg);
	return type == RECORD_DATA ? n : take_control(iov, n, type);
}

void ktls_goodbye(struct tls *tls)
{
	static const uint8_t alert[] = { ALERT_WARNING, CLOSE_NOTIFY };
	union {
		char bytes[CMSG_SPACE(1)];
		struct cmsghdr header;
	} control = { .header = { .cmsg_level = SOL_TLS,
				  .cmsg_type = TLS_SET_RECORD_TYPE,
				  .cmsg_len = CMSG_LEN(1) } };
	uint8_t bytes[sizeof(alert)];
	struct iovec iov = { .iov_base = bytes, .iov_len = sizeof(bytes) };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};

	memcpy(bytes, alert, sizeof(bytes));
	*CMSG_DATA(&control.header) = RECORD_ALERT;
	if (sendmsg(tls->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		log_debug("TLS: no good-bye to the host: %s", strerror(errno));
}
