/* SPDX-License-Identifier: BSD-3-Clause */
/* nvmetctl key; see ctl_key.h. Secrets go to standard output only, where they were asked for. */
#include "config/ctl_key.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "security/key_file.h"
#include "security/psk.h"
#include "util/check.h"
#include "util/num.h"

static const char usage[] =
	"usage: nvmetctl key generate tls|dhchap [--hash none|sha256|sha384|sha512] "
	"[--length BYTES]\n"
	"           a new key, as it goes into a file on both sides\n"
	"       nvmetctl key derive --host NQN --subsystem NQN FILE\n"
	"           what to type on the host, and the TLS identities it will offer\n"
	"       nvmetctl key inspect FILE\n"
	"           which keys are in a file, without the keys\n";

struct options {
	const char *host, *subsystem;
	enum hash_id hash;
	bool has_hash, help;
	uint64_t length; /* 0: what fits the hash */
};

static int bad(const char *what, const char *expected)
{
	fprintf(stderr, "nvmetctl: %s: %s\n", what, expected);
	return 1;
}

static int parse_hash(const char *word, enum hash_id *ret_hash)
{
	static const char *const words[] = {
		[HASH_NONE] = "none",
		[HASH_SHA256] = "sha256",
		[HASH_SHA384] = "sha384",
		[HASH_SHA512] = "sha512",
	};

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		if (strcmp(word, words[i]) == 0) {
			*ret_hash = (enum hash_id)i;
			return 0;
		}
	}
	return -EINVAL;
}

/* 0, or 1 after saying what is wrong. */
static int parse_options(int argc, char **argv, struct options *options)
{
	static const struct option known[] = {
		{ "host", required_argument, NULL, 'q' },
		{ "subsystem", required_argument, NULL, 'n' },
		{ "hash", required_argument, NULL, 'm' },
		{ "length", required_argument, NULL, 'l' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int option;

	optind = 0; /* glibc: begin anew */
	while ((option = getopt_long(argc, argv, "h", known, NULL)) != -1) {
		if (option == 'q')
			options->host = optarg;
		else if (option == 'n')
			options->subsystem = optarg;
		else if (option == 'm' && parse_hash(optarg, &options->hash) == 0)
			options->has_hash = true;
		else if (option == 'm')
			return bad("--hash", "expected none, sha256, sha384 or sha512");
		else if (option == 'l' && num_parse_u64(optarg, 32, 64, &options->length))
			return bad("--length", "expected a number of bytes: 32, 48 or 64");
		else if (option == 'h')
			options->help = true;
		else if (option == '?')
			return 1;
	}
	return 0;
}

/* --- generate --------------------------------------------------------------------------------- */

static int generate(const char *word, const struct options *options)
{
	enum key_kind kind = strcmp(word, "tls") == 0 ? KEY_TLS : KEY_DHCHAP;
	enum hash_id hash = options->has_hash ? options->hash : HASH_SHA256;
	size_t len = options->length ? options->length : hash == HASH_NONE ? 32 : hash_len(hash);
	char text[KEY_TEXT_MAX];
	struct secret key;
	int err;

	if (kind != KEY_TLS && strcmp(word, "dhchap") != 0)
		return bad(word, "expected tls or dhchap");
	err = key_generate(kind, hash, len, &key);
	if (err == -EINVAL)
		return bad(
			"--hash and --length",
			kind == KEY_TLS
				? "a key for TLS has 32 or 48 bytes, and SHA-256, SHA-384 or none"
				: "a key has 32, 48 or 64 bytes");
	if (err)
		return bad("random bytes", strerror(-err));
	key_format(kind, &key, text);
	printf("%s\n", text);
	secret_wipe(text, sizeof(text));
	secret_wipe(&key, sizeof(key));
	return 0;
}

/* --- Files ------------------------------------------------------------------------------------ */

/* A file's name does not tell of which kind its keys are. */
static int read_file(const char *path, enum key_kind *ret_kind, struct key_set *set)
{
	char why[512], other[512];

	*ret_kind = KEY_TLS;
	if (key_file_read(path, KEY_TLS, set, why, sizeof(why)) == 0)
		return 0;
	*ret_kind = KEY_DHCHAP;
	if (key_file_read(path, KEY_DHCHAP, set, other, sizeof(other)) == 0)
		return 0;
	fprintf(stderr, "nvmetctl: %s\n", strstr(why, "does not begin with") ? other : why);
	return -EINVAL;
}

static int inspect(const char *path)
{
	enum key_kind kind;
	struct key_set set;

	if (read_file(path, &kind, &set))
		return 1;
	for (unsigned i = 0; i < set.n; i++)
		printf("key %u: %s, %zu bytes, %s%s\n", i + 1,
		       kind == KEY_TLS ? "PSK for TLS" : "DH-HMAC-CHAP", set.keys[i].len,
		       set.keys[i].hash ? "transformed by " : "used as it is",
		       set.keys[i].hash ? hash_name(set.keys[i].hash) : "");
	secret_wipe(&set, sizeof(set));
	return 0;
}

static int print_identity(const struct secret *key, const struct options *options, unsigned version)
{
	struct psk_identity identity = { .version = version, .type = 'R' };
	char text[PSK_IDENTITY_MAX + 1];
	struct secret retained;
	int err;

	identity.hash = psk_default_hash(key);
	snprintf(identity.hostnqn, sizeof(identity.hostnqn), "%s", options->host);
	snprintf(identity.subnqn, sizeof(identity.subnqn), "%s", options->subsystem);
	err = psk_retained(key, identity.hostnqn, false, &retained);
	if (!err)
		err = psk_set_digest(&identity, &retained);
	secret_wipe(&retained, sizeof(retained));
	if (err)
		return bad("identity", strerror(-err));
	psk_identity_format(&identity, text);
	printf("# identity: %s\n", text);
	return 0;
}

static int derive_one(enum key_kind kind, const struct secret *key, const struct options *options)
{
	char text[KEY_TEXT_MAX];
	int status = 0;

	key_format(kind, key, text);
	if (kind == KEY_TLS) {
		status = print_identity(key, options, 1) || print_identity(key, options, 0);
		printf("nvme check-tls-key --identity=1 --insert --hostnqn=%s --subsysnqn=%s "
		       "--keydata=%s\n"
		       "nvme connect -t tcp -a ADDRESS -s 4420 -n %s --hostnqn=%s --tls\n",
		       options->host, options->subsystem, text, options->subsystem, options->host);
	} else {
		printf("nvme connect -t tcp -a ADDRESS -s 4420 -n %s --hostnqn=%s "
		       "--dhchap-secret=%s\n",
		       options->subsystem, options->host, text);
	}
	secret_wipe(text, sizeof(text));
	return status;
}

static int derive(const char *path, const struct options *options)
{
	enum key_kind kind;
	struct key_set set;
	int status = 0;

	if (!options->host || !options->subsystem || strlen(options->host) > NVMF_NQN_MAX ||
	    strlen(options->subsystem) > NVMF_NQN_MAX)
		return bad("key derive", "expected --host NQN and --subsystem NQN");
	if (read_file(path, &kind, &set))
		return 1;
	for (unsigned i = 0; i < set.n && !status; i++)
		status = derive_one(kind, &set.keys[i], options);
	secret_wipe(&set, sizeof(set));
	return status;
}

int ctl_key(int argc, char **argv)
{
	struct options options = { .hash = HASH_NONE };
	const char *what;

	if (parse_options(argc, argv, &options)) {
		fputs(usage, stderr);
		return 1;
	}
	if (options.help) {
		fputs(usage, stdout);
		return 0;
	}
	if (argc - optind != 2) {
		bad(optind < argc ? argv[optind] : "key",
		    optind < argc ? "expected one word behind it, and no more"
				  : "expected generate, derive or inspect");
		fputs(usage, stderr);
		return 1;
	}
	what = argv[optind];
	if (strcmp(what, "generate") == 0)
		return generate(argv[optind + 1], &options);
	if (strcmp(what, "derive") == 0)
		return derive(argv[optind + 1], &options);
	if (strcmp(what, "inspect") == 0)
		return inspect(argv[optind + 1]);
	bad(what, "expected generate, derive or inspect");
	fputs(usage, stderr);
	return 1;
}
