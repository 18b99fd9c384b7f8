/* SPDX-License-Identifier: BSD-2-Clause */
/* What vvu-vmm may still do once it serves: hostlib/sandbox.h for this program. */
#ifndef VMM_CONFINE_H
#define VMM_CONFINE_H

#include "vmm/hostlib/sandbox.h"

struct vmm_conf;

/* Kinds of threads, for sandbox_confine(). */
enum confine_thread {
	CONFINE_MAIN,
	CONFINE_VCPU,
};

extern const struct sandbox_plan vmm_plan;

/* Before the first vCPU thread. */
void confine_close_off(const struct vmm_conf *conf);

#endif
