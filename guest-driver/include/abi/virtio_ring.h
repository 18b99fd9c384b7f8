/* SPDX-License-Identifier: BSD-2-Clause */
/* Layouts of split (virtio 1.2 §2.7) and packed (§2.8) virtqueues. */
#ifndef VVU_ABI_VIRTIO_RING_H
#define VVU_ABI_VIRTIO_RING_H

#include "abi/base.h"

/* Flags of struct vring_desc (virtio 1.2 §2.7.5), masks. */
#define VRING_DESC_F_NEXT     0x1
#define VRING_DESC_F_WRITE    0x2
#define VRING_DESC_F_INDIRECT 0x4

/* virtio 1.2 §2.7.7: driver asks the device not to interrupt. Not used once EVENT_IDX is negotiated. */
#define VRING_AVAIL_F_NO_INTERRUPT 0x1
/* virtio 1.2 §2.7.10: device asks the driver not to kick. Not used once EVENT_IDX is negotiated. */
#define VRING_USED_F_NO_NOTIFY 0x1

/* virtio 1.2 §2.7: queue size is a power of two, at most 32768. */
#define VRING_SIZE_MAX 32768

#define VRING_DESC_ALIGN  16
#define VRING_AVAIL_ALIGN 2
#define VRING_USED_ALIGN  4

struct vring_desc {
	le64 addr;
	le32 len;
	le16 flags;
	le16 next;
};
ABI_SIZE(struct vring_desc, 16);

struct vring_avail {
	le16 flags;
	le16 idx;
	le16 ring[]; /* queue size entries, then le16 used_event (EVENT_IDX) */
};
ABI_OFFSET(struct vring_avail, ring, 4);

struct vring_used_elem {
	le32 id;
	le32 len;
};
ABI_SIZE(struct vring_used_elem, 8);

struct vring_used {
	le16 flags;
	le16 idx;
	struct vring_used_elem ring[]; /* queue size entries, then le16 avail_event (EVENT_IDX) */
};
ABI_OFFSET(struct vring_used, ring, 4);

static inline uint64_t vring_desc_bytes(unsigned int size)
{
	return 16ull * size;
}

/* Includes used_event, which is there whether or not EVENT_IDX was negotiated (virtio 1.2 §2.7). */
static inline uint64_t vring_avail_bytes(unsigned int size)
{
	return 6 + 2ull * size;
}

/* Includes avail_event. */
static inline uint64_t vring_used_bytes(unsigned int size)
{
	return 6 + 8ull * size;
}

/* virtio 1.2 §2.7.7.2: true when moving an index from old to new_idx passes event. */
static inline int vring_need_event(uint16_t event, uint16_t new_idx, uint16_t old)
{
	return (uint16_t)(new_idx - event - 1) < (uint16_t)(new_idx - old);
}

/* ---- packed ---- */

/* Flags of struct vring_packed_desc beyond those of struct vring_desc (virtio 1.2 §2.8.1), masks. */
#define VRING_PACKED_DESC_F_AVAIL 0x80
#define VRING_PACKED_DESC_F_USED  0x8000

#define VRING_PACKED_DESC_ALIGN	 16
#define VRING_PACKED_EVENT_ALIGN 4

/* virtio 1.2 §2.8.13: the device overwrites len, id and flags when the buffer is used. */
struct vring_packed_desc {
	le64 addr;
	le32 len;
	le16 id;
	le16 flags;
};
ABI_SIZE(struct vring_packed_desc, 16);

/* Event suppression, one structure for each side (virtio 1.2 §2.8.14). */
struct vring_packed_event {
	le16 off_wrap; /* descriptor offset, and the wrap counter in the top bit */
	le16 flags;
};
ABI_SIZE(struct vring_packed_event, 4);

#define VRING_PACKED_EVENT_OFF_MASK  0x7fff
#define VRING_PACKED_EVENT_WRAP_BIT  15
#define VRING_PACKED_EVENT_F_ENABLE  0
#define VRING_PACKED_EVENT_F_DISABLE 1
#define VRING_PACKED_EVENT_F_DESC    2 /* with EVENT_IDX: notify for the descriptor at off_wrap */

#endif
