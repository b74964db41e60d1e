/* SPDX-License-Identifier: BSD-3-Clause */
/* nvmetd: the daemon's entry, and the only source of the executable that is in no library. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "config/args.h"
#include "config/conf.h"
#include "config/daemon.h"
#include "util/std.h"

int main(int argc, char **argv)
{
	struct conf *conf; /* large, and alive as long as we are */
	int status = 1, err = std_open();

	if (err) {
		fprintf(stderr, "nvmetd: /dev/null: %s\n", strerror(-err));
		return 1;
	}
	conf = malloc(sizeof(*conf));
	if (!conf) {
		fprintf(stderr, "nvmetd: %s\n", strerror(ENOMEM));
		return 1;
	}
	conf_init(conf);
	switch (args_parse(argc, argv, conf)) {
	case ARGS_RUN:
		status = daemon_run(conf);
		break;
	case ARGS_CHECK:
	case ARGS_DONE:
		status = 0;
		break;
	case ARGS_BAD:
		break;
	case ARGS_ERROR:
		status = EX_CONFIG;
		break;
	}
	conf_fini(conf);
	free(conf);
	return std_close("nvmetd", status);
}
