/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A port: one vhost-user session with one front-end, its rings, and what the data path needs of them.
 *
 * session.c and port.c own everything above the line "data path" and recompute what is below it after each message
 * (port_update()); the workers only use it.
 */
#ifndef VVU_CORE_PORT_H
#define VVU_CORE_PORT_H

#include "abi/virtio_net.h"
#include "core/be.h"
#include "core/counters.h"
#include "core/kicks.h"
#include "core/options.h"
#include "core/rate.h"
#include "core/share.h"
#include "core/text.h"
#include "proto/vu_check.h"
#include "vq/vq_dev.h"

#define PORT_PAIRS_MAX 8
#define PORT_VRINGS    (2 * PORT_PAIRS_MAX)

/* virtio 1.2 §5.1.2: receiveq of pair n is 2n, transmitq 2n + 1, as the front-end's guest sees them. */
static inline bool vring_is_tx(unsigned int index)
{
	return index & 1;
}

enum vring_state {
	VRING_STOPPED, /* not kicked since the start or GET_VRING_BASE */
	VRING_STARTED, /* vq is running */
	VRING_BROKEN,  /* its front-end has been told; until GET_VRING_BASE and a new KICK */
};

/* One-entry caches of the switch: what this ring sent last, good while the table and the second are the same. */
struct vring_cache {
	uint64_t stamp; /* of the table, when the others were looked up */
	uint64_t src;	/* may send here */
	uint64_t dst;
	uint32_t out; /* where dst is */
};

/*
 * Chains of one descriptor, taken ahead of use: of a transmit ring those of the next burst, of a receive ring the
 * buffers
 * for the next frames. Positions count within ones[]: [put, used) are used and not given back, [used, num) not used.
 */
#define VRING_AHEAD 64
struct vring_ahead {
	uint16_t put;
	uint16_t used;
	uint16_t num;
	uint32_t frames; /* in [put, used), and their bytes */
	uint64_t bytes;
	uint32_t written[VRING_AHEAD];
	struct vq_one ones[VRING_AHEAD];
};

/*
 * vq, map, cache, failed and dirty are written by the worker that owns the ring, the rest by the control plane.
 */
struct vring {
	struct vq_dev vq;
	struct port *port;
	struct memmap map; /* the port's; of its own because it remembers the last hit */
	struct vring_cache cache;
	struct vring_ahead ahead;
	struct vhost_user_vring_addr addr; /* user addresses, as the front-end gave them */
	uint32_t num;
	uint32_t base; /* as in SET_VRING_BASE */
	uint8_t index;
	bool addr_set;
	bool enable; /* by SET_VRING_ENABLE */
	bool has_kick;
	bool has_call;
	bool has_err;
	bool inherited; /* what is noted of its position is a predecessor's */
	bool call_due;	/* it goes on after a predecessor, whose last call may not have been made */
	bool enabled;	/* data path: started, and enabled or auto-enabled */
	bool dirty;	/* data path: has put entries that are not published */
	bool thin;	/* data path: little is taken ahead */
	bool unsettled; /* data path: a call is not decided yet */
	bool failed;	/* data path: found broken, left alone until the control plane stops it */
	bool slow;	/* data path: failed, or shared out; frames for it go the general way */
	bool routed;	/* its kicks go to its owner */
	uint8_t owner;	/* the worker, the same for both rings of a pair */
	enum vring_state state;
	struct ring_share share; /* of a receive ring's buffers */
};

struct port_window {
	void *window; /* NULL: free */
	struct vhost_user_region region;
};

/* A message that waits for its windows: SET_MEM_TABLE, ADD_MEM_REG or SET_INFLIGHT_FD. */
struct port_mapping {
	bool active;
	struct vhost_user_msg msg;
	struct vu_regions regions; /* when all are in */
	unsigned int num, done;	   /* windows */
	struct port_window windows[VHOST_USER_TABLE_REGIONS_MAX];
};

struct be_switch;

struct port {
	struct be_switch *sw; /* told when rings come and go; NULL: none */
	char name[BE_PORT_NAME_MAX + 1];
	unsigned int index;
	const struct be_ops *ops;
	void *ctx;
	bool ack_always; /* answer NEED_REPLY also without REPLY_ACK (explicit offsets of the VVU device) */
	uint64_t offered;
	uint64_t offered_protocol;
	uint16_t config_mtu; /* of the mtu= option, 0: none */
	uint8_t mac[6];	     /* for GET_CONFIG; zero when none is pinned */

	bool connected;
	bool owned;
	uint64_t features;
	uint64_t protocol_features;
	uint64_t status;
	uint16_t mtu; /* of NET_SET_MTU, or config_mtu */
	struct vu_regions regions;
	struct memmap map;
	struct port_window windows[VHOST_USER_MEM_SLOTS_MAX];
	struct port_window inflight; /* of SET_INFLIGHT_FD, struct inflight_ring by vring index */
	unsigned int num_inflight;   /* rings in it */
	struct port_mapping mapping;
	bool reply_waits;
	struct vhost_user_msg reply;
	struct text reason; /* why the session must end */
	struct vring vrings[PORT_VRINGS];

	/* Data path. */
	uint8_t hdr_len;
	bool mrg_rxbuf;
	bool tx_csum; /* what it may send: CSUM, HOST_TSO4, ... */
	bool tx_tso4;
	bool tx_tso6;
	bool tx_ecn;
	bool rx_csum; /* what it takes: GUEST_CSUM, GUEST_TSO4, ... */
	bool rx_tso4;
	bool rx_tso6;
	bool rx_ecn;
	uint32_t
		frame_limit; /* longest frame that is not a super-frame: the MTU, Ethernet and a VLAN tag */
	unsigned int num_tx; /* started transmit rings, enabled or not */
	unsigned int num_rx; /* started and enabled receive rings */
	struct vring *tx[PORT_PAIRS_MAX];
	struct vring *rx[PORT_PAIRS_MAX];
	uint8_t owner[PORT_PAIRS_MAX]; /* of each pair, WORKER_NONE: does not run */
	struct kick_hold kicks;
	struct rate_limit limit; /* of what it sends; all workers take from it */
	bool rarp;		 /* a SEND_RARP to be flooded */
	uint8_t rarp_mac[6];

	uint64_t counters[CTR_COUNT]; /* those of the control plane; the workers count the others */
};

struct port_conf {
	const char *name;
	unsigned int index;
	const struct be_ops *ops;
	void *ctx;
	bool ack_always;
	bool mem_slots; /* offer CONFIGURE_MEM_SLOTS */
	bool inflight; /* offer INFLIGHT_SHMFD: who is at the other end keeps it from front-ends (abi/inflight.h) */
	const struct be_options *options;
};

/* Sets a port up, without a front-end. */
void port_init(struct port *port, const struct port_conf *conf);

/* A front-end has come: forgets everything about an earlier one. */
void port_connect(struct port *port);

/* It has gone, or its session must end: every window is withdrawn, every ring forgotten. */
void port_disconnect(struct port *port);

/*
 * Takes one message. num_fds: fds that came with it, PORT_FDS_AS_DUE where fds don't reach us (the device took them).
 * 0, or -EPROTO: the session must end, port->reason has one line without the port's name. Not to be called while
 * port_busy().
 */
#define PORT_FDS_AS_DUE UINT32_MAX
int port_message(struct port *port, const struct vhost_user_msg *msg, unsigned int num_fds);

/* True while a message is not finished: windows still to be entered, or a reply to be sent. port_step() goes on. */
static inline bool port_busy(const struct port *port)
{
	return port->mapping.active || port->reply_waits;
}
/* Does a slice of work for the message in hand. As port_message(). */
int port_step(struct port *port);

/* The ring is broken (vring->vq.broken): stops it, tells the front-end, counts. */
void port_ring_broken(struct port *port, struct vring *vr);

/* Un-takes what the ring has ahead of use; what was used must have been put. */
void vring_return_ahead(struct vring *vr);

#endif
