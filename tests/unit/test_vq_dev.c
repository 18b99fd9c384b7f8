// SPDX-License-Identifier: BSD-2-Clause
/* Device side of the split ring against a driver that is written out by hand, well-behaved and not. */
#include "ring_memory.h"

#include <errno.h>

#define NEXT	 VRING_DESC_F_NEXT
#define WRITE	 VRING_DESC_F_WRITE
#define INDIRECT VRING_DESC_F_INDIRECT

static void expect_broken(struct ring_memory *m, enum vq_broken why)
{
	assert_int_equal(vq_dev_get(&m->vq, m->chain), -EPROTO);
	assert_int_equal(m->vq.broken, why);
	/* Sticky, also when the driver repairs what it did. */
	assert_int_equal(vq_dev_get(&m->vq, m->chain), -EPROTO);
	assert_int_equal(vq_dev_avail(&m->vq), -EPROTO);
	assert_false(vq_dev_kick_enable(&m->vq));
	assert_string_not_equal(vq_broken_name(why), "unknown reason");
}

static void one_descriptor(void **state)
{
	struct ring_memory *m = rm_new(8);

	assert_int_equal(vq_dev_avail(&m->vq), 0);
	assert_int_equal(vq_dev_get(&m->vq, m->chain), 0);
	rm_desc(m, 3, RM_BUF, 100, 0, 0);
	rm_desc(m, 5, RM_FAR, 200, WRITE, 0);
	rm_offer(m, 3);
	rm_offer(m, 5);
	assert_int_equal(vq_dev_avail(&m->vq), 2);

	assert_int_equal(vq_dev_get(&m->vq, m->chain), 1);
	assert_int_equal(m->chain->ref.id, 3);
	assert_int_equal(m->chain->num_out, 1);
	assert_int_equal(m->chain->num_in, 0);
	assert_int_equal(m->chain->out_bytes, 100);
	assert_int_equal(m->chain->in_bytes, 0);
	assert_ptr_equal(m->chain->segs[0].base, m->low + 0x6000);
	assert_int_equal(m->chain->segs[0].len, 100);

	assert_int_equal(vq_dev_get(&m->vq, m->chain), 1);
	assert_int_equal(m->chain->ref.id, 5);
	assert_int_equal(m->chain->num_out, 0);
	assert_int_equal(m->chain->num_in, 1);
	assert_int_equal(m->chain->in_bytes, 200);
	assert_ptr_equal(m->chain->segs[0].base, m->far);
	assert_int_equal(vq_dev_get(&m->vq, m->chain), 0);

	/* Out of order, invisible until published. */
	vq_dev_put(&m->vq, rm_ref(5), 150);
	vq_dev_put(&m->vq, rm_ref(3), 0);
	assert_int_equal(m->used->idx, 0);
	vq_dev_publish(&m->vq);
	assert_int_equal(m->used->idx, 2);
	assert_int_equal(m->used->ring[0].id, 5);
	assert_int_equal(m->used->ring[0].len, 150);
	assert_int_equal(m->used->ring[1].id, 3);
	rm_free(m);
}

static void long_chain(void **state)
{
	struct ring_memory *m = rm_new(8);

	/* All eight descriptors, zero-length ones among them. */
	for (uint16_t i = 0; i < 8; i++)
		rm_desc(m, i, RM_BUF + 0x100u * i, i == 2 || i == 6 ? 0 : 16,
			(i >= 4 ? WRITE : 0) | (i < 7 ? NEXT : 0), i + 1);
	rm_offer(m, 0);
	assert_int_equal(vq_dev_get(&m->vq, m->chain), 1);
	assert_int_equal(m->chain->num_out, 3);
	assert_int_equal(m->chain->num_in, 3);
	assert_int_equal(m->chain->out_bytes, 48);
	assert_int_equal(m->chain->in_bytes, 48);
	assert_ptr_equal(m->chain->segs[2].base, m->low + 0x6300);
	assert_ptr_equal(m->chain->segs[3].base, m->low + 0x6400);
	rm_free(m);
}

static void zero_length(void **state)
{
	struct ring_memory *m = rm_new(8);

	/* Nothing in it: no segment, and its address is never looked at. */
	rm_desc(m, 0, UINT64_MAX, 0, 0, 0);
	rm_offer(m, 0);
	assert_int_equal(vq_dev_get(&m->vq, m->chain), 1);
	assert_int_equal(m->chain->num_out + m->chain->num_in, 0);
	assert_int_equal(m->chain->out_bytes, 0);
	rm_free(m);
}

static void crossing_regions(void **state)
{
	struct ring_memory *m = rm_new(8);
	uint8_t flat[0x300];

	for (unsigned int i = 0; i < 0x100; i++) {
		m->low[0x7f00 + i] = (uint8_t)i;
		m->high[i] = (uint8_t)~i;
	}
	rm_desc(m, 0, RM_HIGH - 0x100, 0x200, NEXT, 1);
	rm_desc(m, 1, RM_HIGH - 0x10, 0x20, WRITE, 0);
	rm_offer(m, 0);
	assert_int_equal(vq_dev_get(&m->vq, m->chain), 1);
	assert_int_equal(m->chain->num_out, 2);
	assert_int_equal(m->chain->num_in, 2);
	assert_ptr_equal(m->chain->segs[0].base, m->low + 0x7f00);
	assert_int_equal(m->chain->segs[0].len, 0x100);
	assert_ptr_equal(m->chain->segs[1].base, m->high);
	assert_int_equal(m->chain->segs[3].len, 0x10);

	assert_int_equal(vq_chain_read(m->chain, 0xf0, flat, sizeof(flat)), 0x110);
	assert_int_equal(flat[0xf], 0xff);
	assert_int_equal(flat[0x10], 0xff);
	assert_int_equal(flat[0x11], 0xfe);
	assert_int_equal(vq_chain_read(m->chain, 0x200, flat, 1), 0);
	memset(flat, 7, sizeof(flat));
	assert_int_equal(vq_chain_write(m->chain, 8, flat, 0x10), 0x10);
	assert_int_equal(m->low[0x7ff7], 0xf7);
	assert_int_equal(m->low[0x7ff8], 7);
	assert_int_equal(m->high[7], 7);
	assert_int_equal(m->high[8], 0xf7);
	assert_int_equal(vq_chain_write(m->chain, 0x20, flat, 1), 0);
	rm_free(m);
}

/* Writes a descriptor of an indirect table byte by byte, across the regions' boundary if need be. */
static void table_desc(struct ring_memory *m, uint64_t addr, struct vring_desc d)
{
	for (unsigned int i = 0; i < sizeof(d); i++) {
		uint64_t at = addr + i - RM_LOW;

		*(at < RM_BYTES ? &m->low[at] : &m->high[at - RM_BYTES]) = ((uint8_t *)&d)[i];
	}
}

static void indirect_tables(void **state)
{
	struct ring_memory *m = rm_new(8);
	uint64_t table = RM_HIGH - 24; /* the second entry lies in both regions */

	table_desc(m, table, (struct vring_desc){ RM_BUF, 12, NEXT, 2 });
	table_desc(m, table + 16, (struct vring_desc){ RM_FAR, 300, WRITE, 0 });
	table_desc(m, table + 32, (struct vring_desc){ RM_BUF + 64, 1500, NEXT, 1 });
	rm_desc(m, 1, table, 48, INDIRECT | WRITE, 0); /* the write flag is to be ignored */
	rm_offer(m, 1);
	assert_int_equal(vq_dev_get(&m->vq, m->chain), 1);
	assert_int_equal(m->chain->ref.id, 1);
	assert_int_equal(m->chain->num_out, 2);
	assert_int_equal(m->chain->num_in, 1);
	assert_int_equal(m->chain->out_bytes, 1512);
	assert_ptr_equal(m->chain->segs[2].base, m->far);

	/* Ordinary descriptors first, then the table (virtio 1.2 §2.7.5.3.2). */
	rm_desc(m, 2, RM_BUF, 10, NEXT, 1);
	rm_offer(m, 2);
	assert_int_equal(vq_dev_get(&m->vq, m->chain), 1);
	assert_int_equal(m->chain->num_out, 3);
	assert_int_equal(m->chain->out_bytes, 1522);
	rm_free(m);
}

static void bad_indirect(void **state)
{
	const struct {
		uint64_t addr;
		uint32_t len;
		uint16_t flags;
		struct vring_desc first;
		bool off;
		enum vq_broken why;
	} cases[] = {
		{ RM_BUF, 0, INDIRECT, { 0 }, false, VQ_BROKEN_INDIRECT },
		{ RM_BUF, 24, INDIRECT, { 0 }, false, VQ_BROKEN_INDIRECT },
		{ RM_BUF, 16, INDIRECT | NEXT, { 0 }, false, VQ_BROKEN_INDIRECT },
		{ RM_BUF, 16, INDIRECT, { RM_FAR, 16, INDIRECT, 0 }, false, VQ_BROKEN_INDIRECT },
		{ RM_BUF, 16, INDIRECT, { RM_FAR, 16, 0, 0 }, true, VQ_BROKEN_INDIRECT },
		{ RM_BUF, 16, INDIRECT, { RM_FAR, 16, NEXT, 1 }, false, VQ_BROKEN_NEXT },
		{ RM_BUF, 16, INDIRECT, { RM_FAR, 16, NEXT, 0 }, false, VQ_BROKEN_LOOP },
		{ RM_BUF, 16, INDIRECT, { RM_FAR, RM_BYTES + 1, 0, 0 }, false, VQ_BROKEN_BUFFER },
		{ RM_LOW - 16, 16, INDIRECT, { 0 }, false, VQ_BROKEN_BUFFER },
		{ RM_FAR + RM_BYTES - 8, 16, INDIRECT, { 0 }, false, VQ_BROKEN_BUFFER },
		{ UINT64_MAX - 7, 16, INDIRECT, { 0 }, false, VQ_BROKEN_BUFFER },
		{ UINT64_MAX, 0xfffffff0, INDIRECT, { 0 }, false, VQ_BROKEN_BUFFER },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct ring_memory *m = rm_new(8);

		m->vq.indirect = !cases[i].off;
		memcpy(m->low + 0x6000, &cases[i].first, 16);
		rm_desc(m, 0, cases[i].addr, cases[i].len, cases[i].flags, 0);
		rm_offer(m, 0);
		expect_broken(m, cases[i].why);
		rm_free(m);
	}
}

/* A table longer than the queue is fine as long as the chain in it is not. */
static void indirect_longer_than_queue(void **state)
{
	struct ring_memory *m = rm_new(4);
	struct vring_desc *table = (void *)(m->low + 0x6000);

	for (uint16_t i = 0; i < 64; i++)
		table[i] = (struct vring_desc){ RM_FAR + i, 1, NEXT, i + 1 };
	table[60].next = 63;
	table[63].flags = 0;
	rm_desc(m, 0, RM_BUF, 64 * 16, INDIRECT, 0);
	table[0].next = 60;
	table[60] = (struct vring_desc){ RM_FAR, 1, NEXT, 62 };
	rm_offer(m, 0);
	assert_int_equal(vq_dev_get(&m->vq, m->chain), 1); /* 0, 60, 62, 63 */
	assert_int_equal(m->chain->num_out, 4);
	table[61] = (struct vring_desc){ RM_FAR, 1, NEXT, 62 }; /* one more, and it ends */
	table[60].next = 61;
	rm_offer(m, 0);
	expect_broken(m, VQ_BROKEN_LOOP);
	rm_free(m);
}

/* The table's end may not wrap, not even where memory is at both ends of the address space. */
static void indirect_wraps(void **state)
{
	struct ring_memory *m = rm_new(8);
	uint64_t top = UINT64_MAX - RM_BYTES;
	struct vring_desc first = { RM_FAR, 1, NEXT, 2 };

	assert_int_equal(memmap_del(&m->map, gpa(RM_HIGH), RM_BYTES), 0);
	assert_int_equal(memmap_add(&m->map, gpa(top), RM_BYTES, m->high), 0);
	assert_int_equal(memmap_add(&m->map, gpa(0), 16, m->low + 0x6000), 0);
	assert_int_equal(memmap_add(&m->map, gpa(16), 16, m->low + 0x6010), 0);
	memcpy(m->high + RM_BYTES - 16, &first, sizeof(first)); /* entry 2 would be at 15 */
	rm_desc(m, 0, UINT64_MAX - 16, 48, INDIRECT, 0);
	rm_offer(m, 0);
	expect_broken(m, VQ_BROKEN_BUFFER);
	rm_free(m);
}

static void bad_chains(void **state)
{
	const struct {
		struct vring_desc d[2];
		uint16_t head;
		enum vq_broken why;
	} cases[] = {
		{ { { RM_BUF, 1, 0, 0 } }, 8, VQ_BROKEN_HEAD },
		{ { { RM_BUF, 1, 0, 0 } }, 0xffff, VQ_BROKEN_HEAD },
		{ { { RM_BUF, 1, NEXT, 8 } }, 0, VQ_BROKEN_NEXT },
		{ { { RM_BUF, 1, NEXT, 0 } }, 0, VQ_BROKEN_LOOP },
		{ { { RM_BUF, 0, NEXT, 1 }, { RM_BUF, 0, NEXT, 0 } }, 0, VQ_BROKEN_LOOP },
		{ { { RM_BUF, 1, NEXT | WRITE, 1 }, { RM_BUF, 1, 0, 0 } }, 0, VQ_BROKEN_ORDER },
		{ { { RM_BUF, 0, NEXT | WRITE, 1 }, { RM_BUF, 0, 0, 0 } }, 0, VQ_BROKEN_ORDER },
		{ { { RM_LOW - 1, 2, 0, 0 } }, 0, VQ_BROKEN_BUFFER },
		{ { { RM_HIGH + RM_BYTES, 1, 0, 0 } }, 0, VQ_BROKEN_BUFFER },
		{ { { RM_HIGH + RM_BYTES - 1, 2, WRITE, 0 } }, 0, VQ_BROKEN_BUFFER },
		{ { { RM_BUF, UINT32_MAX, 0, 0 } }, 0, VQ_BROKEN_BUFFER },
		{ { { UINT64_MAX, 2, 0, 0 } }, 0, VQ_BROKEN_BUFFER },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct ring_memory *m = rm_new(8);

		memcpy(m->desc, cases[i].d, sizeof(cases[i].d));
		rm_offer(m, cases[i].head);
		expect_broken(m, cases[i].why);
		rm_free(m);
	}
}

static void too_many_segments(void **state)
{
	struct ring_memory *m = rm_new(512);
	struct vring_desc *table = (void *)m->high;

	/* 512 descriptors, the most a chain here can have, give three segments each over three regions. */
	memmap_init(&m->map);
	assert_int_equal(memmap_add(&m->map, gpa(RM_LOW), RM_BYTES, m->low), 0);
	assert_int_equal(memmap_add(&m->map, gpa(RM_HIGH), RM_BYTES, m->high), 0);
	for (unsigned int i = 0; i < 3; i++)
		assert_int_equal(memmap_add(&m->map, gpa(RM_FAR + i), 1, m->far + 2 * i), 0);
	for (uint16_t i = 0; i < 512; i++)
		table[i] = (struct vring_desc){ RM_FAR, 3, i < 511 ? NEXT : 0, i + 1 };
	table[361].flags = 0;
	rm_desc(m, 0, RM_HIGH, 512 * 16, INDIRECT, 0);
	rm_offer(m, 0);
	assert_int_equal(vq_dev_get(&m->vq, m->chain), 1);
	assert_int_equal(m->chain->num_out, 362 * 3); /* 1086 of 1088 */
	table[361].flags = NEXT;
	rm_offer(m, 0);
	expect_broken(m, VQ_BROKEN_SEGMENTS);
	rm_free(m);
}

static void byte_counts_saturate(void **state)
{
	struct ring_memory *m = rm_new(8);

	/* Never dereferenced: a region as large as two buffers of 3 GiB need. */
	assert_int_equal(memmap_add(&m->map, gpa(0x100000000000), 0x100000000, m->far), 0);
	rm_desc(m, 0, 0x100000000000, 0xc0000000, NEXT, 1);
	rm_desc(m, 1, 0x100000000000, 0xc0000000, 0, 0);
	rm_offer(m, 0);
	assert_int_equal(vq_dev_get(&m->vq, m->chain), 1);
	assert_int_equal(m->chain->num_out, 2);
	assert_int_equal(m->chain->out_bytes, UINT32_MAX);
	rm_free(m);
}

static void avail_idx_jumps(void **state)
{
	struct ring_memory *m = rm_new(8);

	for (uint16_t i = 0; i < 8; i++)
		rm_desc(m, i, RM_BUF, 1, 0, 0);
	m->avail->idx = 9;
	expect_broken(m, VQ_BROKEN_AVAIL_IDX);
	rm_free(m);

	/* Backwards is a jump too. */
	m = rm_new(8);
	rm_offer(m, 0);
	assert_int_equal(vq_dev_get(&m->vq, m->chain), 1);
	m->avail->idx = 0;
	expect_broken(m, VQ_BROKEN_AVAIL_IDX);
	rm_free(m);

	/* More than the driver can have: eight taken and not given back, one more offered. */
	m = rm_new(8);
	for (uint16_t i = 0; i < 8; i++) {
		rm_offer(m, i);
		assert_int_equal(vq_dev_get(&m->vq, m->chain), 1);
	}
	assert_int_equal(vq_dev_get(&m->vq, m->chain), 0);
	m->avail->idx++;
	expect_broken(m, VQ_BROKEN_AVAIL_IDX);
	/* What was taken before can still be given back. */
	vq_dev_put(&m->vq, rm_ref(7), 0);
	vq_dev_publish(&m->vq);
	assert_int_equal(m->used->idx, 1);
	rm_free(m);
}

static void unget(void **state)
{
	struct ring_memory *m = rm_new(4);

	for (uint16_t i = 0; i < 4; i++) {
		rm_desc(m, i, RM_BUF + i, 1, 0, 0);
		rm_offer(m, i);
	}
	for (uint16_t i = 0; i < 3; i++)
		assert_int_equal(vq_dev_get(&m->vq, m->chain), 1);
	vq_dev_unget(&m->vq, 2);
	assert_int_equal(vq_dev_avail(&m->vq), 3);
	assert_int_equal(vq_dev_get(&m->vq, m->chain), 1);
	assert_int_equal(m->chain->ref.id, 1);
	rm_free(m);
}

/* Bursts of chains of one descriptor; anything else is left to vq_dev_get(). */
static void ones(void **state)
{
	struct ring_memory *m = rm_new(8);
	struct vq_one one[8];

	assert_int_equal(vq_dev_get_ones(&m->vq, false, one, 8), 0);
	for (uint16_t i = 0; i < 8; i++)
		rm_desc(m, i, i & 1 ? RM_FAR + 16 * i : RM_BUF + 16u * i, i + 1u, 0, 0);
	rm_desc(m, 5, RM_BUF, 7, WRITE, 0);
	for (uint16_t i = 8; i--;)
		rm_offer(m, i);
	assert_int_equal(vq_dev_get_ones(&m->vq, false, one, 8),
			 0); /* not looked at the index yet */
	assert_int_equal(vq_dev_avail(&m->vq), 8);
	assert_int_equal(vq_dev_get_ones(&m->vq, true, one, 8), 0); /* the other direction */
	assert_int_equal(vq_dev_get_ones(&m->vq, false, one, 0), 0);
	assert_int_equal(vq_dev_get_ones(&m->vq, false, one, 8), 2);
	assert_int_equal(one[0].ref.id, 7);
	assert_ptr_equal(one[0].base, m->far + 16 * 7);
	assert_int_equal(one[0].len, 8);
	assert_int_equal(one[1].ref.id, 6);
	assert_ptr_equal(one[1].base, m->low + 0x6000 + 16 * 6);
	assert_int_equal(vq_dev_get_ones(&m->vq, true, one + 2, 8), 1);
	assert_int_equal(vq_dev_get_ones(&m->vq, false, one + 3, 1), 1);
	assert_int_equal(one[3].ref.id, 4);
	vq_dev_unget(&m->vq, 2);
	assert_int_equal(vq_dev_get(&m->vq, m->chain), 1);
	assert_int_equal(m->chain->ref.id, 5);
	assert_int_equal(m->chain->num_in, 1);
	assert_int_equal(vq_dev_get_ones(&m->vq, false, one + 3, 8), 5);

	vq_dev_put_ones(&m->vq, one, NULL, 2);
	vq_dev_put_ones(&m->vq, one + 2, (const uint32_t[]){ 7, 1 }, 2);
	assert_int_equal(m->used->idx, 0);
	vq_dev_publish(&m->vq);
	assert_int_equal(m->used->idx, 4);
	assert_int_equal(m->used->ring[1].id, 6);
	assert_int_equal(m->used->ring[1].len, 0);
	assert_int_equal(m->used->ring[2].id, 5);
	assert_int_equal(m->used->ring[2].len, 7);
	vq_dev_break(&m->vq, VQ_BROKEN_CONTENT);
	assert_int_equal(vq_dev_get_ones(&m->vq, false, one, 8), 0);
	rm_free(m);
}

/* One used entry, where the first one's would be, names the last of a batch; the others are as they were. */
static void in_order_batch(void **state)
{
	struct ring_memory *m = rm_new(8);
	struct vq_one one[8];

	m->vq.in_order = true;
	for (uint16_t i = 0; i < 8; i++)
		rm_desc(m, i, RM_BUF, 1, 0, 0);
	for (uint16_t lap = 0; lap < 20; lap++) {
		uint16_t at = m->used->idx;

		for (uint16_t i = 0; i < 5; i++)
			rm_offer(m, (lap + i) % 8);
		m->used->ring[(at + 1) % 8] = (struct vring_used_elem){ 77, 78 };
		assert_int_equal(vq_dev_avail(&m->vq), 5);
		assert_int_equal(vq_dev_get_ones(&m->vq, false, one, 8), 5);
		vq_dev_put_ones(&m->vq, one, NULL, 5);
		vq_dev_publish(&m->vq);
		assert_int_equal(m->used->idx, (uint16_t)(at + 5));
		assert_int_equal(m->used->ring[at % 8].id, (lap + 4) % 8);
		assert_int_equal(m->used->ring[(at + 1) % 8].len, 78);
	}
	rm_offer(m, 0);
	rm_offer(m, 1);
	assert_int_equal(vq_dev_avail(&m->vq), 2);
	assert_int_equal(vq_dev_get_ones(&m->vq, false, one, 8), 2);
	vq_dev_put_ones(&m->vq, one, (const uint32_t[]){ 3, 4 }, 2);
	assert_int_equal(m->used->ring[100 % 8].id, 0);
	assert_int_equal(m->used->ring[101 % 8].len, 4); /* with lengths: one each */
	rm_free(m);
}

/* What ends a burst is taken, or refused, by vq_dev_get(). */
static void ones_stop(void **state)
{
	const struct {
		struct vring_desc d;
		uint16_t head;
		int get;
	} cases[] = {
		{ { RM_BUF, 0, 0, 0 }, 1, 1 },
		{ { RM_BUF, 1, NEXT, 2 }, 1, 1 },
		{ { RM_HIGH - 8, 16, 0, 0 }, 1, 1 },
		{ { RM_FAR + RM_BYTES - 8, 9, 0, 0 }, 1, -EPROTO },
		{ { RM_BUF, 16, INDIRECT, 0 }, 1, -EPROTO },
		{ { RM_BUF, 1, 0, 0 }, 8, -EPROTO },
		{ { UINT64_MAX, 2, 0, 0 }, 1, -EPROTO },
	};
	struct vq_one one[4];

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct ring_memory *m = rm_new(8);

		m->vq.indirect = false;
		rm_desc(m, 0, RM_BUF, 1, 0, 0);
		m->desc[1] = cases[i].d;
		rm_desc(m, 2, RM_BUF, 1, 0, 0);
		rm_offer(m, 0);
		rm_offer(m, cases[i].head);
		rm_offer(m, 2);
		assert_int_equal(vq_dev_avail(&m->vq), 3);
		assert_int_equal(vq_dev_get_ones(&m->vq, false, one, 4), 1);
		assert_int_equal(vq_dev_get_ones(&m->vq, false, one, 4), 0);
		assert_false(m->vq.broken);
		assert_int_equal(vq_dev_get(&m->vq, m->chain), cases[i].get);
		assert_int_equal(vq_dev_get_ones(&m->vq, false, one, 4), cases[i].get == 1);
		rm_free(m);
	}
}

static void bad_geometry(void **state)
{
	struct ring_memory *m = rm_new(8);
	const unsigned int bad_sizes[] = { 0, 3, 65536, VQ_DEV_SIZE_MAX * 2, 0x10008 };
	const struct {
		uint64_t desc, avail, used;
	} bad[] = {
		{ RM_DESC + 8, RM_AVAIL, RM_USED },
		{ RM_DESC, RM_AVAIL + 1, RM_USED },
		{ RM_DESC, RM_AVAIL, RM_USED + 2 },
		{ RM_LOW - 16, RM_AVAIL, RM_USED },
		{ RM_DESC, UINT64_MAX - 1, RM_USED },
		{ RM_DESC, RM_AVAIL, 0 },
		{ RM_HIGH - 16, RM_AVAIL, RM_USED },
		{ RM_DESC, RM_HIGH - 20, RM_USED },
		{ RM_DESC, RM_AVAIL, RM_HIGH - 68 },
		{ UINT64_MAX - 15, RM_AVAIL, RM_USED },
		{ RM_FAR + RM_BYTES - 127, RM_AVAIL, RM_USED },
	};
	struct vq_dev_conf conf;

	for (size_t i = 0; i < ARRAY_LEN(bad_sizes); i++) {
		conf = rm_conf(m, bad_sizes[i]);
		conf.base = 77;
		assert_int_equal(vq_dev_start(&m->vq, &conf), -EPROTO);
		assert_int_equal(m->vq.broken, VQ_BROKEN_SIZE);
		assert_int_equal(vq_dev_base(&m->vq),
				 77); /* GET_VRING_BASE still says where it was */
		assert_int_equal(vq_dev_get(&m->vq, m->chain), -EPROTO);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		conf = rm_conf(m, 8);
		conf.desc.v = bad[i].desc;
		conf.avail.v = bad[i].avail;
		conf.used.v = bad[i].used;
		assert_int_equal(vq_dev_start(&m->vq, &conf), -EPROTO);
		assert_int_equal(m->vq.broken, VQ_BROKEN_ADDRESS);
		/* Nothing to write to, and nothing is written. */
		vq_dev_put(&m->vq, rm_ref(0), 0);
		vq_dev_publish(&m->vq);
		assert_false(vq_dev_call_needed(&m->vq));
		assert_false(vq_dev_kick_enable(&m->vq));
		vq_dev_kick_disable(&m->vq);
	}
	/* The ends exactly at the region's end are good: 8 descriptors, 22 bytes, 70 bytes. */
	conf = rm_conf(m, 8);
	conf.desc.v = RM_HIGH - 128;
	assert_int_equal(vq_dev_start(&m->vq, &conf), 0);
	conf.desc.v = RM_FAR;
	conf.avail.v = RM_HIGH - 22;
	conf.used.v = RM_HIGH + RM_BYTES - 72;
	assert_int_equal(vq_dev_start(&m->vq, &conf), 0);
	conf.size = VQ_DEV_SIZE_MAX / 4;
	conf.avail.v = RM_LOW;
	conf.used.v = RM_HIGH;
	assert_int_equal(vq_dev_start(&m->vq, &conf), 0);
	rm_free(m);
}

static void restart_and_remap(void **state)
{
	struct ring_memory *m = rm_new(8);
	struct vq_dev_conf conf = rm_conf(m, 8);

	/* Positions: avail from the base, used from the ring. */
	m->avail->idx = 1000;
	m->used->idx = 998;
	conf.base = 999;
	assert_int_equal(vq_dev_start(&m->vq, &conf), 0);
	rm_desc(m, 0, RM_BUF, 1, 0, 0);
	assert_int_equal(vq_dev_avail(&m->vq), 1);
	assert_int_equal(vq_dev_get(&m->vq, m->chain), 1);
	vq_dev_put(&m->vq, rm_ref(0), 0);

	/* The ring's memory goes: nothing is written to it any more, not even when broken. */
	vq_dev_break(&m->vq, VQ_BROKEN_CONTENT);
	assert_int_equal(vq_dev_remap(&m->vq), -EPROTO);
	assert_non_null(m->vq.used);
	assert_int_equal(memmap_del(&m->map, gpa(RM_LOW), RM_BYTES), 0);
	assert_int_equal(vq_dev_remap(&m->vq), -EPROTO);
	assert_null(m->vq.used);
	vq_dev_publish(&m->vq);
	assert_int_equal(m->used->idx, 998);
	assert_int_equal(m->vq.broken, VQ_BROKEN_CONTENT); /* the first reason stays */

	/* Back at another place, started again. */
	memcpy(m->far, m->low, RM_BYTES);
	assert_int_equal(memmap_del(&m->map, gpa(RM_FAR), RM_BYTES), 0);
	assert_int_equal(memmap_add(&m->map, gpa(RM_LOW), RM_BYTES, m->far), 0);
	assert_int_equal(vq_dev_start(&m->vq, &conf), 0);
	assert_int_equal(vq_dev_remap(&m->vq), 0);
	assert_int_equal(vq_dev_get(&m->vq, m->chain), 1);
	assert_ptr_equal(m->chain->segs[0].base, m->far + 0x6000);

	vq_dev_stop(&m->vq);
	assert_int_equal(vq_dev_base(&m->vq), 1000);
	assert_int_equal(vq_dev_get(&m->vq, m->chain), 0);
	assert_int_equal(vq_dev_avail(&m->vq), 0);
	assert_int_equal(vq_dev_remap(&m->vq), 0);
	rm_free(m);
}

static void publish(struct ring_memory *m, unsigned int n)
{
	while (n--) {
		rm_offer(m, 0);
		assert_int_equal(vq_dev_get(&m->vq, m->chain), 1);
		vq_dev_put(&m->vq, rm_ref(0), 0);
	}
	vq_dev_publish(&m->vq);
}

static void calls_by_flag(void **state)
{
	struct ring_memory *m = rm_new(8);

	rm_desc(m, 0, RM_BUF, 1, 0, 0);
	assert_false(vq_dev_call_needed(&m->vq)); /* nothing published */
	publish(m, 1);
	assert_true(vq_dev_call_needed(&m->vq));
	assert_false(vq_dev_call_needed(&m->vq));
	m->avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
	publish(m, 3);
	assert_false(vq_dev_call_needed(&m->vq));
	m->avail->flags = 0;
	assert_false(vq_dev_call_needed(&m->vq));
	publish(m, 1);
	assert_true(vq_dev_call_needed(&m->vq));
	rm_free(m);
}

static void calls_by_event(void **state)
{
	struct ring_memory *m = rm_new(8);

	m->vq.event_idx = true;
	m->avail->flags = VRING_AVAIL_F_NO_INTERRUPT; /* means nothing with EVENT_IDX */
	rm_desc(m, 0, RM_BUF, 1, 0, 0);
	*rm_used_event(m) = 5;
	publish(m, 1);
	assert_true(vq_dev_call_needed(&m->vq)); /* as always after a start */
	publish(m, 4);
	assert_false(vq_dev_call_needed(&m->vq)); /* 5 published: event 5 is the sixth */
	publish(m, 1);
	assert_true(vq_dev_call_needed(&m->vq));
	publish(m, 8);
	assert_false(vq_dev_call_needed(&m->vq)); /* passed long ago */

	/* Over the end of the index's 16 bits. */
	while (m->used->idx != 65530)
		publish(m, 1);
	vq_dev_call_needed(&m->vq);
	*rm_used_event(m) = 2;
	publish(m, 6);
	assert_int_equal(m->used->idx, 0);
	assert_false(vq_dev_call_needed(&m->vq));
	publish(m, 2);
	assert_false(vq_dev_call_needed(&m->vq));
	publish(m, 1);
	assert_true(vq_dev_call_needed(&m->vq));
	rm_free(m);
}

/* One fence for many rings: what the hint leaves undecided, the settling decides. */
static void calls_hinted(void **state)
{
	struct ring_memory *m = rm_new(8);

	m->vq.event_idx = true;
	rm_desc(m, 0, RM_BUF, 1, 0, 0);
	assert_false(vq_dev_call_hint(&m->vq));
	publish(m, 1);
	assert_true(vq_dev_call_hint(&m->vq)); /* as always after a start */
	assert_false(vq_dev_call_settle(&m->vq));
	*rm_used_event(m) = 3;
	publish(m, 2);
	assert_false(vq_dev_call_hint(&m->vq));
	publish(m, 3);
	assert_true(vq_dev_call_hint(&m->vq)); /* passed since the last decision, which was "yes" */
	publish(m, 2);
	assert_false(vq_dev_call_hint(&m->vq));
	*rm_used_event(m) = 6; /* the driver asks at last */
	vq_dev_fence();
	assert_true(vq_dev_call_settle(&m->vq));
	assert_false(vq_dev_call_settle(&m->vq));
	publish(m, 1);
	assert_false(vq_dev_call_settle(&m->vq));
	*rm_used_event(m) = 8;
	assert_false(vq_dev_call_hint(&m->vq)); /* decided */
	rm_free(m);
}

static void kicks_by_flag(void **state)
{
	struct ring_memory *m = rm_new(8);

	vq_dev_kick_disable(&m->vq);
	assert_int_equal(m->used->flags, VRING_USED_F_NO_NOTIFY);
	assert_false(vq_dev_kick_enable(&m->vq));
	assert_int_equal(m->used->flags, 0);
	vq_dev_kick_disable(&m->vq);
	rm_offer(m, 0);
	assert_true(vq_dev_kick_enable(&m->vq));
	rm_free(m);
}

static void kicks_by_event(void **state)
{
	struct ring_memory *m = rm_new(8);
	uint16_t old;

	m->vq.event_idx = true;
	rm_desc(m, 0, RM_BUF, 1, 0, 0);
	assert_false(vq_dev_kick_enable(&m->vq));
	assert_true(vring_need_event(*rm_avail_event(m), 1, 0));
	publish(m, 3);
	assert_false(vq_dev_kick_enable(&m->vq));
	assert_int_equal(*rm_avail_event(m), 3);

	/* Disabled, three times round the index: the driver never sees a reason to kick. */
	vq_dev_kick_disable(&m->vq);
	for (unsigned int i = 0; i < 3 * 65536; i++) {
		old = m->avail->idx;
		publish(m, 1);
		assert_false(vring_need_event(*rm_avail_event(m), m->avail->idx, old));
	}
	assert_int_equal(m->used->flags, 0);
	rm_offer(m, 0);
	assert_true(vq_dev_kick_enable(&m->vq));
	/* An index jump seen while looking is no reason to sleep either. */
	m->avail->idx += 100;
	assert_true(vq_dev_kick_enable(&m->vq));
	assert_int_equal(vq_dev_get(&m->vq, m->chain), -EPROTO);
	rm_free(m);
}

static void names(void **state)
{
	for (int i = 0; i < VQ_BROKEN_COUNT; i++)
		assert_non_null(vq_broken_name((enum vq_broken)i));
	assert_string_equal(vq_broken_name((enum vq_broken)VQ_BROKEN_COUNT), "unknown reason");
	assert_string_equal(vq_broken_name((enum vq_broken)UINT32_MAX), "unknown reason");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_descriptor),
		cmocka_unit_test(long_chain),
		cmocka_unit_test(zero_length),
		cmocka_unit_test(crossing_regions),
		cmocka_unit_test(indirect_tables),
		cmocka_unit_test(bad_indirect),
		cmocka_unit_test(indirect_longer_than_queue),
		cmocka_unit_test(indirect_wraps),
		cmocka_unit_test(bad_chains),
		cmocka_unit_test(too_many_segments),
		cmocka_unit_test(byte_counts_saturate),
		cmocka_unit_test(avail_idx_jumps),
		cmocka_unit_test(unget),
		cmocka_unit_test(ones),
		cmocka_unit_test(ones_stop),
		cmocka_unit_test(in_order_batch),
		cmocka_unit_test(bad_geometry),
		cmocka_unit_test(restart_and_remap),
		cmocka_unit_test(calls_by_flag),
		cmocka_unit_test(calls_by_event),
		cmocka_unit_test(calls_hinted),
		cmocka_unit_test(kicks_by_flag),
		cmocka_unit_test(kicks_by_event),
		cmocka_unit_test(names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
