/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fused Compare and Write (Base 6.1; NVM Command Set 2.1.4).
 *
 * Two commands that a host sends one behind the other on a queue are one operation: FUSE says first
 * or second. The SSD must find them next to each other, told by one doorbell, so they are kept here
 * until the data of both is in memory. A pair whose one half fails, whatever the reason, never
 * reaches the SSD: the other half ends with Command Aborted due to Failed Fused Command (00/09h). A
 * half without its other half ends with Missing Fused Command (00/0Ah) as soon as the next command
 * tells.
 *
 * A first half holds memory while it waits for its second, so both are small (NVMET_FUSED_MAX), a
 * worker takes a bounded number of them, and the transport closes a connection whose second half
 * does not come in time: no host can hold up others this way. Everything here is the worker's.
 */
#ifndef NVMETD_TARGET_FUSE_H
#define NVMETD_TARGET_FUSE_H

#include <stdbool.h>
#include <stdint.h>

struct nvmet_ns;
struct nvmet_queue;
struct nvmet_req;
struct nvmet_subsystem;

/* Bytes of each half; ACWU says so. More than any host locks with is one block. */
#define NVMET_FUSED_MAX 8192u

/* What a queue knows of the pair that is coming in. */
struct nvmet_fuse {
	struct nvmet_req *first; /* its second half has not come; NULL: none waits for one */
	bool failed;             /* the last command was a first half, and is over already */
	unsigned n;              /* halves on their way */
	unsigned n_parked;       /* of them, those that have all they need but the other half */
};

/* Whether controllers with the subsystem's first n SSDs offer it (FUSES bit 0): all must. Any
 * thread. */
bool nvmet_fuse_offered(const struct nvmet_subsystem *subsys, unsigned n_ssds);
/* ACWU, NACWU: blocks of a pair on this namespace that are written as one, 0's based. */
uint16_t nvmet_fuse_acwu(const struct nvmet_ns *ns);

/*
 * A command has come: what it means for a pair that is coming in, and whether it may be part of
 * one. Called in the order of arrival, for every command that has FUSE bits or comes while
 * nvmet_fuse_open(). 0 or a status.
 */
uint16_t nvmet_fuse_arrive(struct nvmet_req *req);
bool nvmet_fuse_open(const struct nvmet_queue *queue);

/* req->execute of a half: its data is here. */
void nvmet_fuse_execute(struct nvmet_req *req);
/* A half (req->fuse) ends without having been at the SSD: the other one ends too. */
void nvmet_fuse_ended(struct nvmet_req *req);
/* A host wants it aborted. True: it was parked here and is over. */
bool nvmet_fuse_abort(struct nvmet_req *req);
/* The queue is released: its halves are forgotten. */
void nvmet_fuse_forget(struct nvmet_queue *queue);

#endif
