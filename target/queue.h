/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A queue as a remote host sees it: one connection, an admin or an I/O queue of a controller once
 * Connect succeeded. Embedded in the transport's connection.
 *
 * Threads: the fields are grouped by owner. Release order (nothing of a host's memory is reused
 * while the SSD may still write to it): transport stops reading → nvmet_queue_release() → main
 * thread deletes the SSD's queue pairs and forgets the queue → released() on the worker → transport
 * frees its slots.
 */
#ifndef NVMETD_TARGET_QUEUE_H
#define NVMETD_TARGET_QUEUE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "pcie/nvme.h"
#include "target/fuse.h"
#include "target/losses.h"
#include "target/peer.h"
#include "util/bits.h"
#include "util/counter.h"
#include "util/loop.h"

struct event;
struct nvme_qpair;
struct nvmet_auth;
struct nvmet_ctrl;
struct nvmet_latency;
struct nvmet_port;
struct nvmet_req;
struct nvmet_target;
struct nvmet_transport_ops;
struct psk_identity;
struct worker;

#define NVMET_MAX_SSDS 16 /* SSDs in one subsystem */

/*
 * One SSD of the subsystem, as this queue uses it. Its life is told in ssd.h; `outstanding`,
 * `draining`, and what is known of losses, belong to the worker (to the main thread before Connect
 * is answered, and once the queue pair is detached), the rest to the main thread.
 */
struct nvmet_path {
	struct nvme_qpair *qpair;
	uint32_t outstanding;  /* commands of this queue at the SSD */
	uint32_t losses_known; /* the SSD's losses that queue->untold takes into account */
	uint64_t told_ns;      /* when the host was last told of one; 0: never */
	bool told_seen;        /* the host has seen that (losses.h) */
	bool draining;         /* the last of them sends `msg` to the main thread */

	struct nvmet_queue *queue;
	struct nvmet_qpair_share *share; /* NULL: this path has no queue pair */
	struct nvmet_loss_host *loss_host;
	TAILQ_ENTRY(nvmet_path) link; /* users of the share, or the SSD's waiters */
	uint32_t entries;             /* wanted, while it waits */
	bool putting;                 /* counted in share->n_putting */
	bool late;                    /* it came when its queue was live (arrival.h) */
	struct loop_msg msg;
	void (*got)(struct nvmet_queue *queue, int err);
	void (*put)(struct nvmet_queue *queue);
};

#define NVMET_KINDS 3 /* of I/O commands: enum nvmet_dir */

/* What its I/O commands amount to. Written by the worker, readable by all. */
struct nvmet_queue_stats {
	struct counter commands[NVMET_KINDS], bytes[NVMET_KINDS]; /* answered */
	struct counter errors;     /* of them, with a status other than success */
	struct counter page_waits; /* had to wait for DMA pages */
};

struct nvmet_queue {
	/* Set by the transport before anything else; constant. */
	struct nvmet_target *target;
	struct worker *worker;
	const struct nvmet_transport_ops *ops;
	struct nvmet_port *port; /* where the host came in */
	char local_addr[48];     /* numeric address that the host came to */
	char peer[72];           /* "192.0.2.7:49152", "[2001:db8::7]:49152": for the log */
	struct nvmet_peer_addr peer_addr; /* for limits */
	const struct psk_identity *tls;   /* what the host has proved to have; NULL: no TLS */
	const char *tls_how; /* cipher suite and who has the records, for reports; with tls */

	/* Set by Connect on the main thread; constant once `live`. */
	struct nvmet_ctrl *ctrl;
	struct nvmet_latency *latency; /* latency.h; the worker writes. NULL: no I/O queue */
	uint16_t qid;
	uint16_t entries;  /* SQSIZE + 1: most commands that the host may have outstanding */
	bool flow_control; /* SQHD counts */
	bool must_authenticate;

	/* The worker's. */
	bool live;         /* Connect was answered with success */
	bool connecting;   /* Connect is being worked on */
	bool refused;      /* its last Connect was */
	bool trusted;      /* authenticated, or need not be */
	bool disconnected; /* by Disconnect: was live, takes no command any more */
	bool releasing;
	struct nvmet_req *disconnect; /* Disconnect that waits for the answers to the others */
	uint16_t sqhd;
	/* Those below n_paths are in use. Both are the main thread's until Connect is answered, and
	 * when the release has come to it. In between n_paths is the worker's, as are the paths
	 * below it (see struct nvmet_path); the one that comes next stays the main thread's
	 * until it hands it over for attaching (arrival.c). */
	uint32_t n_paths;
	struct nvmet_path paths[NVMET_MAX_SSDS];
	struct nvmet_fuse fuse;
	struct nvmet_ns_set untold; /* namespaces whose next Flush fails (losses.h) */
	uint64_t *cid_map;          /* a bit for each CID (util/bits.h): outstanding */
	struct nvmet_queue_stats stats;
	bool active; /* a command came since the keep-alive timer looked; relaxed atomic */

	/* The main thread's. */
	struct nvmet_auth *auth;      /* auth.c's; NULL: there was no need yet */
	unsigned control_outstanding; /* requests that it has */
	bool dying;                   /* release has begun */
	bool close_posted;
	bool released_posted;
	unsigned paths_left; /* still to be given back, by the release or by a failed Connect */
	struct nvmet_req *connect; /* Connect that waits for queue pairs */
	uint16_t connect_status;   /* what it will be answered */
	bool looked_around;        /* its Connect had older connections looked at (assoc.h) */
	bool looking;              /* look_msg is under way */
	bool look_again;           /* send it once more when it is back */
	struct loop_msg look_msg;
	struct loop_msg close_msg;
	const char *close_why;
	struct loop_msg arrival_msg; /* a path that came late, there and back */
	int arrival_err;

	/* Release, there and back. */
	struct loop_msg release_msg;
	void (*released)(struct nvmet_queue *queue);
};

/* Prepares a queue for a new connection; the constant fields are set by the caller. Main
 * thread: the worker does not know it yet. 0 or -ENOMEM. */
int nvmet_queue_init(struct nvmet_queue *queue);
/* Frees what it holds. It was released, or never used. Main thread. */
void nvmet_queue_fini(struct nvmet_queue *queue);

/*
 * The connection is over. Worker; once. Requests that are at the SSD or at the main thread come to
 * their end without a response; requests that are neither stay the transport's. `released` is
 * called on the worker when neither the SSD nor the main thread knows anything of this queue any
 * more.
 */
void nvmet_queue_release(struct nvmet_queue *queue, void (*released)(struct nvmet_queue *queue));

/* The answers to all other commands have left: that to queue->disconnect follows. Worker. */
void nvmet_queue_end_disconnect(struct nvmet_queue *queue);

/* Asks the transport to close the connection. Main thread. `why` is a constant string. */
void nvmet_queue_close(struct nvmet_queue *queue, const char *why);

/* For target/ only: a step of the release ended on the main thread; goes on when it
 * was the last. */
void nvmet_queue_release_continue(struct nvmet_queue *queue);
/* For target/ only: Connect's answer has come back to the worker; on success the
 * queue goes live. */
void nvmet_queue_connect_answered(struct nvmet_queue *queue, struct nvmet_req *req);

/* CIDs in flight (Base 4.2.3: Command ID Conflict). Worker. */
static inline bool nvmet_queue_cid_test(const struct nvmet_queue *queue, uint16_t cid)
{
	return bits_test(queue->cid_map, cid);
}
static inline void nvmet_queue_cid_set(struct nvmet_queue *queue, uint16_t cid)
{
	bits_set(queue->cid_map, cid);
}
static inline void nvmet_queue_cid_clear(struct nvmet_queue *queue, uint16_t cid)
{
	bits_clear(queue->cid_map, cid);
}

#endif
