// SPDX-License-Identifier: BSD-2-Clause
/* The back-end's side of a vhost-user session, message by message (backend-vm/core/port.c). */
#include "be_fake.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "abi/virtio_config.h"

#define PROTO BIT_ULL(VHOST_USER_F_PROTOCOL_FEATURES_BIT)
#define V1    VIRTIO_FEATURE(F_VERSION_1)

static struct fake f;

static int setup(void **state)
{
	fake_init(&f, "a", 0, NULL);
	return 0;
}

static int teardown(void **state)
{
	fake_free(&f);
	return 0;
}

static void assert_reason(const char *part)
{
	if (!strstr(f.port.reason.s, part))
		fail_msg("reason is '%s', not about '%s'", f.port.reason.s, part);
}

static void qemu_order_starts_rings(void **state)
{
	fake_connect(&f, V1 | PROTO);
	fake_start_pair(&f, 0);
	assert_int_equal(f.port.num_rx, 1);
	assert_int_equal(f.port.num_tx, 1);
	assert_int_equal(f.port.hdr_len, 12);
	assert_int_equal(f.kicks_bound[0], 1);
	/* Disabling: nothing is received any more, what is sent is discarded. */
	assert_int_equal(fake_state(&f, VHOST_USER_SET_VRING_ENABLE, 0, 0), 0);
	assert_int_equal(fake_state(&f, VHOST_USER_SET_VRING_ENABLE, 1, 0), 0);
	assert_int_equal(f.port.num_rx, 0);
	assert_int_equal(f.port.num_tx, 1);
	assert_false(f.port.tx[0]->enabled);
}

static void rings_enable_themselves_without_protocol_features(void **state)
{
	port_connect(&f.port);
	f.features = 0;
	assert_int_equal(fake_u64(&f, VHOST_USER_SET_FEATURES, 0), 0);
	assert_int_equal(fake_mem(&f, false), 0);
	assert_int_equal(fake_state(&f, VHOST_USER_SET_VRING_NUM, 1, FAKE_QUEUE), 0);
	assert_int_equal(fake_addr(&f, 1, 0), 0);
	assert_int_equal(f.port.num_tx, 0);
	assert_int_equal(fake_vring_fd(&f, VHOST_USER_SET_VRING_KICK, 1, false), 0);
	assert_int_equal(f.port.num_tx, 1);
	assert_true(f.port.tx[0]->enabled);
	assert_false(f.port.tx[0]->has_kick);
	assert_int_equal(f.port.hdr_len, 10);
}

static void needs_enable_with_protocol_features(void **state)
{
	port_connect(&f.port);
	assert_int_equal(fake_u64(&f, VHOST_USER_SET_FEATURES, PROTO), 0);
	assert_int_equal(fake_mem(&f, false), 0);
	assert_int_equal(fake_state(&f, VHOST_USER_SET_VRING_NUM, 0, FAKE_QUEUE), 0);
	assert_int_equal(fake_addr(&f, 0, 0), 0);
	assert_int_equal(fake_vring_fd(&f, VHOST_USER_SET_VRING_KICK, 0, true), 0);
	assert_int_equal(f.port.num_rx, 0);
	assert_int_equal(fake_state(&f, VHOST_USER_SET_VRING_ENABLE, 0, 1), 0);
	assert_int_equal(f.port.num_rx, 1);
}

static void get_vring_base_stops(void **state)
{
	fake_connect(&f, V1 | PROTO);
	fake_start_pair(&f, 0);
	assert_int_equal(fake_state(&f, VHOST_USER_GET_VRING_BASE, 1, 0), 0);
	assert_int_equal(f.reply.hdr.request, VHOST_USER_GET_VRING_BASE);
	assert_int_equal(f.reply.hdr.flags, VHOST_USER_VERSION | VHOST_USER_REPLY_MASK);
	assert_int_equal(f.reply.payload.state.index, 1);
	assert_int_equal(f.reply.payload.state.num, 0);
	assert_int_equal(f.port.num_tx, 0);
	assert_int_equal(f.port.num_rx, 1);
	/* A ring that never ran says what it was told. */
	assert_int_equal(fake_state(&f, VHOST_USER_SET_VRING_BASE, 3, 77), 0);
	assert_int_equal(fake_state(&f, VHOST_USER_GET_VRING_BASE, 3, 0), 0);
	assert_int_equal(f.reply.payload.state.num, 77);
}

static void answers_numbers(void **state)
{
	uint64_t offered;

	port_connect(&f.port);
	assert_int_equal(fake_plain(&f, VHOST_USER_GET_FEATURES), 0);
	offered = f.reply.payload.u64;
	assert_true(offered & VIRTIO_NET_FEATURE(F_HOST_TSO4));
	assert_false(offered & VIRTIO_NET_FEATURE(F_HOST_UFO));
	assert_true(offered & VIRTIO_FEATURE(F_RING_PACKED));
	assert_true(offered & VIRTIO_FEATURE(F_IN_ORDER));
	assert_int_equal(fake_u64(&f, VHOST_USER_SET_PROTOCOL_FEATURES, VHOST_USER_PF_CARRIED), 0);
	assert_int_equal(fake_plain(&f, VHOST_USER_GET_QUEUE_NUM), 0);
	assert_int_equal(f.reply.payload.u64, PORT_PAIRS_MAX);
	assert_int_equal(fake_plain(&f, VHOST_USER_GET_MAX_MEM_SLOTS), 0);
	assert_int_equal(f.reply.payload.u64, VHOST_USER_MEM_SLOTS_MAX);
	assert_int_equal(fake_u64(&f, VHOST_USER_SET_STATUS, 0xf), 0);
	assert_int_equal(fake_plain(&f, VHOST_USER_GET_STATUS), 0);
	assert_int_equal(f.reply.payload.u64, 0xf);
	assert_int_equal(f.replies, 4);
}

static void offload_off_offers_none(void **state)
{
	struct be_options o;
	struct text error;
	struct fake g;

	be_options_init(&o);
	assert_int_equal(
		be_options_line(&o, " switch  offload=off mtu=9000 port.b.mac=02:00:00:00:00:07 ",
				&error),
		0);
	fake_init(&g, "b", 1, &o);
	port_connect(&g.port);
	assert_int_equal(fake_plain(&g, VHOST_USER_GET_FEATURES), 0);
	assert_int_equal(g.reply.payload.u64 &
				 (VIRTIO_NET_FEATURE(F_CSUM) | VIRTIO_NET_FEATURE(F_GUEST_CSUM) |
				  VIRTIO_NET_FEATURE(F_HOST_TSO4) |
				  VIRTIO_NET_FEATURE(F_GUEST_TSO6)),
			 0);
	assert_true(g.reply.payload.u64 & VIRTIO_NET_FEATURE(F_MRG_RXBUF));
	assert_int_equal(g.port.frame_limit, 9018);
	assert_int_equal(g.port.mac[5], 7);
	fake_free(&g);
}

static void configuration_space(void **state)
{
	struct vhost_user_msg msg = { .hdr = { VHOST_USER_GET_CONFIG, VHOST_USER_VERSION,
					       VHOST_USER_CONFIG_HDR + 12 } };

	port_connect(&f.port);
	assert_int_equal(fake_u64(&f, VHOST_USER_SET_PROTOCOL_FEATURES, VHOST_USER_PF_CARRIED), 0);
	msg.payload.config.size = 12;
	assert_int_equal(fake_send(&f, &msg, 0), 0);
	assert_int_equal(f.reply.hdr.size, VHOST_USER_CONFIG_HDR + 12);
	assert_int_equal(f.reply.payload.config.region[6], VIRTIO_NET_S_LINK_UP);
	assert_int_equal(f.reply.payload.config.region[8], PORT_PAIRS_MAX);
	/* Nothing in it can be written. */
	msg.hdr.request = VHOST_USER_SET_CONFIG;
	msg.hdr.flags |= VHOST_USER_NEED_REPLY_MASK;
	assert_int_equal(fake_send(&f, &msg, 0), 0);
	assert_int_equal(f.reply.payload.u64, 1);
}

static void mtu_and_rarp(void **state)
{
	struct vhost_user_msg msg = { .hdr = { VHOST_USER_NET_SET_MTU,
					       VHOST_USER_VERSION | VHOST_USER_NEED_REPLY_MASK,
					       8 } };

	port_connect(&f.port);
	assert_int_equal(fake_u64(&f, VHOST_USER_SET_PROTOCOL_FEATURES, VHOST_USER_PF_CARRIED), 0);
	msg.payload.u64 = 1500;
	assert_int_equal(fake_send(&f, &msg, 0), 0);
	assert_int_equal(f.reply.payload.u64, 0);
	assert_int_equal(f.port.frame_limit, 1518);
	msg.payload.u64 = 10;
	assert_int_equal(fake_send(&f, &msg, 0), 0);
	assert_int_equal(f.reply.payload.u64, 1);
	assert_int_equal(f.port.frame_limit, 1518);
	assert_int_equal(fake_u64(&f, VHOST_USER_SEND_RARP, 0x050403020102), 0);
	assert_true(f.port.rarp);
	assert_int_equal(f.port.rarp_mac[0], 2);
	assert_int_equal(f.port.rarp_mac[5], 5);
	/* The next front-end starts afresh. */
	port_disconnect(&f.port);
	port_connect(&f.port);
	assert_int_equal(f.port.frame_limit, UINT32_MAX);
	assert_false(f.port.rarp);
}

/* Windows are entered a step at a time; the message is answered once, after the last. */
static void memory_in_steps(void **state)
{
	struct vhost_user_msg msg = {
		.hdr = { VHOST_USER_SET_MEM_TABLE, VHOST_USER_VERSION | VHOST_USER_NEED_REPLY_MASK,
			 VHOST_USER_MEM_TABLE_BYTES(2) },
		.payload.mem = { .num_regions = 2,
				 .regions = { { FAKE_GPA, 4096, FAKE_USER, 0 },
					      { FAKE_GPA + 65536, 4096, FAKE_USER + 65536,
						4096 } } },
	};
	unsigned int steps = 0;

	fake_connect(&f, V1 | PROTO);
	f.steps = 5;
	f.replies = 0;
	assert_int_equal(port_message(&f.port, &msg, 2), 0);
	assert_true(port_busy(&f.port));
	while (port_busy(&f.port)) {
		assert_int_equal(f.replies, 0);
		assert_int_equal(f.port.map.num, 0);
		assert_int_equal(port_step(&f.port), 0);
		steps++;
	}
	assert_int_equal(steps, 12);
	assert_int_equal(f.replies, 1);
	assert_int_equal(f.reply.payload.u64, 0);
	assert_int_equal(f.port.map.num, 2);
	assert_ptr_equal(memmap_translate(&f.port.map, gpa(FAKE_GPA + 65536 + 8), 8, 1),
			 f.mem + 4096 + 8);
}

static void memory_slots(void **state)
{
	struct vhost_user_msg msg = { .hdr = { VHOST_USER_ADD_MEM_REG, VHOST_USER_VERSION, 40 } };

	fake_connect(&f, V1 | PROTO);
	fake_start_pair(&f, 0);
	msg.payload.mem_reg.region =
		(struct vhost_user_region){ FAKE_GPA * 4, 8192, FAKE_USER * 2, 4096 };
	assert_int_equal(fake_send(&f, &msg, 1), 0);
	assert_int_equal(f.port.map.num, 3);
	assert_int_equal(f.port.num_tx, 1);
	/* The ring lives in the first region: taking that away breaks it, not the session. */
	msg.hdr.request = VHOST_USER_REM_MEM_REG;
	assert_int_equal(fake_send(&f, &msg, 0), 0);
	assert_int_equal(f.port.map.num, 2);
	assert_int_equal(f.port.num_tx, 1);
	msg.payload.mem_reg.region =
		(struct vhost_user_region){ FAKE_GPA, FAKE_BYTES / 2, FAKE_USER, 0 };
	assert_int_equal(fake_send(&f, &msg, 0), 0);
	assert_int_equal(f.port.num_tx, 0);
	assert_int_equal(f.errs[1], 1);
	assert_int_equal(f.windows, 1);
	assert_int_equal(fake_send(&f, &msg, 0), -EPROTO); /* it is gone already */
}

static void new_table_moves_running_rings(void **state)
{
	fake_connect(&f, V1 | PROTO);
	fake_start_pair(&f, 0);
	assert_int_equal(f.windows, 2);
	assert_int_equal(fake_mem(&f, false), 0);
	assert_int_equal(f.windows, 1);
	assert_int_equal(f.port.num_tx, 1);
	assert_int_equal(f.port.num_rx, 1);
	assert_ptr_equal(f.port.tx[0]->vq.desc, f.mem + f.ring_at[1]);
}

static void acknowledges_when_asked(void **state)
{
	struct vhost_user_msg msg = {
		.hdr = { VHOST_USER_SET_VRING_NUM, VHOST_USER_VERSION | VHOST_USER_NEED_REPLY_MASK,
			 8 },
		.payload.state = { 0, 256 },
	};

	port_connect(&f.port);
	assert_int_equal(fake_send(&f, &msg, 0), 0);
	assert_int_equal(f.replies, 0); /* REPLY_ACK not negotiated */
	f.port.ack_always = true;
	assert_int_equal(fake_send(&f, &msg, 0), 0);
	assert_int_equal(f.replies, 1);
	f.port.ack_always = false;
	assert_int_equal(
		fake_u64(&f, VHOST_USER_SET_PROTOCOL_FEATURES, VHOST_USER_PF_MASK(REPLY_ACK)), 0);
	assert_int_equal(fake_send(&f, &msg, 0), 0);
	assert_int_equal(f.replies, 2);
	assert_int_equal(f.reply.hdr.request, VHOST_USER_SET_VRING_NUM);
	assert_int_equal(f.reply.payload.u64, 0);
	msg.hdr.flags = VHOST_USER_VERSION;
	assert_int_equal(fake_send(&f, &msg, 0), 0);
	assert_int_equal(f.replies, 2);
}

static void keeps_a_reply_that_cannot_be_sent(void **state)
{
	port_connect(&f.port);
	f.send_full = true;
	assert_int_equal(fake_plain(&f, VHOST_USER_GET_FEATURES), 0);
	assert_true(port_busy(&f.port));
	assert_int_equal(port_step(&f.port), 0);
	assert_int_equal(f.replies, 0);
	f.send_full = false;
	assert_int_equal(port_step(&f.port), 0);
	assert_int_equal(f.replies, 1);
	assert_false(port_busy(&f.port));
	f.send_broken = true;
	assert_int_equal(fake_plain(&f, VHOST_USER_GET_FEATURES), -EPROTO);
}

/* Each of these ends the session with a reason that names the message. */
static void protocol_errors_end_the_session(void **state)
{
	fake_connect(&f, V1 | PROTO);
	assert_int_equal(fake_addr(&f, 0, 0), -EPROTO); /* before memory */
	assert_reason("SET_VRING_ADDR: ");
	assert_int_equal(fake_mem(&f, false), 0);
	assert_int_equal(fake_vring_fd(&f, VHOST_USER_SET_VRING_KICK, 0, true),
			 -EPROTO); /* before ADDR */
	assert_reason("SET_VRING_KICK: ");
	assert_int_equal(fake_u64(&f, VHOST_USER_SET_FEATURES, VIRTIO_FEATURE(F_NOTIFICATION_DATA)),
			 -EPROTO);
	assert_reason("SET_FEATURES: ");
	assert_int_equal(fake_u64(&f, VHOST_USER_SET_PROTOCOL_FEATURES,
				  VHOST_USER_PF_MASK(PAGEFAULT)),
			 -EPROTO);
	assert_int_equal(fake_state(&f, VHOST_USER_SET_VRING_NUM, PORT_VRINGS, 256), -EPROTO);
	assert_int_equal(fake_state(&f, VHOST_USER_SET_VRING_ENABLE, 0, 2), -EPROTO);
	assert_int_equal(fake_plain(&f, VHOST_USER_POSTCOPY_LISTEN), -EPROTO);
	assert_int_equal(fake_plain(&f, 99), -EPROTO);
	assert_int_equal(fake_u64(&f, VHOST_USER_SET_OWNER, 0), -EPROTO); /* size */
	assert_int_equal(fake_u64(&f, VHOST_USER_SET_STATUS, 0x100), -EPROTO);
	assert_int_equal(f.port.counters[CTR_SESSION_ERRORS], 10);
}

static void memory_that_cannot_be_mapped_ends_the_session(void **state)
{
	fake_connect(&f, V1 | PROTO);
	f.fail_window = true;
	assert_int_equal(fake_mem(&f, true), -EPROTO);
	assert_reason("SET_MEM_TABLE: test says no");
	f.fail_window = false;
	f.fail_step = true;
	assert_int_equal(fake_mem(&f, true), -EPROTO);
	assert_int_equal(f.windows, 0);
}

static void ring_errors_do_not_end_the_session(void **state)
{
	fake_connect(&f, V1 | PROTO);
	fake_start_pair(&f, 0);
	/* Size, place, alignment: found when the ring starts. */
	assert_int_equal(fake_vring_fd(&f, VHOST_USER_SET_VRING_ERR, 2, true), 0);
	for (unsigned int n = 0; n < 4; n++) {
		static const uint32_t sizes[] = { 3, 8192, 256, 256 };
		static const uint32_t places[] = { 0, 0, FAKE_BYTES, 8 };

		assert_int_equal(fake_state(&f, VHOST_USER_SET_VRING_NUM, 2, sizes[n]), 0);
		assert_int_equal(fake_addr(&f, 2, places[n]), 0);
		assert_int_equal(fake_vring_fd(&f, VHOST_USER_SET_VRING_KICK, 2, true), 0);
		assert_int_equal(f.errs[2], n + 1);
		assert_non_null(strstr(f.last_log, "ring 2: stopped, broken: "));
		/* A new kick alone does not start it. */
		assert_int_equal(fake_vring_fd(&f, VHOST_USER_SET_VRING_KICK, 2, true), 0);
		assert_int_equal(f.errs[2], n + 1);
		assert_int_equal(fake_state(&f, VHOST_USER_GET_VRING_BASE, 2, 0), 0);
	}
	assert_int_equal(f.port.num_rx, 1);
	assert_int_equal(fake_addr(&f, 2, 2u << 20), 0);
	assert_int_equal(fake_vring_fd(&f, VHOST_USER_SET_VRING_KICK, 2, true), 0);
	assert_int_equal(fake_state(&f, VHOST_USER_SET_VRING_ENABLE, 2, 1), 0);
	assert_int_equal(f.port.num_rx, 2);
}

static void reset_stops_everything(void **state)
{
	fake_connect(&f, V1 | PROTO);
	fake_start_pair(&f, 0);
	assert_int_equal(fake_u64(&f, VHOST_USER_SET_STATUS, 0), 0);
	assert_int_equal(f.port.num_rx + f.port.num_tx, 0);
	assert_int_equal(fake_vring_fd(&f, VHOST_USER_SET_VRING_KICK, 0, true), 0);
	assert_int_equal(f.port.num_rx, 1);
	assert_int_equal(fake_plain(&f, VHOST_USER_RESET_DEVICE), 0);
	assert_int_equal(fake_vring_fd(&f, VHOST_USER_SET_VRING_KICK, 0, true), 0);
	assert_int_equal(f.port.num_rx, 0); /* enabled again only by ENABLE */
	assert_int_equal(f.port.map.num, 2);
}

/* ---- positions that outlive a back-end (abi/inflight.h) ---- */

#define INFLIGHT_AT (FAKE_BYTES - INFLIGHT_BYTES(4))

static struct inflight_ring *slot(unsigned int ring)
{
	return (struct inflight_ring *)(void *)(f.mem + INFLIGHT_AT) + ring;
}

static int set_inflight(uint32_t at)
{
	struct vhost_user_msg msg = { .hdr = { VHOST_USER_SET_INFLIGHT_FD,
					       VHOST_USER_VERSION | VHOST_USER_NEED_REPLY_MASK,
					       sizeof(msg.payload.inflight) } };

	msg.payload.inflight.mmap_size = INFLIGHT_BYTES(4);
	msg.payload.inflight.mmap_offset = at;
	msg.payload.inflight.num_queues = 4;
	return fake_send(&f, &msg, 1);
}

/* As the fake's own session, with the place for positions. */
static void begin_kept(uint64_t features)
{
	fake_connect(&f, features);
	f.replies = 0;
	assert_int_equal(set_inflight(INFLIGHT_AT), 0);
	assert_int_equal(f.replies, 1);
	assert_int_equal(f.reply.payload.u64, 0);
	fake_start_pair(&f, 0);
}

/* Another back-end, told the same session; base is what the front-end said long ago. */
static void replay(uint32_t base)
{
	port_disconnect(&f.port);
	assert_int_equal(f.windows, 0);
	memset(f.calls, 0, sizeof(f.calls));
	port_connect(&f.port);
	assert_int_equal(fake_u64(&f, VHOST_USER_SET_PROTOCOL_FEATURES,
				  VHOST_USER_PF_CARRIED | VHOST_USER_PF_INTERNAL),
			 0);
	assert_int_equal(set_inflight(INFLIGHT_AT), 0);
	assert_int_equal(fake_u64(&f, VHOST_USER_SET_FEATURES, f.features), 0);
	assert_int_equal(fake_mem(&f, true), 0);
	for (unsigned int i = 0; i < 2; i++) {
		assert_int_equal(fake_state(&f, VHOST_USER_SET_VRING_NUM, i, FAKE_QUEUE), 0);
		assert_int_equal(fake_state(&f, VHOST_USER_SET_VRING_BASE, i, base), 0);
		assert_int_equal(fake_addr(&f, i, f.ring_at[i]), 0);
		assert_int_equal(fake_vring_fd(&f, VHOST_USER_SET_VRING_CALL, i, true), 0);
		assert_int_equal(fake_vring_fd(&f, VHOST_USER_SET_VRING_ERR, i, true), 0);
		assert_int_equal(fake_state(&f, VHOST_USER_SET_VRING_ENABLE, i, 1), 0);
	}
}

static void kick(unsigned int ring)
{
	assert_int_equal(fake_vring_fd(&f, VHOST_USER_SET_VRING_KICK, ring, true), 0);
}

/* Takes and gives back n chains of the transmit ring. */
static void serve(unsigned int n)
{
	struct vq_dev *vq = &f.port.vrings[1].vq;
	static struct vq_chain chain;

	for (unsigned int i = 0; i < n; i++) {
		assert_int_equal(vq_dev_get(vq, &chain), 1);
		vq_dev_put(vq, chain.ref, 0);
	}
	vq_dev_publish(vq);
}

static uint32_t stop_and_base(unsigned int ring)
{
	assert_int_equal(fake_state(&f, VHOST_USER_GET_VRING_BASE, ring, 0), 0);
	return f.reply.payload.state.num;
}

static void a_successor_goes_on(void **state)
{
	static const uint8_t frame[64];

	begin_kept(V1 | PROTO);
	assert_int_equal(slot(0)->state, INFLIGHT_SPLIT);
	assert_int_equal(slot(1)->state, INFLIGHT_SPLIT);
	assert_int_equal(slot(1)->size, FAKE_QUEUE);
	assert_int_equal(slot(2)->state, INFLIGHT_STOPPED);
	assert_int_equal(f.calls[0] + f.calls[1], 0); /* nobody was here before */
	for (unsigned int i = 0; i < 5; i++)
		fake_tx(&f, NULL, frame, sizeof(frame));
	serve(3);
	replay(0);
	assert_int_equal(slot(1)->state, INFLIGHT_SPLIT);
	kick(0);
	kick(1);
	/* Its driver may have missed the last call. */
	assert_int_equal(f.calls[0], 1);
	assert_int_equal(f.calls[1], 1);
	assert_int_equal(fake_vring_fd(&f, VHOST_USER_SET_VRING_CALL, 1, true), 0);
	assert_int_equal(f.calls[1], 1);
	serve(2);
	assert_int_equal(fake_tx_done(&f), 5);
	assert_int_equal(stop_and_base(1), 5);
	assert_int_equal(slot(0)->state, INFLIGHT_SPLIT);
	/* The proxy has heard of it, and has zeroed the slot: from here on the front-end's word counts. */
	slot(1)->state = INFLIGHT_STOPPED;
	replay(5);
	kick(1);
	assert_int_equal(f.calls[1], 0);
	assert_int_equal(stop_and_base(1), 5);
}

/* GET_VRING_BASE is carried out, and the back-end dies before anybody has the answer: the next one is asked again. */
static void dies_with_the_answer(void **state)
{
	static const uint8_t frame[64];

	begin_kept(V1 | PROTO);
	for (unsigned int i = 0; i < 5; i++)
		fake_tx(&f, NULL, frame, sizeof(frame));
	serve(3);
	for (unsigned int i = 0; i < 3; i++) {
		assert_int_equal(stop_and_base(1), 3);
		replay(0);
		kick(1);
		assert_int_equal(f.calls[1], 1);
	}
	serve(2);
	assert_int_equal(fake_tx_done(&f), 5);
	assert_int_equal(stop_and_base(1), 5);
	/* What this back-end knows itself it does not take from there. */
	slot(1)->before = 7;
	assert_int_equal(fake_state(&f, VHOST_USER_SET_VRING_BASE, 1, 5), 0);
	kick(1);
	assert_int_equal(f.calls[1], 1);
	assert_int_equal(slot(1)->before, 0);
	assert_int_equal(stop_and_base(1), 5);
}

/* The call is made when it can be. */
static void a_late_call_fd(void **state)
{
	begin_kept(V1 | PROTO);
	replay(0);
	assert_int_equal(fake_vring_fd(&f, VHOST_USER_SET_VRING_CALL, 1, false), 0);
	kick(1);
	assert_int_equal(f.calls[1], 0);
	assert_int_equal(fake_vring_fd(&f, VHOST_USER_SET_VRING_CALL, 1, true), 0);
	assert_int_equal(f.calls[1], 1);
}

static void reset(unsigned int how)
{
	static const uint32_t resets[] = { VHOST_USER_RESET_DEVICE, VHOST_USER_RESET_OWNER };

	if (how < 2)
		assert_int_equal(fake_plain(&f, resets[how]), 0);
	else
		assert_int_equal(fake_u64(&f, VHOST_USER_SET_STATUS, 0), 0);
}

/* A ring is stopped by a reset, and nobody hears where before the back-end dies: the next one is asked. */
static void resets_leave_positions(void **state)
{
	static const uint8_t frame[64];

	for (unsigned int i = 0; i < 3; i++) {
		memset(slot(0), 0, INFLIGHT_BYTES(4));
		begin_kept(V1 | PROTO);
		for (unsigned int k = 0; k < 5; k++)
			fake_tx(&f, NULL, frame, sizeof(frame));
		serve(3);
		reset(i);
		assert_int_equal(slot(1)->state, INFLIGHT_SPLIT);
		for (unsigned int k = 0; k < 3; k++) {
			replay(0);
			reset(i);
			assert_int_equal(f.port.num_tx, 0);
			if (k == 0)
				continue; /* it dies before it is asked */
			assert_int_equal(stop_and_base(1), 3);
			/* Its driver may have missed the last call; and nothing has been taken. */
			assert_int_equal(f.calls[1], 1);
			assert_int_equal(f.port.num_tx, 0);
			assert_int_equal(fake_tx_done(&f), k == 1 ? 3 : 0);
			assert_int_equal(stop_and_base(1), 3);
			assert_int_equal(f.calls[1], 1);
		}
		/* From here on it is this back-end's own. */
		slot(1)->before = 7;
		kick(1);
		serve(2);
		assert_int_equal(fake_tx_done(&f), 2);
		reset(i);
		assert_int_equal(stop_and_base(1), 5);
		port_disconnect(&f.port);
	}
}

/* Nothing noted, no place for it, no ring it could be of: the base that it was told. */
static void no_position_to_find(void **state)
{
	begin_kept(V1 | PROTO);
	reset(2);
	replay(4);
	slot(0)->state = INFLIGHT_STOPPED;
	assert_int_equal(stop_and_base(0), 4);
	assert_int_equal(f.errs[0], 0);
	assert_int_equal(slot(0)->state, INFLIGHT_STOPPED);
	slot(2)->state = INFLIGHT_SPLIT;
	assert_int_equal(stop_and_base(2), 0);
	assert_int_equal(f.errs[2], 0);
	slot(1)->size = 128;
	assert_int_equal(stop_and_base(1), 4);
	assert_int_equal(f.errs[1], 1);
	kick(1);
	assert_int_equal(f.port.num_tx, 1);
}

/* What a predecessor left is not trusted; the ring is broken until it is stopped and started again. */
static void positions_that_make_no_sense(void **state)
{
	begin_kept(V1 | PROTO);
	slot(1)->size = 128;
	replay(0);
	kick(1);
	assert_int_equal(f.errs[1], 1);
	assert_non_null(strstr(f.last_log, "ring 1: stopped, broken: position outside the ring"));
	assert_int_equal(f.port.num_tx, 0);
	assert_int_equal(stop_and_base(1), 0);
	kick(1);
	assert_int_equal(f.port.num_tx, 1);
	assert_int_equal(slot(1)->size, FAKE_QUEUE);
}

/* Another place while rings run: from then on it is kept there. */
static void another_place(void **state)
{
	struct inflight_ring *other = (void *)(f.mem + INFLIGHT_AT - INFLIGHT_BYTES(4));

	begin_kept(V1 | PROTO);
	other[0].state = INFLIGHT_PACKED;
	other[2].state = INFLIGHT_PACKED;
	assert_int_equal(set_inflight(INFLIGHT_AT - INFLIGHT_BYTES(4)), 0);
	assert_int_equal(f.windows, 3);
	assert_int_equal(other[0].state, INFLIGHT_SPLIT);
	assert_int_equal(other[1].state, INFLIGHT_SPLIT);
	assert_int_equal(other[2].state, INFLIGHT_PACKED); /* not this back-end's business yet */
	assert_int_equal(fake_u64(&f, VHOST_USER_SET_STATUS, 0), 0);
	assert_int_equal(stop_and_base(1), 0);
	assert_int_equal(other[1].state, INFLIGHT_SPLIT);
	assert_int_equal(slot(1)->state, INFLIGHT_SPLIT);
}

static void positions_of_packed_rings(void **state)
{
	struct vring_packed_desc *ring;

	begin_kept(V1 | PROTO | VIRTIO_FEATURE(F_RING_PACKED));
	ring = (void *)(f.mem + f.ring_at[1]);
	assert_int_equal(stop_and_base(1), FAKE_PACKED_BASE);
	assert_int_equal(fake_state(&f, VHOST_USER_SET_VRING_BASE, 1, 0x80008000), 0);
	for (uint16_t i = 0; i < 4; i++)
		ring[i] = (struct vring_packed_desc){ FAKE_GPA, 64, i, VRING_PACKED_DESC_F_AVAIL };
	kick(1);
	assert_int_equal(slot(1)->state, INFLIGHT_PACKED);
	serve(3);
	assert_int_equal(slot(1)->before, 0x80038003);
	replay(0x80008000);
	kick(1);
	assert_int_equal(f.calls[1], 1);
	serve(1);
	assert_int_equal(ring[3].flags & VRING_PACKED_DESC_F_USED, VRING_PACKED_DESC_F_USED);
	assert_int_equal(stop_and_base(1), 0x80048004);
	/* Nobody has heard that. */
	replay(0x80008000);
	kick(1);
	assert_int_equal(f.calls[1], 1);
	assert_int_equal(stop_and_base(1), 0x80048004);
	/* Nor that; and now a reset has stopped it. */
	replay(0x80008000);
	reset(2);
	assert_int_equal(stop_and_base(1), 0x80048004);
	assert_int_equal(f.calls[1], 1);
}

/* Who does not know the platform's word for it never hears of it. */
static void not_offered_everywhere(void **state)
{
	fake_connect(&f, V1 | PROTO);
	assert_true(f.port.offered_protocol & VHOST_USER_PF_MASK(INFLIGHT_SHMFD));
	f.port.offered_protocol &= ~VHOST_USER_PF_INTERNAL;
	assert_int_equal(fake_u64(&f, VHOST_USER_SET_PROTOCOL_FEATURES, VHOST_USER_PF_INTERNAL),
			 -EPROTO);
	assert_int_equal(fake_u64(&f, VHOST_USER_SET_PROTOCOL_FEATURES, 0), 0);
	assert_int_equal(set_inflight(INFLIGHT_AT), -EPROTO);
	assert_reason("SET_INFLIGHT_FD: ");
}

static void bad_options(void **state)
{
	static const char *const bad[] = {
		"nonsense",
		"switch echo",
		"poll=",
		"poll=adaptive:",
		"poll=adaptive:0",
		"poll=adaptive:1000001",
		"poll=adaptive:5x",
		"offload=yes",
		"mtu=67",
		"mtu=65536",
		"mtu=",
		"age=-1",
		"age=99999999999999999999",
		"names=",
		"names=a,,b",
		"names=a,a",
		"names=a,-b",
		"port.a.mac=1:2:3:4:5:6",
		"port.a.mac=01:00:00:00:00:00",
		"port.a.mac=00:00:00:00:00:00",
		"port..mac=02:00:00:00:00:00",
		"port.a=5",
		"port.a.mac=02:00:00:00:00:01 port.b.mac=02:00:00:00:00:01",
		"frobnicate=1",
		"switch poll",
	};
	struct be_options o;
	struct text error;

	for (unsigned int i = 0; i < ARRAY_LEN(bad); i++) {
		be_options_init(&o);
		if (!be_options_line(&o, bad[i], &error))
			fail_msg("'%s' was accepted", bad[i]);
		assert_true(strlen(error.s) > 10);
	}
	be_options_init(&o);
	assert_int_equal(
		be_options_line(
			&o,
			"echo poll=adaptive:7 age=0 names=x,y.z,w port.y.z.mac=02:aB:00:00:00:01",
			&error),
		0);
	assert_int_equal(o.app, BE_APP_ECHO);
	assert_int_equal(o.poll_us, 7);
	assert_int_equal(o.num_names, 3);
	assert_string_equal(o.macs[0].port, "y.z");
	assert_int_equal(be_options_check(&o, (const char *const[]){ "x", "y.z" }, 2, &error), 0);
	assert_int_equal(be_options_check(&o, (const char *const[]){ "x" }, 1, &error), -EINVAL);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(qemu_order_starts_rings),
		T(rings_enable_themselves_without_protocol_features),
		T(needs_enable_with_protocol_features),
		T(get_vring_base_stops),
		T(answers_numbers),
		T(offload_off_offers_none),
		T(configuration_space),
		T(mtu_and_rarp),
		T(memory_in_steps),
		T(memory_slots),
		T(new_table_moves_running_rings),
		T(acknowledges_when_asked),
		T(keeps_a_reply_that_cannot_be_sent),
		T(protocol_errors_end_the_session),
		T(memory_that_cannot_be_mapped_ends_the_session),
		T(ring_errors_do_not_end_the_session),
		T(reset_stops_everything),
		T(a_successor_goes_on),
		T(dies_with_the_answer),
		T(a_late_call_fd),
		T(resets_leave_positions),
		T(no_position_to_find),
		T(positions_that_make_no_sense),
		T(another_place),
		T(positions_of_packed_rings),
		T(not_offered_everywhere),
		T(bad_options),
	};

	return cmocka_run_group_tests_name("session", tests, NULL, NULL);
}
