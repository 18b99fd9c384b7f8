/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The hot path: plain frames from buffers taken ahead to buffers taken ahead. This file is compiled once for each
 * kind of
 * processor (net_sse2.c, net_avx2.c, net_avx512.c); they say in HOT_BYTES how wide one move is and in HOT_NAME what
 * the result is called. The worker chooses one of them when it starts; no frame is handled through a pointer.
 *
 * What a frame costs is cache lines that come from another processor, not instructions, so each of them is asked for
 * well before it is used: descriptors by vq_dev_get_ones(), the sender's first lines by net_tx_look(), the receiver's
 * by net_rx_refill(), the rest of a long frame while the one before it is copied. Where a line need not change
 * (virtio_net_hdr nearly always is what it was) it is not written, so that both sides keep it.
 *
 * Checks are those of the general way: lengths here, descriptors in vq_dev_get_ones(). A frame that fails one, or needs
 * anything special, ends the run and goes the general way.
 */
#ifndef VVU_CORE_NET_HOT_H
#define VVU_CORE_NET_HOT_H

#include "core/net_priv.h"

#ifndef HOT_BYTES /* every 64-bit processor */
#define HOT_BYTES 16
#define HOT_NAME  net_isa_sse2
#define HOT_TEXT  "sse2"
#endif

typedef uint8_t hot_v __attribute__((vector_size(HOT_BYTES), aligned(1), may_alias));

/* Flags and gso_type of a header whose frame wants something done: NEEDS_CSUM, or any segmentation. */
#define HDR_OFFLOADS (VIRTIO_NET_HDR_F_NEEDS_CSUM | UINT64_C(0xff00))

/* What lies behind flags to csum_start of a delivered plain frame: csum_offset 0, num_buffers 1. */
#define HDR_TAIL UINT32_C(0x00010000)

static inline uint64_t hot_load64(const uint8_t *p)
{
	uint64_t v;

	__builtin_memcpy(&v, p, sizeof(v));
	return v;
}

static inline uint32_t hot_load32(const uint8_t *p)
{
	uint32_t v;

	__builtin_memcpy(&v, p, sizeof(v));
	return v;
}

static inline void hot_copy_64(uint8_t *dst, const uint8_t *src)
{
	for (unsigned int i = 0; i < 64; i += HOT_BYTES)
		*(hot_v *)(void *)(dst + i) = *(const hot_v *)(const void *)(src + i);
}

/* Any number of bytes; each byte of the source is read once. */
static inline void hot_copy(uint8_t *dst, const uint8_t *src, uint32_t n)
{
	for (; n >= 64; n -= 64, dst += 64, src += 64)
		hot_copy_64(dst, src);
	for (; n >= 16; n -= 16, dst += 16, src += 16)
		copy_16(dst, src);
	copy_tiny(dst, src, n);
}

/* The lines of a long frame behind its first: they come while others are copied. */
static inline void hot_prefetch_rest(const uint8_t *src, uint8_t *dst, uint32_t len)
{
	for (uint32_t at = 64; at < len; at += 64) {
		__builtin_prefetch(src + at);
		__builtin_prefetch(dst + at, 1);
	}
}

static bool hot_read(struct worker *w)
{
	struct net_burst *b = &w->burst;
	const struct vring_ahead *a = &b->vr->ahead;
	const struct port *port = b->port;
	const uint32_t hdr_len = port->hdr_len;
	unsigned int n = a->num - a->used;

	for (unsigned int i = 0; i < n; i++) {
		const struct vq_one *one = &a->ones[a->used + i];
		const uint8_t *data = one->base + hdr_len;
		uint32_t len = one->len - hdr_len; /* huge when there is less */
		struct net_frame *f = &b->frames[i];
		uint8_t *head = b->heads[i];

		f->segs = &f->one;
		f->one = (struct vq_seg){ one->base, one->len };
		f->num_segs = 1;
		f->bytes = head;
		f->ref = one->ref;
		if (unlikely(one->len < hdr_len + FRAME_ETH_HDR || len > FRAME_MAX ||
			     (hot_load64(one->base) & HDR_OFFLOADS))) {
			b->num = i;
			if (!net_frame_take(port, f, head, one->len))
				return false;
			continue;
		}
		f->len = len;
		f->hdr_len = (uint8_t)hdr_len;
		f->drop = CTR_COUNT;
		f->state = NET_PLAIN;
		f->hdr = (struct virtio_net_hdr){ 0 };
		f->head_len = NET_HEAD;
		if (likely(len >= NET_HEAD)) {
			hot_copy_64(head, data);
		} else {
			f->head_len = len;
			hot_copy(head, data, len);
		}
	}
	b->num = n;
	return true;
}

static inline void hot_write_hdr(uint8_t *dst, uint32_t hdr_len)
{
	static const uint64_t none;
	const uint32_t tail = HDR_TAIL;

	if (hot_load64(dst))
		__builtin_memcpy(dst, &none, sizeof(none));
	if (hdr_len == VIRTIO_NET_HDR_LEN) {
		if (hot_load32(dst + 8) != tail)
			__builtin_memcpy(dst + 8, &tail, sizeof(tail));
	} else {
		__builtin_memcpy(dst + 8, &none, VIRTIO_NET_HDR_LEN_LEGACY - 8);
	}
}

/* A plain frame into a buffer that has room for it. */
static inline void hot_deliver(const struct net_frame *f, uint8_t *dst, uint32_t hdr_len)
{
	const uint8_t *data = f->one.base + f->hdr_len;

	hot_write_hdr(dst, hdr_len);
	dst += hdr_len;
	if (likely(f->head_len == NET_HEAD)) {
		hot_copy_64(dst, f->bytes);
		if (f->len > NET_HEAD)
			hot_copy(dst + NET_HEAD, data + NET_HEAD, f->len - NET_HEAD);
	} else {
		hot_copy(dst, f->bytes, f->head_len);
	}
}

/* The next receive buffer, if it takes a plain frame as it is; NULL: the general way has to look at it. */
static inline const struct vq_one *hot_buffer(struct worker *w, struct vring *vr,
					      const struct net_frame *f)
{
	const struct port *to = vr->port;
	struct vring_ahead *a = &vr->ahead;

	if (unlikely(f->len > to->frame_limit))
		return NULL;
	if (unlikely(a->used == a->num) && !net_rx_refill(w, vr))
		return NULL;
	if (unlikely(a->ones[a->used].len < to->hdr_len + f->len))
		return NULL;
	return &a->ones[a->used];
}

/* The next frame's lines come while this one is copied; its place is the next buffer, if it goes to the same ring. */
static inline void hot_prefetch_next(const struct net_burst *b, unsigned int i,
				     const struct vring *vr)
{
	const struct vring_ahead *a = &vr->ahead;
	const struct net_frame *next = &b->frames[i + 1];

	if (i + 1 >= b->num || next->len <= 2 * NET_HEAD || !(next->state & NET_PLAIN) ||
	    a->used + 1 >= a->num)
		return;
	hot_prefetch_rest(next->one.base + next->hdr_len,
			  a->ones[a->used + 1].base + vr->port->hdr_len, next->len);
}

static unsigned int hot_forward(struct worker *w, unsigned int first)
{
	struct net_burst *b = &w->burst;
	struct port *const *ports = w->sw->ports;
	unsigned int i;

	for (i = first; i < b->num; i++) {
		const struct net_frame *f = &b->frames[i];
		const struct vq_one *one;
		struct vring_ahead *a;
		const struct port *to;
		struct vring *vr;

		if (unlikely(f->drop != CTR_COUNT || !(f->state & NET_PLAIN) ||
			     f->out == FDB_NO_PORT))
			break;
		to = ports[f->out];
		vr = net_rx_ring(to, f);
		if (unlikely(!vr || vr->owner != w->index || vr->slow))
			break;
		one = hot_buffer(w, vr, f);
		if (unlikely(!one))
			break;
		hot_prefetch_next(b, i, vr);
		hot_deliver(f, one->base, to->hdr_len);
		a = &vr->ahead;
		a->written[a->used++] = to->hdr_len + f->len;
		a->bytes += f->len;
		a->frames++;
		net_rx_touch(w, vr);
	}
	return i - first;
}

/* Copies what is left of a source to dst, at most n bytes. */
static uint32_t hot_fill(struct net_source *s, uint32_t done, uint8_t *dst, uint32_t n)
{
	uint32_t left = n;

	if (n > s->len - done)
		left = n = s->len - done;
	if (done < s->head_len) {
		uint32_t part = s->head_len - done < left ? s->head_len - done : left;

		hot_copy(dst, s->head + done, part);
		dst += part;
		left -= part;
	}
	while (left && s->rest.seg < s->rest.end) {
		uint32_t have = s->rest.seg->len - s->rest.off;
		uint32_t part = left < have ? left : have;

		hot_copy(dst, s->rest.seg->base + s->rest.off, part);
		dst += part;
		left -= part;
		cursor_skip(&s->rest, part);
	}
	return n - left;
}

/* How many of the buffers taken ahead hold need bytes; 0: not all of it, or too many buffers. */
static unsigned int hot_spread(const struct vring_ahead *a, uint64_t need)
{
	uint64_t room = 0;

	for (unsigned int i = a->used; i < a->num; i++) {
		room += a->ones[i].len;
		if (room >= need)
			return i + 1 - a->used;
	}
	return 0;
}

static bool hot_put(struct worker *w, struct vring *vr, struct net_source *s)
{
	const struct port *to = vr->port;
	struct vring_ahead *a = &vr->ahead;
	uint64_t need = (uint64_t)to->hdr_len + s->len;
	uint32_t done = 0, skip = to->hdr_len;
	struct vq_one *one;
	unsigned int num;

	if (vr->failed)
		return net_drop(w, vr, CTR_DROP_RING);
	num = hot_spread(a, need);
	if (!num && net_rx_refill(w, vr))
		num = hot_spread(a, need);
	one = &a->ones[a->used];
	if (!num || (num > 1 && (!to->mrg_rxbuf || one->len < to->hdr_len)))
		return net_rx_put(w, vr, s);

	s->hdr.num_buffers = (uint16_t)num;
	copy_bytes(one->base, &s->hdr, to->hdr_len);
	for (unsigned int i = 0; i < num; i++, one++) {
		uint32_t n = hot_fill(s, done, one->base + skip, one->len - skip);

		a->written[a->used++] = skip + n;
		done += n;
		skip = 0;
	}
	a->bytes += s->len;
	a->frames++;
	net_rx_touch(w, vr);
	return true;
}

const struct net_isa HOT_NAME = {
	.name = HOT_TEXT,
	.read = hot_read,
	.forward = hot_forward,
	.put = hot_put,
};

#endif
