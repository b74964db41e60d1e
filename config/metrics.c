/* SPDX-License-Identifier: BSD-3-Clause */
/* The metrics endpoint, on libevent's HTTP server; see metrics.h. */
#include "config/metrics.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "config/conf.h"
#include "config/daemon.h"
#include "config/openmetrics.h"
#include "util/acceptor.h"
#include "util/log.h"

#define IDLE_S      10
#define HEADERS_MAX 8192 /* bytes of a request */

#define TYPE        "application/openmetrics-text; version=1.0.0; charset=utf-8"

struct metrics {
	struct daemon *daemon;
	struct evhttp *http;
	struct acceptor acceptor;
};

static void on_metrics(struct evhttp_request *request, void *arg)
{
	const struct metrics *metrics = arg;
	struct evbuffer *out = evbuffer_new();

	if (!out || openmetrics_write(metrics->daemon, out)) {
		evhttp_send_error(request, HTTP_INTERNAL, "out of memory");
	} else {
		evhttp_add_header(evhttp_request_get_output_headers(request), "Content-Type", TYPE);
		evhttp_send_reply(request, HTTP_OK, "OK", out);
	}
	if (out)
		evbuffer_free(out);
}

/* What was bound: port 0 takes a free one. */
static void log_address(struct evhttp_bound_socket *bound)
{
	struct sockaddr_storage addr = { 0 };
	socklen_t len = sizeof(addr);
	char host[48], port[8];

	if (getsockname(evhttp_bound_socket_get_fd(bound), (struct sockaddr *)&addr, &len) == 0 &&
	    getnameinfo((const struct sockaddr *)&addr, len, host, sizeof(host), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV) == 0)
		log_info(addr.ss_family == AF_INET6 ? "metrics: http://[%s]:%s/metrics"
						    : "metrics: http://%s:%s/metrics",
			 host, port);
}

int metrics_new(struct daemon *daemon, const struct conf_listen *listen,
		struct metrics **ret_metrics)
{
	struct metrics *metrics = calloc(1, sizeof(*metrics));
	struct evhttp_bound_socket *bound;
	int err;

	if (!metrics)
		return -ENOMEM;
	metrics->daemon = daemon;
	metrics->http = evhttp_new(daemon->loop.base);
	if (!metrics->http) {
		free(metrics);
		return -ENOMEM;
	}
	evhttp_set_allowed_methods(metrics->http, EVHTTP_REQ_GET);
	evhttp_set_max_headers_size(metrics->http, HEADERS_MAX);
	evhttp_set_max_body_size(metrics->http, 0);
	evhttp_set_timeout(metrics->http, IDLE_S);
	errno = 0;
	bound = evhttp_bind_socket_with_handle(metrics->http, listen->addr,
					       (unsigned short)atoi(listen->port));
	if (!bound || evhttp_set_cb(metrics->http, "/metrics", on_metrics, metrics) ||
	    acceptor_init(&metrics->acceptor, daemon->loop.base,
			  evhttp_bound_socket_get_listener(bound), "metrics")) {
		err = errno ? -errno : -ENOMEM;
		log_err("metrics: cannot listen on %s port %s: %s%s", listen->addr, listen->port,
			strerror(-err), acceptor_hint(-err));
		metrics_free(metrics);
		return err;
	}
	log_address(bound);
	*ret_metrics = metrics;
	return 0;
}

void metrics_free(struct metrics *metrics)
{
	if (!metrics)
		return;
	acceptor_fini(&metrics->acceptor);
	evhttp_free(metrics->http);
	free(metrics);
}
