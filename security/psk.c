/* SPDX-License-Identifier: BSD-3-Clause */
/* PSKs and their identities; see psk.h. */
#include "security/psk.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "util/check.h"

#define PSK_SEED "NVMe-over-Fabrics"

/* --- Identities ------------------------------------------------------------------------------- */

/* The word at *from up to a space or the end, NUL-terminated at `to`; *from moves behind it. */
static int take_word(const char **from, const char *end, char *to, size_t max)
{
	size_t len = 0, left = (size_t)(end - *from);

	while (len < left && (*from)[len] != ' ') {
		if ((unsigned char)(*from)[len] <= 0x20 || (*from)[len] == 0x7f)
			return -EINVAL;
		len++;
	}
	if (len == 0 || len > max)
		return -EINVAL;
	memcpy(to, *from, len);
	to[len] = '\0';
	*from += len;
	return 0;
}

static int take_space(const char **from, const char *end)
{
	if (*from == end || **from != ' ')
		return -EINVAL;
	++*from;
	return 0;
}

/* "NVMe1R01". */
static int parse_head(const char *head, struct psk_identity *identity)
{
	if (strncmp(head, "NVMe", 4) != 0 || (head[4] != '0' && head[4] != '1') ||
	    (head[5] != 'R' && head[5] != 'G') || head[6] != '0' ||
	    (head[7] != '1' && head[7] != '2'))
		return -EINVAL;
	identity->version = (unsigned)(head[4] - '0');
	identity->type = head[5];
	identity->hash = (enum hash_id)(head[7] - '0');
	return 0;
}

int psk_identity_parse(const void *bytes, size_t len, struct psk_identity *ret_identity)
{
	struct psk_identity identity = { 0 };
	const char *at = bytes, *end = at + len;
	char head[9];

	if (len > PSK_IDENTITY_MAX || take_word(&at, end, head, 8) || strlen(head) != 8 ||
	    parse_head(head, &identity) || take_space(&at, end) ||
	    take_word(&at, end, identity.hostnqn, NVMF_NQN_MAX) || take_space(&at, end) ||
	    take_word(&at, end, identity.subnqn, NVMF_NQN_MAX))
		return -EINVAL;
	if (identity.version == 1 &&
	    (take_space(&at, end) || take_word(&at, end, identity.digest, PSK_DIGEST_MAX)))
		return -EINVAL;
	if (at != end)
		return -EINVAL;
	*ret_identity = identity;
	return 0;
}

void psk_identity_format(const struct psk_identity *identity, char *text)
{
	bool digest = identity->version == 1;

	snprintf(text, PSK_IDENTITY_MAX + 1, "NVMe%u%c%02d %s %s%s%s", identity->version,
		 identity->type, (int)identity->hash, identity->hostnqn, identity->subnqn,
		 digest ? " " : "", digest ? identity->digest : "");
}

/* --- Keys ------------------------------------------------------------------------------------- */

/* HkdfLabel as older host tools have it: the length little endian, no length octets. */
static int expand_legacy(enum hash_id hash, const uint8_t *prk, const char *label,
			 const char *context, uint8_t *out, size_t out_len)
{
	uint8_t info[HKDF_INFO_MAX];
	int n = snprintf((char *)info + 2, sizeof(info) - 2, "tls13 %s%s", label, context);

	if (n < 0 || (size_t)n > sizeof(info) - 3)
		return -EINVAL;
	info[0] = (uint8_t)out_len;
	info[1] = (uint8_t)(out_len >> 8);
	return hkdf_expand(hash, prk, info, (size_t)n + 2, out, out_len);
}

static int derive(enum hash_id hash, const struct secret *from, const char *label,
		  const char *context, bool legacy, uint8_t *out, size_t out_len)
{
	uint8_t prk[HASH_MAX];
	int err = hkdf_extract(hash, from->bytes, from->len, prk);

	if (!err)
		err = legacy ? expand_legacy(hash, prk, label, context, out, out_len)
			     : hkdf_expand_label(hash, prk, label, context, strlen(context), out,
						 out_len);
	secret_wipe(prk, sizeof(prk));
	return err;
}

int psk_retained(const struct secret *configured, const char *hostnqn, bool legacy,
		 struct secret *ret_retained)
{
	*ret_retained = *configured;
	if (configured->hash == HASH_NONE)
		return 0;
	return derive(configured->hash, configured, "HostNQN", hostnqn, legacy, ret_retained->bytes,
		      configured->len);
}

int psk_set_digest(struct psk_identity *identity, const struct secret *psk)
{
	char names[NVMF_NQN_MAX + 1 + NVMF_NQN_MAX + 1 + sizeof(PSK_SEED)];
	uint8_t mac[HASH_MAX];
	int err;

	if (identity->version == 0)
		return 0;
	if (identity->hash > HASH_SHA384)
		return -EINVAL;
	snprintf(names, sizeof(names), "%s %s %s", identity->hostnqn, identity->subnqn, PSK_SEED);
	err = hash_hmac(identity->hash, psk->bytes, psk->len, names, strlen(names), mac);
	if (!err)
		base64_encode(mac, hash_len(identity->hash), identity->digest);
	return err;
}

int psk_tls(const struct psk_identity *identity, const struct secret *psk, bool legacy,
	    uint8_t *out)
{
	char context[PSK_IDENTITY_MAX + 1];

	if (identity->version == 1)
		snprintf(context, sizeof(context), "%02d %s", (int)identity->hash,
			 identity->digest);
	else
		psk_identity_format(identity, context);
	return derive(identity->hash, psk, "nvme-tls-psk", context, legacy, out,
		      hash_len(identity->hash));
}

enum hash_id psk_default_hash(const struct secret *configured)
{
	if (configured->hash != HASH_NONE)
		return configured->hash;
	return configured->len == 48 ? HASH_SHA384 : HASH_SHA256;
}

int psk_generated(enum hash_id hash, const uint8_t *ks, const uint8_t *c1, const uint8_t *c2,
		  struct secret *ret_psk)
{
	size_t len = hash_len(hash);
	uint8_t both[2 * HASH_MAX];

	memcpy(both, c1, len);
	memcpy(both + len, c2, len);
	*ret_psk = (struct secret){ .hash = HASH_NONE, .len = len };
	return hash_hmac(hash, ks, len, both, 2 * len, ret_psk->bytes);
}

/* The key schedule of RFC 8446, 7.1, as far as a binder needs it. */
int psk_binder(enum hash_id hash, const uint8_t *psk, size_t psk_len, const void *hello,
	       size_t hello_len, uint8_t *out)
{
	const size_t len = hash_len(hash);
	uint8_t early[HASH_MAX], binder[HASH_MAX], finished[HASH_MAX], digest[HASH_MAX];
	int err = hkdf_extract(hash, psk, psk_len, early);

	if (!err)
		err = hash_digest(hash, "", 0, digest);
	if (!err)
		err = hkdf_expand_label(hash, early, "ext binder", digest, len, binder, len);
	if (!err)
		err = hkdf_expand_label(hash, binder, "finished", NULL, 0, finished, len);
	if (!err)
		err = hash_digest(hash, hello, hello_len, digest);
	if (!err)
		err = hash_hmac(hash, finished, len, digest, len, out);
	secret_wipe(early, sizeof(early));
	secret_wipe(binder, sizeof(binder));
	secret_wipe(finished, sizeof(finished));
	return err;
}
