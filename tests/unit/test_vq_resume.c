// SPDX-License-Identifier: BSD-2-Clause
/*
 * A device that dies at any store it makes into memory that outlives it (rings, positions: abi/inflight.h), and the
 * one that goes on after it. Behind each such store (VQ_TEST_STORES) the memory is copied, a fresh device is started
 * on the copy, and a driver of ours checks that every chain comes back once, in order, and whole bursts at a time; that
 * none was skipped, and none but those of the last burst was worked on twice. The second device dies at each of its
 * first stores, too.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "abi/errno.h"
#include "vq/vq_dev.h"

#define RING_GPA  UINT64_C(0x100000)
#define BUF_GPA	  UINT64_C(0x4000000)
#define AVAIL_AT  1024
#define USED_AT	  2048
#define TABLES_AT 4096
#define RING_SIZE 8192
#define BUF_BYTES 64
#define CHAINS	  64 /* buffers go round */
#define BURST_MAX 5
#define DEATHS	  2 /* in a row */

#define NEXT	 VRING_DESC_F_NEXT
#define WRITE	 VRING_DESC_F_WRITE
#define INDIRECT VRING_DESC_F_INDIRECT

struct shape {
	unsigned int size;
	bool packed;
	bool in_order;
	bool ones;     /* burst calls, chains of one descriptor */
	bool writable; /* receive buffers */
	unsigned int left_out;
};

/* What the driver made available and did not get back. */
struct chain {
	uint16_t id;
	uint16_t slots;
};

struct driver {
	unsigned int added; /* chains, those that were left out not counted */
	unsigned int back;
	unsigned int slots_free;
	uint16_t desc;	/* split: next free descriptor */
	uint16_t avail; /* idx, or slot */
	uint16_t used;
	bool avail_wrap;
	bool used_wrap;
	struct chain chains[CHAINS];
};

/* Memory that outlives a device, what the driver knows, and the device. */
struct world {
	_Alignas(4096) uint8_t ring[RING_SIZE];
	struct inflight_ring track;
	struct driver d;
	unsigned int worked;	   /* chains that devices have worked on */
	unsigned int bursts;	   /* published, or (the last) being published */
	unsigned int ends[CHAINS]; /* of bursts, in chains: for the last ones */
	struct memmap map;
	struct vq_dev vq;
	struct vq_chain *chain;
};

void vq_test_stored(void); /* guest-driver/vq/vq_barrier.h */

static struct shape shape;
static struct world worlds[DEATHS + 1];
static struct world stopped;
static unsigned int depth;
static bool armed;
static unsigned int deaths[DEATHS];
static uint8_t buffers[CHAINS * BUF_BYTES];

/* ---- the driver ---- */

static uint64_t buffer(unsigned int n, unsigned int part)
{
	return BUF_GPA + n % CHAINS * BUF_BYTES + part * 16;
}

static unsigned int pieces(unsigned int n)
{
	return shape.ones ? 1 : 1 + n % 4; /* 4: a table of two */
}

static uint16_t avail_flags(const struct driver *d)
{
	return d->avail_wrap ? VRING_PACKED_DESC_F_AVAIL : VRING_PACKED_DESC_F_USED;
}

static void packed_desc(struct world *w, uint64_t addr, uint32_t len, uint16_t flags, uint16_t id)
{
	struct vring_packed_desc *ring = (void *)w->ring;
	struct driver *d = &w->d;

	ring[d->avail] = (struct vring_packed_desc){ addr, len, id, flags | avail_flags(d) };
	if (++d->avail == shape.size) {
		d->avail = 0;
		d->avail_wrap = !d->avail_wrap;
	}
}

static uint64_t table(struct world *w, unsigned int n)
{
	uint32_t at = TABLES_AT + n % CHAINS * 32;
	uint16_t flags = shape.writable ? WRITE : 0;

	if (shape.packed) {
		struct vring_packed_desc t[2] = { { buffer(n, 0), 16, 0, flags },
						  { buffer(n, 1), 16, 0, flags } };
		memcpy(w->ring + at, t, sizeof(t));
	} else {
		struct vring_desc t[2] = { { buffer(n, 0), 16, flags | NEXT, 1 },
					   { buffer(n, 1), 16, flags, 0 } };
		memcpy(w->ring + at, t, sizeof(t));
	}
	return RING_GPA + at;
}

/* Chains of 1, 2, 3 descriptors, and a table. False: no room. */
static bool add(struct world *w)
{
	struct driver *d = &w->d;
	struct vring_desc *desc = (void *)w->ring;
	struct vring_avail *avail = (void *)(w->ring + AVAIL_AT);
	unsigned int n = d->added, num = pieces(n), ring_size = shape.size - shape.left_out;
	uint16_t flags = shape.writable ? WRITE : 0, head = d->desc;
	bool indirect = num == 4;

	num = indirect ? 1 : num;
	if (d->slots_free < num)
		return false;
	for (unsigned int i = 0; i < num; i++) {
		uint16_t f = indirect ? INDIRECT : flags | (i + 1 < num ? NEXT : 0);
		uint64_t addr = indirect ? table(w, n) : buffer(n, i);
		uint16_t next = (uint16_t)((d->desc + 1u) % ring_size);

		if (shape.packed)
			packed_desc(w, addr, indirect ? 32 : 16, f, (uint16_t)(n * 7));
		else
			desc[d->desc] = (struct vring_desc){ addr, indirect ? 32 : 16, f, next };
		d->desc = next;
	}
	if (!shape.packed) {
		avail->ring[d->avail % shape.size] = head;
		avail->idx = ++d->avail;
	}
	d->chains[n % CHAINS] =
		(struct chain){ shape.packed ? (uint16_t)(n * 7) : head, (uint16_t)num };
	d->slots_free -= num;
	d->added++;
	return true;
}

/* The next used entry, if there is one. */
static bool next_used(struct world *w, uint16_t *id, uint32_t *written)
{
	const struct vring_packed_desc *ring = (void *)w->ring;
	const struct vring_used *used = (void *)(w->ring + USED_AT);
	const uint16_t both = VRING_PACKED_DESC_F_AVAIL | VRING_PACKED_DESC_F_USED;
	struct driver *d = &w->d;

	if (shape.packed) {
		if ((ring[d->used].flags & both) != (d->used_wrap ? both : 0))
			return false;
		*id = ring[d->used].id;
		*written = ring[d->used].len;
		return true;
	}
	if (used->idx == d->used)
		return false;
	*id = (uint16_t)used->ring[d->used % shape.size].id;
	*written = used->ring[d->used % shape.size].len;
	return true;
}

/* One chain is back. */
static void take_back(struct driver *d)
{
	const struct chain *c = &d->chains[d->back % CHAINS];

	assert_true(d->back < d->added);
	d->slots_free += c->slots;
	if (shape.packed) {
		d->used += c->slots;
		if (d->used >= shape.size) {
			d->used -= shape.size;
			d->used_wrap = !d->used_wrap;
		}
	} else {
		d->used++;
	}
	d->back++;
}

static void collect(struct world *w)
{
	struct driver *d = &w->d;
	uint32_t written;
	uint16_t id;

	while (next_used(w, &id, &written)) {
		/* In order, an entry may stand for those before it. */
		while (shape.in_order && d->back < d->added && d->chains[d->back % CHAINS].id != id)
			take_back(d);
		assert_true(d->back < d->added);
		assert_int_equal(id, d->chains[d->back % CHAINS].id);
		assert_int_equal(written, shape.writable ? d->back + 1 : 0);
		take_back(d);
	}
}

/* ---- the device ---- */

static struct vq_dev_conf conf_of(struct world *w, uint32_t base)
{
	memmap_init(&w->map);
	assert_int_equal(memmap_add(&w->map, gpa(RING_GPA), RING_SIZE, w->ring), 0);
	assert_int_equal(memmap_add(&w->map, gpa(BUF_GPA), sizeof(buffers), buffers), 0);
	return (struct vq_dev_conf){
		.map = &w->map,
		.desc = gpa(RING_GPA),
		.avail = gpa(RING_GPA + AVAIL_AT),
		.used = gpa(RING_GPA + USED_AT),
		.size = shape.size,
		.base = base,
		.packed = shape.packed,
		.in_order = shape.in_order,
		.indirect = true,
		.track = &w->track,
		.resume = true,
	};
}

static void start(struct world *w, uint32_t base, bool resume)
{
	struct vq_dev_conf conf = conf_of(w, base);

	conf.resume = resume;
	assert_int_equal(vq_dev_start(&w->vq, &conf), 0);
}

static void work_on(struct world *w, const uint8_t *base)
{
	assert_int_equal((base - buffers) / BUF_BYTES, w->worked % CHAINS);
	w->worked++;
}

/* Takes and gives back up to max chains; one publish. How many. */
static unsigned int burst(struct world *w, unsigned int max)
{
	struct vq_one ones[BURST_MAX];
	struct vq_ref refs[BURST_MAX];
	uint32_t written[BURST_MAX];
	unsigned int n = 0, first = w->worked;

	if (shape.ones) {
		assert_true(vq_dev_avail(&w->vq) >= 0);
		n = vq_dev_get_ones(&w->vq, shape.writable, ones, max);
		for (unsigned int i = 0; i < n; i++)
			work_on(w, ones[i].base);
	}
	for (; n < max && !shape.ones && vq_dev_get(&w->vq, w->chain) == 1; n++) {
		work_on(w, w->chain->segs[0].base);
		refs[n] = w->chain->ref;
	}
	assert_false(w->vq.broken);
	for (unsigned int i = 0; i < n; i++)
		written[i] = shape.writable ? first + i + 1 : 0;
	w->ends[++w->bursts % CHAINS] = w->worked;
	if (shape.ones)
		vq_dev_put_ones(&w->vq, ones, shape.writable ? written : NULL, n);
	for (unsigned int i = 0; i < n && !shape.ones; i++)
		vq_dev_put(&w->vq, refs[i], written[i]);
	vq_dev_publish(&w->vq);
	return n;
}

/* Sizes of bursts and of what the driver adds, so that they drift past each other. */
static void serve(struct world *w, unsigned int rounds)
{
	for (unsigned int i = 0; i < rounds; i++) {
		for (unsigned int n = 0; n < 1 + i % 6 && add(w); n++)
			;
		burst(w, 1 + i * 3 % BURST_MAX);
		if (i % 3)
			collect(w);
	}
}

/* ---- deaths ---- */

static bool is_end_of_burst(const struct world *w, unsigned int chains)
{
	for (unsigned int i = 0; i < 8 && i <= w->bursts; i++) {
		if (w->ends[(w->bursts - i) % CHAINS] == chains)
			return true;
	}
	return false;
}

static uint32_t first_base(void)
{
	if (!shape.packed)
		return (uint16_t)(65530 + shape.left_out);
	return 0x80008000u + shape.left_out;
}

static void serve_all(struct world *w)
{
	serve(w, 5);
	while (burst(w, BURST_MAX))
		;
	collect(w);
	assert_int_equal(w->d.back, w->d.added);
	assert_int_equal(w->worked, w->d.added);
}

/* It has said where it stopped, nobody has heard it, and it is dead: another one says the same, and goes on there. */
static void die_stopped(const struct world *w, uint32_t base)
{
	struct vq_chain *chain = stopped.chain;

	stopped = *w;
	stopped.chain = chain;
	for (unsigned int i = 0; i < 2; i++) {
		start(&stopped, first_base(), true);
		assert_true(stopped.vq.resumed);
		assert_int_equal(vq_dev_base(&stopped.vq), base);
		vq_dev_stop(&stopped.vq);
	}
	start(&stopped, first_base(), true);
	serve_all(&stopped);
}

/* worlds[depth] is what a device left: a new one goes on. eager: the driver went on first. */
static void go_on(struct world *w, uint32_t base, bool eager)
{
	unsigned int worked = w->worked;

	if (eager) {
		collect(w);
		while (add(w))
			;
	}
	armed = depth < DEATHS;
	start(w, base, true);
	armed = false;
	collect(w);
	/* Whole bursts only, and what was not given back is worked on again. */
	assert_true(is_end_of_burst(w, w->d.back));
	assert_true(w->d.back <= worked && worked - w->d.back <= BURST_MAX);
	w->worked = w->d.back;
	w->ends[++w->bursts % CHAINS] = w->worked;
	armed = depth < DEATHS;
	burst(w, 2);
	armed = false;
	serve(w, 12);
	/* Stopped as it should be, and started from where it says. */
	while (shape.left_out && !(vq_dev_base(&w->vq) >> 16) && shape.packed)
		serve(w, 1); /* where SET_VRING_BASE cannot say it */
	base = vq_dev_base(&w->vq);
	vq_dev_stop(&w->vq);
	die_stopped(w, base);
	start(w, base, false);
	assert_false(w->vq.resumed);
	serve_all(w);
}

void vq_test_stored(void)
{
	struct vq_chain *chain;

	if (!armed)
		return;
	armed = false;
	chain = worlds[depth + 1].chain;
	deaths[depth]++;
	for (unsigned int eager = 0; eager < 2; eager++) {
		struct world *to = &worlds[depth + 1];

		*to = worlds[depth];
		to->chain = chain;
		depth++;
		go_on(to, first_base(), eager);
		depth--;
	}
	armed = true;
}

static void init(struct world *w)
{
	struct vring_avail *avail = (void *)(w->ring + AVAIL_AT);
	struct vring_used *used = (void *)(w->ring + USED_AT);
	struct vq_chain *chain = w->chain;
	uint16_t idx = shape.packed ? 0 : 65530;

	memset(w, 0, sizeof(*w));
	w->chain = chain;
	w->d.avail_wrap = true;
	w->d.used_wrap = true;
	w->d.slots_free = shape.size - shape.left_out;
	w->d.avail = idx;
	w->d.used = idx;
	used->idx = idx;
	/* Chains that another back-end took and never gave back. */
	for (unsigned int i = 0; i < shape.left_out; i++) {
		if (shape.packed) {
			packed_desc(w, buffer(0, 0), 16, 0, 60000);
			continue;
		}
		avail->ring[w->d.avail++ % shape.size] = (uint16_t)(shape.size - 1 - i);
	}
	if (!shape.packed)
		avail->idx = w->d.avail;
}

static void die_everywhere(struct shape s)
{
	struct world *w = &worlds[0];

	shape = s;
	depth = 0;
	memset(deaths, 0, sizeof(deaths));
	init(w);
	armed = true;
	start(w, first_base(), true);
	serve(w, 24);
	armed = false;
	vq_dev_stop(&w->vq);
	/* It did die, and its successors did. */
	assert_true(deaths[0] > 30 && deaths[1] > 30);
}

static void split_chains(void **state)
{
	die_everywhere((struct shape){ .size = 8 });
	die_everywhere((struct shape){ .size = 16, .writable = true });
	die_everywhere((struct shape){ .size = 8, .in_order = true });
}

static void split_ones(void **state)
{
	die_everywhere((struct shape){ .size = 8, .ones = true });
	die_everywhere((struct shape){ .size = 8, .ones = true, .writable = true });
	die_everywhere((struct shape){ .size = 8, .ones = true, .in_order = true });
}

static void split_with_chains_left_out(void **state)
{
	die_everywhere((struct shape){ .size = 8, .left_out = 2 });
	die_everywhere((struct shape){ .size = 8, .ones = true, .writable = true, .left_out = 3 });
}

static void packed_chains(void **state)
{
	die_everywhere((struct shape){ .size = 8, .packed = true });
	die_everywhere((struct shape){ .size = 7, .packed = true, .writable = true });
	die_everywhere((struct shape){ .size = 5, .packed = true, .in_order = true });
}

static void packed_ones(void **state)
{
	die_everywhere((struct shape){ .size = 7, .packed = true, .ones = true });
	die_everywhere((struct shape){ .size = 8, .packed = true, .ones = true, .writable = true });
	die_everywhere((struct shape){ .size = 7, .packed = true, .ones = true, .in_order = true });
	die_everywhere((struct shape){
		.size = 7, .packed = true, .ones = true, .in_order = true, .writable = true });
}

static void packed_with_chains_left_out(void **state)
{
	die_everywhere((struct shape){ .size = 8, .packed = true, .left_out = 2 });
	die_everywhere((struct shape){
		.size = 9, .packed = true, .ones = true, .writable = true, .left_out = 3 });
}

/* A successor takes nothing on trust. */
static void bad_words(void **state)
{
	static const struct inflight_ring bad[] = {
		{ .state = INFLIGHT_SPLIT, .size = 8, .before = 0x80008000, .after = 0x80008000 },
		{ .state = 3, .size = 8, .before = 0x80008000, .after = 0x80008000 },
		{ .state = INFLIGHT_PACKED, .size = 4, .before = 0x80008000, .after = 0x80008000 },
		/* Positions outside the ring, or too far from each other. */
		{ .state = INFLIGHT_PACKED, .size = 8, .before = 0x80088008, .after = 0x80088008 },
		{ .state = INFLIGHT_PACKED, .size = 8, .before = 0x80008000, .after = 0x80098009 },
		{ .state = INFLIGHT_PACKED, .size = 8, .before = 0x80008000, .after = 0x80008001 },
		{ .state = INFLIGHT_PACKED, .size = 8, .before = 0x80008000, .after = 0x80010001 },
		{ .state = INFLIGHT_PACKED, .size = 8, .before = 0x80008000, .after = 0x00010001 },
		{ .state = INFLIGHT_PACKED, .size = 8, .before = 0x80008003, .after = 0x80060001 },
		/* A burst that is not there, longer than the ring part, or of no slots. */
		{ .state = INFLIGHT_PACKED, .size = 8, .before = 0x80008000, .after = 0x80018001 },
		{ .state = INFLIGHT_PACKED,
		  .size = 8,
		  .before = 0x80008000,
		  .after = 0x80038003,
		  .puts = { { 0, 1, 2 }, { 0, 2, 2 } } },
		{ .state = INFLIGHT_PACKED,
		  .size = 8,
		  .before = 0x80008000,
		  .after = 0x80038003,
		  .puts = { { 0, 1, 1 }, { 0, 2, 0 }, { 0, 3, 2 } } },
	};
	struct world *w = &worlds[0];

	shape = (struct shape){ .size = 8, .packed = true };
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct vq_dev_conf conf;

		init(w);
		w->track = bad[i];
		conf = conf_of(w, 0x80058005);
		assert_int_equal(vq_dev_start(&w->vq, &conf), -EPROTO);
		assert_int_equal(w->vq.broken, VQ_BROKEN_BASE);
		assert_int_equal(vq_dev_get(&w->vq, w->chain), -EPROTO);
		assert_int_equal(vq_dev_base(&w->vq), 0x80058005);
	}
	shape.packed = false;
	init(w);
	w->track = (struct inflight_ring){ .state = INFLIGHT_SPLIT, .size = 8, .before = 0x10000 };
	struct vq_dev_conf conf = conf_of(w, 0);
	assert_int_equal(vq_dev_start(&w->vq, &conf), -EPROTO);
	assert_int_equal(w->vq.broken, VQ_BROKEN_BASE);
}

/* More than the place for a burst holds: what is put together is still published together. */
static void long_bursts(void **state)
{
	static _Alignas(4096) uint8_t ring[5 * 4096];
	static struct inflight_ring track;
	static struct vq_one ones[600];
	static uint32_t written[600];
	struct vring_packed_desc *desc = (void *)ring;
	struct memmap map;
	struct vq_dev *vq = &worlds[0].vq;
	struct vq_dev_conf conf = { .map = &map,
				    .desc = gpa(RING_GPA),
				    .avail = gpa(RING_GPA + 16384),
				    .used = gpa(RING_GPA + 16388),
				    .size = 1024,
				    .base = 0x80008000,
				    .packed = true,
				    .track = &track };
	unsigned int back = 0;

	memmap_init(&map);
	assert_int_equal(memmap_add(&map, gpa(RING_GPA), sizeof(ring), ring), 0);
	assert_int_equal(memmap_add(&map, gpa(BUF_GPA), sizeof(buffers), buffers), 0);
	for (uint16_t i = 0; i < 1024; i++)
		desc[i] = (struct vring_packed_desc){ BUF_GPA, 64, i,
						      WRITE | VRING_PACKED_DESC_F_AVAIL };
	assert_int_equal(vq_dev_start(vq, &conf), 0);
	assert_int_equal(vq_dev_put_room(vq), INFLIGHT_PUTS_MAX);
	for (unsigned int i = 0; i < 600; i++)
		written[i] = i + 1;
	assert_int_equal(vq_dev_get_ones(vq, true, ones, 300), 300);
	vq_dev_put_ones(vq, ones, written, 300);
	assert_int_equal(vq_dev_put_room(vq), INFLIGHT_PUTS_MAX - 300);
	assert_int_equal(desc[0].len, 64);
	/* The next do not fit, so those go out. */
	assert_int_equal(vq_dev_get_ones(vq, true, ones, 300), 300);
	vq_dev_put_ones(vq, ones, written, 300);
	assert_int_equal(vq_dev_put_room(vq), INFLIGHT_PUTS_MAX - 300);
	assert_int_equal(track.before, track.after);
	assert_int_equal(track.before, 0x812c812c);
	assert_int_equal(desc[0].len, 1);
	assert_int_equal(desc[300].len, 64);
	/* More at once than there is room for at all. */
	for (uint16_t i = 0; i < 600; i++)
		desc[i] = (struct vring_packed_desc){ BUF_GPA, 64, i,
						      WRITE | VRING_PACKED_DESC_F_USED };
	vq_dev_publish(vq);
	assert_int_equal(desc[599].len, 300);
	assert_int_equal(vq_dev_get_ones(vq, true, ones, 424), 424);
	assert_int_equal(vq_dev_get_ones(vq, true, ones + 424, 176), 176);
	vq_dev_put_ones(vq, ones, written, 600);
	vq_dev_publish(vq);
	for (unsigned int i = 600; i < 1200; i++)
		back += desc[i % 1024].len == i - 599 && desc[i % 1024].id == i % 1024;
	assert_int_equal(back, 600);
	vq_dev_stop(vq);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(split_chains),
		cmocka_unit_test(split_ones),
		cmocka_unit_test(split_with_chains_left_out),
		cmocka_unit_test(packed_chains),
		cmocka_unit_test(packed_ones),
		cmocka_unit_test(packed_with_chains_left_out),
		cmocka_unit_test(bad_words),
		cmocka_unit_test(long_bursts),
	};

	for (unsigned int i = 0; i <= DEATHS; i++) {
		worlds[i].chain = malloc(sizeof(struct vq_chain));
		if (!worlds[i].chain)
			return 1;
	}
	stopped.chain = malloc(sizeof(struct vq_chain));
	if (!stopped.chain)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
