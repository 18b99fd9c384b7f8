// SPDX-License-Identifier: BSD-2-Clause
/* Device side of the packed ring against a driver that is written out by hand, well-behaved and not. */
#include "ring_memory.h"

#include <errno.h>

#define NEXT	 VRING_DESC_F_NEXT
#define WRITE	 VRING_DESC_F_WRITE
#define INDIRECT VRING_DESC_F_INDIRECT

static void expect_broken(struct ring_memory *m, enum vq_broken why)
{
	struct vq_one one[8];

	assert_int_equal(vq_dev_get_ones(&m->vq, false, one, 8), 0);
	assert_int_equal(vq_dev_get(&m->vq, m->chain), -EPROTO);
	assert_int_equal(m->vq.broken, why);
	assert_int_equal(vq_dev_get(&m->vq, m->chain), -EPROTO);
	assert_int_equal(vq_dev_avail(&m->vq), -EPROTO);
	assert_int_equal(vq_dev_get_ones(&m->vq, false, one, 8), 0);
	assert_false(vq_dev_kick_enable(&m->vq));
}

static void put(struct ring_memory *m, uint16_t id, uint16_t num, uint32_t written)
{
	vq_dev_put(&m->vq, (struct vq_ref){ id, num }, written);
}

static void expect_used(struct ring_memory *m, unsigned int slot, bool wrap, uint16_t id,
			uint32_t len)
{
	assert_true(rm_is_used(m, slot, wrap));
	assert_int_equal(m->ring[slot].id, id);
	assert_int_equal(m->ring[slot].len, len);
	assert_int_equal(m->ring[slot].flags & WRITE, len ? WRITE : 0);
}

static void one_descriptor(void **state)
{
	struct ring_memory *m = rm_new_packed(4);

	assert_int_equal(vq_dev_avail(&m->vq), 0);
	assert_int_equal(vq_dev_get(&m->vq, m->chain), 0);
	rm_add(m, RM_BUF, 100, 0, 0xbeef); /* ids are the driver's own affair */
	rm_add(m, RM_FAR, 200, WRITE, 3);
	assert_int_equal(vq_dev_avail(&m->vq), 4);

	assert_int_equal(vq_dev_get(&m->vq, m->chain), 1);
	assert_int_equal(m->chain->ref.id, 0xbeef);
	assert_int_equal(m->chain->ref.num, 1);
	assert_int_equal(m->chain->num_out, 1);
	assert_int_equal(m->chain->num_in, 0);
	assert_int_equal(m->chain->out_bytes, 100);
	assert_ptr_equal(m->chain->segs[0].base, m->low + 0x6000);
	assert_int_equal(vq_dev_get(&m->vq, m->chain), 1);
	assert_int_equal(m->chain->ref.id, 3);
	assert_int_equal(m->chain->num_in, 1);
	assert_int_equal(m->chain->in_bytes, 200);
	assert_ptr_equal(m->chain->segs[0].base, m->far);
	assert_int_equal(vq_dev_get(&m->vq, m->chain), 0);

	/* Out of order; nothing can be seen, the first one least of all, until published. */
	put(m, 3, 1, 150);
	put(m, 0xbeef, 1, 0);
	assert_false(rm_is_used(m, 0, true));
	assert_int_equal(vq_dev_base(&m->vq), 0x80008002); /* taken two, used none */
	vq_dev_publish(&m->vq);
	expect_used(m, 0, true, 3, 150);
	expect_used(m, 1, true, 0xbeef, 0);
	assert_int_equal(vq_dev_base(&m->vq), 0x80028002);
	rm_free(m);
}

/* Sizes that are no power of two, chains that cross the end of the ring, many laps. */
static void laps(void **state)
{
	struct ring_memory *m = rm_new_packed(7);
	unsigned int used = 0;
	bool used_wrap = true;

	for (unsigned int round = 0; round < 1000; round++) {
		unsigned int n = 1 + round % 7;
		uint16_t id = (uint16_t)(round * 77);

		for (unsigned int i = 0; i < n; i++)
			rm_add(m, RM_BUF + 64 * i, 16 + i,
			       (i >= 3 ? WRITE : 0) | (i + 1 < n ? NEXT : 0),
			       i + 1 < n ? 0xdead : id);
		assert_int_equal(vq_dev_get(&m->vq, m->chain), 1);
		assert_int_equal(m->chain->ref.id, id); /* the last one has it */
		assert_int_equal(m->chain->ref.num, n);
		assert_int_equal(m->chain->num_out, n < 3 ? n : 3);
		assert_int_equal(m->chain->num_in, n < 3 ? 0 : n - 3);
		assert_ptr_equal(m->chain->segs[n - 1].base, m->low + 0x6000 + 64 * (n - 1));
		assert_int_equal(vq_dev_get(&m->vq, m->chain), 0);
		vq_dev_put(&m->vq, m->chain->ref, round);
		vq_dev_publish(&m->vq);
		expect_used(m, used, used_wrap, id, round);
		used += n;
		if (used >= 7) {
			used -= 7;
			used_wrap = !used_wrap;
		}
		assert_int_equal(vq_dev_base(&m->vq),
				 (used | (uint32_t)used_wrap << 15) * 0x10001u);
	}
	rm_free(m);
}

static void unget(void **state)
{
	struct ring_memory *m = rm_new_packed(8);
	struct vq_one one[8];

	for (unsigned int start = 0; start < 100; start++) {
		/* Chains of 1, 3, 1, 2 from every place of the ring. */
		for (unsigned int i = 0; i < 7; i++)
			rm_add(m, RM_BUF, 1, i == 1 || i == 2 || i == 5 ? NEXT : 0, (uint16_t)i);
		assert_int_equal(vq_dev_get_ones(&m->vq, false, one, 8), 1);
		assert_int_equal(vq_dev_get(&m->vq, m->chain), 1);
		assert_int_equal(m->chain->ref.num, 3);
		assert_int_equal(vq_dev_get_ones(&m->vq, false, one + 1, 8), 1);
		assert_int_equal(vq_dev_get(&m->vq, m->chain), 1);
		assert_int_equal(m->chain->ref.id, 6);
		vq_dev_unget(&m->vq, 3);
		assert_int_equal(vq_dev_get(&m->vq, m->chain), 1);
		assert_int_equal(m->chain->ref.id, 3);
		vq_dev_unget(&m->vq, 1);
		vq_dev_unget(&m->vq, 1);
		for (unsigned int i = 0; i < 4; i++) {
			assert_int_equal(vq_dev_get(&m->vq, m->chain), 1);
			vq_dev_put(&m->vq, m->chain->ref, 0);
		}
		assert_int_equal(m->vq.pk.held, 0);
		vq_dev_publish(&m->vq);
	}
	rm_free(m);
}

static void ones(void **state)
{
	struct ring_memory *m = rm_new_packed(8);
	const uint32_t written[8] = { 1, 0, 3, 4, 5, 6, 7, 8 };
	struct vq_one one[8];

	for (unsigned int lap = 0; lap < 50; lap++) {
		unsigned int first = m->slot;
		bool wrap = m->wrap;

		for (uint16_t i = 0; i < 5; i++)
			rm_add(m, i & 1 ? RM_FAR + i : RM_BUF + i, i + 1u, WRITE, i);
		assert_int_equal(vq_dev_get_ones(&m->vq, false, one, 8), 0);
		assert_int_equal(vq_dev_get_ones(&m->vq, true, one, 0), 0);
		assert_int_equal(vq_dev_get_ones(&m->vq, true, one, 3), 3);
		assert_int_equal(vq_dev_get_ones(&m->vq, true, one + 3, 5), 2);
		for (uint16_t i = 0; i < 5; i++) {
			assert_int_equal(one[i].ref.id, i);
			assert_int_equal(one[i].ref.num, 1);
			assert_int_equal(one[i].len, i + 1);
			assert_ptr_equal(one[i].base, (i & 1 ? m->far : m->low + 0x6000) + i);
		}
		vq_dev_put_ones(&m->vq, one, written, 5);
		assert_false(rm_is_used(m, first, wrap));
		vq_dev_publish(&m->vq);
		for (uint16_t i = 0; i < 5; i++)
			expect_used(m, (first + i) % 8, first + i < 8 ? wrap : !wrap, i,
				    written[i]);
	}
	rm_free(m);
}

/* What ends a burst is taken, or refused, by vq_dev_get(). */
static void ones_stop(void **state)
{
	const struct {
		uint64_t addr;
		uint32_t len;
		uint16_t flags;
		int get;
	} cases[] = {
		{ RM_BUF, 0, 0, 1 },
		{ RM_BUF, 1, NEXT, 1 },
		{ RM_HIGH - 8, 16, 0, 1 },
		{ RM_FAR + RM_BYTES - 8, 9, 0, -EPROTO },
		{ RM_BUF, 16, INDIRECT, -EPROTO },
		{ UINT64_MAX, 2, 0, -EPROTO },
	};
	struct vq_one one[4];

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct ring_memory *m = rm_new_packed(8);

		m->vq.indirect = false;
		rm_add(m, RM_BUF, 1, 0, 0);
		rm_add(m, cases[i].addr, cases[i].len, cases[i].flags, 1);
		rm_add(m, RM_BUF, 1, 0, 2);
		rm_add(m, RM_BUF, 1, 0, 3);
		assert_int_equal(vq_dev_get_ones(&m->vq, false, one, 4), 1);
		assert_int_equal(vq_dev_get_ones(&m->vq, false, one, 4), 0);
		assert_false(m->vq.broken);
		assert_int_equal(vq_dev_get(&m->vq, m->chain), cases[i].get);
		assert_int_equal(vq_dev_get_ones(&m->vq, false, one, 4), cases[i].get != 1 ? 0
									 : cases[i].flags == NEXT
										 ? 1
										 : 2);
		rm_free(m);
	}
}

static void in_order_batch(void **state)
{
	struct ring_memory *m = rm_new_packed(8);
	struct vq_one one[8];

	m->vq.in_order = true;
	for (unsigned int lap = 0; lap < 50; lap++) {
		unsigned int first = m->slot;
		bool wrap = m->wrap;
		struct vring_packed_desc second;

		for (uint16_t i = 0; i < 5; i++)
			rm_add(m, RM_BUF, 1, 0, (uint16_t)(10 + i));
		second = m->ring[(first + 1) % 8];
		assert_int_equal(vq_dev_get_ones(&m->vq, false, one, 8), 5);
		vq_dev_put_ones(&m->vq, one, NULL, 5);
		vq_dev_publish(&m->vq);
		/* One descriptor, where the first one was, names the last; the others stay as they were. */
		expect_used(m, first, wrap, 14, 0);
		assert_memory_equal(&second, &m->ring[(first + 1) % 8], sizeof(second));
		assert_int_equal(m->vq.pk.held, 0);
	}
	rm_free(m);
}

static void indirect_tables(void **state)
{
	struct ring_memory *m = rm_new_packed(4);
	struct vring_packed_desc table[3] = {
		{ RM_BUF, 12, 0, NEXT }, /* flags other than WRITE say nothing here */
		{ RM_BUF + 64, 1500, 9, 0 },
		{ RM_FAR, 300, 0, WRITE | NEXT },
	};

	/* The second entry lies in both regions, and the table is not aligned. */
	memcpy(m->low + RM_BYTES - 23, table, 23);
	memcpy(m->high, (uint8_t *)table + 23, sizeof(table) - 23);
	rm_add(m, RM_HIGH - 23, sizeof(table), INDIRECT | WRITE, 77);
	assert_int_equal(vq_dev_get(&m->vq, m->chain), 1);
	assert_int_equal(m->chain->ref.id, 77);
	assert_int_equal(m->chain->ref.num, 1);
	assert_int_equal(m->chain->num_out, 2);
	assert_int_equal(m->chain->num_in, 1);
	assert_int_equal(m->chain->out_bytes, 1512);
	assert_ptr_equal(m->chain->segs[2].base, m->far);
	rm_free(m);
}

/* As DPDK's driver makes it: WRITE in the entry of the header that is to be sent. */
static void indirect_header_writable(void **state)
{
	struct ring_memory *m = rm_new_packed(4);
	struct vring_packed_desc *table = (void *)(m->low + 0x6000);

	table[0] = (struct vring_packed_desc){ RM_FAR, 12, 0, WRITE };
	table[1] = (struct vring_packed_desc){ RM_FAR + 64, 60, 0, VRING_PACKED_DESC_F_USED };
	rm_add(m, RM_BUF, 32, INDIRECT, 0);
	assert_int_equal(vq_dev_get(&m->vq, m->chain), 1);
	assert_int_equal(m->chain->num_out, 2);
	assert_int_equal(m->chain->num_in, 0);
	assert_int_equal(m->chain->out_bytes, 72);
	/* A table that makes sense as it is. */
	table[1].flags = WRITE;
	rm_add(m, RM_BUF, 32, INDIRECT, 0);
	assert_int_equal(vq_dev_get(&m->vq, m->chain), 1);
	assert_int_equal(m->chain->num_in, 2);
	rm_add(m, RM_BUF, 16, INDIRECT, 0);
	assert_int_equal(vq_dev_get(&m->vq, m->chain), 1);
	assert_int_equal(m->chain->num_in, 1);
	rm_free(m);
}

static void bad_indirect(void **state)
{
	const struct {
		uint64_t addr;
		uint32_t len;
		uint16_t flags;
		struct vring_packed_desc first;
		bool off;
		enum vq_broken why;
	} cases[] = {
		{ RM_BUF, 0, INDIRECT, { 0 }, false, VQ_BROKEN_INDIRECT },
		{ RM_BUF, 24, INDIRECT, { 0 }, false, VQ_BROKEN_INDIRECT },
		{ RM_BUF, 16, INDIRECT | NEXT, { 0 }, false, VQ_BROKEN_INDIRECT },
		{ RM_BUF, 16, INDIRECT, { RM_FAR, 16, 0, INDIRECT }, false, VQ_BROKEN_INDIRECT },
		{ RM_BUF, 16, INDIRECT, { RM_FAR, 16, 0, 0 }, true, VQ_BROKEN_INDIRECT },
		{ RM_BUF, 9 * 16, INDIRECT, { 0 }, false, VQ_BROKEN_LOOP },
		{ RM_BUF, 0xfffffff0, INDIRECT, { 0 }, false, VQ_BROKEN_LOOP },
		{ RM_BUF, 16, INDIRECT, { RM_FAR, RM_BYTES + 1, 0, 0 }, false, VQ_BROKEN_BUFFER },
		{ RM_BUF, 48, INDIRECT, { RM_FAR, 1, 0, 0 }, false, VQ_BROKEN_ORDER },
		{ RM_LOW - 16, 16, INDIRECT, { 0 }, false, VQ_BROKEN_BUFFER },
		{ RM_FAR + RM_BYTES - 8, 16, INDIRECT, { 0 }, false, VQ_BROKEN_BUFFER },
		{ UINT64_MAX - 7, 16, INDIRECT, { 0 }, false, VQ_BROKEN_BUFFER },
	};
	struct ring_memory *m;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		m = rm_new_packed(8);
		m->vq.indirect = !cases[i].off;
		memcpy(m->low + 0x6000, &cases[i].first, 16);
		memcpy(m->low + 0x6010, &(struct vring_packed_desc){ RM_FAR, 1, 0, WRITE }, 16);
		rm_add(m, cases[i].addr, cases[i].len, cases[i].flags, 0);
		expect_broken(m, cases[i].why);
		rm_free(m);
	}
	/* Behind an ordinary descriptor: not in a packed ring (virtio 1.2 §2.8.19). */
	m = rm_new_packed(8);
	rm_add(m, RM_BUF, 1, NEXT, 0);
	rm_add(m, RM_BUF, 16, INDIRECT, 0);
	expect_broken(m, VQ_BROKEN_INDIRECT);
	rm_free(m);
}

static void bad_chains(void **state)
{
	const struct {
		struct vring_packed_desc d[2];
		enum vq_broken why;
	} cases[] = {
		{ { { RM_BUF, 1, 0, NEXT | WRITE }, { RM_BUF, 1, 0, 0 } }, VQ_BROKEN_ORDER },
		{ { { RM_BUF, 0, 0, NEXT | WRITE }, { RM_BUF, 0, 0, 0 } }, VQ_BROKEN_ORDER },
		{ { { RM_LOW - 1, 2, 0, 0 } }, VQ_BROKEN_BUFFER },
		{ { { RM_HIGH + RM_BYTES - 1, 2, 0, WRITE } }, VQ_BROKEN_BUFFER },
		{ { { RM_BUF, UINT32_MAX, 0, 0 } }, VQ_BROKEN_BUFFER },
		{ { { UINT64_MAX, 2, 0, 0 } }, VQ_BROKEN_BUFFER },
	};
	struct ring_memory *m;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		m = rm_new_packed(8);
		for (unsigned int j = 0; j < 2; j++)
			rm_add(m, cases[i].d[j].addr, cases[i].d[j].len, cases[i].d[j].flags, 0);
		expect_broken(m, cases[i].why);
		rm_free(m);
	}
	m = rm_new_packed(8);
	for (unsigned int i = 0; i < 8; i++)
		rm_add(m, RM_BUF, 1, NEXT, 0);
	expect_broken(m, VQ_BROKEN_LOOP);
	rm_free(m);
}

/* A slot that the device holds may not be made available again: as strict as a split ring's avail idx. */
static void slot_in_use(void **state)
{
	struct vq_one one[8];

	for (unsigned int held = 1; held <= 8; held++) {
		struct ring_memory *m = rm_new_packed(8);

		for (unsigned int i = 0; i < 8; i++)
			rm_add(m, RM_BUF, 1, 0, (uint16_t)i);
		for (unsigned int i = 0; i < held; i++)
			assert_int_equal(vq_dev_get(&m->vq, m->chain), 1);
		/* All of it again, though nothing was used. */
		for (unsigned int i = 0; i < 8; i++)
			rm_add(m, RM_BUF, 1, 0, (uint16_t)(8 + i));
		if (held < 8) /* flags of the wrong lap: nothing there, and nothing ever will be */
			assert_int_equal(vq_dev_get_ones(&m->vq, false, one, 8), 0);
		else
			expect_broken(m, VQ_BROKEN_IN_USE);
		rm_free(m);
	}
	for (unsigned int held = 1; held < 8; held++) {
		struct ring_memory *m = rm_new_packed(8);

		/* Held slots first, then the rest as one chain that would go on into them. */
		for (unsigned int i = 0; i < held; i++)
			rm_add(m, RM_BUF, 1, 0, 0);
		assert_int_equal(vq_dev_get_ones(&m->vq, false, one, 8), held);
		for (unsigned int i = 0; i < 8; i++)
			rm_add(m, RM_BUF, 1, NEXT, 0);
		expect_broken(m, VQ_BROKEN_IN_USE);
		/* What was taken before can still be given back. */
		vq_dev_put_ones(&m->vq, one, NULL, held);
		vq_dev_publish(&m->vq);
		assert_true(rm_is_used(m, 0, true));
		rm_free(m);
	}
}

static void bad_geometry(void **state)
{
	struct ring_memory *m = rm_new_packed(8);
	const unsigned int bad_sizes[] = { 0, 65536, VQ_DEV_SIZE_MAX + 1 };
	const uint32_t bad_bases[] = {
		8, 9, 0x8008, 0x00080000, 0x80018000, 0x00010000, 0x80000001
	};
	const struct {
		uint64_t desc, avail, used;
	} bad[] = {
		{ RM_DESC + 8, RM_AVAIL, RM_USED },
		{ RM_DESC, RM_AVAIL + 2, RM_USED },
		{ RM_DESC, RM_AVAIL, RM_USED + 1 },
		{ RM_LOW - 16, RM_AVAIL, RM_USED },
		{ RM_DESC, UINT64_MAX - 3, RM_USED },
		{ RM_DESC, RM_AVAIL, 0 },
		{ RM_HIGH - 16, RM_AVAIL, RM_USED },
		{ UINT64_MAX - 15, RM_AVAIL, RM_USED },
		{ RM_FAR + RM_BYTES - 4, RM_AVAIL, RM_USED },
	};
	struct vq_dev_conf conf = rm_conf(m, 8);

	conf.packed = true;
	for (size_t i = 0; i < ARRAY_LEN(bad_sizes); i++) {
		conf.size = bad_sizes[i];
		conf.base = 0x12345678;
		assert_int_equal(vq_dev_start(&m->vq, &conf), -EPROTO);
		assert_int_equal(m->vq.broken, VQ_BROKEN_SIZE);
		assert_int_equal(vq_dev_base(&m->vq),
				 0x12345678); /* GET_VRING_BASE still says it */
		assert_int_equal(vq_dev_get(&m->vq, m->chain), -EPROTO);
	}
	conf.size = 8;
	for (size_t i = 0; i < ARRAY_LEN(bad_bases); i++) {
		conf.base = bad_bases[i];
		assert_int_equal(vq_dev_start(&m->vq, &conf), -EPROTO);
		assert_int_equal(m->vq.broken, VQ_BROKEN_BASE);
		assert_int_equal(vq_dev_base(&m->vq), bad_bases[i]);
		put(m, 0, 1, 0);
		vq_dev_publish(&m->vq);
		assert_int_equal(vq_dev_get(&m->vq, m->chain), -EPROTO);
	}
	conf.base = 0x8000;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		conf.desc.v = bad[i].desc;
		conf.avail.v = bad[i].avail;
		conf.used.v = bad[i].used;
		assert_int_equal(vq_dev_start(&m->vq, &conf), -EPROTO);
		assert_int_equal(m->vq.broken, VQ_BROKEN_ADDRESS);
		put(m, 0, 1, 0);
		vq_dev_publish(&m->vq);
		assert_false(vq_dev_call_needed(&m->vq));
		assert_false(vq_dev_kick_enable(&m->vq));
		vq_dev_kick_disable(&m->vq);
	}
	conf.desc.v = RM_HIGH - 7 * 16;
	conf.avail.v = RM_HIGH + RM_BYTES - 4;
	conf.used.v = RM_FAR + RM_BYTES - 4;
	conf.size = 7;
	assert_int_equal(vq_dev_start(&m->vq, &conf), 0);
	rm_free(m);
}

static void bases(void **state)
{
	struct ring_memory *m = rm_new_packed(8);
	struct vq_dev_conf conf = rm_conf(m, 8);

	conf.packed = true;
	/* As DPDK says "from the start". */
	conf.base = 0x8000;
	assert_int_equal(vq_dev_start(&m->vq, &conf), 0);
	assert_int_equal(vq_dev_base(&m->vq), 0x80008000);
	/* In the second lap, two slots of an earlier life still out. */
	conf.base = 0x80070001;
	assert_int_equal(vq_dev_start(&m->vq, &conf), 0);
	assert_int_equal(vq_dev_base(&m->vq), 0x80070001);
	m->slot = 1;
	m->wrap = false;
	for (uint16_t i = 0; i < 6; i++)
		rm_add(m, RM_BUF, 1, 0, i);
	for (unsigned int i = 0; i < 6; i++)
		assert_int_equal(vq_dev_get(&m->vq, m->chain), 1);
	rm_add(m, RM_BUF, 1, 0, 9); /* slot 7 is one of the two */
	expect_broken(m, VQ_BROKEN_IN_USE);
	put(m, 0, 1, 0);
	vq_dev_publish(&m->vq);
	assert_true(rm_is_used(m, 7, true));
	vq_dev_stop(&m->vq);
	assert_int_equal(vq_dev_base(&m->vq), 0x00000007);
	rm_free(m);
}

static void remap(void **state)
{
	struct ring_memory *m = rm_new_packed(8);

	rm_add(m, RM_BUF, 1, 0, 1);
	rm_add(m, RM_BUF, 1, 0, 2);
	assert_int_equal(vq_dev_get(&m->vq, m->chain), 1);
	put(m, 1, 1, 5);
	/* The ring moves between put and publish. */
	memcpy(m->far, m->low, RM_BYTES);
	assert_int_equal(memmap_del(&m->map, gpa(RM_FAR), RM_BYTES), 0);
	assert_int_equal(memmap_del(&m->map, gpa(RM_LOW), RM_BYTES), 0);
	assert_int_equal(memmap_add(&m->map, gpa(RM_LOW), RM_BYTES, m->far), 0);
	assert_int_equal(vq_dev_remap(&m->vq), 0);
	vq_dev_publish(&m->vq);
	assert_false(rm_is_used(m, 0, true));
	m->ring = (void *)m->far;
	expect_used(m, 0, true, 1, 5);
	assert_int_equal(vq_dev_get(&m->vq, m->chain), 1);
	assert_ptr_equal(m->chain->segs[0].base, m->far + 0x6000);
	/* It goes: nothing is written any more. */
	assert_int_equal(memmap_del(&m->map, gpa(RM_LOW), RM_BYTES), 0);
	assert_int_equal(vq_dev_remap(&m->vq), -EPROTO);
	assert_int_equal(m->vq.broken, VQ_BROKEN_ADDRESS);
	put(m, 2, 1, 5);
	vq_dev_publish(&m->vq);
	assert_false(rm_is_used(m, 1, true));
	rm_free(m);
}

static void publish(struct ring_memory *m, unsigned int n)
{
	while (n--) {
		rm_add(m, RM_BUF, 1, 0, 0);
		assert_int_equal(vq_dev_get(&m->vq, m->chain), 1);
		vq_dev_put(&m->vq, m->chain->ref, 0);
	}
	vq_dev_publish(&m->vq);
}

/* At every place of the ring, with none or some held. */
static void how_many(void **state)
{
	struct ring_memory *m = rm_new_packed(5);

	for (unsigned int round = 0; round < 50; round++) {
		unsigned int held = round % 3;

		for (unsigned int i = 0; i < held; i++) {
			rm_add(m, RM_BUF, 1, 0, 0);
			assert_int_equal(vq_dev_get(&m->vq, m->chain), 1);
		}
		for (unsigned int n = 0; n < 5 - held; n++) {
			assert_false(vq_dev_has(&m->vq, n + 1));
			rm_add(m, RM_BUF, 1, 0, 0);
			assert_true(vq_dev_has(&m->vq, n + 1));
			assert_true(vq_dev_has(&m->vq, 1));
		}
		assert_false(vq_dev_has(&m->vq, 6 - held));
		for (unsigned int n = held; n < 5; n++)
			assert_int_equal(vq_dev_get(&m->vq, m->chain), 1);
		assert_false(vq_dev_has(&m->vq, 1));
		for (unsigned int n = 0; n < 5; n++)
			put(m, 0, 1, 0);
		vq_dev_publish(&m->vq);
		publish(m, 1); /* the next round begins elsewhere */
	}
	rm_free(m);
}

static void calls_by_flag(void **state)
{
	struct ring_memory *m = rm_new_packed(8);

	assert_false(vq_dev_call_needed(&m->vq));
	publish(m, 1);
	assert_true(vq_dev_call_needed(&m->vq));
	assert_false(vq_dev_call_needed(&m->vq));
	m->driver_event->flags = VRING_PACKED_EVENT_F_DISABLE;
	publish(m, 3);
	assert_false(vq_dev_call_hint(&m->vq));
	assert_false(vq_dev_call_needed(&m->vq));
	m->driver_event->flags = VRING_PACKED_EVENT_F_ENABLE;
	assert_false(vq_dev_call_needed(&m->vq));
	publish(m, 1);
	assert_true(vq_dev_call_hint(&m->vq));
	/* Not negotiated: better a call too many. */
	m->driver_event->flags = VRING_PACKED_EVENT_F_DESC;
	publish(m, 1);
	assert_true(vq_dev_call_needed(&m->vq));
	rm_free(m);
}

/* Every position of the event, of the last decision and of the ring, against counting. */
static void calls_by_event(void **state)
{
	struct ring_memory *m = rm_new_packed(7);

	m->vq.event_idx = true;
	m->driver_event->flags = VRING_PACKED_EVENT_F_DESC;
	publish(m, 1);
	assert_true(vq_dev_call_needed(&m->vq)); /* as always after a start */
	for (unsigned int event = 0; event < 14; event++) {
		for (unsigned int start = 0; start < 14; start++) {
			for (unsigned int moved = 1; moved <= 14; moved++) {
				unsigned int old = m->slot + (m->wrap ? 0 : 7);
				bool passed = false;

				for (unsigned int i = 0; i < moved; i++)
					passed = passed || (old + i) % 14 == event;
				m->driver_event->off_wrap =
					(uint16_t)(event % 7 | (event < 7 ? 0x8000 : 0));
				publish(m, moved / 2);
				publish(m, moved - moved / 2);
				assert_int_equal(vq_dev_call_needed(&m->vq), passed);
			}
			publish(m, 1);
			vq_dev_call_needed(&m->vq);
		}
	}
	m->driver_event->off_wrap = 0x8007; /* outside the ring: called */
	publish(m, 1);
	assert_true(vq_dev_call_needed(&m->vq));
	rm_free(m);
}

static void kicks(void **state)
{
	struct ring_memory *m = rm_new_packed(3);

	vq_dev_kick_disable(&m->vq);
	assert_int_equal(m->device_event->flags, VRING_PACKED_EVENT_F_DISABLE);
	assert_false(vq_dev_kick_enable(&m->vq));
	assert_int_equal(m->device_event->flags, VRING_PACKED_EVENT_F_ENABLE);
	vq_dev_kick_disable(&m->vq);
	rm_add(m, RM_BUF, 1, 0, 0);
	assert_true(vq_dev_kick_enable(&m->vq));
	assert_int_equal(vq_dev_get(&m->vq, m->chain), 1);
	m->vq.event_idx = true;
	assert_false(vq_dev_kick_enable(&m->vq));
	assert_int_equal(m->device_event->flags, VRING_PACKED_EVENT_F_DESC);
	assert_int_equal(m->device_event->off_wrap, 0x8001);
	put(m, 0, 1, 0);
	publish(m, 2);
	assert_false(vq_dev_kick_enable(&m->vq));
	assert_int_equal(m->device_event->off_wrap, 0);
	vq_dev_kick_disable(&m->vq);
	assert_int_equal(m->device_event->flags, VRING_PACKED_EVENT_F_DISABLE);
	rm_free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_descriptor),  cmocka_unit_test(laps),
		cmocka_unit_test(unget),	   cmocka_unit_test(ones),
		cmocka_unit_test(ones_stop),	   cmocka_unit_test(in_order_batch),
		cmocka_unit_test(indirect_tables), cmocka_unit_test(indirect_header_writable),
		cmocka_unit_test(bad_indirect),	   cmocka_unit_test(bad_chains),
		cmocka_unit_test(slot_in_use),	   cmocka_unit_test(bad_geometry),
		cmocka_unit_test(bases),	   cmocka_unit_test(remap),
		cmocka_unit_test(calls_by_flag),   cmocka_unit_test(calls_by_event),
		cmocka_unit_test(kicks),	   cmocka_unit_test(how_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
