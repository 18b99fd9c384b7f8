// SPDX-License-Identifier: BSD-2-Clause
/*
 * A proxy that takes over from another one, which tells nonsense: the input is a script of blocks, each nearly
 * right. All is sent before it is read, so that nobody waits. What would end the process ends the run instead.
 *
 * The first byte: 1 the answer is no answer, 2 refuses, 4 begins with anything, 8 other paths than ours; then comes the
 * usual beginning (the proxy, its ports, that were all sockets), unless 16.
 */
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <setjmp.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "fuzz.h"
#include "vmm/hostlib/log.h"

static _Noreturn void die_quietly(void)
{
	exit(1);
}

/* Nearly each run ends with one of them. */
#undef log_error
#define log_error(who, ...) ((void)0)
#define die(...)	    die_quietly()
#include "host-proxy/takeover.c"

#define USER_BASE  UINT64_C(0x7f0000000000)
#define BLOCKS_MAX 24
#define ROOM	   (8 << 20) /* for all blocks; with less the last of them are cut off */
#define FILE_BYTES (1u << 20)
#define RINGS	   4

enum fd_kind {
	NOTHING,
	MEMORY,
	POSITIONS,
	KICK,
	CALL,
	ERR,
	PORT_SOCKET,
	LINK_SOCKET,
	CONTROL_SOCKET,
	FRONT,
	VMM,
	CHANNEL,
	FD_KINDS
};

static char folder[32], port_path[48], link_path[48], control_path[48];
static char elsewhere[] = "/nonexistent/vvu";
static int kinds[FD_KINDS];
static int asked = -1; /* its end of the connection to the old proxy */
static bool running;
static jmp_buf end;

struct script {
	struct input *in;
	int sock;
	int ours[3]; /* front-end, VMM, channel */
	struct takeover_block b;
	uint32_t ports; /* told */
};

/* --- what takeover.c would do to the process --- */

_Noreturn void __real_exit(int status);
_Noreturn void __wrap_exit(int status);
int __wrap_prog_connect_unix(const char *path, int type);

_Noreturn void __wrap_exit(int status)
{
	if (!running)
		__real_exit(status);
	longjmp(end, 1);
}

int __wrap_prog_connect_unix(const char *path, int type)
{
	CHECK(!strcmp(path, elsewhere) && type == SOCK_STREAM);
	return asked;
}

/* --- set-up --- */

static int listening(const char *name, int type)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int sock = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	snprintf(addr.sun_path + 1, sizeof(addr.sun_path) - 1, "%s/%s", folder, name);
	CHECK(bind(sock, (struct sockaddr *)&addr, sizeof(addr)) == 0 && listen(sock, 4) == 0);
	return sock;
}

static void remove_folder(void)
{
	rmdir(folder);
}

static void once(void)
{
	if (kinds[MEMORY])
		return;
	log_set_level("error");
	strcpy(folder, "/tmp/vvu-fuzz-XXXXXX");
	CHECK(mkdtemp(folder) && atexit(remove_folder) == 0);
	snprintf(port_path, sizeof(port_path), "%s/a", folder);
	snprintf(link_path, sizeof(link_path), "%s/link", folder);
	snprintf(control_path, sizeof(control_path), "%s/control", folder);
	kinds[NOTHING] = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int i = MEMORY; i <= POSITIONS; i++) {
		kinds[i] = memfd_create("fuzz", MFD_CLOEXEC);
		CHECK(ftruncate(kinds[i], FILE_BYTES) == 0);
	}
	for (int i = KICK; i <= ERR; i++)
		kinds[i] = eventfd(0, EFD_CLOEXEC);
	kinds[PORT_SOCKET] = listening("a", SOCK_STREAM);
	kinds[LINK_SOCKET] = listening("link", SOCK_SEQPACKET);
	kinds[CONTROL_SOCKET] = listening("control", SOCK_STREAM);
}

static int pair(int type, int *theirs)
{
	int sv[2];

	CHECK(socketpair(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sv) == 0);
	*theirs = sv[1];
	return sv[0];
}

/* --- blocks --- */

static void add_fd(struct script *s, unsigned int *num, enum fd_kind kind)
{
	s->b.fds[(*num)++] = kinds[kind];
}

static unsigned int make_proxy(struct script *s)
{
	struct takeover_proxy *p = &s->b.body.proxy;
	unsigned int num = 0;

	p->num_ports = 3;
	p->last_session = 7;
	strcpy(p->link_path, link_path);
	strcpy(p->control_path, control_path);
	add_fd(s, &num, LINK_SOCKET);
	add_fd(s, &num, CONTROL_SOCKET);
	return num;
}

static unsigned int make_port(struct script *s)
{
	struct takeover_port *p = &s->b.body.port;
	unsigned int num = 0;

	p->name[0] = (char)('a' + s->ports++ % 26);
	strcpy(p->path, port_path);
	p->retry_ms = PORT_RETRY_MIN_MS;
	if (p->name[0] != 'b') {
		p->flags = TAKEOVER_LISTENS;
		add_fd(s, &num, PORT_SOCKET);
	}
	return num;
}

static unsigned int make_link(struct script *s)
{
	struct takeover_link *l = &s->b.body.link;
	unsigned int num = 0;
	uint8_t how = input_u8(s->in);

	l->state = how & 1 ? LINK_READY : how & 2 ? LINK_NEW : LINK_UP;
	if (how & 2)
		s->b.hdr.index = TAKEOVER_NO_PORT;
	l->flags = how >> 4;
	l->num_packets = how >> 2 & 3;
	l->back_end = (struct link_backend_up){ VHOST_USER_PF_CARRIED | VHOST_USER_PF_INTERNAL,
						RINGS, 5 };
	strcpy(l->who, "fuzz");
	add_fd(s, &num, VMM);
	return num;
}

static unsigned int make_packet(struct script *s)
{
	struct wire_packet *p = &s->b.body.packet;
	uint8_t how = input_u8(s->in);

	p->pkt.hdr.kind = how & 15;
	p->pkt.hdr.session = 7;
	p->bytes = how >> 4;
	return p->num_fds = 0;
}

static unsigned int make_record(struct script *s)
{
	static const struct record_session session = {
		.version = RECORD_VERSION,
		.flags = 0x1f | RECORD_INFLIGHT | RECORD_INFLIGHT_TOLD | RECORD_OFFERS_PROTOCOL,
		.protocol_offered = VHOST_USER_PF_CARRIED,
		.protocol = VHOST_USER_PF_CARRIED,
		.num_rings = RINGS,
		.inflight_rings = RINGS,
	};
	static const struct record_region region = { .region = { 0, FILE_BYTES, USER_BASE, 0 } };
	struct record_ring ring = { .flags = 0x77ff, .num = 16 };
	struct link_record *r = &s->b.body.record;
	uint8_t how = input_u8(s->in);
	unsigned int num = 0;

	r->kind = how & 3;
	if (r->kind == RECORD_SESSION) {
		r->bytes = sizeof(session);
		memcpy(r->data, &session, sizeof(session));
		add_fd(s, &num, FRONT);
		if (how & 4) {
			add_fd(s, &num, CHANNEL);
			((struct record_session *)r->data)->flags |= RECORD_CHANNEL;
		}
		add_fd(s, &num, POSITIONS);
	} else if (r->kind == RECORD_REGION) {
		r->index = how >> 2;
		r->bytes = sizeof(region);
		memcpy(r->data, &region, sizeof(region));
		add_fd(s, &num, MEMORY);
	} else if (r->kind == RECORD_RING) {
		ring.addr.index = r->index = how >> 2;
		r->bytes = sizeof(ring);
		memcpy(r->data, &ring, sizeof(ring));
		for (unsigned int k = KICK; k <= ERR; k++)
			add_fd(s, &num, k);
	} else {
		r->bytes = sizeof(struct record_mark);
	}
	return num;
}

static unsigned int make_session(struct script *s)
{
	struct takeover_session *t = &s->b.body.session;
	uint8_t how = input_u8(s->in), more = input_u8(s->in);
	unsigned int num = 0;

	t->state = SESSION_HELD + how % 5;
	t->id = 7;
	t->flags = how >> 5;
	t->seq = 3;
	t->num_pending = more & 3;
	t->num_back_pending = more >> 2 & 1;
	t->num_channel_out = more >> 3 & 1;
	for (unsigned int i = 0; i < ARRAY_LEN(t->pending); i++) {
		t->pending[i].request = VHOST_USER_GET_FEATURES;
		t->pending[i].seq = i;
	}
	t->back_pending[0].request = VHOST_USER_BACKEND_CONFIG_CHANGE_MSG;
	if (t->state == SESSION_HELD) {
		add_fd(s, &num, FRONT);
		return num;
	}
	if (more & 0x10) {
		t->in.have = 12;
		t->in.num_fds = 1;
		t->in.msg.hdr = (struct vhost_user_header){ VHOST_USER_SET_VRING_CALL, 1, 8 };
		add_fd(s, &num, NOTHING);
	}
	if (more & 0x20)
		t->channel_in.have = 4;
	if (t->flags & TAKEOVER_SESSION_CHANGES) {
		t->before.num = 1;
		t->before.regions[0] = (struct vhost_user_region){ 0, FILE_BYTES, USER_BASE, 0 };
		add_fd(s, &num, MEMORY);
	}
	return num;
}

static unsigned int make_body(struct script *s, enum takeover_kind kind)
{
	switch (kind) {
	case TAKEOVER_PROXY:
		return make_proxy(s);
	case TAKEOVER_PORT:
		s->b.hdr.index = s->ports;
		return make_port(s);
	case TAKEOVER_LINK:
		return make_link(s);
	case TAKEOVER_PACKET:
		return make_packet(s);
	case TAKEOVER_RECORD:
		return make_record(s);
	case TAKEOVER_SESSION:
		return make_session(s);
	default:
		return 0;
	}
}

/* how: 1, 2 so many places are changed, 4 another number of fds, 8 another size, 16 another index, 32 another fd. */
static void send_block(struct script *s, enum takeover_kind kind, uint8_t how)
{
	uint8_t *body = (uint8_t *)&s->b.body;
	unsigned int num;
	size_t bytes = 0;

	takeover_body_bytes(kind, &bytes);
	memset(&s->b, 0, sizeof(s->b));
	num = make_body(s, kind);
	for (unsigned int i = 0; bytes > 4 && i < (how & 3u); i++) {
		size_t at = input_u16(s->in) % (bytes - 4);

		input_bytes(s->in, body + at, 4);
	}
	if (how & 4)
		num = input_u8(s->in) % 4;
	for (unsigned int i = 0; (how & 4) && i < num; i++)
		s->b.fds[i] = kinds[(MEMORY + i) % FD_KINDS];
	if (how & 8)
		bytes = input_u16(s->in) % sizeof(s->b.body);
	if (how & 16)
		s->b.hdr.index = input_u8(s->in);
	if ((how & 32) && num)
		s->b.fds[num - 1] = kinds[input_u8(s->in) % FD_KINDS];
	s->b.hdr.kind = kind;
	s->b.hdr.bytes = bytes;
	s->b.hdr.num_fds = how & 64 ? num + 1 : num;
	block_send(s->sock, &s->b, sizeof(s->b.hdr) + bytes, s->b.fds, num, 0);
}

/* In a session's order: link, records, session. */
static void send_usual(struct script *s)
{
	static const enum takeover_kind order[] = { TAKEOVER_LINK,   TAKEOVER_RECORD,
						    TAKEOVER_RECORD, TAKEOVER_RECORD,
						    TAKEOVER_RECORD, TAKEOVER_SESSION };

	for (unsigned int i = 0; i < ARRAY_LEN(order); i++)
		send_block(s, order[i], 0);
}

static void send_all(struct script *s, uint8_t how)
{
	static const char *const answers[] = { "{\"ok\":true}\n", "nonsense\n",
					       "{\"ok\":false,\"error\":\"no\"}\n",
					       "{\"ok\":false}\n" };
	const char *answer = answers[how & 3];

	block_send(s->sock, answer, strlen(answer), NULL, 0, 0);
	if (!(how & 4)) {
		send_block(s, TAKEOVER_PROXY, how & 32 ? 2 : 0);
		for (unsigned int i = 0; i < 3; i++)
			send_block(s, TAKEOVER_PORT, how & 64 ? 1 : 0);
		send_block(s, TAKEOVER_SOCKETS, 0);
	}
	for (unsigned int i = 0; i < BLOCKS_MAX && input_left(s->in); i++) {
		uint8_t kind = input_u8(s->in) & 15;

		if (kind == 15)
			send_usual(s);
		else
			send_block(s, kind, input_u8(s->in));
	}
	send_block(s, TAKEOVER_END, 0);
	send_block(s, TAKEOVER_GO, 0);
	shutdown(s->sock, SHUT_WR);
}

/* --- the run --- */

static struct proxy proxy;
static struct given given;
static struct takeover *taker;
static bool opened;

static void take_over(const struct proxy_conf *conf, struct event_base *base)
{
	const char *what;
	int ret;

	taker = takeover_begin(conf);
	asked = -1;
	takeover_sockets(taker, &given);
	opened = true;
	ret = proxy_open(&proxy, base, conf, &given, &what);
	CHECK(ret == 0);
	given_free(&given);
	takeover_state(taker, &proxy);
	takeover_commit(taker);
	taker = NULL;
	for (unsigned int i = 0; i < 8; i++) {
		event_base_loop(base, EVLOOP_NONBLOCK);
		proxy_reap(&proxy);
	}
}

/* As the end of the process would. */
static void clean_up(void)
{
	given_free(&given);
	if (!taker)
		return;
	recovery_drop(taker->recovery);
	fd_close(&taker->sock);
	free(taker->old_ports);
	free(taker->ports);
	free(taker);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct port_conf ports[] = {
		{ .name = "a", .socket = port_path, .mode = PORT_SERVER, .hold_s = 10 },
		{ .name = "b", .socket = elsewhere, .mode = PORT_CLIENT, .hold_s = 10 },
	};
	struct proxy_conf conf = { .num_ports = 2, .ports = ports, .takeover = elsewhere };
	static struct script s;
	static struct event_base *base;
	struct input in = { data, size };
	const int room = ROOM;
	uint8_t how;
	int before, mine[3] = { FRONT, VMM, CHANNEL };

	once();
	before = dup(kinds[NOTHING]);
	close(before);
	how = input_u8(&in);
	conf.link = how & 8 ? control_path : link_path;
	memset(&s, 0, sizeof(s));
	s.in = &in;
	for (unsigned int i = 0; i < 3; i++)
		s.ours[i] = pair(i == 1 ? SOCK_SEQPACKET : SOCK_STREAM, &kinds[mine[i]]);
	s.sock = pair(SOCK_STREAM, &asked);
	setsockopt(s.sock, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room));
	send_all(&s, how);
	taker = NULL;
	opened = false;
	base = event_base_new();
	running = true;
	if (!setjmp(end))
		take_over(&conf, base);
	running = false;
	if (opened)
		proxy_close(&proxy);
	clean_up();
	event_base_free(base);
	CHECK(close_range((unsigned int)before, ~0u, 0) == 0);
	unlink(port_path);
	unlink(link_path);
	unlink(control_path);
	return 0;
}
