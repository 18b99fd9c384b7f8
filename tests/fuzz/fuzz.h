/* SPDX-License-Identifier: BSD-2-Clause */
/* What fuzz targets share: reading fields off the input, and invariants that end the run. */
#ifndef VVU_TESTS_FUZZ_H
#define VVU_TESTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #cond);       \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

/* The input, eaten from the front. Reading past its end gives zeros; input_left() tells. */
struct input {
	const uint8_t *data;
	size_t left;
};

static inline size_t input_left(const struct input *in)
{
	return in->left;
}

/* Copies at most n bytes to dst and fills the rest with zeros; returns the bytes that were there. */
static inline size_t input_bytes(struct input *in, void *dst, size_t n)
{
	size_t have = n < in->left ? n : in->left;

	memset(dst, 0, n);
	if (have)
		memcpy(dst, in->data, have);
	in->data += have;
	in->left -= have;
	return have;
}

static inline uint8_t input_u8(struct input *in)
{
	uint8_t v;

	input_bytes(in, &v, sizeof(v));
	return v;
}

static inline uint16_t input_u16(struct input *in)
{
	uint16_t v;

	input_bytes(in, &v, sizeof(v));
	return v;
}

static inline uint32_t input_u32(struct input *in)
{
	uint32_t v;

	input_bytes(in, &v, sizeof(v));
	return v;
}

static inline uint64_t input_u64(struct input *in)
{
	uint64_t v;

	input_bytes(in, &v, sizeof(v));
	return v;
}

#endif
