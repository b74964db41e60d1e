/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The daemon in the test's own thread: the real main loop, worker, transport, target and driver on
 * the emulated SSD, turned by hand. Its time is the rig's: CLOCK_MONOTONIC moves only when
 * rig_sleep() says so, so that an input does the same on every machine.
 */
#ifndef NVMETD_TESTS_FUZZ_RIG_H
#define NVMETD_TESTS_FUZZ_RIG_H

#include <stdbool.h>
#include <stdint.h>

#include "config/daemon.h"

#define RIG_NQN        "nqn.2026-11.io.nvmetd:fuzz"
#define RIG_NQN_CLOSED "nqn.2026-11.io.nvmetd:closed"
#define RIG_FRIEND     "nqn.2014-08.org.nvmexpress:friend"

struct host;

extern struct daemon rig;
extern struct conf rig_conf; /* rig_init() fills it; may be changed before rig_start() */

/* The clock and the configuration: one emulated SSD, two subsystems, one worker.
 * NULL: no SSD yet. */
void rig_init(const char *spec);
/* Workers (two at most) have a little memory to receive into (transport/inbox.h), and few pages:
 * for a dma_memory too small for that. */
extern bool rig_receive_memory;
/* Brings everything up; aborts the process when that fails. */
void rig_start(void);
/* Takes everything down. Every connection was closed. */
void rig_stop(void);

/* For an SSD of the test's own: brings it up and exports it, and takes it down and closes it.
 * False: it cannot be used; it must be taken down all the same. */
bool rig_bring_up(struct pcie_device *dev);
void rig_take_down(void);
extern bool rig_ssd_may_fail;

/* Our end of a new connection to the daemon, non-blocking. -1: it was refused. */
int rig_connect(void);

/* Connects a queue of RIG_FRIEND's to RIG_NQN, with so many entries and without SQ flow control;
 * `cntlid`: of an I/O queue. host->entries tells whether that went well. */
void rig_connect_queue(struct host *host, uint16_t cntlid, uint16_t qid, uint16_t entries,
		       void (*settle)(void));

/* One wake-up of each loop. True: there is more to do at once. */
bool rig_turn(void);
/* Until nothing is left to do but wait. */
void rig_settle(void);
/* Lets `ms` pass, with the timers that run out in it. */
void rig_sleep(unsigned ms);
void rig_clock_forward(uint64_t ns);

/* The SSD takes no I/O command until rig_release_ssd(): commands stay under way. `admin`: no admin
 * command either; given up after 10 s of that. */
void rig_hold_ssd(bool admin);
void rig_release_ssd(void);
/* How often the first of the SSD's I/O queue pairs has had its SQ doorbell rung. */
uint64_t rig_doorbells(void);

/* All connections are closed: waits until the daemon has nothing of theirs, or aborts. */
void rig_expect_clean(void);

#endif
