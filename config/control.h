/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The control socket: a UNIX stream socket, mode 0600. A client sends one request a line, a JSON
 * object with "request"; it gets one line back, a JSON object. The last line may be without its end
 * when the client ends its side behind it. Main thread.
 *
 *   {"request": "status"}    the daemon, its SSDs, workers, addresses
 *   {"request": "list"}      subsystems, namespaces, controllers
 *   {"request": "counters"}  numbers, flat: what exists now, and totals
 *   {"request": "queues"}    each I/O queue's commands, bytes, errors, and time in each stage;
 *                            with "buckets": true the histogram of the whole, too
 *   {"request": "pairs"}     each queue pair of the SSDs: interrupts, polls, what was put right
 *   {"request": "latency"}   percentiles of each kind of command in each stage, of all queues that
 *                            are and were; "subsystem", "cntlid" and "qid" together: of one queue
 *   {"request": "histograms"} the same as buckets
 * and what command.h lists. Errors are {"error": "…"}.
 */
#ifndef NVMETD_CONFIG_CONTROL_H
#define NVMETD_CONFIG_CONTROL_H

struct control;
struct daemon;

/* Listens at `path`; a socket nobody listens to is replaced. 0 or -errno (logged). */
int control_new(struct daemon *daemon, const char *path, struct control **ret_control);
/* Closes it and its clients, and removes the path if the socket there is still this one. NULL is
 * allowed. */
void control_free(struct control *control);

#endif
