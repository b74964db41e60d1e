/* SPDX-License-Identifier: BSD-3-Clause */
/* Counts of connections; see peers.h. */
#include "transport/peers.h"

#include <stdlib.h>

#include "target/target.h"
#include "util/check.h"

/* An address, or the network of one. */
struct peer {
	LIST_ENTRY(peer) link;
	struct nvmet_peer_addr addr;
	bool net;
	struct peers_count n;
};

static unsigned bucket_of(const struct nvmet_peer_addr *addr, bool net)
{
	const uint8_t *bytes = addr->bytes;

	return (net ? bytes[7] ^ bytes[6] : bytes[15] ^ bytes[14] ^ bytes[7]) % PEERS_BUCKETS;
}

static struct peer *find(struct peers *peers, const struct nvmet_peer_addr *addr, bool net)
{
	struct peer *peer;

	LIST_FOREACH (peer, &peers->buckets[bucket_of(addr, net)], link) {
		if (peer->net == net && (net ? nvmet_peer_same_net(&peer->addr, addr)
					     : nvmet_peer_same_addr(&peer->addr, addr)))
			return peer;
	}
	return NULL;
}

static struct peer *make(struct peers *peers, const struct nvmet_peer_addr *addr, bool net)
{
	struct peer *peer = calloc(1, sizeof(*peer));

	if (!peer)
		return NULL;
	peer->addr = *addr;
	peer->net = net;
	LIST_INSERT_HEAD(&peers->buckets[bucket_of(addr, net)], peer, link);
	return peer;
}

static struct peer *find_or_make(struct peers *peers, const struct nvmet_peer_addr *addr, bool net)
{
	struct peer *peer = find(peers, addr, net);

	return peer ? peer : make(peers, addr, net);
}

static void forget_if_empty(struct peer *peer)
{
	if (peer && !peer->n.conns) {
		LIST_REMOVE(peer, link);
		free(peer);
	}
}

static bool reached(unsigned n, unsigned limit)
{
	return limit && n >= limit;
}

/* `net` NULL: it has none. */
static const char *why_refused(const struct peers_count *all, const struct nvmet_limits *limits,
			       const struct peer *peer, const struct peer *net)
{
	if (reached(all->conns, limits->connections))
		return "limits.connections is reached";
	if (reached(peer->n.conns, limits->connections_per_host))
		return "limits.connections_per_host is reached";
	if (net && reached(net->n.conns, nvmet_peer_net_limit(limits->connections)))
		return "its IPv6 network (/64) has 7/8 of limits.connections";
	if (reached(all->handshakes, limits->handshakes))
		return "limits.handshakes is reached";
	if (reached(peer->n.handshakes, limits->handshakes_per_host))
		return "limits.handshakes_per_host is reached";
	if (net && reached(net->n.handshakes, nvmet_peer_net_limit(limits->handshakes)))
		return "its IPv6 network (/64) has 7/8 of limits.handshakes";
	return NULL;
}

static void count(struct peers_count *n)
{
	n->conns++;
	n->handshakes++;
}

const char *peers_enter(struct peers *peers, const struct nvmet_limits *limits,
			const struct nvmet_peer_addr *addr)
{
	const bool has_net = nvmet_peer_has_net(addr);
	struct peer *peer = find_or_make(peers, addr, false);
	struct peer *net = has_net ? find_or_make(peers, addr, true) : NULL;
	const char *why = "no memory";

	if (peer && (net || !has_net))
		why = why_refused(&peers->all, limits, peer, net);
	if (why) {
		forget_if_empty(peer);
		forget_if_empty(net);
		return why;
	}
	count(&peers->all);
	count(&peer->n);
	if (net)
		count(&net->n);
	return NULL;
}

void peers_handshake_over(struct peers *peers, const struct nvmet_peer_addr *addr)
{
	peers->all.handshakes--;
	find(peers, addr, false)->n.handshakes--;
	if (nvmet_peer_has_net(addr))
		find(peers, addr, true)->n.handshakes--;
}

static void leave(struct peer *peer)
{
	must(peer);
	peer->n.conns--;
	forget_if_empty(peer);
}

void peers_leave(struct peers *peers, const struct nvmet_peer_addr *addr, bool half_open)
{
	if (half_open)
		peers_handshake_over(peers, addr);
	peers->all.conns--;
	leave(find(peers, addr, false));
	if (nvmet_peer_has_net(addr))
		leave(find(peers, addr, true));
}
