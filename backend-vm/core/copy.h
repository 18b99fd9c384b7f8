/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The copy loop of the data path. One side is memory that somebody may be writing meanwhile: whatever is read is read
 * once, and nothing is decided by it. The same code runs hosted and in the VM, so that the two can be compared.
 */
#ifndef VVU_CORE_COPY_H
#define VVU_CORE_COPY_H

#include "abi/base.h"

typedef uint8_t copy_v16 __attribute__((vector_size(16), aligned(1), may_alias));

static inline void copy_16(uint8_t *dst, const uint8_t *src)
{
	*(copy_v16 *)(void *)dst = *(const copy_v16 *)(const void *)src;
}

/* 0 to 15 bytes. */
static inline void copy_tiny(uint8_t *dst, const uint8_t *src, size_t n)
{
	if (n >= 8) {
		uint64_t a, b;

		__builtin_memcpy(&a, src, 8);
		__builtin_memcpy(&b, src + n - 8, 8);
		__builtin_memcpy(dst, &a, 8);
		__builtin_memcpy(dst + n - 8, &b, 8);
	} else if (n >= 4) {
		uint32_t a, b;

		__builtin_memcpy(&a, src, 4);
		__builtin_memcpy(&b, src + n - 4, 4);
		__builtin_memcpy(dst, &a, 4);
		__builtin_memcpy(dst + n - 4, &b, 4);
	} else if (n) {
		uint8_t a = src[0], b = src[n / 2], c = src[n - 1];

		dst[0] = a;
		dst[n / 2] = b;
		dst[n - 1] = c;
	}
}

static inline void copy_bytes(void *to, const void *from, size_t n)
{
	uint8_t *dst = to;
	const uint8_t *src = from;

	if (n < 16) {
		copy_tiny(dst, src, n);
		return;
	}
	while (n >= 64) {
		copy_v16 a = *(const copy_v16 *)(const void *)src;
		copy_v16 b = *(const copy_v16 *)(const void *)(src + 16);
		copy_v16 c = *(const copy_v16 *)(const void *)(src + 32);
		copy_v16 d = *(const copy_v16 *)(const void *)(src + 48);

		*(copy_v16 *)(void *)dst = a;
		*(copy_v16 *)(void *)(dst + 16) = b;
		*(copy_v16 *)(void *)(dst + 32) = c;
		*(copy_v16 *)(void *)(dst + 48) = d;
		dst += 64;
		src += 64;
		n -= 64;
	}
	while (n >= 16) {
		copy_16(dst, src);
		dst += 16;
		src += 16;
		n -= 16;
	}
	copy_tiny(dst, src, n);
}

#endif
