/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A listener that does not spin when the process is out of file descriptors. A connection that
 * cannot be accepted stays in the kernel's queue, so the listener stays readable; it rests for a
 * second instead of trying again at once, and logs why.
 *
 * Listeners for hosts rest earlier: the last descriptors are kept for those who look after the
 * daemon (control socket, metrics), and for SSDs that come back.
 *
 * Main thread.
 */
#ifndef NVMETD_UTIL_ACCEPTOR_H
#define NVMETD_UTIL_ACCEPTOR_H

#include <stdbool.h>
#include <sys/queue.h>

#include "util/log.h"

#define ACCEPTOR_KEPT 64 /* descriptors that hosts do not get; of few, a quarter */

struct event;
struct event_base;
struct evconnlistener;

struct acceptor {
	LIST_ENTRY(acceptor) link;
	struct evconnlistener *listener;
	struct event *rest;
	bool for_hosts; /* the last descriptors are not for its connections */
	struct log_limit limit;
	char name[80]; /* "port 1": for the log */
};

/* Takes over the listener's errors; the listener stays the caller's, and outlives this. 0 or
 * -ENOMEM. */
int acceptor_init(struct acceptor *acceptor, struct event_base *base,
		  struct evconnlistener *listener, const char *name);
/* For each connection of a listener for hosts, after acceptor_init(): the listener rests when `fd`
 * is one of the last descriptors. The connection itself may stay. */
void acceptor_took(struct acceptor *acceptor, int fd);
/* Before the listener is freed. One that is all zeroes is allowed. */
void acceptor_fini(struct acceptor *acceptor);
/* What to do about bind() or listen() of an IP address that failed with this errno, to be put
 * behind strerror(): " (…)", or "". */
const char *acceptor_hint(int number);

#endif
