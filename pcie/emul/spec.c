/* SPDX-License-Identifier: BSD-3-Clause */
/* "emulated:key=value,…" → struct emul_options; the keys are described in emul.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pcie/emul/emul.h"
#include "pcie/emul/state.h"
#include "util/num.h"

enum key_type { KEY_UINT, KEY_SIZE, KEY_TEXT, KEY_LBA, KEY_OP, KEY_ABORT, KEY_BOOL, KEY_CODE };

struct key {
	const char *name;
	enum key_type type;
	size_t offset;
	uint64_t min, max;
	const char *expected;
};

#define OPT(field) offsetof(struct emul_options, field)

static const struct key keys[] = {
	{ "size", KEY_SIZE, OPT(size), 1 << 20, UINT64_C(1) << 50, "a size from 1M to 1024T" },
	{ "file", KEY_TEXT, OPT(file), 1, sizeof(((struct emul_options *)0)->file) - 1,
	  "a path of up to 255 characters" },
	{ "serial", KEY_TEXT, OPT(serial), 1, 20, "up to 20 characters" },
	{ "lba", KEY_LBA, OPT(lba_shift), 0, 0, "512 or 4096" },
	{ "queues", KEY_UINT, OPT(queues), 1, EMUL_MAX_QUEUES, "a number from 1 to 256" },
	{ "depth", KEY_UINT, OPT(depth), 2, 65536, "a number from 2 to 65536" },
	{ "mdts", KEY_SIZE, OPT(mdts), 8192, 1 << 20, "a power of two from 8K to 1M" },
	{ "namespaces", KEY_UINT, OPT(namespaces), 1, EMUL_MAX_NS, "a number from 1 to 32" },
	{ "vectors", KEY_UINT, OPT(vectors), 0, EMUL_MAX_QUEUES + 1, "a number from 0 to 257" },
	{ "wzsl", KEY_UINT, OPT(wzsl), 1, 20, "a number from 1 to 20" },
	{ "dmrl", KEY_UINT, OPT(dmrl), 1, 255, "a number from 1 to 255" },
	{ "dmrsl", KEY_UINT, OPT(dmrsl), 1, UINT32_MAX, "a number from 1" },
	{ "dmsl", KEY_UINT, OPT(dmsl), 1, UINT32_MAX, "a number from 1" },
	{ "awun", KEY_UINT, OPT(awun), 0, 255, "a number from 0 to 255" },
	{ "dbbuf", KEY_BOOL, OPT(dbbuf), 0, 1, "0 or 1" },
	{ "ms", KEY_UINT, OPT(ms), 0, 128, "a number from 0 to 128" },
	{ "pi", KEY_UINT, OPT(pi), 0, 3, "a number from 0 to 3" },
	{ "separate", KEY_BOOL, OPT(separate), 0, 1, "0 or 1" },
	{ "fna", KEY_UINT, OPT(fna), 0, 3, "a number from 0 to 3" },
	{ "fused", KEY_BOOL, OPT(fused), 0, 1, "0 or 1" },
	{ "cache", KEY_BOOL, OPT(cache), 0, 1, "0 or 1" },
	{ "fault.op", KEY_OP, OPT(faults.op), 0, 0, "read, write, compare, flush or any" },
	{ "fault.error", KEY_UINT, OPT(faults.error), 1, UINT32_MAX, "a number from 1" },
	{ "fault.status", KEY_CODE, OPT(faults.status), 1, 0x7ff, "a status from 0x1 to 0x7ff" },
	{ "fault.delay", KEY_UINT, OPT(faults.delay), 1, UINT32_MAX, "a number from 1" },
	{ "fault.delay_ms", KEY_UINT, OPT(faults.delay_ms), 1, 3600000, "milliseconds" },
	{ "fault.unknown_cid", KEY_UINT, OPT(faults.unknown_cid), 1, UINT32_MAX,
	  "a number from 1" },
	{ "fault.hang", KEY_UINT, OPT(faults.hang), 1, UINT32_MAX, "a number from 1" },
	{ "fault.abort", KEY_ABORT, OPT(faults.abort), 0, 0, "obey, late, refuse or silent" },
	{ "fault.mute_after", KEY_UINT, OPT(faults.mute_after), 1, UINT32_MAX, "a number from 1" },
	{ "fault.doorbell_after", KEY_UINT, OPT(faults.doorbell_after), 1, UINT32_MAX,
	  "a number from 1" },
	{ "fault.back_ms", KEY_UINT, OPT(faults.back_ms), 1, 3600000, "milliseconds" },
	{ "fault.back_when", KEY_TEXT, OPT(faults.back_when), 1, 255,
	  "a path of up to 255 characters" },
	{ "fault.back_as", KEY_TEXT, OPT(faults.back_as), 1, 20, "up to 20 characters" },
	{ "fault.never_ready", KEY_UINT, OPT(faults.never_ready), 1, UINT32_MAX,
	  "a number from 1" },
	{ "fault.ready_again", KEY_UINT, OPT(faults.ready_again), 1, UINT32_MAX,
	  "a number from 1" },
	{ "fault.times", KEY_UINT, OPT(faults.times), 1, UINT32_MAX, "a number from 1" },
	{ "fault.cfs_after", KEY_UINT, OPT(faults.cfs_after), 1, UINT32_MAX, "a number from 1" },
	{ "fault.smart_after", KEY_UINT, OPT(faults.smart_after), 1, UINT32_MAX,
	  "a number from 1" },
	{ "fault.internal_after", KEY_UINT, OPT(faults.internal_after), 1, UINT32_MAX,
	  "a number from 1" },
	{ "fault.shrink_after", KEY_UINT, OPT(faults.shrink_after), 1, UINT32_MAX,
	  "a number from 1" },
	{ "fault.detach_after", KEY_UINT, OPT(faults.detach_after), 1, UINT32_MAX,
	  "a number from 1" },
	{ "fault.attach_after", KEY_UINT, OPT(faults.attach_after), 1, UINT32_MAX,
	  "a number from 1" },
	{ "fault.gone_after", KEY_UINT, OPT(faults.gone_after), 1, UINT32_MAX, "a number from 1" },
};

static int set_uint(const struct key *key, void *field, const char *value)
{
	uint64_t v;
	int err = key->type == KEY_SIZE ? num_parse_size(value, key->min, key->max, &v)
					: num_parse_u64(value, key->min, key->max, &v);

	if (err)
		return err;
	if (key->type == KEY_SIZE)
		*(uint64_t *)field = v; /* size_t is 64 bits wide on all we run on */
	else
		*(unsigned *)field = (unsigned)v;
	return 0;
}
_Static_assert(sizeof(size_t) == sizeof(uint64_t), "sizes are stored as uint64_t");

static int set_lba(unsigned *shift, const char *value)
{
	if (strcmp(value, "512") == 0)
		*shift = 9;
	else if (strcmp(value, "4096") == 0 || strcmp(value, "4K") == 0)
		*shift = 12;
	else
		return -EINVAL;
	return 0;
}

static int set_op(int *op, const char *value)
{
	static const struct {
		const char *word;
		int op;
	} ops[] = { { "any", -1 },
		    { "read", NVME_IO_READ },
		    { "write", NVME_IO_WRITE },
		    { "compare", NVME_IO_COMPARE },
		    { "flush", NVME_IO_FLUSH } };

	for (size_t i = 0; i < ARRAY_SIZE(ops); i++) {
		if (strcmp(value, ops[i].word) == 0) {
			*op = ops[i].op;
			return 0;
		}
	}
	return -EINVAL;
}

static int set_abort(enum emul_abort *to, const char *value)
{
	static const char *const words[] = {
		[EMUL_ABORT_OBEY] = "obey",
		[EMUL_ABORT_LATE] = "late",
		[EMUL_ABORT_REFUSE] = "refuse",
		[EMUL_ABORT_SILENT] = "silent",
	};

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		if (strcmp(value, words[i]) == 0) {
			*to = (enum emul_abort)i;
			return 0;
		}
	}
	return -EINVAL;
}

static int set_key(const struct key *key, struct emul_options *options, const char *value)
{
	void *field = (char *)options + key->offset;
	unsigned long code;
	char *end;

	switch (key->type) {
	case KEY_UINT:
	case KEY_SIZE:
		return set_uint(key, field, value);
	case KEY_TEXT:
		if (strlen(value) < key->min || strlen(value) > key->max)
			return -EINVAL;
		memcpy(field, value, strlen(value) + 1);
		return 0;
	case KEY_LBA:
		return set_lba(field, value);
	case KEY_ABORT:
		return set_abort(field, value);
	case KEY_OP:
		return set_op(field, value);
	case KEY_BOOL:
		if (strcmp(value, "0") != 0 && strcmp(value, "1") != 0)
			return -EINVAL;
		*(bool *)field = *value == '1';
		return 0;
	case KEY_CODE:
		code = strtoul(value, &end, 0);
		if (*value == '\0' || *end != '\0' || code < key->min || code > key->max)
			return -EINVAL;
		*(unsigned *)field = (unsigned)code;
		return 0;
	}
	return -EINVAL;
}

static int parse_pair(char *pair, struct emul_options *options, char *err, size_t err_size)
{
	char *value = strchr(pair, '=');

	if (value)
		*value++ = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		if (strcmp(keys[i].name, pair) != 0)
			continue;
		if (value && set_key(&keys[i], options, value) == 0)
			return 0;
		snprintf(err, err_size, "%s=%s: expected %s", pair, value ? value : "",
			 keys[i].expected);
		return -EINVAL;
	}
	snprintf(err, err_size,
		 "\"%s\" is not a key of an emulated SSD (nvmetd(8), --ssd, has all)", pair);
	return -EINVAL;
}

static int check(const struct emul_options *options, char *err, size_t err_size)
{
	if (!options->size && !options->file[0]) {
		snprintf(err, err_size, "an emulated SSD needs size= or file=");
		return -EINVAL;
	}
	if (options->cache && !options->file[0]) {
		snprintf(err, err_size, "cache=1 needs file=");
		return -EINVAL;
	}
	if (!num_is_pow2(options->mdts)) {
		snprintf(err, err_size, "mdts=%zu: expected a power of two from 8K to 1M",
			 options->mdts);
		return -EINVAL;
	}
	if (options->file[0] && (options->ms || options->fused)) {
		snprintf(err, err_size, "%s: not on a file, only in memory",
			 options->ms ? "ms=" : "fused=1");
		return -EINVAL;
	}
	if ((options->pi && options->ms < 8) || (options->separate && !options->ms)) {
		snprintf(err, err_size, "%s: expected ms= of at least %u with it",
			 options->pi ? "pi=" : "separate=1", options->pi ? 8 : 1);
		return -EINVAL;
	}
	if (options->fused && options->depth < 3) {
		snprintf(err, err_size, "fused=1: expected depth= of at least 3");
		return -EINVAL;
	}
	return 0;
}

int emul_options_parse(const char *spec, struct emul_options *ret, char *err, size_t err_size)
{
	static const char prefix[] = "emulated:";
	struct emul_options options = {
		.lba_shift = 9,
		.queues = 16,
		.depth = 1024,
		.mdts = 1 << 20,
		.namespaces = 1,
		.vectors = UINT32_MAX,
		.faults = { .op = -1, .status = NVME_SC_UNRECOVERED_READ, .delay_ms = 100 },
	};
	char *copy, *rest, *pair;
	int result = 0;

	if (strncmp(spec, prefix, sizeof(prefix) - 1) != 0) {
		snprintf(err, err_size, "\"%s\": expected emulated:key=value,…", spec);
		return -EINVAL;
	}
	copy = strdup(spec + sizeof(prefix) - 1);
	if (!copy) {
		snprintf(err, err_size, "%s", strerror(ENOMEM));
		return -ENOMEM;
	}
	for (rest = copy; result == 0 && (pair = strsep(&rest, ",")) != NULL;) {
		if (*pair)
			result = parse_pair(pair, &options, err, err_size);
	}
	free(copy);
	if (result == 0)
		result = check(&options, err, err_size);
	if (options.vectors == UINT32_MAX)
		options.vectors = options.queues + 1;
	if (result == 0)
		*ret = options;
	return result;
}
