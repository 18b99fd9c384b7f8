// SPDX-License-Identifier: BSD-2-Clause
/* Offloads done in software for receivers that did not negotiate them. */
#include "core/net_priv.h"

static void net_flatten(struct net_frame *f, struct net_soft *soft)
{
	if (f->state & NET_SOFT)
		return;
	net_frame_copy(f, soft->flat);
	f->state |= NET_SOFT;
}

static bool net_put_flat(struct worker *w, struct vring *to, const uint8_t *frame, uint32_t len)
{
	struct net_source s = { .head = frame, .head_len = len, .len = len };

	return net_put(w, to, &s);
}

/* For a receiver without TSO: true when all of it was delivered. */
bool net_deliver_cut(struct worker *w, struct vring *to, struct net_frame *f)
{
	struct net_soft *soft = &w->scratch.soft;
	struct frame_tso tso;
	bool all = true;
	uint32_t len;

	net_flatten(f, soft);
	/* The checksum of the whole, if completed for somebody else, does no harm: segments compute their own. */
	if (!frame_tso_init(&tso, soft->flat, f->len, f->hdr.gso_size,
			    GSO_TYPE(f->hdr.gso_type) == VIRTIO_NET_HDR_GSO_TCPV6))
		return net_drop(w, to, CTR_DROP_OFFLOAD);
	worker_count(w, to->port, CTR_TX_CUT, 1);
	w->burst.extra += f->len; /* flattened, and summed up */
	while ((len = frame_tso_next_len(&tso))) {
		frame_tso_next(&tso, soft->segment);
		worker_count(w, to->port, CTR_TX_SEGMENTS, 1);
		w->burst.extra += TURN_COPY(len);
		all = net_put_flat(w, to, soft->segment, len) && all;
	}
	return all;
}

bool net_deliver_csum(struct worker *w, struct vring *to, struct net_frame *f)
{
	struct net_soft *soft = &w->scratch.soft;

	net_flatten(f, soft);
	if (!(f->state & NET_SOFT_CSUM) &&
	    !frame_complete_csum(soft->flat, f->len, f->hdr.csum_start, f->hdr.csum_offset))
		return net_drop(w, to, CTR_DROP_OFFLOAD);
	f->state |= NET_SOFT_CSUM;
	worker_count(w, to->port, CTR_TX_CSUM_DONE, 1);
	w->burst.extra += f->len / 2;
	return net_put_flat(w, to, soft->flat, f->len);
}
