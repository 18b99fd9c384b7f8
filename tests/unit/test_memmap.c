// SPDX-License-Identifier: BSD-2-Clause
/* Memory maps: what is in, what is out, and that no arithmetic on guest addresses wraps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "vq/memmap.h"

static uint8_t mem_a[0x2000] __attribute__((aligned(4096)));
static uint8_t mem_b[0x1000] __attribute__((aligned(4096)));

static void add_refuses(void **state)
{
	struct memmap map;

	memmap_init(&map);
	assert_int_equal(memmap_add(&map, gpa(0x1000), 0, mem_a), -EINVAL);
	assert_int_equal(memmap_add(&map, gpa(UINT64_MAX - 0xfff), 0x1000, mem_a), -EINVAL);
	assert_int_equal(memmap_add(&map, gpa(UINT64_MAX), UINT64_MAX, mem_a), -EINVAL);
	assert_int_equal(memmap_add(&map, gpa(0x4000), 0x2000, mem_a), 0);
	assert_int_equal(memmap_add(&map, gpa(0x4000), 0x2000, mem_b), -EEXIST);
	assert_int_equal(memmap_add(&map, gpa(0x5fff), 1, mem_b), -EEXIST);
	assert_int_equal(memmap_add(&map, gpa(0x3000), 0x1001, mem_b), -EEXIST);
	assert_int_equal(memmap_add(&map, gpa(0), 0x10000, mem_b), -EEXIST);
	assert_int_equal(memmap_add(&map, gpa(0x3000), 0x1000, mem_b), 0);
	assert_int_equal(map.num, 2);
}

static void holds_32_regions(void **state)
{
	struct memmap map;
	uint64_t len;

	memmap_init(&map);
	/* From the top down, so that every one is inserted in front. */
	for (unsigned int i = MEMMAP_REGIONS_MAX; i-- > 0;)
		assert_int_equal(memmap_add(&map, gpa(0x10000ull * i), 0x100, mem_a + 0x100 * i),
				 0);
	assert_int_equal(memmap_add(&map, gpa(0x10000ull * MEMMAP_REGIONS_MAX), 1, mem_b), -ENOSPC);
	for (unsigned int round = 0; round < 2; round++) {
		for (unsigned int i = 0; i < MEMMAP_REGIONS_MAX; i++) {
			uint64_t start = 0x10000ull * i;

			assert_ptr_equal(memmap_translate_some(&map, gpa(start + 1), 0x1000, &len),
					 mem_a + 0x100 * i + 1);
			assert_int_equal(len, 0xff);
			assert_null(memmap_translate_some(&map, gpa(start + 0x100), 1, &len));
			assert_int_equal(len, 0);
			if (start)
				assert_null(memmap_translate_some(&map, gpa(start - 1), 1, &len));
		}
	}
}

static void translate_checks(void **state)
{
	struct memmap map;
	uint64_t len = 5;

	memmap_init(&map);
	assert_null(memmap_translate_some(&map, gpa(0), 1, &len));
	assert_int_equal(len, 0);
	assert_int_equal(memmap_add(&map, gpa(0x4000), 0x2000, mem_a), 0);

	assert_ptr_equal(memmap_translate_some(&map, gpa(0x5fff), UINT64_MAX, &len),
			 mem_a + 0x1fff);
	assert_int_equal(len, 1);
	assert_null(memmap_translate_some(&map, gpa(0x4000), 0, &len));
	assert_int_equal(len, 0);
	assert_null(memmap_translate_some(&map, gpa(UINT64_MAX), UINT64_MAX, &len));

	assert_ptr_equal(memmap_translate(&map, gpa(0x4000), 0x2000, 4096), mem_a);
	assert_null(memmap_translate(&map, gpa(0x4000), 0x2001, 1));
	assert_null(memmap_translate(&map, gpa(0x4008), 0x10, 16));
	assert_ptr_equal(memmap_translate(&map, gpa(0x4008), 0x10, 8), mem_a + 8);
	assert_null(memmap_translate(&map, gpa(0x4000), UINT64_MAX, 1));
	assert_null(memmap_translate(&map, gpa(0x3fff), 2, 1));

	/* Both the guest-physical address and the pointer have to be aligned. */
	assert_int_equal(memmap_add(&map, gpa(0x8000), 0x800, mem_b + 4), 0);
	assert_null(memmap_translate(&map, gpa(0x8000), 16, 16));
	assert_null(memmap_translate(&map, gpa(0x800c), 16, 16));
	assert_ptr_equal(memmap_translate(&map, gpa(0x8004), 16, 4), mem_b + 8);
}

static void del_is_exact(void **state)
{
	struct memmap map;
	uint64_t len;

	memmap_init(&map);
	assert_int_equal(memmap_add(&map, gpa(0x4000), 0x2000, mem_a), 0);
	assert_int_equal(memmap_add(&map, gpa(0x6000), 0x1000, mem_b), 0);
	assert_non_null(memmap_translate_some(&map, gpa(0x6000), 1, &len)); /* moves the hint */
	assert_int_equal(memmap_del(&map, gpa(0x4000), 0x1000), -ENOENT);
	assert_int_equal(memmap_del(&map, gpa(0x4001), 0x2000), -ENOENT);
	assert_int_equal(memmap_del(&map, gpa(0x9000), 0x2000), -ENOENT);
	assert_int_equal(memmap_del(&map, gpa(0x6000), 0x1000), 0);
	assert_null(memmap_translate_some(&map, gpa(0x6000), 1, &len));
	assert_non_null(memmap_translate_some(&map, gpa(0x4000), 1, &len));
	assert_int_equal(memmap_del(&map, gpa(0x4000), 0x2000), 0);
	assert_null(memmap_translate_some(&map, gpa(0x4000), 1, &len));
	assert_int_equal(map.num, 0);
	assert_int_equal(memmap_del(&map, gpa(0x4000), 0x2000), -ENOENT);
}

static void read_crosses(void **state)
{
	struct memmap map;
	uint8_t buf[8];

	for (unsigned int i = 0; i < 4; i++) {
		mem_a[0x1ffc + i] = (uint8_t)(i + 1);
		mem_b[i] = (uint8_t)(i + 5);
	}
	memmap_init(&map);
	assert_int_equal(memmap_add(&map, gpa(0x4000), 0x2000, mem_a), 0);
	assert_false(memmap_read(&map, gpa(0x5ffc), buf, 8));
	assert_int_equal(memmap_add(&map, gpa(0x6000), 0x1000, mem_b), 0);
	assert_true(memmap_read(&map, gpa(0x5ffc), buf, 8));
	assert_memory_equal(buf, "\1\2\3\4\5\6\7\10", 8);
	assert_true(memmap_read(&map, gpa(0), buf, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(add_refuses),	    cmocka_unit_test(holds_32_regions),
		cmocka_unit_test(translate_checks), cmocka_unit_test(del_is_exact),
		cmocka_unit_test(read_crosses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
