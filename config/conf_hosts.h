/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Hosts and what proves them, as the configuration file has them (libconfig's tree → struct
 * conf_host). Each function gives 0, or -EINVAL with the reason in `why` and the setting that is
 * wrong in *ret_at.
 */
#ifndef NVMETD_CONFIG_CONF_HOSTS_H
#define NVMETD_CONFIG_CONF_HOSTS_H

#include <libconfig.h>
#include <stddef.h>

#include "config/conf.h"

struct keyring;

struct conf_why {
	char text[256];
	const config_setting_t *at;
};

/* ( "nqn.…", { nqn = "nqn.…"; tls_key = "FILE"; … }, … ), appended to `list`. Of a subsystem's
 * hosts it may also say what they may do there. */
int conf_read_hosts(const config_setting_t *setting, struct conf_hosts *list, bool of_subsystem,
		    struct conf_why *why);
/* "192.0.2.1:4420", or { address = "192.0.2.1:4420"; tls = "required"; } */
int conf_read_port(const config_setting_t *setting, const char **ret_address,
		   enum nvmet_tls_mode *ret_tls, struct conf_why *why);
/* dhchap = { hashes = ( … ); groups = ( … ); } */
int conf_read_dhchap(const config_setting_t *setting, struct nvmet_auth_policy *policy,
		     struct conf_why *why);

/* Appends a host without keys. 0, -EINVAL (no NQN) or -ENOMEM. */
int conf_hosts_add(struct conf_hosts *list, const char *nqn);
void conf_hosts_fini(struct conf_hosts *list);

/* Opens all key files that the configuration names. 0 or -errno (logged). */
int conf_load_keys(const struct conf *conf, struct keyring **ret_keys);

#endif
