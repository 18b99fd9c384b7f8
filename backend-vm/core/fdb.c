// SPDX-License-Identifier: BSD-2-Clause
#include "core/fdb.h"

#include "abi/errno.h"

/* An odd multiplier mixes all 48 bits into the upper half; the seed goes in first. */
static struct fdb_entry *fdb_bucket(const struct fdb *fdb, uint64_t mac)
{
	uint64_t h = (mac ^ fdb->seed) * UINT64_C(0x9e3779b97f4a7c15);

	h ^= h >> 29;
	h *= UINT64_C(0xbf58476d1ce4e5b9);
	/* const is dropped for the callers that change entries; look-ups do not. */
	return (struct fdb_entry *)(uintptr_t)&fdb->entries[(h >> 52) * FDB_WAYS];
}
_Static_assert(FDB_BUCKETS == 1 << 12, "fdb_bucket() takes 12 bits of the hash");
_Static_assert(sizeof(struct fdb_entry) * FDB_WAYS == 64, "a bucket is a cache line");

static bool fdb_expired(const struct fdb *fdb, const struct fdb_entry *e, uint32_t now)
{
	return !e->pinned && fdb->age && now - e->seen > fdb->age;
}

static struct fdb_entry *fdb_find(const struct fdb *fdb, uint64_t mac)
{
	struct fdb_entry *b = fdb_bucket(fdb, mac);

	for (unsigned int i = 0; i < FDB_WAYS; i++) {
		if (b[i].mac == mac)
			return &b[i];
	}
	return NULL;
}

static void fdb_remove(struct fdb *fdb, struct fdb_entry *e)
{
	fdb->per_port[e->port]--;
	fdb->num--;
	fdb->generation++;
	*e = (struct fdb_entry){ 0 };
}

/* A place for an entry of port in the bucket of mac: free, expired, or the port's own oldest. NULL: none. */
static struct fdb_entry *fdb_place(struct fdb *fdb, uint64_t mac, unsigned int port, uint32_t now)
{
	struct fdb_entry *b = fdb_bucket(fdb, mac);
	struct fdb_entry *own = NULL;
	bool full = fdb->per_port[port] >= fdb->share;

	for (unsigned int i = 0; i < FDB_WAYS; i++) {
		struct fdb_entry *e = &b[i];

		if (e->mac && fdb_expired(fdb, e, now))
			fdb_remove(fdb, e);
		if (!e->mac) {
			if (!full)
				return e;
		} else if (e->port == port && !e->pinned &&
			   (!own || e->seen - own->seen > UINT32_MAX / 2)) {
			own = e;
		}
	}
	if (own)
		fdb_remove(fdb, own);
	return own;
}

static void fdb_fill(struct fdb *fdb, struct fdb_entry *e, uint64_t mac, unsigned int port,
		     uint32_t now)
{
	*e = (struct fdb_entry){
		.mac = mac, .seen = now, .moved = (uint16_t)now, .port = (uint8_t)port
	};
	fdb->per_port[port]++;
	fdb->num++;
	fdb->generation++;
}

void fdb_init(struct fdb *fdb, uint64_t seed, uint32_t age, unsigned int ports)
{
	__builtin_memset(fdb->entries, 0, sizeof(fdb->entries));
	for (unsigned int i = 0; i < FDB_PORTS_MAX; i++)
		fdb->per_port[i] = 0;
	fdb->seed = seed;
	fdb->age = age;
	fdb->generation = 1;
	fdb->num = 0;
	fdb->share = FDB_ENTRIES / (ports > FDB_SHARES_MIN ? ports : FDB_SHARES_MIN);
}

int fdb_pin(struct fdb *fdb, uint64_t mac, unsigned int port)
{
	struct fdb_entry *e;

	if (!mac || fdb_is_group(mac) || port >= FDB_PORTS_MAX)
		return -EINVAL;
	e = fdb_find(fdb, mac);
	if (e && e->pinned)
		return e->port == port ? 0 : -EINVAL;
	if (e)
		fdb_remove(fdb, e);
	else
		e = fdb_place(fdb, mac, port, 0);
	if (!e)
		return -ENOSPC;
	fdb_fill(fdb, e, mac, port, 0);
	e->pinned = 1;
	return 0;
}

enum fdb_result fdb_learn(struct fdb *fdb, uint64_t mac, unsigned int port, uint32_t now)
{
	struct fdb_entry *e = fdb_find(fdb, mac);

	if (e && fdb_expired(fdb, e, now)) {
		fdb_remove(fdb, e);
		e = NULL;
	}
	if (!e) {
		e = fdb_place(fdb, mac, port, now);
		if (!e)
			return FDB_FULL;
		fdb_fill(fdb, e, mac, port, now);
		return FDB_LEARNED;
	}
	if (e->port == port) {
		if (e->seen == now)
			return FDB_KNOWN;
		e->seen = now;
		return FDB_REFRESHED;
	}
	if (e->pinned)
		return FDB_PINNED;
	if ((uint16_t)now == e->moved)
		return FDB_HELD;
	if (fdb->per_port[port] >= fdb->share)
		return FDB_FULL;
	fdb_remove(fdb, e);
	fdb_fill(fdb, e, mac, port, now);
	return FDB_MOVED;
}

unsigned int fdb_lookup(const struct fdb *fdb, uint64_t mac, uint32_t now)
{
	const struct fdb_entry *e = mac ? fdb_find(fdb, mac) : NULL;

	if (!e || fdb_expired(fdb, e, now))
		return FDB_NO_PORT;
	return e->port;
}

void fdb_flush(struct fdb *fdb, unsigned int port)
{
	for (unsigned int i = 0; i < FDB_ENTRIES && fdb->per_port[port]; i++) {
		struct fdb_entry *e = &fdb->entries[i];

		if (e->mac && e->port == port && !e->pinned)
			fdb_remove(fdb, e);
	}
}
