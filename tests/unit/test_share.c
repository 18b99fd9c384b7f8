// SPDX-License-Identifier: BSD-2-Clause
/*
 * A receiver that has fewer buffers than others have frames for it: who gets them (core/share.h). The last port
 * receives; what it gets tells by its source address who sent it.
 */
#include "be_fake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "abi/virtio_config.h"

#define BASE	(VIRTIO_FEATURE(F_VERSION_1) | BIT_ULL(VHOST_USER_F_PROTOCOL_FEATURES_BIT))
#define PORTS	5
#define TO	(PORTS - 1)
#define SECOND	UINT64_C(1000000000)
#define START	(1000 * SECOND)
#define BYTES	60u
#define RX_SIZE 128u
#define WARM_UP 200u
#define ROUNDS	3000u

static struct be_switch *sw;
static struct fake ports[PORTS];
static uint32_t buffer[PORTS]; /* one for all transmit descriptors of a port */
static uint32_t rx_at;
static unsigned int backlog, got[PORTS], sent[PORTS];

static int setup(void **state)
{
	struct be_options o;
	struct text error;

	be_options_init(&o);
	sw = aligned_alloc(64, ALIGN_UP(switch_bytes(1), (size_t)64));
	memset(sw, 0xa5, switch_bytes(1));
	switch_make(sw, 1);
	for (unsigned int i = 0; i < PORTS; i++) {
		char name[2] = { (char)('a' + i), 0 };

		fake_init(&ports[i], name, i, &o);
		switch_add_port(sw, &ports[i].port);
	}
	assert_int_equal(switch_init(sw, &o, 42, &error), 0);
	switch_set_time(sw, START);
	for (unsigned int i = 0; i < PORTS; i++) {
		uint8_t *frame;

		fake_connect(&ports[i], BASE);
		fake_start_pair(&ports[i], 0);
		buffer[i] = fake_alloc(&ports[i], 12 + BYTES);
		frame = ports[i].mem + buffer[i] + 12;
		memcpy(frame, (const uint8_t[]){ 2, 0, 0, 0, 0, PORTS, 2, 0, 0, 0, 0 }, 11);
		frame[11] = (uint8_t)(i + 1);
		sent[i] = 0;
	}
	rx_at = fake_alloc(&ports[TO], FAKE_QUEUE * RX_SIZE);
	backlog = 0;
	return 0;
}

static int teardown(void **state)
{
	for (unsigned int i = 0; i < PORTS; i++)
		fake_free(&ports[i]);
	free(sw);
	return 0;
}

static struct ring_share *share(void)
{
	return &ports[TO].port.vrings[0].share;
}

static uint64_t ctr(unsigned int port, enum port_counter c)
{
	return switch_counter(sw, &ports[port].port, c);
}

static void post(unsigned int slot)
{
	assert_int_equal(vq_drv_add(&ports[TO].drv[0], fake_gpa(rx_at + slot * RX_SIZE), RX_SIZE,
				    true, slot),
			 0);
}

/* The receiver has room for so many frames; its address is known from now on. */
static void receive(unsigned int buffers)
{
	for (unsigned int i = 0; i < buffers; i++)
		post(i);
	assert_int_equal(vq_drv_add(&ports[TO].drv[1], fake_gpa(buffer[TO]), 12 + BYTES, false, 0),
			 0);
	assert_int_equal(switch_poll(sw), 1);
	memset(got, 0, sizeof(got));
}

/* It takes at most max frames, and gives their buffers back. */
static void take(unsigned int max)
{
	uint64_t slot;
	uint32_t written;

	for (; max && vq_drv_get_used(&ports[TO].drv[0], &slot, &written) == 1; max--) {
		assert_int_equal(written, 12 + BYTES);
		got[ports[TO].mem[rx_at + slot * RX_SIZE + 12 + 11] - 1]++;
		post((unsigned int)slot);
	}
}

static void transmit(unsigned int port, unsigned int num)
{
	struct vq_drv *drv = &ports[port].drv[1];
	uint64_t token;
	uint32_t written;

	while (vq_drv_get_used(drv, &token, &written) == 1)
		;
	for (; num && drv->num_free; num--, sent[port]++)
		assert_int_equal(vq_drv_add(drv, fake_gpa(buffer[port]), 12 + BYTES, false, 0), 0);
}

/* What the senders want per round; the receiver takes `takes` every `every` rounds. */
struct load {
	unsigned int wants[TO];
	unsigned int takes, every;
};

static void run(const struct load *l, unsigned int rounds)
{
	for (unsigned int i = 0; i < rounds; i++) {
		for (unsigned int p = 0; p < TO; p++)
			transmit(p, l->wants[p]);
		/* There is time for all of them. */
		while (switch_poll(sw))
			;
		if (i % l->every == 0)
			take(l->takes);
	}
}

/* After a while in which everybody's needs become known. */
static void run_and_count(const struct load *l)
{
	run(l, WARM_UP * l->every);
	memset(got, 0, sizeof(got));
	memset(sent, 0, sizeof(sent));
	run(l, ROUNDS * l->every);
	assert_true(share()->on);
}

static void modest_one_loses_nothing(void **state)
{
	/* The receiver takes some at a time, or all that it has at once. */
	static const struct load loads[] = {
		{ .wants = { 32, 1 }, .takes = 4, .every = 1 },
		{ .wants = { 32, 1 }, .takes = 256, .every = 16 },
		{ .wants = { 32, 2 }, .takes = 8, .every = 1 },
		{ .wants = { 32, 2 }, .takes = 256, .every = 32 },
		{ .wants = { 32, 4 }, .takes = 256, .every = 16 },
		{ .wants = { 32, 32, 1 }, .takes = 8, .every = 1 },
		{ .wants = { 32, 4, 1, 1 }, .takes = 16, .every = 1 },
		{ .wants = { 32, 32, 1, 1 }, .takes = 256, .every = 32 },
	};

	for (size_t i = 0; i < ARRAY_LEN(loads); i++) {
		const struct load *l = &loads[i];
		unsigned int all = 0;

		if (i) {
			teardown(state);
			setup(state);
		}
		receive(FAKE_QUEUE);
		run_and_count(l);
		for (unsigned int p = 0; p < TO; p++) {
			if (l->wants[p] < 32 && got[p] * 100 < sent[p] * 99)
				fail_msg("load %zu, port %u: %u of %u", i, p, got[p], sent[p]);
			all += got[p];
		}
		/* Buffers are not kept from those who would take them. */
		if (l->takes < 256)
			assert_in_range(all, ROUNDS * l->takes * 99 / 100, ROUNDS * l->takes);
	}
}

static void greedy_ones_get_the_same(void **state)
{
	static const struct load loads[] = {
		{ .wants = { 32, 32 }, .takes = 8, .every = 1 },
		{ .wants = { 32, 20 }, .takes = 8, .every = 1 },
		{ .wants = { 32, 6 }, .takes = 8, .every = 1 },
		{ .wants = { 32, 32, 32, 1 }, .takes = 10, .every = 1 },
	};

	for (size_t i = 0; i < ARRAY_LEN(loads); i++) {
		unsigned int all = 0;

		if (i) {
			teardown(state);
			setup(state);
		}
		receive(FAKE_QUEUE);
		run_and_count(&loads[i]);
		assert_in_range(got[1] * 100 / got[0], 95, 105);
		for (unsigned int p = 0; p < TO; p++)
			all += got[p];
		assert_in_range(all, ROUNDS * loads[i].takes * 99 / 100, ROUNDS * loads[i].takes);
		if (loads[i].wants[2])
			assert_in_range(got[2] * 100 / got[0], 95, 105);
	}
}

/* Nothing happens to a port alone, nor to ports that find what they need. */
static void off_where_not_needed(void **state)
{
	receive(FAKE_QUEUE);
	run(&(struct load){ .wants = { 32 }, .takes = 8, .every = 1 }, 500);
	assert_true(ctr(TO, CTR_DROP_NO_BUFFERS) > 1000);
	assert_false(share()->on || ports[TO].port.vrings[0].slow);
	take(256);
	run(&(struct load){ .wants = { 5, 6 }, .takes = 11, .every = 1 }, 500);
	assert_false(share()->on);
	/* It ends when one of them has gone, or when nobody is too fast any more. */
	run(&(struct load){ .wants = { 32, 1 }, .takes = 8, .every = 1 }, 500);
	assert_true(share()->on);
	for (unsigned int i = 1; i <= 3 * SHARE_SECONDS; i++) {
		switch_set_time(sw, START + i * SECOND);
		run(&(struct load){ .wants = { 32 }, .takes = 8, .every = 1 }, 50);
	}
	assert_false(share()->on || ports[TO].port.vrings[0].slow);
	run(&(struct load){ .wants = { 32, 1 }, .takes = 8, .every = 1 }, 500);
	assert_true(share()->on);
	for (unsigned int i = 20; i <= 20 + 3 * SHARE_SECONDS; i++) {
		switch_set_time(sw, START + i * SECOND);
		run(&(struct load){ .wants = { 2, 1 }, .takes = 8, .every = 1 }, 500);
	}
	assert_false(share()->on);
}

/* Fewer buffers in the ring than the reserve: it gives way. */
static void few_buffers(void **state)
{
	const struct load l = { .wants = { 32 }, .takes = 4, .every = 1 };

	receive(4);
	run(&(struct load){ .wants = { 32, 1 }, .takes = 4, .every = 1 }, 500);
	assert_true(share()->on);
	for (unsigned int i = 1; i <= 4; i++) {
		switch_set_time(sw, START + i * SECOND);
		run(&l, 500);
	}
	memset(got, 0, sizeof(got));
	switch_set_time(sw, START + 5 * SECOND - 1);
	run(&l, 500);
	assert_true(got[0] > 500);
}

/* Who was idle gets what it wants now, not what it had not used. */
static void idleness_earns_little(void **state)
{
	unsigned int before;

	receive(FAKE_QUEUE);
	run_and_count(&(struct load){ .wants = { 32, 1 }, .takes = 8, .every = 1 });
	before = got[0];
	run(&(struct load){ .wants = { 32, 32 }, .takes = 8, .every = 1 }, 1000);
	/* Half of it, but for a lap. */
	assert_in_range(got[0] - before, 4000 - 2 * FAKE_QUEUE, 4000 + 2 * FAKE_QUEUE);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(modest_one_loses_nothing), T(greedy_ones_get_the_same),
		T(off_where_not_needed),     T(few_buffers),
		T(idleness_earns_little),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
