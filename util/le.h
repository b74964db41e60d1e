/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Little-endian integers as they lie on the wire and in the SSD's rings.
 *
 * Each is a structure, so that `a.nsid + 1` or `a.nsid = 1` does not compile: the byte order is
 * converted exactly where a value enters or leaves the program. They are aligned as the integers
 * are; le32_load() and le32_store() take any address.
 */
#ifndef NVMETD_UTIL_LE_H
#define NVMETD_UTIL_LE_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

typedef struct {
	uint16_t raw;
} le16;
typedef struct {
	uint32_t raw;
} le32;
typedef struct {
	uint64_t raw;
} le64;

static inline uint16_t le16_get(le16 v)
{
	return le16toh(v.raw);
}
static inline uint32_t le32_get(le32 v)
{
	return le32toh(v.raw);
}
static inline uint64_t le64_get(le64 v)
{
	return le64toh(v.raw);
}
static inline le16 le16_set(uint16_t v)
{
	return (le16){ htole16(v) };
}
static inline le32 le32_set(uint32_t v)
{
	return (le32){ htole32(v) };
}
static inline le64 le64_set(uint64_t v)
{
	return (le64){ htole64(v) };
}

static inline uint32_t le32_load(const void *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}
static inline void le32_store(void *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, sizeof(v));
}

#endif
