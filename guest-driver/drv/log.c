// SPDX-License-Identifier: BSD-2-Clause
#include "gd/platform.h"

void gd_log(const struct gd_platform *p, enum gd_log_level level, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	p->log(p->ctx, level, fmt, ap);
	va_end(ap);
}
