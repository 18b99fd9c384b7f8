// SPDX-License-Identifier: BSD-2-Clause
/* gd_platform on bare metal. Memory of the image and heap lies at its guest-physical address. */
#include "internal.h"

#include "abi/pci.h"
#include "io.h"

#define MSI_ADDR       0xfee00000u
#define MSI_DEST_SHIFT 12

/* Each access is an exit: the address register is written only when it changes. */
static uint16_t pci_select(unsigned int bdf, unsigned int reg)
{
	static uint32_t selected;
	uint32_t address = PCI_CONFIG_ADDRESS_EN | bdf << 8 | (reg & 0xfc);

	if (address != selected) {
		io_out32(PCI_PORT_CONFIG_ADDRESS, address);
		selected = address;
	}
	return (uint16_t)(PCI_PORT_CONFIG_DATA + (reg & 3));
}

static uint32_t pci_read(void *ctx, unsigned int bdf, unsigned int reg, unsigned int width)
{
	uint16_t port = pci_select(bdf, reg);

	if (width == 1)
		return io_in8(port);
	return width == 2 ? io_in16(port) : io_in32(port);
}

static void pci_write(void *ctx, unsigned int bdf, unsigned int reg, unsigned int width, uint32_t v)
{
	uint16_t port = pci_select(bdf, reg);

	if (width == 1)
		io_out8(port, (uint8_t)v);
	else if (width == 2)
		io_out16(port, (uint16_t)v);
	else
		io_out32(port, v);
}

static void *map_mmio(void *ctx, uint64_t gpa, uint64_t size)
{
	return window_map_mmio(gpa, size);
}

/* Plain mov instructions with one operand in memory: every hypervisor's decoder knows them. */
static uint32_t mmio_read(void *ctx, const void *addr, unsigned int width)
{
	uint32_t v;

	if (width == 1)
		__asm__ volatile("movzbl %1, %0" : "=r"(v) : "m"(*(const volatile uint8_t *)addr));
	else if (width == 2)
		__asm__ volatile("movzwl %1, %0" : "=r"(v) : "m"(*(const volatile uint16_t *)addr));
	else
		__asm__ volatile("movl %1, %0" : "=r"(v) : "m"(*(const volatile uint32_t *)addr));
	return v;
}

static void mmio_write(void *ctx, void *addr, unsigned int width, uint32_t v)
{
	if (width == 1)
		__asm__ volatile("movb %b1, %0"
				 : "=m"(*(volatile uint8_t *)addr)
				 : "q"(v)
				 : "memory");
	else if (width == 2)
		__asm__ volatile("movw %w1, %0"
				 : "=m"(*(volatile uint16_t *)addr)
				 : "r"(v)
				 : "memory");
	else
		__asm__ volatile("movl %1, %0"
				 : "=m"(*(volatile uint32_t *)addr)
				 : "r"(v)
				 : "memory");
}

static void *begin(void *ctx, uint64_t gpa, uint64_t size)
{
	return window_begin(gpa, size);
}

static int step(void *ctx, void *window)
{
	return window_step(window);
}

static int touch(void *ctx, void *window)
{
	return window_touch(window);
}

static void end(void *ctx, void *window)
{
	window_end(window);
}

static void *alloc(void *ctx, size_t size, size_t align)
{
	return rt_alloc(size, align);
}

static struct gpa to_gpa(void *ctx, const void *ptr)
{
	return gpa((uintptr_t)ptr);
}

/* Fixed delivery, edge, physical destination. */
static struct gd_msi msi(void *ctx, unsigned int irq, unsigned int cpu)
{
	return (struct gd_msi){
		.addr = MSI_ADDR | cpu_apic_id(cpu) << MSI_DEST_SHIFT,
		.data = VECTOR_IRQ_BASE + irq,
	};
}

const struct gd_platform *rt_platform(void)
{
	static const struct gd_platform platform = {
		.pci_read = pci_read,
		.pci_write = pci_write,
		.map_mmio = map_mmio,
		.mmio_read = mmio_read,
		.mmio_write = mmio_write,
		.window_begin = begin,
		.window_step = step,
		.window_touch = touch,
		.window_end = end,
		.alloc = alloc,
		.to_gpa = to_gpa,
		.msi = msi,
		.log = console_vlog,
	};

	return &platform;
}
