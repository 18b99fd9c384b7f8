// SPDX-License-Identifier: BSD-2-Clause
/*
 * The payload's pattern: word i is start(seed) + i * STEP. Written and checked with the widest vectors that
 * pay; both loops are made once per instruction set and chosen at start.
 */
#include "frames.h"

#include <string.h>

#include <rte_cpuflags.h>

#define STEP 0x9e3779b97f4a7c15ull

typedef uint64_t words __attribute__((vector_size(32), aligned(1)));

static inline uint64_t start_of(uint32_t seed)
{
	return ((uint64_t)seed << 32 | ~seed) * 0xff51afd7ed558ccdull;
}

#define WORDS_FROM(w)                                                                              \
	{                                                                                          \
		(w), (w) + STEP, (w) + 2 * STEP, (w) + 3 * STEP                                    \
	}

/* Writes num words beginning with w. */
static inline __attribute__((always_inline)) void write_words(uint8_t *p, uint32_t num, uint64_t w)
{
	const words step = { 4 * STEP, 4 * STEP, 4 * STEP, 4 * STEP };
	words a = WORDS_FROM(w), b = a + step;
	uint32_t i = 0;

	for (; i + 8 <= num; i += 8) {
		*(words *)(p + 8 * i) = a;
		*(words *)(p + 8 * i + 32) = b;
		a += 2 * step;
		b += 2 * step;
	}
	w += i * STEP;
	for (; i < num; i++, w += STEP)
		memcpy(p + 8 * i, &w, 8);
}

/* Nonzero when one of num words is not as it should be. */
static inline __attribute__((always_inline)) uint64_t check_words(const uint8_t *p, uint32_t num,
								  uint64_t w)
{
	const words step = { 4 * STEP, 4 * STEP, 4 * STEP, 4 * STEP };
	words a = WORDS_FROM(w), b = a + step, bad = { 0 };
	uint64_t wrong, v;
	uint32_t i = 0;

	for (; i + 8 <= num; i += 8) {
		bad |= *(const words *)(p + 8 * i) ^ a;
		bad |= *(const words *)(p + 8 * i + 32) ^ b;
		a += 2 * step;
		b += 2 * step;
	}
	wrong = bad[0] | bad[1] | bad[2] | bad[3];
	w += i * STEP;
	for (; i < num; i++, w += STEP) {
		memcpy(&v, p + 8 * i, 8);
		wrong |= v ^ w;
	}
	return wrong;
}

static void write_plain(uint8_t *p, uint32_t num, uint64_t w)
{
	write_words(p, num, w);
}

static uint64_t check_plain(const uint8_t *p, uint32_t num, uint64_t w)
{
	return check_words(p, num, w);
}

__attribute__((target("avx2"))) static void write_avx2(uint8_t *p, uint32_t num, uint64_t w)
{
	write_words(p, num, w);
}

__attribute__((target("avx2"))) static uint64_t check_avx2(const uint8_t *p, uint32_t num,
							   uint64_t w)
{
	return check_words(p, num, w);
}

static bool avx2;

void pattern_init(void)
{
	avx2 = rte_cpu_get_flag_enabled(RTE_CPUFLAG_AVX2) > 0;
}

static void write_num(uint8_t *p, uint32_t num, uint64_t w)
{
	if (avx2)
		write_avx2(p, num, w);
	else
		write_plain(p, num, w);
}

static uint64_t check_num(const uint8_t *p, uint32_t num, uint64_t w)
{
	return avx2 ? check_avx2(p, num, w) : check_plain(p, num, w);
}

void pattern_write(uint8_t *p, uint32_t len, uint32_t at, uint32_t seed)
{
	uint64_t w = start_of(seed) + at / 8 * STEP;
	uint32_t part = at % 8;

	if (part) {
		uint32_t n = RTE_MIN(8 - part, len);

		memcpy(p, (const uint8_t *)&w + part, n);
		p += n;
		len -= n;
		w += STEP;
	}
	write_num(p, len / 8, w);
	w += len / 8 * STEP;
	memcpy(p + (len & ~7u), &w, len % 8);
}

/* The same for checking. */
static bool check_piece(const uint8_t *p, uint32_t len, uint32_t at, uint32_t seed)
{
	uint64_t w = start_of(seed) + at / 8 * STEP;
	uint32_t part = at % 8;
	bool bad = false;

	if (part) {
		uint32_t n = RTE_MIN(8 - part, len);

		bad = memcmp(p, (const uint8_t *)&w + part, n);
		p += n;
		len -= n;
		w += STEP;
	}
	bad |= check_num(p, len / 8, w) != 0;
	w += len / 8 * STEP;
	bad |= memcmp(p + (len & ~7u), &w, len % 8) != 0;
	return !bad;
}

bool pattern_check(const struct rte_mbuf *m, uint32_t from, uint32_t seed)
{
	uint32_t at = 0;
	bool good = true;

	for (; m; m = m->next) {
		if (from >= m->data_len) {
			from -= m->data_len;
			continue;
		}
		if (m->next)
			rte_prefetch0(rte_pktmbuf_mtod(m->next, const void *));
		good &= check_piece(rte_pktmbuf_mtod_offset(m, const uint8_t *, from),
				    m->data_len - from, at, seed);
		at += m->data_len - from;
		from = 0;
	}
	return good;
}
