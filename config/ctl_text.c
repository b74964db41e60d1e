/* SPDX-License-Identifier: BSD-3-Clause */
/* Texts for a terminal; see ctl_text.h. */
#include "config/ctl_text.h"

#include <locale.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

#include "util/utf8.h"

struct glyph {
	const char *text;  /* what to show */
	size_t len, taken; /* bytes of it; bytes of the source that it stands for */
	unsigned columns;
};

void ctl_text_init(void)
{
	setlocale(LC_CTYPE, "C.UTF-8"); /* without it all that is not ASCII is shown as "?" */
}

struct ctl_terminal ctl_text_terminal(void)
{
	struct winsize size = { .ws_col = 0 };

	if (!isatty(STDOUT_FILENO))
		return (struct ctl_terminal){ .columns = 0 };
	ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
	return (struct ctl_terminal){
		.columns = size.ws_col ? size.ws_col : 80,
		.rows = size.ws_row ? size.ws_row : 24,
	};
}

/* The character at `text`, which is not the end. */
static struct glyph next_glyph(const char *text)
{
	size_t left = strlen(text), len = utf8_char(text, left);
	mbstate_t state = { 0 };
	wchar_t wide;
	int columns = -1;

	if (len && mbrtowc(&wide, text, len, &state) == len)
		columns = wcwidth(wide);
	if (columns < 0)
		return (struct glyph){ "?", 1, len ? len : 1, 1 };
	return (struct glyph){ text, len, len, (unsigned)columns };
}

void ctl_text_print(FILE *out, const char *text)
{
	while (*text) {
		struct glyph glyph = next_glyph(text);

		fwrite(glyph.text, 1, glyph.len, out);
		text += glyph.taken;
	}
}

unsigned ctl_text_columns(const char *text)
{
	unsigned columns = 0;

	while (*text) {
		struct glyph glyph = next_glyph(text);

		columns += glyph.columns;
		text += glyph.taken;
	}
	return columns;
}

/* Where its last `columns` begin: not with what belongs to a character before. */
static const char *end_of(const char *text, unsigned columns)
{
	unsigned left = ctl_text_columns(text);

	while (*text) {
		struct glyph glyph = next_glyph(text);

		if (left <= columns && glyph.columns)
			break;
		left -= glyph.columns;
		text += glyph.taken;
	}
	return text;
}

unsigned ctl_text_fit(char *out, size_t size, const char *text, unsigned columns, bool keep_end)
{
	unsigned taken = 0;
	size_t len = 0;

	if (keep_end)
		text = end_of(text, columns);
	while (*text) {
		struct glyph glyph = next_glyph(text);

		if (taken + glyph.columns > columns || len + glyph.len >= size)
			break;
		memcpy(out + len, glyph.text, glyph.len);
		len += glyph.len;
		taken += glyph.columns;
		text += glyph.taken;
	}
	out[len] = '\0';
	return taken;
}
