/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One page on libevent's HTTP server; see http.h.
 *
 * That server has no limit on connections, and its time limit is one of idle moments. But it lets
 * us make each connection's bufferevent. We keep a reference, so that we see when the connection
 * has gone (the server takes its callbacks off), and can hang up: the server then reads an end, and
 * takes the connection apart by itself.
 */
#include "config/http.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/listener.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "util/acceptor.h"
#include "util/clock.h"
#include "util/log.h"

struct client {
	struct bufferevent *bev; /* NULL: the place is free */
	uint64_t since_ns;
};

struct http {
	struct http_page page;
	struct evhttp *server;
	struct evconnlistener *listener;
	struct acceptor acceptor;
	struct event *breath; /* it is over: accept again */
	struct event *tick;   /* while there are connections */
	struct client clients[HTTP_MAX_CLIENTS];
	struct log_limit limit;
};

/* --- Places ----------------------------------------------------------------------------------- */

static bool has_gone(const struct client *client)
{
	bufferevent_event_cb on_event = NULL;

	bufferevent_getcb(client->bev, NULL, NULL, &on_event, NULL);
	return !on_event;
}

/* The descriptor is closed with the last reference, ours or the server's. */
static void leave_place(struct client *client)
{
	bufferevent_decref(client->bev);
	client->bev = NULL;
}

static void hang_up(struct client *client)
{
	shutdown(bufferevent_getfd(client->bev), SHUT_RDWR);
	leave_place(client);
}

static void clear_places(struct http *http, uint64_t now_ns)
{
	for (unsigned i = 0; i < HTTP_MAX_CLIENTS; i++) {
		struct client *client = &http->clients[i];

		if (client->bev && has_gone(client))
			leave_place(client);
		else if (client->bev &&
			 now_ns - client->since_ns > HTTP_CONNECTION_S * NSEC_PER_SEC)
			hang_up(client);
	}
}

static void start_tick(struct http *http)
{
	const struct timeval second = { .tv_sec = 1 };

	if (!evtimer_pending(http->tick, NULL))
		evtimer_add(http->tick, &second);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct http *http = arg;

	(void)fd;
	(void)what;
	clear_places(http, clock_now_ns());
	for (unsigned i = 0; i < HTTP_MAX_CLIENTS; i++) {
		if (http->clients[i].bev)
			start_tick(http);
	}
}

static struct client *take_place(struct http *http, uint64_t now_ns)
{
	struct client *oldest = &http->clients[0];

	clear_places(http, now_ns);
	for (unsigned i = 0; i < HTTP_MAX_CLIENTS; i++) {
		struct client *client = &http->clients[i];

		if (!client->bev)
			return client;
		if (client->since_ns < oldest->since_ns)
			oldest = client;
	}
	log_limited(&http->limit, LOG_LEVEL_WARN,
		    "%s: %u connections are there: the oldest one is closed", http->page.name,
		    HTTP_MAX_CLIENTS);
	hang_up(oldest);
	return oldest;
}

static void breath_over(evutil_socket_t fd, short what, void *arg)
{
	const struct timeval second = { .tv_sec = 1 };
	const struct http *http = arg;

	(void)fd;
	(void)what;
	if (evconnlistener_enable(http->listener) < 0)
		evtimer_add(http->breath, &second);
}

/* Accepts no more than one connection in a wake-up: requests that are here already are answered
 * before their connection may have to make way. */
static void take_breath(const struct http *http)
{
	const struct timeval none = { 0 };

	evconnlistener_disable(http->listener);
	evtimer_add(http->breath, &none);
}

/* The server has accepted a connection, and wants a bufferevent for it. */
static struct bufferevent *on_connection(struct event_base *base, void *arg)
{
	struct http *http = arg;
	uint64_t now_ns = clock_now_ns();
	struct client *client = take_place(http, now_ns);
	struct bufferevent *bev = bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);

	take_breath(http);
	if (!bev)
		return NULL; /* the server tries it, and fails as well */
	bufferevent_incref(bev);
	*client = (struct client){ .bev = bev, .since_ns = now_ns };
	start_tick(http);
	return bev;
}

/* --- The page --------------------------------------------------------------------------------- */

static void on_request(struct evhttp_request *request, void *arg)
{
	struct evkeyvalq *headers = evhttp_request_get_output_headers(request);
	const struct http *http = arg;
	struct evbuffer *out = evbuffer_new();

	if (!out || http->page.write(http->page.arg, out)) {
		evhttp_send_error(request, HTTP_INTERNAL, NULL);
	} else {
		evhttp_add_header(headers, "Content-Type", http->page.type);
		evhttp_add_header(headers, "Connection", "close");
		evhttp_send_reply(request, HTTP_OK, "OK", out);
	}
	if (out)
		evbuffer_free(out);
}

/* --- The server ------------------------------------------------------------------------------- */

static int configure(struct http *http, struct event_base *base)
{
	http->server = evhttp_new(base);
	http->breath = evtimer_new(base, breath_over, http);
	http->tick = evtimer_new(base, on_tick, http);
	if (!http->server || !http->breath || !http->tick)
		return -ENOMEM;
	evhttp_set_allowed_methods(http->server, EVHTTP_REQ_GET);
	evhttp_set_max_headers_size(http->server, HTTP_REQUEST_MAX);
	evhttp_set_max_body_size(http->server, 0);
	evhttp_set_timeout(http->server, HTTP_IDLE_S);
	evhttp_set_bevcb(http->server, on_connection, http);
	return evhttp_set_cb(http->server, http->page.path, on_request, http) ? -ENOMEM : 0;
}

static int listen_at(struct http *http, struct event_base *base, const char *addr, const char *port)
{
	struct evhttp_bound_socket *bound;

	errno = 0;
	bound = evhttp_bind_socket_with_handle(http->server, addr, (unsigned short)atoi(port));
	if (!bound)
		return errno ? -errno : -ENOMEM;
	http->listener = evhttp_bound_socket_get_listener(bound);
	return acceptor_init(&http->acceptor, base, http->listener, http->page.name);
}

int http_new(struct event_base *base, const char *addr, const char *port,
	     const struct http_page *page, struct http **ret_http)
{
	struct http *http = calloc(1, sizeof(*http));
	int err;

	if (!http)
		return -ENOMEM;
	http->page = *page;
	http->limit = (struct log_limit)LOG_LIMIT_INIT(10);
	err = configure(http, base);
	if (!err)
		err = listen_at(http, base, addr, port);
	if (err) {
		http_free(http);
		return err;
	}
	*ret_http = http;
	return 0;
}

int http_fd(const struct http *http)
{
	return evconnlistener_get_fd(http->listener);
}

void http_free(struct http *http)
{
	if (!http)
		return;
	acceptor_fini(&http->acceptor);
	if (http->server)
		evhttp_free(http->server);
	for (unsigned i = 0; i < HTTP_MAX_CLIENTS; i++) {
		if (http->clients[i].bev)
			leave_place(&http->clients[i]);
	}
	if (http->tick)
		event_free(http->tick);
	if (http->breath)
		event_free(http->breath);
	free(http);
}
