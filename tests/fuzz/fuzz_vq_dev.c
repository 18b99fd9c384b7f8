// SPDX-License-Identifier: BSD-2-Clause
/*
 * The device side of a split ring against a driver that writes anything anywhere at any time between two calls.
 *
 * Memory: three regions in buffers of exactly their size; the first two are adjacent in guest-physical space only, the
 * third lies apart. Input: the ring's geometry, then operations. Some operations are the driver's (raw words, whole
 * descriptors, avail entries, idx), the others are calls of the API. Random bytes alone would rarely make a valid
 * chain, so addresses and indices are bent into range except when an operation says "wild".
 */
#include "fuzz.h"

#include "abi/errno.h"
#include "vq/vq_dev.h"

#define REGION_BYTES 8192u
#define REGION_NUM   3u
#define HELD_MAX     64u

static const uint64_t region_start[REGION_NUM] = { 0x10000, 0x10000 + REGION_BYTES, 0x40000 };
static uint8_t *region_host[REGION_NUM];

struct run {
	struct input in;
	struct memmap map;
	struct vq_dev vq;
	struct vq_dev_conf conf;
	struct vq_chain *chain;
	struct vq_ref held[HELD_MAX]; /* taken and not put, oldest first */
	unsigned int num_held;
	unsigned int untakeable; /* taken since the last put: the most that may be untaken */
	bool region_in[REGION_NUM];
};

static void set_up_memory(struct run *r)
{
	memmap_init(&r->map);
	for (unsigned int i = 0; i < REGION_NUM; i++) {
		if (!region_host[i] && posix_memalign((void **)&region_host[i], 4096, REGION_BYTES))
			abort();
		memset(region_host[i], 0, REGION_BYTES);
		CHECK(!memmap_add(&r->map, gpa(region_start[i]), REGION_BYTES, region_host[i]));
		r->region_in[i] = true;
	}
}

static void start(struct run *r)
{
	uint8_t b = input_u8(&r->in);
	int rc;

	r->conf = (struct vq_dev_conf){
		.map = &r->map,
		.desc = gpa(region_start[0]),
		.avail = gpa(region_start[0] + 2048),
		.used = gpa(region_start[0] + 4096),
		.size = 1u << (b & 7) % 7, /* 1..64 */
		.base = b & 0x10 ? input_u16(&r->in) : 0,
		.event_idx = b & 0x20,
		.indirect = !(b & 0x40),
	};
	if (b & 0x80) { /* wild geometry */
		r->conf.desc.v += input_u16(&r->in);
		r->conf.avail.v += input_u16(&r->in);
		r->conf.used.v += input_u16(&r->in);
		r->conf.size = input_u16(&r->in);
		if (r->conf.size > HELD_MAX)
			r->conf.size &= 0xffc0;
	}
	rc = vq_dev_start(&r->vq, &r->conf);
	CHECK(rc == 0 || rc == -EPROTO);
	CHECK((rc == 0) == (r->vq.broken == VQ_OK));
	r->num_held = 0;
	r->untakeable = 0;
	if (rc == 0 && r->vq.size > HELD_MAX)
		vq_dev_stop(&r->vq); /* fits into the regions, but not into our list */
}

static void check_segments(const struct vq_seg *segs, unsigned int num, uint32_t bytes)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < num; i++) {
		bool inside = false;

		CHECK(segs[i].len > 0);
		for (unsigned int j = 0; j < REGION_NUM; j++) {
			uintptr_t offset = (uintptr_t)segs[i].base - (uintptr_t)region_host[j];

			inside = inside ||
				 (offset < REGION_BYTES && segs[i].len <= REGION_BYTES - offset);
		}
		CHECK(inside);
		sum += segs[i].len;
	}
	CHECK(bytes == (sum > UINT32_MAX ? UINT32_MAX : sum));
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
	CHECK(c->ref.id < r->vq.size);
	CHECK((unsigned int)c->num_out + c->num_in <= VQ_CHAIN_SEGS_MAX);
	check_segments(c->segs, c->num_out, c->out_bytes);
	check_segments(c->segs + c->num_out, c->num_in, c->in_bytes);
	CHECK(r->num_held < r->vq.size);
	r->held[r->num_held++] = c->ref;
	r->untakeable++;
}

/* Reads and writes the chain just taken, which must stay inside it whatever the offsets. */
static void copy(struct run *r)
{
	uint32_t offset = input_u16(&r->in);
	uint32_t len = input_u16(&r->in) & 0xfff;
	uint8_t flat[4096];
	uint32_t did;

	if (r->vq.broken || !r->untakeable)
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

static void put(struct run *r)
{
	unsigned int i = input_u8(&r->in);

	if (!r->num_held)
		return;
	i %= r->num_held;
	vq_dev_put(&r->vq, r->held[i], input_u32(&r->in));
	r->num_held--;
	memmove(&r->held[i], &r->held[i + 1], (r->num_held - i) * sizeof(r->held[0]));
	r->untakeable = 0;
}

static void unget(struct run *r)
{
	unsigned int n = r->untakeable ? input_u8(&r->in) % (r->untakeable + 1) : 0;

	vq_dev_unget(&r->vq, n);
	r->num_held -= n;
	r->untakeable -= n;
}

static void look(struct run *r)
{
	int n = vq_dev_avail(&r->vq);

	CHECK(n == -EPROTO || (n >= 0 && n <= r->vq.size));
	CHECK(n <= 0 || (unsigned int)n + r->num_held <= r->vq.size);
	CHECK((n == -EPROTO) == (r->vq.broken != VQ_OK));
}

/* A region goes or comes back, as REM_MEM_REG and ADD_MEM_REG do it. */
static void change_map(struct run *r)
{
	unsigned int i = input_u8(&r->in) % REGION_NUM;
	struct gpa start_gpa = gpa(region_start[i]);
	int rc;

	if (r->region_in[i])
		CHECK(!memmap_del(&r->map, start_gpa, REGION_BYTES));
	else
		CHECK(!memmap_add(&r->map, start_gpa, REGION_BYTES, region_host[i]));
	r->region_in[i] = !r->region_in[i];
	rc = vq_dev_remap(&r->vq);
	CHECK(rc == (r->vq.broken ? -EPROTO : 0));
	CHECK(r->region_in[0] || !r->vq.desc || (r->conf.desc.v >= region_start[1]));
	r->untakeable = 0; /* what was taken may point into memory that went */
}

static uint64_t some_address(struct run *r, bool wild)
{
	uint64_t v = wild ? input_u64(&r->in) : input_u16(&r->in);

	if (wild)
		return v;
	return v & 0x8000 ? region_start[2] + (v & 0x3fff) : region_start[0] + (v & 0x7fff);
}

static void driver_descriptor(struct run *r, bool wild)
{
	struct vring_desc d = { .addr = some_address(r, wild) };
	uint8_t flags;
	unsigned int at;

	at = (input_u8(&r->in) & 63u) * 16u;
	flags = input_u8(&r->in);
	d.len = wild ? input_u32(&r->in) : input_u16(&r->in) & 0x1fff;
	d.flags = wild ? input_u16(&r->in) : flags & 7;
	d.next = wild ? input_u16(&r->in) : (flags >> 3) & 31;
	/* Bit 7 puts it across the boundary of the first two regions, where indirect tables may be. */
	at = flags & 0x80 ? at % 512 : at;
	if (flags & 0x80)
		at += REGION_BYTES - 264;
	for (unsigned int i = 0; i < sizeof(d); i++) {
		unsigned int byte = at + i;

		region_host[byte / REGION_BYTES][byte % REGION_BYTES] = ((uint8_t *)&d)[i];
	}
}

static void driver_word(struct run *r)
{
	uint16_t at = input_u16(&r->in);
	uint16_t value = input_u16(&r->in);

	at = (uint16_t)(at % (2 * REGION_BYTES - 1)) & 0xfffe;
	memcpy(&region_host[at / REGION_BYTES][at % REGION_BYTES], &value, sizeof(value));
}

static void driver_make_available(struct run *r)
{
	uint8_t *avail = region_host[0] + 2048;
	uint8_t b = input_u8(&r->in);
	unsigned int size = r->vq.size ? r->vq.size : 1;
	uint16_t idx;
	uint16_t head = b & 63;

	memcpy(&idx, avail + 2, 2);
	memcpy(avail + 4 + 2 * (idx % (size > 64 ? 64 : size)), &head, 2);
	idx = (uint16_t)(idx + 1 +
			 (b >> 6) * (b >> 6)); /* sometimes more than one, with old entries */
	memcpy(avail + 2, &idx, 2);
}

static void step(struct run *r)
{
	switch (input_u8(&r->in) % 16) {
	case 0:
		driver_word(r);
		break;
	case 1:
	case 2:
		driver_descriptor(r, false);
		break;
	case 3:
		driver_descriptor(r, true);
		break;
	case 4:
	case 5:
		driver_make_available(r);
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
		if (vq_dev_call_needed(&r->vq))
			CHECK(!vq_dev_call_needed(&r->vq)); /* asked twice, published once */
		break;
	case 11:
		if (input_u8(&r->in) & 1)
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
	default:
		if (input_u8(&r->in) & 1)
			vq_dev_stop(&r->vq);
		start(r);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct vq_chain chain;
	struct run r = { .in = { data, size }, .chain = &chain };

	set_up_memory(&r);
	start(&r);
	while (input_left(&r.in))
		step(&r);
	CHECK(vq_broken_name(r.vq.broken));
	return 0;
}
