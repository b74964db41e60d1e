/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A connection: one socket, one remote queue. It belongs to its worker from the first event on, and
 * goes back to the main thread only to be freed.
 *
 *   (TLS →) ICREQ → LIVE → CLOSED    a host that came and went
 *        ↘    ↘ TERM → CLOSED        a host that broke the protocol: C2HTermReq, then it may close
 *
 * From TERM on nothing more is parsed, and the SSD's queue pair is given back at once. The object
 * lives until it is CLOSED and its queue is released (target/queue.h).
 */
#ifndef NVMETD_TRANSPORT_CONN_H
#define NVMETD_TRANSPORT_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "target/queue.h"
#include "transport/cmd.h"
#include "transport/pdu.h"
#include "transport/stream.h"
#include "util/loop.h"

struct event;
struct nvme_tcp;
struct sockaddr_storage;

#define CONN_MAXH2CDATA  (256u << 10)
#define CONN_CTL_SIZE    160 /* ICResp, or a TermReq with 128 bytes of header */
#define CONN_SLOTS_FIRST 2   /* before Connect: it, and one more to refuse */

enum conn_state { CONN_TLS, CONN_ICREQ, CONN_LIVE, CONN_TERM, CONN_CLOSED };

/* Where the receiver is in the stream. */
enum conn_rx {
	RX_HEADER,
	RX_DATA, /* into a command's pages */
	RX_SKIP, /* data nobody wants */
	RX_DDGST,
};

struct nvme_tcp_conn {
	struct nvmet_queue queue;
	struct tcp_worker *tw;
	struct nvme_tcp *tcp;
	LIST_ENTRY(nvme_tcp_conn) link; /* worker's */
	enum conn_state state;
	struct stream stream;
	struct event *read_event, *write_event, *timer;
	struct loop_source source; /* its socket, while read_event is pending */
	struct pdu_limits limits;
	uint8_t hpda;

	/* Receiving. */
	struct loop_task rx_task; /* others come first (share.h) */
	enum conn_rx rx;
	_Alignas(8) uint8_t header[PDU_HEADER_MAX]; /* of the PDU under way */
	uint32_t header_len;                        /* of it, received */
	const uint8_t *behind;                      /* what came with it, while it is parsed */
	size_t behind_len;
	struct pdu_shape shape;
	struct nvme_tcp_cmd *rx_cmd; /* whose data is coming */
	uint32_t rx_left;            /* bytes of RX_DATA and RX_SKIP */
	uint32_t rx_crc;
	uint8_t rx_ddgst[NVME_TCP_DIGEST_SIZE];
	uint32_t rx_ddgst_len;
	bool rx_paused;  /* in-capsule data waits for pages */
	bool rx_blocked; /* TLS has to send before it can read */
	uint8_t *stash;  /* what was already read behind it */
	size_t stash_len;
	bool draining; /* the daemon stops: no new commands */

	/* Commands. */
	struct nvme_tcp_cmd *cmds;
	unsigned n_cmds, n_used_cmds;    /* the rest was never touched */
	struct nvme_tcp_cmd *first_cmds; /* from before Connect, once there are others */
	unsigned n_first_cmds;           /* that were used */
	struct nvme_tcp_cmd_list free_cmds;
	unsigned n_busy;      /* slots in use */
	unsigned n_receiving; /* of them, granted data that has not all come */

	/* Waiting for pages (pages.h). */
	TAILQ_ENTRY(nvme_tcp_conn) wait_link;
	struct nvme_tcp_cmd_list waiting;
	bool wait_queued;
	size_t pages_held;                 /* bytes */
	struct nvme_tcp_cmd *beyond_share; /* whose pages are more than its share; or NULL */
	struct pages_host *pages_host;
	bool pages_discovery;

	/* Sharing the worker (share.h). */
	uint32_t crowd;         /* commands under way: a peak that falls slowly; 1/16ths */
	uint32_t last_transfer; /* bytes of its last command */
	uint64_t modest_until;  /* as it set its worker's when it last was modest */

	/* Answering early (early.h). */
	uint8_t early_skip; /* batches until it is tried again; the last time was in vain */

	/* Sending. */
	struct loop_task tx_task;
	struct nvme_tcp_cmd_list tx;
	_Alignas(8) uint8_t ctl[CONN_CTL_SIZE]; /* ICResp or TermReq: goes before commands' PDUs */
	size_t ctl_len, ctl_sent;
	bool want_write;

	/* Progress, as the timer sees it. `_seen`: when it was set; UINT64_MAX begins anew. */
	bool timer_armed;
	unsigned timer_ms;                    /* that it was set for */
	uint64_t rx_bytes, rx_bytes_seen;     /* ever; of the PDU under way */
	uint64_t granted_bytes, granted_seen; /* of data that R2Ts asked for, while some is due */
	uint64_t tx_acked_seen;               /* while some waits for room in the socket */

	bool released;
	struct loop_task end_task;
	bool handshake_over; /* told to the main thread */
	struct loop_msg msg; /* start, and the end */
	struct loop_msg handshake_msg;
};

/* Main thread: makes a connection of an accepted socket. It owns the fd. NULL: no memory (fd
 * stays). */
struct nvme_tcp_conn *conn_new(struct nvme_tcp *tcp, struct tcp_worker *tw, struct nvmet_port *port,
			       int fd, const struct sockaddr_storage *peer);
/* Worker: begins to listen to it. */
void conn_start(struct nvme_tcp_conn *conn);

/* Ends the connection at once. `why` goes to the log; NULL: nothing to say. */
void conn_close(struct nvme_tcp_conn *conn, const char *why);
/* The host broke the protocol: C2HTermReq with the header it sent, then the end. */
void conn_term(struct nvme_tcp_conn *conn, struct pdu_verdict verdict);

/* The host answered the handshake with a good ICReq. */
void conn_established(struct nvme_tcp_conn *conn, const struct nvme_tcp_icreq *icreq);
/* Something must come from the host now, or be read by it: the timer watches that it does. */
void conn_expect(struct nvme_tcp_conn *conn);
/* The daemon stops: closes the connection once nothing is under way. */
void conn_drain(struct nvme_tcp_conn *conn);

/* rx.c: of a new connection. */
void rx_init(struct nvme_tcp_conn *conn);
/* The socket has something, which is received when others had their turn (share.h). */
void rx_last(struct nvme_tcp_conn *conn);
/* Nothing more is received, until read_event is added again. */
void rx_stop(struct nvme_tcp_conn *conn);
/* Takes what the socket has, a bounded part of it in each wake-up. The connection may be
 * closed when it returns. */
void rx_readable(struct nvme_tcp_conn *conn);

/* There is room in the socket: goes on if that was awaited. */
void rx_unblock(struct nvme_tcp_conn *conn);

/* tx.c: of a new connection. */
void tx_init(struct nvme_tcp_conn *conn);
/* Queues ICResp with these digests (NVME_TCP_DGST_…). */
void tx_icresp(struct nvme_tcp_conn *conn, uint8_t dgst);
/* Sends C2HTermReq at once and shuts our side of the connection down. False: it cannot be sent, for
 * half a PDU is in the socket or there is no room. */
bool tx_term(struct nvme_tcp_conn *conn, struct pdu_verdict verdict);
/* Queues the response to a command, after the data of a read; then the slot is free again. */
void tx_response(struct nvme_tcp_cmd *cmd);
/* Queues the R2T for all data of a write that has its pages. */
void tx_r2t(struct nvme_tcp_cmd *cmd);
/* Nothing more is sent before there is room in the socket. */
void tx_await_room(struct nvme_tcp_conn *conn);
/* Sends what is queued, as far as the socket takes it; the rest follows by itself. The connection
 * may be closed when it returns. */
void tx_flush(struct nvme_tcp_conn *conn);

#endif
