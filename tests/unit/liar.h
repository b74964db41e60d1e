/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device between the controller driver and the emulated SSD that passes everything on and changes
 * what comes back: registers, data of admin commands, completions of admin commands. And the
 * driver's side of such a test: one controller on one loop.
 */
#ifndef NVMETD_TESTS_LIAR_H
#define NVMETD_TESTS_LIAR_H

#include <stdbool.h>
#include <stdint.h>

#include "pcie/ctrl.h"
#include "pcie/device.h"
#include "pcie/dma.h"
#include "pcie/qpair.h"
#include "util/loop.h"

/* What it makes of an admin command's answer; data is NULL without a PRP. */
typedef void lie_fn(const struct nvme_sqe *sqe, uint8_t *data, struct nvme_cqe *cqe);

struct liar {
	struct pcie_device dev;
	struct pcie_device *real;
	uint8_t *dma;
	uint64_t iova;
	uint64_t asq, acq;
	uint32_t aqa;
	uint32_t head, at; /* of the admin SQ, of its CQ */
	bool phase;
	struct nvme_sqe sent[1024]; /* by CID */
	uint32_t kept;              /* the admin SQ's doorbell */
	unsigned n_aers;            /* sent */
	uint32_t highest_write;     /* of all register offsets */
	unsigned n_resets;          /* of the function */
	pcie_device_event_fn *tell; /* the driver what happens to the device */
	void *tell_arg;

	/* Set before liar_start(). */
	uint64_t cap_clear, cap_set;
	size_t bar_len;              /* 0: as it is */
	bool late;                   /* admin commands are kept until liar_complete() */
	bool storm;                  /* an event as soon as it is asked for one */
	unsigned vectors;            /* that the machine has left; 0: as many as are asked for */
	unsigned command_timeout_ms; /* nvme_ctrl_params', 0: 1000 */
	unsigned retry_ms;           /* nvme_ctrl_params' */
	bool awaited;                /* the same */
	bool absent;                 /* until liar_arrive() */
	int refused; /* opcode of an admin command that it does not know; -1: none */
	lie_fn *lie;
};

/* What the driver reported. */
struct liar_seen {
	unsigned ready, failed, stopped, events, created, deleted;
	int created_err;
	struct nvme_qpair *qpair;
};

extern struct liar liar;
extern struct liar_seen seen;
extern struct nvme_ctrl *liar_ctrl;

/* Whether it asks for this structure. */
static inline bool is_identify(const struct nvme_sqe *sqe, enum nvme_cns cns)
{
	return sqe->opcode == NVME_ADMIN_IDENTIFY && (le32_get(sqe->cdw10) & 0xff) == cns;
}

/* The truth again. A cmocka setup function, too. */
int liar_reset(void **state);
/* Brings an emulated SSD up; READY or FAILED has been reported when it returns, but of one that is
 * absent. */
void liar_start(const char *spec, lie_fn *lie);
/* It is there now; the same. */
void liar_arrive(void);
/* Runs the loop until something is reported; a test fails when nothing is for 10 s. */
void liar_run(void);
/* Runs the loop for some time, whatever is reported. */
void liar_run_for(unsigned ms);
/* Completes what is kept, without an interrupt. */
void liar_complete(void);
/* Takes all down; no memory may be left. */
void liar_end(void);
/* Creates an I/O queue pair (seen.qpair, seen.created_err); deletes it. */
void liar_create(void);
void liar_delete(void);

#endif
