// SPDX-License-Identifier: BSD-2-Clause
/*
 * The virtio side of the VVU device, without a proxy: features, status, queues, configuration,
 * reset, and a driver that breaks the rules.
 */
#include "vvu.h"

#define COMMON(f)	   offsetof(struct virtio_pci_common_cfg, f)
#define QUEUE_VECTOR_UNSET VIRTIO_MSI_NO_VECTOR

static struct gd_virtio dev;

static uint32_t get(size_t offset, unsigned int width)
{
	return dev.p->mmio_read(dev.p->ctx, dev.common + offset, width);
}

static void set(size_t offset, unsigned int width, uint32_t v)
{
	dev.p->mmio_write(dev.p->ctx, dev.common + offset, width, v);
}

static bool open_device(void)
{
	return CHECK(gd_virtio_open(&dev, rt_platform(), vvu_find()) == 0);
}

static uint64_t offered(void)
{
	uint64_t v;

	set(COMMON(device_feature_select), 4, 1);
	v = (uint64_t)get(COMMON(device_feature), 4) << 32;
	set(COMMON(device_feature_select), 4, 0);
	return v | get(COMMON(device_feature), 4);
}

static bool accept_features(uint64_t features)
{
	set(COMMON(driver_feature_select), 4, 0);
	set(COMMON(driver_feature), 4, (uint32_t)features);
	set(COMMON(driver_feature_select), 4, 1);
	set(COMMON(driver_feature), 4, (uint32_t)(features >> 32));
	set(COMMON(device_status), 1, get(COMMON(device_status), 1) | VIRTIO_STATUS_FEATURES_OK);
	return get(COMMON(device_status), 1) & VIRTIO_STATUS_FEATURES_OK;
}

static void check_features(void)
{
	const uint64_t v1 = VIRTIO_FEATURE(F_VERSION_1);
	uint64_t all;

	if (!open_device())
		return;
	all = offered();
	CHECKF((all & v1) && (all & BIT_ULL(VVU_F_EXPLICIT_OFFSETS_BIT)) && !(all & 1), "%#lx",
	       all);
	set(COMMON(device_feature_select), 4, 2);
	CHECKF(get(COMMON(device_feature), 4) == 0, "features beyond 63");
	set(COMMON(device_feature_select), 4, 0xffffffff);
	CHECKF(get(COMMON(device_feature), 4) == 0, "features beyond 63");
	CHECKF(accept_features(all), "everything that is offered");
	open_device();
	CHECKF(accept_features(v1), "the classic layout");
	open_device();
	CHECKF(!accept_features(all & ~v1), "a driver without VERSION_1");
	open_device();
	CHECKF(!accept_features(all | VIRTIO_FEATURE(F_NOTIFICATION_DATA)),
	       "a feature that was not offered");
	open_device();
	CHECKF(!accept_features(v1 | BIT_ULL(63)), "a feature that does not exist");
	open_device();
	CHECK(gd_virtio_negotiate(&dev, all, v1) == 0 && dev.features == all);
	/* What was accepted is final once FEATURES_OK is set. */
	set(COMMON(driver_feature_select), 4, 0);
	set(COMMON(driver_feature), 4, 0);
	CHECK(get(COMMON(device_status), 1) & VIRTIO_STATUS_FEATURES_OK);
}

static void check_queues(void)
{
	struct gd_virtqueue q = { 0 };

	open_device();
	CHECK(gd_virtio_negotiate(&dev, 0, VIRTIO_FEATURE(F_VERSION_1)) == 0);
	CHECK(get(COMMON(num_queues), 2) == VVU_NUM_QUEUES);
	for (unsigned int i = 0; i < VVU_NUM_QUEUES; i++) {
		set(COMMON(queue_select), 2, i);
		CHECK(get(COMMON(queue_size), 2) == VVU_QUEUE_SIZE);
		CHECK(get(COMMON(queue_enable), 2) == 0);
		CHECK(get(COMMON(queue_msix_vector), 2) == VIRTIO_MSI_NO_VECTOR);
		/* virtio 1.2 §4.1.5.1.2: a vector that is not there reads back as none. */
		set(COMMON(queue_msix_vector), 2, dev.pci.msix_size);
		CHECK(get(COMMON(queue_msix_vector), 2) == VIRTIO_MSI_NO_VECTOR);
		set(COMMON(queue_msix_vector), 2, dev.pci.msix_size - 1u);
		CHECK(get(COMMON(queue_msix_vector), 2) == dev.pci.msix_size - 1u);
	}
	static const unsigned int absent[] = { VVU_NUM_QUEUES, 0x7fff, 0xffff };

	for (unsigned int i = 0; i < ARRAY_LEN(absent); i++) {
		set(COMMON(queue_select), 2, absent[i]);
		CHECKF(get(COMMON(queue_size), 2) == 0, "queue %u", absent[i]);
		set(COMMON(queue_size), 2, 8);
		set(COMMON(queue_enable), 2, 1);
		CHECKF(get(COMMON(queue_size), 2) == 0 && get(COMMON(queue_enable), 2) == 0,
		       "queue %u", absent[i]);
	}
	set(COMMON(queue_select), 2, 0);
	static const unsigned int bad_sizes[] = { 0, 3, 127, 256, 32768, 65535 };

	for (unsigned int i = 0; i < ARRAY_LEN(bad_sizes); i++) {
		set(COMMON(queue_size), 2, bad_sizes[i]);
		CHECKF(get(COMMON(queue_size), 2) == VVU_QUEUE_SIZE, "size %u: %u", bad_sizes[i],
		       get(COMMON(queue_size), 2));
	}
	CHECK(gd_virtio_queue(&dev, &q, VVU_NUM_QUEUES, 8, VIRTIO_MSI_NO_VECTOR) < 0);
	CHECK(gd_virtio_queue(&dev, &q, 0, 8, VIRTIO_MSI_NO_VECTOR) == 0);
	CHECK(get(COMMON(queue_enable), 2) == 1 && get(COMMON(queue_size), 2) == 8);
	gd_virtio_reset(&dev);
	set(COMMON(queue_select), 2, 0);
	CHECK(get(COMMON(queue_enable), 2) == 0 && get(COMMON(queue_size), 2) == VVU_QUEUE_SIZE);
	CHECK(get(COMMON(queue_msix_vector), 2) == VIRTIO_MSI_NO_VECTOR);
	CHECK(get(COMMON(config_msix_vector), 2) == VIRTIO_MSI_NO_VECTOR);
	CHECK(get(COMMON(device_status), 1) == 0);
}

/* virtio 1.2 §2.8: the size of a packed ring need not be a power of two. */
static void check_packed_sizes(void)
{
	static const unsigned int good[] = { 1, 3, 100, VVU_QUEUE_SIZE - 1 };
	static const unsigned int bad[] = { 0, VVU_QUEUE_SIZE + 1, 65535 };
	uint64_t features = VIRTIO_FEATURE(F_VERSION_1) | VIRTIO_FEATURE(F_RING_PACKED);

	open_device();
	CHECK(gd_virtio_negotiate(&dev, 0, features) == 0);
	set(COMMON(queue_select), 2, 0);
	for (unsigned int i = 0; i < ARRAY_LEN(good); i++) {
		set(COMMON(queue_size), 2, good[i]);
		CHECKF(get(COMMON(queue_size), 2) == good[i], "size %u", good[i]);
	}
	for (unsigned int i = 0; i < ARRAY_LEN(bad); i++) {
		set(COMMON(queue_size), 2, bad[i]);
		CHECKF(get(COMMON(queue_size), 2) == VVU_QUEUE_SIZE - 1, "size %u", bad[i]);
	}
	gd_virtio_reset(&dev);
}

/* The driver's buffers run out while nobody takes them, and nothing else happens. */
static void check_tx(void)
{
	struct vhost_user_msg msg = { .hdr = { .request = 1, .flags = VHOST_USER_VERSION } };
	int err = 0;

	if (!vvu_open())
		return;
	gd_vvu_set_up(&vvu, true);
	CHECK(gd_vvu_status(&vvu) == VVU_STATUS_BACKEND_UP);
	for (unsigned int i = 0; i < 3 * GD_VVU_TX_BUFFERS && err == 0; i++)
		err = gd_vvu_send(&vvu, &msg);
	CHECKF(err == 0 || err == -11, "%d", err);
	msg.hdr.size = VHOST_USER_PAYLOAD_MAX + 1;
	CHECK(gd_vvu_send(&vvu, &msg) == -22);
	CHECK(!gd_vvu_needs_reset(&vvu));
}

static void check_config(void)
{
	uint32_t word;

	if (!vvu_open())
		return;
	CHECKF(vvu.max_queues == VVU_MAX_VHOST_QUEUES, "%u", vvu.max_queues);
	CHECK(vvu.explicit_offsets && vvu.shm_size >= BIT_ULL(21));
	CHECKF(vvu.uuid[6] >> 4 == 8 && vvu.uuid[8] >> 6 == 2, "a custom uuid");
	/* Everything but one bit is read-only. */
	for (unsigned int i = 4; i < sizeof(struct vvu_config); i += 4) {
		word = gd_virtio_config_read(&vvu.dev, i, 4);
		gd_virtio_config_write(&vvu.dev, i, 4, ~word);
		CHECKF(gd_virtio_config_read(&vvu.dev, i, 4) == word, "offset %u", i);
	}
	gd_virtio_config_write(&vvu.dev, 0, 4, 0xfffffffe);
	CHECK(gd_vvu_status(&vvu) == 0);
	gd_virtio_config_write(&vvu.dev, 0, 4, 0xffffffff);
	CHECK(gd_vvu_status(&vvu) == VVU_STATUS_BACKEND_UP);
	gd_vvu_set_up(&vvu, false);
	CHECK(gd_vvu_status(&vvu) == 0);
	for (unsigned int i = 0; i < 4; i++)
		CHECK(gd_virtio_config_read(&vvu.dev, 8 + i, 1) == vvu.uuid[i]);
}

/* Notification vectors: bound, read back, refused. Doorbells without a front-end do nothing, at any
 * width. */
static void check_registers(void)
{
	const struct gd_platform *p = vvu.dev.p;
	uint8_t *n = vvu.notifications;

	for (unsigned int i = 0; i < NUM_KICKS; i++) {
		p->mmio_write(p->ctx, n, 2, i);
		CHECKF(p->mmio_read(p->ctx, n, 4) == (1u << 16 | i), "notification %u", i);
	}
	p->mmio_write(p->ctx, n, 2, 255);
	CHECK(p->mmio_read(p->ctx, n + 2, 2) == VIRTIO_MSI_NO_VECTOR);
	p->mmio_write(p->ctx, n + 2, 2, vvu.dev.pci.msix_size);
	CHECK(p->mmio_read(p->ctx, n + 2, 2) == VIRTIO_MSI_NO_VECTOR);
	p->mmio_write(p->ctx, n, 2, 256);
	p->mmio_write(p->ctx, n + 2, 2, 0);
	CHECK(p->mmio_read(p->ctx, n, 2) == 256 &&
	      p->mmio_read(p->ctx, n + 2, 2) == VIRTIO_MSI_NO_VECTOR);
	for (unsigned int i = 0; i < VVU_NUM_DOORBELLS(vvu.max_queues); i += 32)
		for (unsigned int width = 1; width <= 4; width *= 2)
			p->mmio_write(p->ctx, vvu.doorbells + i * vvu.doorbell_multiplier, width,
				      ~0u);
	gd_vvu_call(&vvu, 0);
	gd_vvu_err(&vvu, 255);
	gd_vvu_call(&vvu, 256); /* no such queue */
	CHECK(!gd_vvu_needs_reset(&vvu));
	CHECK(gd_msix_set(&vvu.dev.pci, vvu.dev.pci.msix_size, 0, 0) == -22 &&
	      gd_msix_set(&vvu.dev.pci, 0, GD_IRQ_MAX, 0) == -22);
}

static void check_reset_loop(void)
{
	for (unsigned int i = 0; i < 50; i++) {
		if (!vvu_open())
			return;
		gd_vvu_set_up(&vvu, i & 1);
	}
	CHECK(gd_vvu_status(&vvu) == VVU_STATUS_BACKEND_UP);
}

int rt_main(const char *cmdline)
{
	uint64_t start = rt_now_ns();

	if (!vvu_open())
		return verdict();
	rt_printf("opened in %lu us\n", (rt_now_ns() - start) / 1000);
	check_features();
	check_queues();
	check_packed_sizes();
	check_tx();
	check_config();
	check_registers();
	check_reset_loop();
	return verdict();
}
