/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Virtio over PCI, modern interface only, device side (virtio 1.2 §4.1). Registers in BAR 0, MSI-X
 * in BAR 1:
 *
 *   0x0000 common configuration      0x0100 ISR      0x0200 device configuration
 *   0x1000 notifications (one le32 per queue)
 *   0x2000.. registers of the device type, on pages of their own
 *
 * A queue's notification is an ioeventfd on the machine's event loop, so that a vCPU never runs
 * device code for it.
 */
#ifndef VMM_VIRTIO_PCI_H
#define VMM_VIRTIO_PCI_H

#include "vmm/msix.h"
#include "vmm/pci.h"
#include "vmm/virtio_dev.h"

#define VIRTIO_PCI_REGS_BAR    0
#define VIRTIO_PCI_MSIX_BAR    1
#define VIRTIO_PCI_COMMON_OFF  0x0000
#define VIRTIO_PCI_ISR_OFF     0x0100
#define VIRTIO_PCI_DEVICE_OFF  0x0200
#define VIRTIO_PCI_NOTIFY_OFF  0x1000
#define VIRTIO_PCI_TYPE_OFF    0x2000
#define VIRTIO_PCI_NOTIFY_MULT 4

struct event;
struct virtio_pci;

/* A device type's additions. All may be NULL. */
struct virtio_pci_type_ops {
	/* Registers of BAR 0 from VIRTIO_PCI_TYPE_OFF on; offset counts from the BAR's start. */
	uint64_t (*read)(struct virtio_pci *vp, uint64_t offset, unsigned int size);
	void (*write)(struct virtio_pci *vp, uint64_t offset, unsigned int size, uint64_t value);
	void (*bar_moved)(struct virtio_pci *vp, unsigned int bar, uint64_t gpa);
};

struct virtio_pci_notify {
	struct virtio_pci *vp;
	unsigned int queue;
	int fd; /* eventfd of our own */
	struct event *event;
	uint64_t attached; /* guest-physical address of its ioeventfd, or PCI_BAR_UNMAPPED */
};

struct virtio_pci {
	struct pci_fn fn;
	struct virtio_dev dev;
	struct msix msix;
	const struct virtio_pci_type_ops *type;
	uint8_t isr;
	uint32_t device_feature_select;
	uint32_t driver_feature_select;
	uint16_t queue_select;
	unsigned int cfg_cap; /* offset of the PCI_CFG capability */
	struct virtio_pci_notify notify[VIRTIO_DEV_QUEUES_MAX];
};

struct virtio_pci_conf {
	const char *name;
	uint16_t virtio_id;
	uint16_t class;
	unsigned int num_vectors;
	uint64_t regs_bytes; /* of BAR 0, power of two */
	const struct virtio_pci_type_ops *type;
};

/*
 * Sets up vp->fn, whose dev must have been initialised (virtio_dev_init()); adds BARs 0 and 1 and
 * the capabilities; the type adds its own and calls pci_fn_add(). 0 or -errno; after an error
 * virtio_pci_free() is not to be called.
 */
int virtio_pci_init(struct virtio_pci *vp, const struct virtio_pci_conf *conf);
/* Takes notifications off the event loop and frees what init made. The function must be off the
 * bus. */
void virtio_pci_free(struct virtio_pci *vp);

static inline struct virtio_pci *virtio_pci_of(struct virtio_dev *dev)
{
	return container_of(dev, struct virtio_pci, dev);
}

#endif
