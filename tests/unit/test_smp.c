// SPDX-License-Identifier: BSD-2-Clause
/*
 * Four workers that really run at the same time, under ThreadSanitizer: four ports of two queue pairs, each driven by a
 * thread of its own at full speed, while worker 0 disconnects and connects ports, restarts rings and disables and
 * enables queue pairs, so that pairs move from worker to worker all the time.
 *
 * Every frame is numbered within its flow. In no ring may a flow be out of order; what the switch says it delivered
 * is what arrived; and every frame it took was delivered or is in a counter. A lost wake-up shows as a test that never
 * ends.
 */
#include "be_fake.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "abi/virtio_config.h"

#define PORTS	4
#define PAIRS	2
#define WORKERS 4
#define FLOWS	4
#define BUFFERS 64 /* of each ring */
#define BYTES	2048u
#define POOL_AT (2u << 20)
#define ACTIONS 50
#define ROUNDS	400 /* of worker 0 between two actions */
#define IDLE	20
#define HEADER	12u
#define FRAME	(14 + 12)
#define FEATURES                                                                                   \
	(VIRTIO_FEATURE(F_VERSION_1) | BIT_ULL(VHOST_USER_F_PROTOCOL_FEATURES_BIT) |               \
	 VIRTIO_NET_FEATURE(F_MQ) | VIRTIO_FEATURE(F_EVENT_IDX))

/* What a frame carries behind its addresses. */
struct stamp {
	uint32_t from, flow, seq;
};

struct driver {
	struct fake f;
	pthread_t thread;
	pthread_mutex_t lock; /* held while rings are used, and while worker 0 changes them */
	bool up;
	unsigned int num_tx_free[PAIRS];
	uint32_t tx_free[PAIRS][BUFFERS];
	uint32_t seq[PORTS][FLOWS];	    /* sent, to each port */
	uint32_t seen[PAIRS][PORTS][FLOWS]; /* received in each ring */
	uint64_t received, overtaken, strange, sent;
};

static struct be_switch *sw;
static struct driver drivers[PORTS];
static sem_t wakes[WORKERS];
static uint32_t stop;

static void wake(void *ctx, unsigned int worker)
{
	sem_post(&wakes[worker]);
}

static void relax(void *ctx)
{
	sched_yield();
}

static bool stopping(void)
{
	return __atomic_load_n(&stop, __ATOMIC_ACQUIRE);
}

/* ---- drivers ---- */

static uint32_t buffer_at(unsigned int ring, unsigned int i)
{
	return POOL_AT + (ring * BUFFERS + i) * BYTES;
}

static void kick(struct driver *d, unsigned int ring)
{
	if (vq_drv_kick_needed(&d->f.drv[ring]))
		sem_post(&wakes[__atomic_load_n(&d->f.kick_owner[ring], __ATOMIC_RELAXED)]);
}

static void rings_begin(struct driver *d)
{
	for (unsigned int p = 0; p < PAIRS; p++) {
		d->num_tx_free[p] = BUFFERS;
		for (unsigned int i = 0; i < BUFFERS; i++) {
			uint32_t at = buffer_at(2 * p, i);

			d->tx_free[p][i] = buffer_at(2 * p + 1, i);
			assert_int_equal(
				vq_drv_add(&d->f.drv[2 * p], fake_gpa(at), BYTES, true, at), 0);
		}
	}
}

static void look_at(struct driver *d, unsigned int pair, const uint8_t *frame, uint32_t written)
{
	struct stamp s;

	memcpy(&s, frame + 14, sizeof(s));
	d->received++;
	if (written < HEADER + FRAME || s.from >= PORTS || s.flow >= FLOWS ||
	    frame[5] != d->f.port.index + 1 || frame[11] != s.from + 1) {
		d->strange++;
		return;
	}
	d->overtaken += s.seq <= d->seen[pair][s.from][s.flow];
	d->seen[pair][s.from][s.flow] = s.seq;
}

/* Takes what has been received, and gives the buffers back if asked to. */
static void receive(struct driver *d, bool again)
{
	uint64_t at;
	uint32_t written;

	for (unsigned int p = 0; p < PAIRS; p++) {
		while (vq_drv_get_used(&d->f.drv[2 * p], &at, &written) == 1) {
			look_at(d, p, d->f.mem + at + HEADER, written);
			if (again)
				assert_int_equal(vq_drv_add(&d->f.drv[2 * p],
							    fake_gpa((uint32_t)at), BYTES, true,
							    at),
						 0);
		}
	}
}

static void transmit(struct driver *d, unsigned int pair, unsigned int *random)
{
	struct vq_drv *drv = &d->f.drv[2 * pair + 1];
	uint64_t at;
	uint32_t written;

	while (vq_drv_get_used(drv, &at, &written) == 1)
		d->tx_free[pair][d->num_tx_free[pair]++] = (uint32_t)at;
	for (unsigned int n = (unsigned int)rand_r(random) % 8; n && d->num_tx_free[pair]; n--) {
		unsigned int me = d->f.port.index;
		unsigned int to = (me + 1 + (unsigned int)rand_r(random) % (PORTS - 1)) % PORTS;
		/* A flow stays with its transmit ring, or nobody could keep it in order. */
		struct stamp s = { me, ((unsigned int)rand_r(random) % 2) * PAIRS + pair, 0 };
		uint32_t len = FRAME + (uint32_t)rand_r(random) % 1400;
		uint8_t *frame;

		at = d->tx_free[pair][--d->num_tx_free[pair]];
		frame = d->f.mem + at + HEADER;
		memset(d->f.mem + at, 0, HEADER);
		memcpy(frame,
		       (const uint8_t[]){ 2, 0, 0, 0, 0, (uint8_t)(to + 1), 2, 0, 0, 0, 0,
					  (uint8_t)(me + 1), 0x88, 0xb5 },
		       14);
		s.seq = ++d->seq[to][s.flow];
		memcpy(frame + 14, &s, sizeof(s));
		assert_int_equal(vq_drv_add(drv, fake_gpa((uint32_t)at), HEADER + len, false, at),
				 0);
		d->sent++;
	}
	kick(d, 2 * pair + 1);
}

static void *driver_main(void *arg)
{
	struct driver *d = arg;
	unsigned int random = d->f.port.index + 1;

	while (!stopping()) {
		pthread_mutex_lock(&d->lock);
		if (d->up) {
			receive(d, true);
			for (unsigned int p = 0; p < PAIRS; p++)
				transmit(d, p, &random);
		}
		pthread_mutex_unlock(&d->lock);
		sched_yield();
	}
	return NULL;
}

/* ---- workers ---- */

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	unsigned int idle = 0;

	worker_rise(w);
	while (!stopping()) {
		if (worker_round(w)) {
			idle = 0;
			continue;
		}
		if (++idle < IDLE) {
			sched_yield();
			continue;
		}
		idle = 0;
		if (!worker_arm(w) && worker_fall_asleep(w)) {
			while (sem_wait(&wakes[w->index]))
				;
			worker_rise(w);
		}
		worker_disarm(w);
	}
	worker_leave(w);
	return NULL;
}

/* ---- worker 0 ---- */

static void connect(struct driver *d)
{
	fake_connect(&d->f, FEATURES);
	for (unsigned int p = 0; p < PAIRS; p++)
		fake_start_pair(&d->f, p);
	rings_begin(d);
	d->up = true;
}

static void disconnect(struct driver *d)
{
	fake_disconnect(sw, &d->f);
	d->up = false;
	/* Nobody writes into the rings any more; what is there was delivered. */
	receive(d, false);
}

static void act(unsigned int random)
{
	struct driver *d = &drivers[random % PORTS];
	unsigned int what = random / PORTS % 4;

	pthread_mutex_lock(&d->lock);
	if (!d->up) {
		connect(d);
	} else if (what == 0) {
		disconnect(d);
	} else if (what == 1) {
		fake_state(&d->f, VHOST_USER_GET_VRING_BASE, 3, 0);
		fake_vring_fd(&d->f, VHOST_USER_SET_VRING_KICK, 3, true);
	} else {
		for (unsigned int ring = 2; ring < 4; ring++)
			fake_state(&d->f, VHOST_USER_SET_VRING_ENABLE, ring, what == 2);
	}
	pthread_mutex_unlock(&d->lock);
}

/* How far they get meanwhile is the host's affair: it may run some of the threads late. */
static bool all_have_worked(void)
{
	for (unsigned int i = 0; i < WORKERS; i++)
		if (!__atomic_load_n(&sw->workers[i].frames, __ATOMIC_RELAXED))
			return false;
	return switch_frames_delivered(sw) > 1000;
}

static void run(void)
{
	unsigned int random = 7;

	for (unsigned int n = 0; n < ACTIONS || !all_have_worked(); n++) {
		for (unsigned int i = 0; i < ROUNDS; i++) {
			if (!switch_poll(sw))
				sched_yield();
		}
		switch_set_time(sw, (1000 + n / 10) * UINT64_C(1000000000));
		act((unsigned int)rand_r(&random));
	}
}

static void start(void)
{
	static const struct switch_ops ops = { .wake = wake, .relax = relax };
	struct be_options o;
	struct text error;

	be_options_init(&o);
	assert_int_equal(
		be_options_line(&o,
				"switch port.a.mac=02:00:00:00:00:01 port.b.mac=02:00:00:00:00:02 "
				"port.c.mac=02:00:00:00:00:03 port.d.mac=02:00:00:00:00:04",
				&error),
		0);
	sw = switch_make(aligned_alloc(64, ALIGN_UP(switch_bytes(WORKERS), (size_t)64)), WORKERS);
	switch_set_ops(sw, &ops);
	for (unsigned int i = 0; i < PORTS; i++) {
		char name[2] = { (char)('a' + i), 0 };

		fake_init(&drivers[i].f, name, i, &o);
		pthread_mutex_init(&drivers[i].lock, NULL);
		switch_add_port(sw, &drivers[i].f.port);
	}
	assert_int_equal(switch_init(sw, &o, 42, &error), 0);
	switch_set_time(sw, 1000 * UINT64_C(1000000000));
}

static void nothing_is_lost_or_overtaken(void **state)
{
	pthread_t threads[WORKERS];
	uint64_t took = 0, gave = 0, got = 0, counted = 0;

	start();
	for (unsigned int i = 0; i < WORKERS; i++)
		sem_init(&wakes[i], 0, 0);
	for (unsigned int i = 1; i < WORKERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, worker_main, &sw->workers[i]),
				 0);
	for (unsigned int i = 0; i < PORTS; i++) {
		connect(&drivers[i]);
		assert_int_equal(pthread_create(&drivers[i].thread, NULL, driver_main, &drivers[i]),
				 0);
	}
	run();
	__atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
	for (unsigned int i = 1; i < WORKERS; i++) {
		sem_post(&wakes[i]);
		/* It may stand, waiting for worker 0 to take a broken ring away, or for nothing. */
		pthread_join(threads[i], NULL);
	}
	for (unsigned int i = 0; i < PORTS; i++)
		pthread_join(drivers[i].thread, NULL);
	for (unsigned int i = 0; i < PORTS; i++) {
		struct driver *d = &drivers[i];

		if (d->up)
			disconnect(d);
	}
	for (unsigned int i = 0; i < PORTS; i++) {
		struct driver *d = &drivers[i];

		assert_int_equal(d->overtaken, 0);
		assert_int_equal(d->strange, 0);
		took += switch_counter(sw, &d->f.port, CTR_RX_FRAMES);
		gave += switch_counter(sw, &d->f.port, CTR_TX_FRAMES);
		assert_int_equal(switch_counter(sw, &d->f.port, CTR_RING_ERRORS), 0);
		got += d->received;
	}
	counted = switch_frames_dropped(sw);
	printf("%llu frames taken, %llu delivered, %llu dropped\n", (unsigned long long)took,
	       (unsigned long long)gave, (unsigned long long)counted);
	assert_int_equal(got, gave);
	assert_int_equal(took, gave + counted);
	for (unsigned int i = 0; i < PORTS; i++)
		fake_free(&drivers[i].f);
	free(sw);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_lost_or_overtaken),
	};

	return cmocka_run_group_tests_name("smp", tests, NULL, NULL);
}
