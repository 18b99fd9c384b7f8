// SPDX-License-Identifier: BSD-2-Clause
/*
 * Front-ends that send, wait for what comes and pause at random, so that the moments at which a driver or a back-end
 * goes to sleep and those at which it is woken meet in every way.
 *
 * Ports form pairs, each driven by a thread. In a round one port of the pair sends a few frames, maybe waits until
 * they are given back, and the other one receives them: it spins for them, or it asks for a call and sleeps on the
 * eventfd. Then the thread pauses for as long as the back-end spins before it sleeps, give or take.
 *
 * Every frame arrives (rings never run out of buffers), so whoever waits longer than DEADLINE_MS has lost a wake-up:
 * either the back-end sleeps on something available (a kick is missing), or what is waited for is there (a call is
 * missing). The state of both rings is printed then. tests/soak/pausing.py connects the ports and hands over memory
 * and eventfds.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "abi/virtio_net.h"
#include "vq/vq_drv.h"

#define PORTS_MAX    16
#define RING_SIZE    64
#define BUFFER_BYTES 256
#define HDR_BYTES    12 /* with VERSION_1 */
#define FRAME_BYTES  64
#define BURST_MAX    3
#define DEADLINE_MS  10000
#define PACKED_BASE  0x80008000u /* SET_VRING_BASE of a fresh one: both wrap counters 1 */
#define SPIN_CHECKS  1000	 /* rounds of spinning between two looks at the clock */

struct counts {
	uint64_t rounds;
	uint64_t frames;
	uint64_t kicks;
	uint64_t not_kicked; /* the back-end did not want one */
	uint64_t calls;
	uint64_t blocked; /* waits on an eventfd */
	uint64_t longest_ns;
};

struct ring {
	struct vq_drv vq;
	const char *what;
	int kick;
	int call;
	uint8_t *mem; /* of the port */
	uint64_t buffers;
	unsigned int num_free; /* transmit buffers not in flight */
	uint16_t free[RING_SIZE];
};

struct port {
	unsigned int index;
	struct ring rx;
	struct ring tx;
	struct counts *counts;
};

struct pair {
	struct port *ports[2];
	struct counts counts;
	uint64_t random;
	uint64_t sequence;
	pthread_t thread;
};

static struct port ports[PORTS_MAX];
static struct pair pairs[PORTS_MAX / 2];
static unsigned int num_ports;
static struct vq_drv_mode mode;
static uint64_t spin_ns, end_ns, seed;

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* xorshift64* */
static uint64_t draw(struct pair *p, uint64_t below)
{
	p->random ^= p->random >> 12;
	p->random ^= p->random << 25;
	p->random ^= p->random >> 27;
	return (p->random * UINT64_C(0x2545f4914f6cdd1d) >> 33) % below;
}

/* ---- when it goes wrong ---- */

static uint64_t eventfd_count(int fd)
{
	eventfd_t v = 0;

	return eventfd_read(fd, &v) ? 0 : v;
}

static void print_split(const struct vq_drv *vq)
{
	const le16 *avail_event = (const le16 *)(const void *)&vq->used->ring[vq->size];

	printf("avail idx %u, flags %u, used_event %u; used idx %u, flags %u, avail_event %u",
	       vq->avail->idx, vq->avail->flags, vq->avail->ring[vq->size], vq->used->idx,
	       vq->used->flags, *avail_event);
}

static void print_packed(const struct vq_drv *vq)
{
	printf("driver event %#x flags %u; device event %#x flags %u; descriptors' flags",
	       vq->driver_event->off_wrap, vq->driver_event->flags, vq->device_event->off_wrap,
	       vq->device_event->flags);
	for (unsigned int i = 0; i < vq->size; i++)
		printf(" %x", vq->ring[i].flags);
}

static void print_ring(const struct port *port, struct ring *r)
{
	printf("port %u %s: added %u, kick decided up to %u, taken %u; ", port->index, r->what,
	       r->vq.avail_idx, r->vq.avail_kicked, r->vq.last_used);
	if (mode.packed)
		print_packed(&r->vq);
	else
		print_split(&r->vq);
	printf("; unread kicks %llu, calls %llu\n", (unsigned long long)eventfd_count(r->kick),
	       (unsigned long long)eventfd_count(r->call));
}

static _Noreturn void lost(const struct port *port, const struct ring *r, const char *what)
{
	static pthread_mutex_t once = PTHREAD_MUTEX_INITIALIZER;

	pthread_mutex_lock(&once);
	printf("LOST: port %u waited %d s for %s at its %s; seed %llu\n", port->index,
	       DEADLINE_MS / 1000, what, r->what, (unsigned long long)seed);
	for (unsigned int i = 0; i < num_ports; i++) {
		print_ring(&ports[i], &ports[i].rx);
		print_ring(&ports[i], &ports[i].tx);
	}
	fflush(stdout);
	_exit(1);
}

static _Noreturn void broken(const struct port *port, const struct ring *r, const char *what)
{
	printf("BROKEN: port %u, %s: %s; seed %llu\n", port->index, r->what, what,
	       (unsigned long long)seed);
	fflush(stdout);
	_exit(1);
}

/* ---- rings ---- */

/* Without EVENT_IDX the driver says with a flag whether it wants calls. */
static void want_calls(struct ring *r, bool want)
{
	if (mode.event_idx)
		return;
	if (mode.packed)
		__atomic_store_n(&r->vq.driver_event->flags,
				 want ? VRING_PACKED_EVENT_F_ENABLE : VRING_PACKED_EVENT_F_DISABLE,
				 __ATOMIC_RELAXED);
	else
		__atomic_store_n(&r->vq.avail->flags, want ? 0 : VRING_AVAIL_F_NO_INTERRUPT,
				 __ATOMIC_RELAXED);
	if (want)
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static void notify(struct port *port, struct ring *r)
{
	if (!vq_drv_kick_needed(&r->vq)) {
		port->counts->not_kicked++;
		return;
	}
	port->counts->kicks++;
	if (eventfd_write(r->kick, 1))
		broken(port, r, "the kick cannot be written");
}

/* 1, or 0 when nothing is used. */
static int take(struct port *port, struct ring *r, uint64_t *cookie, uint32_t *written)
{
	int got = vq_drv_get_used(&r->vq, cookie, written);

	if (got < 0)
		broken(port, r, "a used entry makes no sense");
	return got;
}

static void take_spinning(struct port *port, struct ring *r, uint64_t *cookie, uint32_t *written)
{
	uint64_t deadline = now_ns() + DEADLINE_MS * UINT64_C(1000000);

	for (unsigned int i = 0; !take(port, r, cookie, written); i++) {
		__builtin_ia32_pause();
		if (i % SPIN_CHECKS == SPIN_CHECKS - 1 && now_ns() > deadline)
			lost(port, r, "a used buffer, spinning");
	}
}

static void take_sleeping(struct port *port, struct ring *r, uint64_t *cookie, uint32_t *written)
{
	while (!take(port, r, cookie, written)) {
		struct pollfd fd = { .fd = r->call, .events = POLLIN };
		int ready;

		want_calls(r, true);
		if (!vq_drv_arm(&r->vq)) {
			port->counts->blocked++;
			ready = poll(&fd, 1, DEADLINE_MS);
			if (ready < 0 && errno != EINTR)
				broken(port, r, "poll fails");
			if (ready == 0)
				lost(port, r, "a call");
			if (eventfd_count(r->call))
				port->counts->calls++;
		}
		want_calls(r, false);
	}
}

static void take_somehow(struct pair *p, struct port *port, struct ring *r, uint64_t *cookie,
			 uint32_t *written)
{
	if (draw(p, 2))
		take_sleeping(port, r, cookie, written);
	else
		take_spinning(port, r, cookie, written);
}

static uint8_t *buffer(struct ring *r, uint64_t i)
{
	return r->mem + r->buffers + i * BUFFER_BYTES;
}

static void post_receive(struct port *port, uint64_t i)
{
	struct ring *r = &port->rx;

	if (vq_drv_add(&r->vq, gpa(r->buffers + i * BUFFER_BYTES), BUFFER_BYTES, true, i))
		broken(port, r, "no room for a buffer that was just taken");
}

static void set_address(uint8_t *to, unsigned int port)
{
	const uint8_t address[6] = { 2, 0, 0, 0, 0, (uint8_t)(port + 1) };

	memcpy(to, address, sizeof(address));
}

/* to == port: to everybody, so that the switch learns where the port is. */
static void send_frame(struct port *port, unsigned int to, uint64_t sequence)
{
	struct ring *r = &port->tx;
	uint16_t i = r->free[--r->num_free];
	uint8_t *b = buffer(r, i);

	memset(b, 0, HDR_BYTES);
	memset(b + HDR_BYTES, 0xff, 6);
	if (to != port->index)
		set_address(b + HDR_BYTES, to);
	set_address(b + HDR_BYTES + 6, port->index);
	b[HDR_BYTES + 12] = 0x88;
	b[HDR_BYTES + 13] = 0xb5;
	memcpy(b + HDR_BYTES + 14, &sequence, sizeof(sequence));
	if (vq_drv_add(&r->vq, gpa(r->buffers + i * BUFFER_BYTES), HDR_BYTES + FRAME_BYTES, false,
		       i))
		broken(port, r, "no room for a frame");
}

static void give_back(struct port *port, uint64_t cookie)
{
	port->tx.free[port->tx.num_free++] = (uint16_t)cookie;
}

/* ---- rounds ---- */

static void pause_at_random(struct pair *p)
{
	uint64_t kind = draw(p, 10), ns, start = now_ns();

	if (kind < 2)
		return;
	if (kind < 7) /* where the back-end stops spinning */
		ns = spin_ns - spin_ns / 4 + draw(p, spin_ns / 2 + 1);
	else if (kind < 9)
		ns = draw(p, 4 * spin_ns + 20000);
	else
		ns = draw(p, 300000);
	while (now_ns() - start < ns)
		__builtin_ia32_pause();
}

/* The frames sent last, in order; floods of other ports are passed over. */
static void receive(struct pair *p, struct port *port, const struct port *from, unsigned int num)
{
	uint64_t next = p->sequence - num;
	uint64_t cookie;
	uint32_t written;

	while (next != p->sequence) {
		const uint8_t *frame;
		uint64_t sequence;

		take_somehow(p, port, &port->rx, &cookie, &written);
		frame = buffer(&port->rx, cookie) + HDR_BYTES;
		memcpy(&sequence, frame + 14, sizeof(sequence));
		if (!(frame[0] & 1) && frame[5] == port->index + 1) {
			if (written != HDR_BYTES + FRAME_BYTES || frame[11] != from->index + 1 ||
			    sequence != next)
				broken(port, &port->rx, "another frame than the one sent");
			next++;
		}
		post_receive(port, cookie);
		if (draw(p, 2))
			notify(port, &port->rx);
	}
}

static void one_round(struct pair *p, struct port *from, struct port *to)
{
	unsigned int num = 1 + (unsigned int)draw(p, BURST_MAX);
	uint64_t start = now_ns(), took, cookie;
	bool wait_for_tx = draw(p, 3) == 0;
	uint32_t written;

	for (unsigned int i = 0; i < num; i++)
		send_frame(from, to->index, p->sequence++);
	notify(from, &from->tx);
	if (wait_for_tx) {
		while (from->tx.num_free < RING_SIZE) {
			take_somehow(p, from, &from->tx, &cookie, &written);
			give_back(from, cookie);
		}
	}
	receive(p, to, from, num);
	took = now_ns() - start;
	while (from->tx.num_free < RING_SIZE && take(from, &from->tx, &cookie, &written))
		give_back(from, cookie);
	while (from->tx.num_free < BURST_MAX) {
		take_sleeping(from, &from->tx, &cookie, &written);
		give_back(from, cookie);
	}
	p->counts.rounds++;
	p->counts.frames += num;
	if (took > p->counts.longest_ns)
		p->counts.longest_ns = took;
}

static void *run_pair(void *arg)
{
	struct pair *p = arg;

	for (unsigned int i = 0; i < 2; i++) {
		struct port *port = p->ports[i];

		for (unsigned int k = 0; k < RING_SIZE; k++) {
			post_receive(port, k);
			give_back(port, k);
		}
		notify(port, &port->rx);
		send_frame(port, port->index, 0);
		notify(port, &port->tx);
	}
	while (now_ns() < end_ns) {
		bool swap = draw(p, 2);

		one_round(p, p->ports[swap], p->ports[!swap]);
		pause_at_random(p);
	}
	return NULL;
}

/* ---- start ---- */

static _Noreturn void usage(void)
{
	fputs("Usage: pauses --layout FEATURES\n"
	      "       pauses SECONDS SEED SPIN_NS FEATURES PORT PORT ...\n"
	      "FEATURES: split or packed, then any of -event, -order. PORT: "
	      "MEMORY_FD,BYTES,RX_RING,TX_RING,RX_BUFFERS,TX_BUFFERS,RX_KICK,RX_CALL,"
	      "TX_KICK,TX_CALL\n",
	      stderr);
	exit(2);
}

static void open_ring(struct ring *r, const char *what, uint8_t *mem, unsigned int ring,
		      unsigned int buffers)
{
	r->what = what;
	r->mem = mem;
	r->buffers = buffers;
	if (vq_drv_init_mode(&r->vq, mem + ring, RING_SIZE, mode))
		usage();
	want_calls(r, false);
}

static void open_port(const char *arg)
{
	struct port *port = &ports[num_ports];
	unsigned int rx, tx, rx_buffers, tx_buffers;
	size_t bytes;
	uint8_t *mem;
	int fd;

	if (num_ports == PORTS_MAX || sscanf(arg, "%d,%zu,%u,%u,%u,%u,%d,%d,%d,%d", &fd, &bytes,
					     &rx, &tx, &rx_buffers, &tx_buffers, &port->rx.kick,
					     &port->rx.call, &port->tx.kick, &port->tx.call) != 10)
		usage();
	mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (mem == MAP_FAILED) {
		perror("pauses: mmap");
		exit(2);
	}
	port->index = num_ports;
	open_ring(&port->rx, "receive ring", mem, rx, rx_buffers);
	open_ring(&port->tx, "transmit ring", mem, tx, tx_buffers);
	port->counts = &pairs[num_ports / 2].counts;
	pairs[num_ports / 2].ports[num_ports % 2] = port;
	num_ports++;
}

static void print_layout(void)
{
	struct vq_drv_layout l = vq_drv_layout(RING_SIZE);

	printf("{\"size\": %d, \"avail\": %u, \"used\": %u, \"bytes\": %u, \"buffer\": %d, "
	       "\"base\": %u}\n",
	       RING_SIZE, l.avail_offset, l.used_offset, l.bytes, BUFFER_BYTES,
	       mode.packed ? PACKED_BASE : 0);
}

static void print_counts(void)
{
	struct counts sum = { 0 };

	for (unsigned int i = 0; i < num_ports / 2; i++) {
		const struct counts *c = &pairs[i].counts;

		sum.rounds += c->rounds;
		sum.frames += c->frames;
		sum.kicks += c->kicks;
		sum.not_kicked += c->not_kicked;
		sum.calls += c->calls;
		sum.blocked += c->blocked;
		if (c->longest_ns > sum.longest_ns)
			sum.longest_ns = c->longest_ns;
	}
	printf("{\"rounds\": %llu, \"frames\": %llu, \"kicks\": %llu, \"not_kicked\": %llu, "
	       "\"calls\": %llu, "
	       "\"blocked\": %llu, \"longest_us\": %llu}\n",
	       (unsigned long long)sum.rounds, (unsigned long long)sum.frames,
	       (unsigned long long)sum.kicks, (unsigned long long)sum.not_kicked,
	       (unsigned long long)sum.calls, (unsigned long long)sum.blocked,
	       (unsigned long long)sum.longest_ns / 1000);
}

static void set_mode(const char *features)
{
	mode.packed = strstr(features, "packed");
	mode.event_idx = strstr(features, "-event");
	mode.in_order = strstr(features, "-order");
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "--layout")) {
		set_mode(argv[2]);
		print_layout();
		return 0;
	}
	if (argc < 7 || argc % 2 == 0)
		usage();
	seed = strtoull(argv[2], NULL, 0);
	spin_ns = strtoull(argv[3], NULL, 0);
	set_mode(argv[4]);
	for (int i = 5; i < argc; i++)
		open_port(argv[i]);
	end_ns = now_ns() + (uint64_t)(strtod(argv[1], NULL) * 1e9);
	for (unsigned int i = 0; i < num_ports / 2; i++) {
		pairs[i].random = (seed + i) * UINT64_C(0x9e3779b97f4a7c15) | 1;
		if (pthread_create(&pairs[i].thread, NULL, run_pair, &pairs[i]))
			usage();
	}
	for (unsigned int i = 0; i < num_ports / 2; i++)
		pthread_join(pairs[i].thread, NULL);
	print_counts();
	return 0;
}
