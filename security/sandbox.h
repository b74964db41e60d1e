/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is left to the daemon once everything is open: an unprivileged user, no capability, no way
 * to get one back, and for each thread the system calls that it needs.
 *
 * Order: sandbox_drop() on the main thread before any other thread exists (credentials are a
 * thread's, and inherited); sandbox_enter() on each thread, first thing for a worker, last thing of
 * the start for the main thread.
 */
#ifndef NVMETD_SECURITY_SANDBOX_H
#define NVMETD_SECURITY_SANDBOX_H

/*
 * Becomes `user` (NULL: stays who it is) with that user's groups, gives up all capabilities, those
 * of the bounding set too, and sets no_new_privs. 0 or -errno (logged).
 */
int sandbox_drop(const char *user);

enum sandbox_role {
	SANDBOX_WORKER, /* moves data: opens nothing, connects to nothing, starts nothing */
	SANDBOX_MAIN,   /* also reads key files, accepts connections, sets the SSDs' queues up */
};

/*
 * Restricts the calling thread, and threads that it starts, for good. Another system call than the
 * role's fails with EPERM; one that only an intruder would try ends the process. 0 or -errno
 * (logged). With sanitizers (SANITIZED), which do as they like, it does nothing.
 */
int sandbox_enter(enum sandbox_role role);

#endif
