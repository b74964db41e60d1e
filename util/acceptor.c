/* SPDX-License-Identifier: BSD-3-Clause */
/* A listener that rests when it is out of file descriptors; see acceptor.h. */
#include "util/acceptor.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <stdio.h>
#include <string.h>

#define REST_S 1

/* libevent gives its error callback the argument of the other one, and that may be somebody else's:
 * the HTTP server's. So they are looked up. */
static LIST_HEAD(, acceptor) acceptors = LIST_HEAD_INITIALIZER(acceptors);

static void rest_over(evutil_socket_t fd, short what, void *arg)
{
	struct acceptor *acceptor = arg;

	(void)fd;
	(void)what;
	evconnlistener_enable(acceptor->listener);
}

static void on_error(struct evconnlistener *listener, void *arg)
{
	const struct timeval rest = { .tv_sec = REST_S };
	const char *why = strerror(errno);
	struct acceptor *acceptor;

	(void)arg;
	LIST_FOREACH (acceptor, &acceptors, link) {
		if (acceptor->listener == listener)
			break;
	}
	if (!acceptor)
		return;
	log_limited(&acceptor->limit, LOG_LEVEL_ERR,
		    "%s: accept: %s (raise LimitNOFILE= or ulimit -n)", acceptor->name, why);
	evconnlistener_disable(listener);
	evtimer_add(acceptor->rest, &rest);
}

int acceptor_init(struct acceptor *acceptor, struct event_base *base,
		  struct evconnlistener *listener, const char *name)
{
	*acceptor = (struct acceptor){ .listener = listener, .limit = LOG_LIMIT_INIT(10) };
	snprintf(acceptor->name, sizeof(acceptor->name), "%s", name);
	acceptor->rest = evtimer_new(base, rest_over, acceptor);
	if (!acceptor->rest)
		return -ENOMEM;
	LIST_INSERT_HEAD(&acceptors, acceptor, link);
	evconnlistener_set_error_cb(listener, on_error);
	return 0;
}

void acceptor_fini(struct acceptor *acceptor)
{
	if (!acceptor->rest)
		return;
	LIST_REMOVE(acceptor, link);
	event_free(acceptor->rest);
	acceptor->rest = NULL;
}

const char *acceptor_hint(int number)
{
	switch (number) {
	case EADDRINUSE:
		return " (another program listens there: ss -ltnp)";
	case EADDRNOTAVAIL:
		return " (no interface of this machine has the address: ip address)";
	case EACCES:
		return " (a port below 1024 takes CAP_NET_BIND_SERVICE)";
	case EAFNOSUPPORT:
		return " (the kernel has no IPv6)";
	case EINVAL:
		return " (a link-local address names its interface: fe80::1%eth0)";
	default:
		return "";
	}
}
