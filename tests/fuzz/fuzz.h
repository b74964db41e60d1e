/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What fuzz targets are made of: the two functions that libFuzzer (or replay.c) calls, and the
 * input as a stream of small fields. A field that is not there any more is 0, so that every input
 * means something and none is too short.
 */
#ifndef NVMETD_TESTS_FUZZ_H
#define NVMETD_TESTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	const uint8_t *at;
	size_t left;
};

/* Up to `len` bytes; *ret_len says how many there were. */
static inline const uint8_t *input_bytes(struct input *input, size_t len, size_t *ret_len)
{
	const uint8_t *bytes = input->at;

	*ret_len = len < input->left ? len : input->left;
	input->at += *ret_len;
	input->left -= *ret_len;
	return bytes;
}

/* A little-endian number of `size` bytes, at most 8. */
static inline uint64_t input_number(struct input *input, size_t size)
{
	uint64_t value = 0;
	size_t len;
	const uint8_t *bytes = input_bytes(input, size, &len);

	for (size_t i = 0; i < len; i++)
		value |= (uint64_t)bytes[i] << 8 * i;
	return value;
}

static inline uint8_t input_u8(struct input *input)
{
	return (uint8_t)input_number(input, 1);
}
static inline uint16_t input_u16(struct input *input)
{
	return (uint16_t)input_number(input, 2);
}
static inline uint32_t input_u32(struct input *input)
{
	return (uint32_t)input_number(input, 4);
}

/* A rule that the daemon has broken: says which and aborts. */
__attribute__((noreturn, format(printf, 1, 2))) void fuzz_fail(const char *fmt, ...);

#endif
