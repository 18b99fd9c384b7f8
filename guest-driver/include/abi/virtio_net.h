/* SPDX-License-Identifier: BSD-2-Clause */
/* virtio-net feature bits, frame header and configuration (virtio 1.2 §5.1). */
#ifndef VVU_ABI_VIRTIO_NET_H
#define VVU_ABI_VIRTIO_NET_H

#include "abi/base.h"

/* Feature bit numbers (virtio 1.2 §5.1.3). */
#define VIRTIO_NET_F_CSUM_BIT		0
#define VIRTIO_NET_F_GUEST_CSUM_BIT	1
#define VIRTIO_NET_F_MTU_BIT		3
#define VIRTIO_NET_F_MAC_BIT		5
#define VIRTIO_NET_F_GSO_BIT		6 /* legacy (virtio 1.2 §5.1.3.2) */
#define VIRTIO_NET_F_GUEST_TSO4_BIT	7
#define VIRTIO_NET_F_GUEST_TSO6_BIT	8
#define VIRTIO_NET_F_GUEST_ECN_BIT	9
#define VIRTIO_NET_F_GUEST_UFO_BIT	10
#define VIRTIO_NET_F_HOST_TSO4_BIT	11
#define VIRTIO_NET_F_HOST_TSO6_BIT	12
#define VIRTIO_NET_F_HOST_ECN_BIT	13
#define VIRTIO_NET_F_HOST_UFO_BIT	14
#define VIRTIO_NET_F_MRG_RXBUF_BIT	15
#define VIRTIO_NET_F_STATUS_BIT		16
#define VIRTIO_NET_F_CTRL_VQ_BIT	17
#define VIRTIO_NET_F_GUEST_ANNOUNCE_BIT 21
#define VIRTIO_NET_F_MQ_BIT		22

#define VIRTIO_NET_FEATURE(name) BIT_ULL(VIRTIO_NET_##name##_BIT)

/* struct virtio_net_hdr.flags, masks (virtio 1.2 §5.1.6). */
#define VIRTIO_NET_HDR_F_NEEDS_CSUM 0x1
#define VIRTIO_NET_HDR_F_DATA_VALID 0x2
#define VIRTIO_NET_HDR_F_RSC_INFO   0x4

/* struct virtio_net_hdr.gso_type. */
#define VIRTIO_NET_HDR_GSO_NONE	 0
#define VIRTIO_NET_HDR_GSO_TCPV4 1
#define VIRTIO_NET_HDR_GSO_UDP	 3
#define VIRTIO_NET_HDR_GSO_TCPV6 4
#define VIRTIO_NET_HDR_GSO_ECN	 0x80

struct virtio_net_hdr {
	uint8_t flags;
	uint8_t gso_type;
	le16 hdr_len;
	le16 gso_size;
	le16 csum_start;
	le16 csum_offset;
	le16 num_buffers; /* absent in a legacy header without MRG_RXBUF (virtio 1.2 §5.1.6.1) */
};
ABI_SIZE(struct virtio_net_hdr, 12);
ABI_OFFSET(struct virtio_net_hdr, num_buffers, 10);

#define VIRTIO_NET_HDR_LEN	  12 /* VERSION_1, or legacy with MRG_RXBUF */
#define VIRTIO_NET_HDR_LEN_LEGACY 10 /* legacy without MRG_RXBUF */

/* Device configuration (virtio 1.2 §5.1.4), as far as GET_CONFIG carries it. */
struct virtio_net_config {
	uint8_t mac[6];
	le16 status;
	le16 max_virtqueue_pairs;
	le16 mtu;
};
ABI_SIZE(struct virtio_net_config, 12);

#define VIRTIO_NET_S_LINK_UP 0x1

#endif
