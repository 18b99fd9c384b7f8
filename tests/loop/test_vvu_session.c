// SPDX-License-Identifier: BSD-2-Clause
/* Bring-up, messages both ways, back-pressure, the ways a session ends, the link coming and going.
 */
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vmm/hostlib/fds.h"
#include "world.h"

static void test_bring_up(void **state)
{
	struct world *w = *state;
	const struct link_backend_up *up = &w->proxy.in.pkt.body.backend_up;

	assert_int_equal(fake_proxy_recv(&w->proxy), 0);
	world_driver(w, true);
	assert_int_equal(w->drv.max_queues, 256);
	assert_int_equal(w->drv.shm_size, WORLD_SHM);
	assert_int_equal(w->drv.uuid[6] >> 4, 8);
	world_proxy_expect(w, LINK_BACKEND_UP);
	assert_int_equal(up->protocol_features, VHOST_USER_PF_CARRIED | VHOST_USER_PF_INTERNAL);
	assert_int_equal(up->max_queues, 256);
	assert_int_equal(up->max_mem_slots, VHOST_USER_MEM_SLOTS_MAX);
	assert_int_equal(fake_take_msis(&w->f, WORLD_CONFIG_IRQ), 0);
	world_next_session(w, 5);
	assert_int_equal(w->dev->session.number, 5);
	/* Writing it again changes nothing, nor do other bits and fields. */
	gd_vvu_set_up(&w->drv, true);
	gd_virtio_config_write(&w->drv.dev, 4, 4, 1);
	gd_virtio_config_write(&w->drv.dev, 8, 4, 0);
	gd_virtio_config_write(&w->drv.dev, 1, 1, 0xff);
	assert_int_equal(gd_vvu_status(&w->drv), 3);
	assert_int_equal(gd_virtio_config_read(&w->drv.dev, 4, 4), 256);
	fake_step(&w->f);
	assert_int_equal(fake_proxy_recv(&w->proxy), 0);
}

static void test_classic_offers_less(void **state)
{
	struct world *w = *state;

	world_driver(w, false);
	world_proxy_expect(w, LINK_BACKEND_UP);
	assert_int_equal(w->proxy.in.pkt.body.backend_up.protocol_features,
			 VHOST_USER_PF_CARRIED & ~VHOST_USER_PF_EXPLICIT_ONLY);
}

static void test_driver_before_link(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	(void)state;
	world_init(w);
	world_driver(w, true);
	world_link(w);
	world_proxy_expect(w, LINK_BACKEND_UP);
	world_next_session(w, 1);
	world_free(w);
	free(w);
}

static void test_messages(void **state)
{
	struct world *w = *state;
	struct vhost_user_msg msg = msg_empty(VHOST_USER_GET_FEATURES);

	world_send(w, &msg, NULL, 0);
	assert_int_equal(fake_take_msis(&w->f, WORLD_WORK_IRQ), 1);
	world_expect(w, VHOST_USER_GET_FEATURES);
	world_answer(w, VHOST_USER_GET_FEATURES, 0x123456789);
	world_proxy_expect(w, LINK_BACKEND);
	assert_int_equal(w->proxy.in.pkt.hdr.seq, 77);
	assert_int_equal(w->proxy.in.pkt.hdr.session, 1);
	assert_int_equal(w->proxy.in.pkt.body.msg.payload.u64, 0x123456789);
	/* More than there are buffers, in order. */
	for (unsigned int i = 0; i < 5 * GD_VVU_RX_BUFFERS; i++) {
		msg = msg_state(VHOST_USER_SET_VRING_NUM, i, 256 + i);
		fake_proxy_message(&w->proxy, 1, i, &msg, NULL, 0);
	}
	for (unsigned int i = 0; i < 5 * GD_VVU_RX_BUFFERS; i++) {
		msg = world_expect(w, VHOST_USER_SET_VRING_NUM);
		assert_int_equal(msg.payload.state.index, i);
		assert_int_equal(msg.payload.state.num, 256 + i);
	}
	world_expect_nothing(w);
	/* Packets of no session are dropped. */
	msg = msg_empty(VHOST_USER_SET_OWNER);
	fake_proxy_message(&w->proxy, 99, 1, &msg, NULL, 0);
	world_expect_nothing(w);
}

/* A driver that stops receiving before it has found nothing sleeps well only after arming. */
static void test_arm(void **state)
{
	struct world *w = *state;
	struct vhost_user_msg msg = msg_empty(VHOST_USER_SET_OWNER);

	world_send(w, &msg, NULL, 0);
	assert_int_equal(gd_vvu_recv(&w->drv, &msg), 1);
	fake_take_msis(&w->f, WORLD_WORK_IRQ);
	assert_false(gd_vvu_arm(&w->drv));
	msg = msg_empty(VHOST_USER_SET_OWNER);
	world_send(w, &msg, NULL, 0);
	assert_int_equal(fake_take_msis(&w->f, WORLD_WORK_IRQ), 1);
	assert_true(gd_vvu_arm(&w->drv));
}

static void test_need_reply(void **state)
{
	struct world *w = *state;
	struct vhost_user_msg msg = msg_empty(VHOST_USER_SET_OWNER);

	/* Without REPLY_ACK nobody asks. */
	msg.hdr.flags |= VHOST_USER_NEED_REPLY_MASK;
	world_send(w, &msg, NULL, 0);
	msg = world_expect(w, VHOST_USER_SET_OWNER);
	assert_int_equal(msg.hdr.flags, VHOST_USER_VERSION);
	world_negotiate(w, VHOST_USER_PF_MASK(REPLY_ACK));
	msg = msg_empty(VHOST_USER_SET_OWNER);
	msg.hdr.flags |= VHOST_USER_NEED_REPLY_MASK;
	world_send(w, &msg, NULL, 0);
	msg = world_expect(w, VHOST_USER_SET_OWNER);
	assert_int_equal(msg.hdr.flags, VHOST_USER_VERSION | VHOST_USER_NEED_REPLY_MASK);
	world_answer(w, VHOST_USER_SET_OWNER, 0);
	world_proxy_expect(w, LINK_BACKEND);
}

static void test_backend_channel(void **state)
{
	struct world *w = *state;
	struct vhost_user_msg msg = msg_empty(VHOST_USER_BACKEND_CONFIG_CHANGE_MSG);
	struct vhost_user_msg channel = msg_empty(VHOST_USER_SET_BACKEND_REQ_FD);

	world_negotiate(w, VHOST_USER_PF_MASK(BACKEND_REQ) | VHOST_USER_PF_MASK(CONFIG) |
				   VHOST_USER_PF_MASK(REPLY_ACK));
	/* Before the channel is there: discarded. */
	assert_int_equal(gd_vvu_send(&w->drv, &msg), 0);
	fake_step(&w->f);
	assert_int_equal(fake_proxy_recv(&w->proxy), 0);
	world_send(w, &channel, NULL, 0);
	world_expect(w, VHOST_USER_SET_BACKEND_REQ_FD);
	msg.hdr.flags |= VHOST_USER_NEED_REPLY_MASK;
	assert_int_equal(gd_vvu_send(&w->drv, &msg), 0);
	fake_step(&w->f);
	world_proxy_expect(w, LINK_BACKEND);
	assert_int_equal(w->proxy.in.pkt.body.msg.hdr.request,
			 VHOST_USER_BACKEND_CONFIG_CHANGE_MSG);
	msg = msg_u64(VHOST_USER_BACKEND_CONFIG_CHANGE_MSG, 0);
	msg.hdr.flags |= VHOST_USER_REPLY_MASK;
	world_send(w, &msg, NULL, 0);
	msg = world_expect(w, VHOST_USER_BACKEND_CONFIG_CHANGE_MSG);
	assert_true(msg.hdr.flags & VHOST_USER_REPLY_MASK);
	/* A request that nobody carries. */
	msg = msg_empty(VHOST_USER_BACKEND_SHMEM_UNMAP);
	assert_int_equal(gd_vvu_send(&w->drv, &msg), 0);
	world_expect_end(w, true, "SHMEM_UNMAP");
}

static void test_bad_replies(void **state)
{
	struct world *w = *state;

	world_answer(w, VHOST_USER_GET_FEATURES, 1);
	world_expect_end(w, true, "GET_FEATURES");
	/* The driver goes on with the next one. */
	gd_vvu_set_up(&w->drv, true);
	world_next_session(w, 2);
	assert_int_equal(w->dev->session.number, 2);
}

static void test_bad_messages(void **state)
{
	struct world *w = *state;
	const uint32_t refused[] = { VHOST_USER_SET_LOG_BASE, VHOST_USER_POSTCOPY_ADVISE,
				     VHOST_USER_GPU_SET_SOCKET, 0, 999 };
	uint32_t session = 1;

	for (unsigned int i = 0; i < ARRAY_LEN(refused); i++) {
		struct vhost_user_msg msg = msg_empty(refused[i]);

		fake_proxy_message(&w->proxy, session, 1, &msg, NULL, 0);
		world_expect_end(w, true, "");
		gd_vvu_set_up(&w->drv, true);
		world_next_session(w, ++session);
	}
	for (unsigned int i = 0; i < 3; i++) {
		struct vhost_user_msg msg = msg_state(VHOST_USER_SET_VRING_NUM, 256, 1);

		if (i == 1)
			msg = msg_u64(VHOST_USER_SET_VRING_NUM, 0), msg.hdr.size = 4;
		if (i == 2)
			msg = msg_u64(VHOST_USER_SET_PROTOCOL_FEATURES, VHOST_USER_PF_MASK(SHMEM));
		fake_proxy_message(&w->proxy, session, 1, &msg, NULL, 0);
		world_expect_end(w, true, "SET_");
		gd_vvu_set_up(&w->drv, true);
		world_next_session(w, ++session);
	}
}

static void test_driver_down(void **state)
{
	struct world *w = *state;

	gd_vvu_set_up(&w->drv, false);
	world_expect_end(w, false, NULL);
	world_proxy_expect(w, LINK_BACKEND_DOWN);
	assert_int_equal(fake_proxy_recv(&w->proxy), 0);
	/* A session that the proxy opened before it knew. */
	fake_proxy_notice(&w->proxy, LINK_SESSION_UP, 2);
	fake_step(&w->f);
	assert_int_equal(gd_vvu_status(&w->drv), 0);
	gd_vvu_set_up(&w->drv, true);
	fake_step(&w->f);
	world_proxy_expect(w, LINK_BACKEND_UP);
	assert_int_equal(gd_vvu_status(&w->drv), VVU_STATUS_BACKEND_UP);
	world_next_session(w, 3);
	/* Down and up again before the main loop runs: the proxy sees both. */
	gd_vvu_set_up(&w->drv, false);
	gd_vvu_set_up(&w->drv, true);
	fake_step(&w->f);
	world_proxy_expect(w, LINK_BACKEND_DOWN);
	world_proxy_expect(w, LINK_BACKEND_UP);
}

static void test_proxy_ends(void **state)
{
	struct world *w = *state;
	struct vhost_user_msg msg = msg_empty(VHOST_USER_GET_FEATURES);

	world_send(w, &msg, NULL, 0);
	world_expect(w, VHOST_USER_GET_FEATURES);
	fake_proxy_text(&w->proxy, LINK_SESSION_DOWN, 1, "front-end: closed");
	/* The next one is there before the driver is ready: it waits, and so do its messages. */
	fake_proxy_notice(&w->proxy, LINK_SESSION_UP, 2);
	msg = msg_empty(VHOST_USER_SET_OWNER);
	fake_proxy_message(&w->proxy, 2, 1, &msg, NULL, 0);
	world_expect_end(w, false, NULL);
	world_expect_nothing(w);
	/* An answer that comes too late is nobody's. */
	world_answer(w, VHOST_USER_GET_FEATURES, 1);
	gd_vvu_set_up(&w->drv, true);
	fake_step(&w->f);
	assert_int_equal(gd_vvu_status(&w->drv), 3);
	world_expect(w, VHOST_USER_SET_OWNER);
	assert_int_equal(fake_proxy_recv(&w->proxy), 0);
}

static void test_late_answers_are_dropped(void **state)
{
	struct world *w = *state;
	struct vhost_user_msg msg = msg_u64(VHOST_USER_GET_FEATURES, 4711);

	fake_proxy_text(&w->proxy, LINK_SESSION_DOWN, 1, "front-end: closed");
	fake_step(&w->f);
	/* In the txq when the driver sets BACKEND_UP, and not before looked at. */
	msg.hdr.flags |= VHOST_USER_REPLY_MASK;
	assert_int_equal(gd_vvu_send(&w->drv, &msg), 0);
	gd_vvu_set_up(&w->drv, true);
	fake_proxy_notice(&w->proxy, LINK_SESSION_UP, 2);
	fake_step(&w->f);
	assert_int_equal(gd_vvu_status(&w->drv), 3);
	assert_int_equal(fake_proxy_recv(&w->proxy), 0);
}

/* Fills the rxq and leaves n messages more, each with an eventfd, in the socket. Returns the
 * eventfd. */
static int stall(struct world *w, unsigned int n)
{
	int efd = eventfd(0, EFD_NONBLOCK);
	struct vhost_user_msg msg;

	for (unsigned int i = 0; i < GD_VVU_RX_BUFFERS + n; i++) {
		msg = msg_u64(VHOST_USER_SET_VRING_CALL, i % 8);
		fake_proxy_message(&w->proxy, 1, i, &msg, &efd, 1);
	}
	fake_step(&w->f);
	assert_true(w->dev->link.holding);
	return efd;
}

static void test_back_pressure(void **state)
{
	struct world *w = *state;
	int efd = stall(w, 5);
	struct vhost_user_msg msg;

	for (unsigned int i = 0; i < GD_VVU_RX_BUFFERS + 5; i++) {
		msg = world_expect(w, VHOST_USER_SET_VRING_CALL);
		assert_int_equal(msg.payload.u64, i % 8);
	}
	world_expect_nothing(w);
	assert_false(w->dev->link.holding);
	close(efd);
}

static void test_end_behind_unread(void **state)
{
	struct world *w = *state;
	unsigned int before = fake_num_fds();
	int efd = stall(w, 5);

	fake_proxy_text(&w->proxy, LINK_SESSION_DOWN, 1, "front-end: closed");
	fake_step(&w->f);
	assert_int_equal(gd_vvu_status(&w->drv), 0);
	assert_int_equal(fake_num_fds(), before + 1);
	assert_int_equal(read(efd, &(uint64_t){ 0 }, 8), -1); /* nobody signalled it */
	close(efd);
	/* What was queued for the old session is not lost in the driver's queue, but no more comes.
	 */
	assert_int_equal(fake_num_ioevents(&w->f), 2);
}

static void test_hang_up_behind_unread(void **state)
{
	struct world *w = *state;
	int efd = stall(w, 3);

	fake_proxy_hang_up(&w->proxy);
	fake_step(&w->f);
	assert_int_equal(gd_vvu_status(&w->drv), 0);
	assert_int_not_equal(w->dev->link.state,
			     VVU_LINK_UP); /* a slow machine tries it again by now */
	close(efd);
}

static void test_link_comes_back(void **state)
{
	struct world *w = *state;

	fake_proxy_hang_up(&w->proxy);
	world_expect_end(w, false, NULL);
	gd_vvu_set_up(&w->drv, true);
	while (!fake_proxy_accept(&w->proxy))
		fake_wait(&w->f, 5);
	world_proxy_expect(w, LINK_HELLO);
	assert_int_equal(fake_proxy_recv(&w->proxy), 0);
	fake_proxy_notice(&w->proxy, LINK_WELCOME, 0);
	fake_step(&w->f);
	world_proxy_expect(w, LINK_BACKEND_UP);
	world_next_session(w, 1);
}

static void test_refused_link(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	(void)state;
	world_init(w);
	vvu_dev_start(w->dev);
	fake_step(&w->f);
	assert_true(fake_proxy_accept(&w->proxy));
	fake_proxy_text(&w->proxy, LINK_REJECT, 0, "no such port");
	fake_step(&w->f);
	assert_int_equal(w->dev->link.state, VVU_LINK_DOWN);
	assert_false(fake_proxy_accept(&w->proxy));
	while (!fake_proxy_accept(&w->proxy))
		fake_wait(&w->f, 50);
	/* A packet that may not come now ends it. */
	fake_proxy_notice(&w->proxy, LINK_SESSION_UP, 1);
	fake_step(&w->f);
	assert_int_equal(w->dev->link.state, VVU_LINK_DOWN);
	world_free(w);
	free(w);
}

static void test_reset_in_session(void **state)
{
	struct world *w = *state;
	int efd = stall(w, 3);
	struct world_region region = { 0, 4 * MIB, 0, make_memory(4 * MIB, 1) };

	gd_virtio_reset(&w->drv.dev);
	assert_int_equal(gd_virtio_status(&w->drv.dev), 0);
	assert_int_equal(fake_num_ioevents(&w->f), 0);
	fake_step(&w->f);
	world_proxy_expect(w, LINK_BACKEND_LOST);
	assert_int_equal(fake_proxy_recv(&w->proxy), 0);
	close(efd);
	/* Opened again it works as if nothing had been. */
	world_session(w, true, 2);
	struct vhost_user_msg msg = msg_empty(VHOST_USER_SET_OWNER);

	fake_proxy_message(&w->proxy, 2, 1, &msg, NULL, 0);
	world_expect(w, VHOST_USER_SET_OWNER);
	fd_close(&region.fd);
}

static void test_machine_reset(void **state)
{
	struct world *w = *state;

	pthread_mutex_lock(&w->f.m.lock);
	machine_reset_devices(&w->f.m);
	pthread_mutex_unlock(&w->f.m.lock);
	fake_step(&w->f);
	world_proxy_expect(w, LINK_BACKEND_LOST);
	assert_int_equal(fake_num_ioevents(&w->f), 0);
	world_session(w, true, 2);
}

/* Who clears BACKEND_UP first says that it goes: the reset behind it adds nothing. */
static void test_down_then_reset(void **state)
{
	struct world *w = *state;

	gd_vvu_set_up(&w->drv, false);
	gd_virtio_reset(&w->drv.dev);
	fake_step(&w->f);
	world_proxy_expect(w, LINK_BACKEND_DOWN);
	assert_int_equal(fake_proxy_recv(&w->proxy), 0);
	gd_virtio_reset(&w->drv.dev);
	fake_step(&w->f);
	assert_int_equal(fake_proxy_recv(&w->proxy), 0);
	/* Between two sessions the back-end is up to the proxy, and its reset is a loss, too. */
	world_session(w, true, 2);
	fake_proxy_text(&w->proxy, LINK_SESSION_DOWN, 2, "front-end: closed");
	world_expect_end(w, false, NULL);
	gd_virtio_reset(&w->drv.dev);
	fake_step(&w->f);
	world_proxy_expect(w, LINK_BACKEND_LOST);
}

static void test_small_buffer(void **state)
{
	struct world *w = *state;
	struct vhost_user_msg msg = msg_empty(VHOST_USER_SET_OWNER);

	for (unsigned int i = 0; i < GD_VVU_RX_BUFFERS; i++)
		w->drv.rxq.vq.desc[i].len = 12;
	world_send(w, &msg, NULL, 0);
	world_expect(w, VHOST_USER_SET_OWNER); /* 12 bytes fit */
	for (unsigned int i = 0; i < GD_VVU_RX_BUFFERS; i++)
		w->drv.rxq.vq.desc[i].len = 19;
	msg = msg_u64(VHOST_USER_SET_FEATURES, 1);
	world_send(w, &msg, NULL, 0);
	assert_true(gd_vvu_needs_reset(&w->drv));
	world_expect_nothing(w);
	world_expect_end(w, false, NULL);
	world_proxy_expect(w, LINK_BACKEND_LOST);
	/* Nothing but a reset helps. */
	gd_vvu_set_up(&w->drv, true);
	fake_step(&w->f);
	assert_int_equal(fake_proxy_recv(&w->proxy), 0);
	world_session(w, true, 2);
}

static void test_broken_rings(void **state)
{
	struct world *w = *state;
	struct vhost_user_msg msg = msg_empty(VHOST_USER_SET_OWNER);
	struct vq_drv *txq = &w->drv.txq.vq;

	if (txq->mode.packed)
		txq->ring[txq->avail_idx % txq->size] =
			(struct vring_packed_desc){ UINT64_MAX - 5, 100, 0,
						    txq->avail_idx & txq->size
							    ? VRING_PACKED_DESC_F_USED
							    : VRING_PACKED_DESC_F_AVAIL };
	else
		txq->avail->idx += 1000;
	fake_write(&w->f, (uintptr_t)w->drv.txq.notify_addr, 2, 1);
	fake_step(&w->f);
	assert_true(gd_vvu_needs_reset(&w->drv));
	world_expect_end(w, false, NULL);
	world_proxy_expect(w, LINK_BACKEND_LOST);
	world_session(w, true, 2);
	for (unsigned int i = 0; i < GD_VVU_RX_BUFFERS; i++)
		w->drv.rxq.vq.desc[i].addr = UINT64_MAX - 5;
	fake_proxy_message(&w->proxy, 2, 1, &msg, NULL, 0);
	fake_step(&w->f);
	assert_true(gd_vvu_needs_reset(&w->drv));
}

static void test_fit_shm(void **state)
{
	uint64_t sizes[32];

	(void)state;
	sizes[0] = VVU_SHM_DEFAULT;
	assert_int_equal(vvu_fit_shm(48, sizes, 1), 0);
	assert_int_equal(sizes[0], VVU_SHM_DEFAULT);
	assert_int_equal(vvu_fit_shm(36, sizes, 1), 1);
	assert_int_equal(sizes[0], UINT64_C(32) << 30);
	for (unsigned int i = 0; i < 32; i++)
		sizes[i] = VVU_SHM_DEFAULT;
	assert_int_equal(vvu_fit_shm(40, sizes, 32), 1);
	assert_int_equal(sizes[31], UINT64_C(16) << 30);
	sizes[0] = 5 * MIB;
	sizes[1] = 1;
	assert_int_equal(vvu_fit_shm(40, sizes, 2), 0);
	assert_int_equal(sizes[0], 8 * MIB);
	assert_int_equal(sizes[1], 2 * MIB);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_bring_up, world_setup_linked, world_teardown),
		cmocka_unit_test_setup_teardown(test_classic_offers_less, world_setup_linked,
						world_teardown),
		cmocka_unit_test(test_driver_before_link),
		cmocka_unit_test_setup_teardown(test_messages, world_setup_explicit,
						world_teardown),
		cmocka_unit_test_setup_teardown(test_arm, world_setup_explicit, world_teardown),
		cmocka_unit_test_setup_teardown(test_need_reply, world_setup_explicit,
						world_teardown),
		cmocka_unit_test_setup_teardown(test_backend_channel, world_setup_explicit,
						world_teardown),
		cmocka_unit_test_setup_teardown(test_bad_replies, world_setup_explicit,
						world_teardown),
		cmocka_unit_test_setup_teardown(test_bad_messages, world_setup_explicit,
						world_teardown),
		cmocka_unit_test_setup_teardown(test_driver_down, world_setup_explicit,
						world_teardown),
		cmocka_unit_test_setup_teardown(test_proxy_ends, world_setup_explicit,
						world_teardown),
		cmocka_unit_test_setup_teardown(test_late_answers_are_dropped, world_setup_explicit,
						world_teardown),
		cmocka_unit_test_setup_teardown(test_back_pressure, world_setup_explicit,
						world_teardown),
		cmocka_unit_test_setup_teardown(test_end_behind_unread, world_setup_explicit,
						world_teardown),
		cmocka_unit_test_setup_teardown(test_hang_up_behind_unread, world_setup_explicit,
						world_teardown),
		cmocka_unit_test_setup_teardown(test_link_comes_back, world_setup_explicit,
						world_teardown),
		cmocka_unit_test(test_refused_link),
		cmocka_unit_test_setup_teardown(test_reset_in_session, world_setup_explicit,
						world_teardown),
		cmocka_unit_test_setup_teardown(test_machine_reset, world_setup_explicit,
						world_teardown),
		cmocka_unit_test_setup_teardown(test_down_then_reset, world_setup_explicit,
						world_teardown),
		cmocka_unit_test_setup_teardown(test_small_buffer, world_setup_explicit,
						world_teardown),
		cmocka_unit_test_setup_teardown(test_broken_rings, world_setup_explicit,
						world_teardown),
		cmocka_unit_test(test_fit_shm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
