// SPDX-License-Identifier: BSD-2-Clause
#include "core/net.h"

#include "core/copy.h"

#define GSO_TYPE(t)	((t) & ~VIRTIO_NET_HDR_GSO_ECN)
#define TCP_CSUM_OFFSET 16
#define TCP_HDR_MIN	20

/* A place in the segments of a chain. */
struct cursor {
	const struct vq_seg *seg;
	const struct vq_seg *end;
	uint32_t off;
};

static struct cursor cursor_out(const struct vq_chain *chain)
{
	return (struct cursor){ chain->segs, chain->segs + chain->num_out, 0 };
}

static struct cursor cursor_in(const struct vq_chain *chain)
{
	const struct vq_seg *first = chain->segs + chain->num_out;

	return (struct cursor){ first, first + chain->num_in, 0 };
}

static void cursor_skip(struct cursor *c, uint32_t n)
{
	while (c->seg < c->end && n >= c->seg->len - c->off) {
		n -= c->seg->len - c->off;
		c->seg++;
		c->off = 0;
	}
	if (c->seg < c->end)
		c->off += n;
}

/* Copies n bytes out; the caller knows that they are there. */
static void cursor_read(struct cursor *c, uint8_t *to, uint32_t n)
{
	while (n && c->seg < c->end) {
		uint32_t left = c->seg->len - c->off;
		uint32_t part = n < left ? n : left;

		copy_bytes(to, c->seg->base + c->off, part);
		to += part;
		n -= part;
		cursor_skip(c, part);
	}
}

/* Copies up to n bytes in; returns how many found room. */
static uint32_t cursor_write(struct cursor *c, const uint8_t *from, uint32_t n)
{
	uint32_t done = 0;

	while (done < n && c->seg < c->end) {
		uint32_t left = c->seg->len - c->off;
		uint32_t part = n - done < left ? n - done : left;

		copy_bytes(c->seg->base + c->off, from + done, part);
		done += part;
		cursor_skip(c, part);
	}
	return done;
}

/* ---- sender ---- */

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
	f->head_len = (uint16_t)(f->len < head ? f->len : head);
	cursor_read(&c, f->head, f->head_len);
	return true;
}

/* The descriptors of what is available come into the cache while the first ones are worked on. */
static void net_prefetch(const struct vq_dev *vq, unsigned int n)
{
	const struct vring_avail *avail = vq->avail;
	uint16_t mask = (uint16_t)(vq->size - 1);

	for (unsigned int i = 0; i < n; i++) {
		uint16_t at = (uint16_t)(vq->last_avail + i) & mask;
		uint16_t head = __atomic_load_n(&avail->ring[at], __ATOMIC_RELAXED);

		__builtin_prefetch(&vq->desc[head & mask]);
	}
}

unsigned int net_tx_burst(struct port *port, struct vring *vr, struct net_burst *burst)
{
	int avail = vq_dev_avail(&vr->vq);
	unsigned int want = avail > NET_BURST ? NET_BURST : (unsigned int)avail;
	uint32_t used = 0;

	burst->port = port;
	burst->vr = vr;
	burst->num = 0;
	if (avail < 0)
		port_ring_broken(port, vr);
	if (avail <= 0)
		return 0;
	net_prefetch(&vr->vq, want);
	while (burst->num < want && used + sizeof(struct vq_chain) <= NET_ARENA_BYTES) {
		struct vq_chain *chain = (struct vq_chain *)(void *)(burst->arena + used);
		int ret = vq_dev_get(&vr->vq, chain);

		if (ret <= 0) {
			/* What came before the damage is still delivered; the next look finds it broken again. */
			if (ret < 0 && !burst->num)
				port_ring_broken(port, vr);
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
	for (unsigned int i = 0; i < burst->num; i++) {
		if (net_frame_take(port, &burst->frames[i]))
			continue;
		/* The bad one and those behind it stay with the driver; those before it are delivered. */
		net_tx_untake(burst, burst->num - i);
		vq_dev_break(&vr->vq, VQ_BROKEN_CONTENT);
		break;
	}
	return burst->num;
}

void net_tx_untake(struct net_burst *burst, unsigned int n)
{
	vq_dev_unget(&burst->vr->vq, n);
	burst->num -= n;
}

static void vring_flush(struct port *port, struct vring *vr)
{
	vr->dirty = false;
	vq_dev_publish(&vr->vq);
	if (vq_dev_call_needed(&vr->vq) && vr->has_call) {
		port->counters[CTR_CALLS]++;
		port->ops->call(port->ctx, vr->index);
	}
}

void net_tx_done(struct net_burst *burst)
{
	struct vring *vr = burst->vr;
	uint64_t bytes = 0;

	for (unsigned int i = 0; i < burst->num; i++) {
		bytes += burst->frames[i].len;
		vq_dev_put(&vr->vq, burst->frames[i].chain->ref, 0);
	}
	burst->port->counters[CTR_RX_FRAMES] += burst->num;
	burst->port->counters[CTR_RX_BYTES] += bytes;
	if (vr->state != VRING_STARTED)
		return;
	vring_flush(burst->port, vr);
	if (vr->vq.broken)
		port_ring_broken(burst->port, vr);
}

/* ---- receiver ---- */

/* What is to be delivered: the first bytes from private memory, the rest from the sender's segments. */
struct source {
	struct virtio_net_hdr hdr;
	const uint8_t *head;
	uint32_t head_len;
	uint32_t len;
	struct cursor rest;
};

/* Counts a frame the receiver does not get. */
static bool net_drop(struct port *to, enum port_counter why)
{
	to->counters[why]++;
	return false;
}

/* Takes a receive chain; CTR_COUNT when *chain is usable, else the reason to drop. */
static enum port_counter net_rx_take(struct port *to, struct vring *vr, struct vq_chain *chain)
{
	int ret = vq_dev_get(&vr->vq, chain);

	if (ret == 0)
		return CTR_DROP_NO_BUFFERS;
	if (ret > 0 && chain->num_out) {
		/* A driver has nothing to say to us on a receive ring (virtio 1.2 §5.1.6.3). */
		vq_dev_unget(&vr->vq, 1);
		vq_dev_break(&vr->vq, VQ_BROKEN_ORDER);
		ret = -EPROTO;
	}
	if (ret < 0) {
		if (vr->dirty)
			vring_flush(to, vr);
		port_ring_broken(to, vr);
		return CTR_DROP_RING;
	}
	return CTR_COUNT;
}

/* Writes as much of the source as finds room, from offset done; returns the new offset. */
static uint32_t net_fill(struct source *s, uint32_t done, struct cursor *to)
{
	if (done < s->head_len)
		done += cursor_write(to, s->head + done, s->head_len - done);
	while (done < s->len && to->seg < to->end && s->rest.seg < s->rest.end) {
		uint32_t have = s->rest.seg->len - s->rest.off;
		uint32_t room = to->seg->len - to->off;
		uint32_t part = s->len - done < have ? s->len - done : have;

		part = part < room ? part : room;
		copy_bytes(to->seg->base + to->off, s->rest.seg->base + s->rest.off, part);
		done += part;
		cursor_skip(&s->rest, part);
		cursor_skip(to, part);
	}
	return done;
}

/* The receive buffers one frame is spread over. */
struct spread {
	unsigned int num;
	uint32_t done; /* bytes of the frame */
	struct vq_ref refs[NET_MRG_MAX];
	uint32_t written[NET_MRG_MAX];
};

/* Goes on in further buffers of a mergeable receiver (virtio 1.2 §5.1.6.4). */
static enum port_counter net_rx_more(struct port *to, struct vring *vr, struct source *s,
				     struct spread *sp, struct vq_chain *chain)
{
	while (sp->done < s->len) {
		enum port_counter why;
		struct cursor c;
		uint32_t before = sp->done;

		if (sp->num == NET_MRG_MAX)
			return CTR_DROP_TOO_LONG;
		why = net_rx_take(to, vr, chain);
		if (why != CTR_COUNT)
			return why;
		c = cursor_in(chain);
		sp->done = net_fill(s, before, &c);
		sp->refs[sp->num] = chain->ref;
		sp->written[sp->num++] = sp->done - before;
		if (sp->done == before)
			return CTR_DROP_SMALL_BUFFER;
	}
	return CTR_COUNT;
}

/* The general case: any number of segments and buffers. scratch->first is the first chain. */
static bool net_rx_scatter(struct port *to, struct vring *vr, struct source *s,
			   struct net_scratch *scratch)
{
	struct vq_chain *first = &scratch->first;
	struct cursor c = cursor_in(first);
	enum port_counter why = CTR_COUNT;
	struct spread sp;

	if (first->in_bytes < to->hdr_len) {
		/* Useless for any frame: given back empty, or it would block the ring for ever. */
		vq_dev_put(&vr->vq, first->ref, 0);
		return net_drop(to, CTR_DROP_SMALL_BUFFER);
	}
	cursor_skip(&c, to->hdr_len);
	sp.done = net_fill(s, 0, &c);
	sp.num = 1;
	sp.refs[0] = first->ref;
	sp.written[0] = to->hdr_len + sp.done;
	if (sp.done < s->len)
		why = to->mrg_rxbuf ? net_rx_more(to, vr, s, &sp, &scratch->more)
				    : CTR_DROP_TOO_LONG;
	if (why != CTR_COUNT) {
		/* What was written is in buffers the receiver still owns; it is not told. */
		if (vr->state == VRING_STARTED)
			vq_dev_unget(&vr->vq, sp.num);
		return net_drop(to, why);
	}
	s->hdr.num_buffers = (uint16_t)sp.num;
	c = cursor_in(first);
	cursor_write(&c, (const uint8_t *)&s->hdr, to->hdr_len);
	for (unsigned int i = 0; i < sp.num; i++)
		vq_dev_put(&vr->vq, sp.refs[i], sp.written[i]);
	return true;
}

static struct vring *net_rx_ring(const struct port *to, const struct source *s)
{
	uint32_t hash;

	if (to->num_rx == 1)
		return to->rx[0];
	hash = frame_flow_hash(s->head, s->head_len);
	return to->rx[(uint64_t)hash * to->num_rx >> 32];
}

/* Puts the source into receive buffers. */
static bool net_rx_put(struct port *to, struct source *s, struct net_scratch *scratch)
{
	struct vq_chain *chain = &scratch->first;
	enum port_counter why;
	struct vring *vr;

	if (!to->num_rx)
		return net_drop(to, CTR_DROP_DOWN);
	vr = net_rx_ring(to, s);
	why = net_rx_take(to, vr, chain);
	if (why != CTR_COUNT)
		return net_drop(to, why);
	vr->dirty = true;
	if (chain->num_in == 1 && chain->segs[0].len >= to->hdr_len + s->len) {
		uint8_t *dst = chain->segs[0].base;

		s->hdr.num_buffers = 1;
		copy_bytes(dst, &s->hdr, to->hdr_len);
		copy_bytes(dst + to->hdr_len, s->head, s->head_len);
		dst += to->hdr_len + s->head_len;
		if (s->len > s->head_len)
			cursor_read(&s->rest, dst, s->len - s->head_len);
		vq_dev_put(&vr->vq, chain->ref, to->hdr_len + s->len);
	} else if (!net_rx_scatter(to, vr, s, scratch)) {
		return false;
	}
	to->counters[CTR_TX_FRAMES]++;
	to->counters[CTR_TX_BYTES] += s->len;
	return true;
}

/* ---- software offloads ---- */

static void net_flatten(struct net_frame *f, struct net_soft *soft)
{
	if (f->soft_ready)
		return;
	copy_bytes(soft->flat, f->head, f->head_len);
	if (f->chain && f->len > f->head_len) {
		struct cursor c = cursor_out(f->chain);

		cursor_skip(&c, (uint32_t)f->hdr_len + f->head_len);
		cursor_read(&c, soft->flat + f->head_len, f->len - f->head_len);
	}
	f->soft_ready = true;
	f->soft_csum_done = false;
}

static bool net_put_flat(struct port *to, const uint8_t *frame, uint32_t len,
			 struct net_scratch *scratch)
{
	struct source s = { .head = frame, .head_len = len, .len = len };

	return net_rx_put(to, &s, scratch);
}

/* Cuts a super-frame for a receiver without TSO: true when all of it was delivered. */
static bool net_deliver_cut(struct port *to, struct net_frame *f, struct net_scratch *scratch)
{
	struct net_soft *soft = &scratch->soft;
	struct frame_tso tso;
	bool all = true;
	uint32_t len;

	net_flatten(f, soft);
	/* The checksum of the whole, if completed for somebody else, does no harm: segments compute their own. */
	if (!frame_tso_init(&tso, soft->flat, f->len, f->hdr.gso_size,
			    GSO_TYPE(f->hdr.gso_type) == VIRTIO_NET_HDR_GSO_TCPV6))
		return net_drop(to, CTR_DROP_OFFLOAD);
	to->counters[CTR_TX_CUT]++;
	while ((len = frame_tso_next_len(&tso))) {
		frame_tso_next(&tso, soft->segment);
		to->counters[CTR_TX_SEGMENTS]++;
		all = net_put_flat(to, soft->segment, len, scratch) && all;
	}
	return all;
}

static bool net_deliver_csum(struct port *to, struct net_frame *f, struct net_scratch *scratch)
{
	struct net_soft *soft = &scratch->soft;

	net_flatten(f, soft);
	if (!f->soft_csum_done &&
	    !frame_complete_csum(soft->flat, f->len, f->hdr.csum_start, f->hdr.csum_offset))
		return net_drop(to, CTR_DROP_OFFLOAD);
	f->soft_csum_done = true;
	to->counters[CTR_TX_CSUM_DONE]++;
	return net_put_flat(to, soft->flat, f->len, scratch);
}

static bool net_takes_super(const struct port *to, uint8_t gso_type)
{
	if ((gso_type & VIRTIO_NET_HDR_GSO_ECN) && !to->rx_ecn)
		return false;
	return GSO_TYPE(gso_type) == VIRTIO_NET_HDR_GSO_TCPV4 ? to->rx_tso4 : to->rx_tso6;
}

bool net_deliver(struct port *to, struct net_frame *f, struct net_scratch *scratch)
{
	struct source s = {
		.hdr = f->hdr, .head = f->head, .head_len = f->head_len, .len = f->len
	};

	if (f->hdr.gso_type) {
		if (!net_takes_super(to, f->hdr.gso_type))
			return net_deliver_cut(to, f, scratch);
		to->counters[CTR_TX_SUPER]++;
	} else {
		/* 4: a VLAN tag does not count towards the MTU. */
		if (to->mtu_frame && f->len > to->mtu_frame + FRAME_VLAN_HDR)
			return net_drop(to, CTR_DROP_MTU);
		if (f->hdr.flags && !to->rx_csum)
			return net_deliver_csum(to, f, scratch);
	}
	if (f->len > f->head_len) {
		s.rest = cursor_out(f->chain);
		cursor_skip(&s.rest, (uint32_t)f->hdr_len + f->head_len);
	}
	return net_rx_put(to, &s, scratch);
}

void net_rx_flush(struct port *to)
{
	for (unsigned int i = 0; i < to->num_rx; i++) {
		struct vring *vr = to->rx[i];

		if (vr->dirty)
			vring_flush(to, vr);
	}
}
