// SPDX-License-Identifier: BSD-2-Clause
/*
 * pingpong CPU CPU: how far apart two processors are at this moment.
 *
 * Two pinned threads hand a cache line back and forth. Prints the lower quartile of the round trip's time in
 * nanoseconds over many short batches: a batch that was interrupted, or that shared its processor with a
 * polling process, does not count. The hypervisor under a cloud machine moves its processors about; a figure for
 * the data path means something only together with this one.
 */
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define BATCHES 400
#define ROUNDS	100

static _Alignas(128) volatile uint32_t line;

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set)) {
		perror("pingpong: sched_setaffinity");
		exit(1);
	}
}

/* Odd values are the partner's to answer. */
static void *answer(void *arg)
{
	pin(*(int *)arg);
	for (uint32_t next = 1; next < 2 * BATCHES * ROUNDS; next += 2) {
		while (line != next)
			;
		line = next + 1;
	}
	return NULL;
}

static int by_value(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

int main(int argc, char **argv)
{
	static double batch[BATCHES];
	pthread_t partner;
	int cpu[2];

	if (argc != 3) {
		fprintf(stderr, "usage: pingpong CPU CPU\n");
		return 2;
	}
	for (int i = 0; i < 2; i++)
		cpu[i] = atoi(argv[i + 1]);
	pin(cpu[0]);
	if (pthread_create(&partner, NULL, answer, &cpu[1])) {
		fprintf(stderr, "pingpong: no thread\n");
		return 1;
	}
	for (uint32_t i = 0, next = 1; i < BATCHES; i++) {
		double start = now_ns();

		for (uint32_t r = 0; r < ROUNDS; r++, next += 2) {
			line = next;
			while (line != next + 1)
				;
		}
		batch[i] = (now_ns() - start) / ROUNDS;
	}
	pthread_join(partner, NULL);
	qsort(batch, BATCHES, sizeof(batch[0]), by_value);
	printf("%.1f\n", batch[BATCHES / 4]);
	return 0;
}
