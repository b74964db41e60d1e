/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The daemon as a whole: from a checked configuration to exports, and back to nothing. Main thread.
 */
#ifndef NVMETD_CONFIG_DAEMON_H
#define NVMETD_CONFIG_DAEMON_H

#include <stdbool.h>
#include <stdint.h>

#include "config/conf.h"
#include "target/target.h"
#include "util/loop.h"

struct control;
struct dma_arena;
struct http;
struct dma_pool;
struct keyring;
struct nvme_ctrl;
struct nvme_tcp;
struct nvmet_ssd;
struct pcie_device;
struct worker;
struct daemon;

/* An SSD from opening to closing. */
struct daemon_ssd {
	struct daemon *daemon;
	const struct conf_ssd *conf;
	int numa_node; /* NUMA_NO_NODE: none */
	struct pcie_device *dev;
	struct nvme_ctrl *ctrl;
	struct nvmet_ssd *ssd; /* once exported */
	bool mapped;
	struct event *look_timer; /* for its return */
	unsigned look_s;          /* its pause; longer each time that the return came to nothing */
	uint64_t taken_up_ns;     /* when it last returned; 0: never */
	bool ready;
	bool missing; /* optional, and not usable at the start: it is waited for, not ready yet */
	bool stopped;
};

#define DAEMON_SIGNALS 3 /* SIGTERM, SIGINT, SIGHUP */

enum daemon_state { DAEMON_STARTING, DAEMON_LIVE, DAEMON_STOPPING };

struct daemon {
	const struct conf *conf;
	struct loop loop;
	bool loop_made;
	struct keyring *keys;
	struct dma_arena *arena;
	struct dma_pool *pool; /* the main thread's */
	struct worker *workers;
	unsigned n_workers; /* initialised */
	struct nvmet_target target;
	bool target_made;
	struct daemon_ssd ssds[CONF_MAX_SSDS];
	unsigned n_ssds;
	struct nvme_tcp *tcp;
	struct control *control;
	struct http *metrics;
	struct event *signals[DAEMON_SIGNALS];
	enum daemon_state state;
	bool hosts_gone;     /* stopping: no connection is left, the SSDs are next */
	uint64_t started_ns; /* clock_now_ns() */
	int status;          /* exit status */
};

/* Runs until it is told to stop, or cannot start. Returns the exit status of the process. */
int daemon_run(const struct conf *conf);

/* apply.c: the objects of a configuration. 0 or -errno (logged). */
/* DMA memory, the workers that share it, and an empty target. */
int apply_memory(struct daemon *daemon);
/* The SSDs' devices, with the memory mapped for each; an optional one may be left without. */
int apply_open_ssds(struct daemon *daemon);
/* Opens the device of an SSD that has none as soon as it is there, and takes it up. */
void apply_look_for(struct daemon_ssd *ssd);
/* Looks now. 0, or -ENODEV: it is not looked for. */
int apply_look_now(struct daemon_ssd *ssd);
/* The device of an SSD is gone: closes it, and takes it up again once it is back. The arguments are
 * nvme_ctrl_events.absent()'s; `arg` is a struct daemon_ssd. */
void apply_ssd_absent(struct nvme_ctrl *ctrl, void *arg);
/* SSDs are ready or missing: what hosts see, and the addresses they see it at. */
int apply_exports(struct daemon *daemon);
/* One that was missing is ready: hosts see it too. What cannot be exported is logged. */
void apply_late_exports(struct daemon_ssd *ssd);
int apply_listeners(struct daemon *daemon);
/* Gives up what is not needed any more, and starts the workers. */
int apply_sandbox(struct daemon *daemon);
/* Frees whatever of it was made. */
void apply_undo(struct daemon *daemon);

#endif
