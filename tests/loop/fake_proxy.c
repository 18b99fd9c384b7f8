// SPDX-License-Identifier: BSD-2-Clause
#include "fake_proxy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmm/hostlib/fds.h"
#include "vmm/hostlib/prog.h"

static void require(bool ok, const char *what)
{
	if (!ok) {
		perror(what);
		abort();
	}
}

void fake_proxy_init(struct fake_proxy *p)
{
	memset(p, 0, sizeof(*p));
	p->link = -1;
	snprintf(p->path, sizeof(p->path), "/tmp/vvu-loop-XXXXXX");
	require(mkdtemp(p->path) != NULL, "mkdtemp");
	strcat(p->path, "/link");
	p->listener = prog_listen_unix(p->path, SOCK_SEQPACKET, 0600);
	require(p->listener >= 0, "listen");
}

void fake_proxy_free(struct fake_proxy *p)
{
	fake_proxy_hang_up(p);
	fd_close(&p->listener);
	unlink(p->path);
	*strrchr(p->path, '/') = '\0';
	rmdir(p->path);
}

void fake_proxy_hang_up(struct fake_proxy *p)
{
	fds_close(p->in.fds, p->in.num_fds);
	p->in.num_fds = 0;
	fd_close(&p->link);
}

bool fake_proxy_accept(struct fake_proxy *p)
{
	int fd = accept4(p->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0)
		return false;
	fd_close(&p->link);
	p->link = fd;
	return true;
}

int fake_proxy_recv(struct fake_proxy *p)
{
	int ret;

	fds_close(p->in.fds, p->in.num_fds);
	ret = link_recv(p->link, &p->in);
	if (ret == 0)
		return 0;
	return ret > 0 ? p->in.pkt.hdr.kind : -1;
}

void fake_proxy_notice(struct fake_proxy *p, enum link_kind kind, uint32_t session)
{
	struct link_packet pkt = { .hdr = { .kind = (le16)kind, .session = session } };

	require(link_send(p->link, &pkt, 0, NULL, 0) == 0, "link_send");
}

void fake_proxy_text(struct fake_proxy *p, enum link_kind kind, uint32_t session, const char *text)
{
	struct link_packet pkt;

	link_make_text(&pkt, kind, session, "%s", text);
	require(link_send(p->link, &pkt, sizeof(pkt.body.text), NULL, 0) == 0, "link_send");
}

void fake_proxy_record(struct fake_proxy *p, uint32_t session, unsigned int kind,
		       unsigned int index, const char *data, const int *fds, unsigned int num_fds)
{
	struct link_packet pkt = { .hdr = { .kind = LINK_RECORD, .session = session } };
	struct link_record *rec = &pkt.body.record;

	rec->kind = (le16)kind;
	rec->index = (le16)index;
	rec->bytes = (le32)strlen(data);
	memcpy(rec->data, data, rec->bytes);
	require(link_send(p->link, &pkt, LINK_RECORD_HDR + rec->bytes, fds, num_fds) == 0,
		"link_send");
}

void fake_proxy_message(struct fake_proxy *p, uint32_t session, uint32_t seq,
			const struct vhost_user_msg *msg, const int *fds, unsigned int num_fds)
{
	struct link_packet pkt = {
		.hdr = { .kind = LINK_FRONTEND, .seq = seq, .session = session }
	};

	memcpy(&pkt.body.msg, msg, sizeof(*msg));
	require(link_send(p->link, &pkt, vu_msg_bytes(msg), fds, num_fds) == 0, "link_send");
}

struct vhost_user_msg msg_empty(uint32_t request)
{
	struct vhost_user_msg msg;

	memset(&msg, 0, sizeof(msg));
	msg.hdr.request = request;
	msg.hdr.flags = VHOST_USER_VERSION;
	return msg;
}

struct vhost_user_msg msg_u64(uint32_t request, uint64_t value)
{
	struct vhost_user_msg msg = msg_empty(request);

	msg.hdr.size = sizeof(msg.payload.u64);
	msg.payload.u64 = value;
	return msg;
}

struct vhost_user_msg msg_state(uint32_t request, uint32_t index, uint32_t num)
{
	struct vhost_user_msg msg = msg_empty(request);

	msg.hdr.size = sizeof(msg.payload.state);
	msg.payload.state.index = index;
	msg.payload.state.num = num;
	return msg;
}

uint64_t memory_word(uint64_t offset, uint64_t tag)
{
	return offset ^ tag << 48;
}

int make_memory(uint64_t bytes, uint64_t tag)
{
	int fd = memfd_create("front-end", MFD_CLOEXEC);
	uint64_t *words;

	require(fd >= 0 && ftruncate(fd, (off_t)bytes) == 0, "memfd");
	words = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	require(words != MAP_FAILED, "mmap");
	/* One word per page is enough to tell places apart. */
	for (uint64_t i = 0; i < bytes / 8; i += 512)
		words[i] = memory_word(i * 8, tag);
	munmap(words, bytes);
	return fd;
}
