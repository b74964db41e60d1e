/* SPDX-License-Identifier: BSD-3-Clause */
/* Which worker gets a connection. Main thread. */
#ifndef NVMETD_TRANSPORT_PLACE_H
#define NVMETD_TRANSPORT_PLACE_H

#include <stdbool.h>

struct tcp_worker;

struct place {
	struct tcp_worker *workers;
	bool prefer_incoming_cpu;
	unsigned turn; /* where the next look begins */
};

/*
 * One of the first `n` (at least 1) workers, for the accepted socket `fd`.
 *
 * The one with the fewest I/O queues; in turn, where they are equal. With prefer_incoming_cpu it is
 * one that is pinned to the CPU which took in the connection's last packet (SO_INCOMING_CPU), if
 * there is such a worker, and never one that has more connections than PLACE_UNEVEN(those of the
 * worker with the fewest).
 *
 * When a connection is accepted that packet is the last one of the TCP handshake, or the first
 * data; the network device's receive queue, and so the CPU, follows from addresses and ports, and
 * is the same for all packets of the connection for as long as nobody moves the interrupt.
 */
struct tcp_worker *place_conn(struct place *place, unsigned n, int fd);

#define PLACE_UNEVEN(fewest) (2 * (fewest) + 8)

#endif
