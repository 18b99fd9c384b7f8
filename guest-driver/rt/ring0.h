/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What ring 0 and ring 3 of the runtime agree on: selectors, vectors, addresses, and the calls that
 * ring 3 makes with `int3`. Included by C and assembly.
 *
 *     virtual address           what                                   ring 3 may
 *     0          - 2 MiB        ring 0 (from 1 MiB), boot information  nothing
 *     2 MiB      - 4 MiB        text and constants of the image        read, execute
 *     4 MiB      - ...          stack, data, heap (RAM, identity)      read, write
 *     3 GiB      - 4 GiB        device registers (identity)            read, write: what is mapped
 *     63 GiB     - + 2 MiB      stacks of all CPUs but the first       read, write
 *     64 GiB     - 112 TiB      windows on shared memory               read, write: what is mapped
 *     LAPIC_VA                  local APIC                             nothing
 *
 * Each CPU's GS base is the address of its struct rt_cpu, in ring 0 and in ring 3.
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
#define VECTOR_WAKE	0xf1
#define VECTOR_SPURIOUS 0xff

/* The local APIC's page in the upper half, where a sign-extended 32-bit address reaches it. */
#define LAPIC_PA       0xfee00000
#define LAPIC_VA       0xfffffffffee00000
#define LAPIC_ICR      0x300
#define LAPIC_ICR_HI   0x310
#define LAPIC_ICR_SELF 0x44000
#define LAPIC_ICR_ONE  0x4000 /* fixed, edge, to the CPU that ICR_HI names */
#define LAPIC_EOI      0x0b0

#define PAGE_2M	       0x200000
#define HEAP_END_MAX   0xc0000000
#define WINDOW_VA_BASE 0x1000000000
#define WINDOW_VA_END  0x700000000000

/*
 * Stacks of the CPUs that are started later: a slot of CPU_SLOT_BYTES each in one table of 4 KiB pages, with nothing
 * below each stack. Their memory is contiguous, the stack for exceptions first.
 */
#define CPU_STACKS_VA	      0xfc0000000
#define CPU_SLOT_BYTES	      0x20000
#define CPU_FAULT_STACK_AT    0x4000 /* in the slot */
#define CPU_FAULT_STACK_BYTES 0x4000
#define CPU_STACK_AT	      0x10000
#define CPU_STACK_BYTES	      0x10000

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
	10 /* number, memory for its stacks: prepares it; the page of its start-up IPI, or -errno  \
	    */
#define RING0_TLB_FLUSH 11
#define RING0_IPI	12 /* apic id, interrupt command */
#define RING0_STOP	13 /* halts this CPU for good */
#define RING0_DONATE	14 /* address of 2 MiB of the heap: becomes page tables; 0 or -errno */
#define RING0_WAKE	15 /* apic id: VECTOR_WAKE to it */

#define RING0_MAP_UNCACHED 1
#define RING0_MAP_MASK	   1

/* Offsets in struct ring0_ap. */
#define AP_STACK0 0
#define AP_RSP	  8
#define AP_CPU	  16

/* Offsets in struct rt_cpu. */
#define CPU_SELF	0
#define CPU_ID		8
#define CPU_IRQ_ANY	12
#define CPU_WOKEN	13
#define CPU_WINDOW	14
#define CPU_FAULT_STACK 16
#define CPU_CATCH_RSP	24
#define CPU_IRQ_FLAGS	64

#ifndef __ASSEMBLER__
#include <stdbool.h>

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
	uint32_t cpuid1_ebx;
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

/*
 * What each CPU has for itself, in ring 3's memory. Only that CPU writes it, but to what concerns its start, so that
 * polling CPUs share no cache line by it.
 */
struct rt_cpu {
	struct rt_cpu *self;
	uint32_t id;
	/* Set by interrupt handlers. */
	volatile uint8_t irq_any; /* something came */
	volatile uint8_t woken;	  /* rt_cpu_wake() */
	volatile uint8_t window;
	volatile uint8_t arrived; /* in ring 3; set by the CPU itself */
	uint64_t fault_stack;	  /* its top */
	uint64_t catch_rsp;
	bool catch_active;
	void (*fn)(void *arg);
	void *arg;
	volatile uint8_t irq_flags[VECTOR_IRQ_NUM] __attribute__((aligned(64)));
	struct rt_fault fault;
} __attribute__((aligned(128)));
ABI_OFFSET(struct rt_cpu, self, CPU_SELF);
ABI_OFFSET(struct rt_cpu, id, CPU_ID);
ABI_OFFSET(struct rt_cpu, irq_any, CPU_IRQ_ANY);
ABI_OFFSET(struct rt_cpu, woken, CPU_WOKEN);
ABI_OFFSET(struct rt_cpu, window, CPU_WINDOW);
ABI_OFFSET(struct rt_cpu, fault_stack, CPU_FAULT_STACK);
ABI_OFFSET(struct rt_cpu, catch_rsp, CPU_CATCH_RSP);
ABI_OFFSET(struct rt_cpu, irq_flags, CPU_IRQ_FLAGS);
extern struct rt_cpu rt_cpus[RT_CPUS_MAX];

static inline struct rt_cpu *rt_this_cpu(void)
{
	struct rt_cpu *cpu;

	__asm__("movq %%gs:%c1, %0" : "=r"(cpu) : "i"(CPU_SELF));
	return cpu;
}

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
