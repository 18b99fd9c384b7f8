// SPDX-License-Identifier: BSD-2-Clause
/* Framed messages on a stream and packets on a link: splits, fds on any byte, too many fds, wrong
 * packets. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmm/hostlib/fds.h"
#include "vmm/hostlib/wire.h"

static int sv[2];

static int count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static int setup_stream(void **state)
{
	return socketpair(AF_UNIX, SOCK_STREAM, 0, sv);
}

static int setup_packets(void **state)
{
	return socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sv);
}

static int teardown(void **state)
{
	close(sv[0]);
	close(sv[1]);
	return 0;
}

/* Raw bytes with fds, without any of the library's checks. */
static void send_raw(int sock, const void *bytes, size_t len, const int *fds, unsigned int num_fds)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(64 * sizeof(int))];
	} control;
	char copy[2048];
	struct iovec iov = { .iov_base = copy, .iov_len = len };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };

	assert_true(len <= sizeof(copy));
	memcpy(copy, bytes, len);
	if (num_fds) {
		struct cmsghdr *c;

		memset(&control, 0, sizeof(control));
		mh.msg_control = &control;
		mh.msg_controllen = CMSG_SPACE(num_fds * sizeof(int));
		c = CMSG_FIRSTHDR(&mh);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(num_fds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, num_fds * sizeof(int));
	}
	assert_int_equal(sendmsg(sock, &mh, 0), len);
}

static struct vhost_user_msg kick_message(void)
{
	struct vhost_user_msg m = {
		.hdr = { VHOST_USER_SET_VRING_KICK, VHOST_USER_VERSION, sizeof(le64) },
	};

	m.payload.u64 = 3;
	return m;
}

static void test_split_at_each_byte(void **state)
{
	struct vhost_user_msg m = kick_message();
	uint32_t bytes = vu_msg_bytes(&m);
	int before = count_fds();

	for (uint32_t cut = 1; cut < bytes; cut++) {
		/* The fd rides on the first part, then on the second. */
		for (unsigned int part = 0; part < 2; part++) {
			struct wire_reader r = { .replies = false };
			enum vu_rule rule;
			int fd = eventfd(0, 0);

			wire_reader_init(&r);
			send_raw(sv[0], &m, cut, &fd, part == 0);
			assert_int_equal(wire_read(&r, sv[1], &rule), 0);
			assert_int_equal(r.have, cut);
			send_raw(sv[0], (char *)&m + cut, bytes - cut, &fd, part == 1);
			assert_int_equal(wire_read(&r, sv[1], &rule), 1);
			assert_memory_equal(&r.in.msg, &m, bytes);
			assert_int_equal(r.in.num_fds, 1);
			assert_true(fd_same_eventfd(r.in.fds[0], fd));
			wire_reader_reset(&r);
			close(fd);
		}
	}
	assert_int_equal(count_fds(), before);
}

static void test_two_messages_in_one_write(void **state)
{
	struct vhost_user_msg m[2] = { kick_message(), kick_message() };
	struct wire_reader r = { .replies = false };
	enum vu_rule rule;
	char both[64];
	uint32_t bytes = vu_msg_bytes(&m[0]);

	m[1].payload.u64 = 4;
	memcpy(both, &m[0], bytes);
	memcpy(both + bytes, &m[1], bytes);
	wire_reader_init(&r);
	send_raw(sv[0], both, 2 * bytes, NULL, 0);
	assert_int_equal(wire_read(&r, sv[1], &rule), 1);
	assert_int_equal(r.in.msg.payload.u64, 3);
	wire_reader_next(&r);
	assert_int_equal(wire_read(&r, sv[1], &rule), 1);
	assert_int_equal(r.in.msg.payload.u64, 4);
	wire_reader_next(&r);
	assert_int_equal(wire_read(&r, sv[1], &rule), 0);
}

static void test_too_many_fds(void **state)
{
	struct vhost_user_msg m = kick_message();
	struct wire_reader r = { .replies = false };
	int before = count_fds(), fd = eventfd(0, 0), fds[WIRE_FDS_MAX + 1];
	enum vu_rule rule;

	for (unsigned int i = 0; i < WIRE_FDS_MAX + 1; i++)
		fds[i] = fd;
	/* One packet too full. */
	wire_reader_init(&r);
	send_raw(sv[0], &m, vu_msg_bytes(&m), fds, WIRE_FDS_MAX + 1);
	assert_int_equal(wire_read(&r, sv[1], &rule), -EPROTO);
	assert_int_equal(rule, VU_RULE_FDS);
	wire_reader_reset(&r);
	close(sv[0]);
	close(sv[1]);
	/* Too many over two parts. */
	setup_stream(state);
	send_raw(sv[0], &m, 5, fds, WIRE_FDS_MAX);
	assert_int_equal(wire_read(&r, sv[1], &rule), 0);
	send_raw(sv[0], (char *)&m + 5, vu_msg_bytes(&m) - 5, fds, 1);
	assert_int_equal(wire_read(&r, sv[1], &rule), -EPROTO);
	assert_int_equal(rule, VU_RULE_FDS);
	wire_reader_reset(&r);
	close(fd);
	assert_int_equal(count_fds(), before);
}

/* A wrong header is told as soon as it is there; the bytes that it promises are never waited for.
 */
static void test_bad_headers(void **state)
{
	static const struct {
		struct vhost_user_header hdr;
		enum vu_rule rule;
	} cases[] = {
		{ { VHOST_USER_SET_OWNER, 0, 0 }, VU_RULE_VERSION },
		{ { VHOST_USER_SET_OWNER, 2, 0 }, VU_RULE_VERSION },
		{ { VHOST_USER_SET_OWNER, 0x11, 0 }, VU_RULE_FLAGS },
		{ { VHOST_USER_SET_OWNER, 0x5, 0 }, VU_RULE_FLAGS },
		{ { VHOST_USER_SET_OWNER, 1, VHOST_USER_PAYLOAD_MAX + 1 }, VU_RULE_SIZE },
		{ { VHOST_USER_SET_OWNER, 1, UINT32_MAX }, VU_RULE_SIZE },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct wire_reader r = { .replies = false };
		enum vu_rule rule;

		wire_reader_init(&r);
		send_raw(sv[0], &cases[i].hdr, sizeof(cases[i].hdr), NULL, 0);
		assert_int_equal(wire_read(&r, sv[1], &rule), -EPROTO);
		assert_int_equal(rule, cases[i].rule);
		wire_reader_reset(&r);
	}
}

static void test_close_in_the_middle(void **state)
{
	struct vhost_user_msg m = kick_message();
	int before = count_fds();

	for (uint32_t cut = 0; cut < vu_msg_bytes(&m); cut++) {
		struct wire_reader r = { .replies = false };
		int pair[2], fd = eventfd(0, 0);
		enum vu_rule rule;

		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
		wire_reader_init(&r);
		if (cut)
			send_raw(pair[0], &m, cut, &fd, 1);
		close(pair[0]);
		assert_int_equal(wire_read(&r, pair[1], &rule), -ECONNRESET);
		wire_reader_reset(&r);
		close(pair[1]);
		close(fd);
	}
	assert_int_equal(count_fds(), before);
}

static void test_send(void **state)
{
	struct vhost_user_msg m = kick_message();
	struct wire_reader r = { .replies = false };
	int fd = eventfd(0, 0), ret;
	enum vu_rule rule;

	wire_reader_init(&r);
	assert_int_equal(wire_send(sv[0], &m, &fd, 1), 0);
	assert_int_equal(wire_read(&r, sv[1], &rule), 1);
	assert_memory_equal(&r.in.msg, &m, vu_msg_bytes(&m));
	assert_int_equal(r.in.num_fds, 1);
	assert_true(fd_same_eventfd(r.in.fds[0], fd));
	wire_reader_reset(&r);
	/* A peer that does not read. */
	do
		ret = wire_send(sv[0], &m, NULL, 0);
	while (ret == 0);
	assert_true(ret == -EAGAIN || ret == -EPIPE);
	close(sv[1]);
	assert_int_equal(wire_send(sv[0], &m, NULL, 0), -EPIPE);
	close(fd);
	sv[1] = dup(sv[0]);
}

static void test_link_round_trip(void **state)
{
	struct link_packet p = { .hdr = { .kind = LINK_FRONTEND, .seq = 7, .session = 9 } };
	struct wire_packet in;
	int before = count_fds(), fd = eventfd(0, 0);

	p.body.msg = kick_message();
	assert_int_equal(link_recv(sv[1], &in), 0);
	assert_int_equal(link_send(sv[0], &p, vu_msg_bytes(&p.body.msg), &fd, 1), 0);
	assert_int_equal(link_recv(sv[1], &in), 1);
	assert_int_equal(in.bytes, sizeof(p.hdr) + 20);
	assert_memory_equal(&in.pkt, &p, in.bytes);
	assert_int_equal(in.num_fds, 1);
	assert_true(fd_same_eventfd(in.fds[0], fd));
	fds_close(in.fds, in.num_fds);
	link_make_text(&p, LINK_REJECT, 0, "no %s\n", "thanks");
	assert_int_equal(link_send(sv[0], &p, sizeof(p.body.text), NULL, 0), 0);
	assert_int_equal(link_recv(sv[1], &in), 1);
	assert_string_equal(in.pkt.body.text.text, "no thanks?");
	close(sv[0]);
	assert_int_equal(link_recv(sv[1], &in), -ECONNRESET);
	sv[0] = dup(sv[1]);
	close(fd);
	assert_int_equal(count_fds(), before);
}

static void test_link_wrong_packets(void **state)
{
	static const struct {
		enum link_kind kind;
		uint32_t body;
	} kinds[] = {
		{ LINK_HELLO, 144 },	    { LINK_WELCOME, 0 },      { LINK_REJECT, 256 },
		{ LINK_BACKEND_UP, 16 },    { LINK_BACKEND_DOWN, 0 }, { LINK_SESSION_UP, 0 },
		{ LINK_SESSION_DOWN, 256 }, { LINK_FRONTEND, 20 },    { LINK_BACKEND, 20 },
		{ LINK_RESULT, 256 },	    { LINK_BACKEND_LOST, 0 }, { LINK_RECORD, 8 },
		{ LINK_ANSWERED, 0 },	    { LINK_KEPT, 16 },	      { LINK_SILENT, 0 },
		{ LINK_REPLACED, 0 },	    { LINK_SERVING, 0 },
	};
	int before = count_fds(), fd = eventfd(0, 0);

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		struct link_packet p = { .hdr = { .kind = (le16)kinds[i].kind } };
		size_t right = sizeof(p.hdr) + kinds[i].body;
		struct wire_packet in;

		if (kinds[i].kind == LINK_FRONTEND || kinds[i].kind == LINK_BACKEND)
			p.body.msg = kick_message();
		for (size_t bytes = 1; bytes <= sizeof(p); bytes++) {
			send_raw(sv[0], &p, bytes, NULL, 0);
			assert_int_equal(link_recv(sv[1], &in), bytes == right ? 1 : -EPROTO);
		}
		send_raw(sv[0], &p, right, &fd, 1);
		assert_int_equal(link_recv(sv[1], &in),
				 kinds[i].kind == LINK_FRONTEND || kinds[i].kind == LINK_RECORD
					 ? 1
					 : -EPROTO);
		fds_close(in.fds, in.num_fds);
		p.hdr.flags = 1;
		send_raw(sv[0], &p, right, &fd, 1);
		assert_int_equal(link_recv(sv[1], &in), -EPROTO);
		p.hdr.flags = 0;
		p.hdr.reserved = 1;
		send_raw(sv[0], &p, right, NULL, 0);
		assert_int_equal(link_recv(sv[1], &in), -EPROTO);
	}
	close(fd);
	assert_int_equal(count_fds(), before);
}

static void test_link_records(void **state)
{
	struct link_packet p = { .hdr = { .kind = LINK_RECORD } };
	int before = count_fds(), fds[LINK_RECORD_FDS_MAX + 1];
	size_t head = sizeof(p.hdr) + LINK_RECORD_HDR;
	struct wire_packet in;

	for (unsigned int i = 0; i < ARRAY_LEN(fds); i++)
		fds[i] = sv[0];
	p.body.record.bytes = LINK_RECORD_DATA_MAX;
	send_raw(sv[0], &p, head + LINK_RECORD_DATA_MAX, fds, LINK_RECORD_FDS_MAX);
	assert_int_equal(link_recv(sv[1], &in), 1);
	assert_int_equal(in.num_fds, LINK_RECORD_FDS_MAX);
	fds_close(in.fds, in.num_fds);
	send_raw(sv[0], &p, head + LINK_RECORD_DATA_MAX, fds, LINK_RECORD_FDS_MAX + 1);
	assert_int_equal(link_recv(sv[1], &in), -EPROTO);
	send_raw(sv[0], &p, head + LINK_RECORD_DATA_MAX - 1, NULL, 0);
	assert_int_equal(link_recv(sv[1], &in), -EPROTO);
	p.body.record.bytes = LINK_RECORD_DATA_MAX + 1;
	send_raw(sv[0], &p, head + LINK_RECORD_DATA_MAX, NULL, 0);
	assert_int_equal(link_recv(sv[1], &in), -EPROTO);
	assert_int_equal(count_fds(), before);
}

static void test_link_odd_packets(void **state)
{
	struct link_packet p = { .hdr = { .kind = LINK_FRONTEND } };
	char big[sizeof(p) + 1] = { LINK_FRONTEND };
	int before = count_fds(), fds[LINK_FDS_MAX + 1];
	struct wire_packet in;

	for (unsigned int i = 0; i < ARRAY_LEN(fds); i++)
		fds[i] = sv[0];
	p.body.msg = kick_message();
	send_raw(sv[0], &p, sizeof(p.hdr) + 20, fds, LINK_FDS_MAX + 1);
	assert_int_equal(link_recv(sv[1], &in), -EPROTO);
	assert_int_equal(in.num_fds, 0);
	send_raw(sv[0], big, sizeof(big), NULL, 0);
	assert_int_equal(link_recv(sv[1], &in), -EPROTO);
	p.hdr.kind = 0;
	send_raw(sv[0], &p, sizeof(p.hdr), NULL, 0);
	assert_int_equal(link_recv(sv[1], &in), -EPROTO);
	p.hdr.kind = LINK_SERVING + 1;
	send_raw(sv[0], &p, sizeof(p.hdr), NULL, 0);
	assert_int_equal(link_recv(sv[1], &in), -EPROTO);
	/* Names and texts that lack their NUL or hold control characters. */
	p.hdr.kind = LINK_HELLO;
	memset(&p.body, 0x1b, sizeof(p.body.hello));
	send_raw(sv[0], &p, sizeof(p.hdr) + sizeof(p.body.hello), NULL, 0);
	assert_int_equal(link_recv(sv[1], &in), 1);
	assert_int_equal(strlen(in.pkt.body.hello.port), LINK_PORT_NAME_MAX);
	assert_int_equal(strspn(in.pkt.body.hello.who, "?"), LINK_PORT_NAME_MAX);
	assert_int_equal(count_fds(), before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_split_at_each_byte, setup_stream, teardown),
		cmocka_unit_test_setup_teardown(test_two_messages_in_one_write, setup_stream,
						teardown),
		cmocka_unit_test_setup_teardown(test_too_many_fds, setup_stream, teardown),
		cmocka_unit_test_setup_teardown(test_bad_headers, setup_stream, teardown),
		cmocka_unit_test(test_close_in_the_middle),
		cmocka_unit_test_setup_teardown(test_send, setup_stream, teardown),
		cmocka_unit_test_setup_teardown(test_link_round_trip, setup_packets, teardown),
		cmocka_unit_test_setup_teardown(test_link_wrong_packets, setup_packets, teardown),
		cmocka_unit_test_setup_teardown(test_link_records, setup_packets, teardown),
		cmocka_unit_test_setup_teardown(test_link_odd_packets, setup_packets, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
