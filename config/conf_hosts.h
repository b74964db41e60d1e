/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Hosts and what proves them, as the configuration file has them (libconfig's tree → struct
 * conf_host). conf_read_… give 0, or -EINVAL with the reason in the reader's err (conf_table.h).
 */
#ifndef NVMETD_CONFIG_CONF_HOSTS_H
#define NVMETD_CONFIG_CONF_HOSTS_H

#include <libconfig.h>
#include <stddef.h>

#include "config/conf.h"
#include "config/conf_table.h"

struct keyring;

/* ( "nqn.…", { nqn = "nqn.…"; tls_key = "FILE"; … }, … ), appended to `list`. Of a subsystem's
 * hosts it may also say what they may do there. */
int conf_read_hosts(const struct conf_reader *reader, const config_setting_t *setting,
		    struct conf_hosts *list, bool of_subsystem);
/* "192.0.2.1:4420", or { address = "192.0.2.1:4420"; tls = "required"; }. *ret_address lives as
 * long as the setting, and is NULL where there is none. */
int conf_read_port(const struct conf_reader *reader, const config_setting_t *setting,
		   const char **ret_address, enum nvmet_tls_mode *ret_tls);
/* dhchap = { hashes = ( … ); groups = ( … ); }; `field`: a struct nvmet_auth_policy. */
int conf_read_dhchap(const struct conf_reader *reader, const config_setting_t *setting,
		     void *field);

/* Appends a host without keys. 0, -EINVAL (no NQN) or -ENOMEM. */
int conf_hosts_add(struct conf_hosts *list, const char *nqn);
void conf_hosts_fini(struct conf_hosts *list);

/* Opens all key files that the configuration names. 0 or -errno (logged). */
int conf_load_keys(const struct conf *conf, struct keyring **ret_keys);

#endif
