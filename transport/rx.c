/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Receiving: one large recv per wake-up into the worker's memory, all PDUs in it parsed, everything
 * submitted; doorbells are rung at the end of the wake-up (pcie/qpair.c), or once before (early.h).
 *
 * The memory it goes to is the worker's, not the connection's (inbox.h): a connection keeps only
 * the header it has half of, so an idle one costs no buffer. Data that is not yet there is received
 * straight into the command's pages, with room for what follows behind it in the same readv.
 *
 * Once a function here has closed or terminated the connection, its callers must not go on parsing:
 * they look at conn->state.
 */
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "target/io.h"
#include "target/latency.h"
#include "target/queue.h"
#include "target/worker.h"
#include "transport/conn.h"
#include "transport/digest.h"
#include "transport/early.h"
#include "transport/inbox.h"
#include "transport/pages.h"
#include "transport/share.h"
#include "util/log.h"
#include "util/num.h"

#define RECVS_PER_WAKEUP 4  /* then others get their turn */
#define TOLD_IN_LINE     16 /* wake-ups: to be told more often costs more than two epoll_ctl */
#define USUAL_HEADER     ((uint32_t)sizeof(struct nvme_tcp_capsule_cmd))

static bool parsing(const struct nvme_tcp_conn *conn)
{
	return conn->state == CONN_LIVE || conn->state == CONN_ICREQ;
}

/* The loop may not tell of it any more: it has stood in line for long. */
static void on_task(struct loop_task *task)
{
	struct nvme_tcp_conn *conn = container_of(task, struct nvme_tcp_conn, rx_task);

	if (event_add(conn->read_event, NULL) < 0)
		conn_close(conn, "no memory to read on");
	else
		rx_readable(conn);
}

void rx_init(struct nvme_tcp_conn *conn)
{
	loop_task_init(&conn->rx_task, on_task);
}

void rx_last(struct nvme_tcp_conn *conn)
{
	struct loop *loop = &conn->queue.worker->loop;

	if (loop_waited(loop, &conn->rx_task) > TOLD_IN_LINE)
		event_del(conn->read_event);
	else
		loop_defer_last(loop, &conn->rx_task);
}

void rx_stop(struct nvme_tcp_conn *conn)
{
	struct loop *loop = &conn->queue.worker->loop;

	event_del(conn->read_event);
	loop_cancel(loop, &conn->rx_task);
	loop_forget(loop, &conn->source);
}

/* --- Commands --------------------------------------------------------------------------------- */

/* All data of the command has come, or none was due: it runs. */
static void cmd_ready(struct nvme_tcp_cmd *cmd)
{
	cmd->state = CMD_EXECUTING;
	nvmet_latency_in(&cmd->req);
	if (cmd->ddgst_error)
		nvmet_req_complete(&cmd->req, NVME_SC_TRANSIENT_TRANSPORT);
	else if (cmd->aborted)
		nvmet_req_complete(&cmd->req, NVME_SC_ABORT_REQUESTED);
	else if (cmd->refused)
		nvmet_req_complete(&cmd->req, cmd->refused);
	else
		cmd->req.execute(&cmd->req);
}

static void receive_capsule_data(struct nvme_tcp_conn *conn, struct nvme_tcp_cmd *cmd)
{
	cmd->state = CMD_CAPSULE;
	conn->rx = RX_DATA;
	conn->rx_cmd = cmd;
	conn->rx_left = conn->shape.data_len;
	conn->rx_crc = DIGEST_INIT;
}

static void ask_for_data(struct nvme_tcp_cmd *cmd)
{
	cmd->state = CMD_R2T;
	cmd->conn->n_receiving++;
	tx_r2t(cmd);
	conn_expect(cmd->conn);
}

static void resume(struct nvme_tcp_conn *conn);

void conn_pages_granted(struct nvme_tcp_cmd *cmd)
{
	struct nvme_tcp_conn *conn = cmd->conn;

	if (cmd->req.dir == NVMET_DIR_READ) {
		cmd_ready(cmd);
	} else if (cmd == conn->rx_cmd) {
		receive_capsule_data(conn, cmd);
		resume(conn);
	} else {
		ask_for_data(cmd);
	}
}

/* Data that is all here stays where it is: no pages, no copy. Only a write's: others look at their
 * data themselves, or keep it for long. */
static bool take_in_place(struct nvme_tcp_cmd *cmd)
{
	struct nvme_tcp_conn *conn = cmd->conn;
	uint32_t len = conn->shape.data_len;
	struct dma_buf lent;

	if (cmd->req.cmd.opcode != NVME_IO_WRITE || !share_counts(conn) || cmd->req.fuse ||
	    conn->behind_len < len || len != cmd->req.transfer_len ||
	    !inbox_lend(&conn->tw->inbox, conn->behind, len, nvmet_io_data_align(&cmd->req), &lent))
		return false;
	pages_give_back(cmd);
	cmd->req.data = lent;
	cmd->in_place = true;
	return true;
}

/* The command is fine: its memory, then its data, then its turn. */
static void start_command(struct nvme_tcp_conn *conn, struct nvme_tcp_cmd *cmd)
{
	bool in_capsule = conn->shape.data_len > 0;

	if (cmd->req.transfer_len == 0) {
		cmd_ready(cmd);
		return;
	}
	if (in_capsule)
		conn->rx_cmd = cmd; /* also while it waits for pages */
	if (!(in_capsule && take_in_place(cmd)) && !pages_get(cmd)) {
		conn->rx_paused = in_capsule;
		return;
	}
	if (cmd->req.dir == NVMET_DIR_READ)
		cmd_ready(cmd);
	else if (in_capsule)
		receive_capsule_data(conn, cmd);
	else
		ask_for_data(cmd);
}

/* The answer waits for the rest of the capsule: a host that is told earlier may free the memory
 * that it is still sending from. */
static void refuse(struct nvme_tcp_conn *conn, struct nvme_tcp_cmd *cmd, uint16_t status)
{
	if (!conn->shape.data_len) {
		nvmet_req_complete(&cmd->req, status);
		return;
	}
	cmd->refused = status;
	cmd->state = CMD_CAPSULE;
	conn->rx = RX_SKIP;
	conn->rx_cmd = cmd;
	conn->rx_left = conn->shape.data_len;
}

static void take_command(struct nvme_tcp_conn *conn)
{
	const struct nvme_tcp_capsule_cmd *pdu = (const void *)conn->header;
	uint16_t cid = le16_get(pdu->sqe.cid);
	struct nvme_tcp_cmd *cmd = cmd_take(conn);
	uint16_t status;

	if (!cmd) {
		/* More commands than its queue has entries: there is no answer to
		 * those but this. */
		conn_term(conn, (struct pdu_verdict){ .term = true, .fes = NVME_TCP_FES_SEQUENCE });
		return;
	}
	cmd->req.cmd = pdu->sqe;
	cmd->req.data.va = NULL;
	nvmet_latency_begin(&cmd->req);
	status = nvmet_req_parse(&cmd->req, conn->shape.data_len);
	if (nvmet_queue_cid_test(&conn->queue, cid)) {
		cmd->cid_conflict = true;
		status = NVME_SC_CID_CONFLICT | NVME_STATUS_DNR;
	}
	nvmet_queue_cid_set(&conn->queue, cid);
	cmd->state = CMD_EXECUTING;
	conn->last_transfer = cmd->req.transfer_len;
	if (status) {
		refuse(conn, cmd, status);
		return;
	}
	start_command(conn, cmd);
}

static void take_data(struct nvme_tcp_conn *conn)
{
	const struct nvme_tcp_data *data = (const void *)conn->header;
	unsigned ttag = le16_get(data->ttag);
	struct nvme_tcp_cmd *cmd = ttag < conn->n_used_cmds ? &conn->cmds[ttag] : NULL;
	struct pdu_verdict verdict;

	/* A tag of ours, of a write whose R2T has left. */
	if (!cmd || cmd->state != CMD_R2T || !cmd->r2t_sent) {
		conn_term(conn,
			  (struct pdu_verdict){ .term = true,
						.fes = NVME_TCP_FES_INVALID_HEADER,
						.fei = offsetof(struct nvme_tcp_data, ttag) });
		return;
	}
	verdict = pdu_check_h2c_data(data, &conn->shape, &conn->limits, cmd->req.cmd.cid,
				     cmd->received, cmd->req.transfer_len);
	if (verdict.term) {
		conn_term(conn, verdict);
		return;
	}
	take_in_place(cmd); /* its pages were needed to ask for the data */
	conn->rx = RX_DATA;
	conn->rx_cmd = cmd;
	conn->rx_left = conn->shape.data_len;
	conn->rx_crc = DIGEST_INIT;
}

/* All data of a PDU is here and, if there is one, its digest was checked. */
static void data_pdu_over(struct nvme_tcp_conn *conn)
{
	struct nvme_tcp_cmd *cmd = conn->rx_cmd;

	conn->rx = RX_HEADER;
	conn->rx_cmd = NULL;
	if (!cmd)
		return;
	counter_add(&conn->queue.worker->stats.bytes_in, conn->shape.data_len);
	if (!cmd->refused && cmd->received < cmd->req.transfer_len)
		return;
	if (cmd->state == CMD_R2T && --conn->n_receiving == 0)
		conn->granted_seen = UINT64_MAX;
	cmd_ready(cmd);
}

static void data_over(struct nvme_tcp_conn *conn)
{
	if (conn->shape.has_ddgst) {
		conn->rx = RX_DDGST;
		conn->rx_ddgst_len = 0;
	} else {
		data_pdu_over(conn);
	}
}

/* A wrong data digest costs the command, not the connection (TCP 3.5.2). */
static void ddgst_over(struct nvme_tcp_conn *conn)
{
	static _Thread_local struct log_limit limit = LOG_LIMIT_INIT(5);

	if (conn->rx_cmd && !conn->rx_cmd->refused &&
	    digest_final(conn->rx_crc) != le32_load(conn->rx_ddgst)) {
		log_limited(&limit, LOG_LEVEL_WARN, "conn %s: data digest error in command %04xh",
			    conn->queue.peer, le16_get(conn->rx_cmd->req.cmd.cid));
		conn->rx_cmd->ddgst_error = true;
	}
	data_pdu_over(conn);
}

/* --- The stream ------------------------------------------------------------------------------- */

static void host_terminated(struct nvme_tcp_conn *conn)
{
	const struct nvme_tcp_term *pdu = (const void *)conn->header;
	static _Thread_local struct log_limit limit = LOG_LIMIT_INIT(5);

	log_limited(&limit, LOG_LEVEL_WARN, "conn %s: the host ended it: %s (FES %u, FEI %u)",
		    conn->queue.peer, pdu_fes_name(le16_get(pdu->fes)), le16_get(pdu->fes),
		    le32_load(pdu->fei));
	conn_close(conn, NULL);
}

/* A whole header is here, digest and padding included. */
static void take_header(struct nvme_tcp_conn *conn)
{
	const struct nvme_tcp_ch *ch = (const void *)conn->header;
	struct pdu_verdict verdict = { .term = false };

	if (conn->limits.hdgst && ch->type != NVME_TCP_H2C_TERM) /* which never has one */
		verdict = pdu_check_hdgst(conn->header);
	else if (ch->type == NVME_TCP_ICREQ)
		verdict = pdu_check_icreq((const void *)conn->header);
	if (verdict.term) {
		conn_term(conn, verdict);
		return;
	}
	conn->header_len = 0;
	conn->rx_bytes_seen = UINT64_MAX; /* what follows has its own time */
	switch (ch->type) {
	case NVME_TCP_ICREQ:
		conn_established(conn, (const void *)conn->header);
		break;
	case NVME_TCP_H2C_TERM:
		host_terminated(conn);
		break;
	case NVME_TCP_CAPSULE_CMD:
		take_command(conn);
		break;
	default:
		take_data(conn);
	}
}

/* The common header is here: it tells how long the whole one is. False: it is not one. */
static bool look_at_ch(struct nvme_tcp_conn *conn)
{
	struct pdu_verdict verdict =
		pdu_check_ch((const void *)conn->header, &conn->limits, &conn->shape);

	if (verdict.term && conn->header[0] == NVME_TCP_H2C_TERM)
		conn_close(conn, "a malformed H2CTermReq"); /* TCP 3.5.1: not answered */
	else if (verdict.term)
		conn_term(conn, verdict);
	return !verdict.term;
}

/* A header in one piece, as nearly all are: copied once, by a length that the compiler knows. */
static size_t feed_whole_header(struct nvme_tcp_conn *conn, const uint8_t *bytes, size_t len)
{
	uint32_t part;

	memcpy(conn->header, bytes, USUAL_HEADER);
	conn->header_len = sizeof(struct nvme_tcp_ch);
	if (!look_at_ch(conn))
		return USUAL_HEADER;
	conn->header_len = part = num_min(conn->shape.header_len, USUAL_HEADER);
	conn->behind = bytes + part;
	conn->behind_len = len - part;
	if (part == conn->shape.header_len)
		take_header(conn);
	return part;
}

/* Collects header bytes; returns how many were used. */
static size_t feed_header(struct nvme_tcp_conn *conn, const uint8_t *bytes, size_t len)
{
	uint32_t wanted = conn->header_len < sizeof(struct nvme_tcp_ch)
				  ? (uint32_t)sizeof(struct nvme_tcp_ch)
				  : conn->shape.header_len;
	size_t part = num_min(len, (size_t)(wanted - conn->header_len));

	if (!conn->header_len) {
		if (len >= USUAL_HEADER)
			return feed_whole_header(conn, bytes, len);
		conn->rx_bytes_seen = UINT64_MAX;
	}
	memcpy(conn->header + conn->header_len, bytes, part);
	conn->behind = bytes + part;
	conn->behind_len = len - part;
	conn->header_len += (uint32_t)part;
	if (conn->header_len < wanted)
		return part;
	if (wanted > sizeof(struct nvme_tcp_ch))
		take_header(conn);
	else
		look_at_ch(conn);
	return part;
}

/* Bytes that one recv had already taken in: the only payload that is ever copied, unless it is
 * where the SSD may take it. */
static size_t feed_data(struct nvme_tcp_conn *conn, const uint8_t *bytes, size_t len)
{
	size_t part = num_min(len, (size_t)conn->rx_left);
	struct nvme_tcp_cmd *cmd = conn->rx_cmd;

	if (conn->rx == RX_DATA) {
		uint8_t *to = (uint8_t *)cmd->req.data.va + cmd->received;

		if (bytes != to)
			memcpy(to, bytes, part);
		if (conn->limits.ddgst)
			conn->rx_crc = digest_update(conn->rx_crc, to, part);
		cmd->received += (uint32_t)part;
		if (cmd->state == CMD_R2T)
			conn->granted_bytes += part;
	}
	conn->rx_left -= (uint32_t)part;
	if (!conn->rx_left)
		data_over(conn);
	return part;
}

static size_t feed_ddgst(struct nvme_tcp_conn *conn, const uint8_t *bytes, size_t len)
{
	size_t part = num_min(len, (size_t)(NVME_TCP_DIGEST_SIZE - conn->rx_ddgst_len));

	memcpy(conn->rx_ddgst + conn->rx_ddgst_len, bytes, part);
	conn->rx_ddgst_len += (uint32_t)part;
	if (conn->rx_ddgst_len == NVME_TCP_DIGEST_SIZE)
		ddgst_over(conn);
	return part;
}

/* Keeps what a paused connection has already read. Only when pages run out: not the usual path. */
static void stash(struct nvme_tcp_conn *conn, const uint8_t *bytes, size_t len)
{
	uint8_t *copy = len ? malloc(len) : NULL;

	rx_stop(conn);
	if (len && !copy) {
		conn_close(conn, "no memory to keep what it sent");
		return;
	}
	if (len)
		memcpy(copy, bytes, len);
	free(conn->stash);
	conn->stash = copy;
	conn->stash_len = len;
}

/* `early`: bytes after which what came so far is answered; 0: with the rest. */
static void feed(struct nvme_tcp_conn *conn, const uint8_t *bytes, size_t len, size_t early)
{
	const uint8_t *rest = bytes + early;

	while (len && parsing(conn)) {
		size_t used;

		if (conn->rx_paused) {
			stash(conn, bytes, len);
			return;
		}
		if (conn->rx == RX_HEADER)
			used = feed_header(conn, bytes, len);
		else if (conn->rx == RX_DDGST)
			used = feed_ddgst(conn, bytes, len);
		else
			used = feed_data(conn, bytes, len);
		bytes += used;
		len -= used;
		if (early && bytes >= rest) {
			early = 0;
			early_answer(conn);
		}
	}
	if (parsing(conn) && conn->rx_paused)
		stash(conn, NULL, 0);
}

/* TLS may have taken more off the socket than was asked of it. */
static void look_again(struct nvme_tcp_conn *conn)
{
	if (parsing(conn) && !conn->rx_paused && !conn->rx_blocked &&
	    stream_has_more(&conn->stream))
		event_active(conn->read_event, EV_READ, 0);
}

/* Of a connection that is drained, only the rest of what it has begun. */
static void read_on(struct nvme_tcp_conn *conn)
{
	if (conn->draining && conn->queue.live && conn->queue.qid != 0 && conn->rx == RX_HEADER)
		return;
	if (parsing(conn) && !conn->rx_paused && event_add(conn->read_event, NULL) < 0)
		conn_close(conn, "no memory to read on");
	look_again(conn);
}

/* The socket would go on telling of bytes that cannot be read yet. */
static void block(struct nvme_tcp_conn *conn)
{
	conn->rx_blocked = true;
	rx_stop(conn);
	if (!conn->want_write)
		tx_await_room(conn);
}

void rx_unblock(struct nvme_tcp_conn *conn)
{
	if (!conn->rx_blocked)
		return;
	conn->rx_blocked = false;
	conn->rx_bytes_seen = conn->granted_seen = UINT64_MAX; /* that nothing came was our doing */
	read_on(conn);
}

/* Pages for the in-capsule data that the receiver waits for have come. */
static void resume(struct nvme_tcp_conn *conn)
{
	uint8_t *bytes = conn->stash;
	size_t len = conn->stash_len;

	conn->rx_paused = false;
	conn->rx_bytes_seen = UINT64_MAX; /* that nothing came meanwhile was our doing */
	conn->granted_seen = UINT64_MAX;
	conn->stash = NULL;
	conn->stash_len = 0;
	feed(conn, bytes, len, 0);
	free(bytes);
	if (conn->draining)
		conn_drain(conn); /* what is still under way may be all the host's to send */
	read_on(conn);
}

/* One read: [rest of the data that is coming] [the worker's memory]. Returns false when it is
 * empty. */
static bool receive(struct nvme_tcp_conn *conn)
{
	bool held_back = share_is_held_back(conn);
	size_t buf_len = held_back ? share_recv_bytes(conn) : INBOX_ROOM, direct = 0;
	struct loop *loop = &conn->queue.worker->loop;
	uint64_t busy_until = loop->now_ns;
	uint8_t *buf;
	struct iovec iov[2];
	int n_iov = 0;
	ssize_t n;

	if (conn->state == CONN_LIVE && conn->rx == RX_DATA) {
		iov[n_iov].iov_base = (uint8_t *)conn->rx_cmd->req.data.va + conn->rx_cmd->received;
		direct = held_back ? num_min(conn->rx_left, SHARE_BYTES) : conn->rx_left;
		iov[n_iov++].iov_len = direct;
	}
	buf = inbox_room(&conn->tw->inbox, conn->rx_bytes + direct);
	if (!direct || direct == conn->rx_left) {
		iov[n_iov].iov_base = buf;
		iov[n_iov++].iov_len = buf_len;
	}
	counter_add(&conn->queue.worker->stats.recvs, 1);
	n = stream_readv(&conn->stream, iov, n_iov);
	if (n <= 0) {
		if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
			if (stream_must_send_first(&conn->stream))
				block(conn);
			return false;
		}
		conn_close(conn, n == 0 ? NULL : strerror(errno));
		return false;
	}
	loop_tick(loop);
	conn->rx_bytes += (uint64_t)n;
	if (direct) {
		size_t part = num_min(direct, (size_t)n);

		feed_data(conn, iov[0].iov_base, part);
		n -= (ssize_t)part;
	}
	inbox_filled(&conn->tw->inbox, buf + n);
	feed(conn, buf, (size_t)n,
	     held_back ? 0 : early_bytes(conn, (size_t)n, loop->now_ns - busy_until));
	share_received(conn);
	/* A full buffer means that there may be more; anything less emptied the socket. */
	return !held_back && ((size_t)n == INBOX_ROOM || (direct && n == 0));
}

void rx_readable(struct nvme_tcp_conn *conn)
{
	for (unsigned i = 0; i < RECVS_PER_WAKEUP; i++) {
		if (!receive(conn))
			break;
		if (conn->state == CONN_CLOSED || conn->rx_paused)
			break;
	}
	if (conn->state == CONN_LIVE &&
	    (conn->rx != RX_HEADER || conn->header_len || conn->queue.fuse.first))
		conn_expect(conn);
	look_again(conn);
}
