/* SPDX-License-Identifier: BSD-3-Clause */
/* nvmetctl: asks the daemon's control socket and prints the answer, as text or as JSON. */
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
#include "util/check.h"
#include "util/num.h"
#include "util/std.h"
#include "util/version.h"

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

static void write_value(FILE *out, const json_t *value)
{
	if (json_is_string(value))
		ctl_text_print(out, json_string_value(value));
	else if (json_is_integer(value))
		fprintf(out, "%lld", (long long)json_integer_value(value));
	else if (json_is_real(value))
		fprintf(out, "%.1f", json_real_value(value));
	else if (json_is_null(value))
		fprintf(out, "-");
	else
		fprintf(out, "%s", json_is_true(value) ? "yes" : "no");
}

static void print_value(const json_t *value)
{
	write_value(stdout, value);
}

/* key=value on the line, or, where it does not fit the terminal, on one of its own below. `*at`:
 * columns of the line so far, 0 for the first one. */
static void print_pair(const char *key, const json_t *value, int indent, unsigned *at)
{
	unsigned width = ctl_text_terminal().columns, columns;
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return;
	fprintf(out, "%s=", key);
	write_value(out, value);
	if (fclose(out) == 0) {
		columns = ctl_text_columns(text);
		if (width && *at && *at + 1 + columns > width) {
			printf("\n");
			*at = (unsigned)indent + 2;
			printf("%*s%s", indent + 2, "", text);
		} else {
			printf("%*s%s", *at ? 1 : indent, "", text);
			*at += *at ? 1 : (unsigned)indent;
		}
		*at += columns;
	}
	free(text);
}

static void print_item(const json_t *item, int indent)
{
	printf("%*s", indent, "");
	print_value(item);
	printf("\n");
}

/* Scalars of an object on one line, if there is room; lists below it, indented. */
static void print_text(json_t *object, int indent)
{
	const char *key;
	json_t *value;
	unsigned at = 0;

	json_object_foreach (object, key, value) {
		if (!json_is_array(value) && !json_is_object(value))
			print_pair(key, value, indent, &at);
	}
	if (at)
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
	uint64_t value;

	return num_parse_u64(text, 1, max, &value) == 0 ? (unsigned)value : 0;
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
	if (!request)
		bad_command(argv[0],
			    known ? "these are not its arguments" : "there is no such command");
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
	return status;
}

struct options {
	const char *path; /* of the control socket */
	bool as_json, help, version;
};

/* 0, or 1 after saying what is wrong. Those of a command that has its own are not looked at:
 * `letters` begin with "+". */
static int parse_options(int argc, char **argv, const char *letters, struct options *to)
{
	static const struct option known[] = {
		{ "socket", required_argument, NULL, 's' },
		{ "output", required_argument, NULL, 'o' },
		{ "version", no_argument, NULL, 'v' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int option;

	optind = 0; /* glibc: begin anew */
	while ((option = getopt_long(argc, argv, letters, known, NULL)) != -1) {
		if (option == 's') {
			to->path = optarg;
		} else if (option == 'o') {
			to->as_json = strcmp(optarg, "json") == 0;
			if (!to->as_json && strcmp(optarg, "text") != 0)
				return bad_command(optarg, "expected -o text or -o json");
		} else if (option == 'v') {
			to->version = true;
		} else if (option == 'h') {
			to->help = true;
		} else {
			fputs(usage, stderr);
			return 1;
		}
	}
	return 0;
}

/* The words behind the options: never none. */
static int run_command(const struct options *options, int argc, char **argv)
{
	json_t *request;
	int status;

	if (strcmp(argv[0], "top") == 0)
		return run_top(options->path, argc, argv, options->as_json);
	request = make_request(argc, argv);
	if (!request)
		return 1;
	status = run(options->path, request, options->as_json);
	json_decref(request);
	return status;
}

/* The whole command line. */
static int run_line(int argc, char **argv)
{
	struct options options = { .path = getenv("NVMETD_CONTROL") };
	bool is_key;

	if (!options.path)
		options.path = DEFAULT_SOCKET;
	if (parse_options(argc, argv, "+s:o:vh", &options))
		return 1;
	is_key = optind < argc && strcmp(argv[optind], "key") == 0;
	if (!is_key && parse_options(argc, argv, "s:o:vh", &options))
		return 1;
	if (options.version || options.help) {
		fputs(options.version ? "nvmetctl " NVMETD_VERSION "\n" : usage, stdout);
		return 0;
	}
	if (is_key && options.as_json)
		return bad_command("key", "its answers are text only");
	if (is_key)
		return ctl_key(argc - optind, argv + optind);
	if (optind == argc) {
		fprintf(stderr, "nvmetctl: a command is missing\n%s", usage);
		return 1;
	}
	return run_command(&options, argc - optind, argv + optind);
}

int main(int argc, char **argv)
{
	if (std_open())
		return 1;
	ctl_text_init();
	return std_close("nvmetctl", run_line(argc, argv));
}
