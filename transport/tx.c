/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sending: the responses and R2Ts of one wake-up go out with one sendmsg, whose iovec points at PDU
 * headers in the command slots and at the pages that the SSD wrote.
 *
 * Every PDU that leaves is built here, from a request's direction and status alone: data goes only
 * to the host that asked for a read, and only with success; R2T only for a write.
 */
#include <errno.h>
#include <event2/event.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "target/latency.h"
#include "target/worker.h"
#include "transport/conn.h"
#include "transport/digest.h"
#include "transport/pages.h"
#include "transport/share.h"
#include "util/num.h"

#define IOVS_MAX  256
#define BYTES_MAX (2u << 20) /* of one sendmsg: then others get their turn */

static void on_task(struct loop_task *task)
{
	tx_flush(container_of(task, struct nvme_tcp_conn, tx_task));
}

void tx_init(struct nvme_tcp_conn *conn)
{
	loop_task_init(&conn->tx_task, on_task);
}

static void tx_later(struct nvme_tcp_conn *conn)
{
	if (!conn->want_write)
		loop_defer(&conn->queue.worker->loop, &conn->tx_task);
}

static void enqueue(struct nvme_tcp_cmd *cmd)
{
	cmd->sent = 0;
	TAILQ_INSERT_TAIL(&cmd->conn->tx, cmd, link);
	tx_later(cmd->conn);
}

void tx_icresp(struct nvme_tcp_conn *conn, uint8_t dgst)
{
	conn->ctl_len = pdu_build_icresp(conn->ctl, dgst, conn->limits.maxh2cdata);
	conn->ctl_sent = 0;
	tx_later(conn);
}

/* Goes out at once, if the stream stands between two PDUs: in the middle of one it could not be
 * understood. */
bool tx_term(struct nvme_tcp_conn *conn, struct pdu_verdict verdict)
{
	struct nvme_tcp_cmd *first = TAILQ_FIRST(&conn->tx);
	struct iovec iov = { .iov_base = conn->ctl };
	const struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if ((first && first->sent) || conn->ctl_sent < conn->ctl_len ||
	    stream_is_mid_record(&conn->stream))
		return false;
	/* A header that was taken whole is still there until the next one comes. */
	conn->ctl_len =
		pdu_build_term(conn->ctl, verdict, conn->header,
			       conn->header_len ? conn->header_len : conn->shape.header_len);
	conn->ctl_sent = conn->ctl_len; /* what is not sent now never will be */
	iov.iov_len = conn->ctl_len;
	if (stream_sendmsg(&conn->stream, &msg) != (ssize_t)iov.iov_len)
		return false;
	shutdown(conn->stream.fd, SHUT_WR);
	return true;
}

void tx_r2t(struct nvme_tcp_cmd *cmd)
{
	must(cmd->req.dir == NVMET_DIR_WRITE);
	cmd->head_len = (uint32_t)pdu_build_r2t(cmd->head, cmd->req.cmd.cid, cmd->index, 0,
						cmd->req.transfer_len, cmd->conn->limits.hdgst);
	cmd->data_len = cmd->tail_len = 0;
	enqueue(cmd);
}

/* TCP 3.3.2.2: the SUCCESS flag replaces a response that would say nothing but success. */
static bool success_is_enough(const struct nvme_tcp_cmd *cmd)
{
	return !cmd->conn->queue.flow_control && le32_get(cmd->req.cqe.dw0) == 0 &&
	       le32_get(cmd->req.cqe.dw1) == 0;
}

static void build_read(struct nvme_tcp_cmd *cmd)
{
	const struct pdu_limits *limits = &cmd->conn->limits;
	bool success = success_is_enough(cmd);
	uint8_t flags = (uint8_t)((limits->hdgst ? NVME_TCP_F_HDGST : 0) |
				  (limits->ddgst ? NVME_TCP_F_DDGST : 0) |
				  (success ? NVME_TCP_F_SUCCESS : 0));

	cmd->data_len = cmd->req.transfer_len;
	cmd->head_len = (uint32_t)pdu_build_c2h_data(cmd->head, cmd->req.cmd.cid, cmd->data_len,
						     flags, cmd->conn->hpda);
	cmd->tail_len = 0;
	if (limits->ddgst) {
		le32_store(cmd->tail, digest_of(cmd->req.data.va, cmd->data_len));
		cmd->tail_len = NVME_TCP_DIGEST_SIZE;
	}
	if (!success)
		cmd->tail_len += (uint32_t)pdu_build_resp(cmd->tail + cmd->tail_len, &cmd->req.cqe,
							  limits->hdgst);
	counter_add(&cmd->conn->queue.worker->stats.bytes_out, cmd->data_len);
}

void tx_response(struct nvme_tcp_cmd *cmd)
{
	cmd->state = CMD_SENDING;
	if (nvme_cqe_status(&cmd->req.cqe) == 0 && cmd->req.dir == NVMET_DIR_READ) {
		build_read(cmd);
	} else {
		pages_give_back(cmd); /* nothing of them goes to the host */
		cmd->head_len =
			(uint32_t)pdu_build_resp(cmd->head, &cmd->req.cqe, cmd->conn->limits.hdgst);
		cmd->data_len = cmd->tail_len = 0;
	}
	enqueue(cmd);
}

/* --- The socket ------------------------------------------------------------------------------- */

/* Adds what is left of a part; `skip` bytes of it and of the parts before were sent. */
static unsigned add_part(struct iovec *iov, void *base, uint32_t len, uint32_t *skip)
{
	if (*skip >= len) {
		*skip -= len;
		return 0;
	}
	*iov = (struct iovec){ .iov_base = (uint8_t *)base + *skip, .iov_len = len - *skip };
	*skip = 0;
	return 1;
}

static unsigned gather(struct nvme_tcp_conn *conn, struct iovec *iov, size_t max, size_t *ret_bytes)
{
	struct nvme_tcp_cmd *cmd;
	unsigned n = 0;
	size_t bytes = conn->ctl_len - conn->ctl_sent;

	if (bytes)
		iov[n++] =
			(struct iovec){ .iov_base = conn->ctl + conn->ctl_sent, .iov_len = bytes };
	TAILQ_FOREACH (cmd, &conn->tx, link) {
		uint32_t skip = cmd->sent;

		if (n + 3 > IOVS_MAX || bytes >= max)
			break;
		bytes += cmd->head_len + cmd->data_len + cmd->tail_len - skip;
		n += add_part(&iov[n], cmd->head, cmd->head_len, &skip);
		n += add_part(&iov[n], cmd->req.data.va, cmd->data_len, &skip);
		n += add_part(&iov[n], cmd->tail, cmd->tail_len, &skip);
	}
	*ret_bytes = bytes;
	return n;
}

/* Cuts off what is more than `max` bytes; returns how many iovecs are left. */
static unsigned cut(struct iovec *iov, unsigned n, size_t max, size_t *bytes)
{
	while (*bytes > max) {
		size_t part = num_min(*bytes - max, iov[n - 1].iov_len);

		iov[n - 1].iov_len -= part;
		*bytes -= part;
		n -= iov[n - 1].iov_len == 0;
	}
	return n;
}

/* The last byte of the command's PDU is in the socket. */
static void cmd_sent(struct nvme_tcp_cmd *cmd)
{
	struct nvme_tcp_conn *conn = cmd->conn;

	TAILQ_REMOVE(&conn->tx, cmd, link);
	if (cmd->state == CMD_R2T) {
		cmd->r2t_sent = true;
		return;
	}
	nvmet_latency_end(&cmd->req);
	cmd_put(cmd);
}

static void account(struct nvme_tcp_conn *conn, size_t sent)
{
	struct nvme_tcp_cmd *cmd;
	size_t ctl = num_min(sent, conn->ctl_len - conn->ctl_sent);

	conn->ctl_sent += ctl;
	sent -= ctl;
	while (sent && (cmd = TAILQ_FIRST(&conn->tx)) != NULL) {
		uint32_t total = cmd->head_len + cmd->data_len + cmd->tail_len;
		uint32_t part = (uint32_t)num_min(sent, (size_t)(total - cmd->sent));

		cmd->sent += part;
		sent -= part;
		if (cmd->sent == total)
			cmd_sent(cmd);
	}
}

static bool pending(const struct nvme_tcp_conn *conn)
{
	return conn->ctl_sent < conn->ctl_len || !TAILQ_EMPTY(&conn->tx);
}

void tx_await_room(struct nvme_tcp_conn *conn)
{
	conn->want_write = true;
	/* That there is room is told by its event alone. */
	loop_forget(&conn->queue.worker->loop, &conn->source);
	conn->tx_acked_seen = UINT64_MAX;
	if (event_add(conn->write_event, NULL) < 0)
		conn_close(conn, "no memory to wait for its socket");
	else
		conn_expect(conn);
}

void tx_flush(struct nvme_tcp_conn *conn)
{
	struct iovec iov[IOVS_MAX];
	struct msghdr msg = { .msg_iov = iov };
	bool held_back = share_is_held_back(conn);
	size_t offered;
	ssize_t n;

	if (conn->state != CONN_LIVE || conn->want_write || !pending(conn))
		return;
	msg.msg_iovlen = gather(conn, iov, held_back ? SHARE_SEND_BYTES : BYTES_MAX, &offered);
	if (held_back)
		msg.msg_iovlen = cut(iov, (unsigned)msg.msg_iovlen, SHARE_SEND_BYTES, &offered);
	counter_add(&conn->queue.worker->stats.sends, 1);
	n = stream_sendmsg(&conn->stream, &msg);
	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		conn_close(conn, strerror(errno));
		return;
	}
	if (n > 0) {
		loop_tick(&conn->queue.worker->loop);
		account(conn, (size_t)n);
	}
	if (pending(conn)) {
		if (n >= 0 && (size_t)n == offered) {
			/* There was more than one sendmsg takes. */
			if (held_back)
				loop_defer_late(&conn->queue.worker->loop, &conn->tx_task);
			else
				tx_later(conn);
			return;
		}
		tx_await_room(conn);
	} else if (conn->draining) {
		conn_drain(conn);
	}
}
