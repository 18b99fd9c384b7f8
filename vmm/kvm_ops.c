// SPDX-License-Identifier: BSD-2-Clause
/*
 * Memory slots, ioeventfds, interrupt routes and irqfds.
 *
 * Slots: numbers are reused after deletion. KVM keeps 8 and more bytes per page of a slot, so a
 * slot covers one region and never a whole BAR.
 *
 * Routes: KVM takes the whole table at once (about 50 us), so it is sent only when an entry really
 * changes. The first entries are the ISA interrupts, pin by pin as PCs have them (timer interrupt 0
 * at I/O APIC pin 2).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "vmm/hostlib/log.h"
#include "vmm/kvm.h"

#define IOAPIC_PINS 24
#define PIC_PINS    16

static void add_isa_route(struct kvm_irq_routing *r, unsigned int gsi, unsigned int chip,
			  unsigned int pin)
{
	r->entries[r->nr++] = (struct kvm_irq_routing_entry){
		.gsi = gsi,
		.type = KVM_IRQ_ROUTING_IRQCHIP,
		.u.irqchip = { .irqchip = chip, .pin = pin },
	};
}

static void count(unsigned int *what, bool add)
{
	__atomic_fetch_add(what, add ? 1u : -1u, __ATOMIC_RELAXED);
}

int kvm_ops_init(struct kvm *kvm)
{
	unsigned int routes = kvm->max_routes;

	kvm->slots_used = calloc((kvm->max_slots + 63) / 64, sizeof(uint64_t));
	kvm->route_at = calloc(routes, sizeof(kvm->route_at[0]));
	kvm->routing =
		calloc(1, sizeof(*kvm->routing) + routes * sizeof(struct kvm_irq_routing_entry));
	if (!kvm->slots_used || !kvm->route_at || !kvm->routing)
		return -ENOMEM;
	for (unsigned int i = 0; i < PIC_PINS; i++)
		add_isa_route(kvm->routing, i,
			      i < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE, i % 8);
	for (unsigned int i = 0; i < IOAPIC_PINS; i++) {
		if (i == 2)
			continue; /* the cascade: nothing raises it */
		add_isa_route(kvm->routing, i, KVM_IRQCHIP_IOAPIC, i == 0 ? 2 : i);
	}
	return 0;
}

void kvm_ops_free(struct kvm *kvm)
{
	free(kvm->slots_used);
	free(kvm->route_at);
	free(kvm->routing);
	kvm->slots_used = NULL;
	kvm->route_at = NULL;
	kvm->routing = NULL;
}

int kvm_slot_add(struct kvm *kvm, uint64_t gpa, uint64_t size, void *host)
{
	struct kvm_userspace_memory_region region = {
		.guest_phys_addr = gpa,
		.memory_size = size,
		.userspace_addr = (uintptr_t)host,
	};
	unsigned int slot = 0;

	while (slot < kvm->max_slots && (kvm->slots_used[slot / 64] & BIT_ULL(slot % 64)))
		slot++;
	if (slot == kvm->max_slots)
		return -ENOSPC;
	region.slot = slot;
	if (ioctl(kvm->vm_fd, KVM_SET_USER_MEMORY_REGION, &region) < 0)
		return -errno;
	kvm->slots_used[slot / 64] |= BIT_ULL(slot % 64);
	count(&kvm->num_slots, true);
	return (int)slot;
}

void kvm_slot_del(struct kvm *kvm, int slot)
{
	struct kvm_userspace_memory_region region = { .slot = (unsigned int)slot };

	if (slot < 0 || (unsigned int)slot >= kvm->max_slots)
		return;
	if (ioctl(kvm->vm_fd, KVM_SET_USER_MEMORY_REGION, &region) < 0) {
		log_error("kvm", "cannot remove memory slot %d: %m", slot);
		return;
	}
	kvm->slots_used[slot / 64] &= ~BIT_ULL(slot % 64);
	count(&kvm->num_slots, false);
}

static int set_ioeventfd(const struct kvm *kvm, uint64_t gpa, int fd, bool add)
{
	static const unsigned int lengths[] = { 1, 2, 4, 8 };
	struct kvm_ioeventfd io = { .addr = gpa, .fd = fd };
	int ret;

	/* The bus is told by the address: I/O ports end at 64 Ki, below any device memory. */
	io.flags = gpa < 0x10000 ? KVM_IOEVENTFD_FLAG_PIO : 0;
	if (!add)
		io.flags |= KVM_IOEVENTFD_FLAG_DEASSIGN;
	if (kvm->ioeventfd_any_length)
		return ioctl(kvm->vm_fd, KVM_IOEVENTFD, &io) < 0 ? -errno : 0;

	for (unsigned int i = 0; i < ARRAY_LEN(lengths); i++) {
		io.len = lengths[i];
		if (io.len == 8 && (io.flags & KVM_IOEVENTFD_FLAG_PIO))
			break;
		if (ioctl(kvm->vm_fd, KVM_IOEVENTFD, &io) == 0 || !add)
			continue;
		ret = -errno;
		io.flags |= KVM_IOEVENTFD_FLAG_DEASSIGN;
		while (i-- > 0) {
			io.len = lengths[i];
			ioctl(kvm->vm_fd, KVM_IOEVENTFD, &io);
		}
		return ret;
	}
	return 0;
}

int kvm_ioeventfd(struct kvm *kvm, uint64_t gpa, int fd, bool add)
{
	int ret = set_ioeventfd(kvm, gpa, fd, add);

	if (!ret)
		count(&kvm->num_ioeventfds, add);
	return ret;
}

static int send_routes(const struct kvm *kvm)
{
	return ioctl(kvm->vm_fd, KVM_SET_GSI_ROUTING, kvm->routing) < 0 ? -errno : 0;
}

static void set_msi(struct kvm_irq_routing_entry *e, uint64_t addr, uint32_t data)
{
	e->u.msi.address_lo = (uint32_t)addr;
	e->u.msi.address_hi = (uint32_t)(addr >> 32);
	e->u.msi.data = data;
}

int kvm_route_add(struct kvm *kvm, uint64_t addr, uint32_t data)
{
	struct kvm_irq_routing *r = kvm->routing;
	struct kvm_irq_routing_entry *e;
	unsigned int gsi = KVM_FIRST_MSI_GSI;
	int ret;

	while (gsi < kvm->max_routes && kvm->route_at[gsi])
		gsi++;
	if (gsi >= kvm->max_routes || r->nr >= kvm->max_routes)
		return -ENOSPC;
	e = &r->entries[r->nr];
	*e = (struct kvm_irq_routing_entry){ .gsi = gsi, .type = KVM_IRQ_ROUTING_MSI };
	set_msi(e, addr, data);
	r->nr++;
	ret = send_routes(kvm);
	if (ret) {
		r->nr--;
		return ret;
	}
	kvm->route_at[gsi] = (uint16_t)(r->nr - 1);
	return (int)gsi;
}

/* The entry of a gsi that kvm_route_add() gave out, or NULL. */
static struct kvm_irq_routing_entry *find_route(struct kvm *kvm, int gsi)
{
	if (gsi < KVM_FIRST_MSI_GSI || (unsigned int)gsi >= kvm->max_routes || !kvm->route_at[gsi])
		return NULL;
	return &kvm->routing->entries[kvm->route_at[gsi]];
}

int kvm_route_set(struct kvm *kvm, int gsi, uint64_t addr, uint32_t data)
{
	struct kvm_irq_routing_entry *e = find_route(kvm, gsi);
	struct kvm_irq_routing_entry old;
	int ret;

	if (!e)
		return -ENOENT;
	old = *e;
	set_msi(e, addr, data);
	/* Padding is copied with the rest: NOLINTNEXTLINE(bugprone-suspicious-memory-comparison) */
	if (!memcmp(&old, e, sizeof(old)))
		return 0;
	ret = send_routes(kvm);
	if (ret)
		*e = old;
	return ret;
}

void kvm_route_del(struct kvm *kvm, int gsi)
{
	struct kvm_irq_routing_entry *e = find_route(kvm, gsi);
	struct kvm_irq_routing *r = kvm->routing;

	if (!e)
		return;
	/*
	 * The last entry takes the place of this one. KVM is told with the next change: until then
	 * a stale route stays, which nothing can raise, for its irqfd has been detached.
	 */
	*e = r->entries[--r->nr];
	kvm->route_at[e->gsi] = kvm->route_at[gsi];
	kvm->route_at[gsi] = 0;
}

int kvm_irqfd(struct kvm *kvm, int gsi, int fd, bool add)
{
	struct kvm_irqfd irqfd = {
		.fd = (unsigned int)fd,
		.gsi = (unsigned int)gsi,
		.flags = add ? 0 : KVM_IRQFD_FLAG_DEASSIGN,
	};

	if (ioctl(kvm->vm_fd, KVM_IRQFD, &irqfd) < 0)
		return -errno;
	count(&kvm->num_irqfds, add);
	return 0;
}

void kvm_msi_send(struct kvm *kvm, uint64_t addr, uint32_t data)
{
	struct kvm_msi msi = {
		.address_lo = (uint32_t)addr,
		.address_hi = (uint32_t)(addr >> 32),
		.data = data,
	};

	/* 0: the guest blocked it, which is the guest's business; an error: a message it composed
	 * that makes no sense. */
	if (ioctl(kvm->vm_fd, KVM_SIGNAL_MSI, &msi) < 0)
		log_peer(LOG_L_DEBUG, "kvm", "MSI 0x%llx=0x%x not delivered: %m",
			 (unsigned long long)addr, data);
}

void kvm_irq_line(struct kvm *kvm, unsigned int irq, int level)
{
	struct kvm_irq_level line = { .irq = irq, .level = (unsigned int)level };

	if (ioctl(kvm->vm_fd, KVM_IRQ_LINE, &line) < 0)
		log_peer(LOG_L_WARN, "kvm", "interrupt line %u: %m", irq);
}
