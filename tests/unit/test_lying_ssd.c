/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An SSD that lies. Whatever it says, bring-up ends in READY or FAILED, nothing is read or written
 * beyond its bounds (the sanitizers look), and all memory comes back.
 */
#include "tests/unit/unit.h"

#include <errno.h>

#include "pcie/ctrl_internal.h"
#include "tests/unit/liar.h"
#include "util/num.h"

static void refuse(struct nvme_cqe *cqe)
{
	cqe->status = nvme_status_to_wire(NVME_SC_INVALID_FIELD | NVME_STATUS_DNR, false);
}

/* --- Registers -------------------------------------------------------------------------------- */

static void registers(void **state)
{
	static const struct {
		uint64_t clear, set;
		bool ready;
	} cases[] = {
		{ 0xffff, 0, false },               /* MQES 0 */
		{ 0xffff, 1, true },                /* rings of two entries */
		{ 0, 0xffff, true },                /* the largest rings */
		{ 0, UINT64_C(15) << 32, false },   /* doorbells beyond the BAR */
		{ UINT64_C(0xff) << 37, 0, false }, /* no command set */
		{ 0, UINT64_C(15) << 48, false },   /* pages of 128 MiB at least */
		{ UINT64_C(0xff) << 24, 0, true },  /* TO 0 */
		{ UINT64_MAX, 0, false },           /* nothing */
		{ 0, UINT64_MAX, false },           /* everything */
		{ 0, UINT64_C(0xff) << 24 | UINT64_C(1) << 63, true }, /* TO, reserved bits */
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		liar_reset(state);
		liar.cap_clear = cases[i].clear;
		liar.cap_set = cases[i].set;
		liar_start("emulated:size=1M,queues=4", NULL);
		assert_int_equal(seen.ready, cases[i].ready);
		assert_in_range(liar.highest_write, 0, liar.dev.bar0_len - 4);
		liar_end();
	}
}

/* The SSD grants eight queue pairs, its BAR has doorbells of three and of the admin queue. */
static void few_doorbells(void **state)
{
	liar.bar_len = NVME_REG_DOORBELLS + 4 * 8;
	liar_start("emulated:size=1M,queues=8", NULL);
	assert_int_equal(seen.ready, 1);
	assert_int_equal(nvme_ctrl_info(liar_ctrl)->n_queues, 3);
	liar_end();
	liar_reset(state);
	liar.bar_len = NVME_REG_DOORBELLS + 8;
	liar_start("emulated:size=1M,queues=8", NULL);
	assert_int_equal(seen.failed, 1);
	liar_end();
}

/* The machine has fewer interrupt vectors left than the SSD offers: queues share them. */
static void few_vectors(void **state)
{
	for (unsigned n = 1; n <= 3; n++) {
		liar_reset(state);
		liar.vectors = n;
		liar_start("emulated:size=1M,queues=4", NULL);
		assert_int_equal(seen.ready, 1);
		liar_create();
		assert_int_equal(seen.created_err, 0);
		assert_in_range(seen.qpair->vector, 0, n - 1);
		liar_delete();
		liar_end();
	}
}

/* --- Identify Controller ---------------------------------------------------------------------- */

static void ones_for_ctrl(const struct nvme_sqe *sqe, uint8_t *data, struct nvme_cqe *cqe)
{
	(void)cqe;
	if (is_identify(sqe, NVME_CNS_CTRL))
		memset(data, 0xff, NVME_IDENTIFY_SIZE);
}

static void nothing_for_ctrl(const struct nvme_sqe *sqe, uint8_t *data, struct nvme_cqe *cqe)
{
	(void)cqe;
	if (is_identify(sqe, NVME_CNS_CTRL))
		memset(data, 0, NVME_IDENTIFY_SIZE);
}

static void odd_numbers(const struct nvme_sqe *sqe, uint8_t *data, struct nvme_cqe *cqe)
{
	struct nvme_id_ctrl *id = (void *)data;

	(void)cqe;
	if (!is_identify(sqe, NVME_CNS_CTRL))
		return;
	id->mdts = 255;
	id->aerl = 255;
	id->nn = le32_set(UINT32_MAX);
	id->oacs = le16_set(0xffff);
	memset(id->sn, 0xff, sizeof(id->sn));
	memset(id->mn, 0x1b, sizeof(id->mn));
}

static void controller_data(void **state)
{
	liar_start("emulated:size=1M", ones_for_ctrl);
	assert_int_equal(seen.failed, 1); /* CNTRLTYPE 255 */
	liar_end();
	liar_reset(state);
	liar_start("emulated:size=1M", nothing_for_ctrl);
	assert_int_equal(seen.ready, 1);
	assert_int_equal(nvme_ctrl_info(liar_ctrl)->max_transfer, 1u << 20);
	assert_int_equal(nvme_ctrl_info(liar_ctrl)->oncs, 0);
	liar_end();
	liar_reset(state);
	liar_start("emulated:size=1M", odd_numbers);
	assert_int_equal(seen.ready, 1);
	assert_int_equal(nvme_ctrl_info(liar_ctrl)->max_transfer, 1u << 20);
	assert_in_range(liar.n_aers, 1, 8);
	liar_end();
}

/* --- Number of queues ------------------------------------------------------------------------- */

static uint32_t granted;

static void grants(const struct nvme_sqe *sqe, uint8_t *data, struct nvme_cqe *cqe)
{
	(void)data;
	if (sqe->opcode == NVME_ADMIN_SET_FEATURES &&
	    (le32_get(sqe->cdw10) & 0xff) == NVME_FEAT_NUM_QUEUES)
		cqe->dw0 = le32_set(granted);
}

static void number_of_queues(void **state)
{
	static const struct {
		uint32_t granted, expected;
	} cases[] = { { UINT32_MAX, 8 }, { 0, 1 }, { 0x0003ffff, 4 }, { 0xffff0002, 3 } };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		liar_reset(state);
		granted = cases[i].granted;
		liar_start("emulated:size=1M,queues=16", grants);
		assert_int_equal(seen.ready, 1);
		assert_int_equal(nvme_ctrl_info(liar_ctrl)->n_queues, cases[i].expected);
		liar_end();
	}
}

/* --- Namespaces ------------------------------------------------------------------------------- */

static le32 list[1024];
static struct nvme_id_ns ns_data;
static uint8_t descs[NVME_IDENTIFY_SIZE];
static bool lie_list, lie_ns, lie_descs;

static void about_namespaces(const struct nvme_sqe *sqe, uint8_t *data, struct nvme_cqe *cqe)
{
	if (lie_list && is_identify(sqe, NVME_CNS_ACTIVE_NS_LIST))
		memcpy(data, list, sizeof(list));
	if (lie_ns && is_identify(sqe, NVME_CNS_NS)) {
		memcpy(data, &ns_data, sizeof(ns_data));
		cqe->status = le16_set(0);
	}
	if (lie_descs && is_identify(sqe, NVME_CNS_NS_DESC_LIST)) {
		memcpy(data, descs, sizeof(descs));
		cqe->status = le16_set(0);
	}
}

static void setup_namespaces(bool with_list, bool with_ns, bool with_descs)
{
	void *state = NULL;

	liar_reset(&state);
	lie_list = with_list;
	lie_ns = with_ns;
	lie_descs = with_descs;
	memset(list, 0, sizeof(list));
	memset(descs, 0, sizeof(descs));
	memset(&ns_data, 0, sizeof(ns_data));
	ns_data.nsze = ns_data.ncap = le64_set(2048);
	ns_data.lbaf[0].lbads = 9;
}

/* Lists that do not end, do not ascend, or name what no namespace is. */
static void lists(void **state)
{
	(void)state;
	setup_namespaces(true, true, true);
	for (unsigned i = 0; i < ARRAY_SIZE(list); i++)
		list[i] = le32_set(i + 1);
	liar_start("emulated:size=1M", about_namespaces);
	assert_int_equal(seen.ready, 1);
	assert_int_equal(nvme_ctrl_n_ns(liar_ctrl), 1024);
	memset(list, 0, sizeof(list)); /* and some more, instead of all those */
	for (unsigned i = 0; i < 4; i++)
		list[i] = le32_set(i + 2000);
	assert_int_equal(nvme_ctrl_rescan(liar_ctrl), 0);
	while (nvme_ctrl_ns(liar_ctrl, 0)->present)
		liar_run_for(10);
	assert_int_equal(nvme_ctrl_n_ns(liar_ctrl), 1024);
	liar_end();
	setup_namespaces(true, true, true);
	for (unsigned i = 0; i < ARRAY_SIZE(list); i++)
		list[i] = le32_set(1);
	liar_start("emulated:size=1M", about_namespaces);
	assert_int_equal(nvme_ctrl_n_ns(liar_ctrl), 1);
	liar_end();
	setup_namespaces(true, true, true);
	memset(list, 0xff, sizeof(list));
	liar_start("emulated:size=1M", about_namespaces);
	assert_int_equal(nvme_ctrl_n_ns(liar_ctrl), 0);
	liar_end();
}

static void no_list(const struct nvme_sqe *sqe, uint8_t *data, struct nvme_cqe *cqe)
{
	if (is_identify(sqe, NVME_CNS_CTRL))
		((struct nvme_id_ctrl *)(void *)data)->nn = le32_set(UINT32_MAX);
	if (is_identify(sqe, NVME_CNS_ACTIVE_NS_LIST))
		refuse(cqe);
}

static void no_list_and_all_namespaces(void **state)
{
	(void)state;
	liar_start("emulated:size=1M,namespaces=3", no_list);
	assert_int_equal(seen.ready, 1);
	assert_int_equal(nvme_ctrl_n_ns(liar_ctrl), 3);
	liar_end();
}

static void formats(void **state)
{
	static const struct {
		uint8_t nlbaf, flbas, lbads;
		uint64_t nsze;
		bool good;
	} cases[] = {
		{ 0, 0, 9, 2048, true },
		{ 255, 0xff, 9, 2048, true }, /* the last of 64 formats */
		{ 0, 1, 9, 2048, false },     /* a format that there is not */
		{ 15, 0x6f, 9, 2048, false },
		{ 0, 0, 0, 2048, false },
		{ 0, 0, 8, 2048, false },
		{ 0, 0, 17, 2048, false },
		{ 0, 0, 255, 2048, false },
		{ 0, 0, 9, UINT64_MAX, false }, /* more bytes than 64 bits can count */
		{ 0, 0, 9, UINT64_MAX >> 9, true },
		{ 0, 0, 12, UINT64_MAX >> 9, false },
		{ 0, 0, 9, 0, true },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		setup_namespaces(false, true, false);
		memset(ns_data.lbaf, 0, sizeof(ns_data.lbaf));
		for (size_t n = 0; n < ARRAY_SIZE(ns_data.lbaf); n++)
			ns_data.lbaf[n].lbads = cases[i].lbads;
		ns_data.nlbaf = cases[i].nlbaf;
		ns_data.flbas = cases[i].flbas;
		ns_data.nsze = le64_set(cases[i].nsze);
		liar_start("emulated:size=1M", about_namespaces);
		assert_int_equal(seen.ready, 1);
		assert_int_equal(nvme_ctrl_n_ns(liar_ctrl), cases[i].good);
		liar_end();
	}
}

static void describe(size_t at, uint8_t type, uint8_t len)
{
	descs[at] = type;
	descs[at + 1] = len;
	if (at + 4 < sizeof(descs))
		memset(descs + at + 4, 0x77, num_min((size_t)len, sizeof(descs) - at - 4));
}

/* Lengths that are wrong, or lead beyond the page. */
static void descriptors(void **state)
{
	const struct nvme_ns *ns;

	(void)state;
	setup_namespaces(false, false, true);
	describe(0, NVME_NIDT_UUID, 15);
	describe(19, NVME_NIDT_NGUID, 255);
	liar_start("emulated:size=1M", about_namespaces);
	ns = nvme_ctrl_ns(liar_ctrl, 0);
	assert_int_equal(seen.ready, 1);
	assert_false(ns->has_uuid);
	liar_end();
	/* Up to the page's last bytes: one that ends with it, one that would end behind it. */
	for (unsigned beyond = 0; beyond < 2; beyond++) {
		size_t at = 0;

		setup_namespaces(false, false, true);
		while (at + 2 * (4 + 16) + 4 <= sizeof(descs) - 20) {
			describe(at, 0xee, 16);
			at += 20;
		}
		describe(at, 0xee, (uint8_t)(sizeof(descs) - at - 4 - 20 + beyond));
		describe(sizeof(descs) - 20 + beyond, NVME_NIDT_UUID, 16);
		liar_start("emulated:size=1M", about_namespaces);
		ns = nvme_ctrl_ns(liar_ctrl, 0);
		assert_int_equal(ns->has_uuid, !beyond);
		liar_end();
	}
	setup_namespaces(false, false, true);
	memset(descs, 0xff, sizeof(descs));
	liar_start("emulated:size=1M", about_namespaces);
	assert_int_equal(seen.ready, 1);
	liar_end();
	setup_namespaces(false, false, true);
	memset(descs, 1, sizeof(descs)); /* hundreds of descriptors of one byte */
	liar_start("emulated:size=1M", about_namespaces);
	assert_int_equal(seen.ready, 1);
	assert_false(nvme_ctrl_ns(liar_ctrl, 0)->has_eui64);
	liar_end();
}

/* Less data than a page: what was in memory before is not taken for an answer. */
static void short_data(void **state)
{
	(void)state;
	setup_namespaces(false, true, false);
	memset(&ns_data, 0, sizeof(ns_data));
	ns_data.nsze = le64_set(2048);
	liar_start("emulated:size=1M,namespaces=2", about_namespaces);
	assert_int_equal(seen.ready, 1);
	assert_int_equal(nvme_ctrl_n_ns(liar_ctrl), 0);
	liar_end();
}

/* --- Completions ------------------------------------------------------------------------------ */

static void wrong_cid(const struct nvme_sqe *sqe, uint8_t *data, struct nvme_cqe *cqe)
{
	(void)data;
	if (is_identify(sqe, NVME_CNS_CTRL))
		cqe->cid = le16_set((uint16_t)(le16_get(cqe->cid) ^ 0x8001));
}

/* The command that was not answered is missed in time. */
static void cid_of_nobody(void **state)
{
	(void)state;
	liar_start("emulated:size=1M", wrong_cid);
	assert_int_equal(seen.failed, 1);
	liar_end();
}

/* It answers an admin command, and the interrupt for that is lost: the answer is found. */
static void lost_interrupt(void **state)
{
	(void)state;
	liar.command_timeout_ms = 60000;
	liar_start("emulated:size=1M", NULL);
	liar_run_for(10);
	liar.late = true;
	liar.kept = 0;
	assert_int_equal(nvme_ctrl_rescan(liar_ctrl), 0);
	while (!liar.kept)
		liar_run_for(10);
	liar_complete();
	while (liar_ctrl->scan.running) {
		assert_int_equal(nvme_ctrl_n_resets(liar_ctrl), 0);
		liar_run_for(10);
	}
	liar_end();
}

/* Whatever is refused: a queue pair is made whole or not at all, and its number is free again. */
static void queue_commands_refused(void **state)
{
	static const uint8_t creation[] = { NVME_ADMIN_CREATE_CQ, NVME_ADMIN_CREATE_SQ };
	static const uint8_t deletion[] = { NVME_ADMIN_DELETE_SQ, NVME_ADMIN_DELETE_CQ };

	for (size_t i = 0; i < ARRAY_SIZE(creation); i++) {
		liar_reset(state);
		liar.refused = creation[i];
		liar_start("emulated:size=1M,queues=2", NULL);
		liar_create();
		assert_int_equal(seen.created_err, -EIO);
		assert_null(seen.qpair);
		assert_int_equal(nvme_ctrl_queues_free(liar_ctrl), 2);
		liar.refused = -1;
		liar_create();
		assert_int_equal(seen.created_err, 0);
		liar_delete();
		liar_end();
	}
	for (size_t i = 0; i < ARRAY_SIZE(deletion); i++) {
		liar_reset(state);
		liar.refused = deletion[i];
		liar_start("emulated:size=1M,queues=2", NULL);
		liar_create();
		liar_delete();
		/* It might still write to the rings: it is reset before they are freed. */
		assert_int_equal(nvme_ctrl_n_resets(liar_ctrl), 1);
		while (!nvme_ctrl_is_ready(liar_ctrl))
			liar_run_for(10);
		assert_int_equal(nvme_ctrl_queues_free(liar_ctrl), 2);
		liar_end();
	}
}

/* --- Events ----------------------------------------------------------------------------------- */

/* Each request for an event is answered at once, for ever: the loop has time for other things. */
static void storm_of_events(void **state)
{
	(void)state;
	liar.storm = true;
	liar_start("emulated:size=1M", NULL);
	assert_int_equal(seen.ready, 1);
	liar_run_for(2500);
	assert_in_range(seen.events, 64, 200);
	liar.storm = false;
	liar_end();
}

/* The machine tells of an uncorrected error on the bus: the function is reset, not
 * just disabled. */
static void error_on_the_bus(void **state)
{
	unsigned before;

	(void)state;
	liar_start("emulated:size=1M,queues=2", NULL);
	liar_create();
	before = liar.n_resets;
	liar.tell(liar.tell_arg, PCIE_DEVICE_ERROR);
	while (!nvme_ctrl_n_resets(liar_ctrl) || !nvme_ctrl_is_ready(liar_ctrl))
		liar_run_for(10);
	assert_int_equal(nvme_ctrl_n_resets(liar_ctrl), 1);
	assert_int_equal(liar.n_resets, before + 1);
	liar_delete();
	liar_end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(registers, liar_reset),
		cmocka_unit_test_setup(few_doorbells, liar_reset),
		cmocka_unit_test_setup(few_vectors, liar_reset),
		cmocka_unit_test_setup(controller_data, liar_reset),
		cmocka_unit_test_setup(number_of_queues, liar_reset),
		cmocka_unit_test_setup(lists, liar_reset),
		cmocka_unit_test_setup(no_list_and_all_namespaces, liar_reset),
		cmocka_unit_test_setup(formats, liar_reset),
		cmocka_unit_test_setup(descriptors, liar_reset),
		cmocka_unit_test_setup(short_data, liar_reset),
		cmocka_unit_test_setup(cid_of_nobody, liar_reset),
		cmocka_unit_test_setup(lost_interrupt, liar_reset),
		cmocka_unit_test_setup(queue_commands_refused, liar_reset),
		cmocka_unit_test_setup(storm_of_events, liar_reset),
		cmocka_unit_test_setup(error_on_the_bus, liar_reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
