/* SPDX-License-Identifier: BSD-2-Clause */
/* Virtio device status, feature bit numbers and device IDs (virtio 1.2 §2.1, §5, §6). */
#ifndef VVU_ABI_VIRTIO_CONFIG_H
#define VVU_ABI_VIRTIO_CONFIG_H

#include "abi/base.h"

/* Device status (virtio 1.2 §2.1), masks. */
#define VIRTIO_STATUS_ACKNOWLEDGE	 0x01
#define VIRTIO_STATUS_DRIVER		 0x02
#define VIRTIO_STATUS_DRIVER_OK		 0x04
#define VIRTIO_STATUS_FEATURES_OK	 0x08
#define VIRTIO_STATUS_DEVICE_NEEDS_RESET 0x40
#define VIRTIO_STATUS_FAILED		 0x80

/* Reserved feature bit numbers (virtio 1.2 §6); use VIRTIO_FEATURE() for the mask. */
#define VIRTIO_F_NOTIFY_ON_EMPTY_BIT   24
#define VIRTIO_F_ANY_LAYOUT_BIT	       27
#define VIRTIO_F_INDIRECT_DESC_BIT     28
#define VIRTIO_F_EVENT_IDX_BIT	       29
#define VIRTIO_F_VERSION_1_BIT	       32
#define VIRTIO_F_ACCESS_PLATFORM_BIT   33
#define VIRTIO_F_RING_PACKED_BIT       34
#define VIRTIO_F_IN_ORDER_BIT	       35
#define VIRTIO_F_ORDER_PLATFORM_BIT    36
#define VIRTIO_F_SR_IOV_BIT	       37
#define VIRTIO_F_NOTIFICATION_DATA_BIT 38
#define VIRTIO_F_RING_RESET_BIT	       40

#define VIRTIO_FEATURE(name) BIT_ULL(VIRTIO_##name##_BIT)

/* Device IDs (virtio 1.2 §5). */
#define VIRTIO_ID_NET	     1
#define VIRTIO_ID_VHOST_USER 53 /* the newest draft's proposal; see abi/vvu.h */

#endif
