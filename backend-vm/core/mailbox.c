// SPDX-License-Identifier: BSD-2-Clause
#include "core/mailbox.h"

/* Before each record. */
struct record {
	uint32_t room; /* of the record with this, a multiple of MAILBOX_ALIGN */
	uint32_t len;  /* 0: filler */
	uint8_t pad[MAILBOX_ALIGN - 8];
};
ABI_SIZE(struct record, MAILBOX_ALIGN);
_Static_assert(MAILBOX_BYTES > 2 * (MAILBOX_RECORD + sizeof(struct record)) + MAILBOX_RESERVED,
	       "the longest record must fit wherever the array ends");

static struct record *record_at(struct mailbox *mb, uint32_t pos)
{
	return (struct record *)(void *)(mb->bytes + (pos & (MAILBOX_BYTES - 1)));
}

void mailbox_init(struct mailbox *mb)
{
	mb->head = mb->tail = mb->write = mb->tail_seen = mb->read = mb->head_seen = 0;
}

static bool mailbox_fits(struct mailbox *mb, uint32_t need, uint32_t keep)
{
	if (need + keep <= MAILBOX_BYTES - (mb->write - mb->tail_seen))
		return true;
	/* Acquire: what the consumer read there was read before we write over it. */
	mb->tail_seen = __atomic_load_n(&mb->tail, __ATOMIC_ACQUIRE);
	return need + keep <= MAILBOX_BYTES - (mb->write - mb->tail_seen);
}

void *mailbox_reserve(struct mailbox *mb, uint32_t len, bool urgent)
{
	uint32_t room = ALIGN_UP(len, MAILBOX_ALIGN) + (uint32_t)sizeof(struct record);
	uint32_t to_end = MAILBOX_BYTES - (mb->write & (MAILBOX_BYTES - 1));
	uint32_t filler = room > to_end ? to_end : 0;
	struct record *r;

	if (!mailbox_fits(mb, room + filler, urgent ? 0 : MAILBOX_RESERVED))
		return NULL;
	if (filler) {
		r = record_at(mb, mb->write);
		r->room = filler;
		r->len = 0;
		mb->write += filler;
	}
	r = record_at(mb, mb->write);
	r->room = room;
	r->len = len;
	mb->write += room;
	return r + 1;
}

bool mailbox_publish(struct mailbox *mb)
{
	if (mb->write == mb->head)
		return false;
	__atomic_store_n(&mb->head, mb->write, __ATOMIC_RELEASE);
	return true;
}

uint32_t mailbox_look(struct mailbox *mb)
{
	mb->head_seen = __atomic_load_n(&mb->head, __ATOMIC_ACQUIRE);
	return mb->head_seen;
}

void *mailbox_take(struct mailbox *mb, uint32_t *len)
{
	struct record *r;

	do {
		if (mb->read == mb->head_seen && mb->read == mailbox_look(mb))
			return NULL;
		r = record_at(mb, mb->read);
		mb->read += r->room;
	} while (!r->len);
	*len = r->len;
	return r + 1;
}

void mailbox_release(struct mailbox *mb)
{
	if (mb->read != mb->tail)
		__atomic_store_n(&mb->tail, mb->read, __ATOMIC_RELEASE);
}

bool mailbox_empty(const struct mailbox *mb)
{
	return __atomic_load_n(&mb->head, __ATOMIC_RELAXED) ==
	       __atomic_load_n(&mb->tail, __ATOMIC_RELAXED);
}
