/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * For guests with several CPUs: all but the boot CPU sleep until there is a job for them. So every job begins with
 * rt_cpu_wake(), and whether wake-ups get lost is tested all the time: the test hangs then. A CPU that was awake
 * anyway has its job before the wake-up for it is sent; none of those is left when the job's function is called.
 */
#ifndef VVU_TEST_GUEST_SMP_H
#define VVU_TEST_GUEST_SMP_H

#include "common.h"
#include "ring0.h"

static unsigned int num_cpus;
static void (*volatile smp_job)(unsigned int cpu);
static volatile uint32_t smp_job_number;
static volatile uint32_t smp_here;
static volatile uint32_t smp_done;

/* Forgets wake-ups that are on their way: when all are here, none will be sent. */
static inline void smp_let_wakes_pass(void)
{
	__atomic_add_fetch(&smp_here, 1, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&smp_here, __ATOMIC_ACQUIRE) < num_cpus)
		__builtin_ia32_pause();
	rt_irq_window();
	rt_idle(0);
}

static inline void smp_loop(void *arg)
{
	unsigned int me = rt_cpu_id();

	CHECKF((uintptr_t)arg == me, "CPU %u runs for CPU %lu", me, (uintptr_t)arg);
	__atomic_add_fetch(&smp_done, 1, __ATOMIC_SEQ_CST);
	for (uint32_t seen = 0;; seen++) {
		while (__atomic_load_n(&smp_job_number, __ATOMIC_ACQUIRE) == seen)
			rt_idle(UINT64_MAX);
		smp_let_wakes_pass();
		smp_job(me);
		if (__atomic_add_fetch(&smp_done, 1, __ATOMIC_SEQ_CST) == num_cpus)
			rt_cpu_wake(0);
	}
}

static inline bool smp_start(void)
{
	num_cpus = rt_cpu_count();
	CHECKF(num_cpus > 1 && num_cpus <= RT_CPUS_MAX, "%u CPUs", num_cpus);
	for (unsigned int cpu = 1; cpu < num_cpus; cpu++) {
		int err = rt_cpu_start(cpu, smp_loop, (void *)(uintptr_t)cpu);

		if (!CHECKF(err == 0, "CPU %u: %d", cpu, err))
			return false;
	}
	while (__atomic_load_n(&smp_done, __ATOMIC_ACQUIRE) < num_cpus - 1)
		__builtin_ia32_pause();
	return true;
}

/* Gives the other CPUs a job and returns while they are at it. */
static inline void smp_begin(void (*job)(unsigned int cpu))
{
	smp_job = job;
	smp_here = 0;
	smp_done = 0;
	__atomic_add_fetch(&smp_job_number, 1, __ATOMIC_SEQ_CST);
	for (unsigned int cpu = 1; cpu < num_cpus; cpu++)
		rt_cpu_wake(cpu);
	smp_let_wakes_pass();
}

/* Waits until they are all done, with the boot CPU. */
static inline void smp_end(void)
{
	if (__atomic_add_fetch(&smp_done, 1, __ATOMIC_SEQ_CST) == num_cpus)
		return;
	while (__atomic_load_n(&smp_done, __ATOMIC_ACQUIRE) < num_cpus)
		rt_idle(UINT64_MAX);
}

/* All CPUs do it. */
static inline void smp_all(void (*job)(unsigned int cpu))
{
	smp_begin(job);
	job(0);
	smp_end();
}

#endif
