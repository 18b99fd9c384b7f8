/* SPDX-License-Identifier: BSD-2-Clause */
/* Short lines of text, built from pieces: the core has no printf. Too long ones are cut. */
#ifndef VVU_CORE_TEXT_H
#define VVU_CORE_TEXT_H

#include "abi/base.h"

#define TEXT_MAX 200

struct text {
	unsigned int len;
	char s[TEXT_MAX];
};

static inline void text_init(struct text *t)
{
	t->len = 0;
	t->s[0] = '\0';
}

static inline void text_add_n(struct text *t, const char *s, unsigned int max)
{
	while (max-- && *s && t->len < TEXT_MAX - 1)
		t->s[t->len++] = *s++;
	t->s[t->len] = '\0';
}

static inline void text_add(struct text *t, const char *s)
{
	text_add_n(t, s, TEXT_MAX);
}

static inline void text_add_u64(struct text *t, uint64_t v)
{
	char digits[21];
	unsigned int i = sizeof(digits) - 1;

	digits[i] = '\0';
	do {
		digits[--i] = (char)('0' + v % 10);
		v /= 10;
	} while (v);
	text_add(t, &digits[i]);
}

#endif
