// SPDX-License-Identifier: BSD-2-Clause
/* A session without a proxy: kept, given back, taken over or not; and one VMM taking over from another. */
#include <event2/event.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmm/hostlib/fds.h"
#include "world.h"

#define TURN_MS 5 /* the loop is given that long between two looks */

struct kept {
	struct world *w;
	int front_end[2]; /* [0]: its own end */
	int kick;
	int call;
	int memory;
};

/* Session 1 with memory, a kick, a call and its records: the session's, one with two eventfds, one without. */
static int setup(void **state)
{
	struct kept *k = calloc(1, sizeof(*k));
	struct vhost_user_msg msg;
	struct world_region region;
	void *world;
	int fds[2];

	world_setup_explicit(&world);
	k->w = world;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0,
				    k->front_end),
			 0);
	k->kick = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	k->call = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	k->memory = make_memory(4 * MIB, 1);
	world_negotiate(k->w, VHOST_USER_PF_CARRIED);
	region = (struct world_region){ 0, 4 * MIB, 0, k->memory };
	world_set_table(k->w, &region, 1);
	world_expect(k->w, VHOST_USER_SET_MEM_TABLE);
	world_answer(k->w, VHOST_USER_SET_MEM_TABLE, 0); /* the device asked */
	msg = msg_u64(VHOST_USER_SET_VRING_KICK, 0);
	world_send(k->w, &msg, &k->kick, 1);
	world_expect(k->w, VHOST_USER_SET_VRING_KICK);
	msg = msg_u64(VHOST_USER_SET_VRING_CALL, 0);
	world_send(k->w, &msg, &k->call, 1);
	world_expect(k->w, VHOST_USER_SET_VRING_CALL);
	fake_proxy_record(&k->w->proxy, 1, LINK_RECORD_SESSION, 0, "session", &k->front_end[1], 1);
	fds[0] = k->kick;
	fds[1] = k->call;
	fake_proxy_record(&k->w->proxy, 1, 7, 3, "ring", fds, 2);
	fake_proxy_record(&k->w->proxy, 1, 8, 0, "text", NULL, 0);
	fake_step(&k->w->f);
	assert_int_equal(k->w->dev->keep.num, 3);
	assert_int_equal(fake_proxy_recv(&k->w->proxy), 0);
	fd_close(&k->front_end[1]); /* the proxy's; the device has its own */
	*state = k;
	return 0;
}

static int teardown(void **state)
{
	struct kept *k = *state;
	void *world = k->w;

	fds_close(k->front_end, 2);
	fd_close(&k->kick);
	fd_close(&k->call);
	fd_close(&k->memory);
	free(k);
	return world_teardown(&world);
}

/* Notifications work in both directions, and memory is there. */
static void expect_data_path(struct kept *k)
{
	struct world *w = k->w;
	uint64_t count = 0, word;

	assert_int_equal(eventfd_write(k->kick, 1), 0);
	fake_step(&w->f);
	assert_true(gd_vvu_status(&w->drv) & VVU_STATUS_FRONTEND_UP);
	assert_int_equal(fake_num_irqfds(&w->f), 1);
	fake_write(&w->f, (uintptr_t)w->drv.doorbells, 2, 0);
	assert_int_equal(read(k->call, &count, sizeof(count)), sizeof(count));
	memcpy(&word, w->dev->shm.base + w->dev->shm.regions[0].offset + 4096, sizeof(word));
	assert_int_equal(word, memory_word(4096, 1));
}

static void proxy_dies(struct kept *k)
{
	fake_proxy_hang_up(&k->w->proxy);
	fake_step(&k->w->f);
	assert_true(k->w->dev->keep.away);
	assert_int_equal(k->w->dev->session.number, 1);
	assert_int_equal(gd_vvu_status(&k->w->drv), 3);
}

/* Waits for the next connection and its hello. */
static const struct link_hello *next_hello(struct world *w)
{
	while (!fake_proxy_accept(&w->proxy))
		fake_wait(&w->f, TURN_MS);
	world_proxy_expect(w, LINK_HELLO);
	return &w->proxy.in.pkt.body.hello;
}

/* The device may have connected already when the session ended: it gives that link up. */
static void next_link_without_session(struct world *w)
{
	const struct link_hello *hello = next_hello(w);

	while (hello->flags) {
		fake_step(&w->f);
		assert_int_equal(fake_proxy_recv(&w->proxy), -1);
		hello = next_hello(w);
	}
	assert_int_equal(hello->flags, 0);
	assert_int_equal(hello->session, 0);
}

static void expect_record(struct world *w, unsigned int kind, unsigned int index, const char *data,
			  unsigned int fds)
{
	const struct link_record *rec = &w->proxy.in.pkt.body.record;

	world_proxy_expect(w, LINK_RECORD);
	assert_int_equal(w->proxy.in.pkt.hdr.session, 1);
	assert_int_equal(rec->kind, kind);
	assert_int_equal(rec->index, index);
	assert_int_equal(rec->bytes, strlen(data));
	assert_memory_equal(rec->data, data, rec->bytes);
	assert_int_equal(w->proxy.in.num_fds, fds);
}

static void expect_kept(struct world *w, uint32_t received, uint32_t answered, uint32_t unanswered)
{
	const struct link_kept *kept = &w->proxy.in.pkt.body.kept;

	world_proxy_expect(w, LINK_KEPT);
	assert_int_equal(w->proxy.in.pkt.hdr.session, 1);
	assert_int_equal(kept->received, received);
	assert_int_equal(kept->answered, answered);
	assert_int_equal(kept->unanswered, unanswered);
}

/* A new proxy up to all records of setup() and BACKEND_UP. */
static void next_proxy(struct kept *k, uint32_t received, uint32_t unanswered)
{
	struct world *w = k->w;
	const struct link_hello *hello = next_hello(w);

	assert_int_equal(hello->flags, LINK_HELLO_KEPT);
	assert_int_equal(hello->session, 1);
	assert_int_equal(fake_proxy_recv(&w->proxy), 0);
	fake_proxy_notice(&w->proxy, LINK_WELCOME, 0);
	fake_step(&w->f);
	expect_record(w, LINK_RECORD_SESSION, 0, "session", 1);
	assert_int_equal(write(w->proxy.in.fds[0], "x", 1), 1);
	expect_record(w, 7, 3, "ring", 2);
	assert_true(fd_same_eventfd(w->proxy.in.fds[0], k->kick));
	assert_true(fd_same_eventfd(w->proxy.in.fds[1], k->call));
	expect_record(w, 8, 0, "text", 0);
	expect_kept(w, received, 0, unanswered);
	world_proxy_expect(w, LINK_BACKEND_UP);
	assert_int_equal(fake_proxy_recv(&w->proxy), 0);
}

static void taken_over(struct kept *k)
{
	fake_proxy_notice(&k->w->proxy, LINK_SESSION_UP, 1);
	fake_step(&k->w->f);
	assert_false(k->w->dev->keep.away);
	assert_int_equal(k->w->dev->session.number, 1);
}

static void test_taken_over(void **state)
{
	struct kept *k = *state;
	struct world *w = k->w;
	struct vhost_user_msg msg = msg_empty(VHOST_USER_GET_FEATURES);
	char byte;

	/* Again and again, and the driver hears nothing of it. */
	for (unsigned int i = 0; i < 3; i++) {
		proxy_dies(k);
		expect_data_path(k);
		next_proxy(k, 77, 0);
		taken_over(k);
		expect_data_path(k);
		assert_int_equal(read(k->front_end[0], &byte, 1), 1);
	}
	assert_int_equal(fake_take_msis(&w->f, WORLD_CONFIG_IRQ), 0);
	world_send(w, &msg, NULL, 0);
	world_expect(w, VHOST_USER_GET_FEATURES);
	world_answer(w, VHOST_USER_GET_FEATURES, 5);
	world_proxy_expect(w, LINK_BACKEND);
	assert_int_equal(w->proxy.in.pkt.hdr.session, 1);
}

static void test_refused(void **state)
{
	struct kept *k = *state;

	proxy_dies(k);
	next_proxy(k, 77, 0);
	fake_proxy_text(&k->w->proxy, LINK_SESSION_DOWN, 1, "a request is unanswered");
	world_expect_end(k->w, false, NULL);
	assert_int_equal(fake_num_irqfds(&k->w->f), 0);
	assert_int_equal(k->w->dev->keep.num, 0);
	gd_vvu_set_up(&k->w->drv, true);
	world_next_session(k->w, 2);
	/* What was kept of the first is nothing of the second. */
	fake_proxy_hang_up(&k->w->proxy);
	world_expect_end(k->w, false, NULL);
	next_link_without_session(k->w);
}

/* The proxy was there all the time and begins with another session (replay). */
static void test_another_session(void **state)
{
	struct kept *k = *state;

	proxy_dies(k);
	next_proxy(k, 77, 0);
	fake_proxy_notice(&k->w->proxy, LINK_SESSION_UP, 9);
	world_expect_end(k->w, false, NULL);
	gd_vvu_set_up(&k->w->drv, true);
	fake_step(&k->w->f);
	assert_int_equal(k->w->dev->session.number, 9);
	assert_int_equal(k->w->dev->keep.num, 0);
}

static void answered(struct world *w, uint32_t session, uint32_t seq)
{
	struct link_packet pkt = {
		.hdr = { .kind = LINK_ANSWERED, .session = session, .seq = seq }
	};

	assert_int_equal(link_send(w->proxy.link, &pkt, 0, NULL, 0), 0);
	fake_step(&w->f);
}

static void request(struct kept *k, uint32_t seq, bool need_reply)
{
	struct vhost_user_msg msg = msg_state(VHOST_USER_SET_VRING_NUM, 0, 256);

	if (need_reply)
		msg.hdr.flags |= VHOST_USER_NEED_REPLY_MASK;
	fake_proxy_message(&k->w->proxy, 1, seq, &msg, NULL, 0);
	world_expect(k->w, VHOST_USER_SET_VRING_NUM);
}

static void test_unanswered(void **state)
{
	struct kept *k = *state;
	struct world *w = k->w;

	for (uint32_t seq = UINT32_MAX - 3; seq != 4; seq++)
		request(k, seq, seq & 1);
	assert_int_equal(w->dev->keep.num_wanted, 4);
	answered(w, 2, 3); /* of no session of ours */
	assert_int_equal(w->dev->keep.num_wanted, 4);
	answered(w, 1, 1);
	assert_int_equal(w->dev->keep.num_wanted, 1);
	/* Its answer finds no proxy. */
	for (unsigned int i = 0; i < 3; i++) {
		world_answer(w, VHOST_USER_SET_VRING_NUM, 0);
		world_proxy_expect(w, LINK_BACKEND);
	}
	proxy_dies(k);
	world_answer(w, VHOST_USER_SET_VRING_NUM, 0);
	assert_int_equal(w->dev->session.num, 0);
	assert_int_equal(next_hello(w)->flags, LINK_HELLO_KEPT);
	fake_proxy_notice(&w->proxy, LINK_WELCOME, 0);
	fake_step(&w->f);
	for (unsigned int i = 0; i < 3; i++)
		world_proxy_expect(w, LINK_RECORD);
	expect_kept(w, 3, 1, 1);
}

/* A proxy that never says ANSWERED: bounded, and never all answered. */
static void test_never_answered(void **state)
{
	struct kept *k = *state;

	for (uint32_t seq = 100; seq < 100 + 3 * VVU_REQUESTS_MAX; seq++) {
		request(k, seq, true);
		world_answer(k->w, VHOST_USER_SET_VRING_NUM, 0);
		world_proxy_expect(k->w, LINK_BACKEND);
	}
	proxy_dies(k);
	next_proxy(k, 99 + 3 * VVU_REQUESTS_MAX, VVU_REQUESTS_MAX);
}

static void test_driver_requests_wait(void **state)
{
	struct kept *k = *state;
	struct world *w = k->w;
	struct vhost_user_msg channel = msg_empty(VHOST_USER_SET_BACKEND_REQ_FD);
	struct vhost_user_msg msg = msg_empty(VHOST_USER_BACKEND_CONFIG_CHANGE_MSG);

	world_send(w, &channel, NULL, 0);
	world_expect(w, VHOST_USER_SET_BACKEND_REQ_FD);
	proxy_dies(k);
	for (unsigned int i = 0; i < 3; i++)
		assert_int_equal(gd_vvu_send(&w->drv, &msg), 0);
	fake_step(&w->f);
	next_proxy(k, 77, 0);
	taken_over(k);
	for (unsigned int i = 0; i < 3; i++)
		world_proxy_expect(w, LINK_BACKEND);
	assert_int_equal(fake_proxy_recv(&w->proxy), 0);
}

/* Messages that the old proxy has sent are not lost, though the driver takes them late. */
static void test_unread_messages(void **state)
{
	struct kept *k = *state;
	struct world *w = k->w;
	struct vhost_user_msg msg;
	int other[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, other), 0);
	for (unsigned int i = 0; i < GD_VVU_RX_BUFFERS + 5; i++) {
		msg = msg_state(VHOST_USER_SET_VRING_NUM, i, 256);
		fake_proxy_message(&w->proxy, 1, 100 + i, &msg, NULL, 0);
	}
	fake_proxy_record(&w->proxy, 1, 8, 0, "", NULL, 0);
	fake_proxy_record(&w->proxy, 1, LINK_RECORD_SESSION, 0, "newer", &other[1], 1);
	fake_step(&w->f);
	assert_true(w->dev->link.holding);
	proxy_dies(k);
	assert_int_equal(w->dev->link.state, VVU_LINK_UP);
	for (unsigned int i = 0; i < GD_VVU_RX_BUFFERS + 5; i++) {
		msg = world_expect(w, VHOST_USER_SET_VRING_NUM);
		assert_int_equal(msg.payload.state.index, i);
	}
	assert_int_equal(next_hello(w)->flags, LINK_HELLO_KEPT);
	fake_proxy_notice(&w->proxy, LINK_WELCOME, 0);
	fake_step(&w->f);
	expect_record(w, LINK_RECORD_SESSION, 0, "newer", 1);
	expect_record(w, 7, 3, "ring", 2);
	expect_kept(w, 100 + GD_VVU_RX_BUFFERS + 4, 0, 0);
	/* The newest socket is the one that is watched. */
	fake_proxy_hang_up(&w->proxy);
	close(other[1]);
	close(other[0]);
	world_expect_end(w, false, NULL);
}

/* The last thing that the proxy said makes no sense: what it was to change is not known. */
static void test_unread_nonsense(void **state)
{
	struct kept *k = *state;
	struct world *w = k->w;
	struct vhost_user_msg msg = msg_state(VHOST_USER_SET_VRING_NUM, 0, 256);

	for (unsigned int i = 0; i < GD_VVU_RX_BUFFERS + 1; i++)
		fake_proxy_message(&w->proxy, 1, 100 + i, &msg, NULL, 0);
	fake_proxy_record(&w->proxy, 1, LINK_RECORD_SESSION, 0, "", NULL, 0);
	fake_step(&w->f);
	proxy_dies(k);
	world_expect(w, VHOST_USER_SET_VRING_NUM);
	world_expect_end(w, false, NULL);
	next_link_without_session(w);
}

/* The proxy dies with packets of ours unread: the socket says ECONNRESET before it gives what is in it. */
static void test_reset_before_messages(void **state)
{
	struct kept *k = *state;
	struct world *w = k->w;
	struct vhost_user_msg msg = msg_empty(VHOST_USER_GET_FEATURES);

	world_send(w, &msg, NULL, 0);
	world_expect(w, VHOST_USER_GET_FEATURES);
	world_answer(w, VHOST_USER_GET_FEATURES, 5);
	msg = msg_state(VHOST_USER_SET_VRING_NUM, 0, 256);
	fake_proxy_message(&w->proxy, 1, 78, &msg, NULL, 0);
	proxy_dies(k);
	world_expect(w, VHOST_USER_SET_VRING_NUM);
	next_proxy(k, 78, 1);
}

static void test_front_end_goes(void **state)
{
	struct kept *k = *state;
	int before;

	proxy_dies(k);
	before = (int)fake_num_fds();
	/* It has something unread, and so has the device: an error is pending. */
	assert_int_equal(write(k->front_end[0], "abc", 3), 3);
	fake_step(&k->w->f);
	assert_int_equal(k->w->dev->session.number, 1);
	fd_close(&k->front_end[0]);
	world_expect_end(k->w, false, NULL);
	/* Its memory, kick, call, what the records had. */
	assert_true((int)fake_num_fds() <= before - 7);
	next_link_without_session(k->w);
}

static void test_front_end_goes_first(void **state)
{
	struct kept *k = *state;

	fd_close(&k->front_end[0]);
	fake_proxy_hang_up(&k->w->proxy);
	world_expect_end(k->w, false, NULL);
	next_link_without_session(k->w);
}

/* The front-end truncates its memory while no proxy is there to be told: it is hung up on. */
static void test_memory_goes(void **state)
{
	struct kept *k = *state;
	char byte;

	proxy_dies(k);
	assert_int_equal(read(k->front_end[0], &byte, 1), -1); /* nothing to read, no end */
	assert_int_equal(ftruncate(k->memory, MIB), 0);
	while (k->w->dev->session.number)
		fake_wait(&k->w->f, TURN_MS);
	world_expect_end(k->w, false, NULL);
	assert_int_equal(read(k->front_end[0], &byte, 1), 0);
	next_link_without_session(k->w);
}

/* As if the session had been kept for as long as it may. */
static void time_passes(struct world *w)
{
	assert_true(evtimer_pending(w->dev->keep.timer, NULL));
	event_active(w->dev->keep.timer, EV_TIMEOUT, 0);
	fake_step(&w->f);
}

static void test_limit(void **state)
{
	struct kept *k = *state;

	assert_int_equal(k->w->dev->keep.limit_ms, 30000);
	proxy_dies(k);
	time_passes(k->w);
	world_expect_end(k->w, false, NULL);
	assert_int_equal(fake_num_irqfds(&k->w->f), 0);
	next_link_without_session(k->w);
}

/* A driver that takes nothing while the rest is read does not keep the session for ever. */
static void test_limit_while_reading(void **state)
{
	struct kept *k = *state;
	struct world *w = k->w;
	struct vhost_user_msg msg = msg_u64(VHOST_USER_SET_VRING_CALL, 0);

	for (unsigned int i = 0; i < GD_VVU_RX_BUFFERS + 5; i++)
		fake_proxy_message(&w->proxy, 1, i, &msg, &k->call, 1);
	fake_step(&w->f);
	proxy_dies(k);
	time_passes(w);
	assert_int_equal(w->dev->session.number, 0);
	next_link_without_session(w);
}

static void test_driver_goes(void **state)
{
	struct kept *k = *state;

	proxy_dies(k);
	gd_vvu_set_up(&k->w->drv, false);
	world_expect_end(k->w, false, NULL);
	next_link_without_session(k->w);
	fake_proxy_notice(&k->w->proxy, LINK_WELCOME, 0);
	fake_step(&k->w->f);
	assert_int_equal(fake_proxy_recv(&k->w->proxy), 0);
}

/* The session ends when the proxy knows half of it: that link is worth nothing. */
static void test_driver_goes_in_hello(void **state)
{
	struct kept *k = *state;

	proxy_dies(k);
	assert_int_equal(next_hello(k->w)->flags, LINK_HELLO_KEPT);
	gd_virtio_reset(&k->w->drv.dev);
	fake_step(&k->w->f);
	assert_int_equal(fake_proxy_recv(&k->w->proxy), -1);
	next_link_without_session(k->w);
}

/* The same when it knows all of it: it is told. */
static void test_driver_goes_when_handed(void **state)
{
	struct kept *k = *state;

	proxy_dies(k);
	next_proxy(k, 77, 0);
	gd_vvu_set_up(&k->w->drv, false);
	world_expect_end(k->w, false, NULL);
	world_proxy_expect(k->w, LINK_BACKEND_DOWN);
	assert_int_equal(k->w->dev->link.state, VVU_LINK_UP);
}

static void test_new_proxies_die_too(void **state)
{
	struct kept *k = *state;

	proxy_dies(k);
	for (unsigned int i = 0; i < 3; i++) {
		next_hello(k->w);
		if (i) {
			fake_proxy_notice(&k->w->proxy, LINK_WELCOME, 0);
			fake_step(&k->w->f);
		}
		proxy_dies(k);
	}
	next_proxy(k, 77, 0);
	taken_over(k);
	expect_data_path(k);
}

/* The next proxy has no such port, or another VMM has it: nobody will ever take the session over. */
static void test_rejected(void **state)
{
	struct kept *k = *state;
	char byte;

	proxy_dies(k);
	assert_int_equal(read(k->front_end[0], &byte, 1), -1);
	assert_int_equal(next_hello(k->w)->flags, LINK_HELLO_KEPT);
	fake_proxy_text(&k->w->proxy, LINK_REJECT, 0, "no port is named \"a\"");
	world_expect_end(k->w, false, NULL);
	assert_int_equal(fake_num_irqfds(&k->w->f), 0);
	assert_int_equal(k->w->dev->keep.num, 0);
	assert_false(k->w->dev->keep.away);
	assert_int_equal(read(k->front_end[0], &byte, 1), 0);
	next_link_without_session(k->w);
}

/* --- records --- */

static void test_records_change(void **state)
{
	struct kept *k = *state;
	struct world *w = k->w;
	unsigned int before = fake_num_fds();

	/* A new one of the same name takes its place, fds and all; an empty one takes it away. */
	fake_proxy_record(&w->proxy, 1, 7, 3, "", &k->kick, 1);
	fake_step(&w->f);
	assert_int_equal(fake_num_fds(), before - 1);
	fake_proxy_record(&w->proxy, 1, 7, 3, "", NULL, 0);
	fake_proxy_record(&w->proxy, 1, 8, 0, "", NULL, 0);
	fake_proxy_record(&w->proxy, 1, 99, 99, "", NULL, 0);
	/* Of no session. */
	fake_proxy_record(&w->proxy, 2, 7, 3, "", &k->kick, 1);
	fake_step(&w->f);
	assert_int_equal(fake_num_fds(), before - 2);
	assert_int_equal(w->dev->keep.num, 1);
	/* Without the session's own nothing is kept. */
	fake_proxy_record(&w->proxy, 1, LINK_RECORD_SESSION, 0, "", NULL, 0);
	fake_step(&w->f);
	fake_proxy_hang_up(&w->proxy);
	world_expect_end(w, false, NULL);
	next_link_without_session(w);
}

static void test_as_many_as_there_may_be(void **state)
{
	struct kept *k = *state;
	struct world *w = k->w;

	for (unsigned int i = 3; i < LINK_RECORDS_MAX; i++) {
		fake_proxy_record(&w->proxy, 1, 9, i, "0123456789", &k->kick, 1);
		fake_step(&w->f);
	}
	assert_int_equal(w->dev->keep.num, LINK_RECORDS_MAX);
	proxy_dies(k);
	assert_int_equal(next_hello(w)->flags, LINK_HELLO_KEPT);
	fake_proxy_notice(&w->proxy, LINK_WELCOME, 0);
	fake_step(&w->f);
	/* More than the socket holds, they come as they are read. */
	for (unsigned int i = 0; i < LINK_RECORDS_MAX; i++) {
		world_proxy_expect(w, LINK_RECORD);
		fake_step(&w->f);
	}
	expect_kept(w, 77, 0, 0);
	world_proxy_expect(w, LINK_BACKEND_UP);
	taken_over(k);
	/* One more than there may be. */
	fake_proxy_record(&w->proxy, 1, 9, LINK_RECORDS_MAX, "x", NULL, 0);
	world_expect_end(w, false, NULL);
	next_link_without_session(w);
}

/* What a proxy may not send ends its link, and the session with it. */
static void test_hostile(void **state)
{
	struct kept *k = *state;
	struct world *w = k->w;
	int dgram = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	for (unsigned int i = 0; i < 5; i++) {
		if (i == 0)
			fake_proxy_record(&w->proxy, i + 1, LINK_RECORD_SESSION, 0, "s", NULL, 0);
		else if (i == 1)
			fake_proxy_record(&w->proxy, i + 1, LINK_RECORD_SESSION, 0, "s", &k->kick,
					  1);
		else if (i == 2)
			fake_proxy_record(&w->proxy, i + 1, LINK_RECORD_SESSION, 0, "s", &dgram, 1);
		else
			fake_proxy_notice(&w->proxy, i == 3 ? LINK_SILENT : LINK_SERVING, i + 1);
		world_expect_end(w, false, NULL);
		assert_int_equal(w->dev->keep.num, 0);
		next_link_without_session(w);
		fake_proxy_notice(&w->proxy, LINK_WELCOME, 0);
		gd_vvu_set_up(&w->drv, true);
		fake_step(&w->f);
		world_proxy_expect(w, LINK_BACKEND_UP);
		world_next_session(w, i + 2);
	}
	close(dgram);
}

/* The next proxy is no better: its link ends, the session waits for another one. */
static void test_hostile_successor(void **state)
{
	struct kept *k = *state;
	struct world *w = k->w;

	proxy_dies(k);
	next_proxy(k, 77, 0);
	fake_proxy_record(&w->proxy, 1, 7, 3, "more", &k->kick, 1);
	fake_step(&w->f);
	assert_true(w->dev->keep.away);
	assert_int_equal(next_hello(w)->flags, LINK_HELLO_KEPT);
	/* Taken over before it was given. */
	fake_proxy_notice(&w->proxy, LINK_SESSION_UP, 1);
	fake_step(&w->f);
	next_proxy(k, 77, 0);
	taken_over(k);
	expect_data_path(k);
}

/* --- replacement --- */

static unsigned int events[3];

static void on_event(void *arg, enum vvu_dev_event what)
{
	events[what]++;
}

static void expect_events(unsigned int serving, unsigned int silent, unsigned int replaced)
{
	assert_int_equal(events[VVU_DEV_SERVING], serving);
	assert_int_equal(events[VVU_DEV_SILENT], silent);
	assert_int_equal(events[VVU_DEV_REPLACED], replaced);
	memset(events, 0, sizeof(events));
}

static void test_replacement(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	(void)state;
	world_init(w);
	w->dev->link.replace = true;
	w->dev->event = on_event;
	vvu_dev_start(w->dev);
	fake_step(&w->f);
	assert_int_equal(next_hello(w)->flags, LINK_HELLO_REPLACEMENT);
	fake_proxy_notice(&w->proxy, LINK_WELCOME, 0);
	fake_step(&w->f);
	world_session(w, true, 1);
	fake_proxy_notice(&w->proxy, LINK_SILENT, 0);
	fake_step(&w->f);
	expect_events(0, 1, 0);
	/* Still one until it has heard otherwise. */
	fake_proxy_hang_up(&w->proxy);
	world_expect_end(w, false, NULL);
	assert_int_equal(next_hello(w)->flags, LINK_HELLO_REPLACEMENT);
	fake_proxy_notice(&w->proxy, LINK_WELCOME, 0);
	fake_proxy_notice(&w->proxy, LINK_SERVING, 0);
	fake_step(&w->f);
	expect_events(1, 0, 0);
	fake_proxy_hang_up(&w->proxy);
	fake_step(&w->f);
	next_link_without_session(w);
	world_free(w);
	free(w);
}

static void test_replaced(void **state)
{
	struct kept *k = *state;
	struct world *w = k->w;

	w->dev->event = on_event;
	fake_proxy_notice(&w->proxy, LINK_REPLACED, 0);
	world_expect_end(w, false, NULL);
	expect_events(0, 0, 1);
	assert_int_equal(fake_proxy_recv(&w->proxy), -1);
	assert_int_equal(w->dev->link.state, VVU_LINK_DOWN);
	/* Nothing brings it back. */
	gd_vvu_set_up(&w->drv, true);
	fake_step(&w->f);
	assert_false(evtimer_pending(w->dev->link.retry, NULL));
}

int main(void)
{
#define KEEP_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		KEEP_TEST(test_taken_over),
		KEEP_TEST(test_refused),
		KEEP_TEST(test_another_session),
		KEEP_TEST(test_unanswered),
		KEEP_TEST(test_never_answered),
		KEEP_TEST(test_driver_requests_wait),
		KEEP_TEST(test_unread_messages),
		KEEP_TEST(test_unread_nonsense),
		KEEP_TEST(test_reset_before_messages),
		KEEP_TEST(test_front_end_goes),
		KEEP_TEST(test_front_end_goes_first),
		KEEP_TEST(test_memory_goes),
		KEEP_TEST(test_limit),
		KEEP_TEST(test_limit_while_reading),
		KEEP_TEST(test_driver_goes),
		KEEP_TEST(test_driver_goes_in_hello),
		KEEP_TEST(test_driver_goes_when_handed),
		KEEP_TEST(test_new_proxies_die_too),
		KEEP_TEST(test_rejected),
		KEEP_TEST(test_records_change),
		KEEP_TEST(test_as_many_as_there_may_be),
		KEEP_TEST(test_hostile),
		KEEP_TEST(test_hostile_successor),
		cmocka_unit_test(test_replacement),
		KEEP_TEST(test_replaced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
