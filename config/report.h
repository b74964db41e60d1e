/* SPDX-License-Identifier: BSD-3-Clause */
/* What the control socket tells of the daemon, as JSON. Main thread. */
#ifndef NVMETD_CONFIG_REPORT_H
#define NVMETD_CONFIG_REPORT_H

#include <jansson.h>

struct daemon;

/* "status", "list", "counters", "queues", "pairs", "latency" or "histograms" → a new object, the
 * caller's; NULL for any other name. `request`: what narrows it down (control.h), or NULL. */
json_t *report(const struct daemon *daemon, const char *name, const json_t *request);

/* The answer that something cannot be done: {"error": why}. A new object, the caller's. */
json_t *report_error(const char *why);

/*
 * Hosts choose their NQNs, and JSON takes only UTF-8: a name that is none must not make its owner
 * disappear from a report. Its bytes beyond ASCII become \xNN then. A new string, the caller's.
 */
json_t *report_text(const char *name);

#endif
