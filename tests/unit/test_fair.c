// SPDX-License-Identifier: BSD-2-Clause
/*
 * Who gets how much: turns of ports that send more than there is time for, rate limits and how they let a worker sleep.
 * Time is a number that the tests choose.
 */
#include "be_fake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "abi/virtio_config.h"
#include "core/budget.h"
#include "core/poll.h"

#define BASE                                                                                       \
	(VIRTIO_FEATURE(F_VERSION_1) | BIT_ULL(VHOST_USER_F_PROTOCOL_FEATURES_BIT) |               \
	 VIRTIO_NET_FEATURE(F_MQ))
#define PORTS  4
#define SECOND UINT64_C(1000000000)
#define START  (1000 * SECOND)
#define LONG   60000u

static struct be_switch *sw;
static struct fake ports[PORTS];
static uint32_t buffer[PORTS];	    /* one for all transmit descriptors of a port */
static unsigned int done[PORTS][2]; /* transmitted by each pair */

static void start(const char *options)
{
	sw = fake_switch(ports, PORTS, 1, options, START);
	for (unsigned int i = 0; i < PORTS; i++) {
		uint8_t *frame;

		fake_connect(&ports[i], BASE);
		fake_start_pair(&ports[i], 0);
		fake_start_pair(&ports[i], 1);
		buffer[i] = fake_alloc(&ports[i], 12 + FRAME_MAX);
		frame = ports[i].mem + buffer[i] + 12;
		/* Port i has address i + 1 and sends to the last one. */
		memcpy(frame, (const uint8_t[]){ 2, 0, 0, 0, 0, PORTS, 2, 0, 0, 0, 0 }, 11);
		frame[11] = (uint8_t)(i + 1);
	}
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

/* Fills a transmit ring up to num frames under way. Returns how many were added. */
static unsigned int fill(unsigned int port, unsigned int pair, unsigned int num, uint32_t len)
{
	struct vq_drv *drv = &ports[port].drv[2 * pair + 1];
	unsigned int added = 0;
	uint64_t token;
	uint32_t written;

	while (vq_drv_get_used(drv, &token, &written) == 1)
		done[port][pair]++;
	for (; FAKE_QUEUE < num + drv->num_free; added++)
		assert_int_equal(
			vq_drv_add(drv, fake_gpa(buffer[port]), 12 + len, false, buffer[port]), 0);
	return added;
}

/* What to fill() for so many more. */
static unsigned int under_way(unsigned int port, unsigned int pair, uint64_t more)
{
	struct vq_drv *drv = &ports[port].drv[2 * pair + 1];
	uint64_t token, num;
	uint32_t written;

	while (vq_drv_get_used(drv, &token, &written) == 1)
		done[port][pair]++;
	num = FAKE_QUEUE - drv->num_free + more;
	return num < FAKE_QUEUE ? (unsigned int)num : FAKE_QUEUE;
}

static uint64_t ctr(unsigned int port, enum port_counter c)
{
	return switch_counter(sw, &ports[port].port, c);
}

/* The last port's address becomes known, so that nothing is flooded. */
static void learn_last(void)
{
	fill(PORTS - 1, 0, 1, 60);
	assert_int_equal(switch_poll(sw), 1);
}

static void more_rings_are_no_larger_share(void **state)
{
	learn_last();
	for (unsigned int i = 0; i < 5000; i++) {
		fill(0, 0, 128, 60);
		fill(0, 1, 128, 60);
		fill(1, 0, 128, 60);
		switch_poll(sw);
	}
	/* Within 1 %, and both were served all the time. */
	assert_in_range(ctr(0, CTR_RX_FRAMES) * 100 / ctr(1, CTR_RX_FRAMES), 99, 101);
	assert_true(ctr(1, CTR_RX_FRAMES) > 5000 * 30);
	assert_int_equal(ctr(1, CTR_TURN_WAITS), 0);
	assert_true(ctr(0, CTR_TURN_WAITS) > 1000);
}

static void long_frames_are_no_larger_share(void **state)
{
	uint64_t last;

	learn_last();
	for (unsigned int i = 0; i < 5000; i++) {
		fill(0, 0, 128, LONG);
		fill(1, 0, 128, 60);
		switch_poll(sw);
	}
	assert_int_equal(ctr(1, CTR_TURN_WAITS), 0);
	last = ctr(1, CTR_RX_FRAMES) * TURN_COPY(60);
	assert_in_range(ctr(0, CTR_RX_FRAMES) * TURN_COPY(LONG) * 100 / last, 90, 110);
}

static void copies_count(void **state)
{
	/* Address 4 has not been learned: port 0 floods three ports, port 1 sends one copy each to a known address. */
	fill(PORTS - 2, 0, 1, 60);
	switch_poll(sw);
	ports[1].mem[buffer[1] + 12 + 5] = PORTS - 1;
	for (unsigned int i = 0; i < 5000; i++) {
		fill(0, 0, 128, 60);
		fill(1, 0, 128, 60);
		switch_poll(sw);
	}
	assert_int_equal(ctr(0, CTR_RX_FLOODED), ctr(0, CTR_RX_FRAMES));
	assert_in_range(ctr(1, CTR_RX_FRAMES) * 100 / ctr(0, CTR_RX_FRAMES), 290, 310);
}

static void one_alone_never_waits(void **state)
{
	learn_last();
	for (unsigned int i = 0; i < 3 * TURN_ROUNDS; i++)
		switch_poll(sw);
	for (unsigned int i = 0; i < 100; i++) {
		fill(0, 0, 32, LONG);
		fill(0, 1, 32, LONG);
		assert_int_equal(switch_poll(sw), 64);
	}
	assert_int_equal(ctr(0, CTR_TURN_WAITS), 0);
}

/* Who was idle gets its share from now on, not what it had not used; and nobody is made to wait for somebody idle. */
static void idleness_earns_nothing(void **state)
{
	uint64_t before[2];

	learn_last();
	for (unsigned int i = 0; i < 2000; i++) {
		fill(0, 0, 128, 60);
		switch_poll(sw);
	}
	before[0] = ctr(0, CTR_RX_FRAMES);
	assert_true(before[0] > 2000 * 31);
	for (unsigned int i = 0; i < 2000; i++) {
		fill(0, 0, 128, 60);
		fill(1, 0, 128, 60);
		switch_poll(sw);
	}
	assert_in_range((ctr(0, CTR_RX_FRAMES) - before[0]) * 100 / ctr(1, CTR_RX_FRAMES), 98, 102);
	before[0] = ctr(0, CTR_RX_FRAMES);
	for (unsigned int i = 0; i < 100; i++) {
		fill(0, 0, 128, 60);
		switch_poll(sw);
	}
	assert_true(ctr(0, CTR_RX_FRAMES) - before[0] > 99 * 31);
}

/* A port that wants less than its share gets all it wants, in the round in which it wants it. */
static void modest_one_is_not_kept(void **state)
{
	uint64_t sent = 0;

	learn_last();
	for (unsigned int i = 0; i < 5000; i++) {
		fill(0, 0, 128, LONG);
		fill(0, 1, 128, LONG);
		if (i % 3 == 0)
			sent += fill(1, 0, 8, 60);
		switch_poll(sw);
		assert_int_equal(ctr(1, CTR_RX_FRAMES), sent);
	}
	assert_int_equal(ctr(1, CTR_TURN_WAITS), 0);
	assert_true(ctr(0, CTR_RX_FRAMES) > 5000);
}

/* What all ports but the last have cost so far: a clock that goes as fast as the worker works. */
static uint64_t cycles(void)
{
	uint64_t sum = 0;

	for (unsigned int p = 0; p < PORTS - 1; p++)
		sum += ctr(p, CTR_RX_FRAMES) * TURN_FRAME + TURN_BYTES(ctr(p, CTR_RX_BYTES));
	return sum;
}

/*
 * Port 1 sends at so many percent of what the worker can do, into a ring of the usual size; what finds no room there is
 * lost. The others flood, with both rings. Percent that get through.
 */
static uint64_t modest_gets(unsigned int percent, unsigned int flooders, uint32_t len)
{
	uint64_t due = 0, offered = 0, queued = 0, begin = cycles(), end = begin + 30000000;

	for (uint64_t now = begin; now < end; now = cycles()) {
		fill(0, 0, FAKE_QUEUE, len);
		fill(0, 1, FAKE_QUEUE, len);
		if (flooders > 1) {
			fill(2, 0, FAKE_QUEUE, len);
			fill(2, 1, FAKE_QUEUE, len);
		}
		due = (now - begin) * percent / 100 / TURN_COPY(60);
		queued += fill(1, 0, under_way(1, 0, due - offered), 60);
		offered = due;
		switch_poll(sw);
	}
	return queued * 100 / offered;
}

static void modest_one_keeps_up(void **state)
{
	static const uint32_t lens[] = { 60, 1514, LONG };

	learn_last();
	for (unsigned int i = 0; i < ARRAY_LEN(lens); i++) {
		memset(done, 0, sizeof(done));
		for (unsigned int percent = 5; percent < 50; percent += 11)
			assert_true(modest_gets(percent, 1, lens[i]) >= 95);
		for (unsigned int percent = 5; percent < 33; percent += 9)
			assert_true(modest_gets(percent, 2, lens[i]) >= 95);
		/* A port's rings have the same of its share. */
		assert_in_range(done[0][0] * 100 / done[0][1], 95, 105);
		assert_in_range(done[2][0] * 100 / done[2][1], 95, 105);
	}
}

/* ---- rates ---- */

static void bucket_fills_with_time(void **state)
{
	struct rate_limit l;
	struct rate_room room;
	uint64_t now = START, sum = 0;

	rate_init(&l, 8000000, 0); /* a byte per microsecond */
	assert_true(rate_ready(&l, now));
	room = rate_room(&l, now);
	assert_int_equal(room.bytes, RATE_BURST_NS / 1000);
	assert_true(room.packets == UINT64_MAX);
	rate_charge(&l, now, 10000, 1);
	assert_false(rate_ready(&l, now));
	assert_int_equal(rate_room(&l, now).bytes, 0);
	assert_int_equal(rate_ready_at(&l), now + RATE_WAKE_NS);
	assert_int_equal(rate_room(&l, now + 1000000).bytes, 1000);
	/* It never holds more than its burst, and a debt is paid. */
	now += 5 * SECOND;
	assert_int_equal(rate_room(&l, now).bytes, 10000);
	rate_charge(&l, now, 60000, 1);
	assert_false(rate_ready(&l, now + 49 * 1000000));
	assert_false(rate_ready(&l, now + 50 * 1000000));
	assert_true(rate_ready(&l, now + 50 * 1000000 + 1000));
	/* Whoever takes, over a second it is the rate and one burst. */
	now += SECOND;
	for (uint64_t end = now + SECOND; now < end; now += 77777) {
		for (unsigned int worker = 0; worker < 3; worker++) {
			if (!rate_ready(&l, now))
				continue;
			rate_charge(&l, now, 700, 1);
			sum += 700;
		}
	}
	assert_in_range(sum, 1000000, 1010000 + 3 * 700);
}

static void both_limits_hold(void **state)
{
	struct rate_limit l;

	rate_init(&l, 0, 0);
	assert_false(l.on);
	rate_init(&l, 0, 1000);
	assert_true(l.on);
	assert_int_equal(rate_room(&l, START).packets, 10);
	rate_charge(&l, START, UINT32_MAX, 10);
	assert_false(rate_ready(&l, START));
	assert_int_equal(rate_room(&l, START + 3000000).packets, 3);
	rate_init(&l, RATE_BITS_MAX, RATE_PACKETS_MAX);
	rate_charge(&l, START, 32 * FRAME_MAX, 32);
	assert_true(rate_ready(&l, START));
	/* To the nanosecond, which are 125 bytes. */
	assert_in_range(rate_room(&l, START).bytes, 1250000000 - 32 * FRAME_MAX - 125,
			1250000000 - 32 * FRAME_MAX);
}

static void limited_port_keeps_its_frames(void **state)
{
	uint64_t now = START;

	teardown(state);
	start("switch port.a.rate=8M port.b.pps=2k");
	learn_last();
	fill(0, 0, 200, 1000);
	fill(1, 0, 200, 1000);
	fill(2, 0, 200, 1000);
	for (unsigned int i = 0; i < 20; i++)
		switch_poll(sw);
	/* The others may go on. */
	assert_int_equal(ctr(0, CTR_RX_FRAMES), 10);
	assert_int_equal(ctr(1, CTR_RX_FRAMES), 20);
	assert_int_equal(ctr(2, CTR_RX_FRAMES), 200);
	assert_true(ctr(0, CTR_RATE_WAITS) > 10);
	for (unsigned int i = 0; i < 50; i++) {
		now += 1000000;
		switch_set_time(sw, now);
		while (switch_poll(sw))
			;
	}
	assert_in_range(ctr(0, CTR_RX_FRAMES), 59, 60);
	assert_in_range(ctr(1, CTR_RX_FRAMES), 119, 120);
	/*
	 * Nothing was dropped for it: there are no receive buffers in this test, and learn_last() is its own
	 * receiver.
	 */
	assert_int_equal(switch_frames_dropped(sw) - ctr(PORTS - 1, CTR_DROP_NO_BUFFERS), 1);
}

static void limited_port_lets_sleep(void **state)
{
	struct worker *w;
	struct be_options o;
	struct poller p;
	uint64_t deadline = 0, now = START;

	teardown(state);
	start("switch port.a.pps=1k");
	w = &sw->workers[0];
	be_options_init(&o);
	o.poll = BE_POLL_NEVER;
	poller_init(&p, &o, now);
	fill(0, 0, 50, 60);
	assert_int_equal(switch_poll(sw), 10);
	assert_int_equal(switch_poll(sw), 0);
	/* There is work in the ring, which is not to be done yet: no spinning, but a deadline. */
	assert_true(poller_sleep(&p, w, now, &deadline));
	assert_int_equal(deadline, now + RATE_WAKE_NS);
	worker_disarm(w);
	/* Somebody else's frame still wakes it. */
	assert_true(poller_sleep(&p, w, now, &deadline));
	fill(1, 0, 1, 60);
	assert_true(vq_drv_kick_needed(&ports[1].drv[1]));
	worker_disarm(w);
	assert_int_equal(switch_poll(sw), 1);
	/* At the deadline there is work again; it is found by arming, too. */
	now = deadline;
	switch_set_time(sw, now);
	assert_false(poller_sleep(&p, w, now, &deadline));
	assert_int_equal(switch_poll(sw), 1);
	/* A limit with nothing in the ring: the kick is asked for when the bucket has filled, at the latest. */
	for (unsigned int i = 0; i < 100; i++) {
		now += 1000000;
		switch_set_time(sw, now);
		switch_poll(sw);
	}
	assert_int_equal(ctr(0, CTR_RX_FRAMES), 50);
	assert_true(poller_sleep(&p, w, now, &deadline));
	assert_true(deadline == UINT64_MAX);
	fill(0, 0, 1, 60);
	assert_true(vq_drv_kick_needed(&ports[0].drv[1]));
}

/* More than a burst is taken ahead; what a limit leaves of it is in no ring any more. */
static void frames_taken_ahead_are_work(void **state)
{
	struct be_options o;
	struct poller p;
	uint64_t deadline = 0, now = START;

	teardown(state);
	start("switch port.a.pps=4k");
	be_options_init(&o);
	o.poll = BE_POLL_NEVER;
	poller_init(&p, &o, now);
	fill(0, 0, 60, 60);
	for (unsigned int i = 0; i < 4; i++)
		switch_poll(sw);
	assert_int_equal(ctr(0, CTR_RX_FRAMES), 40);
	for (unsigned int i = 1; i <= 20 && ctr(0, CTR_RX_FRAMES) < 60; i++) {
		assert_true(poller_sleep(&p, &sw->workers[0], now, &deadline));
		assert_in_range(deadline, now, now + 2 * RATE_WAKE_NS);
		worker_disarm(&sw->workers[0]);
		now = deadline;
		switch_set_time(sw, now);
		assert_false(poller_sleep(&p, &sw->workers[0], now, &deadline));
		switch_poll(sw);
	}
	assert_int_equal(ctr(0, CTR_RX_FRAMES), 60);
}

/* ---- kicks ---- */

static void kicks(unsigned int port, unsigned int num, bool polling)
{
	for (unsigned int i = 0; i < num; i++)
		worker_kicked(&sw->workers[0], &ports[port].port, polling);
	switch_poll(sw);
}

static void kicks_in_vain_are_held_off(void **state)
{
	struct poller p;
	struct be_options o;
	uint64_t deadline = 0, now = START;

	be_options_init(&o);
	o.poll = BE_POLL_NEVER;
	poller_init(&p, &o, now);
	/* The first one may have been for a message, and some may have come ahead of their frames. */
	kicks(0, 1 + KICKS_DUE + KICKS_IN_VAIN, false);
	assert_false(ports[0].port.kicks.held);
	kicks(0, 1, false);
	assert_true(ports[0].port.kicks.held);
	assert_true(ports[0].kick_held[1] && ports[0].kick_held[3]);
	assert_false(ports[0].kick_held[0] || ports[1].kick_held[1]);
	assert_int_equal(ctr(0, CTR_KICK_FLOODS), 1);
	/* It is looked at every millisecond, and served. */
	assert_true(poller_sleep(&p, &sw->workers[0], now, &deadline));
	assert_int_equal(deadline, now + POLL_NO_KICK_NS);
	worker_disarm(&sw->workers[0]);
	fill(0, 0, 1, 60);
	assert_int_equal(switch_poll(sw), 1);
	/* A kick fd sent again changes nothing. */
	assert_int_equal(fake_vring_fd(&ports[0], VHOST_USER_SET_VRING_KICK, 1, true), 0);
	assert_true(ports[0].kick_held[1]);
	switch_set_time(sw, now + KICKS_HOLD_NS - 1);
	assert_true(ports[0].port.kicks.held);
	now += KICKS_HOLD_NS;
	switch_set_time(sw, now);
	assert_false(ports[0].port.kicks.held || ports[0].kick_held[1] || ports[0].kick_held[3]);
	assert_true(poller_sleep(&p, &sw->workers[0], now, &deadline));
	assert_true(deadline == UINT64_MAX);
	/* Again at once: longer. */
	kicks(0, 1 + KICKS_DUE + KICKS_IN_VAIN + 1, false);
	assert_true(ports[0].port.kicks.held);
	switch_set_time(sw, now + KICKS_HOLD_NS);
	assert_true(ports[0].port.kicks.held);
	now += 2 * KICKS_HOLD_NS;
	switch_set_time(sw, now);
	assert_false(ports[0].port.kicks.held);
	assert_int_equal(ctr(0, CTR_KICK_FLOODS), 2);
}

static void kicks_for_work_are_welcome(void **state)
{
	uint64_t now = START;

	for (unsigned int i = 0; i < 5 * KICKS_IN_VAIN; i++) {
		worker_kicked(&sw->workers[0], &ports[0].port, false);
		fill(0, 0, 1, 60);
		assert_int_equal(switch_poll(sw), 1);
	}
	assert_false(ports[0].port.kicks.held);
	/* A thousand a second in vain are bearable. */
	for (unsigned int i = 0; i < 10; i++) {
		kicks(1, KICKS_IN_VAIN, false);
		now += SECOND;
		switch_set_time(sw, now);
	}
	assert_false(ports[1].port.kicks.held);
	/* Messages are an excuse, but not for ever. */
	for (unsigned int i = 0; i < KICKS_EXCUSED; i++) {
		fake_plain(&ports[2], VHOST_USER_GET_FEATURES);
		assert_false(worker_kicked(&sw->workers[0], &ports[2].port, true));
	}
	fake_plain(&ports[2], VHOST_USER_GET_FEATURES);
	assert_true(worker_kicked(&sw->workers[0], &ports[2].port, true));
	assert_false(ports[2].port.kicks.held);
	/* Frames are no excuse for kicks while the rings are polled. */
	for (unsigned int i = 0; i < KICKS_IN_VAIN / KICKS_SEEN + 1; i++) {
		worker_kicked(&sw->workers[0], &ports[0].port, true);
		fill(0, 0, 1, 60);
		switch_poll(sw);
	}
	assert_true(ports[0].port.kicks.held);
}

/* The worker is about to sleep, and finds that a driver has just made a frame available. */
static void almost_sleeps(unsigned int port)
{
	assert_false(worker_arm(&sw->workers[0]));
	fill(port, 0, 1, 60);
	assert_true(worker_arm(&sw->workers[0]));
	worker_disarm(&sw->workers[0]);
	assert_int_equal(switch_poll(sw), 1);
}

/*
 * Drivers that lose the processor between deciding to kick and doing so: their kicks come when the frame has long been
 * taken and the rings are polled again.
 */
static void late_kicks_are_honest(void **state)
{
	struct worker *w = &sw->workers[0];
	unsigned int all = 5 * (KICKS_IN_VAIN + KICKS_DUE);

	for (unsigned int i = 0; i < all; i++) {
		almost_sleeps(0);
		assert_false(worker_kicked(w, &ports[0].port, true));
	}
	/* Now late, now in time. */
	for (unsigned int i = 0; i < all; i++) {
		almost_sleeps(1);
		assert_false(worker_kicked(w, &ports[1].port, true));
		assert_false(worker_kicked(w, &ports[1].port, false));
		fill(1, 0, 1, 60);
		assert_int_equal(switch_poll(sw), 1);
	}
	/* Both rings of a port, for being armed once. */
	for (unsigned int i = 0; i < all; i++) {
		almost_sleeps(2);
		fill(2, 1, 1, 60);
		assert_int_equal(switch_poll(sw), 1);
		assert_false(worker_kicked(w, &ports[2].port, true));
		assert_false(worker_kicked(w, &ports[2].port, true));
	}
	for (unsigned int p = 0; p < PORTS; p++)
		assert_false(ports[p].port.kicks.held);
	/* Having been armed is no excuse for kicks without a frame, nor for more than there are rings. */
	for (unsigned int i = 0; i < KICKS_DUE; i++)
		worker_kicked(w, &ports[0].port, false);
	for (unsigned int i = 0; i < KICKS_IN_VAIN / KICKS_SEEN + 1; i++) {
		worker_arm(w);
		worker_disarm(w);
		assert_true(worker_kicked(w, &ports[0].port, true));
	}
	switch_poll(sw);
	assert_true(ports[0].port.kicks.held);
}

/* ---- messages ---- */

static void messages_are_paid_for(void **state)
{
	const struct vhost_user_msg get = { .hdr = { .request = VHOST_USER_GET_FEATURES } };
	const struct vhost_user_msg call = { .hdr = { .request = VHOST_USER_SET_VRING_CALL } };
	struct budget b = { 0 };
	uint64_t now = START;
	unsigned int num;

	assert_true(budget_message_ns(&call) > budget_message_ns(&get));
	/* What a front-end needs to start is there at once; then it is so many a second. */
	for (num = 0; budget_ok(&b, now); num++)
		budget_pay(&b, now, 1000, true, budget_message_ns(&get));
	assert_int_equal(num, BUDGET_BURST_NS / BUDGET_MESSAGE_NS);
	for (uint64_t end = now + SECOND; now < end; now += 50000) {
		if (!budget_ok(&b, now))
			continue;
		budget_pay(&b, now, 1000, true, budget_message_ns(&get));
		num++;
	}
	assert_in_range(num, (BUDGET_BURST_NS + SECOND) / BUDGET_MESSAGE_NS - 1,
			(BUDGET_BURST_NS + SECOND) / BUDGET_MESSAGE_NS + 1);
	/* Costly ones may take a tenth of the time while others have work, and all of it while nobody has. */
	assert_int_equal(budget_ok_at(&b), b.until - BUDGET_BURST_NS + BUDGET_WAKE_NS);
	b.until = 0;
	for (num = 0; num < 2000; num++) {
		assert_true(budget_ok(&b, now));
		budget_pay(&b, now, 1000000, false, 0);
		now += 1000000;
	}
	for (num = 0; budget_ok(&b, now); num++) {
		budget_pay(&b, now, 1000000, true, 0);
		now += 1000000;
	}
	assert_in_range(num, BUDGET_BURST_NS / 10000000, BUDGET_BURST_NS / 9000000 + 1);
}

static void options_are_read(void **state)
{
	static const char *const bad[] = {
		"port.a.rate=",	   "port.a.rate=0",
		"port.a.rate=999", "port.a.rate=2T",
		"port.a.pps=0",	   "port.a.pps=-1",
		"port.a.pps=2G",   "port.a.rate=1kk",
		"port.a.pps=k",	   "port.a.rate=1m",
		"port..rate=1M",   "port.a.rate=1M port.a.rate=2M",
		"port.a.speed=1",  "port.a.pps=99999999999999999999",
	};
	static const char *const names[] = { "a", "b.rate" };
	struct be_options o;
	struct text error;

	for (unsigned int i = 0; i < ARRAY_LEN(bad); i++) {
		be_options_init(&o);
		assert_int_equal(be_options_line(&o, bad[i], &error), -EINVAL);
		assert_non_null(strstr(error.s, "port."));
	}
	be_options_init(&o);
	assert_int_equal(be_options_line(&o, "port.a.rate=100M port.b.rate.pps=10k port.a.pps=7",
					 &error),
			 0);
	assert_int_equal(be_options_limit(&o, "a")->bits, 100000000);
	assert_int_equal(be_options_limit(&o, "a")->packets, 7);
	assert_int_equal(be_options_limit(&o, "b.rate")->bits, 0);
	assert_int_equal(be_options_limit(&o, "b.rate")->packets, 10000);
	assert_null(be_options_limit(&o, "b"));
	assert_int_equal(be_options_check(&o, names, 2, &error), 0);
	assert_int_equal(be_options_check(&o, names, 1, &error), -EINVAL);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(more_rings_are_no_larger_share),
		T(long_frames_are_no_larger_share),
		T(copies_count),
		T(one_alone_never_waits),
		T(idleness_earns_nothing),
		T(modest_one_is_not_kept),
		T(modest_one_keeps_up),
		cmocka_unit_test(bucket_fills_with_time),
		cmocka_unit_test(both_limits_hold),
		T(limited_port_keeps_its_frames),
		T(limited_port_lets_sleep),
		T(frames_taken_ahead_are_work),
		T(kicks_in_vain_are_held_off),
		T(kicks_for_work_are_welcome),
		T(late_kicks_are_honest),
		cmocka_unit_test(messages_are_paid_for),
		cmocka_unit_test(options_are_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
