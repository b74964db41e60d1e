/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where a host comes from: its address, which limits per host go by, and the network around it.
 *
 * One host may own a whole /64 of IPv6 addresses, so that limits per address alone would not hold
 * it. But many hosts may live in one /64 as well, so it does not count as one host: it leaves an
 * eighth of what there is in all to others. Addresses that nobody is given in such numbers have no
 * network: IPv4's, loopback, link-local ones.
 *
 * Pure; any thread.
 */
#ifndef NVMETD_TARGET_PEER_H
#define NVMETD_TARGET_PEER_H

#include <stdbool.h>
#include <stdint.h>

struct nvmet_peer_addr {
	uint8_t bytes[16]; /* IPv6; IPv4 as ::ffff:a.b.c.d */
};

bool nvmet_peer_same_addr(const struct nvmet_peer_addr *a, const struct nvmet_peer_addr *b);
bool nvmet_peer_has_net(const struct nvmet_peer_addr *addr);
/* False also where there is none. */
bool nvmet_peer_same_net(const struct nvmet_peer_addr *a, const struct nvmet_peer_addr *b);
/* What one network may have of what is limited in all; 0: no limit. */
unsigned nvmet_peer_net_limit(unsigned limit);

#endif
