// SPDX-License-Identifier: BSD-2-Clause
/*
 * Restart. The guest is told by a typed letter what to do: `k`, `c`, `t` restart it by keyboard
 * controller, reset control register and triple fault, after it has dirtied its memory; `v` has it
 * look at its memory and give the verdict. After each start everything must be as at the first.
 */
#include "common.h"
#include "io.h"

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

int rt_main(const char *cmdline)
{
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
		case 'v':
			return verdict();
		}
	}
	return verdict();
}
