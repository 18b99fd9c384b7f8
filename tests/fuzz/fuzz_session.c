// SPDX-License-Identifier: BSD-2-Clause
/*
 * Two ports of the switch with front-ends that may do anything: send any message, write anything into their
 * memory at any time, come and go. Each front-end's memory is an allocation of its own, so that an access that
 * leaves it is seen.
 *
 * With several workers each is stepped by itself, so that anything can be on its way in a mailbox when something else
 * happens. Rings are split, packed, in order; a port has one to four pairs of them.
 *
 * Input: u8 options (bit 0 echo, bit 1 offload=off, bit 3 addresses and limits of the ports, bits 4-5 further workers),
 * then operations; their first byte has the kind in bits 0-3 and the port in bit 7:
 *   0  message: u8 fds (0xff: as due), header, payload
 *   1  memory: le16 offset, u8 length, bytes
 *   2  poll      3  step      4  front-end goes      5  and comes
 *   6  set up: u8 features (bit 3 packed, bit 4 in order, bits 5-6 further pairs); all their rings run afterwards
 *   7  descriptor: u8 ring (bits 0-2) and slot (bits 4-7), le16 address, le16 length, u8 flags, u8 next; made available
 *      if flags bit 7 (packed: in the lap that bit 0 of next says)
 *   8  clock: u8 seconds   9  arm   10  disarm   11  failures: u8 (bit 0 send, bit 1 window, bit 2 step)
 *   12 worker: u8 which one, makes a round; or (bit 7) is kicked in vain by a port, polls that see it (bit 6)
 *   13 place for positions of rings: u8 page
 *   14 another back-end: u8 as in 6, but the rings are as the one before left them
 *   15 request: u8 which one, u8 how (bit 0 NEED_REPLY, bit 1 all protocol features before it, bit 2 a wild value,
 *      bit 3 a region that is there, bits 4-7 index or page), what is left to choose of its payload
 */
#include "fuzz.h"

#include "abi/inflight.h"
#include "abi/virtio_config.h"
#include "core/switch.h"

#define MEM_BYTES  0x10000u
#define GPA_BASE   0x100000u
#define USER_BASE  UINT64_C(0x7f0000000000)
#define RING_BYTES 0x1000u
#define RING_SIZE  16u
#define AVAIL_AT   0x400u
#define USED_AT	   0x800u
#define WORKERS	   4u
#define RINGS	   8u

struct peer {
	struct port port;
	uint8_t *mem;
	unsigned int windows;
	uint8_t failures;
};

static struct peer peers[2];
static struct be_switch *sw;
static void *mem;

static int op_send(void *ctx, const struct vhost_user_msg *msg)
{
	struct peer *p = ctx;

	CHECK(msg->hdr.size <= VHOST_USER_PAYLOAD_MAX && (msg->hdr.flags & VHOST_USER_REPLY_MASK));
	return p->failures & 1 ? -EAGAIN : 0;
}

static void *op_begin(void *ctx, const struct vhost_user_region *r, unsigned int index,
		      const char **why)
{
	struct peer *p = ctx;

	if ((p->failures & 2) || r->memory_size > MEM_BYTES ||
	    r->mmap_offset > MEM_BYTES - r->memory_size) {
		*why = "no";
		return NULL;
	}
	p->windows++;
	return p->mem + r->mmap_offset;
}

static int op_step(void *ctx, void *window)
{
	struct peer *p = ctx;

	return p->failures & 4 ? -EIO : 1;
}

static void op_end(void *ctx, void *window, uint64_t size)
{
	struct peer *p = ctx;

	CHECK(p->windows > 0);
	p->windows--;
}

static int op_bind(void *ctx, unsigned int queue, bool present, const char **why)
{
	CHECK(queue < PORT_VRINGS);
	return 0;
}

static int op_bind_req(void *ctx, const char **why)
{
	return 0;
}

static void op_hold(void *ctx, unsigned int queue, bool hold, unsigned int worker)
{
	CHECK(queue < PORT_VRINGS && (hold || worker < sw->num_workers));
}

static void op_notify(void *ctx, unsigned int queue)
{
	CHECK(queue < PORT_VRINGS);
}

static void op_log(void *ctx, enum be_log_level level, const char *port, const char *text)
{
	CHECK(strlen(text) > 0);
}

static const struct be_ops ops = {
	.send = op_send,
	.window_begin = op_begin,
	.window_step = op_step,
	.window_end = op_end,
	.bind_kick = op_bind,
	.hold_kick = op_hold,
	.bind_call = op_bind,
	.bind_err = op_bind,
	.bind_backend_req = op_bind_req,
	.call = op_notify,
	.err = op_notify,
	.log = op_log,
};

static void gone(struct peer *p)
{
	port_disconnect(&p->port);
	switch_port_down(sw, &p->port);
	CHECK(p->windows == 0);
}

static void deliver(struct peer *p, const struct vhost_user_msg *msg, unsigned int num_fds)
{
	if (!p->port.connected || port_busy(&p->port))
		return;
	if (port_message(&p->port, msg, num_fds)) {
		CHECK(strlen(p->port.reason.s) > 0);
		gone(p);
	}
}

static void step(struct peer *p)
{
	if (port_busy(&p->port) && port_step(&p->port))
		gone(p);
}

static void send_u64(struct peer *p, uint32_t request, uint64_t v)
{
	struct vhost_user_msg msg = { .hdr = { request, VHOST_USER_VERSION, 8 }, .payload.u64 = v };

	deliver(p, &msg, PORT_FDS_AS_DUE);
}

/* Of the upper half of the memory, in which the front-end writes as it likes. */
static void set_inflight(struct peer *p, uint8_t page)
{
	struct vhost_user_msg msg = {
		.hdr = { VHOST_USER_SET_INFLIGHT_FD, VHOST_USER_VERSION, 24 },
		.payload.inflight = { .mmap_size = INFLIGHT_BYTES(4),
				      .mmap_offset = MEM_BYTES / 2 + page % 6 * 4096u,
				      .num_queues = 4 },
	};

	send_u64(p, VHOST_USER_SET_PROTOCOL_FEATURES,
		 VHOST_USER_PF_CARRIED | VHOST_USER_PF_INTERNAL);
	deliver(p, &msg, PORT_FDS_AS_DUE);
	step(p);
}

static void set_up_ring(struct peer *p, uint32_t ring, bool fresh)
{
	uint64_t at = USER_BASE + ring * RING_BYTES;
	struct vhost_user_msg addr = {
		.hdr = { VHOST_USER_SET_VRING_ADDR, VHOST_USER_VERSION, 40 },
		.payload.addr = { .index = ring,
				  .desc_user_addr = at,
				  .avail_user_addr = at + AVAIL_AT,
				  .used_user_addr = at + USED_AT },
	};

	if (fresh)
		memset(p->mem + ring * RING_BYTES, 0, RING_BYTES);
	send_u64(p, VHOST_USER_SET_VRING_NUM, ring | (uint64_t)RING_SIZE << 32);
	deliver(p, &addr, 0);
	send_u64(p, VHOST_USER_SET_VRING_KICK, ring);
}

static void set_up(struct peer *p, uint8_t choice, bool fresh)
{
	static const uint64_t features[] = {
		0,
		VIRTIO_FEATURE(F_VERSION_1),
		VIRTIO_FEATURE(F_VERSION_1) | VIRTIO_NET_FEATURE(F_MRG_RXBUF),
		VIRTIO_FEATURE(F_VERSION_1) | VIRTIO_FEATURE(F_EVENT_IDX) |
			VIRTIO_FEATURE(F_INDIRECT_DESC),
	};
	struct vhost_user_msg mem = {
		.hdr = { VHOST_USER_SET_MEM_TABLE, VHOST_USER_VERSION,
			 VHOST_USER_MEM_TABLE_BYTES(2) },
		.payload.mem = { .num_regions = 2,
				 .regions = { { GPA_BASE, MEM_BYTES / 2, USER_BASE, 0 },
					      { GPA_BASE + MEM_BYTES / 2, MEM_BYTES / 2,
						USER_BASE + MEM_BYTES / 2, MEM_BYTES / 2 } } },
	};

	p->failures = 0;
	if (p->port.connected)
		gone(p);
	port_connect(&p->port);
	if (!fresh)
		set_inflight(p, 0);
	send_u64(p, VHOST_USER_SET_FEATURES,
		 features[choice & 3] | (choice & 4 ? p->port.offered & 0x7fff : 0) |
			 (choice & 8 ? VIRTIO_FEATURE(F_RING_PACKED) : 0) |
			 (choice & 16 ? VIRTIO_FEATURE(F_IN_ORDER) : 0));
	deliver(p, &mem, PORT_FDS_AS_DUE);
	for (unsigned int i = 0; i < 4; i++)
		step(p);
	for (uint32_t ring = 0; ring < 2 + 2 * (choice >> 5 & 3u); ring++)
		set_up_ring(p, ring, fresh);
}

static void message(struct peer *p, struct input *in)
{
	struct vhost_user_msg msg = { 0 };
	uint8_t fds = input_u8(in);

	input_bytes(in, &msg.hdr, sizeof(msg.hdr));
	/* Whoever reads messages has checked the header. */
	if (vu_check_header(&msg.hdr, false))
		return;
	input_bytes(in, &msg.payload, msg.hdr.size);
	deliver(p, &msg, fds == 0xff ? PORT_FDS_AS_DUE : fds);
}

/* Behind the table's two regions, or one of these. */
static struct vhost_user_region some_region(uint8_t how)
{
	uint64_t at = how & 8 ? (how >> 4 & 1) * (MEM_BYTES / 2) : MEM_BYTES + (how >> 4) * 0x1000u;

	return (struct vhost_user_region){ GPA_BASE + at, how & 8 ? MEM_BYTES / 2 : 0x1000,
					   USER_BASE + at, at % MEM_BYTES };
}

static void request(struct peer *p, struct input *in)
{
	struct vhost_user_msg msg = { .hdr = { input_u8(in) % 48, VHOST_USER_VERSION, 8 } };
	const struct vu_msg_info *info = vu_frontend_info(msg.hdr.request);
	uint8_t how = input_u8(in);

	msg.hdr.flags |= how & 1 ? VHOST_USER_NEED_REPLY_MASK : 0;
	if (how & 2)
		send_u64(p, VHOST_USER_SET_PROTOCOL_FEATURES, p->port.offered_protocol);
	switch (info ? info->payload : VU_PAYLOAD_NONE) {
	case VU_PAYLOAD_U64:
		msg.payload.u64 = how & 4 ? input_u64(in) : input_u16(in);
		break;
	case VU_PAYLOAD_STATE:
		msg.payload.state.index = how >> 4;
		msg.payload.state.num = how & 4 ? input_u32(in) : input_u8(in) & 1;
		break;
	case VU_PAYLOAD_MEM_REG:
		msg.payload.mem_reg.region = some_region(how);
		msg.hdr.size = sizeof(msg.payload.mem_reg);
		break;
	case VU_PAYLOAD_CONFIG:
		msg.payload.config.offset = how & 4 ? input_u16(in) : how >> 4;
		msg.payload.config.size = input_u8(in);
		msg.hdr.size = VHOST_USER_CONFIG_HDR + msg.payload.config.size;
		break;
	default:
		msg.hdr.size = 0;
	}
	deliver(p, &msg, PORT_FDS_AS_DUE);
}

/* In this harness workers sleep between any two calls. */
static void arm(struct worker *w)
{
	worker_arm(w);
	worker_rise(w);
	if (!worker_fall_asleep(w))
		worker_leave(w);
	else
		CHECK(sw->num_workers == 1 || !worker_has_mail(w));
}

/* A round, or so many kicks that bring nothing that they are too many. */
static void use_worker(struct peer *p, uint8_t which)
{
	struct worker *w = &sw->workers[which % sw->num_workers];

	if (!(which & 0x80)) {
		worker_round(w);
		return;
	}
	for (unsigned int i = 0; i <= KICKS_DUE + KICKS_IN_VAIN; i++)
		worker_kicked(w, &p->port, which & 0x40);
}

static void memory(struct peer *p, struct input *in)
{
	uint32_t at = input_u16(in), n = input_u8(in);
	uint8_t bytes[256];

	input_bytes(in, bytes, n);
	if (at + n <= MEM_BYTES)
		memcpy(p->mem + at, bytes, n);
}

static void descriptor(struct peer *p, struct input *in)
{
	uint8_t where = input_u8(in);
	uint32_t at = where % RINGS * RING_BYTES, slot = where >> 4;
	struct vring_desc *desc = (struct vring_desc *)(void *)(p->mem + at);
	struct vring_avail *avail = (struct vring_avail *)(void *)(p->mem + at + AVAIL_AT);
	uint8_t flags;

	desc[slot].addr = GPA_BASE + input_u16(in);
	desc[slot].len = input_u16(in);
	flags = input_u8(in);
	desc[slot].flags = flags & 7;
	desc[slot].next = input_u8(in);
	if (p->port.features & VIRTIO_FEATURE(F_RING_PACKED)) {
		struct vring_packed_desc *d = (struct vring_packed_desc *)(void *)&desc[slot];
		bool lap = !(desc[slot].next & 1);

		d->id = (uint16_t)slot;
		d->flags = flags & 7;
		if (flags & 0x80)
			d->flags |= lap ? VRING_PACKED_DESC_F_AVAIL : VRING_PACKED_DESC_F_USED;
	} else if (flags & 0x80) {
		avail->ring[avail->idx++ % RING_SIZE] = (uint16_t)slot;
	}
}

/* Each transmit ring that runs is one worker's, and its pair's other ring is the same one's. */
static void check_owners(void)
{
	unsigned int running = 0, listed = 0;

	for (unsigned int i = 0; i < 2; i++)
		running += peers[i].port.num_tx;
	for (unsigned int i = 0; i < sw->num_workers; i++) {
		const struct worker *w = &sw->workers[i];

		for (unsigned int n = 0; n < w->num_rings; n++) {
			const struct vring *vr = w->rings[n];

			CHECK(vr->owner == i && vr->port->vrings[vr->index ^ 1].owner == i);
		}
		listed += w->num_rings;
	}
	CHECK(listed == running);
}

static void one_operation(struct input *in, uint32_t *now)
{
	uint8_t op = input_u8(in);
	struct peer *p = &peers[op >> 7];

	switch (op & 0xf) {
	case 0:
		message(p, in);
		break;
	case 1:
		memory(p, in);
		break;
	case 2:
		switch_poll(sw);
		break;
	case 3:
		step(p);
		break;
	case 4:
		gone(p);
		break;
	case 5:
		if (!p->port.connected)
			port_connect(&p->port);
		break;
	case 6:
		set_up(p, input_u8(in), true);
		break;
	case 13:
		set_inflight(p, input_u8(in));
		break;
	case 14:
		set_up(p, input_u8(in), false);
		break;
	case 7:
		descriptor(p, in);
		break;
	case 8:
		*now += input_u8(in);
		switch_set_time(sw, *now * UINT64_C(1000000000));
		break;
	case 9:
		for (unsigned int i = 0; i < sw->num_workers; i++)
			arm(&sw->workers[i]);
		break;
	case 10:
		for (unsigned int i = 0; i < sw->num_workers; i++)
			worker_disarm(&sw->workers[i]);
		break;
	case 11:
		p->failures = input_u8(in);
		break;
	case 12:
		use_worker(p, input_u8(in));
		break;
	default:
		request(p, in);
		break;
	}
}

static void op_wake(void *ctx, unsigned int worker)
{
	CHECK(worker < sw->num_workers);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const names[2] = { "a", "b" };
	static const struct switch_ops wakers = { .wake = op_wake };
	static const char *const settings =
		"switch age=2 port.a.mac=02:00:00:00:00:01 port.a.rate=100k port.b.pps=1k";
	struct input in = { data, size };
	uint8_t choice = input_u8(&in);
	struct be_options o;
	struct text error;
	uint32_t now = 1;

	if (!mem)
		mem = aligned_alloc(64, ALIGN_UP(switch_bytes(WORKERS), (size_t)64));
	CHECK(mem);
	sw = switch_make(mem, 1 + (choice >> 4) % WORKERS);
	switch_set_ops(sw, &wakers);
	be_options_init(&o);
	CHECK(!(choice & 8) || !be_options_line(&o, settings, &error));
	o.app = choice & 1 ? BE_APP_ECHO : BE_APP_SWITCH;
	o.offload = !(choice & 2);
	for (unsigned int i = 0; i < 2; i++) {
		struct port_conf conf = {
			names[i], i, &ops, &peers[i], choice & 4, true, true, &o
		};

		peers[i] = (struct peer){ .mem = calloc(1, MEM_BYTES) };
		CHECK(peers[i].mem);
		port_init(&peers[i].port, &conf);
		switch_add_port(sw, &peers[i].port);
	}
	CHECK(!switch_init(sw, &o, 1, &error));
	switch_set_time(sw, 1);
	while (input_left(&in)) {
		one_operation(&in, &now);
		check_owners();
	}
	CHECK(switch_frames_delivered(sw) <= UINT64_MAX - switch_frames_dropped(sw));
	for (unsigned int i = 0; i < 2; i++) {
		gone(&peers[i]);
		free(peers[i].mem);
	}
	return 0;
}
