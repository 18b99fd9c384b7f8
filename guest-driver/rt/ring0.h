/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What ring 0 and ring 3 of the runtime agree on: selectors, vectors, addresses, and the calls that
 * ring 3 makes with `int3`. Included by C and assembly.
 *
 *     virtual address           what                                   ring 3 may
 *     0          - 2 MiB        ring 0 (from 1 MiB), boot information  nothing
 *     2 MiB      - 4 MiB        text and constants of the image        read, execute
 *     4 MiB      - ...          stack, data, heap (RAM, identity)      read, write
 *     3 GiB      - 4 GiB        device registers (identity)            read, write: what it had
 * mapped 64 GiB     - 112 TiB      windows on shared memory               read, write: what it had
 * mapped LAPIC_VA                  local APIC                             nothing
 */
#ifndef VVU_RT_RING0_H
#define VVU_RT_RING0_H

#define SEL_CODE0	0x08
#define SEL_DATA0	0x10
#define SEL_DATA3	0x1b
#define SEL_CODE3	0x23
#define SEL_NOT_PRESENT 0x2b /* a data segment that is not present: lets tests raise #NP */
#define SEL_CODE32	0x30
#define SEL_TSS		0x40 /* one for each CPU, of two entries */
#define SEL_END		(SEL_TSS + 16 * RT_CPUS_MAX)

#define RT_CPUS_MAX 16

/* Each vector's stub has a fixed address, so that the IDT is a constant. */
#define RING0_BASE	  0x100000
#define RING0_STUB_BYTES  16
#define RING0_END	  0x200000
#define RING0_STACK_BYTES 4096

#define VECTOR_WINDOW	0x20 /* below all irqs: see ring0_irq_window */
#define VECTOR_IRQ_BASE 0x30 /* plus irq number, 0..GD_IRQ_MAX-1 */
#define VECTOR_IRQ_NUM	128
#define VECTOR_TIMER	0xf0
#define VECTOR_SPURIOUS 0xff

/* The local APIC's page in the upper half, where a sign-extended 32-bit address reaches it. */
#define LAPIC_PA       0xfee00000
#define LAPIC_VA       0xfffffffffee00000
#define LAPIC_ICR      0x300
#define LAPIC_ICR_SELF 0x44000
#define LAPIC_EOI      0x0b0

#define PAGE_2M	       0x200000
#define HEAP_END_MAX   0xc0000000
#define WINDOW_VA_BASE 0x1000000000
#define WINDOW_VA_END  0x700000000000

/* rflags in ring 3: IOPL 3, interrupts off, and the bit that is always one. */
#define RING3_RFLAGS 0x3002

/*
 * Calls: number in rax, arguments in rdi, rsi, rdx; result in rax; rcx, r8-r11 and the argument
 * registers are lost.
 */
#define RING0_IDLE	 1 /* tsc deadline or 0; returns after an interrupt */
#define RING0_IRQ_WINDOW 2
#define RING0_MAP	 3 /* va, pa | RING0_MAP_*, number of 2 MiB pages; 0 or -errno */
#define RING0_UNMAP	 4 /* va, number of 2 MiB pages; 0 or -errno */
#define RING0_XSETBV	 5 /* value of XCR0 */
#define RING0_KVMCLOCK	 6 /* pvclock page on or off: msr value */
#define RING0_TIMER_RATE 7 /* apic timer ticks per 2^20 tsc cycles, as calibrated by the caller */
#define RING0_TIMER_COUNT                                                                          \
	8	      /* apic timer: count to start with (0: leave it); returns the current one */
#define RING0_RESET 9 /* triple fault */
#define RING0_CPU_START                                                                            \
	10 /* rip, rsp, argument: prepares the next CPU; the page of its start-up IPI, or -errno \
	    */
#define RING0_AP_STARTED 11 /* whether the CPU prepared last has reached ring 3 */
#define RING0_IPI	 12 /* apic id, interrupt command */
#define RING0_STOP	 13 /* halts this CPU for good */
#define RING0_DONATE	 14 /* address of 2 MiB of the heap: becomes page tables; 0 or -errno */

#define RING0_MAP_UNCACHED 1
#define RING0_MAP_MASK	   1

/* Offsets in struct ring0_ap. */
#define AP_RIP	   0
#define AP_RSP	   8
#define AP_ARG	   16
#define AP_STACK0  24
#define AP_STARTED 32

#ifndef __ASSEMBLER__
#include "abi/base.h"
#include "abi/pvh.h"

#define RT_CMDLINE_MAX 4096
#define RT_MEMMAP_MAX  32

/* What ring 0 found at boot; in ring 3's memory. */
struct rt_boot {
	char cmdline[RT_CMDLINE_MAX];
	struct pvh_memmap_entry memmap[RT_MEMMAP_MAX];
	uint32_t memmap_num;
	uint32_t apic_id;
	uint64_t mapped_end; /* RAM up to here is mapped already */
	uint32_t cpuid_max;
	uint32_t cpuid1_ecx;
	uint32_t cpuid1_edx;
	uint32_t hv_max; /* highest hypervisor leaf, 0: none */
	uint32_t hv_signature[3];
	uint32_t hv_features;	 /* EAX of leaf 0x40000001 */
	uint32_t hv_tsc_khz;	 /* EAX of leaf 0x40000010 */
	uint32_t hv_apic_khz;	 /* EBX of it */
	uint32_t xcr0_supported; /* of what ring 3 may want */
	uint32_t crystal[3];	 /* EAX, EBX, ECX of leaf 0x15 */
};
extern struct rt_boot rt_boot;

/* A CPU exception as ring 3 gets to see it. */
struct rt_regs {
	uint64_t r15, r14, r13, r12, r11, r10, r9, r8;
	uint64_t rbp, rdi, rsi, rdx, rcx, rbx, rax;
	uint64_t vector, error_code;
	uint64_t rip, cs, rflags, rsp, ss;
};
ABI_SIZE(struct rt_regs, 22 * 8);

struct rt_fault {
	struct rt_regs regs;
	uint64_t cr2;
	uint32_t busy; /* set when one is handed to ring 3, cleared by it; a second one ends the
			  guest */
};
extern struct rt_fault rt_fault_info;

/* Set by interrupt handlers: one byte per irq number, and "something came". */
extern volatile uint8_t rt_irq_flags[VECTOR_IRQ_NUM];
extern volatile uint8_t rt_irq_any;

/* Ring 3's side of the calls. */
static inline uint64_t ring0_call3(uint64_t fn, uint64_t a, uint64_t b, uint64_t c)
{
	__asm__ volatile("int3"
			 : "+a"(fn), "+D"(a), "+S"(b), "+d"(c)
			 :
			 : "rcx", "r8", "r9", "r10", "r11", "memory", "cc");
	return fn;
}
#endif
#endif
