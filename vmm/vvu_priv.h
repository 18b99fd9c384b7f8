/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Inside the VVU device. Who does what:
 *
 *   vvu_dev.c      the PCI function: registers, configuration space, life of the device
 *   vvu_shmem.c    the shared-memory window: placing, showing, revoking regions
 *   vvu_rings.c    kicks (irqfds) and doorbells (ioeventfds)
 *   vvu_session.c  sessions and their end; messages to the driver (rxq) and from it (txq)
 *   vvu_memory.c   the messages about memory
 *   vvu_prefault.c having that memory there before the driver uses it
 *   vvu_watch.c    noticing that it is gone
 *   vvu_link.c     the connection to the proxy
 *   vvu_keep.c     what is kept of a session while the proxy is away
 *
 * All of it runs under the machine lock, on a vCPU thread (register writes) or on the main loop
 * (everything else). Only the main loop does input and output on the link; a vCPU thread changes
 * state and wakes the loop (vvu_link_wake()).
 */
#ifndef VMM_VVU_PRIV_H
#define VMM_VVU_PRIV_H

#include "abi/link.h"
#include "proto/vu_check.h"
#include "vmm/hostlib/wire.h"
#include "vmm/virtio_pci.h"
#include "vmm/vvu_dev.h"

struct event;

/* BAR 0 beyond virtio's registers (virtio_pci.h). */
#define VVU_NOTIFICATION_OFF VIRTIO_PCI_TYPE_OFF
#define VVU_DOORBELL_OFF     (VIRTIO_PCI_TYPE_OFF + 0x1000)
#define VVU_REGS_BYTES	     (VIRTIO_PCI_TYPE_OFF + 0x2000)
#define VVU_DOORBELLS_MAX    VVU_NUM_DOORBELLS(VVU_MAX_VHOST_QUEUES)
_Static_assert(VVU_DOORBELLS_MAX *VVU_DOORBELL_MULTIPLIER + 2 <= 0x1000,
	       "doorbells fit their page");

/* A region of the front-end's memory in the window. */
struct vvu_region {
	struct vhost_user_region r; /* as the message had it; mmap_offset is the file offset */
	int fd;			    /* -1 once it is revoked */
	int slot;		    /* -1: not shown (the BAR is not mapped) */
	uint64_t offset;	    /* in the window: the region's first byte */
	uint64_t area;		    /* in the window: what nobody else may use, around it */
	uint64_t area_bytes;
	uint64_t map; /* in the window: what is mmap()ed, whole pages of the file */
	uint64_t map_bytes;
	uint32_t leaving;   /* not 0: goes when the request of that token is answered */
	uint64_t page;	    /* size of the file's pages */
	bool inflight;	    /* not of the front-end's memory: SET_INFLIGHT_FD's */
	bool populate;	    /* its pages are to be there before it is used; cleared when given up */
	uint64_t populated; /* bytes from its first one that are */
	int wd;		    /* watch of its file, -1: none */
	bool limited;	    /* pages punched out of its file may not come back */
	bool beats;	    /* it is one of vvu_watch.beats */
};

/*
 * A full table, ADD_MEM_REGs, and older tables whose removal the driver has not answered yet; in-flight regions
 * likewise.
 */
#define VVU_REGIONS_MAX 98

/* Of all devices of a machine. */
struct vvu_watcher {
	struct machine *machine;
	int inotify; /* -1: there is none */
	struct event *change;
	struct event *again; /* to listen for changes again */
	struct vvu_shm *first;
};

struct vvu_watch {
	struct vvu_shm *next; /* another one's, of the same machine */
	struct event *scan;
	unsigned int beats; /* regions that are looked at with each beat */
	bool scanning;
	uint64_t scanned; /* place in the window, up to which */
};

struct vvu_shm {
	struct machine *machine;
	const char *who;
	uint8_t *base; /* of the reserved address range, aligned to 1 GiB */
	uint64_t bytes;
	void *reserved;
	uint64_t reserved_bytes;
	uint64_t gpa; /* of the BAR, or PCI_BAR_UNMAPPED */
	unsigned int num;
	struct vvu_region regions[VVU_REGIONS_MAX];
	bool prefault; /* populate regions of ordinary pages, too */
	bool revoked;  /* zero pages are shown, until acknowledged or the timer */
	struct event *timer;
	struct vvu_watch watch;
};

struct vvu_kick {
	struct msix_irq irq;
	int fd;
	uint64_t id; /* of the eventfd, the same for every fd of it in the host; 0: unknown */
	uint64_t busy_until; /* ns, while another VM may have it; 0: nobody has */
	uint16_t vector;
};

struct vvu_doorbell {
	int fd;
	uint64_t attached; /* guest-physical address of its ioeventfd, or PCI_BAR_UNMAPPED */
};

/* A message given to the driver that will be answered. */
struct vvu_request {
	uint32_t request;
	uint32_t seq;	    /* of the link packet */
	uint32_t index;	    /* vring */
	uint32_t token;	    /* not 0: regions go with the answer */
	unsigned int ticks; /* until it is late; 0: it has time */
	bool swallow;	    /* the front-end did not ask for the answer */
};
#define VVU_REQUESTS_MAX 64

struct vvu_session {
	uint32_t number;  /* 0: no session */
	uint32_t pending; /* opened by the proxy, not begun because the driver is not back up yet */
	uint64_t protocol_features;
	bool backend_channel;
	struct vu_regions regions;
	struct vvu_request requests[VVU_REQUESTS_MAX];
	unsigned int first;
	unsigned int num;
	uint32_t last_token;
	struct event *timer; /* the next tick, while a request has any left */
	struct event *populate_timer;
	bool populating;	 /* a slice is due, or being done */
	uint64_t populate_until; /* ns, when it is given up; 0: never */
	bool carried_out;	 /* the held message has been; it waits for its memory */
	uint32_t carried_token;	 /* of it, as vvu_memory_message() gave it */
};

enum vvu_link_state {
	VVU_LINK_DOWN,	/* no socket; the retry timer runs */
	VVU_LINK_HELLO, /* hello sent, waiting for the answer */
	VVU_LINK_UP
};

struct vvu_link {
	enum vvu_link_state state;
	int sock;
	struct event *read;
	struct event *write;
	struct event *retry;
	struct event *wake;
	unsigned int backoff_ms;
	bool blocked;  /* a send did not go; the write event is armed */
	bool hung_up;  /* the proxy is gone; what it has sent is still being read */
	bool restart;  /* it is to be given up and opened again */
	bool replaced; /* another VMM has the port: it is not opened again */
	bool replace;  /* hello says that we replace the VMM that has the port */
	bool holding;  /* held is a message that the driver has no buffer for yet */
	struct wire_packet held;
	/* Owed to the proxy, in this order. */
	bool owe_result;
	struct link_packet result;
	bool owe_session_down;
	struct link_packet session_down;
	/* Since told_up the driver was down, if only for a moment: LINK_BACKEND_DOWN or _LOST; 0: it was not. */
	unsigned int went;
	bool told_up; /* the proxy has a BACKEND_UP of ours that nothing took back */
};

struct vvu_record;

/* Of the session that is up. */
struct vvu_keep {
	struct vvu_record *records[LINK_RECORDS_MAX];
	unsigned int num;
	uint32_t received; /* seq of the last request of the front-end */
	uint32_t answered; /* the front-end has its answers up to that one */
	uint32_t wanted[VVU_REQUESTS_MAX];
	unsigned int num_wanted;
	bool away;	       /* no proxy has the session; there is a session, and its record */
	bool offered;	       /* the link's hello named it */
	bool handed;	       /* all of it has been sent on this link */
	unsigned int given;    /* records sent on this link */
	unsigned int limit_ms; /* how long it is kept */
	struct event *timer;
	struct event *watch; /* the front-end's socket, for hang-up */
};

struct vvu_counters {
	uint64_t sessions;
	uint64_t to_driver;
	uint64_t from_driver;
	uint64_t doorbells_slow;
};

struct vvu_dev {
	struct virtio_pci vp;
	struct machine *machine;
	char port[LINK_PORT_NAME_MAX + 1];
	char who[LINK_PORT_NAME_MAX + 6]; /* "port NAME", for log lines */
	char *link_path;
	vvu_dev_event_fn event;
	void *event_arg;
	uint32_t status;
	uint32_t max_queues;
	uint8_t uuid[16];
	uint16_t notification_select;
	struct vvu_kick kicks[VVU_MAX_VHOST_QUEUES];
	struct event *kick_timer;
	struct vvu_doorbell doorbells[VVU_DOORBELLS_MAX];
	struct vvu_shm shm;
	struct vvu_session session;
	struct vvu_link link;
	struct vvu_keep keep;
	struct vvu_counters counters;
	struct vq_chain chain; /* scratch */
};

static inline bool vvu_explicit(const struct vvu_dev *d)
{
	return d->vp.dev.accepted & BIT_ULL(VVU_F_EXPLICIT_OFFSETS_BIT);
}

/* The driver serves front-ends: the device works and BACKEND_UP is set. */
bool vvu_is_up(const struct vvu_dev *d);

/* --- vvu_shmem.c --- */
int vvu_shm_init(struct vvu_shm *shm, struct machine *machine, const char *who, uint64_t bytes);
void vvu_shm_free(struct vvu_shm *shm);
/* The BAR moved: slots go where it is now. */
void vvu_shm_move(struct vvu_shm *shm, uint64_t gpa);
/*
 * Maps a region and shows it. at: its classic place, VVU_SHM_PLACE for a congruent one, or VVU_SHM_TOP for an in-flight
 * region, as far up as there is room, out of the way of the others. Takes fd over on success. 0, -ENOSPC (no room in
 * the window), -EINVAL (can't be at that place), -ENOMEM (no memory or mappings), -EIO (it can't be mapped, or the
 * hypervisor won't show it).
 */
#define VVU_SHM_PLACE UINT64_MAX
#define VVU_SHM_TOP   (UINT64_MAX - 1)
int vvu_shm_add(struct vvu_shm *shm, const struct vhost_user_region *r, int fd, uint64_t at);
/* The region that shows exactly this already: same addresses, size and offset of the same file.
 * NULL: none. */
struct vvu_region *vvu_shm_find(struct vvu_shm *shm, const struct vhost_user_region *r, int fd);
/* Bytes that regions in their classic places take up to now. */
uint64_t vvu_shm_classic_end(const struct vvu_shm *shm);
/* Takes regions away: those that leave with token; all of them. */
void vvu_shm_remove_leaving(struct vvu_shm *shm, uint32_t token);
void vvu_shm_clear(struct vvu_shm *shm);
/* The same for what is revoked, by the main loop: for a large region it takes KVM tens of milliseconds, which a vCPU
 * that serves other ports has not got. */
void vvu_shm_clear_soon(struct vvu_shm *shm);
/* Zero pages in place of every region, their fds closed. The slots stay until vvu_shm_clear() or 1
 * s. */
void vvu_shm_revoke(struct vvu_shm *shm);

/* --- vvu_watch.c --- */
int vvu_watch_init(struct vvu_shm *shm);
void vvu_watch_free(struct vvu_shm *shm);
/* A region is there, with its fd; it goes, or loses its fd. */
void vvu_watch_region(struct vvu_shm *shm, struct vvu_region *reg);
void vvu_unwatch_region(struct vvu_shm *shm, struct vvu_region *reg);
/* Main loop: a vCPU may hang. Ends the session if memory is gone, now or (scanning) soon. */
void vvu_watch_beat(struct vvu_shm *shm);
/*
 * A vCPU met memory that is gone, at gpa or (MACHINE_GPA_UNKNOWN) somewhere. True: it was here, and the
 * session has been ended.
 */
bool vvu_watch_fault(struct vvu_shm *shm, uint64_t gpa);

/* --- vvu_rings.c --- */
void vvu_rings_init(struct vvu_dev *d);
int vvu_rings_timer_init(struct vvu_dev *d);
void vvu_rings_timer_free(struct vvu_dev *d);
/* The guest unmasked a vector, and the kick behind irq could not be attached. */
void vvu_kick_failed(struct vvu_dev *d, struct msix_irq *irq, int err);
/* fd is taken over; -1 takes the old one away. 0, -EBUSY (the eventfd is another ring's), -errno;
 * then fd is closed. */
int vvu_kick_set(struct vvu_dev *d, unsigned int queue, int fd);
int vvu_doorbell_set(struct vvu_dev *d, unsigned int doorbell, int fd);
void vvu_rings_clear(struct vvu_dev *d);
/* Power-on state of the notification registers. */
void vvu_notifications_reset(struct vvu_dev *d);
void vvu_doorbells_move(struct vvu_dev *d);
uint64_t vvu_rings_read(struct vvu_dev *d, uint64_t offset, unsigned int size);
void vvu_rings_write(struct vvu_dev *d, uint64_t offset, unsigned int size, uint64_t value);

/* --- vvu_session.c --- */
enum vvu_end {
	VVU_END_PROXY,	/* the proxy ended it, or is gone */
	VVU_END_DEVICE, /* we end it and tell the proxy why */
	VVU_END_DRIVER, /* the driver went down; BACKEND_DOWN says so */
	VVU_END_LOST	/* the driver is gone or broken; BACKEND_LOST says so */
};
int vvu_session_init(struct vvu_dev *d);
void vvu_session_free(struct vvu_dev *d);
void vvu_session_begin(struct vvu_dev *d, uint32_t number);
void vvu_session_end(struct vvu_dev *d, enum vvu_end how, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* The device can't go on: the session is lost to it, sets DEVICE_NEEDS_RESET. */
void vvu_broken(struct vvu_dev *d, const char *why);
/*
 * One LINK_FRONTEND packet of the current session. 1: done with (its fds taken or closed); 0: the
 * driver has no buffer for it, come again with the same packet.
 */
int vvu_session_frontend(struct vvu_dev *d, struct wire_packet *p);
/* Takes messages of the driver as long as there are any and the link takes them. */
void vvu_session_tx(struct vvu_dev *d);
/* Throws away what is in the txq: it belongs to a session that is over. */
void vvu_session_drop_tx(struct vvu_dev *d);

/* --- vvu_memory.c --- */
/*
 * Carries out SET_MEM_TABLE, ADD_MEM_REG, REM_MEM_REG or SET_INFLIGHT_FD and rewrites p's message for the driver.
 * *token: not 0 when regions leave with the answer. 0; 1: could not, but that is our side's
 * trouble: *why for LINK_RESULT; -EPROTO: the front-end is at fault, *why says how.
 */
int vvu_memory_message(struct vvu_dev *d, struct wire_packet *p, uint32_t *token, const char **why);

/* --- vvu_prefault.c --- */
int vvu_prefault_init(struct vvu_dev *d);
void vvu_prefault_free(struct vvu_dev *d);
/* Begins to populate what wants it. True: that goes on; vvu_link_work() is called when it is done. */
bool vvu_prefault_begin(struct vvu_dev *d);
void vvu_prefault_cancel(struct vvu_dev *d);
/* Marks regions whose pages are there in a message for the driver (VVU_OFFSET_RESIDENT). */
void vvu_prefault_mark(const struct vvu_dev *d, struct vhost_user_msg *msg);

/* --- vvu_link.c --- */
int vvu_link_init(struct vvu_dev *d);
void vvu_link_free(struct vvu_dev *d);
/* There is something to do: a state to tell, a buffer for a held message. From any thread. */
void vvu_link_wake(struct vvu_dev *d);
/* Does it now (main loop). */
void vvu_link_work(struct vvu_dev *d);
/*
 * Sends now (main loop): 0, -EAGAIN (the link is woken when it can go), -ENOTCONN, -errno. The fds stay the
 * caller's.
 */
int vvu_link_send(struct vvu_dev *d, const struct link_packet *pkt, uint32_t body_bytes,
		  const int *fds, unsigned int num_fds);
/* Tells the proxy that request seq was not carried out. One at a time: link.owe_result must be
 * clear. */
void vvu_link_result(struct vvu_dev *d, uint32_t seq, const char *why);
void vvu_link_session_down(struct vvu_dev *d, uint32_t session, const char *why);
/* The back-end is not up any more, or was not for a moment: LINK_BACKEND_DOWN or LINK_BACKEND_LOST. */
void vvu_link_went(struct vvu_dev *d, enum link_kind how);
/* Gives the connection up, soon, and opens another one. */
void vvu_link_restart(struct vvu_dev *d);

/* --- vvu_keep.c --- */
int vvu_keep_init(struct vvu_dev *d);
void vvu_keep_free(struct vvu_dev *d);
/* A LINK_RECORD of the current session; its fds are taken or closed. -errno: *why says which rule it broke. */
int vvu_keep_record(struct vvu_dev *d, struct wire_packet *p, const char **why);
/* Request seq of the front-end has been carried out; it is to be answered. The front-end has its answers up to seq. */
void vvu_keep_received(struct vvu_dev *d, uint32_t seq, bool wants_answer);
void vvu_keep_answered(struct vvu_dev *d, uint32_t seq);
/* The proxy is gone. True: the session goes on. */
bool vvu_keep_begin(struct vvu_dev *d);
/* The link on which the session was, or was being, given back is over. */
void vvu_keep_link_lost(struct vvu_dev *d);
/* Gives back what the link's hello announced, if it did. False: the link is full, come again. */
bool vvu_keep_give(struct vvu_dev *d);
/* The proxy goes on with the session. */
void vvu_keep_adopted(struct vvu_dev *d);
/* The session is over. */
void vvu_keep_clear(struct vvu_dev *d);

#endif
