/* SPDX-License-Identifier: BSD-2-Clause */
/* PCI for drivers: find functions, read capabilities once, enable MSI-X. */
#ifndef VVU_GD_PCI_H
#define VVU_GD_PCI_H

#include "abi/pci.h"
#include "abi/virtio_pci.h"
#include "gd/platform.h"

#define GD_PCI_BDF(bus, dev, fn) ((bus) << 8 | (dev) << 3 | (fn))
#define GD_PCI_CAPS_MAX		 16

struct gd_bar {
	uint64_t gpa; /* 0: not there or not assigned */
	uint64_t size;
	void *map; /* of gd_platform.map_mmio, NULL until mapped */
};

/*
 * A vendor capability as read; cap64 fields are folded in. Those of types 3 and 5 are left out: no driver here
 * needs them.
 */
struct gd_virtio_cap {
	uint8_t cfg_type;
	uint8_t bar;
	uint8_t id;
	uint8_t reg; /* where it is in configuration space */
	uint64_t offset;
	uint64_t length;
	uint32_t extra; /* multiplier of NOTIFY_CFG and DOORBELL_CFG */
};

struct gd_pci_dev {
	const struct gd_platform *p;
	unsigned int bdf;
	uint16_t vendor;
	uint16_t device;
	struct gd_bar bars[PCI_NUM_BARS];
	unsigned int num_caps;
	struct gd_virtio_cap caps[GD_PCI_CAPS_MAX];
	uint8_t msix_reg; /* 0: none */
	uint16_t msix_size;
	uint8_t msix_bar;
	uint32_t msix_offset;
	uint8_t *msix_table; /* mapped when first used */
};

/*
 * Calls found() for each function of bus 0 that is there, in order, until it returns non-zero (which is returned).
 * Functions 1-7 are looked at only where function 0 says multi-function, and scanning stops at the first device number
 * after the last one found with two empty neighbours: an access is a VM exit.
 */
int gd_pci_scan(const struct gd_platform *p,
		int (*found)(void *arg, unsigned int bdf, uint16_t vendor, uint16_t device),
		void *arg);

/*
 * Reads and sizes BARs, reads capabilities, enables memory decoding and bus mastering. 0, or -EIO (a list that
 * loops).
 */
int gd_pci_open(struct gd_pci_dev *dev, const struct gd_platform *p, unsigned int bdf);

/* Guest-physical address of [offset, offset + length) of a memory BAR; 0: no such BAR, or outside it. */
uint64_t gd_pci_gpa(const struct gd_pci_dev *dev, unsigned int bar, uint64_t offset,
		    uint64_t length);

/* Maps that range, the whole BAR being mapped once where it is small. NULL: outside the BAR, or no room. */
void *gd_pci_map(struct gd_pci_dev *dev, unsigned int bar, uint64_t offset, uint64_t length);

/*
 * MSI-X: bind vector to interrupt irq of a CPU and unmask it (five exits); enable turns the function on. 0, -ENODEV,
 * -EINVAL, -EIO (table outside its BAR).
 */
int gd_msix_set(struct gd_pci_dev *dev, unsigned int vector, unsigned int irq, unsigned int cpu);
int gd_msix_enable(struct gd_pci_dev *dev);

#endif
