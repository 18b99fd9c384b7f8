/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The counters of a port. rx: from the port's front-end into the switch; tx: out of the switch to it. Every
 * frame taken from a front-end is counted in rx_frames, and then in tx_frames of each port it reached, or under
 * one drop_* reason. Drops that are the sender's doing are counted at its port, those that are the receiver's
 * at the receiver's.
 */
#ifndef VVU_CORE_COUNTERS_H
#define VVU_CORE_COUNTERS_H

#define PORT_COUNTERS(X)                                                                           \
	X(RX_FRAMES, rx_frames)                                                                    \
	X(RX_BYTES, rx_bytes)                                                                      \
	X(TX_FRAMES, tx_frames)                                                                    \
	X(TX_BYTES, tx_bytes)                                                                      \
	X(RX_FLOODED, rx_flooded)	   /* frames of this port sent to all others */            \
	X(RX_SUPER, rx_super_frames)	   /* GSO frames taken */                                  \
	X(TX_SUPER, tx_super_frames)	   /* GSO frames delivered whole */                        \
	X(TX_CSUM_DONE, tx_csum_completed) /* checksums completed for this receiver */             \
	X(TX_CUT, tx_super_frames_cut)	   /* GSO frames segmented for it ... */                   \
	X(TX_SEGMENTS, tx_segments)	   /* ... into so many */                                  \
	X(CALLS, calls)                                                                            \
	X(SESSIONS, sessions)                                                                      \
	X(MESSAGES, messages)                                                                      \
	X(TOUCHED_KIB, touched_kib) /* memory read once before frames come */                      \
	X(SESSION_ERRORS, session_errors)                                                          \
	X(RING_ERRORS, ring_errors)                                                                \
	X(ADDRESSES_LEARNED, addresses_learned)                                                    \
	X(ADDRESSES_MOVED, addresses_moved)                                                        \
	X(ADDRESSES_HELD, addresses_held) /* moved again within a second: not followed */          \
	X(ADDRESSES_FULL, addresses_full) /* no room to learn it */                                \
	X(TURN_WAITS, turn_waits)	  /* rounds in which it had more than its share */         \
	X(RATE_WAITS, rate_waits)	  /* rounds in which its rate limit was used up */         \
	X(MAIL_WAITS, mail_waits)	  /* times its frames waited for a busy worker */          \
	X(KICK_FLOODS, kick_floods)	  /* times its kicks were held off */                      \
	X(CONTROL_WAITS, control_waits)	  /* times its messages had to wait */                     \
	PORT_DROPS(X)

/* Sender: SHORT to DISABLED. Receiver: NO_BUFFERS to WORKER_BUSY. */
#define PORT_DROPS(X)                                                                              \
	X(DROP_SHORT, drop_short)	    /* less than an Ethernet header */                     \
	X(DROP_LONG, drop_long)		    /* more than FRAME_MAX */                              \
	X(DROP_BAD_SOURCE, drop_bad_source) /* source address is a group or zero */                \
	X(DROP_PINNED, drop_pinned_source)  /* source address is pinned to another port */         \
	X(DROP_SAME_PORT, drop_same_port)   /* destination is where it came from */                \
	X(DROP_NO_PORT, drop_no_port)	    /* nobody to send it to */                             \
	X(DROP_DISABLED, drop_disabled)	    /* transmit ring is disabled */                        \
	X(DROP_NO_BUFFERS, drop_no_buffers)                                                        \
	X(DROP_TOO_LONG, drop_too_long)		/* for the receiver's buffers */                   \
	X(DROP_SMALL_BUFFER, drop_small_buffer) /* no room for the virtio_net_hdr */               \
	X(DROP_MTU, drop_mtu)			/* over the MTU the receiver was given */          \
	X(DROP_OFFLOAD, drop_offload)		/* cannot be segmented in software */              \
	X(DROP_RING, drop_ring_broken)                                                             \
	X(DROP_DOWN, drop_receiver_down)      /* no receive ring is started */                     \
	X(DROP_WORKER_BUSY, drop_worker_busy) /* flooded frames: its worker had no time */

enum port_counter {
#define X(NAME, text) CTR_##NAME,
	PORT_COUNTERS(X)
#undef X
	CTR_COUNT,
};

/* Where the drops begin and end. */
#define CTR_DROP_FIRST CTR_DROP_SHORT
#define CTR_DROP_END   (CTR_DROP_WORKER_BUSY + 1)

/* "rx_frames"; never NULL below CTR_COUNT. */
const char *port_counter_name(enum port_counter counter);

#endif
