// SPDX-License-Identifier: BSD-2-Clause
/* Kicks and doorbells: attached, changed, moved, masked, taken away. */
#include <event2/event.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <fcntl.h>
#include <unistd.h>

#include "world.h"

static void set_vring(struct world *w, uint32_t request, unsigned int queue, int fd)
{
	struct vhost_user_msg msg =
		msg_u64(request, queue | (fd < 0 ? VHOST_USER_VRING_NOFD_MASK : 0));

	world_send(w, &msg, &fd, fd >= 0);
}

static uint64_t count(int efd)
{
	uint64_t n = 0;

	return read(efd, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

static int new_eventfd(void)
{
	return eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
}

static void test_kick(void **state)
{
	struct world *w = *state;
	int efd = new_eventfd(), other = new_eventfd();

	eventfd_write(efd, 1); /* kicked before it arrives */
	set_vring(w, VHOST_USER_SET_VRING_KICK, 2, efd);
	world_expect(w, VHOST_USER_SET_VRING_KICK);
	fake_take_msis(&w->f, WORLD_WORK_IRQ);
	eventfd_write(efd, 1);
	fake_step(&w->f);
	assert_int_equal(fake_take_msis(&w->f, WORLD_WORK_IRQ), 1);
	/* Again the same, another one, none. */
	set_vring(w, VHOST_USER_SET_VRING_KICK, 2, efd);
	assert_int_equal(w->dev->session.number, 1);
	set_vring(w, VHOST_USER_SET_VRING_KICK, 2, other);
	fake_take_msis(&w->f, WORLD_WORK_IRQ);
	eventfd_write(efd, 1);
	fake_step(&w->f);
	assert_int_equal(fake_take_msis(&w->f, WORLD_WORK_IRQ), 0);
	eventfd_write(other, 1);
	fake_step(&w->f);
	assert_int_equal(fake_take_msis(&w->f, WORLD_WORK_IRQ), 1);
	set_vring(w, VHOST_USER_SET_VRING_KICK, 2, -1);
	assert_int_equal(fake_num_irqfds(&w->f), 0);
	/* A queue whose notification the driver has not bound: no interrupt, until it does. */
	set_vring(w, VHOST_USER_SET_VRING_KICK, WORLD_KICKS, other);
	assert_int_equal(fake_num_irqfds(&w->f), 0);
	eventfd_write(other, 1);
	fake_take_msis(&w->f, WORLD_WORK_IRQ);
	fake_write(&w->f, (uintptr_t)w->drv.notifications, 4, WORLD_KICKS | 1u << 16);
	assert_int_equal(fake_read(&w->f, (uintptr_t)w->drv.notifications, 4),
			 WORLD_KICKS | 1u << 16);
	fake_step(&w->f);
	assert_int_equal(fake_take_msis(&w->f, WORLD_WORK_IRQ), 1);
	close(efd);
	close(other);
}

static void test_same_eventfd(void **state)
{
	struct world *w = *state;
	int efd = new_eventfd();

	set_vring(w, VHOST_USER_SET_VRING_KICK, 0, efd);
	set_vring(w, VHOST_USER_SET_VRING_KICK, 100, efd); /* no vector: nobody but us notices */
	world_expect_end(w, true, "SET_VRING_KICK");
	assert_int_equal(fake_num_irqfds(&w->f), 0);
	close(efd);
}

/* As if another VM had kept the eventfd for as long as we wait. */
static void patience_ends(struct world *w)
{
	assert_true(w->dev->kicks[0].busy_until > 0);
	assert_true(w->dev->session.number > 0);
	w->dev->kicks[0].busy_until = 1;
	event_active(w->dev->kick_timer, EV_TIMEOUT, 0);
	fake_step(&w->f);
}

static void test_foreign_eventfd(void **state)
{
	struct world *w = *state;
	int efd = new_eventfd();

	/* Another port's, which only the hypervisor knows. */
	int gsi = w->f.m.ops->route_add(&w->f, FAKE_MSI_ADDR, 99);
	assert_int_equal(w->f.m.ops->irqfd_add(&w->f, gsi, efd), 0);
	set_vring(w, VHOST_USER_SET_VRING_KICK, 0, efd);
	patience_ends(w);
	world_expect_end(w, true, "SET_VRING_KICK");
	/* While the vector is masked it shows only at unmask. */
	gd_vvu_set_up(&w->drv, true);
	world_next_session(w, 2);
	uint64_t entry = w->dev->vp.fn.bars[VVU_BAR_MSIX].gpa + 16;
	fake_write(&w->f, entry + 12, 4, 1);
	struct vhost_user_msg msg = msg_u64(VHOST_USER_SET_VRING_KICK, 0);
	fake_proxy_message(&w->proxy, 2, 1, &msg, &efd, 1);
	fake_step(&w->f);
	assert_int_equal(w->dev->session.number, 2);
	fake_write(&w->f, entry + 12, 4, 0);
	patience_ends(w);
	world_expect_end(w, true, "already in use");
	/* A VM that has been killed lets go of it in the end; what was signalled by then is not lost. */
	gd_vvu_set_up(&w->drv, true);
	world_next_session(w, 3);
	fake_proxy_message(&w->proxy, 3, 1, &msg, &efd, 1);
	world_expect(w, VHOST_USER_SET_VRING_KICK);
	assert_int_equal(eventfd_write(efd, 1), 0);
	assert_int_equal(w->dev->session.number, 3);
	assert_true(w->dev->kicks[0].busy_until > 0);
	w->f.m.ops->irqfd_del(&w->f, gsi, efd);
	while (w->dev->kicks[0].busy_until)
		fake_wait(&w->f, 5);
	fake_step(&w->f);
	assert_int_equal(w->dev->session.number, 3);
	assert_int_equal(fake_num_irqfds(&w->f), 1);
	w->f.m.ops->route_del(&w->f, gsi);
	close(efd);
}

static void test_kick_masked(void **state)
{
	struct world *w = *state;
	uint64_t bar = w->dev->vp.fn.bars[VVU_BAR_MSIX].gpa;
	uint64_t entry = bar + 16, pba = bar + 0x2000;
	int efd = new_eventfd();

	set_vring(w, VHOST_USER_SET_VRING_KICK, 0, efd);
	fake_take_msis(&w->f, WORLD_WORK_IRQ);
	fake_write(&w->f, entry + 12, 4, 1);
	eventfd_write(efd, 3);
	fake_step(&w->f);
	assert_int_equal(fake_take_msis(&w->f, WORLD_WORK_IRQ), 0);
	assert_int_equal(fake_read(&w->f, pba, 8) & 2, 2);
	fake_write(&w->f, entry + 8, 4, 55);
	fake_write(&w->f, entry + 12, 4, 0);
	fake_step(&w->f);
	assert_int_equal(fake_take_msis(&w->f, WORLD_WORK_IRQ), 0);
	assert_int_equal(fake_take_msis(&w->f, 55), 1);
	assert_int_equal(fake_read(&w->f, pba, 8) & 2, 0);
	/* Another vector for this kick alone. */
	fake_write(&w->f, (uintptr_t)w->drv.notifications, 2, 0);
	fake_write(&w->f, (uintptr_t)w->drv.notifications + 2, 2, 0);
	eventfd_write(efd, 1);
	fake_step(&w->f);
	assert_int_equal(fake_take_msis(&w->f, WORLD_CONFIG_IRQ), 1);
	/* Vectors and selections that are not there. */
	fake_write(&w->f, (uintptr_t)w->drv.notifications + 2, 2, 5000);
	assert_int_equal(fake_read(&w->f, (uintptr_t)w->drv.notifications + 2, 2),
			 VIRTIO_MSI_NO_VECTOR);
	fake_write(&w->f, (uintptr_t)w->drv.notifications, 4, 256 | 1u << 16);
	assert_int_equal(fake_read(&w->f, (uintptr_t)w->drv.notifications, 4),
			 256 | (uint32_t)VIRTIO_MSI_NO_VECTOR << 16);
	assert_int_equal(fake_num_irqfds(&w->f), 0);
	close(efd);
}

static void test_doorbells(void **state)
{
	struct world *w = *state;
	int call = new_eventfd(), err = new_eventfd(), next = new_eventfd();
	uint64_t bell = (uintptr_t)w->drv.doorbells + 3 * 4;

	gd_vvu_call(&w->drv, 3); /* nothing there yet */
	set_vring(w, VHOST_USER_SET_VRING_CALL, 3, call);
	set_vring(w, VHOST_USER_SET_VRING_ERR, 3, err);
	gd_vvu_call(&w->drv, 3);
	assert_int_equal(count(call), 1);
	assert_int_equal(count(err), 0);
	gd_vvu_err(&w->drv, 3);
	assert_int_equal(count(err), 1);
	for (unsigned int size = 1; size <= 8; size *= 2) {
		fake_write(&w->f, bell, size, UINT64_MAX - size);
		assert_int_equal(count(call), 1);
	}
	/* A new one, then none. */
	set_vring(w, VHOST_USER_SET_VRING_CALL, 3, next);
	gd_vvu_call(&w->drv, 3);
	assert_int_equal(count(call), 0);
	assert_int_equal(count(next), 1);
	set_vring(w, VHOST_USER_SET_VRING_CALL, 3, -1);
	gd_vvu_call(&w->drv, 3);
	assert_int_equal(count(next), 0);
	/* Beyond the last one, and the log's, which nobody carries. */
	for (unsigned int i = 512; i < 1024; i++)
		fake_write(&w->f, (uintptr_t)w->drv.doorbells + i * 4, 4, 1);
	assert_int_equal(fake_num_ioevents(&w->f), 2 + 1);
	close(call);
	close(err);
	close(next);
}

static void test_doorbell_slow(void **state)
{
	struct world *w = *state;
	int call = eventfd(0, EFD_CLOEXEC); /* blocking, as a peer may leave it */

	w->f.fail_ioeventfd_add = 1;
	set_vring(w, VHOST_USER_SET_VRING_CALL, 0, call);
	assert_int_equal(fake_num_ioevents(&w->f), 2);
	gd_vvu_call(&w->drv, 0);
	assert_int_equal(w->dev->counters.doorbells_slow, 1);
	assert_int_equal(count(call), 1);
	/* A full counter has signalled already, and nothing waits for it. */
	eventfd_write(call, UINT64_MAX - 1);
	fcntl(call, F_SETFL, 0);
	gd_vvu_call(&w->drv, 0);
	close(call);
}

static void test_move_registers(void **state)
{
	struct world *w = *state;
	int call = new_eventfd();
	uint64_t old = (uintptr_t)w->drv.doorbells;
	uint64_t moved = 0xe0000000 + VVU_DOORBELL_OFF;
	struct vhost_user_msg msg = msg_empty(VHOST_USER_SET_OWNER);

	set_vring(w, VHOST_USER_SET_VRING_CALL, 0, call);
	world_expect(w, VHOST_USER_SET_VRING_CALL);
	fake_pci_write(&w->f, WORLD_BDF, PCI_BAR_0, 4, 0xe0000000);
	fake_write(&w->f, old, 2, 0);
	assert_int_equal(count(call), 0);
	fake_write(&w->f, moved, 2, 0);
	assert_int_equal(count(call), 1);
	assert_int_equal(fake_num_ioevents(&w->f), 2 + 1);
	/* Queue notifications moved as well; the driver is told nothing, so tell it. */
	w->drv.rxq.notify_addr = (uint8_t *)(uintptr_t)(0xe0000000 + VIRTIO_PCI_NOTIFY_OFF);
	for (unsigned int i = 0; i < 3 * GD_VVU_RX_BUFFERS; i++) {
		world_send(w, &msg, NULL, 0);
		world_expect(w, VHOST_USER_SET_OWNER);
	}
	/* Decoding off and on. */
	fake_pci_write(&w->f, WORLD_BDF, PCI_COMMAND, 2, 0);
	assert_int_equal(fake_num_ioevents(&w->f), 0);
	fake_write(&w->f, moved, 2, 0);
	assert_int_equal(count(call), 0);
	fake_pci_write(&w->f, WORLD_BDF, PCI_COMMAND, 2, PCI_COMMAND_MEMORY_MASK);
	fake_write(&w->f, moved, 2, 0);
	assert_int_equal(count(call), 1);
	fake_pci_write(&w->f, WORLD_BDF, PCI_BAR_0, 4, (uint32_t)(old - VVU_DOORBELL_OFF));
	close(call);
}

static void test_get_vring_base(void **state)
{
	struct world *w = *state;
	int kick = new_eventfd(), call = new_eventfd(), err = new_eventfd();
	struct vhost_user_msg msg = msg_state(VHOST_USER_GET_VRING_BASE, 1, 0);

	set_vring(w, VHOST_USER_SET_VRING_KICK, 1, kick);
	set_vring(w, VHOST_USER_SET_VRING_CALL, 1, call);
	set_vring(w, VHOST_USER_SET_VRING_ERR, 1, err);
	world_expect(w, VHOST_USER_SET_VRING_KICK);
	world_expect(w, VHOST_USER_SET_VRING_CALL);
	world_expect(w, VHOST_USER_SET_VRING_ERR);
	world_send(w, &msg, NULL, 0);
	world_expect(w, VHOST_USER_GET_VRING_BASE);
	/* The driver is still at it: its last completions are announced. */
	gd_vvu_call(&w->drv, 1);
	assert_int_equal(count(call), 1);
	msg.hdr.flags |= VHOST_USER_REPLY_MASK;
	msg.payload.state.num = 4242;
	assert_int_equal(gd_vvu_send(&w->drv, &msg), 0);
	fake_step(&w->f);
	world_proxy_expect(w, LINK_BACKEND);
	assert_int_equal(w->proxy.in.pkt.body.msg.payload.state.num, 4242);
	gd_vvu_call(&w->drv, 1);
	assert_int_equal(count(call), 0);
	assert_int_equal(fake_num_irqfds(&w->f), 0);
	gd_vvu_err(&w->drv, 1);
	assert_int_equal(count(err), 1);
	/* And again from the start, with the same eventfds. */
	set_vring(w, VHOST_USER_SET_VRING_KICK, 1, kick);
	assert_int_equal(fake_num_irqfds(&w->f), 1);
	close(kick);
	close(call);
	close(err);
}

static void test_wrong_kinds(void **state)
{
	struct world *w = *state;
	const uint32_t requests[] = { VHOST_USER_SET_VRING_KICK, VHOST_USER_SET_VRING_CALL,
				      VHOST_USER_SET_VRING_ERR };
	uint32_t session = 1;
	int fd = make_memory(4096, 0);

	for (unsigned int i = 0; i < ARRAY_LEN(requests); i++) {
		struct vhost_user_msg msg = msg_u64(requests[i], 0);

		fake_proxy_message(&w->proxy, session, 1, &msg, &fd, 1);
		world_expect_end(w, true, "SET_VRING");
		gd_vvu_set_up(&w->drv, true);
		world_next_session(w, ++session);
	}
	close(fd);
}

static void test_all_queues(void **state)
{
	struct world *w = *state;
	unsigned int fds = fake_num_fds();
	int efd;

	for (unsigned int i = 0; i < 256; i++) {
		efd = new_eventfd();
		set_vring(w, VHOST_USER_SET_VRING_KICK, i, efd);
		world_expect(w, VHOST_USER_SET_VRING_KICK);
		set_vring(w, VHOST_USER_SET_VRING_CALL, i, efd);
		world_expect(w, VHOST_USER_SET_VRING_CALL);
		close(efd);
	}
	assert_int_equal(fake_num_irqfds(&w->f), WORLD_KICKS);
	assert_int_equal(fake_num_ioevents(&w->f), 2 + 256);
	fake_proxy_text(&w->proxy, LINK_SESSION_DOWN, 1, "front-end: closed");
	world_expect_end(w, false, NULL);
	assert_int_equal(fake_num_fds(), fds);
	assert_int_equal(fake_num_irqfds(&w->f), 0);
	assert_int_equal(fake_num_ioevents(&w->f), 2);
}

#define EXPLICIT(test) cmocka_unit_test_setup_teardown(test, world_setup_explicit, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		EXPLICIT(test_kick),
		EXPLICIT(test_same_eventfd),
		EXPLICIT(test_foreign_eventfd),
		EXPLICIT(test_kick_masked),
		EXPLICIT(test_doorbells),
		EXPLICIT(test_doorbell_slow),
		EXPLICIT(test_move_registers),
		EXPLICIT(test_get_vring_base),
		EXPLICIT(test_wrong_kinds),
		EXPLICIT(test_all_queues),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
