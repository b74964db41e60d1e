/* SPDX-License-Identifier: BSD-3-Clause */
/* Keys as text; see key.h. */
#include "security/key.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "util/check.h"
#include "util/le.h"

#define CRC_SIZE 4

static const struct {
	const char *prefix;
	enum hash_id max_hash;
	size_t max_len;
} kinds[] = {
	[KEY_TLS] = { "NVMeTLSkey-1:", HASH_SHA384, 48 },
	[KEY_DHCHAP] = { "DHHC-1:", HASH_SHA512, 64 },
};

/* CRC-32 as in Ethernet and zlib. It finds typing errors; nothing rests on its speed. */
static uint32_t crc32(const uint8_t *bytes, size_t len)
{
	uint32_t crc = UINT32_MAX;

	for (size_t i = 0; i < len; i++) {
		crc ^= bytes[i];
		for (unsigned bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0xedb88320) : 0);
	}
	return ~crc;
}

/* Whether a key of this kind may have this hash and length. */
static bool is_valid(enum key_kind kind, enum hash_id hash, size_t len)
{
	return (hash == HASH_NONE || (hash_len(hash) && hash <= kinds[kind].max_hash)) &&
	       (len == 32 || len == 48 || len == 64) && len <= kinds[kind].max_len;
}

static int wrong(const char **ret_why, const char *why)
{
	*ret_why = why;
	return -EINVAL;
}

/* "01:" at text. */
static int parse_hash(const char *text, enum hash_id *ret_hash)
{
	if (text[0] != '0' || text[1] < '0' || text[1] > '3' || text[2] != ':')
		return -EINVAL;
	*ret_hash = (enum hash_id)(text[1] - '0');
	return 0;
}

int key_parse(enum key_kind kind, const char *text, struct secret *ret_key, const char **ret_why)
{
	size_t prefix_len = strlen(kinds[kind].prefix), len = strlen(text);
	uint8_t decoded[KEY_MAX + CRC_SIZE];
	struct secret key;
	int n, err = 0;

	if (strncmp(text, kinds[kind].prefix, prefix_len) != 0)
		return wrong(ret_why, kind == KEY_TLS ? "it does not begin with NVMeTLSkey-1:"
						      : "it does not begin with DHHC-1:");
	if (len < prefix_len + 4 || parse_hash(text + prefix_len, &key.hash))
		return wrong(ret_why, "its second field names no hash that there is");
	if (text[len - 1] != ':')
		return wrong(ret_why, "it does not end with a colon");
	text += prefix_len + 3;
	n = base64_decode(text, len - prefix_len - 4, decoded, sizeof(decoded));
	if (n < 0)
		return wrong(ret_why, "its third field is no base64 of a key");
	key.len = (size_t)n < CRC_SIZE ? 0 : (size_t)n - CRC_SIZE;
	memcpy(key.bytes, decoded, key.len);
	if (!is_valid(kind, key.hash, key.len))
		err = wrong(ret_why, "its length or its hash is not one that such keys have");
	else if (crc32(decoded, key.len) != le32_load(decoded + key.len))
		err = wrong(ret_why, "its checksum is wrong: mistyped?");
	if (!err)
		*ret_key = key;
	secret_wipe(decoded, sizeof(decoded));
	secret_wipe(&key, sizeof(key));
	return err;
}

void key_format(enum key_kind kind, const struct secret *key, char *text)
{
	uint8_t bytes[KEY_MAX + CRC_SIZE];
	char encoded[BASE64_SIZE(sizeof(bytes))];

	must(is_valid(kind, key->hash, key->len));
	memcpy(bytes, key->bytes, key->len);
	le32_store(bytes + key->len, crc32(key->bytes, key->len));
	base64_encode(bytes, key->len + CRC_SIZE, encoded);
	snprintf(text, KEY_TEXT_MAX, "%s%02d:%s:", kinds[kind].prefix, (int)key->hash, encoded);
	secret_wipe(bytes, sizeof(bytes));
	secret_wipe(encoded, sizeof(encoded));
}

int key_generate(enum key_kind kind, enum hash_id hash, size_t len, struct secret *ret_key)
{
	if (!is_valid(kind, hash, len))
		return -EINVAL;
	*ret_key = (struct secret){ .hash = hash, .len = len };
	return secret_random(ret_key->bytes, len);
}
