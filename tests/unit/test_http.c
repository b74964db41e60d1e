/* SPDX-License-Identifier: BSD-3-Clause */
/* A page that is longer than what sockets hold, and one that cannot be made. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "config/http.h"

#define PAGE_SIZE (16u << 20)
#define REQUEST   "GET /page HTTP/1.1\r\n\r\n"

static struct event_base *base;
static struct http *http;
static bool out_of_memory;

static int write_page(void *arg, struct evbuffer *out)
{
	static const char part[4096];

	(void)arg;
	evbuffer_add(out, part, sizeof(part));
	if (out_of_memory)
		return -ENOMEM;
	for (size_t i = 1; i < PAGE_SIZE / sizeof(part); i++)
		assert_int_equal(evbuffer_add(out, part, sizeof(part)), 0);
	return 0;
}

static int set_up(void **state)
{
	const struct http_page page = {
		.name = "page", .path = "/page", .type = "text/plain", .write = write_page
	};

	(void)state;
	signal(SIGPIPE, SIG_IGN);
	out_of_memory = false;
	base = event_base_new();
	return base ? http_new(base, "127.0.0.1", "0", &page, &http) : -1;
}

static int tear_down(void **state)
{
	(void)state;
	http_free(http);
	event_base_free(base);
	return 0;
}

/* A client that has asked. */
static int ask(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in addr;
	socklen_t len = sizeof(addr);

	assert_int_equal(getsockname(http_fd(http), (struct sockaddr *)&addr, &len), 0);
	assert_int_equal(connect(fd, (const struct sockaddr *)&addr, len), 0);
	assert_int_equal(send(fd, REQUEST, strlen(REQUEST), MSG_NOSIGNAL), strlen(REQUEST));
	return fd;
}

/* Bytes until the server ends its side. The first are in `head`. */
static size_t read_all(int fd, char head[64])
{
	static char bytes[1 << 20];
	size_t len = 0;
	ssize_t n;

	head[0] = '\0';
	do {
		event_base_loop(base, EVLOOP_NONBLOCK);
		n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
		if (n > 0 && len == 0)
			snprintf(head, 64, "%.*s", (int)n, bytes);
		len += n > 0 ? (size_t)n : 0;
	} while (n > 0 || (n < 0 && errno == EAGAIN));
	assert_int_equal(n, 0);
	close(fd);
	return len;
}

/* Those that do not take their answer make way for one that does, which gets the whole of it. */
static void deaf(void **state)
{
	int clients[HTTP_MAX_CLIENTS];
	char head[64];

	(void)state;
	for (unsigned i = 0; i < HTTP_MAX_CLIENTS; i++) {
		clients[i] = ask();
		event_base_loop(base, EVLOOP_NONBLOCK);
	}
	for (unsigned i = 0; i < HTTP_MAX_CLIENTS; i++) {
		assert_true(read_all(ask(), head) > PAGE_SIZE);
		assert_memory_equal(head, "HTTP/1.1 200 OK\r\n", 17);
	}
	for (unsigned i = 0; i < HTTP_MAX_CLIENTS; i++)
		close(clients[i]);
}

/* It is an error, not a part of the page. */
static void no_memory(void **state)
{
	char head[64];

	(void)state;
	out_of_memory = true;
	assert_true(read_all(ask(), head) < 1000);
	assert_memory_equal(head, "HTTP/1.1 500 Internal Server Error\r\n", 36);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(deaf, set_up, tear_down),
		cmocka_unit_test_setup_teardown(no_memory, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
