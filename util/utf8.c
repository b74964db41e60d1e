/* SPDX-License-Identifier: BSD-3-Clause */
/* See utf8.h. */
#include "util/utf8.h"

#include <stdint.h>

#include "util/check.h"

size_t utf8_char(const char *text, size_t len)
{
	/* By length: the first byte's mask and value, and the least that needs so many bytes. */
	static const struct {
		uint8_t mask, lead;
		uint32_t least;
	} forms[] = {
		[1] = { 0x80, 0x00, 0 },
		[2] = { 0xe0, 0xc0, 0x80 },
		[3] = { 0xf0, 0xe0, 0x800 },
		[4] = { 0xf8, 0xf0, 0x10000 },
	};
	/* C0; DEL and C1; ends of line and paragraph, and what turns the direction of
	 * what follows. */
	static const struct {
		uint32_t first, last;
	} hidden[] = { { 0, 0x1f }, { 0x7f, 0x9f }, { 0x2028, 0x202e }, { 0x2066, 0x2069 } };
	const uint8_t *bytes = (const uint8_t *)text;

	for (size_t n = 1; n <= 4 && n <= len; n++) {
		uint32_t code = bytes[0] & (uint8_t)~forms[n].mask;

		if ((bytes[0] & forms[n].mask) != forms[n].lead)
			continue;
		for (size_t i = 1; i < n; i++) {
			if ((bytes[i] & 0xc0) != 0x80)
				return 0;
			code = code << 6 | (bytes[i] & 0x3f);
		}
		if (code < forms[n].least || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
			return 0;
		for (size_t i = 0; i < ARRAY_SIZE(hidden); i++) {
			if (code >= hidden[i].first && code <= hidden[i].last)
				return 0;
		}
		return n;
	}
	return 0;
}
