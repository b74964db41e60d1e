/* SPDX-License-Identifier: BSD-3-Clause */
/* What is set on the sockets of hosts. What the kernel refuses is logged, and does without. */
#ifndef NVMETD_TRANSPORT_SOCKOPT_H
#define NVMETD_TRANSPORT_SOCKOPT_H

#include "transport/tcp.h"

/*
 * Of a socket that will listen: connections inherit all this, and the first answer to their SYN
 * carries the DSCP already. At the start we may also have the capability that some of it takes.
 */
void sockopt_listening(int fd, bool v6, const struct nvme_tcp_options *options);

/* Of an accepted socket: what is not inherited. */
void sockopt_accepted(int fd, const struct nvme_tcp_options *options);

#endif
