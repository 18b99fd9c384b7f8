// SPDX-License-Identifier: BSD-2-Clause
/* The sender's side: bursts out of transmit rings. */
#include "core/net_priv.h"

#define TCP_CSUM_OFFSET 16
#define TCP_HDR_MIN	20

/*
 * The offload part of a header (virtio 1.2 §5.1.6.2.1, driver requirements). False when no driver that keeps the
 * specification sends it: not negotiated, or outside the frame.
 */
static bool net_hdr_ok(const struct port *port, const struct virtio_net_hdr *h, uint32_t len)
{
	uint32_t type = GSO_TYPE(h->gso_type);

	if (h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
		if (!port->tx_csum || (uint32_t)h->csum_start + h->csum_offset + 2 > len)
			return false;
	}
	if (h->gso_type == VIRTIO_NET_HDR_GSO_NONE)
		return true;
	if (type == VIRTIO_NET_HDR_GSO_TCPV4   ? !port->tx_tso4
	    : type == VIRTIO_NET_HDR_GSO_TCPV6 ? !port->tx_tso6
					       : true)
		return false;
	if ((h->gso_type & VIRTIO_NET_HDR_GSO_ECN) && !port->tx_ecn)
		return false;
	return (h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) && h->gso_size && h->hdr_len <= len &&
	       h->csum_offset == TCP_CSUM_OFFSET && (uint32_t)h->csum_start + TCP_HDR_MIN <= len;
}

/* Reads header and first bytes of a frame just taken. False: the ring is broken by its content. */
static bool net_frame_take(const struct port *port, struct net_frame *f)
{
	const struct vq_chain *chain = f->chain;
	struct cursor c = cursor_out(chain);
	uint32_t head = NET_HEAD;

	f->bytes = f->head;
	f->drop = CTR_COUNT;
	f->soft_ready = false;
	f->soft_csum_done = false;
	f->hdr_len = port->hdr_len;
	f->head_len = 0;
	f->len = 0;
	if (chain->out_bytes < (uint32_t)port->hdr_len + FRAME_ETH_HDR) {
		f->drop = CTR_DROP_SHORT;
		return true;
	}
	f->len = chain->out_bytes - port->hdr_len;
	if (f->len > FRAME_MAX) {
		f->drop = CTR_DROP_LONG;
		return true;
	}
	f->hdr = (struct virtio_net_hdr){ 0 };
	cursor_read(&c, (uint8_t *)&f->hdr, port->hdr_len);
	f->hdr.flags &= VIRTIO_NET_HDR_F_NEEDS_CSUM;
	if (f->hdr.flags | f->hdr.gso_type) {
		if (!net_hdr_ok(port, &f->hdr, f->len))
			return false;
		head = NET_HEAD_SUPER;
		if (!f->hdr.gso_type) {
			f->hdr.hdr_len = 0;
			f->hdr.gso_size = 0;
		}
	} else {
		f->hdr = (struct virtio_net_hdr){ 0 };
	}
	f->head_len = f->len < head ? f->len : head;
	cursor_read(&c, f->head, f->head_len);
	return true;
}

/* The descriptors of what is available come into the cache while the first ones are worked on. */
static void net_prefetch(const struct vq_dev *vq, unsigned int n)
{
	const struct vring_avail *avail = vq->avail;
	uint16_t mask = (uint16_t)(vq->size - 1);

	if (vq->packed) /* its descriptors lie one behind the other */
		return;
	for (unsigned int i = 0; i < n; i++) {
		uint16_t at = (uint16_t)(vq->last_avail + i) & mask;
		uint16_t head = __atomic_load_n(&avail->ring[at], __ATOMIC_RELAXED);

		__builtin_prefetch(&vq->desc[head & mask]);
	}
}

/* Takes chains into the burst. */
static void net_tx_take(struct worker *w, struct vring *vr, unsigned int want)
{
	struct net_burst *burst = &w->burst;
	uint32_t used = 0;

	net_prefetch(&vr->vq, want);
	while (burst->num < want && used + sizeof(struct vq_chain) <= NET_ARENA_BYTES) {
		struct vq_chain *chain = (struct vq_chain *)(void *)(burst->arena + used);
		int ret = vq_dev_get(&vr->vq, chain);

		if (ret <= 0) {
			/* What came before the damage is still delivered; the next look finds it broken again. */
			if (ret < 0 && !burst->num)
				worker_ring_broken(w, vr);
			break;
		}
		used += ALIGN_UP(
			(uint32_t)(offsetof(struct vq_chain, segs) +
				   (chain->num_out + chain->num_in) * sizeof(struct vq_seg)),
			16u);
		if (chain->num_out)
			__builtin_prefetch(chain->segs[0].base);
		burst->frames[burst->num++].chain = chain;
	}
}

unsigned int net_tx_burst(struct worker *w, struct vring *vr)
{
	struct net_burst *burst = &w->burst;
	int avail = vq_dev_avail(&vr->vq);

	burst->port = vr->port;
	burst->vr = vr;
	burst->num = 0;
	if (avail < 0)
		worker_ring_broken(w, vr);
	if (avail <= 0)
		return 0;
	net_tx_take(w, vr, avail > NET_BURST ? NET_BURST : (unsigned int)avail);
	for (unsigned int i = 0; i < burst->num; i++) {
		if (net_frame_take(vr->port, &burst->frames[i]))
			continue;
		/* The bad one and those behind it stay with the driver; those before it are delivered. */
		net_tx_untake(w, burst->num - i);
		vq_dev_break(&vr->vq, VQ_BROKEN_CONTENT);
		break;
	}
	return burst->num;
}

void net_tx_untake(struct worker *w, unsigned int n)
{
	vq_dev_unget(&w->burst.vr->vq, n);
	w->burst.num -= n;
}

void net_tx_done(struct worker *w)
{
	const struct net_burst *burst = &w->burst;
	struct vring *vr = burst->vr;
	uint64_t bytes = 0;

	for (unsigned int i = 0; i < burst->num; i++) {
		bytes += burst->frames[i].len;
		vq_dev_put(&vr->vq, burst->frames[i].chain->ref, 0);
	}
	worker_count(w, vr->port, CTR_RX_FRAMES, burst->num);
	worker_count(w, vr->port, CTR_RX_BYTES, bytes);
	net_ring_flush(w, vr);
	if (vr->vq.broken)
		worker_ring_broken(w, vr);
}

void net_frame_copy(const struct net_frame *f, uint8_t *to)
{
	copy_bytes(to, f->bytes, f->head_len);
	if (f->chain && f->len > f->head_len) {
		struct cursor c = cursor_out(f->chain);

		cursor_skip(&c, f->hdr_len + f->head_len);
		cursor_read(&c, to + f->head_len, f->len - f->head_len);
	}
}
