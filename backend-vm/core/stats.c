// SPDX-License-Identifier: BSD-2-Clause
#include "core/stats.h"

#define PORT_NAME_SHOWN 20

static const char *const counter_names[CTR_COUNT] = {
#define X(NAME, text) #text,
	PORT_COUNTERS(X)
#undef X
};

/* The first few of switch.*; the rest are sums of worker_names. */
static const char *const switch_names[STATS_SWITCH_COUNTERS - STATS_WORKER_COUNTERS] = {
	"frames_delivered",
	"frames_dropped",
	"addresses",
};

static const struct {
	const char *all;
	const char *one;
	size_t offset;
} worker_names[STATS_WORKER_COUNTERS] = {
	{ "frames_polled", "frames", offsetof(struct worker, frames) },
	{ "bursts", "bursts", offsetof(struct worker, bursts) },
	{ "polls", "polls", offsetof(struct worker, polls) },
	{ "sleeps", "sleeps", offsetof(struct worker, sleeps) },
	{ "busy_cycles", "busy_cycles", offsetof(struct worker, busy_cycles) },
};

const char *port_counter_name(enum port_counter counter)
{
	return counter_names[counter];
}

static void add(char *to, unsigned int *len, const char *from, unsigned int max)
{
	for (; *from && max && *len < STATS_NAME_MAX; from++, max--) {
		char c = *from;

		if (c >= 'A' && c <= 'Z')
			c = (char)(c - 'A' + 'a');
		to[(*len)++] = c == '-' ? '_' : c;
	}
	to[*len] = '\0';
}

/* Where counter i is: of the switch, of worker *which, or of port *which; *at is its number there. */
static unsigned int stats_find(const struct be_switch *sw, unsigned int i, unsigned int *which,
			       unsigned int *at)
{
	unsigned int size = STATS_SWITCH_COUNTERS, kind = 0;

	if (i >= STATS_SWITCH_COUNTERS) {
		i -= STATS_SWITCH_COUNTERS;
		kind = i < sw->num_workers * STATS_WORKER_COUNTERS ? 1 : 2;
		size = kind == 1 ? STATS_WORKER_COUNTERS : CTR_COUNT;
		if (kind == 2)
			i -= sw->num_workers * STATS_WORKER_COUNTERS;
	}
	*which = i / size;
	*at = i % size;
	return kind;
}

void stats_name(const struct be_switch *sw, unsigned int i, char *name)
{
	unsigned int len = 0, which, at;

	switch (stats_find(sw, i, &which, &at)) {
	case 0:
		add(name, &len, "switch.", STATS_NAME_MAX);
		add(name, &len,
		    at < ARRAY_LEN(switch_names) ? switch_names[at]
						 : worker_names[at - ARRAY_LEN(switch_names)].all,
		    STATS_NAME_MAX);
		break;
	case 1:
		add(name, &len, "worker.", STATS_NAME_MAX);
		add(name, &len, (const char[]){ (char)('0' + which), '.', 0 }, STATS_NAME_MAX);
		add(name, &len, worker_names[at].one, STATS_NAME_MAX);
		break;
	default:
		add(name, &len, "port.", STATS_NAME_MAX);
		add(name, &len, sw->ports[which]->name, PORT_NAME_SHOWN);
		add(name, &len, ".", STATS_NAME_MAX);
		add(name, &len, counter_names[at], STATS_NAME_MAX);
		break;
	}
}

static uint64_t worker_value(const struct worker *w, size_t offset)
{
	return __atomic_load_n((const uint64_t *)(const void *)((const uint8_t *)w + offset),
			       __ATOMIC_RELAXED);
}

static uint64_t workers_sum(const struct be_switch *sw, size_t offset)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < sw->num_workers; i++)
		sum += worker_value(&sw->workers[i], offset);
	return sum;
}

static uint64_t switch_value(const struct be_switch *sw, unsigned int at)
{
	switch (at) {
	case 0:
		return switch_frames_delivered(sw);
	case 1:
		return switch_frames_dropped(sw);
	case 2:
		return __atomic_load_n(&sw->workers[0].fdb.num, __ATOMIC_RELAXED);
	default:
		return workers_sum(sw, worker_names[at - ARRAY_LEN(switch_names)].offset);
	}
}

uint64_t stats_value(const struct be_switch *sw, unsigned int i)
{
	unsigned int which, at;

	switch (stats_find(sw, i, &which, &at)) {
	case 0:
		return switch_value(sw, at);
	case 1:
		return worker_value(&sw->workers[which], worker_names[at].offset);
	default:
		return switch_counter(sw, sw->ports[which], at);
	}
}

void stats_page_init(const struct be_switch *sw, struct stats_page *page)
{
	unsigned int count = stats_count(sw->num_ports, sw->num_workers);

	page->magic = STATS_MAGIC;
	page->version = STATS_VERSION;
	page->capacity = count;
	for (unsigned int i = 0; i < count; i++)
		stats_name(sw, i, page->counters[i].name);
	stats_page_update(sw, page);
	__atomic_store_n(&page->count, count, __ATOMIC_RELEASE);
}

void stats_page_update(const struct be_switch *sw, struct stats_page *page)
{
	unsigned int count = stats_count(sw->num_ports, sw->num_workers);

	for (unsigned int i = 0; i < count; i++)
		page->counters[i].value = stats_value(sw, i);
}

void stats_page_share(const struct be_switch *sw, struct stats_page *page, uint32_t *requests)
{
	uint32_t seen;

	/* Whoever is at it looks again whether there were more requests, and finds this one. */
	if (__atomic_fetch_add(requests, 1, __ATOMIC_SEQ_CST))
		return;
	do {
		seen = __atomic_load_n(requests, __ATOMIC_ACQUIRE);
		stats_page_update(sw, page);
	} while (!__atomic_compare_exchange_n(requests, &seen, 0, false, __ATOMIC_SEQ_CST,
					      __ATOMIC_RELAXED));
}
