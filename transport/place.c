/* SPDX-License-Identifier: BSD-3-Clause */
/* Which worker gets a connection; see place.h. */
#include "transport/place.h"

#include <limits.h>
#include <sys/socket.h>

#include "target/worker.h"
#include "transport/tcp_worker.h"
#include "util/check.h"
#include "util/num.h"

/*
 * The worker with the fewest I/O queues among those on `cpu` (WORKER_ANY_CPU: all) that have at
 * most `max` connections; NULL: there is none. It is not the number of connections that is made
 * even: of hosts with one I/O queue each, one worker would get all admin queues and the other one
 * all I/O queues.
 */
static struct tcp_worker *fewest_io_queues(const struct place *place, unsigned n, int cpu,
					   unsigned max)
{
	struct tcp_worker *best = NULL;

	for (unsigned i = 0; i < n; i++) {
		struct tcp_worker *tw = &place->workers[(place->turn + i) % n];

		if (tw->n_given > max || (cpu != WORKER_ANY_CPU && tw->worker->cpu != cpu))
			continue;
		if (!best || counter_get(&tw->io_conns) < counter_get(&best->io_conns))
			best = tw;
	}
	return best;
}

/* A connection is an I/O queue only after Connect, and hosts open many before they send the first
 * one. So this counts connections. */
static unsigned fewest_connections(const struct place *place, unsigned n)
{
	unsigned fewest = UINT_MAX;

	for (unsigned i = 0; i < n; i++)
		fewest = num_min(fewest, place->workers[i].n_given);
	return fewest;
}

/* The CPU that took in its last packet; WORKER_ANY_CPU: the kernel does not say. */
static int incoming_cpu(int fd)
{
	int cpu = WORKER_ANY_CPU;
	socklen_t len = sizeof(cpu);

	if (getsockopt(fd, SOL_SOCKET, SO_INCOMING_CPU, &cpu, &len) < 0 || cpu < 0)
		return WORKER_ANY_CPU;
	return cpu;
}

struct tcp_worker *place_conn(struct place *place, unsigned n, int fd)
{
	struct tcp_worker *tw = NULL;
	unsigned max = UINT_MAX;

	must(n > 0);
	if (place->prefer_incoming_cpu) {
		max = PLACE_UNEVEN(fewest_connections(place, n));
		tw = fewest_io_queues(place, n, incoming_cpu(fd), max);
	}
	if (!tw)
		tw = fewest_io_queues(place, n, WORKER_ANY_CPU, max);
	place->turn = (place->turn + 1) % n;
	return tw;
}
