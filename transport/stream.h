/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A connection's bytes: a socket's, or what TLS makes of them. Receiving and sending do not know
 * which. Worker.
 */
#ifndef NVMETD_TRANSPORT_STREAM_H
#define NVMETD_TRANSPORT_STREAM_H

#include <stddef.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "transport/tls.h"

struct stream {
	int fd;
	struct tls *tls; /* NULL: the socket's own bytes */
};

/* As readv(2) on a socket that does not block. */
static inline ssize_t stream_readv(struct stream *stream, const struct iovec *iov, int n_iov)
{
	if (__builtin_expect(stream->tls != NULL, 0))
		return tls_readv(stream->tls, iov, n_iov);
	return readv(stream->fd, iov, n_iov);
}

/* As sendmsg(2) on a socket that does not block. What it did not take must come first in the next
 * call, unchanged; more may follow it. */
static inline ssize_t stream_sendmsg(struct stream *stream, const struct msghdr *msg)
{
	if (__builtin_expect(stream->tls != NULL, 0))
		return tls_sendmsg(stream->tls, msg);
	return sendmsg(stream->fd, msg, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Bytes that have left the socket and were not read: no event will tell of them. */
static inline bool stream_has_more(const struct stream *stream)
{
	return stream->tls && tls_has_more(stream->tls);
}

/* readv gives nothing, whatever there is, before there is room in the socket: TLS has to send
 * something of its own first. Known once it gave nothing. */
static inline bool stream_must_send_first(const struct stream *stream)
{
	return stream->tls && tls_must_send_first(stream->tls);
}

/* Bytes that were given to sendmsg are half on their way, though it did not take them. */
static inline bool stream_is_mid_record(const struct stream *stream)
{
	return stream->tls && tls_is_mid_record(stream->tls);
}

#endif
