/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The daemon's log: one line per event, to standard error (journald adds time and unit; on a
 * terminal or a file the line starts with a time stamp).
 *
 * Any thread may log; a line is one write(2), so lines of threads do not mix. errno is preserved.
 * Logging never waits: a line that standard error has no room for is lost, and counted in front of
 * the next one.
 * Nothing is logged per I/O. What a peer can trigger at will goes through log_limited(), which
 * lets a burst through and then counts what it held back.
 */
#ifndef NVMETD_UTIL_LOG_H
#define NVMETD_UTIL_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_ERR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* Sets the most talkative level that is written. Call before threads start. Default: INFO. */
void log_set_level(enum log_level level);
/* "error", "warning", "info", "debug" → 0 and *ret_level; -EINVAL for any other word. */
int log_level_parse(const char *word, enum log_level *ret_level);
bool log_enabled(enum log_level level);

/* Writes one line; fmt has no newline at its end. */
__attribute__((format(printf, 2, 3))) void log_write(enum log_level level, const char *fmt, ...);

#define log_err(...)  log_write(LOG_LEVEL_ERR, __VA_ARGS__)
#define log_warn(...) log_write(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...) log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)                                           \
	do {                                                     \
		if (log_enabled(LOG_LEVEL_DEBUG))                \
			log_write(LOG_LEVEL_DEBUG, __VA_ARGS__); \
	} while (0)

/*
 * A budget of lines for one kind of peer-triggered message: `burst` lines, refilled at one a
 * second. Owned by one thread. The first line let through after a silence says how many were held.
 */
struct log_limit {
	uint32_t burst;
	uint32_t tokens;
	uint32_t held;
	uint64_t refilled_ns;
};
#define LOG_LIMIT_INIT(n)                   \
	{                                   \
		.burst = (n), .tokens = (n) \
	}

__attribute__((format(printf, 3, 4))) void log_limited(struct log_limit *limit,
						       enum log_level level, const char *fmt, ...);

#endif
