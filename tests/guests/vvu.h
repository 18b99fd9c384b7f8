/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * For guests that have a VVU device and a link peer (tests/kvm/peers.py) that plays the proxy.
 *
 * The guest leads: peer_do("kick 3") prints `PEER kick 3`; the peer reads that from the console,
 * does it, and sends GET_FEATURES to say that it is done, which the guest answers. What the peer
 * finds wrong ends the test there.
 */
#ifndef VVU_TEST_GUEST_VVU_H
#define VVU_TEST_GUEST_VVU_H

#include "common.h"
#include "gd/vvu.h"
#include "ring0.h"

#define CONFIG_IRQ 1
#define WORK_IRQ   2
#define KICK_IRQ   3 /* where a test keeps kicks apart from the queues' interrupts */
#define IRQS_USED  3
#define NUM_KICKS  4
#define FEATURES   0x142345678ull
#define SLOW_NS	   60000000000ull /* nothing here takes that long, unless it is broken */

static struct gd_vvu vvu;

static inline int vvu_find_one(void *arg, unsigned int bdf, uint16_t vendor, uint16_t device)
{
	if (vendor != PCI_VENDOR_VIRTIO ||
	    device != PCI_DEVICE_VIRTIO_MODERN + VIRTIO_ID_VHOST_USER)
		return 0;
	*(unsigned int *)arg = bdf;
	return 1;
}

/* The first VVU function, or 0. */
static inline unsigned int vvu_find(void)
{
	unsigned int bdf = 0;

	gd_pci_scan(rt_platform(), vvu_find_one, &bdf);
	return bdf;
}

static inline bool vvu_open(void)
{
	const struct gd_vvu_conf conf = {
		.bdf = vvu_find(),
		.config_irq = CONFIG_IRQ,
		.work_irq = WORK_IRQ,
	};

	if (!CHECK(conf.bdf != 0) || !CHECK(gd_vvu_open(&vvu, rt_platform(), &conf) == 0))
		return false;
	for (unsigned int i = 0; i < NUM_KICKS; i++)
		if (!CHECK(gd_vvu_bind_kick(&vvu, i) == 0))
			return false;
	return true;
}

/* Waits for the next message, looking all the time (interrupts play no part). */
static inline bool vvu_next(struct vhost_user_msg *msg)
{
	uint64_t end = rt_now_ns() + SLOW_NS;
	int got;

	while ((got = gd_vvu_recv(&vvu, msg)) == 0)
		if (rt_now_ns() > end)
			return CHECKF(false, "no message came");
	return CHECKF(got == 1, "%d", got);
}

static inline void vvu_reply(const struct vhost_user_msg *to, uint64_t value)
{
	struct vhost_user_msg reply = {
		.hdr = { .request = to->hdr.request,
			 .flags = VHOST_USER_VERSION | VHOST_USER_REPLY_MASK,
			 .size = sizeof(reply.payload.u64) },
		.payload.u64 = value,
	};

	CHECK(gd_vvu_send(&vvu, &reply) == 0);
}

/* Has the device given back all that was sent? It does so one by one, so the last descriptor's own slot tells. */
static inline bool vvu_all_used(const struct vq_drv *vq)
{
	const uint16_t both = VRING_PACKED_DESC_F_AVAIL | VRING_PACKED_DESC_F_USED;
	uint16_t last = (uint16_t)(vq->avail_idx - 1);
	uint16_t flags;

	if (!vq->mode.packed)
		return __atomic_load_n(&vq->used->idx, __ATOMIC_ACQUIRE) == vq->avail_idx;
	if (vq->num_free == vq->size)
		return true;
	flags = __atomic_load_n(&vq->ring[last & (vq->size - 1u)].flags, __ATOMIC_ACQUIRE);
	return (flags & both) == (last & vq->size ? 0 : both);
}

/*
 * The device takes an answer on a thread of its own, and may raise WORK_IRQ for it: waits until that has happened, so
 * that no late interrupt is taken for another one and no answer is lost to a ring that a test breaks next.
 */
static inline bool vvu_settle(void)
{
	uint64_t end = rt_now_ns() + SLOW_NS;

	while (!vvu_all_used(&vvu.txq.vq))
		if (rt_now_ns() > end)
			return CHECKF(false, "the device does not take the answer");
	gd_vvu_status(
		&vvu); /* an access waits for the device, which is busy until the interrupt is out */
	return true;
}

/* Waits until the peer has done what it was told. Messages that came before its answer are taken
 * for acknowledged. */
static inline bool vvu_expect_done(void)
{
	struct vhost_user_msg msg;

	do {
		if (!vvu_next(&msg))
			return false;
		if (msg.hdr.flags & VHOST_USER_NEED_REPLY_MASK)
			vvu_reply(&msg, 0);
	} while (msg.hdr.request != VHOST_USER_GET_FEATURES);
	vvu_reply(&msg, FEATURES);
	return vvu_settle();
}

/* Has the peer do something, and waits until it has. */
__attribute__((format(printf, 1, 2))) static inline bool peer_do(const char *fmt, ...)
{
	char text[80];
	va_list ap;

	va_start(ap, fmt);
	rt_vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	rt_printf("PEER %s\n", text);
	return vvu_expect_done();
}

/* Idles until irq was raised; whoever waits for one does not want to be woken by the others. */
static inline bool wait_irq(unsigned int irq)
{
	uint64_t end = rt_now_ns() + SLOW_NS;

	while (!rt_irq_take(irq)) {
		for (unsigned int other = 0; other < GD_IRQ_MAX; other++)
			if (other != irq)
				CHECKF(!rt_irq_take(other) || other <= IRQS_USED,
				       "irq %u is nobody's", other);
		rt_idle(end);
		if (rt_now_ns() > end)
			return CHECKF(false, "irq %u did not come", irq);
	}
	return true;
}

/* Waits until the device's status is that. */
static inline bool wait_status(uint32_t status)
{
	uint64_t end = rt_now_ns() + SLOW_NS;

	while (gd_vvu_status(&vvu) != status)
		if (rt_now_ns() > end)
			return CHECKF(false, "status %#x, wanted %#x", gd_vvu_status(&vvu), status);
	return true;
}

/* Announces the back-end and has the peer open a session. */
static inline bool session_up(void)
{
	gd_vvu_set_up(&vvu, true);
	return peer_do("up") &&
	       CHECK(gd_vvu_status(&vvu) == (VVU_STATUS_BACKEND_UP | VVU_STATUS_FRONTEND_UP));
}

/* A window on all of a region, entered. NULL: failed. */
static inline uint64_t *map_region(const struct vhost_user_region *r)
{
	const struct gd_platform *p = rt_platform();
	uint64_t *window = p->window_begin(p->ctx, vvu.shm_gpa + r->mmap_offset, r->memory_size);
	int more;

	if (!CHECK(window != NULL))
		return NULL;
	while ((more = p->window_step(p->ctx, window)) == 0)
		;
	if (!CHECKF(more == 1, "%d", more))
		return NULL;
	if (r->memory_size / 4096 & 1) /* some of them */
		while ((more = p->window_touch(p->ctx, window)) == 0)
			;
	return CHECKF(more == 1, "%d", more) ? window : NULL;
}

/* What the peer writes to the first word of each 4 KiB of region number r of a table. */
static inline uint64_t pattern(unsigned int r, uint64_t page)
{
	return 0x5a00000000000000 + ((uint64_t)r << 48) + page;
}

#endif
