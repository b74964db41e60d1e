/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The life of one command.
 *
 * - transport: fills req->cmd, calls nvmet_req_parse().
 *
 *   - With status 0, req->dir and req->transfer_len say what data must move. When it is there (for
 *     a write), or its memory is (for a read), transport calls req->execute(req) exactly once.
 *
 *   - Otherwise transport calls nvmet_req_complete(req, status), once it has skipped the command's
 *     in-capsule data.
 *
 * - target: executes, on the worker (I/O) or on the main thread (admin and fabrics), and calls
 *   nvmet_req_complete() exactly once, on either of them.
 *
 * - transport: ops->queue_response() on the queue's worker.
 *
 * Where a request is linked is its state; it has no state enum. Requests are embedded in the
 * transport's command slots: none is allocated.
 */
#ifndef NVMETD_TARGET_REQ_H
#define NVMETD_TARGET_REQ_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "pcie/dma.h"
#include "pcie/nvme.h"
#include "pcie/qpair.h"
#include "util/loop.h"

struct nvmet_ctrl;
struct nvmet_ns;
struct nvmet_nvm_op;
struct nvmet_queue;
struct nvmet_req;
struct nvmet_ssd;

/* Direction of the data as the host names it. */
enum nvmet_dir {
	NVMET_DIR_NONE,
	NVMET_DIR_WRITE, /* host → SSD */
	NVMET_DIR_READ,  /* SSD → host */
};

/* What an admin or fabrics command does on the main thread; it ends with nvmet_req_complete(). */
typedef void nvmet_control_fn(struct nvmet_req *req);

/* No field of the command is to blame (error information log, parameter error location). */
#define NVMET_NO_ERROR_LOC UINT16_C(0xffff)

/* What a command changes about its queue: nothing, or that it is trusted or no longer (auth.h). */
enum nvmet_trust { NVMET_TRUST_SAME, NVMET_TRUST_GIVEN, NVMET_TRUST_TAKEN };

struct nvmet_req {
	struct nvme_sqe cmd; /* as the host sent it; SGL still in it */
	struct nvme_cqe cqe; /* the response; dw0/dw1 are 0 unless a command sets them */
	struct nvmet_queue *queue;

	void (*execute)(struct nvmet_req *req); /* worker; set by parse */
	nvmet_control_fn *control; /* main thread; set by parse for admin and fabrics */

	enum nvmet_dir dir;
	uint32_t transfer_len; /* bytes; equals the SGL's length */
	uint32_t icd_len;      /* bytes of in-capsule data that came with the command */
	struct dma_buf data;   /* transport's; at least transfer_len bytes when execute is called */

	/* Where its time is counted, NULL: nowhere; when it came, and left the last stage
	 * (latency.h). */
	struct nvmet_latency *latency;
	uint64_t begun_ns, stage_ns;

	/* I/O only. */
	const struct nvmet_nvm_op *op;
	struct nvmet_ns *ns;
	struct nvme_waiter waiter; /* ring full */

	/* Fused commands only (fuse.h). */
	uint8_t fuse;     /* NVME_FUSE_…, until it is at the SSD or over; 0: not part of a pair */
	bool fuse_parked; /* it waits for the other half only */
	uint16_t fuse_status;   /* not 0: what it ends with once its data has come */
	struct nvmet_req *mate; /* the other half, once it has come and while it is not over */

	/* Admin and fabrics only. */
	bool on_control;             /* the main thread has it */
	enum nvmet_trust trust;      /* main thread → worker, with the answer */
	struct loop_msg msg;         /* there and back */
	TAILQ_ENTRY(nvmet_req) link; /* AERs, parked Connects, host.h's waiters: main thread's */

	/* What a single command has of its own, while it is at work. */
	union {
		/* A parked Connect: the controller in its way; compared only (assoc.h). */
		const struct nvmet_ctrl *waits_for;
		/* Abort: the queue that it is about. */
		struct nvmet_queue *abort_queue;
		/* At the SSD's admin queue. */
		struct {
			nvme_done_fn *forward_done;     /* what follows (host.h) */
			struct nvmet_ssd *passthru_ssd; /* to look at again then; NULL: not */
		};
	};

	uint16_t error_loc; /* byte 0 .. 63 of the command | bit << 8, or NVMET_NO_ERROR_LOC */
};

/*
 * Checks a command that has just come in and chooses its functions. Worker. req->cmd and req->queue
 * are set; everything else is initialised here. Returns 0 or the status (with DNR where due) that
 * the command must be completed with. The SGL is checked here, against the bytes of data that
 * really came in the capsule: `in_capsule_len`, 0 for none.
 */
uint16_t nvmet_req_parse(struct nvmet_req *req, uint32_t in_capsule_len);

/* Ends the command. Worker of the queue, or main thread for a command that is on_control. */
void nvmet_req_complete(struct nvmet_req *req, uint16_t status);

/*
 * For parse and execute functions: blames a field of the command, which is at `error_loc` as in
 * req->error_loc, and returns the status `sc` with DNR, for it would be refused again. Then for the
 * refusals that are frequent: Invalid Field in Command, Invalid Command Opcode, Invalid Namespace.
 */
uint16_t nvmet_req_refuse(struct nvmet_req *req, size_t error_loc, uint16_t sc);
uint16_t nvmet_req_invalid_field(struct nvmet_req *req, size_t error_loc);
uint16_t nvmet_req_invalid_opcode(struct nvmet_req *req);
uint16_t nvmet_req_invalid_ns(struct nvmet_req *req);

/* For parse functions: the command moves exactly `len` bytes. 0 or a status. */
uint16_t nvmet_req_expect(struct nvmet_req *req, enum nvmet_dir dir, uint64_t len);
/* The same for commands whose buffer may be larger than what they use: min .. max bytes. */
uint16_t nvmet_req_expect_range(struct nvmet_req *req, enum nvmet_dir dir, uint64_t min,
				uint64_t max);

/* execute function of everything that the main thread does: hands the request to req->control. */
void nvmet_req_to_control(struct nvmet_req *req);
/* For parse functions: `control` on the main thread does it, and it moves exactly `len` bytes. 0 or
 * a status. */
uint16_t nvmet_req_for_control(struct nvmet_req *req, nvmet_control_fn *control, enum nvmet_dir dir,
			       uint64_t len);

/* The one place where -errno becomes a status for a host. */
uint16_t nvmet_status_from_errno(int err);

/* The SSD's status for a host. More and the retry delay refer to a log page and to times that hosts
 * read from us, not from the SSD; and it knows our CIDs, not a host's. */
static inline uint16_t nvmet_status_from_ssd(const struct nvme_cqe *cqe)
{
	uint16_t status = nvme_cqe_status(cqe) &
			  (uint16_t) ~(NVME_STATUS_MORE | NVME_STATUS_CRD_MASK);

	return (status & ~NVME_STATUS_DNR) == NVME_SC_CID_CONFLICT ? NVME_SC_INTERNAL : status;
}

/* CDW10..15 in host byte order. */
static inline uint32_t nvmet_cdw10(const struct nvmet_req *req)
{
	return le32_get(req->cmd.cdw10);
}
static inline uint32_t nvmet_cdw11(const struct nvmet_req *req)
{
	return le32_get(req->cmd.cdw11);
}
static inline uint32_t nvmet_cdw12(const struct nvmet_req *req)
{
	return le32_get(req->cmd.cdw12);
}
static inline uint32_t nvmet_cdw13(const struct nvmet_req *req)
{
	return le32_get(req->cmd.cdw13);
}
static inline uint64_t nvmet_slba(const struct nvmet_req *req)
{
	return nvme_slba(&req->cmd);
}

#endif
