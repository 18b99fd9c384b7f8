// SPDX-License-Identifier: BSD-2-Clause
#include "vmm/hostlib/block.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "vmm/hostlib/fds.h"

union control_buf {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(BLOCK_FDS_MAX * sizeof(int))];
};

static int wait_for(int sock, short what, int wait_ms)
{
	struct pollfd p = { .fd = sock, .events = what };
	int ret;

	do
		ret = poll(&p, 1, wait_ms);
	while (ret < 0 && errno == EINTR);
	return ret > 0 ? 0 : ret ? -errno : -ETIMEDOUT;
}

/* As many fds are under way as we may have open, and nothing tells when that is over. */
static int pause_ms(void)
{
	poll(NULL, 0, 10);
	return 10;
}

static void put_fds(struct msghdr *mh, union control_buf *control, const int *fds, unsigned int num)
{
	struct cmsghdr *c;

	memset(control, 0, sizeof(*control));
	mh->msg_control = control;
	mh->msg_controllen = CMSG_SPACE(num * sizeof(int));
	c = CMSG_FIRSTHDR(mh);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(num * sizeof(int));
	memcpy(CMSG_DATA(c), fds, num * sizeof(int));
}

int block_send(int sock, const void *data, size_t bytes, const int *fds, unsigned int num_fds,
	       int wait_ms)
{
	size_t sent = 0;
	int waited_ms = 0;

	if (num_fds > BLOCK_FDS_MAX)
		return -EINVAL;
	while (sent < bytes) {
		union control_buf control;
		const char *rest = (const char *)data + sent;
		struct iovec iov = { .iov_len = bytes - sent };
		struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };
		int ret = 0;
		ssize_t n;

		memcpy(&iov.iov_base, &rest, sizeof(rest)); /* sendmsg() does not write there */
		if (num_fds && !sent)
			put_fds(&mh, &control, fds, num_fds);
		n = sendmsg(sock, &mh, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n > 0)
			sent += (size_t)n;
		else if (errno == EAGAIN)
			ret = wait_for(sock, POLLOUT, wait_ms);
		else if (errno == ETOOMANYREFS && waited_ms < wait_ms)
			waited_ms += pause_ms();
		else if (errno != EINTR)
			return -errno;
		if (ret)
			return ret;
	}
	return 0;
}

/* False: some were lost. */
static bool take_fds(struct msghdr *mh, int *fds, unsigned int *num)
{
	bool whole = !(mh->msg_flags & MSG_CTRUNC);

	for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c)) {
		size_t n;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (*num < BLOCK_FDS_MAX) {
				fds[(*num)++] = fd;
			} else {
				fd_close(&fd);
				whole = false;
			}
		}
	}
	return whole;
}

static int recv_some(int sock, char *data, size_t bytes, int *fds, unsigned int *num_fds)
{
	union control_buf control;
	struct iovec iov = { .iov_base = data, .iov_len = bytes };
	struct msghdr mh = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	ssize_t n = recvmsg(sock, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (n < 0)
		return -errno;
	if (!take_fds(&mh, fds, num_fds))
		return -EPROTO;
	return n ? (int)n : -ECONNRESET;
}

int block_recv(int sock, void *data, size_t bytes, int fds[BLOCK_FDS_MAX], unsigned int *num_fds,
	       int wait_ms)
{
	size_t have = 0;
	int ret = 0;

	*num_fds = 0;
	while (have < bytes && ret >= 0) {
		ret = recv_some(sock, (char *)data + have, bytes - have, fds, num_fds);
		if (ret > 0)
			have += (size_t)ret;
		else if (ret == -EAGAIN)
			ret = wait_for(sock, POLLIN, wait_ms);
		else if (ret == -EINTR)
			ret = 0;
	}
	if (ret >= 0)
		return 0;
	fds_close(fds, *num_fds);
	*num_fds = 0;
	return ret;
}
