// SPDX-License-Identifier: BSD-2-Clause
/*
 * Memory and string functions. The copies matter: device logic moves frames with them, so they work
 * in 16-byte steps with overlapping ends instead of byte tails.
 */
#include "internal.h"

typedef uint8_t v16 __attribute__((vector_size(16), aligned(1), may_alias));
typedef uint64_t u64_any __attribute__((aligned(1), may_alias));
typedef uint32_t u32_any __attribute__((aligned(1), may_alias));
typedef uint16_t u16_any __attribute__((aligned(1), may_alias));

/* Above this the string instruction is faster than our loop on all CPUs with fast strings. */
#define REP_MIN 1024

static inline void copy_small(uint8_t *d, const uint8_t *s, size_t n)
{
	if (n >= 8) {
		uint64_t a = *(const u64_any *)s, b = *(const u64_any *)(s + n - 8);

		*(u64_any *)d = a;
		*(u64_any *)(d + n - 8) = b;
	} else if (n >= 4) {
		uint32_t a = *(const u32_any *)s, b = *(const u32_any *)(s + n - 4);

		*(u32_any *)d = a;
		*(u32_any *)(d + n - 4) = b;
	} else if (n >= 2) {
		uint16_t a = *(const u16_any *)s, b = *(const u16_any *)(s + n - 2);

		*(u16_any *)d = a;
		*(u16_any *)(d + n - 2) = b;
	} else if (n) {
		*d = *s;
	}
}

void *memcpy(void *restrict dst, const void *restrict src, size_t n)
{
	uint8_t *d = dst;
	const uint8_t *s = src;
	void *rd = dst;

	if (n < 16) {
		copy_small(d, s, n);
		return dst;
	}
	if (n >= REP_MIN) {
		__asm__ volatile("rep movsb" : "+D"(rd), "+S"(s), "+c"(n) : : "memory");
		return dst;
	}
	v16 last = *(const v16 *)(s + n - 16);
	size_t i;

	for (i = 0; i + 16 < n; i += 16)
		*(v16 *)(d + i) = *(const v16 *)(s + i);
	*(v16 *)(d + n - 16) = last;
	return dst;
}

void *memmove(void *dst, const void *src, size_t n)
{
	uint8_t *d = dst;
	const uint8_t *s = src;

	if (d <= s || d >= s + n) {
		/* Forward, each load before the store that could overwrite it. */
		for (; n >= 16; n -= 16, d += 16, s += 16)
			*(v16 *)d = *(const v16 *)s;
		for (; n; n--)
			*(volatile uint8_t *)d++ = *s++;
		return dst;
	}
	for (; n >= 16; n -= 16)
		*(v16 *)(d + n - 16) = *(const v16 *)(s + n - 16);
	for (; n; n--)
		*(volatile uint8_t *)(d + n - 1) = s[n - 1];
	return dst;
}

void *memset(void *dst, int c, size_t n)
{
	void *d = dst;

	__asm__ volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(c) : "memory");
	return dst;
}

int memcmp(const void *a, const void *b, size_t n)
{
	const uint8_t *x = a, *y = b;

	for (; n >= 8 && *(const u64_any *)x == *(const u64_any *)y; n -= 8, x += 8, y += 8)
		;
	for (; n; n--, x++, y++)
		if (*x != *y)
			return *x - *y;
	return 0;
}

size_t strlen(const char *s)
{
	const char *end = s;

	/* volatile: the compiler would turn the loop into a call of strlen(). */
	while (*(const volatile char *)end)
		end++;
	return (size_t)(end - s);
}

int strcmp(const char *a, const char *b)
{
	return strncmp(a, b, SIZE_MAX);
}

int strncmp(const char *a, const char *b, size_t n)
{
	for (; n; n--, a++, b++) {
		if (*a != *b)
			return (uint8_t)*a - (uint8_t)*b;
		if (!*a)
			return 0;
	}
	return 0;
}

char *strchr(const char *s, int c)
{
	for (;; s++) {
		if (*s == (char)c)
			return (char *)(uintptr_t)s;
		if (!*s)
			return NULL;
	}
}
