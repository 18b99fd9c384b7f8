/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Accesses to ring memory that another VM reads and writes at the same time, and the orders between them. Each helper
 * names the store or load it orders; docs/virtqueue.md has them in one table.
 *
 * Every access is one machine access of a naturally aligned word: neither torn nor repeated by the compiler. On
 * x86-64 loads and stores keep their order except that a load may overtake an earlier store, so only vq_mb_*() cost
 * anything; the compiler is held to the order by all of them.
 */
#ifndef VVU_VQ_BARRIER_H
#define VVU_VQ_BARRIER_H

#include "abi/base.h"

#define vq_likely(x)   __builtin_expect(!!(x), 1)
#define vq_unlikely(x) __builtin_expect(!!(x), 0)

static inline uint16_t vq_load16(const le16 *p)
{
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}

static inline uint32_t vq_load32(const le32 *p)
{
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}

static inline uint64_t vq_load64(const le64 *p)
{
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}

/* Behind every store that another VM can see: a test looks there what the other finds if this one dies now. */
#ifdef VQ_TEST_STORES
void vq_test_stored(void);
#else
#define vq_test_stored() ((void)0)
#endif

static inline void vq_store16(le16 *p, uint16_t v)
{
	__atomic_store_n(p, v, __ATOMIC_RELAXED);
	vq_test_stored();
}

static inline void vq_store32(le32 *p, uint32_t v)
{
	__atomic_store_n(p, v, __ATOMIC_RELAXED);
	vq_test_stored();
}

static inline void vq_store64(le64 *p, uint64_t v)
{
	__atomic_store_n(p, v, __ATOMIC_RELAXED);
	vq_test_stored();
}

/*
 * Load of the peer's idx, before loads of what it published: ring entries, descriptors, buffers. Pairs with the
 * peer's vq_publish_idx().
 */
static inline uint16_t vq_observe_idx(const le16 *idx)
{
	return __atomic_load_n(idx, __ATOMIC_ACQUIRE);
}

/*
 * Stores of what is published (buffers, descriptors, ring entries), before the store of our idx (virtio 1.2
 * §2.7.13.3). Our earlier loads from buffers that the store gives back are ordered before it too.
 */
static inline void vq_publish_idx(le16 *idx, uint16_t v)
{
	__atomic_store_n(idx, v, __ATOMIC_RELEASE);
	vq_test_stored();
}

/* The same for a packed ring: len, id and flags of the first used descriptor of a burst (virtio 1.2 §2.8.21.1). */
static inline void vq_publish_used(le64 *rest, uint64_t v)
{
	__atomic_store_n(rest, v, __ATOMIC_RELEASE);
	vq_test_stored();
}

/*
 * Stores before it are made before stores behind it: the steps that a successor sees of what its predecessor did
 * (abi/inflight.h). A store that was made outlives whoever made it.
 */
static inline void vq_step(void)
{
	__atomic_thread_fence(__ATOMIC_RELEASE);
}

/*
 * Store of our idx, before the load of the peer's event index or flags (virtio 1.2 §2.7.13.4.1): otherwise both sides
 * can look first and store second, and a notification that both think needless is lost.
 */
static inline void vq_mb_idx_before_event(void)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* The other half: store of our event index or flags, before the load of the peer's idx. */
static inline void vq_mb_event_before_idx(void)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

#endif
