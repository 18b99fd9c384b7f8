// SPDX-License-Identifier: BSD-2-Clause
/*
 * Interrupts and idling. Interrupts are sent by the CPU to itself through its local APIC (this
 * needs no device). Nothing here depends on how long something takes, only on what comes first.
 */
#include "common.h"
#include "ring0.h"

#define MS 1000000ull

static void send(unsigned int irq)
{
	ring0_call3(RING0_IPI, 0, 0x4000 | (VECTOR_IRQ_BASE + irq), 0);
}

static void check_held_off(void)
{
	uint64_t end;

	send(5);
	for (end = rt_now_ns() + 2 * MS; rt_now_ns() < end;)
		CHECKF(!rt_this_cpu()->irq_flags[5], "an interrupt outside of the window");
	CHECK(!rt_irq_take(5));
	rt_irq_window();
	CHECKF(rt_irq_take(5), "the window lets it in");
	CHECKF(!rt_irq_take(5), "taken once");
}

static void check_several(void)
{
	send(0);
	send(64);
	send(GD_IRQ_MAX - 1);
	send(64);
	rt_irq_window();
	CHECK(rt_irq_take(0) && rt_irq_take(64) && rt_irq_take(GD_IRQ_MAX - 1));
	CHECK(!rt_irq_take(64) && !rt_irq_take(1));
	CHECK(!rt_irq_take(GD_IRQ_MAX) && !rt_irq_take(~0u));
}

/* Each of these would hang if a wake-up were lost. */
static void check_idle_irq(void)
{
	for (unsigned int i = 0; i < 200; i++) {
		unsigned int irq = i % GD_IRQ_MAX;

		send(irq);
		rt_idle(UINT64_MAX);
		CHECKF(rt_irq_take(irq), "irq %u", irq);
	}
	send(7);
	rt_irq_window();
	rt_idle(UINT64_MAX);
	CHECKF(rt_irq_take(7), "a flag that is set already ends idling");
}

static void check_idle_deadline(void)
{
	static const uint64_t lengths[] = { 0, 1000, 50000, 1 * MS, 20 * MS, 100 * MS };

	for (unsigned int i = 0; i < ARRAY_LEN(lengths); i++) {
		uint64_t start = rt_now_ns();

		rt_idle(start + lengths[i]);
		CHECKF(rt_now_ns() >= start + lengths[i], "woke early from %lu ns", lengths[i]);
		rt_printf("idle for %lu us took %lu us\n", lengths[i] / 1000,
			  (rt_now_ns() - start) / 1000);
	}
	rt_idle(0);
	/* The timer of the deadline is no irq, and an old one does not disturb. */
	rt_idle(rt_now_ns() + 1 * MS);
	for (unsigned int i = 0; i < GD_IRQ_MAX; i++)
		CHECKF(!rt_irq_take(i), "irq %u", i);
	uint64_t far = rt_now_ns() + 3600 * 1000 * MS;

	send(9);
	rt_idle(far);
	CHECK(rt_irq_take(9) && rt_now_ns() < far);
	rt_idle(rt_now_ns() + 2 * MS);
}

int rt_main(const char *cmdline)
{
	check_held_off();
	check_several();
	check_idle_irq();
	check_idle_deadline();
	return verdict();
}
