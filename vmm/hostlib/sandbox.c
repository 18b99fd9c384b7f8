// SPDX-License-Identifier: BSD-2-Clause
/*
 * The order matters. Namespaces come first, for they take capabilities; then the capabilities go, the bounding
 * set before the others, since dropping from it takes one of them; then no_new_privs, without which an
 * unprivileged process may not install a filter of system calls.
 *
 * There is no PID namespace: only a child would be in it, and the process that was started must be the one that
 * serves (signals, PID files, sd_notify, exit status). What it would hide is hidden all the same: /proc has our
 * own directory and no other, and no list has a system call that names another process.
 *
 * There is no limit on the size of files: standard error may be one, and it also counts for memory that we make.
 */
#include "vmm/hostlib/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <json-c/json.h>
#include <linux/capability.h>
#include <pwd.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "vmm/hostlib/log.h"
#include "vmm/hostlib/prog.h"

#define GROUPS_MAX 64

/* What is left to do for a process that has become another user. */
#define CAPS_KEPT                                                                                  \
	(UINT64_C(1) << CAP_SYS_ADMIN /* namespaces */ |                                           \
	 UINT64_C(1) << CAP_SETPCAP /* bounding set */ |                                           \
	 UINT64_C(1) << CAP_CHOWN /* vvu-proxy --link-uid */)

static struct {
	enum sandbox_mode mode;
	const struct sandbox_plan *plan;
	bool namespaces;
	bool own_root;
	bool user_namespace;
	uid_t user;
} state;

/* --- capabilities --- */

static uint64_t caps_permitted(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { 0 };

	if (syscall(SYS_capget, &header, data) < 0)
		return 0;
	return (uint64_t)data[1].permitted << 32 | data[0].permitted;
}

static int caps_set(uint64_t caps)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { 0 };

	for (unsigned int i = 0; i < 2; i++) {
		data[i].permitted = (uint32_t)(caps >> 32 * i);
		data[i].effective = data[i].permitted;
	}
	return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

static void caps_drop_all(void)
{
	int ret;

	/*
	 * Numbers beyond the last capability are refused, as is all of it to who lacks CAP_SETPCAP:
	 * no_new_privs does.
	 */
	for (int cap = 0; cap < 64; cap++)
		prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	ret = caps_set(0);
	if (ret)
		die("capset: %s", strerror(-ret));
}

/* --- the user --- */

struct identity {
	uid_t uid;
	gid_t gid;
	int num_groups;
	gid_t groups[GROUPS_MAX + 1];
};

static void find_user(const char *user, const char *group, struct identity *id)
{
	const struct passwd *pw = getpwnam(user);
	const struct group *gr;
	uint32_t number;

	if (!pw && !prog_parse_u32(user, 0, UINT32_MAX - 1, &number))
		pw = getpwuid(number);
	else if (!pw)
		die("--user %s: there is no such user", user);
	id->num_groups = 0;
	if (pw) {
		id->uid = pw->pw_uid;
		id->gid = pw->pw_gid;
		id->num_groups = GROUPS_MAX;
		if (getgrouplist(pw->pw_name, id->gid, id->groups, &id->num_groups) < 0)
			die("--user %s: is in more than %d groups", user, GROUPS_MAX);
	} else {
		id->uid = number;
		id->gid = number;
	}
	gr = group ? getgrnam(group) : NULL;
	if (gr)
		id->groups[id->num_groups++] = gr->gr_gid;
}

void sandbox_become_user(const struct sandbox_conf *conf, const char *group)
{
	struct identity id;
	int ret;

	if (!conf->user)
		return;
	find_user(conf->user, group, &id);
	if (id.uid == getuid() && id.uid == geteuid())
		return;
	if (geteuid() != 0)
		die("--user %s: only root can become another user", conf->user);
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0 ||
	    setgroups((size_t)id.num_groups, id.groups) < 0 ||
	    setresgid(id.gid, id.gid, id.gid) < 0 || setresuid(id.uid, id.uid, id.uid) < 0)
		die("--user %s: %s", conf->user, strerror(errno));
	ret = caps_set(caps_permitted() & CAPS_KEPT);
	if (ret)
		die("--user %s: capset: %s", conf->user, strerror(-ret));
}

/* --- namespaces --- */

static bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return ok;
}

/* Our own user and group keep their numbers. */
static void map_ids(uid_t uid, gid_t gid)
{
	char text[64];

	write_file("/proc/self/setgroups", "deny"); /* a kernel without it needs none */
	snprintf(text, sizeof(text), "%u %u 1", uid, uid);
	if (!write_file("/proc/self/uid_map", text))
		log_debug("sandbox", "/proc/self/uid_map: %s", strerror(errno));
	snprintf(text, sizeof(text), "%u %u 1", gid, gid);
	if (!write_file("/proc/self/gid_map", text))
		log_debug("sandbox", "/proc/self/gid_map: %s", strerror(errno));
}

static void enter_namespaces(const struct sandbox_plan *plan)
{
	int flags = CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;
	bool admin = caps_permitted() & UINT64_C(1) << CAP_SYS_ADMIN;
	uid_t uid = geteuid();
	gid_t gid = getegid();
	const char *what;
	int ret;

	if (!admin && !plan->user_namespace) {
		log_debug("sandbox",
			  "no namespaces without privileges: peers' users must be told apart");
		return;
	}
	if (!admin)
		flags |= CLONE_NEWUSER;
	if (unshare(flags) < 0) {
		log_debug("sandbox", "no namespaces: unshare: %s", strerror(errno));
		return;
	}
	if (!admin)
		map_ids(uid, gid);
	state.namespaces = true;
	state.user_namespace = !admin;
	ret = sandbox_change_root(&what);
	state.own_root = !ret;
	if (ret)
		log_debug("sandbox", "no root directory of our own: %s: %s", what, strerror(-ret));
}

/* --- the whole --- */

static void set_limit(int resource, rlim_t limit, const char *name)
{
	struct rlimit lim = { .rlim_cur = limit, .rlim_max = limit };

	if (setrlimit(resource, &lim) < 0)
		log_debug("sandbox", "setrlimit %s: %s", name, strerror(errno));
}

void sandbox_close_off(const struct sandbox_conf *conf, const struct sandbox_plan *plan)
{
	state.mode = conf->mode;
	state.plan = plan;
	state.user = geteuid();
	if (conf->mode == SANDBOX_OFF) {
		if (conf->user)
			caps_drop_all();
		return;
	}
	for (unsigned int i = 0; i < plan->num_lists; i++)
		sandbox_compile(&plan->lists[i], conf->mode == SANDBOX_LOG, i);
	enter_namespaces(plan);
	caps_drop_all();
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		die("no_new_privs: %s", strerror(errno));
	/* A core would hold what front-ends share with us. */
	set_limit(RLIMIT_CORE, 0, "core");
}

void sandbox_confine(unsigned int list)
{
	const struct sandbox_list *l;

	if (state.mode == SANDBOX_OFF || !state.plan)
		return;
	l = &state.plan->lists[list];
	if (!list && !state.plan->kernel_threads)
		set_limit(RLIMIT_NPROC, 0, "nproc");
	sandbox_load(l, list);
}

unsigned int sandbox_count_calls(const struct sandbox_list *list)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < list->num; i++) {
		unsigned int j = 0;

		while (list->rules[j].nr != list->rules[i].nr)
			j++;
		n += j == i;
	}
	return n;
}

void sandbox_status(struct json_object *reply)
{
	static const char *const modes[] = {
		[SANDBOX_ON] = "on", [SANDBOX_LOG] = "log", [SANDBOX_OFF] = "off"
	};
	struct json_object *o = json_object_new_object(), *calls = json_object_new_object();
	enum sandbox_mode mode = state.plan ? state.mode : SANDBOX_OFF;

	json_object_object_add(o, "mode", json_object_new_string(modes[mode]));
	json_object_object_add(o, "user", json_object_new_int64((int64_t)state.user));
	json_object_object_add(o, "namespaces", json_object_new_boolean(state.namespaces));
	json_object_object_add(o, "user_namespace", json_object_new_boolean(state.user_namespace));
	json_object_object_add(o, "own_root", json_object_new_boolean(state.own_root));
	for (unsigned int i = 0; mode != SANDBOX_OFF && i < state.plan->num_lists; i++)
		json_object_object_add(
			calls, state.plan->lists[i].kind,
			json_object_new_int64(sandbox_count_calls(&state.plan->lists[i])));
	json_object_object_add(o, "system_calls", calls);
	json_object_object_add(reply, "sandbox", o);
}
