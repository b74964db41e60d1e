/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How many connections there are, and how many of them have not finished Connect: in all, from each
 * address, from each IPv6 network (target/peer.h). Main thread.
 */
#ifndef NVMETD_TRANSPORT_PEERS_H
#define NVMETD_TRANSPORT_PEERS_H

#include <stdbool.h>
#include <sys/queue.h>

#include "target/peer.h"

struct nvmet_limits;

#define PEERS_BUCKETS 256

struct peers_count {
	unsigned conns, handshakes;
};

struct peers {
	struct peers_count all;
	LIST_HEAD(, peer) buckets[PEERS_BUCKETS]; /* addresses and networks that have connections */
};

/* One more connection, half-open. NULL: it is counted; otherwise why it is not: "limits.connections
 * is reached". */
const char *peers_enter(struct peers *peers, const struct nvmet_limits *limits,
			const struct nvmet_peer_addr *addr);
/* A connection that has entered is not half-open any more. */
void peers_handshake_over(struct peers *peers, const struct nvmet_peer_addr *addr);
/* It is gone. */
void peers_leave(struct peers *peers, const struct nvmet_peer_addr *addr, bool half_open);

#endif
