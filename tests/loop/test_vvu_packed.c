// SPDX-License-Identifier: BSD-2-Clause
/*
 * Control queues as packed rings of sizes that are no power of two (virtio 1.2 §2.8), driven by hand: vq_drv has powers
 * of two only. Each buffer is one descriptor.
 */
#include "abi/virtio_config.h"
#include "abi/virtio_pci.h"
#include "world.h"

#define RX_SIZE 7
#define TX_SIZE 3

struct odd_queue {
	struct vring_packed_desc *ring;
	uint8_t *buffers;
	uint64_t buffers_at;
	unsigned int size;
	unsigned int added, taken; /* run freely */
	uintptr_t notify;
	uint16_t index;
};

static uint64_t get(struct world *w, size_t field, unsigned int size)
{
	return fake_read(&w->f, (uintptr_t)w->drv.dev.common + field, size);
}

static void set(struct world *w, size_t field, unsigned int size, uint64_t value)
{
	fake_write(&w->f, (uintptr_t)w->drv.dev.common + field, size, value);
}

#define FIELD(name) offsetof(struct virtio_pci_common_cfg, name)

static void set_address(struct world *w, size_t field, const void *part)
{
	uint64_t at = w->f.platform.to_gpa(w->f.platform.ctx, part).v;

	set(w, field, 4, (uint32_t)at);
	set(w, field + 4, 4, at >> 32);
}

static void odd_open(struct world *w, struct odd_queue *q, uint16_t index, unsigned int size)
{
	const struct gd_platform *p = &w->f.platform;
	const struct gd_virtio *dev = &w->drv.dev;
	uint8_t *ring = p->alloc(p->ctx, 4096, 4096);

	*q = (struct odd_queue){ .size = size, .index = index };
	q->ring = (struct vring_packed_desc *)(void *)ring;
	q->buffers = p->alloc(p->ctx, size * VVU_MSG_MAX, 4096);
	q->buffers_at = p->to_gpa(p->ctx, q->buffers).v;
	set(w, FIELD(queue_select), 2, index);
	set(w, FIELD(queue_size), 2, size);
	assert_int_equal(get(w, FIELD(queue_size), 2), size);
	/* Not these. */
	set(w, FIELD(queue_size), 2, 0);
	set(w, FIELD(queue_size), 2, VVU_QUEUE_SIZE + 1);
	assert_int_equal(get(w, FIELD(queue_size), 2), size);
	set_address(w, FIELD(queue_desc), ring);
	set_address(w, FIELD(queue_driver), ring + 2048);
	set_address(w, FIELD(queue_device), ring + 3072);
	q->notify = (uintptr_t)dev->notify +
		    get(w, FIELD(queue_notify_off), 2) * dev->notify_multiplier;
	set(w, FIELD(queue_enable), 2, 1);
	assert_int_equal(get(w, FIELD(queue_enable), 2), 1);
}

/* The wrap counter at a position: 1 in the first lap (virtio 1.2 §2.8.1). */
static bool odd_lap(const struct odd_queue *q, unsigned int position)
{
	return position / q->size % 2 == 0;
}

static void odd_add(struct odd_queue *q, uint16_t id, uint32_t len, bool device_writes)
{
	uint64_t at = q->buffers_at + id * VVU_MSG_MAX;
	uint16_t flags =
		odd_lap(q, q->added) ? VRING_PACKED_DESC_F_AVAIL : VRING_PACKED_DESC_F_USED;

	q->ring[q->added++ % q->size] =
		(struct vring_packed_desc){ at, len, id,
					    flags | (device_writes ? VRING_DESC_F_WRITE : 0) };
}

/* The next used buffer; false: there is none. */
static bool odd_take(struct odd_queue *q, uint16_t *id, uint32_t *len)
{
	const struct vring_packed_desc *d = &q->ring[q->taken % q->size];
	bool lap = odd_lap(q, q->taken);

	if (!!(d->flags & VRING_PACKED_DESC_F_AVAIL) != lap ||
	    !!(d->flags & VRING_PACKED_DESC_F_USED) != lap)
		return false;
	*id = d->id;
	*len = d->len;
	q->taken++;
	return true;
}

static void odd_notify(struct world *w, const struct odd_queue *q)
{
	fake_write(&w->f, q->notify, 2, q->index);
	fake_step(&w->f);
}

/* The next message for the driver, which must be there; its buffer is given back. */
static struct vhost_user_msg odd_recv(struct world *w, struct odd_queue *rx)
{
	struct vhost_user_msg msg = { 0 };
	uint16_t id = 0;
	uint32_t len = 0;

	assert_true(odd_take(rx, &id, &len));
	assert_in_range(len, sizeof(msg.hdr), sizeof(msg));
	memcpy(&msg, rx->buffers + id * VVU_MSG_MAX, len);
	odd_add(rx, id, VVU_MSG_MAX, true);
	odd_notify(w, rx);
	return msg;
}

static void odd_send(struct world *w, struct odd_queue *tx, const struct vhost_user_msg *msg)
{
	uint16_t id = (uint16_t)(tx->added % tx->size);
	uint32_t len, bytes = (uint32_t)sizeof(msg->hdr) + msg->hdr.size;

	memcpy(tx->buffers + id * VVU_MSG_MAX, msg, bytes);
	odd_add(tx, id, bytes, false);
	odd_notify(w, tx);
	assert_true(odd_take(tx, &id, &len));
}

static void odd_session(struct world *w, struct odd_queue *rx, struct odd_queue *tx)
{
	const uint64_t features = VIRTIO_FEATURE(F_VERSION_1) | VIRTIO_FEATURE(F_RING_PACKED) |
				  BIT_ULL(VVU_F_EXPLICIT_OFFSETS_BIT);
	struct gd_virtio *dev = &w->drv.dev;

	assert_int_equal(gd_virtio_open(dev, &w->f.platform, WORLD_BDF), 0);
	assert_int_equal(gd_virtio_negotiate(dev, features, features), 0);
	odd_open(w, rx, VVU_QUEUE_RX, RX_SIZE);
	odd_open(w, tx, VVU_QUEUE_TX, TX_SIZE);
	gd_virtio_driver_ok(dev);
	for (uint16_t i = 0; i < RX_SIZE; i++)
		odd_add(rx, i, VVU_MSG_MAX, true);
	odd_notify(w, rx);
	gd_virtio_config_write(dev, 0, 4, VVU_STATUS_BACKEND_UP);
	fake_step(&w->f);
	world_proxy_expect(w, LINK_BACKEND_UP);
	fake_proxy_notice(&w->proxy, LINK_SESSION_UP, 1);
	fake_step(&w->f);
	assert_int_equal(gd_virtio_config_read(dev, 0, 4),
			 VVU_STATUS_BACKEND_UP | VVU_STATUS_FRONTEND_UP);
}

/* Many laps of both rings, one message at a time and as many as there are buffers. */
static void test_odd_sizes(void **state)
{
	struct world *w = *state;
	struct odd_queue rx, tx;
	struct vhost_user_msg msg;

	odd_session(w, &rx, &tx);
	for (unsigned int i = 0; i < 10 * RX_SIZE; i++) {
		msg = msg_empty(VHOST_USER_GET_FEATURES);
		fake_proxy_message(&w->proxy, 1, i, &msg, NULL, 0);
		fake_step(&w->f);
		assert_int_equal(odd_recv(w, &rx).hdr.request, VHOST_USER_GET_FEATURES);
		msg = msg_u64(VHOST_USER_GET_FEATURES, 1000 + i);
		msg.hdr.flags |= VHOST_USER_REPLY_MASK;
		odd_send(w, &tx, &msg);
		world_proxy_expect(w, LINK_BACKEND);
		assert_int_equal(w->proxy.in.pkt.hdr.seq, i);
		assert_int_equal(w->proxy.in.pkt.body.msg.payload.u64, 1000 + i);
	}
	for (unsigned int i = 0; i < 4 * RX_SIZE; i++) {
		msg = msg_state(VHOST_USER_SET_VRING_NUM, i, 256 + i);
		fake_proxy_message(&w->proxy, 1, i, &msg, NULL, 0);
	}
	fake_step(&w->f);
	for (unsigned int i = 0; i < 4 * RX_SIZE; i++) {
		msg = odd_recv(w, &rx);
		assert_int_equal(msg.hdr.request, VHOST_USER_SET_VRING_NUM);
		assert_int_equal(msg.payload.state.index, i);
		assert_int_equal(msg.payload.state.num, 256 + i);
	}
	assert_false(gd_virtio_status(&w->drv.dev) & VIRTIO_STATUS_DEVICE_NEEDS_RESET);
	gd_virtio_reset(&w->drv.dev);
	fake_step(&w->f);
}

/* Split rings keep to powers of two; a size taken before the driver dropped RING_PACKED again breaks the queue. */
static void test_only_packed(void **state)
{
	struct world *w = *state;
	struct gd_virtio *dev = &w->drv.dev;

	assert_int_equal(gd_virtio_open(dev, &w->f.platform, WORLD_BDF), 0);
	set(w, FIELD(driver_feature_select), 4, 1);
	set(w, FIELD(driver_feature), 4, BIT_ULL(VIRTIO_F_RING_PACKED_BIT - 32));
	set(w, FIELD(queue_select), 2, VVU_QUEUE_TX);
	set(w, FIELD(queue_size), 2, 5);
	assert_int_equal(get(w, FIELD(queue_size), 2), 5);
	assert_int_equal(gd_virtio_negotiate(dev, 0, VIRTIO_FEATURE(F_VERSION_1)), 0);
	set(w, FIELD(queue_size), 2, 6);
	assert_int_equal(get(w, FIELD(queue_size), 2), 5);
	set(w, FIELD(queue_enable), 2, 1);
	assert_int_equal(get(w, FIELD(queue_enable), 2), 0);
	assert_true(gd_virtio_status(dev) & VIRTIO_STATUS_DEVICE_NEEDS_RESET);
	gd_virtio_reset(dev);
	set(w, FIELD(queue_select), 2, VVU_QUEUE_TX);
	assert_int_equal(get(w, FIELD(queue_size), 2), VVU_QUEUE_SIZE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_odd_sizes, world_setup_linked, world_teardown),
		cmocka_unit_test_setup_teardown(test_only_packed, world_setup_linked,
						world_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
