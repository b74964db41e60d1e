/* SPDX-License-Identifier: BSD-3-Clause */
/* A transport without a wire; see direct.h. */
#include "tests/fuzz/direct.h"

#include <stdio.h>

#include "pcie/dma.h"
#include "target/transport.h"
#include "target/worker.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/rig.h"
#include "util/check.h"
#include "util/num.h"

struct direct_queue direct_queues[DIRECT_QUEUES];
void (*direct_answered)(struct direct_queue *dq, const struct nvmet_req *req);

static struct nvmet_port port = { .adrfam = NVMF_ADRFAM_IPV4, .portid = 1 };
static uint64_t secret; /* what was in memory before a command */

static struct direct_queue *queue_of(struct nvmet_queue *queue)
{
	return container_of(queue, struct direct_queue, queue);
}

/* Coverage of this loop would teach the fuzzer the secret. */
#ifdef __clang__
__attribute__((no_sanitize("coverage")))
#endif
static bool
holds_secret(const void *data, size_t len)
{
	const uint64_t *words = data;

	for (size_t i = 0; i < len / sizeof(*words); i++) {
		if (words[i] == secret)
			return true;
	}
	return false;
}

static void fill_secret(void *data, size_t len)
{
	for (size_t i = 0; i < len / sizeof(secret); i++)
		memcpy((uint8_t *)data + i * sizeof(secret), &secret, sizeof(secret));
}

/* --- What the target asks of a transport ------------------------------------------------------ */

static bool op_is_last(struct nvmet_queue *queue)
{
	unsigned busy = 0;

	for (unsigned i = 0; i < DIRECT_COMMANDS; i++)
		busy += queue_of(queue)->commands[i].busy;
	return busy == 1;
}

static void command_over(struct direct_command *command)
{
	struct nvmet_queue *queue = command->req.queue;

	if (!command->busy)
		fuzz_fail("a command ended twice");
	command->busy = false;
	dma_free(queue->worker->pool, &command->req.data);
	if (queue->disconnect && !queue->releasing && op_is_last(queue))
		nvmet_queue_end_disconnect(queue);
}

static void op_queue_response(struct nvmet_req *req)
{
	if (!nvme_cqe_status(&req->cqe) && req->dir == NVMET_DIR_READ &&
	    holds_secret(req->data.va, req->transfer_len))
		fuzz_fail("opcode %02xh tells what was in memory before", req->cmd.opcode);
	if (req->cqe.cid.raw != req->cmd.cid.raw)
		fuzz_fail("the answer is to another command");
	if (direct_answered)
		direct_answered(queue_of(req->queue), req);
	command_over(container_of(req, struct direct_command, req));
}

static void on_released(struct nvmet_queue *queue)
{
	struct direct_queue *dq = queue_of(queue);

	for (unsigned i = 0; i < DIRECT_COMMANDS; i++) {
		if (dq->commands[i].busy)
			command_over(&dq->commands[i]);
	}
	dq->open = false;
}

static void op_close(struct nvmet_queue *queue, const char *why)
{
	(void)why;
	direct_close(queue_of(queue));
}

/* Whether the host has gone is the first command slot's to say: both happen. */
static void op_look(struct nvmet_queue *queue)
{
	if (queue_of(queue)->commands[0].busy)
		direct_close(queue_of(queue));
}

static void op_connected(struct nvmet_queue *queue)
{
	(void)queue;
}

static enum nvmet_abort_result op_abort(struct nvmet_queue *queue, uint16_t cid,
					struct nvmet_req **ret_req)
{
	struct direct_queue *dq = queue_of(queue);

	for (unsigned i = 0; i < DIRECT_COMMANDS; i++) {
		struct direct_command *command = &dq->commands[i];

		if (command->busy && le16_get(command->req.cmd.cid) == cid) {
			*ret_req = &command->req;
			return NVMET_ABORT_EXECUTING;
		}
	}
	return NVMET_ABORT_NOT_FOUND;
}

static const struct nvmet_transport_ops ops = {
	.queue_response = op_queue_response,
	.close = op_close,
	.look = op_look,
	.is_last = op_is_last,
	.connected = op_connected,
	.abort = op_abort,
};

/* --- What a host does ------------------------------------------------------------------------- */

static struct worker *worker_of(struct direct_queue *dq)
{
	return &rig.workers[(dq - direct_queues) % rig.n_workers];
}

struct loop *direct_loop(struct direct_queue *dq)
{
	return &worker_of(dq)->loop;
}

static void open_queue(struct direct_queue *dq)
{
	nvmet_queue_fini(&dq->queue);
	*dq = (struct direct_queue){ .open = true };
	dq->queue.target = &rig.target;
	dq->queue.worker = worker_of(dq);
	dq->queue.ops = &ops;
	dq->queue.port = &port;
	snprintf(dq->queue.local_addr, sizeof(dq->queue.local_addr), "192.0.2.1");
	must(nvmet_queue_init(&dq->queue) == 0);
}

static struct direct_command *free_command(struct direct_queue *dq)
{
	for (unsigned i = 0; i < DIRECT_COMMANDS; i++) {
		if (!dq->commands[i].busy)
			return &dq->commands[i];
	}
	return NULL;
}

void direct_run(struct direct_queue *dq, const struct nvme_sqe *sqe, bool in_capsule,
		const void *data, size_t len)
{
	struct direct_command *command;
	struct nvmet_req *req;
	uint16_t status;

	if (!dq->open)
		open_queue(dq);
	command = free_command(dq);
	if (!command || dq->releasing)
		return;
	*command = (struct direct_command){ .busy = true,
					    .req = { .queue = &dq->queue, .cmd = *sqe } };
	req = &command->req;
	status = nvmet_req_parse(req, in_capsule ? le32_get(sqe->sgl.length) : 0);
	if (!status && req->transfer_len &&
	    !dma_alloc(dq->queue.worker->pool, req->transfer_len, &req->data))
		status = NVME_SC_INTERNAL;
	if (status) {
		nvmet_req_complete(req, status);
		return;
	}
	if (req->data.va)
		fill_secret(req->data.va, req->data.len);
	if (req->dir == NVMET_DIR_WRITE) {
		memset(req->data.va, 0, req->transfer_len);
		memcpy(req->data.va, data, num_min(len, (size_t)req->transfer_len));
	}
	req->execute(req);
}

void direct_close(struct direct_queue *dq)
{
	if (!dq->open || dq->releasing)
		return;
	dq->releasing = true;
	nvmet_queue_release(&dq->queue, on_released);
}

void direct_init(void)
{
	secret = UINT64_C(0x9e3779b97f4a7c15) * (uint64_t)(uintptr_t)&secret | 1;
}

void direct_end(void)
{
	rig_settle();
	rig_release_ssd();
	for (unsigned i = 0; i < DIRECT_QUEUES; i++)
		direct_close(&direct_queues[i]);
	rig_expect_clean();
	for (unsigned i = 0; i < DIRECT_QUEUES; i++) {
		rig_sleep(direct_queues[i].open ? 20000 : 0);
		if (direct_queues[i].open)
			fuzz_fail("queue %u is not released", i);
	}
}
