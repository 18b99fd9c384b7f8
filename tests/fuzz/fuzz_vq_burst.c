// SPDX-License-Identifier: BSD-2-Clause
/*
 * Differential: the fast path against the slow one. Two device queues over two images of the same memory, to
 * which a hostile driver (fuzz_vq_driver.h) does the same things. The first takes and gives back with the burst
 * calls where they take anything, the second chain by chain; chains, errors, positions, calls and every byte of
 * memory must be the same.
 */
#include "fuzz_vq_driver.h"

#define FAST 0
#define SLOW 1

struct run {
	struct driver d;
	struct vq_dev vq[2];
	struct vq_chain chain[2];
	struct vq_one held[SIZE_MAX_]; /* taken and not put, oldest first */
	unsigned int num_held;
	unsigned int untakeable;
};

static void start(struct run *r)
{
	int rc[2];

	driver_geometry(&r->d);
	for (unsigned int k = 0; k < 2; k++) {
		struct vq_dev_conf conf = r->d.conf;

		conf.map = &r->d.map[k];
		conf.track = r->d.tracked ? &r->d.track[k] : NULL;
		conf.resume = true;
		rc[k] = vq_dev_start(&r->vq[k], &conf);
		if (r->vq[k].size > SIZE_MAX_)
			vq_dev_stop(&r->vq[k]);
	}
	CHECK(rc[FAST] == rc[SLOW]);
	r->num_held = 0;
	r->untakeable = 0;
}

/* Where in the driver's memory a pointer of image k points. */
static uint64_t place(const struct run *r, unsigned int k, const uint8_t *p)
{
	for (unsigned int i = 0; i < REGION_NUM; i++) {
		uintptr_t offset = (uintptr_t)p - (uintptr_t)r->d.host[k][i];

		if (offset < REGION_BYTES)
			return region_start[i] + offset;
	}
	CHECK(!"a pointer outside every region");
	return 0;
}

static void hold(struct run *r, struct vq_ref ref)
{
	CHECK(r->num_held < SIZE_MAX_);
	r->held[r->num_held++] = (struct vq_one){ .ref = ref };
	r->untakeable++;
}

static void same_ref(struct vq_ref a, struct vq_ref b)
{
	CHECK(a.id == b.id && a.num == b.num);
}

/* Bursts on the fast side; the slow one must find the same chains one by one. */
static void take_ones(struct run *r, bool writable, unsigned int max)
{
	struct vq_one ones[SIZE_MAX_];
	struct vq_chain *c = &r->chain[SLOW];
	unsigned int n;

	CHECK(vq_dev_avail(&r->vq[FAST]) == vq_dev_avail(&r->vq[SLOW]));
	n = vq_dev_get_ones(&r->vq[FAST], writable, ones, max);
	CHECK(n <= max);
	for (unsigned int i = 0; i < n; i++) {
		CHECK(vq_dev_get(&r->vq[SLOW], c) == 1);
		CHECK(c->num_in == writable && c->num_out == !writable);
		CHECK(c->segs[0].len == ones[i].len);
		CHECK(place(r, FAST, ones[i].base) == place(r, SLOW, c->segs[0].base));
		same_ref(c->ref, ones[i].ref);
		hold(r, c->ref);
	}
}

static void take_chain(struct run *r)
{
	struct vq_chain *f = &r->chain[FAST], *s = &r->chain[SLOW];
	int rc = vq_dev_get(&r->vq[FAST], f);

	CHECK(rc == vq_dev_get(&r->vq[SLOW], s));
	if (rc != 1)
		return;
	same_ref(f->ref, s->ref);
	CHECK(f->num_out == s->num_out && f->num_in == s->num_in);
	CHECK(f->out_bytes == s->out_bytes && f->in_bytes == s->in_bytes);
	for (unsigned int i = 0; i < (unsigned int)f->num_out + f->num_in; i++) {
		CHECK(f->segs[i].len == s->segs[i].len);
		CHECK(place(r, FAST, f->segs[i].base) == place(r, SLOW, s->segs[i].base));
	}
	hold(r, f->ref);
}

/*
 * The chains held longest go back. An in-order batch without lengths leaves less in memory, by design: then the images
 * are made the same again, and only positions are compared.
 */
static void give_back(struct run *r)
{
	uint8_t b = input_u8(&r->d.in);
	uint32_t written[SIZE_MAX_];
	unsigned int n;

	for (n = 0; n < r->num_held && n < (b & 0x3fu) && r->held[n].ref.num == 1; n++)
		written[n] = b & 0x80 ? b * n : 0;
	vq_dev_put_ones(&r->vq[FAST], r->held, b & 0x80 ? written : NULL, n);
	for (unsigned int i = 0; i < n; i++)
		vq_dev_put(&r->vq[SLOW], r->held[i].ref, written[i]);
	if (n == 0 && r->num_held) { /* a chain of several descriptors */
		vq_dev_put(&r->vq[FAST], r->held[0].ref, b);
		vq_dev_put(&r->vq[SLOW], r->held[0].ref, b);
		n = 1;
	}
	r->num_held -= n;
	memmove(r->held, r->held + n, r->num_held * sizeof(r->held[0]));
	r->untakeable = 0;
	vq_dev_publish(&r->vq[FAST]);
	vq_dev_publish(&r->vq[SLOW]);
	for (unsigned int i = 0; i < REGION_NUM && r->d.conf.in_order && !(b & 0x80); i++)
		memcpy(r->d.host[FAST][i], r->d.host[SLOW][i], REGION_BYTES);
}

static void unget(struct run *r)
{
	unsigned int n = r->untakeable ? input_u8(&r->d.in) % (r->untakeable + 1) : 0;

	for (unsigned int k = 0; k < 2; k++)
		vq_dev_unget(&r->vq[k], n);
	r->num_held -= n;
	r->untakeable -= n;
}

/* The hint may decide early, but not differently. */
static void call(struct run *r)
{
	bool wanted = vq_dev_call_hint(&r->vq[FAST]);

	vq_dev_fence();
	wanted = vq_dev_call_settle(&r->vq[FAST]) || wanted;
	CHECK(wanted == vq_dev_call_needed(&r->vq[SLOW]));
}

static void notify(struct run *r, bool on)
{
	bool work[2] = { false, false };

	for (unsigned int k = 0; k < 2; k++) {
		if (on)
			work[k] = vq_dev_kick_enable(&r->vq[k]);
		else
			vq_dev_kick_disable(&r->vq[k]);
	}
	CHECK(work[FAST] == work[SLOW]);
}

static void step(struct run *r)
{
	uint8_t b;

	switch (input_u8(&r->d.in) % 16) {
	case 0:
		driver_word(&r->d);
		break;
	case 1:
		driver_descriptor(&r->d, false);
		break;
	case 2:
		driver_descriptor(&r->d, true);
		break;
	case 3:
	case 4:
		driver_make_available(&r->d);
		break;
	case 5:
	case 6:
		driver_packed(&r->d, false);
		break;
	case 7:
		driver_packed(&r->d, true);
		break;
	case 8:
	case 9:
	case 10:
		b = input_u8(&r->d.in);
		take_ones(r, b & 0x80, b & 0x3f);
		break;
	case 11:
		take_chain(r);
		break;
	case 12:
		give_back(r);
		break;
	case 13:
		unget(r);
		break;
	case 14:
		call(r);
		break;
	default:
		b = input_u8(&r->d.in);
		if (b & 2)
			notify(r, b & 1);
		else if (b & 1)
			start(r);
		break;
	}
}

static void compare(const struct run *r)
{
	CHECK(r->vq[FAST].broken == r->vq[SLOW].broken);
	CHECK(vq_dev_base(&r->vq[FAST]) == vq_dev_base(&r->vq[SLOW]));
	CHECK(!memcmp(&r->d.track[FAST], &r->d.track[SLOW], offsetof(struct inflight_ring, puts)));
	for (unsigned int i = 0; i < REGION_NUM; i++)
		CHECK(!memcmp(r->d.host[FAST][i], r->d.host[SLOW][i], REGION_BYTES));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct run r;

	memset(&r, 0, sizeof(r));
	r.d.in = (struct input){ data, size };
	driver_init(&r.d, 2);
	start(&r);
	while (input_left(&r.d.in)) {
		step(&r);
		compare(&r);
	}
	return 0;
}
