// SPDX-License-Identifier: BSD-2-Clause
/*
 * memcpy SIZE SECONDS: what libc's memcpy of SIZE bytes costs one processor, in nanoseconds per copy, when source
 * and destination are spread over 8 MiB each: the least that any switch that copies once can pay.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SET   (8u << 20)
#define BATCH 256u

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	size_t size = argc == 3 ? strtoul(argv[1], NULL, 10) : 0;
	double seconds = argc == 3 ? atof(argv[2]) : 0, start, spent;
	/* Slots like those of network buffers: whole cache lines, at least 2 KiB. */
	size_t slot = size <= 2048 ? 2048 : (size + 63) & ~(size_t)63;
	size_t slots = size ? SET / slot : 0;
	uint64_t copies = 0;
	uint8_t *from, *to;

	if (!slots || seconds <= 0) {
		fprintf(stderr, "usage: memcpy SIZE SECONDS, SIZE at most %u\n", SET);
		return 2;
	}
	from = aligned_alloc(4096, SET);
	to = aligned_alloc(4096, SET);
	if (!from || !to)
		return 1;
	memset(from, 1, SET);
	memset(to, 2, SET);
	start = now();
	do {
		for (unsigned int i = 0; i < BATCH; i++, copies++) {
			/* A step that is odd and no power of two visits every slot. */
			size_t at = (size_t)(copies * 7 % slots) * slot;

			memcpy(to + at, from + at, size);
			__asm__ volatile("" ::: "memory");
		}
		spent = now() - start;
	} while (spent < seconds);
	printf("%.2f\n", spent * 1e9 / (double)copies);
	free(from);
	free(to);
	return 0;
}
