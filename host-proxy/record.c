// SPDX-License-Identifier: BSD-2-Clause
#include "host-proxy/record.h"

#include <string.h>

#include "host-proxy/link.h"
#include "host-proxy/port.h"
#include "host-proxy/session.h"

#define RINGS_MAX (VHOST_USER_VRING_INDEX_MASK + 1u)

void records_all(struct session *s)
{
	/* What an earlier VMM had does not count. */
	s->dirty = (struct records_dirty){
		.session = true,
		.mark = true,
		.answer = s->dirty.answer,
		.answered = s->dirty.answered,
	};
	records_memory(s);
	for (uint32_t i = 0; i < s->num_rings; i++) {
		if (record_has_ring(s, i))
			records_ring(s, i);
	}
}

bool record_has_ring(const struct session *s, uint32_t index)
{
	const struct session_ring *ring = &s->rings[index];

	return ring->has_num || ring->has_base || ring->has_addr || ring->has_enable ||
	       ring->told[RING_KICK] || ring->told[RING_CALL] || ring->told[RING_ERR];
}

void records_ring(struct session *s, uint32_t index)
{
	s->dirty.rings[index / 64 % 4] |= BIT_ULL(index % 64);
}

void records_memory(struct session *s)
{
	uint32_t num = s->memory.regions.num;

	if (num < s->dirty.regions_told) /* the rest is to be forgotten */
		num = s->dirty.regions_told;
	s->dirty.regions = (uint32_t)(BIT_ULL(num) - 1);
}

void records_region_added(struct session *s)
{
	s->dirty.regions |= BIT_U32(s->memory.regions.num - 1);
}

void records_answered(struct session *s, uint32_t seq)
{
	if ((int32_t)(seq - s->dirty.answered) > 0)
		s->dirty.answered = seq;
	s->dirty.answer = true;
}

/* All but that the front-end has its answer. */
static bool records_sent(const struct session *s)
{
	const struct records_dirty *d = &s->dirty;

	return !d->session && !d->mark && !d->regions && !d->rings[0] && !d->rings[1] &&
	       !d->rings[2] && !d->rings[3];
}

bool records_told(const struct session *s)
{
	return records_sent(s) && !s->dirty.answer;
}

bool records_begin_reading(struct session *s)
{
	if (s->state != SESSION_UP)
		return true;
	if (!s->dirty.reading) {
		s->dirty.reading = true;
		s->dirty.mark = true;
		records_flush(s);
	}
	return s->state == SESSION_UP && records_told(s) && link_can_take(s->port->link);
}

void records_end_reading(struct session *s)
{
	if (s->state != SESSION_UP)
		return;
	if (s->dirty.reading && !s->in.have) {
		s->dirty.reading = false;
		s->dirty.mark = true;
	}
	records_flush(s);
}

/* --- one record --- */

static unsigned int make_session(const struct session *s, struct record_session *out, int *fds)
{
	const struct port_offers *offers = &s->port->offers;
	unsigned int num = 0;

	fds[num++] = s->sock;
	if (s->channel >= 0)
		fds[num++] = s->channel;
	if (s->inflight >= 0)
		fds[num++] = s->inflight;
	*out = (struct record_session){
		.version = RECORD_VERSION,
		.flags = (s->has_features ? RECORD_HAS_FEATURES : 0u) |
			 (s->has_protocol ? RECORD_HAS_PROTOCOL : 0u) |
			 (s->has_owner ? RECORD_HAS_OWNER : 0u) |
			 (s->has_mtu ? RECORD_HAS_MTU : 0u) |
			 (s->has_status ? RECORD_HAS_STATUS : 0u) |
			 (s->had_channel ? RECORD_HAD_CHANNEL : 0u) |
			 (s->channel >= 0 ? RECORD_CHANNEL : 0u) |
			 (s->inflight >= 0 ? RECORD_INFLIGHT : 0u) |
			 (s->inflight_told ? RECORD_INFLIGHT_TOLD : 0u) |
			 (offers->has_features ? RECORD_OFFERS_FEATURES : 0u) |
			 (offers->has_protocol ? RECORD_OFFERS_PROTOCOL : 0u) |
			 (offers->has_queues ? RECORD_OFFERS_QUEUES : 0u) |
			 (offers->has_slots ? RECORD_OFFERS_SLOTS : 0u),
		.features_offered = s->features_offered,
		.features = s->features,
		.protocol_offered = s->protocol_offered,
		.protocol = s->protocol,
		.queues_offered = s->queues_offered,
		.mtu = s->mtu,
		.status = s->status,
		.offers_features = offers->features,
		.offers_protocol = offers->protocol,
		.offers_queues = offers->queues,
		.offers_slots = offers->slots,
		.since_ns = s->since_ns,
		.num_rings = s->num_rings,
		.inflight_rings = s->inflight_rings,
		.replays = s->replays,
	};
	return num;
}

static unsigned int make_ring(const struct session_ring *ring, struct record_ring *out, int *fds)
{
	unsigned int num = 0;

	*out = (struct record_ring){
		.flags = (ring->has_num ? RECORD_RING_HAS_NUM : 0u) |
			 (ring->has_base ? RECORD_RING_HAS_BASE : 0u) |
			 (ring->has_addr ? RECORD_RING_HAS_ADDR : 0u) |
			 (ring->has_enable ? RECORD_RING_HAS_ENABLE : 0u) |
			 (ring->enabled ? RECORD_RING_ENABLED : 0u) |
			 (ring->running ? RECORD_RING_RUNNING : 0u) |
			 (ring->served ? RECORD_RING_SERVED : 0u) |
			 (ring->tracked ? RECORD_RING_TRACKED : 0u),
		.num = ring->num,
		.base = ring->base,
		.addr = ring->addr,
	};
	for (unsigned int k = 0; k < RING_FDS; k++) {
		if (ring->told[k])
			out->flags |= (uint32_t)RECORD_RING_TOLD << k;
		if (ring->fds[k] < 0)
			continue;
		out->flags |= (uint32_t)RECORD_RING_FD << k;
		fds[num++] = ring->fds[k];
	}
	return num;
}

/* An answer that the front-end has not read goes with us: then the session can't go on. */
static uint32_t mark_flags(const struct session *s)
{
	uint32_t flags = s->dirty.reading ? RECORD_MARK_READING : 0;

	if (s->state == SESSION_STOPPING && !s->out_waits)
		flags |= RECORD_MARK_LEAVING;
	if (s->state == SESSION_REPLAY && !s->out_waits)
		flags |= RECORD_MARK_COMING;
	return flags;
}

unsigned int record_make(const struct session *s, enum record_kind kind, uint32_t index,
			 struct link_record *out, int fds[LINK_RECORD_FDS_MAX])
{
	union {
		struct record_session session;
		struct record_region region;
		struct record_ring ring;
		struct record_mark mark;
	} data = { .mark = { 0 } };
	unsigned int num_fds = 0;
	uint32_t bytes = 0;

	switch (kind) {
	case RECORD_SESSION:
		num_fds = make_session(s, &data.session, fds);
		bytes = sizeof(data.session);
		break;
	case RECORD_REGION:
		if (index >= s->memory.regions.num)
			break; /* to be forgotten */
		data.region = (struct record_region){
			.region = s->memory.regions.regions[index],
			.repeats = s->memory.regions.repeats[index],
		};
		bytes = sizeof(data.region);
		fds[num_fds++] = s->memory.fds[index];
		break;
	case RECORD_RING:
		num_fds = make_ring(&s->rings[index], &data.ring, fds);
		bytes = sizeof(data.ring);
		break;
	case RECORD_MARK:
		data.mark = (struct record_mark){
			.seq = s->seq,
			.flags = mark_flags(s),
		};
		bytes = sizeof(data.mark);
	}
	out->kind = (le16)kind;
	out->index = (le16)index;
	out->bytes = bytes;
	memcpy(out->data, &data, bytes);
	return num_fds;
}

/* --- sending --- */

/*
 * A ring that is stopped at the old VMM, and starts at the new one, runs as far as the next proxy is concerned:
 * where it has got to is in the region of ring positions, and as long as nobody has noted anything there, it is
 * the base.
 */
static void ring_on_its_way(const struct session *s, uint32_t index, struct link_record *record)
{
	struct record_ring ring;

	if (!s->rings[index].running || s->rings[index].served)
		return;
	memcpy(&ring, record->data, sizeof(ring));
	ring.flags &= ~(uint32_t)RECORD_RING_TRACKED;
	ring.flags |= RECORD_RING_SERVED | (s->inflight_told ? RECORD_RING_TRACKED : 0u);
	memcpy(record->data, &ring, sizeof(ring));
}

static void send_record(struct session *s, enum record_kind kind, uint32_t index)
{
	struct link_packet pkt = { .hdr = { .kind = LINK_RECORD, .session = s->id } };
	int fds[LINK_RECORD_FDS_MAX] = { -1, -1, -1, -1 };
	unsigned int num = record_make(s, kind, index, &pkt.body.record, fds);

	if (kind == RECORD_RING && (s->state == SESSION_STOPPING || s->state == SESSION_REPLAY))
		ring_on_its_way(s, index, &pkt.body.record);
	link_transmit(s->port->link, &pkt, LINK_RECORD_HDR + pkt.body.record.bytes, fds, num);
}

static bool next_ring(struct session *s, uint32_t *index)
{
	for (uint32_t w = 0; w < RINGS_MAX / 64; w++) {
		if (!s->dirty.rings[w])
			continue;
		*index = w * 64 + (uint32_t)__builtin_ctzll(s->dirty.rings[w]);
		s->dirty.rings[w] &= s->dirty.rings[w] - 1;
		return true;
	}
	return false;
}

static void send_answered(struct session *s)
{
	struct link_packet pkt = {
		.hdr = { .kind = LINK_ANSWERED, .seq = s->dirty.answered, .session = s->id },
	};

	s->dirty.answer = false;
	link_transmit(s->port->link, &pkt, 0, NULL, 0);
}

/* The mark after what it vouches for, and last that the front-end has its answer. */
static void send_next(struct session *s)
{
	struct records_dirty *d = &s->dirty;
	uint32_t index;

	if (d->session) {
		d->session = false;
		send_record(s, RECORD_SESSION, 0);
	} else if (d->regions) {
		index = (uint32_t)__builtin_ctz(d->regions);
		d->regions &= d->regions - 1;
		if (!d->regions)
			d->regions_told = s->memory.regions.num;
		send_record(s, RECORD_REGION, index);
	} else if (next_ring(s, &index)) {
		send_record(s, RECORD_RING, index);
	} else if (d->mark) {
		d->mark = false;
		send_record(s, RECORD_MARK, 0);
	} else {
		send_answered(s);
	}
}

void records_replayed(struct session *s)
{
	if (s->dirty.answer && !s->out_waits)
		send_answered(s);
	if (s->state == SESSION_UP)
		records_all(s);
}

void records_flush(struct session *s)
{
	while ((s->state == SESSION_UP || s->state == SESSION_MOVING) &&
	       link_can_take(s->port->link)) {
		/* An answer that waits for the front-end to read is none. */
		if (records_told(s) || (s->out_waits && s->dirty.answer))
			return;
		send_next(s);
	}
}

bool records_give(struct session *s)
{
	enum session_state state = s->state;

	while (s->state == state && link_can_take(s->port->link) && !records_told(s) &&
	       !(records_sent(s) && s->out_waits))
		send_next(s);
	return s->state == state && records_sent(s);
}
