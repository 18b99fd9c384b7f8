/* SPDX-License-Identifier: BSD-2-Clause */
/* Between net_tx.c, net_rx.c and net_soft.c. */
#ifndef VVU_CORE_NET_PRIV_H
#define VVU_CORE_NET_PRIV_H

#include "core/switch.h"

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define GSO_TYPE(t) ((t) & ~VIRTIO_NET_HDR_GSO_ECN)

/* Counts a frame the receiver does not get. */
static inline bool net_drop(struct worker *w, const struct vring *to, enum port_counter why)
{
	worker_count(w, to->port, why, 1);
	return false;
}

/* The ring has entries that net_flush() is to tell about. */
static inline void net_rx_touch(struct worker *w, struct vring *vr)
{
	if (vr->dirty)
		return;
	vr->dirty = true;
	w->dirty[w->num_dirty++] = vr;
}

static inline struct cursor net_cursor(const struct net_frame *f)
{
	return (struct cursor){ f->segs, f->segs + f->num_segs, 0 };
}

/*
 * Reads header and first bytes of a frame whose chain has out_bytes to read; head has NET_HEAD_SUPER bytes. False: no
 * driver that keeps the specification sends this.
 */
bool net_frame_take(const struct port *port, struct net_frame *f, uint8_t *head,
		    uint32_t out_bytes);

/* Makes what was put visible and calls the driver if it is seen to want it; else that is left to net_settle(). */
void net_ring_flush(struct worker *w, struct vring *vr);

/* Takes receive buffers ahead: as many as there is room for. False: not one. */
bool net_rx_refill(struct worker *w, struct vring *vr);

/* net_isa.put for whatever the buffers taken ahead are no good for. */
bool net_rx_put(struct worker *w, struct vring *to, struct net_source *s);

/* Puts the source into receive buffers, as it is, if the sender may have them (share.h). False: dropped and counted. */
bool net_put(struct worker *w, struct vring *to, struct net_source *s);

/* Does in software what the receiver did not negotiate. False: counted as dropped, or (cut) not all delivered. */
bool net_deliver_cut(struct worker *w, struct vring *to, struct net_frame *f);
bool net_deliver_csum(struct worker *w, struct vring *to, struct net_frame *f);

#endif
