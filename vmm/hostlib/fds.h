/* SPDX-License-Identifier: BSD-2-Clause */
/* Small helpers around file descriptors that came from a peer. */
#ifndef VMM_HOSTLIB_FDS_H
#define VMM_HOSTLIB_FDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Closes *fd unless it is -1, sets it to -1, keeps errno. */
void fd_close(int *fd);
void fds_close(int *fds, unsigned int num);

/*
 * Kinds of fds, checked before an fd is used for anything. 0, or -EINVAL with *why a short reason (static text).
 * Memory: a regular file of tmpfs/memfd or hugetlbfs by fstatfs(2), open read-write, at least min_bytes long.
 */
int fd_check_memory(int fd, uint64_t min_bytes, const char **why);
int fd_check_eventfd(int fd, const char **why);
int fd_check_unix_stream(int fd, const char **why);

/*
 * A number that two fds share exactly when they are the same eventfd: valid while one of them is open. 0;
 * -ENOTSUP: fd is no eventfd, or a kernel before 5.2.
 */
int fd_eventfd_id(int fd, uint64_t *id);

/*
 * True when both are the same eventfd (not merely equal numbers): KVM allows one irqfd per eventfd in the whole
 * host. Uses the eventfd-id of /proc/self/fdinfo.
 */
bool fd_same_eventfd(int a, int b);

/* Page size of the file behind fd: hugetlbfs's, else 4096. */
uint64_t fd_page_size(int fd);

/* Raises RLIMIT_NOFILE to the hard limit and returns it. */
uint64_t fd_raise_limit(void);

#endif
