// SPDX-License-Identifier: BSD-2-Clause
#include "host-proxy/access.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "vmm/hostlib/prog.h"

int access_add(struct access_list *list, const char *text)
{
	char id[16];

	for (;;) {
		size_t len = strcspn(text, ":");

		if (list->num == ACCESS_IDS_MAX)
			return -ENOSPC;
		if (len >= sizeof(id))
			return -EINVAL;
		memcpy(id, text, len);
		id[len] = '\0';
		/* The last number means "nobody" to the kernel. */
		if (prog_parse_u32(id, 0, UINT32_MAX - 1, &list->ids[list->num]))
			return -EINVAL;
		list->num++;
		if (!text[len])
			return 0;
		text += len + 1;
	}
}

static bool listed(const struct access_list *list, uint32_t id)
{
	for (unsigned int i = 0; i < list->num; i++) {
		if (list->ids[i] == id)
			return true;
	}
	return !list->num;
}

static void print_list(const struct access_list *list, const char *key, char *text, size_t bytes)
{
	size_t at = (size_t)snprintf(text, bytes, "%s=", key);

	for (unsigned int i = 0; i < list->num && at < bytes; i++)
		at += (size_t)snprintf(text + at, bytes - at, "%s%u", i ? ":" : "", list->ids[i]);
}

bool access_check(const struct access_rule *rule, int sock, char *why, size_t bytes)
{
	bool uid_ok, gid_ok;
	struct ucred peer;
	socklen_t len = sizeof(peer);
	char text[ACCESS_IDS_MAX * 11 + 8];

	if (!rule->uids.num && !rule->gids.num)
		return true;
	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 || len != sizeof(peer)) {
		snprintf(why, bytes, "the kernel does not say whose it is");
		return false;
	}
	uid_ok = listed(&rule->uids, peer.uid);
	gid_ok = listed(&rule->gids, peer.gid);
	if (uid_ok && gid_ok)
		return true;
	print_list(uid_ok ? &rule->gids : &rule->uids, uid_ok ? "gid" : "uid", text, sizeof(text));
	snprintf(why, bytes, "pid %d of uid %u and gid %u, the port is for %s", peer.pid, peer.uid,
		 peer.gid, text);
	return false;
}
