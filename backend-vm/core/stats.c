// SPDX-License-Identifier: BSD-2-Clause
#include "core/stats.h"

#define PORT_NAME_SHOWN 20

static const char *const counter_names[CTR_COUNT] = {
#define X(NAME, text) #text,
	PORT_COUNTERS(X)
#undef X
};

static const char *const switch_names[STATS_SWITCH_COUNTERS] = {
	"switch.frames_delivered", "switch.frames_dropped", "switch.addresses",
	"switch.bursts",	   "switch.polls",	    "switch.sleeps",
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

void stats_name(const struct be_switch *sw, unsigned int i, char *name)
{
	unsigned int len = 0;

	if (i < STATS_SWITCH_COUNTERS) {
		add(name, &len, switch_names[i], STATS_NAME_MAX);
		return;
	}
	i -= STATS_SWITCH_COUNTERS;
	add(name, &len, "port.", STATS_NAME_MAX);
	add(name, &len, sw->ports[i / CTR_COUNT]->name, PORT_NAME_SHOWN);
	add(name, &len, ".", STATS_NAME_MAX);
	add(name, &len, counter_names[i % CTR_COUNT], STATS_NAME_MAX);
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

uint64_t stats_value(const struct be_switch *sw, unsigned int i)
{
	switch (i) {
	case 0:
		return switch_frames_delivered(sw);
	case 1:
		return switch_frames_dropped(sw);
	case 2:
		return sw->workers[0].fdb.num;
	case 3:
		return workers_sum(sw, offsetof(struct worker, bursts));
	case 4:
		return workers_sum(sw, offsetof(struct worker, polls));
	case 5:
		return workers_sum(sw, offsetof(struct worker, sleeps));
	default:
		i -= STATS_SWITCH_COUNTERS;
		return switch_counter(sw, sw->ports[i / CTR_COUNT], i % CTR_COUNT);
	}
}

void stats_page_init(const struct be_switch *sw, struct stats_page *page)
{
	unsigned int count = stats_count(sw->num_ports);

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
	unsigned int i;

	for (i = 0; i < STATS_SWITCH_COUNTERS; i++)
		page->counters[i].value = stats_value(sw, i);
	for (unsigned int p = 0; p < sw->num_ports; p++) {
		for (unsigned int c = 0; c < CTR_COUNT; c++, i++)
			page->counters[i].value = switch_counter(sw, sw->ports[p], c);
	}
}
