// SPDX-License-Identifier: BSD-2-Clause
/* Further CPUs: INIT, then start-up IPIs (Intel SDM volume 3, "MP initialization protocol
 * algorithm"). */
#include "internal.h"

#include "io.h"

#define ICR_INIT      0x4500
#define ICR_STARTUP   0x4600
#define STACK_BYTES   65536
#define INIT_WAIT_NS  10000000ull
#define START_WAIT_NS 100000000ull

struct start {
	void (*fn)(void *arg);
	void *arg;
};

/* First code in ring 3 of such a CPU. XCR0 is its own. */
static void cpu_main(struct start *start)
{
	enable_avx();
	start->fn(start->arg);
	ring0_call3(RING0_STOP, 0, 0, 0);
}

/* Whether the CPU arrived before time ran out. */
static bool wait_started(uint64_t ns)
{
	uint64_t end = rt_now_ns() + ns;

	do {
		if (ring0_call3(RING0_AP_STARTED, 0, 0, 0))
			return true;
	} while (rt_now_ns() < end);
	return false;
}

int rt_cpu_start(unsigned int apic_id, void (*fn)(void *arg), void *arg)
{
	uint8_t *stack = rt_alloc(STACK_BYTES, 64);
	struct start *start = rt_alloc(sizeof(*start), 8);
	int64_t page;

	if (!stack || !start)
		return -ENOMEM;
	*start = (struct start){ fn, arg };
	page = (int64_t)ring0_call3(RING0_CPU_START, (uintptr_t)cpu_main,
				    (uintptr_t)stack + STACK_BYTES, (uintptr_t)start);
	if (page < 0)
		return (int)page;
	ring0_call3(RING0_IPI, apic_id, ICR_INIT, 0);
	wait_started(INIT_WAIT_NS);
	for (int i = 0; i < 2; i++) {
		ring0_call3(RING0_IPI, apic_id, ICR_STARTUP | (uint64_t)page >> 12, 0);
		if (wait_started(START_WAIT_NS))
			return 0;
	}
	return -ETIMEDOUT;
}
