/* SPDX-License-Identifier: BSD-3-Clause */
/* Options of hosts' sockets. One that the kernel refuses is logged and left out. */
#ifndef NVMETD_TRANSPORT_SOCKOPT_H
#define NVMETD_TRANSPORT_SOCKOPT_H

#include "transport/tcp.h"

/*
 * For a socket of `family` (AF_INET, AF_INET6) that is going to listen. Connections inherit the
 * options, so that even the answer to their SYN carries the DSCP; and at the start we may still
 * have the capability that some need, for which the kernel even loads a congestion control.
 */
void sockopt_listening(int fd, int family, const struct nvme_tcp_options *options);

/* For an accepted socket: the options that are not inherited. */
void sockopt_accepted(int fd, const struct nvme_tcp_options *options);

/* The end of the connection is a reset. */
void sockopt_reset(int fd);

#endif
