// SPDX-License-Identifier: BSD-2-Clause
/*
 * PCI and MSI-X register accesses of any kind on two plain functions, while eventfds come and go on
 * their vectors.
 *
 * Invariants: an eventfd that was signalled while its vector could be delivered has raised it; an
 * interrupt never carries another vector's data; pending bits are set exactly for masked vectors of
 * an enabled function with something to deliver; a BAR is where its register says, or nowhere.
 */
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "fuzz.h"
#include "tests/loop/fake_machine.h"
#include "vmm/hostlib/log.h"
#include "vmm/msix.h"

#define FUNCTIONS 2
#define VECTORS	  4
#define SOURCES	  4
#define BAR_BYTES 0x1000
#define WIN_BYTES (UINT64_C(1) << 21)
#define OPS_MAX	  400

struct source {
	struct msix_irq irq;
	int fd;
};

struct test_fn {
	struct pci_fn fn;
	struct msix msix;
	uint64_t at[3];
	struct source sources[SOURCES];
};

struct run {
	struct fake_machine f;
	struct test_fn fns[FUNCTIONS];
	struct input *in;
};

static struct test_fn *of(struct pci_fn *fn)
{
	return container_of(fn, struct test_fn, fn);
}

static uint64_t t_read(struct pci_fn *fn, unsigned int bar, uint64_t offset, unsigned int size)
{
	CHECK(offset + size <= fn->bars[bar].size);
	return bar == 1 ? msix_read(&of(fn)->msix, offset, size) : 0;
}

static void t_write(struct pci_fn *fn, unsigned int bar, uint64_t offset, unsigned int size,
		    uint64_t value)
{
	CHECK(offset + size <= fn->bars[bar].size);
	if (bar == 1)
		msix_write(&of(fn)->msix, offset, size, value);
}

static void t_moved(struct pci_fn *fn, unsigned int bar, uint64_t gpa)
{
	CHECK(gpa == PCI_BAR_UNMAPPED || of(fn)->at[bar] == PCI_BAR_UNMAPPED);
	CHECK(gpa == PCI_BAR_UNMAPPED || gpa % fn->bars[bar].size == 0);
	of(fn)->at[bar] = gpa;
}

static void t_written(struct pci_fn *fn, unsigned int reg, unsigned int size)
{
	msix_config_written(&of(fn)->msix, reg, size);
}

static void t_reset(struct pci_fn *fn)
{
	msix_reset(&of(fn)->msix);
}

static const struct pci_fn_ops ops = { .bar_read = t_read,
				       .bar_write = t_write,
				       .bar_moved = t_moved,
				       .config_written = t_written,
				       .reset = t_reset };

static void add_function(struct run *r, struct test_fn *t)
{
	static const struct pci_ids ids = { .vendor = 0x1af4, .device = 0x1075, .class = 0xff00 };

	pci_fn_init(&t->fn, "fuzz", &ids, &ops);
	pci_fn_add_bar(&t->fn, 0, BAR_BYTES, false, false);
	CHECK(msix_init(&t->msix, &r->f.m, &t->fn, 1, VECTORS) == 0);
	pci_fn_add_bar(&t->fn, 2, WIN_BYTES, true, true);
	for (unsigned int i = 0; i < 3; i++)
		t->at[i] = PCI_BAR_UNMAPPED;
	for (unsigned int i = 0; i < SOURCES; i++) {
		t->sources[i].irq.fd = -1;
		t->sources[i].fd = eventfd(0, EFD_NONBLOCK);
	}
	CHECK(pci_fn_add(r->f.pci, &t->fn) == 0);
}

/* Each vector's data word names function and vector, so that a wrong one shows. */
static void program(struct run *r, unsigned int fn, unsigned int vector)
{
	uint64_t at = r->fns[fn].at[1] + vector * 16;

	if (r->fns[fn].at[1] == PCI_BAR_UNMAPPED)
		return;
	fake_write(&r->f, at, 8, FAKE_MSI_ADDR);
	fake_write(&r->f, at + 8, 4, 100 + fn * 10 + vector);
	fake_write(&r->f, at + 12, 4, 0);
}

static bool can_deliver(const struct test_fn *t, unsigned int vector)
{
	return t->msix.enabled && !t->msix.masked && !(t->msix.vectors[vector].entry.control & 1);
}

static bool readable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) == 1;
}

static void check_function(struct run *r, struct test_fn *t)
{
	for (unsigned int i = 0; i < 3; i++) {
		if (t->at[i] == PCI_BAR_UNMAPPED)
			continue;
		CHECK(pci_config_u16(&t->fn, PCI_COMMAND) & PCI_COMMAND_MEMORY_MASK);
		CHECK((uint32_t)t->at[i] ==
		      (pci_config_u32(&t->fn, PCI_BAR_0 + 4 * i) & PCI_BAR_MEM_ADDR_MASK));
	}
	for (unsigned int i = 0; i < SOURCES; i++) {
		const struct msix_irq *irq = &t->sources[i].irq;

		if (irq->fd < 0)
			continue;
		CHECK(irq->attached == can_deliver(t, irq->vector));
		/* fake_step() has just run: what could be delivered was. */
		CHECK(!irq->attached || !readable(irq->fd));
		if (t->msix.enabled && !irq->attached && readable(irq->fd))
			CHECK(msix_read(&t->msix, 0x1000, 8) >> irq->vector & 1);
	}
	for (unsigned int v = 0; v < VECTORS; v++) {
		if (can_deliver(t, v))
			CHECK(!(msix_read(&t->msix, 0x1000, 8) >> v & 1));
	}
}

static void signal_source(struct run *r, struct test_fn *t, struct source *s)
{
	unsigned int v = s->irq.vector;
	const struct pci_msix_entry *e;

	fake_step(&r->f);
	memset(r->f.msis, 0, sizeof(r->f.msis));
	eventfd_write(s->fd, 1);
	fake_step(&r->f);
	if (s->irq.fd < 0 || !can_deliver(t, v))
		return;
	e = &t->msix.vectors[v].entry;
	if (e->addr_lo == FAKE_MSI_ADDR && !e->addr_hi && e->data < FAKE_MSI_DATA)
		CHECK(fake_take_msis(&r->f, e->data) == 1);
}

static void toggle_source(struct test_fn *t, struct source *s, unsigned int vector)
{
	if (s->irq.fd >= 0)
		msix_irq_unbind(&t->msix, &s->irq);
	else
		msix_irq_bind(&t->msix, &s->irq, vector % VECTORS, s->fd);
}

static void access_bar(struct run *r, struct test_fn *t, bool write)
{
	unsigned int size = 1u << (input_u8(r->in) & 3);
	uint64_t offset = input_u16(r->in) & 0x1fff & ~(size - 1u);

	if (t->at[1] == PCI_BAR_UNMAPPED)
		return;
	if (write)
		fake_write(&r->f, t->at[1] + offset, size, input_u64(r->in));
	else
		fake_read(&r->f, t->at[1] + offset, size);
}

static void operation(struct run *r)
{
	uint8_t op = input_u8(r->in), arg = input_u8(r->in);
	unsigned int f = arg & 1;
	struct test_fn *t = &r->fns[f];

	switch (op % 9) {
	case 0:
		fake_out(&r->f, (uint16_t)(0xcf8 + (arg & 7)), 1u << (op / 9 % 3),
			 input_u32(r->in));
		break;
	case 1:
		fake_in(&r->f, (uint16_t)(0xcf8 + (arg & 7)), 1u << (op / 9 % 3));
		break;
	case 2:
		fake_pci_write(&r->f, 8 + f, op / 9 * 4, 4, input_u32(r->in));
		break;
	case 3:
		access_bar(r, t, arg & 2);
		break;
	case 4:
		program(r, f, arg >> 1 & 3);
		break;
	case 5:
		fake_pci_write(&r->f, 8 + f, t->msix.cap + 2, 2, (uint32_t)(arg & 0xc0) << 8);
		break;
	case 6:
		signal_source(r, t, &t->sources[arg >> 1 & 3]);
		break;
	case 7:
		toggle_source(t, &t->sources[arg >> 1 & 3], arg >> 3);
		break;
	default:
		if (arg == 255)
			machine_reset_devices(&r->f.m);
		else
			msix_notify(&t->msix, arg >> 1);
	}
	fake_step(&r->f);
	for (unsigned int i = 0; i < FUNCTIONS; i++)
		check_function(r, &r->fns[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct run r;
	struct input in = { data, size };

	log_set_level("error");
	memset(&r, 0, sizeof(r));
	r.in = &in;
	fake_init(&r.f, 36);
	for (unsigned int i = 0; i < FUNCTIONS; i++)
		add_function(&r, &r.fns[i]);
	CHECK(pci_host_assign(r.f.pci) == 0);
	if (input_u8(&in) & 1) {
		for (unsigned int i = 0; i < FUNCTIONS; i++) {
			fake_pci_write(&r.f, 8 + i, PCI_COMMAND, 2, PCI_COMMAND_MEMORY_MASK);
			fake_pci_write(&r.f, 8 + i, r.fns[i].msix.cap + 2, 2, 0x8000);
		}
	}
	for (unsigned int i = 0; i < OPS_MAX && input_left(&in); i++)
		operation(&r);
	for (unsigned int i = 0; i < FUNCTIONS; i++) {
		for (unsigned int s = 0; s < SOURCES; s++) {
			msix_irq_unbind(&r.fns[i].msix, &r.fns[i].sources[s].irq);
			close(r.fns[i].sources[s].fd);
		}
		msix_free(&r.fns[i].msix);
		pci_fn_del(&r.fns[i].fn);
	}
	CHECK(fake_num_irqfds(&r.f) == 0);
	CHECK(fake_num_routes(&r.f) == 0);
	fake_free(&r.f);
	return 0;
}
