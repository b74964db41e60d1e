/* SPDX-License-Identifier: BSD-3-Clause */
/* Defaults and the checks that files and the command line share; see conf.h. */
#include "config/conf.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/conf_hosts.h"
#include "pcie/emul/emul.h"
#include "pcie/pci.h"
#include "security/dhchap.h"
#include "target/ctrl.h"
#include "target/subsystem.h"
#include "target/worker.h"
#include "util/num.h"

void conf_init(struct conf *conf)
{
	*conf = (struct conf){
		.workers = 1,
		.poll_us = 50,
		.log_level = LOG_LEVEL_INFO,
		.dma_memory = 128u << 20,
		.max_transfer = 1u << 20,
		.limits = {
			.connections = 4096,
			.connections_per_host = 1024,
			.handshakes = 256,
			.handshakes_per_host = 64,
			.controllers = 512,
			.controllers_per_host = 64,
			.handshake_timeout_ms = 10000,
			.enable_timeout_ms = 60000,
			.discovery_timeout_ms = 120000,
			.pdu_timeout_ms = 30000,
			.term_timeout_ms = 10000,
		},
		.auth_policy = {
			.hashes = { HASH_SHA256, HASH_SHA384, HASH_SHA512 },
			.n_hashes = 3,
			.groups = { DH_FFDHE2048, DH_FFDHE3072, DH_FFDHE4096, DH_FFDHE6144,
				    DH_FFDHE8192, DH_NULL },
			.n_groups = 6,
		},
	};
}

void conf_fini(struct conf *conf)
{
	for (unsigned i = 0; i < conf->n_subsystems; i++) {
		struct conf_subsystem *subsys = &conf->subsystems[i];

		conf_hosts_fini(&subsys->hosts);
		free(subsys->ns);
	}
	conf_hosts_fini(&conf->hosts);
	conf->n_subsystems = 0;
}

/* A link-local address may name its interface behind a %. */
static bool is_address(const char *text, bool v6)
{
	const char *scope = v6 ? strchr(text, '%') : NULL;
	char plain[INET6_ADDRSTRLEN + 1];
	uint8_t binary[16];
	size_t len = scope ? (size_t)(scope - text) : strlen(text);

	if (len >= sizeof(plain) || (scope && !scope[1]))
		return false;
	memcpy(plain, text, len);
	plain[len] = '\0';
	return inet_pton(v6 ? AF_INET6 : AF_INET, plain, binary) == 1;
}

static int parse_listen(const char *text, struct conf_listen *listen)
{
	const char *colon = strrchr(text, ':');
	const char *addr = text;
	size_t len;
	uint64_t port;
	bool v6 = *text == '[';

	if (!colon || num_parse_u64(colon + 1, 0, 65535, &port))
		return -EINVAL;
	len = (size_t)(colon - text);
	if (v6) {
		if (len < 3 || text[len - 1] != ']')
			return -EINVAL;
		addr++;
		len -= 2;
	}
	if (len == 0 || len >= sizeof(listen->addr))
		return -EINVAL;
	memcpy(listen->addr, addr, len);
	listen->addr[len] = '\0';
	snprintf(listen->port, sizeof(listen->port), "%u", (unsigned)port);
	return is_address(listen->addr, v6) ? 0 : -EINVAL;
}

int conf_add_listen(struct conf *conf, const char *text, enum nvmet_tls_mode tls)
{
	struct conf_listen listen;

	if (parse_listen(text, &listen))
		return -EINVAL;
	for (unsigned i = 0; i < conf->n_listen; i++) {
		if (strcmp(conf->listen[i].addr, listen.addr) == 0 &&
		    strcmp(conf->listen[i].port, listen.port) == 0 && strcmp(listen.port, "0") != 0)
			return -EEXIST;
	}
	if (conf->n_listen == CONF_MAX_LISTEN)
		return -ENOSPC;
	listen.tls = tls;
	conf->listen[conf->n_listen++] = listen;
	return 0;
}

int conf_set_metrics(struct conf *conf, const char *text)
{
	return parse_listen(text, &conf->metrics);
}

const char *conf_listen_error(int err)
{
	switch (err) {
	case -EEXIST:
		return "the address is there twice";
	case -ENOSPC:
		return "there are too many addresses";
	default:
		return "expected \"192.0.2.1:4420\" or \"[2001:db8::1]:4420\"";
	}
}

int conf_check_spec(const char *spec, char *err, size_t err_size)
{
	struct emul_options options;
	char bdf[PCI_BDF_SIZE];

	if (strncmp(spec, "emulated:", strlen("emulated:")) == 0)
		return emul_options_parse(spec, &options, err, err_size);
	if (pci_parse_bdf(spec, bdf) == 0)
		return 0;
	snprintf(err, err_size,
		 "\"%s\" names no SSD: expected a PCI address such as 0000:01:00.0, or "
		 "emulated:size=1G",
		 spec);
	return -EINVAL;
}

/* The main thread's quarter and each worker's share must hold a few of the largest transfers. */
static int check_memory(const struct conf *conf, const char **ret_key, char *err, size_t err_size)
{
	size_t need = (conf->workers + 1) * WORKER_POOL_MIN;

	if (!num_is_pow2(conf->max_transfer)) {
		*ret_key = "max_transfer";
		snprintf(err, err_size,
			 "max_transfer: expected a power of two from \"8K\" to \"1M\"");
		return -EINVAL;
	}
	if (conf->dma_memory < need) {
		*ret_key = "workers"; /* for one, any that may be written is enough */
		snprintf(err, err_size, "dma_memory is too small for %u workers: at least %zuM",
			 conf->workers, need >> 20);
		return -EINVAL;
	}
	return 0;
}

/* A key for TLS, or one that can lead to it (secure channel concatenation). */
static bool has_tls_key_in(const struct conf_hosts *list)
{
	for (unsigned i = 0; i < list->n; i++) {
		if (list->host[i].key_files[KEY_USE_TLS] ||
		    list->host[i].key_files[KEY_USE_DHCHAP_HOST])
			return true;
	}
	return false;
}

static bool has_tls_key(const struct conf *conf)
{
	bool found = has_tls_key_in(&conf->hosts);

	for (unsigned i = 0; i < conf->n_subsystems; i++)
		found |= has_tls_key_in(&conf->subsystems[i].hosts);
	return found;
}

int conf_check(const struct conf *conf, const char **ret_key, char *err, size_t err_size)
{
	*ret_key = NULL;
	if (!conf->n_ssds) {
		snprintf(err, err_size, "no SSD is named: ssds = ( … ), or --ssd");
		return -EINVAL;
	}
	if (!conf->n_listen) {
		snprintf(err, err_size, "no address to listen on: listen = ( … ), or --listen");
		return -EINVAL;
	}
	for (unsigned i = 0; i < conf->n_listen; i++) {
		if (conf->listen[i].tls == NVMET_TLS_REQUIRED && !has_tls_key(conf)) {
			*ret_key = "listen";
			snprintf(err, err_size,
				 "a port requires TLS, but no host has a tls_key (or a dhchap_key, "
				 "which can generate one)");
			return -EINVAL;
		}
	}
	if (!conf->n_subsystems) {
		snprintf(err, err_size,
			 "nothing is exported: no subsystem is named: subsystems = ( … )");
		return -EINVAL;
	}
	if (conf->n_worker_cpus && conf->n_worker_cpus != conf->workers) {
		*ret_key = "worker_cpus";
		snprintf(err, err_size, "worker_cpus names %u CPUs for %u workers",
			 conf->n_worker_cpus, conf->workers);
		return -EINVAL;
	}
	return check_memory(conf, ret_key, err, err_size);
}
