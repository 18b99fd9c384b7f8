// SPDX-License-Identifier: BSD-2-Clause
/*
 * CPU exceptions taken in ring 3, each caught with its error code, and the walls around ring 3: its
 * own text and data protections, ring 0's memory, privileged instructions.
 */
#include "common.h"

#define PF_PRESENT  0x1
#define PF_WRITE    0x2
#define PF_USER	    0x4
#define PF_FETCH    0x10
#define ANY	    UINT64_MAX
#define LAR_PRESENT 0x8000

static void divide(void *arg)
{
	uint32_t a = 1, d = 0;

	__asm__ volatile("divl %2" : "+a"(a), "+d"(d) : "r"(0));
}

static void single_step(void *arg)
{
	__asm__ volatile("pushfq; orq $0x100, (%%rsp); popfq; nop; nop" : : : "memory", "cc");
}

static void invalid_opcode(void *arg)
{
	__asm__ volatile("ud2");
}

static void load_not_present(void *arg)
{
	__asm__ volatile("movw %w0, %%es" : : "r"(0x2b)); /* SEL_NOT_PRESENT of the runtime */
}

static void load_beyond_gdt(void *arg)
{
	__asm__ volatile("movw %w0, %%es" : : "r"(0xfff8));
}

static void stack_fault(void *arg)
{
	__asm__ volatile("movq %%rsp, %%rcx; movq %0, %%rsp; pushq $0; movq %%rcx, %%rsp"
			 :
			 : "r"(0x8000000000000000ull)
			 : "rcx", "memory");
}

static void read_at(void *arg)
{
	*(volatile uint8_t *)arg;
}

static void write_at(void *arg)
{
	*(volatile uint8_t *)arg = 1;
}

static void call_at(void *arg)
{
	((void (*)(void))(uintptr_t)arg)();
}

static void x87_error(void *arg)
{
	uint16_t control = 0x0340; /* all exceptions unmasked */

	__asm__ volatile("fninit; fldcw %0; fld1; fldz; fdivrp; fwait" : : "m"(control));
}

static void misaligned(void *arg)
{
	static uint32_t words[2];

	__asm__ volatile("pushfq; orq $0x40000, (%%rsp); popfq; movl 1(%0), %%eax"
			 :
			 : "r"(words)
			 : "rax", "memory", "cc");
}

static void simd_error(void *arg)
{
	uint32_t mxcsr = 0x1f80 & ~0x0200u; /* division by zero unmasked */
	float one = 1, zero = 0;

	__asm__ volatile("ldmxcsr %0; divss %2, %1" : : "m"(mxcsr), "x"(one), "x"(zero));
}

static void disable_interrupts(void *arg)
{
	/* With IOPL 3 this is allowed on hardware, and a fault where ring 3 is virtualised. Nothing
	 * may happen by it. */
	__asm__ volatile("cli");
}

static void halt(void *arg)
{
	__asm__ volatile("hlt");
}

static void read_msr(void *arg)
{
	uint32_t lo, hi;

	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(0x1b));
}

static void write_cr3(void *arg)
{
	__asm__ volatile("mov %0, %%cr3" : : "r"(0ul));
}

static void load_idt(void *arg)
{
	static uint8_t none[10];

	__asm__ volatile("lidt %0" : : "m"(none));
}

static void nothing(void *arg)
{
}

struct expect {
	const char *name;
	void (*fn)(void *arg);
	void *arg;
	int vector;
	uint64_t error_code;
};

static uint8_t data[16] = { 0xc3 };

static void check_one(const struct expect *e)
{
	uint64_t error_code = 0, cr2 = 0;
	int vector = rt_catch(e->fn, e->arg, &error_code, &cr2);

	CHECKF(vector == e->vector, "%s: got vector %d, wanted %d", e->name, vector, e->vector);
	if (e->error_code != ANY)
		CHECKF(error_code == e->error_code, "%s: got error code %#lx, wanted %#lx", e->name,
		       error_code, e->error_code);
	if (vector == 14)
		CHECKF(cr2 == (uintptr_t)e->arg, "%s: cr2 %#lx", e->name, cr2);
}

/* Some hosts run ring 3 on their own descriptor table; `lar` tells. */
static void check_not_present(void)
{
	const struct expect np = { "#NP", load_not_present, NULL, 11, 0x28 };
	uint32_t rights = LAR_PRESENT;

	__asm__("lar %1, %0" : "+r"(rights) : "r"(0x2b) : "cc");
	if (rights & LAR_PRESENT)
		rt_printf("#NP left out: ring 3 does not run on the guest's descriptor table\n");
	else
		check_one(&np);
}

static void check_state_survives(void)
{
	uint32_t mxcsr;
	uint16_t control;

	__asm__ volatile("stmxcsr %0; fnstcw %1" : "=m"(mxcsr), "=m"(control));
	CHECKF((mxcsr & 0xff80) == 0x1f80 && control == 0x37f, "%#x %#x", mxcsr, control);
}

int rt_main(const char *cmdline)
{
	void *text = (void *)(uintptr_t)rt_main, *ring0 = (void *)0x100000, *low = (void *)0x8,
	     *unmapped = (void *)0x7000000000;
	void *apic = (void *)0xfffffffffee00020;
	const struct expect list[] = {
		{ "no exception", nothing, NULL, -1, ANY },
		{ "#DE", divide, NULL, 0, 0 },
		{ "#DB", single_step, NULL, 1, 0 },
		{ "#UD", invalid_opcode, NULL, 6, 0 },
		{ "#GP selector", load_beyond_gdt, NULL, 13, 0xfff8 },
		{ "#GP non-canonical", read_at, (void *)0x8000000000000000, 13, 0 },
		{ "#PF read", read_at, unmapped, 14, PF_USER },
		{ "#PF write", write_at, unmapped, 14, PF_USER | PF_WRITE },
		{ "#PF fetch", call_at, unmapped, 14, PF_USER | PF_FETCH },
		{ "#MF", x87_error, NULL, 16, 0 },
		{ "text is read-only", write_at, text, 14, PF_USER | PF_WRITE | PF_PRESENT },
		{ "data is no code", call_at, data, 14, PF_USER | PF_FETCH | PF_PRESENT },
		{ "ring 0 cannot be read", read_at, ring0, 14, PF_USER | PF_PRESENT },
		{ "ring 0 cannot be written", write_at, ring0, 14,
		  PF_USER | PF_WRITE | PF_PRESENT },
		{ "ring 0 cannot be called", call_at, ring0, 14, PF_USER | PF_FETCH | PF_PRESENT },
		{ "boot information is gone", read_at, low, 14, PF_USER | PF_PRESENT },
		{ "the local APIC is ring 0's", read_at, apic, 14, PF_USER | PF_PRESENT },
		{ "hlt", halt, NULL, 13, 0 },
		{ "rdmsr", read_msr, NULL, 13, 0 },
		{ "mov cr3", write_cr3, NULL, 13, 0 },
		{ "lidt", load_idt, NULL, 13, 0 },
	};

	/* QEMU's TCG has no #AC and no unmasked SSE exceptions, and #GP for this #SS. */
	const struct expect not_tcg[] = {
		{ "#SS", stack_fault, NULL, 12, 0 },
		{ "#AC", misaligned, NULL, 17, 0 },
		{ "#XM", simd_error, NULL, 19, 0 },
	};
	bool tcg = strcmp(cmdline, "tcg") == 0;

	for (unsigned int round = 0; round < 2; round++) {
		for (unsigned int i = 0; i < ARRAY_LEN(list); i++)
			check_one(&list[i]);
		for (unsigned int i = 0; i < ARRAY_LEN(not_tcg) && !tcg; i++)
			check_one(&not_tcg[i]);
	}
	check_not_present();
	check_state_survives();
	rt_catch(disable_interrupts, NULL, NULL, NULL);
	return verdict();
}
