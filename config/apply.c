/* SPDX-License-Identifier: BSD-3-Clause */
/* struct conf → live objects, and their end; see daemon.h. */
#include <errno.h>
#include <event2/event.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/control.h"
#include "config/daemon.h"
#include "config/http.h"
#include "config/metrics.h"
#include "pcie/ctrl.h"
#include "pcie/device.h"
#include "pcie/dma.h"
#include "pcie/emul/emul.h"
#include "pcie/numa.h"
#include "pcie/vfio.h"
#include "security/hash.h"
#include "security/sandbox.h"
#include "target/aen.h"
#include "target/arrival.h"
#include "target/ssd.h"
#include "target/subsystem.h"
#include "target/worker.h"
#include "transport/tcp.h"
#include "util/clock.h"
#include "util/log.h"
#include "util/num.h"

#define LOOK_MAX_S 60u /* between looks for an SSD that cannot be used when it is there */

/* --- Memory and workers ----------------------------------------------------------------------- */

/* The arena is populated at once: more than there is would have the kernel kill somebody. */
static int check_fits(size_t bytes)
{
	uint64_t have = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);

	if (bytes < have)
		return 0;
	log_err("dma_memory is %zuM, but the machine has only %lluM", bytes >> 20,
		(unsigned long long)have >> 20);
	return -ENOMEM;
}

/* Each with so many bytes of DMA memory for payload. */
static int make_workers(struct daemon *daemon, size_t pool_bytes)
{
	const struct conf *conf = daemon->conf;

	daemon->workers = calloc(conf->workers, sizeof(daemon->workers[0]));
	if (!daemon->workers)
		return -ENOMEM;
	for (; daemon->n_workers < conf->workers; daemon->n_workers++) {
		int err = worker_init(&daemon->workers[daemon->n_workers], daemon->n_workers,
				      daemon->arena, pool_bytes);

		if (err) {
			log_err("worker %u cannot be set up: %s%s", daemon->n_workers,
				strerror(-err),
				err == -EMFILE ? " (ulimit -Hn, LimitNOFILE=)" : "");
			return err;
		}
		loop_set_poll(&daemon->workers[daemon->n_workers].loop, conf->poll_us);
	}
	return 0;
}

static int make_target(struct daemon *daemon)
{
	const struct conf *conf = daemon->conf;
	int err = nvmet_target_init(&daemon->target, &daemon->loop, daemon->workers,
				    daemon->n_workers);

	if (err)
		return err;
	daemon->target_made = true;
	daemon->target.limits = conf->limits;
	daemon->target.auth_policy = conf->auth_policy;
	daemon->target.keys = daemon->keys;
	daemon->target.max_transfer = (uint32_t)conf->max_transfer;
	daemon->target.pool = daemon->pool;
	return 0;
}

/* A quarter for rings, PRP lists and admin data; the rest for the workers' payload, evenly. */
int apply_memory(struct daemon *daemon)
{
	const struct conf *conf = daemon->conf;
	size_t main_bytes = conf->dma_memory / 4 / DMA_BLOCK_SIZE * DMA_BLOCK_SIZE;
	size_t worker_bytes =
		(conf->dma_memory - main_bytes) / conf->workers / DMA_BLOCK_SIZE * DMA_BLOCK_SIZE;
	int err = check_fits(conf->dma_memory);

	if (!err)
		err = dma_arena_new(conf->dma_memory, &daemon->arena);
	if (!err)
		err = dma_pool_new(daemon->arena, main_bytes, &daemon->pool);
	if (!err)
		err = make_workers(daemon, worker_bytes);
	if (!err)
		err = make_target(daemon);
	return err;
}

/* --- SSDs ------------------------------------------------------------------------------------- */

static bool is_emulated(const struct daemon_ssd *ssd)
{
	return strncmp(ssd->conf->spec, "emulated:", strlen("emulated:")) == 0;
}

static int emul_options(const struct daemon_ssd *ssd, struct emul_options *ret)
{
	char why[256];

	if (emul_options_parse(ssd->conf->spec, ret, why, sizeof(why))) {
		log_err("ssd %s: %s", ssd->conf->name, why);
		return -EINVAL;
	}
	ret->at_once = ssd->daemon->state != DAEMON_STARTING; /* hosts wait for this thread */
	return 0;
}

static int open_device(struct daemon_ssd *ssd)
{
	struct emul_options options;
	int err;

	if (!is_emulated(ssd))
		return vfio_device_open(ssd->conf->spec, &ssd->dev);
	err = emul_options(ssd, &options);
	return err ? err : emul_device_open(&options, &ssd->dev);
}

/* Whether to open it is worth trying: it answers under its address and vfio-pci has it, or its file
 * is there, which is made at the start only. */
static bool device_present(const struct daemon_ssd *ssd)
{
	struct emul_options options;

	if (!is_emulated(ssd))
		return vfio_device_present(ssd->conf->spec);
	return emul_options(ssd, &options) == 0 && emul_device_present(&options);
}

static void close_ssd(struct daemon_ssd *ssd)
{
	if (ssd->mapped)
		dma_arena_unmap(ssd->daemon->arena, ssd->dev);
	ssd->mapped = false;
	if (ssd->dev)
		ssd->dev->ops->close(ssd->dev);
	ssd->dev = NULL;
}

/* With what is in the way in the log. */
static int open_ssd(struct daemon_ssd *ssd)
{
	const char *step = "cannot be opened";
	int err = open_device(ssd);

	if (!err) {
		step = "DMA memory cannot be mapped";
		err = dma_arena_map(ssd->daemon->arena, ssd->dev);
		ssd->mapped = !err;
	}
	if (err) {
		log_err("ssd %s (%s): %s: %s", ssd->conf->name, ssd->conf->spec, step,
			strerror(-err));
		close_ssd(ssd);
	}
	return err;
}

int apply_open_ssds(struct daemon *daemon)
{
	for (unsigned i = 0; i < daemon->conf->n_ssds; i++) {
		struct daemon_ssd *ssd = &daemon->ssds[i];
		int err;

		ssd->daemon = daemon;
		ssd->conf = &daemon->conf->ssds[i];
		ssd->numa_node = numa_node_of(ssd->conf->spec);
		daemon->n_ssds = i + 1;
		err = open_ssd(ssd);
		if (err && !ssd->conf->optional)
			return err;
	}
	return 0;
}

/* In vain: it was there, and could not be used. */
static void look_again(struct daemon_ssd *ssd, bool in_vain)
{
	struct timeval pause = { 0 };

	ssd->look_s = in_vain && ssd->look_s ? num_min(2 * ssd->look_s, LOOK_MAX_S) : 1;
	pause.tv_sec = ssd->look_s;
	evtimer_add(ssd->look_timer, &pause);
}

/* It is bound and can be opened, and no more: its registers read all ones. */
static bool came_to_nothing(const struct daemon_ssd *ssd)
{
	return ssd->taken_up_ns && clock_now_ns() - ssd->taken_up_ns < LOOK_MAX_S * NSEC_PER_SEC;
}

static void on_look(evutil_socket_t fd, short what, void *arg)
{
	struct daemon_ssd *ssd = arg;
	bool forbidden;
	int err;

	(void)fd;
	(void)what;
	if (ssd->daemon->state == DAEMON_STOPPING)
		return;
	if (!device_present(ssd)) {
		look_again(ssd, false);
		return;
	}
	err = open_ssd(ssd);
	if (!err) {
		ssd->taken_up_ns = clock_now_ns();
		ssd->numa_node = numa_node_of(ssd->conf->spec);
		nvme_ctrl_take_up(ssd->ctrl, ssd->dev);
		return;
	}
	forbidden = (err == -EACCES || err == -EPERM) && ssd->daemon->state == DAEMON_LIVE;
	log_warn("ssd %s: it is there, but cannot be opened yet%s", ssd->conf->name,
		 forbidden ? ", by the user that nvmetd is: what takes more is open to it at its "
			     "start only, if it is started as root"
			   : "");
	look_again(ssd, true);
}

void apply_look_for(struct daemon_ssd *ssd)
{
	if (!ssd->look_timer)
		ssd->look_timer = evtimer_new(ssd->daemon->loop.base, on_look, ssd);
	if (ssd->look_timer)
		look_again(ssd, came_to_nothing(ssd));
	else
		log_err("ssd %s: no memory to look for its return", ssd->conf->name);
}

int apply_look_now(struct daemon_ssd *ssd)
{
	if (!ssd->look_timer || !evtimer_pending(ssd->look_timer, NULL))
		return -ENODEV;
	evtimer_del(ssd->look_timer);
	ssd->look_s = 0;
	event_active(ssd->look_timer, EV_TIMEOUT, 0);
	return 0;
}

void apply_ssd_absent(struct nvme_ctrl *ctrl, void *arg)
{
	struct daemon_ssd *ssd = arg;

	(void)ctrl;
	close_ssd(ssd);
	log_warn("ssd %s (%s): given back; taken up again when it is back, bound to vfio-pci",
		 ssd->conf->name, ssd->conf->spec);
	apply_look_for(ssd);
}

/* --- Exports ---------------------------------------------------------------------------------- */

/* A name for the one subsystem of a daemon without a file: it follows from the SSD. */
static void derive_nqn(const struct daemon_ssd *ssd, char *nqn, size_t size)
{
	const struct nvme_id_ctrl *id = &nvme_ctrl_info(ssd->ctrl)->id;
	size_t len = strnlen(id->sn, sizeof(id->sn));
	char serial[sizeof(id->sn) + 1] = "";

	for (size_t i = 0, out = 0; i < len; i++) {
		char c = id->sn[i];

		if (c > 0x20 && c < 0x7f)
			serial[out++] = c;
	}
	snprintf(nqn, size, "nqn.2026-11.io.nvmetd:%s", serial[0] ? serial : "ssd");
}

static int export_ns(struct nvmet_subsystem *subsys, uint32_t nsid, struct daemon_ssd *ssd,
		     uint32_t ssd_nsid, bool read_only)
{
	struct nvme_ns *ns = nvme_ctrl_ns_by_id(ssd->ctrl, ssd_nsid);
	int err = ns ? nvmet_subsystem_add_ns(subsys, nsid, ssd->ssd, ns) : -ENOENT;

	if (!err) {
		subsys->ns[nsid]->read_only = read_only;
		log_info("%s: namespace %u is namespace %u of %s (%llu blocks of %u bytes%s%s)",
			 subsys->nqn, nsid, ssd_nsid, nvme_ctrl_name(ssd->ctrl),
			 (unsigned long long)ns->nsze, 1u << ns->lba_shift,
			 nvmet_format_note(&subsys->ns[nsid]->format),
			 read_only ? ", read-only" : "");
		return 0;
	}
	log_err("%s: namespace %u of ssd %s cannot be namespace %u: %s", subsys->nqn, ssd_nsid,
		ssd->conf->name, nsid,
		err == -ENOENT    ? "the SSD has no such namespace"
		: err == -ENOTSUP ? "its format is not supported"
				  : strerror(-err));
	return err;
}

static int export_all(struct nvmet_subsystem *subsys, struct daemon_ssd *ssd)
{
	unsigned exported = 0;

	subsys->all_of = ssd->ssd;
	for (unsigned i = 0; i < nvme_ctrl_n_ns(ssd->ctrl); i++) {
		uint32_t nsid = nvme_ctrl_ns(ssd->ctrl, i)->nsid;

		if (export_ns(subsys, nsid, ssd, nsid, false) == 0)
			exported++;
	}
	if (!exported)
		log_err("%s: no namespace of %s can be exported", subsys->nqn,
			nvme_ctrl_name(ssd->ctrl));
	return exported ? 0 : -ENOENT;
}

/*
 * Controllers are numbered from anywhere on. A Linux host refuses a controller whose number it has
 * in this subsystem already: from this daemon's last life, while it reconnects its other paths, or
 * from another machine that exports the same subsystem.
 */
static int first_cntlid(uint16_t *ret_cntlid)
{
	uint32_t number;
	int err = secret_random(&number, sizeof(number));

	if (!err)
		*ret_cntlid = (uint16_t)(1 + number % NVMF_CNTLID_MAX);
	return err;
}

/* Whether it has namespaces on SSDs that were never seen. */
static bool expects(const struct daemon *daemon, const struct conf_subsystem *conf)
{
	for (unsigned i = 0; i < conf->n_ns; i++) {
		if (!daemon->ssds[conf->ns[i].ssd].ssd)
			return true;
	}
	return false;
}

static int export_if_there(struct nvmet_subsystem *subsys, const struct conf_ns *conf,
			   struct daemon_ssd *ssd)
{
	if (ssd->ssd)
		return export_ns(subsys, conf->nsid, ssd, conf->ssd_nsid, conf->read_only);
	log_warn("%s: namespace %u comes when ssd %s is there", subsys->nqn, conf->nsid,
		 ssd->conf->name);
	return 0;
}

static int apply_subsystem(struct daemon *daemon, const struct conf_subsystem *conf)
{
	struct nvmet_subsystem *subsys;
	char nqn[NVMF_NQN_MAX + 1];
	int err = 0;

	snprintf(nqn, sizeof(nqn), "%s", conf->nqn);
	if (!nqn[0])
		derive_nqn(&daemon->ssds[0], nqn, sizeof(nqn));
	err = nvmet_subsystem_new(&daemon->target, nqn, &subsys);
	if (!err)
		err = first_cntlid(&subsys->next_cntlid);
	if (err) {
		log_err("subsystem %s: %s", nqn, strerror(-err));
		return err;
	}
	subsys->allow_any_host = conf->allow_any_host;
	subsys->max_queues = (uint16_t)conf->max_queues;
	subsys->permissions = conf->permissions;
	if (conf->serial[0])
		snprintf(subsys->serial, sizeof(subsys->serial), "%s", conf->serial);
	if (conf->model[0])
		snprintf(subsys->model, sizeof(subsys->model), "%s", conf->model);
	for (unsigned i = 0; i < conf->hosts.n && !err; i++) {
		err = nvmet_subsystem_allow_host(subsys, conf->hosts.host[i].nqn,
						 &conf->hosts.host[i].access);
		if (err == -EEXIST)
			err = 0; /* named twice: allowed all the same */
	}
	if (conf->n_ns == 0 && conf->all_of_ssd >= 0)
		return export_all(subsys, &daemon->ssds[conf->all_of_ssd]);
	subsys->expects = expects(daemon, conf);
	for (unsigned i = 0; i < conf->n_ns && !err; i++)
		err = export_if_there(subsys, &conf->ns[i], &daemon->ssds[conf->ns[i].ssd]);
	return err;
}

static int make_ssd(struct daemon_ssd *ssd)
{
	return nvmet_ssd_new(&ssd->daemon->target, ssd->ctrl, ssd->conf->name, &ssd->ssd);
}

void apply_late_exports(struct daemon_ssd *ssd)
{
	struct daemon *daemon = ssd->daemon;
	const struct conf *conf = daemon->conf;

	if (make_ssd(ssd)) {
		log_err("ssd %s: no memory to export it", ssd->conf->name);
		return;
	}
	for (unsigned i = 0; i < conf->n_subsystems; i++) {
		const struct conf_subsystem *from = &conf->subsystems[i];
		struct nvmet_subsystem *subsys = nvmet_target_find(&daemon->target, from->nqn);

		for (unsigned n = 0; n < from->n_ns; n++) {
			if (&daemon->ssds[from->ns[n].ssd] == ssd)
				export_if_there(subsys, &from->ns[n], ssd);
		}
		subsys->expects = expects(daemon, from);
	}
	nvmet_ssd_arrived(ssd->ssd);
}

int apply_exports(struct daemon *daemon)
{
	int err;

	for (unsigned i = 0; i < daemon->n_ssds; i++) {
		err = daemon->ssds[i].ready ? make_ssd(&daemon->ssds[i]) : 0;
		if (err)
			return err;
	}
	for (unsigned i = 0; i < daemon->conf->n_subsystems; i++) {
		err = apply_subsystem(daemon, &daemon->conf->subsystems[i]);
		if (err)
			return err;
	}
	return 0;
}

int apply_listeners(struct daemon *daemon)
{
	const struct conf *conf = daemon->conf;
	int err = nvme_tcp_new(&daemon->target, &daemon->tcp);

	if (!err)
		nvme_tcp_set_options(daemon->tcp, &conf->tcp);
	if (conf->tcp.prefer_incoming_cpu && !conf->n_worker_cpus)
		log_warn(
			"tcp.prefer_incoming_cpu: no worker has a CPU of its own (worker_cpus), so "
			"it does nothing");
	for (unsigned i = 0; i < conf->n_listen && !err; i++)
		err = nvme_tcp_listen(daemon->tcp, conf->listen[i].addr, conf->listen[i].port,
				      conf->listen[i].tls);
	if (!err && conf->control[0])
		err = control_new(daemon, conf->control, &daemon->control);
	if (!err && conf->metrics.addr[0])
		err = metrics_new(daemon, &conf->metrics, &daemon->metrics);
	return err;
}

/* The control socket is the user's, who could not remove it otherwise. */
static int give_away(const struct daemon *daemon, const char *user)
{
	const struct passwd *pw = getpwnam(user);

	if (pw && daemon->control && chown(daemon->conf->control, pw->pw_uid, pw->pw_gid) < 0) {
		log_err("control socket %s: %s", daemon->conf->control, strerror(errno));
		return -errno;
	}
	return 0; /* sandbox_drop() tells of a user that does not exist */
}

static int start_worker(struct daemon *daemon, unsigned index)
{
	const struct conf *conf = daemon->conf;
	struct worker *worker = &daemon->workers[index];
	int err = worker_start(worker);

	if (err)
		log_err("worker %u: its thread cannot be started: %s%s", index, strerror(-err),
			err == -EAGAIN ? " (ulimit -u, TasksMax=)" : "");
	if (!err && conf->n_worker_cpus) {
		err = worker_pin(worker, conf->worker_cpus[index]);
		if (err)
			log_err("worker_cpus: worker %u cannot run on CPU %u: %s", index,
				conf->worker_cpus[index],
				err == -EINVAL ? "there is none, or this process may not use it "
						 "(taskset, CPUAffinity=)"
					       : strerror(-err));
	}
	return err;
}

/* Everything that takes a privilege is open. Credentials are a thread's: workers come after. */
int apply_sandbox(struct daemon *daemon)
{
	const char *user = daemon->conf->user;
	int err = user[0] ? give_away(daemon, user) : 0;

	if (!err)
		err = sandbox_drop(user[0] ? user : NULL);

	for (unsigned i = 0; i < daemon->n_workers && !err; i++)
		err = start_worker(daemon, i);
	if (!err)
		err = sandbox_enter(SANDBOX_MAIN);
	return err;
}

/* --- The end ---------------------------------------------------------------------------------- */

void apply_undo(struct daemon *daemon)
{
	control_free(daemon->control);
	http_free(daemon->metrics);
	for (unsigned i = 0; i < daemon->n_workers; i++)
		worker_stop(&daemon->workers[i]);
	nvme_tcp_free(daemon->tcp);
	if (daemon->target_made)
		nvmet_target_fini(&daemon->target);
	for (unsigned i = 0; i < daemon->n_ssds; i++) {
		struct daemon_ssd *ssd = &daemon->ssds[i];

		nvme_ctrl_free(ssd->ctrl);
		if (ssd->look_timer)
			event_free(ssd->look_timer);
		close_ssd(ssd);
	}
	for (unsigned i = 0; i < daemon->n_workers; i++)
		worker_fini(&daemon->workers[i]);
	free(daemon->workers);
	dma_pool_free(daemon->pool);
	dma_arena_free(daemon->arena);
	keyring_free(daemon->keys);
}
