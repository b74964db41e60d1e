/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The namespaces of an SSD are looked at again, at run time and after a reset: what it does not say
 * at once takes no namespace away and makes none another one, and it is asked again.
 */
#include "tests/unit/unit.h"

#include <errno.h>
#include <event2/event.h>

#include "pcie/ctrl_internal.h"
#include "tests/unit/liar.h"
#include "tests/unit/logged.h"

static enum nvme_cns failing; /* of namespace 1, `n_failing` times */
static unsigned n_failing, n_lists;

static void cannot_show(const struct nvme_sqe *sqe, uint8_t *data, struct nvme_cqe *cqe)
{
	n_lists += is_identify(sqe, NVME_CNS_ACTIVE_NS_LIST);
	if (!n_failing || !is_identify(sqe, failing) || le32_get(sqe->nsid) != 1)
		return;
	n_failing--;
	memset(data, 0, NVME_IDENTIFY_SIZE);
	cqe->status = nvme_status_to_wire(NVME_SC_INTERNAL, false);
}

/* It does not say, once, what a namespace is or who it is: that is no other namespace. */
static void silent_about_one(void **state)
{
	static const enum nvme_cns cases[] = { NVME_CNS_NS, NVME_CNS_NS_DESC_LIST };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct nvme_ns *ns;
		struct nvme_ns before;

		liar_reset(state);
		liar_start("emulated:size=1M,namespaces=2", cannot_show);
		ns = nvme_ctrl_ns(liar_ctrl, 0);
		before = *ns;
		assert_true(before.has_uuid);
		failing = cases[i];
		n_failing = 1;
		assert_int_equal(nvme_ctrl_rescan(liar_ctrl), 0);
		while (n_failing)
			liar_run_for(10);
		assert_true(ns->present);
		assert_memory_equal(ns->uuid, before.uuid, sizeof(ns->uuid));
		n_failing = 1;
		n_lists = 0; /* and asked for again while it looks, it looks again */
		assert_int_equal(nvme_ctrl_rescan(liar_ctrl), 0);
		assert_int_equal(nvme_ctrl_rescan(liar_ctrl), 0);
		while (n_failing || n_lists < 2)
			liar_run_for(10);
		n_failing = 1; /* after a reset, which does not help at once */
		liar.tell(liar.tell_arg, PCIE_DEVICE_ERROR);
		while (n_failing || !nvme_ctrl_is_ready(liar_ctrl)) {
			assert_int_equal(seen.failed, 0);
			liar_run_for(10);
		}
		assert_int_equal(nvme_ctrl_n_resets(liar_ctrl), 2);
		assert_memory_equal(ns->uuid, before.uuid, sizeof(ns->uuid));
		liar_end();
	}
}

static bool hidden; /* namespace 2 is not on the list */

static void hides(const struct nvme_sqe *sqe, uint8_t *data, struct nvme_cqe *cqe)
{
	cannot_show(sqe, data, cqe);
	if (hidden && is_identify(sqe, NVME_CNS_ACTIVE_NS_LIST))
		memset(data + 4, 0, 4);
	if (n_failing && is_identify(sqe, NVME_CNS_NS) && le32_get(sqe->nsid) == 2) {
		n_failing--;
		cqe->status = nvme_status_to_wire(NVME_SC_INTERNAL, false);
	}
}

/* It does not say at once what a new namespace is, or one that it had: it is looked at again. */
static void shows_it_later(void **state)
{
	(void)state;
	hidden = true;
	failing = NVME_CNS_CTRL; /* only what hides() does */
	liar_start("emulated:size=1M,namespaces=2", hides);
	assert_int_equal(nvme_ctrl_n_ns(liar_ctrl), 1);
	hidden = false;
	n_failing = 1;
	assert_int_equal(nvme_ctrl_rescan(liar_ctrl), 0);
	while (nvme_ctrl_n_ns(liar_ctrl) != 2)
		liar_run_for(10);
	assert_int_equal(n_failing, 0);
	hidden = true; /* and now it has one that it had, and hides the other */
	failing = NVME_CNS_NS;
	n_failing = 1;
	assert_int_equal(nvme_ctrl_rescan(liar_ctrl), 0);
	while (nvme_ctrl_ns(liar_ctrl, 1)->present)
		liar_run_for(10);
	assert_int_equal(n_failing, 0);
	liar_end();
}

/* That ends, and is begun anew when it is asked for. */
static void never_shows_it(void **state)
{
	(void)state;
	hidden = false;
	failing = NVME_CNS_NS;
	n_failing = 0;
	liar_start("emulated:size=1M,namespaces=2", hides);
	liar_ctrl->scan.failures = NVME_SCAN_TRIES;
	n_failing = UINT32_MAX;
	nvme_ns_scan(liar_ctrl); /* as its timer does */
	while (liar_ctrl->scan.running)
		liar_run_for(10);
	assert_false(evtimer_pending(liar_ctrl->scan.timer, NULL));
	assert_int_equal(liar_ctrl->scan.failures, 0);
	assert_int_equal(nvme_ctrl_rescan(liar_ctrl), 0);
	while (!liar_ctrl->scan.failures)
		liar_run_for(10);
	liar_end();
}

/* Of another command set, say: it is left out at the start, and is no reason to give up later. */
static void silent_about_one_always(void **state)
{
	char log[4096];

	(void)state;
	failing = NVME_CNS_NS;
	n_failing = UINT32_MAX;
	logged_begin();
	liar_start("emulated:size=1M,namespaces=2", cannot_show);
	logged_end(log, sizeof(log));
	assert_non_null(strstr(log, "namespace 1 is left out: the SSD does not show it"));
	assert_int_equal(nvme_ctrl_n_ns(liar_ctrl), 1);
	liar.tell(liar.tell_arg, PCIE_DEVICE_ERROR);
	while (!nvme_ctrl_n_resets(liar_ctrl) || !nvme_ctrl_is_ready(liar_ctrl)) {
		assert_int_equal(seen.failed, 0);
		liar_run_for(10);
	}
	assert_int_equal(nvme_ctrl_n_resets(liar_ctrl), 1);
	assert_int_equal(nvme_ctrl_n_ns(liar_ctrl), 1);
	liar_end();
}

/* The blocks of all its namespaces are of 4 KiB; nobody hears that it is done. */
static void formats_and_is_silent(const struct nvme_sqe *sqe, uint8_t *data, struct nvme_cqe *cqe)
{
	(void)data;
	if (sqe->opcode == NVME_ADMIN_FORMAT)
		cqe->cid = le16_set((uint16_t)(le16_get(cqe->cid) ^ 0x8001));
}

static uint16_t format_status;

static void on_formatted(void *arg, const struct nvme_cqe *cqe)
{
	(void)arg;
	format_status = nvme_cqe_status(cqe);
}

/* It is reset while it formats: its namespaces are the same ones, whose blocks may be others now.
 * Without that, other blocks are those of another namespace. */
static void reset_while_it_formats(void **state)
{
	struct nvme_sqe sqe = { .opcode = NVME_ADMIN_FORMAT, .nsid = le32_set(1) };
	const struct nvme_ns *ns;

	(void)state;
	liar_start("emulated:size=1M", formats_and_is_silent);
	ns = nvme_ctrl_ns(liar_ctrl, 0);
	assert_int_equal(ns->lba_shift, 9);
	for (unsigned i = 0; i <= ns->id.nlbaf; i++) {
		if (ns->id.lbaf[i].lbads == 12)
			sqe.cdw10 = le32_set(i);
	}
	format_status = 0;
	assert_int_equal(nvme_ctrl_admin(liar_ctrl, &sqe, NULL, 0, on_formatted, NULL), 0);
	liar_run_for(10);
	assert_false(nvme_ctrl_blocks_known(liar_ctrl));
	liar.tell(liar.tell_arg, PCIE_DEVICE_ERROR);
	while (!nvme_ctrl_n_resets(liar_ctrl) || !nvme_ctrl_is_ready(liar_ctrl)) {
		assert_int_equal(seen.failed, 0);
		liar_run_for(10);
	}
	assert_int_equal(format_status, NVME_SC_HOST_PATH_ERROR);
	assert_int_equal(ns->lba_shift, 12);
	assert_true(nvme_ctrl_blocks_known(liar_ctrl));
	liar_end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(silent_about_one, liar_reset),
		cmocka_unit_test_setup(silent_about_one_always, liar_reset),
		cmocka_unit_test_setup(shows_it_later, liar_reset),
		cmocka_unit_test_setup(never_shows_it, liar_reset),
		cmocka_unit_test_setup(reset_while_it_formats, liar_reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
