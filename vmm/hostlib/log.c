// SPDX-License-Identifier: BSD-2-Clause
#include "vmm/hostlib/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOG_LINE_MAX	   1024
#define LOG_WINDOW_NS	   UINT64_C(1000000000)
#define LOG_LINES_A_WINDOW 10

static const char *const level_names[] = { "error", "warn", "info", "debug", "trace" };
static const char *program_name = "vvu";
static enum log_level max_level = LOG_L_INFO;
static pthread_mutex_t limit_lock = PTHREAD_MUTEX_INITIALIZER;

void log_open(const char *program)
{
	program_name = program;
}

int log_set_level(const char *name)
{
	for (unsigned int i = 0; i < sizeof(level_names) / sizeof(level_names[0]); i++) {
		if (!strcmp(name, level_names[i])) {
			max_level = (enum log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

bool log_enabled(enum log_level level)
{
	return level <= max_level;
}

/* One write(2) a line, so that lines of threads and processes that share a terminal don't mix. */
static void __attribute__((format(printf, 3, 0)))
log_line(const char *level, const char *who, const char *fmt, va_list ap)
{
	char line[LOG_LINE_MAX];
	size_t at;
	int n;

	n = snprintf(line, sizeof(line) - 1, "%s: %s: %s%s", program_name, level, who ? who : "",
		     who ? ": " : "");
	at = n < 0 ? 0 : (size_t)n;
	if (at >= sizeof(line) - 1)
		at = sizeof(line) - 2;
	n = vsnprintf(line + at, sizeof(line) - 1 - at, fmt, ap);
	if (n > 0)
		at += (size_t)n;
	if (at >= sizeof(line) - 1)
		at = sizeof(line) - 2;
	/* Text may come from a peer: no second line, no terminal control. */
	for (size_t i = 0; i < at; i++) {
		if ((unsigned char)line[i] < 0x20 || (unsigned char)line[i] == 0x7f)
			line[i] = '?';
	}
	line[at++] = '\n';
	/* Nothing sensible can be done when standard error is gone. */
	if (write(STDERR_FILENO, line, at) < 0)
		return;
}

void log_at(enum log_level level, const char *who, const char *fmt, ...)
{
	int saved = errno;
	va_list ap;

	if (!log_enabled(level))
		return;
	va_start(ap, fmt);
	log_line(level_names[level], who, fmt, ap);
	va_end(ap);
	errno = saved;
}

bool log_limit_pass(struct log_limit *limit, unsigned int *suppressed)
{
	struct timespec ts;
	uint64_t now;
	bool pass = false;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	now = (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
	*suppressed = 0;
	pthread_mutex_lock(&limit_lock);
	if (!limit->lines || now - limit->window_ns >= LOG_WINDOW_NS) {
		limit->window_ns = now;
		limit->lines = 0;
	}
	if (limit->lines < LOG_LINES_A_WINDOW) {
		limit->lines++;
		*suppressed = limit->suppressed;
		limit->suppressed = 0;
		pass = true;
	} else {
		limit->suppressed++;
	}
	pthread_mutex_unlock(&limit_lock);
	return pass;
}

void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_line("error", NULL, fmt, ap);
	va_end(ap);
	exit(1);
}

void die_usage(const char *fmt, ...)
{
	char text[LOG_LINE_MAX / 2];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	log_at(LOG_L_ERROR, NULL, "%s (try %s --help)", text, program_name);
	exit(2);
}
