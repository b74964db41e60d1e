/* SPDX-License-Identifier: BSD-3-Clause */
/* Waiting for DMA pages; see pages.h. */
#include "transport/pages.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pcie/dma.h"
#include "target/latency.h"
#include "target/target.h"
#include "target/worker.h"
#include "transport/cmd.h"
#include "transport/conn.h"
#include "util/list.h"
#include "util/num.h"

static void retry(struct loop_task *task);

/* Of the pool: every worker's pool has room for this and for two of the largest commands. */
#define RESERVE_PART 16
/* Of the pool, for discovery. */
#define DISCOVERY_PART 32
/* How many times what it leaves free a host may hold. */
#define HOST_SHARE 7

void pages_init(struct tcp_worker *tw)
{
	TAILQ_INIT(&tw->waiting);
	LIST_INIT(&tw->hosts);
	loop_task_init(&tw->retry, retry);
	tw->reserve = (dma_pool_total(tw->worker->pool) << DMA_PAGE_SHIFT) / RESERVE_PART;
	tw->discovery_max = (dma_pool_total(tw->worker->pool) << DMA_PAGE_SHIFT) / DISCOVERY_PART;
	tw->discovery_max = num_max(tw->discovery_max, (size_t)NVMET_DISCOVERY_TRANSFER);
}

/* --- Who holds how much ----------------------------------------------------------------------- */

int pages_join(struct nvme_tcp_conn *conn)
{
	struct pages_host *host;

	LIST_FOREACH (host, &conn->tw->hosts, link) {
		if (nvmet_peer_same_addr(&host->addr, &conn->queue.peer_addr))
			break;
	}
	if (!host) {
		host = calloc(1, sizeof(*host));
		if (!host)
			return -ENOMEM;
		host->addr = conn->queue.peer_addr;
		LIST_INSERT_HEAD(&conn->tw->hosts, host, link);
	}
	host->n_conns++;
	conn->pages_host = host;
	return 0;
}

void pages_leave(struct nvme_tcp_conn *conn)
{
	struct pages_host *host = conn->pages_host;

	conn->pages_host = NULL;
	if (!host || --host->n_conns)
		return;
	must(host->held == 0);
	LIST_REMOVE(host, link);
	free(host);
}

void pages_to_discovery(struct nvme_tcp_conn *conn)
{
	conn->pages_discovery = true;
	conn->tw->discovery_held += conn->pages_held; /* Connect's */
}

static void note_taken(struct nvme_tcp_conn *conn, size_t len)
{
	conn->pages_held += len;
	conn->pages_host->held += len;
	if (conn->pages_discovery)
		conn->tw->discovery_held += len;
}

static void note_given(struct nvme_tcp_conn *conn, size_t len)
{
	conn->pages_held -= len;
	conn->pages_host->held -= len;
	if (conn->pages_discovery)
		conn->tw->discovery_held -= len;
}

/* --- Taking and giving ------------------------------------------------------------------------ */

static size_t bytes_free(const struct dma_pool *pool)
{
	return (dma_pool_total(pool) - dma_pool_used(pool)) << DMA_PAGE_SHIFT;
}

/* Its data comes in the capsule, and the receiver stands before it. */
static bool in_capsule(const struct nvme_tcp_cmd *cmd)
{
	return cmd == cmd->conn->rx_cmd;
}

/* Does not stand in line: what others of its connection hold may wait for it. */
static bool goes_first(const struct nvme_tcp_cmd *cmd)
{
	return in_capsule(cmd) || cmd->req.fuse;
}

/* May have more than the shares allow, from what is reserved. Of a connection's data in capsules,
 * one at a time: when the SSD is done with that, the next one can come. */
static bool privileged(const struct nvme_tcp_cmd *cmd)
{
	return (in_capsule(cmd) && !cmd->conn->beyond_share) || cmd->req.fuse;
}

/* What its host may take before it holds HOST_SHARE times what is left then. */
static size_t host_left(const struct nvme_tcp_conn *conn)
{
	size_t left = bytes_free(conn->queue.worker->pool), reserve = conn->tw->reserve;
	size_t most = left > reserve ? HOST_SHARE * (left - reserve) : 0;

	return most > conn->pages_host->held ? (most - conn->pages_host->held) / (HOST_SHARE + 1)
					     : 0;
}

/* Whether the connection, its host and its kind may have as much more. */
static bool within_shares(const struct nvme_tcp_conn *conn, size_t len)
{
	const struct tcp_worker *tw = conn->tw;

	return conn->pages_held + len <= host_left(conn) &&
	       (!conn->pages_discovery || tw->discovery_held + len <= tw->discovery_max);
}

static bool take(struct nvme_tcp_cmd *cmd)
{
	struct nvme_tcp_conn *conn = cmd->conn;
	size_t len = num_round_up(cmd->req.transfer_len, DMA_PAGE_SIZE);
	bool within = within_shares(conn, len);

	if (__builtin_expect(!within, 0) && !privileged(cmd))
		return false;
	if (!dma_alloc(conn->queue.worker->pool, len, &cmd->req.data))
		return false;
	/* A half is not in the way of the next: it may wait for what comes behind that. */
	if (__builtin_expect(!within, 0) && !cmd->req.fuse)
		conn->beyond_share = cmd;
	note_taken(conn, len);
	nvmet_latency_pages(&cmd->req);
	return true;
}

bool pages_get(struct nvme_tcp_cmd *cmd)
{
	struct nvme_tcp_conn *conn = cmd->conn;

	if ((goes_first(cmd) || TAILQ_EMPTY(&conn->waiting)) && take(cmd))
		return true;
	counter_add(&conn->queue.worker->stats.page_waits, 1);
	counter_add(&conn->queue.stats.page_waits, 1);
	cmd->state = CMD_PAGES;
	if (goes_first(cmd))
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
	if (cmd->in_place) {
		inbox_take_back(&conn->tw->inbox, &cmd->req.data);
		return;
	}
	note_given(conn, cmd->req.data.len);
	if (conn->beyond_share == cmd)
		conn->beyond_share = NULL;
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
	struct nvme_tcp_conn *conn, *next;

	TAILQ_FOREACH_SAFE (conn, &tw->waiting, wait_link, next) {
		struct nvme_tcp_cmd *cmd;

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
