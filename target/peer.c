/* SPDX-License-Identifier: BSD-3-Clause */
/* Addresses and networks of hosts; see peer.h. */
#include "target/peer.h"

#include <string.h>

#define NET_BYTES 8 /* of a /64 */
#define LEFT_PART 8 /* of a limit, for others */

bool nvmet_peer_same_addr(const struct nvmet_peer_addr *a, const struct nvmet_peer_addr *b)
{
	return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

/* Loopback and IPv4 are of ::/64, link-local addresses of fe80::/10. */
bool nvmet_peer_has_net(const struct nvmet_peer_addr *addr)
{
	static const uint8_t none[NET_BYTES];
	const uint8_t *bytes = addr->bytes;

	return memcmp(bytes, none, NET_BYTES) != 0 &&
	       !(bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80);
}

bool nvmet_peer_same_net(const struct nvmet_peer_addr *a, const struct nvmet_peer_addr *b)
{
	return nvmet_peer_has_net(a) && memcmp(a->bytes, b->bytes, NET_BYTES) == 0;
}

unsigned nvmet_peer_net_limit(unsigned limit)
{
	return limit - limit / LEFT_PART;
}
