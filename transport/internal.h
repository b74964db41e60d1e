/* SPDX-License-Identifier: BSD-3-Clause */
/* What connections need of tcp.c. */
#ifndef NVMETD_TRANSPORT_INTERNAL_H
#define NVMETD_TRANSPORT_INTERNAL_H

#include "target/peer.h"

struct nvme_tcp;
struct nvme_tcp_conn;
struct nvmet_port;
struct nvmet_target;
struct sockaddr_storage;
struct tls_ctx;

/* Any thread: these are constant. NULL: no port has TLS. */
struct nvmet_target *tcp_target(struct nvme_tcp *tcp);
struct tls_ctx *tcp_tls(struct nvme_tcp *tcp);
/* Any thread. The address without the port, IPv4 as ::ffff:a.b.c.d. */
struct nvmet_peer_addr tcp_peer_addr(const struct sockaddr_storage *peer);

/* Main thread, as all below. */
/* Takes a connected socket in, as an accepted one: 0, -EBUSY (a limit) or -ENOMEM (fd stays). */
int tcp_admit(struct nvme_tcp *tcp, struct nvmet_port *port, int fd,
	      const struct sockaddr_storage *peer);
/* Connect succeeded: the connection no longer counts as half-open. Once. */
void tcp_handshake_over(struct nvme_tcp *tcp, struct nvme_tcp_conn *conn);
/* The connection is freed next: it no longer counts at all. */
void tcp_conn_over(struct nvme_tcp *tcp, struct nvme_tcp_conn *conn);

#endif
