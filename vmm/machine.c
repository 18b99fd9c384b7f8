// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "vmm/machine.h"

int machine_init(struct machine *m, unsigned int phys_bits, struct event_base *base,
		 const struct machine_ops *ops, void *ctx)
{
	memset(m, 0, sizeof(*m));
	m->phys_bits = phys_bits;
	m->base = base;
	m->ops = ops;
	m->ctx = ctx;
	memmap_init(&m->ram);
	return -pthread_mutex_init(&m->lock, NULL);
}

void machine_free(struct machine *m)
{
	bus_free(&m->pio);
	bus_free(&m->mmio);
	free(m->devices);
	m->devices = NULL;
	m->num_devices = 0;
	pthread_mutex_destroy(&m->lock);
}

int machine_add_device(struct machine *m, const char *name, const struct machine_device_ops *ops,
		       void *dev)
{
	struct machine_device *more;

	more = realloc(m->devices, (m->num_devices + 1) * sizeof(*more));
	if (!more)
		return -ENOMEM;
	m->devices = more;
	more[m->num_devices++] = (struct machine_device){ .name = name, .ops = ops, .dev = dev };
	return 0;
}

void machine_del_device(struct machine *m, const void *dev)
{
	for (unsigned int i = 0; i < m->num_devices; i++) {
		if (m->devices[i].dev != dev)
			continue;
		m->num_devices--;
		memmove(&m->devices[i], &m->devices[i + 1],
			(m->num_devices - i) * sizeof(m->devices[0]));
		return;
	}
}

void machine_reset_devices(struct machine *m)
{
	for (unsigned int i = 0; i < m->num_devices; i++) {
		if (m->devices[i].ops->reset)
			m->devices[i].ops->reset(m->devices[i].dev);
	}
}

void machine_memory_check(struct machine *m)
{
	for (unsigned int i = 0; i < m->num_devices; i++) {
		if (m->devices[i].ops->memory_check)
			m->devices[i].ops->memory_check(m->devices[i].dev);
	}
}

bool machine_memory_fault(struct machine *m, uint64_t gpa)
{
	bool repaired = false;

	for (unsigned int i = 0; i < m->num_devices; i++) {
		if (m->devices[i].ops->memory_fault &&
		    m->devices[i].ops->memory_fault(m->devices[i].dev, gpa))
			repaired = true;
	}
	return repaired;
}

void machine_device_status(struct machine *m, struct json_object *out)
{
	for (unsigned int i = 0; i < m->num_devices; i++) {
		struct json_object *obj;

		if (!m->devices[i].ops->status)
			continue;
		obj = json_object_new_object();
		m->devices[i].ops->status(m->devices[i].dev, obj);
		json_object_object_add(out, m->devices[i].name, obj);
	}
}
