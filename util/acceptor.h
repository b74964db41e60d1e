/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a listener does when accept() fails, which it does when the process is out of file
 * descriptors: a connection that waits stays readable, so looking again at once would spin. It
 * rests for a second, and says why. And what to say of an address that cannot be listened on.
 *
 * Listeners of hosts rest before that: the last descriptors are kept for the few connections of
 * those who look after the daemon (control socket, metrics), and for SSDs that come back. Hosts
 * that wait do so in the kernel.
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
	bool keeps; /* it is one for hosts */
	struct log_limit limit;
	char name[80]; /* "port 1": for the log */
};

/* Takes over the listener's errors; the listener stays the caller's, and outlives this. 0 or
 * -ENOMEM. */
int acceptor_init(struct acceptor *acceptor, struct event_base *base,
		  struct evconnlistener *listener, const char *name);
/* For each connection that the listener of hosts brings, after acceptor_init(): rests when its
 * descriptor is one of the last. The connection itself may stay. */
void acceptor_took(struct acceptor *acceptor, int fd);
/* Before the listener is freed. One that is all zeroes is allowed. */
void acceptor_fini(struct acceptor *acceptor);
/* What to do about bind() or listen() of an IP address that failed with this errno, to be put
 * behind strerror(): " (…)", or "". */
const char *acceptor_hint(int number);

#endif
