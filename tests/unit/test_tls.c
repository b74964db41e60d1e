/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Records in OpenSSL where only we see what happens: how a socket that takes next to nothing is
 * served. The handshake is OpenSSL's own at both ends, with a PSK of the test's.
 */
#include "tests/unit/unit.h"

#include <errno.h>
#include <openssl/err.h>
#include <sys/socket.h>
#include <unistd.h>

#include "transport/tls_internal.h"
#include "util/num.h"

#define FIRST 1000 /* bytes of a record that does not fill one */

struct pair {
	struct tls_ctx *ctx;
	struct tls *tls;
	SSL_CTX *host_ctx;
	SSL *host;
	int fds[2];  /* ours, the host's */
	size_t seen; /* bytes that the host has read */
};

static unsigned int server_psk(SSL *ssl, const char *identity, unsigned char *psk, unsigned int max)
{
	(void)ssl;
	(void)identity;
	memset(psk, 7, num_min(max, 32u));
	return 32;
}

static unsigned int host_psk(SSL *ssl, const char *hint, char *identity, unsigned int id_max,
			     unsigned char *psk, unsigned int max)
{
	(void)hint;
	assert_true(id_max > 1);
	memcpy(identity, "i", 2);
	return server_psk(ssl, identity, psk, max);
}

static SSL *new_host(SSL_CTX **ret_ctx, int fd)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	SSL *ssl;

	assert_non_null(ctx);
	assert_int_equal(SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256"), 1);
	SSL_CTX_set_psk_client_callback(ctx, host_psk);
	ssl = SSL_new(ctx);
	assert_non_null(ssl);
	assert_int_equal(SSL_set_fd(ssl, fd), 1);
	SSL_set_connect_state(ssl);
	*ret_ctx = ctx;
	return ssl;
}

/* Both ends, their handshake done, on sockets that hold a few KiB. */
static int setup(void **state)
{
	struct pair *pair = test_calloc(1, sizeof(*pair));
	int size = 1, ours = 0, theirs = 0;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair->fds), 0);
	assert_int_equal(tls_ctx_new(NULL, &pair->ctx), 0);
	SSL_CTX_set_client_hello_cb(pair->ctx->ssl_ctx, NULL, NULL);
	SSL_CTX_set_psk_find_session_callback(pair->ctx->ssl_ctx, NULL);
	SSL_CTX_set_psk_server_callback(pair->ctx->ssl_ctx, server_psk);
	assert_int_equal(tls_new(pair->ctx, pair->fds[0], &pair->tls), 0);
	pair->host = new_host(&pair->host_ctx, pair->fds[1]);
	for (int i = 0; i < 10 && (ours != 1 || theirs != 1); i++) {
		theirs = SSL_do_handshake(pair->host);
		ours = SSL_do_handshake(pair->tls->ssl);
	}
	ERR_clear_error();
	assert_int_equal(ours + theirs, 2);
	assert_int_equal(setsockopt(pair->fds[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)), 0);
	*state = pair;
	return 0;
}

static int teardown(void **state)
{
	struct pair *pair = *state;

	tls_close(pair->tls);
	tls_free(pair->tls);
	tls_ctx_free(pair->ctx);
	SSL_free(pair->host);
	SSL_CTX_free(pair->host_ctx);
	close(pair->fds[0]);
	close(pair->fds[1]);
	test_free(pair);
	return 0;
}

/* `first` bytes of one PDU, and `rest` of what is behind it. */
static ssize_t offer(struct pair *pair, size_t first, size_t rest)
{
	static uint8_t bytes[2 * TLS_RECORD_MAX];
	struct iovec iov[] = { { bytes, first }, { bytes, rest } };
	const struct msghdr msg = { .msg_iov = iov, .msg_iovlen = rest ? 2 : 1 };

	return tls_sendmsg(pair->tls, &msg);
}

static void host_reads(struct pair *pair)
{
	uint8_t bytes[4096];
	int n;

	while ((n = SSL_read(pair->host, bytes, sizeof(bytes))) > 0)
		pair->seen += (size_t)n;
	assert_int_equal(SSL_get_error(pair->host, n), SSL_ERROR_WANT_READ);
}

/* What the host has seen the end of is never still waiting to be sent: it may use the command's
 * identifier again. */
static void more_behind_a_blocked_record(void **state)
{
	struct pair *pair = *state;
	size_t taken = 0;
	ssize_t n;

	while ((n = offer(pair, FIRST, 0)) > 0)
		taken += (size_t)n;
	assert_int_equal(n, -1);
	assert_int_equal(errno, EAGAIN);
	assert_true(tls_is_mid_record(pair->tls));
	host_reads(pair);
	n = offer(pair, FIRST, 2 * TLS_RECORD_MAX); /* more than the socket takes */
	assert_true(n >= FIRST);
	assert_true(tls_is_mid_record(pair->tls));
	taken += (size_t)n;
	host_reads(pair);
	assert_true(pair->seen <= taken);
}

/* The host wants to see a new key of ours, and sends a byte behind that. */
static void host_updates(struct pair *pair)
{
	assert_int_equal(SSL_key_update(pair->host, SSL_KEY_UPDATE_REQUESTED), 1);
	assert_int_equal(SSL_write(pair->host, "x", 1), 1);
}

/* All that can be read now: bytes. */
static size_t read_all(struct pair *pair)
{
	uint8_t bytes[64];
	struct iovec iov = { bytes, sizeof(bytes) };
	size_t total = 0;

	/* Of one record that is no data nothing comes, and there may be more behind it. */
	for (int nothing = 0; nothing < 3 && !tls_must_send_first(pair->tls);) {
		ssize_t n = tls_readv(pair->tls, &iov, 1);

		if (n < 0)
			assert_int_equal(errno, EAGAIN);
		total += n > 0 ? (size_t)n : 0;
		nothing = n > 0 ? 0 : nothing + 1;
	}
	return total;
}

/* KeyUpdates come while a record waits for the host to read: they wait, too, and so does what is
 * behind them. */
static void key_updates_behind_a_blocked_record(void **state)
{
	struct pair *pair = *state;
	size_t came;

	while (offer(pair, FIRST, 0) > 0)
		;
	assert_true(tls_is_mid_record(pair->tls));
	for (int i = 0; i < 4; i++)
		host_updates(pair);
	came = read_all(pair);
	assert_true(came < 4);
	assert_true(tls_must_send_first(pair->tls));
	for (int i = 0; i < 20 && came < 4; i++) {
		ssize_t n;

		host_reads(pair);
		n = offer(pair, FIRST, 0);
		assert_true(n > 0 || errno == EAGAIN);
		pair->tls->must_send_first = false; /* there is room: it is tried */
		came += read_all(pair);
	}
	assert_int_equal(came, 4);
	host_reads(pair);
	assert_int_equal(offer(pair, FIRST, 0), FIRST);
}

/* The answer to a KeyUpdate finds the socket full: what else has come waits for it, and whoever
 * reads is told that it is in vain. */
static void answer_without_room(void **state)
{
	struct pair *pair = *state;

	while (send(pair->fds[0], "", 1, MSG_DONTWAIT) > 0)
		;
	host_updates(pair);
	assert_int_equal(read_all(pair), 1);
	assert_false(tls_must_send_first(pair->tls));
	host_updates(pair);
	assert_int_equal(read_all(pair), 0);
	assert_true(tls_must_send_first(pair->tls));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(more_behind_a_blocked_record, setup, teardown),
		cmocka_unit_test_setup_teardown(key_updates_behind_a_blocked_record, setup,
						teardown),
		cmocka_unit_test_setup_teardown(answer_without_room, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
