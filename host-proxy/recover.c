// SPDX-License-Identifier: BSD-2-Clause
#include "host-proxy/recover.h"

#include <stdlib.h>
#include <string.h>

#include "abi/inflight.h"
#include "host-proxy/access.h"
#include "host-proxy/conf.h"
#include "host-proxy/port.h"
#include "host-proxy/relay.h"
#include "host-proxy/session.h"
#include "vmm/hostlib/fds.h"

#define RINGS_MAX (VHOST_USER_VRING_INDEX_MASK + 1u)

struct recovery {
	struct port *port;
	struct session *s; /* being filled in */
	struct port_offers offers;
	/* What has come. */
	bool has_session, has_mark;
	uint32_t regions;
	uint64_t rings[RINGS_MAX / 64];
	uint32_t seq;	 /* of the mark */
	uint32_t flags;	 /* likewise */
	bool shared;	 /* who has its sockets, too, may go on with it */
	const char *why; /* it cannot go on; static text */
	struct vhost_user_region region[VHOST_USER_MEM_SLOTS_MAX];
	uint8_t repeats[VHOST_USER_MEM_SLOTS_MAX];
	int region_fds[VHOST_USER_MEM_SLOTS_MAX];
};

struct recovery *recovery_begin(struct port *port, uint32_t session, bool serves)
{
	struct recovery *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->port = port;
	r->s = session_alloc_kept(port);
	if (!r->s) {
		free(r);
		return NULL;
	}
	r->s->id = session;
	r->s->borrowed =
		true; /* the VMM has its sockets until it has been told what becomes of it */
	if (!session)
		r->why = "a session has no number 0";
	else if (!serves)
		r->why = "the port is another VMM's";
	else if (port->session && port->session->state != SESSION_HELD)
		r->why = "the port has another session by now";
	return r;
}

/* --- records --- */

static int take(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

static const char *take_session_fds(struct session *s, uint32_t flags, int *fds, unsigned int num)
{
	unsigned int want = 1, next = 1;
	const char *why;

	want += (flags & RECORD_CHANNEL) != 0;
	want += (flags & RECORD_INFLIGHT) != 0;
	if (num != want)
		return "its session has not as many fds as it says";
	if (fd_check_unix_stream(fds[0], &why) < 0)
		return "its front-end is no UNIX stream socket";
	if ((flags & RECORD_CHANNEL) && fd_check_unix_stream(fds[1], &why) < 0)
		return "its back-end channel is no UNIX stream socket";
	if ((flags & RECORD_INFLIGHT) &&
	    fd_check_memory(fds[num - 1], INFLIGHT_BYTES(s->inflight_rings), &why) < 0)
		return "its ring positions are no memory of their size";
	s->sock = take(&fds[0]);
	s->had_channel = (flags & RECORD_HAD_CHANNEL) != 0;
	if (flags & RECORD_CHANNEL)
		channel_open(s, take(&fds[next++]));
	if (flags & RECORD_INFLIGHT)
		s->inflight = take(&fds[next]);
	return NULL;
}

static const char *apply_session(struct recovery *r, const struct record_session *in, int *fds,
				 unsigned int num_fds)
{
	struct session *s = r->s;

	if (r->has_session)
		return "its session comes twice";
	if (in->version != RECORD_VERSION)
		return "its records are of another version";
	if ((in->flags & ~(uint32_t)RECORD_SESSION_KNOWN) || in->reserved || !in->num_rings ||
	    in->num_rings > RINGS_MAX || in->inflight_rings > RINGS_MAX ||
	    ((in->flags & RECORD_INFLIGHT) && !in->inflight_rings))
		return "its session makes no sense";
	r->has_session = true;
	s->has_features = (in->flags & RECORD_HAS_FEATURES) != 0;
	s->has_protocol = (in->flags & RECORD_HAS_PROTOCOL) != 0;
	s->has_owner = (in->flags & RECORD_HAS_OWNER) != 0;
	s->has_mtu = (in->flags & RECORD_HAS_MTU) != 0;
	s->has_status = (in->flags & RECORD_HAS_STATUS) != 0;
	s->inflight_told = (in->flags & RECORD_INFLIGHT_TOLD) != 0;
	/* Never more than a front-end may be offered, and set. */
	s->features_offered = in->features_offered & ~RELAY_FEATURES_CLEARED;
	s->features = in->features & ~RELAY_FEATURES_CLEARED;
	s->protocol_offered = in->protocol_offered & VHOST_USER_PF_CARRIED;
	s->protocol = in->protocol & s->protocol_offered;
	s->queues_offered = in->queues_offered;
	s->mtu = in->mtu;
	s->status = in->status;
	s->since_ns = in->since_ns;
	s->replays = in->replays;
	s->num_rings = in->num_rings;
	s->inflight_rings = in->inflight_rings;
	r->offers = (struct port_offers){
		.has_features = (in->flags & RECORD_OFFERS_FEATURES) != 0,
		.has_protocol = (in->flags & RECORD_OFFERS_PROTOCOL) != 0,
		.has_queues = (in->flags & RECORD_OFFERS_QUEUES) != 0,
		.has_slots = (in->flags & RECORD_OFFERS_SLOTS) != 0,
		.features = in->offers_features & ~RELAY_FEATURES_CLEARED,
		.protocol = in->offers_protocol & (VHOST_USER_PF_CARRIED | VHOST_USER_PF_INTERNAL),
		.queues = in->offers_queues,
		.slots = in->offers_slots,
	};
	return take_session_fds(s, in->flags, fds, num_fds);
}

static const char *apply_region(struct recovery *r, uint32_t index, const struct record_region *in,
				int *fds, unsigned int num_fds)
{
	const struct vhost_user_region *region = &in->region;
	uint64_t end = region->mmap_offset + region->memory_size;
	const char *why;

	if (index >= VHOST_USER_MEM_SLOTS_MAX || (r->regions & BIT_U32(index)) ||
	    in->repeats > UINT8_MAX || in->reserved || num_fds != 1)
		return "a region makes no sense";
	if (end < region->memory_size || fd_check_memory(fds[0], end, &why) < 0)
		return "a region's file is no memory that holds it";
	r->regions |= BIT_U32(index);
	r->region[index] = *region;
	r->repeats[index] = (uint8_t)in->repeats;
	r->region_fds[index] = take(&fds[0]);
	return NULL;
}

/* An eventfd has one place in the whole host (proxy.h). */
static bool known_eventfd(const struct recovery *r, uint64_t id)
{
	const struct session *s = r->s;

	if (proxy_find_eventfd(r->port->proxy, id, NULL, 0, 0))
		return true;
	for (uint32_t i = 0; i < s->rings_with_fds; i++) {
		for (unsigned int k = 0; k < RING_FDS; k++) {
			if (s->rings[i].fds[k] >= 0 && s->rings[i].ids[k] == id)
				return true;
		}
	}
	return false;
}

static const char *take_eventfd(struct recovery *r, uint32_t index, enum ring_fd kind, int *fd)
{
	struct session_ring *ring = &r->s->rings[index];
	const char *why;
	uint64_t id;

	if (fd_check_eventfd(*fd, &why) < 0 || fd_eventfd_id(*fd, &id) < 0)
		return "an fd of a ring is no eventfd";
	if (known_eventfd(r, id))
		return "an eventfd has more than one place";
	ring->fds[kind] = take(fd);
	ring->ids[kind] = id;
	if (index >= r->s->rings_with_fds)
		r->s->rings_with_fds = index + 1;
	return NULL;
}

static const char *apply_ring(struct recovery *r, uint32_t index, const struct record_ring *in,
			      int *fds, unsigned int num_fds)
{
	struct session_ring *ring;
	const char *why = NULL;
	unsigned int next = 0;

	if (index >= RINGS_MAX || (r->rings[index / 64] & BIT_ULL(index % 64)) ||
	    (in->flags & ~(uint32_t)RECORD_RING_KNOWN) || in->reserved ||
	    ((in->flags & RECORD_RING_HAS_ADDR) && in->addr.index != index) ||
	    (unsigned int)__builtin_popcount(in->flags & (7u * RECORD_RING_FD)) != num_fds)
		return "a ring makes no sense";
	r->rings[index / 64] |= BIT_ULL(index % 64);
	ring = &r->s->rings[index];
	ring->has_num = (in->flags & RECORD_RING_HAS_NUM) != 0;
	ring->has_base = (in->flags & RECORD_RING_HAS_BASE) != 0;
	ring->has_addr = (in->flags & RECORD_RING_HAS_ADDR) != 0;
	ring->has_enable = (in->flags & RECORD_RING_HAS_ENABLE) != 0;
	ring->enabled = (in->flags & RECORD_RING_ENABLED) != 0;
	ring->running = (in->flags & RECORD_RING_RUNNING) != 0;
	ring->served = (in->flags & RECORD_RING_SERVED) != 0;
	ring->tracked = (in->flags & RECORD_RING_TRACKED) != 0;
	ring->num = in->num;
	ring->base = in->base;
	ring->addr = in->addr;
	for (unsigned int k = 0; k < RING_FDS && !why; k++) {
		ring->told[k] = (in->flags & ((uint32_t)RECORD_RING_TOLD << k)) != 0;
		if (in->flags & ((uint32_t)RECORD_RING_FD << k))
			why = take_eventfd(r, index, k, &fds[next++]);
	}
	return why;
}

static const char *apply_mark(struct recovery *r, const struct record_mark *in)
{
	if (r->has_mark || (in->flags & ~(uint32_t)RECORD_MARK_KNOWN) ||
	    ((in->flags & RECORD_MARK_LEAVING) && (in->flags & RECORD_MARK_COMING)))
		return "its mark makes no sense";
	if (in->flags & RECORD_MARK_READING)
		return "the last proxy was reading a message";
	r->has_mark = true;
	r->seq = in->seq;
	r->flags = in->flags;
	return NULL;
}

bool recovery_leaves(const struct recovery *r)
{
	return !r->why && (r->flags & RECORD_MARK_LEAVING);
}

bool recovery_moves(const struct recovery *r)
{
	return r->flags & (RECORD_MARK_LEAVING | RECORD_MARK_COMING);
}

static const char *apply(struct recovery *r, const struct link_record *record, int *fds,
			 unsigned int num_fds)
{
	union {
		struct record_session session;
		struct record_region region;
		struct record_ring ring;
		struct record_mark mark;
	} data;

	if (record->bytes > sizeof(data))
		return "a record of unknown size";
	memset(&data, 0, sizeof(data));
	memcpy(&data, record->data, record->bytes);
	if (record->kind == RECORD_SESSION && !record->index &&
	    record->bytes == sizeof(data.session))
		return apply_session(r, &data.session, fds, num_fds);
	if (record->kind == RECORD_REGION && record->bytes == sizeof(data.region))
		return apply_region(r, record->index, &data.region, fds, num_fds);
	if (record->kind == RECORD_RING && record->bytes == sizeof(data.ring))
		return apply_ring(r, record->index, &data.ring, fds, num_fds);
	if (record->kind == RECORD_MARK && !record->index && record->bytes == sizeof(data.mark) &&
	    !num_fds)
		return apply_mark(r, &data.mark);
	return "a record of unknown kind or size";
}

void recovery_record(struct recovery *r, const struct link_record *record, int *fds,
		     unsigned int num_fds)
{
	if (!r->why)
		r->why = apply(r, record, fds, num_fds);
}

/* --- the whole --- */

/* Regions are a table from 0 on, without a gap, that a front-end could have sent. */
static const char *finish_memory(struct recovery *r)
{
	struct memory *m = &r->s->memory;

	for (uint32_t i = 0; i < VHOST_USER_MEM_SLOTS_MAX; i++) {
		if (!(r->regions & BIT_U32(i)))
			return r->regions >> i ? "a region is missing" : NULL;
		if (memory_add(m, &r->region[i], r->region_fds[i]))
			return "its regions are no table of memory";
		m->regions.repeats[i] = r->repeats[i];
		r->regions &= ~BIT_U32(i);
	}
	return NULL;
}

static const char *finish_rings(const struct recovery *r)
{
	const struct session *s = r->s;

	for (uint32_t i = 0; i < RINGS_MAX; i++) {
		const struct session_ring *ring = &s->rings[i];

		if (i >= s->num_rings && (r->rings[i / 64] & BIT_ULL(i % 64)))
			return "it has more rings than it says";
		if (ring->running && (!ring->has_addr || !ring->told[RING_KICK]))
			return "a ring runs without address or kick";
		if (ring->tracked && s->inflight < 0)
			return "a ring's position is nowhere";
	}
	return NULL;
}

static const char *finish(struct recovery *r, const struct link_kept *kept)
{
	const char *why;

	if (!r->has_session || !r->has_mark)
		return "records are missing";
	/* What came after the mark of one on its way is not the front-end's. */
	if (!recovery_moves(r) && kept->unanswered)
		return "a request was left unanswered";
	if (!recovery_moves(r) && kept->received != r->seq)
		return "the last proxy died over a message";
	why = finish_memory(r);
	return why ? why : finish_rings(r);
}

void recovery_borrow(struct recovery *r)
{
	r->shared = true;
}

const char *recovery_take(struct recovery *r, struct session **out)
{
	const char *why = r->why;

	*out = NULL;
	if (!why && !r->has_session)
		why = "records are missing";
	if (!why)
		why = finish_memory(r);
	if (!why)
		why = finish_rings(r);
	if (!why) {
		*out = r->s;
		r->s = NULL;
	}
	recovery_drop(r);
	return why;
}

/* Who came to the port while its session had no proxy is the second front-end. */
static const char *make_room(struct recovery *r, char *text, size_t bytes)
{
	struct port *port = r->port;

	if (!access_check(&port->conf->access, r->s->sock, text, bytes))
		return "its front-end may not use this port";
	if (port->session && port->session->state != SESSION_HELD)
		return "the port has another session by now";
	if (port->session) {
		port->count.refused++;
		session_end(port->session, BY_PROXY, false,
			    "second front-end: another one was there before this proxy");
	}
	return port->session ? "the port has another session by now" : NULL;
}

const char *recovery_end(struct recovery *r, const struct link_kept *kept)
{
	struct port *port = r->port;
	struct session *s = r->s;
	struct port_offers offers = r->offers;
	const char *why = r->why;
	char text[256];

	if (!why)
		why = finish(r, kept);
	if (!why)
		why = make_room(r, text, sizeof(text));
	if (why) {
		s->borrowed = r->shared;
		recovery_drop(r);
		return why;
	}
	s->seq = s->dirty.answered = kept->received;
	s->dirty.regions_told = s->memory.regions.num;
	offers.limits = port->offers.limits;
	/* The back-end that said so still serves it. */
	offers.protocol_is_current = offers.has_protocol;
	port->offers = offers;
	if (s->id > port->proxy->last_session)
		port->proxy->last_session = s->id;
	r->s = NULL;
	recovery_drop(r);
	session_attach_kept(s);
	return NULL;
}

void recovery_drop(struct recovery *r)
{
	if (!r)
		return;
	for (uint32_t i = 0; i < VHOST_USER_MEM_SLOTS_MAX; i++) {
		if (r->regions & BIT_U32(i))
			fd_close(&r->region_fds[i]);
	}
	if (r->s)
		session_discard(r->s);
	free(r);
}
