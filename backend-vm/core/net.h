/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio-net rings as bursts of frames: take up to NET_BURST frames from a transmit ring, deliver each to
 * receive rings of other ports, then give the whole burst back with one store and at most one call per ring.
 *
 *   net_tx_burst()   chains -> frames: header read once and checked, first bytes copied out     net_tx.c
 *   net_deliver()    one frame -> one receive ring: one copy, sender's buffer to receiver's     net_rx.c
 *                    ... in software what the receiver cannot do itself                         net_soft.c
 *   net_tx_done()    the burst goes back to its sender                                          net_tx.c
 *   net_flush()      receivers see what was delivered                                           net_rx.c
 *
 * All of this is one worker's (worker.h) and touches only rings which that worker owns.
 *
 * The first bytes of each frame (all of a small one) are private copies: addresses that were looked up are the
 * addresses that are delivered, whatever the sender does meanwhile. The rest is copied directly and decides
 * nothing.
 *
 * A receiver that did not negotiate the checksum or segmentation a frame needs gets it done in software, from a
 * second private copy (struct net_soft). That path copies twice and is counted.
 */
#ifndef VVU_CORE_NET_H
#define VVU_CORE_NET_H

#include "core/frame.h"
#include "core/port.h"

#define NET_BURST      32
#define NET_HEAD       64  /* bytes read of a plain frame */
#define NET_HEAD_SUPER 192 /* of one with offloads: room for every header we understand */
#define NET_MRG_MAX    256 /* receive buffers one frame may be spread over */

/* Chains of a burst lie one behind the other, each as long as its segments. */
#define NET_ARENA_BYTES (sizeof(struct vq_chain) + 32768)

struct worker;

struct net_frame {
	struct vq_chain *chain; /* NULL: not of a ring, bytes is all of it */
	const uint8_t
		*bytes; /* the first head_len bytes, private: head, or elsewhere if not of a ring */
	uint32_t len;	/* without virtio_net_hdr */
	uint32_t head_len;
	uint16_t hdr_len;	   /* virtio_net_hdr bytes in the chain */
	uint8_t drop;		   /* enum port_counter; CTR_COUNT: none */
	bool soft_ready;	   /* struct net_soft has this frame */
	bool soft_csum_done;	   /* ... with its checksum completed */
	uint8_t out;		   /* port looked up */
	struct virtio_net_hdr hdr; /* checked; all zero when there is nothing to offload */
	_Alignas(64) uint8_t head[NET_HEAD_SUPER];
};

struct net_burst {
	struct port *port;
	struct vring *vr;
	unsigned int num;
	struct net_frame frames[NET_BURST];
	_Alignas(64) uint8_t arena[NET_ARENA_BYTES];
};

/* Private memory for software offloads. */
struct net_soft {
	uint8_t flat[FRAME_MAX];
	uint8_t segment[FRAME_MAX];
};

/* Scratch memory of delivery; one per worker. */
struct net_scratch {
	struct vq_chain first;
	struct vq_chain more;
	struct net_soft soft;
};

/* Takes up to NET_BURST frames of a transmit ring into w->burst. Returns their number; marks a ring that is broken. */
unsigned int net_tx_burst(struct worker *w, struct vring *vr);

/* Returns the last n frames of the burst to the ring as not taken. */
void net_tx_untake(struct worker *w, unsigned int n);

/* Gives the burst back to its sender; calls it if it wants to be. */
void net_tx_done(struct worker *w);

/* All len bytes of a frame, to private memory. */
void net_frame_copy(const struct net_frame *f, uint8_t *to);

/* The receive ring of a port that the frame's flow belongs to (virtio 1.2 §5.1.6.5.5); NULL: none is enabled. */
static inline struct vring *net_rx_ring(const struct port *to, const struct net_frame *f)
{
	if (to->num_rx > 1)
		return to->rx[(uint64_t)frame_flow_hash(f->bytes, f->head_len) * to->num_rx >> 32];
	return to->num_rx ? to->rx[0] : NULL;
}

/*
 * Delivers a frame into a receive ring that w owns, or counts at its port why not. The receiver sees it after
 * net_flush(). Returns true if delivered.
 */
bool net_deliver(struct worker *w, struct vring *vr, struct net_frame *f);

/* Makes deliveries visible, one call per ring that wants one. */
void net_flush(struct worker *w);

#endif
