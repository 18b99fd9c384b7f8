/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Log lines of the hosted programs, on standard error:  PROGRAM: LEVEL: [WHO: ]text
 *
 * `who` names what the line is about (a port, a device, a session) and may be NULL. Lines that a peer can provoke go
 * through log_peer(), which is rate-limited per call site and later says how many were left out.
 */
#ifndef VMM_HOSTLIB_LOG_H
#define VMM_HOSTLIB_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level {
	LOG_L_ERROR,
	LOG_L_WARN,
	LOG_L_INFO,
	LOG_L_DEBUG,
	LOG_L_TRACE
};

void log_open(const char *program);
/* "error", "warn", "info", "debug", "trace". 0 or -EINVAL. */
int log_set_level(const char *name);
bool log_enabled(enum log_level level);

void log_at(enum log_level level, const char *who, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
#define log_error(who, ...) log_at(LOG_L_ERROR, who, __VA_ARGS__)
#define log_warn(who, ...)  log_at(LOG_L_WARN, who, __VA_ARGS__)
#define log_info(who, ...)  log_at(LOG_L_INFO, who, __VA_ARGS__)
#define log_debug(who, ...)                                                                        \
	do {                                                                                       \
		if (log_enabled(LOG_L_DEBUG))                                                      \
			log_at(LOG_L_DEBUG, who, __VA_ARGS__);                                     \
	} while (0)

/* At most 10 lines a second per call site; what was suppressed is counted in the next line that passes. */
struct log_limit {
	uint64_t window_ns;
	unsigned int lines;
	unsigned int suppressed;
};
bool log_limit_pass(struct log_limit *limit, unsigned int *suppressed);
#define log_peer(level, who, fmt, ...)                                                             \
	do {                                                                                       \
		static struct log_limit limit_;                                                    \
		unsigned int suppressed_;                                                          \
		if (log_limit_pass(&limit_, &suppressed_)) {                                       \
			if (suppressed_)                                                           \
				log_at(level, who, fmt " (%u similar lines left out)",             \
				       ##__VA_ARGS__, suppressed_);                                \
			else                                                                       \
				log_at(level, who, fmt, ##__VA_ARGS__);                            \
		}                                                                                  \
	} while (0)

/* A failure of our own set-up: prints the line and exits with status 1 (a run-time failure) or 2 (usage). */
_Noreturn void die(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void die_usage(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
