// SPDX-License-Identifier: BSD-2-Clause
/* The ways out: power-off with a status, and restart. */
#include "internal.h"

#include "io.h"

/* ACPI PM1a control of QEMU's PC machines as their firmware leaves it, and Cloud Hypervisor's sleep
 * port: S5. */
#define QEMU_PM1A_CNT	  0x604
#define QEMU_PM1A_S5	  0x2000
#define CLOUDHV_SLEEP	  0x600
#define CLOUDHV_S5	  0x34
#define RESET_CONTROL	  0xcf9
#define RESET_CONTROL_SYS 0x06
#define I8042_RESET	  0xfe

/* Nothing answered: halts for good. Interrupts may wake the CPU; it halts again. */
static _Noreturn void halt(void)
{
	for (;;) {
		rt_this_cpu()->irq_any = 0;
		ring0_call3(RING0_IDLE, 0, 0, 0);
	}
}

void rt_exit(int status)
{
	if (rt_is_vvu_machine()) {
		io_out8(MACHINE_EXIT_PORT, (uint8_t)(status && !(status & 0xff) ? 1 : status));
		halt();
	}
	/* QEMU's isa-debug-exit sits at the same port where it was asked for, and carries the
	 * status. */
	io_out8(MACHINE_EXIT_PORT, (uint8_t)status);
	io_out16(QEMU_PM1A_CNT, QEMU_PM1A_S5);
	io_out8(CLOUDHV_SLEEP, CLOUDHV_S5);
	/* Firecracker ends by the keyboard controller, QEMU's microvm by a triple fault. */
	io_out8(MACHINE_EXIT_REBOOT_PORT, I8042_RESET);
	ring0_call3(RING0_RESET, 0, 0, 0);
	halt();
}

void rt_reboot(void)
{
	io_out8(MACHINE_EXIT_REBOOT_PORT, I8042_RESET);
	io_out8(RESET_CONTROL, RESET_CONTROL_SYS);
	ring0_call3(RING0_RESET, 0, 0, 0);
	halt();
}
