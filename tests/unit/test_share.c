// SPDX-License-Identifier: BSD-2-Clause
/*
 * A receiver that has fewer buffers than others have frames for it: who gets them (core/share.h). The last port
 * receives; what it gets tells by its source address who sent it. All of that over every kind of ring, and with senders
 * that are served by other workers than the receiver.
 */
#include "be_fake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "abi/virtio_config.h"
#include "be_frames.h"

#define BASE	 (VIRTIO_FEATURE(F_VERSION_1) | BIT_ULL(VHOST_USER_F_PROTOCOL_FEATURES_BIT))
#define PACKED	 VIRTIO_FEATURE(F_RING_PACKED)
#define IN_ORDER VIRTIO_FEATURE(F_IN_ORDER)
#define MRG	 VIRTIO_NET_FEATURE(F_MRG_RXBUF)
#define SENDER	 (VIRTIO_NET_FEATURE(F_CSUM) | VIRTIO_NET_FEATURE(F_HOST_TSO4))
#define RECEIVER (VIRTIO_NET_FEATURE(F_GUEST_CSUM) | VIRTIO_NET_FEATURE(F_GUEST_TSO4))
#define PORTS	 5
#define TO	 (PORTS - 1)
#define SECOND	 UINT64_C(1000000000)
#define START	 (1000 * SECOND)
#define BYTES	 60u
#define RX_SIZE	 2048u
#define SEGMENT	 1448u
#define SEGMENTS 20u
/* Of the receiver, if it merges them. */
#define SUPER_BUFFERS ((12 + 54 + SEGMENTS * SEGMENT) / RX_SIZE + 1)
/* Buffers that the receiver gives back until everybody is known, and while it is counted. */
#define WARM_UP 3000u
#define COUNTED 16000u

/* What the ports are: their rings, and how many workers serve them. */
struct kind {
	uint64_t rings;
	unsigned int workers;
};

static const struct kind *kind;
static struct be_switch *sw;
static struct fake ports[PORTS];
static uint32_t buffer[PORTS]; /* one for all transmit descriptors of a port */
static uint32_t bytes[PORTS];  /* in it */
static uint32_t rx_at;
static unsigned int got[PORTS]; /* buffers with frames of the port */
static unsigned int sent[PORTS];

/* Port p sends this to the last port. */
static void sends(unsigned int p, const uint8_t *frame, uint32_t len)
{
	struct fake *f = &ports[p];

	memcpy(f->mem + buffer[p] + 12, frame, len);
	bytes[p] = 12 + len;
}

/* ... super-frames. */
static void sends_super(unsigned int p)
{
	static uint8_t frame[FRAME_MAX];
	const struct frame_spec spec = { .dst = PORTS,
					 .src = (uint8_t)(p + 1),
					 .payload = SEGMENTS * SEGMENT };
	struct frame_at at = frame_layout(&spec);
	const struct virtio_net_hdr hdr = { VIRTIO_NET_HDR_F_NEEDS_CSUM,
					    VIRTIO_NET_HDR_GSO_TCPV4,
					    (uint16_t)at.payload,
					    SEGMENT,
					    (uint16_t)at.l4,
					    16,
					    0 };

	sends(p, frame, frame_build(frame, &spec));
	memcpy(ports[p].mem + buffer[p], &hdr, 12);
}

/* features: of the receiver, beyond what all have. */
static void begin(uint64_t features)
{
	uint8_t frame[BYTES] = { 2, 0, 0, 0, 0, PORTS, 2 };

	sw = fake_switch(ports, PORTS, kind->workers, "switch", START);
	for (unsigned int i = 0; i < PORTS; i++) {
		fake_connect(&ports[i], BASE | kind->rings | (i == TO ? features : SENDER));
		fake_start_pair(&ports[i], 0);
		buffer[i] = fake_alloc(&ports[i], 12 + 54 + SEGMENTS * SEGMENT);
		frame[11] = (uint8_t)(i + 1);
		sends(i, frame, BYTES);
		sent[i] = 0;
	}
	rx_at = fake_alloc(&ports[TO], FAKE_QUEUE * RX_SIZE);
}

static int setup(void **state)
{
	kind = *state;
	begin(0);
	return 0;
}

static int teardown(void **state)
{
	fake_switch_free(sw, ports, PORTS);
	return 0;
}

static void again(uint64_t features)
{
	fake_switch_free(sw, ports, PORTS);
	begin(features);
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
	fake_finish(sw);
	assert_int_equal(ctr(TO, CTR_RX_FRAMES), 1);
	memset(got, 0, sizeof(got));
}

/* It takes max buffers at most, and gives them back. */
static void take(unsigned int max)
{
	uint8_t from = 0;
	unsigned int more = 0; /* buffers of this frame */
	uint64_t slot;
	uint32_t written;

	while ((max || more) && vq_drv_get_used(&ports[TO].drv[0], &slot, &written) == 1) {
		const uint8_t *p = ports[TO].mem + rx_at + slot * RX_SIZE;

		if (!more) {
			struct virtio_net_hdr hdr;

			memcpy(&hdr, p, 12);
			more = hdr.num_buffers;
			from = p[12 + 11];
		}
		more--;
		max -= max > 0;
		got[from - 1]++;
		post((unsigned int)slot);
	}
	assert_int_equal(more, 0);
}

static void transmit(unsigned int port, unsigned int num)
{
	struct vq_drv *drv = &ports[port].drv[1];
	uint64_t token;
	uint32_t written;

	while (vq_drv_get_used(drv, &token, &written) == 1)
		;
	for (; num && drv->num_free; num--, sent[port]++)
		assert_int_equal(vq_drv_add(drv, fake_gpa(buffer[port]), bytes[port], false, 0), 0);
}

/*
 * What the senders want per round; the receiver takes `takes` every `every` rounds. late: the others send when port 0's
 * frames have been taken.
 */
struct load {
	unsigned int wants[TO];
	unsigned int takes, every;
	bool late;
};

static void run(const struct load *l, unsigned int rounds)
{
	for (unsigned int i = 0; i < rounds; i++) {
		for (unsigned int p = 0; p < TO; p++) {
			transmit(p, l->wants[p]);
			if (l->late)
				fake_finish(sw);
		}
		/* There is time for all of them. */
		fake_finish(sw);
		if (i % l->every == 0)
			take(l->takes);
	}
}

/* After a while in which everybody's needs become known. Returns the buffers that the receiver can have given back. */
static unsigned int run_and_count(const struct load *l)
{
	unsigned int rounds = COUNTED / l->takes;

	run(l, WARM_UP / l->takes * l->every);
	memset(got, 0, sizeof(got));
	memset(sent, 0, sizeof(sent));
	run(l, rounds * l->every);
	assert_true(share()->on);
	return rounds * l->takes;
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
		{ .wants = { 256, 120 }, .takes = 256, .every = 1, .late = true },
		/* The modest ones want more than half of it together. */
		{ .wants = { 256, 80, 80 }, .takes = 256, .every = 1, .late = true },
		{ .wants = { 256, 60, 60, 60 }, .takes = 256, .every = 1, .late = true },
	};

	for (size_t i = 0; i < ARRAY_LEN(loads); i++) {
		const struct load *l = &loads[i];
		unsigned int all = 0, most;

		if (i)
			again(0);
		receive(FAKE_QUEUE);
		most = run_and_count(l);
		for (unsigned int p = 0; p < TO; p++) {
			if (p && l->wants[p] < 32 * (l->late ? 4 : 1) &&
			    got[p] * 100 < sent[p] * 99)
				fail_msg("load %zu, port %u: %u of %u", i, p, got[p], sent[p]);
			all += got[p];
		}
		/* Buffers are not kept from those who would take them. */
		if (l->takes < 256)
			assert_in_range(all, most * 99 / 100, most);
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
		unsigned int all = 0, most;

		if (i)
			again(0);
		receive(FAKE_QUEUE);
		most = run_and_count(&loads[i]);
		assert_in_range(got[1] * 100 / got[0], 95, 105);
		for (unsigned int p = 0; p < TO; p++)
			all += got[p];
		assert_in_range(all, most * 99 / 100, most);
		if (loads[i].wants[2])
			assert_in_range(got[2] * 100 / got[0], 95, 105);
	}
}

/* A super-frame that takes many buffers is worth as many frames. */
static void super_frames_count_by_their_buffers(void **state)
{
	static const struct load modest[] = {
		{ .wants = { 128, 2 }, .takes = 96, .every = 1 },
		{ .wants = { 256, 8 }, .takes = 256, .every = 1, .late = true },
	};

	for (size_t i = 0; i < ARRAY_LEN(modest); i++) {
		again(RECEIVER | MRG);
		sends_super(1);
		receive(FAKE_QUEUE);
		run_and_count(&modest[i]);
		if (got[1] * 100 < sent[1] * SUPER_BUFFERS * 99)
			fail_msg("load %zu: %u of %u", i, got[1], sent[1] * SUPER_BUFFERS);
	}
	/* Whoever floods: those who send short frames, or long ones. */
	for (unsigned int p = 0; p < 2; p++) {
		again(RECEIVER | MRG);
		sends_super(p);
		receive(FAKE_QUEUE);
		run_and_count(
			&(struct load){ .wants = { 128, p ? 16 : 128 }, .takes = 96, .every = 1 });
		assert_in_range(got[1] * 100 / got[0], 80, 125);
	}
	again(RECEIVER | MRG);
	sends_super(0);
	receive(FAKE_QUEUE);
	run_and_count(&(struct load){ .wants = { 16, 4 }, .takes = 16, .every = 1 });
	assert_true(got[1] * 100 >= sent[1] * 99);
}

/* So are those that are cut for the receiver, though they hardly ever find room for all their segments. */
static void cut_frames_count_by_their_segments(void **state)
{
	const struct load modest = { .wants = { 2, 2 }, .takes = 8, .every = 1 };
	const struct load greedy = { .wants = { 2, 16 }, .takes = 8, .every = 1 };

	sends_super(0);
	receive(FAKE_QUEUE);
	run_and_count(&modest);
	assert_true(ctr(TO, CTR_TX_CUT) > 1000);
	assert_true(got[1] * 100 >= sent[1] * 99);
	again(0);
	sends_super(0);
	receive(FAKE_QUEUE);
	run_and_count(&greedy);
	assert_in_range(got[1] * 100 / got[0], 95, 105);
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
	/* It ends when one of them has gone, and the ring is let alone when nobody is too fast any more. */
	run(&(struct load){ .wants = { 32, 1 }, .takes = 8, .every = 1 }, 500);
	assert_true(share()->on);
	for (unsigned int i = 1; i <= 3 * SHARE_SECONDS; i++) {
		fake_time(sw, START + i * SECOND);
		run(&(struct load){ .wants = { 32 }, .takes = 8, .every = 1 }, 50);
	}
	assert_false(share()->on || ports[TO].port.vrings[0].slow);
	run(&(struct load){ .wants = { 32, 1 }, .takes = 8, .every = 1 }, 500);
	assert_true(share()->on);
	for (unsigned int i = 20; i <= 20 + 3 * SHARE_SECONDS; i++) {
		fake_time(sw, START + i * SECOND);
		run(&(struct load){ .wants = { 2, 1 }, .takes = 8, .every = 1 }, 500);
	}
	assert_false(ports[TO].port.vrings[0].slow);
}

/* Fewer buffers in the ring than the reserve: it gives way. */
static void few_buffers(void **state)
{
	for (unsigned int num = 1; num <= 16; num *= 4) {
		const struct load l = { .wants = { 32, 32 }, .takes = num, .every = 1 };

		again(0);
		receive(num);
		run(&l, 500);
		assert_true(share()->on);
		for (unsigned int i = 1; i <= 6; i++) {
			fake_time(sw, START + i * SECOND);
			run(&l, 500);
		}
		memset(got, 0, sizeof(got));
		run(&l, 500);
		assert_true(got[0] + got[1] >= 500 * num / 4);
		/* One of them alone. */
		run(&(struct load){ .wants = { 32 }, .takes = num, .every = 1 }, 100);
		memset(got, 0, sizeof(got));
		run(&(struct load){ .wants = { 32 }, .takes = num, .every = 1 }, 500);
		assert_true(got[0] >= 500 * num / 4);
	}
}

/* A receiver that stood still for seconds looks like one that has few. It does not when it goes on. */
static void receiver_stands_still(void **state)
{
	const struct load l = { .wants = { 256, 120 }, .takes = 256, .every = 1, .late = true };
	const struct load none = { .wants = { 256, 120 }, .takes = 0, .every = 1, .late = true };

	receive(FAKE_QUEUE);
	run_and_count(&l);
	assert_true(got[1] * 100 >= sent[1] * 99);
	for (unsigned int i = 1; i <= 16; i *= 4) {
		/* So many seconds. */
		for (unsigned int k = 1; k <= i; k++) {
			fake_time(sw, START + (100 * i + k) * SECOND);
			run(&none, 2);
		}
		run(&l, 10);
		memset(got, 0, sizeof(got));
		memset(sent, 0, sizeof(sent));
		run(&l, 50);
		assert_int_equal(got[1], sent[1]);
	}
}

/*
 * Whoever may have nothing now finds out all the same that the ring is broken, by an index that packed rings
 * don't have.
 */
static void broken_ring_is_noticed(void **state)
{
	struct fake *f = &ports[TO];

	receive(FAKE_QUEUE);
	run_and_count(&(struct load){ .wants = { 32, 1 }, .takes = 8, .every = 1 });
	run(&(struct load){ .wants = { 32 }, .takes = 0, .every = 1 }, 1);
	assert_int_equal(f->errs[0], 0);
	f->drv[0].avail->idx = (uint16_t)(f->drv[0].avail->idx + FAKE_QUEUE + 1);
	/* Some are taken already. */
	run(&(struct load){ .wants = { 32 }, .takes = 0, .every = 1 }, 4);
	assert_int_equal(f->errs[0], 1);
	assert_int_equal(f->port.num_rx, 0);
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

/* There are buffers enough, for the moment: the hot path has the ring, until somebody finds none. */
static void lull(void **state)
{
	const struct vring *vr = &ports[TO].port.vrings[0];
	const struct load enough = { .wants = { 3, 2 }, .takes = 256, .every = 1 };
	const struct load flood = { .wants = { 32, 2 }, .takes = 8, .every = 1 };
	uint64_t dropped;

	receive(FAKE_QUEUE);
	run_and_count(&flood);
	assert_true(vr->slow && !share()->lull);
	run(&enough, 500);
	dropped = ctr(TO, CTR_DROP_NO_BUFFERS);
	/* It takes bursts that the reserve would not have let it take. */
	run(&(struct load){ .wants = { 120, 120 }, .takes = 256, .every = 1 }, 500);
	assert_true(share()->on && share()->lull && !vr->slow);
	assert_int_equal(ctr(TO, CTR_DROP_NO_BUFFERS), dropped);
	memset(got, 0, sizeof(got));
	memset(sent, 0, sizeof(sent));
	run(&flood, COUNTED / flood.takes);
	assert_true(vr->slow && !share()->lull);
	assert_in_range(got[1], sent[1] * 99 / 100, sent[1]);
	/* It lasts longer than anybody is remembered. */
	run(&enough, 500);
	assert_true(share()->lull);
	fake_time(sw, START + (2 * SHARE_SECONDS + 1) * SECOND);
	run(&enough, 50);
	assert_true(share()->lull);
	run(&(struct load){ .wants = { 32 }, .takes = 8, .every = 1 }, 500);
	assert_false(share()->on || share()->lull || vr->slow);
}

/* A little too much, so that there are lulls again and again. */
static void little_too_much(void **state)
{
	const struct load l = { .wants = { 16, 1 }, .takes = 16, .every = 1 };

	receive(FAKE_QUEUE);
	run(&l, 2000);
	assert_true(share()->on);
	memset(got, 0, sizeof(got));
	memset(sent, 0, sizeof(sent));
	run(&l, 4000);
	assert_in_range(got[1], sent[1] * 98 / 100, sent[1]);
	assert_in_range(got[0] + got[1], 4000 * 16 * 99 / 100, 4000 * 16);
}

static struct kind kinds[] = {
	{ 0, 1 }, { PACKED, 1 }, { IN_ORDER, 1 }, { PACKED | IN_ORDER, 1 }, { 0, 3 }, { PACKED, 4 },
};

#define K(f, name, n)                                                                              \
	{                                                                                          \
#f ", " name, f, setup, teardown, &kinds[n]                                        \
	}
#define EACH(f)                                                                                    \
	K(f, "split", 0), K(f, "packed", 1), K(f, "split in order", 2),                            \
		K(f, "packed in order", 3), K(f, "split, 3 workers", 4),                           \
		K(f, "packed, 4 workers", 5)

int main(void)
{
	const struct CMUnitTest tests[] = {
		EACH(modest_one_loses_nothing),
		EACH(greedy_ones_get_the_same),
		EACH(super_frames_count_by_their_buffers),
		EACH(cut_frames_count_by_their_segments),
		EACH(off_where_not_needed),
		EACH(few_buffers),
		EACH(receiver_stands_still),
		K(broken_ring_is_noticed, "split", 0),
		K(broken_ring_is_noticed, "split in order", 2),
		K(broken_ring_is_noticed, "split, 3 workers", 4),
		EACH(idleness_earns_little),
		EACH(lull),
		EACH(little_too_much),
	};

	return cmocka_run_group_tests_name("share", tests, NULL, NULL);
}
