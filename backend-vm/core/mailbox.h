/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Mailbox: a byte ring from one worker to another. One producer, one consumer, no locks, no atomic read-modify-write.
 *
 *        released            taken up to           published           written
 *   ... ----- tail ------------- read ---------------- head ------------- write -----  (counts of bytes, they wrap)
 *               consumer's side                             producer's side
 *
 * The producer reserves room and fills it, any number of times, then makes all of it visible with one store
 * (release; the consumer's load acquires). The consumer takes records where they lie, then gives all the room
 * back with one store (release, so that it is not overwritten before it was read). Each side keeps what it saw
 * of the other's word and looks at it again only when that is used up.
 *
 * A record lies in one piece: where the end of the array comes too early, a filler record takes the rest. So a
 * record may need up to twice its size, and the array must be larger than two of the longest.
 *
 * Whoever waits for a mailbox to fill does as pause.h says.
 */
#ifndef VVU_CORE_MAILBOX_H
#define VVU_CORE_MAILBOX_H

#include <stdbool.h>

#include "abi/base.h"

#define MAILBOX_BYTES	 524288u
#define MAILBOX_ALIGN	 32u
#define MAILBOX_RECORD	 69632u /* the longest */
#define MAILBOX_RESERVED 8192u	/* room that only urgent records may take */

struct mailbox {
	_Alignas(64) uint32_t head;  /* producer to consumer */
	_Alignas(64) uint32_t tail;  /* consumer to producer */
	_Alignas(64) uint32_t write; /* producer's own */
	uint32_t tail_seen;
	_Alignas(64) uint32_t read; /* consumer's own */
	uint32_t head_seen;
	_Alignas(64) uint8_t bytes[MAILBOX_BYTES];
};

void mailbox_init(struct mailbox *mb);

/*
 * Producer: room for a record of len bytes (1 to MAILBOX_RECORD), MAILBOX_ALIGN-aligned, to be filled before the next
 * mailbox_publish(). NULL: the box is too full.
 */
void *mailbox_reserve(struct mailbox *mb, uint32_t len, bool urgent);

/* Producer: makes visible what was reserved. False: that was nothing. */
bool mailbox_publish(struct mailbox *mb);

/* Consumer: looks what has been published; to be told apart from what comes later: mb->read will be that much. */
uint32_t mailbox_look(struct mailbox *mb);

/* Consumer: the next record, or NULL. It stays in place until mailbox_release(). */
void *mailbox_take(struct mailbox *mb, uint32_t *len);

/* Consumer: gives back the room of all records taken. */
void mailbox_release(struct mailbox *mb);

/*
 * Whether there was nothing to take, all that was taken having been released. Looks at words of both sides, so that a
 * consumer may ask while worker 0 empties the box for it.
 */
bool mailbox_empty(const struct mailbox *mb);

#endif
