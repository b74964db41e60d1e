/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * DMA pages for commands. A command that finds no pages waits: first come, first served among the
 * commands of a connection. Nobody may take all of them, or stop the others' I/O:
 *
 *   - the connections of one peer address may together hold seven times what they leave free: a
 *     host that does not read its answers gets 7/8, by however many connections, and the next one
 *     7/8 of the rest;
 *   - of what its address may hold, a connection may hold at most as much as it leaves: one that
 *     does not read takes half, two a third each, and so on;
 *   - all connections to discovery controllers, which need no permission, have a small part of
 *     their own, and their commands are small (NVMET_DISCOVERY_TRANSFER);
 *   - who holds pages and for pdu_timeout sends or takes less than 1 KiB a second is closed
 *     (conn.c).
 *
 * In-capsule data waits for nobody of its connection, and a part of the pages is reserved for it:
 * while it waits nothing is read from the socket, and what comes behind it may be the very data
 * that the commands holding the pages need to end. One command of a connection at a time may have
 * more than its share for that; the SSD ends it, whatever the host does. The halves
 * of fused commands, of which one holds its pages until the other has its data, may always have
 * more, besides that one command: they are few and small (target/fuse.h).
 */
#ifndef NVMETD_TRANSPORT_PAGES_H
#define NVMETD_TRANSPORT_PAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "target/peer.h"
#include "transport/tcp_worker.h"

struct nvme_tcp_cmd;
struct nvme_tcp_conn;

/* A worker's connections of one peer address. */
struct pages_host {
	LIST_ENTRY(pages_host) link;
	struct nvmet_peer_addr addr;
	unsigned n_conns;
	size_t held; /* bytes */
};

/* Sizes the shares of the worker's pool. Main thread, before the worker has a connection. */
void pages_init(struct tcp_worker *tw);

/* A connection begins; its address is known. Worker, as all below. 0 or -ENOMEM. */
int pages_join(struct nvme_tcp_conn *conn);
/* It ends, and holds nothing any more. Also for one that never joined. */
void pages_leave(struct nvme_tcp_conn *conn);
/* Its queue is a discovery controller's: from now on it has its share of their part. */
void pages_to_discovery(struct nvme_tcp_conn *conn);

/*
 * Gets the command its pages (req.transfer_len bytes). True: it has them. False: it is queued, in
 * state CMD_PAGES, and conn_pages_granted() follows.
 */
bool pages_get(struct nvme_tcp_cmd *cmd);
/* Gives the command's pages back, or what the inbox lent it, if it has any; who waits is served at
 * the end of the wake-up. */
void pages_give_back(struct nvme_tcp_cmd *cmd);
/* The command waits no longer; who stood behind it may have its turn. */
void pages_wait_over(struct nvme_tcp_cmd *cmd);
/* The connection ends: its commands wait no longer. */
void pages_forget(struct nvme_tcp_conn *conn);

/* rx.c: the command has got its pages after all. */
void conn_pages_granted(struct nvme_tcp_cmd *cmd);

#endif
