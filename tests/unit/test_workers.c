// SPDX-License-Identifier: BSD-2-Clause
/*
 * The switch with several workers, stepped by hand in one thread: mailboxes, who owns which pair, what passes
 * between workers, standing and sleeping. test_smp.c has them run.
 */
#include "be_fake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "abi/virtio_config.h"
#include "be_frames.h"
#include "core/poll.h"
#include "core/stats.h"

#define PROTO	 BIT_ULL(VHOST_USER_F_PROTOCOL_FEATURES_BIT)
#define NET(x)	 VIRTIO_NET_FEATURE(x)
#define BASE	 (VIRTIO_FEATURE(F_VERSION_1) | PROTO | NET(F_MQ))
#define OFFLOADS (NET(F_CSUM) | NET(F_HOST_TSO4) | NET(F_GUEST_CSUM) | NET(F_GUEST_TSO4))
#define PORTS	 4
#define WORKERS	 3

static struct be_switch *sw;
static struct fake ports[PORTS];
static unsigned int wakes[WORKERS];
static uint8_t frame[FRAME_MAX + 64], got[FRAME_MAX + 64];

static void wake(void *ctx, unsigned int worker)
{
	wakes[worker]++;
}

static void start(const char *options)
{
	static const struct switch_ops ops = { .wake = wake };

	memset(wakes, 0, sizeof(wakes));
	sw = fake_switch(ports, PORTS, WORKERS, options, 1000000000000);
	switch_set_ops(sw, &ops);
}

static int setup(void **state)
{
	start("switch");
	return 0;
}

static int teardown(void **state)
{
	fake_switch_free(sw, ports, PORTS);
	return 0;
}

static unsigned int step(unsigned int worker)
{
	return fake_step(sw, worker);
}

static void step_all(void)
{
	for (unsigned int n = 0; n < 2; n++) {
		for (unsigned int i = 0; i < WORKERS; i++)
			step(i);
	}
}

static void connect(unsigned int port, uint64_t features, unsigned int pairs)
{
	fake_connect(&ports[port], features);
	for (unsigned int i = 0; i < pairs; i++)
		fake_start_pair(&ports[port], i);
}

static void connect_all(uint64_t features)
{
	for (unsigned int i = 0; i < PORTS; i++) {
		connect(i, features, 1);
		fake_rx_post(&ports[i], 100, 2048);
	}
}

/* A frame of len bytes from address src to dst, its content depending on salt. */
static void make(uint8_t dst, uint8_t src, uint32_t len, uint32_t salt)
{
	memcpy(frame, (const uint8_t[]){ 2, 0, 0, 0, 0, dst, 2, 0, 0, 0, 0, src, 0x88, 0xb5 }, 14);
	if (dst == 0xff)
		memset(frame, 0xff, 6);
	for (uint32_t i = 14; i < len; i++)
		frame[i] = payload_byte(salt, i);
}

static void expect(unsigned int port, uint32_t len)
{
	int n = fake_rx(&ports[port], NULL, got);

	assert_int_equal(n, len);
	assert_memory_equal(got, frame, len);
}

static void expect_none(unsigned int port)
{
	assert_int_equal(fake_rx(&ports[port], NULL, got), -1);
}

static uint64_t ctr(unsigned int port, enum port_counter c)
{
	return switch_counter(sw, &ports[port].port, c);
}

static unsigned int owner(unsigned int port, unsigned int pair)
{
	return ports[port].port.owner[pair];
}

/* ---- mailboxes ---- */

struct sent {
	uint32_t len, salt;
};

static void check_record(const uint8_t *p, const struct sent *s)
{
	assert_int_equal((uintptr_t)p % MAILBOX_ALIGN, 0);
	for (uint32_t i = 0; i < s->len; i++)
		assert_int_equal(p[i], payload_byte(s->salt, i));
}

/* Random lengths, bursts and delays against a list of what was sent. */
static void mailbox_keeps_order_and_bytes(void **state)
{
	static struct sent sent[200000];
	struct mailbox *mb = aligned_alloc(64, sizeof(*mb));
	unsigned int in = 0, out = 0, full = 0, published = 0;
	uint32_t len;

	assert_non_null(mb);
	mailbox_init(mb);
	srand(1);
	for (unsigned int round = 0; round < 4000; round++) {
		for (unsigned int n = (unsigned int)rand() % 40; n--;) {
			uint32_t want = rand() % 8 ? 1 + (uint32_t)rand() % 200
						   : 1 + (uint32_t)rand() % MAILBOX_RECORD;
			uint8_t *p = mailbox_reserve(mb, want, rand() % 2);

			if (!p) {
				full++;
				break;
			}
			sent[in] = (struct sent){ want, in };
			for (uint32_t i = 0; i < want; i++)
				p[i] = payload_byte(in, i);
			in++;
		}
		if (rand() % 4)
			published = mailbox_publish(mb) || published != in ? in : published;
		for (unsigned int n = (unsigned int)rand() % 40; n--;) {
			const uint8_t *p = mailbox_take(mb, &len);

			assert_int_equal(p != NULL, out < published);
			if (!p)
				break;
			assert_int_equal(len, sent[out].len);
			check_record(p, &sent[out++]);
		}
		if (rand() % 3) {
			mailbox_release(mb);
			assert_int_equal(mailbox_empty(mb), out == published);
		}
	}
	assert_true(full > 50 && in > 10000);
	free(mb);
}

static void mailbox_keeps_room_for_the_urgent(void **state)
{
	struct mailbox *mb = aligned_alloc(64, sizeof(*mb));
	unsigned int num = 0, urgent = 0;
	uint32_t len;

	assert_non_null(mb);
	mailbox_init(mb);
	assert_false(mailbox_publish(mb));
	assert_true(mailbox_empty(mb));
	while (mailbox_reserve(mb, 1000, false))
		num++;
	assert_true(num > 400);
	while (mailbox_reserve(mb, 8, true))
		urgent++;
	assert_true(urgent >= MAILBOX_RESERVED / 64);
	assert_null(mailbox_take(mb, &len));
	assert_true(mailbox_publish(mb));
	for (unsigned int i = 0; i < num + urgent; i++) {
		assert_non_null(mailbox_take(mb, &len));
		assert_int_equal(len, i < num ? 1000 : 8);
	}
	assert_null(mailbox_take(mb, &len));
	/* Not given back yet. */
	assert_null(mailbox_reserve(mb, 1000, false));
	mailbox_release(mb);
	assert_non_null(mailbox_reserve(mb, MAILBOX_RECORD, false));
	assert_non_null(mailbox_reserve(mb, MAILBOX_RECORD, false));
	free(mb);
}

/* ---- spreading ---- */

static void count_pairs(unsigned int *of)
{
	memset(of, 0, WORKERS * sizeof(*of));
	for (unsigned int i = 0; i < WORKERS; i++) {
		for (unsigned int r = 0; r < sw->workers[i].num_rings; r++) {
			struct vring *vr = sw->workers[i].rings[r];

			assert_int_equal(vr->owner, i);
			assert_int_equal(vr->port->owner[vr->index / 2], i);
			/* Both rings of a pair have one owner. */
			assert_int_equal(vr->port->vrings[vr->index - 1].owner, i);
			of[i]++;
		}
	}
}

static void spreads_pairs_evenly(void **state)
{
	unsigned int of[WORKERS], was[PORTS][2], moved = 0;

	for (unsigned int i = 0; i < PORTS; i++)
		connect(i, BASE, 2);
	count_pairs(of);
	assert_int_equal(of[0] + of[1] + of[2], 8);
	assert_true(of[0] <= 3 && of[1] <= 3 && of[2] <= 3);
	/* New ones do not move the old ones. */
	for (unsigned int i = 0; i < PORTS; i++) {
		was[i][0] = owner(i, 0);
		was[i][1] = owner(i, 1);
	}
	fake_disconnect(sw, &ports[0]);
	assert_int_equal(owner(0, 0), WORKER_NONE);
	count_pairs(of);
	assert_int_equal(of[0] + of[1] + of[2], 6);
	assert_true(of[0] == 2 && of[1] == 2 && of[2] == 2);
	for (unsigned int i = 1; i < PORTS; i++)
		moved += (was[i][0] != owner(i, 0)) + (was[i][1] != owner(i, 1));
	/* 3, 3, 2 pairs less one of each of two workers: at most one has to move. */
	assert_true(moved <= 1);
}

static void counts_only_enabled_pairs(void **state)
{
	connect(0, BASE, 2);
	connect(1, BASE, 2);
	/* The second pairs run, but their guests do not use them. */
	for (unsigned int i = 0; i < 2; i++) {
		assert_int_equal(fake_state(&ports[i], VHOST_USER_SET_VRING_ENABLE, 2, 0), 0);
		assert_int_equal(fake_state(&ports[i], VHOST_USER_SET_VRING_ENABLE, 3, 0), 0);
	}
	connect(2, BASE, 1);
	assert_int_equal(BIT_U32(owner(0, 0)) | BIT_U32(owner(1, 0)) | BIT_U32(owner(2, 0)), 7);
	assert_true(owner(0, 1) < WORKERS && owner(1, 1) < WORKERS);
}

static void kicks_follow_their_ring(void **state)
{
	for (unsigned int i = 0; i < PORTS; i++)
		connect(i, BASE, 2);
	for (unsigned int i = 0; i < PORTS; i++) {
		assert_int_equal(ports[i].kick_owner[1], owner(i, 0));
		assert_int_equal(ports[i].kick_owner[3], owner(i, 1));
	}
	fake_disconnect(sw, &ports[1]);
	fake_disconnect(sw, &ports[2]);
	for (unsigned int i = 0; i < PORTS; i += 3) {
		assert_int_equal(ports[i].kick_owner[1], owner(i, 0));
		assert_int_equal(ports[i].kick_owner[3], owner(i, 1));
	}
}

/* ---- frames between workers ---- */

static void floods_and_learns_everywhere(void **state)
{
	connect_all(BASE);
	make(0xff, 1, 300, 7);
	fake_tx(&ports[0], NULL, frame, 300);
	assert_int_equal(step(owner(0, 0)), 1);
	assert_int_equal(fake_tx_done(&ports[0]), 1);
	step_all();
	for (unsigned int i = 1; i < PORTS; i++)
		expect(i, 300);
	assert_int_equal(ctr(0, CTR_ADDRESSES_LEARNED), 1);
	/* All workers know the address now: nobody else gets a frame for it. */
	for (unsigned int i = 1; i < PORTS; i++) {
		make(1, (uint8_t)(i + 1), 61, i);
		fake_tx(&ports[i], NULL, frame, 61);
		step_all();
		expect(0, 61);
		for (unsigned int k = 1; k < PORTS; k++)
			expect_none(k);
	}
	for (unsigned int i = 0; i < WORKERS; i++)
		assert_int_equal(sw->workers[i].fdb.num, PORTS);
	fake_disconnect(sw, &ports[2]);
	for (unsigned int i = 0; i < WORKERS; i++)
		assert_int_equal(sw->workers[i].fdb.num, PORTS - 1);
}

static void every_length_crosses(void **state)
{
	connect(0, BASE | NET(F_MRG_RXBUF), 1);
	connect(1, BASE | NET(F_MRG_RXBUF), 1);
	assert_int_not_equal(owner(0, 0), owner(1, 0));
	for (uint32_t len = 14; len < 9000; len = len < 200 ? len + 1 : len + 509) {
		ports[0].next = ports[1].next = 2u << 20;
		fake_rx_post(&ports[1], 5, 2048);
		make(2, 1, len, len);
		fake_tx(&ports[0], NULL, frame, len);
		step_all();
		expect(1, len);
		fake_restart_ring(&ports[1], 0);
		assert_int_equal(fake_tx_done(&ports[0]), 1);
	}
	assert_int_equal(switch_frames_dropped(sw), 0);
}

static void offloads_cross(void **state)
{
	struct frame_spec s = { .dst = 9, .src = 1, .payload = 30000, .seq = 77 };
	struct frame_at at = frame_layout(&s);
	struct virtio_net_hdr hdr = { VIRTIO_NET_HDR_F_NEEDS_CSUM,
				      VIRTIO_NET_HDR_GSO_TCPV4,
				      (uint16_t)at.payload,
				      1448,
				      (uint16_t)at.l4,
				      16,
				      0 },
			      seen;
	uint32_t len = frame_build(frame, &s);

	connect(0, BASE | OFFLOADS, 1);
	connect(1, BASE | OFFLOADS, 1);
	connect(2, BASE, 1);
	assert_int_equal(BIT_U32(owner(0, 0)) | BIT_U32(owner(1, 0)) | BIT_U32(owner(2, 0)), 7);
	fake_rx_post(&ports[1], 1, 40000);
	fake_rx_post(&ports[2], 40, 2048);
	fake_tx(&ports[0], &hdr, frame, len);
	step_all();
	assert_int_equal(fake_rx(&ports[1], &seen, got), len);
	assert_memory_equal(got, frame, len);
	assert_int_equal(seen.gso_size, 1448);
	assert_int_equal(ctr(1, CTR_TX_SUPER), 1);
	assert_int_equal(ctr(2, CTR_TX_CUT), 1);
	assert_int_equal(ctr(2, CTR_TX_SEGMENTS), 21);
	for (unsigned int i = 0; i < 21; i++)
		assert_int_equal(fake_rx(&ports[2], &seen, got),
				 at.payload + (i < 20 ? 1448 : 1040));
}

/* Nobody has heard of the receiver: what is for all can't wait. */
static void full_mailboxes_drop_and_count(void **state)
{
	const uint32_t len = 60000;
	uint64_t sent = 0, busy;

	connect(0, BASE, 1);
	connect(1, BASE, 1);
	fake_rx_post(&ports[1], 40, 64000);
	make(2, 1, len, 1);
	for (unsigned int i = 0; i < 20; i++, sent++) {
		fake_tx(&ports[0], NULL, frame, len);
		assert_int_equal(step(owner(0, 0)), 1);
		assert_int_equal(fake_tx_done(&ports[0]), 1);
	}
	busy = ctr(1, CTR_DROP_WORKER_BUSY);
	assert_true(busy >= 10 && busy < 20);
	/* The address was told all the same. */
	step_all();
	assert_int_equal(sw->workers[owner(1, 0)].fdb.num, 1);
	for (uint64_t i = 0; i < sent - busy; i++)
		expect(1, len);
	expect_none(1);
	assert_int_equal(ctr(1, CTR_TX_FRAMES) + busy, sent);
	assert_int_equal(switch_frames_dropped(sw), busy);
}

/* Ports 0 and 3 are served by one worker, port 1, whose address is known, by another. */
static void connect_across(uint32_t buffers, uint32_t bytes)
{
	for (unsigned int i = 0; i < PORTS; i++)
		connect(i, BASE, 1);
	assert_int_equal(owner(0, 0), owner(3, 0));
	assert_int_not_equal(owner(0, 0), owner(1, 0));
	fake_rx_post(&ports[1], buffers, bytes);
	make(0xff, 2, 60, 0);
	fake_tx(&ports[1], NULL, frame, 60);
	step_all();
	fake_tx_done(&ports[1]);
}

static void full_mailboxes_make_senders_wait(void **state)
{
	const uint32_t len = 60000;
	unsigned int a, b, next[5] = { 0 };
	uint64_t dropped;

	connect_across(30, 64000);
	a = owner(0, 0);
	b = owner(1, 0);
	dropped = switch_frames_dropped(sw);
	for (uint32_t i = 0; i < 12; i++) {
		make(2, 1, len, i);
		fake_tx(&ports[0], NULL, frame, len);
		if (i >= 3)
			continue;
		make(2, 4, len, i);
		fake_tx(&ports[3], NULL, frame, len);
	}
	for (unsigned int i = 0; i < 10; i++)
		step(a);
	/* As much as there is room for; the rest is where it was, and keeps the worker awake. */
	assert_int_equal(fake_tx_done(&ports[0]) + fake_tx_done(&ports[3]), 8);
	assert_int_equal(ctr(0, CTR_RX_FRAMES) + ctr(3, CTR_RX_FRAMES), 8);
	assert_true(ctr(0, CTR_MAIL_WAITS) && ctr(3, CTR_MAIL_WAITS));
	assert_int_equal(step(a), 0);
	assert_true(worker_arm(&sw->workers[a]));
	worker_disarm(&sw->workers[a]);
	for (unsigned int i = 0; i < 30; i++) {
		step(b);
		step(a);
	}
	step(b);
	for (unsigned int i = 0; i < 15; i++) {
		uint8_t from;

		assert_int_equal(fake_rx(&ports[1], NULL, got), len);
		from = got[11];
		assert_true(from == 1 || from == 4);
		make(2, from, len, next[from]++);
		assert_memory_equal(got, frame, len);
	}
	assert_int_equal(next[1], 12);
	expect_none(1);
	assert_int_equal(switch_frames_dropped(sw), dropped);
}

/* Makes num frames of the port available, all of them with the bytes at at. */
static void flood(unsigned int port, unsigned int num, uint32_t at, uint32_t len)
{
	struct fake *f = &ports[port];

	fake_tx_done(f);
	for (; num && f->drv[1].num_free; num--)
		assert_int_equal(vq_drv_add(&f->drv[1], fake_gpa(at), 12 + len, false, at), 0);
}

/* More goes into a mailbox than there is room for until it is looked into: a modest sender has its share of that. */
static void room_in_mailboxes_is_shared_out(void **state)
{
	const uint32_t len = 2500;
	uint32_t at[PORTS];
	unsigned int num[5] = { 0 }, sent = 0;
	uint64_t dropped;

	connect_across(FAKE_QUEUE, 2560);
	dropped = switch_frames_dropped(sw);
	for (unsigned int i = 0; i < PORTS; i += 3) {
		at[i] = fake_alloc(&ports[i], 12 + len);
		make(2, (uint8_t)(i + 1), len, i);
		memcpy(ports[i].mem + at[i] + 12, frame, len);
	}
	for (unsigned int i = 0; i < 50; i++) {
		for (unsigned int k = 0; k < 20; k++) {
			flood(0, 32, at[0], len);
			/* In the rounds between it has no turn that the flooder would have to wait for. */
			if (k % 5 == 0) {
				flood(3, 16, at[3], len);
				sent += 16;
			}
			step(owner(0, 0));
		}
		step(owner(1, 0));
		while (fake_rx(&ports[1], NULL, got) == (int)len)
			num[got[11]]++;
		/* Some of those of the last time are still posted; those of the time before are free. */
		ports[1].next = (2u + i % 2) << 20;
		fake_rx_post(&ports[1], ports[1].drv[0].num_free, 2560);
	}
	/* What is missing waits for the last look. */
	assert_in_range(num[4], sent - 64, sent);
	assert_true(num[1] >= num[4] && num[1] + num[4] >= 50 * 190);
	assert_int_equal(switch_frames_dropped(sw), dropped);
}

/* A port that floods from another worker is one of several, for the worker that has to do with it. */
static void mail_is_no_larger_share(void **state)
{
	const uint32_t len = 60;
	uint32_t at[2];
	uint64_t own, mail;

	connect_across(FAKE_QUEUE, 2048);
	/* Port 0 sends to port 1, which sends to port 2. */
	for (unsigned int i = 0; i < 2; i++) {
		at[i] = fake_alloc(&ports[i], 12 + len);
		make((uint8_t)(i + 2), (uint8_t)(i + 1), len, i);
		memcpy(ports[i].mem + at[i] + 12, frame, len);
	}
	assert_int_not_equal(owner(2, 0), owner(1, 0));
	make(0xff, 3, 60, 0);
	fake_tx(&ports[2], NULL, frame, 60);
	step_all();
	own = ctr(1, CTR_RX_FRAMES);
	mail = ctr(1, CTR_TX_FRAMES) + ctr(1, CTR_DROP_NO_BUFFERS);
	for (unsigned int i = 0; i < 2000; i++) {
		/* The worker that floods has nothing else to do. */
		for (unsigned int k = 0; k < 10; k++) {
			flood(0, 32, at[0], len);
			step(owner(0, 0));
		}
		flood(1, 32, at[1], len);
		step(owner(1, 0));
		step(owner(2, 0));
	}
	own = ctr(1, CTR_RX_FRAMES) - own;
	mail = ctr(1, CTR_TX_FRAMES) + ctr(1, CTR_DROP_NO_BUFFERS) - mail;
	assert_true(own > 2000 * 31);
	assert_in_range(mail * 100 / own, 80, 130);
	assert_true(ctr(0, CTR_TURN_WAITS) > 1000);
	/* Nothing else to do: all of it, as soon as that is known. */
	assert_true(worker_has_mail(&sw->workers[owner(1, 0)]));
	step(owner(1, 0));
	step(owner(1, 0));
	assert_false(worker_has_mail(&sw->workers[owner(1, 0)]));
}

static void rarp_crosses(void **state)
{
	connect_all(BASE);
	assert_int_equal(fake_u64(&ports[2], VHOST_USER_SEND_RARP, 0x030000000002), 0);
	step_all();
	frame_make_rarp(frame, (const uint8_t[]){ 2, 0, 0, 0, 0, 3 });
	expect(0, FRAME_RARP_LEN);
	expect(1, FRAME_RARP_LEN);
	expect(3, FRAME_RARP_LEN);
	for (unsigned int i = 0; i < WORKERS; i++)
		assert_int_equal(fdb_lookup(&sw->workers[i].fdb, 0x030000000002, 1000), 2);
}

/* ---- standing ---- */

/* Frames that are on their way to a ring when it moves to another worker come out of it first, in order. */
static void pause_empties_mailboxes(void **state)
{
	unsigned int was;

	connect(0, BASE, 1);
	connect(1, BASE, 1);
	connect(2, BASE, 2);
	connect(3, BASE, 1);
	fake_rx_post(&ports[1], 100, 2048);
	was = owner(1, 0);
	assert_int_not_equal(was, owner(0, 0));
	for (uint32_t i = 0; i < 10; i++) {
		make(2, 1, 100, i);
		fake_tx(&ports[0], NULL, frame, 100);
	}
	step(owner(0, 0));
	expect_none(1);
	/* Whoever has the least to do now gets somebody else's pair. */
	fake_disconnect(sw, &ports[3]);
	fake_disconnect(sw, &ports[2]);
	for (uint32_t i = 10; i < 20; i++) {
		make(2, 1, 100, i);
		fake_tx(&ports[0], NULL, frame, 100);
	}
	step_all();
	for (uint32_t i = 0; i < 20; i++) {
		make(2, 1, 100, i);
		expect(1, 100);
	}
}

static unsigned int stood;

/* Worker 0 waits for worker 1: it stands, if it was asked to. */
static void stand(void *ctx)
{
	struct worker_gate *g = &sw->workers[1].gate;

	if (g->ack == g->request)
		return;
	stood++;
	g->ack = g->request;
}

/* Messages that change nothing the other workers look at don't disturb them. */
static void questions_do_not_pause(void **state)
{
	static const struct switch_ops ops = { .wake = wake, .relax = stand };
	static const uint32_t gets[] = { VHOST_USER_GET_FEATURES, VHOST_USER_GET_PROTOCOL_FEATURES,
					 VHOST_USER_GET_QUEUE_NUM, VHOST_USER_GET_MAX_MEM_SLOTS,
					 VHOST_USER_GET_STATUS };
	struct vhost_user_msg msg = { .hdr = { VHOST_USER_GET_CONFIG, VHOST_USER_VERSION,
					       VHOST_USER_CONFIG_HDR + 4 } };
	struct fake *f = &ports[0];

	connect_all(BASE);
	switch_set_ops(sw, &ops);
	worker_rise(&sw->workers[1]);
	worker_rise(&sw->workers[2]);
	assert_true(worker_fall_asleep(&sw->workers[2]));
	memset(wakes, 0, sizeof(wakes));
	stood = 0;
	for (unsigned int i = 0; i < ARRAY_LEN(gets); i++) {
		unsigned int replies = f->replies;

		assert_int_equal(fake_plain(f, gets[i]), 0);
		assert_int_equal(f->replies, replies + 1);
		assert_int_equal(f->reply.hdr.request, gets[i]);
	}
	msg.payload.config.size = 4;
	assert_int_equal(fake_send(f, &msg, 0), 0);
	assert_int_equal(f->reply.hdr.request, VHOST_USER_GET_CONFIG);
	assert_int_equal(fake_state(f, VHOST_USER_SET_VRING_NUM, 2, 64), 0);
	assert_int_equal(fake_state(f, VHOST_USER_SET_VRING_BASE, 2, 7), 0);
	/* What is refused neither, nor what ends the session, until it does. */
	assert_int_equal(fake_u64(f, VHOST_USER_SET_FEATURES + 1000, 0), -EPROTO);
	assert_int_equal(stood, 0);
	for (unsigned int i = 0; i < WORKERS; i++)
		assert_int_equal(wakes[i], 0);
	/* What does change something. */
	assert_int_equal(fake_state(f, VHOST_USER_SET_VRING_ENABLE, 1, 0), 0);
	assert_int_equal(stood, 1);
	assert_int_equal(wakes[2], 1);
	assert_int_equal(fake_vring_fd(f, VHOST_USER_SET_VRING_CALL, 0, false), 0);
	assert_int_equal(stood, 2);
	assert_int_equal(fake_state(f, VHOST_USER_GET_VRING_BASE, 1, 0), 0);
	assert_int_equal(stood, 3);
}

static void broken_rings_are_left_to_worker_0(void **state)
{
	struct fake *f = NULL;

	connect_all(BASE);
	for (unsigned int i = 0; i < PORTS; i++) {
		if (owner(i, 0) == 1)
			f = &ports[i];
	}
	assert_non_null(f);
	f->drv[1].avail->idx = (uint16_t)(f->drv[1].avail->idx + FAKE_QUEUE + 1);
	for (unsigned int i = 0; i < 3; i++)
		step(1);
	assert_int_equal(f->errs[1], 0);
	assert_int_equal(f->port.num_tx, 1);
	step(0);
	assert_int_equal(f->errs[1], 1);
	assert_int_equal(f->port.num_tx, 0);
	assert_int_equal(sw->workers[1].num_rings + sw->workers[0].num_rings +
				 sw->workers[2].num_rings,
			 PORTS - 1);
	fake_restart_ring(f, 1);
	make(0xff, 9, 60, 1);
	fake_tx(f, NULL, frame, 60);
	step_all();
	expect(f == &ports[0], 60);
}

static void sleepers_are_woken(void **state)
{
	unsigned int other;

	connect_all(BASE);
	step_all();
	for (unsigned int i = 1; i < WORKERS; i++)
		worker_rise(&sw->workers[i]);
	memset(wakes, 0, sizeof(wakes));
	make(2, 1, 60, 0);
	fake_tx(&ports[0], NULL, frame, 60);
	assert_int_equal(owner(0, 0), 0);
	other = owner(1, 0);
	assert_int_not_equal(other, 0);
	/* Awake: no need. */
	step(0);
	assert_int_equal(wakes[other], 0);
	/* There is mail: it does not fall asleep. */
	assert_false(worker_fall_asleep(&sw->workers[other]));
	step(other);
	expect(1, 60);
	assert_true(worker_fall_asleep(&sw->workers[other]));
	for (unsigned int i = 0; i < 3; i++) {
		fake_tx(&ports[0], NULL, frame, 60);
		step(0);
	}
	/* Once is enough. */
	assert_int_equal(wakes[other], 1);
	worker_rise(&sw->workers[other]);
	assert_true(step(other) > 0);
	assert_true(worker_fall_asleep(&sw->workers[other]));
	fake_tx(&ports[0], NULL, frame, 60);
	step(0);
	assert_int_equal(wakes[other], 2);
	/* Worker 0 is woken for a ring that broke elsewhere, and does not fall asleep over it. */
	assert_true(worker_fall_asleep(&sw->workers[0]));
	ports[1].drv[1].avail->idx = (uint16_t)(ports[1].drv[1].avail->idx + FAKE_QUEUE + 1);
	worker_rise(&sw->workers[other]);
	step(other);
	assert_int_equal(wakes[0], 1);
	worker_rise(&sw->workers[0]);
	assert_false(worker_fall_asleep(&sw->workers[0]));
	assert_true(worker_fall_asleep(&sw->workers[other]));
	step(3 - other); /* addresses others learned */
	assert_true(worker_fall_asleep(&sw->workers[3 - other]));
	step(0);
	assert_int_equal(ports[1].errs[1], 1);
	/* Changes wake those that sleep. */
	assert_int_equal(wakes[3 - other], 1);
}

static void statistics_of_workers(void **state)
{
	struct stats_page *page = calloc(1, stats_bytes(PORTS, WORKERS));
	unsigned int found = 0;
	uint32_t requests = 0;

	connect_all(BASE);
	make(0xff, 1, 60, 0);
	fake_tx(&ports[0], NULL, frame, 60);
	step_all();
	stats_page_init(sw, page);
	stats_page_share(sw, page, &requests);
	assert_int_equal(requests, 0);
	assert_int_equal(page->count, stats_count(PORTS, WORKERS));
	for (unsigned int i = 0; i < page->count; i++) {
		const char *name = page->counters[i].name;
		uint64_t value = page->counters[i].value;

		for (unsigned int k = 0; k < i; k++)
			assert_string_not_equal(name, page->counters[k].name);
		if (!strcmp(name, "worker.0.frames") || !strcmp(name, "switch.frames_polled")) {
			assert_int_equal(value, 1);
			found++;
		}
		if (!strcmp(name, "worker.2.polls")) {
			assert_int_equal(value, 2);
			found++;
		}
		if (!strcmp(name, "switch.busy_cycles") || !strcmp(name, "worker.0.busy_cycles")) {
			assert_true(value > 0);
			found++;
		}
	}
	assert_int_equal(found, 5);
	free(page);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mailbox_keeps_order_and_bytes),
		cmocka_unit_test(mailbox_keeps_room_for_the_urgent),
		T(spreads_pairs_evenly),
		T(counts_only_enabled_pairs),
		T(kicks_follow_their_ring),
		T(floods_and_learns_everywhere),
		T(every_length_crosses),
		T(offloads_cross),
		T(full_mailboxes_drop_and_count),
		T(full_mailboxes_make_senders_wait),
		T(room_in_mailboxes_is_shared_out),
		T(mail_is_no_larger_share),
		T(rarp_crosses),
		T(pause_empties_mailboxes),
		T(questions_do_not_pause),
		T(broken_rings_are_left_to_worker_0),
		T(sleepers_are_woken),
		T(statistics_of_workers),
	};

	return cmocka_run_group_tests_name("workers", tests, NULL, NULL);
}
