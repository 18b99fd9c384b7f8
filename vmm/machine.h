/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The machine that device models see: its buses, its RAM, and the few things they need of the hypervisor. vvu-vmm
 * implements the ops with KVM (kvm.c); tests/loop implements them in one process, so that the same device models
 * run against the driver library without KVM.
 *
 * Locking: `lock` guards all device state. A vCPU thread holds it while it handles an exit; the main loop's callbacks
 * hold it while they touch devices. Nothing that holds it may block on a peer.
 */
#ifndef VMM_MACHINE_H
#define VMM_MACHINE_H

#include <pthread.h>

#include "abi/base.h"
#include "vmm/bus.h"
#include "vq/memmap.h"

struct event_base;
struct json_object;
struct vvu_watcher;

#define MACHINE_GPA_UNKNOWN UINT64_MAX

struct machine_ops {
	/*
	 * Shows [host, host + size) to the guest at gpa (all 4096-aligned). Returns the slot's number, or
	 * -errno. The caller keeps the host range mapped (it may replace pages under it with MAP_FIXED) until
	 * slot_del, and unmaps it itself.
	 */
	int (*slot_add)(void *ctx, uint64_t gpa, uint64_t size, void *host);
	void (*slot_del)(void *ctx, int slot);

	/*
	 * A guest write of any width and value at gpa signals fd, without an exit that reaches us. One fd per address
	 * (-EEXIST). fd stays the caller's. pio: gpa is a port number.
	 */
	int (*ioeventfd_add)(void *ctx, uint64_t gpa, int fd);
	void (*ioeventfd_del)(void *ctx, uint64_t gpa, int fd);

	/* Interrupt routes: a gsi whose message is (addr, data). Returns the gsi, or -errno (none left). */
	int (*route_add)(void *ctx, uint64_t addr, uint32_t data);
	int (*route_set)(void *ctx, int gsi, uint64_t addr, uint32_t data);
	void (*route_del)(void *ctx, int gsi);

	/* A signal on fd raises gsi inside the kernel. A count that is there when attaching raises it once. */
	int (*irqfd_add)(void *ctx, int gsi, int fd);
	void (*irqfd_del)(void *ctx, int gsi, int fd);

	/* Sends one MSI now. */
	void (*msi_send)(void *ctx, uint64_t addr, uint32_t data);

	/* ISA interrupt line (serial). */
	void (*irq_line)(void *ctx, unsigned int irq, int level);

	/* Ends the VM: status of the exit port; or restarts the guest. */
	void (*power_off)(void *ctx, int status);
	void (*reboot)(void *ctx);

	/*
	 * Makes every vCPU leave KVM_RUN soon and go on: some KVMs retry a fault on vanished memory for ever,
	 * until a signal arrives, so whoever replaced the pages calls this.
	 */
	void (*kick_vcpus)(void *ctx);

	/*
	 * One user more (on) or less of memory_check(): while there is one, it is called on the main loop for every
	 * 100 ms of processor time that the vCPUs use.
	 */
	void (*watch_memory)(void *ctx, bool on);
};

/* What a device gives the machine beyond its registers. All optional, all called with the lock held. */
struct machine_device_ops {
	/* The guest is being restarted: back to power-on state. The vCPUs are stopped. */
	void (*reset)(void *dev);
	/*
	 * KVM_RUN failed with EFAULT: memory shown to the guest is gone, at gpa or (MACHINE_GPA_UNKNOWN) somewhere.
	 * Puts zero pages where the device's own memory is damaged; true when it did, so that the vCPU can go on.
	 */
	bool (*memory_fault)(void *dev, uint64_t gpa);
	/* A vCPU may hang in the kernel on memory that is gone (machine_ops.watch_memory): looks for some. */
	void (*memory_check)(void *dev);
	/* Adds to the device's object in the control socket's status reply. */
	void (*status)(void *dev, struct json_object *out);
};

struct machine_device {
	const char *name;
	const struct machine_device_ops *ops;
	void *dev;
};

struct machine {
	pthread_mutex_t lock;
	struct bus pio;
	struct bus mmio;
	struct memmap ram;
	unsigned int phys_bits; /* guest-physical address width */
	struct event_base *base;
	const struct machine_ops *ops;
	void *ctx;
	struct machine_device *devices;
	unsigned int num_devices;
	struct vvu_watcher *watcher; /* what VVU devices share: vvu_watch.c */
};

/* Empty buses, no RAM, phys_bits as given; ops and ctx are the implementation's. 0 or -errno. */
int machine_init(struct machine *m, unsigned int phys_bits, struct event_base *base,
		 const struct machine_ops *ops, void *ctx);
/* Frees buses and the list of devices, not the devices. */
void machine_free(struct machine *m);

/*
 * Registers a device; name (a borrowed string, unique: "serial", a port's name) must outlive it. Devices are reset
 * in the order of registration. 0 or -ENOMEM.
 */
int machine_add_device(struct machine *m, const char *name, const struct machine_device_ops *ops,
		       void *dev);
void machine_del_device(struct machine *m, const void *dev);

void machine_reset_devices(struct machine *m);
/* Asks every device; true when at least one replaced damaged memory. */
bool machine_memory_fault(struct machine *m, uint64_t gpa);
/* Has every device look for damaged memory. */
void machine_memory_check(struct machine *m);
/* Adds one object per device with a status to out, by the device's name. */
void machine_device_status(struct machine *m, struct json_object *out);

#endif
