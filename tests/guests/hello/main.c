// SPDX-License-Identifier: BSD-2-Clause
#include "rt/rt.h"

int rt_main(const char *cmdline)
{
	rt_printf("hello, %s! tsc %lu kHz, %zu bytes\n", cmdline, rt_tsc_khz(), rt_free_bytes());
	return 0;
}
