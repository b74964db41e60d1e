/* SPDX-License-Identifier: BSD-3-Clause */
/* A listener that rests when it is out of file descriptors; see acceptor.h. */
#include "util/acceptor.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "util/num.h"

#define REST_S 1

/* libevent has one argument for both callbacks of a listener, and it is the owner's: on_error()
 * must look its acceptor up. */
static LIST_HEAD(, acceptor) acceptors = LIST_HEAD_INITIALIZER(acceptors);

/* The first descriptor that is not for hosts; the limit may be changed while we run. */
static int first_kept(void)
{
	struct rlimit limit = { .rlim_cur = RLIM_INFINITY };

	getrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_cur > INT_MAX)
		return INT_MAX;
	return (int)(limit.rlim_cur - num_min(limit.rlim_cur / 4, (rlim_t)ACCEPTOR_KEPT));
}

static void rest(struct acceptor *acceptor)
{
	const struct timeval second = { .tv_sec = REST_S };

	evconnlistener_disable(acceptor->listener);
	evtimer_add(acceptor->rest, &second);
}

/* Whether a descriptor for hosts is free: the kernel hands out the lowest one. */
static bool hosts_have_one(const struct acceptor *acceptor)
{
	int fd = fcntl(evconnlistener_get_fd(acceptor->listener), F_DUPFD_CLOEXEC, 0);

	if (fd < 0)
		return false;
	close(fd);
	return fd < first_kept();
}

static void rest_over(evutil_socket_t fd, short what, void *arg)
{
	struct acceptor *acceptor = arg;

	(void)fd;
	(void)what;
	if ((acceptor->for_hosts && !hosts_have_one(acceptor)) ||
	    evconnlistener_enable(acceptor->listener) < 0)
		rest(acceptor);
}

void acceptor_took(struct acceptor *acceptor, int fd)
{
	acceptor->for_hosts = true;
	if (fd < first_kept())
		return;
	log_limited(&acceptor->limit, LOG_LEVEL_ERR,
		    "%s: accepting rests: the last file descriptors are not for hosts "
		    "(raise LimitNOFILE= or ulimit -n)",
		    acceptor->name);
	rest(acceptor);
}

static void on_error(struct evconnlistener *listener, void *arg)
{
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
	rest(acceptor);
}

int acceptor_init(struct acceptor *acceptor, struct event_base *base,
		  struct evconnlistener *listener, const char *name)
{
	*acceptor = (struct acceptor){ .listener = listener, .limit = LOG_LIMIT_INIT(10) };
	snprintf(acceptor->name, sizeof(acceptor->name), "%s", name);
	acceptor->rest = evtimer_new(base, rest_over, acceptor);
	if (!acceptor->rest)
		return -ENOMEM;
	/* A new listener does not say whether it listens: one that cannot be watched is returned
	 * all the same. To enable it once more is nothing, or does. */
	if (evconnlistener_enable(listener) < 0) {
		event_free(acceptor->rest);
		acceptor->rest = NULL;
		return -ENOMEM;
	}
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
