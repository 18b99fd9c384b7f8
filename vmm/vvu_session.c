// SPDX-License-Identifier: BSD-2-Clause
/*
 * Sessions of a VVU device: one front-end's time with the driver.
 *
 *   driver sets BACKEND_UP -> the proxy opens a session -> FRONTEND_UP -> messages -> the end: both
 * bits clear
 *
 * Messages of the front-end are checked again (the proxy has checked them), their fds become
 * resources of the device, and they go to the rxq. A message is taken up only when the rxq has a
 * buffer for it and there is room to remember that it will be answered. Answers come back in order,
 * so a FIFO says which request one belongs to.
 *
 * The end of a session is one function, whoever wants it, and does everything before it returns: no
 * eventfd is attached, no byte of the front-end's memory is shown, no fd of the session is open,
 * but for packets not yet read, which the main loop drops next because they belong to no session.
 */
#include <errno.h>
#include <event2/event.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "vmm/hostlib/fds.h"
#include "vmm/hostlib/log.h"
#include "vmm/vvu_priv.h"

/*
 * For memory to be given up (decision 5). In ticks, so that a time in which this process was stopped, and the guest
 * with it, counts as one of them. The first one may be a short one.
 */
#define ANSWER_MS    1000
#define TICK_MS	     100
#define ANSWER_TICKS (ANSWER_MS / TICK_MS + 1)

bool vvu_is_up(const struct vvu_dev *d)
{
	return (d->status & VVU_STATUS_BACKEND_UP) &&
	       virtio_dev_queue_ready(&d->vp.dev, VVU_QUEUE_RX) &&
	       virtio_dev_queue_ready(&d->vp.dev, VVU_QUEUE_TX);
}

void vvu_session_begin(struct vvu_dev *d, uint32_t number)
{
	vvu_shm_clear(&d->shm);
	d->session.number = number;
	d->session.pending = 0;
	d->status |= VVU_STATUS_FRONTEND_UP;
	d->counters.sessions++;
	log_peer(LOG_L_INFO, d->who, "session %u: front-end is up", number);
	virtio_dev_config_changed(&d->vp.dev);
}

static void forget_requests(struct vvu_session *s)
{
	s->first = 0;
	s->num = 0;
	event_del_noblock(s->timer);
}

void vvu_session_end(struct vvu_dev *d, enum vvu_end how, const char *fmt, ...)
{
	struct vvu_session *s = &d->session;
	char why[LINK_REASON_MAX + 1];
	uint32_t number = s->number;
	va_list ap;

	if (!number)
		return;
	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	s->number = 0; /* first: what follows must not end it again */
	vvu_prefault_cancel(d);
	vvu_rings_clear(d);
	vvu_shm_revoke(&d->shm);
	vvu_keep_clear(d);
	if (d->link.holding) {
		fds_close(d->link.held.fds, d->link.held.num_fds);
		d->link.holding = false;
	}
	d->link.owe_result = false;
	forget_requests(s);
	s->protocol_features = 0;
	s->backend_channel = false;
	s->regions.num = 0;
	if (how == VVU_END_DEVICE)
		vvu_link_session_down(d, number, why);
	if (how == VVU_END_DRIVER)
		vvu_link_went(d, LINK_BACKEND_DOWN);
	if (how == VVU_END_LOST)
		vvu_link_went(d, LINK_BACKEND_LOST);
	log_peer(how == VVU_END_DEVICE ? LOG_L_WARN : LOG_L_INFO, d->who, "session %u ended: %s",
		 number, why);
	d->status = 0;
	virtio_dev_config_changed(&d->vp.dev);
	vvu_link_wake(d);
}

void vvu_broken(struct vvu_dev *d, const char *why)
{
	vvu_session_end(d, VVU_END_LOST, "the back-end's driver: %s", why);
	virtio_dev_needs_reset(&d->vp.dev, why);
	vvu_link_went(d, LINK_BACKEND_LOST);
}

/* --- requests that will be answered --- */

static struct vvu_request *oldest(struct vvu_session *s)
{
	return s->num ? &s->requests[s->first] : NULL;
}

static void arm_timer(struct vvu_session *s)
{
	const struct timeval tick = { .tv_usec = TICK_MS * 1000 };

	for (unsigned int i = 0; i < s->num; i++) {
		if (s->requests[(s->first + i) % VVU_REQUESTS_MAX].ticks) {
			if (!event_pending(s->timer, EV_TIMEOUT, NULL))
				evtimer_add(s->timer, &tick);
			return;
		}
	}
	event_del_noblock(s->timer);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct vvu_dev *d = arg;
	struct vvu_session *s = &d->session;

	pthread_mutex_lock(&d->machine->lock);
	for (unsigned int i = 0; i < s->num; i++) {
		struct vvu_request *r = &s->requests[(s->first + i) % VVU_REQUESTS_MAX];

		if (r->ticks && !--r->ticks) {
			vvu_session_end(d, VVU_END_DEVICE,
					"%s: the back-end did not answer in %u ms",
					vu_frontend_name(r->request), ANSWER_MS);
			break;
		}
	}
	arm_timer(s);
	pthread_mutex_unlock(&d->machine->lock);
}

int vvu_session_init(struct vvu_dev *d)
{
	d->session.timer = evtimer_new(d->machine->base, on_timer, d);
	return d->session.timer && !vvu_rings_timer_init(d) ? vvu_prefault_init(d) : -ENOMEM;
}

void vvu_session_free(struct vvu_dev *d)
{
	if (d->session.timer)
		event_free(d->session.timer);
	d->session.timer = NULL;
	vvu_rings_timer_free(d);
	vvu_prefault_free(d);
}

/* Whether something is shown until this is answered. */
static bool leaves(const struct vvu_dev *d, uint32_t token)
{
	for (unsigned int i = 0; token && i < d->shm.num; i++) {
		if (d->shm.regions[i].leaving == token)
			return true;
	}
	return false;
}

/*
 * Settles what the driver sees of NEED_REPLY and remembers the request if it will be answered.
 * Regions that leave make the device ask for an answer of its own; where REPLY_ACK is not
 * negotiated nobody else may.
 */
static void expect_answer(struct vvu_dev *d, struct vhost_user_msg *msg, uint32_t seq,
			  uint32_t token)
{
	struct vvu_session *s = &d->session;
	bool asked = vu_expects_reply(msg, s->protocol_features);
	struct vvu_request *r;

	vvu_keep_received(d, seq, asked);
	if (!(s->protocol_features & VHOST_USER_PF_MASK(REPLY_ACK)))
		msg->hdr.flags &= ~(le32)VHOST_USER_NEED_REPLY_MASK;
	if (token)
		msg->hdr.flags |= VHOST_USER_NEED_REPLY_MASK;
	if (!asked && !token)
		return;
	r = &s->requests[(s->first + s->num++) % VVU_REQUESTS_MAX];
	*r = (struct vvu_request){ .request = msg->hdr.request,
				   .seq = seq,
				   .index = msg->payload.state.index,
				   .token = token,
				   .ticks = leaves(d, token) ? ANSWER_TICKS : 0,
				   .swallow = !asked };
	arm_timer(s);
}

static void answered(struct vvu_dev *d)
{
	struct vvu_session *s = &d->session;
	struct vvu_request r = *oldest(s);

	s->first = (s->first + 1) % VVU_REQUESTS_MAX;
	s->num--;
	if (r.ticks)
		arm_timer(s);
	vvu_link_wake(d); /* a held message may have waited for room */
}

/* --- to the driver --- */

/* Room for one more message: a buffer, and a place to remember that it will be answered. */
static bool have_room(struct vvu_dev *d)
{
	struct vq_dev *rx = &d->vp.dev.queues[VVU_QUEUE_RX].vq;
	int avail;

	if (!vvu_is_up(d) || d->link.owe_result || d->session.num == VVU_REQUESTS_MAX)
		return false;
	avail = vq_dev_avail(rx);
	if (avail == 0 && vq_dev_kick_enable(rx))
		avail = vq_dev_avail(rx);
	if (avail < 0)
		vvu_broken(d, vq_broken_name(rx->broken));
	return avail > 0;
}

static void deliver(struct vvu_dev *d, const struct vhost_user_msg *msg)
{
	struct vq_dev *rx = &d->vp.dev.queues[VVU_QUEUE_RX].vq;
	uint32_t bytes = vu_msg_bytes(msg);
	int ret = vq_dev_get(rx, &d->chain);

	if (ret <= 0) {
		vvu_broken(d, ret ? vq_broken_name(rx->broken) : "rxq buffer vanished");
		return;
	}
	if (d->chain.in_bytes < bytes) {
		vvu_broken(d, "rxq buffer is too small for the message");
		return;
	}
	vq_chain_write(&d->chain, 0, msg, bytes);
	vq_dev_put(rx, d->chain.ref, bytes);
	vq_dev_publish(rx);
	d->counters.to_driver++;
	if (vq_dev_call_needed(rx))
		virtio_dev_call(&d->vp.dev, VVU_QUEUE_RX);
}

/* Takes the eventfd of SET_VRING_KICK, CALL or ERR. */
static int vring_fd(struct vvu_dev *d, struct wire_packet *p, const char **why)
{
	const struct vhost_user_msg *msg = &p->pkt.body.msg;
	unsigned int index = msg->payload.u64 & VHOST_USER_VRING_INDEX_MASK;
	int fd = p->num_fds ? p->fds[0] : -1;
	int ret;

	if (index >= d->max_queues) {
		*why = vu_rule_text(VU_RULE_INDEX);
		return -EPROTO;
	}
	if (fd >= 0 && fd_check_eventfd(fd, why))
		return -EPROTO;
	p->num_fds = 0;
	if (msg->hdr.request == VHOST_USER_SET_VRING_KICK)
		ret = vvu_kick_set(d, index, fd);
	else if (msg->hdr.request == VHOST_USER_SET_VRING_CALL)
		ret = vvu_doorbell_set(d, VVU_DOORBELL_CALL(index), fd);
	else
		ret = vvu_doorbell_set(d, VVU_DOORBELL_ERR(d->max_queues, index), fd);
	if (ret == -EBUSY) {
		*why = "the eventfd is another ring's already";
		return -EPROTO;
	}
	if (ret)
		*why = "the hypervisor could not take the eventfd";
	return ret ? 1 : 0;
}

static int protocol_features(struct vvu_dev *d, uint64_t features, const char **why)
{
	uint64_t carried = VHOST_USER_PF_CARRIED | VHOST_USER_PF_INTERNAL;

	if (!vvu_explicit(d))
		carried &= ~VHOST_USER_PF_EXPLICIT_ONLY;
	if (features & ~carried) {
		*why = vu_rule_text(VU_RULE_FEATURES);
		return -EPROTO;
	}
	d->session.protocol_features = features;
	return 0;
}

/* Makes the message's fds resources of the device. 0, 1, -EPROTO as vvu_memory_message(). */
static int translate(struct vvu_dev *d, struct wire_packet *p, uint32_t *token, const char **why)
{
	const struct vhost_user_msg *msg = &p->pkt.body.msg;

	*token = 0;
	switch (msg->hdr.request) {
	case VHOST_USER_SET_MEM_TABLE:
	case VHOST_USER_ADD_MEM_REG:
	case VHOST_USER_REM_MEM_REG:
	case VHOST_USER_SET_INFLIGHT_FD:
		return vvu_memory_message(d, p, token, why);
	case VHOST_USER_SET_VRING_KICK:
	case VHOST_USER_SET_VRING_CALL:
	case VHOST_USER_SET_VRING_ERR:
		return vring_fd(d, p, why);
	case VHOST_USER_SET_PROTOCOL_FEATURES:
		return protocol_features(d, msg->payload.u64, why);
	case VHOST_USER_SET_BACKEND_REQ_FD:
		d->session.backend_channel = true;
		return 0;
	default:
		return 0;
	}
}

static enum vu_rule check_request(struct vvu_dev *d, const struct wire_packet *p)
{
	const struct vhost_user_msg *msg = &p->pkt.body.msg;
	const struct vu_msg_info *info = vu_frontend_info(msg->hdr.request);
	const struct vu_limits limits = { .protocol_features = d->session.protocol_features,
					  .max_queues = d->max_queues };
	unsigned int num_fds = p->num_fds;

	if (info && info->relay == VU_RELAY_REFUSE)
		return VU_RULE_REFUSED;
	/* The proxy keeps the socket; the device only learns that there is a channel. */
	if (info && info->fds == VU_FDS_ONE_SOCKET && num_fds == 0)
		num_fds = 1;
	return vu_check_frontend(msg, num_fds, &limits);
}

/* A request that has been carried out goes to the driver. */
static void hand_over(struct vvu_dev *d, struct wire_packet *p, uint32_t token)
{
	struct vhost_user_msg *msg = &p->pkt.body.msg;

	/* What lies behind the last region is nobody's business (some front-ends send the
	 * whole struct). */
	if (msg->hdr.request == VHOST_USER_SET_MEM_TABLE)
		msg->hdr.size = VHOST_USER_MEM_TABLE_BYTES(msg->payload.mem.num_regions);
	vvu_prefault_mark(d, msg);
	expect_answer(d, msg, p->pkt.hdr.seq, token);
	deliver(d, msg);
}

static int frontend_request(struct vvu_dev *d, struct wire_packet *p)
{
	struct vhost_user_msg *msg = &p->pkt.body.msg;
	enum vu_rule rule = check_request(d, p);
	const char *why = vu_rule_text(rule);
	uint32_t token = 0;
	int ret = rule == VU_RULE_NONE ? translate(d, p, &token, &why) : -EPROTO;

	fds_close(p->fds, p->num_fds);
	p->num_fds = 0;
	if (!d->session.number)
		return 1;
	if (ret < 0) {
		vvu_session_end(d, VVU_END_DEVICE, "%s: %s", vu_frontend_name(msg->hdr.request),
				why);
	} else if (ret > 0) {
		log_peer(LOG_L_WARN, d->who, "%s: %s", vu_frontend_name(msg->hdr.request), why);
		vvu_keep_received(d, p->pkt.hdr.seq,
				  vu_expects_reply(msg, d->session.protocol_features));
		vvu_link_result(d, p->pkt.hdr.seq, why);
	} else if (vvu_prefault_begin(d)) {
		d->session.carried_out = true;
		d->session.carried_token = token;
		return 0;
	} else {
		hand_over(d, p, token);
	}
	return 1;
}

/* A front-end's answer to a request of the back-end: an acknowledgement, as no request that we
 * carry has more. */
static int frontend_reply(struct vvu_dev *d, struct wire_packet *p)
{
	const struct vhost_user_msg *msg = &p->pkt.body.msg;
	enum vu_rule rule = vu_check_header(&msg->hdr, true);

	if (rule == VU_RULE_NONE && msg->hdr.size != sizeof(msg->payload.u64))
		rule = VU_RULE_SIZE;
	fds_close(p->fds, p->num_fds);
	p->num_fds = 0;
	if (rule != VU_RULE_NONE)
		vvu_session_end(d, VVU_END_DEVICE, "reply to %s: %s",
				vu_backend_name(msg->hdr.request), vu_rule_text(rule));
	else
		deliver(d, msg);
	return 1;
}

int vvu_session_frontend(struct vvu_dev *d, struct wire_packet *p)
{
	const struct vhost_user_msg *msg = &p->pkt.body.msg;

	if (d->session.populating)
		return 0;
	if (!have_room(d))
		return d->session.number ? 0 : 1;
	if (d->session.carried_out) {
		d->session.carried_out = false;
		hand_over(d, p, d->session.carried_token);
		return 1;
	}
	if (p->bytes < sizeof(p->pkt.hdr) + sizeof(msg->hdr) ||
	    p->bytes != sizeof(p->pkt.hdr) + (uint64_t)sizeof(msg->hdr) + msg->hdr.size) {
		fds_close(p->fds, p->num_fds);
		p->num_fds = 0;
		vvu_session_end(d, VVU_END_DEVICE, "link: message and packet have different sizes");
		return 1;
	}
	if (msg->hdr.flags & VHOST_USER_REPLY_MASK)
		return frontend_reply(d, p);
	return frontend_request(d, p);
}

/* --- from the driver --- */

/* -ENOTCONN: there is no proxy to send it to. */
static int send_backend(struct vvu_dev *d, const struct vhost_user_msg *msg, uint32_t seq)
{
	struct link_packet pkt = {
		.hdr = { .kind = LINK_BACKEND, .seq = seq, .session = d->session.number }
	};
	uint32_t bytes = vu_msg_bytes(msg);

	if (d->keep.away)
		return -ENOTCONN;
	memcpy(&pkt.body.msg, msg, bytes);
	return vvu_link_send(d, &pkt, bytes, NULL, 0);
}

/* -EAGAIN: the link is full, the same message has to come again. */
static int backend_reply(struct vvu_dev *d, const struct vhost_user_msg *msg)
{
	struct vvu_request *r = oldest(&d->session);
	enum vu_rule rule = r ? vu_check_reply(msg, r->request) : VU_RULE_REPLY;

	if (rule != VU_RULE_NONE) {
		vvu_session_end(d, VVU_END_DEVICE, "back-end's reply %s: %s",
				vu_frontend_name(msg->hdr.request), vu_rule_text(rule));
		return 0;
	}
	/* The driver has let go of the regions: they are gone before the front-end hears of it. */
	if (r->token)
		vvu_shm_remove_leaving(&d->shm, r->token);
	/* And the eventfds of a ring that stands, since another VM may be given them next. */
	if (r->request == VHOST_USER_GET_VRING_BASE && r->index < d->max_queues) {
		vvu_kick_set(d, r->index, -1);
		vvu_doorbell_set(d, VVU_DOORBELL_CALL(r->index), -1);
	}
	if (!r->swallow && send_backend(d, msg, r->seq) == -EAGAIN)
		return -EAGAIN;
	if (r->swallow && msg->payload.u64 != 0) {
		vvu_session_end(d, VVU_END_DEVICE, "%s: the back-end could not do it",
				vu_frontend_name(r->request));
		return 0;
	}
	answered(d);
	return 0;
}

static int backend_request(struct vvu_dev *d, const struct vhost_user_msg *msg)
{
	const struct vu_limits limits = { .protocol_features = d->session.protocol_features,
					  .max_queues = d->max_queues };
	enum vu_rule rule = vu_check_backend(msg, 0, &limits);

	if (rule != VU_RULE_NONE) {
		vvu_session_end(d, VVU_END_DEVICE, "back-end's request %s: %s",
				vu_backend_name(msg->hdr.request), vu_rule_text(rule));
		return 0;
	}
	if (!d->session.backend_channel)
		return 0; /* draft A: requests before the channel is there are discarded */
	return send_backend(d, msg, 0) ? -EAGAIN : 0;
}

static int backend_message(struct vvu_dev *d)
{
	struct vhost_user_msg msg;
	uint32_t have = vq_chain_read(&d->chain, 0, &msg, sizeof(msg));

	if (!d->session.number)
		return 0; /* of a session that is over */
	if (have < sizeof(msg.hdr) || msg.hdr.size > VHOST_USER_PAYLOAD_MAX ||
	    d->chain.out_bytes != vu_msg_bytes(&msg)) {
		vvu_session_end(d, VVU_END_DEVICE,
				"back-end's message: buffer and message have different sizes");
		return 0;
	}
	d->counters.from_driver++;
	return msg.hdr.flags & VHOST_USER_REPLY_MASK ? backend_reply(d, &msg)
						     : backend_request(d, &msg);
}

/* Takes one chain. 1; 0: none; -EAGAIN: it has to wait for the link. */
static int take_tx(struct vvu_dev *d, bool drop)
{
	struct vq_dev *tx = &d->vp.dev.queues[VVU_QUEUE_TX].vq;
	int ret = vq_dev_get(tx, &d->chain);

	if (ret < 0)
		vvu_broken(d, vq_broken_name(tx->broken));
	if (ret <= 0)
		return 0;
	if (!drop && backend_message(d) == -EAGAIN) {
		vq_dev_unget(tx, 1);
		return -EAGAIN;
	}
	vq_dev_put(tx, d->chain.ref, 0);
	vq_dev_publish(tx);
	if (vq_dev_call_needed(tx))
		virtio_dev_call(&d->vp.dev, VVU_QUEUE_TX);
	return 1;
}

void vvu_session_tx(struct vvu_dev *d)
{
	struct vq_dev *tx = &d->vp.dev.queues[VVU_QUEUE_TX].vq;
	unsigned int budget = 2 * VVU_QUEUE_SIZE;
	int ret;

	while (!d->link.blocked && virtio_dev_queue_ready(&d->vp.dev, VVU_QUEUE_TX)) {
		if (budget-- == 0) {
			vvu_link_wake(d); /* a driver that never stops must not keep the lock */
			break;
		}
		ret = take_tx(d, false);
		if (ret < 0)
			break;
		if (!ret &&
		    (!virtio_dev_queue_ready(&d->vp.dev, VVU_QUEUE_TX) || !vq_dev_kick_enable(tx)))
			break;
	}
}

void vvu_session_drop_tx(struct vvu_dev *d)
{
	int num;

	if (!virtio_dev_queue_ready(&d->vp.dev, VVU_QUEUE_TX))
		return;
	num = vq_dev_avail(&d->vp.dev.queues[VVU_QUEUE_TX].vq);
	while (num-- > 0 && virtio_dev_queue_ready(&d->vp.dev, VVU_QUEUE_TX) &&
	       take_tx(d, true) > 0)
		;
}
