/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The metrics endpoint: HTTP, GET /metrics, OpenMetrics text (openmetrics.h). Off unless the
 * configuration names an address; without authentication, so that address should be one that only
 * those who may know can reach. Main thread.
 */
#ifndef NVMETD_CONFIG_METRICS_H
#define NVMETD_CONFIG_METRICS_H

struct conf_listen;
struct daemon;
struct http;

/* Listens; what it returns is the caller's, for http_free(). 0 or -errno (logged). */
int metrics_new(struct daemon *daemon, const struct conf_listen *listen, struct http **ret_http);

#endif
