/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of nvmetctl share. */
#ifndef NVMETD_CONFIG_CTL_H
#define NVMETD_CONFIG_CTL_H

#include <jansson.h>
#include <stdbool.h>

/* Asks the daemon whose control socket is at `path`. 0 and an answer, the caller's, that may be an
 * {"error": …}; or -errno (printed). */
int ctl_ask(const char *path, const json_t *request, json_t **ret_answer);

/* Prints what an answer has as "error". */
void ctl_print_error(const json_t *answer);

/*
 * nvmetctl top: once every `seconds` what happened in them, for `count` times (0: until it is
 * interrupted). As text, as much as the terminal has room for, or one JSON object a line. Exit
 * status.
 */
int ctl_top(const char *path, unsigned seconds, unsigned count, bool as_json);

#endif
