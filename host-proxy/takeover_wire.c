// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <string.h>

#include "host-proxy/takeover.h"
#include "vmm/hostlib/block.h"
#include "vmm/hostlib/fds.h"

_Static_assert(TAKEOVER_FDS_MAX <= BLOCK_FDS_MAX, "the fds of a block fit");

bool takeover_body_bytes(uint32_t kind, size_t *bytes)
{
	static const size_t sizes[] = {
		[TAKEOVER_PROXY] = sizeof(struct takeover_proxy),
		[TAKEOVER_PORT] = sizeof(struct takeover_port),
		[TAKEOVER_LINK] = sizeof(struct takeover_link),
		[TAKEOVER_PACKET] = sizeof(struct wire_packet),
		[TAKEOVER_RECORD] = sizeof(struct link_record),
		[TAKEOVER_SESSION] = sizeof(struct takeover_session),
		[TAKEOVER_NOT_TAKEN] = sizeof(le32),
		[TAKEOVER_FAILED] = sizeof(struct link_text),
		[TAKEOVER_DONE] = 0,
	};

	if (!kind || kind >= ARRAY_LEN(sizes))
		return false;
	*bytes = sizes[kind];
	return true;
}

int takeover_send(int sock, struct takeover_block *b, enum takeover_kind kind, uint32_t index,
		  unsigned int num_fds)
{
	size_t bytes;

	if (!takeover_body_bytes(kind, &bytes))
		return -EINVAL;
	b->hdr = (struct takeover_header){
		.kind = kind,
		.index = index,
		.bytes = (le32)bytes,
		.num_fds = num_fds,
	};
	return block_send(sock, b, sizeof(b->hdr) + bytes, b->fds, num_fds, TAKEOVER_WAIT_MS);
}

int takeover_recv(int sock, struct takeover_block *b)
{
	int fds[BLOCK_FDS_MAX], more[BLOCK_FDS_MAX];
	unsigned int num_fds, num_more = 0;
	size_t bytes;
	int ret = block_recv(sock, &b->hdr, sizeof(b->hdr), fds, &num_fds, TAKEOVER_WAIT_MS);

	if (ret)
		return ret;
	if (!takeover_body_bytes(b->hdr.kind, &bytes) || b->hdr.bytes != bytes ||
	    b->hdr.num_fds != num_fds || num_fds > TAKEOVER_FDS_MAX)
		ret = -EPROTO;
	if (!ret && bytes)
		ret = block_recv(sock, &b->body, bytes, more, &num_more, TAKEOVER_WAIT_MS);
	if (!ret && num_more)
		ret = -EPROTO;
	if (ret) {
		fds_close(fds, num_fds);
		fds_close(more, num_more);
		return ret;
	}
	memcpy(b->fds, fds, num_fds * sizeof(fds[0]));
	return 0;
}

void takeover_close_fds(struct takeover_block *b)
{
	fds_close(b->fds, b->hdr.num_fds);
	b->hdr.num_fds = 0;
}
