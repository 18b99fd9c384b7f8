// SPDX-License-Identifier: BSD-2-Clause
/*
 * Further CPUs: INIT, then start-up IPIs (Intel SDM volume 3, "MP initialization protocol
 * algorithm").
 *
 * A CPU's number is its local APIC ID, but for the boot CPU, which is number 0 whatever its ID is. They are started
 * one after another by the boot CPU.
 */
#include "internal.h"

#include "io.h"

#define ICR_INIT      0x4500
#define ICR_STARTUP   0x4600
#define INIT_WAIT_NS  10000000ull
#define START_WAIT_NS 100000000ull
/* Where it is known to be there: a busy host runs it late. */
#define START_WAIT_SURE_NS    5000000000ull
#define START_TRIES	      2
#define CPUID1_EBX_CPUS_SHIFT 16

struct rt_cpu rt_cpus[RT_CPUS_MAX];

unsigned int rt_cpu_id(void)
{
	return rt_this_cpu()->id;
}

/* Other VMMs' topologies can mean many things, and CPUs that did not come would be waited for. */
unsigned int rt_cpu_count(void)
{
	unsigned int count = rt_boot.cpuid1_ebx >> CPUID1_EBX_CPUS_SHIFT & 0xff;

	if (!rt_is_vvu_machine() || !count)
		return 1;
	return count < RT_CPUS_MAX ? count : RT_CPUS_MAX;
}

uint32_t cpu_apic_id(unsigned int cpu)
{
	return cpu ? cpu : rt_boot.apic_id;
}

void rt_cpu_wake(unsigned int cpu)
{
	ring0_call3(RING0_WAKE, cpu_apic_id(cpu), 0, 0);
}

void rt_tlb_flush(void)
{
	ring0_call3(RING0_TLB_FLUSH, 0, 0, 0);
}

/* First code in ring 3 of such a CPU. XCR0 is its own. */
void rt_cpu_start3(void)
{
	struct rt_cpu *cpu = rt_this_cpu();

	cpu->arrived = 1;
	enable_avx();
	cpu->fn(cpu->arg);
	ring0_call3(RING0_STOP, 0, 0, 0);
	__builtin_unreachable();
}

/* Whether the CPU arrived before time ran out. */
static bool wait_arrived(const struct rt_cpu *cpu, uint64_t ns)
{
	uint64_t end = rt_now_ns() + ns;

	do {
		if (cpu->arrived)
			return true;
		__builtin_ia32_pause();
	} while (rt_now_ns() < end);
	return false;
}

static int send_start(const struct rt_cpu *cpu, uint64_t page)
{
	uint64_t wait = rt_is_vvu_machine() ? START_WAIT_SURE_NS : START_WAIT_NS;

	ring0_call3(RING0_IPI, cpu->id, ICR_INIT, 0);
	/* KVM remembers both until the CPU takes them. */
	if (!rt_is_vvu_machine())
		wait_arrived(cpu, INIT_WAIT_NS);
	for (int i = 0; i < START_TRIES; i++) {
		ring0_call3(RING0_IPI, cpu->id, ICR_STARTUP | page >> 12, 0);
		if (wait_arrived(cpu, wait))
			return 0;
	}
	return -ETIMEDOUT;
}

int rt_cpu_start(unsigned int number, void (*fn)(void *arg), void *arg)
{
	struct rt_cpu *cpu = &rt_cpus[number < RT_CPUS_MAX ? number : 0];
	void *stacks;
	int64_t page;

	if (rt_cpu_id() || number == 0 || number >= RT_CPUS_MAX || cpu->self ||
	    number == rt_boot.apic_id)
		return -EINVAL;
	if (rt_is_vvu_machine() && number >= rt_cpu_count())
		return -ENODEV;
	stacks = rt_alloc(CPU_FAULT_STACK_BYTES + CPU_STACK_BYTES, 4096);
	if (!stacks)
		return -ENOMEM;
	timer_init();
	*cpu = (struct rt_cpu){
		.self = cpu,
		.id = number,
		.fault_stack = CPU_STACKS_VA + (uint64_t)number * CPU_SLOT_BYTES +
			       CPU_FAULT_STACK_AT + CPU_FAULT_STACK_BYTES,
		.fn = fn,
		.arg = arg,
	};
	page = (int64_t)ring0_call3(RING0_CPU_START, number, (uintptr_t)stacks, 0);
	return page < 0 ? (int)page : send_start(cpu, (uint64_t)page);
}
