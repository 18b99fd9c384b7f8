// SPDX-License-Identifier: BSD-2-Clause
#include "host-proxy/inflight.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmm/hostlib/fds.h"

int inflight_make(uint32_t rings)
{
	int fd = memfd_create("vvu-inflight", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int ret;

	if (fd < 0)
		return -errno;
	/* Nobody can take the memory away under a device that has it mapped. */
	if (ftruncate(fd, (off_t)INFLIGHT_BYTES(rings)) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
		ret = -errno;
		fd_close(&fd);
		return ret;
	}
	return fd;
}

void inflight_message(struct vhost_user_msg *msg, uint32_t rings)
{
	*msg = (struct vhost_user_msg){
		.hdr = { .request = VHOST_USER_SET_INFLIGHT_FD,
			 .flags = VHOST_USER_VERSION,
			 .size = sizeof(msg->payload.inflight) },
	};
	msg->payload.inflight = (struct vhost_user_inflight){
		.mmap_size = INFLIGHT_BYTES(rings),
		.num_queues = (le16)rings,
	};
}

int inflight_zero(int fd, uint32_t ring)
{
	static const struct inflight_ring zero;
	ssize_t n = pwrite(fd, &zero, sizeof(zero), (off_t)(ring * sizeof(zero)));

	return n == (ssize_t)sizeof(zero) ? 0 : n < 0 ? -errno : -EIO;
}
