// SPDX-License-Identifier: BSD-2-Clause
#include "fake_machine.h"

#include <dirent.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/thread.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#define ALLOC_BASE 0x10000 /* nothing at address 0 */

static void require(bool ok, const char *what)
{
	if (!ok) {
		perror(what);
		abort();
	}
}

static bool take_failure(unsigned int *left)
{
	if (!*left)
		return false;
	--*left;
	return true;
}

static int op_slot_add(void *ctx, uint64_t gpa, uint64_t size, void *host)
{
	struct fake_machine *f = ctx;

	f->slot_adds++;
	if (take_failure(&f->fail_slot_add))
		return -ENOMEM;
	if (!size || gpa + size < gpa || gpa % 4096 || size % 4096 || (uintptr_t)host % 4096)
		return -EINVAL;
	if (gpa + size > UINT64_C(1) << f->m.phys_bits)
		return -EINVAL;
	for (unsigned int i = 0; i < ARRAY_LEN(f->slots); i++) {
		const struct fake_slot *s = &f->slots[i];

		if (s->used && gpa < s->gpa + s->size && s->gpa < gpa + size)
			return -EEXIST;
	}
	for (unsigned int i = 0; i < ARRAY_LEN(f->slots); i++) {
		if (f->slots[i].used)
			continue;
		f->slots[i] = (struct fake_slot){ true, gpa, size, host };
		return (int)i;
	}
	return -ENOSPC;
}

static void op_slot_del(void *ctx, int slot)
{
	struct fake_machine *f = ctx;

	require(f->slots[slot].used, "slot_del of a slot that is not there");
	f->slots[slot].used = false;
}

static int op_ioeventfd_add(void *ctx, uint64_t gpa, int fd)
{
	struct fake_machine *f = ctx;
	struct fake_ioevent *room = NULL;

	if (take_failure(&f->fail_ioeventfd_add))
		return -ENOSPC;
	for (unsigned int i = 0; i < ARRAY_LEN(f->ioevents); i++) {
		struct fake_ioevent *e = &f->ioevents[i];

		if (e->fd < 0)
			room = e;
		else if (e->gpa == gpa)
			return -EEXIST;
	}
	if (!room)
		return -ENOSPC;
	/* KVM keeps its own reference. */
	*room = (struct fake_ioevent){ gpa, dup(fd) };
	return 0;
}

static void op_ioeventfd_del(void *ctx, uint64_t gpa, int fd)
{
	struct fake_machine *f = ctx;

	require(fd >= 0, "ioeventfd_del of no fd");
	for (unsigned int i = 0; i < ARRAY_LEN(f->ioevents); i++) {
		struct fake_ioevent *e = &f->ioevents[i];

		if (e->fd >= 0 && e->gpa == gpa) {
			close(e->fd);
			e->fd = -1;
			return;
		}
	}
	require(false, "ioeventfd_del of one that is not there");
}

static int op_route_add(void *ctx, uint64_t addr, uint32_t data)
{
	struct fake_machine *f = ctx;

	if (take_failure(&f->fail_route_add))
		return -ENOSPC;
	for (unsigned int i = 0; i < ARRAY_LEN(f->routes); i++) {
		if (f->routes[i].used)
			continue;
		f->routes[i] = (struct fake_route){ true, addr, data };
		return (int)i;
	}
	return -ENOSPC;
}

static int op_route_set(void *ctx, int gsi, uint64_t addr, uint32_t data)
{
	struct fake_machine *f = ctx;

	require(f->routes[gsi].used, "route_set of no route");
	f->routes[gsi] = (struct fake_route){ true, addr, data };
	return 0;
}

static void op_route_del(void *ctx, int gsi)
{
	struct fake_machine *f = ctx;

	require(f->routes[gsi].used, "route_del of no route");
	f->routes[gsi].used = false;
}

static uint64_t eventfd_id(int fd)
{
	char path[48], line[128];
	uint64_t id = UINT64_MAX;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		sscanf(line, "eventfd-id: %" SCNu64, &id);
	if (file)
		fclose(file);
	return id;
}

static int op_irqfd_add(void *ctx, int gsi, int fd)
{
	struct fake_machine *f = ctx;
	struct fake_irqfd *room = NULL;
	uint64_t id = eventfd_id(fd);

	if (take_failure(&f->fail_irqfd_add))
		return -ENOMEM;
	if (id == UINT64_MAX)
		return -EINVAL;
	if (f->elsewhere && id == f->elsewhere - 1)
		return -EBUSY;
	require(f->routes[gsi].used, "irqfd_add of no route");
	for (unsigned int i = 0; i < ARRAY_LEN(f->irqfds); i++) {
		struct fake_irqfd *e = &f->irqfds[i];

		if (e->fd < 0)
			room = e;
		else if (e->id == id)
			return -EBUSY;
	}
	if (!room)
		return -ENOSPC;
	*room = (struct fake_irqfd){ gsi, dup(fd), id };
	return 0;
}

static void op_irqfd_del(void *ctx, int gsi, int fd)
{
	struct fake_machine *f = ctx;
	uint64_t id = eventfd_id(fd);

	for (unsigned int i = 0; i < ARRAY_LEN(f->irqfds); i++) {
		struct fake_irqfd *e = &f->irqfds[i];

		if (e->fd >= 0 && e->id == id && e->gsi == gsi) {
			close(e->fd);
			e->fd = -1;
			return;
		}
	}
	require(false, "irqfd_del of one that is not there");
}

static void op_msi_send(void *ctx, uint64_t addr, uint32_t data)
{
	struct fake_machine *f = ctx;

	if (addr == FAKE_MSI_ADDR && data < FAKE_MSI_DATA)
		f->msis[data]++;
}

static void op_irq_line(void *ctx, unsigned int irq, int level)
{
}

static void op_power_off(void *ctx, int status)
{
}

static void op_reboot(void *ctx)
{
	((struct fake_machine *)ctx)->reboots++;
}

static void op_kick_vcpus(void *ctx)
{
	((struct fake_machine *)ctx)->kicks++;
}

static void op_watch_memory(void *ctx, bool on)
{
	((struct fake_machine *)ctx)->watchers += on ? 1 : -1;
}

static const struct machine_ops ops = {
	.slot_add = op_slot_add,
	.slot_del = op_slot_del,
	.ioeventfd_add = op_ioeventfd_add,
	.ioeventfd_del = op_ioeventfd_del,
	.route_add = op_route_add,
	.route_set = op_route_set,
	.route_del = op_route_del,
	.irqfd_add = op_irqfd_add,
	.irqfd_del = op_irqfd_del,
	.msi_send = op_msi_send,
	.irq_line = op_irq_line,
	.power_off = op_power_off,
	.reboot = op_reboot,
	.kick_vcpus = op_kick_vcpus,
	.watch_memory = op_watch_memory,
};

/* --- the guest's accesses --- */

uint64_t fake_read(struct fake_machine *f, uint64_t gpa, unsigned int size)
{
	uint64_t value;

	pthread_mutex_lock(&f->m.lock);
	value = bus_read(&f->m.mmio, gpa, size);
	pthread_mutex_unlock(&f->m.lock);
	return value;
}

void fake_write(struct fake_machine *f, uint64_t gpa, unsigned int size, uint64_t value)
{
	pthread_mutex_lock(&f->m.lock);
	for (unsigned int i = 0; i < ARRAY_LEN(f->ioevents); i++) {
		if (f->ioevents[i].fd >= 0 && f->ioevents[i].gpa == gpa) {
			eventfd_write(f->ioevents[i].fd, 1);
			goto out;
		}
	}
	bus_write(&f->m.mmio, gpa, size, value);
out:
	pthread_mutex_unlock(&f->m.lock);
}

uint64_t fake_in(struct fake_machine *f, uint16_t port, unsigned int size)
{
	uint64_t value;

	pthread_mutex_lock(&f->m.lock);
	value = bus_read(&f->m.pio, port, size);
	pthread_mutex_unlock(&f->m.lock);
	return value;
}

void fake_out(struct fake_machine *f, uint16_t port, unsigned int size, uint64_t value)
{
	pthread_mutex_lock(&f->m.lock);
	bus_write(&f->m.pio, port, size, value);
	pthread_mutex_unlock(&f->m.lock);
}

static void select_config(struct fake_machine *f, unsigned int bdf, unsigned int reg)
{
	fake_out(f, PCI_PORT_CONFIG_ADDRESS, 4,
		 pci_config_address(bdf >> 8, bdf >> 3 & 31, bdf & 7, reg));
}

uint32_t fake_pci_read(struct fake_machine *f, unsigned int bdf, unsigned int reg,
		       unsigned int size)
{
	select_config(f, bdf, reg);
	return (uint32_t)fake_in(f, (uint16_t)(PCI_PORT_CONFIG_DATA + (reg & 3)), size);
}

void fake_pci_write(struct fake_machine *f, unsigned int bdf, unsigned int reg, unsigned int size,
		    uint32_t value)
{
	select_config(f, bdf, reg);
	fake_out(f, (uint16_t)(PCI_PORT_CONFIG_DATA + (reg & 3)), size, value);
}

uint8_t *fake_memory(struct fake_machine *f, uint64_t gpa, uint64_t size)
{
	if (gpa + size <= FAKE_RAM_BYTES)
		return f->ram + gpa;
	for (unsigned int i = 0; i < ARRAY_LEN(f->slots); i++) {
		const struct fake_slot *s = &f->slots[i];

		if (s->used && gpa >= s->gpa && gpa + size <= s->gpa + s->size)
			return s->host + (gpa - s->gpa);
	}
	return NULL;
}

/* --- gd_platform --- */

static uint32_t gd_pci_config_read(void *ctx, unsigned int bdf, unsigned int reg,
				   unsigned int width)
{
	return fake_pci_read(ctx, bdf, reg, width);
}

static void gd_pci_config_write(void *ctx, unsigned int bdf, unsigned int reg, unsigned int width,
				uint32_t v)
{
	fake_pci_write(ctx, bdf, reg, width, v);
}

/* A handle is the address itself. */
static void *gd_map_mmio(void *ctx, uint64_t gpa, uint64_t size)
{
	return (void *)(uintptr_t)gpa;
}

static uint32_t gd_mmio_read(void *ctx, const void *addr, unsigned int width)
{
	return (uint32_t)fake_read(ctx, (uintptr_t)addr, width);
}

static void gd_mmio_write(void *ctx, void *addr, unsigned int width, uint32_t value)
{
	fake_write(ctx, (uintptr_t)addr, width, value);
}

static void *gd_window_begin(void *ctx, uint64_t gpa, uint64_t size)
{
	return fake_memory(ctx, gpa, size);
}

static int gd_window_step(void *ctx, void *window)
{
	return 1;
}

static int gd_window_touch(void *ctx, void *window)
{
	return 1;
}

static void gd_window_end(void *ctx, void *window)
{
}

static void *gd_alloc(void *ctx, size_t size, size_t align)
{
	struct fake_machine *f = ctx;
	uint64_t at = ALIGN_UP(f->ram_used, (uint64_t)align);

	if (at + size > FAKE_RAM_BYTES)
		return NULL;
	f->ram_used = at + size;
	return f->ram + at;
}

static struct gpa gd_to_gpa(void *ctx, const void *ptr)
{
	struct fake_machine *f = ctx;

	return gpa((uint64_t)((const uint8_t *)ptr - f->ram));
}

static struct gd_msi gd_msi_of(void *ctx, unsigned int irq, unsigned int cpu)
{
	return (struct gd_msi){ .addr = FAKE_MSI_ADDR | cpu << 12, .data = irq };
}

__attribute__((format(printf, 3, 0))) static void gd_print(void *ctx, enum gd_log_level level,
							   const char *fmt, va_list ap)
{
	fprintf(stderr, "driver: ");
	vfprintf(stderr, fmt, ap);
	fprintf(stderr, "\n");
}

static const struct gd_platform platform = {
	.pci_read = gd_pci_config_read,
	.pci_write = gd_pci_config_write,
	.map_mmio = gd_map_mmio,
	.mmio_read = gd_mmio_read,
	.mmio_write = gd_mmio_write,
	.window_begin = gd_window_begin,
	.window_step = gd_window_step,
	.window_touch = gd_window_touch,
	.window_end = gd_window_end,
	.alloc = gd_alloc,
	.to_gpa = gd_to_gpa,
	.msi = gd_msi_of,
	.log = gd_print,
};

/* --- time --- */

static bool deliver_irqfds(struct fake_machine *f)
{
	bool any = false;

	pthread_mutex_lock(&f->m.lock);
	for (unsigned int i = 0; i < ARRAY_LEN(f->irqfds); i++) {
		struct fake_irqfd *e = &f->irqfds[i];
		struct pollfd p = { .fd = e->fd, .events = POLLIN };
		eventfd_t count;

		if (e->fd < 0 || poll(&p, 1, 0) != 1 || eventfd_read(e->fd, &count))
			continue;
		op_msi_send(f, f->routes[e->gsi].addr, f->routes[e->gsi].data);
		any = true;
	}
	pthread_mutex_unlock(&f->m.lock);
	return any;
}

void fake_step(struct fake_machine *f)
{
	/* An event may make another one ready; a few rounds without any mean that it is quiet. */
	for (unsigned int quiet = 0; quiet < 3; quiet++) {
		event_base_loop(f->base, EVLOOP_NONBLOCK);
		if (deliver_irqfds(f))
			quiet = 0;
	}
}

void fake_wait(struct fake_machine *f, unsigned int ms)
{
	struct timeval tv = { .tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000 };

	event_base_loopexit(f->base, &tv);
	event_base_dispatch(f->base);
	fake_step(f);
}

void fake_elsewhere(struct fake_machine *f, int fd)
{
	f->elsewhere = fd < 0 ? 0 : eventfd_id(fd) + 1;
}

unsigned int fake_take_msis(struct fake_machine *f, unsigned int data)
{
	unsigned int n = f->msis[data];

	f->msis[data] = 0;
	return n;
}

/* --- counting --- */

unsigned int fake_num_slots(const struct fake_machine *f)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < ARRAY_LEN(f->slots); i++)
		n += f->slots[i].used;
	return n;
}

unsigned int fake_num_ioevents(const struct fake_machine *f)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < ARRAY_LEN(f->ioevents); i++)
		n += f->ioevents[i].fd >= 0;
	return n;
}

unsigned int fake_num_irqfds(const struct fake_machine *f)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < ARRAY_LEN(f->irqfds); i++)
		n += f->irqfds[i].fd >= 0;
	return n;
}

unsigned int fake_num_routes(const struct fake_machine *f)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < ARRAY_LEN(f->routes); i++)
		n += f->routes[i].used;
	return n;
}

unsigned int fake_num_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned int n = 0;

	require(dir, "/proc/self/fd");
	while (readdir(dir))
		n++;
	closedir(dir);
	return n - 3; /* ".", "..", the directory's own */
}

void fake_init(struct fake_machine *f, unsigned int phys_bits)
{
	int ret;

	memset(f, 0, sizeof(*f));
	for (unsigned int i = 0; i < ARRAY_LEN(f->ioevents); i++)
		f->ioevents[i].fd = -1;
	for (unsigned int i = 0; i < ARRAY_LEN(f->irqfds); i++)
		f->irqfds[i].fd = -1;
	require(evthread_use_pthreads() == 0, "evthread_use_pthreads");
	f->base = event_base_new();
	require(f->base, "event_base_new");
	ret = machine_init(&f->m, phys_bits, f->base, &ops, f);
	require(ret == 0, "machine_init");
	f->ram = mmap(NULL, FAKE_RAM_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		      0);
	require(f->ram != MAP_FAILED, "mmap");
	ret = memmap_add(&f->m.ram, gpa(0), FAKE_RAM_BYTES, f->ram);
	require(ret == 0, "memmap_add");
	f->slots[0] = (struct fake_slot){ true, 0, FAKE_RAM_BYTES, f->ram };
	f->ram_used = ALLOC_BASE;
	f->pci = pci_host_new(&f->m);
	require(f->pci, "pci_host_new");
	f->platform = platform;
	f->platform.ctx = f;
}

void fake_free(struct fake_machine *f)
{
	pci_host_free(f->pci);
	machine_free(&f->m);
	event_base_free(f->base);
	munmap(f->ram, FAKE_RAM_BYTES);
}
