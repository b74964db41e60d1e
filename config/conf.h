/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The configuration as plain data, from a file (nvmet.conf(5)) or from the command line
 * (nvmetd(8)). Everything in it is checked: what follows (apply.c) fails only for reasons of the
 * machine.
 */
#ifndef NVMETD_CONFIG_CONF_H
#define NVMETD_CONFIG_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "security/keyring.h"
#include "target/auth.h"
#include "target/nvmf.h"
#include "target/subsystem.h"
#include "target/target.h"
#include "transport/tcp.h"
#include "util/log.h"

#define CONF_MAX_WORKERS    64
#define CONF_MAX_LISTEN     32
#define CONF_MAX_SSDS       64
#define CONF_MAX_SUBSYSTEMS 64
#define CONF_MAX_POLL_US    1000
#define CONF_MIN_DMA_MEMORY (UINT64_C(16) << 20) /* bytes */
#define CONF_MAX_DMA_MEMORY (UINT64_C(1) << 40)

struct conf_listen {
	char addr[48]; /* numeric, without brackets */
	char port[8];
	enum nvmet_tls_mode tls;
};

struct conf_ssd {
	char name[32];
	char spec[384]; /* PCI address or emulated:… */
	unsigned max_queues;
	unsigned command_timeout_ms;  /* admin commands */
	unsigned io_timeout_ms;       /* I/O commands */
	unsigned recovery_timeout_ms; /* how long commands wait for an SSD that is away */
	unsigned retry_pause_ms;      /* before the first try of an SSD that was given up */
	bool optional;                /* the daemon starts without it, and waits for it */
};

#define CONF_SSD_DEFAULTS                                                       \
	.max_queues = 128, .command_timeout_ms = 10000, .io_timeout_ms = 10000, \
	.recovery_timeout_ms = 20000, .retry_pause_ms = 10000

struct conf_ns {
	uint32_t nsid;
	unsigned ssd; /* index in conf.ssds */
	uint32_t ssd_nsid;
	bool read_only;
};

/* A host that may come in, and the files that its keys are in. */
struct conf_host {
	char nqn[NVMF_NQN_MAX + 1];
	char *key_files[KEY_N_USES]; /* by enum key_use; NULL: none */
	struct nvmet_access access;  /* of a subsystem's hosts */
};

struct conf_hosts {
	struct conf_host *host;
	unsigned n;
};

struct conf_subsystem {
	char nqn[NVMF_NQN_MAX + 1]; /* empty: derived from the first SSD's serial number */
	char serial[21];            /* empty: derived from the NQN */
	char model[41];
	bool allow_any_host;
	unsigned max_queues;
	uint32_t permissions; /* enum nvmet_permission */
	struct conf_hosts hosts;
	struct conf_ns *ns; /* none: all namespaces of all_of_ssd, with the SSD's own NSIDs */
	unsigned n_ns;
	int all_of_ssd; /* -1: only what `ns` names */
};

struct conf {
	unsigned workers;
	unsigned worker_cpus[CONF_MAX_WORKERS];
	unsigned n_worker_cpus; /* 0: the scheduler's choice; otherwise `workers` */
	struct nvme_tcp_options tcp;
	unsigned poll_us;  /* longest look before a worker sleeps; 0: none */
	char control[108]; /* path of the control socket; empty: none */
	char user[33];     /* to become once everything is open; empty: nobody else */
	enum log_level log_level;
	struct conf_listen metrics; /* addr empty: none */
	size_t dma_memory;          /* bytes */
	size_t max_transfer;        /* bytes */
	struct nvmet_limits limits;
	struct nvmet_auth_policy auth_policy;
	struct conf_hosts hosts; /* keys of hosts, at every subsystem that names none */
	struct conf_listen listen[CONF_MAX_LISTEN];
	unsigned n_listen;
	struct conf_ssd ssds[CONF_MAX_SSDS];
	unsigned n_ssds;
	struct conf_subsystem subsystems[CONF_MAX_SUBSYSTEMS];
	unsigned n_subsystems;
};

/* What a daemon without any configuration would have. */
void conf_init(struct conf *conf);
void conf_fini(struct conf *conf);

/*
 * Reads a file. 0, or -EINVAL / -errno with one line in err: "file:line: what is wrong: what was
 * expected".
 */
int conf_read(struct conf *conf, const char *path, char *err, size_t err_size);

/* Adds "127.0.0.1:4420" or "[::1]:4420". 0, -EINVAL, -EEXIST (port 0 may be there twice) or
 * -ENOSPC. */
int conf_add_listen(struct conf *conf, const char *text, enum nvmet_tls_mode tls);
/* The address of the metrics endpoint. 0 or -EINVAL. */
int conf_set_metrics(struct conf *conf, const char *text);
/* What to say of an error of either. */
const char *conf_listen_error(int err);
/* A PCI address or a well-formed emulated:… . 0 or -EINVAL with the reason in err. */
int conf_check_spec(const char *spec, char *err, size_t err_size);
/* Rules across keys. 0 or -EINVAL with the reason in err, and the key that it is about, of the
 * outermost ones, or NULL. */
int conf_check(const struct conf *conf, const char **ret_key, char *err, size_t err_size);

#endif
