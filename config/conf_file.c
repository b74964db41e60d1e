/* SPDX-License-Identifier: BSD-3-Clause */
/* The configuration file: libconfig's tree → struct conf, with one table per kind of group. */
#include <errno.h>
#include <libconfig.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/conf.h"
#include "config/conf_hosts.h"
#include "config/conf_numbers.h"
#include "config/conf_table.h"
#include "config/conf_text.h"
#include "pcie/pci.h"
#include "target/ctrl.h"
#include "target/passthru.h"
#include "target/queue.h"
#include "target/subsystem.h"
#include "util/bits.h"
#include "util/check.h"

/* The longest text that a field has room for. */
#define ROOM(type, field) (sizeof(((type *)0)->field) - 1)

/* --- Groups ----------------------------------------------------------------------------------- */

static int read_limits(const struct conf_reader *reader, const config_setting_t *setting,
		       void *base)
{
#define LIMIT(field) offsetof(struct nvmet_limits, field)
	static const struct conf_key keys[] = {
		{ "connections", CONF_UINT, LIMIT(connections), 1, 65536, NULL },
		{ "connections_per_host", CONF_UINT, LIMIT(connections_per_host), 1, 65536, NULL },
		{ "handshakes", CONF_UINT, LIMIT(handshakes), 1, 65536, NULL },
		{ "handshakes_per_host", CONF_UINT, LIMIT(handshakes_per_host), 1, 65536, NULL },
		{ "controllers", CONF_UINT, LIMIT(controllers), 1, 65000, NULL },
		{ "controllers_per_host", CONF_UINT, LIMIT(controllers_per_host), 1, 65000, NULL },
		{ "handshake_timeout", CONF_DURATION, LIMIT(handshake_timeout_ms), 100, 600000,
		  NULL },
		{ "discovery_timeout", CONF_DURATION, LIMIT(discovery_timeout_ms), 100, 600000,
		  NULL },
		{ "enable_timeout", CONF_DURATION, LIMIT(enable_timeout_ms), 100, 600000, NULL },
		{ "pdu_timeout", CONF_DURATION, LIMIT(pdu_timeout_ms), 100, 600000, NULL },
		{ "term_timeout", CONF_DURATION, LIMIT(term_timeout_ms), 100, 30000, NULL },
	};

	return conf_read_group(reader, setting, keys, ARRAY_SIZE(keys), base);
}

static int read_listen(const struct conf_reader *reader, const config_setting_t *setting,
		       void *base)
{
	struct conf *conf = reader->conf;

	(void)base;
	if (conf_need_list(reader, setting))
		return -EINVAL;
	for (int i = 0; i < config_setting_length(setting); i++) {
		const config_setting_t *elem = config_setting_get_elem(setting, (unsigned)i);
		enum nvmet_tls_mode tls;
		const char *text;
		int err;

		if (conf_read_port(reader, elem, &text, &tls))
			return -EINVAL;
		err = text ? conf_add_listen(conf, text, tls) : -EINVAL;
		if (err)
			return conf_fail(reader, elem, "listen: %s", conf_listen_error(err));
	}
	return 0;
}

static int read_worker_cpus(const struct conf_reader *reader, const config_setting_t *setting,
			    void *base)
{
	struct conf *conf = reader->conf;
	int n = config_setting_length(setting);

	(void)base;
	if (conf_need_list(reader, setting))
		return -EINVAL;
	if (n > CONF_MAX_WORKERS)
		return conf_fail(reader, setting, "worker_cpus: more than %u CPUs",
				 CONF_MAX_WORKERS);
	for (int i = 0; i < n; i++) {
		static const struct conf_key key = { "worker_cpus",   CONF_UINT, 0, 0,
						     CPU_SETSIZE - 1, NULL };

		if (conf_read_uint(reader, config_setting_get_elem(setting, (unsigned)i), &key,
				   &conf->worker_cpus[i]))
			return -EINVAL;
	}
	conf->n_worker_cpus = (unsigned)n;
	return 0;
}

static int read_tcp(const struct conf_reader *reader, const config_setting_t *setting, void *base)
{
#define TCP(field) offsetof(struct nvme_tcp_options, field)
	static const struct conf_key keys[] = {
		{ "congestion", CONF_TEXT, TCP(congestion), 0,
		  ROOM(struct nvme_tcp_options, congestion), NULL },
		{ "dscp", CONF_UINT, TCP(dscp), 0, 63, NULL },
		{ "priority", CONF_UINT, TCP(priority), 0, 6, NULL },
		{ "busy_poll_us", CONF_UINT, TCP(busy_poll_us), 0, 1000, NULL },
		{ "prefer_incoming_cpu", CONF_BOOL, TCP(prefer_incoming_cpu), 0, 0, NULL },
	};

	return conf_read_group(reader, setting, keys, ARRAY_SIZE(keys), base);
}

static int read_metrics(const struct conf_reader *reader, const config_setting_t *setting,
			void *base)
{
	const char *text = config_setting_get_string(setting);

	(void)base;
	if (!text || conf_set_metrics(reader->conf, text))
		return conf_fail(reader, setting, "metrics: %s", conf_listen_error(-EINVAL));
	return 0;
}

static int find_ssd(const struct conf *conf, const char *name)
{
	for (unsigned i = 0; i < conf->n_ssds; i++) {
		if (strcmp(conf->ssds[i].name, name) == 0)
			return (int)i;
	}
	return -1;
}

static bool is_there_already(const struct conf *conf, const char *spec)
{
	char bdf[PCI_BDF_SIZE], other[PCI_BDF_SIZE];

	if (pci_parse_bdf(spec, bdf))
		return false;
	for (unsigned i = 0; i < conf->n_ssds; i++) {
		if (pci_parse_bdf(conf->ssds[i].spec, other) == 0 && strcmp(bdf, other) == 0)
			return true;
	}
	return false;
}

static int read_ssd(const struct conf_reader *reader, const config_setting_t *setting)
{
#define SSD(field) offsetof(struct conf_ssd, field)
	static const struct conf_key keys[] = {
		{ "name", CONF_TEXT, SSD(name), 1, ROOM(struct conf_ssd, name), NULL },
		{ "spec", CONF_TEXT, SSD(spec), 1, ROOM(struct conf_ssd, spec), NULL },
		{ "max_queues", CONF_UINT, SSD(max_queues), 1, 1024, NULL },
		{ "command_timeout", CONF_DURATION, SSD(command_timeout_ms), 1000, 600000, NULL },
		{ "io_timeout", CONF_DURATION, SSD(io_timeout_ms), 200, 600000, NULL },
		{ "recovery_timeout", CONF_DURATION, SSD(recovery_timeout_ms), 1, 600000, NULL },
		{ "retry_pause", CONF_DURATION, SSD(retry_pause_ms), 1000, 600000, NULL },
		{ "optional", CONF_BOOL, SSD(optional), 0, 0, NULL },
	};
	struct conf *conf = reader->conf;
	struct conf_ssd ssd = { CONF_SSD_DEFAULTS };
	char why[256];

	if (conf->n_ssds == CONF_MAX_SSDS)
		return conf_fail(reader, setting, "more than %u SSDs", CONF_MAX_SSDS);
	if (conf_read_group(reader, setting, keys, ARRAY_SIZE(keys), &ssd) ||
	    conf_need(reader, setting, "name") || conf_need(reader, setting, "spec"))
		return -EINVAL;
	if (find_ssd(conf, ssd.name) >= 0)
		return conf_fail(reader, setting, "two SSDs are called \"%s\"", ssd.name);
	if (conf_check_spec(ssd.spec, why, sizeof(why)))
		return conf_fail(reader, config_setting_get_member(setting, "spec"), "spec: %s",
				 why);
	if (is_there_already(conf, ssd.spec))
		return conf_fail(reader, config_setting_get_member(setting, "spec"),
				 "spec: another SSD has this PCI address");
	conf->ssds[conf->n_ssds++] = ssd;
	return 0;
}

static int read_ssds(const struct conf_reader *reader, const config_setting_t *setting, void *base)
{
	(void)base;
	if (conf_need_list(reader, setting))
		return -EINVAL;
	for (int i = 0; i < config_setting_length(setting); i++) {
		if (read_ssd(reader, config_setting_get_elem(setting, (unsigned)i)))
			return -EINVAL;
	}
	return 0;
}

struct ns_text {
	struct conf_ns ns;
	char ssd[32];
};

static unsigned count_ssds(const struct conf_subsystem *subsys)
{
	uint64_t used = 0; /* bit set: an SSD that one of its namespaces is on */

	_Static_assert(CONF_MAX_SSDS <= 64, "one bit each");
	for (unsigned i = 0; i < subsys->n_ns; i++)
		used |= UINT64_C(1) << subsys->ns[i].ssd;
	return (unsigned)__builtin_popcountll(used);
}

/* Hosts refuse two namespaces of one subsystem that have the same identifiers. */
static int check_ns(const struct conf_reader *reader, const config_setting_t *setting,
		    const struct conf_subsystem *subsys, const struct conf_ns *ns)
{
	for (unsigned i = 0; i < subsys->n_ns; i++) {
		const struct conf_ns *other = &subsys->ns[i];

		if (other->nsid == ns->nsid)
			return conf_fail(reader, setting, "nsid %u is there twice", ns->nsid);
		if (other->ssd == ns->ssd && other->ssd_nsid == ns->ssd_nsid)
			return conf_fail(reader, setting, "nsid %u is this namespace already",
					 other->nsid);
	}
	return 0;
}

static int read_ns(const struct conf_reader *reader, const config_setting_t *setting,
		   struct conf_subsystem *subsys)
{
#define NS(field) offsetof(struct ns_text, field)
	static const struct conf_key keys[] = {
		{ "nsid", CONF_UINT, NS(ns.nsid), 1, NVMET_MAX_NSID, NULL },
		{ "ssd", CONF_TEXT, NS(ssd), 1, ROOM(struct ns_text, ssd), NULL },
		{ "ssd_nsid", CONF_UINT, NS(ns.ssd_nsid), 1, 0xfffffffe, NULL },
		{ "read_only", CONF_BOOL, NS(ns.read_only), 0, 0, NULL },
	};
	struct ns_text text = { .ns = { .ssd_nsid = 1 } };
	struct conf_ns *all;
	int ssd;

	if (conf_read_group(reader, setting, keys, ARRAY_SIZE(keys), &text) ||
	    conf_need(reader, setting, "ssd") || conf_need(reader, setting, "nsid"))
		return -EINVAL;
	ssd = find_ssd(reader->conf, text.ssd);
	if (ssd < 0)
		return conf_fail(reader, config_setting_get_member(setting, "ssd"),
				 "ssd: no SSD is called \"%s\" (ssds = … must come first)",
				 text.ssd);
	text.ns.ssd = (unsigned)ssd;
	if (check_ns(reader, setting, subsys, &text.ns))
		return -EINVAL;
	all = realloc(subsys->ns, (subsys->n_ns + 1) * sizeof(all[0]));
	if (!all)
		return conf_fail(reader, setting, "out of memory");
	subsys->ns = all;
	all[subsys->n_ns++] = text.ns;
	if (count_ssds(subsys) > NVMET_MAX_SSDS)
		return conf_fail(reader, setting, "more than %u SSDs in one subsystem",
				 NVMET_MAX_SSDS);
	return 0;
}

static int read_namespaces(const struct conf_reader *reader, const config_setting_t *setting,
			   void *base)
{
	if (conf_need_list(reader, setting))
		return -EINVAL;
	for (int i = 0; i < config_setting_length(setting); i++) {
		if (read_ns(reader, config_setting_get_elem(setting, (unsigned)i), base))
			return -EINVAL;
	}
	return 0;
}

static int read_hosts(const struct conf_reader *reader, const config_setting_t *setting, void *base)
{
	return conf_read_hosts(reader, setting, base, base != &reader->conf->hosts);
}

static int read_allow_commands(const struct conf_reader *reader, const config_setting_t *setting,
			       void *base)
{
	struct conf_subsystem *subsys = base;

	if (conf_need_list(reader, setting))
		return -EINVAL;
	for (int i = 0; i < config_setting_length(setting); i++) {
		const config_setting_t *elem = config_setting_get_elem(setting, (unsigned)i);
		const char *name = config_setting_get_string(elem);
		uint32_t permission = name ? nvmet_permission_by_name(name) : 0;

		if (!permission)
			return conf_fail(
				reader, elem,
				"allow_commands: expected \"format\", \"sanitize\", "
				"\"firmware\", \"security\", \"self-test\", \"telemetry\" or "
				"\"vendor\"");
		subsys->permissions |= permission;
	}
	return 0;
}

/* What a host is to see must be there. */
static int check_visible(const struct conf_reader *reader, const config_setting_t *hosts,
			 const struct conf_subsystem *subsys)
{
	for (unsigned i = 0; i < subsys->hosts.n; i++) {
		struct nvmet_access access = subsys->hosts.host[i].access;

		for (unsigned n = 0; n < subsys->n_ns; n++)
			bits_clear(access.visible, subsys->ns[n].nsid);
		for (unsigned nsid = 1; nsid <= NVMET_MAX_NSID; nsid++) {
			if (bits_test(access.visible, nsid))
				return conf_fail(reader, config_setting_get_elem(hosts, i),
						 "namespaces: the subsystem has no nsid %u", nsid);
		}
	}
	return 0;
}

/* Whether an earlier subsystem has the name of this one. */
static bool is_called(const struct conf *conf, const struct conf_subsystem *subsys)
{
	const struct conf_subsystem *other = conf->subsystems;

	while (other < subsys && strcmp(other->nqn, subsys->nqn) != 0)
		other++;
	return other < subsys;
}

static int read_subsystem(const struct conf_reader *reader, const config_setting_t *setting)
{
#define SUBSYS(field) offsetof(struct conf_subsystem, field)
	static const struct conf_key keys[] = {
		{ "nqn", CONF_TEXT, SUBSYS(nqn), 5, ROOM(struct conf_subsystem, nqn), NULL },
		{ "serial", CONF_ASCII, SUBSYS(serial), 1, ROOM(struct conf_subsystem, serial),
		  NULL },
		{ "model", CONF_ASCII, SUBSYS(model), 1, ROOM(struct conf_subsystem, model), NULL },
		{ "allow_any_host", CONF_BOOL, SUBSYS(allow_any_host), 0, 0, NULL },
		{ "max_queues", CONF_UINT, SUBSYS(max_queues), 1, NVMET_MAX_QUEUES, NULL },
		{ "hosts", CONF_GROUP, SUBSYS(hosts), 0, 0, read_hosts },
		{ "allow_commands", CONF_GROUP, 0, 0, 0, read_allow_commands },
		{ "namespaces", CONF_GROUP, 0, 0, 0, read_namespaces },
	};
	struct conf *conf = reader->conf;
	struct conf_subsystem *subsys = &conf->subsystems[conf->n_subsystems];

	if (conf->n_subsystems == CONF_MAX_SUBSYSTEMS)
		return conf_fail(reader, setting, "more than %u subsystems", CONF_MAX_SUBSYSTEMS);
	conf->n_subsystems++;
	*subsys = (struct conf_subsystem){ .max_queues = NVMET_MAX_QUEUES, .all_of_ssd = -1 };
	if (conf_read_group(reader, setting, keys, ARRAY_SIZE(keys), subsys) ||
	    conf_need(reader, setting, "nqn") || conf_need(reader, setting, "namespaces"))
		return -EINVAL;
	if (!nvmet_nqn_valid(subsys->nqn) || strcmp(subsys->nqn, NVMF_DISCOVERY_NQN) == 0)
		return conf_fail(
			reader, config_setting_get_member(setting, "nqn"),
			"nqn: expected \"nqn.…\", without spaces, and not the discovery NQN");
	if (is_called(conf, subsys))
		return conf_fail(reader, config_setting_get_member(setting, "nqn"),
				 "two subsystems are called %s", subsys->nqn);
	if (subsys->allow_any_host == (subsys->hosts.n > 0))
		return conf_fail(reader, setting,
				 "expected either hosts = ( … ) or allow_any_host = true");
	if (!subsys->n_ns)
		return conf_fail(
			reader, config_setting_get_member(setting, "namespaces"),
			"namespaces: expected at least one: ( { nsid = 1; ssd = \"…\"; } )");
	return check_visible(reader, config_setting_get_member(setting, "hosts"), subsys);
}

static int read_subsystems(const struct conf_reader *reader, const config_setting_t *setting,
			   void *base)
{
	(void)base;
	if (conf_need_list(reader, setting))
		return -EINVAL;
	for (int i = 0; i < config_setting_length(setting); i++) {
		if (read_subsystem(reader, config_setting_get_elem(setting, (unsigned)i)))
			return -EINVAL;
	}
	return 0;
}

#define CONF(field) offsetof(struct conf, field)
static const struct conf_key top_keys[] = {
	{ "workers", CONF_UINT, CONF(workers), 1, CONF_MAX_WORKERS, NULL },
	{ "worker_cpus", CONF_GROUP, 0, 0, 0, read_worker_cpus },
	{ "tcp", CONF_GROUP, CONF(tcp), 0, 0, read_tcp },
	{ "poll_us", CONF_UINT, CONF(poll_us), 0, CONF_MAX_POLL_US, NULL },
	{ "user", CONF_TEXT, CONF(user), 1, ROOM(struct conf, user), NULL },
	{ "control", CONF_TEXT, CONF(control), 1, ROOM(struct conf, control), NULL },
	{ "metrics", CONF_GROUP, 0, 0, 0, read_metrics },
	{ "log_level", CONF_LEVEL, CONF(log_level), 0, 0, NULL },
	{ "dma_memory", CONF_SIZE, CONF(dma_memory), CONF_MIN_DMA_MEMORY, CONF_MAX_DMA_MEMORY,
	  NULL },
	{ "max_transfer", CONF_SIZE, CONF(max_transfer), 8192, 1 << 20, NULL },
	{ "hosts", CONF_GROUP, CONF(hosts), 0, 0, read_hosts },
	{ "dhchap", CONF_GROUP, CONF(auth_policy), 0, 0, conf_read_dhchap },
	{ "limits", CONF_GROUP, CONF(limits), 0, 0, read_limits },
	{ "listen", CONF_GROUP, 0, 0, 0, read_listen },
	{ "ssds", CONF_GROUP, 0, 0, 0, read_ssds },
	{ "subsystems", CONF_GROUP, 0, 0, 0, read_subsystems },
};

/* What to point at: a key that is not written may be missing anywhere. */
static const config_setting_t *culprit(const config_t *config, const char *key)
{
	const config_setting_t *setting = key ? config_lookup(config, key) : NULL;

	return setting ? setting : config_root_setting(config);
}

static int read_tree(const struct conf_reader *reader, const char *text, config_t *config)
{
	const config_setting_t *root = config_root_setting(config);
	const char *key;
	char why[256];
	int err = conf_check_numbers(reader, text, root);

	if (!err)
		err = conf_read_group(reader, root, top_keys, ARRAY_SIZE(top_keys), reader->conf);
	if (err)
		return err;
	err = conf_check(reader->conf, &key, why, sizeof(why));
	return err ? conf_fail(reader, culprit(config, key), "%s", why) : 0;
}

int conf_read(struct conf *conf, const char *path, char *err, size_t err_size)
{
	const struct conf_reader reader = { conf, path, err, err_size };
	config_t config;
	char *text;
	int result = conf_text_read(&reader, &text);

	if (result)
		return result;
	config_init(&config);
	if (config_read_string(&config, text)) {
		result = read_tree(&reader, text, &config);
	} else {
		const char *file = config_error_file(&config);

		snprintf(err, err_size, "%s:%d: %s", file ? file : path, config_error_line(&config),
			 config_error_text(&config));
		result = -EINVAL;
	}
	config_destroy(&config);
	free(text);
	return result;
}
