// SPDX-License-Identifier: BSD-2-Clause
/* MSI-X table, pending bits and irqfds; see msix.h. The table is at the start of the BAR, the PBA
 * on the page after it. */
#include "vmm/msix.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "vmm/hostlib/log.h"

#define MSIX_PAGE 4096u

static uint64_t pba_offset(unsigned int num)
{
	return ALIGN_UP((uint64_t)num * sizeof(struct pci_msix_entry), MSIX_PAGE);
}

static uint64_t pba_bytes(unsigned int num)
{
	return ALIGN_UP(num, 64u) / 8;
}

uint64_t msix_bar_bytes(unsigned int num)
{
	uint64_t need = pba_offset(num) + pba_bytes(num);
	uint64_t size = MSIX_PAGE;

	while (size < need)
		size *= 2;
	return size;
}

int msix_init(struct msix *msix, struct machine *machine, struct pci_fn *fn, unsigned int bar,
	      unsigned int num)
{
	struct pci_msix_cap cap = {
		.cap_id = PCI_CAP_ID_MSIX,
		.control = (le16)(num - 1),
		.table = bar,
		.pba = (le32)pba_offset(num) | bar,
	};
	static const struct pci_msix_cap writable = {
		.control = PCI_MSIX_CONTROL_ENABLE_MASK | PCI_MSIX_CONTROL_FMASK_MASK,
	};
	int at;

	memset(msix, 0, sizeof(*msix));
	at = pci_fn_add_cap(fn, &cap, sizeof(cap));
	if (at < 0)
		return at;
	pci_fn_writable(fn, (unsigned int)at, &writable, sizeof(writable));
	msix->vectors = calloc(num, sizeof(*msix->vectors));
	if (!msix->vectors)
		return -ENOMEM;
	msix->machine = machine;
	msix->fn = fn;
	msix->cap = (unsigned int)at;
	msix->num = num;
	for (unsigned int i = 0; i < num; i++) {
		msix->vectors[i].gsi = -1;
		msix->vectors[i].entry.control = PCI_MSIX_ENTRY_MASKED_MASK;
	}
	pci_fn_add_bar(fn, bar, msix_bar_bytes(num), false, false);
	return 0;
}

static bool deliverable(const struct msix *msix, const struct msix_vector *v)
{
	return msix->enabled && !msix->masked && !(v->entry.control & PCI_MSIX_ENTRY_MASKED_MASK);
}

static uint64_t message_addr(const struct msix_vector *v)
{
	return (uint64_t)v->entry.addr_hi << 32 | v->entry.addr_lo;
}

static void irq_detach(struct msix *msix, struct msix_vector *v, struct msix_irq *irq)
{
	if (!irq->attached)
		return;
	msix->machine->ops->irqfd_del(msix->machine->ctx, v->gsi, irq->fd);
	irq->attached = false;
}

/* Makes the vector's route say what the table says. */
static int route_update(struct msix *msix, struct msix_vector *v)
{
	const struct machine_ops *ops = msix->machine->ops;
	int ret;

	if (v->gsi >= 0)
		return ops->route_set(msix->machine->ctx, v->gsi, message_addr(v), v->entry.data);
	ret = ops->route_add(msix->machine->ctx, message_addr(v), v->entry.data);
	if (ret < 0)
		return ret;
	v->gsi = ret;
	return 0;
}

/*
 * Takes the eventfd's count, if there is one. Never blocks, whatever the peer made of the file's flags (kernels
 * before 5.8 refuse; the count then stays, as it would without this).
 */
static bool take_count(int fd)
{
	uint64_t count;
	struct iovec iov = { &count, sizeof(count) };

	return preadv2(fd, &iov, 1, -1, RWF_NOWAIT) == sizeof(count);
}

/*
 * KVM raises the interrupt for a count that is there already, but leaves it there: it would be raised again at
 * each unmasking, and show as pending. So the count is taken first, and the message sent for it.
 */
static int irq_attach(struct msix *msix, struct msix_vector *v, struct msix_irq *irq)
{
	bool signalled = take_count(irq->fd);
	int ret = msix->machine->ops->irqfd_add(msix->machine->ctx, v->gsi, irq->fd);

	irq->attached = ret == 0;
	if (irq->attached && signalled)
		msix->machine->ops->msi_send(msix->machine->ctx, message_addr(v), v->entry.data);
	return ret;
}

static void vector_stop(struct msix *msix, struct msix_vector *v)
{
	for (struct msix_irq *irq = v->irqs; irq; irq = irq->next)
		irq_detach(msix, v, irq);
	v->live = false;
}

/* Attaches what is bound; afterwards tells the owner of one that failed. */
static void vector_start(struct msix *msix, struct msix_vector *v)
{
	struct msix_irq *failed = NULL;
	int err = 0;

	if (!v->irqs)
		return;
	err = route_update(msix, v);
	if (err) {
		log_peer(LOG_L_WARN, msix->fn->name, "no interrupt route for vector %u: %s",
			 (unsigned int)(v - msix->vectors), strerror(-err));
		return;
	}
	v->live = true;
	for (struct msix_irq *irq = v->irqs; irq; irq = irq->next) {
		int ret = irq->attached ? 0 : irq_attach(msix, v, irq);

		if (ret && !failed) {
			failed = irq;
			err = ret;
		}
	}
	if (failed && msix->irq_failed)
		msix->irq_failed(msix->arg, failed, err);
}

/* The vector's table entry or a mask changed. */
static void vector_update(struct msix *msix, struct msix_vector *v)
{
	if (!deliverable(msix, v)) {
		vector_stop(msix, v);
		return;
	}
	vector_start(msix, v);
	if (v->pending) {
		v->pending = false;
		msix->machine->ops->msi_send(msix->machine->ctx, message_addr(v), v->entry.data);
	}
}

static void update_all(struct msix *msix)
{
	for (unsigned int i = 0; i < msix->num; i++)
		vector_update(msix, &msix->vectors[i]);
}

static void route_drop(struct msix *msix, struct msix_vector *v)
{
	if (v->gsi < 0)
		return;
	msix->machine->ops->route_del(msix->machine->ctx, v->gsi);
	v->gsi = -1;
}

void msix_reset(struct msix *msix)
{
	msix->enabled = false;
	msix->masked = false;
	for (unsigned int i = 0; i < msix->num; i++) {
		struct msix_vector *v = &msix->vectors[i];

		vector_stop(msix, v);
		route_drop(msix, v);
		memset(&v->entry, 0, sizeof(v->entry));
		v->entry.control = PCI_MSIX_ENTRY_MASKED_MASK;
		v->pending = false;
	}
}

void msix_free(struct msix *msix)
{
	for (unsigned int i = 0; msix->vectors && i < msix->num; i++)
		route_drop(msix, &msix->vectors[i]);
	free(msix->vectors);
	msix->vectors = NULL;
}

void msix_config_written(struct msix *msix, unsigned int reg, unsigned int size)
{
	unsigned int at = msix->cap + offsetof(struct pci_msix_cap, control);
	uint16_t control;
	bool enabled, masked;

	if (reg + size <= at || reg >= at + sizeof(control))
		return;
	control = pci_config_u16(msix->fn, at);
	enabled = control & PCI_MSIX_CONTROL_ENABLE_MASK;
	masked = control & PCI_MSIX_CONTROL_FMASK_MASK;
	if (enabled == msix->enabled && masked == msix->masked)
		return;
	msix->enabled = enabled;
	msix->masked = masked;
	update_all(msix);
}

static bool fd_readable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) == 1 && (p.revents & POLLIN);
}

/* PCI 3.0 §6.8.2.10: pending while the function is enabled and the vector is not delivered. */
static bool vector_pending(struct msix *msix, const struct msix_vector *v)
{
	if (v->pending)
		return true;
	if (!msix->enabled || v->live)
		return false;
	for (const struct msix_irq *irq = v->irqs; irq; irq = irq->next) {
		if (fd_readable(irq->fd))
			return true;
	}
	return false;
}

static uint64_t pba_read(struct msix *msix, uint64_t offset, unsigned int size)
{
	uint64_t bits = 0;
	unsigned int first = (unsigned int)offset * 8;

	for (unsigned int i = 0; i < size * 8 && first + i < msix->num; i++) {
		if (vector_pending(msix, &msix->vectors[first + i]))
			bits |= BIT_ULL(i);
	}
	return bits;
}

uint64_t msix_read(struct msix *msix, uint64_t offset, unsigned int size)
{
	uint64_t table = (uint64_t)msix->num * sizeof(struct pci_msix_entry);
	uint64_t pba = pba_offset(msix->num);
	uint64_t value = 0;

	if (!IS_ALIGNED(offset, (uint64_t)size))
		return UINT64_MAX;
	if (offset < table) {
		const struct msix_vector *v = &msix->vectors[offset / sizeof(v->entry)];

		memcpy(&value, (const uint8_t *)&v->entry + offset % sizeof(v->entry), size);
		return value;
	}
	if (offset >= pba && offset < pba + pba_bytes(msix->num))
		return pba_read(msix, offset - pba, size);
	return 0;
}

/* PCI 3.0 §6.8.2: tables are written by aligned 32-bit or 64-bit accesses; the PBA is read-only. */
void msix_write(struct msix *msix, uint64_t offset, unsigned int size, uint64_t value)
{
	uint64_t table = (uint64_t)msix->num * sizeof(struct pci_msix_entry);
	struct msix_vector *v;
	struct pci_msix_entry entry;

	if (offset >= table || (size != 4 && size != 8) || !IS_ALIGNED(offset, (uint64_t)size))
		return;
	v = &msix->vectors[offset / sizeof(entry)];
	entry = v->entry;
	memcpy((uint8_t *)&entry + offset % sizeof(entry), &value, size);
	entry.addr_lo &= ~3u;
	entry.control &= PCI_MSIX_ENTRY_MASKED_MASK;
	if (!memcmp(&entry, &v->entry, sizeof(entry)))
		return;
	v->entry = entry;
	vector_update(msix, v);
}

void msix_notify(struct msix *msix, unsigned int vector)
{
	struct msix_vector *v;

	if (vector >= msix->num || !msix->enabled)
		return;
	v = &msix->vectors[vector];
	if (deliverable(msix, v))
		msix->machine->ops->msi_send(msix->machine->ctx, message_addr(v), v->entry.data);
	else
		v->pending = true;
}

int msix_irq_bind(struct msix *msix, struct msix_irq *irq, unsigned int vector, int fd)
{
	struct msix_vector *v = &msix->vectors[vector];
	int ret = 0;

	irq->fd = fd;
	irq->vector = (uint16_t)vector;
	irq->attached = false;
	irq->next = v->irqs;
	v->irqs = irq;
	if (deliverable(msix, v)) {
		ret = v->live ? 0 : route_update(msix, v);
		if (!ret) {
			v->live = true;
			ret = irq_attach(msix, v, irq);
		}
	}
	if (ret)
		msix_irq_unbind(msix, irq);
	return ret;
}

void msix_irq_unbind(struct msix *msix, struct msix_irq *irq)
{
	struct msix_vector *v;

	if (irq->fd < 0)
		return;
	v = &msix->vectors[irq->vector];
	irq_detach(msix, v, irq);
	for (struct msix_irq **p = &v->irqs; *p; p = &(*p)->next) {
		if (*p == irq) {
			*p = irq->next;
			break;
		}
	}
	irq->fd = -1;
	irq->next = NULL;
	if (!v->irqs) {
		v->live = false;
		route_drop(msix, v);
	}
}
