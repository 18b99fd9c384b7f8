/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * For test guests: checks that are counted, and the verdict that the runner looks for.
 *
 * A guest prints one line for each failed check, then `VERDICT PASS n` or `VERDICT FAIL m of n`,
 * and exits with status 0 or 1. A guest that says nothing has failed. Any CPU may check; the boot CPU gives the
 * verdict.
 */
#ifndef VVU_TEST_GUEST_COMMON_H
#define VVU_TEST_GUEST_COMMON_H

#include "rt/rt.h"

static unsigned int checks_done;
static unsigned int checks_failed;

__attribute__((format(printf, 4, 5))) static inline bool
check_at(int line, bool ok, const char *what, const char *fmt, ...)
{
	char why[160];
	va_list ap;

	__atomic_add_fetch(&checks_done, 1, __ATOMIC_RELAXED);
	if (ok)
		return true;
	__atomic_add_fetch(&checks_failed, 1, __ATOMIC_RELAXED);
	va_start(ap, fmt);
	rt_vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	rt_printf("FAIL line %d: %s%s%s\n", line, what, *why ? ": " : "", why);
	return false;
}

/* CHECK(condition); CHECKF(condition, "%d", value): the text says more when it fails. Both return
 * the condition. */
#define CHECK(cond)	  check_at(__LINE__, cond, #cond, "%s", "")
#define CHECKF(cond, ...) check_at(__LINE__, cond, #cond, __VA_ARGS__)

static inline int verdict(void)
{
	if (checks_failed)
		rt_printf("VERDICT FAIL %u of %u\n", checks_failed, checks_done);
	else
		rt_printf("VERDICT PASS %u\n", checks_done);
	return checks_failed || !checks_done;
}

#endif
