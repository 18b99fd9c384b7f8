/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where a back-end that takes over another's rings goes on: the in-flight region that the proxy makes for each session
 * and gives to the back-end with SET_INFLIGHT_FD (vhost-user §Inflight I/O tracking), whether or not the front-end
 * knows of such regions. The proxy only zeroes; the back-end writes, and may be the successor of one that was hostile:
 * what is read here is checked like any peer's bytes.
 *
 * One struct for each ring, by vring index. A device that gives buffers back in the order it took them, as a network
 * device does, needs no more than positions and one burst:
 *
 *   split   the used index in the ring itself says where to go on. before: how far ahead of it the next chain to take
 *           is, modulo 2^16; not 0 where SET_VRING_BASE left out chains that nobody gave back.
 *   packed  the ring does not tell. A used descriptor overwrites length, id and flags of one that was taken, so a burst
 *           cannot be undone once its first store into the ring is made; it can be done again. The burst is kept in
 *           puts[], and the ring is written only when all of it is there:
 *
 *               puts[] = the burst; after = new position; the used descriptors, the first one last; before = after
 *
 *           Whoever takes over finds before and after different if the other died in between, and sees by the
 *           descriptor at before whether all of it was stored: its USED flag is the wrap counter of before (virtio 1.2
 *           §2.8.1). If not, it stores the burst again. Either way it goes on at after.
 */
#ifndef VVU_ABI_INFLIGHT_H
#define VVU_ABI_INFLIGHT_H

#include "abi/base.h"

enum inflight_state {
	INFLIGHT_STOPPED = 0, /* start where SET_VRING_BASE says */
	INFLIGHT_SPLIT = 1,   /* it runs: go on at the used index */
	INFLIGHT_PACKED = 2,  /* it runs: go on at after */
};

/*
 * Whether a ring goes on at its next start is for the proxy to say, since it knows which answers have arrived:
 * it zeroes a slot before the ring is started anywhere but where it stopped. A back-end that answers
 * GET_VRING_BASE therefore leaves the slot as it is: if it dies before the answer is there, its successor is
 * asked again, and gives the same answer. So it does when a reset (status 0, RESET_DEVICE, RESET_OWNER) stops its
 * rings: where is asked only afterwards (QEMU) or not at all. It looks at a slot only when it starts a ring, or is
 * asked for its position, for the first time after SET_INFLIGHT_FD, and knows its own positions otherwise.
 */

/* A chain to give back: what its used descriptor says, and how many slots it stands for. */
struct inflight_put {
	le32 written;
	le16 id;
	le16 slots;
};
ABI_SIZE(struct inflight_put, 8);

#define INFLIGHT_PUTS_MAX 504

struct inflight_ring {
	le32 state;
	le32 size; /* of the ring */
	/* Packed: as in SET_VRING_BASE, bits 0-15 the next slot to take and its wrap counter, 16-31 the next to put. */
	le32 before;
	le32 after;
	uint8_t padding[48];
	struct inflight_put puts[INFLIGHT_PUTS_MAX];
};
ABI_SIZE(struct inflight_ring, 4096);

/* Bytes of a region for n rings. vhost_user_inflight.queue_size is 0: nothing here is per descriptor. */
#define INFLIGHT_BYTES(n) ((uint64_t)(n)*4096u)

#endif
