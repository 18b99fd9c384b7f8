// SPDX-License-Identifier: BSD-2-Clause
/* Several CPUs: each that the command line counts starts in ring 3 and works on shared memory with
 * the others. */
#include "abi/errno.h"
#include "common.h"

#define ROUNDS 100000

static volatile uint32_t arrived;
static volatile uint32_t counter;
static volatile uint32_t done;
static uint32_t num_cpus;

static void wait_for(volatile uint32_t *what, uint32_t value)
{
	while (__atomic_load_n(what, __ATOMIC_ACQUIRE) < value)
		__builtin_ia32_pause();
}

static void work(void *arg)
{
	uint32_t *mine = arg;

	__atomic_add_fetch(&arrived, 1, __ATOMIC_SEQ_CST);
	wait_for(&arrived, num_cpus);
	for (unsigned int i = 0; i < ROUNDS; i++) {
		__atomic_add_fetch(&counter, 1, __ATOMIC_SEQ_CST);
		++*mine;
	}
	__atomic_add_fetch(&done, 1, __ATOMIC_SEQ_CST);
}

int rt_main(const char *cmdline)
{
	static uint32_t own[16][16];

	int err;

	num_cpus = (uint32_t)(*cmdline - '0');
	for (unsigned int i = 1; i < num_cpus; i++) {
		err = rt_cpu_start(i, work, own[i]);
		/* Other VMMs' CPUs are not waited for for long; a busy host runs them late. */
		if (err == -ETIMEDOUT && !rt_is_vvu_machine()) {
			wait_for(&arrived, i);
			err = 0;
		}
		CHECKF(err == 0, "CPU %u: %d", i, err);
	}
	if (checks_failed)
		return verdict();
	work(own[0]);
	wait_for(&done, num_cpus);
	CHECKF(counter == num_cpus * ROUNDS, "%u", counter);
	for (unsigned int i = 0; i < num_cpus; i++)
		CHECKF(own[i][0] == ROUNDS, "CPU %u: %u", i, own[i][0]);
	/* Other VMMs don't say how many there are, so that trying takes its time. */
	CHECK(rt_cpu_count() == (rt_is_vvu_machine() ? num_cpus : 1));
	err = rt_cpu_start(num_cpus, work, own[15]);
	CHECKF(err == (rt_is_vvu_machine() ? -ENODEV : -ETIMEDOUT), "a CPU that is not there: %d",
	       err);
	return verdict();
}
