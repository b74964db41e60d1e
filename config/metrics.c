/* SPDX-License-Identifier: BSD-3-Clause */
/* The metrics endpoint: the page of openmetrics.h, over http.h; see metrics.h. */
#include "config/metrics.h"

#include <errno.h>
#include <netdb.h>
#include <string.h>
#include <sys/socket.h>

#include "config/conf.h"
#include "config/daemon.h"
#include "config/http.h"
#include "config/openmetrics.h"
#include "util/acceptor.h"
#include "util/log.h"

#define TYPE "application/openmetrics-text; version=1.0.0; charset=utf-8"

static int write_page(void *arg, struct evbuffer *out)
{
	return openmetrics_write(arg, out);
}

/* What was bound: port 0 takes a free one. */
static void log_address(int fd)
{
	struct sockaddr_storage addr = { 0 };
	socklen_t len = sizeof(addr);
	char host[48], port[8];

	if (getsockname(fd, (struct sockaddr *)&addr, &len) == 0 &&
	    getnameinfo((const struct sockaddr *)&addr, len, host, sizeof(host), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV) == 0)
		log_info(addr.ss_family == AF_INET6 ? "metrics: http://[%s]:%s/metrics"
						    : "metrics: http://%s:%s/metrics",
			 host, port);
}

int metrics_new(struct daemon *daemon, const struct conf_listen *listen, struct http **ret_http)
{
	const struct http_page page = {
		.name = "metrics",
		.path = "/metrics",
		.type = TYPE,
		.write = write_page,
		.arg = daemon,
	};
	int err = http_new(daemon->loop.base, listen->addr, listen->port, &page, ret_http);

	if (err) {
		log_err("metrics: cannot listen on %s port %s: %s%s", listen->addr, listen->port,
			strerror(-err), acceptor_hint(-err));
		return err;
	}
	log_address(http_fd(*ret_http));
	return 0;
}
