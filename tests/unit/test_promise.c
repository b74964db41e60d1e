/* SPDX-License-Identifier: BSD-3-Clause */
/* What hosts were told of SSDs, beside what holds once another one has come. */
#include "tests/unit/unit.h"

#include "pcie/nvme.h"
#include "target/passthru.h"
#include "target/promise.h"

static const struct nvmet_promise told = {
	.max_transfer = 256u << 10,
	.oncs = NVME_ONCS_VERIFY | NVME_ONCS_WRITE_ZEROES | NVME_ONCS_DSM |
		NVME_ONCS_WRITE_UNCORRECTABLE,
	.vsl = 4,
	.wzsl = 6,
	.awun = 7,
	.awupf = 3,
	.dmrsl = 1000,
	.admin = NVMET_ALLOW_FORMAT | NVMET_ALLOW_SELF_TEST,
};

static bool holds(struct nvmet_promise now)
{
	return nvmet_promise_holds(&told, &now);
}

/* `told`, with one field changed. */
#define WITH(...)                                \
	({                                       \
		struct nvmet_promise now = told; \
		__VA_ARGS__;                     \
		now;                             \
	})

static void as_before(void **state)
{
	(void)state;
	assert_true(holds(told));
}

static void more(void **state)
{
	(void)state;
	assert_true(holds(WITH(now.max_transfer = 1u << 20)));
	assert_true(holds(WITH(now.oncs |= NVME_ONCS_COPY)));
	assert_true(holds(WITH(now.fuses = true)));
	assert_true(holds(WITH(now.vsl = 5)));
	assert_true(holds(WITH(now.wzsl = 0)));
	assert_true(holds(WITH(now.awun = 8)));
	assert_true(holds(WITH(now.awupf = 7)));
	assert_true(holds(WITH(now.dmrsl = 0)));
	assert_true(holds(WITH(now.admin |= NVMET_ALLOW_SANITIZE)));
}

static void less(void **state)
{
	(void)state;
	assert_false(holds(WITH(now.max_transfer = 128u << 10)));
	assert_false(holds(WITH(now.oncs &= (uint16_t)~NVME_ONCS_DSM)));
	assert_false(holds(WITH(now.write_cache = true)));
	assert_false(holds(WITH(now.vsl = 3)));
	assert_false(holds(WITH(now.wzsl = 5)));
	assert_false(holds(WITH(now.wusl = 9)));
	assert_false(holds(WITH(now.awun = 6)));
	assert_false(holds(WITH(now.awupf = 2)));
	assert_false(holds(WITH(now.dmrl = 255)));
	assert_false(holds(WITH(now.dmrsl = 999)));
	assert_false(holds(WITH(now.dmsl = 1000000)));
	assert_false(holds(WITH(now.admin = NVMET_ALLOW_FORMAT)));
}

/* Limits of commands that were not offered bind nobody. */
static void not_offered(void **state)
{
	struct nvmet_promise before = told, now = told;

	(void)state;
	before.oncs = 0;
	now.vsl = now.wzsl = now.wusl = now.dmrl = 1;
	now.dmrsl = 1;
	now.dmsl = 1;
	assert_true(nvmet_promise_holds(&before, &now));
}

/* A host that flushes may go on doing so; one that sends fused pairs may not. */
static void what_was_there(void **state)
{
	struct nvmet_promise before = told, now = told;

	(void)state;
	before.write_cache = true;
	assert_true(nvmet_promise_holds(&before, &now));
	before.fuses = true;
	assert_false(nvmet_promise_holds(&before, &now));
	now.fuses = true;
	assert_true(nvmet_promise_holds(&before, &now));
}

/* ACWU is of those who were told of fused pairs, and of namespaces. */
static void fused_blocks(void **state)
{
	struct nvmet_promise before = told, now = told;

	(void)state;
	before.fused_blocks = 16;
	now.fused_blocks = 8;
	assert_true(nvmet_promise_holds(&before, &now));
	before.fuses = now.fuses = true;
	assert_false(nvmet_promise_holds(&before, &now));
	now.fused_blocks = 16;
	assert_true(nvmet_promise_holds(&before, &now));
	now.fused_blocks = 0;
	assert_true(nvmet_promise_holds(&before, &now));
	before.fused_blocks = 0;
	now.fused_blocks = 1;
	assert_true(nvmet_promise_holds(&before, &now));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(as_before),      cmocka_unit_test(more),
		cmocka_unit_test(less),           cmocka_unit_test(not_offered),
		cmocka_unit_test(what_was_there), cmocka_unit_test(fused_blocks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
