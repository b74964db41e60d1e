/* SPDX-License-Identifier: BSD-3-Clause */
/* What connections need of tcp.c (main thread), and of each other's files. */
#ifndef NVMETD_TRANSPORT_INTERNAL_H
#define NVMETD_TRANSPORT_INTERNAL_H

#include <stdint.h>

#include "transport/pdu.h"

struct nvme_tcp;
struct nvme_tcp_conn;
struct nvmet_port;
struct nvmet_target;
struct sockaddr_storage;
struct tls_ctx;

/* tcp.c. Main thread, but for the two that only read what is constant. */
struct nvmet_target *tcp_target(struct nvme_tcp *tcp);                     /* any thread */
struct tls_ctx *tcp_tls(struct nvme_tcp *tcp);                             /* any thread */
void tcp_peer_addr(const struct sockaddr_storage *peer, uint8_t addr[16]); /* any thread */
/* Takes a connected socket in, as an accepted one: 0, -EBUSY (a limit) or -ENOMEM (fd stays). */
int tcp_admit(struct nvme_tcp *tcp, struct nvmet_port *port, int fd,
	      const struct sockaddr_storage *peer);
/* Connect succeeded: the connection no longer counts as half-open. Once. */
void tcp_handshake_over(struct nvme_tcp *tcp, struct nvme_tcp_conn *conn);
/* The connection is freed next: it no longer counts at all. */
void tcp_conn_over(struct nvme_tcp *tcp, struct nvme_tcp_conn *conn);

/* tx.c: what goes before commands' PDUs. Worker. */
/* Queues ICResp with these digests (NVME_TCP_DGST_…). */
void tx_icresp(struct nvme_tcp_conn *conn, uint8_t dgst);
/* Sends C2HTermReq at once, unless half a PDU is in the socket; then nothing more is sent. */
void tx_term(struct nvme_tcp_conn *conn, struct pdu_verdict verdict);

#endif
