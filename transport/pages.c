/* SPDX-License-Identifier: BSD-3-Clause */
/* Waiting for DMA pages; see pages.h. */
#include "transport/pages.h"

#include "pcie/dma.h"
#include "target/latency.h"
#include "target/worker.h"
#include "transport/cmd.h"
#include "transport/conn.h"
#include "util/num.h"

static void retry(struct loop_task *task);

/* Of the pool: every worker's pool has room for this and for two of the largest commands. */
#define RESERVE_PART 16

void pages_init(struct tcp_worker *tw)
{
	TAILQ_INIT(&tw->waiting);
	loop_task_init(&tw->retry, retry);
	tw->reserve = (dma_pool_total(tw->worker->pool) << DMA_PAGE_SHIFT) / RESERVE_PART;
}

static size_t bytes_free(const struct dma_pool *pool)
{
	return (dma_pool_total(pool) - dma_pool_used(pool)) << DMA_PAGE_SHIFT;
}

/* Its data comes in the capsule, and the receiver stands before it. */
static bool in_capsule(const struct nvme_tcp_cmd *cmd)
{
	return cmd == cmd->conn->rx_cmd;
}

/* Takes from what is reserved, and does not stand in line: what others hold may wait for it. */
static bool privileged(const struct nvme_tcp_cmd *cmd)
{
	return in_capsule(cmd) || cmd->req.fuse;
}

static bool take(struct nvme_tcp_cmd *cmd)
{
	struct nvme_tcp_conn *conn = cmd->conn;
	size_t len = num_round_up(cmd->req.transfer_len, DMA_PAGE_SIZE);

	if (!privileged(cmd) &&
	    conn->pages_held + len + conn->tw->reserve > bytes_free(conn->queue.worker->pool))
		return false;
	if (!dma_alloc(conn->queue.worker->pool, len, &cmd->req.data))
		return false;
	conn->pages_held += len;
	nvmet_latency_stage(&cmd->req, NVMET_STAGE_PAGES);
	return true;
}

bool pages_get(struct nvme_tcp_cmd *cmd)
{
	struct nvme_tcp_conn *conn = cmd->conn;

	if ((privileged(cmd) || TAILQ_EMPTY(&conn->waiting)) && take(cmd))
		return true;
	counter_add(&conn->queue.worker->stats.page_waits, 1);
	cmd->state = CMD_PAGES;
	if (privileged(cmd))
		TAILQ_INSERT_HEAD(&conn->waiting, cmd, link);
	else
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

void pages_wait_over(struct nvme_tcp_cmd *cmd)
{
	struct nvme_tcp_conn *conn = cmd->conn;

	TAILQ_REMOVE(&conn->waiting, cmd, link);
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
