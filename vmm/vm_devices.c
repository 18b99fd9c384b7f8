// SPDX-License-Identifier: BSD-2-Clause
/* The devices of the machine that the command line asks for. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "abi/machine.h"
#include "vmm/hostlib/fds.h"
#include "vmm/hostlib/log.h"
#include "vmm/hostlib/prog.h"
#include "vmm/pci.h"
#include "vmm/serial.h"
#include "vmm/vm.h"
#include "vmm/vvu_dev.h"

/* Open files: our own, and of a port with 8 queue pairs: regions, and kick, call and err of each
 * queue; all that twice, once to keep. */
#define FILES_OWN      64
#define FILES_PER_PORT (1 + 2 * (40 + 3 * 16))

static void create_serial(struct vm *vm)
{
	struct serial_conf conf = {
		.in_fd = -1,
		.out_fd = -1,
		.port = MACHINE_SERIAL_PORT,
		.irq = MACHINE_SERIAL_IRQ,
		.text_port = MACHINE_TEXT_PORT,
	};

	vm->serial_fd = -1;
	switch (vm->conf->serial) {
	case CONF_SERIAL_STDIO:
		conf.in_fd = STDIN_FILENO;
		conf.out_fd = STDOUT_FILENO;
		/* In the background of a terminal, reading gives an error instead of stopping us.
		 */
		signal(SIGTTIN, SIG_IGN);
		break;
	case CONF_SERIAL_FILE:
		vm->serial_fd = open(vm->conf->serial_path,
				     O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0666);
		if (vm->serial_fd < 0)
			die("--serial file=%s: %m", vm->conf->serial_path);
		conf.out_fd = vm->serial_fd;
		break;
	case CONF_SERIAL_NONE:
		break;
	}
	vm->serial = serial_create(&vm->machine, &conf);
	if (!vm->serial)
		die("cannot create the serial port: %m");
}

static void check_file_limit(const struct vm *vm)
{
	uint64_t limit = fd_raise_limit();
	uint64_t ports = limit > FILES_OWN ? (limit - FILES_OWN) / FILES_PER_PORT : 0;

	if (ports < vm->conf->num_vvu)
		log_warn(NULL,
			 "%llu open files are allowed, which carries %llu of %u ports with 8 queue "
			 "pairs each; raise the hard limit (ulimit -Hn, LimitNOFILE=)",
			 (unsigned long long)limit, (unsigned long long)ports, vm->conf->num_vvu);
	else
		log_debug(NULL, "%llu open files are allowed, which carries %llu ports",
			  (unsigned long long)limit, (unsigned long long)ports);
}

static void size_windows(const struct vm *vm, uint64_t *bytes)
{
	unsigned int n = vm->conf->num_vvu;

	for (unsigned int i = 0; i < n; i++)
		bytes[i] = vm->conf->vvu[i].shm ? vm->conf->vvu[i].shm : VVU_SHM_DEFAULT;
	switch (vvu_fit_shm(vm->machine.phys_bits, bytes, n)) {
	case 0:
		break;
	case 1:
		log_info(NULL, "shm=%lluM for each port, to fit the guest's %u address bits",
			 (unsigned long long)bytes[0] >> 20, vm->machine.phys_bits);
		break;
	default:
		die("--vvu: %u shared-memory windows do not fit the guest's %u address bits; use "
		    "fewer ports",
		    n, vm->machine.phys_bits);
	}
}

/* A VM that replaces another is ready when all its ports are its own; one that was replaced has nothing left to do. */
static void on_port_event(void *arg, enum vvu_dev_event what)
{
	struct vm *vm = arg;

	switch (what) {
	case VVU_DEV_SERVING:
		if (!--vm->replacing)
			prog_ready();
		break;
	case VVU_DEV_SILENT:
		prog_notify("X_VVU_SILENT=1");
		break;
	case VVU_DEV_REPLACED:
		if (++vm->replaced < vm->conf->num_vvu)
			break;
		log_info(NULL, "another VM serves all ports now; ending");
		vm_power_off(vm, 0);
		break;
	}
}

static void create_ports(struct vm *vm)
{
	unsigned int n = vm->conf->num_vvu;
	uint64_t *bytes = calloc(n + 1, sizeof(*bytes));

	vm->ports = calloc(n + 1, sizeof(vm->ports[0]));
	if (!bytes || !vm->ports)
		die("out of memory");
	size_windows(vm, bytes);
	for (unsigned int i = 0; i < n; i++) {
		const struct conf_vvu *c = &vm->conf->vvu[i];
		const struct vvu_dev_conf dev = {
			.link_path = c->link,
			.port = c->port,
			.shm_bytes = bytes[i],
			.max_queues = c->queues,
			.virtio_id = (uint16_t)c->virtio_id,
			.prefault = vm->conf->prefault,
			.uuid = c->has_uuid ? c->uuid : NULL,
			.replace = c->replace,
			.event = on_port_event,
			.event_arg = vm,
		};

		vm->ports[i] = vvu_dev_new(&vm->machine, vm->pci, &dev);
		if (!vm->ports[i])
			die("--vvu port=%s: %m", c->port);
		vm->replacing += c->replace;
	}
	free(bytes);
}

void vm_devices_create(struct vm *vm)
{
	check_file_limit(vm);
	create_serial(vm);
	if (exitport_init(&vm->exitport, &vm->machine))
		die("cannot create the exit port");
	if (rtc_init(&vm->rtc, &vm->machine))
		die("cannot create the clock");
	vm->pci = pci_host_new(&vm->machine);
	if (!vm->pci)
		die("cannot create the PCI bus: %m");
	create_ports(vm);
	if (pci_host_assign(vm->pci))
		die("--vvu: the devices' registers do not fit below 4 GiB; use fewer ports");
}

void vm_devices_start(struct vm *vm)
{
	for (unsigned int i = 0; i < vm->conf->num_vvu; i++)
		vvu_dev_start(vm->ports[i]);
}

void vm_devices_destroy(struct vm *vm)
{
	for (unsigned int i = 0; i < vm->conf->num_vvu; i++)
		vvu_dev_free(vm->ports[i]);
	free(vm->ports);
	pci_host_free(vm->pci);
	serial_destroy(vm->serial);
	fd_close(&vm->serial_fd);
}
