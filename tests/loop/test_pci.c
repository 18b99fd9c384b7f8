// SPDX-License-Identifier: BSD-2-Clause
/* PCI configuration space, BARs and MSI-X of a plain function, by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "fake_machine.h"
#include "vmm/msix.h"

#define FN_BDF	 8 /* 00:01.0 */
#define BAR0_LEN 0x4000u
#define WIN_LEN	 (UINT64_C(1) << 30)
#define VECTORS	 70

struct test_fn {
	struct pci_fn fn;
	struct msix msix;
	uint32_t reg;
	uint64_t at[3];
	unsigned int moves;
	unsigned int resets;
};

struct world {
	struct fake_machine f;
	struct test_fn fns[2];
};

static struct test_fn *of(struct pci_fn *fn)
{
	return container_of(fn, struct test_fn, fn);
}

static uint64_t t_read(struct pci_fn *fn, unsigned int bar, uint64_t offset, unsigned int size)
{
	return bar == 1 ? msix_read(&of(fn)->msix, offset, size) : of(fn)->reg;
}

static void t_write(struct pci_fn *fn, unsigned int bar, uint64_t offset, unsigned int size,
		    uint64_t value)
{
	if (bar == 1)
		msix_write(&of(fn)->msix, offset, size, value);
	else
		of(fn)->reg = (uint32_t)value;
}

static void t_moved(struct pci_fn *fn, unsigned int bar, uint64_t gpa)
{
	of(fn)->at[bar] = gpa;
	of(fn)->moves++;
}

static void t_written(struct pci_fn *fn, unsigned int reg, unsigned int size)
{
	msix_config_written(&of(fn)->msix, reg, size);
}

static void t_reset(struct pci_fn *fn)
{
	of(fn)->resets++;
	msix_reset(&of(fn)->msix);
}

static const struct pci_fn_ops t_ops = { .bar_read = t_read,
					 .bar_write = t_write,
					 .bar_moved = t_moved,
					 .config_written = t_written,
					 .reset = t_reset };

static void add_function(struct world *w, struct test_fn *t)
{
	static const struct pci_ids ids = { .vendor = 0x1af4, .device = 0x1075, .class = 0xff00 };

	memset(t, 0, sizeof(*t));
	pci_fn_init(&t->fn, "test", &ids, &t_ops);
	pci_fn_add_bar(&t->fn, 0, BAR0_LEN, false, false);
	assert_int_equal(msix_init(&t->msix, &w->f.m, &t->fn, 1, VECTORS), 0);
	pci_fn_add_bar(&t->fn, 2, WIN_LEN, true, true);
	for (unsigned int i = 0; i < 3; i++)
		t->at[i] = PCI_BAR_UNMAPPED;
	assert_int_equal(pci_fn_add(w->f.pci, &t->fn), 0);
}

static int set_up(void **state)
{
	static struct world w;

	fake_init(&w.f, 40);
	add_function(&w, &w.fns[0]);
	add_function(&w, &w.fns[1]);
	assert_int_equal(pci_host_assign(w.f.pci), 0);
	*state = &w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	for (unsigned int i = 0; i < 2; i++) {
		msix_free(&w->fns[i].msix);
		pci_fn_del(&w->fns[i].fn);
	}
	assert_int_equal(fake_num_routes(&w->f), 0);
	fake_free(&w->f);
	return 0;
}

static void enable(struct world *w, unsigned int bdf)
{
	fake_pci_write(&w->f, bdf, PCI_COMMAND, 2,
		       PCI_COMMAND_MEMORY_MASK | PCI_COMMAND_MASTER_MASK);
}

static void test_scan(void **state)
{
	struct world *w = *state;

	assert_int_equal(fake_pci_read(&w->f, 0, PCI_CLASS_DEVICE, 2), 0x0600);
	assert_int_equal(fake_pci_read(&w->f, FN_BDF, PCI_VENDOR_ID, 4), 0x10751af4);
	assert_int_equal(fake_pci_read(&w->f, FN_BDF, PCI_HEADER_TYPE, 1), 0x80);
	assert_int_equal(fake_pci_read(&w->f, FN_BDF + 1, PCI_DEVICE_ID, 2), 0x1075);
	assert_int_equal(fake_pci_read(&w->f, FN_BDF + 2, PCI_VENDOR_ID, 2), 0xffff);
	assert_int_equal(fake_pci_read(&w->f, 1 << 8, PCI_VENDOR_ID, 2), 0xffff);
	/* Not enabled, or across the dword. */
	fake_out(&w->f, PCI_PORT_CONFIG_ADDRESS, 4, 0x800);
	assert_int_equal(fake_in(&w->f, PCI_PORT_CONFIG_DATA, 4), UINT32_MAX | 0ull);
	fake_out(&w->f, PCI_PORT_CONFIG_ADDRESS, 4, 0x80000800);
	assert_int_equal(fake_in(&w->f, PCI_PORT_CONFIG_ADDRESS, 4), 0x80000800);
	assert_int_equal(fake_in(&w->f, PCI_PORT_CONFIG_DATA + 2, 2), 0x1075);
}

static void test_write_masks(void **state)
{
	struct world *w = *state;

	fake_pci_write(&w->f, FN_BDF, PCI_VENDOR_ID, 4, 0);
	assert_int_equal(fake_pci_read(&w->f, FN_BDF, PCI_VENDOR_ID, 4), 0x10751af4);
	fake_pci_write(&w->f, FN_BDF, PCI_COMMAND, 2, 0xfff9);
	assert_int_equal(fake_pci_read(&w->f, FN_BDF, PCI_COMMAND, 2), 0x0400);
	fake_pci_write(&w->f, FN_BDF, PCI_INTERRUPT_LINE, 1, 0x5a);
	assert_int_equal(fake_pci_read(&w->f, FN_BDF, PCI_INTERRUPT_LINE, 1), 0x5a);
	fake_pci_write(&w->f, FN_BDF, PCI_BAR_0 + 20, 4, UINT32_MAX);
	assert_int_equal(fake_pci_read(&w->f, FN_BDF, PCI_BAR_0 + 20, 4), 0);
}

static void test_sizing(void **state)
{
	struct world *w = *state;

	fake_pci_write(&w->f, FN_BDF, PCI_BAR_0, 4, UINT32_MAX);
	assert_int_equal(fake_pci_read(&w->f, FN_BDF, PCI_BAR_0, 4), ~(BAR0_LEN - 1));
	fake_pci_write(&w->f, FN_BDF, PCI_BAR_0 + 8, 4, UINT32_MAX);
	fake_pci_write(&w->f, FN_BDF, PCI_BAR_0 + 12, 4, UINT32_MAX);
	assert_int_equal(fake_pci_read(&w->f, FN_BDF, PCI_BAR_0 + 8, 4), 0xc000000c);
	assert_int_equal(fake_pci_read(&w->f, FN_BDF, PCI_BAR_0 + 12, 4), UINT32_MAX);
}

static void test_assigned(void **state)
{
	struct world *w = *state;
	struct test_fn *t = &w->fns[0];

	assert_int_equal(t->at[0], PCI_BAR_UNMAPPED);
	enable(w, FN_BDF);
	enable(w, FN_BDF + 1);
	assert_in_range(t->at[0], 0xc0000000, 0xfebfffff);
	assert_int_equal(t->at[2], UINT64_C(1) << 39);
	assert_int_equal(w->fns[1].at[2], (UINT64_C(1) << 39) + WIN_LEN);
	fake_write(&w->f, t->at[0] + 4, 4, 0x1234);
	assert_int_equal(t->reg, 0x1234);
	assert_int_equal(fake_read(&w->f, t->at[0], 4), 0x1234);
	assert_int_equal(fake_read(&w->f, t->at[2], 4), UINT32_MAX | 0ull);
	fake_pci_write(&w->f, FN_BDF, PCI_COMMAND, 2, 0);
	assert_int_equal(t->at[0], PCI_BAR_UNMAPPED);
}

static void test_move(void **state)
{
	struct world *w = *state;
	struct test_fn *t = &w->fns[0];

	enable(w, FN_BDF);
	fake_pci_write(&w->f, FN_BDF, PCI_BAR_0, 4, 0xd0000000);
	assert_int_equal(t->at[0], 0xd0000000);
	fake_write(&w->f, 0xd0000000, 4, 7);
	assert_int_equal(t->reg, 7);
	/* Low bits of the register are the device's. */
	assert_int_equal(fake_pci_read(&w->f, FN_BDF, PCI_BAR_0, 4), 0xd0000000);
	/* 64 bits, by halves. */
	fake_pci_write(&w->f, FN_BDF, PCI_BAR_0 + 12, 4, 0x81);
	assert_int_equal(t->at[2], UINT64_C(0x8100000000));
}

static void test_move_onto_another(void **state)
{
	struct world *w = *state;
	struct test_fn *t = &w->fns[0], *other = &w->fns[1];
	uint64_t taken;

	enable(w, FN_BDF);
	enable(w, FN_BDF + 1);
	taken = other->at[0];
	fake_pci_write(&w->f, FN_BDF, PCI_BAR_0, 4, (uint32_t)taken);
	assert_int_equal(t->at[0], PCI_BAR_UNMAPPED);
	assert_int_equal(other->at[0], taken);
	/* When the other one leaves, it is there. */
	fake_pci_write(&w->f, FN_BDF + 1, PCI_COMMAND, 2, 0);
	assert_int_equal(t->at[0], taken);
	enable(w, FN_BDF + 1);
	assert_int_equal(other->at[0], PCI_BAR_UNMAPPED);
	/* The top of the address space and zero are no places. */
	fake_pci_write(&w->f, FN_BDF, PCI_BAR_0, 4, 0);
	assert_int_equal(t->at[0], PCI_BAR_UNMAPPED);
	assert_int_equal(other->at[0], taken);
}

static void test_machine_reset(void **state)
{
	struct world *w = *state;
	struct test_fn *t = &w->fns[0];
	uint64_t assigned;

	enable(w, FN_BDF);
	assigned = t->at[0];
	fake_pci_write(&w->f, FN_BDF, PCI_BAR_0, 4, 0xd0000000);
	machine_reset_devices(&w->f.m);
	assert_int_equal(t->at[0], PCI_BAR_UNMAPPED);
	assert_int_equal(t->resets, 1);
	assert_int_equal(fake_pci_read(&w->f, FN_BDF, PCI_COMMAND, 2), 0);
	enable(w, FN_BDF);
	assert_int_equal(t->at[0], assigned);
	/* The reset control register shares the ports. */
	fake_out(&w->f, 0xcf9, 1, 0x2);
	assert_int_equal(w->f.reboots, 0);
	fake_out(&w->f, 0xcf9, 1, 0x6);
	assert_int_equal(w->f.reboots, 1);
}

static void test_full_bus(void **state)
{
	struct world *w = *state;
	static struct test_fn more[247];
	static const struct pci_ids ids = { .vendor = 0x1af4 };
	unsigned int n = 0;

	for (; n < ARRAY_LEN(more); n++) {
		pci_fn_init(&more[n].fn, "more", &ids, &t_ops);
		if (pci_fn_add(w->f.pci, &more[n].fn))
			break;
	}
	assert_int_equal(n, 246);
	assert_int_equal(fake_pci_read(&w->f, 255, PCI_VENDOR_ID, 2), 0x1af4);
	while (n-- > 0)
		pci_fn_del(&more[n].fn);
	assert_int_equal(fake_pci_read(&w->f, 255, PCI_VENDOR_ID, 2), 0xffff);
}

/* --- MSI-X --- */

static void msix_control(struct world *w, uint16_t value)
{
	fake_pci_write(&w->f, FN_BDF, w->fns[0].msix.cap + 2, 2, value);
}

static uint64_t entry_at(struct world *w, unsigned int vector)
{
	return w->fns[0].at[1] + vector * sizeof(struct pci_msix_entry);
}

static void mask(struct world *w, unsigned int vector, bool masked)
{
	fake_write(&w->f, entry_at(w, vector) + 12, 4, masked);
}

static void program(struct world *w, unsigned int vector, uint32_t data)
{
	fake_write(&w->f, entry_at(w, vector), 4, FAKE_MSI_ADDR);
	fake_write(&w->f, entry_at(w, vector) + 4, 4, 0);
	fake_write(&w->f, entry_at(w, vector) + 8, 4, data);
	mask(w, vector, false);
}

static bool pending(struct world *w, unsigned int vector)
{
	uint64_t pba = w->fns[0].at[1] + 0x1000; /* 70 vectors: one page of table */

	return fake_read(&w->f, pba + vector / 64 * 8, 8) >> (vector % 64) & 1;
}

static void test_msix_own(void **state)
{
	struct world *w = *state;
	struct msix *m = &w->fns[0].msix;

	enable(w, FN_BDF);
	program(w, 69, 33);
	msix_notify(m, 69); /* not enabled: lost, as it should be */
	assert_false(pending(w, 69));
	msix_control(w, 0x8000);
	assert_int_equal(fake_pci_read(&w->f, FN_BDF, m->cap + 2, 2), 0x8000 | (VECTORS - 1));
	msix_notify(m, 69);
	msix_notify(m, VECTORS);
	msix_notify(m, 0xffff);
	assert_int_equal(fake_take_msis(&w->f, 33), 1);
	mask(w, 69, true);
	msix_notify(m, 69);
	msix_notify(m, 69);
	assert_int_equal(fake_take_msis(&w->f, 33), 0);
	assert_true(pending(w, 69));
	mask(w, 69, false);
	assert_int_equal(fake_take_msis(&w->f, 33), 1);
	assert_false(pending(w, 69));
	msix_control(w, 0xc000); /* function mask */
	msix_notify(m, 69);
	assert_true(pending(w, 69));
	msix_control(w, 0x8000);
	assert_int_equal(fake_take_msis(&w->f, 33), 1);
	/* Own interrupts need no route. */
	assert_int_equal(fake_num_routes(&w->f), 0);
}

static void test_msix_irqfd(void **state)
{
	struct world *w = *state;
	struct msix *m = &w->fns[0].msix;
	struct msix_irq a = { .fd = -1 }, b = { .fd = -1 }, twice = { .fd = -1 };
	int efd = eventfd(0, EFD_NONBLOCK), other = eventfd(0, EFD_NONBLOCK);

	enable(w, FN_BDF);
	msix_control(w, 0x8000);
	program(w, 3, 40);
	assert_int_equal(msix_irq_bind(m, &a, 3, efd), 0);
	assert_int_equal(msix_irq_bind(m, &b, 3, other), 0);
	assert_int_equal(msix_irq_bind(m, &twice, 3, efd), -16 /* EBUSY */);
	assert_int_equal(twice.fd, -1);
	assert_int_equal(fake_num_routes(&w->f), 1);
	eventfd_write(efd, 1);
	eventfd_write(other, 5);
	fake_step(&w->f);
	assert_int_equal(fake_take_msis(&w->f, 40), 2);
	/* Masked: the count waits in the eventfd and is the pending bit. */
	mask(w, 3, true);
	assert_int_equal(fake_num_irqfds(&w->f), 0);
	eventfd_write(efd, 1);
	fake_step(&w->f);
	assert_int_equal(fake_take_msis(&w->f, 40), 0);
	assert_true(pending(w, 3));
	/* A new vector's data while masked; delivered once, with the new data. */
	fake_write(&w->f, entry_at(w, 3) + 8, 4, 41);
	mask(w, 3, false);
	fake_step(&w->f);
	assert_int_equal(fake_take_msis(&w->f, 40), 0);
	assert_int_equal(fake_take_msis(&w->f, 41), 1);
	assert_false(pending(w, 3));
	/* Changed while live. */
	fake_write(&w->f, entry_at(w, 3) + 8, 8, 42);
	eventfd_write(other, 1);
	fake_step(&w->f);
	assert_int_equal(fake_take_msis(&w->f, 42), 1);
	/* Function mask, disable, reset: nothing arrives. */
	msix_control(w, 0xc000);
	assert_int_equal(fake_num_irqfds(&w->f), 0);
	msix_control(w, 0x8000);
	assert_int_equal(fake_num_irqfds(&w->f), 2);
	msix_reset(m);
	assert_int_equal(fake_num_irqfds(&w->f), 0);
	assert_int_equal(fake_num_routes(&w->f), 0);
	msix_irq_unbind(m, &a);
	msix_irq_unbind(m, &b);
	msix_irq_unbind(m, &b);
	close(efd);
	close(other);
}

static void test_msix_failures(void **state)
{
	struct world *w = *state;
	struct msix *m = &w->fns[0].msix;
	struct msix_irq a = { .fd = -1 };
	int efd = eventfd(0, EFD_NONBLOCK);

	enable(w, FN_BDF);
	msix_control(w, 0x8000);
	program(w, 0, 50);
	w->f.fail_route_add = 1;
	assert_true(msix_irq_bind(m, &a, 0, efd) < 0);
	w->f.fail_irqfd_add = 1;
	assert_true(msix_irq_bind(m, &a, 0, efd) < 0);
	assert_int_equal(a.fd, -1);
	assert_int_equal(msix_irq_bind(m, &a, 0, efd), 0);
	/* The route can't be had at unmask: the next unmask tries again. */
	mask(w, 0, true);
	msix_irq_unbind(m, &a);
	assert_int_equal(msix_irq_bind(m, &a, 0, efd), 0);
	w->f.fail_route_add = 1;
	mask(w, 0, false);
	assert_int_equal(fake_num_irqfds(&w->f), 0);
	mask(w, 0, true);
	mask(w, 0, false);
	assert_int_equal(fake_num_irqfds(&w->f), 1);
	msix_irq_unbind(m, &a);
	close(efd);
}

static void test_msix_accesses(void **state)
{
	struct world *w = *state;

	enable(w, FN_BDF);
	/* Only aligned 32- and 64-bit writes have an effect; reserved bits stay 0; the PBA is
	 * read-only. */
	fake_write(&w->f, entry_at(w, 1) + 8, 2, 0x1111);
	fake_write(&w->f, entry_at(w, 1) + 6, 4, UINT32_MAX);
	assert_int_equal(fake_read(&w->f, entry_at(w, 1) + 8, 4), 0);
	fake_write(&w->f, entry_at(w, 1) + 12, 4, UINT32_MAX);
	assert_int_equal(fake_read(&w->f, entry_at(w, 1) + 12, 4), 1);
	fake_write(&w->f, entry_at(w, 1), 8, UINT64_MAX);
	assert_int_equal(fake_read(&w->f, entry_at(w, 1), 8), UINT64_MAX & ~3ull);
	fake_write(&w->f, w->fns[0].at[1] + 0x1000, 8, UINT64_MAX);
	assert_int_equal(fake_read(&w->f, w->fns[0].at[1] + 0x1000, 8), 0);
	assert_int_equal(fake_read(&w->f, w->fns[0].at[1] + 0x1800, 4), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_scan, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_write_masks, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_sizing, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_assigned, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_move, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_move_onto_another, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_machine_reset, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_full_bus, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_msix_own, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_msix_irqfd, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_msix_failures, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_msix_accesses, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
