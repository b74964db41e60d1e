/* SPDX-License-Identifier: BSD-3-Clause */
/* The command line; see args.h. */
#include "config/args.h"

#include <errno.h>
#include <getopt.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "config/conf.h"
#include "config/conf_hosts.h"
#include "target/ctrl.h"
#include "target/subsystem.h"
#include "util/num.h"
#include "util/version.h"

#define DEFAULT_FILE "/etc/nvmetd/nvmet.conf"

static const char usage[] =
	"usage: nvmetd [-c FILE]            run from a configuration file (" DEFAULT_FILE ")\n"
	"       nvmetd -n [-c FILE]         check it and leave\n"
	"       nvmetd --ssd SPEC --listen ADDR:PORT [--nqn NQN] [--allow-host NQN]...\n"
	"                                   export one SSD without a file\n"
	"SPEC:  0000:01:00.0                PCI address, through VFIO\n"
	"       emulated:size=1G            emulated SSD in memory\n"
	"       emulated:file=PATH[,size=]  emulated SSD on a file or a block device\n"
	"more:  --workers N  --poll-us N  --control PATH  --dma-memory SIZE  --log-level LEVEL\n"
	"       --metrics ADDR:PORT  --version  --help\n";

enum {
	OPT_SSD = 256,
	OPT_LISTEN,
	OPT_NQN,
	OPT_ALLOW_HOST,
	OPT_WORKERS,
	OPT_POLL_US,
	OPT_CONTROL,
	OPT_METRICS,
	OPT_DMA_MEMORY,
	OPT_LOG_LEVEL,
};

static const struct option options[] = {
	{ "ssd", required_argument, NULL, OPT_SSD },
	{ "listen", required_argument, NULL, OPT_LISTEN },
	{ "nqn", required_argument, NULL, OPT_NQN },
	{ "allow-host", required_argument, NULL, OPT_ALLOW_HOST },
	{ "workers", required_argument, NULL, OPT_WORKERS },
	{ "poll-us", required_argument, NULL, OPT_POLL_US },
	{ "control", required_argument, NULL, OPT_CONTROL },
	{ "metrics", required_argument, NULL, OPT_METRICS },
	{ "dma-memory", required_argument, NULL, OPT_DMA_MEMORY },
	{ "log-level", required_argument, NULL, OPT_LOG_LEVEL },
	{ "version", no_argument, NULL, 'v' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

struct args {
	const char *file;
	bool check;
	bool direct; /* --ssd and the like: no file */
};

static bool is_direct(int option)
{
	return option == OPT_SSD || option == OPT_LISTEN || option == OPT_NQN ||
	       option == OPT_ALLOW_HOST;
}

static int bad(const char *option, const char *value, const char *expected)
{
	fprintf(stderr, "nvmetd: %s %s: %s\n", option, value, expected);
	return -EINVAL;
}

/* The one subsystem of a daemon without a file: all namespaces of the one SSD. */
static int take_ssd(struct conf *conf, const char *spec)
{
	struct conf_ssd *ssd = &conf->ssds[0];
	char why[256];

	if (conf->n_ssds)
		return bad("--ssd", spec, "only one SSD; for more, write a file");
	if (strlen(spec) >= sizeof(ssd->spec))
		return bad("--ssd", spec, "too long");
	if (conf_check_spec(spec, why, sizeof(why)))
		return bad("--ssd", spec, why);
	*ssd = (struct conf_ssd){ .name = "ssd", CONF_SSD_DEFAULTS };
	memcpy(ssd->spec, spec, strlen(spec) + 1);
	conf->n_ssds = 1;
	return 0;
}

static int take_number(struct conf *conf, int option, const char *value)
{
	uint64_t number;

	if (option == OPT_WORKERS) {
		if (num_parse_u64(value, 1, CONF_MAX_WORKERS, &number))
			return bad("--workers", value, "expected a number from 1 to 64");
		conf->workers = (unsigned)number;
		return 0;
	}
	if (option == OPT_POLL_US) {
		if (num_parse_u64(value, 0, CONF_MAX_POLL_US, &number))
			return bad("--poll-us", value, "expected a number from 0 to 1000");
		conf->poll_us = (unsigned)number;
		return 0;
	}
	if (num_parse_size(value, CONF_MIN_DMA_MEMORY, CONF_MAX_DMA_MEMORY, &number))
		return bad("--dma-memory", value, "expected a size from 16M to 1T");
	conf->dma_memory = number;
	return 0;
}

static int take_option(struct conf *conf, int option, const char *value)
{
	struct conf_subsystem *subsys = &conf->subsystems[0];
	int err;

	switch (option) {
	case OPT_SSD:
		return take_ssd(conf, value);
	case OPT_LISTEN:
		err = conf_add_listen(conf, value, NVMET_TLS_OFF);
		return err ? bad("--listen", value, conf_listen_error(err)) : 0;
	case OPT_METRICS:
		err = conf_set_metrics(conf, value);
		return err ? bad("--metrics", value, conf_listen_error(err)) : 0;
	case OPT_NQN:
		if (!nvmet_nqn_valid(value) || strcmp(value, NVMF_DISCOVERY_NQN) == 0)
			return bad("--nqn", value, "expected nqn.…, up to 223 characters");
		memcpy(subsys->nqn, value, strlen(value) + 1);
		return 0;
	case OPT_ALLOW_HOST:
		if (conf_hosts_add(&subsys->hosts, value))
			return bad("--allow-host", value, "expected nqn.…, up to 223 characters");
		return 0;
	case OPT_WORKERS:
	case OPT_POLL_US:
	case OPT_DMA_MEMORY:
		return take_number(conf, option, value);
	case OPT_CONTROL:
		if (strlen(value) >= sizeof(conf->control))
			return bad("--control", value, "too long for a UNIX socket");
		memcpy(conf->control, value, strlen(value) + 1);
		return 0;
	case OPT_LOG_LEVEL:
		if (log_level_parse(value, &conf->log_level))
			return bad("--log-level", value, "expected error, warning, info or debug");
		return 0;
	default:
		return -EINVAL;
	}
}

/* -c, -n, -v, -h, and whether the rest is well-formed; the values of the rest come
 * after the file. */
static enum args_result first_pass(int argc, char **argv, struct args *args)
{
	int option;

	while ((option = getopt_long(argc, argv, "c:nvh", options, NULL)) != -1) {
		switch (option) {
		case 'c':
			args->file = optarg;
			break;
		case 'n':
			args->check = true;
			break;
		case 'v':
			printf("nvmetd %s\n", NVMETD_VERSION);
			return ARGS_DONE;
		case 'h':
			fputs(usage, stdout);
			return ARGS_DONE;
		case '?':
			fputs(usage, stderr);
			return ARGS_ERROR;
		default:
			args->direct |= is_direct(option);
		}
	}
	if (optind < argc) {
		fprintf(stderr, "nvmetd: %s is not an option\n%s", argv[optind], usage);
		return ARGS_ERROR;
	}
	if (args->direct && args->file) {
		fprintf(stderr, "nvmetd: either -c FILE, or --ssd and --listen\n");
		return ARGS_ERROR;
	}
	return ARGS_RUN;
}

static int read_file(struct conf *conf, const char *file)
{
	char why[1024];

	if (conf_read(conf, file ? file : DEFAULT_FILE, why, sizeof(why)) == 0)
		return 0;
	fprintf(stderr, "%s\n", why);
	if (!file && access(DEFAULT_FILE, F_OK) < 0)
		fputs("nvmetd: -c names another file; --ssd and --listen need none (nvmetd "
		      "--help)\n",
		      stderr);
	return -EINVAL;
}

static int check(const struct conf *conf)
{
	const char *key;
	char why[512];

	if (conf_check(conf, &key, why, sizeof(why))) {
		fprintf(stderr, "nvmetd: %s\n", why);
		return -EINVAL;
	}
	errno = 0;
	if (conf->user[0] && !getpwnam(conf->user)) {
		fprintf(stderr, "nvmetd: user %s: %s\n", conf->user,
			errno ? strerror(errno)
			      : "there is no such user (systemd-sysusers makes nvmetd)");
		return -EINVAL;
	}
	return 0;
}

/* The files must be usable, too; what is wrong with one is logged. */
static int check_keys(const struct conf *conf)
{
	struct keyring *keys;
	int err = conf_load_keys(conf, &keys);

	if (!err)
		keyring_free(keys);
	return err;
}

/* All but -c, -n, -v and -h. 0, or -EINVAL (printed). */
static int second_pass(int argc, char **argv, const struct args *args, struct conf *conf)
{
	int option;

	if (args->direct) {
		conf->subsystems[0] = (struct conf_subsystem){ .max_queues = NVMET_MAX_QUEUES };
		conf->subsystems[0].all_of_ssd = 0;
		conf->n_subsystems = 1;
	} else if (read_file(conf, args->file)) {
		return -EINVAL;
	}
	optind = 0; /* glibc: begin anew */
	while ((option = getopt_long(argc, argv, "c:nvh", options, NULL)) != -1) {
		if (option >= OPT_SSD && take_option(conf, option, optarg))
			return -EINVAL;
	}
	if (args->direct)
		conf->subsystems[0].allow_any_host = conf->subsystems[0].hosts.n == 0;
	return check(conf);
}

enum args_result args_parse(int argc, char **argv, struct conf *conf)
{
	struct args args = { .file = NULL };
	enum args_result result = first_pass(argc, argv, &args);

	if (result == ARGS_RUN &&
	    (second_pass(argc, argv, &args, conf) || (args.check && check_keys(conf))))
		result = ARGS_ERROR;
	if (!args.check)
		return result;
	if (result == ARGS_RUN)
		return ARGS_CHECK;
	return result == ARGS_ERROR ? ARGS_BAD : result;
}
