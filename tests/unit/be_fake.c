// SPDX-License-Identifier: BSD-2-Clause
#include "be_fake.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "abi/virtio_config.h"

static int op_send(void *ctx, const struct vhost_user_msg *msg)
{
	struct fake *f = ctx;

	if (f->send_broken)
		return -EPIPE;
	if (f->send_full)
		return -EAGAIN;
	f->reply = *msg;
	f->replies++;
	return 0;
}

static void *op_begin(void *ctx, const struct vhost_user_region *r, unsigned int index,
		      const char **why)
{
	struct fake *f = ctx;

	if (f->fail_window) {
		*why = "test says no";
		return NULL;
	}
	assert_true(r->mmap_offset + r->memory_size <= FAKE_BYTES);
	f->begun++;
	f->windows++;
	f->steps_left = f->steps;
	return f->mem + r->mmap_offset;
}

static int op_step(void *ctx, void *window)
{
	struct fake *f = ctx;

	if (f->fail_step)
		return -EIO;
	if (!f->steps_left) {
		f->steps_left = f->steps;
		return 1;
	}
	f->steps_left--;
	return 0;
}

static void op_end(void *ctx, void *window, uint64_t size)
{
	struct fake *f = ctx;

	f->ended++;
	f->windows--;
}

static int op_bind_kick(void *ctx, unsigned int queue, bool present, const char **why)
{
	struct fake *f = ctx;

	f->kicks_bound[queue] += present;
	return 0;
}

static void op_route_kick(void *ctx, unsigned int queue, unsigned int worker)
{
	__atomic_store_n(&((struct fake *)ctx)->kick_owner[queue], worker, __ATOMIC_RELAXED);
}

static void op_hold_kick(void *ctx, unsigned int queue, bool hold, unsigned int worker)
{
	((struct fake *)ctx)->kick_held[queue] = hold;
}

static int op_bind(void *ctx, unsigned int queue, bool present, const char **why)
{
	return 0;
}

static int op_bind_req(void *ctx, const char **why)
{
	return 0;
}

static void op_call(void *ctx, unsigned int queue)
{
	((struct fake *)ctx)->calls[queue]++;
}

static void op_err(void *ctx, unsigned int queue)
{
	((struct fake *)ctx)->errs[queue]++;
}

static void op_log(void *ctx, enum be_log_level level, const char *port, const char *text)
{
	struct fake *f = ctx;

	if (level != BE_LOG_DEBUG)
		snprintf(f->last_log, sizeof(f->last_log), "%s: %s", port, text);
}

const struct be_ops fake_ops = {
	.send = op_send,
	.window_begin = op_begin,
	.window_step = op_step,
	.window_end = op_end,
	.bind_kick = op_bind_kick,
	.route_kick = op_route_kick,
	.hold_kick = op_hold_kick,
	.bind_call = op_bind,
	.bind_err = op_bind,
	.bind_backend_req = op_bind_req,
	.call = op_call,
	.err = op_err,
	.log = op_log,
};

void fake_init(struct fake *f, const char *name, unsigned int index,
	       const struct be_options *options)
{
	struct be_options defaults;
	struct port_conf conf = {
		.name = name,
		.index = index,
		.ops = &fake_ops,
		.ctx = f,
		.mem_slots = true,
		.inflight = true,
		.options = options ? options : &defaults,
	};

	be_options_init(&defaults);
	memset(f, 0, sizeof(*f));
	f->mem = aligned_alloc(4096, FAKE_BYTES);
	assert_non_null(f->mem);
	memset(f->mem, 0, FAKE_BYTES);
	port_init(&f->port, &conf);
}

void fake_free(struct fake *f)
{
	port_disconnect(&f->port);
	/* Every window that was begun was ended, whatever happened. */
	assert_int_equal(f->windows, 0);
	free(f->mem);
}

uint32_t fake_alloc(struct fake *f, uint32_t bytes)
{
	uint32_t at = f->next;

	f->next += ALIGN_UP(bytes, 64u);
	assert_true(f->next <= FAKE_BYTES);
	memset(f->mem + at, 0, bytes);
	return at;
}

int fake_send(struct fake *f, struct vhost_user_msg *msg, unsigned int num_fds)
{
	int ret;

	assert_false(port_busy(&f->port));
	ret = port_message(&f->port, msg, num_fds);
	while (!ret && port_busy(&f->port) && !f->send_full)
		ret = port_step(&f->port);
	return ret;
}

static struct vhost_user_msg message(uint32_t request, uint32_t size)
{
	return (struct vhost_user_msg){ .hdr = { request, VHOST_USER_VERSION, size } };
}

int fake_u64(struct fake *f, uint32_t request, uint64_t value)
{
	struct vhost_user_msg msg = message(request, 8);

	msg.payload.u64 = value;
	return fake_send(f, &msg, 0);
}

int fake_plain(struct fake *f, uint32_t request)
{
	struct vhost_user_msg msg = message(request, 0);

	return fake_send(f, &msg, 0);
}

int fake_state(struct fake *f, uint32_t request, uint32_t index, uint32_t num)
{
	struct vhost_user_msg msg = message(request, 8);

	msg.payload.state.index = index;
	msg.payload.state.num = num;
	return fake_send(f, &msg, 0);
}

int fake_vring_fd(struct fake *f, uint32_t request, unsigned int index, bool fd)
{
	struct vhost_user_msg msg = message(request, 8);

	msg.payload.u64 = index | (fd ? 0 : VHOST_USER_VRING_NOFD_MASK);
	return fake_send(f, &msg, fd);
}

int fake_addr(struct fake *f, unsigned int index, uint32_t ring_at)
{
	struct vq_drv_layout l = vq_drv_layout(FAKE_QUEUE);
	struct vhost_user_msg msg = message(VHOST_USER_SET_VRING_ADDR, sizeof(msg.payload.addr));

	msg.payload.addr = (struct vhost_user_vring_addr){
		.index = index,
		.desc_user_addr = FAKE_USER + ring_at,
		.avail_user_addr = FAKE_USER + ring_at + l.avail_offset,
		.used_user_addr = FAKE_USER + ring_at + l.used_offset,
	};
	return fake_send(f, &msg, 0);
}

int fake_mem(struct fake *f, bool halves)
{
	struct vhost_user_msg msg = message(VHOST_USER_SET_MEM_TABLE, 0);
	uint32_t num = halves ? 2 : 1, bytes = FAKE_BYTES / num;

	msg.hdr.size = VHOST_USER_MEM_TABLE_BYTES(num);
	msg.payload.mem.num_regions = num;
	for (uint32_t i = 0; i < num; i++)
		msg.payload.mem.regions[i] =
			(struct vhost_user_region){ FAKE_GPA + i * bytes, bytes,
						    FAKE_USER + i * bytes, i * bytes };
	return fake_send(f, &msg, num);
}

void fake_connect(struct fake *f, uint64_t features)
{
	f->next = 0;
	f->features = features;
	port_connect(&f->port);
	assert_int_equal(fake_plain(f, VHOST_USER_GET_FEATURES), 0);
	assert_int_equal(features & ~f->reply.payload.u64, 0);
	assert_int_equal(fake_plain(f, VHOST_USER_GET_PROTOCOL_FEATURES), 0);
	assert_int_equal(fake_u64(f, VHOST_USER_SET_PROTOCOL_FEATURES, f->reply.payload.u64), 0);
	assert_int_equal(fake_plain(f, VHOST_USER_SET_OWNER), 0);
}

static void set_up_ring(struct fake *f, unsigned int i)
{
	struct vq_drv_layout l = vq_drv_layout(FAKE_QUEUE);
	struct vq_drv_mode mode = { .event_idx = f->features & VIRTIO_FEATURE(F_EVENT_IDX),
				    .packed = f->features & VIRTIO_FEATURE(F_RING_PACKED),
				    .in_order = f->features & VIRTIO_FEATURE(F_IN_ORDER) };

	f->ring_at[i] = ALIGN_UP(fake_alloc(f, l.bytes + 4096), 4096u);
	assert_int_equal(vq_drv_init_mode(&f->drv[i], f->mem + f->ring_at[i], FAKE_QUEUE, mode), 0);
	assert_int_equal(fake_state(f, VHOST_USER_SET_VRING_NUM, i, FAKE_QUEUE), 0);
	assert_int_equal(
		fake_state(f, VHOST_USER_SET_VRING_BASE, i, mode.packed ? FAKE_PACKED_BASE : 0), 0);
	assert_int_equal(fake_addr(f, i, f->ring_at[i]), 0);
}

void fake_start_pair(struct fake *f, unsigned int pair)
{
	for (unsigned int i = 2 * pair; i < 2 * pair + 2; i++) {
		assert_int_equal(fake_vring_fd(f, VHOST_USER_SET_VRING_CALL, i, true), 0);
		assert_int_equal(fake_vring_fd(f, VHOST_USER_SET_VRING_ERR, i, true), 0);
		assert_int_equal(fake_state(f, VHOST_USER_SET_VRING_ENABLE, i, 1), 0);
	}
	assert_int_equal(fake_u64(f, VHOST_USER_SET_FEATURES, f->features), 0);
	if (!pair)
		assert_int_equal(fake_mem(f, true), 0);
	for (unsigned int i = 2 * pair; i < 2 * pair + 2; i++) {
		set_up_ring(f, i);
		assert_int_equal(fake_vring_fd(f, VHOST_USER_SET_VRING_KICK, i, true), 0);
	}
}

void fake_restart_ring(struct fake *f, unsigned int ring)
{
	assert_int_equal(fake_state(f, VHOST_USER_GET_VRING_BASE, ring, 0), 0);
	set_up_ring(f, ring);
	assert_int_equal(fake_vring_fd(f, VHOST_USER_SET_VRING_KICK, ring, true), 0);
}

static void wake(void *ctx, unsigned int worker)
{
}

struct be_switch *fake_switch(struct fake *ports, unsigned int num, unsigned int workers,
			      const char *options, uint64_t now_ns)
{
	static const struct switch_ops ops = { .wake = wake };
	size_t bytes = ALIGN_UP(switch_bytes(workers), (size_t)64);
	struct be_options o;
	struct text error;
	struct be_switch *sw;
	void *mem = aligned_alloc(64, bytes);

	assert_non_null(mem);
	be_options_init(&o);
	assert_int_equal(be_options_line(&o, options, &error), 0);
	memset(mem, 0xa5, bytes); /* nothing may rely on zeroed memory */
	sw = switch_make(mem, workers);
	switch_set_ops(sw, &ops);
	for (unsigned int i = 0; i < num; i++) {
		char name[2] = { (char)('a' + i), 0 };

		fake_init(&ports[i], name, i, &o);
		switch_add_port(sw, &ports[i].port);
	}
	assert_int_equal(switch_init(sw, &o, 42, &error), 0);
	fake_time(sw, now_ns);
	return sw;
}

void fake_switch_free(struct be_switch *sw, struct fake *ports, unsigned int num)
{
	/* One that a failed test left awake would be waited for. */
	for (unsigned int i = 1; i < sw->num_workers; i++)
		sw->workers[i].gate.asleep |= 1;
	for (unsigned int i = 0; i < num; i++)
		fake_free(&ports[i]);
	free(sw);
}

void fake_time(struct be_switch *sw, uint64_t now_ns)
{
	switch_set_time(sw, now_ns);
	for (unsigned int i = 1; i < sw->num_workers; i++)
		worker_set_time(&sw->workers[i], now_ns);
}

unsigned int fake_step(struct be_switch *sw, unsigned int worker)
{
	return worker ? worker_round(&sw->workers[worker]) : switch_poll(sw);
}

void fake_finish(struct be_switch *sw)
{
	/* A port that is ahead of the others lets one round pass. */
	for (unsigned int idle = 0; idle < 3; idle++) {
		for (unsigned int i = 0; i < sw->num_workers; i++) {
			if (fake_step(sw, i))
				idle = 0;
		}
	}
}

void fake_disconnect(struct be_switch *sw, struct fake *f)
{
	port_disconnect(&f->port);
	switch_port_down(sw, &f->port);
	assert_int_equal(f->windows, 0);
}

unsigned int fake_hdr_len(const struct fake *f)
{
	return f->features & (VIRTIO_FEATURE(F_VERSION_1) | VIRTIO_NET_FEATURE(F_MRG_RXBUF)) ? 12
											     : 10;
}

void fake_tx(struct fake *f, const struct virtio_net_hdr *hdr, const void *frame, uint32_t len)
{
	unsigned int h = fake_hdr_len(f);
	uint32_t at = fake_alloc(f, h + len);

	if (hdr)
		memcpy(f->mem + at, hdr, h);
	if (len)
		memcpy(f->mem + at + h, frame, len);
	assert_int_equal(vq_drv_add(&f->drv[1], fake_gpa(at), h + len, false, at), 0);
}

void fake_rx_post(struct fake *f, unsigned int num, uint32_t len)
{
	for (unsigned int i = 0; i < num; i++) {
		uint32_t at = fake_alloc(f, len ? len : 1);

		memset(f->mem + at, 0xaa, len);
		assert_int_equal(vq_drv_add(&f->drv[0], fake_gpa(at), len, true, at), 0);
	}
}

int fake_rx(struct fake *f, struct virtio_net_hdr *hdr, uint8_t *frame)
{
	unsigned int h = fake_hdr_len(f), buffers;
	struct virtio_net_hdr local = { .num_buffers = 1 };
	uint64_t at;
	uint32_t written, len;

	if (vq_drv_get_used(&f->drv[0], &at, &written) != 1)
		return -1;
	if (written < h) {
		assert_int_equal(written, 0);
		return fake_rx(f, hdr, frame);
	}
	memcpy(&local, f->mem + at, h);
	len = written - h;
	memcpy(frame, f->mem + at + h, len);
	buffers = local.num_buffers;
	assert_true(buffers >= 1);
	while (--buffers) {
		assert_int_equal(vq_drv_get_used(&f->drv[0], &at, &written), 1);
		memcpy(frame + len, f->mem + at, written);
		len += written;
	}
	if (hdr)
		*hdr = local;
	return (int)len;
}

unsigned int fake_tx_done(struct fake *f)
{
	unsigned int num = 0;
	uint64_t at;
	uint32_t written;

	while (vq_drv_get_used(&f->drv[1], &at, &written) == 1) {
		assert_int_equal(written, 0);
		num++;
	}
	return num;
}
