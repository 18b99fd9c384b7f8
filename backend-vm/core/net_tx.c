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

bool net_frame_take(const struct port *port, struct net_frame *f, uint8_t *head, uint32_t out_bytes)
{
	struct cursor c = net_cursor(f);
	uint32_t want = NET_HEAD;

	f->bytes = head;
	f->drop = CTR_COUNT;
	f->state = 0;
	f->hdr_len = port->hdr_len;
	f->head_len = 0;
	f->len = 0;
	f->hdr = (struct virtio_net_hdr){ 0 };
	if (out_bytes < (uint32_t)port->hdr_len + FRAME_ETH_HDR) {
		f->drop = CTR_DROP_SHORT;
		return true;
	}
	f->len = out_bytes - port->hdr_len;
	if (f->len > FRAME_MAX) {
		f->drop = CTR_DROP_LONG;
		return true;
	}
	cursor_read(&c, (uint8_t *)&f->hdr, port->hdr_len);
	f->hdr.flags &= VIRTIO_NET_HDR_F_NEEDS_CSUM;
	if (f->hdr.flags | f->hdr.gso_type) {
		if (!net_hdr_ok(port, &f->hdr, f->len))
			return false;
		want = NET_HEAD_SUPER;
		if (!f->hdr.gso_type) {
			f->hdr.hdr_len = 0;
			f->hdr.gso_size = 0;
		}
	} else {
		f->hdr = (struct virtio_net_hdr){ 0 };
	}
	f->head_len = f->len < want ? f->len : want;
	cursor_read(&c, head, f->head_len);
	return true;
}

bool net_tx_look(struct worker *w, struct vring *vr)
{
	struct vring_ahead *a = &vr->ahead;
	uint32_t hdr_len = vr->port->hdr_len;
	int avail;

	if (vr->failed)
		return false;
	if (a->used == a->num) {
		avail = vq_dev_avail(&vr->vq);
		if (avail < 0)
			worker_ring_broken(w, vr);
		if (avail <= 0)
			return false;
		a->put = 0;
		a->used = 0;
		a->num = (uint16_t)vq_dev_get_ones(&vr->vq, false, a->ones, NET_BURST);
		for (unsigned int i = 0; i < a->num; i++) {
			__builtin_prefetch(a->ones[i].base);
			__builtin_prefetch(a->ones[i].base + hdr_len);
		}
	}
	return true;
}

/* Takes chains into the burst that are more than one descriptor. */
static void net_tx_take(struct worker *w, struct vring *vr)
{
	struct net_burst *b = &w->burst;
	uint32_t used = 0;

	while (b->num < NET_BURST && used + sizeof(struct vq_chain) <= NET_ARENA_BYTES) {
		struct vq_chain *chain = (struct vq_chain *)(void *)(b->arena + used);
		struct net_frame *f = &b->frames[b->num];

		/* What came before damage is still delivered; the next look finds it broken again. */
		if (vq_dev_get(&vr->vq, chain) <= 0)
			break;
		used += ALIGN_UP(
			(uint32_t)(offsetof(struct vq_chain, segs) +
				   (chain->num_out + chain->num_in) * sizeof(struct vq_seg)),
			16u);
		f->segs = chain->segs;
		f->num_segs = chain->num_out;
		f->ref = chain->ref;
		if (!net_frame_take(vr->port, f, b->heads[b->num], chain->out_bytes)) {
			vq_dev_unget(&vr->vq, 1);
			vq_dev_break(&vr->vq, VQ_BROKEN_CONTENT);
			break;
		}
		b->num++;
	}
}

unsigned int net_tx_burst(struct worker *w, struct vring *vr)
{
	struct net_burst *b = &w->burst;

	b->port = vr->port;
	b->vr = vr;
	b->num = 0;
	b->extra = 0;
	b->ahead = vr->ahead.used < vr->ahead.num;
	if (!b->ahead)
		net_tx_take(w, vr);
	else if (!w->isa->read(w))
		/* The bad one and those behind it stay with the driver; those before it are delivered. */
		vq_dev_break(&vr->vq, VQ_BROKEN_CONTENT);
	if (!b->num && vr->vq.broken)
		worker_ring_broken(w, vr);
	return b->num;
}

void net_tx_untake(struct worker *w, unsigned int n)
{
	struct net_burst *b = &w->burst;

	/* What was taken ahead stays so. */
	if (!b->ahead)
		vq_dev_unget(&b->vr->vq, n);
	b->num -= n;
}

void net_tx_done(struct worker *w)
{
	const struct net_burst *b = &w->burst;
	struct vring *vr = b->vr;
	struct vring_ahead *a = &vr->ahead;
	uint64_t bytes = 0;

	for (unsigned int i = 0; i < b->num; i++)
		bytes += b->frames[i].len;
	if (b->ahead) {
		a->used = (uint16_t)(a->used + b->num);
	} else {
		for (unsigned int i = 0; i < b->num; i++)
			vq_dev_put(&vr->vq, b->frames[i].ref, 0);
	}
	turn_charge(w, vr->port, TURN_BURST(b->num, bytes) + b->extra);
	if (unlikely(vr->port->limit.on))
		turn_charge_limit(w, bytes);
	worker_count(w, vr->port, CTR_RX_FRAMES, b->num);
	worker_count(w, vr->port, CTR_RX_BYTES, bytes);
	w->done[w->num_done++] = vr;
}

void net_tx_flush(struct worker *w)
{
	for (unsigned int i = 0; i < w->num_done; i++) {
		struct vring *vr = w->done[i];
		struct vring_ahead *a = &vr->ahead;

		vq_dev_put_ones(&vr->vq, &a->ones[a->put], NULL, a->used - a->put);
		a->put = a->used;
		net_ring_flush(w, vr);
		if (vr->vq.broken)
			worker_ring_broken(w, vr);
	}
	w->num_done = 0;
}

void net_frame_copy(const struct net_frame *f, uint8_t *to)
{
	copy_bytes(to, f->bytes, f->head_len);
	if (f->segs && f->len > f->head_len) {
		struct cursor c = net_cursor(f);

		cursor_skip(&c, f->hdr_len + f->head_len);
		cursor_read(&c, to + f->head_len, f->len - f->head_len);
	}
}
