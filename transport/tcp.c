/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Listening, and the connections as a whole: how many there may be, how all of them end. Main
 * thread; see tcp.h.
 */
#include "transport/tcp.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "target/target.h"
#include "target/worker.h"
#include "transport/conn.h"
#include "transport/internal.h"
#include "transport/pages.h"
#include "transport/peers.h"
#include "transport/place.h"
#include "transport/sockopt.h"
#include "transport/tls.h"
#include "util/acceptor.h"
#include "util/clock.h"
#include "util/list.h"
#include "util/log.h"
#include "util/num.h"

#define BACKLOG      512
#define STOP_LOOK_MS 20

struct listener {
	LIST_ENTRY(listener) link;
	struct nvme_tcp *tcp;
	struct nvmet_port port;
	struct evconnlistener *ev;
	struct acceptor acceptor;
};

struct nvme_tcp {
	struct nvmet_target *target;
	struct tls_ctx *tls; /* NULL: no port has it */
	struct tcp_worker *workers;
	struct nvme_tcp_options options;
	struct place place;
	LIST_HEAD(, listener) listeners;
	struct peers peers;
	struct log_limit limit;

	struct event *stop_timer;
	bool forced;
	unsigned stop_left_ms;
	void (*stopped)(void *arg);
	void *stopped_arg;
};

struct nvmet_target *tcp_target(struct nvme_tcp *tcp)
{
	return tcp->target;
}

struct tls_ctx *tcp_tls(struct nvme_tcp *tcp)
{
	return tcp->tls;
}

/* --- Limits ----------------------------------------------------------------------------------- */

struct nvmet_peer_addr tcp_peer_addr(const struct sockaddr_storage *peer)
{
	struct nvmet_peer_addr addr = { 0 };

	if (peer->ss_family == AF_INET6) {
		memcpy(addr.bytes, &((const struct sockaddr_in6 *)peer)->sin6_addr, 16);
	} else if (peer->ss_family == AF_INET) {
		memset(addr.bytes + 10, 0xff, 2);
		memcpy(addr.bytes + 12, &((const struct sockaddr_in *)peer)->sin_addr, 4);
	}
	return addr;
}

void tcp_handshake_over(struct nvme_tcp *tcp, struct nvme_tcp_conn *conn)
{
	peers_handshake_over(&tcp->peers, &conn->queue.peer_addr);
}

void tcp_conn_over(struct nvme_tcp *tcp, struct nvme_tcp_conn *conn)
{
	peers_leave(&tcp->peers, &conn->queue.peer_addr, !conn->handshake_over);
	conn->tw->n_given--;
}

/* --- Accepting -------------------------------------------------------------------------------- */

static void start_on_worker(struct loop_msg *msg)
{
	conn_start(container_of(msg, struct nvme_tcp_conn, msg));
}

static void refuse(struct nvme_tcp *tcp, const struct nvmet_port *port,
		   const struct sockaddr_storage *addr, const char *why)
{
	char host[INET6_ADDRSTRLEN + 16] = "?"; /* the scope of a link-local one, too */

	tcp->target->refused.connections++;
	getnameinfo((const struct sockaddr *)addr, sizeof(*addr), host, sizeof(host), NULL, 0,
		    NI_NUMERICHOST);
	log_limited(&tcp->limit, LOG_LEVEL_WARN, "port %u: a connection of %s is refused: %s",
		    port->portid, host, why);
}

int tcp_admit(struct nvme_tcp *tcp, struct nvmet_port *port, int fd,
	      const struct sockaddr_storage *addr)
{
	unsigned n_workers = nvmet_target_n_usable_workers(tcp->target);
	struct tcp_worker *tw = place_conn(&tcp->place, n_workers, fd);
	const struct nvmet_peer_addr peer = tcp_peer_addr(addr);
	const char *why = peers_enter(&tcp->peers, &tcp->target->limits, &peer);
	struct nvme_tcp_conn *conn;

	if (why) {
		refuse(tcp, port, addr, why);
		return -EBUSY;
	}
	conn = conn_new(tcp, tw, port, fd, addr);
	if (!conn) {
		peers_leave(&tcp->peers, &peer, true);
		refuse(tcp, port, addr, strerror(ENOMEM));
		return -ENOMEM;
	}
	tw->n_given++;
	loop_post(&tw->worker->loop, &conn->msg, start_on_worker);
	return 0;
}

static void on_accept(struct evconnlistener *ev, evutil_socket_t fd, struct sockaddr *addr, int len,
		      void *arg)
{
	struct sockaddr_storage peer = { 0 };
	struct listener *listener = arg;

	(void)ev;
	acceptor_took(&listener->acceptor, fd);
	memcpy(&peer, addr, (size_t)len < sizeof(peer) ? (size_t)len : sizeof(peer));
	sockopt_accepted(fd, &listener->tcp->options);
	if (tcp_admit(listener->tcp, &listener->port, fd, &peer))
		close(fd);
}

/* --- Listening -------------------------------------------------------------------------------- */

static int bind_socket(const struct addrinfo *info, const struct nvme_tcp_options *options)
{
	const int on = 1;
	int fd = socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), err;

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (info->ai_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	sockopt_listening(fd, info->ai_family, options);
	if (bind(fd, info->ai_addr, info->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

/* What was bound, as discovery and the log tell it. */
static void describe_port(struct nvmet_port *port, int fd)
{
	struct sockaddr_storage addr = { 0 };
	socklen_t len = sizeof(addr);
	static const struct nvmet_peer_addr any4 = { { [10] = 0xff, 0xff } }, any6;
	struct nvmet_peer_addr bound;

	if (getsockname(fd, (struct sockaddr *)&addr, &len) < 0 ||
	    getnameinfo((struct sockaddr *)&addr, len, port->traddr, sizeof(port->traddr),
			port->trsvcid, sizeof(port->trsvcid), NI_NUMERICHOST | NI_NUMERICSERV))
		return;
	port->adrfam = addr.ss_family == AF_INET6 ? NVMF_ADRFAM_IPV6 : NVMF_ADRFAM_IPV4;
	bound = tcp_peer_addr(&addr);
	port->wildcard = nvmet_peer_same_addr(&bound, &any4) || nvmet_peer_same_addr(&bound, &any6);
}

static void listener_free(struct listener *listener)
{
	if (listener->ev)
		evconnlistener_free(listener->ev);
	acceptor_fini(&listener->acceptor);
	free(listener);
}

/* Takes over a listening socket. NULL: no memory; the socket is closed. */
static struct listener *listener_new(struct nvme_tcp *tcp, int fd, enum nvmet_tls_mode tls)
{
	struct event_base *base = tcp->target->loop->base;
	struct listener *listener = calloc(1, sizeof(*listener));
	char name[80];

	if (!listener) {
		close(fd);
		return NULL;
	}
	listener->tcp = tcp;
	listener->port.tls = tls;
	describe_port(&listener->port, fd);
	listener->ev = evconnlistener_new(base, on_accept, listener,
					  LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
	if (!listener->ev) {
		close(fd);
		listener_free(listener);
		return NULL;
	}
	snprintf(name, sizeof(name), "%s:%s", listener->port.traddr, listener->port.trsvcid);
	if (acceptor_init(&listener->acceptor, base, listener->ev, name)) {
		listener_free(listener);
		return NULL;
	}
	return listener;
}

int nvme_tcp_listen(struct nvme_tcp *tcp, const char *addr, const char *service,
		    enum nvmet_tls_mode tls)
{
	const struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
					.ai_socktype = SOCK_STREAM };
	struct listener *listener;
	struct addrinfo *info;
	int fd, err = getaddrinfo(addr, service, &hints, &info);

	if (err) {
		log_err("listen address %s port %s: %s", addr, service, gai_strerror(err));
		return -EINVAL;
	}
	fd = bind_socket(info, &tcp->options);
	freeaddrinfo(info);
	if (fd < 0) {
		log_err("cannot listen on %s port %s: %s%s", addr, service, strerror(-fd),
			acceptor_hint(-fd));
		return fd;
	}
	if (tls != NVMET_TLS_OFF && !tcp->tls && tls_ctx_new(tcp->target->keys, &tcp->tls)) {
		close(fd);
		return -ENOMEM;
	}
	listener = listener_new(tcp, fd, tls);
	if (!listener)
		return -ENOMEM;
	tcp->target->tls |= tls != NVMET_TLS_OFF;
	LIST_INSERT_HEAD(&tcp->listeners, listener, link);
	nvmet_target_add_port(tcp->target, &listener->port);
	return 0;
}

/* --- Start and stop --------------------------------------------------------------------------- */

static void stop_look(evutil_socket_t fd, short what, void *arg);

int nvme_tcp_new(struct nvmet_target *target, struct nvme_tcp **ret_tcp)
{
	struct nvme_tcp *tcp = calloc(1, sizeof(*tcp));

	if (!tcp)
		return -ENOMEM;
	tcp->target = target;
	tcp->limit = (struct log_limit)LOG_LIMIT_INIT(10);
	LIST_INIT(&tcp->listeners);
	tcp->workers = calloc(target->n_workers, sizeof(tcp->workers[0]));
	for (unsigned i = 0; tcp->workers && i < target->n_workers; i++) {
		struct tcp_worker *tw = &tcp->workers[i];

		tw->worker = &target->workers[i];
		LIST_INIT(&tw->conns);
		pages_init(tw);
		if (inbox_init(&tw->inbox, &tw->worker->recv_mem) < 0) {
			nvme_tcp_free(tcp);
			return -ENOMEM;
		}
	}
	tcp->place.workers = tcp->workers;
	tcp->stop_timer = evtimer_new(target->loop->base, stop_look, tcp);
	if (!tcp->workers || !tcp->stop_timer) {
		nvme_tcp_free(tcp);
		return -ENOMEM;
	}
	*ret_tcp = tcp;
	return 0;
}

void nvme_tcp_set_options(struct nvme_tcp *tcp, const struct nvme_tcp_options *options)
{
	tcp->options = *options;
	tcp->place.prefer_incoming_cpu = options->prefer_incoming_cpu;
}

static void close_listeners(struct nvme_tcp *tcp)
{
	struct listener *listener;

	while ((listener = LIST_FIRST(&tcp->listeners)) != NULL) {
		LIST_REMOVE(listener, link);
		nvmet_target_remove_port(tcp->target, &listener->port);
		listener_free(listener);
	}
}

void nvme_tcp_free(struct nvme_tcp *tcp)
{
	if (!tcp)
		return;
	must(tcp->peers.all.conns == 0);
	close_listeners(tcp);
	for (unsigned i = 0; tcp->workers && i < tcp->target->n_workers; i++)
		inbox_fini(&tcp->workers[i].inbox);
	if (tcp->stop_timer)
		event_free(tcp->stop_timer);
	free(tcp->workers);
	tls_ctx_free(tcp->tls);
	free(tcp);
}

static void drain_on_worker(struct loop_msg *msg)
{
	struct tcp_worker *tw = container_of(msg, struct tcp_worker, msg);
	struct nvme_tcp_conn *conn, *next;

	tw->draining = true;
	LIST_FOREACH_SAFE (conn, &tw->conns, link, next)
		conn_drain(conn);
}

static void close_on_worker(struct loop_msg *msg)
{
	struct tcp_worker *tw = container_of(msg, struct tcp_worker, close_msg);
	struct nvme_tcp_conn *conn, *next;

	LIST_FOREACH_SAFE (conn, &tw->conns, link, next)
		conn_close(conn, "the daemon stops");
}

static bool io_under_way(const struct nvme_tcp *tcp)
{
	for (unsigned i = 0; i < tcp->target->n_workers; i++) {
		if (counter_get(&tcp->workers[i].io_conns))
			return true;
	}
	return false;
}

/* Looks now and then whether the connections are gone; closes what is left when its
 * time is over. */
static void stop_look(evutil_socket_t fd, short what, void *arg)
{
	const struct timeval look = clock_timeval(STOP_LOOK_MS);
	struct nvme_tcp *tcp = arg;

	(void)fd;
	(void)what;
	if (tcp->peers.all.conns == 0) {
		tcp->stopped(tcp->stopped_arg);
		return;
	}
	tcp->stop_left_ms -= num_min(tcp->stop_left_ms, (unsigned)STOP_LOOK_MS);
	if (!tcp->forced && (tcp->stop_left_ms == 0 || !io_under_way(tcp))) {
		tcp->forced = true;
		for (unsigned i = 0; i < tcp->target->n_workers; i++)
			loop_post(&tcp->workers[i].worker->loop, &tcp->workers[i].close_msg,
				  close_on_worker);
	}
	evtimer_add(tcp->stop_timer, &look);
}

void nvme_tcp_stop(struct nvme_tcp *tcp, unsigned drain_ms, void (*stopped)(void *arg), void *arg)
{
	const struct timeval soon = clock_timeval(STOP_LOOK_MS);
	struct listener *listener;

	LIST_FOREACH (listener, &tcp->listeners, link) {
		acceptor_fini(&listener->acceptor); /* or it would end its rest */
		evconnlistener_disable(listener->ev);
	}
	tcp->stopped = stopped;
	tcp->stopped_arg = arg;
	tcp->stop_left_ms = drain_ms;
	for (unsigned i = 0; i < tcp->target->n_workers; i++)
		loop_post(&tcp->workers[i].worker->loop, &tcp->workers[i].msg, drain_on_worker);
	evtimer_add(tcp->stop_timer, &soon);
}
