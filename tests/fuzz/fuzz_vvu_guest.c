// SPDX-License-Identifier: BSD-2-Clause
/*
 * The VVU device from its guest's side: register accesses of any kind, queue contents of any kind,
 * and link traffic at the same time, on the fake machine of tests/loop. The input is a start byte
 * (bit 0: the driver is up; bit 1 explicit offsets, 2 EVENT_IDX, 3 packed, 4 in order, 5 the device
 * is to replace another, 6 memory is populated first) and a list of operations.
 *
 * What the kernel says of the front-end's files can be what a fuzzer's host never says (__wrap_): a full
 * file system, pages that are not to be had, no watch of inotify.
 *
 * Invariants: without a session no eventfd of a peer is attached; in the end nothing is left of
 * slots, routes, eventfds or descriptors.
 */
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "abi/inflight.h"
#include "fuzz.h"
#include "tests/loop/fake_machine.h"
#include "tests/loop/fake_proxy.h"
#include "vmm/hostlib/log.h"
#include "vmm/vvu_priv.h"

#define BDF	    8
#define QUEUES	    8
#define SHM	    (UINT64_C(64) << 20)
#define FILE_BYTES  (UINT64_C(1) << 20)
#define RX_DESC	    0x10000
#define TX_DESC	    0x20000
#define RING_AVAIL  0x1000
#define RING_USED   0x2000
#define BUFFERS	    0x30000
#define ENTRIES	    16
#define EVENTFDS    6
#define OPS_MAX	    300
#define COMMON(fld) offsetof(struct virtio_pci_common_cfg, fld)

struct run {
	struct fake_machine f;
	struct fake_proxy proxy;
	struct vvu_dev *dev;
	struct input *in;
	uint32_t session;
	bool packed;
	uint16_t rx_idx;
	uint16_t tx_idx;
};

static int events[EVENTFDS];
static int files[2];
static int alive[2]; /* a front-end's connection */
static int gone[2];  /* the same, closed at its end */

static void once(void)
{
	if (files[0])
		return;
	log_set_level("error");
	for (unsigned int i = 0; i < EVENTFDS; i++)
		events[i] = eventfd(0, EFD_NONBLOCK);
	for (unsigned int i = 0; i < 2; i++)
		files[i] = make_memory(FILE_BYTES, i);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, alive) == 0);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, gone) == 0);
	close(gone[1]);
}

/* --- what the kernel says --- */

static struct {
	bool limited;	/* the file system has an end */
	bool full;	/* ... and it is there */
	bool no_pages;	/* none can be had */
	bool unwatched; /* no watch can be had */
} host;

int __real_fstatfs(int fd, struct statfs *fs);
int __real_madvise(void *at, size_t bytes, int advice);
int __real_inotify_add_watch(int fd, const char *path, uint32_t mask);
int __wrap_fstatfs(int fd, struct statfs *fs);
int __wrap_madvise(void *at, size_t bytes, int advice);
int __wrap_inotify_add_watch(int fd, const char *path, uint32_t mask);

int __wrap_fstatfs(int fd, struct statfs *fs)
{
	int ret = __real_fstatfs(fd, fs);

	fs->f_blocks = host.limited ? 1024 : 0;
	fs->f_bfree = host.full ? 0 : 1;
	return ret;
}

int __wrap_madvise(void *at, size_t bytes, int advice)
{
	if (!host.no_pages || advice != MADV_POPULATE_READ)
		return __real_madvise(at, bytes, advice);
	errno = EFAULT;
	return -1;
}

int __wrap_inotify_add_watch(int fd, const char *path, uint32_t mask)
{
	if (!host.unwatched)
		return __real_inotify_add_watch(fd, path, mask);
	errno = ENOSPC;
	return -1;
}

static uint64_t bar(const struct run *r, unsigned int index)
{
	return r->dev->vp.fn.bars[index].gpa;
}

static void put(struct run *r, unsigned int index, uint64_t offset, unsigned int size,
		uint64_t value)
{
	if (bar(r, index) != PCI_BAR_UNMAPPED)
		fake_write(&r->f, bar(r, index) + offset, size, value);
}

/* --- set-up --- */

static void queue_up(struct run *r, unsigned int queue, uint64_t desc)
{
	put(r, 0, COMMON(queue_select), 2, queue);
	put(r, 0, COMMON(queue_size), 2, ENTRIES);
	put(r, 0, COMMON(queue_msix_vector), 2, 1);
	put(r, 0, COMMON(queue_desc), 8, desc);
	put(r, 0, COMMON(queue_driver), 8, desc + RING_AVAIL);
	put(r, 0, COMMON(queue_device), 8, desc + RING_USED);
	put(r, 0, COMMON(queue_enable), 2, 1);
}

static uint64_t features_of(uint8_t how)
{
	return VIRTIO_FEATURE(F_VERSION_1) | VIRTIO_FEATURE(F_INDIRECT_DESC) |
	       (how & 2 ? BIT_ULL(VVU_F_EXPLICIT_OFFSETS_BIT) : 0) |
	       (how & 4 ? VIRTIO_FEATURE(F_EVENT_IDX) : 0) |
	       (how & 8 ? VIRTIO_FEATURE(F_RING_PACKED) : 0) |
	       (how & 16 ? VIRTIO_FEATURE(F_IN_ORDER) : 0);
}

static void driver_up(struct run *r, uint8_t how)
{
	uint64_t features = features_of(how);

	r->packed = how & 8;
	for (uint32_t word = 0; word < 2; word++) {
		put(r, 0, COMMON(driver_feature_select), 4, word);
		put(r, 0, COMMON(driver_feature), 4, (uint32_t)(features >> 32 * word));
	}
	put(r, 0, COMMON(device_status), 1, 0x0b);
	queue_up(r, 0, RX_DESC);
	queue_up(r, 1, TX_DESC);
	for (unsigned int i = 0; i < 4; i++) {
		put(r, 1, i * 16, 8, FAKE_MSI_ADDR);
		put(r, 1, i * 16 + 8, 8, i);
		put(r, 0, VVU_NOTIFICATION_OFF, 4, i | i << 16);
	}
	fake_pci_write(&r->f, BDF, r->dev->vp.msix.cap + 2, 2, 0x8000);
	put(r, 0, COMMON(device_status), 1, 0x0f);
	put(r, 0, VIRTIO_PCI_DEVICE_OFF, 4, VVU_STATUS_BACKEND_UP);
}

static void on_device(void *arg, enum vvu_dev_event what)
{
	CHECK(what <= VVU_DEV_REPLACED);
}

static void start(struct run *r)
{
	struct vvu_dev_conf conf = { .port = "fuzz",
				     .shm_bytes = SHM,
				     .max_queues = QUEUES,
				     .virtio_id = VIRTIO_ID_VHOST_USER,
				     .event = on_device };
	static const uint8_t uuid[16] = { 1, 2, 3 };
	uint8_t how = input_u8(r->in);

	conf.replace = how & 0x20;
	conf.prefault = how & 0x40;
	conf.uuid = how & 0x80 ? uuid : NULL;
	fake_init(&r->f, 40);
	fake_proxy_init(&r->proxy);
	conf.link_path = r->proxy.path;
	r->dev = vvu_dev_new(&r->f.m, r->f.pci, &conf);
	CHECK(r->dev && pci_host_assign(r->f.pci) == 0);
	fake_pci_write(&r->f, BDF, PCI_COMMAND, 2, PCI_COMMAND_MEMORY_MASK);
	vvu_dev_start(r->dev);
	fake_step(&r->f);
	CHECK(fake_proxy_accept(&r->proxy));
	fake_proxy_notice(&r->proxy, LINK_WELCOME, 0);
	fake_step(&r->f);
	r->session = 1;
	if (how & 1) {
		driver_up(r, how);
		fake_step(&r->f);
		fake_proxy_notice(&r->proxy, LINK_SESSION_UP, r->session);
		fake_step(&r->f);
	}
}

/* --- the guest --- */

static void guest_access(struct run *r, unsigned int index, bool write)
{
	unsigned int size = 1u << (input_u8(r->in) & 3);
	uint64_t offset = input_u16(r->in) & 0x3fff & ~(size - 1u);

	if (write)
		put(r, index, offset, size, input_u32(r->in));
	else if (bar(r, index) != PCI_BAR_UNMAPPED)
		fake_read(&r->f, bar(r, index) + offset, size);
}

static void guest_config(struct run *r, bool write)
{
	unsigned int size = 1u << (input_u8(r->in) % 3);
	unsigned int reg = input_u8(r->in) & ~(size - 1u);

	if (write)
		fake_pci_write(&r->f, BDF, reg, size, input_u32(r->in));
	else
		fake_pci_read(&r->f, BDF, reg, size);
}

static void guest_ram(struct run *r)
{
	uint32_t at = RX_DESC + (input_u32(r->in) & 0x2ffff);

	input_bytes(r->in, r->f.ram + at, input_u8(r->in) & 31);
}

static void offer(struct run *r, uint64_t ring, uint16_t *idx, uint64_t addr, uint32_t len,
		  uint16_t flags)
{
	struct vring_desc *desc = (struct vring_desc *)(r->f.ram + ring);
	struct vring_avail *avail = (struct vring_avail *)(r->f.ram + ring + RING_AVAIL);

	if (r->packed) {
		struct vring_packed_desc *packed = (struct vring_packed_desc *)(r->f.ram + ring);
		bool lap = !(*idx / ENTRIES % 2);

		flags |= lap ? VRING_PACKED_DESC_F_AVAIL : VRING_PACKED_DESC_F_USED;
		packed[*idx % ENTRIES] =
			(struct vring_packed_desc){ addr, len, *idx % ENTRIES, flags };
		++*idx;
		return;
	}
	desc[*idx % ENTRIES] = (struct vring_desc){ .addr = addr, .len = len, .flags = flags };
	avail->ring[*idx % ENTRIES] = *idx % ENTRIES;
	avail->idx = ++*idx;
}

static void guest_post(struct run *r)
{
	unsigned int n = input_u8(r->in) % (ENTRIES + 1);

	for (unsigned int i = 0; i < n; i++)
		offer(r, RX_DESC, &r->rx_idx, BUFFERS + (r->rx_idx % ENTRIES) * VVU_MSG_MAX,
		      VVU_MSG_MAX, VRING_DESC_F_WRITE);
	put(r, 0, VIRTIO_PCI_NOTIFY_OFF, 2, 0);
}

static void any_message(struct run *r, struct vhost_user_msg *msg)
{
	uint8_t flags;

	memset(msg, 0, sizeof(*msg));
	msg->hdr.request = input_u8(r->in);
	flags = input_u8(r->in);
	msg->hdr.flags = (flags & 0x0c) | (flags & 0x80 ? flags & 3 : VHOST_USER_VERSION);
	msg->hdr.size = input_u8(r->in) % 80;
	input_bytes(r->in, &msg->payload, msg->hdr.size);
}

static void guest_send(struct run *r)
{
	uint64_t at = BUFFERS + 0x8000 + (r->tx_idx % ENTRIES) * VVU_MSG_MAX;
	struct vhost_user_msg msg;

	any_message(r, &msg);
	memcpy(r->f.ram + at, &msg, sizeof(msg));
	offer(r, TX_DESC, &r->tx_idx, at, vu_msg_bytes(&msg), 0);
	put(r, 0, VIRTIO_PCI_NOTIFY_OFF + 4, 2, 1);
}

/* --- the proxy --- */

static void proxy_send(struct run *r, struct vhost_user_msg *msg, const int *fds, unsigned int num)
{
	struct link_packet pkt = {
		.hdr = { .kind = LINK_FRONTEND, .session = r->session, .seq = 9 }
	};

	memcpy(&pkt.body.msg, msg, sizeof(*msg));
	if (r->proxy.link >= 0)
		link_send(r->proxy.link, &pkt, vu_msg_bytes(msg), fds, num);
}

static void proxy_any(struct run *r)
{
	uint8_t what = input_u8(r->in);
	int fds[3] = { events[what % EVENTFDS], files[0], events[0] };
	struct vhost_user_msg msg;

	any_message(r, &msg);
	proxy_send(r, &msg, fds + (what >> 3 & 1), what >> 4 & 1);
}

static void proxy_table(struct run *r)
{
	struct vhost_user_msg msg = msg_empty(VHOST_USER_SET_MEM_TABLE);
	uint8_t how = input_u8(r->in);
	int fds[VHOST_USER_TABLE_REGIONS_MAX];

	msg.payload.mem.num_regions = 1 + how % 3;
	msg.hdr.size = VHOST_USER_MEM_TABLE_BYTES(msg.payload.mem.num_regions);
	msg.hdr.flags |= how & VHOST_USER_NEED_REPLY_MASK;
	for (unsigned int i = 0; i < msg.payload.mem.num_regions; i++) {
		struct vhost_user_region *reg = &msg.payload.mem.regions[i];

		reg->guest_phys_addr = (uint64_t)i << 30 | (uint64_t)input_u8(r->in) << 12;
		reg->userspace_addr = reg->guest_phys_addr;
		reg->memory_size = (1 + (uint64_t)(input_u8(r->in) & 31)) << 12;
		reg->mmap_offset = (uint64_t)input_u8(r->in) << 12;
		fds[i] = files[i & 1];
	}
	proxy_send(r, &msg, fds, msg.payload.mem.num_regions);
}

static void proxy_region(struct run *r)
{
	uint8_t how = input_u8(r->in);
	struct vhost_user_msg msg = msg_empty(VHOST_USER_ADD_MEM_REG + (how & 1));

	msg.hdr.size = sizeof(msg.payload.mem_reg);
	msg.payload.mem_reg.region = (struct vhost_user_region){
		.guest_phys_addr = (uint64_t)(how >> 1 & 15) << 20,
		.userspace_addr = (uint64_t)(how >> 1 & 15) << 20,
		.memory_size = 0x10000,
		.mmap_offset = (uint64_t)(how >> 5) << 12,
	};
	proxy_send(r, &msg, files, !(how & 1));
}

static void proxy_inflight(struct run *r)
{
	uint8_t how = input_u8(r->in);
	struct vhost_user_msg msg = msg_empty(VHOST_USER_SET_INFLIGHT_FD);

	msg.hdr.size = sizeof(msg.payload.inflight);
	msg.hdr.flags |= how & VHOST_USER_NEED_REPLY_MASK;
	msg.payload.inflight.num_queues = how & 3u;
	msg.payload.inflight.mmap_size = INFLIGHT_BYTES((how & 3u) + (how >> 7));
	msg.payload.inflight.mmap_offset = (how >> 6 & 1u) * 4096u;
	proxy_send(r, &msg, &files[how >> 5 & 1], 1);
}

static void proxy_vring(struct run *r)
{
	uint8_t how = input_u8(r->in), index = input_u8(r->in);
	struct vhost_user_msg msg =
		msg_u64(VHOST_USER_SET_VRING_KICK + how % 3, index % (QUEUES + 1));

	if (how & 0x80)
		msg.payload.u64 |= VHOST_USER_VRING_NOFD_MASK;
	proxy_send(r, &msg, &events[(how >> 2 & 7) % EVENTFDS], !(how & 0x80));
}

static void proxy_session(struct run *r)
{
	uint8_t how = input_u8(r->in);

	if (r->proxy.link < 0)
		return;
	if (how & 1) {
		struct link_packet pkt;

		link_make_text(&pkt, LINK_SESSION_DOWN, r->session, "fuzz");
		link_send(r->proxy.link, &pkt, sizeof(pkt.body.text), NULL, 0);
	}
	if (how & 2) {
		struct link_packet pkt = { .hdr = { .kind = LINK_SESSION_UP,
						    .session = ++r->session } };

		link_send(r->proxy.link, &pkt, 0, NULL, 0);
	}
	if (how & 4)
		put(r, 0, VIRTIO_PCI_DEVICE_OFF, 1, VVU_STATUS_BACKEND_UP);
	if (how & 8) {
		struct vhost_user_msg msg =
			msg_u64(VHOST_USER_SET_PROTOCOL_FEATURES,
				VHOST_USER_PF_CARRIED | (how & 16 ? VHOST_USER_PF_INTERNAL : 0));

		proxy_send(r, &msg, NULL, 0);
	}
}

static void proxy_packet(struct run *r, struct link_packet *pkt, uint32_t bytes, const int *fds,
			 unsigned int num)
{
	uint8_t which = input_u8(r->in);

	pkt->hdr.session = which & 0x80 ? which : r->session - (which & 1);
	pkt->hdr.seq = which;
	if (r->proxy.link >= 0)
		link_send(r->proxy.link, pkt, bytes, fds, num);
}

static void proxy_record(struct run *r)
{
	const int all[] = { alive[0], gone[0], events[0], files[0], alive[0], events[1], files[1] };
	struct link_packet pkt = { .hdr = { .kind = LINK_RECORD } };
	uint8_t how = input_u8(r->in);

	pkt.body.record.kind = how & 1;
	pkt.body.record.index = input_u8(r->in) & 7;
	pkt.body.record.bytes = input_u8(r->in);
	input_bytes(r->in, pkt.body.record.data, pkt.body.record.bytes & 7);
	proxy_packet(r, &pkt, LINK_RECORD_HDR + pkt.body.record.bytes, all + (how >> 1 & 3),
		     (how >> 3) % (LINK_RECORD_FDS_MAX + 1));
}

static void proxy_notice(struct run *r)
{
	static const enum link_kind kinds[] = { LINK_ANSWERED, LINK_SESSION_UP, LINK_SERVING,
						LINK_SILENT,   LINK_WELCOME,	LINK_BACKEND_LOST };
	uint8_t how = input_u8(r->in);
	struct link_packet pkt = { .hdr = { .kind = kinds[how % ARRAY_LEN(kinds)] } };

	if (how == 0xff)
		pkt.hdr.kind = LINK_REPLACED;
	proxy_packet(r, &pkt, 0, NULL, 0);
}

/* The proxy dies; the next one comes as far as the input has it. */
static void proxy_restart(struct run *r)
{
	uint8_t how = input_u8(r->in);

	fake_proxy_hang_up(&r->proxy);
	if (how & 1)
		fake_step(&r->f);
	if (r->dev->link.state == VVU_LINK_DOWN && !r->dev->link.replaced)
		event_active(r->dev->link.retry, EV_TIMEOUT, 0);
	fake_step(&r->f);
	if (!fake_proxy_accept(&r->proxy) || fake_proxy_recv(&r->proxy) != LINK_HELLO)
		return;
	/* It may have ended in the same turn; then this link ends. */
	CHECK(!(r->proxy.in.pkt.body.hello.flags & LINK_HELLO_KEPT) || !r->dev->session.number ||
	      r->proxy.in.pkt.body.hello.session == r->dev->session.number);
	if (how & 2)
		fake_proxy_notice(&r->proxy, LINK_WELCOME, 0);
	if (how & 4)
		fake_step(&r->f);
	if (how & 8)
		event_active(r->dev->keep.timer, EV_TIMEOUT, 0);
}

/* Texts, and packets whose length is not their message's. */
static void proxy_text(struct run *r)
{
	static const enum link_kind kinds[] = { LINK_REJECT, LINK_SESSION_DOWN, LINK_RESULT };
	uint8_t how = input_u8(r->in);
	struct link_packet pkt;

	link_make_text(&pkt, kinds[how % ARRAY_LEN(kinds)], r->session, "fuzz");
	if (how & 0x80) {
		pkt.hdr.kind = LINK_FRONTEND;
		pkt.body.msg = msg_u64(VHOST_USER_SET_FEATURES, 0);
	}
	proxy_packet(r, &pkt, how & 0x80 ? how & 31 : sizeof(pkt.body.text), NULL, 0);
}

/* --- the machine --- */

/* Its time has come, if it runs. */
static void let_expire(struct event *timer)
{
	if (!event_pending(timer, EV_TIMEOUT, NULL))
		return;
	event_del(timer);
	event_active(timer, EV_TIMEOUT, 0);
}

static void time_passes(struct run *r)
{
	struct vvu_session *s = &r->dev->session;
	uint8_t what = input_u8(r->in);

	for (unsigned int i = 0; (what & 1) && i < s->num; i++) {
		struct vvu_request *asked = &s->requests[(s->first + i) % VVU_REQUESTS_MAX];

		asked->ticks = asked->ticks ? 1 : 0;
	}
	if (what & 2)
		let_expire(s->timer);
	if (what & 4)
		let_expire(r->dev->keep.timer);
	if (what & 8)
		let_expire(r->dev->shm.timer);
	if (what & 16)
		let_expire(r->dev->link.retry);
	if (what & 32)
		let_expire(r->f.m.watcher->again);
	for (unsigned int i = 0; (what & 64) && i < QUEUES; i++) {
		struct vvu_kick *kick = &r->dev->kicks[i];

		kick->busy_until = kick->busy_until && (what & 128) ? 1 : kick->busy_until;
	}
	if (what & 64)
		let_expire(r->dev->kick_timer);
	fake_step(&r->f);
}

/* A file of the front-end is shorter, or a vCPU met a page that is not there; the loop looks. */
static void memory_goes(struct run *r)
{
	uint8_t how = input_u8(r->in);

	if (how & 1)
		CHECK(ftruncate(files[how >> 1 & 1], how & 4 ? 4096 : FILE_BYTES) == 0);
	pthread_mutex_lock(&r->f.m.lock);
	if (how & 8)
		machine_memory_fault(&r->f.m, how & 16 ? r->dev->shm.gpa + (how >> 5) * 4096u
						       : MACHINE_GPA_UNKNOWN);
	if (how & 32)
		machine_memory_check(&r->f.m);
	pthread_mutex_unlock(&r->f.m.lock);
}

/* What the kernel or the hypervisor has no more of. */
static void scarcity(struct run *r)
{
	const int smallest = 1;
	uint8_t what = input_u8(r->in);

	r->f.fail_slot_add = what & 1;
	r->f.fail_ioeventfd_add = what >> 1 & 1;
	r->f.fail_irqfd_add = what >> 2 & 1;
	r->f.fail_route_add = what >> 3 & 1;
	if ((what & 16) && r->dev->link.sock >= 0)
		CHECK(setsockopt(r->dev->link.sock, SOL_SOCKET, SO_SNDBUF, &smallest,
				 sizeof(smallest)) == 0);
}

/* Of memory and of watches; a hole in a file. */
static void scarce_memory(struct run *r)
{
	uint8_t what = input_u8(r->in);

	host.limited = what & 1;
	host.full = what & 2;
	host.no_pages = what & 4;
	host.unwatched = what & 8;
	if (what & 16)
		CHECK(fallocate(files[what >> 5 & 1], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
				FILE_BYTES / 2) == 0);
}

/* Another VM has an eventfd, or it has it no more. */
static void elsewhere(struct run *r)
{
	uint8_t which = input_u8(r->in);

	fake_elsewhere(&r->f, which < EVENTFDS ? events[which] : -1);
}

static void status(struct run *r)
{
	struct json_object *out = json_object_new_object();

	pthread_mutex_lock(&r->f.m.lock);
	machine_device_status(&r->f.m, out);
	pthread_mutex_unlock(&r->f.m.lock);
	json_object_put(out);
}

/* A window larger than the VMM's own address space: there will be no such device. */
static void refuse_device(struct run *r)
{
	const struct vvu_dev_conf conf = { .port = "large",
					   .link_path = "/nonexistent/vvu",
					   .shm_bytes = UINT64_C(1) << 47,
					   .max_queues = 1,
					   .virtio_id = VIRTIO_ID_VHOST_USER };

	CHECK(!vvu_dev_new(&r->f.m, r->f.pci, &conf));
}

static void fit_windows(struct run *r)
{
	unsigned int bits = 32 + input_u8(r->in) % 20;
	uint64_t sizes[3], sum = 0;

	for (unsigned int i = 0; i < 3; i++)
		sizes[i] = UINT64_C(1) << input_u8(r->in) % 48;
	if (vvu_fit_shm(bits, sizes, 3) < 0)
		return;
	for (unsigned int i = 0; i < 3; i++) {
		CHECK(sizes[i] >= VVU_SHM_MIN && !(sizes[i] & (sizes[i] - 1)));
		sum += sizes[i];
	}
	CHECK(sum <= pci_window_base(bits));
}

static void step(struct run *r)
{
	fake_step(&r->f);
	while (r->proxy.link >= 0 && fake_proxy_recv(&r->proxy) > 0)
		CHECK(r->proxy.in.pkt.hdr.session <= r->session);
	CHECK(!r->dev->keep.away || (r->dev->session.number && r->dev->keep.num));
	if (r->dev->session.number)
		return;
	CHECK(!r->dev->keep.num);
	CHECK(fake_num_irqfds(&r->f) == 0);
	CHECK(fake_num_ioevents(&r->f) <= VVU_NUM_QUEUES);
}

static void machine_reset(struct run *r)
{
	pthread_mutex_lock(&r->f.m.lock);
	machine_reset_devices(&r->f.m);
	pthread_mutex_unlock(&r->f.m.lock);
	fake_pci_write(&r->f, BDF, PCI_COMMAND, 2, PCI_COMMAND_MEMORY_MASK);
	r->rx_idx = 0;
	r->tx_idx = 0;
	memset(r->f.ram + RX_DESC, 0, BUFFERS - RX_DESC);
	driver_up(r, input_u8(r->in));
}

/* With its first value: a turn of the loop. */
static void seldom(struct run *r, unsigned int which)
{
	static void (*const ops[])(struct run * r) = {
		step,	proxy_text,  time_passes,   memory_goes,   scarcity,
		status, fit_windows, refuse_device, scarce_memory, elsewhere,
		step,	step,	     step,	    step,
	};

	ops[which % ARRAY_LEN(ops)](r);
}

static void operation(struct run *r)
{
	uint8_t op = input_u8(r->in);

	switch (op % 18) {
	case 0:
	case 1:
		guest_access(r, 0, op % 18 == 0);
		break;
	case 2:
	case 3:
		guest_access(r, 1, op % 18 == 2);
		break;
	case 4:
	case 5:
		guest_config(r, op % 18 == 4);
		break;
	case 6:
		guest_ram(r);
		break;
	case 7:
		guest_post(r);
		break;
	case 8:
		guest_send(r);
		break;
	case 9:
		proxy_any(r);
		break;
	case 10:
		proxy_table(r);
		break;
	case 11:
		proxy_region(r);
		break;
	case 12:
		proxy_vring(r);
		break;
	case 13:
		proxy_session(r);
		break;
	case 14:
		eventfd_write(events[input_u8(r->in) % EVENTFDS], 1);
		break;
	case 15:
		if (op > 240)
			machine_reset(r);
		else if (op > 160)
			proxy_record(r);
		else if (op > 80)
			proxy_notice(r);
		else
			proxy_restart(r);
		break;
	case 17:
		proxy_inflight(r);
		break;
	default:
		seldom(r, op / 18);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct run r;
	struct input in = { data, size };
	unsigned int fds;

	once();
	fds = fake_num_fds();
	memset(&r, 0, sizeof(r));
	memset(&host, 0, sizeof(host));
	r.in = &in;
	start(&r);
	for (unsigned int i = 0; i < OPS_MAX && input_left(&in); i++)
		operation(&r);
	step(&r);
	vvu_dev_free(r.dev);
	CHECK(fake_num_slots(&r.f) == 1);
	CHECK(fake_num_ioevents(&r.f) == 0);
	CHECK(fake_num_irqfds(&r.f) == 0);
	CHECK(fake_num_routes(&r.f) == 0);
	CHECK(r.f.watchers == 0);
	fake_proxy_free(&r.proxy);
	fake_free(&r.f);
	CHECK(fake_num_fds() == fds);
	for (unsigned int i = 0; i < 2; i++)
		CHECK(ftruncate(files[i], FILE_BYTES) == 0 &&
		      fallocate(files[i], 0, 0, FILE_BYTES) == 0);
	for (unsigned int i = 0; i < EVENTFDS; i++) {
		eventfd_t count;

		eventfd_read(events[i], &count);
	}
	return 0;
}
