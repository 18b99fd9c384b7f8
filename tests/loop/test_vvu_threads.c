// SPDX-License-Identifier: BSD-2-Clause
/*
 * vCPU threads and the main loop at the same time: two threads play guests that touch registers, go
 * down and up, reset and move BARs, while the main loop carries sessions. Nothing may hang, and
 * nothing may be left.
 */
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "vmm/hostlib/fds.h"
#include "vmm/hostlib/log.h"
#include "world.h"

#define ROUNDS 200

struct vcpu {
	pthread_t thread;
	struct world *w;
	atomic_bool *stop;
	atomic_bool *may_reset;
	uint64_t seed;
	unsigned int accesses;
};

static uint64_t next_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

/* Under the lock, as a vCPU thread is when it handles an exit. BAR 0 may be anywhere. */
static void access_regs(struct world *w, uint64_t offset, unsigned int size, uint64_t value)
{
	struct pci_bar *bar = &w->dev->vp.fn.bars[VVU_BAR_REGS];

	pthread_mutex_lock(&w->f.m.lock);
	if (bar->gpa != PCI_BAR_UNMAPPED)
		bus_write(&w->f.m.mmio, bar->gpa + offset, size, value);
	pthread_mutex_unlock(&w->f.m.lock);
}

static void config_write(struct world *w, unsigned int reg, uint32_t value)
{
	pthread_mutex_lock(&w->f.m.lock);
	bus_write(&w->f.m.pio, PCI_PORT_CONFIG_ADDRESS, 4, pci_config_address(0, 1, 0, reg));
	bus_write(&w->f.m.pio, PCI_PORT_CONFIG_DATA, 4, value);
	pthread_mutex_unlock(&w->f.m.lock);
}

static void *vcpu_main(void *arg)
{
	struct vcpu *v = arg;

	do {
		uint64_t r = next_random(&v->seed);

		switch (r % 16) {
		case 0:
			access_regs(v->w, VIRTIO_PCI_DEVICE_OFF, 4, (r >> 8 & 0xfff) != 0);
			break;
		case 1:
			config_write(v->w, PCI_BAR_0, (r & 0x100) ? 0xd0000000 : 0xd8000000);
			break;
		case 2:
			config_write(v->w, PCI_COMMAND, (r & 0x700) ? 2 : 0);
			break;
		case 3:
			config_write(v->w, v->w->dev->vp.msix.cap,
				     (uint32_t)(r << 16) & 0xc0000000);
			break;
		case 4:
			access_regs(v->w, VVU_NOTIFICATION_OFF, 4, (r & 7) | (r & 0x30000));
			break;
		case 5:
			if (atomic_load(v->may_reset))
				access_regs(v->w,
					    offsetof(struct virtio_pci_common_cfg, device_status),
					    1, 0);
			break;
		default:
			access_regs(v->w, VVU_DOORBELL_OFF + (r >> 8 & 31) * 4, 4, r);
		}
		v->accesses++;
		/* About what an exit costs. Without it these threads keep the lock, which no guest can. */
		nanosleep(&(struct timespec){ .tv_nsec = 10000 }, NULL);
	} while (!atomic_load(v->stop));
	return NULL;
}

/* One session as far as it gets. */
static void one_session(struct world *w, uint32_t number, const int *fds)
{
	struct vhost_user_msg msg = msg_empty(VHOST_USER_SET_MEM_TABLE);
	struct link_packet pkt = { .hdr = { .kind = LINK_SESSION_UP, .session = number } };

	pthread_mutex_lock(&w->f.m.lock);
	w->dev->shm.prefault = number & 1;
	pthread_mutex_unlock(&w->f.m.lock);
	link_send(w->proxy.link, &pkt, 0, NULL, 0);
	for (unsigned int i = 0; i < 20;
	     i++) { /* some guest sets BACKEND_UP soon, or clears it again */
		fake_step(&w->f);
		sched_yield();
	}
	msg.hdr.size = VHOST_USER_MEM_TABLE_BYTES(1);
	msg.payload.mem.num_regions = 1;
	msg.payload.mem.regions[0].memory_size = MIB;
	pkt.hdr.kind = LINK_FRONTEND;
	memcpy(&pkt.body.msg, &msg, sizeof(msg));
	link_send(w->proxy.link, &pkt, vu_msg_bytes(&msg), &fds[0], 1);
	for (unsigned int i = 0; i < 6; i++) {
		msg = msg_u64(VHOST_USER_SET_VRING_KICK + i % 3, i / 3);
		memcpy(&pkt.body.msg, &msg, sizeof(msg));
		link_send(w->proxy.link, &pkt, vu_msg_bytes(&msg), &fds[1 + i], 1);
		fake_step(&w->f);
		sched_yield();
	}
	eventfd_write(fds[1], 1);
	fake_step(&w->f);
	/* The driver takes what is there. Its notification may miss a BAR that has just moved; so
	 * wake the device. */
	while (gd_vvu_recv(&w->drv, &msg) == 1)
		;
	vvu_link_wake(w->dev);
	fake_step(&w->f);
	link_make_text(&pkt, LINK_SESSION_DOWN, number, "next");
	link_send(w->proxy.link, &pkt, sizeof(pkt.body.text), NULL, 0);
	fake_step(&w->f);
	while (fake_proxy_recv(&w->proxy) > 0)
		;
}

static void test_threads(void **state)
{
	struct world *w = *state;
	struct vcpu vcpus[2];
	atomic_bool stop = false, may_reset = false;
	uint32_t i = 0;
	int fds[7];

	log_set_level("error");
	fds[0] = make_memory(MIB, 1);
	for (unsigned int n = 1; n < 7; n++)
		fds[n] = eventfd(0, EFD_NONBLOCK);
	for (unsigned int n = 0; n < 2; n++) {
		vcpus[n] = (struct vcpu){
			.w = w, .stop = &stop, .may_reset = &may_reset, .seed = 0x1234567 + n
		};
		assert_int_equal(pthread_create(&vcpus[n].thread, NULL, vcpu_main, &vcpus[n]), 0);
	}
	/* The threads may be run late: no session can be up before one of them has set the device up. */
	while (i < ROUNDS * 9 / 10 || w->dev->counters.sessions <= 1)
		one_session(w, 2 + i++, fds);
	/* Nobody sets the device up again after a reset, so that comes at the end. */
	atomic_store(&may_reset, true);
	for (uint32_t end = i + ROUNDS / 10; i < end; i++)
		one_session(w, 2 + i, fds);
	atomic_store(&stop, true);
	for (unsigned int n = 0; n < 2; n++) {
		pthread_join(vcpus[n].thread, NULL);
		assert_true(vcpus[n].accesses > 0);
	}
	fds_close(fds, 7);
	print_message("%llu sessions, %llu messages, %llu slow doorbells\n",
		      (unsigned long long)w->dev->counters.sessions,
		      (unsigned long long)w->dev->counters.to_driver,
		      (unsigned long long)w->dev->counters.doorbells_slow);
	assert_true(w->dev->counters.sessions > 1);
	fake_step(&w->f);
	while (fake_proxy_recv(&w->proxy) > 0)
		;
	/* And then as if nothing had been. */
	pthread_mutex_lock(&w->f.m.lock);
	machine_reset_devices(&w->f.m);
	pthread_mutex_unlock(&w->f.m.lock);
	fake_step(&w->f);
	while (fake_proxy_recv(&w->proxy) > 0)
		;
	world_session(w, true, 100000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_threads, world_setup_explicit, world_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
