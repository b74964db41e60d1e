/* SPDX-License-Identifier: BSD-3-Clause */
/* See utf8.h. */
#include "util/utf8.h"

#include <stdint.h>

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
		return code < 0x20 || (code >= 0x7f && code < 0xa0) ? 0 : n;
	}
	return 0;
}
