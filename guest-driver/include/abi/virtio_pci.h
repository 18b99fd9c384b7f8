/* SPDX-License-Identifier: BSD-2-Clause */
/* Virtio over PCI, modern interface only (virtio 1.2 §4.1). */
#ifndef VVU_ABI_VIRTIO_PCI_H
#define VVU_ABI_VIRTIO_PCI_H

#include "abi/base.h"

/* cfg_type values (virtio 1.2 §4.1.4). 6 and 7 are the VVU drafts' (abi/vvu.h). */
#define VIRTIO_PCI_CAP_COMMON_CFG	 1
#define VIRTIO_PCI_CAP_NOTIFY_CFG	 2
#define VIRTIO_PCI_CAP_ISR_CFG		 3
#define VIRTIO_PCI_CAP_DEVICE_CFG	 4
#define VIRTIO_PCI_CAP_PCI_CFG		 5
#define VIRTIO_PCI_CAP_DOORBELL_CFG	 6
#define VIRTIO_PCI_CAP_NOTIFICATION_CFG	 7
#define VIRTIO_PCI_CAP_SHARED_MEMORY_CFG 8

struct virtio_pci_cap {
	uint8_t cap_vndr;
	uint8_t cap_next;
	uint8_t cap_len;
	uint8_t cfg_type;
	uint8_t bar;
	uint8_t id;
	uint8_t padding[2];
	le32 offset;
	le32 length;
};
ABI_SIZE(struct virtio_pci_cap, 16);
ABI_OFFSET(struct virtio_pci_cap, offset, 8);

struct virtio_pci_cap64 {
	struct virtio_pci_cap cap;
	le32 offset_hi;
	le32 length_hi;
};
ABI_SIZE(struct virtio_pci_cap64, 24);

struct virtio_pci_notify_cap {
	struct virtio_pci_cap cap;
	le32 notify_off_multiplier;
};
ABI_SIZE(struct virtio_pci_notify_cap, 20);

struct virtio_pci_cfg_cap {
	struct virtio_pci_cap cap;
	uint8_t pci_cfg_data[4];
};
ABI_SIZE(struct virtio_pci_cfg_cap, 20);

/* Common configuration structure (virtio 1.2 §4.1.4.3). */
struct virtio_pci_common_cfg {
	le32 device_feature_select; /* RW */
	le32 device_feature;	    /* RO */
	le32 driver_feature_select; /* RW */
	le32 driver_feature;	    /* RW */
	le16 config_msix_vector;    /* RW */
	le16 num_queues;	    /* RO */
	uint8_t device_status;	    /* RW */
	uint8_t config_generation;  /* RO */
	le16 queue_select;	    /* RW */
	le16 queue_size;	    /* RW */
	le16 queue_msix_vector;	    /* RW */
	le16 queue_enable;	    /* RW */
	le16 queue_notify_off;	    /* RO */
	le64 queue_desc;	    /* RW, written as two le32 */
	le64 queue_driver;	    /* RW */
	le64 queue_device;	    /* RW */
};
ABI_SIZE(struct virtio_pci_common_cfg, 56);
ABI_OFFSET(struct virtio_pci_common_cfg, device_status, 20);
ABI_OFFSET(struct virtio_pci_common_cfg, queue_select, 22);
ABI_OFFSET(struct virtio_pci_common_cfg, queue_desc, 32);
ABI_OFFSET(struct virtio_pci_common_cfg, queue_device, 48);

#define VIRTIO_MSI_NO_VECTOR 0xffff

/* ISR status (virtio 1.2 §4.1.4.5), masks. */
#define VIRTIO_PCI_ISR_QUEUE_MASK	 0x1
#define VIRTIO_PCI_ISR_CONFIG_MASK	 0x2
#define VIRTIO_PCI_ISR_NOTIFICATION_MASK 0x4 /* VVU drafts: some notification */

#endif
