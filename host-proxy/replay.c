// SPDX-License-Identifier: BSD-2-Clause
#include "host-proxy/replay.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "host-proxy/inflight.h"
#include "host-proxy/link.h"
#include "host-proxy/port.h"
#include "host-proxy/relay.h"
#include "host-proxy/session.h"
#include "host-proxy/together.h"

/* One message to send. */
struct outgoing {
	struct vhost_user_msg msg;
	const int *fds;
	unsigned int num_fds;
	bool is_ask;
};

/* What a step says of itself. */
enum step_result {
	STEP_DONE, /* nothing more in this step (o may hold its message) */
	STEP_MORE, /* call again */
	STEP_WAIT, /* for answers */
};

/* Told to the VMM that is to take over, while the session is up elsewhere. */
static bool moving(const struct session *s)
{
	return s->heir.id != 0;
}

static struct link *target(const struct session *s)
{
	return moving(s) ? s->port->next : s->port->link;
}

static struct port_offers *offers_of(struct session *s)
{
	return moving(s) ? &s->heir.offers : &s->port->offers;
}

/* This back-end cannot have the session: which ends, unless another one still has it. */
static void __attribute__((format(printf, 3, 4)))
fail(struct session *s, enum session_end_by by, const char *fmt, ...)
{
	char text[LINK_REASON_MAX - 32];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (moving(s))
		replace_refused(s->port, text);
	else
		session_end(s, by, true, "%s", text);
}

#define HAS_MESSAGE(o) ((o)->msg.hdr.request != 0)

static void make(struct outgoing *o, uint32_t request, uint32_t payload)
{
	o->msg.hdr = (struct vhost_user_header){
		.request = request,
		.flags = VHOST_USER_VERSION,
		.size = payload,
	};
}

static void make_u64(struct outgoing *o, uint32_t request, bool known, uint64_t value)
{
	if (!known)
		return;
	make(o, request, sizeof(le64));
	o->msg.payload.u64 = value;
}

/* --- what the back-end offers --- */

/* The front-end is read no more; what it asked before is answered first. */
static enum step_result settle(struct session *s, struct outgoing *o)
{
	return moving(s) && s->num_pending ? STEP_WAIT : STEP_DONE;
}

static enum step_result ask(struct session *s, struct outgoing *o)
{
	make(o, VHOST_USER_GET_FEATURES, 0);
	o->is_ask = true;
	return STEP_DONE;
}

static enum step_result ask_protocol(struct session *s, struct outgoing *o)
{
	if (s->has_protocol) {
		make(o, VHOST_USER_GET_PROTOCOL_FEATURES, 0);
		o->is_ask = true;
	}
	return STEP_DONE;
}

/* It needs a protocol feature (MQ), so it comes after these are set. */
static enum step_result ask_queues(struct session *s, struct outgoing *o)
{
	if (s->queues_offered) {
		make(o, VHOST_USER_GET_QUEUE_NUM, 0);
		o->is_ask = true;
	}
	return STEP_DONE;
}

static enum step_result wait_answers(struct session *s, struct outgoing *o)
{
	return s->replay.num_asks ? STEP_WAIT : STEP_DONE;
}

static uint32_t rings_used(const struct session *s)
{
	uint32_t used = s->rings_with_fds;

	for (uint32_t i = used; i < s->num_rings; i++) {
		const struct session_ring *ring = &s->rings[i];

		if (ring->has_num || ring->has_base || ring->has_addr || ring->has_enable)
			used = i + 1;
	}
	return used;
}

/* Not from one that stops its rings first: it says where. */
static bool needs_positions(const struct session *s)
{
	if (moving(s))
		return false;
	for (uint32_t i = 0; i < s->num_rings; i++) {
		if (s->rings[i].served)
			return true;
	}
	return false;
}

/* A back-end that offers less than was acknowledged cannot go on (decision 28). */
static enum step_result compare(struct session *s, struct outgoing *o)
{
	const struct port_offers *now = offers_of(s);
	uint64_t features = s->features & s->features_offered & ~now->features;
	uint64_t protocol = s->has_protocol ? s->protocol & ~now->protocol : 0;
	uint32_t used = rings_used(s);

	if (features || protocol)
		fail(s, BY_BACK_END,
		     "the new back-end lacks features %#llx, protocol features %#llx",
		     (unsigned long long)features, (unsigned long long)protocol);
	else if (now->limits.max_queues < used)
		fail(s, BY_BACK_END, "the new back-end has %u queues, %u are in use",
		     now->limits.max_queues, used);
	else if (now->limits.max_mem_slots < s->memory.regions.num)
		fail(s, BY_BACK_END, "the new back-end has %u memory slots, %u are in use",
		     now->limits.max_mem_slots, s->memory.regions.num);
	else if (needs_positions(s) && !(now->protocol & VHOST_USER_PF_INTERNAL))
		fail(s, BY_BACK_END, "the new back-end keeps no ring positions");
	else if (s->num_rings > now->limits.max_queues && !moving(s))
		s->num_rings = now->limits.max_queues;
	return STEP_DONE;
}

static enum step_result compare_queues(struct session *s, struct outgoing *o)
{
	const struct port_offers *now = offers_of(s);

	if (now->queues < s->queues_offered)
		fail(s, BY_BACK_END, "the new back-end offers %llu queues, not %llu",
		     (unsigned long long)now->queues, (unsigned long long)s->queues_offered);
	return STEP_DONE;
}

/* --- the record --- */

static enum step_result set_protocol(struct session *s, struct outgoing *o)
{
	uint64_t internal = 0;

	if (s->has_protocol && !relay_internal_features(s, offers_of(s), &internal))
		fail(s, BY_PROXY, "no memory for ring positions");
	make_u64(o, VHOST_USER_SET_PROTOCOL_FEATURES, s->has_protocol, s->protocol | internal);
	return STEP_DONE;
}

static enum step_result set_owner(struct session *s, struct outgoing *o)
{
	if (s->has_owner)
		make(o, VHOST_USER_SET_OWNER, 0);
	return STEP_DONE;
}

static enum step_result set_features(struct session *s, struct outgoing *o)
{
	make_u64(o, VHOST_USER_SET_FEATURES, s->has_features, s->features);
	return STEP_DONE;
}

static enum step_result set_mtu(struct session *s, struct outgoing *o)
{
	make_u64(o, VHOST_USER_NET_SET_MTU, s->has_mtu, s->mtu);
	return STEP_DONE;
}

static enum step_result set_channel(struct session *s, struct outgoing *o)
{
	if (s->channel >= 0)
		make(o, VHOST_USER_SET_BACKEND_REQ_FD, 0);
	return STEP_DONE;
}

static struct vhost_user_region shown_region(const struct session *s, uint32_t i)
{
	struct vhost_user_region r = s->memory.regions.regions[i];

	r.userspace_addr = r.guest_phys_addr;
	return r;
}

/* One table, or one region at a time where there are more than a table holds. */
static enum step_result set_memory(struct session *s, struct outgoing *o)
{
	uint32_t num = s->memory.regions.num, i = s->replay.index;

	if (num > VHOST_USER_TABLE_REGIONS_MAX) {
		make(o, VHOST_USER_ADD_MEM_REG, sizeof(o->msg.payload.mem_reg));
		o->msg.payload.mem_reg.region = shown_region(s, i);
		o->fds = &s->memory.fds[i];
		o->num_fds = 1;
		return ++s->replay.index < num ? STEP_MORE : STEP_DONE;
	}
	if (!num)
		return STEP_DONE;
	make(o, VHOST_USER_SET_MEM_TABLE, VHOST_USER_MEM_TABLE_BYTES(num));
	o->msg.payload.mem.num_regions = num;
	for (i = 0; i < num; i++)
		o->msg.payload.mem.regions[i] = shown_region(s, i);
	o->fds = s->memory.fds;
	o->num_fds = num;
	return STEP_DONE;
}

/* Rings that no back-end has left anywhere start where SET_VRING_BASE says. */
static enum step_result set_inflight(struct session *s, struct outgoing *o)
{
	if (s->inflight < 0 || !(offers_of(s)->protocol & VHOST_USER_PF_INTERNAL) ||
	    !s->has_protocol)
		return STEP_DONE;
	for (uint32_t i = 0; i < s->inflight_rings; i++) {
		if (i < s->num_rings && s->rings[i].served)
			continue;
		if (inflight_zero(s->inflight, i)) {
			fail(s, BY_PROXY, "the region of ring positions fails");
			return STEP_DONE;
		}
	}
	inflight_message(&o->msg, s->inflight_rings);
	o->fds = &s->inflight;
	o->num_fds = 1;
	if (moving(s))
		s->heir.inflight_told = true;
	else
		s->inflight_told = true;
	return STEP_DONE;
}

static void make_state(struct outgoing *o, uint32_t request, bool known, uint32_t index,
		       uint32_t num)
{
	if (!known)
		return;
	make(o, request, sizeof(o->msg.payload.state));
	o->msg.payload.state = (struct vhost_user_vring_state){ index, num };
}

static void make_fd(struct outgoing *o, uint32_t request, struct session_ring *ring,
		    enum ring_fd kind, uint32_t index)
{
	if (!ring->told[kind])
		return;
	o->fds = &ring->fds[kind];
	o->num_fds = ring->fds[kind] >= 0;
	make_u64(o, request, true, index | (o->num_fds ? 0 : VHOST_USER_VRING_NOFD_MASK));
}

static void make_ring(struct session *s, struct outgoing *o, uint32_t i, uint32_t part)
{
	struct session_ring *ring = &s->rings[i];

	switch (part) {
	case 0:
		make_state(o, VHOST_USER_SET_VRING_NUM, ring->has_num, i, ring->num);
		break;
	case 1:
		make_state(o, VHOST_USER_SET_VRING_BASE, ring->has_base, i, ring->base);
		break;
	case 2:
		if (!ring->has_addr)
			break;
		make(o, VHOST_USER_SET_VRING_ADDR, sizeof(ring->addr));
		o->msg.payload.addr = ring->addr;
		relay_ring_addresses(s, &o->msg.payload.addr);
		break;
	case 3:
		make_fd(o, VHOST_USER_SET_VRING_CALL, ring, RING_CALL, i);
		break;
	case 4:
		make_fd(o, VHOST_USER_SET_VRING_ERR, ring, RING_ERR, i);
		break;
	default:
		make_state(o, VHOST_USER_SET_VRING_ENABLE, ring->has_enable, i, ring->enabled);
	}
}

#define RING_PARTS 6

/* All but the start. */

static enum step_result set_rings(struct session *s, struct outgoing *o)
{
	struct replay *r = &s->replay;

	while (r->index < s->num_rings) {
		make_ring(s, o, r->index, r->part);
		if (++r->part == RING_PARTS) {
			r->part = 0;
			r->index++;
		}
		if (HAS_MESSAGE(o))
			return STEP_MORE;
	}
	return STEP_DONE;
}

/* Another VMM has the running rings: it is known that the new one has all else, and no more is sent to it
 * before they are stopped. */
static enum step_result ask_ready(struct session *s, struct outgoing *o)
{
	return moving(s) ? ask(s, o) : STEP_DONE;
}

static enum step_result hold(struct session *s, struct outgoing *o)
{
	if (!moving(s))
		return STEP_DONE;
	s->replay.prepared = true;
	replace_wake(s->port->proxy);
	return STEP_WAIT;
}

/* Rings that were stopped meanwhile start there, whatever the old one may have noted since. */
static enum step_result set_bases(struct session *s, struct outgoing *o)
{
	struct replay *r = &s->replay;

	if (!r->prepared)
		return STEP_DONE;
	if (!r->index && s->num_rings > s->port->offers.limits.max_queues)
		s->num_rings = s->port->offers.limits.max_queues;
	while (r->index < s->num_rings) {
		uint32_t i = r->index++;
		const struct session_ring *ring = &s->rings[i];

		if (ring->served)
			continue;
		if (s->inflight_told && i < s->inflight_rings && inflight_zero(s->inflight, i)) {
			fail(s, BY_PROXY, "the region of ring positions fails");
			return STEP_DONE;
		}
		make_state(o, VHOST_USER_SET_VRING_BASE, ring->has_base, i, ring->base);
		if (HAS_MESSAGE(o))
			return STEP_MORE;
	}
	/* From its first start on the session is the new VMM's, whatever becomes of us. */
	if (r->index++ == s->num_rings)
		records_all(s);
	return records_give(s) ? STEP_DONE : STEP_WAIT;
}

/* Starts every second ring from index on. */
static enum step_result start_rings(struct session *s, struct outgoing *o)
{
	struct replay *r = &s->replay;

	while (r->index < s->num_rings) {
		struct session_ring *ring = &s->rings[r->index];

		if (ring->running) {
			make_fd(o, VHOST_USER_SET_VRING_KICK, ring, RING_KICK, r->index);
			session_ring_served(s, ring);
		}
		r->index += 2;
		if (HAS_MESSAGE(o))
			return STEP_MORE;
	}
	return STEP_DONE;
}

/*
 * Where rings come in pairs the first of a pair is the one that the device writes to, in network
 * devices and others. These are started first, in all sessions that come back together, so that
 * nothing is sent to a receiver that is not there yet. Elsewhere the order means nothing.
 */
static enum step_result start_even(struct session *s, struct outgoing *o)
{
	return start_rings(s, o);
}

static enum step_result ask_even(struct session *s, struct outgoing *o)
{
	return together_has_others(s) ? ask(s, o) : STEP_DONE;
}

static enum step_result wait_others(struct session *s, struct outgoing *o)
{
	return together_may_send(s) ? STEP_DONE : STEP_WAIT;
}

static enum step_result start_odd(struct session *s, struct outgoing *o)
{
	if (!s->replay.index)
		s->replay.index = 1;
	return start_rings(s, o);
}

/* It begins with 0. Told so it would stop the rings, which front-ends start before they set a status. */
static enum step_result set_status(struct session *s, struct outgoing *o)
{
	make_u64(o, VHOST_USER_SET_STATUS, s->has_status && s->status, s->status);
	return STEP_DONE;
}

/* The VMM that had the session before can have it again until this one is known to have it all. */
static enum step_result confirm(struct session *s, struct outgoing *o)
{
	return s->port->next && s->port->next->retiring ? ask(s, o) : STEP_DONE;
}

/* The port changes hands when all that go to the new VMM are as far. */
static enum step_result commit(struct session *s, struct outgoing *o)
{
	if (!s->port->move)
		return STEP_DONE;
	s->replay.at_end = true;
	replace_wake(s->port->proxy);
	return STEP_WAIT;
}

/* Requests that no back-end has answered: the front-end waits, so their answers go on. */
static enum step_result send_deferred(struct session *s, struct outgoing *o)
{
	struct session_pending *p = NULL;

	for (unsigned int i = 0; i < s->num_pending && !p; i++) {
		if (s->pending[i].state == PENDING_DEFERRED)
			p = &s->pending[i];
	}
	if (!p)
		return STEP_DONE;
	memcpy(&o->msg, &p->msg, vu_msg_bytes(&p->msg));
	p->seq = s->seq + 1; /* that of the packet */
	p->state = PENDING_SENT;
	if (p->info->id == VHOST_USER_GET_VRING_BASE)
		s->wait_seq = p->seq;
	if (p->silent) {
		unsigned int i = (unsigned int)(p - s->pending);

		s->num_pending--;
		memmove(p, p + 1, (s->num_pending - i) * sizeof(*p));
	}
	return STEP_MORE;
}

static enum step_result (*const steps[])(struct session *s, struct outgoing *o) = {
	settle,	     ask,	   ask_protocol,   wait_answers, compare,      set_protocol,
	ask_queues,  wait_answers, compare_queues, set_owner,	 set_features, set_mtu,
	set_channel, set_memory,   set_inflight,   set_rings,	 ask_ready,    wait_answers,
	hold,	     set_bases,	   start_even,	   ask_even,	 wait_answers, wait_others,
	start_odd,   set_status,   confirm,	   wait_answers, commit,       send_deferred,
};

static bool send_one(struct session *s, struct outgoing *o)
{
	struct replay *r = &s->replay;
	struct link_packet pkt = {
		.hdr = { .kind = LINK_FRONTEND,
			 .seq = moving(s) ? ++s->heir.seq : ++s->seq,
			 .session = moving(s) ? s->heir.id : s->id },
	};

	memcpy(&pkt.body.msg, &o->msg, vu_msg_bytes(&o->msg));
	if (o->is_ask)
		r->asks[r->num_asks++] = (struct replay_ask){ o->msg.hdr.request, pkt.hdr.seq };
	return link_transmit(target(s), &pkt, vu_msg_bytes(&pkt.body.msg), o->fds, o->num_fds);
}

bool replay_valid(const struct session *s)
{
	const struct replay *r = &s->replay;

	if (r->step > ARRAY_LEN(steps) || r->num_asks > REPLAY_ASKS || r->part >= RING_PARTS)
		return false;
	if (r->step < ARRAY_LEN(steps) && steps[r->step] == set_memory)
		return r->index < s->memory.regions.num || !r->index;
	return r->index <= s->num_rings + 1;
}

void replay_begin(struct session *s)
{
	s->replay = (struct replay){ 0 };
	if (!moving(s))
		s->inflight_told = false;
}

/* Whether there is anything to send, and anybody to send it to. */
static bool goes_further(const struct session *s)
{
	const struct link *l = target(s);

	return (s->state == SESSION_REPLAY || s->state == SESSION_MOVING) && l &&
	       !s->port->move_failed && link_can_take(l);
}

void replay_advance(struct session *s)
{
	while (goes_further(s)) {
		struct outgoing o = { .msg.hdr.request = 0 };
		enum step_result result;

		if (s->replay.step == ARRAY_LEN(steps)) {
			session_replayed(s);
			return;
		}
		result = steps[s->replay.step](s, &o);
		if (!goes_further(s) || result == STEP_WAIT)
			return;
		if (result == STEP_DONE) {
			s->replay.step++;
			s->replay.index = 0;
			s->replay.part = 0;
		}
		if (HAS_MESSAGE(&o))
			send_one(s, &o);
	}
}

void replay_reply(struct session *s, uint32_t seq, struct vhost_user_msg *msg)
{
	struct replay *r = &s->replay;
	enum vu_rule rule = VU_RULE_REPLY;

	if (r->num_asks && r->asks[0].seq == seq)
		rule = vu_check_reply(msg, r->asks[0].request);
	if (rule) {
		fail(s, BY_BACK_END, "reply to %s: %s", vu_frontend_name(msg->hdr.request),
		     vu_rule_text(rule));
		return;
	}
	relay_filter(s, offers_of(s), msg);
	if (moving(s))
		s->heir.answered = seq;
	else
		records_answered(s, seq);
	r->num_asks--;
	memmove(r->asks, r->asks + 1, r->num_asks * sizeof(r->asks[0]));
	session_restart_timer(s);
}
