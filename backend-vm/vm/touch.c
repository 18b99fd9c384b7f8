// SPDX-License-Identifier: BSD-2-Clause
#include "touch.h"

#include "rt/rt.h"

#define PAGE                                                                                       \
	4096 /* large pages are not known here; where there are some the other reads cost next to nothing */
#define CHUNK	 8 /* pages between two looks at the clock */
#define SLICE_NS UINT64_C(30000)

static struct touch_window *find(struct touch *t, const void *window)
{
	for (unsigned int i = 0; i < t->num; i++) {
		if (t->windows[i].at == window)
			return &t->windows[i];
	}
	return NULL;
}

static struct touch_window *next(struct touch *t)
{
	for (unsigned int i = 0; i < t->num; i++) {
		if (t->windows[i].ready)
			return &t->windows[i];
	}
	return NULL;
}

void touch_add(struct touch *t, void *window, uint64_t size)
{
	/* A full list is no loss but of time, later. */
	if (t->num < ARRAY_LEN(t->windows))
		t->windows[t->num++] = (struct touch_window){ .at = window, .size = size };
}

void touch_ready(struct touch *t, const void *window)
{
	struct touch_window *w = find(t, window);

	if (w)
		w->ready = true;
}

void touch_del(struct touch *t, const void *window)
{
	struct touch_window *w = find(t, window);

	if (w)
		*w = t->windows[--t->num];
}

bool touch_due(const struct touch *t)
{
	for (unsigned int i = 0; i < t->num; i++) {
		if (t->windows[i].ready)
			return true;
	}
	return false;
}

uint64_t touch_step(struct touch *t, const struct gd_platform *p)
{
	struct touch_window *w = next(t);
	uint64_t size;
	int ret;

	if (!w)
		return 0;
	ret = p->window_touch(p->ctx, w->at);
	if (ret == 0)
		return 0;
	size = ret > 0 ? w->size : 0;
	touch_del(t, w->at);
	return size;
}
