/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * All that is measured in the text format OpenMetrics 1.0. Main thread.
 *
 * How long the page is depends on what works, not on what is connected: histograms are of all
 * queues together, those that are gone included, so that they never go backwards; a queue has
 * counters of its own once it has answered a command, and the time it spent in each stage as sums,
 * of which a scraper makes means. One queue's whole histogram is for the control socket.
 */
#ifndef NVMETD_CONFIG_OPENMETRICS_H
#define NVMETD_CONFIG_OPENMETRICS_H

struct daemon;
struct evbuffer;

/* Adds the page to `out`. 0 or -ENOMEM. */
int openmetrics_write(const struct daemon *daemon, struct evbuffer *out);

#endif
