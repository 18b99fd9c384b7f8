// SPDX-License-Identifier: BSD-2-Clause
/* Bus dispatch: overlaps, accesses at the edges, handlers that remove their own range. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>

#include "vmm/bus.h"

struct dev {
	struct bus *bus;
	uint64_t base;
	uint64_t offset;
	unsigned int size;
	uint64_t value;
	unsigned int writes;
};

static uint64_t dev_read(void *arg, uint64_t offset, unsigned int size)
{
	struct dev *d = arg;

	d->offset = offset;
	d->size = size;
	return d->value;
}

static void dev_write(void *arg, uint64_t offset, unsigned int size, uint64_t value)
{
	struct dev *d = arg;

	d->offset = offset;
	d->size = size;
	d->value = value;
	d->writes++;
}

static void dev_write_leave(void *arg, uint64_t offset, unsigned int size, uint64_t value)
{
	struct dev *d = arg;

	d->writes++;
	bus_del(d->bus, d->base);
}

static const struct bus_ops ops = { .read = dev_read, .write = dev_write };

static int add(struct bus *bus, uint64_t base, uint64_t size, struct dev *dev)
{
	return bus_add(bus, &(struct bus_range){ base, size, &ops, dev, "test" });
}

static void refuses_overlap_and_nonsense(void **state)
{
	struct bus bus = { 0 };
	struct dev d = { 0 };

	assert_int_equal(add(&bus, 0x100, 0, &d), -EINVAL);
	assert_int_equal(add(&bus, UINT64_MAX, 2, &d), -EINVAL);
	assert_int_equal(add(&bus, 0x100, 0x10, &d), 0);
	assert_int_equal(add(&bus, 0x100, 0x10, &d), -EEXIST);
	assert_int_equal(add(&bus, 0x10f, 1, &d), -EEXIST);
	assert_int_equal(add(&bus, 0xff, 2, &d), -EEXIST);
	assert_int_equal(add(&bus, 0, UINT64_MAX, &d), -EEXIST);
	assert_int_equal(add(&bus, 0x110, 0x10, &d), 0);
	assert_int_equal(add(&bus, 0xf0, 0x10, &d), 0);
	assert_int_equal(add(&bus, UINT64_MAX, 1, &d), 0);
	assert_int_equal(bus.num, 4);
	bus_free(&bus);
}

static void finds_the_range(void **state)
{
	struct dev d[40] = { 0 };
	struct bus bus = { 0 };

	/* In an order that is neither up nor down. */
	for (unsigned int i = 0; i < 40; i++)
		assert_int_equal(add(&bus, 0x1000ull * ((i * 7) % 40), 0x800, &d[(i * 7) % 40]), 0);
	for (unsigned int i = 0; i < 40; i++) {
		bus_write(&bus, 0x1000ull * i + 0x7fc, 4, i);
		assert_int_equal(d[i].writes, 1);
		assert_int_equal(d[i].offset, 0x7fc);
		assert_int_equal(d[i].value, i);
	}
	bus_del(&bus, 0x5000);
	bus_del(&bus, 0x6001); /* not a start */
	assert_int_equal(bus.num, 39);
	assert_int_equal(bus_read(&bus, 0x5000, 1), 0xff);
	assert_int_equal(bus_read(&bus, 0x6000, 1), 6);
	bus_free(&bus);
}

static void edges(void **state)
{
	struct dev d = { .value = UINT64_MAX };
	struct bus bus = { 0 };

	assert_int_equal(bus_read(&bus, 0, 8), UINT64_MAX);
	assert_int_equal(add(&bus, 0x100, 8, &d), 0);
	/* Nothing there, or straddling either end. */
	assert_int_equal(bus_read(&bus, 0xfe, 4), UINT32_MAX);
	assert_int_equal(d.size, 0);
	assert_int_equal(bus_read(&bus, 0x106, 4), UINT32_MAX);
	assert_int_equal(bus_read(&bus, 0x108, 1), 0xff);
	bus_write(&bus, 0x107, 2, 0);
	assert_int_equal(d.writes, 0);
	/* A device's answer is cut to the access. */
	assert_int_equal(bus_read(&bus, 0x107, 1), 0xff);
	assert_int_equal(d.offset, 7);
	assert_int_equal(bus_read(&bus, 0x100, 2), 0xffff);
	assert_int_equal(bus_read(&bus, 0x100, 8), UINT64_MAX);
	/* The last address of all. */
	assert_int_equal(add(&bus, UINT64_MAX - 7, 8, &d), 0);
	bus_write(&bus, UINT64_MAX, 1, 5);
	assert_int_equal(d.offset, 7);
	bus_write(&bus, UINT64_MAX, 2, 6);
	assert_int_equal(d.value, 5);
	bus_free(&bus);
}

static void handler_may_leave(void **state)
{
	static const struct bus_ops leaving = { .write = dev_write_leave };
	struct bus bus = { 0 };
	struct dev d = { .bus = &bus, .base = 0x20 };

	assert_int_equal(bus_add(&bus, &(struct bus_range){ 0x20, 4, &leaving, &d, "test" }), 0);
	assert_int_equal(bus_read(&bus, 0x20, 4), UINT32_MAX); /* no read handler */
	bus_write(&bus, 0x20, 4, 1);
	bus_write(&bus, 0x20, 4, 1);
	assert_int_equal(d.writes, 1);
	bus_free(&bus);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refuses_overlap_and_nonsense),
		cmocka_unit_test(finds_the_range),
		cmocka_unit_test(edges),
		cmocka_unit_test(handler_may_leave),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
