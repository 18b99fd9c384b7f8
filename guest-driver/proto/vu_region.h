/* SPDX-License-Identifier: BSD-2-Clause */
/* Private to proto/: rules of one and of two memory regions. */
#ifndef VVU_PROTO_VU_REGION_H
#define VVU_PROTO_VU_REGION_H

#include "proto/vu_check.h"

/* Not empty, page-aligned in guest-physical space, file and size, and no range of it wraps. */
enum vu_rule vu_region_check(const struct vhost_user_region *r);

/* True when the two share a guest-physical or a user address. Both have passed vu_region_check(). */
bool vu_region_overlap(const struct vhost_user_region *a, const struct vhost_user_region *b);

/* Every region of a table, alone and against the others. */
enum vu_rule vu_region_check_all(const struct vhost_user_region *regions, uint32_t num);

#endif
