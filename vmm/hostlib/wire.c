// SPDX-License-Identifier: BSD-2-Clause
/*
 * A stream gives no message boundaries and SCM_RIGHTS data rides on bytes, so the reader never asks
 * for more bytes than the message in hand still lacks: what follows, and the fds on it, stays in
 * the socket for the next message.
 *
 * The control buffer holds exactly WIRE_FDS_MAX fds. More than that, or a descriptor table that is
 * full, makes the kernel set MSG_CTRUNC and close the rest; both end the connection, since the
 * message lacks fds it was sent with.
 */
#include "vmm/hostlib/wire.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "vmm/hostlib/fds.h"

_Static_assert((int)WIRE_FDS_MAX == (int)LINK_FDS_MAX, "one control buffer serves both");
_Static_assert(sizeof(struct vhost_user_msg) ==
		       sizeof(struct vhost_user_header) + sizeof(union vhost_user_payload),
	       "header and payload are contiguous");

union control_buf {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(WIRE_FDS_MAX * sizeof(int))];
};

/*
 * Moves the fds of a received message to fds[*num..max-1]. Every fd that does not fit is closed. 0,
 * or -EPROTO when fds were lost or there were too many.
 */
static int take_fds(struct msghdr *mh, int *fds, unsigned int *num, unsigned int max)
{
	struct cmsghdr *c;
	int ret = mh->msg_flags & MSG_CTRUNC ? -EPROTO : 0;

	for (c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c)) {
		unsigned int n;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (unsigned int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		for (unsigned int i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (*num < max) {
				fds[(*num)++] = fd;
			} else {
				fd_close(&fd);
				ret = -EPROTO;
			}
		}
	}
	return ret;
}

/* recvmsg() of at most bytes; the fds are appended. Bytes read, or -errno; *lost tells that fds
 * were lost. */
static ssize_t recv_some(int sock, void *buf, size_t bytes, struct wire_msg *in, bool *lost)
{
	union control_buf control;
	struct iovec iov = { .iov_base = buf, .iov_len = bytes };
	struct msghdr mh = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	ssize_t n;

	do
		n = recvmsg(sock, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	*lost = take_fds(&mh, in->fds, &in->num_fds, WIRE_FDS_MAX) < 0;
	return n;
}

void wire_reader_init(struct wire_reader *r)
{
	bool replies = r->replies;

	memset(r, 0, sizeof(*r));
	r->replies = replies;
	for (unsigned int i = 0; i < WIRE_FDS_MAX; i++)
		r->in.fds[i] = -1;
}

void wire_reader_reset(struct wire_reader *r)
{
	fds_close(r->in.fds, r->in.num_fds);
	wire_reader_next(r);
}

void wire_reader_next(struct wire_reader *r)
{
	r->in.num_fds = 0;
	r->have = 0;
}

static int reader_broken(struct wire_reader *r, enum vu_rule *rule, enum vu_rule broken)
{
	fds_close(r->in.fds, r->in.num_fds);
	r->in.num_fds = 0;
	*rule = broken;
	return -EPROTO;
}

int wire_read(struct wire_reader *r, int sock, enum vu_rule *rule)
{
	const uint32_t hdr_bytes = sizeof(r->in.msg.hdr);

	*rule = VU_RULE_NONE;
	/* Each turn reads at least a byte, so the number of turns is bounded by the size of a
	 * message. */
	for (;;) {
		uint32_t want = r->have < hdr_bytes ? hdr_bytes : vu_msg_bytes(&r->in.msg);
		bool lost = false;
		ssize_t n;

		n = recv_some(sock, (char *)&r->in.msg + r->have, want - r->have, &r->in, &lost);
		if (n == -EAGAIN || n == -EWOULDBLOCK)
			return 0;
		if (n < 0)
			return (int)n;
		if (n == 0)
			return -ECONNRESET;
		r->have += (uint32_t)n;
		if (lost)
			return reader_broken(r, rule, VU_RULE_FDS);
		if (r->have == hdr_bytes && want == hdr_bytes) {
			enum vu_rule broken = vu_check_header(&r->in.msg.hdr, r->replies);

			if (broken != VU_RULE_NONE)
				return reader_broken(r, rule, broken);
			/* Whatever the check tolerates, nothing is written beyond the buffer. */
			if (r->in.msg.hdr.size > VHOST_USER_PAYLOAD_MAX)
				return reader_broken(r, rule, VU_RULE_SIZE);
			want = vu_msg_bytes(&r->in.msg);
		}
		if (r->have == want)
			return 1;
	}
}

/* sendmsg() of at most bytes with the fds, if any. Bytes sent or -errno. */
static ssize_t send_some(int sock, const void *buf, size_t bytes, const int *fds,
			 unsigned int num_fds)
{
	union control_buf control;
	struct iovec iov = { .iov_len = bytes };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	memcpy(&iov.iov_base, &buf,
	       sizeof(buf)); /* sendmsg() does not write, its type can't say so */
	if (num_fds > WIRE_FDS_MAX)
		return -EINVAL;
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
	do
		n = sendmsg(sock, &mh, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

int wire_send(int sock, const struct vhost_user_msg *msg, const int *fds, unsigned int num_fds)
{
	uint32_t bytes = vu_msg_bytes(msg);
	uint32_t sent = 0;

	while (sent < bytes) {
		ssize_t n = send_some(sock, (const char *)msg + sent, bytes - sent, fds,
				      sent ? 0 : num_fds);

		if (n == -EAGAIN && sent)
			return -EPIPE;
		if (n < 0)
			return (int)n;
		sent += (uint32_t)n;
	}
	return 0;
}

/* Body bytes that a packet of this kind must have; false: no such kind. */
static bool link_body_bytes(const struct wire_packet *p, uint32_t *bytes)
{
	switch ((enum link_kind)p->pkt.hdr.kind) {
	case LINK_HELLO:
		*bytes = sizeof(struct link_hello);
		return true;
	case LINK_REJECT:
	case LINK_SESSION_DOWN:
	case LINK_RESULT:
		*bytes = sizeof(struct link_text);
		return true;
	case LINK_BACKEND_UP:
		*bytes = sizeof(struct link_backend_up);
		return true;
	case LINK_KEPT:
		*bytes = sizeof(struct link_kept);
		return true;
	case LINK_RECORD:
		if (p->bytes < sizeof(struct link_header) + LINK_RECORD_HDR ||
		    p->pkt.body.record.bytes > LINK_RECORD_DATA_MAX)
			return false;
		*bytes = LINK_RECORD_HDR + p->pkt.body.record.bytes;
		return true;
	case LINK_WELCOME:
	case LINK_BACKEND_DOWN:
	case LINK_BACKEND_LOST:
	case LINK_SESSION_UP:
	case LINK_ANSWERED:
	case LINK_SILENT:
	case LINK_REPLACED:
	case LINK_SERVING:
		*bytes = 0;
		return true;
	case LINK_FRONTEND:
	case LINK_BACKEND:
		if (p->bytes < sizeof(struct link_header) + sizeof(struct vhost_user_header) ||
		    p->pkt.body.msg.hdr.size > VHOST_USER_PAYLOAD_MAX)
			return false;
		*bytes = vu_msg_bytes(&p->pkt.body.msg);
		return true;
	}
	return false;
}

static void clean_text(char *text, size_t bytes)
{
	text[bytes - 1] = '\0';
	for (char *c = text; *c; c++) {
		if (*c < 0x20 || *c > 0x7e)
			*c = '?';
	}
}

static unsigned int link_fds_max(unsigned int kind)
{
	return kind == LINK_FRONTEND ? LINK_FDS_MAX : kind == LINK_RECORD ? LINK_RECORD_FDS_MAX : 0;
}

static bool has_text(unsigned int kind)
{
	return kind == LINK_REJECT || kind == LINK_SESSION_DOWN || kind == LINK_RESULT;
}

static int check_packet(struct wire_packet *p)
{
	uint32_t body;

	if (p->bytes < sizeof(struct link_header))
		return -EPROTO;
	if (p->pkt.hdr.flags || p->pkt.hdr.reserved)
		return -EPROTO;
	if (!link_body_bytes(p, &body) || p->bytes != sizeof(struct link_header) + body)
		return -EPROTO;
	if (p->num_fds > link_fds_max(p->pkt.hdr.kind))
		return -EPROTO;
	if (has_text(p->pkt.hdr.kind))
		clean_text(p->pkt.body.text.text, sizeof(p->pkt.body.text.text));
	if (p->pkt.hdr.kind == LINK_HELLO) {
		clean_text(p->pkt.body.hello.port, sizeof(p->pkt.body.hello.port));
		clean_text(p->pkt.body.hello.who, sizeof(p->pkt.body.hello.who));
	}
	return 0;
}

int link_recv(int sock, struct wire_packet *out)
{
	union control_buf control;
	struct iovec iov = { .iov_base = &out->pkt, .iov_len = sizeof(out->pkt) };
	struct msghdr mh = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	ssize_t n;
	int ret;

	out->num_fds = 0;
	do
		n = recvmsg(sock, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN ? 0 : -errno;
	ret = take_fds(&mh, out->fds, &out->num_fds, LINK_FDS_MAX);
	out->bytes = (uint32_t)n;
	if (!ret && n == 0)
		ret = -ECONNRESET;
	if (!ret && (mh.msg_flags & MSG_TRUNC))
		ret = -EPROTO;
	if (!ret)
		ret = check_packet(out);
	if (ret) {
		fds_close(out->fds, out->num_fds);
		out->num_fds = 0;
		return ret;
	}
	return 1;
}

int link_send(int sock, const struct link_packet *pkt, uint32_t body_bytes, const int *fds,
	      unsigned int num_fds)
{
	ssize_t n;

	if (body_bytes > sizeof(pkt->body))
		return -EMSGSIZE;
	n = send_some(sock, pkt, sizeof(pkt->hdr) + body_bytes, fds, num_fds);
	return n < 0 ? (int)n : 0; /* a packet goes whole or not at all */
}

void link_make_text(struct link_packet *pkt, enum link_kind kind, uint32_t session, const char *fmt,
		    ...)
{
	va_list ap;

	memset(&pkt->hdr, 0, sizeof(pkt->hdr));
	memset(&pkt->body.text, 0, sizeof(pkt->body.text));
	pkt->hdr.kind = (le16)kind;
	pkt->hdr.session = session;
	va_start(ap, fmt);
	vsnprintf(pkt->body.text.text, sizeof(pkt->body.text.text), fmt, ap);
	va_end(ap);
	clean_text(pkt->body.text.text, sizeof(pkt->body.text.text));
}
