/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * As much of an HTTP server as one page takes: GET and HEAD of one path, one request a connection,
 * which then ends. Main thread.
 *
 * It is there beside hosts' I/O, for a few that ask now and then, and must not become anybody's
 * lever: there are HTTP_MAX_CLIENTS connections, a request has HTTP_REQUEST_S to arrive in whole
 * and an answer HTTP_ANSWER_S to be taken in whole, however busily bytes trickle. At the limit a
 * new connection takes the place of the one that has owed its request for longest, or else of the
 * one that has taken its answer for longest: who is quick is served, however many are not.
 */
#ifndef NVMETD_CONFIG_HTTP_H
#define NVMETD_CONFIG_HTTP_H

#define HTTP_MAX_CLIENTS 8
#define HTTP_REQUEST_MAX 8192 /* bytes: its line, headers, and what ends them */
#define HTTP_REQUEST_S   5
#define HTTP_ANSWER_S    10

struct event_base;
struct evbuffer;
struct http;
struct sockaddr;

struct http_page {
	const char *name; /* for the log */
	const char *path; /* "/metrics" */
	const char *type; /* Content-Type */
	/* Adds the page to `out`. 0 or -errno: the client is told of an internal error. */
	int (*write)(void *arg, struct evbuffer *out);
	void *arg;
};

/* Listens at `addr`, for one page, which is copied but for what it points to. 0 or -errno. */
int http_new(struct event_base *base, const struct sockaddr *addr, int addr_len,
	     const struct http_page *page, struct http **ret_http);
/* The descriptor it listens at. */
int http_fd(const struct http *http);
/* Closes it and its connections. NULL is allowed. */
void http_free(struct http *http);

#endif
