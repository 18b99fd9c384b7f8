// SPDX-License-Identifier: BSD-2-Clause
/*
 * The virtio-vhost-user device as its guest sees it: PCI function, capabilities, registers,
 * configuration space; and its life. vvu_priv.h says where the rest is.
 *
 * BAR 0, behind virtio's registers:   0x2000 notification registers (a page)   0x3000 doorbells (a
 * page) BAR 1: MSI-X.   BAR 2 and 3: the shared-memory window, 64-bit prefetchable.
 */
#include "vmm/vvu_dev.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/hostlib/log.h"
#include "vmm/vvu_priv.h"

#define VVU_PCI_CLASS 0xff00 /* no class fits */

static struct vvu_dev *of_vdev(struct virtio_dev *dev)
{
	return container_of(virtio_pci_of(dev), struct vvu_dev, vp);
}

static struct vvu_dev *of_vp(struct virtio_pci *vp)
{
	return container_of(vp, struct vvu_dev, vp);
}

/* --- virtio --- */

static bool dev_features_ok(struct virtio_dev *dev, uint64_t features)
{
	return true; /* each of ours can be had without the others */
}

static void dev_driver_ok(struct virtio_dev *dev)
{
	vvu_link_wake(of_vdev(dev)); /* BACKEND_UP may be set already */
}

static void dev_reset(struct virtio_dev *dev)
{
	struct vvu_dev *d = of_vdev(dev);

	vvu_session_end(d, VVU_END_LOST, "the device was reset");
	vvu_link_went(d, LINK_BACKEND_LOST);
	d->status = 0;
	vvu_shm_clear(&d->shm);
	vvu_notifications_reset(d);
}

static void dev_queue_notify(struct virtio_dev *dev, unsigned int queue)
{
	vvu_link_work(of_vdev(dev)); /* a buffer for a held message, or a message to send */
}

static void dev_config_get(struct virtio_dev *dev, void *config)
{
	const struct vvu_dev *d = of_vdev(dev);
	struct vvu_config cfg = { .status = d->status, .max_vhost_queues = d->max_queues };

	memcpy(cfg.uuid, d->uuid, sizeof(cfg.uuid));
	memcpy(config, &cfg, sizeof(cfg));
}

static void status_write(struct vvu_dev *d, uint32_t value)
{
	bool was = d->status & VVU_STATUS_BACKEND_UP;
	bool up = value & VVU_STATUS_BACKEND_UP;

	if ((was && up) || (d->vp.dev.status & VIRTIO_STATUS_DEVICE_NEEDS_RESET))
		return;
	if (up) {
		/* The driver says that it is done with the last session: its memory, and its
		 * answers. */
		vvu_shm_clear_soon(&d->shm);
		vvu_session_drop_tx(d);
		d->status |= VVU_STATUS_BACKEND_UP;
	} else {
		vvu_session_end(d, VVU_END_DRIVER, "the driver cleared BACKEND_UP");
		vvu_link_went(d, LINK_BACKEND_DOWN);
		d->status = 0;
	}
	vvu_link_wake(d);
}

static void dev_config_write(struct virtio_dev *dev, unsigned int offset, unsigned int size,
			     uint32_t value)
{
	/* Everything else is read-only, and so are the status bits beyond the first byte. */
	if (offset == offsetof(struct vvu_config, status))
		status_write(of_vdev(dev), value);
}

static const struct virtio_dev_ops dev_ops = {
	.features_ok = dev_features_ok,
	.driver_ok = dev_driver_ok,
	.reset = dev_reset,
	.queue_notify = dev_queue_notify,
	.config_get = dev_config_get,
	.config_write = dev_config_write,
};

/* --- PCI --- */

static uint64_t type_read(struct virtio_pci *vp, uint64_t offset, unsigned int size)
{
	return vvu_rings_read(of_vp(vp), offset, size);
}

static void type_write(struct virtio_pci *vp, uint64_t offset, unsigned int size, uint64_t value)
{
	vvu_rings_write(of_vp(vp), offset, size, value);
}

static void type_bar_moved(struct virtio_pci *vp, unsigned int bar, uint64_t gpa)
{
	struct vvu_dev *d = of_vp(vp);

	if (bar == VVU_BAR_REGS)
		vvu_doorbells_move(d);
	else if (bar == VVU_BAR_SHMEM)
		vvu_shm_move(&d->shm, gpa);
}

static const struct virtio_pci_type_ops type_ops = { type_read, type_write, type_bar_moved };

static void irq_failed(void *arg, struct msix_irq *irq, int err)
{
	vvu_kick_failed(arg, irq, err);
}

static int add_caps(struct vvu_dev *d)
{
	struct vvu_doorbell_cap bells = {
		.cap = { .cap_vndr = PCI_CAP_ID_VENDOR,
			 .cap_len = sizeof(bells),
			 .cfg_type = VIRTIO_PCI_CAP_DOORBELL_CFG,
			 .bar = VVU_BAR_REGS,
			 .offset = VVU_DOORBELL_OFF,
			 .length = VVU_REGS_BYTES - VVU_DOORBELL_OFF },
		.doorbell_off_multiplier = VVU_DOORBELL_MULTIPLIER,
	};
	struct virtio_pci_cap notifications = {
		.cap_vndr = PCI_CAP_ID_VENDOR,
		.cap_len = sizeof(notifications),
		.cfg_type = VIRTIO_PCI_CAP_NOTIFICATION_CFG,
		.bar = VVU_BAR_REGS,
		.offset = VVU_NOTIFICATION_OFF,
		.length = sizeof(struct vvu_notification_cfg),
	};
	struct virtio_pci_cap64 shm = {
		.cap = { .cap_vndr = PCI_CAP_ID_VENDOR,
			 .cap_len = sizeof(shm),
			 .cfg_type = VIRTIO_PCI_CAP_SHARED_MEMORY_CFG,
			 .bar = VVU_BAR_SHMEM,
			 .id = VVU_SHMID_MEMORY,
			 .length = (uint32_t)d->shm.bytes },
		.length_hi = (uint32_t)(d->shm.bytes >> 32),
	};
	int ret = pci_fn_add_cap(&d->vp.fn, &bells, sizeof(bells));

	if (ret >= 0)
		ret = pci_fn_add_cap(&d->vp.fn, &notifications, sizeof(notifications));
	if (ret >= 0)
		ret = pci_fn_add_cap(&d->vp.fn, &shm, sizeof(shm));
	return ret < 0 ? ret : 0;
}

/* --- the machine --- */

static bool device_memory_fault(void *dev, uint64_t gpa)
{
	struct vvu_dev *d = dev;

	return d->session.number && vvu_watch_fault(&d->shm, gpa);
}

static void device_memory_check(void *dev)
{
	vvu_watch_beat(&((struct vvu_dev *)dev)->shm);
}

static const char *link_state_name(enum vvu_link_state state)
{
	static const char *const names[] = { "down", "hello", "up" };

	return names[state];
}

static void add_u64(struct json_object *obj, const char *key, uint64_t value)
{
	json_object_object_add(obj, key, json_object_new_int64((int64_t)value));
}

static void device_status(void *dev, struct json_object *out)
{
	const struct vvu_dev *d = dev;
	unsigned int kicks = 0, calls = 0;
	uint64_t bytes = 0, populated = 0, regions = 0;

	for (unsigned int i = 0; i < d->max_queues; i++) {
		kicks += d->kicks[i].fd >= 0;
		calls += d->doorbells[VVU_DOORBELL_CALL(i)].fd >= 0;
	}
	for (unsigned int i = 0; i < d->shm.num; i++) {
		if (d->shm.regions[i].inflight)
			continue;
		regions++;
		bytes += d->shm.regions[i].r.memory_size;
		populated += d->shm.regions[i].populated;
	}
	json_object_object_add(out, "link", json_object_new_string(link_state_name(d->link.state)));
	json_object_object_add(out, "backend_up", json_object_new_boolean(vvu_is_up(d)));
	json_object_object_add(out, "layout",
			       json_object_new_string(vvu_explicit(d) ? "explicit" : "classic"));
	add_u64(out, "session", d->session.number);
	add_u64(out, "records", d->keep.num);
	add_u64(out, "unanswered", d->keep.num_wanted);
	json_object_object_add(out, "proxy_away", json_object_new_boolean(d->keep.away));
	add_u64(out, "shm_bytes", d->shm.bytes);
	add_u64(out, "regions", regions);
	add_u64(out, "region_bytes", bytes);
	add_u64(out, "populated_bytes", populated);
	add_u64(out, "kicks", kicks);
	add_u64(out, "calls", calls);
	add_u64(out, "sessions", d->counters.sessions);
	add_u64(out, "messages_to_driver", d->counters.to_driver);
	add_u64(out, "messages_from_driver", d->counters.from_driver);
	add_u64(out, "doorbells_slow", d->counters.doorbells_slow);
}

static const struct machine_device_ops machine_ops = { .memory_fault = device_memory_fault,
						       .memory_check = device_memory_check,
						       .status = device_status };

/* --- set-up --- */

int vvu_fit_shm(unsigned int phys_bits, uint64_t *bytes, unsigned int n)
{
	uint64_t room = pci_window_base(phys_bits);
	bool halved = false;

	for (unsigned int i = 0; i < n; i++) {
		uint64_t size = VVU_SHM_MIN;

		while (size < bytes[i] && size < UINT64_C(1) << 62)
			size *= 2;
		bytes[i] = size;
	}
	for (;;) {
		uint64_t total = 0;
		bool can_halve = false;

		for (unsigned int i = 0; i < n; i++) {
			total += bytes[i];
			can_halve |= bytes[i] > VVU_SHM_MIN;
		}
		if (total <= room)
			return halved;
		if (!can_halve)
			return -ENOSPC;
		for (unsigned int i = 0; i < n; i++) {
			if (bytes[i] > VVU_SHM_MIN)
				bytes[i] /= 2;
		}
		halved = true;
	}
}

/*
 * The same name always gives the same uuid: FNV-1a with 128 bits over "vvu-port:NAME", marked as a
 * custom uuid (version 8, RFC 9562).
 */
static void derive_uuid(const char *port, uint8_t uuid[16])
{
	static const char prefix[] = "vvu-port:";
	const unsigned __int128 prime = (unsigned __int128)1 << 88 | 0x13b;
	unsigned __int128 hash = (unsigned __int128)0x6c62272e07bb0142 << 64 | 0x62b821756295c58d;

	for (const char *p = prefix; *p; p++)
		hash = (hash ^ (uint8_t)*p) * prime;
	for (const char *p = port; *p; p++)
		hash = (hash ^ (uint8_t)*p) * prime;
	for (unsigned int i = 0; i < 16; i++)
		uuid[i] = (uint8_t)(hash >> (8 * (15 - i)));
	uuid[6] = (uint8_t)((uuid[6] & 0x0f) | 0x80);
	uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
}

static int init_function(struct vvu_dev *d, const struct vvu_dev_conf *conf)
{
	const struct virtio_pci_conf pci_conf = {
		.name = d->who,
		.virtio_id = conf->virtio_id,
		.class = VVU_PCI_CLASS,
		.num_vectors = VVU_NUM_MSIX(d->max_queues),
		.regs_bytes = VVU_REGS_BYTES,
		.type = &type_ops,
	};
	struct virtio_dev *dev = &d->vp.dev;
	int ret;

	dev->machine = d->machine;
	dev->ops = &dev_ops;
	dev->offered = VIRTIO_FEATURE(F_VERSION_1) | VIRTIO_FEATURE(F_INDIRECT_DESC) |
		       VIRTIO_FEATURE(F_RING_PACKED) | VIRTIO_FEATURE(F_IN_ORDER) |
		       VIRTIO_FEATURE(F_EVENT_IDX) | BIT_ULL(VVU_F_EXPLICIT_OFFSETS_BIT) |
		       BIT_ULL(VVU_F_RESIDENT_BIT);
	dev->num_queues = VVU_NUM_QUEUES;
	dev->queue_max = VVU_QUEUE_SIZE;
	dev->config_bytes = sizeof(struct vvu_config);
	virtio_dev_init(dev);
	ret = virtio_pci_init(&d->vp, &pci_conf);
	if (ret)
		return ret;
	d->vp.msix.irq_failed = irq_failed;
	d->vp.msix.arg = d;
	pci_fn_add_bar(&d->vp.fn, VVU_BAR_SHMEM, d->shm.bytes, true, true);
	ret = add_caps(d);
	if (ret)
		virtio_pci_free(&d->vp);
	return ret;
}

static int init(struct vvu_dev *d, struct pci_host *pci, const struct vvu_dev_conf *conf)
{
	int ret;

	d->link_path = strdup(conf->link_path);
	if (!d->link_path)
		return -ENOMEM;
	ret = vvu_shm_init(&d->shm, d->machine, d->who, conf->shm_bytes);
	if (ret)
		goto out_path;
	d->shm.prefault = conf->prefault;
	ret = init_function(d, conf);
	if (ret)
		goto out_shm;
	ret = vvu_session_init(d);
	if (!ret)
		ret = vvu_keep_init(d);
	if (!ret)
		ret = vvu_link_init(d);
	if (!ret)
		ret = machine_add_device(d->machine, d->port, &machine_ops, d);
	if (ret)
		goto out_link;
	ret = pci_fn_add(pci, &d->vp.fn);
	if (ret)
		goto out_machine;
	return 0;

out_machine:
	machine_del_device(d->machine, d);
out_link:
	vvu_link_free(d);
	vvu_keep_free(d);
	vvu_session_free(d);
	virtio_pci_free(&d->vp);
out_shm:
	vvu_shm_free(&d->shm);
out_path:
	free(d->link_path);
	return ret;
}

struct vvu_dev *vvu_dev_new(struct machine *machine, struct pci_host *pci,
			    const struct vvu_dev_conf *conf)
{
	struct vvu_dev *d = calloc(1, sizeof(*d));
	int ret;

	if (!d)
		return NULL;
	d->machine = machine;
	snprintf(d->port, sizeof(d->port), "%s", conf->port);
	snprintf(d->who, sizeof(d->who), "port %s", d->port);
	d->max_queues = conf->max_queues;
	d->link.replace = conf->replace;
	d->event = conf->event;
	d->event_arg = conf->event_arg;
	if (conf->uuid)
		memcpy(d->uuid, conf->uuid, sizeof(d->uuid));
	else
		derive_uuid(d->port, d->uuid);
	vvu_rings_init(d);
	ret = init(d, pci, conf);
	if (ret) {
		free(d);
		errno = -ret;
		return NULL;
	}
	return d;
}

void vvu_dev_free(struct vvu_dev *d)
{
	if (!d)
		return;
	pthread_mutex_lock(&d->machine->lock);
	vvu_session_end(d, VVU_END_PROXY, "the machine ends");
	virtio_dev_reset(&d->vp.dev);
	pci_fn_del(&d->vp.fn);
	machine_del_device(d->machine, d);
	vvu_link_free(d);
	vvu_keep_free(d);
	vvu_session_free(d);
	virtio_pci_free(&d->vp);
	vvu_shm_free(&d->shm);
	pthread_mutex_unlock(&d->machine->lock);
	free(d->link_path);
	free(d);
}
