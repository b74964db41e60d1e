/* SPDX-License-Identifier: BSD-3-Clause */
/* nvmetctl: asks the daemon's control socket and prints the answer, as text or as JSON. */
#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/ctl.h"
#include "config/ctl_key.h"
#include "config/ctl_text.h"
#include "config/version.h"
#include "util/check.h"

#define DEFAULT_SOCKET "/run/nvmetd/control"
#define DAY_S          86400

static const char usage[] =
	"usage: nvmetctl [--socket PATH] [-o text|json] COMMAND\n"
	"  status    the daemon, its SSDs, workers and addresses\n"
	"  list      subsystems, namespaces, and the hosts that use them\n"
	"            with their queues' latency\n"
	"  counters  what exists now, and totals\n"
	"  queues    each I/O queue's commands, bytes and errors, and times\n"
	"  pairs     each queue pair of the SSDs: interrupts against polls\n"
	"  latency [SUBSYSNQN CNTLID QID]\n"
	"            of each kind of command in each stage: of all queues, or of one\n"
	"  histograms [SUBSYSNQN CNTLID QID]\n"
	"            the same as buckets\n"
	"  top [SECONDS [COUNT]]      live: what happens each second\n"
	"  rescan [SSD]               looks at the SSDs' namespaces again\n"
	"  enable SUBSYSNQN NSID      gives a namespace back to hosts\n"
	"  disable SUBSYSNQN NSID     takes a namespace away from hosts\n"
	"  key …                      makes and shows keys; nvmetctl key for more\n"
	"The socket is " DEFAULT_SOCKET " unless --socket or NVMETD_CONTROL names another.\n";

static void print_value(const json_t *value)
{
	if (json_is_string(value))
		ctl_text_print(stdout, json_string_value(value));
	else if (json_is_integer(value))
		printf("%lld", (long long)json_integer_value(value));
	else if (json_is_real(value))
		printf("%.1f", json_real_value(value));
	else if (json_is_null(value))
		printf("-");
	else
		printf("%s", json_is_true(value) ? "yes" : "no");
}

static void print_item(const json_t *item, int indent)
{
	printf("%*s", indent, "");
	print_value(item);
	printf("\n");
}

/* Scalars of an object on one line; lists below it, indented. */
static void print_text(json_t *object, int indent)
{
	const char *key;
	json_t *value;
	bool first = true;

	json_object_foreach (object, key, value) {
		if (json_is_array(value) || json_is_object(value))
			continue;
		printf("%*s%s=", first ? indent : 1, "", key);
		print_value(value);
		first = false;
	}
	if (!first)
		printf("\n");
	json_object_foreach (object, key, value) {
		size_t i;
		json_t *item;

		if (!json_is_array(value))
			continue;
		printf("%*s%s:%s\n", indent, "", key, json_array_size(value) ? "" : " none");
		json_array_foreach (value, i, item) {
			if (json_is_object(item))
				print_text(item, indent + 2);
			else if (json_is_array(item))
				printf("%*s%lld %lld\n", indent + 2, "",
				       (long long)json_integer_value(json_array_get(item, 0)),
				       (long long)json_integer_value(json_array_get(item, 1)));
			else
				print_item(item, indent + 2);
		}
	}
}

static void print_lines(json_t *object)
{
	const char *key;
	json_t *value;

	json_object_foreach (object, key, value) {
		printf("%-18s ", key);
		print_value(value);
		printf("\n");
	}
}

/* A number from 1 to max, or 0. */
static unsigned parse_count(const char *text, unsigned max)
{
	char *end;
	long value = strtol(text, &end, 10);

	return *end || value < 1 || value > max ? 0 : (unsigned)value;
}

static int bad_command(const char *name, const char *why)
{
	fprintf(stderr, "nvmetctl: ");
	ctl_text_print(stderr, name);
	fprintf(stderr, ": %s\n%s", why, usage);
	return 1;
}

/* Of one queue: NAME SUBSYSNQN CNTLID QID. */
static json_t *make_queue_request(char **argv)
{
	unsigned cntlid = parse_count(argv[2], UINT16_MAX), qid = parse_count(argv[3], UINT16_MAX);

	if (!cntlid || !qid)
		return NULL;
	return json_pack("{s:s, s:s, s:i, s:i}", "request", argv[0], "subsystem", argv[1], "cntlid",
			 (int)cntlid, "qid", (int)qid);
}

static json_t *make_namespace_request(char **argv)
{
	unsigned nsid = parse_count(argv[2], INT_MAX);

	if (!nsid)
		return NULL;
	return json_pack("{s:s, s:s, s:i, s:b}", "request", "namespace", "subsystem", argv[1],
			 "nsid", (int)nsid, "enabled", argv[0][0] == 'e');
}

static json_t *make_rescan_request(char **argv)
{
	return json_pack("{s:s, s:s}", "request", argv[0], "ssd", argv[1]);
}

/* The command line as a request; NULL: it is none (printed). */
static json_t *make_request(int argc, char **argv)
{
	/* With `argc` words; without `make` the name is all there is to say. */
	static const struct {
		const char *name;
		int argc;
		json_t *(*make)(char **argv);
	} commands[] = {
		{ "status", 1, NULL },
		{ "list", 1, NULL },
		{ "counters", 1, NULL },
		{ "queues", 1, NULL },
		{ "pairs", 1, NULL },
		{ "latency", 1, NULL },
		{ "latency", 4, make_queue_request },
		{ "histograms", 1, NULL },
		{ "histograms", 4, make_queue_request },
		{ "rescan", 1, NULL },
		{ "rescan", 2, make_rescan_request },
		{ "enable", 3, make_namespace_request },
		{ "disable", 3, make_namespace_request },
	};
	json_t *request = NULL;
	bool known = false;

	for (size_t i = 0; i < ARRAY_SIZE(commands) && !request; i++) {
		if (strcmp(commands[i].name, argv[0]) != 0)
			continue;
		known = true;
		if (commands[i].argc != argc)
			continue;
		request = commands[i].make ? commands[i].make(argv)
					   : json_pack("{s:s}", "request", argv[0]);
	}
	if (!request) {
		fprintf(stderr, "nvmetctl: ");
		ctl_text_print(stderr, argv[0]);
		fprintf(stderr,
			known ? ": these are not its arguments\n%s"
			      : ": there is no such command\n%s",
			usage);
	}
	return request;
}

static int run_top(const char *path, int argc, char **argv, bool as_json)
{
	unsigned seconds = argc > 1 ? parse_count(argv[1], DAY_S) : 1;
	unsigned count = argc > 2 ? parse_count(argv[2], DAY_S) : 0;

	if (argc > 3 || !seconds || (argc > 2 && !count))
		return bad_command(argv[0], "these are not its arguments");
	return ctl_top(path, seconds, count, as_json);
}

static int run(const char *path, const json_t *request, bool as_json)
{
	const char *name = json_string_value(json_object_get(request, "request"));
	json_t *answer = NULL;
	int status = 0;

	if (ctl_ask(path, request, &answer))
		return 1;
	if (json_object_get(answer, "error")) {
		ctl_print_error(answer);
		status = 1;
	} else if (as_json) {
		json_dumpf(answer, stdout, JSON_INDENT(2));
		printf("\n");
	} else if (strcmp(name, "counters") == 0) {
		print_lines(answer);
	} else {
		print_text(answer, 0);
	}
	json_decref(answer);
	if (fflush(stdout) != 0) {
		fprintf(stderr, "nvmetctl: standard output: %s\n", strerror(errno));
		status = 1;
	}
	return status;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "socket", required_argument, NULL, 's' },
		{ "output", required_argument, NULL, 'o' },
		{ "version", no_argument, NULL, 'v' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	const char *path = getenv("NVMETD_CONTROL");
	bool as_json = false;
	json_t *request;
	int option, status;

	ctl_text_init();
	if (argc > 1 && strcmp(argv[1], "key") == 0)
		return ctl_key(argc - 1, argv + 1);
	while ((option = getopt_long(argc, argv, "s:o:vh", options, NULL)) != -1) {
		if (option == 's') {
			path = optarg;
		} else if (option == 'o' &&
			   (strcmp(optarg, "json") == 0 || strcmp(optarg, "text") == 0)) {
			as_json = *optarg == 'j';
		} else if (option == 'v') {
			printf("nvmetctl %s\n", NVMETD_VERSION);
			return 0;
		} else {
			fputs(usage, option == 'h' ? stdout : stderr);
			return option == 'h' ? 0 : 1;
		}
	}
	if (!path)
		path = DEFAULT_SOCKET;
	if (optind == argc) {
		fprintf(stderr, "nvmetctl: a command is missing\n%s", usage);
		return 1;
	}
	if (strcmp(argv[optind], "top") == 0)
		return run_top(path, argc - optind, argv + optind, as_json);
	request = make_request(argc - optind, argv + optind);
	if (!request)
		return 1;
	status = run(path, request, as_json);
	json_decref(request);
	return status;
}
