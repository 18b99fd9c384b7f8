// SPDX-License-Identifier: BSD-2-Clause
/* Ports: mempools, queues, start, the announcement of addresses, stop. */
#include "frames.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_arp.h>
#include <rte_cycles.h>
#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_ethdev.h>

#define CACHE 512 /* of a mempool: the most DPDK allows */
#define EXTRA 64  /* a VLAN tag and virtio's header: the driver wants room for them */

static int make_rings(const struct conf *c)
{
	for (unsigned int i = 0; i < c->ports; i++) {
		char name[32];
		int r;

		snprintf(name, sizeof(name), "net_ring%u", i);
		r = rte_eal_hotplug_add("vdev", name, "");
		if (r) {
			fprintf(stderr,
				"vvu-load: %s: %s (is the driver librte_net_ring installed?)\n",
				name, rte_strerror(-r));
			return r;
		}
	}
	return 0;
}

static struct rte_mempool *make_pool(const char *name, unsigned int num, uint32_t room)
{
	struct rte_mempool *pool;

	/* One thread: the pool's ring needs no atomic operations. */
	pool = rte_pktmbuf_pool_create_by_ops(name, num, CACHE, 0,
					      (uint16_t)(room + RTE_PKTMBUF_HEADROOM),
					      SOCKET_ID_ANY, "ring_sp_sc");
	if (!pool)
		fprintf(stderr,
			"vvu-load: no memory for %u buffers of %u bytes (%s): give DPDK more with "
			"-m MIB\n",
			num, room, rte_strerror(rte_errno));
	return pool;
}

static uint32_t tx_room(const struct conf *c)
{
	uint32_t room = RTE_MIN(c->max_size, (uint32_t)FRAME_MAX);

	if (c->gso)
		room = RTE_MAX(room, c->segment + PATTERN_TCP);
	return RTE_MAX(room, (uint32_t)256);
}

/* Buffers of one frame. The driver may keep a whole ring of sent frames before it takes back the first. */
static unsigned int tx_pieces(const struct conf *c)
{
	return c->gso ? 1 + (c->max_size + c->segment - 1) / c->segment : 1;
}

static int make_tx_pools(struct load *l, struct fport *port)
{
	const struct conf *c = &l->conf;

	for (unsigned int q = 0; q < c->queues; q++) {
		char name[32];

		snprintf(name, sizeof(name), "tx-%u-%u", port->id, q);
		port->txq[q].pool = make_pool(name, c->txd * tx_pieces(c) + 2 * CACHE, tx_room(c));
		if (!port->txq[q].pool)
			return -ENOMEM;
	}
	return 0;
}

static int no(const struct fport *port, const char *what, int error)
{
	fprintf(stderr, "vvu-load: port %u: %s: %s\n", port->id, what, rte_strerror(-error));
	return error;
}

static int configure(struct load *l, struct fport *port)
{
	struct rte_eth_conf conf = { 0 };
	struct rte_eth_dev_info info;
	uint32_t mtu = RTE_MAX(RTE_MIN(l->conf.max_size, (uint32_t)FRAME_MAX), 1514u) - 14;
	uint64_t tso = RTE_ETH_TX_OFFLOAD_TCP_TSO | RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
	int r = rte_eth_dev_info_get(port->id, &info);

	if (r)
		return no(port, "information", r);
	l->scatter = info.rx_offload_capa & RTE_ETH_RX_OFFLOAD_SCATTER;
	conf.rxmode.mtu = RTE_MIN(mtu, (uint32_t)info.max_mtu);
	if (l->scatter)
		conf.rxmode.offloads |= RTE_ETH_RX_OFFLOAD_SCATTER;
	if (l->conf.gso) {
		if ((info.tx_offload_capa & tso) != tso ||
		    !(info.rx_offload_capa & RTE_ETH_RX_OFFLOAD_TCP_LRO)) {
			fprintf(stderr,
				"vvu-load: port %u: the back-end offers no TSO: do without --gso\n",
				port->id);
			return -ENOTSUP;
		}
		conf.txmode.offloads |= tso | RTE_ETH_TX_OFFLOAD_TCP_CKSUM;
		conf.rxmode.offloads |= RTE_ETH_RX_OFFLOAD_TCP_LRO | RTE_ETH_RX_OFFLOAD_TCP_CKSUM;
		conf.rxmode.max_lro_pkt_size = info.max_lro_pkt_size;
		l->tso = true;
	}
	r = rte_eth_dev_configure(port->id, (uint16_t)l->conf.queues, (uint16_t)l->conf.queues,
				  &conf);
	return r ? no(port, "configure (does the back-end have so many queue pairs?)", r) : 0;
}

static int make_rx_pool(struct load *l)
{
	const struct conf *c = &l->conf;
	uint32_t room = c->rx_buffer;

	if (!room)
		room = l->scatter
			       ? 2048
			       : RTE_MAX(RTE_MIN(c->max_size, (uint32_t)FRAME_MAX) + EXTRA, 2048u);
	l->rx_pool = make_pool("rx", l->ports * c->queues * (c->rxd + 64) + 4 * CACHE, room);
	return l->rx_pool ? 0 : -ENOMEM;
}

static int start(struct load *l, struct fport *port)
{
	const struct conf *c = &l->conf;
	struct rte_eth_txconf tx = { 0 };
	struct rte_eth_dev_info info;
	int r = rte_eth_dev_info_get(port->id, &info);

	if (r)
		return no(port, "information", r);
	tx = info.default_txconf;
	if (c->free_thresh)
		tx.tx_free_thresh = (uint16_t)RTE_MIN(c->free_thresh, c->txd - 4);
	if (l->tso)
		tx.offloads |= RTE_ETH_TX_OFFLOAD_TCP_TSO | RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
	for (uint16_t q = 0; q < c->queues; q++) {
		r = rte_eth_rx_queue_setup(port->id, q, (uint16_t)c->rxd, SOCKET_ID_ANY, NULL,
					   l->rx_pool);
		if (r)
			return no(port, "receive queue (with --rx-buffer: too small?)", r);
		r = rte_eth_tx_queue_setup(port->id, q, (uint16_t)c->txd, SOCKET_ID_ANY, &tx);
		if (r)
			return no(port, "transmit queue", r);
	}
	r = rte_eth_dev_start(port->id);
	return r ? no(port, "start", r) : 0;
}

int ports_start(struct load *l)
{
	int r;

	if (l->conf.mode == MODE_NULL && !rte_eth_dev_count_avail()) {
		r = make_rings(&l->conf);
		if (r)
			return r;
	}
	l->ports = rte_eth_dev_count_avail();
	if (!l->ports || l->ports > PORTS_MAX) {
		fprintf(stderr,
			"vvu-load: %u ports: give 1 to %u, like --vdev "
			"net_virtio_user0,path=/tmp/p0.sock\n",
			l->ports, PORTS_MAX);
		return -EINVAL;
	}
	l->port = calloc(l->ports, sizeof(*l->port));
	if (!l->port)
		return -ENOMEM;
	for (unsigned int i = 0; i < l->ports; i++) {
		struct fport *port = &l->port[i];

		port->id = (uint16_t)i;
		r = rte_eth_macaddr_get(port->id, &port->mac);
		if (r)
			return no(port, "address", r);
		r = configure(l, port);
		if (!r)
			r = make_tx_pools(l, port);
		if (r)
			return r;
	}
	r = make_rx_pool(l);
	for (unsigned int i = 0; i < l->ports && !r; i++)
		r = start(l, &l->port[i]);
	return r;
}

void ports_stop(struct load *l)
{
	for (unsigned int i = 0; i < l->ports && l->port; i++) {
		rte_eth_dev_stop(l->port[i].id);
		rte_eth_dev_close(l->port[i].id);
		free(l->port[i].last);
	}
	free(l->port);
	l->port = NULL;
}

uint64_t ports_discard(struct load *l)
{
	struct rte_mbuf *m[64];
	uint64_t total = 0;

	for (unsigned int p = 0; p < l->ports; p++) {
		for (uint16_t q = 0; q < l->conf.queues; q++) {
			uint16_t n = rte_eth_rx_burst(l->port[p].id, q, m, RTE_DIM(m));

			rte_pktmbuf_free_bulk(m, n);
			total += n;
		}
	}
	return total;
}

/* A gratuitous ARP request, as an operating system sends when an interface comes up. */
static void arp_fill(struct rte_mbuf *m, const struct fport *port)
{
	struct rte_ether_hdr eth = { .src_addr = port->mac,
				     .ether_type = rte_cpu_to_be_16(RTE_ETHER_TYPE_ARP) };
	rte_be32_t ip = rte_cpu_to_be_32(RTE_IPV4(10, 9, 0, 1) + port->id);
	struct rte_arp_hdr arp = {
		.arp_hardware = rte_cpu_to_be_16(RTE_ARP_HRD_ETHER),
		.arp_protocol = rte_cpu_to_be_16(RTE_ETHER_TYPE_IPV4),
		.arp_hlen = RTE_ETHER_ADDR_LEN,
		.arp_plen = sizeof(rte_be32_t),
		.arp_opcode = rte_cpu_to_be_16(RTE_ARP_OP_REQUEST),
		.arp_data = { .arp_sha = port->mac, .arp_sip = ip, .arp_tip = ip },
	};
	char *p = rte_pktmbuf_append(m, FRAME_MIN);

	memset(&eth.dst_addr, 0xff, sizeof(eth.dst_addr));
	memset(p, 0, FRAME_MIN);
	memcpy(p, &eth, sizeof(eth));
	memcpy(p + sizeof(eth), &arp, sizeof(arp));
}

/*
 * Announces the address of each port, so that a learning switch knows where everybody is, and waits until the
 * copies have come: all that a switch makes, or fewer (wires between pairs) and then none for some time.
 * Nothing may be under way.
 */
int ports_announce(struct load *l)
{
	uint64_t all = (uint64_t)l->ports * (l->ports - 1), got = 0;
	uint64_t now = rte_rdtsc(), quiet = (uint64_t)(l->now.quiet * (double)l->hz), last = now;

	while (ports_discard(l))
		;
	for (unsigned int p = 0; p < l->ports; p++) {
		struct rte_mbuf *m = rte_pktmbuf_alloc(l->rx_pool);

		if (!m) {
			fprintf(stderr,
				"vvu-load: no buffer for an announcement: %u of %u are free\n",
				rte_mempool_avail_count(l->rx_pool), l->rx_pool->size);
			return -ENOMEM;
		}
		arp_fill(m, &l->port[p]);
		while (!rte_eth_tx_burst(l->port[p].id, 0, &m, 1)) {
			if (rte_rdtsc() - now > quiet) {
				rte_pktmbuf_free(m);
				fprintf(stderr, "vvu-load: port %u: the back-end takes no frames\n",
					p);
				return -EIO;
			}
		}
	}
	while (got < all && now - last < quiet && !load_ending) {
		uint64_t n = ports_discard(l);

		now = rte_rdtsc();
		got += n;
		last = n ? now : last;
	}
	return 0;
}
