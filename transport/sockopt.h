/* SPDX-License-Identifier: BSD-3-Clause */
/* What is set on the sockets of hosts. */
#ifndef NVMETD_TRANSPORT_SOCKOPT_H
#define NVMETD_TRANSPORT_SOCKOPT_H

#include "transport/tcp.h"

/* Of an accepted socket, IPv4 or IPv6. What the kernel refuses is logged, and does without. */
void sockopt_set(int fd, const struct nvme_tcp_options *options);

#endif
