/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The SSD's controller: bring-up, shutdown, its admin queue, and the making and deleting of I/O
 * queue pairs. Everything here belongs to the main thread.
 *
 * Bring-up is a state machine on the loop's timers (Base 3.5.1): nothing blocks. States:
 * DISABLING → ENABLING → IDENTIFY → QUEUES → NAMESPACES → READY, and SHUTDOWN → STOPPED or FAILED.
 *
 * An SSD that was READY and breaks down is reset (recovery.c): READY → PAUSING → DISABLING → … →
 * NAMESPACES → REQUEUING → READY. Queue pairs stay the same objects; commands that were under way
 * are issued again. One that is gone waits in ABSENT for its return, and one that does not come up
 * is tried again from FAILED (retry.c). Queue pairs can be made and deleted all the while.
 *
 * An SSD that was never READY stays FAILED, unless it is awaited: then it is tried again and waits
 * in ABSENT like one that was, and may be there from then on only (nvme_ctrl_params.dev NULL).
 */
#ifndef NVMETD_PCIE_CTRL_H
#define NVMETD_PCIE_CTRL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pcie/nvme.h"
#include "pcie/qpair.h"

struct dma_arena;
struct dma_buf;
struct dma_pool;
struct loop;
struct nvme_ctrl;
struct pcie_device;

/* A namespace of the SSD. Owned by the controller; stays at its address until the controller is
 * freed. */
struct nvme_ns {
	struct nvme_ctrl *ctrl;
	uint32_t nsid;
	uint64_t nsze;     /* blocks */
	uint8_t lba_shift; /* log2 of the block size in bytes: 9 .. 16 */
	uint16_t metadata; /* bytes per block */
	bool present;      /* false: the SSD had it once and may have it again */
	bool seen;         /* ns.c, while it scans */
	bool described;    /* by descriptors, which may have been none */
	bool has_uuid, has_nguid, has_eui64;
	uint8_t uuid[16], nguid[16], eui64[8];
	struct nvme_id_ns id; /* as the SSD said */
};

struct nvme_ctrl_events {
	/* All states up to READY are passed; info and namespaces are filled in. */
	void (*ready)(struct nvme_ctrl *ctrl, void *arg);
	/* Bring-up failed, or recovery did, or a later try; `why` is a sentence, already
	 * logged. Commands end with Host Path Error until it is READY, if it was once. */
	void (*failed)(struct nvme_ctrl *ctrl, const char *why, void *arg);
	/* nvme_ctrl_shutdown() is finished; the device may be closed. */
	void (*stopped)(struct nvme_ctrl *ctrl, void *arg);
	/* The SSD raised an asynchronous event (DW0 of its completion). It is already
	 * armed again. */
	void (*async_event)(struct nvme_ctrl *ctrl, uint32_t dw0, void *arg);
	/* READY: namespaces came, went (`present`), or changed size, format or identity. May be
	 * NULL. */
	void (*namespaces)(struct nvme_ctrl *ctrl, void *arg);
	/*
	 * Optional. The SSD did not come back within patience_ms, or failed: commands no longer
	 * wait for it, they end with Host Path Error. available() follows when it is READY again.
	 */
	void (*unavailable)(struct nvme_ctrl *ctrl, const char *why, void *arg);
	void (*available)(struct nvme_ctrl *ctrl, void *arg);
	/*
	 * Optional. The SSD was gone and is about to go on, with a volatile write cache that may
	 * have lost power: what was completed and never flushed may be missing. Before anything
	 * that it completes from now on, commands that are issued again among it.
	 */
	void (*cache_lost)(struct nvme_ctrl *ctrl, void *arg);
	/*
	 * Optional. The device is gone, or the kernel wants it: nothing of it is used until
	 * nvme_ctrl_take_up(); the owner unmaps DMA and closes it. Not called for a device that
	 * announces its own return (pcie_device.returns).
	 */
	void (*absent)(struct nvme_ctrl *ctrl, void *arg);
};

struct nvme_ctrl_params {
	struct loop *loop;           /* main */
	struct pcie_device *dev;     /* DMA is already mapped. NULL: ABSENT, and awaited */
	const char *name;            /* for the log, while there is no device */
	bool awaited;                /* nobody needs it now: what fails before READY may pass */
	struct dma_pool *pool;       /* main's: rings, PRP lists, admin data */
	size_t max_transfer;         /* our own limit, bytes: power of two, 4096 .. 1 MiB */
	unsigned max_queues;         /* most I/O queue pairs to ask for, 1 .. 65534 */
	unsigned command_timeout_ms; /* admin commands: the SSD is reset when one takes longer */
	unsigned io_timeout_ms; /* I/O commands: aborted, then the SSD is reset; 0: not watched */
	unsigned patience_ms;   /* how long commands wait for an SSD that is being reset, or gone */
	unsigned retry_ms; /* until an SSD that was given up is tried again; each pause is twice the
			    * one before, up to ten minutes; 0: only when it is asked for */
	const struct nvme_ctrl_events *events;
	void *arg;
};

/* What READY promises. Plain data; read-only for everybody else. */
struct nvme_ctrl_info {
	uint64_t cap;
	uint32_t vs;
	struct nvme_id_ctrl id; /* as the SSD said */
	size_t max_transfer;    /* bytes: least of the SSD's MDTS and params.max_transfer */
	uint32_t max_entries;   /* of an I/O queue: CAP.MQES + 1 */
	unsigned n_queues;      /* I/O queue pairs that the SSD granted */
	bool volatile_write_cache;
	uint16_t oncs;
	struct nvme_id_ctrl_nvm nvm; /* zeroes when the SSD does not say (before NVMe 2.0) */
};

/* 0 or -errno. Nothing is done until nvme_ctrl_start(). */
int nvme_ctrl_new(const struct nvme_ctrl_params *params, struct nvme_ctrl **ret_ctrl);
/* Frees a controller that is stopped or failed; all queue pairs are gone. NULL is allowed. */
void nvme_ctrl_free(struct nvme_ctrl *ctrl);

/* Begins bring-up; events->ready or events->failed follows from the loop. */
void nvme_ctrl_start(struct nvme_ctrl *ctrl);
/* Deletes nothing (callers deleted their queue pairs); CC.SHN, waits for CSTS.SHST,
 * then stopped(). */
void nvme_ctrl_shutdown(struct nvme_ctrl *ctrl);

/* The device is there again (DMA is mapped): brings it up. If it was READY once it must be the same
 * SSD, with the same namespaces. After events->absent(), or when there was none. */
void nvme_ctrl_take_up(struct nvme_ctrl *ctrl, struct pcie_device *dev);

/* Tries an SSD that has FAILED again, at once, if it was READY once or is awaited. 0, or -ENODEV:
 * it is not one. */
int nvme_ctrl_retry(struct nvme_ctrl *ctrl);

bool nvme_ctrl_is_ready(const struct nvme_ctrl *ctrl);
/* For operators: "ready", "absent", …; why it is not ready, or NULL; what it took so far. */
const char *nvme_ctrl_state_name(const struct nvme_ctrl *ctrl);
const char *nvme_ctrl_why(const struct nvme_ctrl *ctrl);
unsigned nvme_ctrl_n_resets(const struct nvme_ctrl *ctrl);
unsigned nvme_ctrl_n_retries(const struct nvme_ctrl *ctrl);
unsigned nvme_ctrl_n_aborts(const struct nvme_ctrl *ctrl);
const char *nvme_ctrl_name(const struct nvme_ctrl *ctrl); /* the device's, for the log */
const struct nvme_ctrl_info *nvme_ctrl_info(const struct nvme_ctrl *ctrl);
unsigned nvme_ctrl_n_ns(const struct nvme_ctrl *ctrl);
struct nvme_ns *nvme_ctrl_ns(struct nvme_ctrl *ctrl, unsigned index);
struct nvme_ns *nvme_ctrl_ns_by_id(struct nvme_ctrl *ctrl, uint32_t nsid);
/*
 * Looks at the namespaces again; events->namespaces() follows if anything is different. Done by
 * itself when the SSD raises a Namespace Attribute Changed event. 0, or -ENODEV (not READY).
 */
int nvme_ctrl_rescan(struct nvme_ctrl *ctrl);
/* Whether a Format of `nsid`, with its CDW10, reaches all namespaces (FNA); and whether it changes
 * the blocks of one that it reaches. */
bool nvme_ctrl_format_reaches_all(const struct nvme_ctrl *ctrl, uint32_t cdw10);
bool nvme_ctrl_format_changes(const struct nvme_ctrl *ctrl, uint32_t nsid, uint32_t cdw10);
/* False from a Format that changes blocks until the namespaces have been looked at again, which is
 * tried anew where it failed. */
bool nvme_ctrl_blocks_known(struct nvme_ctrl *ctrl);

/*
 * Sends an admin command. As nvme_qpair_submit(), but when the admin queue is full the command
 * waits here, and while the SSD is being reset too; -ENOMEM or -ENODEV are the only errors. `buf`
 * may be NULL; `len` bytes of it are used. It stays the caller's and must live until done() — which
 * always comes: with the SSD's completion, or with Host Path Error (3/70h) when the SSD is gone.
 */
int nvme_ctrl_admin(struct nvme_ctrl *ctrl, const struct nvme_sqe *sqe, const struct dma_buf *buf,
		    size_t len, nvme_done_fn *done, void *arg);

/* I/O queue pairs that are not in use now. */
unsigned nvme_ctrl_queues_free(const struct nvme_ctrl *ctrl);

/* err: 0 or -errno (-EIO: the SSD refused, logged). On 0 the queue pair is the callee's, not
 * attached. */
typedef void nvme_qpair_created_fn(void *arg, int err, struct nvme_qpair *qp);
/*
 * Creates an I/O queue pair with rings of `entries` (cut to the SSD's maximum) for the thread of
 * `owner`, the only one that may attach it. -EBUSY: none is left; -ENOMEM; -ENODEV. On 0 created()
 * follows. While the SSD is away the queue pair is one whose commands wait.
 */
int nvme_ctrl_create_qpair(struct nvme_ctrl *ctrl, uint32_t entries, struct loop *owner,
			   nvme_qpair_created_fn *created, void *arg);

typedef void nvme_qpair_deleted_fn(void *arg);
/*
 * Deletes a detached queue pair: Delete SQ, hand out what completed, end the rest with Command
 * Aborted due to SQ Deletion, Delete CQ, free. After deleted() the SSD touches none of its
 * commands' memory. If the SSD does not answer it is reset before deleted() is called. `done`
 * functions of outstanding commands run on the main thread, before deleted().
 */
void nvme_ctrl_delete_qpair(struct nvme_ctrl *ctrl, struct nvme_qpair *qp,
			    nvme_qpair_deleted_fn *deleted, void *arg);

#endif
