// SPDX-License-Identifier: BSD-2-Clause
/*
 * The PCI bus as a guest sees it: enumeration (the command line says how many VVU functions there
 * are), configuration accesses of all widths, BAR sizing, relocation, the configuration-space
 * window to BARs, and a guest that writes nonsense.
 */
#include "io.h"
#include "vvu.h"

#define FUNCTIONS_MAX 64
#define MOVED_BAR     0xf0000000u

static struct {
	unsigned int bdf;
	uint32_t id;
} found[FUNCTIONS_MAX];
static unsigned int num_found;

static uint32_t cfg(unsigned int bdf, unsigned int reg, unsigned int width)
{
	return rt_platform()->pci_read(NULL, bdf, reg, width);
}

static void cfg_set(unsigned int bdf, unsigned int reg, unsigned int width, uint32_t v)
{
	rt_platform()->pci_write(NULL, bdf, reg, width, v);
}

static uint32_t mmio32(uint64_t gpa)
{
	const struct gd_platform *p = rt_platform();

	return p->mmio_read(p->ctx, p->map_mmio(p->ctx, gpa, 4), 4);
}

static int note(void *arg, unsigned int bdf, uint16_t vendor, uint16_t device)
{
	if (num_found < FUNCTIONS_MAX) {
		found[num_found].bdf = bdf;
		found[num_found++].id = (uint32_t)device << 16 | vendor;
	}
	return 0;
}

/* All functions, and no others: the scan skips what it may skip, here every function number is
 * asked. */
static void check_enumeration(unsigned int num_vvu)
{
	unsigned int next = 0, vvus = 0;

	gd_pci_scan(rt_platform(), note, NULL);
	for (unsigned int bdf = 0; bdf < 256; bdf++) {
		uint32_t id = cfg(bdf, PCI_VENDOR_ID, 4);

		if (id == 0xffffffff)
			continue;
		CHECKF(next < num_found && found[next].bdf == bdf && found[next].id == id,
		       "function %02x", bdf);
		next++;
		if (id ==
		    ((PCI_DEVICE_VIRTIO_MODERN + VIRTIO_ID_VHOST_USER) << 16 | PCI_VENDOR_VIRTIO))
			CHECKF(bdf == 8 + vvus++, "VVU function at %02x", bdf);
	}
	CHECKF(next == num_found && vvus == num_vvu, "%u of %u, %u VVU", next, num_found, vvus);
	CHECKF(cfg(0, PCI_CLASS_DEVICE, 2) == 0x0600, "host bridge %#x",
	       cfg(0, PCI_CLASS_DEVICE, 2));
	if (num_vvu > 1)
		CHECK(cfg(8, PCI_HEADER_TYPE, 1) == PCI_HEADER_TYPE_MULTI_MASK);
	CHECK(cfg(GD_PCI_BDF(1u, 0, 0), PCI_VENDOR_ID, 4) == 0xffffffff);
}

static void check_widths(unsigned int bdf)
{
	uint32_t dword = cfg(bdf, PCI_VENDOR_ID, 4);

	CHECK(cfg(bdf, 0, 2) == (dword & 0xffff) && cfg(bdf, 2, 2) == dword >> 16);
	for (unsigned int i = 0; i < 4; i++)
		CHECK(cfg(bdf, i, 1) == (dword >> 8 * i & 0xff));
	/* Identification is read-only. */
	cfg_set(bdf, PCI_VENDOR_ID, 4, 0);
	cfg_set(bdf, PCI_DEVICE_ID + 1, 1, 0xff);
	CHECK(cfg(bdf, PCI_VENDOR_ID, 4) == dword);
	/* Without the enable bit the data port is no configuration access. */
	io_out32(PCI_PORT_CONFIG_ADDRESS, bdf << 8);
	CHECK(io_in32(PCI_PORT_CONFIG_DATA) != dword);
	io_out32(PCI_PORT_CONFIG_ADDRESS, PCI_CONFIG_ADDRESS_EN | bdf << 8);
	CHECK(io_in32(PCI_PORT_CONFIG_ADDRESS) == (PCI_CONFIG_ADDRESS_EN | bdf << 8));
	CHECK(io_in32(PCI_PORT_CONFIG_DATA) == dword);
	io_out32(PCI_PORT_CONFIG_ADDRESS,
		 0); /* what the platform thinks is selected must not be trusted from here on */
	cfg(bdf ^ 1, PCI_VENDOR_ID, 4);
}

static void check_bars(unsigned int num)
{
	static struct gd_pci_dev devs[FUNCTIONS_MAX];

	for (unsigned int i = 0; i < num; i++) {
		const struct gd_bar *bars = devs[i].bars;

		CHECK(gd_pci_open(&devs[i], rt_platform(), 8 + i) == 0);
		CHECK(bars[VVU_BAR_REGS].size >= 0x4000 && bars[VVU_BAR_MSIX].size >= 4096);
		CHECK(bars[VVU_BAR_REGS].gpa >= MACHINE_MMIO32_BASE &&
		      bars[VVU_BAR_REGS].gpa + bars[VVU_BAR_REGS].size <= MACHINE_MMIO32_END);
		CHECK(bars[VVU_BAR_SHMEM].gpa >= BIT_ULL(32) &&
		      bars[VVU_BAR_SHMEM].size >= BIT_ULL(21));
		for (unsigned int b = 0; b < PCI_NUM_BARS; b++)
			CHECKF(!bars[b].gpa || IS_ALIGNED(bars[b].gpa, bars[b].size), "BAR %u", b);
	}
	for (unsigned int i = 0; i < num * PCI_NUM_BARS; i++) {
		for (unsigned int j = 0; j < i; j++) {
			const struct gd_bar *a = &devs[i / PCI_NUM_BARS].bars[i % PCI_NUM_BARS];
			const struct gd_bar *b = &devs[j / PCI_NUM_BARS].bars[j % PCI_NUM_BARS];

			CHECKF(!a->gpa || !b->gpa || a->gpa + a->size <= b->gpa ||
				       b->gpa + b->size <= a->gpa,
			       "BARs %u and %u", i, j);
		}
	}
}

/* The device's registers follow BAR 0, with decoding off meanwhile or not; decoding off makes them
 * vanish. */
static void check_relocation(unsigned int bdf)
{
	struct gd_virtio dev;
	const struct gd_virtio_cap *common;
	uint32_t want, command = cfg(bdf, PCI_COMMAND, 2);
	uint64_t old;

	if (!CHECK(gd_virtio_open(&dev, rt_platform(), bdf) == 0))
		return;
	common = gd_virtio_find_cap(&dev, VIRTIO_PCI_CAP_COMMON_CFG, 0);
	old = dev.pci.bars[common->bar].gpa;
	want = mmio32(old + common->offset +
		      16); /* config_msix_vector, num_queues: the same wherever it is */
	CHECKF(want >> 16 == VVU_NUM_QUEUES, "%#x", want);

	cfg_set(bdf, PCI_COMMAND, 2, command & ~(uint32_t)PCI_COMMAND_MEMORY_MASK);
	CHECK(mmio32(old + common->offset + 16) == 0xffffffff);
	cfg_set(bdf, PCI_BAR_0, 4, MOVED_BAR);
	cfg_set(bdf, PCI_COMMAND, 2, command | PCI_COMMAND_MEMORY_MASK);
	CHECK(mmio32(MOVED_BAR + common->offset + 16) == want);
	CHECK(mmio32(old + common->offset + 16) == 0xffffffff);
	cfg_set(bdf, PCI_BAR_0, 4, (uint32_t)old); /* while it decodes */
	CHECK(mmio32(old + common->offset + 16) == want);
	CHECK(mmio32(MOVED_BAR + common->offset + 16) == 0xffffffff);
}

/* The shared-memory BAR is 64-bit: both halves move, and it can be moved away and back. */
static void check_relocation_64(unsigned int bdf)
{
	const unsigned int reg = PCI_BAR_0 + 4 * VVU_BAR_SHMEM;
	uint32_t low = cfg(bdf, reg, 4), high = cfg(bdf, reg + 4, 4);

	CHECK((low & 0xf) == (PCI_BAR_MEM_64_MASK | PCI_BAR_PREFETCH_MASK));
	cfg_set(bdf, reg + 4, 4, high ^ 0x40);
	CHECK(cfg(bdf, reg + 4, 4) == (high ^ 0x40) && cfg(bdf, reg, 4) == low);
	cfg_set(bdf, reg + 4, 4, high);
	/* Sizing while it decodes, as careless drivers do. */
	cfg_set(bdf, reg, 4, 0xffffffff);
	cfg_set(bdf, reg + 4, 4, 0xffffffff);
	cfg_set(bdf, reg + 4, 4, high);
	cfg_set(bdf, reg, 4, low);
	CHECK(cfg(bdf, reg, 4) == low && cfg(bdf, reg + 4, 4) == high);
}

/* virtio 1.2 §4.1.4.9: the window in configuration space shows what the BAR shows. */
static void check_pci_cfg_window(unsigned int bdf)
{
	unsigned int reg = cfg(bdf, PCI_CAPABILITY_LIST, 1), steps = 0;
	struct gd_virtio dev;
	const struct gd_virtio_cap *common;

	if (!CHECK(gd_virtio_open(&dev, rt_platform(), bdf) == 0))
		return;
	common = gd_virtio_find_cap(&dev, VIRTIO_PCI_CAP_COMMON_CFG, 0);
	while (reg && ++steps < 64 && cfg(bdf, reg, 4) >> 24 != VIRTIO_PCI_CAP_PCI_CFG)
		reg = cfg(bdf, reg + 1, 1);
	if (!CHECKF(reg && steps < 64, "no such capability"))
		return;
	cfg_set(bdf, reg + 4, 1, common->bar);
	cfg_set(bdf, reg + 8, 4, (uint32_t)common->offset + 18);
	cfg_set(bdf, reg + 12, 4, 2);
	CHECK(cfg(bdf, reg + 16, 2) == VVU_NUM_QUEUES);
	cfg_set(bdf, reg + 8, 4,
		(uint32_t)common->offset); /* device_feature_select, then device_feature */
	cfg_set(bdf, reg + 12, 4, 4);
	cfg_set(bdf, reg + 16, 4, 1);
	cfg_set(bdf, reg + 8, 4, (uint32_t)common->offset + 4);
	CHECK(cfg(bdf, reg + 16, 4) & BIT_U32(VIRTIO_F_VERSION_1_BIT - 32));
	/* Nonsense: no such BAR, outside the BAR, odd lengths. Anything may be read, nothing may
	 * happen. */
	static const uint32_t nonsense[][3] = {
		{ 6, 0, 4 },	      { 255, 0, 4 }, { 0, 0xfffffffc, 4 },
		{ 0, 0, 3 },	      { 0, 1, 4 },   { 0, 0, 0 },
		{ 0, 0, 0xffffffff }, { 2, 0, 4 },   { 1, 0x7fffffff, 1 },
	};

	for (unsigned int i = 0; i < ARRAY_LEN(nonsense); i++) {
		cfg_set(bdf, reg + 4, 1, nonsense[i][0]);
		cfg_set(bdf, reg + 8, 4, nonsense[i][1]);
		cfg_set(bdf, reg + 12, 4, nonsense[i][2]);
		cfg(bdf, reg + 16, 4);
		cfg_set(bdf, reg + 16, 4, 0xffffffff);
		cfg_set(bdf, reg + 16, 1, 0xff);
	}
}

/* Writes nonsense everywhere. What comes of it is the guest's own problem, but for what the next
 * check looks at. */
static void check_nonsense(unsigned int bdf)
{
	uint32_t seed = 1;

	for (unsigned int i = 0; i < 20000; i++) {
		unsigned int width = 1u << (seed >> 30 & 1) << (seed >> 29 & 1);
		unsigned int reg = seed >> 8 & (0xffu & ~(width - 1));

		seed = seed * 1664525 + 1013904223;
		/* The BARs may end up anywhere, also on each other and on RAM; the command register
		 * turns them on and off. */
		if (i & 1)
			cfg_set(bdf, reg, width, seed);
		else
			cfg(bdf, reg, width);
	}
	cfg_set(bdf, PCI_COMMAND, 2, 0);
}

int rt_main(const char *cmdline)
{
	unsigned int num = 0;

	for (; *cmdline >= '0' && *cmdline <= '9'; cmdline++)
		num = num * 10 + (unsigned int)(*cmdline - '0');
	check_enumeration(num);
	if (num) {
		check_widths(8);
		check_bars(num);
		check_relocation(8);
		check_relocation_64(8);
		check_pci_cfg_window(8);
	}
	if (num > 1) {
		check_nonsense(8 + num - 1);
		check_relocation(8);
		check_pci_cfg_window(8);
	}
	return verdict();
}
