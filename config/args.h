/* SPDX-License-Identifier: BSD-3-Clause */
/* The command line of nvmetd → struct conf. */
#ifndef NVMETD_CONFIG_ARGS_H
#define NVMETD_CONFIG_ARGS_H

#include <stdbool.h>

struct conf;

enum args_result {
	ARGS_RUN,   /* conf is ready */
	ARGS_CHECK, /* -n: conf is fine; leave with 0 */
	ARGS_DONE,  /* help or version was printed; leave with 0 */
	ARGS_BAD,   /* -n: it is not (a message was written to standard error); leave with 1 */
	ARGS_ERROR, /* without -n: the next start would fail too; leave with EX_CONFIG */
};

/* Fills conf (made by conf_init()) from the command line and the file it names. */
enum args_result args_parse(int argc, char **argv, struct conf *conf);

#endif
