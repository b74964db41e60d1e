/* SPDX-License-Identifier: BSD-3-Clause */
/* An SSD that was given up is tried again: by itself, when somebody asks for it, and ever less
 * often. One that was never ready only if it is awaited. */
#include "tests/unit/unit.h"

#include <errno.h>

#include "pcie/ctrl_internal.h"
#include "tests/unit/liar.h"

static void run_until_failed(unsigned times)
{
	while (seen.failed < times)
		liar_run();
}

static void run_until_ready(void)
{
	while (!nvme_ctrl_is_ready(liar_ctrl))
		liar_run_for(10);
}

/* Two tries later it works: a queue pair that was made before goes on, and one from in between. */
static void by_itself(void **state)
{
	struct nvme_qpair *first;

	(void)state;
	liar.retry_ms = 20;
	liar_start("emulated:size=1M,queues=2,fault.never_ready=2,fault.ready_again=6", NULL);
	liar_create();
	first = seen.qpair;
	liar.tell(liar.tell_arg, PCIE_DEVICE_ERROR);
	run_until_failed(1);
	assert_string_equal(nvme_ctrl_why(liar_ctrl),
			    "CSTS.RDY does not follow CC.EN within CAP.TO");
	liar_create();
	assert_int_equal(seen.created_err, 0);
	run_until_ready();
	assert_int_equal(seen.failed, 2);
	assert_int_equal(nvme_ctrl_n_retries(liar_ctrl), 2);
	assert_null(nvme_ctrl_why(liar_ctrl));
	while (first->paused || seen.qpair->paused)
		liar_run_for(10);
	assert_true(first->main.on_ssd && seen.qpair->main.on_ssd);
	liar_delete();
	seen.qpair = first;
	liar_delete();
	liar_end();
}

/* Only then; and one that is not FAILED is not. */
static void when_asked(void **state)
{
	(void)state;
	liar_start("emulated:size=1M,fault.never_ready=2,fault.ready_again=5", NULL);
	assert_int_equal(nvme_ctrl_retry(liar_ctrl), -ENODEV);
	liar.tell(liar.tell_arg, PCIE_DEVICE_ERROR);
	run_until_failed(1);
	assert_int_equal(nvme_ctrl_retry(liar_ctrl), 0);
	assert_int_equal(nvme_ctrl_retry(liar_ctrl), -ENODEV);
	run_until_ready();
	assert_int_equal(nvme_ctrl_n_retries(liar_ctrl), 1);
	liar_end();
}

static void other_serial(const struct nvme_sqe *sqe, uint8_t *data, struct nvme_cqe *cqe)
{
	(void)cqe;
	if (sqe->opcode == NVME_ADMIN_IDENTIFY && (le32_get(sqe->cdw10) & 0xff) == NVME_CNS_CTRL)
		((struct nvme_id_ctrl *)(void *)data)->sn[0] ^= 1;
}

/* It is another SSD each time. */
static void less_and_less_often(void **state)
{
	(void)state;
	liar.retry_ms = 5;
	liar_start("emulated:size=1M", NULL);
	liar.lie = other_serial;
	liar.tell(liar.tell_arg, PCIE_DEVICE_ERROR);
	for (unsigned i = 0; i < 6; i++) {
		run_until_failed(i + 1);
		assert_int_equal(liar_ctrl->retry.pause_ms, 5u << i);
	}
	liar_ctrl->retry.pause_ms = NVME_RETRY_MAX_MS - 1;
	run_until_failed(7);
	assert_int_equal(liar_ctrl->retry.pause_ms, NVME_RETRY_MAX_MS);
	liar_end(); /* with a try to come */
}

/* An outage long after the last one is another one: it begins with the first pause. */
static void begins_anew(void **state)
{
	(void)state;
	liar.retry_ms = 5;
	liar_start("emulated:size=1M", NULL);
	liar.lie = other_serial;
	liar.tell(liar.tell_arg, PCIE_DEVICE_ERROR);
	run_until_failed(3);
	assert_int_equal(liar_ctrl->retry.pause_ms, 20);
	liar.lie = NULL;
	run_until_ready();
	liar_ctrl->retry.ready_ns -= NVME_RESETS_S * UINT64_C(1000000000);
	liar.lie = other_serial;
	liar.tell(liar.tell_arg, PCIE_DEVICE_ERROR);
	run_until_failed(4);
	assert_int_equal(liar_ctrl->retry.pause_ms, 5);
	liar_end();
}

/* It was never READY, but somebody waits for it. */
static void awaited(void **state)
{
	(void)state;
	liar.awaited = true;
	liar.retry_ms = 20;
	liar_start("emulated:size=1M,fault.never_ready=1,fault.ready_again=3", NULL);
	assert_int_equal(seen.failed, 1);
	assert_int_equal(seen.ready, 0);
	run_until_ready();
	assert_int_equal(seen.ready, 1);
	assert_int_equal(nvme_ctrl_n_retries(liar_ctrl), 2);
	assert_null(nvme_ctrl_why(liar_ctrl));
	liar_create();
	assert_int_equal(seen.created_err, 0);
	assert_false(liar_ctrl->out_of_patience || liar_ctrl->was_gone);
	liar_delete();
	liar_end();
}

static void awaited_and_asked_for(void **state)
{
	(void)state;
	liar.awaited = true;
	liar_start("emulated:size=1M,fault.never_ready=1,fault.ready_again=2", NULL);
	liar_run_for(50);
	assert_int_equal(nvme_ctrl_n_retries(liar_ctrl), 0);
	assert_int_equal(nvme_ctrl_retry(liar_ctrl), 0);
	run_until_ready();
	liar_end();
}

/* Its second namespace is described when it breaks down. */
static void break_down(const struct nvme_sqe *sqe, uint8_t *data, struct nvme_cqe *cqe)
{
	(void)data;
	(void)cqe;
	if (is_identify(sqe, NVME_CNS_NS_DESC_LIST) && le32_get(sqe->nsid) == 2)
		liar.tell(liar.tell_arg, PCIE_DEVICE_ERROR);
}

static void other_namespaces(const struct nvme_sqe *sqe, uint8_t *data, struct nvme_cqe *cqe)
{
	(void)cqe;
	if (is_identify(sqe, NVME_CNS_ACTIVE_NS_LIST)) {
		((le32 *)(void *)data)[0] = le32_set(2);
		((le32 *)(void *)data)[1] = le32_set(0);
	}
}

/* What was found of an SSD that was never READY holds for no other. */
static void another_one_meanwhile(void **state)
{
	(void)state;
	liar.awaited = true;
	liar.vectors = 2;
	liar_start("emulated:size=1M,namespaces=2", break_down);
	assert_int_equal(seen.failed, 1);
	assert_int_equal(nvme_ctrl_n_ns(liar_ctrl), 1);
	assert_int_equal(liar_ctrl->n_irqs, 2);
	liar.vectors = 0;
	liar.dev.n_vectors = 5;
	liar.lie = other_namespaces;
	assert_int_equal(nvme_ctrl_retry(liar_ctrl), 0);
	run_until_ready();
	assert_int_equal(nvme_ctrl_n_ns(liar_ctrl), 1);
	assert_int_equal(nvme_ctrl_ns(liar_ctrl, 0)->nsid, 2);
	assert_int_equal(liar_ctrl->n_irqs, 5);
	liar_end();
}

static void not_there_at_first(void **state)
{
	(void)state;
	liar.awaited = liar.absent = true;
	liar.retry_ms = 5;
	liar_start("emulated:size=1M", NULL);
	assert_string_equal(nvme_ctrl_state_name(liar_ctrl), "absent");
	assert_string_equal(nvme_ctrl_name(liar_ctrl), "absent");
	assert_non_null(nvme_ctrl_why(liar_ctrl));
	assert_int_equal(nvme_ctrl_retry(liar_ctrl), -ENODEV);
	liar_arrive();
	assert_int_equal(seen.ready, 1);
	assert_string_equal(nvme_ctrl_name(liar_ctrl), liar.dev.name);
	liar_end();
}

static void never_there(void **state)
{
	(void)state;
	liar.awaited = liar.absent = true;
	liar_start("emulated:size=1M", NULL);
	liar_end();
}

/* The kernel wants it back while nothing can be done with it. */
static void gone_when_failed(void **state)
{
	(void)state;
	liar.awaited = true;
	liar_start("emulated:size=1M,fault.never_ready=1,fault.ready_again=2", NULL);
	liar.tell(liar.tell_arg, PCIE_DEVICE_REQUEST);
	liar_run_for(20);
	assert_string_equal(nvme_ctrl_state_name(liar_ctrl), "absent");
	liar.tell(liar.tell_arg, PCIE_DEVICE_BACK);
	run_until_ready();
	liar_end();
}

/* The end: not tried again while it is freed, nor one that was never ready. */
static void over(void **state)
{
	(void)state;
	liar.retry_ms = 5;
	liar_start("emulated:size=1M,fault.never_ready=1", NULL);
	assert_int_equal(seen.failed, 1);
	assert_int_equal(nvme_ctrl_retry(liar_ctrl), -ENODEV);
	liar_run_for(50);
	assert_string_equal(nvme_ctrl_state_name(liar_ctrl), "failed");
	liar_end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(by_itself, liar_reset),
		cmocka_unit_test_setup(when_asked, liar_reset),
		cmocka_unit_test_setup(less_and_less_often, liar_reset),
		cmocka_unit_test_setup(begins_anew, liar_reset),
		cmocka_unit_test_setup(awaited, liar_reset),
		cmocka_unit_test_setup(awaited_and_asked_for, liar_reset),
		cmocka_unit_test_setup(another_one_meanwhile, liar_reset),
		cmocka_unit_test_setup(not_there_at_first, liar_reset),
		cmocka_unit_test_setup(never_there, liar_reset),
		cmocka_unit_test_setup(gone_when_failed, liar_reset),
		cmocka_unit_test_setup(over, liar_reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
