// SPDX-License-Identifier: BSD-2-Clause
/*
 * MSI-X with a peer's eventfds behind it: masks of vector and function, pending bits, changes of a
 * vector while kicks come. Kicks are counted by nobody: several while masked are one interrupt.
 */
#include "vvu.h"

#define KICK_VECTOR  1 /* as the driver uses them */
#define OTHER_IRQ    77
#define PCI_MSIX_PBA 8

static uint8_t *pba;

static void table_set(unsigned int vector, size_t field, uint32_t v)
{
	const struct gd_platform *p = vvu.dev.p;

	p->mmio_write(p->ctx,
		      vvu.dev.pci.msix_table + vector * sizeof(struct pci_msix_entry) + field, 4,
		      v);
}

static void mask(unsigned int vector, bool on)
{
	table_set(vector, offsetof(struct pci_msix_entry, control),
		  on ? PCI_MSIX_ENTRY_MASKED_MASK : 0);
}

static void function(uint32_t control)
{
	const struct gd_platform *p = vvu.dev.p;

	p->pci_write(p->ctx, vvu.dev.pci.bdf, vvu.dev.pci.msix_reg + 2u, 2, control);
}

static bool pending(unsigned int vector)
{
	const struct gd_platform *p = vvu.dev.p;

	return p->mmio_read(p->ctx, pba + vector / 32 * 4, 4) >> vector % 32 & 1;
}

static bool wait_pending(unsigned int vector)
{
	uint64_t end = rt_now_ns() + SLOW_NS;

	while (!pending(vector))
		if (rt_now_ns() > end)
			return false;
	return true;
}

/* Lets in what is there and forgets it. */
static void drain(void)
{
	rt_irq_window();
	for (unsigned int i = 0; i < GD_IRQ_MAX; i++)
		rt_irq_take(i);
}

/* Nothing comes: whatever was signalled before is delivered, or is not going to be. */
static void check_quiet(unsigned int irq, const char *when)
{
	rt_irq_window();
	CHECKF(!rt_irq_take(irq), "%s", when);
}

static void check_delivery(void)
{
	for (unsigned int i = 0; i < NUM_KICKS; i++) {
		peer_do("kick-new %u", i);
		drain();
		rt_printf("PEER kick %u\n",
			  i); /* no answer is awaited, which would raise the same interrupt */
		CHECK(wait_irq(KICK_IRQ));
		vvu_expect_done();
	}
}

static void check_vector_mask(void)
{
	drain();
	mask(KICK_VECTOR, true);
	CHECK(!pending(KICK_VECTOR));
	peer_do("kick 0 3");
	CHECKF(wait_pending(KICK_VECTOR), "a kick while masked");
	check_quiet(KICK_IRQ, "masked");
	mask(KICK_VECTOR, false);
	CHECK(wait_irq(KICK_IRQ));
	CHECK(!pending(KICK_VECTOR));
	drain();
	check_quiet(KICK_IRQ, "several kicks while masked are one interrupt");
	/* Masking and unmasking alone raises nothing. */
	for (unsigned int i = 0; i < 20; i++) {
		mask(KICK_VECTOR, true);
		mask(KICK_VECTOR, false);
	}
	check_quiet(KICK_IRQ, "nothing was signalled");
}

static void check_function_mask(void)
{
	drain();
	function(PCI_MSIX_CONTROL_ENABLE_MASK | PCI_MSIX_CONTROL_FMASK_MASK);
	peer_do("kick 1 1");
	CHECK(wait_pending(KICK_VECTOR));
	check_quiet(KICK_IRQ, "function masked");
	function(PCI_MSIX_CONTROL_ENABLE_MASK);
	CHECK(wait_irq(KICK_IRQ));
	drain();
	function(0);
	peer_do("kick 2 1");
	check_quiet(KICK_IRQ, "disabled");
	function(PCI_MSIX_CONTROL_ENABLE_MASK);
	CHECKF(wait_irq(KICK_IRQ), "a kick while disabled is not lost");
	drain();
}

/* A new message for the vector: while it is masked, and on the fly. */
static void check_vector_change(void)
{
	struct gd_msi msi = vvu.dev.p->msi(vvu.dev.p->ctx, OTHER_IRQ, 0);
	struct gd_msi old = vvu.dev.p->msi(vvu.dev.p->ctx, KICK_IRQ, 0);

	mask(KICK_VECTOR, true);
	peer_do("kick 0 1");
	table_set(KICK_VECTOR, offsetof(struct pci_msix_entry, data), msi.data);
	mask(KICK_VECTOR, false);
	for (uint64_t end = rt_now_ns() + SLOW_NS;
	     !rt_this_cpu()->irq_flags[OTHER_IRQ] && rt_now_ns() < end;)
		rt_irq_window();
	CHECK(rt_irq_take(OTHER_IRQ));
	CHECK(!rt_irq_take(KICK_IRQ));
	table_set(KICK_VECTOR, offsetof(struct pci_msix_entry, data), old.data); /* unmasked */
	peer_do("kick 0 1");
	CHECK(wait_irq(KICK_IRQ));
	drain();
}

/* The notification of a ring moves to another MSI-X vector and to none. */
static void check_notification_change(void)
{
	const struct gd_platform *p = vvu.dev.p;
	const unsigned int vector = vvu.dev.pci.msix_size - 1u;

	CHECK(gd_msix_set(&vvu.dev.pci, vector, OTHER_IRQ, 0) == 0);
	p->mmio_write(p->ctx, vvu.notifications, 2, 3);
	p->mmio_write(p->ctx, vvu.notifications + 2, 2, vector);
	CHECK(p->mmio_read(p->ctx, vvu.notifications + 2, 2) == vector);
	peer_do("kick 3 1");
	for (uint64_t end = rt_now_ns() + SLOW_NS;
	     !rt_this_cpu()->irq_flags[OTHER_IRQ] && rt_now_ns() < end;)
		rt_irq_window();
	CHECK(rt_irq_take(OTHER_IRQ));
	p->mmio_write(p->ctx, vvu.notifications + 2, 2, VIRTIO_MSI_NO_VECTOR);
	peer_do("kick 3 1");
	check_quiet(OTHER_IRQ, "no vector");
	p->mmio_write(p->ctx, vvu.notifications + 2, 2, vector);
	for (uint64_t end = rt_now_ns() + SLOW_NS;
	     !rt_this_cpu()->irq_flags[OTHER_IRQ] && rt_now_ns() < end;)
		rt_irq_window();
	CHECKF(rt_irq_take(OTHER_IRQ), "a kick without vector is not lost");
}

/* Masks change while kicks rain down: none may get lost, in that the last one is always seen. */
static void check_storm(void)
{
	unsigned int seen = 0;

	drain();
	rt_printf("PEER storm 0 20000\n");
	for (unsigned int i = 0; !gd_vvu_pending(&vvu); i++) {
		mask(KICK_VECTOR, i & 1);
		rt_irq_window();
		seen += rt_irq_take(KICK_IRQ);
	}
	mask(KICK_VECTOR, false);
	vvu_expect_done();
	rt_printf("%u interrupts\n", seen);
	drain();
	CHECKF(!pending(KICK_VECTOR), "nothing is left pending");
	rt_printf("PEER kick 0 1\n");
	CHECK(wait_irq(KICK_IRQ));
	vvu_expect_done();
}

/* A vector for the kicks alone: the queues interrupt when they like. */
static bool separate_kicks(void)
{
	const struct gd_platform *p = vvu.dev.p;

	if (!CHECK(gd_msix_set(&vvu.dev.pci, KICK_VECTOR, KICK_IRQ, 0) == 0))
		return false;
	for (unsigned int i = 0; i < NUM_KICKS; i++) {
		p->mmio_write(p->ctx, vvu.notifications, 2, i);
		p->mmio_write(p->ctx, vvu.notifications + 2, 2, KICK_VECTOR);
		CHECK(p->mmio_read(p->ctx, vvu.notifications + 2, 2) == KICK_VECTOR);
	}
	return true;
}

int rt_main(const char *cmdline)
{
	uint32_t where;

	if (!vvu_open() || !separate_kicks() || !session_up())
		return verdict();
	where = vvu.dev.p->pci_read(vvu.dev.p->ctx, vvu.dev.pci.bdf,
				    vvu.dev.pci.msix_reg + PCI_MSIX_PBA, 4);
	pba = gd_pci_map(&vvu.dev.pci, where & PCI_MSIX_BIR_MASK,
			 where & ~(uint32_t)PCI_MSIX_BIR_MASK, 8);
	if (!CHECK(pba != NULL))
		return verdict();
	check_delivery();
	check_vector_mask();
	check_function_mask();
	check_vector_change();
	check_notification_change();
	check_storm();
	return verdict();
}
