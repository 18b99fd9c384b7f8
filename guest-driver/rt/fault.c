// SPDX-License-Identifier: BSD-2-Clause
/* CPU exceptions: caught by rt_catch(), or printed with the registers and the end of the guest. */
#include "internal.h"

static const char *const names[] = {
	"divide error",
	"debug",
	"NMI",
	"breakpoint",
	"overflow",
	"bound range",
	"invalid opcode",
	"device not available",
	"double fault",
	"coprocessor overrun",
	"invalid TSS",
	"segment not present",
	"stack fault",
	"general protection",
	"page fault",
	"reserved",
	"x87 error",
	"alignment check",
	"machine check",
	"SIMD error",
};

int rt_catch(void (*fn)(void *arg), void *arg, uint64_t *error_code, uint64_t *cr2)
{
	struct rt_cpu *cpu = rt_this_cpu();
	int vector;

	if (cpu->catch_active)
		rt_panic("rt_catch() inside rt_catch()");
	cpu->catch_active = true;
	vector = rt_catch_call(fn, arg);
	cpu->catch_active = false;
	if (vector >= 0 && error_code)
		*error_code = cpu->fault.regs.error_code;
	if (vector >= 0 && cr2)
		*cr2 = cpu->fault.cr2;
	return vector;
}

static void dump(const struct rt_regs *r, uint64_t cr2)
{
	rt_printf("rip %016lx cs  %016lx rfl %016lx\n", r->rip, r->cs, r->rflags);
	rt_printf("rsp %016lx ss  %016lx cr2 %016lx\n", r->rsp, r->ss, cr2);
	rt_printf("rax %016lx rbx %016lx rcx %016lx\n", r->rax, r->rbx, r->rcx);
	rt_printf("rdx %016lx rsi %016lx rdi %016lx\n", r->rdx, r->rsi, r->rdi);
	rt_printf("rbp %016lx r8  %016lx r9  %016lx\n", r->rbp, r->r8, r->r9);
	rt_printf("r10 %016lx r11 %016lx r12 %016lx\n", r->r10, r->r11, r->r12);
	rt_printf("r13 %016lx r14 %016lx r15 %016lx\n", r->r13, r->r14, r->r15);
}

void rt_fault_main(void)
{
	struct rt_cpu *cpu = rt_this_cpu();
	const struct rt_regs *r = &cpu->fault.regs;
	bool ring3 = (r->cs & 3) == 3;

	if (ring3 && cpu->catch_active) {
		cpu->fault.busy = 0;
		rt_catch_resume(r->vector);
	}
	/* busy stays set: an exception in here ends the guest at once. */
	console_lock();
	rt_printf("\nCPU exception %lu (%s) in ring %u, error code %#lx\n", r->vector,
		  r->vector < ARRAY_LEN(names) ? names[r->vector] : "?", ring3 ? 3 : 0,
		  r->error_code);
	dump(r, cpu->fault.cr2);
	rt_panic("CPU %u: exception %lu at rip %#lx", cpu->id, r->vector, r->rip);
}
