// SPDX-License-Identifier: BSD-2-Clause
/* Ways to die, one by command line: the VMM and the dump on the console must say what happened. */
#include "common.h"
#include "ring0.h"

static __attribute__((noinline)) int overflow(volatile int *depth)
{
	volatile char room[4096];

	room[0] = (char)*depth;
	if (++*depth < 0)
		return 0;
	return overflow(depth) + room[0];
}

static int die(const char *cmdline)
{
	volatile int depth = 0;

	if (strcmp(cmdline, "ud") == 0)
		__asm__ volatile("movq $0x1234567890abcdef, %%r12; ud2" : : : "r12");
	if (strcmp(cmdline, "null") == 0)
		*(volatile int *)(uintptr_t)(depth + 0x10) = 1;
	if (strcmp(cmdline, "stack") == 0)
		return overflow(&depth);
	if (strcmp(cmdline, "ring0") == 0)
		ring0_call3(RING0_XSETBV, 0, 0, 0); /* bit 0 must be set: #GP in ring 0 */
	if (strcmp(cmdline, "triple") == 0)
		ring0_call3(RING0_RESET, 0, 0, 0);
	if (strcmp(cmdline, "panic") == 0)
		rt_panic("as asked: %d", 42);
	if (strncmp(cmdline, "exit=", 5) == 0)
		return cmdline[5] - '0';
	rt_printf("what shall I do?\n");
	return 9;
}

static void die_there(void *arg)
{
	rt_exit(die(arg));
}

/* `cpu=N WAY` does it on CPU N, `all WAY` on all at once. */
int rt_main(const char *cmdline)
{
	unsigned int first = 1, last = rt_cpu_count() - 1;
	const char *way = strchr(cmdline, ' ');

	if (!way)
		return die(cmdline);
	if (strncmp(cmdline, "cpu=", 4) == 0)
		first = last = (unsigned int)(cmdline[4] - '0');
	for (unsigned int cpu = first; cpu <= last; cpu++)
		if (rt_cpu_start(cpu, die_there, (void *)(uintptr_t)(way + 1)))
			return 9;
	for (;;)
		rt_idle(UINT64_MAX);
}
