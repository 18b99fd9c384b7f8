/* SPDX-License-Identifier: BSD-2-Clause */
/* The proxy's condition as JSON, for --control. docs/man/vvu-proxy.1 lists the keys. */
#ifndef HOST_PROXY_STATUS_H
#define HOST_PROXY_STATUS_H

#include <json-c/json.h>

/* A control_fn (vmm/hostlib/control.h); arg is the struct proxy. */
int status_command(void *arg, const char *cmd, struct json_object *request,
		   struct json_object *reply, const char **error);

#endif
