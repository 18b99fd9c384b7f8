/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What frames look like.
 *
 *   UDP (up to 9014 bytes)  14 Ethernet, 20 IPv4, 8 UDP, the mark at 42, the pattern from 64 on
 *   TCP (GSO)               14 Ethernet, 20 IPv4, 20 TCP, the mark at 54, the pattern from 128 on
 *
 * Frames are built once, into the buffers of the mempool of each transmit queue: an mbuf that comes back from
 * the ring still holds its frame. Sending one again costs what is asked for and no more: nothing, a sequence
 * number, or the whole payload.
 *
 * The pattern is a sequence of 64-bit words that grow by a constant from a start that the mark's seed gives, so
 * each byte of a payload can be checked knowing the mark alone, at the speed of memory.
 */
#ifndef LOAD_FRAMES_H
#define LOAD_FRAMES_H

#include "load.h"

#define MARK_MAGIC 0x7675u

struct mark {
	uint32_t run; /* magic and number of the run */
	uint8_t src, dst;
	uint16_t flow;
	uint64_t seq;
	uint32_t seed; /* 0: the payload has no pattern */
} __attribute__((packed));

#define MARK_UDP    42
#define MARK_TCP    54
#define PATTERN_UDP 64
#define PATTERN_TCP 128

_Static_assert(MARK_UDP + sizeof(struct mark) <= PATTERN_UDP, "a 64-byte frame holds a mark");

static inline uint32_t mark_run(uint32_t epoch)
{
	return MARK_MAGIC << 16 | (epoch & 0xffff);
}

static inline uint32_t mark_seed(uint64_t seq)
{
	return ((uint32_t)seq * 0x9e3779b1u) | 1;
}

/* Builds the frames of all transmit pools as l->now wants them; nothing may be under way. */
void frames_build(struct load *l);

/* Writes len bytes of the pattern, from its byte `at` on. */
void pattern_write(uint8_t *p, uint32_t len, uint32_t at, uint32_t seed);

/* True when the pattern of an mbuf chain, from offset `from` on, is the one of this seed. */
bool pattern_check(const struct rte_mbuf *m, uint32_t from, uint32_t seed);

/* Chooses the routines for this processor. */
void pattern_init(void);

/*
 * Makes a GSO frame of `size` bytes out of head, which holds its first PATTERN_TCP bytes: adds segments of the
 * pool of q. Returns false, head unchanged, when the pool has not enough.
 */
bool frame_extend(struct load *l, struct txq *q, struct rte_mbuf *head, uint32_t size);

#endif
