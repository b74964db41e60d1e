/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The text of a configuration file. It is read once, whole: a pipe has it only once, and a file may
 * be another one by the time that it is opened again.
 */
#ifndef NVMETD_CONFIG_CONF_TEXT_H
#define NVMETD_CONFIG_CONF_TEXT_H

#include "config/conf_table.h"

/* reader->path, whatever it is; waits for whoever writes to a pipe. 0 and the text, which the
 * caller frees; or as in conf_table.h. */
int conf_text_read(const struct conf_reader *reader, char **ret_text);

/* A file that libconfig has included and closed again: it must be a regular one, so that it can be
 * read a second time. Otherwise as above. */
int conf_text_read_again(const struct conf_reader *reader, const char *path, char **ret_text);

#endif
