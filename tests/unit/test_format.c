/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Formats of namespaces that the emulated SSD does not have, and what is asked of an SSD that makes
 * and checks protection information by itself: nothing on the wire shows what it was told to check.
 */
#include "tests/unit/unit.h"

#include <errno.h>

#include "pcie/ctrl.h"
#include "target/format.h"
#include "target/ns.h"
#include "target/nvm.h"
#include "target/req.h"

static struct nvme_ctrl_info ssd;
static struct nvme_id_ns id;
static struct nvmet_format format;

/* An SSD with larger guards, and a namespace in its second format. */
static int describe(uint8_t lbads, uint16_t ms, uint8_t pi_type, bool extended)
{
	const char *why = NULL;
	int err;

	id = (struct nvme_id_ns){ .nlbaf = 1, .flbas = 1, .dps = pi_type };
	id.lbaf[1] = (struct nvme_lbaf){ .lbads = lbads, .ms = le16_set(ms) };
	if (extended)
		id.flbas |= NVME_FLBAS_EXTENDED;
	err = nvmet_format_of(&id, &ssd, &format, &why);
	if (err)
		assert_non_null(why);
	return err;
}

static int setup(void **state)
{
	(void)state;
	ssd = (struct nvme_ctrl_info){ .max_transfer = 1 << 20, .oncs = 0xffff };
	ssd.id.ocfs = le16_set(NVME_OCFS_FORMAT0);
	return 0;
}

static void block_sizes(void **state)
{
	(void)state;
	for (unsigned lbads = 0; lbads < 256; lbads++) {
		bool good = lbads >= 9 && lbads <= 16;

		assert_int_equal(describe((uint8_t)lbads, 0, 0, false), good ? 0 : -ENOTSUP);
		assert_true(!good || format.block_bytes == 1u << lbads);
	}
}

/* Guards of 32 and 64 bits are told elsewhere; 8 bytes have no room for them. */
static void larger_guards(void **state)
{
	(void)state;
	assert_int_equal(describe(12, 16, 1, true), 0);
	ssd.id.ctratt = le32_set(NVME_CTRATT_ELBAS);
	assert_int_equal(describe(12, 16, 1, true), -ENOTSUP);
	assert_int_equal(describe(12, 16, 0, true), 0);
	assert_int_equal(describe(12, 8, 1, true), 0);
	assert_int_equal(format.block_bytes, 4096 + 8);
}

/* The largest command's metadata must fit a run of pages. */
static void separate_metadata(void **state)
{
	(void)state;
	assert_int_equal(describe(9, 8, 1, false), 0);
	assert_int_equal(format.block_bytes, 512);
	assert_int_equal(format.oncs & (NVME_ONCS_COMPARE | NVME_ONCS_COPY), 0);
	assert_int_equal(describe(9, 16, 1, false), -ENOTSUP);
	assert_int_equal(describe(9, 1024, 0, false), 0);
	assert_int_equal(format.metadata, NVMET_METADATA_IGNORED);
	assert_int_equal(describe(9, 1025, 0, false), -ENOTSUP);
}

static void same_format(void **state)
{
	struct nvmet_format other;

	(void)state;
	assert_int_equal(describe(9, 8, 1, true), 0);
	other = format;
	assert_true(nvmet_format_same(&format, &other));
	assert_int_equal(describe(12, 8, 1, true), 0);
	assert_false(nvmet_format_same(&format, &other));
	assert_int_equal(describe(9, 16, 1, true), 0);
	assert_false(nvmet_format_same(&format, &other));
	assert_int_equal(describe(9, 8, 2, true), 0);
	assert_false(nvmet_format_same(&format, &other));
	assert_int_equal(describe(9, 8, 1, false), 0);
	assert_false(nvmet_format_same(&format, &other));
}

/* FLBAS may say "extended" of a format without metadata. */
static void extended_metadata(void **state)
{
	(void)state;
	assert_int_equal(describe(9, 8, 0, true), 0);
	assert_int_equal(format.metadata, NVMET_METADATA_EXTENDED);
	assert_int_equal(format.block_bytes, 520);
	assert_int_equal(describe(9, 0, 1, true), 0);
	assert_int_equal(format.metadata, NVMET_METADATA_NONE);
	assert_int_equal(format.pi_type, 0);
}

/* What the host says of it reaches the SSD, storage tags and all; nothing else of CDW12 does. */
static void protection_of_the_host(void **state)
{
	const struct nvmet_nvm_op op = { .cdw12 = 0xffff, .cdw12_pi = UINT32_C(0x3f) << 24 };
	struct nvmet_ns ns = { .nsid = 1 };
	struct nvmet_req req = { .ns = &ns, .op = &op };
	struct nvme_sqe sqe = { .opcode = NVME_IO_READ };

	(void)state;
	assert_int_equal(describe(9, 8, 1, true), 0);
	ns.format = format;
	req.cmd = (struct nvme_sqe){ .opcode = NVME_IO_READ,
				     .cdw2 = le32_set(2),
				     .cdw3 = le32_set(3),
				     .cdw12 = le32_set(UINT32_C(0xffff) | NVME_IO_PRCHK_REF |
						       1 << 20),
				     .cdw14 = le32_set(14),
				     .cdw15 = le32_set(15) };
	nvmet_format_apply(&req, &sqe);
	assert_int_equal(le32_get(sqe.cdw2), 2);
	assert_int_equal(le32_get(sqe.cdw3), 3);
	assert_int_equal(le32_get(sqe.cdw12), UINT32_C(0xffff) | NVME_IO_PRCHK_REF);
	assert_int_equal(le32_get(sqe.cdw14), 14);
	assert_int_equal(le32_get(sqe.cdw15), 15);
}

/* CDW12 of the SSD's command. */
static uint32_t asked(uint8_t opcode, uint8_t pi_type)
{
	const struct nvmet_nvm_op op = { .cdw12_pi = UINT32_C(0x3f) << 24 };
	struct nvmet_ns ns = { .nsid = 1 };
	struct nvmet_req req = { .ns = &ns, .op = &op };
	struct nvme_sqe sqe = { .cdw12 = le32_set(7) };

	assert_int_equal(describe(9, 8, pi_type, false), 0);
	ns.format = format;
	req.cmd = (struct nvme_sqe){ .opcode = opcode, .cdw10 = le32_set(0x1234) };
	nvmet_format_apply(&req, &sqe);
	assert_int_equal(le32_get(sqe.cdw14), 0x1234);
	return le32_get(sqe.cdw12);
}

/* Reads and Verify have it checked; writes have it made. */
static void protection_is_asked_for(void **state)
{
	const uint32_t guard = NVME_IO_PRCHK_GUARD, ref = NVME_IO_PRCHK_REF, act = NVME_IO_PRACT;

	(void)state;
	assert_int_equal(asked(NVME_IO_READ, 1), 7 | act | guard | ref);
	assert_int_equal(asked(NVME_IO_VERIFY, 1), 7 | guard | ref);
	assert_int_equal(asked(NVME_IO_WRITE, 1), 7 | act);
	assert_int_equal(asked(NVME_IO_WRITE_ZEROES, 1), 7 | act);
	for (uint8_t type = 2; type <= 3; type++) {
		assert_int_equal(asked(NVME_IO_READ, type), 7 | act | guard);
		assert_int_equal(asked(NVME_IO_VERIFY, type), 7 | guard);
		assert_int_equal(asked(NVME_IO_WRITE, type), 7 | act);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(block_sizes, setup),
		cmocka_unit_test_setup(larger_guards, setup),
		cmocka_unit_test_setup(separate_metadata, setup),
		cmocka_unit_test_setup(extended_metadata, setup),
		cmocka_unit_test_setup(same_format, setup),
		cmocka_unit_test_setup(protection_of_the_host, setup),
		cmocka_unit_test_setup(protection_is_asked_for, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
