// SPDX-License-Identifier: BSD-2-Clause
/*
 * Kicks of a VVU device go to the CPU that they are bound to, and to no other; bound to another CPU while they come,
 * none is lost.
 */
#include "abi/errno.h"
#include "smp.h"
#include "vvu.h"

#define MOVES	    300
#define STORM_KICKS 20000

static volatile uint32_t counts[RT_CPUS_MAX][32]; /* a cache line or two each */
static volatile bool stop;
static volatile uint32_t settles, settled; /* times asked for, CPUs that have done it */

static void count(unsigned int me)
{
	uint32_t seen = 0;

	while (!stop) {
		bool asked = seen != settles;

		if (asked)
			rt_irq_window();
		if (rt_irq_take(KICK_IRQ))
			__atomic_store_n(&counts[me][0], counts[me][0] + 1, __ATOMIC_RELEASE);
		if (asked) {
			seen++;
			__atomic_add_fetch(&settled, 1, __ATOMIC_SEQ_CST);
		} else {
			rt_idle(UINT64_MAX);
		}
	}
	for (unsigned int i = 0; i < GD_IRQ_MAX; i++)
		CHECKF(!rt_irq_take(i), "CPU %u: irq %u", me, i);
}

static uint32_t total(void)
{
	uint32_t sum = 0;

	rt_irq_window();
	if (rt_irq_take(KICK_IRQ))
		counts[0][0]++;
	for (unsigned int cpu = 0; cpu < num_cpus; cpu++)
		sum += __atomic_load_n(&counts[cpu][0], __ATOMIC_ACQUIRE);
	return sum;
}

/* Until each CPU has counted what was sent to it before: the host may have run it late. */
static void settle(void)
{
	settled = 0;
	__atomic_add_fetch(&settles, 1, __ATOMIC_SEQ_CST);
	for (unsigned int cpu = 1; cpu < num_cpus; cpu++)
		rt_cpu_wake(cpu);
	while (__atomic_load_n(&settled, __ATOMIC_ACQUIRE) < num_cpus - 1)
		__builtin_ia32_pause();
}

static bool wait_more(uint32_t than)
{
	uint64_t end = rt_now_ns() + SLOW_NS;

	while (total() <= than)
		if (rt_now_ns() > end)
			return CHECKF(false, "a kick was lost");
	return true;
}

static void bind(unsigned int queue, unsigned int cpu)
{
	int err = gd_vvu_bind_kick_to(&vvu, queue, KICK_IRQ, cpu);

	CHECKF(err == 0, "queue %u, CPU %u: %d", queue, cpu, err);
}

/* Each queue at each CPU. */
static void check_targets(void)
{
	for (unsigned int i = 0; i < NUM_KICKS * num_cpus; i++) {
		unsigned int queue = i % NUM_KICKS, cpu = (i + i / NUM_KICKS) % num_cpus;
		uint32_t before = total(), mine = counts[cpu][0];

		bind(queue, cpu);
		bind(queue, cpu);
		peer_do("kick %u 1", queue);
		if (!wait_more(before))
			return;
		CHECKF(counts[cpu][0] == mine + 1 && total() == before + 1, "queue %u, CPU %u",
		       queue, cpu);
	}
}

static void check_moves(void)
{
	for (unsigned int i = 0; i < MOVES; i++) {
		uint32_t before = total();

		rt_printf("PEER kick 0 1\n");
		bind(0, (i + 1) % num_cpus);
		if (!vvu_expect_done() || !wait_more(before))
			return;
	}
}

static void check_storm(void)
{
	uint32_t before;
	unsigned int i;

	rt_printf("PEER storm 1 %u\n", STORM_KICKS);
	for (i = 0; !gd_vvu_pending(&vvu); i++)
		bind(1, i % num_cpus);
	vvu_expect_done();
	rt_printf("%u moves; interrupts of each CPU:", i);
	for (unsigned int cpu = 0; cpu < num_cpus; cpu++)
		rt_printf(" %u", counts[cpu][0]);
	rt_printf("\n");
	for (unsigned int cpu = 0; cpu < num_cpus; cpu++) {
		bind(1, cpu);
		gd_vvu_status(&vvu); /* an exit: whatever was sent has arrived */
		settle();
		before = total();
		peer_do("kick 1 1");
		wait_more(before);
	}
}

/* More irqs than a device has room for at a time; those that nobody uses any more give way. */
static void check_room(void)
{
	for (unsigned int irq = 20; irq < 20 + 2 * GD_VVU_TARGETS_MAX; irq++)
		CHECKF(gd_vvu_bind_kick_to(&vvu, 3, irq, 0) == 0, "irq %u", irq);
	peer_do("kick 3 1");
	for (uint64_t end = rt_now_ns() + SLOW_NS; rt_now_ns() < end;) {
		rt_irq_window();
		if (rt_irq_take(20 + 2 * GD_VVU_TARGETS_MAX - 1))
			return;
	}
	CHECKF(false, "the last irq bound was not raised");
}

int rt_main(const char *cmdline)
{
	if (!smp_start() || !vvu_open() || !session_up())
		return verdict();
	CHECK(gd_vvu_bind_kick_to(&vvu, vvu.max_queues, KICK_IRQ, 1) == -EINVAL);
	CHECK(gd_vvu_bind_kick_to(&vvu, 0, GD_IRQ_MAX, 1) == -EINVAL);
	for (unsigned int i = 0; i < NUM_KICKS; i++)
		peer_do("kick-new %u", i);
	smp_begin(count);
	check_targets();
	check_moves();
	check_storm();
	check_room();
	stop = true;
	for (unsigned int cpu = 1; cpu < num_cpus; cpu++)
		rt_cpu_wake(cpu);
	smp_end();
	return verdict();
}
