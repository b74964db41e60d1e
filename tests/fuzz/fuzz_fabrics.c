/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Commands and their data, without a wire: Connect, authentication, discovery, admin and I/O
 * commands as any transport would hand them over. An input is a list of records:
 *
 *   one byte: 1:0 queue; 4:2 what: 0-3 a command, 4 the queue ends, 5 time passes (a byte: in
 *   100 ms), 6 the SSD is held, 7 it is released; 6:5 who gets on next
 *   a command: 64 bytes of SQE, a byte (bit 0: in the capsule), 2 bytes of length, as much data
 *
 * What must hold: direct.h.
 */
#include "tests/fuzz/direct.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/rig.h"

static void run_command(struct direct_queue *dq, struct input *input)
{
	struct nvme_sqe sqe = { .opcode = 0 };
	const uint8_t *bytes;
	size_t len, have;
	bool in_capsule;

	bytes = input_bytes(input, sizeof(sqe), &have);
	memcpy(&sqe, bytes, have);
	sqe.flags ^= 0x40; /* SGL: zero is what a short input has */
	in_capsule = input_u8(input) & 1;
	len = input_u16(input);
	bytes = input_bytes(input, len, &have);
	direct_run(dq, &sqe, in_capsule, bytes, have);
}

static void run_record(struct input *input)
{
	uint8_t head = input_u8(input);
	struct direct_queue *dq = &direct_queues[head & 3];

	switch (head >> 2 & 7) {
	case 4:
		direct_close(dq);
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
		run_command(dq, input);
	}
	switch (head >> 5 & 3) {
	case 0:
		rig_settle();
		break;
	case 1:
		loop_turn(direct_loop(dq), false);
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
	direct_init();
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
	direct_end();
	return 0;
}
