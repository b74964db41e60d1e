/* SPDX-License-Identifier: BSD-3-Clause */
/* CRC32C as header and data digest (TCP Transport 1.0, 3.3.1.1), by ISA-L. Pure. */
#ifndef NVMETD_TRANSPORT_DIGEST_H
#define NVMETD_TRANSPORT_DIGEST_H

#include <isa-l/crc.h>
#include <stddef.h>
#include <stdint.h>

#define DIGEST_INIT UINT32_C(0xffffffff)

/* Folds `len` bytes in; start with DIGEST_INIT. */
static inline uint32_t digest_update(uint32_t crc, const void *data, size_t len)
{
	/* ISA-L takes an int; callers never have more than a command's data. It does not write. */
	return crc32_iscsi((unsigned char *)(uintptr_t)data, (int)len, crc);
}
/* The value as it goes to the wire, little-endian. */
static inline uint32_t digest_final(uint32_t crc)
{
	return crc ^ UINT32_C(0xffffffff);
}
static inline uint32_t digest_of(const void *data, size_t len)
{
	return digest_final(digest_update(DIGEST_INIT, data, len));
}

#endif
