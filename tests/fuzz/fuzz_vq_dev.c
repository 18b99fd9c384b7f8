// SPDX-License-Identifier: BSD-2-Clause
/*
 * The device side of split and packed rings, in order or not, against a driver that writes anything anywhere at
 * any time between two calls (fuzz_vq_driver.h), and against predecessors that left anything. Input: the ring's
 * geometry, then operations. Some operations are the driver's (raw words, whole descriptors, avail entries, idx), the
 * others are calls of the API. Some queues end without being stopped, as in a death.
 */
#include "fuzz_vq_driver.h"

struct run {
	struct driver d;
	struct vq_dev vq;
	struct vq_chain *chain;
	struct vq_ref held[SIZE_MAX_]; /* taken and not put, oldest first */
	unsigned int num_held;
	unsigned int slots_held; /* sum of their ref.num */
	unsigned int untakeable; /* taken since the last put: the most that may be untaken */
	bool chain_valid;	 /* chain was taken and is still held */
	bool region_in[REGION_NUM];
};

/* What a successor would find, after a start or a publish. */
static void check_track(const struct run *r)
{
	const struct inflight_ring *t = r->vq.track;

	if (!t || !r->vq.running || !r->vq.used)
		return;
	CHECK(t->state == (r->vq.packed ? INFLIGHT_PACKED : INFLIGHT_SPLIT));
	CHECK(t->size == r->vq.size);
	CHECK(!r->vq.packed ||
	      (t->before == t->after && t->after >> 16 == vq_dev_base(&r->vq) >> 16));
}

static void start(struct run *r)
{
	struct vq_dev_conf conf;
	int rc;

	driver_geometry(&r->d);
	conf = r->d.conf;
	conf.map = &r->d.map[0];
	conf.track = r->d.tracked ? &r->d.track[0] : NULL;
	conf.resume = true;
	rc = vq_dev_start(&r->vq, &conf);
	CHECK(rc == 0 || rc == -EPROTO);
	CHECK((rc == 0) == (r->vq.broken == VQ_OK));
	check_track(r);
	r->num_held = 0;
	r->slots_held = 0;
	r->untakeable = 0;
	r->chain_valid = false;
	if (rc == 0 && r->vq.size > SIZE_MAX_)
		vq_dev_stop(&r->vq); /* fits into the regions, but not into our list */
}

static void check_segments(struct run *r, const struct vq_seg *segs, unsigned int num,
			   uint32_t bytes)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < num; i++) {
		bool inside = false;

		CHECK(segs[i].len > 0);
		for (unsigned int j = 0; j < REGION_NUM; j++) {
			uintptr_t offset = (uintptr_t)segs[i].base - (uintptr_t)r->d.host[0][j];

			inside = inside ||
				 (offset < REGION_BYTES && segs[i].len <= REGION_BYTES - offset);
		}
		CHECK(inside);
		sum += segs[i].len;
	}
	CHECK(bytes == (sum > UINT32_MAX ? UINT32_MAX : sum));
}

static void hold(struct run *r, struct vq_ref ref)
{
	CHECK(ref.num >= 1 && (r->vq.packed || (ref.num == 1 && ref.id < r->vq.size)));
	CHECK(r->num_held < r->vq.size);
	r->held[r->num_held++] = ref;
	r->slots_held += ref.num;
	CHECK(r->slots_held <= r->vq.size);
	r->untakeable++;
}

static void get(struct run *r)
{
	struct vq_chain *c = r->chain;
	enum vq_broken was = r->vq.broken;
	int rc = vq_dev_get(&r->vq, c);

	CHECK(rc == 1 || rc == 0 || rc == -EPROTO);
	CHECK(!was || rc == -EPROTO);
	CHECK(rc != -EPROTO || r->vq.broken);
	if (rc != 1)
		return;
	CHECK(r->vq.running && !r->vq.broken);
	CHECK((unsigned int)c->num_out + c->num_in <= VQ_CHAIN_SEGS_MAX);
	check_segments(r, c->segs, c->num_out, c->out_bytes);
	check_segments(r, c->segs + c->num_out, c->num_in, c->in_bytes);
	hold(r, c->ref);
	r->chain_valid = true;
}

static void get_ones(struct run *r)
{
	struct vq_one ones[SIZE_MAX_];
	uint8_t b = input_u8(&r->d.in);
	bool was = r->vq.broken || !r->vq.running;
	unsigned int n = vq_dev_get_ones(&r->vq, b & 0x80, ones, b & 0x3f);

	CHECK(n <= (b & 0x3fu) && (!was || n == 0));
	for (unsigned int i = 0; i < n; i++) {
		check_segments(r, &(struct vq_seg){ ones[i].base, ones[i].len }, 1, ones[i].len);
		CHECK(ones[i].ref.num == 1);
		hold(r, ones[i].ref);
	}
	r->chain_valid = r->chain_valid && n == 0;
}

/* Reads and writes the chain just taken, which must stay inside it whatever the offsets. */
static void copy(struct run *r)
{
	uint32_t offset = input_u16(&r->d.in);
	uint32_t len = input_u16(&r->d.in) & 0xfff;
	uint8_t flat[4096];
	uint32_t did;

	if (r->vq.broken || !r->chain_valid)
		return;
	memset(flat, 0x5a, sizeof(flat));
	did = vq_chain_read(r->chain, offset, flat, len);
	CHECK(did == (offset >= r->chain->out_bytes	   ? 0
		      : r->chain->out_bytes - offset < len ? r->chain->out_bytes - offset
							   : len));
	did = vq_chain_write(r->chain, offset, flat, len);
	CHECK(did == (offset >= r->chain->in_bytes	  ? 0
		      : r->chain->in_bytes - offset < len ? r->chain->in_bytes - offset
							  : len));
}

/* The chains held[at...at + n) were put. */
static void unhold(struct run *r, unsigned int at, unsigned int n)
{
	for (unsigned int i = at; i < at + n; i++)
		r->slots_held -= r->held[i].num;
	r->num_held -= n;
	memmove(&r->held[at], &r->held[at + n], (r->num_held - at) * sizeof(r->held[0]));
	r->untakeable = 0;
	r->chain_valid = false;
}

static void put(struct run *r)
{
	unsigned int i = input_u8(&r->d.in);
	uint32_t written = input_u32(&r->d.in);

	if (!r->num_held)
		return;
	i = r->vq.in_order ? 0 : i % r->num_held;
	vq_dev_put(&r->vq, r->held[i], written);
	unhold(r, i, 1);
}

static void put_ones(struct run *r)
{
	uint8_t b = input_u8(&r->d.in);
	struct vq_one ones[SIZE_MAX_];
	uint32_t written[SIZE_MAX_];
	unsigned int n;

	for (n = 0; n < r->num_held && n < (b & 0x3fu) && r->held[n].num == 1; n++) {
		ones[n] = (struct vq_one){ .ref = r->held[n] };
		written[n] = b * n;
	}
	vq_dev_put_ones(&r->vq, ones, b & 0x80 ? written : NULL, n);
	unhold(r, 0, n);
}

static void unget(struct run *r)
{
	unsigned int n = r->untakeable ? input_u8(&r->d.in) % (r->untakeable + 1) : 0;

	vq_dev_unget(&r->vq, n);
	r->untakeable -= n;
	for (r->chain_valid = r->chain_valid && n == 0; n > 0; n--)
		r->slots_held -= r->held[--r->num_held].num;
}

static void look(struct run *r)
{
	int n = vq_dev_avail(&r->vq);

	CHECK(n == -EPROTO || (n >= 0 && n <= r->vq.size));
	CHECK(n <= 0 || (unsigned int)n + r->slots_held <= r->vq.size);
	CHECK((n == -EPROTO) == (r->vq.broken != VQ_OK));
}

/* Regions that cannot be: empty, around the end of the address space, over others, not there, one too many. */
static void refuse_regions(struct run *r)
{
	struct memmap *map = &r->d.map[0], full = *map;
	unsigned int n = map->num;
	uint8_t *host = r->d.host[0][0];
	struct gpa far = gpa(UINT64_C(1) << 40);

	CHECK(memmap_add(map, far, 0, host) == -EINVAL);
	CHECK(memmap_add(map, gpa(UINT64_MAX - 4096), 8192, host) == -EINVAL);
	CHECK(memmap_del(map, far, 4096) == -ENOENT);
	if (n)
		CHECK(memmap_add(map, gpa(map->regions[n - 1].start - 1), 2, host) == -EEXIST);
	for (; n < MEMMAP_REGIONS_MAX; n++)
		CHECK(!memmap_add(&full, gpa(far.v + n * UINT64_C(8192)), 4096, host));
	CHECK(memmap_add(&full, gpa(far.v << 1), 4096, host) == -ENOSPC);
}

/* From any region on into the next, as far as they go. */
static void read_map(struct run *r, uint8_t from)
{
	uint8_t bytes[600];
	uint64_t offset = REGION_BYTES - 256 + from;
	unsigned int i = from % REGION_NUM;
	bool into = offset + sizeof(bytes) > REGION_BYTES;

	if (memmap_read(&r->d.map[0], gpa(region_start[i] + offset), bytes, sizeof(bytes))) {
		CHECK(r->region_in[i] && (!into || (i == 0 && r->region_in[1])));
		CHECK(!memcmp(bytes, r->d.host[0][i] + offset, REGION_BYTES - offset));
	} else {
		CHECK(!r->region_in[i] || (into && (i != 0 || !r->region_in[1])));
	}
}

/* A region goes or comes back, as REM_MEM_REG and ADD_MEM_REG do it. */
static void change_map(struct run *r)
{
	uint8_t which = input_u8(&r->d.in);
	unsigned int i = which % REGION_NUM;
	struct gpa start_gpa = gpa(region_start[i]);
	int rc;

	if (which & 0x80)
		refuse_regions(r);
	if (which & 0x40) {
		read_map(r, which & 0x3f);
		return;
	}
	if (r->region_in[i])
		CHECK(!memmap_del(&r->d.map[0], start_gpa, REGION_BYTES));
	else
		CHECK(!memmap_add(&r->d.map[0], start_gpa, REGION_BYTES, r->d.host[0][i]));
	r->region_in[i] = !r->region_in[i];
	rc = vq_dev_remap(&r->vq);
	CHECK(rc == (r->vq.broken ? -EPROTO : 0));
	CHECK(r->region_in[0] || !r->vq.desc || (r->d.conf.desc.v >= region_start[1]));
	r->chain_valid = false; /* it may point into memory that went */
}

static void step(struct run *r)
{
	switch (input_u8(&r->d.in) % 20) {
	case 0:
		driver_word(&r->d);
		break;
	case 1:
	case 2:
		driver_descriptor(&r->d, false);
		break;
	case 3:
		driver_descriptor(&r->d, true);
		break;
	case 4:
	case 5:
		driver_make_available(&r->d);
		break;
	case 6:
	case 7:
		get(r);
		break;
	case 8:
		copy(r);
		break;
	case 9:
		put(r);
		break;
	case 10:
		vq_dev_publish(&r->vq);
		check_track(r);
		if (vq_dev_call_needed(&r->vq))
			CHECK(!vq_dev_call_needed(&r->vq)); /* asked twice, published once */
		break;
	case 11:
		if (input_u8(&r->d.in) & 1)
			vq_dev_kick_disable(&r->vq);
		else if (vq_dev_kick_enable(&r->vq))
			CHECK(vq_dev_avail(&r->vq) != 0);
		break;
	case 12:
		unget(r);
		break;
	case 13:
		look(r);
		break;
	case 14:
		change_map(r);
		break;
	case 16:
		get_ones(r);
		break;
	case 17:
		put_ones(r);
		break;
	case 18:
		driver_packed(&r->d, false);
		break;
	case 19:
		driver_packed(&r->d, true);
		break;
	default:
		if (input_u8(&r->d.in) & 1)
			vq_dev_stop(&r->vq);
		start(r);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct vq_chain chain;
	struct run r = { .d.in = { data, size }, .chain = &chain };

	driver_init(&r.d, 1);
	for (unsigned int i = 0; i < REGION_NUM; i++)
		r.region_in[i] = true;
	start(&r);
	while (input_left(&r.d.in))
		step(&r);
	CHECK(vq_broken_name(r.vq.broken));
	return 0;
}
