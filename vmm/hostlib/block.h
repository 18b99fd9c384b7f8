/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Blocks of bytes with fds over a UNIX stream, whole or not at all, for two programs of ours that wait for each other.
 * The sockets may be non-blocking.
 */
#ifndef VMM_HOSTLIB_BLOCK_H
#define VMM_HOSTLIB_BLOCK_H

#include <stddef.h>

#define BLOCK_FDS_MAX 64 /* with one block */

/*
 * Sends all bytes (at least one), the fds with the first of them. Waits for room, wait_ms at most each time. 0;
 * -ETIMEDOUT; -EPIPE: nobody is there any more; or another -errno. The fds stay the caller's.
 */
int block_send(int sock, const void *data, size_t bytes, const int *fds, unsigned int num_fds,
	       int wait_ms);
/*
 * Receives exactly that many bytes, and the fds that came with them, which are the caller's; close-on-exec. Waits for
 * them, wait_ms at most each time. 0; -ETIMEDOUT; -ECONNRESET: nobody is there any more; -EPROTO: fds were lost; or
 * another -errno; then no fds are left.
 */
int block_recv(int sock, void *data, size_t bytes, int fds[BLOCK_FDS_MAX], unsigned int *num_fds,
	       int wait_ms);

#endif
