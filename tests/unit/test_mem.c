// SPDX-License-Identifier: BSD-2-Clause
/* Guest RAM: of ordinary and of huge pages, populated or not, cleared, and what lacks said at once. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "vmm/hostlib/fds.h"
#include "vmm/mem.h"
#include "vmm/pages.h"

#define MIB (UINT64_C(1) << 20)

static struct memmap map;

static int create(struct mem *mem, struct mem_conf conf)
{
	const char *what = NULL;

	memmap_init(&map);
	return mem_create(mem, &conf, &map, &what);
}

static unsigned int resident(const struct mem *mem)
{
	static unsigned char pages[4096];
	unsigned int n = 0, num = (unsigned int)(mem->size / PAGE_4K);

	assert_true(num <= sizeof(pages));
	assert_int_equal(mincore(mem->host, mem->size, pages), 0);
	for (unsigned int i = 0; i < num; i++)
		n += pages[i] & 1;
	return n;
}

static void check_clear(struct mem *mem)
{
	memset(mem->host, 0x5a, mem->size);
	assert_int_equal(mem_clear(mem), 0);
	for (uint64_t i = 0; i < mem->size; i += 512)
		assert_int_equal(mem->host[i], 0);
}

static void test_ordinary(void **state)
{
	struct mem mem;

	assert_int_equal(create(&mem, (struct mem_conf){ .bytes = 5 * MIB }), 0);
	assert_int_equal(mem.size, 5 * MIB);
	assert_int_equal((uintptr_t)mem.host % PAGE_2M, 0);
	assert_int_equal(resident(&mem), 0);
	check_clear(&mem);
	/* Nobody can take it away. */
	assert_int_equal(ftruncate(mem.fd, 0), -1);
	mem_destroy(&mem);
}

static void test_prefault(void **state)
{
	struct mem mem;

	assert_int_equal(create(&mem, (struct mem_conf){ .bytes = 5 * MIB, .prefault = true }), 0);
	assert_int_equal(resident(&mem), 5 * MIB / PAGE_4K);
	check_clear(&mem);
	assert_int_equal(resident(&mem), 5 * MIB / PAGE_4K);
	mem_destroy(&mem);
}

/* More than the host can have: an error now, whatever it has. */
static void test_huge_too_many(void **state)
{
	struct mem mem;
	int64_t free = pages_free(PAGE_2M);
	int ret;

	if (free < 0)
		skip();
	ret = create(&mem, (struct mem_conf){ .bytes = ((uint64_t)free + 1000000) * PAGE_2M,
					      .page = PAGE_2M });
	assert_int_equal(ret, -ENOMEM);
	assert_int_equal(mem.fd, -1);
	assert_null(mem.host);
}

static void huge(uint64_t page)
{
	struct mem mem;
	int ret = -ENOMEM;

	if (pages_free(page) >= 1)
		ret = create(&mem, (struct mem_conf){ .bytes = MIB, .page = page });
	/* Others may have taken them meanwhile. */
	if (ret == -ENOMEM && pages_free(page) < 1) {
		printf("no huge pages of %llu KiB are free: not tried\n",
		       (unsigned long long)page >> 10);
		skip();
	}
	assert_int_equal(ret, 0);
	assert_int_equal(mem.size, page);
	assert_int_equal((uintptr_t)mem.host % page, 0);
	assert_int_equal(fd_page_size(mem.fd), page);
	check_clear(&mem);
	mem_destroy(&mem);
}

static void test_huge_2m(void **state)
{
	huge(PAGE_2M);
}

static void test_huge_1g(void **state)
{
	huge(PAGE_1G);
}

/* What cannot be populated is an error and no signal. */
static void test_populate_errors(void **state)
{
	int fd = memfd_create("short", MFD_CLOEXEC);
	uint8_t *p;

	assert_int_equal(ftruncate(fd, 2 * MIB), 0);
	p = mmap(NULL, 4 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(p, MAP_FAILED);
	assert_int_equal(pages_populate(p, 2 * MIB), 0);
	assert_int_equal(pages_populate(p + MIB, 2 * MIB), -EFAULT);
	munmap(p + MIB, MIB);
	assert_int_equal(pages_populate(p, 2 * MIB), -ENOMEM);
	munmap(p, 4 * MIB);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ordinary),      cmocka_unit_test(test_prefault),
		cmocka_unit_test(test_huge_too_many), cmocka_unit_test(test_huge_2m),
		cmocka_unit_test(test_huge_1g),	      cmocka_unit_test(test_populate_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
