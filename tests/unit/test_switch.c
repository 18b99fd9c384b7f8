// SPDX-License-Identifier: BSD-2-Clause
/*
 * The switch over rings in memory: what is delivered, byte for byte, what is dropped and under which name, what
 * breaks a ring and how it comes back.
 */
#include "be_fake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "abi/virtio_config.h"
#include "be_frames.h"
#include "core/poll.h"
#include "core/stats.h"

#define PROTO  BIT_ULL(VHOST_USER_F_PROTOCOL_FEATURES_BIT)
#define BASE   (VIRTIO_FEATURE(F_VERSION_1) | PROTO)
#define NET(x) VIRTIO_NET_FEATURE(x)
#define OFFLOADS                                                                                   \
	(NET(F_CSUM) | NET(F_HOST_TSO4) | NET(F_HOST_TSO6) | NET(F_HOST_ECN) | NET(F_GUEST_CSUM) | \
	 NET(F_GUEST_TSO4) | NET(F_GUEST_TSO6) | NET(F_GUEST_ECN))
#define PORTS  4
#define SECOND UINT64_C(1000000000)

static struct be_switch *sw;
static struct fake ports[PORTS];
static unsigned int times_broken; /* ring 1 of port 0 */
static uint8_t frame[FRAME_MAX + 64], got[FRAME_MAX + 64];

static void start(const char *options)
{
	times_broken = 0;
	sw = fake_switch(ports, PORTS, 1, options, 1000 * SECOND);
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

static void connect_all(uint64_t features)
{
	for (unsigned int i = 0; i < PORTS; i++) {
		fake_connect(&ports[i], features);
		fake_start_pair(&ports[i], 0);
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

static uint64_t ctr(unsigned int port, enum port_counter c)
{
	return switch_counter(sw, &ports[port].port, c);
}

/* The next frame at a port is exactly `frame`. */
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

/* Lets every port's address be learned: port i has address i + 1. */
static void learn_all(void)
{
	for (unsigned int i = 0; i < PORTS; i++) {
		make(0xff, (uint8_t)(i + 1), 60, 0);
		fake_tx(&ports[i], NULL, frame, 60);
		assert_int_equal(switch_poll(sw), 1);
		assert_int_equal(fake_tx_done(&ports[i]), 1);
		for (unsigned int k = 0; k < PORTS; k++) {
			if (k != i && ports[k].drv[0].num_free < FAKE_QUEUE)
				fake_rx(&ports[k], NULL, got);
		}
	}
}

static void floods_then_learns(void **state)
{
	connect_all(BASE);
	for (unsigned int i = 0; i < PORTS; i++)
		fake_rx_post(&ports[i], 8, 1526);
	make(2, 1, 60, 1);
	fake_tx(&ports[0], NULL, frame, 60);
	assert_int_equal(switch_poll(sw), 1);
	for (unsigned int i = 1; i < PORTS; i++)
		expect(i, 60);
	expect_none(0);
	assert_int_equal(ctr(0, CTR_RX_FLOODED), 1);
	assert_int_equal(ctr(0, CTR_ADDRESSES_LEARNED), 1);
	/* The answer goes to its port only, and so does what follows. */
	make(1, 2, 1514, 2);
	fake_tx(&ports[1], NULL, frame, 1514);
	assert_int_equal(switch_poll(sw), 1);
	expect(0, 1514);
	make(2, 1, 333, 3);
	fake_tx(&ports[0], NULL, frame, 333);
	assert_int_equal(switch_poll(sw), 1);
	expect(1, 333);
	for (unsigned int i = 0; i < PORTS; i++)
		expect_none(i);
	assert_int_equal(fake_tx_done(&ports[0]), 2);
	assert_int_equal(switch_poll(sw), 0);
	assert_int_equal(ctr(1, CTR_TX_BYTES), 60 + 333);
	assert_int_equal(switch_frames_delivered(sw), 5);
	assert_int_equal(switch_frames_dropped(sw), 0);
}

static void many_frames_every_length(void **state)
{
	connect_all(BASE);
	for (unsigned int i = 0; i < PORTS; i++)
		fake_rx_post(&ports[i], 4, 1526);
	learn_all();
	for (uint32_t len = 14; len <= 1514; len += 15) {
		unsigned int burst = 1 + len % 40;

		/* One receive buffer of the last turn is still posted; those of the turn before are free. */
		ports[0].next = ports[1].next = (2u + len % 2) << 20;
		fake_rx_post(&ports[1], burst, 1526);
		for (unsigned int i = 0; i < burst; i++) {
			make(2, 1, len, len * 64 + i);
			fake_tx(&ports[0], NULL, frame, len);
		}
		for (unsigned int n = 0; n < burst;)
			n += switch_poll(sw);
		for (unsigned int i = 0; i < burst; i++) {
			make(2, 1, len, len * 64 + i);
			expect(1, len);
		}
		assert_int_equal(fake_tx_done(&ports[0]), burst);
	}
	assert_int_equal(switch_frames_dropped(sw), 0);
}

/* One call per burst and ring; none without a call fd or when the driver asked not to. */
static void calls_once_per_burst(void **state)
{
	connect_all(BASE);
	fake_rx_post(&ports[1], 64, 1526);
	for (unsigned int i = 0; i < 20; i++) {
		make(0xff, 1, 60, i);
		fake_tx(&ports[0], NULL, frame, 60);
	}
	/* Eleven make 33 copies: a flooding sender's turn ends there. */
	assert_int_equal(switch_poll(sw), 11);
	assert_int_equal(ports[1].calls[0], 1);
	assert_int_equal(ports[0].calls[1], 1);
	ports[1].drv[0].avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
	assert_int_equal(fake_vring_fd(&ports[0], VHOST_USER_SET_VRING_CALL, 1, false), 0);
	assert_int_equal(switch_poll(sw), 9);
	assert_int_equal(ports[1].calls[0], 1);
	assert_int_equal(ports[0].calls[1], 1);
}

/* The driver had not yet said that it sleeps when the frame came, and it had not seen the frame when it said so. */
static void stopped_before_the_call(void **state)
{
	connect_all(BASE);
	fake_rx_post(&ports[1], 1, 1526);
	ports[1].drv[0].avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
	make(0xff, 1, 60, 1);
	fake_tx(&ports[0], NULL, frame, 60);
	assert_int_equal(switch_poll(sw), 1);
	ports[1].drv[0].avail->flags = 0;
	assert_int_equal(ports[1].calls[0], 0);
	assert_int_equal(fake_state(&ports[1], VHOST_USER_GET_VRING_BASE, 0, 0), 0);
	assert_int_equal(ports[1].calls[0], 1);
	assert_int_equal(ctr(1, CTR_CALLS), 1);
	expect(1, 60);
	switch_poll(sw);
	assert_int_equal(ports[1].calls[0], 1);
}

static void ages_and_moves(void **state)
{
	connect_all(BASE);
	for (unsigned int i = 0; i < PORTS; i++)
		fake_rx_post(&ports[i], 16, 1526);
	learn_all();
	/* Address 1 turns up at port 2: not within the second, then yes. */
	switch_set_time(sw, 1000 * SECOND + 1);
	make(4, 1, 60, 1);
	fake_tx(&ports[2], NULL, frame, 60);
	switch_poll(sw);
	expect(3, 60);
	assert_int_equal(ctr(2, CTR_ADDRESSES_HELD), 1);
	make(1, 4, 60, 1);
	fake_tx(&ports[3], NULL, frame, 60);
	switch_poll(sw);
	expect(0, 60);
	switch_set_time(sw, 1001 * SECOND);
	make(4, 1, 60, 2);
	fake_tx(&ports[2], NULL, frame, 60);
	switch_poll(sw);
	expect(3, 60);
	assert_int_equal(ctr(2, CTR_ADDRESSES_MOVED), 1);
	make(1, 4, 60, 3);
	fake_tx(&ports[3], NULL, frame, 60);
	switch_poll(sw);
	expect(2, 60);
	/* All forgotten after 300 s: flooded again. */
	switch_set_time(sw, 1400 * SECOND);
	fake_tx(&ports[3], NULL, frame, 60);
	switch_poll(sw);
	expect(0, 60);
	expect(1, 60);
	expect(2, 60);
}

static void pinned_addresses(void **state)
{
	teardown(NULL);
	start("switch port.b.mac=02:00:00:00:00:02");
	connect_all(BASE);
	for (unsigned int i = 0; i < PORTS; i++)
		fake_rx_post(&ports[i], 16, 1526);
	/* Known before it was ever heard of. */
	make(2, 1, 60, 1);
	fake_tx(&ports[0], NULL, frame, 60);
	switch_poll(sw);
	expect(1, 60);
	expect_none(2);
	/* A forgery is dropped, and does not move it. */
	switch_set_time(sw, 2000 * SECOND);
	make(1, 2, 60, 1);
	fake_tx(&ports[2], NULL, frame, 60);
	switch_poll(sw);
	for (unsigned int i = 0; i < PORTS; i++)
		expect_none(i);
	assert_int_equal(ctr(2, CTR_DROP_PINNED), 1);
	make(2, 3, 60, 1);
	fake_tx(&ports[2], NULL, frame, 60);
	switch_poll(sw);
	expect(1, 60);
}

static void drops_of_the_sender(void **state)
{
	connect_all(BASE);
	for (unsigned int i = 0; i < PORTS; i++)
		fake_rx_post(&ports[i], 16, 1526);
	learn_all();
	fake_tx(&ports[0], NULL, frame, 13);
	switch_poll(sw);
	assert_int_equal(ctr(0, CTR_DROP_SHORT), 1);
	fake_tx(&ports[0], NULL, frame, FRAME_MAX + 1);
	switch_poll(sw);
	assert_int_equal(ctr(0, CTR_DROP_LONG), 1);
	make(2, 1, 60, 0);
	frame[6] |= 1;
	fake_tx(&ports[0], NULL, frame, 60);
	memset(frame + 6, 0, 6);
	fake_tx(&ports[0], NULL, frame, 60);
	switch_poll(sw);
	assert_int_equal(ctr(0, CTR_DROP_BAD_SOURCE), 2);
	make(1, 1, 60, 0);
	fake_tx(&ports[0], NULL, frame, 60);
	switch_poll(sw);
	assert_int_equal(ctr(0, CTR_DROP_SAME_PORT), 1);
	assert_int_equal(fake_state(&ports[0], VHOST_USER_SET_VRING_ENABLE, 1, 0), 0);
	fake_tx(&ports[0], NULL, frame, 60);
	switch_poll(sw);
	assert_int_equal(ctr(0, CTR_DROP_DISABLED), 1);
	for (unsigned int i = 1; i < PORTS; i++) {
		expect_none(i);
		fake_disconnect(sw, &ports[i]);
	}
	assert_int_equal(fake_state(&ports[0], VHOST_USER_SET_VRING_ENABLE, 1, 1), 0);
	make(0xff, 1, 60, 0);
	fake_tx(&ports[0], NULL, frame, 60);
	switch_poll(sw);
	assert_int_equal(ctr(0, CTR_DROP_NO_PORT), 1);
	assert_int_equal(fake_tx_done(&ports[0]), 7);
	assert_int_equal(switch_frames_dropped(sw), 7);
}

static void drops_of_the_receiver(void **state)
{
	connect_all(BASE);
	fake_rx_post(&ports[1], 1, 1526);
	learn_all(); /* eats port 1's buffer; the others have none and count that */
	assert_int_equal(ctr(1, CTR_DROP_NO_BUFFERS), 2);
	make(2, 1, 60, 0);
	fake_tx(&ports[0], NULL, frame, 60);
	switch_poll(sw);
	assert_int_equal(ctr(1, CTR_DROP_NO_BUFFERS), 3);
	/* Too long: the buffer stays for a frame that fits. */
	fake_rx_post(&ports[1], 1, 100);
	make(2, 1, 89, 0);
	fake_tx(&ports[0], NULL, frame, 89);
	switch_poll(sw);
	assert_int_equal(ctr(1, CTR_DROP_TOO_LONG), 1);
	make(2, 1, 88, 0);
	fake_tx(&ports[0], NULL, frame, 88);
	switch_poll(sw);
	expect(1, 88);
	/* Without room for the header, a buffer is given back unused; so is a zero-length one. */
	fake_rx_post(&ports[1], 1, 11);
	fake_rx_post(&ports[1], 1, 0);
	for (unsigned int i = 0; i < 2; i++)
		fake_tx(&ports[0], NULL, frame, 60);
	switch_poll(sw);
	assert_int_equal(ctr(1, CTR_DROP_SMALL_BUFFER), 2);
	assert_int_equal(ports[1].port.num_rx, 1);
	/* Stopped: known, but down. */
	assert_int_equal(fake_state(&ports[1], VHOST_USER_GET_VRING_BASE, 0, 0), 0);
	fake_tx(&ports[0], NULL, frame, 60);
	switch_poll(sw);
	assert_int_equal(ctr(1, CTR_DROP_DOWN), 1);
	assert_int_equal(fake_tx_done(&ports[0]), 6);
}

static void respects_the_mtu(void **state)
{
	connect_all(BASE);
	fake_rx_post(&ports[1], 8, 4096);
	learn_all();
	assert_int_equal(fake_u64(&ports[1], VHOST_USER_NET_SET_MTU, 1500), 0);
	make(2, 1, 1518, 0);
	fake_tx(&ports[0], NULL, frame, 1518);
	switch_poll(sw);
	expect(1, 1518);
	fake_tx(&ports[0], NULL, frame, 1519);
	switch_poll(sw);
	expect_none(1);
	assert_int_equal(ctr(1, CTR_DROP_MTU), 1);
}

static void legacy_headers(void **state)
{
	/* Sender: VERSION_1 (12 bytes). Receivers: legacy (10), legacy with mergeable buffers (12). */
	static const uint64_t features[PORTS] = { BASE, PROTO, PROTO | NET(F_MRG_RXBUF), BASE };

	for (unsigned int i = 0; i < PORTS; i++) {
		fake_connect(&ports[i], features[i]);
		fake_start_pair(&ports[i], 0);
		fake_rx_post(&ports[i], 8, 1526);
	}
	for (unsigned int from = 0; from < PORTS; from++) {
		make(0xff, (uint8_t)(from + 1), 77 + from, from);
		fake_tx(&ports[from], NULL, frame, 77 + from);
		switch_poll(sw);
		for (unsigned int to = 0; to < PORTS; to++) {
			if (to != from)
				expect(to, 77 + from);
		}
	}
}

static void mergeable_buffers(void **state)
{
	struct virtio_net_hdr hdr;

	connect_all(BASE | NET(F_MRG_RXBUF));
	fake_rx_post(&ports[1], 1, 1526);
	learn_all();
	fake_rx(&ports[1], NULL, got);
	/* Exactly full, and one byte over. */
	for (uint32_t len = 199; len <= 201; len++) {
		fake_rx_post(&ports[1], 2, 112);
		make(2, 1, len, len);
		fake_tx(&ports[0], NULL, frame, len);
		switch_poll(sw);
		if (len <= 212) {
			assert_int_equal(fake_rx(&ports[1], &hdr, got), len);
			assert_memory_equal(got, frame, len);
			assert_int_equal(hdr.num_buffers, 2);
		}
	}
	/* Not enough buffers: nothing is taken, and what fits later still comes. */
	fake_rx_post(&ports[1], 2, 112);
	make(2, 1, 213, 0);
	fake_tx(&ports[0], NULL, frame, 213);
	switch_poll(sw);
	expect_none(1);
	assert_int_equal(ctr(1, CTR_DROP_NO_BUFFERS), 1 + 2);
	fake_rx_post(&ports[1], 1, 112);
	fake_tx(&ports[0], NULL, frame, 213);
	switch_poll(sw);
	expect(1, 213);
}

/* A chain of descriptors written by hand: parts of [at, at + len) of the given lengths. */
static void tx_chain(struct fake *f, uint16_t head, uint32_t at, const uint32_t *parts,
		     unsigned int num)
{
	struct vq_drv *d = &f->drv[1];

	for (unsigned int i = 0; i < num; i++) {
		d->desc[head + i] = (struct vring_desc){ fake_gpa(at).v, parts[i],
							 i + 1 < num ? VRING_DESC_F_NEXT : 0,
							 (uint16_t)(head + i + 1) };
		at += parts[i];
	}
	d->avail->ring[d->avail->idx % FAKE_QUEUE] = head;
	d->avail->idx++;
}

/* Every way of cutting header and frame into descriptors gives the same frame, also across regions. */
static void any_layout(void **state)
{
	static const uint32_t cuts[][6] = {
		{ 12, 200 }, { 10, 2, 200 }, { 1, 11, 6, 6, 188 }, { 12, 6, 194 },
		{ 13, 199 }, { 76, 136 },    { 5, 60, 147 },	   { 0, 12, 0, 200 },
	};
	uint32_t middle = FAKE_BYTES / 2;

	connect_all(BASE);
	fake_rx_post(&ports[1], 40, 1526);
	learn_all();
	for (unsigned int n = 0; n < 2 * ARRAY_LEN(cuts); n++) {
		const uint32_t *c = cuts[n / 2];
		/* Odd turns: across the boundary of the two regions. */
		uint32_t at = n % 2 ? middle - 100 : fake_alloc(&ports[0], 256);
		unsigned int num = 0;
		uint32_t sum = 0;

		while (sum < 212)
			sum += c[num++];
		make(2, 1, 200, n);
		memset(ports[0].mem + at, 0, 12);
		memcpy(ports[0].mem + at + 12, frame, 200);
		tx_chain(&ports[0], 100, at, c, num);
		assert_int_equal(switch_poll(sw), 1);
		expect(1, 200);
	}
}

/* ---- offloads ---- */

static struct virtio_net_hdr super_hdr(const struct frame_spec *s, uint16_t gso_size)
{
	struct frame_at at = frame_layout(s);

	return (struct virtio_net_hdr){
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type =
			(uint8_t)((s->ipv6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4) |
				  (s->tcp_flags & 0x80 ? VIRTIO_NET_HDR_GSO_ECN : 0)),
		.hdr_len = (uint16_t)at.payload,
		.gso_size = gso_size,
		.csum_start = (uint16_t)at.l4,
		.csum_offset = 16,
	};
}

/* Receives the segments of a cut frame at a port: all payload bytes in order, every checksum right. */
static void expect_cut(unsigned int port, const struct frame_spec *s, uint32_t gso_size)
{
	struct frame_at at = frame_layout(s);
	struct virtio_net_hdr hdr;
	uint32_t done = 0;

	while (done < s->payload) {
		int n = fake_rx(&ports[port], &hdr, got);

		assert_true(n > (int)at.payload);
		assert_true((uint32_t)n - at.payload <= gso_size);
		assert_int_equal(hdr.flags | hdr.gso_type | hdr.csum_start, 0);
		assert_true(frame_checksums_ok(got, s, (uint32_t)n));
		assert_int_equal(get32(got + at.l4 + 4), s->seq + done);
		assert_memory_equal(got + at.payload, frame + at.payload + done,
				    (uint32_t)n - at.payload);
		done += (uint32_t)n - at.payload;
	}
	expect_none(port);
}

/* A super-frame flooded to four kinds of receivers at once: each gets what it can take, from one transmission. */
static void super_frames(void **state)
{
	static const uint64_t features[PORTS] = {
		BASE | OFFLOADS,
		BASE | OFFLOADS | NET(F_MRG_RXBUF),
		BASE | NET(F_GUEST_CSUM),
		PROTO,
	};

	for (unsigned int i = 0; i < PORTS; i++) {
		fake_connect(&ports[i], features[i]);
		fake_start_pair(&ports[i], 0);
	}
	for (unsigned int n = 0; n < 16; n++) {
		struct frame_spec s = {
			.dst = 9,
			.src = 1,
			.vlans = n % 3,
			.ipv6 = n % 2,
			.payload = 1000 + n * 4000,
			.seq = n * 77777,
			.tcp_options = 12,
			.tcp_flags = n & 4 ? 0x98 : 0x18,
			.salt = n,
		};
		struct virtio_net_hdr hdr = super_hdr(&s, 1448), seen;
		uint32_t len = frame_build(frame, &s);

		for (unsigned int i = 0; i < PORTS; i++)
			ports[i].next = 2u << 20;
		for (unsigned int i = 1; i < PORTS; i++)
			fake_rx_post(&ports[i], 60, 1600);
		fake_tx(&ports[0], &hdr, frame, len);
		assert_int_equal(switch_poll(sw), 1);
		assert_int_equal(fake_rx(&ports[1], &seen, got), len);
		assert_memory_equal(got, frame, len);
		assert_int_equal(seen.gso_type, hdr.gso_type);
		assert_int_equal(seen.gso_size, 1448);
		assert_int_equal(seen.csum_start, hdr.csum_start);
		expect_cut(2, &s, 1448);
		expect_cut(3, &s, 1448);
		for (unsigned int i = 1; i < PORTS; i++) {
			fake_restart_ring(&ports[i], 0);
			assert_int_equal(fake_state(&ports[i], VHOST_USER_SET_VRING_ENABLE, 0, 1),
					 0);
		}
		assert_int_equal(fake_tx_done(&ports[0]), 1);
	}
	assert_int_equal(ctr(1, CTR_TX_SUPER), 16);
	assert_int_equal(ctr(2, CTR_TX_CUT), 16);
	assert_true(ctr(3, CTR_TX_SEGMENTS) > 16 * 20);
	assert_int_equal(switch_frames_dropped(sw), 0);
}

static void checksums(void **state)
{
	static const uint64_t features[PORTS] = { BASE | OFFLOADS, BASE | NET(F_GUEST_CSUM), BASE,
						  PROTO };
	struct frame_spec s = { .dst = 9, .src = 1, .payload = 901, .seq = 5 };
	struct frame_at at = frame_layout(&s);
	struct virtio_net_hdr
		hdr = { VIRTIO_NET_HDR_F_NEEDS_CSUM, 0, 99, 99, (uint16_t)at.l4, 16, 0 },
		seen;
	uint32_t len = frame_build(frame, &s);

	for (unsigned int i = 0; i < PORTS; i++) {
		fake_connect(&ports[i], features[i]);
		fake_start_pair(&ports[i], 0);
		fake_rx_post(&ports[i], 4, 1600);
	}
	fake_tx(&ports[0], &hdr, frame, len);
	assert_int_equal(switch_poll(sw), 1);
	assert_int_equal(fake_rx(&ports[1], &seen, got), len);
	assert_memory_equal(got, frame, len);
	assert_int_equal(seen.flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
	assert_int_equal(seen.csum_start, at.l4);
	assert_int_equal(seen.gso_size, 0);
	for (unsigned int i = 2; i < PORTS; i++) {
		assert_int_equal(fake_rx(&ports[i], &seen, got), len);
		assert_int_equal(seen.flags, 0);
		assert_true(frame_checksums_ok(got, &s, len));
		assert_int_equal(ctr(i, CTR_TX_CSUM_DONE), 1);
	}
}

static void uncuttable_is_dropped(void **state)
{
	static const uint64_t features[PORTS] = { BASE | OFFLOADS, BASE, BASE | OFFLOADS, BASE };
	struct frame_spec s = { .dst = 9, .src = 1, .payload = 3000 };
	struct virtio_net_hdr hdr = super_hdr(&s, 1448);
	uint32_t len = frame_build(frame, &s);

	for (unsigned int i = 0; i < PORTS; i++) {
		fake_connect(&ports[i], features[i]);
		fake_start_pair(&ports[i], 0);
		fake_rx_post(&ports[i], 4, 4000);
	}
	frame[14 + 9] = 17; /* says UDP */
	fake_tx(&ports[0], &hdr, frame, len);
	assert_int_equal(switch_poll(sw), 1);
	assert_int_equal(fake_rx(&ports[2], NULL, got), len);
	expect_none(1);
	assert_int_equal(ctr(1, CTR_DROP_OFFLOAD), 1);
	assert_int_equal(ctr(3, CTR_DROP_OFFLOAD), 1);
}

/* ---- broken rings ---- */

/* Ring 1 of port 0 is broken now, was told so once, and works again after a restart. */
static void expect_broken_and_heal(const char *why)
{
	struct fake *f = &ports[0];

	for (unsigned int i = 0; i < 3; i++)
		switch_poll(sw);
	assert_int_equal(f->port.num_tx, 0);
	assert_int_equal(f->errs[1], ++times_broken);
	if (!strstr(f->last_log, why))
		fail_msg("logged '%s', not '%s'", f->last_log, why);
	fake_restart_ring(f, 1);
	assert_int_equal(f->port.num_tx, 1);
	make(2, 1, 60, times_broken);
	fake_tx(f, NULL, frame, 60);
	assert_int_equal(switch_poll(sw), 1);
	expect(1, 60);
}

static void impossible_headers_break_the_ring(void **state)
{
	const struct frame_spec s = { .dst = 2, .src = 1, .payload = 2000 };
	const struct virtio_net_hdr good = super_hdr(&s, 1448);
	struct virtio_net_hdr bad[8];
	uint32_t len = frame_layout(&s).len;

	for (unsigned int i = 0; i < ARRAY_LEN(bad); i++)
		bad[i] = good;
	bad[0].gso_type = 2;
	bad[1].gso_type = VIRTIO_NET_HDR_GSO_UDP;
	bad[2].gso_size = 0;
	bad[3].flags = 0;
	bad[4].csum_start = (uint16_t)(len - 10);
	bad[5].hdr_len = (uint16_t)(len + 1);
	bad[6].csum_offset = 18;
	bad[7].gso_type = VIRTIO_NET_HDR_GSO_ECN;
	connect_all(BASE | OFFLOADS);
	fake_rx_post(&ports[1], 100, 4000);
	learn_all();
	fake_rx(&ports[1], NULL, got);
	for (unsigned int i = 0; i < ARRAY_LEN(bad); i++) {
		/* The good frame before the bad one is delivered, the one behind it is not. */
		ports[0].next = 2u << 20;
		frame_build(frame, &s);
		fake_tx(&ports[0], &good, frame, len);
		fake_tx(&ports[0], &bad[i], frame, len);
		fake_tx(&ports[0], &good, frame, len);
		assert_int_equal(switch_poll(sw), 1);
		expect(1, len);
		expect_none(1);
		expect_broken_and_heal("content makes no sense");
	}
	assert_int_equal(ctr(0, CTR_RING_ERRORS), ARRAY_LEN(bad));
}

static void unnegotiated_offloads_break_the_ring(void **state)
{
	struct frame_spec s = { .dst = 2, .src = 1, .payload = 1000 };
	struct virtio_net_hdr hdr = super_hdr(&s, 500);

	connect_all(BASE);
	fake_rx_post(&ports[1], 20, 4000);
	learn_all();
	fake_rx(&ports[1], NULL, got);
	fake_tx(&ports[0], &hdr, frame, frame_build(frame, &s));
	expect_broken_and_heal("content makes no sense");
	hdr.gso_type = 0;
	fake_tx(&ports[0], &hdr, frame, frame_build(frame, &s));
	expect_broken_and_heal("content makes no sense");
	/* DATA_VALID on transmission means nothing and is not passed on. */
	hdr = (struct virtio_net_hdr){ .flags = VIRTIO_NET_HDR_F_DATA_VALID };
	fake_tx(&ports[0], &hdr, frame, 60);
	switch_poll(sw);
	assert_int_equal(fake_rx(&ports[1], &hdr, got), 60);
	assert_int_equal(hdr.flags, 0);
}

static void bad_descriptors_break_the_ring(void **state)
{
	struct vq_drv *d = &ports[0].drv[1];

	connect_all(BASE);
	fake_rx_post(&ports[1], 20, 1526);
	learn_all();
	fake_rx(&ports[1], NULL, got);
	d->avail->idx = (uint16_t)(d->avail->idx + FAKE_QUEUE + 1);
	expect_broken_and_heal("avail idx jumped");
	d->avail->ring[d->avail->idx % FAKE_QUEUE] = FAKE_QUEUE;
	d->avail->idx++;
	expect_broken_and_heal("names no descriptor");
	tx_chain(&ports[0], 0, 0, (const uint32_t[]){ 10, 10 }, 2);
	d->desc[1] = (struct vring_desc){ FAKE_GPA, 10, VRING_DESC_F_NEXT, 0 };
	expect_broken_and_heal("chain longer than the queue");
	tx_chain(&ports[0], 0, FAKE_BYTES - 8, (const uint32_t[]){ 100 }, 1);
	expect_broken_and_heal("buffer outside");
	/* A receive ring with buffers the device may only read. */
	assert_int_equal(vq_drv_add(&ports[1].drv[0], fake_gpa(0), 100, false, 0), 0);
	fake_restart_ring(&ports[1], 0);
	assert_int_equal(vq_drv_add(&ports[1].drv[0], fake_gpa(0), 100, false, 0), 0);
	make(2, 1, 60, 0);
	fake_tx(&ports[0], NULL, frame, 60);
	switch_poll(sw);
	assert_int_equal(ctr(1, CTR_DROP_RING), 1);
	assert_int_equal(ports[1].errs[0], 1);
	assert_int_equal(ports[1].port.num_rx, 0);
	fake_restart_ring(&ports[1], 0);
	fake_rx_post(&ports[1], 1, 1526);
	fake_tx(&ports[0], NULL, frame, 60);
	switch_poll(sw);
	expect(1, 60);
}

/* ---- the rest ---- */

static void disconnect_forgets(void **state)
{
	connect_all(BASE);
	for (unsigned int i = 0; i < PORTS; i++)
		fake_rx_post(&ports[i], 8, 1526);
	learn_all();
	assert_int_equal(sw->workers[0].fdb.num, PORTS);
	fake_disconnect(sw, &ports[1]);
	assert_int_equal(sw->workers[0].fdb.num, PORTS - 1);
	fake_connect(&ports[1], BASE);
	fake_start_pair(&ports[1], 0);
	fake_rx_post(&ports[1], 8, 1526);
	make(2, 1, 60, 0);
	fake_tx(&ports[0], NULL, frame, 60);
	switch_poll(sw);
	for (unsigned int i = 1; i < PORTS; i++)
		expect(i, 60);
}

static void rarp_is_flooded_and_learned(void **state)
{
	connect_all(BASE);
	for (unsigned int i = 0; i < PORTS; i++)
		fake_rx_post(&ports[i], 8, 1526);
	assert_int_equal(fake_u64(&ports[2], VHOST_USER_SEND_RARP, 0x030000000002), 0);
	switch_poll(sw);
	frame_make_rarp(frame, (const uint8_t[]){ 2, 0, 0, 0, 0, 3 });
	expect(0, FRAME_RARP_LEN);
	expect(1, FRAME_RARP_LEN);
	expect(3, FRAME_RARP_LEN);
	make(3, 1, 60, 0);
	fake_tx(&ports[0], NULL, frame, 60);
	switch_poll(sw);
	expect(2, 60);
	expect_none(1);
}

static void several_queue_pairs(void **state)
{
	unsigned int seen[2] = { 0, 0 };

	connect_all(BASE | NET(F_MQ));
	fake_start_pair(&ports[1], 1);
	fake_rx_post(&ports[1], 100, 1526);
	for (unsigned int i = 0; i < 100; i++)
		assert_int_equal(vq_drv_add(&ports[1].drv[2], fake_gpa((3u << 20) + i * 2048), 1526,
					    true, 0),
				 0);
	assert_int_equal(ports[1].port.num_rx, 2);
	for (unsigned int i = 0; i < 100; i++) {
		struct frame_spec s = { .dst = 2, .src = (uint8_t)(10 + i % 50), .payload = 10 };
		unsigned int ring;
		uint64_t at;
		uint32_t written;

		fake_tx(&ports[0], NULL, frame, frame_build(frame, &s));
		switch_poll(sw);
		ring = vq_drv_get_used(&ports[1].drv[2], &at, &written) == 1;
		if (!ring)
			assert_true(fake_rx(&ports[1], NULL, got) > 0);
		/* The same flow takes the same ring as 50 turns ago. */
		static unsigned int first[50];
		if (i < 50)
			first[i] = ring;
		else
			assert_int_equal(first[i - 50], ring);
		seen[ring]++;
	}
	assert_true(seen[0] > 10 && seen[1] > 10);
	/* The second pair disabled: everything goes to the first. */
	assert_int_equal(fake_state(&ports[1], VHOST_USER_SET_VRING_ENABLE, 2, 0), 0);
	assert_int_equal(ports[1].port.num_rx, 1);
}

static void echoes(void **state)
{
	teardown(NULL);
	start("echo");
	connect_all(BASE);
	fake_rx_post(&ports[0], 4, 1526);
	make(2, 1, 300, 5);
	fake_tx(&ports[0], NULL, frame, 300);
	assert_int_equal(switch_poll(sw), 1);
	make(1, 2, 300, 5);
	expect(0, 300);
	assert_int_equal(fake_tx_done(&ports[0]), 1);
	for (unsigned int i = 1; i < PORTS; i++)
		expect_none(i);
}

static void arms_kicks_and_sleeps(void **state)
{
	struct be_options o;
	struct poller p;
	uint64_t deadline;

	connect_all(BASE | VIRTIO_FEATURE(F_EVENT_IDX));
	be_options_init(&o);
	poller_init(&p, &o, 0);
	/* 50 us of looking; time in which nobody looked counts for little. */
	for (uint64_t now = 1000; now < 25000; now += 1000)
		assert_false(poller_sleep(&p, &sw->workers[0], now, &deadline));
	for (uint64_t now = 1000000; now < 6000000; now += 1000000)
		assert_false(poller_sleep(&p, &sw->workers[0], now, &deadline));
	assert_true(poller_sleep(&p, &sw->workers[0], 5001000, &deadline));
	assert_true(deadline == UINT64_MAX);
	make(2, 1, 60, 0);
	fake_tx(&ports[0], NULL, frame, 60);
	assert_true(vq_drv_kick_needed(&ports[0].drv[1]));
	worker_disarm(&sw->workers[0]);
	switch_poll(sw);
	fake_tx(&ports[0], NULL, frame, 60);
	assert_false(vq_drv_kick_needed(&ports[0].drv[1]));
	/* Work that came before arming is seen. */
	assert_false(poller_sleep(&p, &sw->workers[0], 5003000, &deadline));
	switch_poll(sw);
	/* A ring without kick fd bounds the sleep. */
	assert_int_equal(fake_vring_fd(&ports[2], VHOST_USER_SET_VRING_KICK, 1, false), 0);
	for (uint64_t now = 5004000; now < 5053000; now += 1000)
		assert_false(poller_sleep(&p, &sw->workers[0], now, &deadline));
	assert_true(poller_sleep(&p, &sw->workers[0], 5053000, &deadline));
	assert_true(deadline == 5053000 + POLL_NO_KICK_NS);
	o.poll = BE_POLL_ALWAYS;
	poller_init(&p, &o, 0);
	assert_false(poller_sleep(&p, &sw->workers[0], UINT64_MAX / 2, &deadline));
}

static void statistics_page(void **state)
{
	struct stats_page *page = calloc(1, stats_bytes(PORTS, 1));
	bool found = false;

	connect_all(BASE);
	make(0xff, 1, 60, 0);
	fake_tx(&ports[0], NULL, frame, 60);
	switch_poll(sw);
	stats_page_init(sw, page);
	assert_int_equal(page->magic, STATS_MAGIC);
	assert_int_equal(page->count, stats_count(PORTS, 1));
	for (unsigned int i = 0; i < page->count; i++) {
		const char *name = page->counters[i].name;

		assert_true(strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_.") == strlen(name));
		for (unsigned int k = 0; k < i; k++)
			assert_string_not_equal(name, page->counters[k].name);
		if (!strcmp(name, "port.a.rx_frames")) {
			assert_int_equal(page->counters[i].value, 1);
			found = true;
		}
	}
	assert_true(found);
	free(page);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(floods_then_learns),
		T(many_frames_every_length),
		T(calls_once_per_burst),
		T(stopped_before_the_call),
		T(ages_and_moves),
		T(pinned_addresses),
		T(drops_of_the_sender),
		T(drops_of_the_receiver),
		T(respects_the_mtu),
		T(legacy_headers),
		T(mergeable_buffers),
		T(any_layout),
		T(super_frames),
		T(checksums),
		T(uncuttable_is_dropped),
		T(impossible_headers_break_the_ring),
		T(unnegotiated_offloads_break_the_ring),
		T(bad_descriptors_break_the_ring),
		T(disconnect_forgets),
		T(rarp_is_flooded_and_learned),
		T(several_queue_pairs),
		T(echoes),
		T(arms_kicks_and_sleeps),
		T(statistics_page),
	};

	return cmocka_run_group_tests_name("switch", tests, NULL, NULL);
}
