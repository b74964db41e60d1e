/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The emulated SSD: registers, DMA table, queues, medium; and what device.c offers the other files.
 * Registers, admin queue, features and the creation of queues belong to the main thread.
 */
#ifndef NVMETD_PCIE_EMUL_STATE_H
#define NVMETD_PCIE_EMUL_STATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pcie/device.h"
#include "pcie/emul/bad.h"
#include "pcie/emul/emul.h"
#include "pcie/emul/media.h"
#include "pcie/emul/queue.h"
#include "pcie/nvme.h"
#include "util/loop.h"

#define EMUL_VERSION    NVME_VS(2, 0, 0)
#define EMUL_MAX_RANGES 8
#define EMUL_MAX_QUEUES 256
#define EMUL_MAX_NS     32
#define EMUL_AERS       4

struct emul_range {
	uint8_t *va;
	uint64_t iova;
	size_t len;
};

struct emul {
	struct pcie_device dev;
	struct emul_options options;
	bool faulty; /* a fault may strike an I/O command: constant */
	struct emul_media media;
	struct emul_bad bad;
	pthread_mutex_t change_lock; /* of what the medium holds, if fused commands are offered */
	uint32_t block_bytes;        /* with metadata */
	_Atomic uint64_t ns_blocks;  /* of each namespace */
	uint64_t ns_span;      /* blocks from the start of one to the next; Format changes it */
	_Atomic unsigned n_ns; /* attached: 1 .. n_ns */
	uint8_t ns_uuid[EMUL_MAX_NS][16];

	uint32_t cc, csts, aqa;
	uint64_t asq, acq;
	_Atomic bool gone, fatal;
	_Atomic unsigned strikes; /* of the faults that fault.times limits */
	unsigned n_enables;
	struct event *back_timer;

	struct emul_range ranges[EMUL_MAX_RANGES];
	unsigned n_ranges;
	int irq_fds[EMUL_MAX_QUEUES + 1];
	unsigned n_irqs;

	struct emul_sq sq[EMUL_MAX_QUEUES + 1];
	struct emul_cq cq[EMUL_MAX_QUEUES + 1];

	uint32_t features[256];
	bool quiet; /* the driver is through with the queues, and they with its memory */
	uint16_t aers[EMUL_AERS];
	unsigned n_aers;
	uint32_t event;           /* DW0 of one that no AER has carried yet; 0: none */
	uint8_t critical_warning; /* in SMART */
	_Atomic bool smart_told, error_told, ns_told;

	/* maintenance.c */
	char firmware[8];    /* revision */
	uint8_t store[4096]; /* what a host sent last, to be given back or committed */
	size_t store_len;
	uint8_t self_tests[2]; /* newest first: code and result; 0: none */
	bool sanitized;

	volatile uint32_t *events; /* EventIdx of the doorbells; NULL without shadow ones */

	struct loop *watch_loop;
	pcie_device_event_fn *watch_fn;
	void *watch_arg;
	struct loop_msg gone_msg, smart_msg, error_msg, ns_msg;
};

/* Memory of the DMA table at [iova, iova + len), or NULL. Any thread; the table changes
 * only while no queue exists. */
void *emul_dma(const struct emul *emul, uint64_t iova, size_t len);
void emul_interrupt(struct emul *emul, const struct emul_cq *cq);
/* The same for what was posted; the queue's owner. */
void emul_signal(struct emul *emul, struct emul_cq *cq);

/* The device has gone, and is there again. Main thread. */
void emul_announce_gone(struct loop_msg *msg);

static inline bool emul_has_ns(const struct emul *emul, uint32_t nsid)
{
	return nsid >= 1 && nsid <= atomic_load_explicit(&emul->n_ns, memory_order_relaxed);
}

/* Whether a block is more than bytes that are transferred as they lie there. */
static inline bool emul_blockwise(const struct emul *emul)
{
	return emul->options.pi || emul->options.separate;
}

#endif
