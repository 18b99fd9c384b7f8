// SPDX-License-Identifier: BSD-2-Clause
/*
 * Driver side of the rings: alone against a device that lies, then against our device side over the same memory, in
 * one thread step by step and in two threads that sleep only when the rings say they may. The latter in every layout.
 */
#include "ring_memory.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define SIZE 16u

static uint8_t *ring_memory(unsigned int size)
{
	uint32_t bytes = vq_drv_layout(size).bytes;
	uint8_t *p = aligned_alloc(4096, ALIGN_UP(bytes, 4096));

	assert_non_null(p);
	memset(p, 0, ALIGN_UP(bytes, 4096));
	return p;
}

static void layout(void **state)
{
	for (unsigned int size = 1; size <= VQ_DRV_SIZE_MAX; size *= 2) {
		struct vq_drv_layout l = vq_drv_layout(size);

		assert_true(l.avail_offset >= vring_desc_bytes(size));
		assert_true(l.used_offset >= l.avail_offset + vring_avail_bytes(size));
		assert_true(l.bytes >= l.used_offset + vring_used_bytes(size));
		assert_true(IS_ALIGNED(l.avail_offset, VRING_AVAIL_ALIGN));
		assert_true(IS_ALIGNED(l.used_offset, VRING_USED_ALIGN));
	}
}

static void init_refuses(void **state)
{
	uint8_t *mem = ring_memory(SIZE);
	struct vq_drv drv;

	assert_int_equal(vq_drv_init(&drv, mem, 0, false), -EINVAL);
	assert_int_equal(vq_drv_init(&drv, mem, 12, false), -EINVAL);
	assert_int_equal(vq_drv_init(&drv, mem, VQ_DRV_SIZE_MAX * 2, false), -EINVAL);
	free(mem);
}

static void fills_up(void **state)
{
	uint8_t *mem = ring_memory(SIZE);
	struct vq_drv drv;
	uint64_t cookie;
	uint32_t written;

	assert_int_equal(vq_drv_init(&drv, mem, SIZE, false), 0);
	assert_false(vq_drv_kick_needed(&drv));
	for (unsigned int i = 0; i < SIZE; i++)
		assert_int_equal(vq_drv_add(&drv, gpa(0x1000 * i), 64, true, 100 + i), 0);
	assert_int_equal(vq_drv_add(&drv, gpa(0), 64, true, 0), -ENOSPC);
	assert_int_equal(drv.avail->idx, SIZE);
	assert_true(vq_drv_kick_needed(&drv));
	assert_false(vq_drv_kick_needed(&drv));
	assert_int_equal(vq_drv_get_used(&drv, &cookie, &written), 0);

	/* Given back in another order. */
	for (unsigned int i = 0; i < SIZE; i++) {
		drv.used->ring[i] = (struct vring_used_elem){ SIZE - 1 - i, i };
		drv.used->idx++;
	}
	for (unsigned int i = 0; i < SIZE; i++) {
		assert_int_equal(vq_drv_get_used(&drv, &cookie, &written), 1);
		assert_int_equal(cookie, 100 + SIZE - 1 - i);
		assert_int_equal(written, i);
	}
	assert_int_equal(vq_drv_get_used(&drv, &cookie, &written), 0);
	drv.used->flags = VRING_USED_F_NO_NOTIFY;
	assert_int_equal(vq_drv_add(&drv, gpa(0), 64, true, 0), 0);
	assert_false(vq_drv_kick_needed(&drv));
	free(mem);
}

static void device_lies(void **state)
{
	const struct {
		struct vring_used_elem elem;
		uint16_t idx;
	} lies[] = {
		{ { 1, 0 }, 1 },			    /* not in flight */
		{ { SIZE, 0 }, 1 },			    /* no such descriptor */
		{ { UINT32_MAX, 0 }, 1 }, { { 0, 65 }, 1 }, /* more than it may write */
		{ { 0, 0 }, 2 },			    /* more used than in flight */
		{ { 0, 0 }, 0xffff },
	};

	for (size_t i = 0; i < ARRAY_LEN(lies); i++) {
		uint8_t *mem = ring_memory(SIZE);
		struct vq_drv drv;
		uint64_t cookie;
		uint32_t written;

		assert_int_equal(vq_drv_init(&drv, mem, SIZE, true), 0);
		assert_int_equal(vq_drv_add(&drv, gpa(0), 64, true, 0), 0);
		drv.used->ring[0] = lies[i].elem;
		drv.used->idx = lies[i].idx;
		assert_int_equal(vq_drv_get_used(&drv, &cookie, &written), -EPROTO);
		free(mem);
	}
}

static void device_lies_packed(void **state)
{
	const uint16_t used = VRING_PACKED_DESC_F_AVAIL | VRING_PACKED_DESC_F_USED;
	const struct {
		struct vring_packed_desc desc;
		bool in_order;
		int get;
	} lies[] = {
		{ { 0, 64, 0, used }, false, 1 },
		{ { 0, 0, 2, used }, false, -EPROTO },	  /* not in flight */
		{ { 0, 0, SIZE, used }, false, -EPROTO }, /* no such buffer */
		{ { 0, 0, 0xffff, used }, false, -EPROTO },
		{ { 0, 65, 0, used }, false, -EPROTO }, /* more than it may write */
		{ { 0, 0, 0, 0 }, false, 0 },		/* used in another lap */
		{ { 0, 64, 1, used }, true, 1 },	/* a batch of two */
		{ { 0, 65, 0, used }, true, -EPROTO },
		{ { 0, 0, 2, used }, true, -EPROTO }, /* a batch beyond what is in flight */
		{ { 0, 0, SIZE, used }, true, -EPROTO },
	};

	for (size_t i = 0; i < ARRAY_LEN(lies); i++) {
		struct vq_drv_mode mode = { .packed = true, .in_order = lies[i].in_order };
		uint8_t *mem = ring_memory(SIZE);
		struct vq_drv drv;
		uint64_t cookie;
		uint32_t written;

		assert_int_equal(vq_drv_init_mode(&drv, mem, SIZE, mode), 0);
		assert_int_equal(vq_drv_add(&drv, gpa(0), 64, true, 7), 0);
		assert_int_equal(vq_drv_add(&drv, gpa(0), 64, true, 8), 0);
		drv.ring[0] = lies[i].desc;
		assert_int_equal(vq_drv_get_used(&drv, &cookie, &written), lies[i].get);
		if (lies[i].get == 1) {
			assert_int_equal(cookie, 7);
			assert_int_equal(written, 64);
			/* The other one only if it was a batch. */
			assert_int_equal(vq_drv_get_used(&drv, &cookie, &written),
					 lies[i].in_order);
		}
		free(mem);
	}
}

/* In a split ring idx has moved by as many as the batch. */
static void device_lies_in_order(void **state)
{
	struct vq_drv_mode mode = { .in_order = true };
	uint8_t *mem = ring_memory(SIZE);
	struct vq_drv drv;
	uint64_t cookie;
	uint32_t written;

	assert_int_equal(vq_drv_init_mode(&drv, mem, SIZE, mode), 0);
	for (unsigned int i = 0; i < 3; i++)
		assert_int_equal(vq_drv_add(&drv, gpa(0), 64, true, i), 0);
	drv.used->ring[0] = (struct vring_used_elem){ 1, 5 };
	drv.used->idx = 2;
	assert_int_equal(vq_drv_get_used(&drv, &cookie, &written), 1);
	assert_int_equal(written, 64);
	assert_int_equal(vq_drv_get_used(&drv, &cookie, &written), 1);
	assert_int_equal(written, 5);
	assert_int_equal(vq_drv_get_used(&drv, &cookie, &written), 0);
	assert_int_equal(vq_drv_add(&drv, gpa(0), 64, true, 3), 0);
	drv.used->ring[2] = (struct vring_used_elem){ 3, 5 };
	drv.used->idx = 3; /* two buffers, one step */
	assert_int_equal(vq_drv_get_used(&drv, &cookie, &written), -EPROTO);
	free(mem);
}

/* Driver and device over one piece of memory. */
struct pair {
	struct vq_drv drv;
	struct vq_dev dev;
	struct vq_chain *chain;
	struct memmap map;
	uint8_t *mem;
	uint8_t *buf;
};

#define PAIR_RING 0x10000ull
#define PAIR_BUF  0x80000ull
#define SLOT	  64u

static struct pair *pair_new(unsigned int size, struct vq_drv_mode mode)
{
	struct vq_drv_layout l = vq_drv_layout(size);
	struct pair *p = calloc(1, sizeof(*p));
	struct vq_dev_conf conf;

	assert_non_null(p);
	p->mem = ring_memory(size);
	p->buf = calloc(size, SLOT);
	p->chain = malloc(sizeof(*p->chain));
	assert_non_null(p->buf);
	assert_non_null(p->chain);
	memmap_init(&p->map);
	assert_int_equal(memmap_add(&p->map, gpa(PAIR_RING), ALIGN_UP(l.bytes, 4096), p->mem), 0);
	assert_int_equal(memmap_add(&p->map, gpa(PAIR_BUF), size * SLOT, p->buf), 0);
	assert_int_equal(vq_drv_init_mode(&p->drv, p->mem, size, mode), 0);
	conf = (struct vq_dev_conf){
		.map = &p->map,
		.desc = gpa(PAIR_RING),
		.avail = gpa(PAIR_RING + l.avail_offset),
		.used = gpa(PAIR_RING + l.used_offset),
		.size = size,
		.base = mode.packed ? 0x8000 : 0,
		.packed = mode.packed,
		.in_order = mode.in_order,
		.event_idx = mode.event_idx,
	};
	assert_int_equal(vq_dev_start(&p->dev, &conf), 0);
	return p;
}

static void pair_free(struct pair *p)
{
	free(p->mem);
	free(p->buf);
	free(p->chain);
	free(p);
}

/* The device copies the sequence number of each buffer it gets, doubled, into it. */
static unsigned int device_burst(struct pair *p, unsigned int most)
{
	unsigned int n = 0;

	while (n < most) {
		uint64_t value;
		int rc = vq_dev_get(&p->dev, p->chain);

		assert_true(rc >= 0);
		if (rc == 0)
			break;
		assert_int_equal(p->chain->num_in, 1);
		memcpy(&value, p->chain->segs[0].base, sizeof(value));
		value *= 2;
		assert_int_equal(vq_chain_write(p->chain, 0, &value, sizeof(value)), sizeof(value));
		vq_dev_put(&p->dev, p->chain->ref, sizeof(value));
		n++;
	}
	vq_dev_publish(&p->dev);
	return n;
}

static void driver_add(struct pair *p, uint64_t seq, unsigned int slot)
{
	memcpy(p->buf + SLOT * slot, &seq, sizeof(seq));
	assert_int_equal(
		vq_drv_add(&p->drv, gpa(PAIR_BUF + SLOT * slot), SLOT, true, seq << 16 | slot), 0);
}

/* Takes one used buffer, checks what the device made of it; returns its slot, or -1. */
static int driver_take(struct pair *p)
{
	uint64_t cookie;
	uint64_t value;
	uint32_t written;
	unsigned int slot;
	int rc = vq_drv_get_used(&p->drv, &cookie, &written);

	assert_true(rc >= 0);
	if (rc == 0)
		return -1;
	slot = cookie & 0xffff;
	assert_int_equal(written, sizeof(value));
	memcpy(&value, p->buf + SLOT * slot, sizeof(value));
	assert_int_equal(value, 2 * (cookie >> 16));
	return (int)slot;
}

static void against_device(void **state)
{
	struct pair *p = pair_new(SIZE, *(struct vq_drv_mode *)*state);
	uint64_t added = 0;
	uint64_t taken = 0;
	unsigned int calls = 0;
	unsigned int kicks = 0;

	/* Bursts of all sizes, more than twice round the 16-bit indices. */
	while (taken < 2 * 65536 + 1000) {
		unsigned int burst = 1 + (unsigned int)(added * 7 % SIZE);

		for (unsigned int i = 0; i < burst; i++, added++)
			driver_add(p, added, (unsigned int)(added % SIZE));
		kicks += vq_drv_kick_needed(&p->drv);
		assert_int_equal(device_burst(p, SIZE), burst);
		calls += vq_dev_call_needed(&p->dev);
		assert_false(
			vq_dev_kick_enable(&p->dev)); /* would sleep: so the next add must kick */
		for (unsigned int i = 0; i < burst; i++, taken++)
			assert_int_not_equal(driver_take(p), -1);
		assert_int_equal(driver_take(p), -1); /* would sleep: so the next use must call */
	}
	assert_int_equal(added, taken);
	assert_true(kicks == calls && kicks > 65536 / SIZE);
	assert_int_equal(p->drv.num_free, SIZE);

	/* While the device polls it is not kicked. */
	vq_dev_kick_disable(&p->dev);
	for (unsigned int i = 0; i < 200000; i++) {
		driver_add(p, i, 0);
		assert_false(vq_drv_kick_needed(&p->drv));
		assert_int_equal(device_burst(p, SIZE), 1);
		assert_true(vq_dev_call_needed(&p->dev));
		assert_int_equal(driver_take(p), 0);
		assert_int_equal(driver_take(p), -1);
	}
	pair_free(p);
}

/* Bursts of buffers the device only reads: in order, one used entry stands for all of them. */
static void readable_bursts(void **state)
{
	struct pair *p = pair_new(SIZE, *(struct vq_drv_mode *)*state);
	struct vq_one ones[SIZE];
	uint64_t added = 0;
	uint64_t taken = 0;
	uint64_t cookie;
	uint32_t written;

	while (taken < 70000) {
		unsigned int burst = 1 + (unsigned int)(added * 5 % SIZE);
		unsigned int half = burst / 2;
		unsigned int got;

		for (unsigned int i = 0; i < burst; i++, added++)
			assert_int_equal(vq_drv_add(&p->drv, gpa(PAIR_BUF), 8, false, added), 0);
		assert_true(vq_dev_avail(&p->dev) > 0);
		got = vq_dev_get_ones(&p->dev, false, ones, SIZE);
		assert_int_equal(got, burst);
		vq_dev_put_ones(&p->dev, ones, NULL, half);
		vq_dev_put_ones(&p->dev, ones + half, NULL, burst - half);
		assert_false(vq_drv_arm(&p->drv));
		assert_false(vq_drv_pending(&p->drv));
		vq_dev_publish(&p->dev);
		for (unsigned int i = 0; i < burst; i++, taken++) {
			assert_true(vq_drv_arm(&p->drv));
			assert_true(vq_drv_pending(&p->drv));
			assert_int_equal(vq_drv_get_used(&p->drv, &cookie, &written), 1);
			assert_int_equal(cookie, taken);
			assert_int_equal(written, 0);
		}
		assert_int_equal(vq_drv_get_used(&p->drv, &cookie, &written), 0);
	}
	pair_free(p);
}

/*
 * Two threads. Each sleeps in poll() as soon as its ring tells it that a notification will come. A lost
 * notification is a hang: poll() then times out and the test fails.
 */
#define THREAD_ROUNDS 100000u
#define HANG_MS	      60000

struct threads {
	struct pair *pair;
	int kick;
	int call;
	unsigned int sleeps;
};

static void notify(int fd)
{
	uint64_t one = 1;

	assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
}

static bool wait_for(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	uint64_t count;

	if (poll(&pfd, 1, HANG_MS) != 1)
		return false;
	return read(fd, &count, sizeof(count)) == sizeof(count);
}

/* Returns NULL, or words for what went wrong: cmocka's assertions belong to the main thread. */
static void *device_thread(void *arg)
{
	struct threads *t = arg;
	struct vq_dev *dev = &t->pair->dev;
	struct vq_chain *chain = t->pair->chain;
	unsigned int done = 0;
	const char *wrong = NULL;

	while (done < THREAD_ROUNDS && !wrong) {
		int rc = vq_dev_get(dev, chain);

		if (rc < 0) {
			wrong = vq_broken_name(dev->broken);
		} else if (rc == 1) {
			vq_chain_write(chain, 0, &(uint64_t){ done }, 8);
			vq_dev_put(dev, chain->ref, 8);
			done++;
			if (done % 3) /* some in bursts */
				continue;
		}
		vq_dev_publish(dev);
		if (vq_dev_call_needed(dev))
			notify(t->call);
		if (rc == 0 && !vq_dev_kick_enable(dev)) {
			t->sleeps++;
			if (!wait_for(t->kick))
				wrong = "the device was not kicked";
			vq_dev_kick_disable(dev);
		}
	}
	vq_dev_publish(dev);
	notify(t->call);
	return (void *)(uintptr_t)wrong;
}

/* ThreadSanitizer takes flags (16 bits, written) and the word that they are in (64 bits, read) for two variables. */
#ifdef __SANITIZE_THREAD__
#define CAN_CHECK_PACKED 0
#else
#define CAN_CHECK_PACKED 1
#endif

static void two_threads(void **state)
{
	const struct vq_drv_mode *mode = *state;
	struct threads t;
	struct vq_drv *drv;
	unsigned int added = 0;
	unsigned int taken = 0;
	pthread_t thread;
	void *wrong;

	if (mode->packed && !CAN_CHECK_PACKED)
		skip();
	t = (struct threads){ .pair = pair_new(SIZE, *mode),
			      .kick = eventfd(0, 0),
			      .call = eventfd(0, 0) };
	drv = &t.pair->drv;
	assert_int_equal(pthread_create(&thread, NULL, device_thread, &t), 0);
	while (taken < THREAD_ROUNDS) {
		uint64_t cookie;
		uint64_t value;
		uint32_t written;
		int rc;

		while (added < THREAD_ROUNDS && drv->num_free) {
			assert_int_equal(vq_drv_add(drv, gpa(PAIR_BUF + SLOT * (added % SIZE)),
						    SLOT, true, added),
					 0);
			added++;
		}
		if (vq_drv_kick_needed(drv))
			notify(t.kick);
		rc = vq_drv_get_used(drv, &cookie, &written);
		assert_true(rc >= 0);
		if (rc == 0) {
			assert_true(wait_for(t.call));
			continue;
		}
		assert_int_equal(cookie, taken);
		memcpy(&value, t.pair->buf + SLOT * (taken % SIZE), sizeof(value));
		assert_int_equal(value, taken);
		taken++;
	}
	assert_int_equal(pthread_join(thread, &wrong), 0);
	if (wrong)
		fail_msg("%s", (const char *)wrong);
	print_message("device slept %u times in %u buffers\n", t.sleeps, taken);
	close(t.kick);
	close(t.call);
	pair_free(t.pair);
}

/*
 * Litmus tests of the two full barriers. Both sides act at the same moment: one publishes and looks whether the
 * other wants to be told, the other asks to be told and looks whether something is there. At least one of them
 * has to see the other. Without either barrier a store waits in its processor's buffer while the load behind it
 * has been done.
 */
#define LITMUS_ROUNDS 100000u
#define LITMUS_LEAST                                                                               \
	2000u /* where both threads seldom run at the same time, each round costs time slices ... */
#define LITMUS_SECONDS 10 /* ... and there are no more rounds than are done by then */

struct litmus {
	struct pair *pair;
	time_t until;
	unsigned int go;     /* round that may begin */
	unsigned int done;   /* round the other thread has finished */
	bool stop;	     /* instead of a round */
	bool device_is_idle; /* what the device thread saw or decided in that round */
	bool calls;	     /* which of the two tests */
};

static time_t seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec;
}

static void spin_until(const unsigned int *word, unsigned int value)
{
	for (unsigned int i = 0; __atomic_load_n(word, __ATOMIC_ACQUIRE) != value; i++)
		if (i > 2000)
			sched_yield();
}

static void *litmus_device(void *arg)
{
	struct litmus *l = arg;
	struct vq_dev *dev = &l->pair->dev;

	for (unsigned int round = 1;; round++) {
		if (l->calls) {
			while (vq_dev_get(dev, l->pair->chain) != 1)
				sched_yield();
			vq_dev_put(dev, l->pair->chain->ref, 0);
		}
		spin_until(&l->go, round);
		if (l->stop)
			return NULL;
		if (l->calls) {
			vq_dev_publish(dev);
			l->device_is_idle = !vq_dev_call_needed(dev);
		} else {
			l->device_is_idle = !vq_dev_kick_enable(dev);
		}
		__atomic_store_n(&l->done, round, __ATOMIC_RELEASE);
	}
}

/* Whether there is to be that round; the other thread ends if not. */
static bool litmus_goes_on(struct litmus *l, unsigned int round)
{
	if (round == 1)
		l->until = seconds() + LITMUS_SECONDS;
	if (round <= LITMUS_LEAST ||
	    (round <= LITMUS_ROUNDS && (round % 256 || seconds() < l->until)))
		return true;
	print_message("%u rounds\n", round - 1);
	l->stop = true;
	__atomic_store_n(&l->go, round, __ATOMIC_RELEASE);
	return false;
}

/* Lets both start; a varying delay slides one against the other. */
static void litmus_go(struct litmus *l, unsigned int round)
{
	__atomic_store_n(&l->go, round, __ATOMIC_RELEASE);
	if (round & 1)
		for (unsigned int i = 0; i < round % 64; i++)
			__builtin_ia32_pause();
	else
		for (unsigned int i = 0; i < round % 1021; i++)
			__asm__ volatile("" ::: "memory");
}

static void litmus_kick(void **state)
{
	struct litmus l = { .pair = pair_new(SIZE, *(struct vq_drv_mode *)*state) };
	pthread_t thread;
	uint64_t cookie;
	uint32_t written;

	assert_int_equal(pthread_create(&thread, NULL, litmus_device, &l), 0);
	for (unsigned int round = 1; litmus_goes_on(&l, round); round++) {
		bool kick;

		litmus_go(&l, round);
		assert_int_equal(vq_drv_add(&l.pair->drv, gpa(PAIR_BUF), SLOT, true, round), 0);
		kick = vq_drv_kick_needed(&l.pair->drv);
		spin_until(&l.done, round);
		/* Not kicked, and asleep over a buffer that is there: never. */
		assert_false(!kick && l.device_is_idle);
		/* The device thread waits for the next round, so its queue is free to be used here. */
		assert_int_equal(vq_dev_get(&l.pair->dev, l.pair->chain), 1);
		vq_dev_put(&l.pair->dev, l.pair->chain->ref, 0);
		vq_dev_publish(&l.pair->dev);
		vq_dev_kick_disable(&l.pair->dev);
		assert_int_equal(vq_drv_get_used(&l.pair->drv, &cookie, &written), 1);
	}
	assert_int_equal(pthread_join(thread, NULL), 0);
	pair_free(l.pair);
}

static void litmus_call(void **state)
{
	struct litmus l = { .pair = pair_new(SIZE, *(struct vq_drv_mode *)*state), .calls = true };
	pthread_t thread;
	uint64_t cookie;
	uint32_t written;

	assert_int_equal(vq_drv_add(&l.pair->drv, gpa(PAIR_BUF), SLOT, true, 0), 0);
	assert_int_equal(pthread_create(&thread, NULL, litmus_device, &l), 0);
	for (unsigned int round = 1; litmus_goes_on(&l, round); round++) {
		int taken;

		litmus_go(&l, round);
		taken = vq_drv_get_used(&l.pair->drv, &cookie, &written);
		if (taken == 0) {
			spin_until(&l.done, round);
			/* Nothing seen, and not told: never. The device calls once at the start in any case. */
			assert_false(l.device_is_idle);
			taken = vq_drv_get_used(&l.pair->drv, &cookie, &written);
		}
		assert_int_equal(taken, 1);
		spin_until(&l.done, round);
		assert_int_equal(vq_drv_add(&l.pair->drv, gpa(PAIR_BUF), SLOT, true, round), 0);
	}
	assert_int_equal(pthread_join(thread, NULL), 0);
	pair_free(l.pair);
}

static struct vq_drv_mode modes[8];

#define EACH_MODE(f, n)                                                                            \
	{ #f ", split", f, NULL, NULL, &modes[n] },                                                \
		{ #f ", packed", f, NULL, NULL, &modes[n + 1] },                                   \
		{ #f ", split in order", f, NULL, NULL, &modes[n + 2] },                           \
	{                                                                                          \
#f ", packed in order", f, NULL, NULL, &modes[n + 3]                               \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(layout),
		cmocka_unit_test(init_refuses),
		cmocka_unit_test(fills_up),
		cmocka_unit_test(device_lies),
		cmocka_unit_test(device_lies_packed),
		cmocka_unit_test(device_lies_in_order),
		EACH_MODE(against_device, 0),
		EACH_MODE(against_device, 4), /* with EVENT_IDX */
		EACH_MODE(readable_bursts, 0),
		EACH_MODE(readable_bursts, 4),
		EACH_MODE(two_threads, 0),
		EACH_MODE(two_threads, 4),
		EACH_MODE(litmus_kick, 4),
		EACH_MODE(litmus_call, 4),
	};

	for (unsigned int i = 0; i < ARRAY_LEN(modes); i++)
		modes[i] = (struct vq_drv_mode){ .packed = i & 1,
						 .in_order = i & 2,
						 .event_idx = i & 4 };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
