// SPDX-License-Identifier: BSD-2-Clause
/*
 * What workers send each other: frames for rings of the other, and addresses they learned.
 *
 * A frame is copied into the mailbox by the worker that took it from its transmit ring, and from there into the
 * receive ring by that ring's owner, who also does what is left of the work on it (offloads, merging,
 * counting). So a ring is written by one worker only, and the frames of a flow, which all go to one ring, keep
 * their order: those of one transmit ring come through one mailbox, first in, first out.
 *
 * The second copy is charged to the sender (turns.h) by the worker that makes it.
 *
 * A frame that finds the mailbox full stays in its transmit ring, and those behind it with it: a worker looks into its
 * mailboxes in each round, whatever its receivers do, so that does not take long. So the room of a mailbox is
 * shared out by the turns of those who send through it. Only a copy of a flooded frame, which others got, is dropped.
 *
 * An address is told to the others when it is new, has moved, or was refreshed (once a second). One that finds the
 * mailbox full is told again with the next refresh.
 */
#include "core/switch.h"

enum mail_kind {
	MAIL_FRAME,
	MAIL_LEARNED
};

struct mail {
	uint8_t kind;
	uint8_t port; /* receiver; or where the address is */
	uint8_t ring;
	uint8_t from;
	uint32_t len;
	uint64_t mac;
	struct virtio_net_hdr hdr;
	uint32_t pad2;
	uint8_t bytes[]; /* the frame */
};
ABI_SIZE(struct mail, 32);
_Static_assert(sizeof(struct mail) + FRAME_MAX <= MAILBOX_RECORD, "any frame fits a mailbox");

static struct mail *mail_new(struct worker *w, unsigned int to, uint32_t len, bool urgent)
{
	struct mail *m = mailbox_reserve(switch_box(w->sw, w->index, to),
					 (uint32_t)sizeof(struct mail) + len, urgent);

	if (m)
		w->posted |= BIT_U32(to);
	return m;
}

bool worker_mail_frame(struct worker *w, const struct vring *vr, const struct net_frame *f)
{
	struct mail *m = mail_new(w, vr->owner, f->len, false);

	if (!m)
		return false;
	m->kind = MAIL_FRAME;
	m->port = (uint8_t)vr->port->index;
	m->ring = vr->index;
	m->len = f->len;
	m->hdr = f->hdr;
	m->from = (uint8_t)w->burst.port->index;
	net_frame_copy(f, m->bytes);
	w->burst.extra += TURN_BYTES(f->len);
	return true;
}

void worker_tell_learned(struct worker *w, uint64_t mac, const struct port *port)
{
	for (unsigned int i = 0; i < w->sw->num_workers; i++) {
		struct mail *m = i == w->index ? NULL : mail_new(w, i, 0, true);

		if (!m)
			continue;
		m->kind = MAIL_LEARNED;
		m->port = (uint8_t)port->index;
		m->mac = mac;
	}
}

void worker_publish_mail(struct worker *w)
{
	for (uint32_t posted = w->posted; posted; posted &= posted - 1)
		mailbox_publish(switch_box(w->sw, w->index, (unsigned int)__builtin_ctz(posted)));
	w->to_wake |= w->posted;
	w->posted = 0;
}

static void mail_frame(struct worker *w, const struct mail *m)
{
	struct net_frame *f = &w->by_mail;
	struct vring *vr = &w->sw->ports[m->port]->vrings[m->ring];

	/* The copy is ours alone, so all of it may be looked at where it is. */
	*f = (struct net_frame){ .bytes = m->bytes,
				 .len = m->len,
				 .head_len = m->len,
				 .drop = CTR_COUNT,
				 .hdr = m->hdr };
	w->burst.extra = 0;
	w->burst.port = w->sw->ports[m->from];
	net_deliver(w, vr, f);
	turn_charge(w, w->sw->ports[m->from], TURN_COPY(f->len) + w->burst.extra);
}

static unsigned int mail_box(struct worker *w, struct mailbox *mb, bool all)
{
	const struct mail *m;
	unsigned int num = 0;
	/* No more than is there now, or a busy sender keeps us from our own rings. */
	uint32_t end = mailbox_look(mb), before = mb->read, len;

	for (; mb->read != end && (m = mailbox_take(mb, &len)); before = mb->read, num++) {
		if (m->kind == MAIL_LEARNED) {
			fdb_learn(&w->fdb, m->mac, m->port, w->now);
		} else if (all || turn_mail(w, w->sw->ports[m->from])) {
			mail_frame(w, m);
		} else {
			mb->read = before;
			break;
		}
	}
	mailbox_release(mb);
	return num;
}

unsigned int worker_take_mail(struct worker *w, bool all)
{
	unsigned int num = 0;

	for (unsigned int i = 0; i < w->sw->num_workers; i++) {
		if (i != w->index)
			num += mail_box(w, switch_box(w->sw, i, w->index), all);
	}
	if (num)
		net_flush(w);
	return num;
}

bool worker_has_mail(const struct worker *w)
{
	for (unsigned int i = 0; i < w->sw->num_workers; i++) {
		if (i != w->index && !mailbox_empty(switch_box(w->sw, i, w->index)))
			return true;
	}
	return false;
}
