/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is measured on the I/O path, as JSON for the control socket. Main thread; what workers write
 * meanwhile is read as it is. `request` is the client's, which may narrow it down (control.h).
 */
#ifndef NVMETD_CONFIG_MEASURES_H
#define NVMETD_CONFIG_MEASURES_H

#include <jansson.h>

struct daemon;
struct nvmet_queue;

/* Each I/O queue: whose it is, commands, bytes, errors, and where its time has gone so far. */
json_t *measures_queues(const struct daemon *daemon, const json_t *request);
/* Each queue pair of the SSDs: who uses it, and how it came to its completions. */
json_t *measures_pairs(const struct daemon *daemon, const json_t *request);
/* Each kind of command and stage (target/latency.h), of one queue or of all that are and were: how
 * many, percentiles. */
json_t *measures_latency(const struct daemon *daemon, const json_t *request);
/* The same as buckets (util/hist.h): [index, count] of those that are not empty. */
json_t *measures_histograms(const struct daemon *daemon, const json_t *request);

/* Of one I/O queue, all kinds of commands together: percentiles of the whole and of each stage. An
 * empty list when it has served none. */
json_t *measures_queue_latency(const struct nvmet_queue *queue);

#endif
