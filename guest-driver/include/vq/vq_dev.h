/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Virtqueues, device side: split (virtio 1.2 §2.7) and packed (§2.8), in order or not. The driver on the other side is
 * hostile.
 *
 *   split:  driver writes                            device writes
 *   +-----------------+    +---------------+    +--------------------+
 *   | descriptor table|<---| avail ring    |    | used ring          |
 *   | addr len flags  |    | flags idx     |    | flags idx          |
 *   | next            |    | ring[size]    |    | {id,len}[size]     |
 *   |                 |    | used_event    |    | avail_event        |
 *   +-----------------+    +---------------+    +--------------------+
 *        used_event: "call me when used idx passes this", in the driver's ring
 *        avail_event: "kick me when avail idx passes this", in the device's ring
 *
 *   packed: both write                  driver writes         device writes
 *   +----------------------------+    +----------------+    +----------------+
 *   | descriptor ring            |    | driver event   |    | device event   |
 *   | addr len id flags          |    | off_wrap flags |    | off_wrap flags |
 *   +----------------------------+    +----------------+    +----------------+
 *        flags have an "available" and a "used" bit, whose sense turns with each lap
 *
 * Life of a chain: vq_dev_get() snapshots and checks one available chain and turns it into host memory segments;
 * the device reads and writes them; vq_dev_put() writes used entries (not yet visible); vq_dev_publish() makes all
 * of them visible with one store; vq_dev_call_needed() says whether the driver wants to be called. Bursts do many
 * gets, many puts, one publish, one call; vq_dev_get_ones() and vq_dev_put_ones() do a burst of simple chains at once.
 *
 * With IN_ORDER chains are put in the order they were taken: the device model sees to that.
 *
 * Every field the driver can change is read once. Errors are sticky: a broken ring gives -EPROTO for ever
 * (vq->broken says why) until vq_dev_start() is called again.
 *
 * One thread uses a queue. The memory map may be shared with queues of other threads while nobody changes it.
 */
#ifndef VVU_VQ_DEV_H
#define VVU_VQ_DEV_H

#include <stdbool.h>

#include "abi/inflight.h"
#include "abi/virtio_ring.h"
#include "vq/memmap.h"

/* Largest queue a device here accepts; QEMU and DPDK offer 1024 at most by default. */
#define VQ_DEV_SIZE_MAX 4096

/* Segments of one chain: descriptors, plus one more for each region boundary that one of them crosses. */
#define VQ_CHAIN_SEGS_MAX 1088

/* Why a ring is broken; vq_broken_name() has the words for a log line. */
enum vq_broken {
	VQ_OK = 0,
	VQ_BROKEN_ADDRESS,   /* ring address outside every region, unaligned or wrapping */
	VQ_BROKEN_SIZE,	     /* queue size 0, not a power of two or too large */
	VQ_BROKEN_AVAIL_IDX, /* more available than the driver can have free: avail idx jumped */
	VQ_BROKEN_HEAD,	     /* avail entry >= queue size */
	VQ_BROKEN_NEXT,	     /* next >= table size */
	VQ_BROKEN_LOOP,	     /* chain longer than the queue (virtio 1.2 §2.7.5.3.1) */
	VQ_BROKEN_INDIRECT, /* nested, not negotiated, with NEXT, empty or not a multiple of 16 bytes */
	VQ_BROKEN_BUFFER,   /* a buffer outside every region */
	VQ_BROKEN_ORDER,    /* device-readable after device-writable (virtio 1.2 §2.7.4.2) */
	VQ_BROKEN_SEGMENTS, /* more than VQ_CHAIN_SEGS_MAX segments */
	VQ_BROKEN_IN_USE, /* packed: a descriptor made available again that the device has not given back */
	VQ_BROKEN_BASE,	   /* packed: a starting position outside the ring */
	VQ_BROKEN_CONTENT, /* set by the device model: what it read makes no sense (vq_dev_break()) */
	VQ_BROKEN_COUNT,
};

struct vq_seg {
	uint8_t *base;
	uint32_t len;
};

/* What vq_dev_put() needs to give a chain back. Made by the queue; never an index for anything else. */
struct vq_ref {
	uint16_t id;  /* split: the head; packed: the buffer id, any 16 bits */
	uint16_t num; /* positions it takes in the ring: split 1, packed its descriptors */
};

/* A chain: num_out device-readable segments first, then num_in device-writable ones. Zero-length ones are left out. */
struct vq_chain {
	struct vq_ref ref;
	uint16_t num_out;
	uint16_t num_in;
	uint32_t out_bytes; /* saturates at UINT32_MAX */
	uint32_t in_bytes;
	struct vq_seg segs[VQ_CHAIN_SEGS_MAX];
};

/* A chain that is one non-empty descriptor inside one region: all that most frames are. */
struct vq_one {
	uint8_t *base;
	uint32_t len;
	struct vq_ref ref;
};

struct vq_dev_conf {
	struct memmap *map; /* borrowed until vq_dev_stop() */
	struct gpa desc;
	struct gpa avail;  /* packed: the driver's event suppression structure */
	struct gpa used;   /* packed: the device's */
	unsigned int size; /* split: a power of two; packed: any */
	/*
	 * Position to go on from, as in SET_VRING_BASE. Split: the next avail entry (16 bits). Packed: bits 0-14 next
	 * descriptor to take, 15 its wrap counter, 16-30 next used descriptor to write, 31 its wrap counter; bits 16-31
	 * all 0 stand for "as bits 0-15", which is what DPDK means by it.
	 */
	uint32_t base;
	bool packed;
	bool in_order;
	bool event_idx;
	bool indirect;
	/*
	 * Where the ring's positions are kept for a successor (abi/inflight.h), 8-aligned; NULL: nowhere. Borrowed
	 * until vq_dev_stop() or vq_dev_track().
	 */
	struct inflight_ring *track;
	/* A predecessor left what is there. If it says that the ring runs, the start goes on there, not from base. */
	bool resume;
};

/*
 * Positions of a packed ring: slots, and what the flags' AVAIL and USED bits are in the lap that the slot
 * belongs to.
 */
struct vq_packed {
	uint16_t avail;	      /* next slot to take */
	uint16_t avail_bits;  /* of an available descriptor there */
	uint16_t used;	      /* next slot to put */
	uint16_t used_bits;   /* of a used descriptor there */
	uint16_t held;	      /* slots taken and not put */
	uint16_t first;	      /* slot of the first unpublished put */
	uint32_t unpublished; /* slots put and not published */
	uint64_t first_word;  /* len, id and flags of that first one, still to be stored */
	uint16_t left_out;    /* slots between used and avail at the start: an earlier life's */
	uint16_t puts;	      /* tracked: of the unpublished burst, in track->puts[] */
	uint64_t heads[VQ_DEV_SIZE_MAX /
		       64]; /* bit per slot taken: a chain begins there (vq_dev_unget()) */
};

struct vq_dev {
	struct memmap *map;
	union {
		struct vring_desc *desc;
		struct vring_packed_desc *ring;
	};
	union {
		struct vring_avail *avail;
		struct vring_packed_event *driver_event;
	};
	union {
		struct vring_used *used;
		struct vring_packed_event *device_event;
	};
	/* Read by every get and put, written only at the start: a store beside them would stall wider loads of them. */
	uint16_t size;
	uint16_t skew; /* last_avail - used idx at the start; see held() in vq_split.c */
	bool packed;
	bool in_order;
	bool event_idx;
	bool indirect;
	bool running;
	bool resumed;		     /* the last start went on where a predecessor was */
	struct inflight_ring *track; /* conf.track while the ring runs */
	/* Hints: the regions buffers lay in last and before. Of this queue, since threads may share the map. */
	unsigned int hit;
	unsigned int hit_before;
	/* Positions of a split ring. */
	uint16_t last_avail; /* next avail entry to take */
	uint16_t avail_seen; /* the driver's avail idx as last read */
	uint16_t used_next;  /* where the next vq_dev_put() goes; published up to used_idx */
	uint16_t used_idx;   /* published */
	uint16_t expect;     /* a guess: the next descriptor made available, for prefetching */
	bool by_ones;	     /* the driver seems to make chains available one by one */
	uint16_t kick_moved; /* last_avail when avail_event was last moved along */
	uint32_t uncalled;   /* positions published since the last decision to call */
	bool called_valid;   /* a decision was made since the start */
	bool kick_off;	     /* between vq_dev_kick_disable() and _enable() */
	enum vq_broken broken;
	struct vq_packed pk;
	struct vq_dev_conf conf; /* to look the ring up again when the map changes */
};

/*
 * Looks the three ring parts up and starts from conf->base; a split ring's used index is taken from the ring. With
 * conf->resume, and where conf->track says that a predecessor ran the ring, goes on where that one was instead, after
 * finishing the burst it may have been publishing; then vq->resumed is set, and the driver should be called once. From
 * then on the ring's positions are kept there.
 * Returns 0, or -EPROTO with vq->broken set; the queue is then stopped.
 */
int vq_dev_start(struct vq_dev *vq, const struct vq_dev_conf *conf);

/*
 * Looks the ring parts up again after its memory map changed; keeps positions. Chains taken before must be put without
 * touching their segments. 0 (also when the queue is stopped), or -EPROTO as vq_dev_start().
 */
int vq_dev_remap(struct vq_dev *vq);

/*
 * Forgets every pointer; what is put from now on goes nowhere. vq_dev_base() still answers. A broken queue stays
 * broken.
 */
void vq_dev_stop(struct vq_dev *vq);

/*
 * From now on the positions are kept there (NULL: nowhere), if the queue runs and at its next start. What is put is
 * published. The old place is left as it is.
 */
void vq_dev_track(struct vq_dev *vq, struct inflight_ring *track);

/* True if a position is noted there (which may make no sense); track may be NULL. */
bool vq_track_runs(const struct inflight_ring *track);

/* The position for GET_VRING_BASE, to be given to a later start; also of a stopped or broken queue. */
uint32_t vq_dev_base(const struct vq_dev *vq);

/* Marks the ring as broken on behalf of the device model. Chains taken before may still be put and published. */
void vq_dev_break(struct vq_dev *vq, enum vq_broken why);

/*
 * Chains that can be taken now: 0..size (0 when stopped), or -EPROTO. Reads the driver's avail idx. A packed
 * ring has no such index: when one chain at least can be taken, the answer is the most that the driver can have
 * made available.
 */
int vq_dev_avail(struct vq_dev *vq);

/*
 * True when n chains (n > 0) can be taken. Of a packed ring it is looked whether the descriptor is available
 * that would be the last of them if each were one: drivers make them available in order.
 */
bool vq_dev_has(struct vq_dev *vq, unsigned int n);

/*
 * Takes the next chain. Returns 1 (chain filled in), 0 (ring empty or stopped) or -EPROTO; only the segments in
 * use are written. The driver's avail idx is read when the chains seen last time are used up. chain stays valid
 * until the memory map changes. A taken chain is either given back with vq_dev_put() or, as the most recent
 * ones, untaken.
 */
int vq_dev_get(struct vq_dev *vq, struct vq_chain *chain);

/*
 * Takes up to max chains as long as each is exactly one non-empty descriptor, device-writable or not as asked,
 * inside one region. Returns how many; stops at the first that is anything else, bad ones included, and leaves
 * that to vq_dev_get(), which does the same checks and says what is wrong. Split: reads no index, so it takes
 * only what vq_dev_avail() has seen. Packed: looks at the descriptors themselves.
 */
unsigned int vq_dev_get_ones(struct vq_dev *vq, bool writable, struct vq_one *ones,
			     unsigned int max);

/* Un-takes the n chains taken last: they will be got again. They must not have been put. */
void vq_dev_unget(struct vq_dev *vq, unsigned int n);

/*
 * Writes a used entry: written bytes of device-writable memory. Not visible before vq_dev_publish(). A packed ring
 * whose positions are kept (vq_dev_conf.track) publishes by itself when more than INFLIGHT_PUTS_MAX are put:
 * vq_dev_put_room() is how many are not too many yet.
 */
void vq_dev_put(struct vq_dev *vq, struct vq_ref ref, uint32_t written);

/*
 * vq_dev_put() for n chains in order. written NULL: 0 bytes each, for rings of device-readable buffers; on an in-order
 * ring one used entry then stands for all of them.
 */
void vq_dev_put_ones(struct vq_dev *vq, const struct vq_one *ones, const uint32_t *written,
		     unsigned int n);

static inline unsigned int vq_dev_put_room(const struct vq_dev *vq)
{
	return vq->packed && vq->track ? INFLIGHT_PUTS_MAX - vq->pk.puts : UINT16_MAX;
}

/* Makes all put entries visible. */
void vq_dev_publish(struct vq_dev *vq);

/*
 * Does the driver want a call for what was published since the last decision? Deciding "no" needs a full
 * barrier between publishing and looking, which one vq_dev_fence() gives to any number of rings:
 *
 *     for each ring: vq_dev_publish(), if (vq_dev_call_hint()) call
 *     vq_dev_fence()
 *     for each ring: if (vq_dev_call_settle()) call
 *
 * The hint has no barrier. True: decided, call now. False: undecided, ask the others before going to sleep or
 * waiting for the driver to answer.
 */
bool vq_dev_call_hint(struct vq_dev *vq);
bool vq_dev_call_settle(struct vq_dev *vq);

static inline void vq_dev_fence(void)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* Fence and settle for one ring. */
bool vq_dev_call_needed(struct vq_dev *vq);

/*
 * Asks the driver not to kick (a hint to the driver, as the specification has it). With EVENT_IDX this also keeps
 * avail_event out of the way while vq_dev_avail() and vq_dev_get() run, so that no kick comes every 65,536 chains.
 */
void vq_dev_kick_disable(struct vq_dev *vq);

/*
 * Asks for a kick when more becomes available. Returns true when something is available already (the caller must
 * look again instead of sleeping). Contains the full barrier between the request and the look.
 */
bool vq_dev_kick_enable(struct vq_dev *vq);

/* Words for a log line, never NULL. */
const char *vq_broken_name(enum vq_broken why);

/* Copies between a chain's segments and flat memory; offset counts from the first out (or in) byte. Both return the
 * bytes copied, less than len when the chain ends. */
uint32_t vq_chain_read(const struct vq_chain *chain, uint32_t offset, void *dst, uint32_t len);
uint32_t vq_chain_write(struct vq_chain *chain, uint32_t offset, const void *src, uint32_t len);

#endif
