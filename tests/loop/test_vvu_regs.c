// SPDX-License-Identifier: BSD-2-Clause
/* Registers by hand: what a correct driver never writes, and a storm of what nobody would. */
#include <stdlib.h>

#include "world.h"

#define REGS(w)	      ((w)->dev->vp.fn.bars[VVU_BAR_REGS].gpa)
#define COMMON(field) offsetof(struct virtio_pci_common_cfg, field)

static void put(struct world *w, uint64_t offset, unsigned int size, uint64_t value)
{
	fake_write(&w->f, REGS(w) + offset, size, value);
}

static uint64_t get(struct world *w, uint64_t offset, unsigned int size)
{
	return fake_read(&w->f, REGS(w) + offset, size);
}

static void decode_on(struct world *w)
{
	fake_pci_write(&w->f, WORLD_BDF, PCI_COMMAND, 2, PCI_COMMAND_MEMORY_MASK);
}

static void accept_features(struct world *w, uint64_t features)
{
	put(w, COMMON(driver_feature_select), 4, 0);
	put(w, COMMON(driver_feature), 4, features & UINT32_MAX);
	put(w, COMMON(driver_feature_select), 4, 1);
	put(w, COMMON(driver_feature), 4, features >> 32);
}

static void test_status_machine(void **state)
{
	struct world *w = *state;

	decode_on(w);
	put(w, COMMON(device_status), 1, VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER);
	/* Without VERSION_1, with what was not offered: FEATURES_OK does not stick. */
	accept_features(w, 0);
	put(w, COMMON(device_status), 1, 0x0b);
	assert_int_equal(get(w, COMMON(device_status), 1), 0x03);
	accept_features(w, VIRTIO_FEATURE(F_VERSION_1) | VIRTIO_FEATURE(F_NOTIFICATION_DATA));
	put(w, COMMON(device_status), 1, 0x0b);
	assert_int_equal(get(w, COMMON(device_status), 1), 0x03);
	/* DRIVER_OK without FEATURES_OK. */
	put(w, COMMON(device_status), 1, 0x07);
	assert_int_equal(get(w, COMMON(device_status), 1), 0x03);
	accept_features(w, VIRTIO_FEATURE(F_VERSION_1));
	put(w, COMMON(device_status), 1, 0x0b);
	assert_int_equal(get(w, COMMON(device_status), 1), 0x0b);
	/* Too late to change features; bits can't be cleared; NEEDS_RESET is the device's. */
	accept_features(w, VIRTIO_FEATURE(F_VERSION_1) | VIRTIO_FEATURE(F_EVENT_IDX));
	assert_int_equal(w->dev->vp.dev.accepted, VIRTIO_FEATURE(F_VERSION_1));
	put(w, COMMON(device_status), 1, 0x41);
	assert_int_equal(get(w, COMMON(device_status), 1), 0x0b);
	put(w, COMMON(device_status), 1, 0x0f);
	assert_int_equal(get(w, COMMON(device_status), 1), 0x0f);
	put(w, COMMON(device_status), 1, 0);
	assert_int_equal(get(w, COMMON(device_status), 1), 0);
	assert_int_equal(w->dev->vp.dev.accepted, 0);
}

static void test_features_offered(void **state)
{
	struct world *w = *state;

	decode_on(w);
	put(w, COMMON(device_feature_select), 4, 1);
	assert_int_equal(get(w, COMMON(device_feature), 4), 1 << 0 | 1 << 2 | 1 << 3);
	put(w, COMMON(device_feature_select), 4, 0);
	assert_int_equal(get(w, COMMON(device_feature), 4), 1 << 28 | 1 << 29 | 1 << 2 | 1 << 1);
	put(w, COMMON(device_feature_select), 4, 7);
	assert_int_equal(get(w, COMMON(device_feature), 4), 0);
	put(w, COMMON(driver_feature_select), 4, UINT32_MAX);
	put(w, COMMON(driver_feature), 4, UINT32_MAX);
	assert_int_equal(w->dev->vp.dev.accepted, 0);
}

static void test_queue_set_up(void **state)
{
	struct world *w = *state;

	decode_on(w);
	put(w, COMMON(queue_select), 2, 5);
	assert_int_equal(get(w, COMMON(queue_size), 2), 0);
	put(w, COMMON(queue_enable), 2, 1);
	put(w, COMMON(queue_desc), 8, 0x1000);
	put(w, COMMON(queue_msix_vector), 2, 1);
	assert_int_equal(get(w, COMMON(queue_msix_vector), 2), VIRTIO_MSI_NO_VECTOR);
	put(w, COMMON(queue_select), 2, 1);
	assert_int_equal(get(w, COMMON(queue_size), 2), VVU_QUEUE_SIZE);
	assert_int_equal(get(w, COMMON(queue_notify_off), 2), 1);
	put(w, COMMON(queue_size), 2, 100);
	put(w, COMMON(queue_size), 2, 0);
	put(w, COMMON(queue_size), 2, 256);
	assert_int_equal(get(w, COMMON(queue_size), 2), VVU_QUEUE_SIZE);
	put(w, COMMON(queue_size), 2, 64);
	assert_int_equal(get(w, COMMON(queue_size), 2), 64);
	put(w, COMMON(queue_msix_vector), 2, 300);
	assert_int_equal(get(w, COMMON(queue_msix_vector), 2), VIRTIO_MSI_NO_VECTOR);
	put(w, COMMON(queue_msix_vector), 2, 258);
	assert_int_equal(get(w, COMMON(queue_msix_vector), 2), 258);
	put(w, COMMON(queue_desc), 4, 0x10000);
	put(w, COMMON(queue_desc) + 4, 4, 0x1);
	assert_int_equal(get(w, COMMON(queue_desc), 8), 0x100010000);
	/* Not before FEATURES_OK. */
	put(w, COMMON(queue_enable), 2, 1);
	assert_int_equal(get(w, COMMON(queue_enable), 2), 0);
	accept_features(w, VIRTIO_FEATURE(F_VERSION_1));
	put(w, COMMON(device_status), 1, 0x0b);
	/* Outside RAM: the device says so instead of pretending. */
	put(w, COMMON(queue_enable), 2, 1);
	assert_int_equal(get(w, COMMON(queue_enable), 2), 0);
	assert_int_equal(get(w, COMMON(device_status), 1), 0x4b);
	put(w, COMMON(device_status), 1, 0);
	assert_int_equal(get(w, COMMON(queue_size), 2), VVU_QUEUE_SIZE);
}

static void test_widths(void **state)
{
	struct world *w = *state;

	decode_on(w);
	/* Not a field's own width: no effect. */
	put(w, COMMON(queue_select), 1, 1);
	put(w, COMMON(device_status), 4, 1);
	put(w, COMMON(config_msix_vector), 4, 0);
	assert_int_equal(get(w, COMMON(queue_select), 2), 0);
	assert_int_equal(get(w, COMMON(device_status), 1), 0);
	assert_int_equal(get(w, COMMON(config_msix_vector), 2), VIRTIO_MSI_NO_VECTOR);
	/* Reads may have any, and none goes beyond a structure. */
	assert_int_equal(get(w, COMMON(config_msix_vector), 4), VIRTIO_MSI_NO_VECTOR | 2 << 16);
	assert_int_equal(get(w, sizeof(struct virtio_pci_common_cfg) - 2, 4), UINT32_MAX | 0ull);
	assert_int_equal(get(w, VIRTIO_PCI_DEVICE_OFF + 24, 4), UINT32_MAX | 0ull);
	assert_int_equal(get(w, VVU_DOORBELL_OFF, 4), 0);
}

static void test_isr(void **state)
{
	struct world *w = *state;

	put(w, VIRTIO_PCI_ISR_OFF, 1, 0xff);
	/* Set by the session's start, MSI-X or not; cleared by reading. */
	assert_int_equal(get(w, VIRTIO_PCI_ISR_OFF, 1), VIRTIO_PCI_ISR_CONFIG_MASK);
	assert_int_equal(get(w, VIRTIO_PCI_ISR_OFF, 1), 0);
	struct vhost_user_msg msg = msg_empty(VHOST_USER_SET_OWNER);

	world_send(w, &msg, NULL, 0);
	assert_int_equal(get(w, VIRTIO_PCI_ISR_OFF, 1), VIRTIO_PCI_ISR_QUEUE_MASK);
}

static void test_generation(void **state)
{
	struct world *w = *state;
	uint64_t before = get(w, COMMON(config_generation), 1);

	fake_proxy_text(&w->proxy, LINK_SESSION_DOWN, 1, "front-end: closed");
	fake_step(&w->f);
	assert_int_not_equal(get(w, COMMON(config_generation), 1), before);
}

/* The registers again, through configuration space. */
static void test_pci_cfg(void **state)
{
	struct world *w = *state;
	unsigned int cap = w->dev->vp.cfg_cap;

	fake_pci_write(&w->f, WORLD_BDF, cap + 4, 1, VVU_BAR_REGS);
	fake_pci_write(&w->f, WORLD_BDF, cap + 8, 4, VIRTIO_PCI_DEVICE_OFF + 4);
	fake_pci_write(&w->f, WORLD_BDF, cap + 12, 4, 4);
	assert_int_equal(fake_pci_read(&w->f, WORLD_BDF, cap + 16, 4), 256);
	fake_pci_write(&w->f, WORLD_BDF, cap + 8, 4, COMMON(device_status));
	fake_pci_write(&w->f, WORLD_BDF, cap + 12, 4, 1);
	fake_pci_write(&w->f, WORLD_BDF, cap + 16, 4, VIRTIO_STATUS_ACKNOWLEDGE);
	assert_int_equal(fake_pci_read(&w->f, WORLD_BDF, cap + 16, 1), 0x0f);
	fake_pci_write(&w->f, WORLD_BDF, cap + 16, 1, 0);
	assert_int_equal(fake_pci_read(&w->f, WORLD_BDF, cap + 16, 1), 0);
	/* Windows that are none: other lengths, unaligned, beyond the BAR, of no BAR. */
	static const uint32_t bad[][3] = {
		{ 0, 0, 3 }, { 0, 2, 4 },  { 0, VVU_REGS_BYTES, 4 }, { 0, UINT32_MAX - 3, 4 },
		{ 2, 0, 4 }, { 255, 0, 4 }
	};
	for (unsigned int i = 0; i < ARRAY_LEN(bad); i++) {
		fake_pci_write(&w->f, WORLD_BDF, cap + 4, 1, bad[i][0]);
		fake_pci_write(&w->f, WORLD_BDF, cap + 8, 4, bad[i][1]);
		fake_pci_write(&w->f, WORLD_BDF, cap + 12, 4, bad[i][2]);
		fake_pci_write(&w->f, WORLD_BDF, cap + 16, 4, UINT32_MAX);
		assert_int_equal(fake_pci_read(&w->f, WORLD_BDF, cap + 16, 4), UINT32_MAX);
	}
	/* Doorbells and notifications work by this way, too. */
	fake_pci_write(&w->f, WORLD_BDF, cap + 4, 1, VVU_BAR_REGS);
	fake_pci_write(&w->f, WORLD_BDF, cap + 8, 4, VVU_DOORBELL_OFF);
	fake_pci_write(&w->f, WORLD_BDF, cap + 12, 4, 2);
	fake_pci_write(&w->f, WORLD_BDF, cap + 16, 2, 1);
}

static uint64_t next_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

/* Anything anywhere, while a session runs. The device may end up in any state, but a reset brings
 * it back. */
static void test_storm(void **state)
{
	struct world *w = *state;
	uint64_t seed = 0x9e3779b97f4a7c15;

	for (unsigned int i = 0; i < 60000; i++) {
		uint64_t r = next_random(&seed), v = next_random(&seed);
		unsigned int size = 1u << (r & 3);
		uint64_t bar = w->dev->vp.fn.bars[r >> 2 & 1].gpa;

		if ((r >> 8 & 63) == 0)
			fake_pci_write(&w->f, WORLD_BDF, (r >> 16 & 0xff) & ~3u, 4, (uint32_t)v);
		else if (bar != PCI_BAR_UNMAPPED && (r & 0x1000))
			fake_write(&w->f, bar + ((r >> 16) & 0x3fff & ~(size - 1u)), size,
				   v & (v >> 32));
		else if (bar != PCI_BAR_UNMAPPED)
			fake_read(&w->f, bar + ((r >> 16) & 0x3fff & ~(size - 1u)), size);
		if ((r >> 40 & 127) == 0)
			fake_step(&w->f);
	}
	pthread_mutex_lock(&w->f.m.lock);
	machine_reset_devices(&w->f.m);
	pthread_mutex_unlock(&w->f.m.lock);
	fake_step(&w->f);
	while (fake_proxy_recv(&w->proxy) > 0)
		;
	world_session(w, true, 1000);
}

#define LINKED(test)   cmocka_unit_test_setup_teardown(test, world_setup_linked, world_teardown)
#define EXPLICIT(test) cmocka_unit_test_setup_teardown(test, world_setup_explicit, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		LINKED(test_status_machine), LINKED(test_features_offered),
		LINKED(test_queue_set_up),   LINKED(test_widths),
		EXPLICIT(test_isr),	     EXPLICIT(test_generation),
		EXPLICIT(test_pci_cfg),	     EXPLICIT(test_storm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
