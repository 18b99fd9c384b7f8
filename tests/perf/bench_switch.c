// SPDX-License-Identifier: BSD-2-Clause
/*
 * What the switch costs per frame, in TSC cycles of rounds that found frames, without any other program's cost beside
 * it:
 * the front-end is a thread of this process on the other processor that does as little as a driver can (rings filled
 * in ahead; sending is a new avail idx, receiving gives the buffer back) or as much as asked:
 *
 *   --descs    rewrites each descriptor, as drivers with buffer pools do
 *   --touch    writes every payload sent and reads every payload received
 *   --alone    one thread, by turns: everything stays in one processor's caches, the figures are the instructions' own
 *
 * Frames go from each port to the next of its pair, or with --ports above 2 and --random to any other port.
 *
 * --beside BYTES measures shares instead: the upper half of the ports sends frames of that length. Each half sends
 * alone, then both do; what a half gets of what it had alone is its share, 0.5 where both are treated the same.
 */
#include <getopt.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <x86intrin.h>

#include "abi/virtio_config.h"
#include "core/switch.h"
#include "tests/be_stub.h"

#define QUEUE	 1024u
#define SLOT	 2304u /* bytes per buffer, as DPDK's pools have them: 128 of headroom, 2176 of room */
#define ROOM	 128u
#define HDR	 12u
#define BASE	 UINT64_C(0x100000000)
#define RINGS	 0x20000u
#define MEM	 (RINGS + 2 * QUEUE * SLOT)
#define TX_DESC	 0x0u
#define TX_AVAIL 0x5000u
#define TX_USED	 0x6000u
#define RX_DESC	 0x10000u
#define RX_AVAIL 0x15000u
#define RX_USED	 0x16000u

struct ring {
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t avail_idx;
	uint16_t used_seen;
};

struct front {
	struct port port;
	uint8_t *mem;
	struct ring tx, rx;
	uint64_t sent, received;
};

static struct {
	unsigned int ports, size, rounds, beside;
	bool descs, touch, alone, random;
} opt = { .ports = 2, .size = 64, .rounds = 201 };

static struct front *fronts;
static struct be_switch *sw;
static volatile uint32_t silent; /* ports that send nothing */
static volatile bool stop;
static volatile uint64_t sink;

/* ---- the session ---- */

static void say_u64(struct front *f, uint32_t request, uint64_t v)
{
	be_stub_say(&f->port, request, 8, &v);
}

static void start_ring(struct front *f, uint32_t index, uint32_t desc)
{
	struct vhost_user_vring_state num = { index, QUEUE }, base = { index, 0 },
				      enable = { index, 1 };
	struct vhost_user_vring_addr addr = {
		.index = index,
		.desc_user_addr = BASE + desc,
		.avail_user_addr = BASE + desc + TX_AVAIL,
		.used_user_addr = BASE + desc + TX_USED,
	};

	be_stub_say(&f->port, VHOST_USER_SET_VRING_NUM, sizeof(num), &num);
	be_stub_say(&f->port, VHOST_USER_SET_VRING_BASE, sizeof(base), &base);
	be_stub_say(&f->port, VHOST_USER_SET_VRING_ADDR, sizeof(addr), &addr);
	say_u64(f, VHOST_USER_SET_VRING_CALL, index);
	say_u64(f, VHOST_USER_SET_VRING_KICK, index);
	be_stub_say(&f->port, VHOST_USER_SET_VRING_ENABLE, sizeof(enable), &enable);
}

static void connect_port(struct front *f)
{
	struct vhost_user_msg msg = { 0 };

	port_connect(&f->port);
	say_u64(f, VHOST_USER_SET_FEATURES,
		BIT_ULL(VIRTIO_F_VERSION_1_BIT) | BIT_ULL(VHOST_USER_F_PROTOCOL_FEATURES_BIT) |
			BIT_ULL(VIRTIO_NET_F_MRG_RXBUF_BIT));
	msg.payload.mem.num_regions = 1;
	msg.payload.mem.regions[0] =
		(struct vhost_user_region){ BASE, ALIGN_UP(MEM, 4096u), BASE, 0 };
	be_stub_say(&f->port, VHOST_USER_SET_MEM_TABLE, 8 + sizeof(struct vhost_user_region),
		    &msg.payload.mem);
	start_ring(f, 0, RX_DESC);
	start_ring(f, 1, TX_DESC);
}

/* ---- the front-end ---- */

static uint64_t slot_at(unsigned int slot)
{
	return RINGS + (uint64_t)slot * SLOT + ROOM - HDR;
}

static void mac(uint8_t *to, unsigned int port)
{
	memcpy(to, (const uint8_t[]){ 2, 0, 0, 0, 1, (uint8_t)port }, 6);
}

static unsigned int length(unsigned int port)
{
	return opt.beside && port >= opt.ports / 2 ? opt.beside : opt.size;
}

static unsigned int destination(unsigned int port, unsigned int slot)
{
	unsigned int to;

	if (!opt.random)
		return port ^ 1;
	to = (unsigned int)(slot * 2654435761u >> 8) % (opt.ports - 1);
	return to < port ? to : to + 1;
}

static void fill_in(struct front *f, unsigned int index)
{
	uint8_t *m = f->mem;

	f->tx = (struct ring){ (void *)(m + TX_DESC), (void *)(m + TX_DESC + TX_AVAIL),
			       (void *)(m + TX_DESC + TX_USED), 0, 0 };
	f->rx = (struct ring){ (void *)(m + RX_DESC), (void *)(m + RX_DESC + TX_AVAIL),
			       (void *)(m + RX_DESC + TX_USED), QUEUE, 0 };
	for (uint16_t i = 0; i < QUEUE; i++) {
		uint8_t *frame = m + slot_at(i) + HDR;

		f->tx.desc[i] = (struct vring_desc){ BASE + slot_at(i), HDR + length(index), 0, 0 };
		f->rx.desc[i] = (struct vring_desc){ BASE + slot_at(QUEUE + i), SLOT - ROOM + HDR,
						     VRING_DESC_F_WRITE, 0 };
		f->tx.avail->ring[i] = i;
		f->rx.avail->ring[i] = i;
		mac(frame, destination(index, i));
		mac(frame + 6, index);
	}
	f->tx.avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
	f->rx.avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
	f->rx.avail->idx = QUEUE;
}

static unsigned int receive(struct front *f)
{
	uint16_t idx = __atomic_load_n(&f->rx.used->idx, __ATOMIC_ACQUIRE);
	unsigned int n = (uint16_t)(idx - f->rx.used_seen);
	uint64_t sum = 0;

	if (n > 64)
		n = 64;
	for (unsigned int i = 0; i < n; i++) {
		struct vring_used_elem e = f->rx.used->ring[(f->rx.used_seen + i) % QUEUE];
		const uint8_t *frame = f->mem + slot_at(QUEUE + e.id);

		for (unsigned int k = 0; opt.touch && k < opt.size; k += 64)
			sum += *(const volatile uint64_t *)(const void *)(frame + HDR + k);
		if (opt.descs)
			f->rx.desc[e.id] =
				(struct vring_desc){ BASE + slot_at(QUEUE + e.id),
						     SLOT - ROOM + HDR, VRING_DESC_F_WRITE, 0 };
		f->rx.avail->ring[(f->rx.avail_idx + i) % QUEUE] = (uint16_t)e.id;
	}
	sink = sum;
	f->rx.used_seen = (uint16_t)(f->rx.used_seen + n);
	f->rx.avail_idx = (uint16_t)(f->rx.avail_idx + n);
	f->received += n;
	if (n)
		__atomic_store_n(&f->rx.avail->idx, f->rx.avail_idx, __ATOMIC_RELEASE);
	return n;
}

static unsigned int transmit(struct front *f)
{
	uint16_t idx = __atomic_load_n(&f->tx.used->idx, __ATOMIC_ACQUIRE);
	unsigned int room = QUEUE / 2 - (uint16_t)(f->tx.avail_idx - idx);

	if (room > 32)
		room = 32;
	for (unsigned int i = 0; i < room; i++) {
		unsigned int slot = (f->tx.avail_idx + i) % QUEUE;
		uint8_t *frame = f->mem + slot_at(slot) + HDR;

		for (unsigned int k = 0; opt.touch && k < opt.size; k += 64)
			*(volatile uint64_t *)(void *)(frame + k + (k ? 0 : 16)) = k + slot;
		if (opt.descs)
			f->tx.desc[slot] =
				(struct vring_desc){ BASE + slot_at(slot), HDR + opt.size, 0, 0 };
	}
	f->tx.avail_idx = (uint16_t)(f->tx.avail_idx + room);
	f->sent += room;
	if (room)
		__atomic_store_n(&f->tx.avail->idx, f->tx.avail_idx, __ATOMIC_RELEASE);
	return room;
}

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static void turn(void)
{
	for (unsigned int i = 0; i < opt.ports; i++) {
		receive(&fronts[i]);
		if (!(silent & BIT_U32(i)))
			transmit(&fronts[i]);
	}
}

static void *front_end(void *arg)
{
	pin(1);
	while (!stop)
		turn();
	return NULL;
}

/* ---- measuring ---- */

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void measure(void)
{
	double busy_per[256], total_per[256];
	uint64_t seen = 0;

	for (unsigned int r = 0; r < opt.rounds;) {
		uint64_t start = __rdtsc(), busy = 0, frames = 0, polls = 0;

		while (__rdtsc() - start < 5000000) {
			uint64_t a, n;

			if (opt.alone)
				turn();
			a = __rdtsc();
			n = switch_poll(sw);
			if (n) {
				busy += __rdtsc() - a;
				polls++;
			}
			frames += n;
		}
		busy_per[r] = (double)busy / (double)frames;
		total_per[r] = (double)(__rdtsc() - start) / (double)frames;
		if (!polls) /* the other thread did not run */
			continue;
		seen += frames / polls;
		r++;
	}
	qsort(busy_per, opt.rounds, sizeof(double), compare);
	qsort(total_per, opt.rounds, sizeof(double), compare);
	printf("%u ports, %u B:%s%s%s%s busy cycles per frame min %.1f median %.1f; all cycles min "
	       "%.1f median %.1f; "
	       "frames per round %u; delivered %lu dropped %lu\n",
	       opt.ports, opt.size, opt.alone ? " alone" : "", opt.descs ? " descs" : "",
	       opt.touch ? " touch" : "", opt.random ? " random" : "", busy_per[0],
	       busy_per[opt.rounds / 2], total_per[0], total_per[opt.rounds / 2],
	       (unsigned int)(seen / opt.rounds), switch_frames_delivered(sw),
	       switch_frames_dropped(sw));
}

/* Frames taken from both halves. */
static void taken(uint64_t *halves)
{
	halves[0] = halves[1] = 0;
	for (unsigned int i = 0; i < opt.ports; i++)
		halves[i >= opt.ports / 2] += switch_counter(sw, &fronts[i].port, CTR_RX_FRAMES);
}

/* Frames per cycle that the switch is at work; the least disturbed of some windows. */
static void rates(double *rate)
{
	rate[0] = rate[1] = 0;
	for (unsigned int r = 0; r < opt.rounds; r++) {
		uint64_t start = __rdtsc(), busy = 0, before[2], after[2];
		double sum;

		taken(before);
		while (__rdtsc() - start < 5000000) {
			uint64_t a;

			if (opt.alone)
				turn();
			a = __rdtsc();
			if (switch_poll(sw))
				busy += __rdtsc() - a;
		}
		taken(after);
		sum = (double)(after[0] - before[0] + after[1] - before[1]) / (double)busy;
		if (sum <= rate[0] + rate[1])
			continue;
		rate[0] = (double)(after[0] - before[0]) / (double)busy;
		rate[1] = (double)(after[1] - before[1]) / (double)busy;
	}
}

static void measure_shares(void)
{
	uint32_t upper = (UINT32_MAX >> (32 - opt.ports)) ^ (BIT_U32(opt.ports / 2) - 1);
	double one[2], two[2], both[2], share[2];

	silent = upper;
	rates(one);
	silent = ~upper;
	rates(two);
	silent = 0;
	rates(both);
	share[0] = both[0] / one[0];
	share[1] = both[1] / two[1];
	printf("shares %.3f of %u B, %.3f of %u B; index %.4f\n", share[0], opt.size, share[1],
	       opt.beside,
	       (share[0] + share[1]) * (share[0] + share[1]) /
		       (2 * (share[0] * share[0] + share[1] * share[1])));
}

static void parse(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "ports", required_argument, NULL, 'p' },
		{ "size", required_argument, NULL, 's' },
		{ "rounds", required_argument, NULL, 'r' },
		{ "beside", required_argument, NULL, 'b' },
		{ "descs", no_argument, NULL, 'd' },
		{ "touch", no_argument, NULL, 't' },
		{ "alone", no_argument, NULL, 'a' },
		{ "random", no_argument, NULL, 'R' },
		{ 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) >= 0) {
		switch (c) {
		case 'p':
			opt.ports = (unsigned int)atoi(optarg);
			break;
		case 's':
			opt.size = (unsigned int)atoi(optarg);
			break;
		case 'r':
			opt.rounds = (unsigned int)atoi(optarg);
			break;
		case 'b':
			opt.beside = (unsigned int)atoi(optarg);
			break;
		case 'd':
			opt.descs = true;
			break;
		case 't':
			opt.touch = true;
			break;
		case 'a':
			opt.alone = true;
			break;
		case 'R':
			opt.random = true;
			break;
		default:
			exit(2);
		}
	}
	if (opt.beside && (opt.ports % 4 || opt.beside < 60 || opt.beside > SLOT - ROOM)) {
		fprintf(stderr, "beside: 60 to %u, ports: a multiple of 4\n", SLOT - ROOM);
		exit(2);
	}
	if (opt.ports < 2 || opt.ports > BE_PORTS_MAX || opt.ports % 2 || opt.size < 60 ||
	    opt.size > SLOT - ROOM || !opt.rounds || opt.rounds > 256) {
		fprintf(stderr,
			"ports: an even number up to %d; size: 60 to %u; rounds up to 256\n",
			BE_PORTS_MAX, SLOT - ROOM);
		exit(2);
	}
}

int main(int argc, char **argv)
{
	struct be_options options;
	struct text error;
	pthread_t thread;
	void *mem;

	parse(argc, argv);
	be_options_init(&options);
	fronts = calloc(opt.ports, sizeof(*fronts));
	mem = aligned_alloc(64, ALIGN_UP(switch_bytes(1), 64ul));
	if (!fronts || !mem)
		return 1;
	sw = switch_make(mem, 1);
	for (unsigned int i = 0; i < opt.ports; i++) {
		char name[16];
		struct port_conf conf = {
			name, i, &be_stub_ops, NULL, false, false, false, &options
		};

		snprintf(name, sizeof(name), "p%02u", i);
		fronts[i].mem = mmap(NULL, ALIGN_UP(MEM, 2u << 20), PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		madvise(fronts[i].mem, MEM, MADV_HUGEPAGE);
		memset(fronts[i].mem, 0, MEM);
		conf.ctx = fronts[i].mem;
		port_init(&fronts[i].port, &conf);
		switch_add_port(sw, &fronts[i].port);
		fill_in(&fronts[i], i);
	}
	if (switch_init(sw, &options, 1, &error))
		return 1;
	for (unsigned int i = 0; i < opt.ports; i++)
		connect_port(&fronts[i]);
	pin(0);
	if (!opt.alone)
		pthread_create(&thread, NULL, front_end, NULL);
	if (opt.beside)
		measure_shares();
	else
		measure();
	stop = true;
	if (!opt.alone)
		pthread_join(thread, NULL);
	return 0;
}
