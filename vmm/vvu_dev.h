/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The virtio-vhost-user device (abi/vvu.h, docs/abi-vvu-device.md) and its link to the proxy
 * (abi/link.h, docs/abi-link.md): one PCI function, one port.
 *
 * The functions here run before there is a second thread, or after the last one ended. Events are
 * handled on the machine's event base, which must have been made thread-safe
 * (evthread_use_pthreads()), since vCPU threads wake it.
 */
#ifndef VMM_VVU_DEV_H
#define VMM_VVU_DEV_H

#include <stdbool.h>

#include "abi/vvu.h"
#include "vmm/pci.h"

#define VVU_SHM_DEFAULT (UINT64_C(64) << 30)
#define VVU_SHM_MIN	(UINT64_C(2) << 20)

struct vvu_dev;

/* What happens to a device beyond its guest. */
enum vvu_dev_event {
	VVU_DEV_SERVING,  /* a replacement: the port is its own now; at most once */
	VVU_DEV_SILENT,	  /* a replacement: the VMM that has the port does not give it up */
	VVU_DEV_REPLACED, /* another VMM has the port; at most once, and nothing follows */
};
typedef void (*vvu_dev_event_fn)(void *arg, enum vvu_dev_event what);

struct vvu_dev_conf {
	const char *link_path;
	const char *port;	/* valid by prog_valid_port_name() */
	uint64_t shm_bytes;	/* of the shared-memory BAR; power of two, at least VVU_SHM_MIN */
	uint32_t max_queues;	/* virtqueues, 1..VVU_MAX_VHOST_QUEUES */
	uint16_t virtio_id;	/* VIRTIO_ID_VHOST_USER unless a third-party driver wants another */
	bool prefault;		/* populate a front-end's memory before the driver hears of it */
	const uint8_t *uuid;	/* 16 bytes, or NULL: derived from the port's name */
	bool replace;		/* to take the port over from the VMM that has it */
	vvu_dev_event_fn event; /* NULL: none; called on the main loop with the machine locked */
	void *event_arg;
};

/*
 * Rounds the sizes of n devices' shared-memory BARs up to powers of two, then halves all of them
 * (none below VVU_SHM_MIN) until together they fit half of the guest's physical address space. 0;
 * 1: some were halved; -ENOSPC.
 */
int vvu_fit_shm(unsigned int phys_bits, uint64_t *bytes, unsigned int n);

/*
 * Makes the device, puts it on the bus and registers it with the machine under its port's name
 * (memory_fault, status); conf's strings are copied. NULL and errno on failure. pci_host_assign()
 * is the caller's, when all devices are there.
 */
struct vvu_dev *vvu_dev_new(struct machine *machine, struct pci_host *pci,
			    const struct vvu_dev_conf *conf);
/* Starts to look for the proxy (which may come later, go and come back). Nothing of it can fail. */
void vvu_dev_start(struct vvu_dev *dev);
/* Ends the session, closes the link, takes the device off the bus. NULL is fine. No vCPU may run
 * any more. */
void vvu_dev_free(struct vvu_dev *dev);

#endif
