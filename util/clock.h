/* SPDX-License-Identifier: BSD-3-Clause */
/* Monotonic time in nanoseconds. Wall-clock time is for log lines and log pages only. */
#ifndef NVMETD_UTIL_CLOCK_H
#define NVMETD_UTIL_CLOCK_H

#include <stdint.h>
#include <sys/time.h>
#include <time.h>

#define NSEC_PER_SEC  UINT64_C(1000000000)
#define NSEC_PER_MSEC UINT64_C(1000000)

static inline uint64_t clock_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

/* A time in milliseconds as timers of libevent take it. */
static inline struct timeval clock_timeval(unsigned ms)
{
	return (struct timeval){ .tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000 };
}

#endif
