// SPDX-License-Identifier: BSD-2-Clause
/* The guest's statistics page: read right, and every lie in it refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "abi/machine.h"
#include "vmm/stats_page.h"

#define RAM_BYTES (STATS_PAGE_BYTES + 8192)
#define PAGE_GPA  0x1000

static uint8_t ram[RAM_BYTES] __attribute__((aligned(4096)));
static struct memmap map;
static struct stats_page *page;

struct seen {
	unsigned int num;
	char last[STATS_NAME_MAX + 1];
	uint64_t sum;
};

static void see(void *arg, const char *name, uint64_t value)
{
	struct seen *s = arg;

	s->num++;
	s->sum += value;
	strcpy(s->last, name);
}

static int setup(void **state)
{
	memset(ram, 0, sizeof(ram));
	memmap_init(&map);
	assert_int_equal(memmap_add(&map, gpa(0), RAM_BYTES, ram), 0);
	page = (struct stats_page *)(void *)(ram + PAGE_GPA);
	*page = (struct stats_page){ STATS_MAGIC, STATS_VERSION, 2, 10 };
	page->counters[0] = (struct stats_counter){ "switched", 40 };
	page->counters[1] = (struct stats_counter){ "p0.rx_9", 2 };
	return 0;
}

static int read_at(uint64_t at, struct seen *seen)
{
	const char *why = NULL;
	int ret;

	*seen = (struct seen){ 0 };
	ret = stats_page_read(&map, gpa(at), see, seen, &why);
	if (ret < 0)
		assert_non_null(why);
	return ret;
}

static void reads(void **state)
{
	struct seen seen;

	assert_int_equal(read_at(PAGE_GPA, &seen), 2);
	assert_int_equal(seen.num, 2);
	assert_int_equal(seen.sum, 42);
	assert_string_equal(seen.last, "p0.rx_9");
	page->count = 0;
	assert_int_equal(read_at(PAGE_GPA, &seen), 0);
}

static void refuses_addresses(void **state)
{
	struct seen seen;

	assert_int_equal(read_at(PAGE_GPA + 8, &seen), -EFAULT);
	assert_int_equal(read_at(RAM_BYTES, &seen), -EFAULT);
	assert_int_equal(read_at(UINT64_MAX & ~0xfffull, &seen), -EFAULT);
	/* The page starts inside RAM and ends behind it. */
	memcpy(ram + RAM_BYTES - 4096, page, sizeof(*page));
	page = (struct stats_page *)(void *)(ram + RAM_BYTES - 4096);
	page->count = page->capacity = 73;
	assert_int_equal(read_at(RAM_BYTES - 4096, &seen), -EFAULT);
	assert_int_equal(seen.num, 0);
}

static void refuses_headers(void **state)
{
	struct seen seen;

	page->count = 11; /* more than the capacity */
	assert_int_equal(read_at(PAGE_GPA, &seen), -EPROTO);
	page->count = page->capacity = UINT32_MAX;
	assert_int_equal(read_at(PAGE_GPA, &seen), -EPROTO);
	page->count = page->capacity = (STATS_PAGE_BYTES - 16) / 56 + 1;
	assert_int_equal(read_at(PAGE_GPA, &seen), -EPROTO);
	page->count = 2;
	page->version = 2;
	assert_int_equal(read_at(PAGE_GPA, &seen), -EPROTO);
	page->version = STATS_VERSION;
	page->magic++;
	assert_int_equal(read_at(PAGE_GPA, &seen), -EPROTO);
	assert_int_equal(seen.num, 0);
}

static void refuses_names(void **state)
{
	static const char *const bad[] = { "", "Upper", "quo\"te", "new\nline", "\xff", "a b" };
	struct seen seen;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		strcpy(page->counters[1].name, bad[i]);
		assert_int_equal(read_at(PAGE_GPA, &seen), -EPROTO);
		assert_int_equal(seen.num, 1);
	}
	memset(page->counters[1].name, 'a', sizeof(page->counters[1].name)); /* no NUL */
	assert_int_equal(read_at(PAGE_GPA, &seen), -EPROTO);
	page->counters[1].name[STATS_NAME_MAX] = '\0';
	assert_int_equal(read_at(PAGE_GPA, &seen), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(reads, setup),
		cmocka_unit_test_setup(refuses_addresses, setup),
		cmocka_unit_test_setup(refuses_headers, setup),
		cmocka_unit_test_setup(refuses_names, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
