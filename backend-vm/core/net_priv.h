/* SPDX-License-Identifier: BSD-2-Clause */
/* Between net_tx.c, net_rx.c and net_soft.c. */
#ifndef VVU_CORE_NET_PRIV_H
#define VVU_CORE_NET_PRIV_H

#include "core/cursor.h"
#include "core/worker.h"

#define GSO_TYPE(t) ((t) & ~VIRTIO_NET_HDR_GSO_ECN)

/* What is to be delivered: the first bytes from private memory, the rest from the sender's segments. */
struct net_source {
	struct virtio_net_hdr hdr;
	const uint8_t *head;
	uint32_t head_len;
	uint32_t len;
	struct cursor rest;
};

/* Counts a frame the receiver does not get. */
static inline bool net_drop(struct worker *w, const struct vring *to, enum port_counter why)
{
	worker_count(w, to->port, why, 1);
	return false;
}

/* Makes what was put visible and calls the driver if it wants to be. */
void net_ring_flush(struct worker *w, struct vring *vr);

/* Puts the source into receive buffers, as it is. */
bool net_rx_put(struct worker *w, struct vring *to, struct net_source *s);

/* Does in software what the receiver did not negotiate. False: counted as dropped, or (cut) not all delivered. */
bool net_deliver_cut(struct worker *w, struct vring *to, struct net_frame *f);
bool net_deliver_csum(struct worker *w, struct vring *to, struct net_frame *f);

#endif
