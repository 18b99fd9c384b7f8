/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The forwarding table: Ethernet address -> port, learned from source addresses. Pure: no clock, no allocation, no
 * knowledge of rings.
 *
 * A hash table of buckets of four 16-byte entries, so that a look-up touches one cache line. Rules that keep
 * one hostile port from hurting the others:
 *   - a full bucket gives way to expired entries and to entries of the same port, never to another port's;
 *   - a port has at most its share of the table;
 *   - an address moves from port to port at most once a second;
 *   - a pinned address never moves, and frames that claim it on another port are to be dropped.
 * The hash is seeded, so that bucket collisions cannot be prepared.
 *
 * Times are in seconds of any monotonic clock.
 */
#ifndef VVU_CORE_FDB_H
#define VVU_CORE_FDB_H

#include <stdbool.h>

#include "abi/base.h"

#define FDB_BUCKETS	4096
#define FDB_WAYS	4
#define FDB_ENTRIES	(FDB_BUCKETS * FDB_WAYS)
#define FDB_PORTS_MAX	32
#define FDB_SHARES_MIN	8 /* one port alone cannot fill a noticeable part of the buckets */
#define FDB_AGE_DEFAULT 300
#define FDB_NO_PORT	0xff

struct fdb_entry {
	uint64_t mac; /* fdb_mac(); 0: free */
	uint32_t seen;
	uint16_t moved; /* low 16 bits of the second it came to this port */
	uint8_t port;
	uint8_t pinned;
};

struct fdb {
	uint64_t seed;
	uint32_t age;
	uint32_t generation; /* changes whenever an earlier look-up may have become wrong */
	uint32_t
		share; /* entries a port may have: 1/FDB_SHARES_MIN of all, or less if there are more ports */
	uint32_t num;
	uint32_t per_port[FDB_PORTS_MAX];
	_Alignas(64) struct fdb_entry entries[FDB_ENTRIES];
};

enum fdb_result {
	FDB_KNOWN,     /* was there already */
	FDB_REFRESHED, /* was there, and not yet seen this second */
	FDB_LEARNED,   /* new */
	FDB_MOVED,     /* from another port */
	FDB_HELD,      /* is another port's and may not move yet */
	FDB_PINNED,    /* is pinned to another port: the frame is a forgery */
	FDB_FULL,      /* no room: not learned */
};

/* The six bytes of an address as one number (byte 0 lowest). */
static inline uint64_t fdb_mac(const uint8_t *b)
{
	return (uint64_t)b[0] | (uint64_t)b[1] << 8 | (uint64_t)b[2] << 16 | (uint64_t)b[3] << 24 |
	       (uint64_t)b[4] << 32 | (uint64_t)b[5] << 40;
}

/* Group addresses have the lowest bit of their first byte set. */
static inline bool fdb_is_group(uint64_t mac)
{
	return mac & 1;
}

/* age: seconds until an entry not refreshed expires, 0: never. ports: how many share the table (1..FDB_PORTS_MAX). */
void fdb_init(struct fdb *fdb, uint64_t seed, uint32_t age, unsigned int ports);

/* Pins an individual address to a port. 0, or -EINVAL (group or zero address, pinned to another port), -ENOSPC. */
int fdb_pin(struct fdb *fdb, uint64_t mac, unsigned int port);

/* Notes that mac was seen at port. mac must be neither 0 nor a group address. */
enum fdb_result fdb_learn(struct fdb *fdb, uint64_t mac, unsigned int port, uint32_t now);

/* The port of mac, or FDB_NO_PORT. */
unsigned int fdb_lookup(const struct fdb *fdb, uint64_t mac, uint32_t now);

/* Forgets what was learned at port (its link went down); pins stay. */
void fdb_flush(struct fdb *fdb, unsigned int port);

#endif
