/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The whole of what is exported: subsystems, ports, SSDs, workers. Main thread's; made by config/,
 * read by discovery and by the control socket.
 */
#ifndef NVMETD_TARGET_TARGET_H
#define NVMETD_TARGET_TARGET_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "target/auth.h"
#include "target/nvmf.h"

struct dma_pool;
struct event;
struct keyring;
struct loop;
struct nvmet_host;
struct nvmet_queue;
struct nvmet_ssd;
struct nvmet_subsystem;
struct nvmet_totals;
struct worker;

/* Data of one command to a discovery controller, bytes; its MDTS. Anybody can have one: small, but
 * more than hosts ask for at once (a log of 63 entries). */
#define NVMET_DISCOVERY_TRANSFER (64u << 10)

/* Limits that protect us from hosts; all from the configuration. Of what is limited in all, one
 * IPv6 network can have 7/8 (peer.h). */
struct nvmet_limits {
	unsigned connections;          /* in all */
	unsigned connections_per_host; /* per peer address */
	unsigned handshakes;           /* connections that have not finished Connect, in all */
	unsigned handshakes_per_host;  /* per peer address */
	/* I/O and discovery controllers, counted apart. */
	unsigned controllers;          /* in all */
	unsigned controllers_per_host; /* per host NQN; per peer address before it is proven, and
					  for discovery */
	unsigned handshake_timeout_ms; /* ICReq and Connect, each */
	unsigned discovery_timeout_ms; /* discovery controllers with KATO 0 and silent; 0: none */
	unsigned enable_timeout_ms;    /* until CC.EN is set, and after it was cleared; 0: none */
	unsigned term_timeout_ms; /* a host that got a TermReq and does not close, at most 30 s */
	unsigned pdu_timeout_ms;  /* of a PDU, an R2T's data or an answer: 1 KiB/s must move */
};

/* Whether hosts must, may or cannot use TLS at a port. */
enum nvmet_tls_mode { NVMET_TLS_OFF, NVMET_TLS_OPTIONAL, NVMET_TLS_REQUIRED };

/* A listening address. Owned by the transport's listener. */
struct nvmet_port {
	TAILQ_ENTRY(nvmet_port) link;
	uint16_t portid; /* 1 .. */
	uint8_t adrfam;  /* enum nvmf_adrfam */
	char traddr[64]; /* as bound, numeric; may be the wildcard address */
	char trsvcid[8];
	enum nvmet_tls_mode tls;
	bool wildcard; /* discovery answers with the address that the host came to */
};

/* Who was not let in, ever; what workers refuse is theirs to count. */
struct nvmet_refusals {
	uint64_t connections;     /* beyond a limit */
	uint64_t connects;        /* commands */
	uint64_t authentications; /* that failed */
};

struct nvmet_target {
	struct loop *loop; /* main */
	struct worker *workers;
	unsigned n_workers;
	uint32_t max_transfer; /* bytes: our own limit for a command's data */
	struct dma_pool *pool; /* the main thread's */
	struct nvmet_limits limits;
	struct keyring *keys; /* not ours; constant */
	struct nvmet_auth_policy auth_policy;
	uint32_t auth_seqnum; /* of the last challenge */
	bool tls;             /* there is a port where hosts can use it */

	TAILQ_HEAD(, nvmet_subsystem) subsystems; /* the discovery subsystem is among them */
	TAILQ_HEAD(, nvmet_port) ports;
	TAILQ_HEAD(, nvmet_ssd) ssds;
	LIST_HEAD(, nvmet_host) hosts; /* that have controllers */
	struct nvmet_totals *ended;    /* what I/O queues that are gone amounted to (latency.h) */
	uint64_t genctr; /* discovery log: changes with every change of ports, subsystems, hosts */
	struct nvmet_refusals refused;
	unsigned n_ctrls, n_discovery_ctrls;     /* in all, and of them */
	TAILQ_HEAD(, nvmet_req) parked_connects; /* wait for an older association (assoc.h) */
	struct event *park_timer;
};

/* An empty target with a discovery subsystem. 0 or -ENOMEM. */
int nvmet_target_init(struct nvmet_target *target, struct loop *loop, struct worker *workers,
		      unsigned n_workers);
/* No connection is left. Frees subsystems and SSDs; ports are their listeners'. */
void nvmet_target_fini(struct nvmet_target *target);

/* Links a port, which stays the caller's, gives it a number, and tells discovery controllers. */
void nvmet_target_add_port(struct nvmet_target *target, struct nvmet_port *port);
/* Unlinks it. */
void nvmet_target_remove_port(struct nvmet_target *target, struct nvmet_port *port);
/* Ports, subsystems or hosts changed: counts the generation, tells discovery controllers. */
void nvmet_target_discovery_changed(struct nvmet_target *target);

/* Workers that connections may go to: the first ones, as many as the SSD with the fewest I/O queue
 * pairs has. A queue pair is one worker's, so on a worker without one an I/O queue would be refused
 * for ever. */
unsigned nvmet_target_n_usable_workers(const struct nvmet_target *target);

/* Calls `fn` for each I/O queue that a controller has, by subsystem, controller and QID. */
void nvmet_target_each_queue(const struct nvmet_target *target,
			     void (*fn)(void *arg, const struct nvmet_queue *queue), void *arg);

/* The subsystem of this NQN, the discovery subsystem among them; NULL: there is none. */
struct nvmet_subsystem *nvmet_target_find(struct nvmet_target *target, const char *nqn);

#endif
