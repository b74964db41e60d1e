/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * NVMe/TCP as the rest of the daemon starts and stops it. Main thread.
 *
 * Order: nvme_tcp_new, nvme_tcp_listen for each address; at the end nvme_tcp_stop, its callback,
 * then nvme_tcp_free.
 */
#ifndef NVMETD_TRANSPORT_TCP_H
#define NVMETD_TRANSPORT_TCP_H

#include <stdbool.h>

#include "target/target.h"

struct nvme_tcp;

/* Prepares all workers of the target (they may run already). 0 or -ENOMEM. */
int nvme_tcp_new(struct nvmet_target *target, struct nvme_tcp **ret_tcp);
/* No connection is left. NULL is allowed. */
void nvme_tcp_free(struct nvme_tcp *tcp);

/* What is 0 or empty is left to the kernel. */
struct nvme_tcp_options {
	char congestion[16];      /* TCP_CONGESTION, a name; as long as the kernel's may be */
	unsigned dscp;            /* 0 .. 63: DSCP of what we send */
	unsigned priority;        /* 0 .. 6: SO_PRIORITY of what we send */
	unsigned busy_poll_us;    /* SO_BUSY_POLL: how long a read may poll the network device */
	bool prefer_incoming_cpu; /* place.h; for workers that are pinned */
};
/* For the addresses that are listened at from now on. */
void nvme_tcp_set_options(struct nvme_tcp *tcp, const struct nvme_tcp_options *options);

/*
 * Listens at a numeric address, "127.0.0.1" or "::1", and port, "0": any. The port is linked to the
 * target with the address that was bound. 0 or -errno (logged).
 */
int nvme_tcp_listen(struct nvme_tcp *tcp, const char *addr, const char *service,
		    enum nvmet_tls_mode tls);

/*
 * Accepts no more, lets commands under way end for up to `drain_ms`, then closes every connection.
 * stopped(arg) is called from the loop when none is left.
 */
void nvme_tcp_stop(struct nvme_tcp *tcp, unsigned drain_ms, void (*stopped)(void *arg), void *arg);

#endif
