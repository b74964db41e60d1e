/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Texts for a terminal: UTF-8, measured in columns. Hosts choose their names: what could tell a
 * terminal what to do, or is no character, is shown as "?".
 */
#ifndef NVMETD_CONFIG_CTL_TEXT_H
#define NVMETD_CONFIG_CTL_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* First of all; what is shown is UTF-8, whatever the environment says, as JSON is. */
void ctl_text_init(void);

/* Of standard output. Columns are 0 if it is none: who reads it wants all, in whole lines. */
struct ctl_terminal {
	unsigned columns, rows;
};
struct ctl_terminal ctl_text_terminal(void);

/* Writes it as it may be shown. */
void ctl_text_print(FILE *out, const char *text);

/* Columns that it takes as it may be shown. */
unsigned ctl_text_columns(const char *text);

/*
 * As it may be shown, and so much of it as goes into `columns`: the beginning, or (`keep_end`) the
 * end. No character is cut. Returns the columns it takes: up to `columns`, or one less where a wide
 * character had no room.
 */
unsigned ctl_text_fit(char *out, size_t size, const char *text, unsigned columns, bool keep_end);

#endif
