/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What an operator may tell the daemon to do, over the control socket. Main thread.
 *
 *   {"request": "rescan"}      looks at the namespaces of all SSDs again; tries failed SSDs again
 *   {"request": "rescan", "ssd": "NAME"}
 *                              of one
 *   {"request": "namespace", "subsystem": "NQN", "nsid": N, "enabled": BOOL}
 *                              takes a namespace away from hosts, or gives it back
 */
#ifndef NVMETD_CONFIG_COMMAND_H
#define NVMETD_CONFIG_COMMAND_H

#include <jansson.h>

struct daemon;

/*
 * Does what a request asks for. An object to answer with, {"error": "…"} when it could not be done;
 * NULL: no such request. The caller owns the answer.
 */
json_t *command(struct daemon *daemon, const char *name, const json_t *request);

#endif
