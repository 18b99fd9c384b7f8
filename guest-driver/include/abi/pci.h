/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * PCI configuration space, capabilities and MSI-X (PCI Local Bus 3.0 §6.1, §6.7, §6.8.2; §3.2.2.3.2 for
 * mechanism #1).
 */
#ifndef VVU_ABI_PCI_H
#define VVU_ABI_PCI_H

#include "abi/base.h"

/* Configuration mechanism #1 I/O ports. */
#define PCI_PORT_CONFIG_ADDRESS 0xcf8
#define PCI_PORT_CONFIG_DATA	0xcfc
#define PCI_CONFIG_ADDRESS_EN	BIT_U32(31)

static inline uint32_t pci_config_address(unsigned int bus, unsigned int dev, unsigned int fn,
					  unsigned int reg)
{
	return PCI_CONFIG_ADDRESS_EN | bus << 16 | dev << 11 | fn << 8 | (reg & 0xfc);
}

/* Registers of a type 0 header. */
#define PCI_VENDOR_ID	    0x00
#define PCI_DEVICE_ID	    0x02
#define PCI_COMMAND	    0x04
#define PCI_STATUS	    0x06
#define PCI_REVISION_ID	    0x08
#define PCI_CLASS_PROG	    0x09
#define PCI_CLASS_DEVICE    0x0a
#define PCI_HEADER_TYPE	    0x0e
#define PCI_BAR_0	    0x10
#define PCI_SUBSYS_VENDOR   0x2c
#define PCI_SUBSYS_ID	    0x2e
#define PCI_CAPABILITY_LIST 0x34
#define PCI_INTERRUPT_LINE  0x3c
#define PCI_INTERRUPT_PIN   0x3d
#define PCI_CONFIG_SIZE	    256
#define PCI_NUM_BARS	    6

#define PCI_COMMAND_IO_MASK	      0x0001
#define PCI_COMMAND_MEMORY_MASK	      0x0002
#define PCI_COMMAND_MASTER_MASK	      0x0004
#define PCI_COMMAND_INTX_DISABLE_MASK 0x0400
#define PCI_STATUS_CAP_LIST_MASK      0x0010
#define PCI_HEADER_TYPE_MULTI_MASK    0x80

#define PCI_BAR_IO_MASK	      0x1
#define PCI_BAR_MEM_64_MASK   0x4
#define PCI_BAR_PREFETCH_MASK 0x8
#define PCI_BAR_MEM_ADDR_MASK 0xfffffff0u

#define PCI_CAP_ID_VENDOR 0x09
#define PCI_CAP_ID_MSIX	  0x11

#define PCI_VENDOR_VIRTIO	 0x1af4
#define PCI_DEVICE_VIRTIO_MODERN 0x1040 /* plus the virtio device ID (virtio 1.2 §4.1.2) */

/* MSI-X capability (PCI 3.0 §6.8.2). */
struct pci_msix_cap {
	uint8_t cap_id;
	uint8_t next;
	le16 control;
	le32 table; /* offset | BIR */
	le32 pba;   /* offset | BIR */
};
ABI_SIZE(struct pci_msix_cap, 12);

#define PCI_MSIX_CONTROL_SIZE_MASK   0x07ff /* table size - 1 */
#define PCI_MSIX_CONTROL_FMASK_MASK  0x4000 /* function mask */
#define PCI_MSIX_CONTROL_ENABLE_MASK 0x8000
#define PCI_MSIX_BIR_MASK	     0x7

struct pci_msix_entry {
	le32 addr_lo;
	le32 addr_hi;
	le32 data;
	le32 control;
};
ABI_SIZE(struct pci_msix_entry, 16);
#define PCI_MSIX_ENTRY_MASKED_MASK 0x1

#endif
