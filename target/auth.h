/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * In-band authentication (DH-HMAC-CHAP) of one queue. Main thread's, but for nvmet_parse_auth().
 *
 * A queue of a host that has a key must authenticate: until it has, its worker answers everything
 * else with Authentication Required (nvmet_queue.trusted), and a timer ends a queue that does not:
 * it has limits.handshake_timeout from Connect on, whatever it says meanwhile. It may authenticate
 * again at any time, for which it has as much from the first message on.
 */
#ifndef NVMETD_TARGET_AUTH_H
#define NVMETD_TARGET_AUTH_H

#include <stdbool.h>
#include <stdint.h>

struct nvmet_auth;
struct nvmet_queue;
struct nvmet_req;
struct nvmet_subsystem;

/* What may be used, the preferred first; from the configuration. */
struct nvmet_auth_policy {
	uint8_t hashes[3]; /* enum hash_id */
	unsigned n_hashes;
	uint8_t groups[6]; /* enum dh_group */
	unsigned n_groups;
	bool discovery; /* a host that has a key proves it for the discovery log, too */
};

/* Authentication Send and Receive. Worker. */
uint16_t nvmet_parse_auth(struct nvmet_req *req);

/* Whether a host must authenticate at a subsystem. */
bool nvmet_auth_required(const struct nvmet_subsystem *subsys, const char *hostnqn);
/* Makes what authentication needs; once is enough. 0 or -ENOMEM. */
int nvmet_auth_prepare(struct nvmet_queue *queue);
/* The queue has connected and must authenticate: its time begins. After nvmet_auth_prepare(). */
void nvmet_auth_expect(struct nvmet_queue *queue);
/* Whether it has (or need not). */
bool nvmet_auth_done(const struct nvmet_queue *queue);
/* How far it is, for reports: "none" (there is no need), "pending", "failed", "one way" (the host
 * has proved itself), "both ways". */
const char *nvmet_auth_state(const struct nvmet_queue *queue);
/* The queue goes away. */
void nvmet_auth_forget(struct nvmet_queue *queue);

#endif
