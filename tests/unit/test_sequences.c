/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Everything in all orders: two associations of one host, each with an admin and two I/O queues,
 * and an SSD that is held and reset meanwhile. Steps are drawn from fixed seeds. One turn of one
 * loop is a step like any other, so messages cross, and what ends meets what begins.
 *
 * The host keeps to the rules, so it may never be told that it has not; what it is sent is checked
 * (host.h). When the SSD answers again, each command of a connection that lives is answered; and at
 * last nothing is left over, and each block has what was written to it. The clock is the rig's.
 */
#include "tests/unit/unit.h"

#include <stdio.h>

#include "pcie/ctrl_internal.h"
#include "pcie/emul/state.h"
#include "target/aen.h"
#include "target/nvmf.h"
#include "target/ssd.h"
#include "target/worker.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/host.h"
#include "tests/fuzz/rig.h"
#include "util/num.h"

#define QUEUES  3 /* of an association: admin, two for I/O */
#define HOSTS   (2 * QUEUES)
#define SEEDS   200
#define STEPS   600
#define SQSIZE  31
#define BLOCK   512
#define PATIENT 90000 /* ms, until all must have been answered */

static struct host hosts[HOSTS];
static uint16_t last_cid[HOSTS];
static uint64_t random_state;
static unsigned resets;
static uint8_t bytes[32768];

static uint32_t draw(uint32_t n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (uint32_t)(random_state >> 33) % n;
}

/* Each block tells where it belongs: data that is taken from where other data came to lie is seen
 * on the medium. */
static uint32_t mark(uint32_t block)
{
	return block * 0x9e3779b9u + 1;
}

/* What a write of `len` bytes at `block` sends. */
static const uint8_t *data_for(uint32_t block, uint32_t len)
{
	for (uint32_t at = 0; at < len; at += sizeof(le32))
		le32_store(bytes + at, mark(block + at / BLOCK));
	return bytes;
}

static void check_medium(uint64_t seed)
{
	const struct emul *emul = container_of(rig.ssds[0].dev, struct emul, dev);

	for (uint32_t at = 0; at < emul->media.size; at += sizeof(le32)) {
		uint32_t word = le32_load(emul->media.ram + at);

		if (word && word != mark(at / BLOCK))
			fuzz_fail("seed %llu: block %u has data of another",
				  (unsigned long long)seed, at / BLOCK);
	}
}

static struct nvme_ctrl *ssd(void)
{
	return rig.ssds[0].ctrl;
}

static void turn_workers(void)
{
	for (unsigned i = 0; i < rig.n_workers; i++)
		loop_turn(&rig.workers[i].loop, false);
}

/* What is sent next comes in two parts, now and then. */
static void maybe_in_parts(unsigned i)
{
	hosts[i].between = draw(8) ? NULL : turn_workers;
}

static void nothing(void)
{
}

static void settle(void)
{
	do
		rig_settle();
	while (host_receive_all(hosts, HOSTS));
}

/* --- Commands --------------------------------------------------------------------------------- */

static uint16_t next_cid(unsigned i)
{
	const struct host *host = &hosts[i];
	bool taken = true;

	while (taken) {
		taken = false;
		last_cid[i] += 0x0ff1; /* all over the 16 bits */
		for (unsigned n = 0; n < host->n_commands; n++)
			taken = taken || le16_get(host->commands[n].sqe.cid) == last_cid[i];
	}
	return last_cid[i];
}

/* Whether the host may send one more; not to a queue that it has not connected. */
static bool may_send(unsigned i)
{
	return hosts[i].fd >= 0 && hosts[i].entries && hosts[i].n_commands + 1 < hosts[i].entries;
}

static void send_sqe(unsigned i, struct nvme_sqe sqe, const void *data, uint32_t len)
{
	if (!may_send(i))
		return;
	sqe.flags |= 0x40;
	sqe.cid = le16_set(next_cid(i));
	sqe.sgl.type = data ? NVMF_SGL_DATA_OFFSET : NVMF_SGL_TRANSPORT;
	sqe.sgl.length = le32_set(len);
	maybe_in_parts(i);
	host_send_command(&hosts[i], &sqe, data, data ? len : 0, 0);
}

static void fabrics(unsigned i, uint8_t fctype, uint32_t cdw11, uint32_t cdw12)
{
	send_sqe(i,
		 (struct nvme_sqe){ .opcode = NVME_OPCODE_FABRICS,
				    .nsid = le32_set(fctype),
				    .cdw11 = le32_set(cdw11),
				    .cdw12 = le32_set(cdw12) },
		 NULL, 0);
}

static void send_admin(unsigned i)
{
	const struct nvme_sqe sqes[] = {
		{ .opcode = NVME_ADMIN_KEEP_ALIVE },
		{ .opcode = NVME_ADMIN_AER },
		{ .opcode = NVME_ADMIN_SET_FEATURES,
		  .cdw10 = le32_set(NVME_FEAT_KATO),
		  .cdw11 = le32_set(1000) },
		{ .opcode = NVME_ADMIN_SET_FEATURES,
		  .cdw10 = le32_set(NVME_FEAT_AEC),
		  .cdw11 = le32_set(0x1ff) },
		{ .opcode = NVME_ADMIN_GET_FEATURES, .cdw10 = le32_set(NVME_FEAT_VWC) },
	};

	send_sqe(i, sqes[draw(ARRAY_SIZE(sqes))], NULL, 0);
}

/* SMART, which the SSD answers: with and without Retain Asynchronous Event. */
static void read_log(unsigned i)
{
	const uint32_t rae = draw(2) << 15;

	send_sqe(i,
		 (struct nvme_sqe){ .opcode = NVME_ADMIN_GET_LOG_PAGE,
				    .nsid = le32_set(NVME_NSID_ALL),
				    .cdw10 = le32_set(127u << 16 | rae | NVME_LOG_SMART) },
		 NULL, 512);
}

static void set_cc(unsigned i)
{
	static const uint32_t ccs[] = { 0x00460001, 0x00460001, 0x00460001, 0x00460000,
					0x00464001 };

	if (draw(4))
		return;
	fabrics(i, NVMF_PROPERTY_SET, NVME_REG_CC, ccs[draw(ARRAY_SIZE(ccs))]);
}

static void send_abort(unsigned i)
{
	unsigned qid = draw(QUEUES);
	const struct host *queue = &hosts[i / QUEUES * QUEUES + qid];
	uint32_t cid = queue->n_commands
			       ? le16_get(queue->commands[draw(queue->n_commands)].sqe.cid)
			       : draw(65536);

	send_sqe(
		i,
		(struct nvme_sqe){ .opcode = NVME_ADMIN_ABORT, .cdw10 = le32_set(cid << 16 | qid) },
		NULL, 0);
}

static void send_io(unsigned i)
{
	static const uint8_t opcodes[] = { NVME_IO_READ, NVME_IO_WRITE, NVME_IO_COMPARE };
	const uint8_t opcode = opcodes[draw(ARRAY_SIZE(opcodes))];
	const uint32_t len = 512u << draw(opcode == NVME_IO_READ ? 10 : 7);
	const bool in_capsule = draw(2) && len <= 8192;
	struct nvme_sqe sqe = { .opcode = opcode,
				.nsid = le32_set(draw(20) ? 1 : 7),
				.cdw10 = le32_set(draw(10) ? draw(256) : UINT32_MAX),
				.cdw12 = le32_set(len / 512 - 1) };

	if (!draw(8)) { /* half a fused pair, or what makes a whole one of it */
		sqe.flags = (uint8_t)(1 + draw(2));
		sqe.opcode = sqe.flags == 1 ? NVME_IO_COMPARE : NVME_IO_WRITE;
	}
	send_sqe(i, sqe,
		 sqe.opcode != NVME_IO_READ && in_capsule ? data_for(le32_get(sqe.cdw10), len)
							  : NULL,
		 len);
}

static void send_flush(unsigned i)
{
	send_sqe(i, (struct nvme_sqe){ .opcode = NVME_IO_FLUSH, .nsid = le32_set(1) }, NULL, 0);
}

/* Where the command writes. */
static uint32_t block_of(const struct host *host, le16 cid)
{
	for (unsigned n = 0; n < host->n_commands; n++) {
		if (le16_get(host->commands[n].sqe.cid) == le16_get(cid))
			return le32_get(host->commands[n].sqe.cdw10);
	}
	return 0; /* it was answered: the data is of no use */
}

/* Of an R2T, all or a part. */
static void send_data(unsigned i, bool all)
{
	struct host *host = &hosts[i];
	struct host_r2t *r2t;
	struct nvme_tcp_data pdu = { .rsvd20 = { 0 } };
	uint32_t len, block;

	if (host->fd < 0 || !host->n_r2ts)
		return;
	r2t = &host->r2ts[draw(host->n_r2ts)];
	len = all || draw(2) ? r2t->left : 512 * (1 + draw(8));
	len = num_min(len, r2t->left);
	pdu.cccid = r2t->cccid;
	pdu.ttag = r2t->ttag;
	pdu.datao = le32_set(r2t->offset);
	pdu.datal = le32_set(len);
	block = block_of(host, r2t->cccid) + r2t->offset / BLOCK;
	r2t->offset += len;
	r2t->left -= len;
	maybe_in_parts(i);
	host_send_pdu(host, NVME_TCP_H2C_DATA, r2t->left ? 0 : NVME_TCP_F_LAST, &pdu, sizeof(pdu),
		      data_for(block, len), len, 0);
	if (!r2t->left)
		*r2t = host->r2ts[--host->n_r2ts];
}

/* --- Connections ------------------------------------------------------------------------------ */

static void come(unsigned i)
{
	const unsigned qid = i % QUEUES;
	const struct host_connect how = {
		.hostnqn = RIG_FRIEND,
		.subnqn = RIG_NQN,
		.qid = (uint16_t)qid,
		.cntlid = hosts[i - qid].cntlid,
		.sqsize = SQSIZE,
		.cattr = i / QUEUES ? NVMF_CATTR_DISABLE_SQFC : 0,
		.dgst = i / QUEUES ? 3 : 0,
		.kato = draw(3) ? 0 : 1000,
	};

	if (hosts[i].fd >= 0)
		return;
	last_cid[i] = (uint16_t)draw(65536);
	host_connect(&hosts[i], rig_connect(), &how, nothing);
}

/* An association that is well, to begin with. */
static void come_all(unsigned first)
{
	come(first);
	settle();
	host_enable(&hosts[first], settle);
	for (unsigned qid = 1; qid < QUEUES; qid++)
		come(first + qid);
	settle();
}

static void leave(unsigned i)
{
	if (!draw(4))
		host_close(&hosts[i]);
	else if (!draw(4) && i % QUEUES)
		fabrics(i, NVMF_DISCONNECT, 0, 0);
	else
		hosts[i].deaf = !hosts[i].deaf;
}

/* --- Steps ------------------------------------------------------------------------------------ */

static void send_something(unsigned i)
{
	if (i % QUEUES) {
		for (unsigned n = draw(6); n; n--)
			send_io(i);
		if (!draw(4))
			send_flush(i);
		return;
	}
	switch (draw(5)) {
	case 0:
		set_cc(i);
		break;
	case 1:
		send_abort(i);
		break;
	case 2:
		read_log(i);
		break;
	default:
		send_admin(i);
	}
}

static void upset_ssd(void)
{
	switch (draw(6)) {
	case 0:
	case 3:
		rig_hold_ssd(false);
		break;
	case 1:
		if (!draw(8) && resets++ < NVME_MAX_RESETS - 2)
			nvme_ctrl_recover(ssd(), "a test wants it");
		break;
	case 2:
		nvmet_aen_from_ssd(rig.ssds[0].ssd,
				   NVME_AER_SMART | 1u << 8 | NVME_LOG_SMART << 16);
		break;
	default:
		rig_release_ssd();
	}
}

static void step(void)
{
	unsigned i = draw(HOSTS);

	switch (draw(24)) {
	case 0:
	case 1:
		come(draw(2) ? i : i / QUEUES * QUEUES);
		break;
	case 2:
		if (!draw(3))
			leave(i);
		break;
	case 3:
		upset_ssd();
		break;
	case 4:
		rig_clock_forward((1 + draw(draw(8) ? 30 : 1500)) * 1000000ull);
		break;
	case 5:
	case 6:
		send_data(i, false);
		break;
	case 7:
	case 8:
		loop_turn(&rig.workers[draw(rig.n_workers)].loop, false);
		break;
	case 9:
	case 10:
		loop_turn(&rig.loop, false);
		break;
	case 11:
		host_receive(&hosts[i]);
		break;
	case 12:
		if (!draw(4))
			settle();
		break;
	default:
		send_something(i);
	}
}

/* --- The end ---------------------------------------------------------------------------------- */

static bool is_aer(const struct host_command *command)
{
	return command->sqe.opcode == NVME_ADMIN_AER;
}

/* Commands that wait for an answer; half a pair waits for the host. */
static unsigned unanswered(unsigned i)
{
	unsigned n = 0;

	if (hosts[i].fd < 0)
		return 0;
	for (unsigned c = 0; c < hosts[i].n_commands; c++)
		n += i % QUEUES != 0 || !is_aer(&hosts[i].commands[c]);
	return n;
}

static unsigned all_unanswered(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < HOSTS; i++)
		n += unanswered(i);
	return n;
}

static void complain(uint64_t seed)
{
	for (unsigned i = 0; i < HOSTS; i++) {
		for (unsigned c = 0; unanswered(i) && c < hosts[i].n_commands; c++)
			fprintf(stderr, "host %u: opcode %02xh, flags %02xh, CID %04xh\n", i,
				hosts[i].commands[c].sqe.opcode, hosts[i].commands[c].sqe.flags,
				le16_get(hosts[i].commands[c].sqe.cid));
	}
	fuzz_fail("seed %llu: these have no answer", (unsigned long long)seed);
}

static void let_all_end(uint64_t seed)
{
	rig_release_ssd();
	for (unsigned i = 0; i < HOSTS; i++)
		hosts[i].deaf = false;
	settle();
	for (unsigned ms = 0; all_unanswered(); ms += 50) {
		if (ms > PATIENT)
			complain(seed);
		for (unsigned i = 0; i < HOSTS; i++) {
			while (hosts[i].n_r2ts && hosts[i].fd >= 0)
				send_data(i, true);
			if (i % QUEUES && unanswered(i))
				send_flush(i); /* a half that waits for its other half ends */
		}
		rig_sleep(50);
		settle();
	}
}

static void sequence(uint64_t seed)
{
	struct nvme_qpair_stats stats;

	random_state = seed * 0x9e3779b97f4a7c15ull + 1;
	resets = 0;
	for (unsigned i = 0; i < HOSTS; i++)
		hosts[i] = (struct host){ .fd = -1 };
	come_all(0);
	come_all(QUEUES);
	for (unsigned i = 0; i < STEPS; i++) {
		step();
		for (unsigned h = 0; h < HOSTS; h++) {
			if (hosts[h].terminated)
				fuzz_fail(
					"seed %llu, step %u: host %u is told that it broke a rule",
					(unsigned long long)seed, i, h);
		}
	}
	let_all_end(seed);
	for (unsigned i = 0; i < HOSTS; i++)
		host_close(&hosts[i]);
	rig_expect_clean();
	check_medium(seed);
	for (unsigned i = 0; i < rig.n_workers; i++)
		assert_int_equal(rig.workers[i].fused_halves, 0);
	nvmet_ssd_stats(rig.ssds[0].ssd, &stats);
	assert_int_equal(counter_get(&stats.completed), counter_get(&stats.submitted));
	rig_sleep(1000 * (NVME_RESETS_S + 1)); /* resets of the next are not counted with these */
}

static void in_all_orders(void **state)
{
	const char *one = getenv("SEED"); /* to look at one that failed */

	(void)state;
	if (one) {
		sequence(strtoull(one, NULL, 10));
		return;
	}
	for (uint64_t seed = 1; seed <= SEEDS; seed++)
		sequence(seed);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(in_all_orders) };
	int failed;

	rig_init("emulated:size=1M,queues=3,depth=64,mdts=256K,fused=1");
	rig_conf.workers = 2;
	rig_conf.dma_memory = 12u << 20; /* commands wait for pages: of 4M half is for receiving */
	rig_receive_memory = true;
	rig_conf.poll_us = 0; /* the clock stands still */
	rig_start();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rig_stop();
	return failed;
}
