/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A Format that changes the block size, and a host that connects an I/O queue meanwhile: it must
 * not get one before it is known what blocks there are now, for commands are measured in them. The
 * clock is the rig's.
 */
#include "tests/unit/unit.h"

#include "pcie/ctrl_internal.h"
#include "target/passthru.h"
#include "tests/fuzz/host.h"
#include "tests/fuzz/rig.h"

#define HOSTS     2
#define MAX_TURNS 40 /* more than a Format and the look at the namespaces take */

static struct host hosts[HOSTS];
static struct host *const admin = &hosts[0], *const io = &hosts[1];
static uint16_t cid;

static void settle(void)
{
	do
		rig_settle();
	while (host_receive_all(hosts, HOSTS));
}

/* To the other of the emulated SSD's block sizes. */
static void send_format(uint32_t format)
{
	const struct nvme_sqe sqe = { .opcode = NVME_ADMIN_FORMAT,
				      .flags = 0x40,
				      .cid = le16_set(++cid),
				      .nsid = le32_set(1),
				      .cdw10 = le32_set(format) };

	host_send_command(admin, &sqe, NULL, 0, 0);
}

/* Whether one block has so many bytes. */
static bool is_block_size(uint32_t bytes)
{
	const struct nvme_sqe sqe = { .opcode = NVME_IO_READ,
				      .flags = 0x40,
				      .cid = le16_set(++cid),
				      .nsid = le32_set(1),
				      .sgl = { .length = le32_set(bytes),
					       .type = NVMF_SGL_TRANSPORT } };
	unsigned failed = io->n_failed;

	host_send_command(io, &sqe, NULL, 0, 0);
	settle();
	assert_int_equal(io->n_commands, 0);
	return io->n_failed == failed;
}

static void leave(void)
{
	host_close(io);
	settle();
}

static void no_queue_meanwhile(void **state)
{
	(void)state;
	rig_hold_ssd(true);
	send_format(1);
	settle();
	rig_connect_queue(io, admin->cntlid, 1, 16, settle);
	assert_int_equal(io->n_failed, 1);
	rig_release_ssd();
	settle();
	assert_int_equal(admin->n_commands, 0);
	leave();
	rig_connect_queue(io, admin->cntlid, 1, 16, settle);
	assert_int_equal(io->entries, 16);
	assert_true(is_block_size(4096));
	leave();
}

/* The Connect comes earlier and later, from the Format itself until the namespaces
 * were looked at. */
static void at_every_moment(void **state)
{
	const struct host_connect how = { .hostnqn = RIG_FRIEND,
					  .subnqn = RIG_NQN,
					  .qid = 1,
					  .cntlid = admin->cntlid,
					  .sqsize = 15,
					  .cattr = NVMF_CATTR_DISABLE_SQFC };
	uint32_t bytes = 4096;
	unsigned refused = 0;

	(void)state;
	for (unsigned turns = 0; turns < MAX_TURNS; turns++) {
		bytes = bytes == 512 ? 4096 : 512;
		host_open(io, rig_connect());
		host_send_icreq(io, 0, 0);
		settle();
		send_format(1);
		for (unsigned i = 0; i < turns; i++)
			rig_turn();
		host_send_connect(io, &how);
		while (!io->entries && !io->n_failed) {
			rig_turn();
			host_receive_all(hosts, HOSTS);
		}
		refused += io->n_failed;
		if (io->entries)
			assert_true(is_block_size(bytes));
		settle();
		leave();
	}
	assert_in_range(refused, 1, MAX_TURNS - 1);
	assert_int_equal(admin->n_failed, 0);
}

/* A look that failed is not the last one. */
static void looked_at_again(void **state)
{
	(void)state;
	rig.ssds[0].ctrl->scan.due = true;
	rig_connect_queue(io, admin->cntlid, 1, 16, settle);
	assert_int_equal(io->n_failed, 1);
	leave();
	rig_connect_queue(io, admin->cntlid, 1, 16, settle);
	assert_int_equal(io->entries, 16);
	leave();
}

/* On an SSD that formats or erases all namespaces at once, each counts. */
static void whom_it_reaches(void **state)
{
	enum { ERASE = 1 << 9 };
	struct nvme_ns small = { .nsid = 1, .present = true, .lba_shift = 9 };
	struct nvme_ns large = { .nsid = 2, .present = true, .lba_shift = 12 };
	struct nvme_ns *both[] = { &small, &large };
	static struct nvme_ctrl ctrl;

	(void)state;
	ctrl.ns = both;
	ctrl.n_ns = 2;
	for (unsigned i = 0; i < 2; i++) {
		both[i]->id.lbaf[0].lbads = 9;
		both[i]->id.lbaf[17].lbads = 12;
	}
	assert_false(nvme_ctrl_format_changes(&ctrl, 1, 0));
	assert_true(nvme_ctrl_format_changes(&ctrl, 2, 0));
	assert_true(nvme_ctrl_format_changes(&ctrl, 1, 1 << 12 | 1));
	assert_false(nvme_ctrl_format_changes(&ctrl, 2, 1 << 12 | 1 | ERASE));
	ctrl.info.id.fna = NVME_FNA_ERASE_ALL;
	assert_false(nvme_ctrl_format_changes(&ctrl, 1, 0));
	assert_true(nvme_ctrl_format_changes(&ctrl, 1, ERASE));
	ctrl.info.id.fna = NVME_FNA_FORMAT_ALL;
	assert_true(nvme_ctrl_format_changes(&ctrl, 1, 0));
	large.present = false;
	assert_false(nvme_ctrl_format_changes(&ctrl, 1, 0));
	small.metadata = 8; /* which goes */
	assert_true(nvme_ctrl_format_changes(&ctrl, 1, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(no_queue_meanwhile),
					    cmocka_unit_test(at_every_moment),
					    cmocka_unit_test(looked_at_again),
					    cmocka_unit_test(whom_it_reaches) };
	int failed;

	rig_init("emulated:size=1M,queues=2");
	rig_conf.poll_us = 0; /* the clock stands still */
	rig_conf.subsystems[0].permissions = NVMET_ALLOW_FORMAT;
	rig_start();
	hosts[0].fd = hosts[1].fd = -1;
	rig_connect_queue(admin, 0, 0, 16, settle);
	host_enable(admin, settle);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	host_close(admin);
	rig_stop();
	return failed;
}
