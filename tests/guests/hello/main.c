// SPDX-License-Identifier: BSD-2-Clause
/* What boot gives a guest: command line, clean memory, formatted output, and the string functions
 * everything uses. */
#include "common.h"

#define TEXT "--memory says little: \"quotes\" = fine"

static void check_format(void)
{
	char got[64];

#define FORMAT(want, ...)                                                                          \
	do {                                                                                       \
		rt_snprintf(got, sizeof(got), __VA_ARGS__);                                        \
		CHECKF(strcmp(got, want) == 0, "'%s'", got);                                       \
	} while (0)
	FORMAT("-42 42 2a 2A", "%d %u %x %X", -42, 42u, 42u, 42u);
	FORMAT("-9223372036854775808", "%ld", INT64_MIN);
	FORMAT("18446744073709551615", "%lu", UINT64_MAX);
	FORMAT("[   7] [7   ] [0007] [0x2a]", "[%4d] [%-4d] [%04d] [%#x]", 7, 7, 7, 42u);
	FORMAT("[abc] [  abc] [ab] [c] %", "[%s] [%5s] [%.2s] [%c] %%", "abc", "abc", "abc", 'c');
	FORMAT("[  -5] [-005]", "[%*d] [%04d]", 4, -5, -5);
	CHECKF(rt_snprintf(got, 4, "%s", "abcdef") == 6 && strcmp(got, "abc") == 0, "'%s'", got);
#undef FORMAT
}

/* Every size around the steps of the implementation, every alignment within 16 bytes. */
static void check_copies(void)
{
	static uint8_t from[2200], to[2200];
	unsigned int bad = 0;

	for (unsigned int i = 0; i < sizeof(from); i++)
		from[i] = (uint8_t)(i * 7 + i / 256);
	for (unsigned int size = 0; size < 2100; size += size < 130 ? 1 : 37) {
		unsigned int at = size % 17;

		memset(to, 0xee, sizeof(to));
		memcpy(to + at, from + 3, size);
		bad += memcmp(to + at, from + 3, size) != 0 || to[at + size] != 0xee ||
		       (at && to[at - 1] != 0xee);
		memcpy(to, from, sizeof(to));
		memmove(to + at, to, size);
		bad += memcmp(to + at, from, size) != 0;
		memcpy(to, from, sizeof(to));
		memmove(to, to + at, size);
		bad += memcmp(to, from + at, size) != 0;
	}
	CHECKF(bad == 0, "%u sizes", bad);
	CHECK(memcmp("abcdefgh1", "abcdefgh2", 9) < 0 && memcmp("b", "a", 1) > 0);
	CHECK(strlen("") == 0 && strlen("abc") == 3);
	CHECK(strcmp("a", "b") < 0 && strncmp("abc", "abd", 2) == 0);
	CHECK(*strchr("key=value", '=') == '=' && !strchr("key", '='));
}

static bool all_zero(const uint64_t *p, size_t bytes)
{
	for (size_t i = 0; i < bytes / 8; i++)
		if (p[i])
			return false;
	return true;
}

static void check_heap(void)
{
	size_t before = rt_free_bytes();
	char *a = rt_alloc(100, 1);
	char *b = rt_alloc(8, 4096);
	size_t big = rt_free_bytes() / 2;
	uint64_t *c = rt_alloc(big, 64);

	CHECKF(a && b && c && b >= a + 100 && ((uintptr_t)b & 4095) == 0, "%p %p %p", (void *)a,
	       (void *)b, (void *)c);
	CHECK(c && all_zero(c, big));
	CHECK(before - rt_free_bytes() >= 108 + big);
	CHECK(!rt_alloc(rt_free_bytes() + 1, 1));
	CHECK(!rt_alloc(SIZE_MAX, 1) && !rt_alloc(8, 3));
	/* The last byte of RAM can be used. */
	size_t rest = rt_free_bytes();
	volatile char *d = rt_alloc(rest, 1);

	CHECK(d && rt_free_bytes() == 0);
	if (d)
		d[rest - 1] = 1;
}

int rt_main(const char *cmdline)
{
	rt_printf("command line: %s\n", cmdline);
	CHECK(!*cmdline || strcmp(cmdline, TEXT) == 0);
	check_format();
	check_copies();
	check_heap();
	CHECKF(rt_tsc_khz() > 100000 && rt_tsc_khz() < 10000000, "%lu", rt_tsc_khz());
	return verdict();
}
