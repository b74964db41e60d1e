/* SPDX-License-Identifier: BSD-3-Clause */
/* Hosts, their keys, and how they may authenticate; see conf_hosts.h. */
#include "config/conf_hosts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "security/dhchap.h"
#include "target/ctrl.h"
#include "target/subsystem.h"
#include "util/bits.h"
#include "util/check.h"
#include "util/log.h"

/* --- Hosts ------------------------------------------------------------------------------------ */

static struct conf_host *append(struct conf_hosts *list, const char *nqn)
{
	struct conf_host *all = realloc(list->host, (list->n + 1) * sizeof(all[0]));

	if (!all)
		return NULL;
	list->host = all;
	all[list->n] = (struct conf_host){ .key_files = { NULL } };
	snprintf(all[list->n].nqn, sizeof(all[list->n].nqn), "%s", nqn);
	return &all[list->n++];
}

int conf_hosts_add(struct conf_hosts *list, const char *nqn)
{
	if (!nvmet_nqn_valid(nqn))
		return -EINVAL;
	return append(list, nqn) ? 0 : -ENOMEM;
}

void conf_hosts_fini(struct conf_hosts *list)
{
	for (unsigned i = 0; i < list->n; i++) {
		for (unsigned use = 0; use < KEY_N_USES; use++)
			free(list->host[i].key_files[use]);
	}
	free(list->host);
	*list = (struct conf_hosts){ .n = 0 };
}

/* ( 1, 5 ): the NSIDs that the host sees. */
static int read_visible(const struct conf_reader *reader, const config_setting_t *setting,
			void *field)
{
	static const struct conf_key key = { "namespaces", CONF_UINT, 0, 1, NVMET_MAX_NSID, NULL };
	struct nvmet_access *access = field;

	access->masked = true;
	if (conf_need_list(reader, setting))
		return -EINVAL;
	for (int i = 0; i < config_setting_length(setting); i++) {
		const config_setting_t *elem = config_setting_get_elem(setting, (unsigned)i);
		unsigned nsid;

		if (conf_read_uint(reader, elem, &key, &nsid))
			return -EINVAL;
		bits_set(access->visible, nsid);
	}
	return 0;
}

static int read_max_queues(const struct conf_reader *reader, const config_setting_t *setting,
			   void *field)
{
	static const struct conf_key key = {
		"max_queues", CONF_UINT, 0, 1, NVMET_MAX_QUEUES, NULL
	};
	struct nvmet_access *access = field;
	unsigned number;

	if (conf_read_uint(reader, setting, &key, &number))
		return -EINVAL;
	access->max_queues = (uint16_t)number;
	return 0;
}

static int read_key_file(const struct conf_reader *reader, const config_setting_t *setting,
			 void *field)
{
	const char *name = config_setting_get_string(setting);
	char **file = field;

	if (!name || !name[0])
		return conf_fail(reader, setting, "%s: expected the name of a file with keys",
				 config_setting_name(setting));
	*file = strdup(name);
	return *file ? 0 : conf_fail(reader, setting, "out of memory");
}

/* What is behind the keys says what a host may do at its subsystem. */
static int read_host_group(const struct conf_reader *reader, const config_setting_t *group,
			   struct conf_host *host, bool of_subsystem)
{
#define HOST(field) offsetof(struct conf_host, field)
	static const struct conf_key keys[] = {
		{ "nqn", CONF_TEXT, HOST(nqn), 1, NVMF_NQN_MAX, NULL },
		{ "tls_key", CONF_GROUP, HOST(key_files[KEY_USE_TLS]), 0, 0, read_key_file },
		{ "dhchap_key", CONF_GROUP, HOST(key_files[KEY_USE_DHCHAP_HOST]), 0, 0,
		  read_key_file },
		{ "dhchap_ctrl_key", CONF_GROUP, HOST(key_files[KEY_USE_DHCHAP_CTRL]), 0, 0,
		  read_key_file },
		{ "namespaces", CONF_GROUP, HOST(access), 0, 0, read_visible },
		{ "read_only", CONF_BOOL, HOST(access.read_only), 0, 0, NULL },
		{ "max_queues", CONF_GROUP, HOST(access), 0, 0, read_max_queues },
	};
	const size_t n_proofs = 1 + KEY_N_USES;

	if (conf_read_group(reader, group, keys, of_subsystem ? ARRAY_SIZE(keys) : n_proofs, host))
		return -EINVAL;
	if (host->key_files[KEY_USE_DHCHAP_CTRL] && !host->key_files[KEY_USE_DHCHAP_HOST])
		return conf_fail(reader, group, "dhchap_ctrl_key is of use only beside dhchap_key");
	return 0;
}

static int read_host(const struct conf_reader *reader, const config_setting_t *elem,
		     struct conf_hosts *list, bool of_subsystem)
{
	const char *nqn = config_setting_get_string(elem);
	struct conf_host *host;

	if (config_setting_is_group(elem)) {
		const config_setting_t *member = config_setting_get_member(elem, "nqn");

		nqn = member ? config_setting_get_string(member) : NULL;
	}
	if (!nqn || !nvmet_nqn_valid(nqn))
		return conf_fail(reader, elem,
				 "hosts: expected \"nqn.…\" of up to 223 characters, or { "
				 "nqn = \"nqn.…\"; … }");
	for (unsigned i = 0; i < list->n; i++) {
		if (strcmp(list->host[i].nqn, nqn) == 0)
			return conf_fail(reader, elem, "hosts: %s is there twice", nqn);
	}
	host = append(list, nqn);
	if (!host)
		return conf_fail(reader, elem, "out of memory");
	return config_setting_is_group(elem) ? read_host_group(reader, elem, host, of_subsystem)
					     : 0;
}

int conf_read_hosts(const struct conf_reader *reader, const config_setting_t *setting,
		    struct conf_hosts *list, bool of_subsystem)
{
	if (conf_need_list(reader, setting))
		return -EINVAL;
	for (int i = 0; i < config_setting_length(setting); i++) {
		if (read_host(reader, config_setting_get_elem(setting, (unsigned)i), list,
			      of_subsystem))
			return -EINVAL;
	}
	return 0;
}

/* --- What may be used ------------------------------------------------------------------------- */

static const char *const hash_words[] = {
	[HASH_SHA256] = "sha256",
	[HASH_SHA384] = "sha384",
	[HASH_SHA512] = "sha512",
};

static const char *const group_words[] = {
	[DH_NULL] = "null",           [DH_FFDHE2048] = "ffdhe2048", [DH_FFDHE3072] = "ffdhe3072",
	[DH_FFDHE4096] = "ffdhe4096", [DH_FFDHE6144] = "ffdhe6144", [DH_FFDHE8192] = "ffdhe8192",
};

static int read_tls_mode(const config_setting_t *setting, enum nvmet_tls_mode *mode)
{
	static const char *const words[] = {
		[NVMET_TLS_OFF] = "off",
		[NVMET_TLS_OPTIONAL] = "optional",
		[NVMET_TLS_REQUIRED] = "required",
	};
	const char *text = config_setting_get_string(setting);

	for (size_t i = 0; text && i < ARRAY_SIZE(words); i++) {
		if (strcmp(text, words[i]) == 0) {
			*mode = (enum nvmet_tls_mode)i;
			return 0;
		}
	}
	return -EINVAL;
}

int conf_read_port(const struct conf_reader *reader, const config_setting_t *setting,
		   const char **ret_address, enum nvmet_tls_mode *ret_tls)
{
	*ret_tls = NVMET_TLS_OFF;
	*ret_address = config_setting_get_string(setting);
	if (!config_setting_is_group(setting))
		return 0;
	for (int i = 0; i < config_setting_length(setting); i++) {
		const config_setting_t *member = config_setting_get_elem(setting, (unsigned)i);
		const char *name = config_setting_name(member);

		if (strcmp(name, "address") == 0)
			*ret_address = config_setting_get_string(member);
		else if (strcmp(name, "tls") != 0)
			return conf_fail(reader, member,
					 "%s: there is no such key here, but address, tls", name);
		else if (read_tls_mode(member, ret_tls))
			return conf_fail(reader, member,
					 "tls: expected \"required\", \"optional\" or \"off\"");
	}
	return 0;
}

/* A list of words → their places in the table, in the list's order, none twice. */
static int read_words(const struct conf_reader *reader, const config_setting_t *setting,
		      const char *const *words, size_t n_words, uint8_t *ids, unsigned *ret_n)
{
	const char *name = config_setting_name(setting);
	unsigned n = 0;

	if (conf_need_list(reader, setting))
		return -EINVAL;
	if (config_setting_length(setting) == 0)
		return conf_fail(reader, setting, "%s: expected a list: ( \"…\", … )", name);
	for (int i = 0; i < config_setting_length(setting); i++) {
		const config_setting_t *elem = config_setting_get_elem(setting, (unsigned)i);
		const char *word = config_setting_get_string(elem);
		size_t id = 0;

		while (id < n_words && (!word || !words[id] || strcmp(words[id], word) != 0))
			id++;
		if (id == n_words || memchr(ids, (int)id, n))
			return conf_fail(reader, elem,
					 "%s: expected each of \"%s\" to \"%s\" at most once", name,
					 words[words[0] ? 0 : 1], words[n_words - 1]);
		ids[n++] = (uint8_t)id;
	}
	*ret_n = n;
	return 0;
}

static int read_hashes(const struct conf_reader *reader, const config_setting_t *setting,
		       void *field)
{
	struct nvmet_auth_policy *policy = field;

	return read_words(reader, setting, hash_words, ARRAY_SIZE(hash_words), policy->hashes,
			  &policy->n_hashes);
}

static int read_dh_groups(const struct conf_reader *reader, const config_setting_t *setting,
			  void *field)
{
	struct nvmet_auth_policy *policy = field;

	return read_words(reader, setting, group_words, ARRAY_SIZE(group_words), policy->groups,
			  &policy->n_groups);
}

int conf_read_dhchap(const struct conf_reader *reader, const config_setting_t *setting, void *field)
{
	static const struct conf_key keys[] = {
		{ "hashes", CONF_GROUP, 0, 0, 0, read_hashes },
		{ "groups", CONF_GROUP, 0, 0, 0, read_dh_groups },
		{ "discovery", CONF_BOOL, offsetof(struct nvmet_auth_policy, discovery), 0, 0,
		  NULL },
	};

	return conf_read_group(reader, setting, keys, ARRAY_SIZE(keys), field);
}
_Static_assert(sizeof(((struct nvmet_auth_policy *)0)->groups) == ARRAY_SIZE(group_words),
	       "room for each group once");
_Static_assert(sizeof(((struct nvmet_auth_policy *)0)->hashes) == ARRAY_SIZE(hash_words) - 1,
	       "room for each hash once");

/* --- Keys ------------------------------------------------------------------------------------- */

static int add_keys(struct keyring *keys, const struct conf_hosts *list, const char *subnqn)
{
	int err = 0;

	for (unsigned i = 0; i < list->n; i++) {
		for (unsigned use = 0; use < KEY_N_USES && !err; use++) {
			if (list->host[i].key_files[use])
				err = keyring_add(keys, list->host[i].nqn, subnqn,
						  (enum key_use)use, list->host[i].key_files[use]);
		}
	}
	return err;
}

int conf_load_keys(const struct conf *conf, struct keyring **ret_keys)
{
	struct keyring *keys = keyring_new();
	int err = keys ? add_keys(keys, &conf->hosts, "") : -ENOMEM;

	for (unsigned i = 0; i < conf->n_subsystems && !err; i++)
		err = add_keys(keys, &conf->subsystems[i].hosts, conf->subsystems[i].nqn);
	if (!err)
		err = keyring_load(keys);
	if (err) {
		keyring_free(keys);
		return err;
	}
	*ret_keys = keys;
	return 0;
}
