// SPDX-License-Identifier: BSD-2-Clause
/*
 * The system calls that each kind of thread may make, as the programs have them: JSON for tests, or with an argument a
 * table to read.
 */
#include <json-c/json.h>
#include <stdio.h>

#include "host-proxy/confine.h"
#include "hosted/hconfine.h"
#include "vmm/confine.h"

static struct json_object *rule_json(const struct sandbox_rule *rule)
{
	struct json_object *o = json_object_new_object();
	struct json_object *args = json_object_new_array();

	for (unsigned int i = 0; i < SANDBOX_ARGS_MAX && rule->args[i].mask; i++) {
		struct json_object *a = json_object_new_object();

		json_object_object_add(a, "index", json_object_new_int64(rule->args[i].index));
		json_object_object_add(a, "mask", json_object_new_uint64(rule->args[i].mask));
		json_object_object_add(a, "value", json_object_new_uint64(rule->args[i].value));
		json_object_array_add(args, a);
	}
	json_object_object_add(o, "name", json_object_new_string(rule->name));
	json_object_object_add(o, "why", json_object_new_string(rule->why));
	json_object_object_add(o, "rare", rule->rare ? json_object_new_string(rule->rare) : NULL);
	json_object_object_add(o, "args", args);
	return o;
}

static struct json_object *plan_json(const struct sandbox_plan *plan)
{
	struct json_object *lists = json_object_new_array();

	for (unsigned int i = 0; i < plan->num_lists; i++) {
		const struct sandbox_list *list = &plan->lists[i];
		struct json_object *o = json_object_new_object();
		struct json_object *rules = json_object_new_array();

		for (unsigned int r = 0; r < list->num; r++)
			json_object_array_add(rules, rule_json(&list->rules[r]));
		json_object_object_add(o, "kind", json_object_new_string(list->kind));
		json_object_object_add(o, "rules", rules);
		json_object_array_add(lists, o);
	}
	return lists;
}

static void print_table(const char *program, const struct sandbox_plan *plan)
{
	for (unsigned int i = 0; i < plan->num_lists; i++) {
		const struct sandbox_list *list = &plan->lists[i];

		printf("%s, %s thread: %u system calls\n", program, list->kind,
		       sandbox_count_calls(list));
		for (unsigned int r = 0; r < list->num; r++)
			printf("  %-20s %s\n", list->rules[r].name, list->rules[r].why);
	}
}

int main(int argc, char **argv)
{
	static const struct {
		const char *program;
		const struct sandbox_plan *plan;
	} plans[] = {
		{ "vvu-vmm", &vmm_plan },
		{ "vvu-proxy", &proxy_plan },
		{ "vvu-backend", &hconfine_plan },
	};
	struct json_object *all = json_object_new_object();

	for (unsigned int i = 0; i < sizeof(plans) / sizeof(plans[0]); i++) {
		if (argc > 1)
			print_table(plans[i].program, plans[i].plan);
		json_object_object_add(all, plans[i].program, plan_json(plans[i].plan));
	}
	if (argc < 2)
		puts(json_object_to_json_string_ext(all, JSON_C_TO_STRING_PLAIN));
	json_object_put(all);
	return 0;
}
