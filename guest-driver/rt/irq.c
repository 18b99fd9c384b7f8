// SPDX-License-Identifier: BSD-2-Clause
/*
 * Interrupt flags, idling, and the timer that ends it. Ring 0's handlers only set flags, those of the CPU that took
 * the interrupt; each CPU looks at its own.
 */
#include "internal.h"

#define CPUID1_ECX_TSC_DEADLINE BIT_U32(24)
#define CALIBRATE_NS		200000

static bool timer_ready;

_Static_assert(GD_IRQ_MAX == VECTOR_IRQ_NUM, "each irq number has a vector");

void rt_irq_window(void)
{
	ring0_call3(RING0_IRQ_WINDOW, 0, 0, 0);
}

/* No interrupt can come between the look and the clearing: ring 3 runs with interrupts off. */
bool rt_irq_take(unsigned int irq)
{
	struct rt_cpu *cpu = rt_this_cpu();

	if (irq >= GD_IRQ_MAX || !cpu->irq_flags[irq])
		return false;
	cpu->irq_flags[irq] = 0;
	return true;
}

static bool any_flag(const struct rt_cpu *cpu)
{
	const volatile uint64_t *words = (const volatile uint64_t *)cpu->irq_flags;

	for (unsigned int i = 0; i < sizeof(cpu->irq_flags) / 8; i++)
		if (words[i])
			return true;
	return false;
}

/*
 * The APIC timer's rate: told by the VMM, or measured against the TSC once, by the boot CPU before it starts another.
 */
void timer_init(void)
{
	uint64_t start, end, ticks, rate;

	if (timer_ready)
		return;
	timer_ready = true;
	if (rt_boot.cpuid1_ecx & CPUID1_ECX_TSC_DEADLINE)
		return;
	if (rt_boot.hv_apic_khz) {
		rate = ((uint64_t)rt_boot.hv_apic_khz << 20) / rt_tsc_khz();
	} else {
		ring0_call3(RING0_TIMER_COUNT, UINT32_MAX, 0, 0);
		ticks = ring0_call3(RING0_TIMER_COUNT, 0, 0, 0);
		start = rt_tsc();
		do
			end = rt_tsc();
		while (end - start < rt_tsc_khz() * CALIBRATE_NS / 1000000);
		ticks -= ring0_call3(RING0_TIMER_COUNT, 0, 0, 0);
		/* Both readings lie equally long before the look at the clock that goes with them.
		 */
		rate = (ticks << 20) / (end - start);
	}
	ring0_call3(RING0_TIMER_RATE, rate, 0, 0);
}

void rt_idle(uint64_t deadline_ns)
{
	struct rt_cpu *cpu = rt_this_cpu();
	uint64_t tsc = 0;

	if (deadline_ns != UINT64_MAX) {
		timer_init();
		tsc = clock_tsc_at(deadline_ns);
	}
	for (;;) {
		cpu->irq_any = 0;
		if (cpu->woken) {
			cpu->woken = 0;
			return;
		}
		if (any_flag(cpu) || (tsc && rt_tsc() >= tsc))
			return;
		ring0_call3(RING0_IDLE, tsc, 0, 0);
	}
}
