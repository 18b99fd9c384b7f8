/* SPDX-License-Identifier: BSD-2-Clause */
/* What vvu-proxy may still do once it serves: hostlib/sandbox.h for this program. */
#ifndef HOST_PROXY_CONFINE_H
#define HOST_PROXY_CONFINE_H

#include "vmm/hostlib/sandbox.h"

struct proxy_conf;

extern const struct sandbox_plan proxy_plan;

/* All sockets exist. */
void confine_self(const struct proxy_conf *conf);

#endif
