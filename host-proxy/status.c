// SPDX-License-Identifier: BSD-2-Clause
#include "host-proxy/status.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "host-proxy/link.h"
#include "host-proxy/port.h"
#include "host-proxy/session.h"

static void add_u64(struct json_object *to, const char *key, uint64_t value)
{
	json_object_object_add(to, key, json_object_new_uint64(value));
}

static void add_text(struct json_object *to, const char *key, const char *value)
{
	json_object_object_add(to, key, json_object_new_string(value));
}

static void add_bool(struct json_object *to, const char *key, bool value)
{
	json_object_object_add(to, key, json_object_new_boolean(value));
}

static const char *port_state(const struct port *port)
{
	static const char *const names[] = {
		[SESSION_HELD] = "held",     [SESSION_UP] = "up",
		[SESSION_AWAY] = "away",     [SESSION_REPLAY] = "replay",
		[SESSION_MOVING] = "moving", [SESSION_STOPPING] = "stopping",
	};
	bool up = port->link && port->link->state == LINK_UP;

	if (port->session)
		return names[port->session->state];
	return up ? "no front-end" : port->link ? "no back-end" : "no VMM";
}

static struct json_object *regions_json(const struct vu_regions *regions)
{
	struct json_object *list = json_object_new_array();

	for (uint32_t i = 0; i < regions->num; i++) {
		struct json_object *r = json_object_new_object();

		add_u64(r, "guest_address", regions->regions[i].guest_phys_addr);
		add_u64(r, "bytes", regions->regions[i].memory_size);
		add_u64(r, "file_offset", regions->regions[i].mmap_offset);
		json_object_array_add(list, r);
	}
	return list;
}

static struct json_object *rings_json(const struct session *s)
{
	struct json_object *list = json_object_new_array();

	for (uint32_t i = 0; i < s->num_rings; i++) {
		const struct session_ring *ring = &s->rings[i];
		struct json_object *r;

		if (!ring->has_addr && !ring->enabled && ring->fds[RING_KICK] < 0 &&
		    ring->fds[RING_CALL] < 0 && ring->fds[RING_ERR] < 0)
			continue;
		r = json_object_new_object();
		add_u64(r, "index", i);
		add_bool(r, "address", ring->has_addr);
		add_bool(r, "enabled", ring->enabled);
		add_bool(r, "running", ring->running);
		add_bool(r, "kick", ring->fds[RING_KICK] >= 0);
		add_bool(r, "call", ring->fds[RING_CALL] >= 0);
		add_bool(r, "err", ring->fds[RING_ERR] >= 0);
		json_object_array_add(list, r);
	}
	return list;
}

static struct json_object *front_end_json(const struct session *s)
{
	struct json_object *o;

	if (!s)
		return NULL;
	o = json_object_new_object();
	add_u64(o, "pid", (uint64_t)s->pid);
	add_u64(o, "uid", s->uid);
	add_u64(o, "session", s->id);
	add_u64(o, "since_ns", s->since_ns);
	add_u64(o, "features_offered", s->features_offered);
	add_u64(o, "features", s->features);
	add_u64(o, "protocol_features_offered", s->protocol_offered);
	add_u64(o, "protocol_features", s->protocol);
	add_u64(o, "unanswered", s->num_pending);
	add_u64(o, "away_since_ns", s->away_ns);
	add_u64(o, "replays", s->replays);
	add_bool(o, "ring_positions", s->inflight_told);
	add_bool(o, "back_end_channel", s->channel >= 0);
	json_object_object_add(o, "regions", regions_json(&s->memory.regions));
	json_object_object_add(o, "rings", rings_json(s));
	return o;
}

static struct json_object *back_end_json(const struct link *l)
{
	struct json_object *o;

	if (!l)
		return NULL;
	o = json_object_new_object();
	add_text(o, "who", l->who);
	add_u64(o, "pid", (uint64_t)l->pid);
	add_u64(o, "uid", l->uid);
	add_bool(o, "up", l->state == LINK_UP);
	add_u64(o, "up_ns", l->up_ns);
	add_u64(o, "protocol_features", l->back_end.protocol_features);
	add_u64(o, "max_queues", l->back_end.max_queues);
	add_u64(o, "max_mem_slots", l->back_end.max_mem_slots);
	add_u64(o, "queued_packets", l->queued);
	return o;
}

/* Only names that occurred, with their counts. */
static void add_count(struct json_object *to, const char *name, uint64_t count)
{
	if (count)
		add_u64(to, name, count);
}

static struct json_object *messages_json(const struct port_counters *c)
{
	struct json_object *o = json_object_new_object();
	struct json_object *requests = json_object_new_object();
	struct json_object *replies = json_object_new_object();
	struct json_object *back_requests = json_object_new_object();
	struct json_object *back_replies = json_object_new_object();

#define X(name, id, ...)                                                                           \
	add_count(requests, #name, c->requests[id]);                                               \
	add_count(replies, #name, c->replies[id]);
	VHOST_USER_FRONTEND_MESSAGES(X)
#undef X
#define X(name, id, ...)                                                                           \
	add_count(back_requests, #name, c->back_requests[id]);                                     \
	add_count(back_replies, #name, c->back_replies[id]);
	VHOST_USER_BACKEND_MESSAGES(X)
#undef X
	add_u64(o, "to_back_end", c->to_back_end);
	add_u64(o, "to_front_end", c->to_front_end);
	json_object_object_add(o, "requests", requests);
	json_object_object_add(o, "replies", replies);
	json_object_object_add(o, "back_end_requests", back_requests);
	json_object_object_add(o, "back_end_replies", back_replies);
	return o;
}

static struct json_object *port_json(const struct port *port)
{
	const struct port_conf *conf = port->conf;
	struct json_object *o = json_object_new_object();

	add_text(o, "name", conf->name);
	add_text(o, "socket", conf->socket);
	add_text(o, "mode", conf->mode == PORT_SERVER ? "server" : "client");
	add_u64(o, "hold_s", conf->hold_s);
	add_text(o, "state", port_state(port));
	json_object_object_add(o, "front_end", front_end_json(port->session));
	json_object_object_add(o, "back_end", back_end_json(port->link));
	json_object_object_add(o, "next_back_end", back_end_json(port->next));
	add_u64(o, "sessions", port->count.sessions);
	add_u64(o, "back_ends_lost", port->count.lost);
	add_u64(o, "replays", port->count.replays);
	add_u64(o, "refused", port->count.refused);
	add_u64(o, "denied", port->count.denied);
	add_u64(o, "held_in_vain", port->count.held_in_vain);
	add_u64(o, "links", port->count.links);
	add_u64(o, "late_packets", port->count.dropped);
	json_object_object_add(o, "messages", messages_json(&port->count));
	add_text(o, "last_end", port->last_end);
	return o;
}

static void status(const struct proxy *p, struct json_object *reply)
{
	struct json_object *ports = json_object_new_array();
	uint64_t messages = 0, sessions = 0, last_up = 0;
	unsigned int up = 0;

	for (unsigned int i = 0; i < p->num_ports; i++) {
		const struct port *port = &p->ports[i];

		json_object_array_add(ports, port_json(port));
		messages += port->count.to_back_end + port->count.to_front_end;
		sessions += port->session && port->session->state == SESSION_UP;
		if (port->link && port->link->state == LINK_UP) {
			up++;
			if (port->link->up_ns > last_up)
				last_up = port->link->up_ns;
		}
	}
	add_text(reply, "program", "vvu-proxy");
	add_text(reply, "version", VVU_VERSION);
	add_u64(reply, "pid", (uint64_t)getpid());
	add_u64(reply, "started_ns", p->started_ns);
	add_u64(reply, "control_messages", messages);
	add_u64(reply, "sessions_up", sessions);
	add_u64(reply, "back_ends_up", up);
	/* Boot time of a back-end VM ends when its last port is up: null until every port is. */
	json_object_object_add(reply, "backend_up_ns",
			       up == p->num_ports ? json_object_new_uint64(last_up) : NULL);
	json_object_object_add(reply, "ports", ports);
}

int status_command(void *arg, const char *cmd, struct json_object *request,
		   struct json_object *reply, const char **error)
{
	if (strcmp(cmd, "status"))
		return -ENOENT;
	status(arg, reply);
	return 0;
}
