/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where a back-end that takes over another's rings goes on: the in-flight region that the proxy makes for each
 * session and gives to the back-end with SET_INFLIGHT_FD (vhost-user §Inflight I/O tracking), whether or not
 * the front-end knows of such regions. The proxy only zeroes; the back-end writes, and may be the successor of
 * one that was hostile: what is read here is checked like any peer's bytes.
 *
 * One struct of 64 bytes for each ring, by vring index. A device that gives buffers back in the order it took
 * them, as a network device does, needs no more than positions:
 *
 *   split   the used index in the ring itself says where to go on; here only that the ring was running
 *   packed  the ring does not tell (a used descriptor overwrites the length of its chain), so the position is
 *           kept here, in two steps around the store that publishes a burst: after = new position; publish;
 *           before = after. Whoever takes over finds them different if the other died in between, and sees by
 *           the first descriptor of the burst, at before, whether it was published: then its USED flag is the
 *           wrap counter of before (virtio 1.2 §2.8.1).
 */
#ifndef VVU_ABI_INFLIGHT_H
#define VVU_ABI_INFLIGHT_H

#include "abi/base.h"

enum inflight_state {
	INFLIGHT_STOPPED = 0, /* start where SET_VRING_BASE says */
	INFLIGHT_SPLIT = 1,   /* it runs: go on at the used index */
	INFLIGHT_PACKED = 2,  /* it runs: go on at before or after */
};

struct inflight_ring {
	le32 state;
	le32 size; /* of the ring */
	/* As in SET_VRING_BASE: bits 0-14 position, 15 wrap counter, and the same in the upper half. */
	le32 before;
	le32 after;
	uint8_t padding[48];
};
ABI_SIZE(struct inflight_ring, 64);

/* Bytes of a region for n rings, whole pages. vhost_user_inflight.queue_size is 0: nothing here is per descriptor. */
#define INFLIGHT_BYTES(n) ((((uint64_t)(n) * 64u) + 4095u) & ~UINT64_C(4095))

#endif
