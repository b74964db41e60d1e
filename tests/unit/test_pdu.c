/* SPDX-License-Identifier: BSD-3-Clause */
/* The PDU codec: one row a header, the verdict that it must get; bytes of what we send. */
#include "tests/unit/unit.h"

#include "transport/digest.h"
#include "transport/pdu.h"

#define FINE 0

struct row {
	uint8_t type, flags, hlen, pdo;
	uint32_t plen;
	bool established, hdgst, ddgst;
	uint16_t fes; /* FINE: no TermReq */
	uint32_t fei;
	uint32_t header_len, data_len; /* when fine */
};

static const struct row rows[] = {
	{ 0x00, 0, 128, 0, 128, false, false, false, FINE, 0, 128, 0 },
	{ 0x00, 0, 128, 0, 129, false, false, false, 1, 4, 0, 0 },
	{ 0x00, 0, 127, 0, 128, false, false, false, 1, 2, 0, 0 },
	{ 0x00, 0, 128, 0, 128, true, false, false, 2, 0, 0, 0 },
	{ 0x00, 0, 128, 0, 128, true, true, true, 2, 0, 0, 0 },
	{ 0x04, 0, 72, 0, 72, false, false, false, 2, 0, 0, 0 },
	{ 0x04, 0, 72, 0, 72, true, false, false, FINE, 0, 72, 0 },
	{ 0x04, 1, 72, 0, 76, true, true, true, FINE, 0, 76, 0 },
	{ 0x04, 3, 72, 0, 76, true, true, true, FINE, 0, 76, 0 },
	{ 0x04, 1, 72, 0, 72, true, true, false, 1, 4, 0, 0 },
	{ 0x04, 0, 72, 0, 76, true, true, false, 1, 1, 0, 0 },
	{ 0x04, 1, 72, 0, 72, true, false, false, 1, 1, 0, 0 },
	{ 0x04, 2, 72, 0, 72, true, false, false, 1, 1, 0, 0 },
	{ 0x04, 0, 72, 72, 72 + 512, true, false, false, FINE, 0, 72, 512 },
	{ 0x04, 0, 72, 128, 128 + 512, true, false, false, FINE, 0, 128, 512 },
	{ 0x04, 3, 72, 76, 76 + 512 + 4, true, true, true, FINE, 0, 76, 512 },
	{ 0x04, 2, 72, 72, 72 + 512 + 4, true, false, true, FINE, 0, 72, 512 },
	{ 0x04, 2, 72, 72, 72 + 4, true, false, true, 1, 4, 0, 0 },
	{ 0x04, 0, 72, 72, 72 + 8192, true, false, false, FINE, 0, 72, 8192 },
	{ 0x04, 0, 72, 72, 72 + 8193, true, false, false, 1, 4, 0, 0 },
	{ 0x04, 0, 72, 72, UINT32_MAX, true, false, false, 1, 4, 0, 0 },
	{ 0x04, 0, 72, 68, 600, true, false, false, 1, 3, 0, 0 },
	{ 0x04, 0, 72, 74, 600, true, false, false, 1, 3, 0, 0 },
	{ 0x04, 0, 72, 252, 200, true, false, false, 1, 3, 0, 0 },
	{ 0x04, 0, 72, 72, 72, true, false, false, 1, 3, 0, 0 },
	{ 0x06, 0, 24, 24, 24 + 4, true, false, false, FINE, 0, 24, 4 },
	{ 0x06, 0, 24, 24, 24, true, false, false, 1, 4, 0, 0 },
	{ 0x06, 0, 24, 24, 23, true, false, false, 1, 4, 0, 0 },
	{ 0x06, 0, 25, 24, 100, true, false, false, 1, 2, 0, 0 },
	{ 0x02, 0, 24, 0, 24, false, false, false, FINE, 0, 24, 0 },
	{ 0x02, 0, 24, 0, 152, true, false, false, FINE, 0, 24, 128 },
	{ 0x02, 0, 24, 0, 153, true, false, false, 1, 4, 0, 0 },
	{ 0x02, 0, 24, 0, 23, true, false, false, 1, 4, 0, 0 },
	{ 0x01, 0, 128, 0, 128, true, false, false, 1, 0, 0, 0 },
	{ 0x03, 0, 24, 0, 24, true, false, false, 1, 0, 0, 0 },
	{ 0x05, 0, 24, 0, 24, true, false, false, 1, 0, 0, 0 },
	{ 0x07, 0, 24, 24, 600, true, false, false, 1, 0, 0, 0 },
	{ 0x08, 0, 24, 0, 24, true, false, false, 1, 0, 0, 0 },
	{ 0x09, 0, 24, 0, 24, true, false, false, 1, 0, 0, 0 },
	{ 0xff, 0, 24, 0, 24, false, false, false, 1, 0, 0, 0 },
};

static void common_headers(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct row *row = &rows[i];
		const struct nvme_tcp_ch ch = { row->type, row->flags, row->hlen, row->pdo,
						le32_set(row->plen) };
		const struct pdu_limits limits = { row->established, row->hdgst, row->ddgst, 8192,
						   65536 };
		struct pdu_shape shape = { 0 };
		struct pdu_verdict verdict = pdu_check_ch(&ch, &limits, &shape);

		if (verdict.term != (row->fes != FINE) ||
		    (verdict.term && (verdict.fes != row->fes || verdict.fei != row->fei)))
			fail_msg("row %zu: got FES %u FEI %u", i, verdict.fes, verdict.fei);
		if (!verdict.term &&
		    (shape.header_len != row->header_len || (shape.data_len != row->data_len)))
			fail_msg("row %zu: got %u + %u", i, shape.header_len, shape.data_len);
	}
}

/* No header whatever may promise more than it was judged by. */
static void every_header(void **state)
{
	const struct pdu_limits limits = { true, false, true, 8192, 65536 };

	(void)state;
	srandom(3);
	for (unsigned i = 0; i < 1000000; i++) {
		uint64_t bits = (uint64_t)random() << 32 ^ (uint64_t)random() << 12 ^
				(uint64_t)random();
		struct pdu_shape shape = { 0 };
		struct nvme_tcp_ch ch;

		memcpy(&ch, &bits, sizeof(ch));
		if (i % 2) {
			ch.type = i % 4 == 1 ? NVME_TCP_CAPSULE_CMD : NVME_TCP_H2C_DATA;
			ch.hlen = ch.type == NVME_TCP_CAPSULE_CMD ? 72 : 24;
			ch.flags = NVME_TCP_F_DDGST;
		}
		if (pdu_check_ch(&ch, &limits, &shape).term)
			continue;
		assert_in_range(shape.header_len, sizeof(ch) + 1, PDU_HEADER_MAX);
		assert_true(shape.header_len >= ch.hlen);
		assert_true((uint64_t)shape.header_len + shape.data_len +
				    (shape.has_ddgst ? NVME_TCP_DIGEST_SIZE : 0) ==
			    le32_get(ch.plen));
	}
}

static void h2c_data(void **state)
{
	const struct pdu_limits limits = { true, false, false, 8192, 4096 };
	struct pdu_shape shape = { .header_len = 24, .data_len = 4096 };
	struct nvme_tcp_data data = { .cccid = le16_set(7),
				      .datao = le32_set(4096),
				      .datal = le32_set(4096) };
	le16 cid = le16_set(7);

	(void)state;
	assert_false(pdu_check_h2c_data(&data, &shape, &limits, cid, 4096, 16384).term);
	assert_int_equal(pdu_check_h2c_data(&data, &shape, &limits, le16_set(8), 4096, 16384).fei,
			 8);
	assert_int_equal(pdu_check_h2c_data(&data, &shape, &limits, cid, 0, 16384).fes, 2);
	assert_int_equal(pdu_check_h2c_data(&data, &shape, &limits, cid, 4096, 8191).fes, 4);
	assert_int_equal(pdu_check_h2c_data(&data, &shape, &limits, cid, 4096, 8192).fei, 1);
	data.ch.flags = NVME_TCP_F_LAST;
	assert_false(pdu_check_h2c_data(&data, &shape, &limits, cid, 4096, 8192).term);
	assert_int_equal(pdu_check_h2c_data(&data, &shape, &limits, cid, 4096, 16384).fei, 1);
	shape.data_len = 4092;
	assert_int_equal(pdu_check_h2c_data(&data, &shape, &limits, cid, 4096, 8192).fei, 4);
	shape.data_len = 8192;
	data.datal = le32_set(8192);
	assert_int_equal(pdu_check_h2c_data(&data, &shape, &limits, cid, 4096, 16384).fes, 5);
}

/* FEI lies at byte 10, unaligned; the header is copied, 128 bytes at most. */
static void term_bytes(void **state)
{
	_Alignas(8) uint8_t pdu[152], header[200];

	(void)state;
	memset(header, 0xab, sizeof(header));
	assert_int_equal(
		pdu_build_term(pdu, (struct pdu_verdict){ true, 3, 0x01020304 }, header, 200), 152);
	assert_memory_equal(pdu, "\x03\x00\x18\x00\x98\x00\x00\x00\x03\x00\x04\x03\x02\x01", 14);
	assert_int_equal(pdu[24], 0xab);
	assert_int_equal(pdu[151], 0xab);
	assert_int_equal(pdu_build_term(pdu, (struct pdu_verdict){ true, 1, 0 }, header, 8), 32);
	assert_int_equal(pdu[4], 32);
}

static void c2h_data(void **state)
{
	_Alignas(8) uint8_t pdu[PDU_HEADER_MAX];
	const uint8_t all = NVME_TCP_F_HDGST | NVME_TCP_F_DDGST | NVME_TCP_F_SUCCESS;

	(void)state;
	for (unsigned row = 0; row < 32u << 4; row++) {
		uint8_t hpda = (uint8_t)(row >> 4), flags = row & all;
		bool hdgst = flags & NVME_TCP_F_HDGST, ddgst = flags & NVME_TCP_F_DDGST;
		size_t len;

		memset(pdu, 0xff, sizeof(pdu));
		len = pdu_build_c2h_data(pdu, le16_set(1), 512, flags, hpda);
		assert_int_equal(pdu[1], flags | NVME_TCP_F_LAST);
		assert_int_equal(len % ((hpda + 1u) * 4), 0);
		assert_int_equal(pdu[3], len);
		assert_int_equal(le32_load(pdu + 4), len + 512 + (ddgst ? 4 : 0));
		if (hdgst)
			assert_int_equal(le32_load(pdu + 24), digest_of(pdu, 24));
		for (size_t i = hdgst ? 28 : 24; i < len; i++)
			assert_int_equal(pdu[i], 0);
	}
}

static void digest_vector(void **state)
{
	uint32_t crc = digest_update(DIGEST_INIT, "1234", 4);

	(void)state;
	assert_int_equal(digest_of("123456789", 9), 0xe3069283);
	assert_int_equal(digest_final(digest_update(crc, "56789", 5)), 0xe3069283);
}

static void fes_names(void **state)
{
	(void)state;
	assert_string_equal(pdu_fes_name(3), "header digest error");
	assert_string_equal(pdu_fes_name(7), pdu_fes_name(0));
	assert_string_equal(pdu_fes_name(0xffff), pdu_fes_name(0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(common_headers), cmocka_unit_test(every_header),
		cmocka_unit_test(h2c_data),       cmocka_unit_test(term_bytes),
		cmocka_unit_test(c2h_data),       cmocka_unit_test(digest_vector),
		cmocka_unit_test(fes_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
