// SPDX-License-Identifier: BSD-2-Clause
/*
 * PCI, virtio-pci and virtio-vhost-user drivers against a device that lies. The device is bytes:
 * configuration space and the registers of BAR 0 and 1, set up so that the driver opens it; each
 * test then changes something. (tests/loop runs the drivers against our own device.)
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gd/vvu.h"

#define BAR0_GPA   0xc0000000ull
#define BAR1_GPA   0xc0010000ull
#define BAR2_GPA   0x4000000000ull
#define BAR0_BYTES 0x4000u
#define BAR1_BYTES 0x1000u
#define BAR2_BYTES (UINT64_C(1) << 30)
#define VECTORS	   16

#define CAP_COMMON 0x40
#define CAP_NOTIFY 0x50
#define CAP_DEVICE 0x64
#define CAP_BELLS  0x74
#define CAP_KICKS  0x88
#define CAP_SHM	   0x98
#define CAP_MSIX   0xb0

#define OFF_DEVICE 0x200
#define OFF_NOTIFY 0x1000
#define OFF_KICKS  0x2000
#define OFF_BELLS  0x3000

#define COMMON(f) offsetof(struct virtio_pci_common_cfg, f)

struct fake {
	struct gd_platform p;
	uint8_t cfg[PCI_CONFIG_SIZE];
	uint64_t bar_bytes[3];
	uint8_t regs[BAR0_BYTES];
	uint8_t msix[BAR1_BYTES];
	uint64_t features;
	uint16_t queue_size;
	bool no_vectors;   /* vectors never read back as written */
	bool no_features;  /* FEATURES_OK does not stick */
	bool no_kicks;	   /* the same for kicks */
	bool split_select; /* notification registers only take 16-bit writes */
	bool stuck;	   /* a reset never ends */
	unsigned int accesses;
	unsigned int outside; /* accesses the device has no registers for */
	struct gd_vvu v;
};

static void put16(uint8_t *at, uint16_t v)
{
	memcpy(at, &v, sizeof(v));
}

static void put32(uint8_t *at, uint32_t v)
{
	memcpy(at, &v, sizeof(v));
}

/* --- configuration space --- */

static uint32_t pci_read(void *ctx, unsigned int bdf, unsigned int reg, unsigned int width)
{
	struct fake *f = ctx;
	uint32_t v = 0;

	f->accesses++;
	assert_true(reg + width <= sizeof(f->cfg) && IS_ALIGNED(reg, width));
	memcpy(&v, f->cfg + reg, width);
	return v;
}

static void pci_write(void *ctx, unsigned int bdf, unsigned int reg, unsigned int width, uint32_t v)
{
	static const unsigned int bar_of[] = { 0, 1, 2, 2 };
	struct fake *f = ctx;

	f->accesses++;
	assert_true(reg + width <= sizeof(f->cfg) && IS_ALIGNED(reg, width));
	if (reg >= PCI_BAR_0 && reg < PCI_BAR_0 + 16) {
		unsigned int bar = bar_of[(reg - PCI_BAR_0) / 4];
		uint64_t mask = ~(f->bar_bytes[bar] - 1);
		uint32_t old = pci_read(ctx, bdf, reg, 4);

		assert_int_equal(width, 4);
		assert_false(f->cfg[PCI_COMMAND] &
			     PCI_COMMAND_MEMORY_MASK); /* the driver's own rule */
		v &= (uint32_t)(reg == PCI_BAR_0 + 12 ? mask >> 32 : mask);
		if (reg != PCI_BAR_0 + 12)
			v |= old & 0xf;
	}
	if (reg == CAP_MSIX + 2)
		v |= f->cfg[reg]; /* the table's size is read-only */
	memcpy(f->cfg + reg, &v, width);
}

static void *map_mmio(void *ctx, uint64_t gpa, uint64_t size)
{
	struct fake *f = ctx;

	if (gpa >= BAR0_GPA && gpa + size <= BAR0_GPA + BAR0_BYTES)
		return f->regs + (gpa - BAR0_GPA);
	if (gpa >= BAR1_GPA && gpa + size <= BAR1_GPA + BAR1_BYTES)
		return f->msix + (gpa - BAR1_GPA);
	fail_msg("map_mmio(%#llx, %#llx)", (unsigned long long)gpa, (unsigned long long)size);
	return NULL;
}

/* --- registers --- */

static void before_read(struct fake *f, size_t offset)
{
	uint16_t queue;

	memcpy(&queue, f->regs + COMMON(queue_select), sizeof(queue));
	if (offset == COMMON(device_feature))
		put32(f->regs + offset,
		      (uint32_t)(f->features >> 32 * (f->regs[COMMON(device_feature_select)] & 1)));
	if (offset == COMMON(queue_size))
		put16(f->regs + offset, queue < VVU_NUM_QUEUES ? f->queue_size : 0);
	if (f->no_vectors &&
	    (offset == COMMON(queue_msix_vector) || offset == COMMON(config_msix_vector)))
		put16(f->regs + offset, VIRTIO_MSI_NO_VECTOR);
	if (f->no_kicks && offset == OFF_KICKS + 2)
		put16(f->regs + offset, VIRTIO_MSI_NO_VECTOR);
	if (f->no_features && offset == COMMON(device_status))
		f->regs[offset] &= (uint8_t)~VIRTIO_STATUS_FEATURES_OK;
	if (f->stuck && offset == COMMON(device_status))
		f->regs[offset] |= VIRTIO_STATUS_FAILED;
}

static uint32_t mmio_read(void *ctx, const void *addr, unsigned int width)
{
	struct fake *f = ctx;
	const uint8_t *at = addr;
	uint32_t v = 0;

	f->accesses++;
	if (at >= f->regs && at + width <= f->regs + sizeof(f->regs))
		before_read(f, (size_t)(at - f->regs));
	else if (at < f->msix || at + width > f->msix + sizeof(f->msix))
		f->outside++;
	memcpy(&v, at, width);
	return v;
}

static void mmio_write(void *ctx, void *addr, unsigned int width, uint32_t v)
{
	struct fake *f = ctx;
	uint8_t *at = addr;
	bool regs = at >= f->regs && at + width <= f->regs + sizeof(f->regs);

	f->accesses++;
	if (!regs && (at < f->msix || at + width > f->msix + sizeof(f->msix))) {
		f->outside++;
		return;
	}
	if (f->split_select && at == f->regs + OFF_KICKS && width == 4)
		return;
	memcpy(at, &v, width);
}

/* --- the rest of the platform --- */

static void *alloc(void *ctx, size_t size, size_t align)
{
	void *p = aligned_alloc(align, ALIGN_UP(size, align));

	assert_non_null(p);
	memset(p, 0, size);
	return p;
}

static struct gpa to_gpa(void *ctx, const void *ptr)
{
	return gpa((uintptr_t)ptr);
}

static struct gd_msi msi(void *ctx, unsigned int irq, unsigned int cpu)
{
	return (struct gd_msi){ .addr = 0xfee00000 | cpu << 12, .data = 0x30 + irq };
}

static void quiet_log(void *ctx, enum gd_log_level level, const char *fmt, va_list ap)
{
}

/* --- a device that can be opened --- */

static void add_cap(struct fake *f, uint8_t reg, uint8_t next, const struct virtio_pci_cap *cap,
		    uint32_t extra)
{
	struct virtio_pci_cap c = *cap;

	c.cap_vndr = PCI_CAP_ID_VENDOR;
	c.cap_next = next;
	memcpy(f->cfg + reg, &c, sizeof(c));
	if (c.cap_len > sizeof(c))
		put32(f->cfg + reg + sizeof(c), extra);
}

static void set_caps(struct fake *f)
{
	const struct virtio_pci_cap common = { .cap_len = 16,
					       .cfg_type = VIRTIO_PCI_CAP_COMMON_CFG,
					       .length = 56 };
	const struct virtio_pci_cap notify = { .cap_len = 20,
					       .cfg_type = VIRTIO_PCI_CAP_NOTIFY_CFG,
					       .offset = OFF_NOTIFY,
					       .length = 8 };
	const struct virtio_pci_cap device = { .cap_len = 16,
					       .cfg_type = VIRTIO_PCI_CAP_DEVICE_CFG,
					       .offset = OFF_DEVICE,
					       .length = sizeof(struct vvu_config) };
	const struct virtio_pci_cap bells = { .cap_len = 20,
					      .cfg_type = VIRTIO_PCI_CAP_DOORBELL_CFG,
					      .offset = OFF_BELLS,
					      .length = 0x1000 };
	const struct virtio_pci_cap kicks = { .cap_len = 16,
					      .cfg_type = VIRTIO_PCI_CAP_NOTIFICATION_CFG,
					      .offset = OFF_KICKS,
					      .length = 4 };
	const struct virtio_pci_cap shm = { .cap_len = 24,
					    .cfg_type = VIRTIO_PCI_CAP_SHARED_MEMORY_CFG,
					    .bar = VVU_BAR_SHMEM,
					    .id = VVU_SHMID_MEMORY,
					    .length = (uint32_t)BAR2_BYTES };
	const struct pci_msix_cap msix = { .cap_id = PCI_CAP_ID_MSIX,
					   .control = VECTORS - 1,
					   .table = VVU_BAR_MSIX,
					   .pba = 0x800 | VVU_BAR_MSIX };

	memset(f->cfg + 0x40, 0, sizeof(f->cfg) - 0x40);
	f->cfg[PCI_CAPABILITY_LIST] = CAP_COMMON;
	add_cap(f, CAP_COMMON, CAP_NOTIFY, &common, 0);
	add_cap(f, CAP_NOTIFY, CAP_DEVICE, &notify, 4);
	add_cap(f, CAP_DEVICE, CAP_BELLS, &device, 0);
	add_cap(f, CAP_BELLS, CAP_KICKS, &bells, VVU_DOORBELL_MULTIPLIER);
	add_cap(f, CAP_KICKS, CAP_SHM, &kicks, 0);
	add_cap(f, CAP_SHM, CAP_MSIX, &shm, 0);
	memcpy(f->cfg + CAP_MSIX, &msix, sizeof(msix));
}

static int set_up(void **state)
{
	struct fake *f = calloc(1, sizeof(*f));

	f->p = (struct gd_platform){ .pci_read = pci_read,
				     .pci_write = pci_write,
				     .map_mmio = map_mmio,
				     .mmio_read = mmio_read,
				     .mmio_write = mmio_write,
				     .alloc = alloc,
				     .to_gpa = to_gpa,
				     .msi = msi,
				     .log = quiet_log,
				     .ctx = f };
	put16(f->cfg + PCI_VENDOR_ID, PCI_VENDOR_VIRTIO);
	put16(f->cfg + PCI_DEVICE_ID, PCI_DEVICE_VIRTIO_MODERN + VIRTIO_ID_VHOST_USER);
	put16(f->cfg + PCI_STATUS, PCI_STATUS_CAP_LIST_MASK);
	put32(f->cfg + PCI_BAR_0, (uint32_t)BAR0_GPA);
	put32(f->cfg + PCI_BAR_0 + 4, (uint32_t)BAR1_GPA);
	put32(f->cfg + PCI_BAR_0 + 8,
	      (uint32_t)BAR2_GPA | PCI_BAR_MEM_64_MASK | PCI_BAR_PREFETCH_MASK);
	put32(f->cfg + PCI_BAR_0 + 12, (uint32_t)(BAR2_GPA >> 32));
	f->bar_bytes[0] = BAR0_BYTES;
	f->bar_bytes[1] = BAR1_BYTES;
	f->bar_bytes[2] = BAR2_BYTES;
	set_caps(f);
	f->features = VIRTIO_FEATURE(F_VERSION_1) | VIRTIO_FEATURE(F_EVENT_IDX) |
		      BIT_ULL(VVU_F_EXPLICIT_OFFSETS_BIT);
	f->queue_size = VVU_QUEUE_SIZE;
	put32(f->regs + OFF_DEVICE + offsetof(struct vvu_config, max_vhost_queues),
	      VVU_MAX_VHOST_QUEUES);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fake *f = *state;

	assert_int_equal(f->outside, 0);
	free(f->v.rxq.mem);
	free(f->v.txq.mem);
	free(f->v.rx_buffers);
	free(f->v.tx_buffers);
	free(f);
	return 0;
}

static int open_it(struct fake *f)
{
	const struct gd_vvu_conf conf = { .bdf = 8, .config_irq = 1, .work_irq = 2 };

	return gd_vvu_open(&f->v, &f->p, &conf);
}

/* --- opening --- */

static void opens(void **state)
{
	struct fake *f = *state;
	uint16_t control;

	assert_int_equal(open_it(f), 0);
	assert_int_equal(f->v.max_queues, VVU_MAX_VHOST_QUEUES);
	assert_true(f->v.explicit_offsets);
	assert_int_equal(f->v.shm_gpa, BAR2_GPA);
	assert_int_equal(f->v.shm_size, BAR2_BYTES);
	memcpy(&control, f->cfg + CAP_MSIX + 2, sizeof(control));
	assert_true(control & PCI_MSIX_CONTROL_ENABLE_MASK);
	assert_int_equal(f->regs[COMMON(device_status)], 0xf);
	/* Each access is an exit of 35 us on some hosts, and there are up to 32 devices. */
	assert_in_range(f->accesses, 1, 140);
	/* Again: the same memory is used. */
	void *mem = f->v.rxq.mem;

	assert_int_equal(open_it(f), 0);
	assert_ptr_equal(mem, f->v.rxq.mem);
}

static void bars_are_sized(void **state)
{
	struct fake *f = *state;
	struct gd_pci_dev dev;

	put16(f->cfg + PCI_COMMAND, PCI_COMMAND_MEMORY_MASK);
	assert_int_equal(gd_pci_open(&dev, &f->p, 8), 0);
	assert_int_equal(dev.bars[0].gpa, BAR0_GPA);
	assert_int_equal(dev.bars[0].size, BAR0_BYTES);
	assert_int_equal(dev.bars[2].gpa, BAR2_GPA);
	assert_int_equal(dev.bars[2].size, BAR2_BYTES);
	assert_int_equal(dev.bars[3].gpa, 0);
	assert_int_equal(gd_pci_gpa(&dev, 0, BAR0_BYTES - 4, 4), BAR0_GPA + BAR0_BYTES - 4);
	assert_int_equal(gd_pci_gpa(&dev, 0, BAR0_BYTES - 4, 5), 0);
	assert_int_equal(gd_pci_gpa(&dev, 0, UINT64_MAX, 2), 0);
	assert_int_equal(gd_pci_gpa(&dev, 0, 0, 0), 0);
	assert_int_equal(gd_pci_gpa(&dev, 3, 0, 4), 0);
	assert_int_equal(gd_pci_gpa(&dev, 6, 0, 4), 0);
	assert_true(f->cfg[PCI_COMMAND] & PCI_COMMAND_MEMORY_MASK);
	assert_true(f->cfg[PCI_COMMAND] & PCI_COMMAND_MASTER_MASK);
}

static void capability_lists(void **state)
{
	struct fake *f = *state;

	f->cfg[CAP_MSIX + 1] = CAP_COMMON;
	assert_int_equal(open_it(f), -EIO); /* a loop */
	f->cfg[CAP_MSIX + 1] = 0x20;
	assert_int_equal(open_it(f), -EIO); /* into the header */
	f->cfg[CAP_MSIX + 1] = CAP_MSIX;
	assert_int_equal(open_it(f), -EIO); /* itself */
	f->cfg[CAP_MSIX + 1] = 0;
	assert_int_equal(open_it(f), 0);
	put16(f->cfg + PCI_STATUS, 0);
	assert_int_equal(open_it(f), -ENODEV);
}

/* At the end of configuration space, where a capability is not whole. */
static void capability_at_the_end(void **state)
{
	struct fake *f = *state;

	f->cfg[CAP_MSIX + 1] = 0xfc;
	f->cfg[0xfc] = PCI_CAP_ID_MSIX;
	assert_int_equal(open_it(f), -EIO);
	f->cfg[0xfc] = PCI_CAP_ID_VENDOR;
	f->cfg[0xfe] = 24;
	f->cfg[0xff] = VIRTIO_PCI_CAP_SHARED_MEMORY_CFG;
	assert_int_equal(open_it(f), -EIO);
	f->cfg[0xfc] = 0x05; /* something else, which we don't read */
	assert_int_equal(open_it(f), 0);
}

static void many_capabilities(void **state)
{
	struct fake *f = *state;

	/* As many as there is room for, none of them usable; the list ends. */
	for (unsigned int reg = 0x40; reg < PCI_CONFIG_SIZE; reg += 4) {
		f->cfg[reg] = PCI_CAP_ID_VENDOR;
		f->cfg[reg + 1] = (uint8_t)(reg + 4);
		f->cfg[reg + 2] = 4;
		f->cfg[reg + 3] = VIRTIO_PCI_CAP_COMMON_CFG;
	}
	f->cfg[0xfd] = 0;
	assert_int_equal(open_it(f), -ENODEV);
}

static void ranges(void **state)
{
	static const struct {
		uint8_t cap;
		uint32_t bar, offset, length;
	} bad[] = {
		{ CAP_COMMON, 0, BAR0_BYTES - 55, 56 },
		{ CAP_COMMON, 0, 0, 55 },
		{ CAP_COMMON, 0, 0xfffffff0, 0x20 },
		{ CAP_COMMON, 3, 0, 56 },
		{ CAP_COMMON, 6, 0, 56 },
		{ CAP_COMMON, 255, 0, 56 },
		{ CAP_NOTIFY, 0, BAR0_BYTES, 8 },
		{ CAP_NOTIFY, 0, 0, 0 },
		{ CAP_BELLS, 0, OFF_BELLS, 2049 },
		{ CAP_BELLS, 0, BAR0_BYTES - 4, 0x1000 },
		{ CAP_KICKS, 0, OFF_KICKS, 3 },
		{ CAP_KICKS, 4, 0, 4 },
		{ CAP_SHM, 2, 0, 0 },
		{ CAP_SHM, 2, 1, (uint32_t)BAR2_BYTES },
		{ CAP_SHM, 3, 0, 4096 },
		{ CAP_DEVICE, 0, OFF_DEVICE, 4 },
	};
	struct fake *f = *state;

	for (unsigned int i = 0; i < ARRAY_LEN(bad); i++) {
		set_caps(f);
		f->cfg[bad[i].cap + 4] = (uint8_t)bad[i].bar;
		put32(f->cfg + bad[i].cap + 8, bad[i].offset);
		put32(f->cfg + bad[i].cap + 12, bad[i].length);
		if (open_it(f) == 0)
			fail_msg("row %u was accepted", i);
	}
	set_caps(f);
	put32(f->cfg + CAP_SHM + 20, 1); /* its length: 4 GiB more */
	assert_int_equal(open_it(f), -EIO);
	set_caps(f);
	put32(f->cfg + CAP_BELLS + 16, 0); /* multiplier */
	assert_int_equal(open_it(f), -EIO);
	put32(f->cfg + CAP_BELLS + 16, 0x80000000);
	assert_int_equal(open_it(f), -EIO);
	set_caps(f);
	assert_int_equal(open_it(f), 0);
}

static void msix_tables(void **state)
{
	struct fake *f = *state;

	put32(f->cfg + CAP_MSIX + 4, (BAR1_BYTES - 16) | VVU_BAR_MSIX);
	assert_int_equal(open_it(f), -EIO);
	put32(f->cfg + CAP_MSIX + 4, 7);
	assert_int_equal(open_it(f), -EIO);
	set_caps(f);
	put16(f->cfg + CAP_MSIX + 2, 0); /* one vector */
	assert_int_equal(open_it(f), -EINVAL);
	set_caps(f);
	f->cfg[CAP_SHM + 1] = 0; /* none */
	assert_int_equal(open_it(f), -ENODEV);
	set_caps(f);
	f->no_vectors = true;
	assert_int_equal(open_it(f), -EBUSY);
}

static void features(void **state)
{
	struct fake *f = *state;

	f->features &= ~VIRTIO_FEATURE(F_VERSION_1);
	assert_int_equal(open_it(f), -ENOTSUP);
	f->features = UINT64_MAX;
	f->no_features = true;
	assert_int_equal(open_it(f), -ENOTSUP);
	f->no_features = false;
	assert_int_equal(open_it(f), 0);
	assert_int_equal(f->v.dev.features,
			 VIRTIO_FEATURE(F_VERSION_1) | VIRTIO_FEATURE(F_EVENT_IDX) |
				 VIRTIO_FEATURE(F_RING_PACKED) | VIRTIO_FEATURE(F_IN_ORDER) |
				 BIT_ULL(VVU_F_EXPLICIT_OFFSETS_BIT) | BIT_ULL(VVU_F_RESIDENT_BIT));
	assert_true(f->v.offset_flags);
	/* Flags only where offsets are the device's. */
	f->features = VIRTIO_FEATURE(F_VERSION_1) | BIT_ULL(VVU_F_RESIDENT_BIT);
	assert_int_equal(open_it(f), 0);
	assert_false(f->v.offset_flags);
	f->features = VIRTIO_FEATURE(F_VERSION_1);
	assert_int_equal(open_it(f), 0);
	assert_false(f->v.explicit_offsets);
}

static void queues(void **state)
{
	static const struct {
		uint16_t size;
		int err;
	} sizes[] = { { 0, -ENODEV }, { 3, -EIO }, { 0xffff, -EIO }, { 1, 0 },
		      { 2, 0 },	      { 8, 0 },	   { 32768, 0 } };
	struct fake *f = *state;

	for (unsigned int i = 0; i < ARRAY_LEN(sizes); i++) {
		f->queue_size = sizes[i].size;
		assert_int_equal(open_it(f), sizes[i].err);
		if (!sizes[i].err)
			assert_in_range(f->v.rxq.vq.size, 1, GD_VVU_RX_BUFFERS);
	}
	put16(f->regs + COMMON(queue_notify_off), 2);
	assert_int_equal(open_it(f), -EIO);
	put16(f->regs + COMMON(queue_notify_off), 0xffff);
	assert_int_equal(open_it(f), -EIO);
	put16(f->regs + COMMON(queue_notify_off), 1);
	assert_int_equal(open_it(f), 0);
}

static void config(void **state)
{
	static const uint32_t bad[] = { 0, VVU_MAX_VHOST_QUEUES + 1, 0xffffffff };
	uint8_t *max = ((struct fake *)*state)->regs + OFF_DEVICE +
		       offsetof(struct vvu_config, max_vhost_queues);
	struct fake *f = *state;

	for (unsigned int i = 0; i < ARRAY_LEN(bad); i++) {
		put32(max, bad[i]);
		assert_int_equal(open_it(f), -EIO);
	}
	put32(max, 1);
	assert_int_equal(open_it(f), 0);
	assert_int_equal(gd_virtio_config_read(&f->v.dev, sizeof(struct vvu_config), 4), 0);
	assert_int_equal(gd_virtio_config_read(&f->v.dev, sizeof(struct vvu_config) - 2, 4), 0);
	gd_virtio_config_write(&f->v.dev, sizeof(struct vvu_config), 4, 1);
	gd_vvu_call(&f->v, 1); /* no such queue */
	gd_vvu_err(&f->v, 1);
}

static void notifications_of_other_devices(void **state)
{
	struct fake *f = *state;

	f->split_select = true;
	assert_int_equal(open_it(f), 0);
	assert_int_equal(gd_vvu_bind_kick(&f->v, 3), 0);
	assert_int_equal(gd_vvu_bind_kick(&f->v, f->v.max_queues), -EINVAL);
}

/* What the table says of a vector: the CPU in the address, the irq in the data. */
static void expect_vector(const struct fake *f, unsigned int vector, unsigned int irq,
			  unsigned int cpu)
{
	struct pci_msix_entry e;

	memcpy(&e, f->msix + vector * sizeof(e), sizeof(e));
	assert_int_equal(e.addr_lo, 0xfee00000 | cpu << 12);
	assert_int_equal(e.data, 0x30 + irq);
	assert_int_equal(e.control, 0);
}

static unsigned int kick_vector(const struct fake *f)
{
	uint16_t vector;

	memcpy(&vector, f->regs + OFF_KICKS + 2, sizeof(vector));
	return vector;
}

static void kicks_to_cpus(void **state)
{
	struct fake *f = *state;
	unsigned int accesses;

	assert_int_equal(open_it(f), 0);
	assert_int_equal(gd_vvu_bind_kick(&f->v, 1), 0);
	assert_int_equal(kick_vector(f), 1);
	assert_int_equal(gd_vvu_bind_kick_to(&f->v, 1, 7, 3), 0);
	assert_int_equal(kick_vector(f), 2);
	expect_vector(f, 2, 7, 3);
	assert_int_equal(gd_vvu_bind_kick_to(&f->v, 3, 7, 2), 0);
	assert_int_equal(kick_vector(f), 3);
	expect_vector(f, 3, 7, 2);
	assert_int_equal(gd_vvu_bind_kick_to(&f->v, 5, 8, 3), 0);
	expect_vector(f, 4, 8, 3);
	/* A vector that is programmed is only named; one that is bound already costs nothing. */
	accesses = f->accesses;
	assert_int_equal(gd_vvu_bind_kick_to(&f->v, 1, 7, 2), 0);
	assert_int_equal(kick_vector(f), 3);
	assert_int_equal(f->accesses, accesses + 2);
	assert_int_equal(gd_vvu_bind_kick_to(&f->v, 1, 7, 2), 0);
	assert_int_equal(f->accesses, accesses + 2);
	/* Vector 2 has no queue any more, but there is room. */
	assert_int_equal(gd_vvu_bind_kick_to(&f->v, 7, 9, 1), 0);
	assert_int_equal(kick_vector(f), 5);
	expect_vector(f, 2, 7, 3);
	assert_int_equal(gd_vvu_bind_kick_to(&f->v, f->v.max_queues, 7, 1), -EINVAL);
	assert_int_equal(gd_vvu_bind_kick_to(&f->v, 1, GD_IRQ_MAX, 1), -EINVAL);
	assert_int_equal(gd_vvu_bind_kick_to(&f->v, 1, 7, 256), -EINVAL);
	/* A reset forgets all of it. */
	assert_int_equal(open_it(f), 0);
	assert_int_equal(gd_vvu_bind_kick_to(&f->v, 1, 7, 2), 0);
	assert_int_equal(kick_vector(f), 2);
	expect_vector(f, 2, 7, 2);
}

static void few_vectors(void **state)
{
	struct fake *f = *state;

	put16(f->cfg + CAP_MSIX + 2, 4 - 1);
	assert_int_equal(open_it(f), 0);
	assert_int_equal(gd_vvu_bind_kick_to(&f->v, 1, 7, 1), 0);
	assert_int_equal(gd_vvu_bind_kick_to(&f->v, 3, 7, 2), 0);
	assert_int_equal(gd_vvu_bind_kick_to(&f->v, 5, 7, 3), -ENOSPC);
	assert_int_equal(gd_vvu_bind_kick_to(&f->v, 1, 7, 3), -ENOSPC);
	expect_vector(f, 2, 7, 1);
	/* Queue 1 leaves its vector to others. */
	assert_int_equal(gd_vvu_bind_kick(&f->v, 1), 0);
	assert_int_equal(gd_vvu_bind_kick_to(&f->v, 5, 7, 3), 0);
	assert_int_equal(kick_vector(f), 2);
	expect_vector(f, 2, 7, 3);
	expect_vector(f, 3, 7, 2);
}

static void kicks_that_cannot_be_bound(void **state)
{
	struct fake *f = *state;

	assert_int_equal(open_it(f), 0);
	assert_int_equal(gd_vvu_bind_kick_to(&f->v, 1, 7, 1), 0);
	f->no_kicks = true;
	assert_int_equal(gd_vvu_bind_kick_to(&f->v, 1, 7, 2), -EIO);
	f->no_kicks = false;
	/* Nothing is taken for bound that may not be. */
	assert_int_equal(gd_vvu_bind_kick_to(&f->v, 1, 7, 1), 0);
	assert_int_equal(kick_vector(f), 2);
}

static void reset_that_never_ends(void **state)
{
	struct fake *f = *state;

	f->stuck = true;
	assert_int_equal(open_it(f), 0); /* it says so in the log, and does what can be done */
}

static void no_device(void **state)
{
	struct fake *f = *state;

	put16(f->cfg + PCI_VENDOR_ID, 0x8086);
	assert_int_equal(open_it(f), -ENODEV);
	memset(f->cfg, 0xff, sizeof(f->cfg));
	assert_int_equal(open_it(f), -EIO);
}

/* --- messages --- */

static void device_writes(struct fake *f, uint32_t id, const void *data, uint32_t written)
{
	struct vring_used *used = f->v.rxq.vq.used;
	uint16_t at = used->idx;

	if (data)
		memcpy((void *)(uintptr_t)f->v.rxq.vq.desc[id].addr, data, written);
	used->ring[at % f->v.rxq.vq.size] = (struct vring_used_elem){ id, written };
	__atomic_store_n(&used->idx, (uint16_t)(at + 1), __ATOMIC_RELEASE);
}

static void receives(void **state)
{
	const struct vhost_user_msg sent = { .hdr = { VHOST_USER_SET_FEATURES, VHOST_USER_VERSION,
						      8 },
					     .payload.u64 = 0x123456789 };
	struct fake *f = *state;
	struct vhost_user_msg msg;

	assert_int_equal(open_it(f), 0);
	assert_false(gd_vvu_pending(&f->v));
	assert_int_equal(gd_vvu_recv(&f->v, &msg), 0);
	for (unsigned int i = 0; i < 100; i++) {
		uint16_t next = f->v.rxq.vq.avail->ring[i % f->v.rxq.vq.size];

		device_writes(f, next, &sent, 20);
		assert_true(gd_vvu_pending(&f->v));
		assert_int_equal(gd_vvu_recv(&f->v, &msg), 1);
		assert_memory_equal(&msg, &sent, 20);
		assert_int_equal(f->v.rxq.vq.num_free, 0); /* it is with the device again */
	}
}

/* What the device says of the regions is taken out of their offsets, of at most as many as there can be. */
static void offset_flags(void **state)
{
	struct vhost_user_msg sent = { .hdr = { VHOST_USER_SET_MEM_TABLE, VHOST_USER_VERSION,
						VHOST_USER_MEM_TABLE_BYTES(3) },
				       .payload.mem.num_regions = 3 };
	struct fake *f = *state;
	struct vhost_user_msg msg;

	f->features = ~VIRTIO_FEATURE(F_RING_PACKED); /* device_writes() knows split rings */
	assert_int_equal(open_it(f), 0);
	for (unsigned int i = 0; i < 3; i++)
		sent.payload.mem.regions[i].mmap_offset = 0x40000000 + i * 0x1000;
	sent.payload.mem.regions[0].mmap_offset |= VVU_OFFSET_RESIDENT;
	sent.payload.mem.regions[2].mmap_offset |= VVU_OFFSET_FLAGS_MASK; /* and what comes yet */
	device_writes(f, f->v.rxq.vq.avail->ring[0], &sent, sizeof(sent.hdr) + sent.hdr.size);
	assert_int_equal(gd_vvu_recv(&f->v, &msg), 1);
	assert_int_equal(f->v.resident, 5);
	for (unsigned int i = 0; i < 3; i++)
		assert_int_equal(msg.payload.mem.regions[i].mmap_offset, 0x40000000 + i * 0x1000);

	sent.payload.mem.num_regions = UINT32_MAX;
	device_writes(f, f->v.rxq.vq.avail->ring[1], &sent, sizeof(sent.hdr) + sent.hdr.size);
	assert_int_equal(gd_vvu_recv(&f->v, &msg), 1);
	assert_int_equal(f->v.resident, 0);
}

static void receives_nonsense(void **state)
{
	static const struct {
		uint32_t size; /* that the header says */
		uint32_t written;
	} bad[] = {
		{ 0, 0 },
		{ 0, 11 },
		{ 8, 12 },
		{ 8, 19 },
		{ 8, 21 },
		{ 0, 13 },
		{ VHOST_USER_PAYLOAD_MAX + 1, 12 + VHOST_USER_PAYLOAD_MAX + 1 },
		{ 0xfffffff4, 0 },
		{ 0xffffffff, 12 },
		{ 500, 512 },
		{ 0xffffffff, 11 },
	};
	uint8_t raw[VVU_MSG_MAX] = { 0 };
	struct fake *f = *state;
	struct vhost_user_msg msg;

	for (unsigned int i = 0; i < ARRAY_LEN(bad); i++) {
		struct vhost_user_header hdr = { VHOST_USER_SET_FEATURES, VHOST_USER_VERSION,
						 bad[i].size };

		assert_int_equal(open_it(f), 0);
		memcpy(raw, &hdr, sizeof(hdr));
		device_writes(f, 0, raw, bad[i].written);
		assert_int_equal(gd_vvu_recv(&f->v, &msg), -EPROTO);
	}
	assert_int_equal(open_it(f), 0);
	device_writes(f, 0, NULL, VVU_MSG_MAX + 1); /* more than it has room for */
	assert_int_equal(gd_vvu_recv(&f->v, &msg), -EPROTO);
	assert_int_equal(open_it(f), 0);
	device_writes(f, 0xffff, NULL, 20);
	assert_int_equal(gd_vvu_recv(&f->v, &msg), -EPROTO);
}

static void sends(void **state)
{
	struct vhost_user_msg msg = { .hdr = { VHOST_USER_GET_FEATURES, VHOST_USER_VERSION, 8 } };
	struct fake *f = *state;
	struct vq_drv *tx = &f->v.txq.vq;

	assert_int_equal(open_it(f), 0);
	for (unsigned int i = 0; i < tx->size; i++)
		assert_int_equal(gd_vvu_send(&f->v, &msg), 0);
	assert_int_equal(gd_vvu_send(&f->v, &msg), -EAGAIN);
	tx->used->ring[0] = (struct vring_used_elem){ 3, 0 };
	__atomic_store_n(&tx->used->idx, 1, __ATOMIC_RELEASE);
	assert_int_equal(gd_vvu_send(&f->v, &msg), 0);
	assert_int_equal(gd_vvu_send(&f->v, &msg), -EAGAIN);
	msg.hdr.size = VHOST_USER_PAYLOAD_MAX + 1;
	assert_int_equal(gd_vvu_send(&f->v, &msg), -EINVAL);
	msg.hdr.size = 0xfffffff8;
	assert_int_equal(gd_vvu_send(&f->v, &msg), -EINVAL);
	msg.hdr.size = 8;
	tx->used->ring[1] = (struct vring_used_elem){ 1000, 0 };
	__atomic_store_n(&tx->used->idx, 2, __ATOMIC_RELEASE);
	assert_int_equal(gd_vvu_send(&f->v, &msg), -EPROTO);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(opens),
		T(bars_are_sized),
		T(capability_lists),
		T(capability_at_the_end),
		T(many_capabilities),
		T(ranges),
		T(msix_tables),
		T(features),
		T(queues),
		T(config),
		T(notifications_of_other_devices),
		T(kicks_to_cpus),
		T(few_vectors),
		T(kicks_that_cannot_be_bound),
		T(reset_that_never_ends),
		T(no_device),
		T(receives),
		T(offset_flags),
		T(receives_nonsense),
		T(sends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
