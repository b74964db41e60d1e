/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The I/O path alone, for counting its instructions: the daemon in this thread (tests/fuzz/rig.h),
 * and as many commands as told, in batches of the depth. Only measured_turn() is of interest; see
 * tests/bench/instructions, which runs this under callgrind.
 *
 *   iopath [read|write] [bytes] [depth] [batches] [digests]
 *
 * Writes carry their data in the capsule: 8 KiB at most.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "target/nvmf.h"
#include "target/worker.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/host.h"
#include "tests/fuzz/rig.h"
#include "transport/digest.h"
#include "transport/nvme_tcp.h"
#include "util/check.h"
#include "util/num.h"

#define SSD_BYTES   (16u << 20)
#define BLOCK       512u
#define DEPTH_MAX   127u
#define WRITE_MAX   8192u
#define WARM_UP     10u
#define ANSWER_PART (256u << 10)

struct batch {
	bool write, digests;
	size_t bytes; /* of payload, each */
	unsigned depth;
	uint8_t *out; /* what asks for all of it */
	size_t out_len, answer_len;
};

static struct host admin, io;

/* What is counted: one wake-up of the worker. Outside it is the host's work, and starting. */
void measured_turn(struct loop *loop);
__attribute__((noinline)) void measured_turn(struct loop *loop)
{
	loop_turn(loop, false);
}

static void settle(void)
{
	bool more;

	do {
		rig_settle();
		more = host_receive(&admin);
		more = (io.fd >= 0 && host_receive(&io)) || more;
	} while (more);
}

static void connect_queue(struct host *host, uint16_t qid, uint16_t entries, bool digests)
{
	const struct host_connect how = { .hostnqn = RIG_FRIEND,
					  .subnqn = RIG_NQN,
					  .qid = qid,
					  .cntlid = admin.cntlid,
					  .sqsize = (uint16_t)(entries - 1),
					  .dgst = digests ? 3 : 0,
					  .cattr = NVMF_CATTR_DISABLE_SQFC };

	host_connect(host, rig_connect(), &how, settle);
	must(host->entries == entries);
}

static size_t put(uint8_t *to, const void *from, size_t len)
{
	memcpy(to, from, len);
	return len;
}

static size_t put_digest(const struct batch *batch, uint8_t *to, const void *of, size_t len)
{
	if (!batch->digests)
		return 0;
	le32_store(to, digest_of(of, len));
	return NVME_TCP_DIGEST_SIZE;
}

/* One capsule behind the others. */
static void add_command(struct batch *batch, unsigned i)
{
	const size_t data = batch->write ? batch->bytes : 0,
		     digest = batch->digests ? NVME_TCP_DIGEST_SIZE : 0,
		     head = sizeof(struct nvme_tcp_capsule_cmd) + digest;
	const uint64_t places = SSD_BYTES / batch->bytes;
	struct nvme_tcp_capsule_cmd pdu = {
		.ch = { .type = NVME_TCP_CAPSULE_CMD,
			.flags = batch->digests ? NVME_TCP_F_HDGST | (data ? NVME_TCP_F_DDGST : 0)
						: 0,
			.hlen = sizeof(pdu),
			.pdo = data ? (uint8_t)head : 0,
			.plen = le32_set((uint32_t)(head + data + (data ? digest : 0))) },
		.sqe = { .opcode = batch->write ? NVME_IO_WRITE : NVME_IO_READ,
			 .flags = 0x40,
			 .cid = le16_set((uint16_t)i),
			 .nsid = le32_set(1),
			 .sgl = { .length = le32_set((uint32_t)batch->bytes),
				  .type = data ? NVMF_SGL_DATA_OFFSET : NVMF_SGL_TRANSPORT },
			 .cdw10 = le32_set((uint32_t)(i * 37u % places * (batch->bytes / BLOCK))),
			 .cdw12 = le32_set((uint32_t)(batch->bytes / BLOCK - 1)) },
	};
	static const uint8_t payload[WRITE_MAX];
	uint8_t *to = batch->out + batch->out_len;

	to += put(to, &pdu, sizeof(pdu));
	to += put_digest(batch, to, &pdu, sizeof(pdu));
	if (data) {
		to += put(to, payload, data);
		to += put_digest(batch, to, payload, data);
	}
	batch->out_len = (size_t)(to - batch->out);
	batch->answer_len += sizeof(struct nvme_tcp_capsule_resp) + digest +
			     (batch->write ? 0 : batch->bytes + digest);
}
_Static_assert(sizeof(struct nvme_tcp_capsule_resp) == sizeof(struct nvme_tcp_data),
	       "an answer is as long whether it carries data or not");

static void make_batch(struct batch *batch)
{
	batch->out = calloc(batch->depth, sizeof(struct nvme_tcp_capsule_cmd) + WRITE_MAX +
						  2 * (size_t)NVME_TCP_DIGEST_SIZE);
	must(batch->out);
	for (unsigned i = 0; i < batch->depth; i++)
		add_command(batch, i);
}

/* Sends as much as there is room for, and takes what has come, until all answers are here. */
static void run_batch(const struct batch *batch, void (*turn)(struct loop *loop))
{
	static uint8_t in[ANSWER_PART];
	size_t sent = 0, got = 0;

	while (got < batch->answer_len) {
		ssize_t n = sent < batch->out_len ? send(io.fd, batch->out + sent,
							 batch->out_len - sent, MSG_DONTWAIT)
						  : 0;

		must(n >= 0 || errno == EAGAIN);
		sent += n > 0 ? (size_t)n : 0;
		turn(&rig.workers[0].loop);
		while ((n = recv(io.fd, in, sizeof(in), MSG_DONTWAIT)) > 0)
			got += (size_t)n;
		must(n < 0 && errno == EAGAIN);
	}
	must(got == batch->answer_len);
}

static void warm_up_turn(struct loop *loop)
{
	loop_turn(loop, false);
}

int main(int argc, char **argv)
{
	struct batch batch = {
		.write = argc > 1 && strcmp(argv[1], "write") == 0,
		.bytes = argc > 2 ? (size_t)atol(argv[2]) : 4096,
		.depth = argc > 3 ? (unsigned)atoi(argv[3]) : 32,
		.digests = argc > 5 && strcmp(argv[5], "digests") == 0,
	};
	unsigned batches = argc > 4 ? (unsigned)atoi(argv[4]) : 100;

	if (!batch.depth || batch.depth > DEPTH_MAX || batch.bytes < BLOCK || batch.bytes % BLOCK ||
	    batch.bytes > (batch.write ? WRITE_MAX : 1u << 20)) {
		fprintf(stderr, "usage: iopath [read|write] [bytes] [depth] [batches] [digests]\n");
		return 2;
	}
	rig_init("emulated:size=16M,queues=1");
	rig_conf.dma_memory = 64u << 20;
	rig_start();
	admin.fd = io.fd = -1;
	connect_queue(&admin, 0, 32, false);
	host_enable(&admin, settle);
	connect_queue(&io, 1, DEPTH_MAX + 1, batch.digests);
	rig_sleep(1000); /* whoever connected was modest (share.h) */
	make_batch(&batch);
	for (unsigned i = 0; i < WARM_UP; i++)
		run_batch(&batch, warm_up_turn);
	for (unsigned i = 0; i < batches; i++)
		run_batch(&batch, measured_turn);
	free(batch.out);
	host_close(&io);
	host_close(&admin);
	rig_stop();
	return 0;
}
