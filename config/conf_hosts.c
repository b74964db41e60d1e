/* SPDX-License-Identifier: BSD-3-Clause */
/* Hosts, their keys, and how they may authenticate; see conf_hosts.h. */
#include "config/conf_hosts.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "security/dhchap.h"
#include "target/ctrl.h"
#include "target/subsystem.h"
#include "util/check.h"
#include "util/log.h"

static const char *const key_names[KEY_N_USES] = {
	[KEY_USE_TLS] = "tls_key",
	[KEY_USE_DHCHAP_HOST] = "dhchap_key",
	[KEY_USE_DHCHAP_CTRL] = "dhchap_ctrl_key",
};

__attribute__((format(printf, 3, 4))) static int
wrong(struct conf_why *why, const config_setting_t *at, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(why->text, sizeof(why->text), fmt, args);
	va_end(args);
	why->at = at;
	return -EINVAL;
}

static bool is_sequence(const config_setting_t *setting)
{
	return config_setting_is_list(setting) || config_setting_is_array(setting);
}

/* --- Hosts --------------------------------------------------------------------------------------
 */

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
static int read_visible(const config_setting_t *setting, struct nvmet_access *access,
			struct conf_why *why)
{
	access->masked = true;
	if (!is_sequence(setting))
		return wrong(why, setting, "namespaces: expected a list: ( 1, … )");
	for (int i = 0; i < config_setting_length(setting); i++) {
		const config_setting_t *elem = config_setting_get_elem(setting, (unsigned)i);
		int nsid = config_setting_get_int(elem);

		if (nsid < 1 || nsid > NVMET_MAX_NSID)
			return wrong(why, elem, "namespaces: expected numbers from 1 to %d",
				     NVMET_MAX_NSID);
		access->visible[nsid / 64] |= UINT64_C(1) << (nsid % 64);
	}
	return 0;
}

static int read_bool(const config_setting_t *setting, bool *value, struct conf_why *why)
{
	if (config_setting_type(setting) != CONFIG_TYPE_BOOL)
		return wrong(why, setting, "%s: expected true or false",
			     config_setting_name(setting));
	*value = config_setting_get_bool(setting);
	return 0;
}

/* What the host may do at its subsystem. -ENOENT: the key is none of these. */
static int read_access(const config_setting_t *member, struct nvmet_access *access,
		       struct conf_why *why)
{
	const char *name = config_setting_name(member);
	int number = config_setting_get_int(member);

	if (strcmp(name, "namespaces") == 0)
		return read_visible(member, access, why);
	if (strcmp(name, "read_only") == 0)
		return read_bool(member, &access->read_only, why);
	if (strcmp(name, "max_queues") != 0)
		return -ENOENT;
	if (number < 1 || number > NVMET_MAX_QUEUES)
		return wrong(why, member, "max_queues: expected a number from 1 to %d",
			     NVMET_MAX_QUEUES);
	access->max_queues = (uint16_t)number;
	return 0;
}

/* One key of a host's group, other than nqn. */
static int read_member(const config_setting_t *member, struct conf_host *host, bool of_subsystem,
		       struct conf_why *why)
{
	int err;
	const char *name = config_setting_name(member), *text = config_setting_get_string(member);
	unsigned use = 0;

	if (strcmp(name, "nqn") == 0)
		return 0;
	while (use < KEY_N_USES && strcmp(name, key_names[use]) != 0)
		use++;
	if (use == KEY_N_USES) {
		err = of_subsystem ? read_access(member, &host->access, why) : -ENOENT;
		return err == -ENOENT ? wrong(why, member, "%s: there is no such key here", name)
				      : err;
	}
	if (!text || !text[0])
		return wrong(why, member, "%s: expected the name of a file with keys", name);
	host->key_files[use] = strdup(text);
	return host->key_files[use] ? 0 : wrong(why, member, "out of memory");
}

static int read_host(const config_setting_t *elem, struct conf_hosts *list, bool of_subsystem,
		     struct conf_why *why)
{
	const char *nqn = config_setting_get_string(elem);
	struct conf_host *host;

	if (config_setting_is_group(elem)) {
		const config_setting_t *member = config_setting_get_member(elem, "nqn");

		nqn = member ? config_setting_get_string(member) : NULL;
	}
	if (!nqn || !nvmet_nqn_valid(nqn))
		return wrong(why, elem,
			     "hosts: expected \"nqn.…\" of up to 223 characters, or { "
			     "nqn = \"nqn.…\"; … }");
	for (unsigned i = 0; i < list->n; i++) {
		if (strcmp(list->host[i].nqn, nqn) == 0)
			return wrong(why, elem, "hosts: %s is there twice", nqn);
	}
	host = append(list, nqn);
	if (!host)
		return wrong(why, elem, "out of memory");
	if (!config_setting_is_group(elem))
		return 0;
	for (int i = 0; i < config_setting_length(elem); i++) {
		if (read_member(config_setting_get_elem(elem, (unsigned)i), host, of_subsystem,
				why))
			return -EINVAL;
	}
	if (host->key_files[KEY_USE_DHCHAP_CTRL] && !host->key_files[KEY_USE_DHCHAP_HOST])
		return wrong(why, elem, "dhchap_ctrl_key is of use only beside dhchap_key");
	return 0;
}

int conf_read_hosts(const config_setting_t *setting, struct conf_hosts *list, bool of_subsystem,
		    struct conf_why *why)
{
	if (!is_sequence(setting))
		return wrong(why, setting, "hosts: expected a list: ( …, … )");
	for (int i = 0; i < config_setting_length(setting); i++) {
		if (read_host(config_setting_get_elem(setting, (unsigned)i), list, of_subsystem,
			      why))
			return -EINVAL;
	}
	return 0;
}

/* --- What may be used ---------------------------------------------------------------------------
 */

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

int conf_read_port(const config_setting_t *setting, const char **ret_address,
		   enum nvmet_tls_mode *ret_tls, struct conf_why *why)
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
			return wrong(why, member, "%s: there is no such key here", name);
		else if (read_tls_mode(member, ret_tls))
			return wrong(why, member,
				     "tls: expected \"required\", \"optional\" or \"off\"");
	}
	return 0;
}

/* A list of words → their places in the table, in the list's order, none twice. */
static int read_words(const config_setting_t *setting, const char *const *words, size_t n_words,
		      uint8_t *ids, unsigned *ret_n, struct conf_why *why)
{
	unsigned n = 0;

	if (!is_sequence(setting) || config_setting_length(setting) == 0)
		return wrong(why, setting, "%s: expected a list: ( \"…\", … )",
			     config_setting_name(setting));
	for (int i = 0; i < config_setting_length(setting); i++) {
		const config_setting_t *elem = config_setting_get_elem(setting, (unsigned)i);
		const char *word = config_setting_get_string(elem);
		size_t id = 0;

		while (id < n_words && (!word || !words[id] || strcmp(words[id], word) != 0))
			id++;
		if (id == n_words || memchr(ids, (int)id, n))
			return wrong(why, elem,
				     "%s: expected each of \"%s\" to \"%s\" at most once",
				     config_setting_name(setting), words[words[0] ? 0 : 1],
				     words[n_words - 1]);
		ids[n++] = (uint8_t)id;
	}
	*ret_n = n;
	return 0;
}

int conf_read_dhchap(const config_setting_t *setting, struct nvmet_auth_policy *policy,
		     struct conf_why *why)
{
	if (!config_setting_is_group(setting))
		return wrong(why, setting, "expected a group: { key = value; … }");
	for (int i = 0; i < config_setting_length(setting); i++) {
		const config_setting_t *member = config_setting_get_elem(setting, (unsigned)i);
		const char *name = config_setting_name(member);
		int err;

		if (strcmp(name, "hashes") == 0)
			err = read_words(member, hash_words, ARRAY_SIZE(hash_words), policy->hashes,
					 &policy->n_hashes, why);
		else if (strcmp(name, "groups") == 0)
			err = read_words(member, group_words, ARRAY_SIZE(group_words),
					 policy->groups, &policy->n_groups, why);
		else if (strcmp(name, "discovery") == 0)
			err = read_bool(member, &policy->discovery, why);
		else
			err = wrong(why, member, "%s: there is no such key here", name);
		if (err)
			return err;
	}
	return 0;
}
_Static_assert(sizeof(((struct nvmet_auth_policy *)0)->groups) == ARRAY_SIZE(group_words),
	       "room for each group once");
_Static_assert(sizeof(((struct nvmet_auth_policy *)0)->hashes) == ARRAY_SIZE(hash_words) - 1,
	       "room for each hash once");

/* --- Keys ---------------------------------------------------------------------------------------
 */

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
