// SPDX-License-Identifier: BSD-2-Clause
/*
 * Keeping a session while the proxy is away (decision 29).
 *
 *   proxy there:  RECORDs and ANSWERED come and are stored; nothing else happens here
 *   proxy gone:   the session goes on without it: interrupts, doorbells and memory stay as they are. The front-end does
 *                 not notice, since a duplicate of its socket is open here. It is never read, only watched for hang-up.
 *   next proxy:   HELLO says that a session was kept, then records go back, then KEPT. SESSION_UP with its number: the
 *                 proxy has it again; SESSION_DOWN: it cannot go on.
 *
 * A session can be kept when its own record (LINK_RECORD_SESSION) is here; its first fd, the front-end's
 * socket, is all that the device looks at. If no proxy has it again after 30 s, or the next one refuses the link
 * (REJECT), or the front-end hangs up, or the driver goes down, it ends as any other.
 *
 * Whether a request is unanswered is the next proxy's to judge, but only the device has seen what the last one
 * sent: it counts the requests that want an answer and of which ANSWERED has not said that the front-end has
 * it. An answer of the driver that finds no proxy is dropped and so stays counted. A request of the driver
 * waits in the txq.
 */
#include <errno.h>
#include <event2/event.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/hostlib/fds.h"
#include "vmm/hostlib/log.h"
#include "vmm/vvu_priv.h"

#define KEEP_MS 30000

struct vvu_record {
	uint16_t kind;
	uint16_t index;
	unsigned int num_fds;
	int fds[LINK_RECORD_FDS_MAX];
	uint32_t bytes;
	uint8_t data[];
};

static void record_free(struct vvu_record *rec)
{
	if (rec)
		fds_close(rec->fds, rec->num_fds);
	free(rec);
}

/* Where the record of that name is; where a new one goes: num. */
static unsigned int find(const struct vvu_keep *k, unsigned int kind, unsigned int index)
{
	unsigned int i = 0;

	while (i < k->num && (k->records[i]->kind != kind || k->records[i]->index != index))
		i++;
	return i;
}

static struct vvu_record *session_record(const struct vvu_keep *k)
{
	unsigned int i = find(k, LINK_RECORD_SESSION, 0);

	return i < k->num ? k->records[i] : NULL;
}

static void forget(struct vvu_keep *k, unsigned int i)
{
	record_free(k->records[i]);
	memmove(&k->records[i], &k->records[i + 1], (--k->num - i) * sizeof(k->records[0]));
}

/* Takes the packet's fds over. NULL: no memory; they stay the packet's. */
static struct vvu_record *record_new(struct wire_packet *p)
{
	const struct link_record *in = &p->pkt.body.record;
	struct vvu_record *rec = malloc(sizeof(*rec) + in->bytes);

	if (!rec)
		return NULL;
	*rec = (struct vvu_record){
		.kind = in->kind, .index = in->index, .num_fds = p->num_fds, .bytes = in->bytes
	};
	memcpy(rec->fds, p->fds, p->num_fds * sizeof(rec->fds[0]));
	memcpy(rec->data, in->data, in->bytes);
	p->num_fds = 0;
	return rec;
}

static bool hung_up(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLRDHUP };

	return poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

static void on_watch(evutil_socket_t fd, short what, void *arg)
{
	struct vvu_dev *d = arg;
	const struct vvu_record *rec;

	pthread_mutex_lock(&d->machine->lock);
	rec = session_record(&d->keep);
	if (d->keep.away && hung_up(rec->fds[0]))
		vvu_session_end(d, VVU_END_DEVICE, "the front-end closed while no proxy was there");
	pthread_mutex_unlock(&d->machine->lock);
}

/*
 * libevent tells a hang-up with a pending error as readable and writable, hence EV_WRITE; edge-triggered it
 * comes once.
 */
static int watch(struct vvu_dev *d, int fd)
{
	struct vvu_keep *k = &d->keep;
	const short what = EV_CLOSED | EV_WRITE | EV_ET | EV_PERSIST;

	if (k->watch)
		event_free(k->watch);
	k->watch = event_new(d->machine->base, fd, what, on_watch, d);
	return k->watch && !event_add(k->watch, NULL) ? 0 : -ENOMEM;
}

static bool of_session(const struct link_record *rec)
{
	return rec->kind == LINK_RECORD_SESSION && rec->index == 0;
}

static int check(const struct vvu_keep *k, const struct wire_packet *p, unsigned int at,
		 const char **why)
{
	const struct link_record *in = &p->pkt.body.record;

	if (k->offered)
		*why = "a record before the session was taken over";
	else if (at == LINK_RECORDS_MAX)
		*why = "too many records";
	else if (of_session(in) && !p->num_fds)
		*why = "a session's record without the front-end's socket";
	else if (!of_session(in) || !fd_check_unix_stream(p->fds[0], why))
		return 0;
	return -EPROTO;
}

int vvu_keep_record(struct vvu_dev *d, struct wire_packet *p, const char **why)
{
	const struct link_record *in = &p->pkt.body.record;
	struct vvu_keep *k = &d->keep;
	unsigned int at = find(k, in->kind, in->index);
	bool gone = !in->bytes && !p->num_fds;
	struct vvu_record *rec;
	int ret;

	/* While the last words of a proxy that is gone are read, the session hangs on its own record. */
	if (gone && !k->offered && !(k->away && of_session(in))) {
		if (at < k->num)
			forget(k, at);
		return 0;
	}
	ret = check(k, p, at, why);
	rec = ret ? NULL : record_new(p);
	if (!ret && !rec) {
		*why = "no memory for a record";
		ret = -ENOMEM;
	}
	fds_close(p->fds, p->num_fds);
	p->num_fds = 0;
	if (!ret && k->away && of_session(in) && watch(d, rec->fds[0])) {
		*why = "no memory to watch the front-end";
		ret = -ENOMEM;
		record_free(rec);
	}
	if (ret)
		return ret;
	if (at < k->num)
		record_free(k->records[at]);
	else
		k->num++;
	k->records[at] = rec;
	return 0;
}

void vvu_keep_received(struct vvu_dev *d, uint32_t seq, bool wants_answer)
{
	struct vvu_keep *k = &d->keep;

	k->received = seq;
	if (!wants_answer)
		return;
	/*
	 * A proxy that never says ANSWERED makes the oldest fall out; what stays still says that some are
	 * unanswered.
	 */
	if (k->num_wanted == VVU_REQUESTS_MAX)
		memmove(k->wanted, k->wanted + 1, --k->num_wanted * sizeof(k->wanted[0]));
	k->wanted[k->num_wanted++] = seq;
}

void vvu_keep_answered(struct vvu_dev *d, uint32_t seq)
{
	struct vvu_keep *k = &d->keep;
	unsigned int left = 0;

	k->answered = seq;
	for (unsigned int i = 0; i < k->num_wanted; i++) {
		if ((int32_t)(k->wanted[i] - seq) > 0)
			k->wanted[left++] = k->wanted[i];
	}
	k->num_wanted = left;
}

/* --- no proxy --- */

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct vvu_dev *d = arg;

	pthread_mutex_lock(&d->machine->lock);
	if (d->keep.away)
		vvu_session_end(d, VVU_END_DEVICE, "no proxy took it over in %u s",
				d->keep.limit_ms / 1000);
	pthread_mutex_unlock(&d->machine->lock);
}

bool vvu_keep_begin(struct vvu_dev *d)
{
	struct vvu_keep *k = &d->keep;
	const struct timeval tv = { .tv_sec = k->limit_ms / 1000,
				    .tv_usec = (suseconds_t)(k->limit_ms % 1000) * 1000 };
	const struct vvu_record *rec = session_record(k);

	if (k->away)
		return true;
	if (!d->session.number || !rec || hung_up(rec->fds[0]) || watch(d, rec->fds[0]))
		return false;
	k->away = true;
	evtimer_add(k->timer, &tv);
	log_info(d->who, "session %u goes on without a proxy", d->session.number);
	return true;
}

void vvu_keep_link_lost(struct vvu_dev *d)
{
	d->keep.offered = false;
	d->keep.handed = false;
	d->keep.given = 0;
}

static int give_record(struct vvu_dev *d, const struct vvu_record *rec)
{
	struct link_packet pkt = { .hdr = { .kind = LINK_RECORD, .session = d->session.number } };

	pkt.body.record.kind = rec->kind;
	pkt.body.record.index = rec->index;
	pkt.body.record.bytes = rec->bytes;
	memcpy(pkt.body.record.data, rec->data, rec->bytes);
	return vvu_link_send(d, &pkt, LINK_RECORD_HDR + rec->bytes, rec->fds, rec->num_fds);
}

static int give_end(struct vvu_dev *d)
{
	const struct vvu_keep *k = &d->keep;
	struct link_packet pkt = { .hdr = { .kind = LINK_KEPT, .session = d->session.number } };

	pkt.body.kept = (struct link_kept){ .received = k->received,
					    .answered = k->answered,
					    .unanswered = k->num_wanted };
	return vvu_link_send(d, &pkt, sizeof(pkt.body.kept), NULL, 0);
}

bool vvu_keep_give(struct vvu_dev *d)
{
	struct vvu_keep *k = &d->keep;
	int ret = 0;

	if (!k->offered || k->handed)
		return true;
	while (!ret && k->given < k->num) {
		ret = give_record(d, k->records[k->given]);
		k->given += !ret;
	}
	if (!ret)
		ret = give_end(d);
	k->handed = !ret;
	/* Half of the records are worth nothing; the next link may have room for their fds. */
	if (ret && ret != -EAGAIN)
		vvu_link_restart(d);
	return !ret;
}

static void proxy_is_back(struct vvu_keep *k)
{
	k->away = false;
	event_del_noblock(k->timer);
	if (k->watch)
		event_del_noblock(k->watch);
}

void vvu_keep_adopted(struct vvu_dev *d)
{
	proxy_is_back(&d->keep);
	vvu_keep_link_lost(d);
	log_info(d->who, "session %u: the proxy has it again", d->session.number);
	vvu_link_wake(d); /* requests of the driver may wait */
}

void vvu_keep_clear(struct vvu_dev *d)
{
	struct vvu_keep *k = &d->keep;

	proxy_is_back(k);
	/* This link began with a session that is no more. Once the proxy has all of it, it is told as ever. */
	if (k->offered && !(k->handed && d->link.told_up))
		vvu_link_restart(d);
	vvu_keep_link_lost(d);
	while (k->num)
		forget(k, k->num - 1);
	k->num_wanted = 0;
	k->received = 0;
	k->answered = 0;
}

int vvu_keep_init(struct vvu_dev *d)
{
	d->keep.limit_ms = KEEP_MS;
	d->keep.timer = evtimer_new(d->machine->base, on_timer, d);
	return d->keep.timer ? 0 : -ENOMEM;
}

void vvu_keep_free(struct vvu_dev *d)
{
	if (d->keep.watch)
		event_free(d->keep.watch);
	if (d->keep.timer)
		event_free(d->keep.timer);
	d->keep.watch = NULL;
	d->keep.timer = NULL;
}
