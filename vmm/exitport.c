// SPDX-License-Identifier: BSD-2-Clause
#include "abi/machine.h"
#include "vmm/exitport.h"

#define I8042_RESET 0xfe
/* All ones but for "input buffer full": output that never ends means that there is no controller to
 * who probes for one, and who wants to send the reset command needs not wait. */
#define I8042_STATUS 0xfd

static void exit_write(void *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	struct exitport *e = dev;

	if (offset == 0)
		e->m->ops->power_off(e->m->ctx, (int)(value & 0xff));
}

static uint64_t reset_read(void *dev, uint64_t offset, unsigned int size)
{
	return I8042_STATUS;
}

static void reset_write(void *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	struct exitport *e = dev;

	if ((value & 0xff) == I8042_RESET)
		e->m->ops->reboot(e->m->ctx);
}

static void stats_write(void *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	struct exitport *e = dev;

	if (size != 4)
		return;
	if (offset == 0)
		e->stats_low = (uint32_t)value;
	else if (offset == MACHINE_STATS_PORT_HI - MACHINE_STATS_PORT_LO)
		e->stats_gpa = value << 32 | e->stats_low;
}

static void exitport_reset(void *dev)
{
	struct exitport *e = dev;

	e->stats_low = 0;
	e->stats_gpa = 0;
}

static const struct bus_ops exit_ops = { .write = exit_write };
static const struct bus_ops reset_ops = { .read = reset_read, .write = reset_write };
static const struct bus_ops stats_ops = { .write = stats_write };
static const struct machine_device_ops device_ops = { .reset = exitport_reset };

int exitport_init(struct exitport *e, struct machine *m)
{
	const struct bus_range ranges[] = {
		{ MACHINE_EXIT_PORT, 4, &exit_ops, e, "exit" },
		{ MACHINE_EXIT_REBOOT_PORT, 1, &reset_ops, e, "reset" },
		{ MACHINE_STATS_PORT_LO, 8, &stats_ops, e, "stats" },
	};

	*e = (struct exitport){ .m = m };
	for (unsigned int i = 0; i < ARRAY_LEN(ranges); i++) {
		int ret = bus_add(&m->pio, &ranges[i]);

		if (ret)
			return ret;
	}
	return machine_add_device(m, "exit", &device_ops, e);
}
