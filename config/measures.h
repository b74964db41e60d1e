/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is measured on the I/O path, for whoever asks: the control socket as JSON, and anybody who
 * scrapes as OpenMetrics. Main thread; what workers write meanwhile is read as it is.
 */
#ifndef NVMETD_CONFIG_MEASURES_H
#define NVMETD_CONFIG_MEASURES_H

#include <jansson.h>

struct daemon;
struct evbuffer;

/* Each I/O queue: whose it is, commands, bytes and errors so far, mean time of a command. */
json_t *measures_queues(const struct daemon *daemon);
/* Each kind of command and stage (target/latency.h), all workers together: how many, percentiles.
 */
json_t *measures_latency(const struct daemon *daemon);
/* The same as buckets (util/hist.h): [index, count] of those that are not empty. */
json_t *measures_histograms(const struct daemon *daemon);

/* All of it in the text format OpenMetrics 1.0. 0 or -ENOMEM. */
int measures_openmetrics(const struct daemon *daemon, struct evbuffer *out);

#endif
