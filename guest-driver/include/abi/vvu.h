/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The virtio-vhost-user device: what its driver sees. docs/abi-vvu-device.md has the prose.
 *
 * The drafts of the VIRTIO proposal disagree with each other; "draft A" below is the one all published drivers
 * implement (2017), "draft C" the one of 2022 whose capability layouts are the same bytes.
 */
#ifndef VVU_ABI_VVU_H
#define VVU_ABI_VVU_H

#include "abi/base.h"
#include "abi/virtio_pci.h"

/* Feature bit numbers. Bit 0 stays free for the newest draft's BIG_ENDIAN. */
#define VVU_F_EXPLICIT_OFFSETS_BIT 1
#define VVU_F_RESIDENT_BIT	   2

/*
 * With VVU_F_EXPLICIT_OFFSETS, a region's offset in the window is a multiple of 4096. With VVU_F_RESIDENT as well, the
 * bits below are flags in the mmap_offset of SET_MEM_TABLE and ADD_MEM_REG; those not named here are reserved.
 */
#define VVU_OFFSET_FLAGS_MASK UINT64_C(0xfff)
#define VVU_OFFSET_RESIDENT                                                                        \
	UINT64_C(0x1) /* all pages are there: to read them makes nothing resident */

/* Virtqueues. One vhost-user message (12-byte header and payload) per descriptor chain. */
#define VVU_QUEUE_RX   0 /* device to driver */
#define VVU_QUEUE_TX   1 /* driver to device */
#define VVU_NUM_QUEUES 2
#define VVU_QUEUE_SIZE 128

/* Device configuration. */
struct vvu_config {
	le32 status;
	le32 max_vhost_queues; /* virtqueues, not pairs */
	uint8_t uuid[16];
};
ABI_SIZE(struct vvu_config, 24);
ABI_OFFSET(struct vvu_config, uuid, 8);

/* vvu_config.status, masks. The driver's writes change only BACKEND_UP. */
#define VVU_STATUS_BACKEND_UP  0x1
#define VVU_STATUS_FRONTEND_UP 0x2

/* The default and the maximum: a vhost-user vring index has 8 bits, and existing drivers refuse less. */
#define VVU_MAX_VHOST_QUEUES 256

/*
 * Doorbells (cfg_type 6): address = capability offset + index * multiplier. With N = max_vhost_queues: call of queue
 * i = i, err of queue i = N + i, log = 2N. Any width and any value is accepted.
 */
struct vvu_doorbell_cap {
	struct virtio_pci_cap cap;
	le32 doorbell_off_multiplier;
};
ABI_SIZE(struct vvu_doorbell_cap, 20);
#define VVU_DOORBELL_MULTIPLIER 4
#define VVU_NUM_DOORBELLS(n)	(2 * (n) + 1)
#define VVU_DOORBELL_CALL(i)	(i)
#define VVU_DOORBELL_ERR(n, i)	((n) + (i))
#define VVU_DOORBELL_LOG(n)	(2 * (n))

/*
 * Notifications (cfg_type 7): kick of queue i = notification i. Writing the vector binds it; reading it back gives
 * VIRTIO_MSI_NO_VECTOR when the device could not. An invalid select reads NO_VECTOR, its writes are ignored.
 */
struct vvu_notification_cfg {
	le16 notification_select;
	le16 notification_msix_vector;
};
ABI_SIZE(struct vvu_notification_cfg, 4);

/* Shared memory (cfg_type 8, a virtio_pci_cap64): its ids (draft C). Our device has the one of id 1. */
#define VVU_SHMID_MEMORY 1

/*
 * BARs. 0: virtio registers, doorbells and notification registers, 32-bit, non-prefetchable, the doorbells and
 * the notification registers on pages of their own. 1: MSI-X table and PBA. 2: shared memory, 64-bit prefetchable.
 */
#define VVU_BAR_REGS  0
#define VVU_BAR_MSIX  1
#define VVU_BAR_SHMEM 2

/* MSI-X vectors of the device: one per kick and one each for configuration, rxq, txq. The driver may share them. */
#define VVU_NUM_MSIX(n) ((n) + 3)

/*
 * Largest message: the header and 32 regions of SET_MEM_TABLE are 276 bytes, a configuration message 280. Drivers
 * post rxq buffers of at least this size; a message that does not fit sets DEVICE_NEEDS_RESET.
 */
#define VVU_MSG_MAX 512

#endif
