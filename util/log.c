/* SPDX-License-Identifier: BSD-3-Clause */
/* The log; see log.h for the rules. */
#include "util/log.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "util/check.h"
#include "util/clock.h"
#include "util/utf8.h"

#define LOG_LINE_MAX 1024

static const struct {
	const char *word;     /* in the configuration */
	const char *journal;  /* syslog priority prefix that journald understands */
	const char *terminal; /* in front of the text */
} levels[] = {
	[LOG_LEVEL_ERR] = { "error", "<3>", "error: " },
	[LOG_LEVEL_WARN] = { "warning", "<4>", "warning: " },
	[LOG_LEVEL_INFO] = { "info", "<6>", "" },
	[LOG_LEVEL_DEBUG] = { "debug", "<7>", "debug: " },
};

static enum log_level log_max = LOG_LEVEL_INFO;
static atomic_uint lost; /* lines that found no room */

void log_set_level(enum log_level level)
{
	log_max = level;
}

bool log_enabled(enum log_level level)
{
	return level <= log_max;
}

int log_level_parse(const char *word, enum log_level *ret_level)
{
	for (size_t i = 0; i < ARRAY_SIZE(levels); i++) {
		if (strcmp(word, levels[i].word) == 0) {
			*ret_level = (enum log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

/* Whether standard error is the journal's. The variable is inherited, the stream need not be. */
static bool to_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	return stream && sscanf(stream, "%llu:%llu", &dev, &ino) == 2 &&
	       fstat(STDERR_FILENO, &st) == 0 && st.st_dev == dev && st.st_ino == ino;
}

/* "<6>" under journald, else "2026-01-31T12:00:00.123 error: ". */
static size_t log_prefix(char *line, size_t size, enum log_level level)
{
	struct timespec now;
	struct tm tm;
	size_t len;

	if (to_journal())
		return (size_t)snprintf(line, size, "%s", levels[level].journal);
	clock_gettime(CLOCK_REALTIME, &now);
	localtime_r(&now.tv_sec, &tm);
	len = strftime(line, size, "%Y-%m-%dT%H:%M:%S", &tm);
	len += (size_t)snprintf(line + len, size - len, ".%03ld %s", now.tv_nsec / 1000000,
				levels[level].terminal);
	return len;
}

/* What peers send (NQNs) may end up in a line: nothing of it may start another line, or tell a
 * terminal what to do. */
static void make_plain(char *line, size_t len)
{
	for (size_t i = 0, n_bytes; i < len; i += n_bytes ? n_bytes : 1) {
		n_bytes = utf8_char(line + i, len - i);
		if (!n_bytes)
			line[i] = '?';
	}
}

/* --- Standard error --------------------------------------------------------------------------- */

/*
 * Whoever reads it may have stopped: a pager, a terminal after Ctrl-S, a collector that hangs. The
 * daemon goes on, and lines are lost. What has any room has it for more than two lines: a pipe for
 * a page.
 */
static bool has_room(void)
{
	struct pollfd fd = { .fd = STDERR_FILENO, .events = POLLOUT };

	return poll(&fd, 1, 0) != 0;
}

static void put_line(char *line, size_t len)
{
	line[len++] = '\n';
	if (write(STDERR_FILENO, line, len) < 0)
		return; /* there is nowhere to say so */
}

/* In front of the first line that is not lost. */
static void put_lost(void)
{
	unsigned n = atomic_exchange(&lost, 0);
	char line[LOG_LINE_MAX];
	size_t len;

	if (!n)
		return;
	len = log_prefix(line, sizeof(line), LOG_LEVEL_WARN);
	len += (size_t)snprintf(line + len, sizeof(line) - len,
				"%u lines are missing here: who reads standard error had stopped",
				n);
	put_line(line, len);
}

__attribute__((format(printf, 2, 0))) static void log_vwrite(enum log_level level, const char *fmt,
							     va_list args)
{
	char line[LOG_LINE_MAX];
	size_t len = log_prefix(line, sizeof(line), level);
	int n = vsnprintf(line + len, sizeof(line) - len - 1, fmt, args);

	if (n < 0)
		return;
	len += (size_t)n;
	if (len > sizeof(line) - 2)
		len = sizeof(line) - 2; /* cut, not dropped */
	make_plain(line, len);
	if (!has_room()) {
		atomic_fetch_add(&lost, 1);
		return;
	}
	put_lost();
	put_line(line, len);
}

void log_write(enum log_level level, const char *fmt, ...)
{
	int saved = errno;
	va_list args;

	if (log_enabled(level)) {
		va_start(args, fmt);
		log_vwrite(level, fmt, args);
		va_end(args);
	}
	errno = saved;
}

static bool log_limit_take(struct log_limit *limit)
{
	uint64_t now = clock_now_ns();
	uint64_t seconds = (now - limit->refilled_ns) / NSEC_PER_SEC;

	if (seconds) {
		uint64_t tokens = limit->tokens + seconds;

		limit->tokens = tokens > limit->burst ? limit->burst : (uint32_t)tokens;
		limit->refilled_ns = now;
	}
	if (!limit->tokens) {
		limit->held++;
		return false;
	}
	limit->tokens--;
	return true;
}

void log_limited(struct log_limit *limit, enum log_level level, const char *fmt, ...)
{
	int saved = errno;
	va_list args;

	if (!log_enabled(level) || !log_limit_take(limit)) {
		errno = saved;
		return;
	}
	if (limit->held) {
		log_write(level, "%u messages like the next one were held back", limit->held);
		limit->held = 0;
	}
	va_start(args, fmt);
	log_vwrite(level, fmt, args);
	va_end(args);
	errno = saved;
}

void must_fail(const char *file, int line, const char *what)
{
	log_err("%s:%d: broken invariant: %s", file, line, what);
	abort();
}
