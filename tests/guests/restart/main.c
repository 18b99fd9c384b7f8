// SPDX-License-Identifier: BSD-2-Clause
/*
 * Restart. The guest is told by a typed letter what to do: `k`, `c`, `t` restart it by keyboard
 * controller, reset control register and triple fault, after it has dirtied its memory; `v` has it
 * look at its memory and give the verdict; `o` has another CPU restart it. After each start everything must be as at
 * the first. The other CPUs, where there are any, sleep or write to memory meanwhile.
 */
#include "common.h"
#include "io.h"
#include "ring0.h"

#define UART_LSR  (MACHINE_SERIAL_PORT + 5)
#define LSR_READY 0x01

static uint32_t in_data = 42;
static uint32_t in_bss;

static void check_and_dirty(void)
{
	size_t bytes = rt_free_bytes() & ~(size_t)7;
	uint64_t *p = rt_alloc(bytes, 8);
	size_t dirty = 0;

	CHECKF(in_data == 42 && in_bss == 0, "%u %u", in_data, in_bss);
	in_data = in_bss = 7;
	if (!CHECK(p))
		return;
	for (size_t i = 0; i < bytes / 8; i += 512) {
		dirty += p[i] != 0;
		p[i] = 0x5555555555555555;
	}
	CHECKF(dirty == 0, "%zu pages of RAM were not cleared", dirty);
}

static volatile bool other_restarts;

static void be_there(void *arg)
{
	volatile uint64_t *mine = arg;
	unsigned int me = rt_cpu_id();

	for (;;) {
		if (other_restarts && me == rt_cpu_count() - 1)
			rt_reboot();
		if (me & 1)
			++*mine;
		else
			rt_idle(rt_now_ns() + 100000);
	}
}

static void start_others(void)
{
	static uint64_t own[RT_CPUS_MAX][64];

	for (unsigned int cpu = 1; cpu < rt_cpu_count(); cpu++) {
		int err = rt_cpu_start(cpu, be_there, own[cpu]);

		CHECKF(err == 0, "CPU %u: %d", cpu, err);
		CHECK(own[cpu][63] == 0);
	}
}

int rt_main(const char *cmdline)
{
	start_others();
	CHECKF(strcmp(cmdline, "the same") == 0, "%s", cmdline);
	check_and_dirty();
	rt_printf("READY\n");
	while (!checks_failed) {
		if (!(io_in8(UART_LSR) & LSR_READY))
			continue;
		switch (io_in8(MACHINE_SERIAL_PORT)) {
		case 'k':
			rt_reboot();
		case 'c':
			io_out8(0xcf9, 0x06);
			break;
		case 'o':
			other_restarts = true;
			break;
		case 'v':
			return verdict();
		}
	}
	return verdict();
}
