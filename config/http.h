/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One page over HTTP: GET of one path, one request a connection, which then ends. Main
 * thread.
 *
 * It is there beside hosts' I/O, for a few that ask now and then, and must not become anybody's
 * lever: there are HTTP_MAX_CLIENTS connections, each of which may be silent for HTTP_IDLE_S and
 * lasts HTTP_CONNECTION_S at most, however busily bytes trickle. At the limit a new connection
 * takes the place of the oldest one: who asks at once is served, however many are silent.
 */
#ifndef NVMETD_CONFIG_HTTP_H
#define NVMETD_CONFIG_HTTP_H

#define HTTP_MAX_CLIENTS  8
#define HTTP_REQUEST_MAX  8192 /* bytes: its line and headers */
#define HTTP_IDLE_S       5
#define HTTP_CONNECTION_S 15

struct event_base;
struct evbuffer;
struct http;

struct http_page {
	const char *name; /* for the log */
	const char *path; /* "/metrics" */
	const char *type; /* Content-Type */
	/* Adds the page to `out`. 0 or -errno: the client is told of an internal error. */
	int (*write)(void *arg, struct evbuffer *out);
	void *arg;
};

/* Listens for one page, which is copied but for what it points to. SIGPIPE must be ignored. 0 or
 * -errno. */
int http_new(struct event_base *base, const char *addr, const char *port,
	     const struct http_page *page, struct http **ret_http);
/* The descriptor it listens at. */
int http_fd(const struct http *http);
/* Closes it and its connections. NULL is allowed. */
void http_free(struct http *http);

#endif
