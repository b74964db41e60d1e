/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The numbers of a configuration file as they are written. Of an integer that does not fit into 32
 * bits and has no L behind it, libconfig keeps the lower ones and says nothing: 4294967298 would be
 * a 2. Its tree does not tell, so the text has to.
 */
#ifndef NVMETD_CONFIG_CONF_NUMBERS_H
#define NVMETD_CONFIG_CONF_NUMBERS_H

#include "config/conf_table.h"

/* Looks at the text that `root` was read from, and at the files that it includes. As in
 * conf_table.h. */
int conf_check_numbers(const struct conf_reader *reader, const char *text,
		       const config_setting_t *root);

#endif
