/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of the emulated SSD share.
 *
 * Threads: registers, admin queue, features and queue creation belong to the main thread. A pair of
 * I/O queues belongs to the thread that rings its doorbells; main touches it only at creation and
 * at deletion, when no worker uses it. `enabled` is the one thing that crosses (a controller
 * reset).
 */
#ifndef NVMETD_PCIE_EMUL_INTERNAL_H
#define NVMETD_PCIE_EMUL_INTERNAL_H

#include <liburing.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/uio.h>

#include "pcie/device.h"
#include "pcie/emul/emul.h"
#include "pcie/nvme.h"
#include "util/counter.h"
#include "util/loop.h"
#include "util/num.h"
#include "util/sanitize.h"

#define EMUL_VERSION    NVME_VS(2, 0, 0)
#define EMUL_MAX_RANGES 8
#define EMUL_MAX_QUEUES 256
#define EMUL_MAX_NS     32
/* Pages of the largest MDTS; a transfer that is not page-aligned takes one more. */
#define EMUL_MAX_IOVS (1u << (20 - NVME_PAGE_SHIFT))
/* Copy: source ranges, blocks of each, blocks of all (MSRC, MSSRL, MCL). */
#define EMUL_COPY_RANGES       16
#define EMUL_COPY_RANGE_BLOCKS 256
#define EMUL_COPY_BLOCKS       1024
#define EMUL_AERS              4
#define EMUL_NO_CID            UINT32_MAX
#define EMUL_PENDING           UINT16_C(0xffff) /* instead of a status: the command ends later */

struct emul_range {
	uint8_t *va;
	uint64_t iova;
	size_t len;
};

/* A command that ends later: on a file, or delayed. */
struct emul_slot {
	struct emul_sq *sq;
	uint16_t cid;
	uint16_t next_free;
	uint16_t status; /* of a delayed command */
	bool delayed, hung;
	struct nvme_sqe sqe; /* of one that hangs */
	uint8_t opcode;
	bool fua;
	uint64_t offset;   /* bytes on the medium: of what is left */
	size_t left;       /* bytes */
	struct iovec *iov; /* EMUL_MAX_IOVS + 1 of them */
	unsigned n_iov, iov_pos;
	void *scratch; /* Compare, Copy, Verify: what was read */
	unsigned n_ranges, range_pos;
	uint64_t copy_to;  /* bytes on the medium: where the current range of a Copy goes */
	bool copy_writing; /* it has been read */
	struct __kernel_timespec due;
};

struct emul_cq {
	bool created;
	uint16_t vector;
	bool interrupts;
	uint32_t entries, head, tail;
	bool phase;
	struct nvme_cqe *ring;
	unsigned unsignalled; /* posted since the last signal */
};

struct emul_sq {
	struct emul *emul;
	_Atomic bool enabled;
	uint16_t qid, cqid;
	uint32_t entries, head, tail;
	struct nvme_sqe *ring;

	bool has_uring;
	bool to_submit;
	struct io_uring uring;
	struct emul_slot *slots; /* entries of them */
	struct iovec *iovs;
	uint16_t free_slot;
	unsigned pending;           /* slots in use */
	unsigned n_delayed, n_hung; /* of them, without a request on the file */
	bool stuck;                 /* the doorbell does nothing */
	_Atomic bool muted;         /* no interrupts */
	_Atomic uint32_t abort_cid; /* for the owner of the queue: EMUL_NO_CID: none */

	unsigned n_commands, n_counted;                            /* fault counters */
	struct counter reads, writes, blocks_read, blocks_written; /* SMART; blocks of 512 bytes */
};

/* A file in memory, to be read (mapping.c): constant while it is open, but for the bits. */
struct emul_mapping {
	const uint8_t *base;     /* NULL: there is none */
	uint64_t len;            /* whole pages; the file may have more, or fewer, by now */
	_Atomic uint64_t *known; /* one bit a page */
	size_t known_bytes;
};

struct emul_media {
	uint8_t *ram; /* NULL: a file */
	int fd;
	uint64_t size;
	bool volatile_cache; /* writes need a flush to be durable */
	bool in_memory;      /* a file on tmpfs: transfers never wait */
	struct emul_mapping mapping;
	uint8_t *backing; /* cache.c: the file itself */
	uint64_t *dirty;  /* cache.c: a bit for each page of `ram` that the file lacks; or NULL */
};

/* Blocks that cannot be read (bad.c). */
struct emul_bad {
	_Atomic uint64_t *words; /* one bit a block; NULL: the medium does not have this */
	size_t bytes;
	_Atomic uint64_t n; /* bits that are set */
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
	uint64_t ns_span;            /* blocks from the start of one to the next: constant */
	_Atomic unsigned n_ns;       /* attached: 1 .. n_ns */
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

/* device.c: memory of the DMA table at [iova, iova + len), or NULL. Any thread; the table changes
 * only while no queue exists. */
void *emul_dma(const struct emul *emul, uint64_t iova, size_t len);
void emul_interrupt(struct emul *emul, const struct emul_cq *cq);
/* The same for what was posted; the queue's owner. */
void emul_signal(struct emul *emul, struct emul_cq *cq);

/* device.c: the device has gone, and is there again. Main thread. */
void emul_announce_gone(struct loop_msg *msg);

/* fault.c */
enum emul_fault {
	EMUL_FAULT_NONE,
	EMUL_FAULT_STOP,  /* the command is not even fetched, nor any after it */
	EMUL_FAULT_HANG,  /* it is never answered */
	EMUL_FAULT_ERROR, /* it ends with fault.status */
	EMUL_FAULT_DELAY, /* its answer is held back */
};
/* Whether any of them may befall an I/O command; if not, nothing need be counted. */
bool emul_fault_any(const struct emul_faults *faults);
/* Counts a command and says what befalls it. Owner of the queue. */
enum emul_fault emul_fault_of(struct emul_sq *sq, const struct nvme_sqe *sqe);
/* One completion more than was asked for, with a CID that no command has. */
void emul_fault_unknown_cid(struct emul_sq *sq, const struct nvme_sqe *sqe);
/* Whether commands of the queue may have to be kept in slots. */
bool emul_fault_needs_slots(const struct emul *emul);
/* Abort: a status, or EMUL_PENDING. Main thread; the command ends on its queue's. */
uint16_t emul_fault_abort(struct emul *emul, uint16_t qid, uint16_t cid, uint32_t *ret_dw0);
/* Owner of the queue: does what an Abort asked for. */
void emul_fault_look(struct emul_sq *sq);

/* queue.c */
/* Runs one I/O command that was fetched; it ends now or later. Owner of the queue. */
void emul_run_io(struct emul_sq *sq, const struct nvme_sqe *sqe, enum emul_fault fault);
/* Create a queue whose fields were checked, or delete one that exists: 0 or a status.
 * Main thread. */
uint16_t emul_create_cq(struct emul *emul, uint16_t qid, uint64_t iova, uint32_t entries,
			uint16_t vector, bool interrupts);
uint16_t emul_create_sq(struct emul *emul, uint16_t qid, uint16_t cqid, uint64_t iova,
			uint32_t entries);
uint16_t emul_delete_sq(struct emul *emul, uint16_t qid);
/* Forgets a submission queue, created or not, whatever is under way on it. Main thread. */
void emul_queue_free(struct emul *emul, uint16_t qid);
/* A doorbell was written, any value; the driver looks at a CQ. Owner of the queue. */
void emul_sq_doorbell(struct emul *emul, uint16_t qid, uint32_t value);
void emul_cq_doorbell(struct emul *emul, uint16_t qid, uint32_t value);
void emul_queue_poll(struct emul *emul, uint16_t qid);
/* Posts a completion; the caller knows that there is room. */
void emul_post(struct emul_sq *sq, uint16_t cid, uint16_t status, uint32_t dw0);
/* PRP1 and PRP2 of a command as iovecs, contiguous pages merged. 0 or a status. */
uint16_t emul_prps(const struct emul *emul, const struct nvme_sqe *sqe, size_t len,
		   struct iovec *iov, unsigned *ret_n);

/* admin.c: copies `len` bytes of an answer from `offset` on to the command's PRPs; beyond `size`
 * are zeroes. */
uint16_t emul_answer(const struct emul *emul, const struct nvme_sqe *sqe, const void *data,
		     size_t size, uint64_t offset, size_t len);

/* maintenance.c: commands; a status. */
uint16_t emul_format(struct emul *emul, const struct nvme_sqe *sqe);
uint16_t emul_sanitize(struct emul *emul, const struct nvme_sqe *sqe);
uint16_t emul_firmware(struct emul *emul, const struct nvme_sqe *sqe);
uint16_t emul_security(struct emul *emul, const struct nvme_sqe *sqe);
uint16_t emul_self_test(struct emul *emul, const struct nvme_sqe *sqe);
uint16_t emul_vendor(struct emul *emul, const struct nvme_sqe *sqe, uint32_t *ret_dw0);
/* log2 of the block size of a format; 0: there is none of this index. */
unsigned emul_format_shift(const struct emul *emul, unsigned index);
/* Log pages, in a buffer of at least 4096 zeroes; the size of the page. */
size_t emul_log_self_test(const struct emul *emul, uint8_t *log);
size_t emul_log_sanitize(const struct emul *emul, uint8_t *log);
size_t emul_log_telemetry(uint8_t lid, uint8_t *log);

/* events.c: the command is an Asynchronous Event Request. */
uint16_t emul_async_event(struct emul *emul, const struct nvme_sqe *sqe, uint32_t *ret_dw0);
/* A queue has seen so many commands: what is to happen after them, happens. Any thread. */
void emul_events_count(struct emul *emul, unsigned n_commands);
/* Takes over the size that a file has now. Main thread. */
void emul_follow_medium(struct emul *emul);
/* admin.c, io.c: a status, or EMUL_PENDING. */
uint16_t emul_admin(struct emul *emul, const struct nvme_sqe *sqe, uint32_t *ret_dw0);
uint16_t emul_io(struct emul_sq *sq, const struct nvme_sqe *sqe);
/* io.c: the command comes soon: what it reads or overwrites in memory may be on its
 * way meanwhile. */
void emul_io_expect(const struct emul_sq *sq, const struct nvme_sqe *sqe);
/* pi.c: blocks with separate metadata or protection information. Bytes of the data buffer. */
size_t emul_transfer_bytes(const struct emul *emul, const struct nvme_sqe *sqe, uint64_t blocks);
/* Read, Write, Compare, Verify and Write Zeroes of `n` blocks at `offset`; `iov` NULL: without
 * data.
 */
uint16_t emul_metadata_io(struct emul *emul, const struct nvme_sqe *sqe, uint64_t offset,
			  uint32_t n, const struct iovec *iov);
/* A fused pair, as one operation (memory only). */
void emul_compare_and_write(struct emul_sq *sq, const struct nvme_sqe *compare,
			    const struct nvme_sqe *write, uint16_t *ret_compare,
			    uint16_t *ret_write);

/* The bits of one word that belong to [*first, *first + *n); both move on by what it covers. */
#define EMUL_WORD_BITS 64
static inline uint64_t emul_take_word(uint64_t *first, uint64_t *n)
{
	unsigned shift = *first % EMUL_WORD_BITS;
	uint64_t part = num_min(*n, (uint64_t)(EMUL_WORD_BITS - shift));
	uint64_t bits = part == EMUL_WORD_BITS ? UINT64_MAX : (UINT64_C(1) << part) - 1;

	*first += part;
	*n -= part;
	return bits << shift;
}

/* bad.c: blocks are counted over all namespaces. Any thread. */
int emul_bad_init(struct emul_bad *bad, uint64_t blocks);
void emul_bad_fini(struct emul_bad *bad);
bool emul_bad_any(const struct emul_bad *bad, uint64_t first, uint64_t n);
void emul_bad_mark(struct emul_bad *bad, uint64_t first, uint64_t n);
void emul_bad_clear(struct emul_bad *bad, uint64_t first, uint64_t n);

/* media.c. Main thread, but for deallocation. */
/* 0 or -errno (logged); close it in either case. */
int emul_media_open(const struct emul_options *options, struct emul_media *media);
void emul_media_close(struct emul_media *media);
/* Looks at the size of a file again that was opened without one; true: it is another one now. */
bool emul_media_resized(const struct emul_options *options, struct emul_media *media);
/* Makes a range read as zeroes. 0 or -errno (logged): the data may still be there. Main thread. */
int emul_media_erase(struct emul_media *media, uint64_t offset, uint64_t len);
/* The same in memory, by any thread: whole pages go back to the system. */
void emul_media_deallocate(struct emul_media *media, uint64_t offset, uint64_t len);
/*
 * Between a medium in memory and a host's pages. Two hosts may write one block at once: which of
 * them wins is theirs to agree on. So ThreadSanitizer is told of the pages, and not of the medium.
 */
#if SANITIZE_THREAD
void emul_ram_write(uint8_t *ram, void *pages, size_t len);
void emul_ram_read(const uint8_t *ram, void *pages, size_t len);
bool emul_ram_equal(const uint8_t *ram, void *pages, size_t len);
#else
static inline void emul_ram_write(uint8_t *ram, void *pages, size_t len)
{
	memcpy(ram, pages, len);
}

static inline void emul_ram_read(const uint8_t *ram, void *pages, size_t len)
{
	memcpy(pages, ram, len);
}

static inline bool emul_ram_equal(const uint8_t *ram, void *pages, size_t len)
{
	return memcmp(ram, pages, len) == 0;
}
#endif

/*
 * mapping.c: of the `size` bytes of a file, whole pages. Without a mapping, which is no error, all
 * transfers are left to others. Main thread; no queue exists while it is closed.
 */
void emul_mapping_open(struct emul_mapping *mapping, int fd, uint64_t size);
void emul_mapping_close(struct emul_mapping *mapping);
/* Any thread. Reads `len` bytes; false: preadv must do it, all of it. */
bool emul_mapping_read(const struct emul_mapping *mapping, uint64_t offset, uint64_t len,
		       const struct iovec *iov, unsigned n);
/* preadv or pwritev have transferred `len` bytes. */
void emul_mapping_learn(const struct emul_mapping *mapping, uint8_t opcode, uint64_t offset,
			const struct iovec *iov, size_t len);
/* There is going to be a hole. */
void emul_mapping_forget(const struct emul_mapping *mapping, uint64_t offset, uint64_t len);

/* cache.c: the write cache in front of a file. */
/* For media->fd and media->size. 0 or -errno; close it in either case. */
int emul_cache_open(struct emul_media *media);
void emul_cache_close(struct emul_media *media);
/* `len` bytes of the cache were written: they are dirty now or, with FUA, in the
 * file. Any thread. */
void emul_cache_wrote(struct emul_media *media, uint64_t offset, uint64_t len, bool fua);
/* All that is dirty goes to the file. Any thread. */
void emul_cache_flush(struct emul_media *media);
/* The power is gone: the file is what is left. Nobody uses the medium meanwhile. */
void emul_cache_drop(struct emul_media *media);

/* uring.c: commands that end later. */
/* Slots and a ring for a queue. 0 or -errno (logged). Main thread. */
int emul_uring_init(struct emul_sq *sq);
/* Nothing is under way that still matters. */
void emul_uring_fini(struct emul_sq *sq);
/* The rest belongs to the owner of the queue. */
/* A slot for the command; NULL cannot happen while fewer than `entries` commands are under way. */
struct emul_slot *emul_slot_take(struct emul_sq *sq, const struct nvme_sqe *sqe);
/* Begins the command in the slot, or goes on with what is left of it. It may end at once. */
void emul_uring_start(struct emul_slot *slot);
/* The command, which is done, ends with `status` after so many ms. */
void emul_uring_delay(struct emul_slot *slot, uint16_t status, unsigned ms);
/* Tells the kernel of all that was begun since the last call. */
void emul_uring_submit(struct emul_sq *sq);
/* Posts what has ended, as far as the completion queue has room. */
void emul_uring_reap(struct emul_sq *sq);
/*
 * Waits, until the deadline at most, until nothing is under way but what hangs; `delayed` ones
 * neither when they do not count. False: something still is.
 */
#define EMUL_DRAIN_NS (30 * NSEC_PER_SEC)
bool emul_uring_drain(struct emul_sq *sq, bool delayed, uint64_t deadline_ns);
/* Ends a command that hangs. */
void emul_slot_end(struct emul_slot *slot, uint16_t status);
/* Frees its slot without a completion. */
void emul_slot_drop(struct emul_slot *slot);

static inline bool emul_has_ns(const struct emul *emul, uint32_t nsid)
{
	return nsid >= 1 && nsid <= atomic_load_explicit(&emul->n_ns, memory_order_relaxed);
}

/* Whether a block is more than bytes that are transferred as they lie there. */
static inline bool emul_blockwise(const struct emul *emul)
{
	return emul->options.pi || emul->options.separate;
}

static inline bool emul_cq_room(const struct emul_cq *cq)
{
	return (cq->tail + 1 == cq->entries ? 0 : cq->tail + 1) != cq->head;
}

#endif
