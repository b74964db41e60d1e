/* SPDX-License-Identifier: BSD-3-Clause */
/* Command slots; see cmd.h. */
#include "transport/cmd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "target/worker.h"
#include "transport/conn.h"
#include "transport/pages.h"

/*
 * The target knows slots by address, so they never move: the few from before Connect are set aside
 * when those for the queue's full size are made, and Connect itself ends in the one it began in.
 */
int cmd_slots_make(struct nvme_tcp_conn *conn, unsigned n)
{
	/* Not calloc(): it clears, and so touches, what the heap has used before. */
	struct nvme_tcp_cmd *cmds = malloc(n * sizeof(*cmds));

	if (!cmds)
		return -ENOMEM;
	must(!conn->first_cmds);
	conn->first_cmds = conn->cmds;
	conn->n_first_cmds = conn->n_used_cmds;
	conn->cmds = cmds;
	conn->n_cmds = n;
	conn->n_used_cmds = 0;
	TAILQ_INIT(&conn->free_cmds);
	return 0;
}

/* A slot that was never used, or NULL. Its memory is touched now: an idle connection has none. */
static struct nvme_tcp_cmd *take_fresh(struct nvme_tcp_conn *conn)
{
	struct nvme_tcp_cmd *cmd;

	if (conn->n_used_cmds == conn->n_cmds)
		return NULL;
	cmd = &conn->cmds[conn->n_used_cmds];
	memset(cmd, 0, sizeof(*cmd));
	cmd->conn = conn;
	cmd->index = (uint16_t)conn->n_used_cmds++;
	cmd->req.queue = &conn->queue;
	return cmd;
}

static void put_all(struct nvme_tcp_cmd *cmds, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (cmds[i].state != CMD_FREE)
			cmd_put(&cmds[i]);
	}
}

void cmd_slots_free(struct nvme_tcp_conn *conn)
{
	put_all(conn->cmds, conn->n_used_cmds);
	put_all(conn->first_cmds, conn->n_first_cmds);
	free(conn->cmds);
	free(conn->first_cmds);
	conn->cmds = conn->first_cmds = NULL;
	conn->n_cmds = conn->n_used_cmds = conn->n_first_cmds = 0;
	TAILQ_INIT(&conn->free_cmds);
}

static bool set_aside(const struct nvme_tcp_cmd *cmd)
{
	const struct nvme_tcp_conn *conn = cmd->conn;

	return cmd < conn->cmds || cmd >= conn->cmds + conn->n_cmds;
}

struct nvme_tcp_cmd *cmd_take(struct nvme_tcp_conn *conn)
{
	struct nvme_tcp_cmd *cmd = TAILQ_FIRST(&conn->free_cmds);

	if (cmd)
		TAILQ_REMOVE(&conn->free_cmds, cmd, link);
	else
		cmd = take_fresh(conn);
	if (!cmd)
		return NULL;
	cmd->r2t_sent = false;
	cmd->cid_conflict = false;
	cmd->in_place = false;
	cmd->ddgst_error = false;
	cmd->aborted = false;
	cmd->refused = 0;
	cmd->received = 0;
	conn->n_busy++;
	counter_add(&conn->queue.worker->stats.requests, 1);
	counter_add(&conn->queue.worker->stats.commands, 1);
	return cmd;
}

void cmd_put(struct nvme_tcp_cmd *cmd)
{
	struct nvme_tcp_conn *conn = cmd->conn;

	pages_give_back(cmd);
	if (!cmd->cid_conflict)
		nvmet_queue_cid_clear(&conn->queue, le16_get(cmd->req.cmd.cid));
	cmd->state = CMD_FREE;
	/* The one used last is the one still in the cache. */
	if (!set_aside(cmd))
		TAILQ_INSERT_HEAD(&conn->free_cmds, cmd, link);
	conn->n_busy--;
	counter_sub(&conn->queue.worker->stats.requests, 1);
	if (__builtin_expect(conn->queue.disconnect != NULL, 0) && conn->n_busy == 1 &&
	    !conn->queue.releasing)
		nvmet_queue_end_disconnect(&conn->queue);
}
