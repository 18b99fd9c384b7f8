/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The machine a guest of vvu-vmm finds, besides PCI: fixed addresses, ports, the CPUID leaf, and the statistics
 * page. Guests that run elsewhere (QEMU, Firecracker) find only what PVH promises, and must not rely on the rest: the
 * runtime looks for MACHINE_CPUID_SIGNATURE first.
 */
#ifndef VVU_ABI_MACHINE_H
#define VVU_ABI_MACHINE_H

#include "abi/base.h"

/* COM1, 16550. */
#define MACHINE_SERIAL_PORT 0x3f8
#define MACHINE_SERIAL_IRQ  4

/*
 * Text register: a 32-bit write of the guest-physical address of a struct machine_text sends its text where the serial
 * port sends its bytes, with one exit instead of one for each. A 32-bit read gives 0; a VMM without it gives all ones.
 */
#define MACHINE_TEXT_PORT 0xf0
#define MACHINE_TEXT_MAX  4096
struct machine_text {
	le32 len; /* at most MACHINE_TEXT_MAX; else nothing is sent */
	char text[];
};
ABI_OFFSET(struct machine_text, text, 4);

/* CPUID signature leaf of vvu-vmm's guests ("VvuVvuVvu" in EBX, ECX, EDX), and the TSC leaf: EAX = kHz. */
#define MACHINE_CPUID_SIGNATURE	     "VvuVvuVvu\0\0"
#define MACHINE_CPUID_SIGNATURE_LEAF 0x40000000u
#define MACHINE_CPUID_TSC_KHZ_LEAF   0x40000010u

/*
 * CPUs have local APIC IDs 0 (the boot CPU) to n - 1; n is in bits 23-16 of EBX of CPUID leaf 1. There are no ACPI or
 * MP tables. Those above 0 wait for INIT and a start-up IPI, which may follow each other at once.
 */

/*
 * Exit port. An 8-bit write ends the VM: status 0 is a clean power-off (vvu-vmm exits 0), anything else a failure
 * (vvu-vmm says so and exits 1). A 32-bit write of MACHINE_EXIT_REBOOT restarts the guest.
 */
#define MACHINE_EXIT_PORT	 0xf4
#define MACHINE_EXIT_REBOOT_PORT 0x64 /* i8042 reset command 0xfe; CF9 0x6 works as well */

/*
 * Statistics register: two 32-bit writes (low, then high half) give the guest-physical address of a
 * struct stats_page, 4096-aligned, in guest RAM. The high half makes it valid; address 0 withdraws it. The VMM only
 * reads the page, when its control socket is asked.
 */
#define MACHINE_STATS_PORT_LO 0xf8
#define MACHINE_STATS_PORT_HI 0xfc

/* RAM below, devices above: 32-bit BARs and the local APIC page live in the hole. */
#define MACHINE_MMIO32_BASE 0xc0000000u
#define MACHINE_MMIO32_END  0xfec00000u
/*
 * RAM behind the image is all zero when the guest starts, also after a restart: a guest need not touch memory to know
 * what is in it. Boot information and command line lie below 1 MiB.
 */
#define MACHINE_RAM_HIGH_BASE 0x100000000ull

/*
 * ELF note of an image that knows this machine, beside its PVH note: le32, what it needs of a PC beyond what is above.
 * Images without it get everything. What is not there need not be taken apart, either, when the VM dies: for a PIT the
 * kernel waits for several RCU grace periods.
 */
#define MACHINE_NOTE_OWNER     "Vvu"
#define MACHINE_NOTE_NEEDS     1
#define MACHINE_NEEDS_PIT_BIT  0
#define MACHINE_NEEDS_PIT_MASK (1u << MACHINE_NEEDS_PIT_BIT)

/*
 * Statistics page: a header, then named 64-bit counters. The guest fills in names once and sets count last; values
 * are plain 64-bit stores by the guest, read by the VMM at any time. The VMM treats all of it as hostile.
 */
#define STATS_MAGIC	 0x73757676u /* "vvus" */
#define STATS_VERSION	 1
#define STATS_NAME_MAX	 47
#define STATS_PAGE_BYTES 262144
struct stats_counter {
	char name[STATS_NAME_MAX + 1]; /* NUL-terminated, [a-z0-9_.] */
	le64 value;
};
ABI_SIZE(struct stats_counter, 56);

struct stats_page {
	le32 magic;
	le32 version;
	le32 count;    /* of counters that have a name */
	le32 capacity; /* of counters the page has room for */
	struct stats_counter counters[];
};
ABI_OFFSET(struct stats_page, counters, 16);

#endif
