// SPDX-License-Identifier: BSD-2-Clause
/* Regions of a session: shape, overlap in both address spaces, order, translation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/vu_check.h"

#define PAGE 4096ull
#define TOP  (UINT64_MAX - 4095) /* the last page of an address space */

static void shapes(void **state)
{
	const struct {
		struct vhost_user_region r;
		enum vu_rule rule;
	} cases[] = {
		{ { 0, PAGE, 0, 0 }, VU_RULE_NONE },
		{ { 0, 0, 0, 0 }, VU_RULE_REGION },
		{ { 1, PAGE, 0, 0 }, VU_RULE_REGION },
		{ { 2048, PAGE, 0, 0 }, VU_RULE_REGION },
		{ { 0, PAGE + 1, 0, 0 }, VU_RULE_REGION },
		{ { 0, PAGE, 0, 512 }, VU_RULE_REGION },
		{ { 0, PAGE, 12345, 0 }, VU_RULE_NONE }, /* user addresses are opaque */
		{ { TOP - PAGE, PAGE, 0, 0 }, VU_RULE_NONE },
		{ { TOP, PAGE, 0, 0 }, VU_RULE_REGION },
		{ { TOP, 2 * PAGE, 0, 0 }, VU_RULE_REGION },
		{ { 0, PAGE, UINT64_MAX, 0 }, VU_RULE_REGION },
		{ { 0, PAGE, UINT64_MAX - PAGE, 0 }, VU_RULE_NONE },
		{ { 0, PAGE, UINT64_MAX - PAGE + 1, 0 }, VU_RULE_REGION },
		{ { 0, PAGE, 0, TOP }, VU_RULE_REGION },
		{ { PAGE, TOP, 0, 0 }, VU_RULE_REGION },
		{ { 0, TOP, 0, 0 }, VU_RULE_NONE },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct vu_regions set = { 0 };
		struct vhost_user_mem_table table = { .num_regions = 1 };

		table.regions[0] = cases[i].r;
		assert_int_equal(vu_regions_add(&set, &cases[i].r), cases[i].rule);
		assert_int_equal(set.num, cases[i].rule == VU_RULE_NONE);
		set.num = 0;
		assert_int_equal(vu_regions_set(&set, &table), cases[i].rule);
	}
}

static void overlaps(void **state)
{
	const struct vhost_user_region base = { 0x10000, 0x10000, 0x7f0000010000, 0 };
	const struct {
		struct vhost_user_region r;
		bool overlaps;
	} cases[] = {
		{ { 0x20000, PAGE, 0x7f0000020000, 0 }, false },
		{ { 0xf000, PAGE, 0x7f000000f000, 0 }, false },
		{ { 0x1f000, PAGE, 0x7f0000020000, 0 }, true }, /* guest only */
		{ { 0x20000, PAGE, 0x7f000001f001, 0 },
		  true }, /* user only, by one byte short of a page */
		{ { 0xf000, 2 * PAGE, 0x7f0000020000, 0 }, true },
		{ { 0x20000, 2 * PAGE, 0x7f000000f000, 0 }, true },
		{ { 0, 0x100000, 0, 0 }, true },		   /* around */
		{ { 0x11000, PAGE, 0x7f0000020000, 0 }, true },	   /* inside */
		{ { 0x10000, 0x10000, 0x7f0000010000, 0 }, true }, /* the same */
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		enum vu_rule want = cases[i].overlaps ? VU_RULE_OVERLAP : VU_RULE_NONE;
		struct vhost_user_mem_table table = { .num_regions = 2 };
		struct vu_regions set = { 0 };

		assert_int_equal(vu_regions_add(&set, &base), VU_RULE_NONE);
		assert_int_equal(vu_regions_add(&set, &cases[i].r), want);
		table.regions[0] = cases[i].r;
		table.regions[1] = base;
		assert_int_equal(vu_regions_set(&set, &table), want);
		/* A refused table leaves the old one. */
		if (cases[i].overlaps)
			assert_int_equal(set.num, 1);
		assert_memory_equal(&set.regions[set.num - 1], &base, sizeof(base));
	}
}

static void table_counts(void **state)
{
	struct vhost_user_mem_table table = { 0 };
	struct vu_regions set = { 0 };

	assert_int_equal(vu_regions_set(&set, &table), VU_RULE_REGIONS);
	table.num_regions = VHOST_USER_TABLE_REGIONS_MAX + 1;
	assert_int_equal(vu_regions_set(&set, &table), VU_RULE_REGIONS);
	table.num_regions = UINT32_MAX;
	assert_int_equal(vu_regions_set(&set, &table), VU_RULE_REGIONS);
}

static struct vhost_user_region nth(uint64_t i)
{
	return (struct vhost_user_region){ i * 0x100000, 0x1000, 0x7f0000000000 + i * 0x2000, 0 };
}

static void slots(void **state)
{
	struct vu_regions set = { 0 };
	struct vhost_user_region r;
	uint32_t index = 99;

	for (uint64_t i = 0; i < VHOST_USER_MEM_SLOTS_MAX; i++) {
		r = nth(i);
		assert_int_equal(vu_regions_add(&set, &r), VU_RULE_NONE);
	}
	r = nth(VHOST_USER_MEM_SLOTS_MAX);
	assert_int_equal(vu_regions_add(&set, &r), VU_RULE_SPACE);

	/* Found by guest address, user address and size; the file offset does not matter. */
	r = nth(5);
	r.memory_size += PAGE;
	assert_int_equal(vu_regions_del(&set, &r, &index), VU_RULE_ADDRESS);
	r = nth(5);
	r.userspace_addr += PAGE;
	assert_int_equal(vu_regions_del(&set, &r, &index), VU_RULE_ADDRESS);
	r = nth(5);
	r.guest_phys_addr += PAGE;
	assert_int_equal(vu_regions_del(&set, &r, &index), VU_RULE_ADDRESS);
	assert_int_equal(index, 99);
	r = nth(5);
	r.mmap_offset = 0x7000;
	assert_int_equal(vu_regions_del(&set, &r, &index), VU_RULE_NONE);
	assert_int_equal(index, 5);
	assert_int_equal(set.num, VHOST_USER_MEM_SLOTS_MAX - 1);
	for (uint32_t i = 0; i < set.num; i++) {
		struct vhost_user_region want = nth(i < 5 ? i : i + 1);

		assert_memory_equal(&set.regions[i], &want, sizeof(want));
	}
	assert_int_equal(vu_regions_del(&set, &r, &index), VU_RULE_ADDRESS);
	assert_int_equal(vu_regions_add(&set, &r), VU_RULE_NONE);
}

static void translation(void **state)
{
	struct vu_regions set = { 0 };
	const struct vhost_user_region a = { 0x100000, 0x2000, 0x7f0000001000, 0x5000 };
	const struct vhost_user_region b = { 0x900000, 0x1000, 0x7f0000003000, 0 };
	uint64_t out = 1;

	assert_false(vu_regions_user_to_gpa(&set, 0, &out));
	assert_int_equal(vu_regions_add(&set, &a), VU_RULE_NONE);
	assert_int_equal(vu_regions_add(&set, &b), VU_RULE_NONE);
	assert_true(vu_regions_user_to_gpa(&set, 0x7f0000001000, &out));
	assert_int_equal(out, 0x100000);
	assert_true(vu_regions_user_to_gpa(&set, 0x7f0000002fff, &out));
	assert_int_equal(out, 0x101fff);
	assert_true(vu_regions_user_to_gpa(&set, 0x7f0000003000, &out));
	assert_int_equal(out, 0x900000);
	assert_false(vu_regions_user_to_gpa(&set, 0x7f0000000fff, &out));
	assert_false(vu_regions_user_to_gpa(&set, 0x7f0000004000, &out));
	assert_false(vu_regions_user_to_gpa(&set, UINT64_MAX, &out));
	assert_false(vu_regions_user_to_gpa(&set, 0x100000, &out));
}

/* QEMU 7.2 with two queue pairs: everything is added twice, and removed twice. */
static void repeats(void **state)
{
	const struct vhost_user_region a = { 0, PAGE, 0x1000, 0 };
	const struct vhost_user_region b = { PAGE, PAGE, 0x8000, 0 };
	const struct vhost_user_region moved = { 0, PAGE, 0x1000, PAGE };
	struct vu_regions set = { 0 };
	uint32_t index;

	assert_false(vu_regions_repeat(&set, &a));
	assert_int_equal(vu_regions_add(&set, &a), VU_RULE_NONE);
	assert_int_equal(vu_regions_add(&set, &b), VU_RULE_NONE);
	assert_true(vu_regions_repeat(&set, &b));
	assert_false(vu_regions_repeat(&set, &moved));
	assert_int_equal(vu_regions_add(&set, &moved), VU_RULE_OVERLAP);
	assert_false(vu_regions_unrepeat(&set, &a));
	assert_int_equal(vu_regions_del(&set, &a, &index), VU_RULE_NONE);
	/* The count moves with its region. */
	assert_true(vu_regions_unrepeat(&set, &b));
	assert_false(vu_regions_unrepeat(&set, &b));
	for (int i = 0; i < UINT8_MAX; i++)
		assert_true(vu_regions_repeat(&set, &b));
	assert_false(vu_regions_repeat(&set, &b));
	assert_int_equal(vu_regions_del(&set, &b, &index), VU_RULE_NONE);
	/* A new one starts afresh. */
	assert_int_equal(vu_regions_add(&set, &b), VU_RULE_NONE);
	assert_false(vu_regions_unrepeat(&set, &b));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shapes),	cmocka_unit_test(overlaps),
		cmocka_unit_test(table_counts), cmocka_unit_test(slots),
		cmocka_unit_test(translation),	cmocka_unit_test(repeats),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
