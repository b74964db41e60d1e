/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The life of the daemon.
 *
 * STARTING: SSDs are brought up, side by side; when the last is ready, or missing though optional,
 * exports and listeners are made. LIVE: hosts come and go, and SSDs that were missing may come.
 * STOPPING: connections are drained and closed, then SSDs shut down, then everything is freed.
 *
 * Each step that waits goes on in a callback from the loop. What fails while STARTING stops the
 * daemon with the message of the step that failed and exit status 1: the machine was not ready, and
 * may be the next time; or EX_CONFIG: nothing but another configuration helps.
 */
#include "config/daemon.h"

#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>
#ifdef HAVE_SYSTEMD
#include <systemd/sd-daemon.h>
#endif

#include "config/conf_hosts.h"
#include "config/control.h"
#include "config/placement.h"
#include "pcie/ctrl.h"
#include "target/aen.h"
#include "target/ns.h"
#include "target/ssd.h"
#include "transport/tcp.h"
#include "util/clock.h"
#include "util/log.h"
#include "util/version.h"

#define DRAIN_MS     5000
#define LOOKED_FOR   "looked for every second, and brought up when it is there"
#define OTHER_LOCKED (64u << 20) /* bytes that io_urings and page tables may count as locked */

static void notify(const char *state)
{
#ifdef HAVE_SYSTEMD
	sd_notify(0, state);
#else
	(void)state;
#endif
}

/* --- Stopping --------------------------------------------------------------------------------- */

/* Connections come first: an SSD may fail, and so be stopped, while they are still being closed. */
static void stop_if_all_stopped(struct daemon *daemon)
{
	if (!daemon->hosts_gone)
		return;
	for (unsigned i = 0; i < daemon->n_ssds; i++) {
		if (daemon->ssds[i].ctrl && !daemon->ssds[i].stopped)
			return;
	}
	loop_stop(&daemon->loop);
}

static void shutdown_ssds(void *arg)
{
	struct daemon *daemon = arg;

	daemon->hosts_gone = true;
	/* Shutdown may call ssd_stopped() at once. */
	for (unsigned i = 0; i < daemon->n_ssds; i++) {
		if (daemon->ssds[i].ctrl && !daemon->ssds[i].stopped)
			nvme_ctrl_shutdown(daemon->ssds[i].ctrl);
	}
	stop_if_all_stopped(daemon);
}

static void daemon_stop(struct daemon *daemon, int status)
{
	if (daemon->state == DAEMON_STOPPING)
		return;
	daemon->state = DAEMON_STOPPING;
	daemon->status = status;
	notify("STOPPING=1");
	if (daemon->tcp)
		nvme_tcp_stop(daemon->tcp, DRAIN_MS, shutdown_ssds, daemon);
	else
		shutdown_ssds(daemon);
}

/* Connections keep what they have proved; the next handshake meets the new keys. */
static void reload_keys(struct daemon *daemon)
{
	if (keyring_load(daemon->keys))
		log_warn("SIGHUP: some files with keys cannot be used: those keys stay "
			 "as they were");
	else
		log_info("SIGHUP: all keys were read again; the rest of the configuration is "
			 "read at start only");
}

static void on_signal(evutil_socket_t number, short what, void *arg)
{
	struct daemon *daemon = arg;

	(void)what;
	if (number == SIGHUP) {
		reload_keys(daemon);
		return;
	}
	if (daemon->state == DAEMON_STOPPING) {
		log_warn("stopped at once by a signal while stopping");
		control_free(daemon->control); /* its path would outlive us */
		_exit(daemon->status);
	}
	log_info("stopping: draining connections for up to %u s", DRAIN_MS / 1000);
	daemon_stop(daemon, 0);
}

/* --- Starting --------------------------------------------------------------------------------- */

static void log_ready(const struct daemon *daemon)
{
	const struct nvmet_port *port;
	char text[512] = "";
	size_t len = 0;

	TAILQ_FOREACH (port, &daemon->target.ports, link) {
		bool v6 = port->adrfam == NVMF_ADRFAM_IPV6;

		if (len < sizeof(text))
			len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s%s%s:%s",
						len ? ", " : "", v6 ? "[" : "", port->traddr,
						v6 ? "]" : "", port->trsvcid);
	}
	log_info("ready: listening on %s", text);
	notify("READY=1\nSTATUS=exporting");
}

static void go_live(struct daemon *daemon)
{
	int err = apply_exports(daemon);

	if (!err)
		err = apply_listeners(daemon);
	if (!err)
		err = apply_sandbox(daemon);
	if (err) {
		log_err("not started: %s", strerror(-err));
		daemon_stop(daemon, 1);
		return;
	}
	daemon->state = DAEMON_LIVE;
	log_ready(daemon);
}

static void go_live_if_settled(struct daemon *daemon)
{
	if (daemon->state != DAEMON_STARTING)
		return;
	for (unsigned i = 0; i < daemon->n_ssds; i++) {
		if (!daemon->ssds[i].ready && !daemon->ssds[i].missing)
			return;
	}
	go_live(daemon);
}

static void ssd_ready(struct nvme_ctrl *ctrl, void *arg)
{
	struct daemon_ssd *ssd = arg;

	(void)ctrl;
	ssd->ready = true;
	ssd->missing = false;
	if (ssd->daemon->state == DAEMON_LIVE)
		apply_late_exports(ssd);
	else
		go_live_if_settled(ssd->daemon);
}

/* Said once: what is wrong is in the log already. Not of one that was ready, and went while others
 * are still coming up: it is exported, and waited for as after the start. */
static void ssd_missing(struct daemon_ssd *ssd, const char *what_follows)
{
	if (ssd->missing || ssd->ready)
		return;
	ssd->missing = true;
	log_warn("ssd %s (%s): optional: starting without it; %s; nvmetctl rescan %s: at once",
		 ssd->conf->name, ssd->conf->spec, what_follows, ssd->conf->name);
}

static void ssd_failed(struct nvme_ctrl *ctrl, const char *why, void *arg)
{
	struct daemon_ssd *ssd = arg;

	(void)ctrl;
	if (ssd->daemon->state == DAEMON_STARTING && ssd->conf->optional) {
		ssd_missing(ssd, "tried again after retry_pause, and less and less often");
		go_live_if_settled(ssd->daemon);
		return;
	}
	if (ssd->daemon->state == DAEMON_STARTING) {
		log_err("ssd %s (%s): not usable: %s", ssd->conf->name, ssd->conf->spec, why);
		ssd->stopped = true;
		daemon_stop(ssd->daemon, 1);
		return;
	}
	/* As long as there are hosts it may be tried again, and is to be shut down. */
	if (ssd->daemon->hosts_gone && !ssd->stopped) {
		ssd->stopped = true;
		stop_if_all_stopped(ssd->daemon);
	}
}

static void ssd_absent(struct nvme_ctrl *ctrl, void *arg)
{
	struct daemon_ssd *ssd = arg;

	apply_ssd_absent(ctrl, ssd);
	if (ssd->daemon->state != DAEMON_STARTING)
		return;
	ssd_missing(ssd, LOOKED_FOR);
	go_live_if_settled(ssd->daemon);
}

static void ssd_stopped(struct nvme_ctrl *ctrl, void *arg)
{
	struct daemon_ssd *ssd = arg;

	(void)ctrl;
	ssd->stopped = true;
	stop_if_all_stopped(ssd->daemon);
}

static void ssd_async_event(struct nvme_ctrl *ctrl, uint32_t dw0, void *arg)
{
	struct daemon_ssd *ssd = arg;

	(void)ctrl;
	if (ssd->ssd)
		nvmet_aen_from_ssd(ssd->ssd, dw0);
}

static void ssd_namespaces(struct nvme_ctrl *ctrl, void *arg)
{
	struct daemon_ssd *ssd = arg;

	(void)ctrl;
	if (ssd->ssd)
		nvmet_ssd_namespaces_changed(ssd->ssd);
}

static void ssd_unavailable(struct nvme_ctrl *ctrl, const char *why, void *arg)
{
	struct daemon_ssd *ssd = arg;

	(void)ctrl;
	(void)why;
	if (ssd->ssd)
		nvmet_ssd_readiness_changed(ssd->ssd);
}

static void ssd_available(struct nvme_ctrl *ctrl, void *arg)
{
	ssd_unavailable(ctrl, NULL, arg);
}

static void ssd_cache_lost(struct nvme_ctrl *ctrl, void *arg)
{
	struct daemon_ssd *ssd = arg;

	(void)ctrl;
	if (ssd->ssd)
		nvmet_ssd_cache_lost(ssd->ssd);
}

static int start_ssd(struct daemon *daemon, struct daemon_ssd *ssd)
{
	static const struct nvme_ctrl_events events = {
		.ready = ssd_ready,
		.failed = ssd_failed,
		.stopped = ssd_stopped,
		.async_event = ssd_async_event,
		.namespaces = ssd_namespaces,
		.unavailable = ssd_unavailable,
		.available = ssd_available,
		.cache_lost = ssd_cache_lost,
		.absent = ssd_absent,
	};
	const struct nvme_ctrl_params params = {
		.loop = &daemon->loop,
		.dev = ssd->dev,
		.name = ssd->conf->name,
		.awaited = ssd->conf->optional,
		.pool = daemon->pool,
		.max_transfer = daemon->conf->max_transfer,
		.max_queues = ssd->conf->max_queues,
		.command_timeout_ms = ssd->conf->command_timeout_ms,
		.io_timeout_ms = ssd->conf->io_timeout_ms,
		.patience_ms = ssd->conf->recovery_timeout_ms,
		.retry_ms = ssd->conf->retry_pause_ms,
		.events = &events,
		.arg = ssd,
	};
	int err = nvme_ctrl_new(&params, &ssd->ctrl);

	if (err) {
		log_err("ssd %s: %s", ssd->conf->name, strerror(-err));
		return err;
	}
	if (ssd->dev) {
		nvme_ctrl_start(ssd->ctrl);
	} else {
		ssd_missing(ssd, LOOKED_FOR);
		apply_look_for(ssd);
	}
	return 0;
}

/* Whoever started us may have blocked them: nothing but SIGKILL would end us then. */
static int make_signals(struct daemon *daemon)
{
	static const int numbers[DAEMON_SIGNALS] = { SIGTERM, SIGINT, SIGHUP };
	sigset_t ours;

	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is an error of its write */
	sigemptyset(&ours);
	for (unsigned i = 0; i < DAEMON_SIGNALS; i++) {
		daemon->signals[i] = evsignal_new(daemon->loop.base, numbers[i], on_signal, daemon);
		if (!daemon->signals[i] || evsignal_add(daemon->signals[i], NULL) < 0)
			return -ENOMEM;
		sigaddset(&ours, numbers[i]);
	}
	return sigprocmask(SIG_UNBLOCK, &ours, NULL) < 0 ? -errno : 0;
}

/* As far as the system lets us. */
static void raise_limit(int resource, const char *name, rlim_t wanted)
{
	struct rlimit limit;

	if (getrlimit(resource, &limit) < 0 || limit.rlim_cur >= wanted)
		return;
	limit.rlim_cur = wanted;
	if (limit.rlim_max < wanted) {
		const struct rlimit both = { .rlim_cur = wanted, .rlim_max = wanted };

		if (setrlimit(resource, &both) == 0)
			return; /* we are privileged */
		limit.rlim_cur = limit.rlim_max;
	}
	if (setrlimit(resource, &limit) < 0)
		log_warn("%s stays low: %s", name, strerror(errno));
}

/*
 * A connection is a file descriptor, an I/O queue an eventfd. DMA memory counts as locked for each
 * SSD; a privileged process is not held to that limit, but we shall not be one when an SSD comes
 * back.
 */
static void raise_limits(const struct conf *conf)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) == 0)
		raise_limit(RLIMIT_NOFILE, "RLIMIT_NOFILE", files.rlim_max);
	raise_limit(RLIMIT_MEMLOCK, "RLIMIT_MEMLOCK",
		    conf->n_ssds * (rlim_t)conf->dma_memory + OTHER_LOCKED);
}

static void on_libevent_log(int severity, const char *text)
{
	static _Thread_local struct log_limit limit = LOG_LIMIT_INIT(10);

	log_limited(&limit,
		    severity >= EVENT_LOG_ERR    ? LOG_LEVEL_ERR
		    : severity == EVENT_LOG_WARN ? LOG_LEVEL_WARN
						 : LOG_LEVEL_DEBUG,
		    "libevent: %s", text);
}

/* Files that cannot be used are a matter of the configuration; a machine that cannot read them is
 * not. */
static int load_keys(struct daemon *daemon)
{
	int err = conf_load_keys(daemon->conf, &daemon->keys);

	if (err == -EINVAL)
		daemon->status = EX_CONFIG;
	return err;
}

static int start(struct daemon *daemon)
{
	int err;

	event_set_log_callback(on_libevent_log);
	err = loop_init(&daemon->loop);
	if (err) {
		log_err("the event loop cannot be set up: %s%s", strerror(-err),
			err == -EMFILE ? " (ulimit -Hn, LimitNOFILE=)" : "");
		return err;
	}
	daemon->loop_made = true;
	raise_limits(daemon->conf);
	err = make_signals(daemon);
	if (!err)
		err = load_keys(daemon);
	if (!err)
		placement_near_ssds(daemon->conf);
	if (!err)
		err = apply_memory(daemon);
	if (!err)
		err = apply_open_ssds(daemon);
	return err;
}

int daemon_run(const struct conf *conf)
{
	struct daemon daemon = { .conf = conf, .started_ns = clock_now_ns() };
	int err;

	log_set_level(conf->log_level);
	tzset(); /* a worker may not open the time zone's file with its first line */
	log_info("nvmetd %s", NVMETD_VERSION);
	err = start(&daemon);
	if (err) {
		log_err("not started: %s", strerror(-err));
		daemon.status = daemon.status ? daemon.status : 1;
	} else {
		for (unsigned i = 0; i < daemon.n_ssds && !daemon.status; i++)
			daemon.status = start_ssd(&daemon, &daemon.ssds[i]) ? 1 : 0;
		if (daemon.status)
			daemon_stop(&daemon, 1);
		go_live_if_settled(&daemon); /* none may be there to wait for */
		loop_run(&daemon.loop);
	}
	apply_undo(&daemon);
	for (unsigned i = 0; i < DAEMON_SIGNALS; i++) {
		if (daemon.signals[i])
			event_free(daemon.signals[i]);
	}
	if (daemon.loop_made)
		loop_fini(&daemon.loop);
	if (daemon.status == 0)
		log_info("stopped");
	return daemon.status;
}
