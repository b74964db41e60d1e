/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The seam between target/ and a transport. The target calls a transport through these ops only;
 * the transport calls the target through queue.h and req.h.
 */
#ifndef NVMETD_TARGET_TRANSPORT_H
#define NVMETD_TARGET_TRANSPORT_H

#include <stdbool.h>
#include <stdint.h>

struct nvmet_queue;
struct nvmet_req;

/* What became of a command that a host wants aborted. */
enum nvmet_abort_result {
	NVMET_ABORT_NOT_FOUND, /* no such command, or its response is on its way */
	NVMET_ABORT_DONE,      /* it had not reached the SSD; ends with Command Abort Requested */
	NVMET_ABORT_EXECUTING, /* *ret_req is at the SSD or on its way there */
};

struct nvmet_transport_ops {
	/*
	 * req->cqe is final: send it, and the data of a successful read. Worker of the queue. The
	 * request is the transport's again; req->data is freed by the transport once sent. When the
	 * connection is closing, the response is dropped.
	 */
	void (*queue_response)(struct nvmet_req *req);

	/*
	 * Ends the connection: nothing more is read, `why` is logged, nvmet_queue_release() follows
	 * from the transport. Worker of the queue. May be called again while it is closing.
	 */
	void (*close)(struct nvmet_queue *queue, const char *why);

	/*
	 * Closes the connection if the host has closed it, as far as the network has told, or has
	 * disconnected its queue; what it sent before and nobody has read yet is not done any more.
	 * Worker of the queue.
	 */
	void (*look)(struct nvmet_queue *queue);

	/*
	 * Whether the answers to all commands but one have left. If they have not, and that one is
	 * queue->disconnect, nvmet_queue_end_disconnect() follows when they have. Worker of the
	 * queue.
	 */
	bool (*is_last)(struct nvmet_queue *queue);

	/* Connect succeeded: the queue has its size and identity. Worker, before the response is
	 * queued. */
	void (*connected)(struct nvmet_queue *queue);

	/* Looks for the command with the host's `cid` on this queue. Worker of the queue. */
	enum nvmet_abort_result (*abort)(struct nvmet_queue *queue, uint16_t cid,
					 struct nvmet_req **ret_req);
};

#endif
