/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Standard input, output and error of a program, at its start and its end. Main thread, before and
 * after all others.
 */
#ifndef NVMETD_UTIL_STD_H
#define NVMETD_UTIL_STD_H

/*
 * Whoever started us may have closed them (2>&-). What is opened next would be taken for them: log
 * lines would go to an SSD's file, or to a socket. Closed ones become what nothing can be read from
 * or written to. 0 or -errno.
 */
int std_open(void);

/* What was printed so far. 0 or -errno, which std_close() tells. */
int std_flush(void);

/* Closes standard output. `status`, or 1 instead of 0 if not all that was printed has got there,
 * after saying so in the name of `program`. */
int std_close(const char *program, int status);

#endif
