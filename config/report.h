/* SPDX-License-Identifier: BSD-3-Clause */
/* What the control socket tells of the daemon, as JSON. Main thread. */
#ifndef NVMETD_CONFIG_REPORT_H
#define NVMETD_CONFIG_REPORT_H

#include <jansson.h>

struct daemon;

/* "status", "list" or "counters" → a new object, the caller's; NULL for any other name. */
json_t *report(const struct daemon *daemon, const char *name);

#endif
