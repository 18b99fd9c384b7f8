// SPDX-License-Identifier: BSD-2-Clause
/*
 * Differential: the hot path against the general one. Two worlds, each a switch with two ports, get the same frames and
 * buffers from drivers that keep the specification (what others do is fuzz_session's business). In the first world
 * frames take the hot path of some kind of processor where it takes them, in the second all take the general way. What
 * comes out must be the same to the byte: frames, headers, order, what is left to each driver, every counter.
 *
 * Ports have one to four queue pairs, and there are one to four workers, stepped by hand and in the same order in both
 * worlds: then frames also go through mailboxes, and pairs change hands when others are switched on and off.
 *
 * Input: u8 (bits 0-1 hot path, bit 2 echo, bit 3 MTU, bits 4-5 further workers, bits 6-7 further pairs), u8 features
 * per port (bits: 0 VERSION_1, 1 MRG_RXBUF, 2 offloads taken, 3 offloads sent, 4 packed, 5 in order, 6 EVENT_IDX,
 * 7 no further pairs), then operations; their first byte has the kind in bits 0-2, the pair in bits 5-6 and the port in
 * bit 7:
 *   0  frame: u8 destination and source, le16 length, u8 pieces (bits 0-1; split rings only), u8 header choice
 *   1  receive buffers: u8 how many (0 to 15), le16 length of each
 *   2  a round of each worker    3  clock: u8 seconds    4  frames as 0, u8 of them, the same
 *   5  a round of one worker: u8    6  the pair is used from now on, or not: u8
 */
#include "fuzz.h"

#include "abi/virtio_config.h"
#include "core/net_priv.h"
#include "tests/be_stub.h"
#include "vq/vq_drv.h"

#define GPA_BASE    UINT64_C(0x100000)
#define QUEUE	    64u
#define RING_BYTES  0x1000u
#define BUFFER	    0x1000u
#define TABLE_BYTES 64u
#define WORLDS	    2
#define PAIRS	    4u
#define WORKERS	    4u

struct peer {
	struct port port;
	unsigned int number; /* of the world */
	unsigned int pairs;
	uint8_t *mem; /* rings, then buffers of each, then indirect tables for each buffer */
	struct vq_drv drv[2 * PAIRS];
	uint64_t used[2 * PAIRS]; /* buffers in use, a bit each */
	bool packed;
};

struct world {
	struct be_switch *sw;
	struct peer peers[2];
};

static struct world worlds[WORLDS];

/* ---- the general way, as a kind of processor ---- */

static bool general_read(struct worker *w)
{
	struct net_burst *b = &w->burst;
	const struct vring_ahead *a = &b->vr->ahead;
	unsigned int n = a->num - a->used;

	for (b->num = 0; b->num < n; b->num++) {
		const struct vq_one *one = &a->ones[a->used + b->num];
		struct net_frame *f = &b->frames[b->num];

		f->one = (struct vq_seg){ one->base, one->len };
		f->segs = &f->one;
		f->num_segs = 1;
		f->ref = one->ref;
		if (!net_frame_take(b->port, f, b->heads[b->num], one->len))
			return false;
	}
	return true;
}

static unsigned int general_forward(struct worker *w, unsigned int i)
{
	return 0;
}

static const struct net_isa general = {
	.name = "general",
	.read = general_read,
	.forward = general_forward,
	.put = net_rx_put,
};

static const struct net_isa *hot_path(uint8_t choice)
{
	static const struct net_isa *const all[] = { &net_isa_sse2, &net_isa_avx2,
						     &net_isa_avx512 };
	const struct net_isa *best = net_isa_choose();
	unsigned int i = 0;

	/* As wide as asked for, or as this processor can. */
	while (i < (choice & 3u) && all[i] != best)
		i++;
	return all[i];
}

/* ---- world of a port ---- */

static uint64_t features_of(uint8_t choice)
{
	uint64_t taken = VIRTIO_NET_FEATURE(F_GUEST_CSUM) | VIRTIO_NET_FEATURE(F_GUEST_TSO4) |
			 VIRTIO_NET_FEATURE(F_GUEST_TSO6) | VIRTIO_NET_FEATURE(F_GUEST_ECN);
	uint64_t sent = VIRTIO_NET_FEATURE(F_CSUM) | VIRTIO_NET_FEATURE(F_HOST_TSO4) |
			VIRTIO_NET_FEATURE(F_HOST_TSO6) | VIRTIO_NET_FEATURE(F_HOST_ECN);

	return VIRTIO_FEATURE(F_INDIRECT_DESC) | (choice & 1 ? VIRTIO_FEATURE(F_VERSION_1) : 0) |
	       (choice & 2 ? VIRTIO_NET_FEATURE(F_MRG_RXBUF) : 0) | (choice & 4 ? taken : 0) |
	       (choice & 8 ? sent : 0) | (choice & 16 ? VIRTIO_FEATURE(F_RING_PACKED) : 0) |
	       (choice & 32 ? VIRTIO_FEATURE(F_IN_ORDER) : 0) |
	       (choice & 64 ? VIRTIO_FEATURE(F_EVENT_IDX) : 0);
}

static uint32_t buffer_at(const struct peer *p, unsigned int ring, int buffer)
{
	return 2 * p->pairs * RING_BYTES + (ring * QUEUE + (unsigned int)buffer) * BUFFER;
}

static uint32_t table_at(const struct peer *p, unsigned int ring, int buffer)
{
	return buffer_at(p, 2 * p->pairs, 0) + (ring * QUEUE + (unsigned int)buffer) * TABLE_BYTES;
}

static uint32_t mem_bytes(const struct peer *p)
{
	return table_at(p, 2 * p->pairs, 0);
}

static void enable_ring(struct peer *p, uint32_t index, bool on)
{
	struct vhost_user_vring_state state = { index, on };

	be_stub_say(&p->port, VHOST_USER_SET_VRING_ENABLE, sizeof(state), &state);
}

static void start_ring(struct peer *p, uint32_t index, uint8_t choice)
{
	struct vq_drv_layout at = vq_drv_layout(QUEUE);
	struct vq_drv_mode mode = { choice & 64, choice & 16, choice & 32 };
	uint64_t ring = GPA_BASE + index * RING_BYTES;
	struct vhost_user_vring_state num = { index, QUEUE };
	struct vhost_user_vring_addr addr = { .index = index,
					      .desc_user_addr = ring,
					      .avail_user_addr = ring + at.avail_offset,
					      .used_user_addr = ring + at.used_offset };
	uint64_t call = index;

	CHECK(at.bytes <= RING_BYTES);
	CHECK(!vq_drv_init_mode(&p->drv[index], p->mem + index * RING_BYTES, QUEUE, mode));
	be_stub_say(&p->port, VHOST_USER_SET_VRING_NUM, sizeof(num), &num);
	be_stub_say(&p->port, VHOST_USER_SET_VRING_ADDR, sizeof(addr), &addr);
	be_stub_say(&p->port, VHOST_USER_SET_VRING_CALL, sizeof(call), &call);
	be_stub_say(&p->port, VHOST_USER_SET_VRING_KICK, sizeof(call), &call);
}

static void connect_peer(struct peer *p, uint8_t choice)
{
	struct vhost_user_msg mem = { .payload.mem = { .num_regions = 1 } };
	uint64_t features = features_of(choice);

	/* Without protocol features all rings are enabled for good. */
	if (p->pairs > 1)
		features |= BIT_ULL(VHOST_USER_F_PROTOCOL_FEATURES_BIT) | VIRTIO_NET_FEATURE(F_MQ);
	p->packed = choice & 16;
	mem.payload.mem.regions[0] =
		(struct vhost_user_region){ GPA_BASE, mem_bytes(p), GPA_BASE, 0 };
	port_connect(&p->port);
	be_stub_say(&p->port, VHOST_USER_SET_FEATURES, sizeof(features), &features);
	be_stub_say(&p->port, VHOST_USER_SET_MEM_TABLE, VHOST_USER_MEM_TABLE_BYTES(1),
		    &mem.payload);
	for (uint32_t i = 0; i < 2 * p->pairs; i++) {
		start_ring(p, i, choice);
		if (p->pairs > 1)
			enable_ring(p, i, true);
	}
}

static void wake(void *ctx, unsigned int worker)
{
	CHECK(worker < WORKERS);
}

/* As much as it needs and no more, with empty rings. Kept: fresh pages cost more than all the rest. */
static uint8_t *memory_of(unsigned int world, unsigned int port, const struct peer *p)
{
	static uint8_t *mem[WORLDS][2][PAIRS];
	uint8_t **at = &mem[world][port][p->pairs - 1];

	if (!*at)
		*at = malloc(mem_bytes(p));
	CHECK(*at);
	memset(*at, 0, 2 * p->pairs * RING_BYTES);
	return *at;
}

static void build(struct world *world, unsigned int number, uint8_t choice, const uint8_t *features)
{
	static const struct switch_ops wakers = { .wake = wake };
	static void *mem[WORLDS];
	struct be_options o;
	struct text error;

	if (!mem[number])
		mem[number] = aligned_alloc(64, ALIGN_UP(switch_bytes(WORKERS), (size_t)64));
	CHECK(mem[number]);
	be_options_init(&o);
	o.app = choice & 4 ? BE_APP_ECHO : BE_APP_SWITCH;
	o.mtu = choice & 8 ? 1000 : 0;
	world->sw = switch_make(mem[number], 1 + (choice >> 4) % WORKERS);
	switch_set_ops(world->sw, &wakers);
	for (unsigned int i = 0; i < 2; i++) {
		static const char *const names[2] = { "a", "b" };
		struct peer *p = &world->peers[i];
		struct port_conf conf = {
			names[i], i, &be_stub_ops, NULL, false, false, false, &o
		};

		*p = (struct peer){ .pairs = features[i] & 128 ? 1 : 1 + (choice >> 6) };
		p->number = number;
		p->mem = memory_of(number, i, p);
		conf.ctx = p->mem;
		port_init(&p->port, &conf);
		switch_add_port(world->sw, &p->port);
	}
	CHECK(!switch_init(world->sw, &o, 1, &error));
	for (unsigned int i = 0; i < world->sw->num_workers; i++)
		world->sw->workers[i].isa = number ? &general : hot_path(choice);
	switch_set_time(world->sw, UINT64_C(1000000000));
	for (unsigned int i = 0; i < 2; i++)
		connect_peer(&world->peers[i], features[i]);
}

/* ---- drivers ---- */

/* A free buffer of a ring, or -1; the same in both worlds, since they have given back the same. */
static int take_buffer(struct peer *p, unsigned int ring)
{
	uint64_t free = ~p->used[ring];
	int at = free ? __builtin_ctzll(free) : -1;

	if (at >= 0)
		p->used[ring] |= BIT_ULL(at);
	return at;
}

struct frame_in {
	unsigned int pair;
	uint8_t addresses, pieces, header;
	uint16_t len;
};

static void write_header(uint8_t *at, const struct frame_in *in, uint32_t hdr_len)
{
	struct virtio_net_hdr h = { 0 };

	if (in->header & 1) {
		h.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
		h.csum_start = 34;
		h.csum_offset = 16;
	}
	if (in->header & 2) {
		h.gso_type = in->header & 4 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4;
		h.gso_size = (uint16_t)(100 + in->header);
		h.hdr_len = 54;
	}
	if (in->header & 8)
		h.num_buffers = in->header;
	if (in->header & 16)
		h.flags |= 2; /* DATA_VALID: of no meaning from a driver */
	memcpy(at, &h, hdr_len);
}

/* Makes one descriptor a table of pieces (split rings). */
static void cut(struct peer *p, unsigned int ring, int buffer, uint32_t len, unsigned int pieces)
{
	uint32_t there = table_at(p, ring, buffer), at = 0;
	struct vring_desc *table = (struct vring_desc *)(void *)(p->mem + there);
	struct vq_drv *drv = &p->drv[ring];
	struct vring_desc *desc =
		&drv->desc[drv->avail->ring[(uint16_t)(drv->avail_idx - 1) % QUEUE]];

	for (unsigned int i = 0; i < pieces; i++) {
		uint32_t n = i + 1 < pieces ? (len - at) / (i + 2) : len - at;

		table[i] = (struct vring_desc){ GPA_BASE + buffer_at(p, ring, buffer) + at, n,
						i + 1 < pieces ? VRING_DESC_F_NEXT : 0,
						(uint16_t)(i + 1) };
		at += n;
	}
	desc->addr = GPA_BASE + there;
	desc->len = pieces * (uint32_t)sizeof(*table);
	desc->flags = VRING_DESC_F_INDIRECT;
}

/* Bytes that depend on their place and on salt. */
static void fill(uint8_t *at, uint32_t len, uint8_t salt)
{
	static uint8_t bytes[BUFFER + UINT8_MAX];

	if (!bytes[1]) {
		for (uint32_t i = 0; i < sizeof(bytes); i++)
			bytes[i] = (uint8_t)(i * 7);
	}
	memcpy(at, bytes + salt, len);
}

static void send_frame(struct peer *p, const struct frame_in *in)
{
	uint32_t hdr_len = p->port.hdr_len, len = in->len % (BUFFER - hdr_len + 1);
	unsigned int ring = 2 * (in->pair % p->pairs) + 1;
	int buffer = take_buffer(p, ring);
	uint8_t *at;

	if (buffer < 0)
		return;
	at = p->mem + buffer_at(p, ring, buffer);
	fill(at, hdr_len + len, (uint8_t)(in->len + in->addresses));
	write_header(at, in, hdr_len);
	memcpy(at + hdr_len, (const uint8_t[]){ 2, 0, 0,    0, 0,  in->addresses & 7,
						2, 0, 0,    0, 0,  in->addresses >> 4 & 7,
						8, 0, 0x45, 0, 0,  0,
						0, 0, 0x40, 0, 64, 6 },
	       24);
	at[hdr_len] |= in->addresses >> 7 & 1; /* a group */
	at[hdr_len + 46] = 0x50;	       /* TCP: five words of header */
	CHECK(!vq_drv_add(&p->drv[ring], gpa(GPA_BASE + buffer_at(p, ring, buffer)), hdr_len + len,
			  false, (uint64_t)buffer));
	if ((in->pieces & 3) && !p->packed)
		cut(p, ring, buffer, hdr_len + len, in->pieces & 3);
}

static void post(struct peer *p, unsigned int pair, uint8_t num, uint16_t len)
{
	unsigned int ring = 2 * (pair % p->pairs);

	for (num &= 15; num > 0; num--) {
		int buffer = take_buffer(p, ring);

		if (buffer < 0)
			return;
		/* Told apart from what the device writes. */
		memset(p->mem + buffer_at(p, ring, buffer), (int)p->number, 1u + len % BUFFER);
		CHECK(!vq_drv_add(&p->drv[ring], gpa(GPA_BASE + buffer_at(p, ring, buffer)),
				  1u + len % BUFFER, true, (uint64_t)buffer));
	}
}

/* ---- comparing ---- */

/* What one ring gave back: the same buffers, in the same order, with the same in them. */
static void compare_used(unsigned int peer, unsigned int ring)
{
	struct peer *a = &worlds[0].peers[peer], *b = &worlds[1].peers[peer];

	for (;;) {
		uint64_t cookie[2] = { 0, 0 };
		uint32_t written[2] = { 0, 0 };
		int got = vq_drv_get_used(&a->drv[ring], &cookie[0], &written[0]);
		uint32_t at;

		CHECK(got == vq_drv_get_used(&b->drv[ring], &cookie[1], &written[1]));
		CHECK(got >= 0);
		if (!got)
			return;
		CHECK(cookie[0] == cookie[1] && written[0] == written[1] && cookie[0] < QUEUE);
		at = buffer_at(a, ring, (int)cookie[0]);
		CHECK(written[0] <= BUFFER && !memcmp(a->mem + at, b->mem + at, written[0]));
		a->used[ring] &= ~BIT_ULL(cookie[0]);
		b->used[ring] &= ~BIT_ULL(cookie[0]);
	}
}

static void compare(void)
{
	for (unsigned int i = 0; i < 2; i++) {
		const struct port *a = &worlds[0].peers[i].port, *b = &worlds[1].peers[i].port;

		for (unsigned int r = 0; r < 2 * worlds[0].peers[i].pairs; r++) {
			compare_used(i, r);
			CHECK(a->vrings[r].state == b->vrings[r].state);
			CHECK(a->vrings[r].owner == b->vrings[r].owner);
		}
		for (unsigned int c = 0; c < CTR_COUNT; c++)
			CHECK(switch_counter(worlds[0].sw, a, c) ==
			      switch_counter(worlds[1].sw, b, c));
	}
}

static void each_frame(unsigned int peer, unsigned int pair, struct input *in, unsigned int times)
{
	struct frame_in f = { .pair = pair, .addresses = input_u8(in) };

	f.len = input_u16(in);
	f.pieces = input_u8(in);
	f.header = input_u8(in);
	for (; times > 0; times--) {
		for (unsigned int n = 0; n < WORLDS; n++)
			send_frame(&worlds[n].peers[peer], &f);
	}
}

static void round_of(unsigned int worker)
{
	for (unsigned int n = 0; n < WORLDS; n++) {
		struct be_switch *sw = worlds[n].sw;

		if (worker % sw->num_workers)
			worker_round(&sw->workers[worker % sw->num_workers]);
		else
			switch_poll(sw);
	}
}

static void round_of_each(void)
{
	for (unsigned int i = 0; i < worlds[0].sw->num_workers; i++)
		round_of(i);
}

static void use_pair(struct peer *p, unsigned int pair, bool on)
{
	pair %= p->pairs;
	if (p->pairs == 1)
		return;
	enable_ring(p, 2 * pair, on);
	enable_ring(p, 2 * pair + 1, on);
}

static void one_operation(struct input *in, uint64_t *now)
{
	uint8_t op = input_u8(in), num;
	unsigned int peer = op >> 7, pair = op >> 5 & 3;
	uint16_t len;

	switch (op & 7) {
	case 0:
		each_frame(peer, pair, in, 1);
		break;
	case 1:
		num = input_u8(in);
		len = input_u16(in);
		for (unsigned int n = 0; n < WORLDS; n++)
			post(&worlds[n].peers[peer], pair, num, len);
		break;
	case 2:
		round_of_each();
		compare();
		break;
	case 3:
		*now += input_u8(in);
		for (unsigned int n = 0; n < WORLDS; n++)
			switch_set_time(worlds[n].sw, *now * UINT64_C(1000000000));
		break;
	case 4:
		num = input_u8(in) & 63;
		each_frame(peer, pair, in, num);
		break;
	case 5:
		round_of(input_u8(in));
		compare();
		break;
	case 6:
		num = input_u8(in);
		for (unsigned int n = 0; n < WORLDS; n++)
			use_pair(&worlds[n].peers[peer], pair, num & 1);
		compare();
		break;
	default:
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	uint8_t choice = input_u8(&in), features[2] = { input_u8(&in), input_u8(&in) };
	uint64_t now = 1;

	for (unsigned int n = 0; n < WORLDS; n++)
		build(&worlds[n], n, choice, features);
	while (input_left(&in))
		one_operation(&in, &now);
	for (unsigned int i = 0; i < 4; i++)
		round_of_each();
	compare();
	for (unsigned int n = 0; n < WORLDS; n++) {
		for (unsigned int i = 0; i < 2; i++)
			port_disconnect(&worlds[n].peers[i].port);
	}
	return 0;
}
