/* SPDX-License-Identifier: BSD-3-Clause */
/* An SSD that was given up is tried again: by itself, when somebody asks for it, and ever less
 * often. */
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
		cmocka_unit_test_setup(over, liar_reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
