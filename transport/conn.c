/* SPDX-License-Identifier: BSD-3-Clause */
/* A connection's life: states, timers, the end; and the ops that the target calls. See conn.h. */
#include "transport/conn.h"

#include <errno.h>
#include <event2/event.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "target/ctrl.h"
#include "target/subsystem.h"
#include "target/target.h"
#include "target/transport.h"
#include "target/worker.h"
#include "transport/internal.h"
#include "transport/pages.h"
#include "transport/share.h"
#include "transport/sockopt.h"
#include "util/check.h"
#include "util/clock.h"
#include "util/log.h"

static const char *const state_names[] = {
	[CONN_TLS] = "TLS",   [CONN_ICREQ] = "ICREQ",   [CONN_LIVE] = "LIVE",
	[CONN_TERM] = "TERM", [CONN_CLOSED] = "CLOSED",
};

/* Where each may go, a bit each. A connection without TLS passes through CONN_TLS, too. */
static const unsigned state_next[] = {
	[CONN_TLS] = 1u << CONN_ICREQ | 1u << CONN_CLOSED,
	[CONN_ICREQ] = 1u << CONN_LIVE | 1u << CONN_TERM | 1u << CONN_CLOSED,
	[CONN_LIVE] = 1u << CONN_TERM | 1u << CONN_CLOSED,
	[CONN_TERM] = 1u << CONN_CLOSED,
	[CONN_CLOSED] = 0,
};

/* One worker's worth of what hosts can provoke. */
static _Thread_local struct log_limit peer_limit = LOG_LIMIT_INIT(20);

static void set_state(struct nvme_tcp_conn *conn, enum conn_state state, const char *why)
{
	must(state_next[conn->state] & 1u << state);
	log_debug("conn %s: %s -> %s%s%s%s", conn->queue.peer, state_names[conn->state],
		  state_names[state], why ? " (" : "", why ? why : "", why ? ")" : "");
	conn->state = state;
}

/* --- Timers ----------------------------------------------------------------------------------- */

#define TIMER_FAILED EV_READ /* what on_timer() is told then */
/* Bytes a second that must move, where bytes must move: a byte now and then is no progress. */
#define LEAST_RATE 1024

/* tcpi_bytes_acked is word 15 (64 bits each) of TCP_INFO; older headers of libc do not have it. */
#define BYTES_ACKED 15

/* Bytes that the host's end has acknowledged, by TCP_INFO. What the socket takes says less: it
 * takes nothing for long, and then much. */
static uint64_t acked(const struct nvme_tcp_conn *conn)
{
	uint64_t info[BYTES_ACKED + 1] = { 0 };
	socklen_t len = sizeof(info);

	getsockopt(conn->stream.fd, IPPROTO_TCP, TCP_INFO, info, &len); /* it is a TCP socket */
	return info[BYTES_ACKED];
}

static void arm(struct nvme_tcp_conn *conn, unsigned ms)
{
	const struct timeval timeout = clock_timeval(ms);

	conn->timer_armed = true;
	conn->timer_ms = ms;
	conn->rx_bytes_seen = conn->rx_bytes;
	conn->granted_seen = conn->n_receiving ? conn->granted_bytes : UINT64_MAX;
	conn->tx_acked_seen = conn->want_write ? acked(conn) : UINT64_MAX;
	/* Closed by on_timer(): whoever arms the timer goes on to use the connection. */
	if (evtimer_add(conn->timer, &timeout) < 0)
		event_active(conn->timer, TIMER_FAILED, 0);
}

/* Half a PDU is here, or half a fused pair. */
static bool is_mid_pdu(const struct nvme_tcp_conn *conn)
{
	return conn->rx != RX_HEADER || conn->header_len || conn->queue.fuse.first;
}

/* Whether the next bytes are the host's to send: the rest of that, or data that it was asked for.
 * Not while it is us who do not read. */
static bool awaits_host(const struct nvme_tcp_conn *conn)
{
	return !conn->rx_paused && !conn->rx_blocked && (conn->n_receiving || is_mid_pdu(conn));
}

/* Whether enough bytes moved since the timer was set, or it was set for something else. */
static bool enough(const struct nvme_tcp_conn *conn, uint64_t bytes, uint64_t seen)
{
	return seen == UINT64_MAX || bytes - seen >= (uint64_t)conn->timer_ms * LEAST_RATE / 1000;
}

/* Too little came of what is awaited. */
static bool stalled(const struct nvme_tcp_conn *conn, bool reads)
{
	if (!awaits_host(conn))
		return false;
	/* The R2T may be behind other answers that it is still reading. */
	if (conn->want_write && reads)
		return false;
	/* Sending commands is not sending the data that pages are held for. */
	return (is_mid_pdu(conn) && !enough(conn, conn->rx_bytes, conn->rx_bytes_seen)) ||
	       (conn->n_receiving && !enough(conn, conn->granted_bytes, conn->granted_seen));
}

/* A connection that has not connected a queue, or is in the middle of something. */
static void live_timer(struct nvme_tcp_conn *conn)
{
	bool reads;

	/* Its first Connect may have to wait for us; those that come after a refusal
	 * buy no time. */
	if (conn->queue.connecting && !conn->queue.refused) {
		arm(conn, conn->queue.target->limits.handshake_timeout_ms);
		return;
	}
	if (!conn->queue.live && !conn->handshake_over) {
		conn_close(conn, "no Connect in time");
		return;
	}
	reads = !conn->want_write || enough(conn, acked(conn), conn->tx_acked_seen);
	if (stalled(conn, reads))
		conn_close(conn, "the rest of a PDU or of a command's data did not come in time");
	else if (!reads)
		conn_close(conn, "it does not read what it is sent");
	else if (awaits_host(conn) || conn->rx_paused || conn->want_write)
		conn_expect(conn);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct nvme_tcp_conn *conn = arg;

	(void)fd;
	conn->timer_armed = false;
	if (what & TIMER_FAILED)
		conn_close(conn, "no memory for its timer");
	switch (conn->state) {
	case CONN_TLS:
		conn_close(conn, "no TLS handshake in time");
		break;
	case CONN_ICREQ:
		conn_close(conn, "no ICReq in time");
		break;
	case CONN_LIVE:
		live_timer(conn);
		break;
	case CONN_TERM:
	case CONN_CLOSED:
		conn_close(conn, NULL);
	}
}

void conn_expect(struct nvme_tcp_conn *conn)
{
	if (!conn->timer_armed)
		arm(conn, conn->queue.target->limits.pdu_timeout_ms);
}

/* --- The end ---------------------------------------------------------------------------------- */

/* CLOSED and released. */
static void free_on_main(struct loop_msg *msg)
{
	struct nvme_tcp_conn *conn = container_of(msg, struct nvme_tcp_conn, msg);

	tcp_conn_over(conn->tcp, conn);
	nvmet_queue_fini(&conn->queue);
	tls_free(conn->stream.tls);
	free(conn);
}

static void over(struct loop_task *task)
{
	struct nvme_tcp_conn *conn = container_of(task, struct nvme_tcp_conn, end_task);

	LIST_REMOVE(conn, link);
	pages_leave(conn);
	if (conn->handshake_over && conn->queue.qid != 0)
		counter_sub(&conn->tw->io_conns, 1);
	counter_sub(&conn->queue.worker->stats.connections, 1);
	loop_post(conn->queue.target->loop, &conn->msg, free_on_main);
}

/* At the end of the wake-up: whoever closed the connection is still on the stack and
 * looks at it. */
static void free_if_over(struct nvme_tcp_conn *conn)
{
	if (conn->state == CONN_CLOSED && conn->released)
		loop_defer(&conn->queue.worker->loop, &conn->end_task);
}

/* Neither the SSD nor the main thread knows the queue any more: pages may be used again. */
static void on_released(struct nvmet_queue *queue)
{
	struct nvme_tcp_conn *conn = container_of(queue, struct nvme_tcp_conn, queue);

	conn->released = true;
	cmd_slots_free(conn);
	free_if_over(conn);
}

/* Nothing more is taken from the host or done for it; the SSD's queue pair is given back. */
static void stop(struct nvme_tcp_conn *conn)
{
	pages_forget(conn);
	TAILQ_INIT(&conn->tx);
	conn->rx_cmd = NULL;
	conn->rx_paused = false;
	free(conn->stash);
	conn->stash = NULL;
	if (!conn->queue.releasing)
		nvmet_queue_release(&conn->queue, on_released);
}

static void free_event(struct event *event)
{
	if (event)
		event_free(event);
}

void conn_close(struct nvme_tcp_conn *conn, const char *why)
{
	if (conn->state == CONN_CLOSED)
		return;
	if (why)
		log_limited(&peer_limit, LOG_LEVEL_INFO, "conn %s: closed: %s", conn->queue.peer,
			    why);
	set_state(conn, CONN_CLOSED, why);
	loop_cancel(&conn->queue.worker->loop, &conn->rx_task);
	loop_cancel(&conn->queue.worker->loop, &conn->tx_task);
	loop_forget(&conn->queue.worker->loop, &conn->source);
	free_event(conn->read_event);
	free_event(conn->write_event);
	free_event(conn->timer);
	if (conn->stream.tls)
		tls_close(conn->stream.tls);
	close(conn->stream.fd);
	conn->stream.fd = -1;
	stop(conn);
	free_if_over(conn);
}

void conn_term(struct nvme_tcp_conn *conn, struct pdu_verdict verdict)
{
	if (conn->state != CONN_ICREQ && conn->state != CONN_LIVE)
		return;
	counter_add(&conn->queue.worker->stats.protocol_errors, 1);
	log_limited(&peer_limit, LOG_LEVEL_WARN,
		    "conn %s: protocol error: %s (FES %u, FEI %u) in a PDU of type %02xh",
		    conn->queue.peer, pdu_fes_name(verdict.fes), verdict.fes, verdict.fei,
		    conn->header[0]);
	set_state(conn, CONN_TERM, "protocol error");
	if (!tx_term(conn, verdict)) {
		sockopt_reset(conn->stream.fd);
		conn_close(conn, NULL);
		return;
	}
	stop(conn);
	arm(conn, conn->queue.target->limits.term_timeout_ms);
}

/* Commands that cannot end before the host sends more: data that it was asked for, the rest of a
 * capsule, the other half of a pair; and Disconnect, which ends behind these. */
static unsigned n_due_from_host(const struct nvme_tcp_conn *conn)
{
	bool in_capsule = conn->rx_cmd && conn->rx_cmd->state == CMD_CAPSULE;

	return conn->n_receiving + conn->queue.fuse.n_parked + in_capsule +
	       (conn->queue.disconnect != NULL);
}

void conn_drain(struct nvme_tcp_conn *conn)
{
	/* Until it is live the QID is the main thread's. */
	bool connected = conn->queue.live || conn->queue.disconnected;
	bool io = connected && conn->queue.qid != 0;

	/* No new commands: those that are still unread have not been acknowledged either. */
	if (!conn->draining && conn->state == CONN_LIVE && io)
		rx_stop(conn);
	conn->draining = true;
	if (conn->state == CONN_TERM || (io && conn->n_busy == n_due_from_host(conn)))
		conn_close(conn, NULL);
}

/* --- The handshake ---------------------------------------------------------------------------- */

/* The stream is ready for an ICReq, which may have come already. */
static void await_icreq(struct nvme_tcp_conn *conn, const char *why)
{
	set_state(conn, CONN_ICREQ, why);
	arm(conn, conn->queue.target->limits.handshake_timeout_ms);
	rx_readable(conn);
}

/* The first byte tells: a TLS record, or the type of an ICReq. False: not known yet,
 * or it is over. */
static bool wants_tls(struct nvme_tcp_conn *conn)
{
	uint8_t first;
	ssize_t n = recv(conn->stream.fd, &first, 1, MSG_PEEK | MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0) {
		conn_close(conn, n < 0 ? strerror(errno) : NULL);
		return false;
	}
	if (first != NVME_TCP_ICREQ)
		return true;
	if (conn->queue.port->tls == NVMET_TLS_REQUIRED) {
		counter_add(&conn->queue.worker->stats.tls_failures, 1);
		conn_close(conn, "it speaks no TLS, which this port requires");
	} else {
		await_icreq(conn, "no TLS");
	}
	return false;
}

/* Goes on with TLS, from the first byte to the end of its handshake. */
static void secure(struct nvme_tcp_conn *conn)
{
	if (!conn->stream.tls) {
		if (!wants_tls(conn))
			return;
		if (tls_new(tcp_tls(conn->tcp), conn->stream.fd, &conn->stream.tls)) {
			conn_close(conn, "no memory for TLS");
			return;
		}
	}
	switch (tls_handshake(conn->stream.tls)) {
	case TLS_DONE:
		conn->queue.tls = tls_identity(conn->stream.tls);
		conn->queue.tls_how = tls_describe(conn->stream.tls);
		await_icreq(conn, conn->queue.tls_how);
		break;
	case TLS_WANT_READ:
		break;
	case TLS_WANT_WRITE:
		if (event_add(conn->write_event, NULL) < 0)
			conn_close(conn, "no memory to wait for its socket");
		break;
	case TLS_FAILED:
		counter_add(&conn->queue.worker->stats.tls_failures, 1);
		log_limited(&peer_limit, LOG_LEVEL_WARN, "conn %s: %s", conn->queue.peer,
			    tls_why(conn->stream.tls));
		conn_close(conn, NULL);
		break;
	}
}

void conn_established(struct nvme_tcp_conn *conn, const struct nvme_tcp_icreq *icreq)
{
	set_state(conn, CONN_LIVE, "icreq ok");
	conn->limits.established = true;
	conn->hpda = icreq->hpda;
	tx_icresp(conn, icreq->dgst & (NVME_TCP_DGST_HEADER | NVME_TCP_DGST_DATA));
	conn->limits.hdgst = icreq->dgst & NVME_TCP_DGST_HEADER;
	conn->limits.ddgst = icreq->dgst & NVME_TCP_DGST_DATA;
	arm(conn, conn->queue.target->limits.handshake_timeout_ms);
}

static void handshake_over_on_main(struct loop_msg *msg)
{
	struct nvme_tcp_conn *conn = container_of(msg, struct nvme_tcp_conn, handshake_msg);

	tcp_handshake_over(conn->tcp, conn);
}

/* --- What the target calls -------------------------------------------------------------------- */

static struct nvme_tcp_conn *conn_of(struct nvmet_queue *queue)
{
	return container_of(queue, struct nvme_tcp_conn, queue);
}

static void op_queue_response(struct nvmet_req *req)
{
	struct nvme_tcp_cmd *cmd = cmd_of(req);

	if (cmd->conn->state == CONN_LIVE && !cmd->conn->queue.releasing)
		tx_response(cmd);
}

static void op_close(struct nvmet_queue *queue, const char *why)
{
	conn_close(conn_of(queue), why);
}

/* What the host sent last may be unread, with its FIN behind it: no read would tell of that yet,
 * and so the state of the socket is asked. */
static void op_look(struct nvmet_queue *queue)
{
	struct nvme_tcp_conn *conn = conn_of(queue);
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);

	if (queue->disconnected && !queue->disconnect) {
		conn_close(conn, "its host has disconnected it and comes anew");
		return;
	}
	if (conn->state == CONN_CLOSED ||
	    getsockopt(conn->stream.fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
		return;
	if (info.tcpi_state != TCP_ESTABLISHED)
		conn_close(conn, "its host has left it and comes anew");
}

static bool op_is_last(struct nvmet_queue *queue)
{
	return conn_of(queue)->n_busy == 1;
}

static void op_connected(struct nvmet_queue *queue)
{
	struct nvme_tcp_conn *conn = conn_of(queue);

	conn->handshake_over = true;
	if (queue->qid != 0) {
		counter_add(&conn->tw->io_conns, 1);
		if (conn->draining)
			rx_stop(conn); /* it is told that it is connected, and closed */
	}
	if (queue->ctrl->subsys->discovery)
		pages_to_discovery(conn);
	loop_post(queue->target->loop, &conn->handshake_msg, handshake_over_on_main);
	if (cmd_slots_make(conn, queue->entries))
		conn_close(conn, "no memory for its commands");
}

/* Waiting for pages, or for data that the R2T asked for: the SSD has not heard of it. */
static enum nvmet_abort_result op_abort(struct nvmet_queue *queue, uint16_t cid,
					struct nvmet_req **ret_req)
{
	struct nvme_tcp_conn *conn = conn_of(queue);

	for (unsigned i = 0; i < conn->n_used_cmds; i++) {
		struct nvme_tcp_cmd *cmd = &conn->cmds[i];

		if (cmd->state == CMD_FREE || cmd->state == CMD_SENDING || cmd->cid_conflict ||
		    le16_get(cmd->req.cmd.cid) != cid)
			continue;
		if (cmd->state == CMD_PAGES && cmd != conn->rx_cmd) {
			pages_wait_over(cmd);
			cmd->state = CMD_EXECUTING;
			nvmet_req_complete(&cmd->req, NVME_SC_ABORT_REQUESTED);
			return NVMET_ABORT_DONE;
		}
		if (cmd->state != CMD_EXECUTING) {
			/* The host may still send its data: that is taken in, then it is told. */
			cmd->aborted = true;
			return NVMET_ABORT_DONE;
		}
		*ret_req = &cmd->req;
		return NVMET_ABORT_EXECUTING;
	}
	return NVMET_ABORT_NOT_FOUND;
}

static const struct nvmet_transport_ops tcp_ops = {
	.queue_response = op_queue_response,
	.close = op_close,
	.look = op_look,
	.is_last = op_is_last,
	.connected = op_connected,
	.abort = op_abort,
};

/* --- Making and freeing ----------------------------------------------------------------------- */

static void set_names(struct nvme_tcp_conn *conn, const struct sockaddr_storage *peer)
{
	char host[INET6_ADDRSTRLEN + 1 + IF_NAMESIZE], port[8];
	struct sockaddr_storage local;
	socklen_t len = sizeof(local);

	if (getnameinfo((const struct sockaddr *)peer, sizeof(*peer), host, sizeof(host), port,
			sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV) == 0)
		snprintf(conn->queue.peer, sizeof(conn->queue.peer),
			 peer->ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
	if (getsockname(conn->stream.fd, (struct sockaddr *)&local, &len) == 0)
		getnameinfo((struct sockaddr *)&local, len, conn->queue.local_addr,
			    sizeof(conn->queue.local_addr), NULL, 0, NI_NUMERICHOST);
	conn->queue.peer_addr = tcp_peer_addr(peer);
}

struct nvme_tcp_conn *conn_new(struct nvme_tcp *tcp, struct tcp_worker *tw, struct nvmet_port *port,
			       int fd, const struct sockaddr_storage *peer)
{
	struct nvme_tcp_conn *conn = calloc(1, sizeof(*conn));

	if (!conn)
		return NULL;
	conn->tcp = tcp;
	conn->tw = tw;
	conn->stream.fd = fd;
	conn->state = port->tls == NVMET_TLS_OFF ? CONN_ICREQ : CONN_TLS;
	conn->queue.target = tcp_target(tcp);
	conn->queue.worker = tw->worker;
	conn->queue.ops = &tcp_ops;
	conn->queue.port = port;
	conn->limits.in_capsule_max = NVMET_ICD_IO;
	conn->limits.maxh2cdata = CONN_MAXH2CDATA;
	TAILQ_INIT(&conn->free_cmds);
	TAILQ_INIT(&conn->waiting);
	TAILQ_INIT(&conn->tx);
	rx_init(conn);
	tx_init(conn);
	loop_task_init(&conn->end_task, over);
	set_names(conn, peer);
	if (nvmet_queue_init(&conn->queue) || cmd_slots_make(conn, CONN_SLOTS_FIRST)) {
		nvmet_queue_fini(&conn->queue);
		free(conn);
		return NULL;
	}
	return conn;
}
_Static_assert(NVMET_ICD_IO == NVMET_ICD_ADMIN, "one in-capsule limit serves both kinds of queue");

static void take_in(struct nvme_tcp_conn *conn)
{
	if (conn->state == CONN_TLS)
		secure(conn);
	else
		rx_readable(conn);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct nvme_tcp_conn *conn = arg;

	(void)fd;
	(void)what;
	loop_traffic_from(&conn->queue.worker->loop, &conn->source);
	if (share_is_held_back(conn))
		rx_last(conn);
	else
		take_in(conn);
}

/* The loop tries it without having been told that there is something. */
static bool on_look(struct loop_source *source)
{
	struct nvme_tcp_conn *conn = container_of(source, struct nvme_tcp_conn, source);
	uint64_t before = conn->rx_bytes;

	take_in(conn);
	return conn->rx_bytes != before;
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct nvme_tcp_conn *conn = arg;

	(void)fd;
	(void)what;
	conn->want_write = false;
	loop_traffic(&conn->queue.worker->loop);
	if (conn->state == CONN_TLS) {
		secure(conn);
		return;
	}
	tx_flush(conn);
	rx_unblock(conn);
}

void conn_start(struct nvme_tcp_conn *conn)
{
	struct event_base *base = conn->queue.worker->loop.base;

	LIST_INSERT_HEAD(&conn->tw->conns, conn, link);
	counter_add(&conn->queue.worker->stats.connections, 1);
	conn->source.look = on_look;
	conn->read_event =
		event_new(base, conn->stream.fd, EV_READ | EV_PERSIST, on_readable, conn);
	conn->write_event = event_new(base, conn->stream.fd, EV_WRITE, on_writable, conn);
	conn->timer = evtimer_new(base, on_timer, conn);
	if (!conn->read_event || !conn->write_event || !conn->timer || pages_join(conn) ||
	    event_add(conn->read_event, NULL) < 0 || conn->tw->draining) {
		conn_close(conn, "the daemon cannot take it");
		return;
	}
	arm(conn, conn->queue.target->limits.handshake_timeout_ms);
}
