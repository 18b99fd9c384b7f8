// SPDX-License-Identifier: BSD-2-Clause
/* The receiver's side: frames into receive rings. */
#include "core/net_priv.h"

/* Gives back the buffers taken ahead that were used, and counts what is in them. */
static void net_rx_give(struct worker *w, struct vring *vr)
{
	struct vring_ahead *a = &vr->ahead;

	if (a->used == a->put)
		return;
	vq_dev_put_ones(&vr->vq, &a->ones[a->put], &a->written[a->put], a->used - a->put);
	a->put = a->used;
	worker_count(w, vr->port, CTR_TX_FRAMES, a->frames);
	worker_count(w, vr->port, CTR_TX_BYTES, a->bytes);
	a->frames = 0;
	a->bytes = 0;
}

bool net_rx_refill(struct worker *w, struct vring *vr)
{
	struct vring_ahead *a = &vr->ahead;
	uint32_t hdr_len = vr->port->hdr_len;
	unsigned int rest = a->num - a->used;

	net_rx_give(w, vr);
	for (unsigned int i = 0; a->used && i < rest; i++)
		a->ones[i] = a->ones[a->used + i];
	a->put = 0;
	a->used = 0;
	a->num = (uint16_t)rest;
	if (vq_dev_avail(&vr->vq) > 0)
		a->num += (uint16_t)vq_dev_get_ones(&vr->vq, true, &a->ones[rest],
						    VRING_AHEAD - rest);
	for (unsigned int i = rest; i < a->num; i++) {
		__builtin_prefetch(a->ones[i].base);
		__builtin_prefetch(a->ones[i].base + hdr_len, 1);
	}
	return a->num;
}

static void net_call(struct worker *w, struct vring *vr)
{
	worker_count(w, vr->port, CTR_CALLS, 1);
	vr->port->ops->call(vr->port->ctx, vr->index);
}

void net_ring_flush(struct worker *w, struct vring *vr)
{
	vq_dev_publish(&vr->vq);
	if (!vr->has_call)
		return;
	if (vq_dev_call_hint(&vr->vq)) {
		net_call(w, vr);
	} else if (!vr->unsettled) {
		vr->unsettled = true;
		w->unsettled[w->num_unsettled++] = vr;
	}
}

void net_settle(struct worker *w)
{
	if (!w->num_unsettled)
		return;
	vq_dev_fence();
	for (unsigned int i = 0; i < w->num_unsettled; i++) {
		struct vring *vr = w->unsettled[i];

		vr->unsettled = false;
		if (vq_dev_call_settle(&vr->vq) && vr->has_call)
			net_call(w, vr);
	}
	w->num_unsettled = 0;
}

/* Takes a receive chain; CTR_COUNT when *chain is usable, else the reason to drop. */
static enum port_counter net_rx_take(struct worker *w, struct vring *vr, struct vq_chain *chain)
{
	int ret = vq_dev_get(&vr->vq, chain);

	if (ret == 0) {
		share_starved(w, vr);
		return CTR_DROP_NO_BUFFERS;
	}
	if (ret > 0 && chain->num_out) {
		/* A driver has nothing to say to us on a receive ring (virtio 1.2 §5.1.6.3). */
		vq_dev_unget(&vr->vq, 1);
		vq_dev_break(&vr->vq, VQ_BROKEN_ORDER);
		ret = -EPROTO;
	}
	if (ret < 0) {
		worker_ring_broken(w, vr);
		return CTR_DROP_RING;
	}
	return CTR_COUNT;
}

/* Writes as much of the source as finds room, from offset done; returns the new offset. */
static uint32_t net_fill(struct net_source *s, uint32_t done, struct cursor *to)
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
static enum port_counter net_rx_more(struct worker *w, struct vring *vr, struct net_source *s,
				     struct spread *sp)
{
	struct vq_chain *chain = &w->scratch.more;

	while (sp->done < s->len) {
		enum port_counter why;
		struct cursor c;
		uint32_t before = sp->done;

		if (sp->num == NET_MRG_MAX)
			return CTR_DROP_TOO_LONG;
		why = net_rx_take(w, vr, chain);
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

/* The general case: any number of segments and buffers. scratch.first is the first chain. */
static bool net_rx_scatter(struct worker *w, struct vring *vr, struct net_source *s)
{
	const struct port *to = vr->port;
	struct vq_chain *first = &w->scratch.first;
	struct cursor c = cursor_in(first);
	enum port_counter why = CTR_COUNT;
	struct spread sp;

	if (first->in_bytes < to->hdr_len) {
		/* Useless for any frame: given back empty, or it would block the ring for ever. */
		vq_dev_put(&vr->vq, first->ref, 0);
		return net_drop(w, vr, CTR_DROP_SMALL_BUFFER);
	}
	cursor_skip(&c, to->hdr_len);
	sp.done = net_fill(s, 0, &c);
	sp.num = 1;
	sp.refs[0] = first->ref;
	sp.written[0] = to->hdr_len + sp.done;
	if (sp.done < s->len)
		why = to->mrg_rxbuf ? net_rx_more(w, vr, s, &sp) : CTR_DROP_TOO_LONG;
	if (why != CTR_COUNT) {
		/* What was written is in buffers the receiver still owns; it is not told. */
		vq_dev_unget(&vr->vq, sp.num);
		return net_drop(w, vr, why);
	}
	s->hdr.num_buffers = (uint16_t)sp.num;
	c = cursor_in(first);
	cursor_write(&c, (const uint8_t *)&s->hdr, to->hdr_len);
	/* A frame is published whole. */
	if (vq_dev_put_room(&vr->vq) < sp.num)
		vq_dev_publish(&vr->vq);
	for (unsigned int i = 0; i < sp.num; i++)
		vq_dev_put(&vr->vq, sp.refs[i], sp.written[i]);
	return true;
}

bool net_rx_put(struct worker *w, struct vring *vr, struct net_source *s)
{
	enum port_counter why;

	net_rx_give(w, vr);
	vring_return_ahead(vr);
	net_rx_touch(w, vr);
	why = net_rx_take(w, vr, &w->scratch.first);
	if (why != CTR_COUNT)
		return net_drop(w, vr, why);
	if (!net_rx_scatter(w, vr, s))
		return false;
	worker_count(w, vr->port, CTR_TX_FRAMES, 1);
	worker_count(w, vr->port, CTR_TX_BYTES, s->len);
	return true;
}

/* Buffers that a frame will take, about. */
static uint32_t net_rx_need(const struct vring *vr, uint32_t len)
{
	const struct vring_ahead *a = &vr->ahead;
	uint32_t each = a->used < a->num ? a->ones[a->used].len : NET_MRG_ABOUT;
	uint32_t need = (vr->port->hdr_len + len - 1) / each + 1;

	if (!vr->port->mrg_rxbuf)
		return 1;
	return need < NET_MRG_MAX ? need : NET_MRG_MAX;
}

bool net_put(struct worker *w, struct vring *to, struct net_source *s)
{
	if (likely(!to->slow))
		return w->isa->put(w, to, s);
	if (!share_admits(w, to, net_rx_need(to, s->len)))
		return net_drop(w, to, CTR_DROP_NO_BUFFERS);
	if (!w->isa->put(w, to, s))
		return false;
	share_charge(w, to, s->hdr.num_buffers);
	return true;
}

static bool net_takes_super(const struct port *to, uint8_t gso_type)
{
	if ((gso_type & VIRTIO_NET_HDR_GSO_ECN) && !to->rx_ecn)
		return false;
	return GSO_TYPE(gso_type) == VIRTIO_NET_HDR_GSO_TCPV4 ? to->rx_tso4 : to->rx_tso6;
}

bool net_deliver(struct worker *w, struct vring *vr, struct net_frame *f)
{
	const struct port *to = vr->port;
	struct net_source s = {
		.hdr = f->hdr, .head = f->bytes, .head_len = f->head_len, .len = f->len
	};

	if (f->hdr.gso_type) {
		if (!net_takes_super(to, f->hdr.gso_type))
			return net_deliver_cut(w, vr, f);
		worker_count(w, to, CTR_TX_SUPER, 1);
	} else {
		if (f->len > to->frame_limit)
			return net_drop(w, vr, CTR_DROP_MTU);
		if (f->hdr.flags && !to->rx_csum)
			return net_deliver_csum(w, vr, f);
	}
	if (f->len > f->head_len) {
		s.rest = net_cursor(f);
		cursor_skip(&s.rest, f->hdr_len + f->head_len);
	}
	return net_put(w, vr, &s);
}

void net_flush(struct worker *w)
{
	for (unsigned int i = 0; i < w->num_dirty; i++) {
		struct vring *vr = w->dirty[i];

		vr->dirty = false;
		net_rx_give(w, vr);
		net_ring_flush(w, vr);
		if (vr->ahead.num - vr->ahead.used < NET_BURST && !vr->thin) {
			vr->thin = true;
			w->thin[w->num_thin++] = vr;
		}
	}
	w->num_dirty = 0;
}

void net_idle(struct worker *w)
{
	for (unsigned int i = 0; i < w->num_thin; i++) {
		struct vring *vr = w->thin[i];

		vr->thin = false;
		if (vr->state == VRING_STARTED && vr->owner == w->index && !vr->failed)
			net_rx_refill(w, vr);
	}
	w->num_thin = 0;
}
