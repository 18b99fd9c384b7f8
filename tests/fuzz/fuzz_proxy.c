// SPDX-License-Identifier: BSD-2-Clause
/*
 * The whole relay between a hostile front-end and a hostile VMM, on socket pairs and the real event
 * loop. The input is a script of what the two do; the loop turns after each step.
 *
 * Held to: no sanitizer report; no user address passes in a message whose addresses are rewritten;
 * no session outlives its sockets; every fd is closed in the end.
 */
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fuzz.h"
#include "host-proxy/link.h"
#include "host-proxy/port.h"
#include "host-proxy/record.h"
#include "host-proxy/relay.h"
#include "host-proxy/replace.h"
#include "host-proxy/session.h"
#include "host-proxy/status.h"
#include "host-proxy/together.h"
#include "vmm/hostlib/fds.h"
#include "vmm/hostlib/log.h"
#include "vmm/hostlib/prog.h"

#define USER_BASE UINT64_C(0x7f0000000000)
#define STEPS_MAX 200
/* So few that connecting never takes the proxy longer than it likes. */
#define STRANGERS_MAX 16
#define KINDS	      8 /* of fds */
#define QUEUES	      4
#define SLOTS	      12
#define FILE_BYTES    (1u << 20)

static char socket_path[64]; /* of the socket for VMMs */
static int kinds[KINDS];     /* -1, memory twice, eventfds, a socket, a pipe's end */

struct rig {
	struct proxy proxy;
	struct port *port;
	int front; /* our ends; -1: closed */
	int vmm;
	int channel;	       /* what a front-end gave away */
	uint32_t session, seq; /* at vmm */
	int heir;	       /* another VMM, that is to replace it or has been replaced */
	uint32_t heir_session, heir_seq;
	int stranger; /* another connection to the proxy's socket for VMMs */
	unsigned int strangers;
	struct input *in;
};

static void turn(struct rig *r)
{
	for (int i = 0; i < 3; i++) {
		event_base_loop(r->proxy.base, EVLOOP_NONBLOCK);
		proxy_reap(&r->proxy);
	}
}

static int pair(int type, int *theirs)
{
	int sv[2];

	CHECK(socketpair(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sv) == 0);
	*theirs = sv[1];
	return sv[0];
}

static void connect_front(struct rig *r)
{
	const int smallest = 1;
	int theirs;

	fd_close(&r->front);
	turn(r);
	if (r->port->session)
		return;
	r->front = pair(SOCK_STREAM, &theirs);
	/* A front-end that does not read is soon not written to any more. */
	CHECK(setsockopt(theirs, SOL_SOCKET, SO_SNDBUF, &smallest, sizeof(smallest)) == 0);
	CHECK(session_new(r->port, theirs));
	port_update(r->port);
}

static void send_link(struct rig *r, struct link_packet *pkt, uint32_t body)
{
	if (r->vmm >= 0)
		link_send(r->vmm, pkt, body, NULL, 0);
}

static void back_end_up(struct rig *r, uint64_t features, unsigned int queues, unsigned int slots)
{
	struct link_packet pkt = { .hdr = { .kind = LINK_BACKEND_UP } };

	pkt.body.backend_up = (struct link_backend_up){
		.protocol_features = features,
		.max_queues = queues,
		.max_mem_slots = slots,
	};
	send_link(r, &pkt, sizeof(pkt.body.backend_up));
}

static void connect_vmm(struct rig *r)
{
	struct link_packet pkt = { .hdr = { .kind = LINK_HELLO } };
	int theirs;

	fd_close(&r->vmm);
	r->vmm = pair(SOCK_SEQPACKET, &theirs);
	if (!link_new(&r->proxy, theirs, 0, 0))
		return;
	pkt.body.hello = (struct link_hello){ .magic = LINK_MAGIC, .version = LINK_VERSION };
	strcpy(pkt.body.hello.port, "a");
	send_link(r, &pkt, sizeof(pkt.body.hello));
	back_end_up(r, ~UINT64_C(0), QUEUES, SLOTS);
}

/* Links come from socket pairs; a socket file is only made for the first one that does not. */
static void listen_for_links(struct rig *r)
{
	if (r->proxy.links.sock >= 0)
		return;
	strcpy(socket_path, "/tmp/vvu-fuzz-XXXXXX");
	CHECK(mkdtemp(socket_path));
	strcat(socket_path, "/link");
	CHECK(listener_open(&r->proxy.links, r->proxy.base, socket_path, SOCK_SEQPACKET, 0600,
			    link_on_accept, &r->proxy) == 0);
}

/* Another VMM, or what is none: its hello is late, or not as it has to be, or its port is taken. */
static void stranger(struct rig *r)
{
	struct link_packet pkt = { .hdr = { .kind = LINK_HELLO } };
	struct link_hello *hello = &pkt.body.hello;
	uint8_t how = input_u8(r->in);

	fd_close(&r->stranger);
	turn(r);
	if (r->strangers == STRANGERS_MAX)
		return;
	r->strangers++;
	listen_for_links(r);
	r->stranger = prog_connect_unix(socket_path, SOCK_SEQPACKET);
	CHECK(r->stranger >= 0);
	turn(r);
	if (how & 1)
		return;
	*hello = (struct link_hello){ .magic = LINK_MAGIC, .version = LINK_VERSION };
	strcpy(hello->port, how & 2 ? "b" : "a");
	hello->magic ^= how >> 2 & 1;
	hello->version += how >> 3 & 1;
	hello->flags = how >> 4 & 7;
	link_send(r->stranger, &pkt, sizeof(*hello), NULL, 0);
	if (how & 0x80) { /* in place of one that is gone, which the proxy has not seen yet */
		fd_close(&r->vmm);
		r->vmm = r->stranger;
		r->stranger = -1;
	}
}

/* Its time has come, if it runs. */
static void let_expire(struct event *timer)
{
	if (!event_pending(timer, EV_TIMEOUT, NULL))
		return;
	event_del(timer);
	event_active(timer, EV_TIMEOUT, 0);
}

static void time_passes(struct rig *r)
{
	uint8_t what = input_u8(r->in);

	if ((what & 1) && r->port->session)
		let_expire(&r->port->session->timer);
	if ((what & 2) && r->port->link)
		let_expire(&r->port->link->timer);
	if ((what & 4) && !LIST_EMPTY(&r->proxy.new_links))
		let_expire(&LIST_FIRST(&r->proxy.new_links)->timer);
}

/* The back-end goes: its VMM dies, its guest is reset, or its driver lets go. Another may come. */
static void back_end_gone(struct rig *r)
{
	static const uint8_t kinds_of_end[] = { LINK_BACKEND_LOST, LINK_BACKEND_DOWN };
	struct link_packet pkt = { 0 };
	uint8_t how = input_u8(r->in);

	if (how & 1) {
		fd_close(&r->vmm);
		return;
	}
	pkt.hdr.kind = kinds_of_end[how >> 7];
	send_link(r, &pkt, 0);
	turn(r);
	if (how & 2)
		back_end_up(r, how & 4 ? VHOST_USER_PF_CARRIED : ~UINT64_C(0), how & 8 ? 1 : QUEUES,
			    how & 16 ? 1 : SLOTS);
}

/* From now on the steps are the other VMM's. */
static void other_vmm(struct rig *r)
{
	int vmm = r->vmm;
	uint32_t session = r->session, seq = r->seq;

	r->vmm = r->heir;
	r->session = r->heir_session;
	r->seq = r->heir_seq;
	r->heir = vmm;
	r->heir_session = session;
	r->heir_seq = seq;
}

static void replacement(struct rig *r)
{
	struct link_packet pkt = { .hdr = { .kind = LINK_HELLO } };
	int theirs;

	other_vmm(r);
	fd_close(&r->vmm);
	turn(r);
	r->vmm = pair(SOCK_SEQPACKET, &theirs);
	if (!link_new(&r->proxy, theirs, 0, 0))
		return;
	pkt.body.hello = (struct link_hello){ .magic = LINK_MAGIC,
					      .version = LINK_VERSION,
					      .flags = LINK_HELLO_REPLACEMENT };
	strcpy(pkt.body.hello.port, "a");
	send_link(r, &pkt, sizeof(pkt.body.hello));
	back_end_up(r, ~UINT64_C(0), QUEUES, SLOTS);
	if (input_u8(r->in) & 1)
		other_vmm(r); /* the old one has the word */
}

static void send_record(struct rig *r, uint32_t session, unsigned int kind, const void *data,
			uint32_t bytes, const int *fds, unsigned int num_fds)
{
	struct link_packet pkt = { .hdr = { .kind = LINK_RECORD, .session = session } };
	struct link_record *record = &pkt.body.record;
	uint8_t how = input_u8(r->in);
	int given[LINK_RECORD_FDS_MAX];

	record->kind = (le16)kind;
	record->index = how & 3;
	record->bytes = bytes;
	memcpy(record->data, data, bytes);
	if (how & 0x80) /* something else than makes sense */
		input_bytes(r->in, record->data + input_u8(r->in) % bytes, 4);
	if (fds && (how & 0x40))
		num_fds = how >> 2 & 1;
	for (unsigned int i = 0; i < num_fds; i++)
		given[i] = fds[i];
	if (num_fds && (how & 0x10)) /* another file than it should be */
		given[how >> 3 & 1 ? num_fds - 1 : 0] = kinds[input_u8(r->in) % KINDS];
	for (unsigned int times = how & 0x20 ? 2 : 1; times && r->vmm >= 0; times--)
		link_send(r->vmm, &pkt, LINK_RECORD_HDR + bytes, given, num_fds);
}

/* A VMM that kept a session of another proxy, or says so. */
static void kept_link(struct rig *r)
{
	struct link_packet pkt = { .hdr = { .kind = LINK_HELLO } };
	struct record_session session = { .version = RECORD_VERSION,
					  .flags = 0x1f | RECORD_INFLIGHT | RECORD_INFLIGHT_TOLD,
					  .protocol_offered = VHOST_USER_PF_CARRIED,
					  .protocol = VHOST_USER_PF_CARRIED,
					  .num_rings = QUEUES,
					  .inflight_rings = QUEUES };
	struct record_region region = { .region = { 0, FILE_BYTES, USER_BASE, 0 } };
	struct record_ring ring = { .flags = 0x7777, .num = 16 };
	struct record_mark mark = { .seq = 5 };
	uint8_t how = input_u8(r->in);
	int fds[2] = { -1, kinds[2] }, other = -1;

	if (!(how & 0x80))
		fd_close(&r->front);
	fd_close(&r->vmm);
	turn(r);
	if (how & 0x80) { /* a session goes on, or a front-end was there before it */
		if (r->front < 0)
			connect_front(r);
		other = r->front;
		r->front = -1;
	}
	r->vmm = pair(SOCK_SEQPACKET, &fds[0]);
	if (!link_new(&r->proxy, fds[0], 0, 0)) {
		fd_close(&other);
		return;
	}
	pkt.body.hello = (struct link_hello){ .magic = LINK_MAGIC,
					      .version = LINK_VERSION,
					      .flags = LINK_HELLO_KEPT,
					      .session = r->session + 1u + (how & 1) };
	r->session = pkt.body.hello.session;
	strcpy(pkt.body.hello.port, "a");
	send_link(r, &pkt, sizeof(pkt.body.hello));
	turn(r);
	r->front = pair(SOCK_STREAM, &fds[0]);
	send_record(r, r->session, RECORD_SESSION, &session, sizeof(session), fds, 2);
	fd_close(&fds[0]);
	send_record(r, r->session, RECORD_REGION, &region, sizeof(region), &kinds[1], 1);
	turn(r);
	ring.addr.index = how >> 1 & 3;
	send_record(r, r->session, RECORD_RING, &ring, sizeof(ring), &kinds[4], 3);
	if (how & 8)
		send_record(r, r->session, RECORD_RING, &ring, sizeof(ring), &kinds[4], 3);
	turn(r);
	send_record(r, r->session, RECORD_MARK, &mark, sizeof(mark), NULL, 0);
	pkt = (struct link_packet){ .hdr = { .kind = LINK_KEPT, .session = r->session } };
	pkt.body.kept.received = 5 + (how >> 4 & 1);
	pkt.body.kept.unanswered = how >> 6 & 1;
	r->seq = pkt.body.kept.received;
	send_link(r, &pkt, sizeof(pkt.body.kept));
	turn(r);
	fd_close(&other);
	if (!(how & 0x20))
		back_end_up(r, ~UINT64_C(0), QUEUES, SLOTS);
}

/* --- the front-end --- */

static void make_region(struct rig *r, struct vhost_user_region *out)
{
	out->guest_phys_addr = (uint64_t)input_u8(r->in) << 14;
	out->memory_size = (uint64_t)(input_u8(r->in) & 0x3f) << 12;
	out->userspace_addr = USER_BASE + ((uint64_t)input_u8(r->in) << 14);
	out->mmap_offset = (uint64_t)(input_u8(r->in) & 0x3f) << 12;
}

/* A payload that is nearly right. */
static void make_payload(struct rig *r, struct vhost_user_msg *m, enum vu_payload kind)
{
	union vhost_user_payload *p = &m->payload;

	switch (kind) {
	case VU_PAYLOAD_U64:
		p->u64 = input_u8(r->in) & 0x80 ? input_u64(r->in) : input_u16(r->in) & 0x10f;
		m->hdr.size = 8;
		break;
	case VU_PAYLOAD_STATE:
		p->state = (struct vhost_user_vring_state){ input_u8(r->in) % (QUEUES + 1),
							    input_u16(r->in) };
		m->hdr.size = 8;
		break;
	case VU_PAYLOAD_ADDR:
		p->addr = (struct vhost_user_vring_addr){
			.index = input_u8(r->in) % (QUEUES + 1),
			.desc_user_addr = USER_BASE + (uint64_t)input_u16(r->in) * 64,
			.used_user_addr = USER_BASE + (uint64_t)input_u16(r->in) * 64,
			.avail_user_addr = USER_BASE + (uint64_t)input_u16(r->in) * 64,
		};
		m->hdr.size = sizeof(p->addr);
		break;
	case VU_PAYLOAD_MEM_TABLE:
		p->mem.num_regions = input_u8(r->in) % (VHOST_USER_TABLE_REGIONS_MAX + 2);
		for (uint32_t i = 0; i < p->mem.num_regions && i < VHOST_USER_TABLE_REGIONS_MAX;
		     i++)
			make_region(r, &p->mem.regions[i]);
		if (p->mem.num_regions <= VHOST_USER_TABLE_REGIONS_MAX)
			m->hdr.size = VHOST_USER_MEM_TABLE_BYTES(p->mem.num_regions);
		else
			m->hdr.size = sizeof(p->mem);
		break;
	case VU_PAYLOAD_MEM_REG:
		make_region(r, &p->mem_reg.region);
		m->hdr.size = sizeof(p->mem_reg);
		break;
	case VU_PAYLOAD_CONFIG:
		p->config.offset = input_u8(r->in);
		p->config.size = input_u8(r->in);
		m->hdr.size = VHOST_USER_CONFIG_HDR + p->config.size;
		break;
	default:
		m->hdr.size = 0;
	}
}

static void front_message(struct rig *r)
{
	struct vhost_user_msg m = { .hdr = { .request = input_u8(r->in) % 48 } };
	const struct vu_msg_info *info = vu_frontend_info(m.hdr.request);
	uint8_t how = input_u8(r->in), give = input_u8(r->in);
	int fds[WIRE_FDS_MAX];
	unsigned int num = 0;

	m.hdr.flags = VHOST_USER_VERSION | (how & 1 ? VHOST_USER_NEED_REPLY_MASK : 0);
	make_payload(r, &m, info ? info->payload : VU_PAYLOAD_U64);
	/* As many fds as belong to it, of a kind that the input chooses, unless it wants another
	 * number. */
	if (info && info->fds == VU_FDS_PER_REGION)
		num = m.payload.mem.num_regions;
	else if (info && info->fds != VU_FDS_NONE)
		num = 1;
	if (how & 0x20)
		num = how >> 6;
	for (unsigned int i = 0; i < num && i < WIRE_FDS_MAX; i++)
		fds[i] = kinds[give % KINDS];
	if (how & 2)
		m.hdr.flags = input_u32(r->in);
	if (how & 4)
		m.hdr.size = input_u16(r->in) % VHOST_USER_PAYLOAD_MAX;
	if (r->front >= 0)
		wire_send(r->front, &m, fds, num < WIRE_FDS_MAX ? num : WIRE_FDS_MAX);
}

static void front_bytes(struct rig *r)
{
	uint8_t bytes[64];
	size_t n = input_bytes(r->in, bytes, input_u8(r->in) % sizeof(bytes));

	if (r->front >= 0 && send(r->front, bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		return; /* full or closed */
}

static void front_read(struct rig *r)
{
	char bytes[4096];
	ssize_t n;

	if (r->front < 0)
		return;
	n = recv(r->front, bytes, sizeof(bytes), MSG_DONTWAIT);
	if (n == 0)
		fd_close(&r->front);
}

/* --- the VMM --- */

/* What the back-end is shown must hold no address of the front-end's process. */
static void check_addresses(const struct vhost_user_msg *m)
{
	switch (m->hdr.request) {
	case VHOST_USER_SET_MEM_TABLE:
		for (uint32_t i = 0; i < m->payload.mem.num_regions; i++)
			CHECK(m->payload.mem.regions[i].userspace_addr ==
			      m->payload.mem.regions[i].guest_phys_addr);
		break;
	case VHOST_USER_ADD_MEM_REG:
	case VHOST_USER_REM_MEM_REG:
		CHECK(m->payload.mem_reg.region.userspace_addr ==
		      m->payload.mem_reg.region.guest_phys_addr);
		break;
	case VHOST_USER_SET_VRING_ADDR:
		CHECK(m->payload.addr.desc_user_addr - USER_BASE > UINT32_MAX);
		CHECK(m->payload.addr.used_user_addr - USER_BASE > UINT32_MAX);
		CHECK(m->payload.addr.avail_user_addr - USER_BASE > UINT32_MAX);
		break;
	default:
		break;
	}
}

static void answer(struct rig *r, const struct wire_packet *got, uint8_t how)
{
	const struct vhost_user_msg *m = &got->pkt.body.msg;
	const struct vu_msg_info *info = vu_frontend_info(m->hdr.request);
	struct link_packet pkt = { .hdr = { .kind = LINK_BACKEND } };

	if (m->hdr.request == VHOST_USER_SET_INFLIGHT_FD)
		return; /* the proxy's own */
	CHECK(info && info->relay != VU_RELAY_REFUSE);
	if (info->reply == VU_REPLY_ACK && !(m->hdr.flags & VHOST_USER_NEED_REPLY_MASK))
		return;
	if (how & 1) {
		link_make_text(&pkt, LINK_RESULT, r->session, "no");
		pkt.hdr.seq = r->seq;
		send_link(r, &pkt, sizeof(pkt.body.text));
		return;
	}
	pkt.hdr.session = r->session;
	pkt.hdr.seq = r->seq;
	vu_make_u64_reply(&pkt.body.msg, info->id, how & 2 ? ~UINT64_C(0) : 0);
	if (info->reply == VU_REPLY_STATE)
		pkt.body.msg.payload.state = m->payload.state;
	if (how & 8)
		pkt.body.msg.payload.state.index ^= 1;
	if (how & 16)
		pkt.body.msg.hdr.request++;
	if (info->reply == VU_REPLY_U64 && !(how & 4))
		pkt.body.msg.payload.u64 = ~UINT64_C(0);
	if (info->reply == VU_REPLY_CONFIG) {
		pkt.body.msg.payload.config = m->payload.config;
		pkt.body.msg.hdr.size = m->hdr.size;
	}
	send_link(r, &pkt, vu_msg_bytes(&pkt.body.msg));
}

/* Reads what there is, and answers as the input says. */
static void vmm_read(struct rig *r)
{
	uint8_t how = input_u8(r->in);
	struct wire_packet got;

	while (r->vmm >= 0) {
		int ret = link_recv(r->vmm, &got);

		CHECK(ret != -EPROTO);
		if (ret < 0)
			fd_close(&r->vmm);
		if (ret <= 0)
			return;
		fds_close(got.fds, got.num_fds);
		if (got.pkt.hdr.kind == LINK_SESSION_UP)
			r->session = got.pkt.hdr.session;
		if (got.pkt.hdr.kind != LINK_FRONTEND)
			continue;
		CHECK(got.pkt.hdr.session == r->session);
		if (got.pkt.body.msg.hdr.flags & VHOST_USER_REPLY_MASK)
			continue;
		r->seq = got.pkt.hdr.seq;
		check_addresses(&got.pkt.body.msg);
		if (!(how & 0x80))
			answer(r, &got, how);
	}
}

static void vmm_packet(struct rig *r)
{
	struct link_packet pkt = { 0 };
	uint8_t how = input_u8(r->in);
	uint32_t body = input_u8(r->in) % 64;

	pkt.hdr.kind = how & 15;
	pkt.hdr.session = how & 0x10 ? input_u32(r->in) : r->session;
	pkt.hdr.seq = r->seq + (how >> 6);
	input_bytes(r->in, &pkt.body, body);
	if (how & 0x20)
		body = sizeof(struct link_text);
	send_link(r, &pkt, body);
}

/* A request of the back-end, nearly right. */
static void vmm_request(struct rig *r)
{
	struct link_packet pkt = { .hdr = { .kind = LINK_BACKEND, .session = r->session } };
	uint8_t how = input_u8(r->in);

	pkt.hdr.seq = input_u8(r->in);
	pkt.body.msg.hdr.request =
		how & 0x80 ? how & 15 : (uint32_t)VHOST_USER_BACKEND_CONFIG_CHANGE_MSG;
	pkt.body.msg.hdr.flags = VHOST_USER_VERSION | (how & 1 ? VHOST_USER_NEED_REPLY_MASK : 0);
	send_link(r, &pkt, sizeof(pkt.body.msg.hdr));
}

static void give_channel(struct rig *r)
{
	struct vhost_user_msg m = { .hdr = { VHOST_USER_SET_BACKEND_REQ_FD, 1, 0 } };
	int theirs;

	fd_close(&r->channel);
	r->channel = pair(SOCK_STREAM, &theirs);
	if (r->front >= 0)
		wire_send(r->front, &m, &theirs, 1);
	close(theirs);
}

static void channel_reply(struct rig *r)
{
	struct vhost_user_msg m;
	uint8_t cut = input_u8(r->in);

	vu_make_u64_reply(&m, VHOST_USER_BACKEND_CONFIG_CHANGE_MSG, input_u8(r->in));
	if (cut & 0x80)
		fd_close(&r->channel);
	if (r->channel >= 0 && send(r->channel, &m, cut < vu_msg_bytes(&m) ? cut : vu_msg_bytes(&m),
				    MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		fd_close(&r->channel);
}

static void status(struct rig *r)
{
	struct json_object *reply = json_object_new_object();
	const char *error;

	CHECK(status_command(&r->proxy, "status", NULL, reply, &error) == 0);
	json_object_put(reply);
}

/* Negotiation that gets a session anywhere at all. */
static void negotiate(struct rig *r)
{
	static const uint32_t requests[] = { VHOST_USER_GET_PROTOCOL_FEATURES,
					     VHOST_USER_SET_PROTOCOL_FEATURES };

	for (unsigned int i = 0; i < ARRAY_LEN(requests) && r->front >= 0; i++) {
		struct vhost_user_msg m = { .hdr = { requests[i], VHOST_USER_VERSION, 8 * i } };

		m.payload.u64 = VHOST_USER_PF_CARRIED;
		wire_send(r->front, &m, NULL, 0);
		turn(r);
		vmm_read(r);
		turn(r);
	}
}

/* Memory and a ring that runs, as far as the messages' fate allows. */
static void start_ring(struct rig *r)
{
	struct vhost_user_msg table = {
		.hdr = { VHOST_USER_SET_MEM_TABLE, VHOST_USER_VERSION,
			 VHOST_USER_MEM_TABLE_BYTES(1) },
		.payload.mem = { .num_regions = 1, .regions[0] = { 0, FILE_BYTES, USER_BASE, 0 } },
	};
	struct vhost_user_msg addr = {
		.hdr = { VHOST_USER_SET_VRING_ADDR, VHOST_USER_VERSION, sizeof(addr.payload.addr) },
		.payload.addr = { .index = input_u8(r->in) % QUEUES,
				  .desc_user_addr = USER_BASE,
				  .used_user_addr = USER_BASE + 4096,
				  .avail_user_addr = USER_BASE + 8192 },
	};
	struct vhost_user_msg kick = {
		.hdr = { VHOST_USER_SET_VRING_KICK, VHOST_USER_VERSION, sizeof(kick.payload.u64) },
		.payload.u64 = addr.payload.addr.index,
	};

	if (r->front < 0)
		return;
	wire_send(r->front, &table, &kinds[1], 1);
	wire_send(r->front, &addr, NULL, 0);
	wire_send(r->front, &kick, &kinds[4 + addr.payload.addr.index % 3], 1);
}

static void step(struct rig *r)
{
	static void (*const steps[])(struct rig * r) = {
		front_message, front_message, front_message, vmm_read,	   front_read,
		front_bytes,   vmm_packet,    vmm_request,   give_channel, channel_reply,
		connect_front, connect_vmm,   negotiate,     status,	   vmm_read,
		front_message, back_end_gone, connect_vmm,   start_ring,   kept_link,
		replacement,   other_vmm,     vmm_read,	     start_ring,   stranger,
		time_passes,
	};

	steps[input_u8(r->in) % ARRAY_LEN(steps)](r);
	turn(r);
	CHECK(!r->port->session || r->port->session->state != SESSION_DEAD);
	CHECK(!r->port->session || !r->port->session->kept || r->port->link);
	CHECK(!r->port->next || (r->port->link && r->port->next != r->port->link));
	CHECK(!r->port->session || !session_announced(r->port->session) ||
	      (r->port->link && r->port->link->state == LINK_UP));
}

static void make_kinds(void)
{
	int p[2];

	if (kinds[1])
		return;
	/* VVU_FUZZ_LOG=debug tells the way to a failure. */
	if (log_set_level(getenv("VVU_FUZZ_LOG") ? getenv("VVU_FUZZ_LOG") : "error") < 0)
		log_set_level("error");
	kinds[0] = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int i = 1; i < 4; i++) {
		kinds[i] = memfd_create("fuzz", MFD_CLOEXEC);
		CHECK(ftruncate(kinds[i], FILE_BYTES) == 0);
	}
	for (int i = 4; i < 7; i++)
		kinds[i] = eventfd(0, EFD_CLOEXEC);
	CHECK(pipe2(p, O_CLOEXEC) == 0);
	kinds[7] = p[1];
	close(p[0]);
}

/* The number that the next fd gets: the same before and after when none was left open. */
static int next_fd(void)
{
	int fd = dup(kinds[0]);

	close(fd);
	return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char nowhere[] = "/nonexistent/vvu";
	static const struct port_conf port_conf = {
		.name = "a",
		.socket = nowhere,
		.mode = PORT_CLIENT, /* without a listening socket; we connect its front-ends */
		.hold_s = 10,
	};
	static const struct proxy_conf conf = { .num_ports = 1, .link = socket_path };
	struct input in = { data, size };
	struct rig r = {
		.front = -1, .vmm = -1, .channel = -1, .heir = -1, .stranger = -1, .in = &in
	};
	struct event_base *base;
	bool has_socket;
	int before;

	make_kinds();
	before = next_fd();
	base = event_base_new();
	r.proxy = (struct proxy){ .base = base, .conf = &conf, .links = { .sock = -1 } };
	r.proxy.ports = calloc(1, sizeof(*r.proxy.ports));
	CHECK(base && r.proxy.ports);
	r.proxy.num_ports = 1;
	r.port = r.proxy.ports;
	together_open(&r.proxy);
	replace_open(&r.proxy);
	CHECK(port_open(r.port, &r.proxy, &port_conf) == 0);
	connect_vmm(&r);
	turn(&r);
	connect_front(&r);
	turn(&r);
	vmm_read(&r);
	for (int i = 0; i < STEPS_MAX && input_left(&in); i++)
		step(&r);
	/* Peers that leave take their sessions along. */
	fd_close(&r.front);
	turn(&r);
	CHECK(!r.port->session);
	has_socket = r.proxy.links.sock >= 0;
	proxy_close(&r.proxy);
	if (has_socket) {
		*strrchr(socket_path, '/') = '\0';
		CHECK(rmdir(socket_path) == 0);
	}
	event_base_free(base);
	fd_close(&r.vmm);
	fd_close(&r.heir);
	fd_close(&r.channel);
	fd_close(&r.stranger);
	CHECK(next_fd() == before);
	return 0;
}
