// SPDX-License-Identifier: BSD-2-Clause
/*
 * PCI bus 0: configuration mechanism #1, configuration space, BARs.
 *
 * A BAR's wanted place follows from its register and the command register. After each write that
 * may have changed that, update_bars() takes off the MMIO bus what moved, and then puts on whatever
 * is wanted and not there: a guest may stack BARs on top of each other for a while; the one that
 * finds its place taken is tried again when another one leaves.
 */
#include "vmm/pci.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "abi/machine.h"
#include "vmm/hostlib/log.h"

#define NUM_DEVFN	 256
#define FIRST_DEVFN	 8 /* 00:01.0 */
#define HEADER_END	 0x40
#define RESET_CTL_OFFSET 1 /* port 0xcf9 */
#define RESET_CTL_RST	 0x04
#define BRIDGE_VENDOR	 0x8086 /* what guests expect of a host bridge: 82441FX */
#define BRIDGE_DEVICE	 0x1237
#define CLASS_BRIDGE	 0x0600

struct pci_host {
	struct machine *machine;
	uint32_t address; /* port 0xcf8 */
	struct pci_fn bridge;
	struct pci_fn *fns[NUM_DEVFN];
};

uint16_t pci_config_u16(const struct pci_fn *fn, unsigned int reg)
{
	uint16_t v;

	memcpy(&v, fn->config + reg, sizeof(v));
	return v;
}

uint32_t pci_config_u32(const struct pci_fn *fn, unsigned int reg)
{
	uint32_t v;

	memcpy(&v, fn->config + reg, sizeof(v));
	return v;
}

void pci_config_set_u32(struct pci_fn *fn, unsigned int reg, uint32_t value)
{
	memcpy(fn->config + reg, &value, sizeof(value));
}

static void set_u16(uint8_t *bytes, unsigned int reg, uint16_t value)
{
	memcpy(bytes + reg, &value, sizeof(value));
}

uint64_t pci_window_base(unsigned int phys_bits)
{
	unsigned int bits = phys_bits > 47 ? 47 : phys_bits < 33 ? 33 : phys_bits;

	return UINT64_C(1) << (bits - 1);
}

void pci_fn_init(struct pci_fn *fn, const char *name, const struct pci_ids *ids,
		 const struct pci_fn_ops *ops)
{
	memset(fn, 0, sizeof(*fn));
	fn->ops = ops;
	fn->name = name;
	fn->cap_end = HEADER_END;
	set_u16(fn->config, PCI_VENDOR_ID, ids->vendor);
	set_u16(fn->config, PCI_DEVICE_ID, ids->device);
	set_u16(fn->config, PCI_CLASS_DEVICE, ids->class);
	fn->config[PCI_REVISION_ID] = ids->revision;
	set_u16(fn->config, PCI_SUBSYS_VENDOR, ids->subsys_vendor);
	set_u16(fn->config, PCI_SUBSYS_ID, ids->subsys);
	set_u16(fn->write_mask, PCI_COMMAND,
		PCI_COMMAND_MEMORY_MASK | PCI_COMMAND_MASTER_MASK | PCI_COMMAND_INTX_DISABLE_MASK);
	fn->write_mask[PCI_INTERRUPT_LINE] = 0xff;
	for (unsigned int i = 0; i < PCI_NUM_BARS; i++) {
		fn->bars[i].fn = fn;
		fn->bars[i].index = i;
		fn->bars[i].gpa = PCI_BAR_UNMAPPED;
	}
}

void pci_fn_add_bar(struct pci_fn *fn, unsigned int index, uint64_t size, bool is_64, bool window)
{
	struct pci_bar *bar = &fn->bars[index];
	unsigned int reg = PCI_BAR_0 + 4 * index;
	uint64_t mask = ~(size - 1);
	uint32_t half = (uint32_t)mask;

	bar->size = size;
	bar->is_64 = is_64;
	bar->prefetch = window;
	bar->window = window;
	memcpy(fn->write_mask + reg, &half, sizeof(half));
	pci_config_set_u32(fn, reg,
			   (is_64 ? PCI_BAR_MEM_64_MASK : 0) |
				   (bar->prefetch ? PCI_BAR_PREFETCH_MASK : 0));
	if (is_64) {
		half = (uint32_t)(mask >> 32);
		memcpy(fn->write_mask + reg + 4, &half, sizeof(half));
	}
}

int pci_fn_add_cap(struct pci_fn *fn, const void *cap, unsigned int size)
{
	unsigned int at = fn->cap_end;

	if (at + size > PCI_CONFIG_SIZE)
		return -ENOSPC;
	memcpy(fn->config + at, cap, size);
	fn->config[at + 1] = 0;
	if (fn->cap_last)
		fn->config[fn->cap_last + 1] = (uint8_t)at;
	else
		fn->config[PCI_CAPABILITY_LIST] = (uint8_t)at;
	set_u16(fn->config, PCI_STATUS, PCI_STATUS_CAP_LIST_MASK);
	fn->cap_last = at;
	fn->cap_end = ALIGN_UP(at + size, 4u);
	return (int)at;
}

void pci_fn_writable(struct pci_fn *fn, unsigned int reg, const void *mask, unsigned int size)
{
	memcpy(fn->write_mask + reg, mask, size);
}

/* Where the guest wants the BAR, or PCI_BAR_UNMAPPED. */
static uint64_t bar_wanted(const struct pci_bar *bar)
{
	const struct pci_fn *fn = bar->fn;
	unsigned int reg = PCI_BAR_0 + 4 * bar->index;
	uint64_t gpa;

	if (!bar->size || !(pci_config_u16(fn, PCI_COMMAND) & PCI_COMMAND_MEMORY_MASK))
		return PCI_BAR_UNMAPPED;
	gpa = pci_config_u32(fn, reg) & PCI_BAR_MEM_ADDR_MASK;
	if (bar->is_64)
		gpa |= (uint64_t)pci_config_u32(fn, reg + 4) << 32;
	/* Not a place: zero is "not assigned", and the top is what sizing writes leave behind. */
	if (!gpa || gpa + bar->size < gpa)
		return PCI_BAR_UNMAPPED;
	return gpa;
}

static uint64_t bar_bus_read(void *dev, uint64_t offset, unsigned int size)
{
	struct pci_bar *bar = dev;

	return bar->fn->ops->bar_read(bar->fn, bar->index, offset, size);
}

static void bar_bus_write(void *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	struct pci_bar *bar = dev;

	bar->fn->ops->bar_write(bar->fn, bar->index, offset, size, value);
}

static const struct bus_ops bar_bus_ops = { bar_bus_read, bar_bus_write };

static void bar_unmap(struct pci_bar *bar)
{
	struct pci_fn *fn = bar->fn;

	if (bar->gpa == PCI_BAR_UNMAPPED)
		return;
	if (!bar->window)
		bus_del(&fn->host->machine->mmio, bar->gpa);
	bar->gpa = PCI_BAR_UNMAPPED;
	if (fn->ops->bar_moved)
		fn->ops->bar_moved(fn, bar->index, PCI_BAR_UNMAPPED);
}

static void bar_map(struct pci_bar *bar, uint64_t gpa)
{
	struct pci_fn *fn = bar->fn;
	struct bus_range range = {
		.base = gpa, .size = bar->size, .ops = &bar_bus_ops, .dev = bar, .name = fn->name
	};

	if (!bar->window) {
		int ret = bus_add(&fn->host->machine->mmio, &range);

		if (ret) {
			log_debug(fn->name, "BAR %u cannot be at %#llx now: %s", bar->index,
				  (unsigned long long)gpa, strerror(-ret));
			return;
		}
	}
	bar->gpa = gpa;
	if (fn->ops->bar_moved)
		fn->ops->bar_moved(fn, bar->index, gpa);
}

static void update_bars(struct pci_host *host)
{
	for (unsigned int pass = 0; pass < 2; pass++) {
		for (unsigned int f = 0; f < NUM_DEVFN; f++) {
			for (unsigned int i = 0; host->fns[f] && i < PCI_NUM_BARS; i++) {
				struct pci_bar *bar = &host->fns[f]->bars[i];
				uint64_t wanted = bar_wanted(bar);

				if (bar->gpa == wanted)
					continue;
				if (pass == 0)
					bar_unmap(bar);
				else
					bar_map(bar, wanted);
			}
		}
	}
}

static bool touches(unsigned int reg, unsigned int size, unsigned int start, unsigned int bytes)
{
	return reg < start + bytes && start < reg + size;
}

static void fn_write(struct pci_fn *fn, unsigned int reg, unsigned int size, uint32_t value)
{
	for (unsigned int i = 0; i < size; i++) {
		uint8_t mask = fn->write_mask[reg + i];
		uint8_t byte = (uint8_t)(value >> (8 * i));

		fn->config[reg + i] = (uint8_t)((fn->config[reg + i] & ~mask) | (byte & mask));
	}
	if (touches(reg, size, PCI_COMMAND, 2) || touches(reg, size, PCI_BAR_0, 4 * PCI_NUM_BARS))
		update_bars(fn->host);
	if (fn->ops && fn->ops->config_written)
		fn->ops->config_written(fn, reg, size);
}

static uint32_t fn_read(struct pci_fn *fn, unsigned int reg, unsigned int size)
{
	uint32_t value = 0;

	if (fn->ops && fn->ops->config_reading)
		fn->ops->config_reading(fn, reg, size);
	memcpy(&value, fn->config + reg, size);
	return value;
}

/* The function and register that the data port means now; NULL: none, or an access that crosses the
 * dword. */
static struct pci_fn *selected(struct pci_host *host, unsigned int port_offset, unsigned int size,
			       unsigned int *reg)
{
	uint32_t a = host->address;

	if (!(a & PCI_CONFIG_ADDRESS_EN) || (a >> 16 & 0xff) || size > 4 || port_offset + size > 4)
		return NULL;
	*reg = (a & 0xfc) + port_offset;
	return host->fns[a >> 8 & 0xff];
}

static uint64_t ports_read(void *dev, uint64_t offset, unsigned int size)
{
	struct pci_host *host = dev;
	struct pci_fn *fn;
	unsigned int reg;

	if (offset < 4) {
		if (offset == 0 && size == 4)
			return host->address;
		return offset == RESET_CTL_OFFSET && size == 1 ? 0 : UINT64_MAX;
	}
	fn = selected(host, (unsigned int)offset - 4, size, &reg);
	return fn ? fn_read(fn, reg, size) : UINT64_MAX;
}

static void ports_write(void *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	struct pci_host *host = dev;
	struct pci_fn *fn;
	unsigned int reg;

	if (offset < 4) {
		if (offset == 0 && size == 4)
			host->address = (uint32_t)value;
		else if (offset == RESET_CTL_OFFSET && size == 1 && (value & RESET_CTL_RST))
			host->machine->ops->reboot(host->machine->ctx);
		return;
	}
	fn = selected(host, (unsigned int)offset - 4, size, &reg);
	if (fn)
		fn_write(fn, reg, size, (uint32_t)value);
}

static const struct bus_ops ports_ops = { ports_read, ports_write };

static void bar_assign(struct pci_bar *bar, uint64_t gpa)
{
	struct pci_fn *fn = bar->fn;
	unsigned int reg = PCI_BAR_0 + 4 * bar->index;
	uint32_t low = pci_config_u32(fn, reg) & ~PCI_BAR_MEM_ADDR_MASK;

	bar->assigned = gpa;
	pci_config_set_u32(fn, reg, low | (uint32_t)gpa);
	if (bar->is_64)
		pci_config_set_u32(fn, reg + 4, (uint32_t)(gpa >> 32));
}

/* The machine restarts: power-on values, the BARs where they were assigned, each function's
 * reset(). */
static void host_reset(void *dev)
{
	struct pci_host *host = dev;

	host->address = 0;
	for (unsigned int f = 0; f < NUM_DEVFN; f++) {
		struct pci_fn *fn = host->fns[f];

		if (!fn)
			continue;
		memcpy(fn->config, fn->power_on, PCI_CONFIG_SIZE);
		for (unsigned int i = 0; i < PCI_NUM_BARS; i++) {
			if (fn->bars[i].assigned)
				bar_assign(&fn->bars[i], fn->bars[i].assigned);
		}
	}
	update_bars(host);
	for (unsigned int f = 0; f < NUM_DEVFN; f++) {
		struct pci_fn *fn = host->fns[f];

		if (fn && fn->ops && fn->ops->reset)
			fn->ops->reset(fn);
	}
}

static const struct machine_device_ops host_device_ops = { .reset = host_reset };

struct pci_host *pci_host_new(struct machine *machine)
{
	static const struct pci_ids ids = { .vendor = BRIDGE_VENDOR,
					    .device = BRIDGE_DEVICE,
					    .class = CLASS_BRIDGE,
					    .revision = 2 };
	struct pci_host *host = calloc(1, sizeof(*host));
	struct bus_range range = { .base = PCI_PORT_CONFIG_ADDRESS,
				   .size = 8,
				   .ops = &ports_ops,
				   .dev = host,
				   .name = "pci" };
	int ret;

	if (!host)
		return NULL;
	host->machine = machine;
	pci_fn_init(&host->bridge, "host bridge", &ids, NULL);
	host->bridge.host = host;
	memcpy(host->bridge.power_on, host->bridge.config, PCI_CONFIG_SIZE);
	host->fns[0] = &host->bridge;
	ret = bus_add(&machine->pio, &range);
	if (ret)
		goto out_free;
	ret = machine_add_device(machine, "pci", &host_device_ops, host);
	if (ret)
		goto out_bus;
	return host;

out_bus:
	bus_del(&machine->pio, range.base);
out_free:
	free(host);
	errno = -ret;
	return NULL;
}

void pci_host_free(struct pci_host *host)
{
	if (!host)
		return;
	machine_del_device(host->machine, host);
	bus_del(&host->machine->pio, PCI_PORT_CONFIG_ADDRESS);
	free(host);
}

/* The largest BAR of the kind that has no place yet, first function first: natural alignment then
 * leaves no gaps. */
static struct pci_bar *next_to_assign(struct pci_host *host, bool is_64)
{
	struct pci_bar *best = NULL;

	for (unsigned int f = 0; f < NUM_DEVFN; f++) {
		for (unsigned int i = 0; host->fns[f] && i < PCI_NUM_BARS; i++) {
			struct pci_bar *bar = &host->fns[f]->bars[i];

			if (bar->size && bar->is_64 == is_64 && !bar->assigned &&
			    (!best || bar->size > best->size))
				best = bar;
		}
	}
	return best;
}

int pci_host_assign(struct pci_host *host)
{
	uint64_t base64 = pci_window_base(host->machine->phys_bits);
	uint64_t next[2] = { MACHINE_MMIO32_BASE, base64 };
	const uint64_t end[2] = { MACHINE_MMIO32_END, 2 * base64 };

	for (unsigned int kind = 0; kind < 2; kind++) {
		struct pci_bar *bar;

		while ((bar = next_to_assign(host, kind == 1))) {
			uint64_t gpa = ALIGN_UP(next[kind], bar->size);

			if (gpa + bar->size > end[kind])
				return -ENOSPC;
			bar_assign(bar, gpa);
			next[kind] = gpa + bar->size;
		}
	}
	return 0;
}

int pci_fn_add(struct pci_host *host, struct pci_fn *fn)
{
	unsigned int devfn = FIRST_DEVFN;

	while (devfn < NUM_DEVFN && host->fns[devfn])
		devfn++;
	if (devfn == NUM_DEVFN)
		return -ENOSPC;
	fn->host = host;
	fn->devfn = devfn;
	/* A scan looks at function 0 to learn that there are others. */
	fn->config[PCI_HEADER_TYPE] = PCI_HEADER_TYPE_MULTI_MASK;
	memcpy(fn->power_on, fn->config, PCI_CONFIG_SIZE);
	host->fns[devfn] = fn;
	return 0;
}

void pci_fn_del(struct pci_fn *fn)
{
	if (!fn->host)
		return;
	for (unsigned int i = 0; i < PCI_NUM_BARS; i++)
		bar_unmap(&fn->bars[i]);
	fn->host->fns[fn->devfn] = NULL;
	fn->host = NULL;
}
