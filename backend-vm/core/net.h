/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio-net rings as bursts of frames: take up to NET_BURST frames from a transmit ring, deliver each to
 * receive rings of other ports, then give the whole burst back with one store and at most one call per ring.
 *
 *   net_tx_look()    takes what there is ahead of use; the cache lines of headers start coming      net_tx.c
 *   net_tx_burst()   chains -> frames: header read once and checked, first bytes copied out         net_tx.c, net_hot.c
 *   net_forward()    plain frames -> receive buffers taken ahead                                    net_hot.c
 *   net_deliver()    any frame -> one receive ring: one copy, sender's buffer to receiver's         net_rx.c
 *                    ... in software what the receiver cannot do itself                             net_soft.c
 *   net_flush()      receivers see what was delivered                                               net_rx.c
 *   net_tx_flush()   bursts go back to their senders                                                net_tx.c
 *   net_settle()     calls that were not decided on the way                                         net_rx.c
 *
 * All of this is one worker's (worker.h) and touches only rings which that worker owns.
 *
 * Most frames are one descriptor in one region, need no offload, and fit into one receive buffer: plain frames. They
 * are
 * read and forwarded by net_hot.c, which is compiled once for each kind of processor (net_isa). Everything else takes
 * the general way, frame by frame. Both ways make the same checks and may follow each other within a burst.
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

#include "core/cursor.h"
#include "core/frame.h"
#include "core/port.h"

#define NET_BURST      32
#define NET_HEAD       64  /* bytes read of a plain frame */
#define NET_HEAD_SUPER 192 /* of one with offloads: room for every header we understand */
#define NET_MRG_MAX    256 /* receive buffers one frame may be spread over */
/* Bytes of a receive buffer that was not looked at yet, about. */
#define NET_MRG_ABOUT 1536

/* Chains of a burst lie one behind the other, each as long as its segments. */
#define NET_ARENA_BYTES (sizeof(struct vq_chain) + 32768)

struct worker;

/* What is known of a frame; one cache line. */
struct net_frame {
	const struct vq_seg *
		segs; /* the chain's device-readable part, virtio_net_hdr included; NULL: bytes is all of it */
	const uint8_t *bytes; /* the first head_len bytes, private */
	struct vq_seg one;    /* what segs points to, if it is one */
	struct vq_ref ref;
	uint32_t len; /* without virtio_net_hdr */
	uint32_t head_len;
	uint16_t num_segs;
	uint8_t hdr_len;	   /* virtio_net_hdr bytes in the chain */
	uint8_t drop;		   /* enum port_counter; CTR_COUNT: none */
	uint8_t out;		   /* port looked up */
	uint8_t state;		   /* NET_* */
	struct virtio_net_hdr hdr; /* checked; all zero when there is nothing to offload */
};
_Static_assert(sizeof(struct net_frame) == 64, "a frame is a cache line");

#define NET_PLAIN     BIT_U32(0) /* one segment, nothing to offload */
#define NET_SOFT      BIT_U32(1) /* struct net_soft has this frame */
#define NET_SOFT_CSUM BIT_U32(2) /* ... with its checksum completed */

struct net_burst {
	struct port *port;
	struct vring *vr;
	unsigned int num;
	bool ahead;	/* the frames are the ring's chains taken ahead, from ahead.used on */
	uint64_t extra; /* what it cost beyond one copy of each frame (turns.h) */
	_Alignas(64) struct net_frame frames[NET_BURST];
	_Alignas(64) uint8_t heads[NET_BURST][NET_HEAD_SUPER];
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

/* What is to be delivered: the first bytes from private memory, the rest from the sender's segments. */
struct net_source {
	struct virtio_net_hdr hdr;
	const uint8_t *head;
	uint32_t head_len;
	uint32_t len;
	struct cursor rest;
};

/* net_hot.c for one kind of processor. */
struct net_isa {
	const char *name;
	/* Makes frames of the chains the burst's ring has ahead. False: the content of frame burst.num breaks it. */
	bool (*read)(struct worker *w);
	/* Delivers the burst's frames from number i on while they are plain and this worker's. Returns how many. */
	unsigned int (*forward)(struct worker *w, unsigned int i);
	/* Puts the source into receive buffers, as it is. False: dropped and counted. */
	bool (*put)(struct worker *w, struct vring *to, struct net_source *s);
};

extern const struct net_isa net_isa_sse2, net_isa_avx2, net_isa_avx512;

/* The best for this processor. */
const struct net_isa *net_isa_choose(void);

/*
 * Takes chains of a transmit ring ahead, if none are left from the last time, and lets their first bytes come near.
 * True: the ring has a burst.
 */
bool net_tx_look(struct worker *w, struct vring *vr);

/* Takes up to NET_BURST frames of a transmit ring into w->burst. Returns their number; marks a ring that is broken. */
unsigned int net_tx_burst(struct worker *w, struct vring *vr);

/* Returns the last n frames of the burst to the ring as not taken. */
void net_tx_untake(struct worker *w, unsigned int n);

/* The burst has been forwarded; its sender gets it back with net_tx_flush(). */
void net_tx_done(struct worker *w);

/* Gives bursts back to their senders; calls those that want to be. After net_flush(): receivers wait, senders don't. */
void net_tx_flush(struct worker *w);

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

/* Makes deliveries visible; calls the drivers that are seen to want it. */
void net_flush(struct worker *w);

/* Nothing to forward: takes ahead what the next bursts will need. Also before rings change hands. */
void net_idle(struct worker *w);

/*
 * Decides the calls left open: a driver may have asked for one while its ring was published. One barrier for all.
 * Before sleeping, every few rounds, and before rings change hands.
 */
void net_settle(struct worker *w);

#endif
