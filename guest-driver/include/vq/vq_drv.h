/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Virtqueues, driver side: split and packed, in order or not. Every buffer is one descriptor (no chains: our drivers
 * need none). The device is trusted to exist, not to be right: used entries are checked before they index anything.
 *
 * Memory of the rings and buffers belongs to the caller and is named by its guest-physical address, since a driver
 * without an IOMMU hands those to the device.
 */
#ifndef VVU_VQ_DRV_H
#define VVU_VQ_DRV_H

#include <stdbool.h>

#include "abi/virtio_ring.h"

#define VQ_DRV_SIZE_MAX 256

/* What was negotiated. */
struct vq_drv_mode {
	bool event_idx;
	bool packed;
	bool in_order;
};

struct vq_drv {
	union {
		struct vring_desc *desc;
		struct vring_packed_desc *ring;
	};
	union {
		struct vring_avail *avail;
		struct vring_packed_event *driver_event;
	};
	union {
		struct vring_used *used;
		struct vring_packed_event *device_event;
	};
	struct vq_drv_mode mode;
	uint16_t size;
	uint16_t
		free_head; /* free ids are linked through next_free; in order: the next id, no links */
	uint16_t num_free;
	/* Positions run freely. In a packed ring their bit above the size is the wrap counter, upside down. */
	uint16_t avail_idx;    /* published: everything added so far */
	uint16_t avail_kicked; /* avail idx at the last decision to kick */
	uint16_t last_used;
	/* In order: the batch a used entry stands for, as far as it was not taken. */
	uint16_t batch;
	uint32_t batch_written; /* by the device, to its last buffer */
	uint16_t next_free[VQ_DRV_SIZE_MAX];
	uint64_t cookie[VQ_DRV_SIZE_MAX]; /* of the caller, per descriptor in flight */
	uint32_t writable
		[VQ_DRV_SIZE_MAX]; /* bytes the device may write, per descriptor in flight */
	bool in_flight[VQ_DRV_SIZE_MAX];
};

/* Bytes of ring memory for a queue of size entries, and the offsets of its parts; the memory is 4096-aligned. */
struct vq_drv_layout {
	uint32_t avail_offset;
	uint32_t used_offset;
	uint32_t bytes;
};
struct vq_drv_layout vq_drv_layout(unsigned int size);

/* Sets up an empty queue in zeroed ring memory mem. size: power of two, at most VQ_DRV_SIZE_MAX, else -EINVAL. */
int vq_drv_init(struct vq_drv *vq, void *mem, unsigned int size, bool event_idx);

/* The same for any layout. In the memory, a packed ring has its event structures where a split one has its rings. */
int vq_drv_init_mode(struct vq_drv *vq, void *mem, unsigned int size, struct vq_drv_mode mode);

/* Makes one buffer available. Returns 0 or -ENOSPC. */
int vq_drv_add(struct vq_drv *vq, struct gpa addr, uint32_t len, bool device_writes,
	       uint64_t cookie);

/* True when the device asked to be notified of what was added since the last time this was asked. */
bool vq_drv_kick_needed(struct vq_drv *vq);

/*
 * Takes back one used buffer. Returns 1 (cookie and written set), 0 (none; the device then interrupts for the
 * next one) or
 * -EPROTO (the device named a buffer that is not its, or claims to have written more than it may). After -EPROTO the
 * queue is of no use until the device is reset.
 */
int vq_drv_get_used(struct vq_drv *vq, uint64_t *cookie, uint32_t *written);

/* True when a used buffer is there. One load; asks the device for nothing. */
bool vq_drv_pending(const struct vq_drv *vq);

/*
 * Before sleeping: asks the device to interrupt for the next used buffer. Returns true when one is there already. The
 * full barrier between the request and the look is inside.
 */
bool vq_drv_arm(struct vq_drv *vq);

#endif
