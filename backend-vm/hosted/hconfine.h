/* SPDX-License-Identifier: BSD-2-Clause */
/* What vvu-backend may still do once it serves: hostlib/sandbox.h for this program. */
#ifndef HOSTED_HCONFINE_H
#define HOSTED_HCONFINE_H

#include "vmm/hostlib/sandbox.h"

/* Kinds of threads, for sandbox_confine(). Worker 0 is the main thread. */
enum hconfine_thread {
	HCONFINE_MAIN,
	HCONFINE_WORKER,
};

extern const struct sandbox_plan hconfine_plan;

#endif
