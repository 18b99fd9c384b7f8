// SPDX-License-Identifier: BSD-2-Clause
/*
 * PCI functions: scan, BARs, capabilities, MSI-X.
 *
 * Each access of configuration space is a VM exit, or two. So what is needed later is read once, in
 * the order of its registers (the platform need not select the same dword again), and BARs are
 * sized while decoding is still off.
 */
#include "gd/pci.h"

#include "abi/errno.h"
#include "drv.h"

#define PCI_DEVICES	  32
#define PCI_FUNCTIONS	  8
#define PCI_EMPTY	  0xffffffffu
#define SCAN_EMPTY_MAX	  2
#define BAR_MAP_WHOLE_MAX (UINT64_C(1) << 20)

static uint32_t cfg_read(const struct gd_pci_dev *dev, unsigned int reg, unsigned int width)
{
	return dev->p->pci_read(dev->p->ctx, dev->bdf, reg, width);
}

static void cfg_write(const struct gd_pci_dev *dev, unsigned int reg, unsigned int width,
		      uint32_t v)
{
	dev->p->pci_write(dev->p->ctx, dev->bdf, reg, width, v);
}

int gd_pci_scan(const struct gd_platform *p,
		int (*found)(void *arg, unsigned int bdf, uint16_t vendor, uint16_t device),
		void *arg)
{
	unsigned int device, fn, bdf, functions, empty = 0;
	uint32_t id;
	int err;

	for (device = 0; device < PCI_DEVICES && empty < SCAN_EMPTY_MAX; device++) {
		functions = 1;
		for (fn = 0; fn < functions; fn++) {
			bdf = GD_PCI_BDF(0u, device, fn);
			id = p->pci_read(p->ctx, bdf, PCI_VENDOR_ID, 4);
			if (id == PCI_EMPTY)
				continue;
			if (fn == 0 && p->pci_read(p->ctx, bdf, PCI_HEADER_TYPE, 1) &
					       PCI_HEADER_TYPE_MULTI_MASK)
				functions = PCI_FUNCTIONS;
			err = found(arg, bdf, (uint16_t)id, (uint16_t)(id >> 16));
			if (err)
				return err;
			empty = 0;
		}
		if (functions == 1 && id == PCI_EMPTY)
			empty++;
	}
	return 0;
}

/* Writes ones to a BAR's dword and puts the old value back. Returns what it reads meanwhile. */
static uint32_t bar_probe(struct gd_pci_dev *dev, unsigned int reg, uint32_t old)
{
	uint32_t v;

	cfg_write(dev, reg, 4, 0xffffffff);
	v = cfg_read(dev, reg, 4);
	cfg_write(dev, reg, 4, old);
	return v;
}

/* Place and size of the memory BAR at index; an I/O BAR, or one without address, stays "not there".
 */
static unsigned int read_bar(struct gd_pci_dev *dev, unsigned int index)
{
	unsigned int reg = PCI_BAR_0 + 4 * index;
	uint32_t low = cfg_read(dev, reg, 4), high = 0;
	uint64_t mask;
	bool is_64;

	if (!low || low & PCI_BAR_IO_MASK)
		return 1;
	is_64 = low & PCI_BAR_MEM_64_MASK && index + 1 < PCI_NUM_BARS;
	mask = bar_probe(dev, reg, low) & PCI_BAR_MEM_ADDR_MASK;
	if (is_64) {
		high = cfg_read(dev, reg + 4, 4);
		mask |= (uint64_t)bar_probe(dev, reg + 4, high) << 32;
	} else {
		mask |= UINT64_C(0xffffffff) << 32;
	}
	dev->bars[index].gpa = (low & PCI_BAR_MEM_ADDR_MASK) | (uint64_t)high << 32;
	dev->bars[index].size = mask ? ~mask + 1 : 0;
	return is_64 ? 2 : 1;
}

static int read_vendor_cap(struct gd_pci_dev *dev, unsigned int reg, uint32_t head)
{
	struct gd_virtio_cap cap = { .cfg_type = (uint8_t)(head >> 24), .reg = (uint8_t)reg };
	unsigned int len = head >> 16 & 0xff;
	uint32_t v;

	/* Not used here: the access window, and the ISR, which MSI-X replaces. */
	if (cap.cfg_type == VIRTIO_PCI_CAP_PCI_CFG || cap.cfg_type == VIRTIO_PCI_CAP_ISR_CFG ||
	    len < sizeof(struct virtio_pci_cap) || dev->num_caps == GD_PCI_CAPS_MAX)
		return 0;
	if (reg + len > PCI_CONFIG_SIZE)
		return -EIO;
	v = cfg_read(dev, reg + 4, 4);
	cap.bar = (uint8_t)v;
	cap.id = (uint8_t)(v >> 8);
	cap.offset = cfg_read(dev, reg + 8, 4);
	cap.length = cfg_read(dev, reg + 12, 4);
	if (cap.cfg_type == VIRTIO_PCI_CAP_SHARED_MEMORY_CFG &&
	    len >= sizeof(struct virtio_pci_cap64)) {
		cap.offset |= (uint64_t)cfg_read(dev, reg + 16, 4) << 32;
		cap.length |= (uint64_t)cfg_read(dev, reg + 20, 4) << 32;
	} else if ((cap.cfg_type == VIRTIO_PCI_CAP_NOTIFY_CFG ||
		    cap.cfg_type == VIRTIO_PCI_CAP_DOORBELL_CFG) &&
		   len >= sizeof(struct virtio_pci_notify_cap)) {
		cap.extra = cfg_read(dev, reg + 16, 4);
	}
	dev->caps[dev->num_caps++] = cap;
	return 0;
}

static int read_msix_cap(struct gd_pci_dev *dev, unsigned int reg, uint32_t head)
{
	uint32_t table;

	if (reg + sizeof(struct pci_msix_cap) > PCI_CONFIG_SIZE)
		return -EIO;
	table = cfg_read(dev, reg + offsetof(struct pci_msix_cap, table), 4);
	dev->msix_reg = (uint8_t)reg;
	dev->msix_size = (uint16_t)((head >> 16 & PCI_MSIX_CONTROL_SIZE_MASK) + 1);
	dev->msix_bar = table & PCI_MSIX_BIR_MASK;
	dev->msix_offset = table & ~(uint32_t)PCI_MSIX_BIR_MASK;
	return 0;
}

/* Walks the list; one that is longer than configuration space could hold loops. */
static int read_caps(struct gd_pci_dev *dev)
{
	unsigned int reg = cfg_read(dev, PCI_CAPABILITY_LIST, 1) & 0xfc;
	unsigned int steps = 0;
	uint32_t head;
	int err = 0;

	for (; reg && !err; reg = head >> 8 & 0xfc) {
		if (reg < 0x40 || ++steps > (PCI_CONFIG_SIZE - 0x40) / 4)
			return -EIO;
		head = cfg_read(dev, reg, 4);
		if ((head & 0xff) == PCI_CAP_ID_VENDOR)
			err = read_vendor_cap(dev, reg, head);
		else if ((head & 0xff) == PCI_CAP_ID_MSIX)
			err = read_msix_cap(dev, reg, head);
	}
	return err;
}

int gd_pci_open(struct gd_pci_dev *dev, const struct gd_platform *p, unsigned int bdf)
{
	const uint32_t decode = PCI_COMMAND_MEMORY_MASK | PCI_COMMAND_MASTER_MASK;
	uint32_t v;

	*dev = (struct gd_pci_dev){ .p = p, .bdf = bdf };
	v = cfg_read(dev, PCI_VENDOR_ID, 4);
	dev->vendor = (uint16_t)v;
	dev->device = (uint16_t)(v >> 16);
	v = cfg_read(dev, PCI_COMMAND, 4);
	if (v == PCI_EMPTY)
		return -EIO;
	if (v & (PCI_COMMAND_MEMORY_MASK | PCI_COMMAND_IO_MASK))
		cfg_write(dev, PCI_COMMAND, 2,
			  v & ~(PCI_COMMAND_MEMORY_MASK | PCI_COMMAND_IO_MASK) & 0xffff);
	for (unsigned int i = 0; i < PCI_NUM_BARS;)
		i += read_bar(dev, i);
	cfg_write(dev, PCI_COMMAND, 2, (v & 0xffff) | decode | PCI_COMMAND_INTX_DISABLE_MASK);
	return v >> 16 & PCI_STATUS_CAP_LIST_MASK ? read_caps(dev) : 0;
}

uint64_t gd_pci_gpa(const struct gd_pci_dev *dev, unsigned int bar, uint64_t offset,
		    uint64_t length)
{
	const struct gd_bar *b = &dev->bars[bar < PCI_NUM_BARS ? bar : 0];

	if (bar >= PCI_NUM_BARS || !b->gpa || !length || offset > b->size ||
	    length > b->size - offset)
		return 0;
	return b->gpa + offset;
}

void *gd_pci_map(struct gd_pci_dev *dev, unsigned int bar, uint64_t offset, uint64_t length)
{
	uint64_t gpa = gd_pci_gpa(dev, bar, offset, length);
	struct gd_bar *b = &dev->bars[bar < PCI_NUM_BARS ? bar : 0];

	if (!gpa)
		return NULL;
	if (b->size > BAR_MAP_WHOLE_MAX)
		return dev->p->map_mmio(dev->p->ctx, gpa, length);
	if (!b->map)
		b->map = dev->p->map_mmio(dev->p->ctx, b->gpa, b->size);
	return b->map ? (uint8_t *)b->map + offset : NULL;
}

int gd_msix_set(struct gd_pci_dev *dev, unsigned int vector, unsigned int irq, unsigned int cpu)
{
	const struct gd_platform *p = dev->p;
	struct gd_msi msi;
	size_t at = vector * sizeof(struct pci_msix_entry);

	if (!dev->msix_reg)
		return -ENODEV;
	if (vector >= dev->msix_size || irq >= GD_IRQ_MAX)
		return -EINVAL;
	if (!dev->msix_table)
		dev->msix_table = gd_pci_map(dev, dev->msix_bar, dev->msix_offset,
					     dev->msix_size * sizeof(struct pci_msix_entry));
	if (!dev->msix_table)
		return -EIO;
	msi = p->msi(p->ctx, irq, cpu);
	drv_write(p, dev->msix_table, at + offsetof(struct pci_msix_entry, control), 4,
		  PCI_MSIX_ENTRY_MASKED_MASK);
	drv_write(p, dev->msix_table, at + offsetof(struct pci_msix_entry, addr_lo), 4,
		  (uint32_t)msi.addr);
	drv_write(p, dev->msix_table, at + offsetof(struct pci_msix_entry, addr_hi), 4,
		  (uint32_t)(msi.addr >> 32));
	drv_write(p, dev->msix_table, at + offsetof(struct pci_msix_entry, data), 4, msi.data);
	drv_write(p, dev->msix_table, at + offsetof(struct pci_msix_entry, control), 4, 0);
	return 0;
}

int gd_msix_enable(struct gd_pci_dev *dev)
{
	if (!dev->msix_reg)
		return -ENODEV;
	/* The table size in this register is read-only. */
	cfg_write(dev, dev->msix_reg + 2u, 2, PCI_MSIX_CONTROL_ENABLE_MASK);
	return 0;
}
