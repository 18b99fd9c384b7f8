/* SPDX-License-Identifier: BSD-2-Clause */
/* Results as JSON. Objects are the caller's to put; NULL when memory has run out. */
#ifndef LOAD_REPORT_H
#define LOAD_REPORT_H

#include <json-c/json.h>

#include "load.h"

struct json_object *report_run(const struct load *l, const struct result *r);
struct json_object *report_info(const struct load *l);

/* What has been counted between two moments. */
struct json_object *report_window(const struct load *l, const struct snapshot *a,
				  const struct snapshot *b);

/* Longest times without a frame per port since this was last called, those that still last included. */
struct json_object *report_gaps(struct load *l);

#endif
