/* SPDX-License-Identifier: BSD-3-Clause */
/* Waiting for DMA pages; see pages.h. */
#include "transport/pages.h"

#include "pcie/dma.h"
#include "target/worker.h"
#include "transport/cmd.h"
#include "transport/conn.h"
#include "util/num.h"

static void retry(struct loop_task *task);

void pages_init(struct tcp_worker *tw, size_t max_transfer)
{
	size_t pool = dma_pool_total(tw->worker->pool) << DMA_PAGE_SHIFT;

	TAILQ_INIT(&tw->waiting);
	loop_task_init(&tw->retry, retry);
	/* Half, so that two slow connections still leave something; never less than one command. */
	tw->share = num_max(pool / 2, max_transfer);
}

static bool take(struct nvme_tcp_cmd *cmd)
{
	struct nvme_tcp_conn *conn = cmd->conn;
	size_t len = num_round_up(cmd->req.transfer_len, DMA_PAGE_SIZE);

	if (conn->pages_held && conn->pages_held + len > conn->tw->share)
		return false;
	if (!dma_alloc(conn->queue.worker->pool, len, &cmd->req.data))
		return false;
	conn->pages_held += len;
	return true;
}

bool pages_get(struct nvme_tcp_cmd *cmd)
{
	struct nvme_tcp_conn *conn = cmd->conn;

	if (TAILQ_EMPTY(&conn->waiting) && take(cmd))
		return true;
	counter_add(&conn->queue.worker->stats.page_waits, 1);
	cmd->state = CMD_PAGES;
	TAILQ_INSERT_TAIL(&conn->waiting, cmd, link);
	if (!conn->wait_queued) {
		conn->wait_queued = true;
		TAILQ_INSERT_TAIL(&conn->tw->waiting, conn, wait_link);
	}
	return false;
}

void pages_give_back(struct nvme_tcp_cmd *cmd)
{
	struct nvme_tcp_conn *conn = cmd->conn;

	if (!cmd->req.data.va)
		return;
	conn->pages_held -= cmd->req.data.len;
	dma_free(conn->queue.worker->pool, &cmd->req.data);
	if (!TAILQ_EMPTY(&conn->tw->waiting))
		loop_defer(&conn->queue.worker->loop, &conn->tw->retry);
}

void pages_forget(struct nvme_tcp_conn *conn)
{
	struct nvme_tcp_cmd *cmd;

	while ((cmd = TAILQ_FIRST(&conn->waiting)) != NULL)
		TAILQ_REMOVE(&conn->waiting, cmd, link);
	if (conn->wait_queued) {
		conn->wait_queued = false;
		TAILQ_REMOVE(&conn->tw->waiting, conn, wait_link);
		if (!TAILQ_EMPTY(&conn->tw->waiting))
			loop_defer(&conn->queue.worker->loop, &conn->tw->retry);
	}
}

/* Serves the head of each connection's line, connection by connection. */
static void retry(struct loop_task *task)
{
	struct tcp_worker *tw = container_of(task, struct tcp_worker, retry);
	struct nvme_tcp_conn *conn = TAILQ_FIRST(&tw->waiting), *next;

	for (; conn; conn = next) {
		struct nvme_tcp_cmd *cmd;

		next = TAILQ_NEXT(conn, wait_link);
		while ((cmd = TAILQ_FIRST(&conn->waiting)) != NULL && take(cmd)) {
			TAILQ_REMOVE(&conn->waiting, cmd, link);
			conn_pages_granted(cmd);
			if (!conn->wait_queued)
				break; /* it was closed meanwhile */
		}
		if (conn->wait_queued && TAILQ_EMPTY(&conn->waiting)) {
			conn->wait_queued = false;
			TAILQ_REMOVE(&tw->waiting, conn, wait_link);
		}
	}
}
