/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Error numbers for functions that return -errno, in both worlds: the host's own, or the same numbers (Linux
 * x86-64) where there is no libc. Only those that are used.
 */
#ifndef VVU_ABI_ERRNO_H
#define VVU_ABI_ERRNO_H

#ifndef VVU_FREESTANDING
#include <errno.h>
#else
#define EPERM	     1
#define ENOENT	     2
#define EIO	     5
#define E2BIG	     7
#define EBADF	     9
#define EAGAIN	     11
#define ENOMEM	     12
#define EACCES	     13
#define EFAULT	     14
#define EBUSY	     16
#define EEXIST	     17
#define ENODEV	     19
#define EINVAL	     22
#define ENOSPC	     28
#define ERANGE	     34
#define ENAMETOOLONG 36
#define ENOSYS	     38
#define EBADMSG	     74
#define EPROTO	     71
#define EOVERFLOW    75
#define EMSGSIZE     90
#define ENOTSUP	     95
#define EOPNOTSUPP   95
#define EADDRINUSE   98
#define ENOBUFS	     105
#define ENOTCONN     107
#define ETIMEDOUT    110
#define EALREADY     114
#endif

#endif
