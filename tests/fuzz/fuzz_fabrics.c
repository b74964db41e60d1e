/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Commands and their data, without a wire: Connect, authentication, discovery, admin and I/O
 * commands as any transport would hand them over. An input is a list of records:
 *
 *   one byte   1:0 queue, 4:2 what: 0-3 a command, 4 the queue ends, 5 time passes, 6 the SSD is
 * held, 7 it is released a command  64 bytes of SQE, a byte (bit 0: in the capsule), 2 bytes of
 * length and as much data
 *
 * Every command ends exactly once, what a host reads was written for it, and nothing is left over.
 */
#include <stdio.h>

#include "pcie/dma.h"
#include "target/nvmf.h"
#include "target/queue.h"
#include "target/req.h"
#include "target/transport.h"
#include "target/worker.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/rig.h"
#include "util/check.h"
#include "util/num.h"

#define QUEUES   4
#define COMMANDS 64

struct command {
	struct nvmet_req req;
	bool busy;
};

struct fuzz_queue {
	struct nvmet_queue queue;
	bool open, releasing;
	struct command commands[COMMANDS];
};

static struct fuzz_queue queues[QUEUES];
static struct nvmet_port port = { .adrfam = NVMF_ADRFAM_IPV4, .portid = 1 };
static uint64_t secret; /* what was in memory before a command */

static struct fuzz_queue *queue_of(struct nvmet_queue *queue)
{
	return container_of(queue, struct fuzz_queue, queue);
}

/* --- The transport's part -----------------------------------------------------------------------
 */

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

static void command_over(struct command *command)
{
	if (!command->busy)
		fuzz_fail("a command ended twice");
	command->busy = false;
	dma_free(command->req.queue->worker->pool, &command->req.data);
}

static void op_queue_response(struct nvmet_req *req)
{
	if (!nvme_cqe_status(&req->cqe) && req->dir == NVMET_DIR_READ &&
	    holds_secret(req->data.va, req->transfer_len))
		fuzz_fail("opcode %02xh tells what was in memory before", req->cmd.opcode);
	if (req->cqe.cid.raw != req->cmd.cid.raw)
		fuzz_fail("the answer is to another command");
	command_over(container_of(req, struct command, req));
}

static void on_released(struct nvmet_queue *queue)
{
	struct fuzz_queue *fq = queue_of(queue);

	for (unsigned i = 0; i < COMMANDS; i++) {
		if (fq->commands[i].busy)
			command_over(&fq->commands[i]);
	}
	fq->open = false;
}

static void release(struct fuzz_queue *fq)
{
	if (!fq->open || fq->releasing)
		return;
	fq->releasing = true;
	nvmet_queue_release(&fq->queue, on_released);
}

static void op_close(struct nvmet_queue *queue, const char *why)
{
	(void)why;
	release(queue_of(queue));
}

static void op_connected(struct nvmet_queue *queue)
{
	(void)queue;
}

static enum nvmet_abort_result op_abort(struct nvmet_queue *queue, uint16_t cid,
					struct nvmet_req **ret_req)
{
	struct fuzz_queue *fq = queue_of(queue);

	for (unsigned i = 0; i < COMMANDS; i++) {
		struct command *command = &fq->commands[i];

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
	.connected = op_connected,
	.abort = op_abort,
};

static void open_queue(struct fuzz_queue *fq)
{
	nvmet_queue_fini(&fq->queue);
	*fq = (struct fuzz_queue){ .open = true };
	fq->queue.target = &rig.target;
	fq->queue.worker = &rig.workers[(fq - queues) % rig.n_workers];
	fq->queue.ops = &ops;
	fq->queue.port = &port;
	snprintf(fq->queue.local_addr, sizeof(fq->queue.local_addr), "192.0.2.1");
	must(nvmet_queue_init(&fq->queue) == 0);
}

/* --- Records ------------------------------------------------------------------------------------
 */

static void run_command(struct fuzz_queue *fq, struct input *input)
{
	struct command *command = fq->commands;
	struct nvmet_req *req;
	const uint8_t *bytes;
	size_t len, have;
	uint16_t status;
	bool in_capsule;

	if (!fq->open)
		open_queue(fq);
	while (command < fq->commands + COMMANDS && command->busy)
		command++;
	if (command == fq->commands + COMMANDS || fq->releasing)
		return;
	req = &command->req;
	*command = (struct command){ .busy = true, .req = { .queue = &fq->queue } };
	bytes = input_bytes(input, sizeof(req->cmd), &have);
	memcpy(&req->cmd, bytes, have);
	req->cmd.flags ^= 0x40; /* SGL: zero is what a short input has */
	in_capsule = input_u8(input) & 1;
	len = input_u16(input);
	bytes = input_bytes(input, len, &have);
	status = nvmet_req_parse(req, in_capsule ? le32_get(req->cmd.sgl.length) : 0);
	if (!status && req->transfer_len &&
	    !dma_alloc(fq->queue.worker->pool, req->transfer_len, &req->data))
		status = NVME_SC_INTERNAL;
	if (status) {
		nvmet_req_complete(req, status);
		return;
	}
	if (req->data.va)
		fill_secret(req->data.va, req->data.len);
	if (req->dir == NVMET_DIR_WRITE) {
		memset(req->data.va, 0, req->transfer_len);
		memcpy(req->data.va, bytes, num_min(have, (size_t)req->transfer_len));
	}
	req->execute(req);
}

static void run_record(struct input *input)
{
	uint8_t head = input_u8(input);
	struct fuzz_queue *fq = &queues[head & 3];

	switch (head >> 2 & 7) {
	case 4:
		release(fq);
		break;
	case 5:
		rig_sleep(input_u8(input) * 100u);
		break;
	case 6:
		rig_hold_ssd(false);
		break;
	case 7:
		rig_release_ssd();
		break;
	default:
		run_command(fq, input);
	}
	switch (head >> 5 & 3) {
	case 0:
		rig_settle();
		break;
	case 1:
		loop_turn(&rig.workers[(fq - queues) % rig.n_workers].loop, false);
		break;
	case 2:
		loop_turn(&rig.loop, false);
		break;
	}
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	secret = UINT64_C(0x9e3779b97f4a7c15) * (uint64_t)(uintptr_t)&secret | 1;
	rig_init("emulated:size=1M,queues=3,depth=16,mdts=64K,namespaces=2,fused=1");
	rig_conf.workers = 2;
	rig_start();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = { data, size };

	for (unsigned i = 0; i < 256 && input.left; i++)
		run_record(&input);
	rig_settle();
	rig_release_ssd();
	for (unsigned i = 0; i < QUEUES; i++)
		release(&queues[i]);
	rig_expect_clean();
	for (unsigned i = 0; i < QUEUES; i++) {
		rig_sleep(queues[i].open ? 20000 : 0);
		if (queues[i].open)
			fuzz_fail("queue %u is not released", i);
	}
	return 0;
}
