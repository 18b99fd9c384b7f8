// SPDX-License-Identifier: BSD-2-Clause
/*
 * 16550A: enough for the runtime's console and for Linux's 8250 driver. Transmission is immediate,
 * so the transmitter is always empty; the receiver has a FIFO of 16 bytes, and input is only read
 * while there is room in it. The text register sends text out of guest memory.
 */
#include <errno.h>
#include <event2/event.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "abi/machine.h"
#include "vmm/hostlib/log.h"
#include "vmm/serial.h"

/* Registers; DLL and DLM are 0 and 1 while LCR_DLAB is set. */
enum {
	REG_DATA,
	REG_IER,
	REG_IIR_FCR,
	REG_LCR,
	REG_MCR,
	REG_LSR,
	REG_MSR,
	REG_SCR,
	NUM_REGS
};

#define IER_RX	     0x01
#define IER_TX	     0x02
#define IER_LINE     0x04
#define IER_MASK     0x0f
#define IIR_NONE     0x01
#define IIR_TX	     0x02
#define IIR_RX	     0x04
#define IIR_LINE     0x06
#define IIR_FIFO     0xc0
#define FCR_ENABLE   0x01
#define FCR_CLEAR_RX 0x02
#define LCR_DLAB     0x80
#define MCR_DTR	     0x01
#define MCR_RTS	     0x02
#define MCR_OUT1     0x04
#define MCR_OUT2     0x08
#define MCR_LOOP     0x10
#define LSR_DATA     0x01
#define LSR_OVERRUN  0x02
#define LSR_TX_EMPTY 0x60 /* holding and shift register */
#define MSR_CTS	     0x10
#define MSR_DSR	     0x20
#define MSR_RI	     0x40
#define MSR_DCD	     0x80

#define FIFO_SIZE  16
#define QUEUE_SIZE 65536u /* power of two */
/* One write of at most this much does not block on a pipe that polls writable. */
#define WRITE_MAX 4096u

struct serial {
	struct machine *m;
	struct serial_conf conf;
	struct event *in_event;
	struct event *out_event;
	bool out_waiting; /* out_event is added */
	bool in_waiting;
	bool line;	 /* level of the interrupt line */
	bool tx_pending; /* THRE interrupt not yet acknowledged */
	uint8_t ier, lcr, mcr, scr, fcr, dll, dlm;
	uint8_t lsr_errors;
	uint8_t fifo[FIFO_SIZE];
	unsigned int fifo_head, fifo_len;
	unsigned int queue_head, queue_tail; /* free-running */
	uint8_t queue[QUEUE_SIZE];
};

static uint8_t serial_iir(const struct serial *s)
{
	if ((s->ier & IER_LINE) && s->lsr_errors)
		return IIR_LINE;
	if ((s->ier & IER_RX) && s->fifo_len)
		return IIR_RX;
	if ((s->ier & IER_TX) && s->tx_pending)
		return IIR_TX;
	return IIR_NONE;
}

static void serial_update_irq(struct serial *s)
{
	bool line = serial_iir(s) != IIR_NONE;

	if (line == s->line)
		return;
	s->line = line;
	s->m->ops->irq_line(s->m->ctx, s->conf.irq, line);
}

/* Writes what the output takes without blocking. */
static void serial_flush(struct serial *s)
{
	while (s->queue_head != s->queue_tail) {
		struct pollfd pfd = { .fd = s->conf.out_fd, .events = POLLOUT };
		unsigned int at = s->queue_tail % QUEUE_SIZE;
		unsigned int len = s->queue_head - s->queue_tail;
		ssize_t n;

		if (len > QUEUE_SIZE - at)
			len = QUEUE_SIZE - at;
		if (len > WRITE_MAX)
			len = WRITE_MAX;
		if (poll(&pfd, 1, 0) == 0)
			break;
		n = write(s->conf.out_fd, s->queue + at, len);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			break;
		if (n < 0) {
			/* Nobody will ever read it (EPIPE, EIO, ENOSPC): the guest goes on without
			 * a console. */
			log_peer(LOG_L_WARN, "serial", "output failed: %m; output is dropped");
			s->queue_tail = s->queue_head;
			return;
		}
		s->queue_tail += (unsigned int)n;
	}
	if (s->queue_head != s->queue_tail && s->out_event && !s->out_waiting)
		s->out_waiting = event_add(s->out_event, NULL) == 0;
}

static void serial_queue(struct serial *s, uint8_t c)
{
	if (s->conf.out_fd < 0)
		return;
	if (s->queue_head - s->queue_tail == QUEUE_SIZE && !s->out_waiting)
		serial_flush(s);
	if (s->queue_head - s->queue_tail == QUEUE_SIZE) {
		log_peer(LOG_L_WARN, "serial", "output is not read; the guest's output is dropped");
		return;
	}
	s->queue[s->queue_head++ % QUEUE_SIZE] = c;
}

static void serial_transmit(struct serial *s, uint8_t c)
{
	serial_queue(s, c);
	if (!s->out_waiting)
		serial_flush(s);
}

static void serial_on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct serial *s = arg;

	pthread_mutex_lock(&s->m->lock);
	s->out_waiting = false;
	serial_flush(s);
	pthread_mutex_unlock(&s->m->lock);
}

static void serial_receive(struct serial *s, uint8_t c)
{
	if (s->fifo_len == FIFO_SIZE) {
		s->lsr_errors |= LSR_OVERRUN;
		return;
	}
	s->fifo[(s->fifo_head + s->fifo_len++) % FIFO_SIZE] = c;
}

unsigned int serial_input(struct serial *s, const uint8_t *data, unsigned int len)
{
	unsigned int n = 0;

	while (n < len && s->fifo_len < FIFO_SIZE)
		serial_receive(s, data[n++]);
	serial_update_irq(s);
	return n;
}

static void serial_on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct serial *s = arg;
	uint8_t buf[FIFO_SIZE];
	ssize_t n;

	pthread_mutex_lock(&s->m->lock);
	n = read(fd, buf, FIFO_SIZE - s->fifo_len);
	if (n > 0)
		serial_input(s, buf, (unsigned int)n);
	if (n > 0 ? s->fifo_len == FIFO_SIZE : n == 0 || (errno != EINTR && errno != EAGAIN)) {
		/* Full: wait for the guest. End or error: no input any more. */
		event_del(s->in_event);
		s->in_waiting = n > 0;
	}
	pthread_mutex_unlock(&s->m->lock);
}

static uint8_t serial_read_data(struct serial *s)
{
	uint8_t c = 0;

	if (s->fifo_len) {
		c = s->fifo[s->fifo_head];
		s->fifo_head = (s->fifo_head + 1) % FIFO_SIZE;
		s->fifo_len--;
	}
	if (s->in_waiting && s->fifo_len < FIFO_SIZE / 2) {
		s->in_waiting = false;
		event_add(s->in_event, NULL);
	}
	return c;
}

static uint8_t serial_msr(const struct serial *s)
{
	if (!(s->mcr & MCR_LOOP))
		return MSR_CTS | MSR_DSR | MSR_DCD;
	return (s->mcr & MCR_RTS ? MSR_CTS : 0) | (s->mcr & MCR_DTR ? MSR_DSR : 0) |
	       (s->mcr & MCR_OUT1 ? MSR_RI : 0) | (s->mcr & MCR_OUT2 ? MSR_DCD : 0);
}

static uint8_t serial_read_reg(struct serial *s, uint64_t reg)
{
	uint8_t v;

	switch (reg) {
	case REG_DATA:
		return s->lcr & LCR_DLAB ? s->dll : serial_read_data(s);
	case REG_IER:
		return s->lcr & LCR_DLAB ? s->dlm : s->ier;
	case REG_IIR_FCR:
		v = serial_iir(s);
		if (v == IIR_TX)
			s->tx_pending = false;
		return v | (s->fcr & FCR_ENABLE ? IIR_FIFO : 0);
	case REG_LCR:
		return s->lcr;
	case REG_MCR:
		return s->mcr;
	case REG_LSR:
		v = LSR_TX_EMPTY | (s->fifo_len ? LSR_DATA : 0) | s->lsr_errors;
		s->lsr_errors = 0;
		return v;
	case REG_MSR:
		return serial_msr(s);
	default:
		return s->scr;
	}
}

static void serial_write_data(struct serial *s, uint8_t v)
{
	if (s->mcr & MCR_LOOP)
		serial_receive(s, v);
	else
		serial_transmit(s, v);
	s->tx_pending = true;
}

static void serial_write_reg(struct serial *s, uint64_t reg, uint8_t v)
{
	switch (reg) {
	case REG_DATA:
		if (s->lcr & LCR_DLAB)
			s->dll = v;
		else
			serial_write_data(s, v);
		break;
	case REG_IER:
		if (s->lcr & LCR_DLAB) {
			s->dlm = v;
			break;
		}
		if ((v & IER_TX) && !(s->ier & IER_TX))
			s->tx_pending = true;
		s->ier = v & IER_MASK;
		break;
	case REG_IIR_FCR:
		if ((v & FCR_CLEAR_RX) || ((v ^ s->fcr) & FCR_ENABLE))
			s->fifo_len = 0;
		s->fcr = v & FCR_ENABLE;
		break;
	case REG_LCR:
		s->lcr = v;
		break;
	case REG_MCR:
		s->mcr = v & 0x1f;
		break;
	case REG_SCR:
		s->scr = v;
		break;
	}
}

/* Registers are bytes; a wider access is that many byte accesses, as on an ISA bus. */
static uint64_t serial_read(void *dev, uint64_t offset, unsigned int size)
{
	struct serial *s = dev;
	uint64_t v = 0;

	for (unsigned int i = 0; i < size; i++)
		v |= (uint64_t)serial_read_reg(s, offset + i) << (8 * i);
	serial_update_irq(s);
	return v;
}

static void serial_write(void *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	struct serial *s = dev;

	for (unsigned int i = 0; i < size; i++)
		serial_write_reg(s, offset + i, (uint8_t)(value >> (8 * i)));
	serial_update_irq(s);
}

/* MACHINE_TEXT_PORT. What the guest says may be a lie, and change. */
static void text_write(void *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	struct serial *s = dev;
	uint8_t text[MACHINE_TEXT_MAX];
	uint32_t len;

	if (offset || size != 4 || !memmap_read(&s->m->ram, gpa(value), &len, sizeof(len)) ||
	    len > sizeof(text) ||
	    !memmap_read(&s->m->ram, gpa(value + offsetof(struct machine_text, text)), text, len))
		return;
	for (uint32_t i = 0; i < len; i++)
		serial_queue(s, text[i]);
	if (!s->out_waiting)
		serial_flush(s);
}

static uint64_t text_read(void *dev, uint64_t offset, unsigned int size)
{
	return 0;
}

static void serial_reset(void *dev)
{
	struct serial *s = dev;

	s->ier = s->lcr = s->mcr = s->scr = s->fcr = s->lsr_errors = 0;
	s->dll = 12; /* 9600 baud, as firmware leaves it */
	s->dlm = 0;
	s->tx_pending = false;
	s->fifo_len = 0;
	serial_update_irq(s);
}

static const struct bus_ops serial_bus_ops = { .read = serial_read, .write = serial_write };
static const struct bus_ops text_bus_ops = { .read = text_read, .write = text_write };
static const struct machine_device_ops serial_device_ops = {
	.reset = serial_reset,
};

/* Regular files and /dev/null can't be watched by epoll. */
static bool can_watch(int fd)
{
	struct epoll_event event = { .events = EPOLLIN };
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	bool can;

	can = epoll >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0;
	close(epoll);
	return can;
}

static void serial_events(struct serial *s)
{
	const struct serial_conf *c = &s->conf;

	if (!s->m->base)
		return;
	if (c->out_fd >= 0 && can_watch(c->out_fd))
		s->out_event = event_new(s->m->base, c->out_fd, EV_WRITE, serial_on_writable, s);
	if (c->in_fd >= 0 && can_watch(c->in_fd))
		s->in_event = event_new(s->m->base, c->in_fd, EV_READ | EV_PERSIST,
					serial_on_readable, s);
	if (s->in_event)
		event_add(s->in_event, NULL);
}

struct serial *serial_create(struct machine *m, const struct serial_conf *conf)
{
	struct serial *s = calloc(1, sizeof(*s));
	int ret;

	if (!s)
		return NULL;
	s->m = m;
	s->conf = *conf;
	ret = bus_add(&m->pio, &(struct bus_range){ .base = conf->port,
						    .size = NUM_REGS,
						    .ops = &serial_bus_ops,
						    .dev = s,
						    .name = "serial" });
	if (!ret && conf->text_port)
		ret = bus_add(&m->pio, &(struct bus_range){ .base = conf->text_port,
							    .size = sizeof(uint32_t),
							    .ops = &text_bus_ops,
							    .dev = s,
							    .name = "text" });
	if (!ret)
		ret = machine_add_device(m, "serial", &serial_device_ops, s);
	if (ret) {
		bus_del(&m->pio, conf->text_port);
		bus_del(&m->pio, conf->port);
		free(s);
		errno = -ret;
		return NULL;
	}
	serial_reset(s);
	serial_events(s);
	return s;
}

/* The guest's last words often are its most important ones. */
static void serial_drain(struct serial *s)
{
	struct timespec now;
	time_t end;

	clock_gettime(CLOCK_MONOTONIC, &now);
	end = now.tv_sec + 1;
	while (s->queue_head != s->queue_tail && now.tv_sec <= end) {
		struct pollfd pfd = { .fd = s->conf.out_fd, .events = POLLOUT };

		poll(&pfd, 1, 100);
		serial_flush(s);
		clock_gettime(CLOCK_MONOTONIC, &now);
	}
}

void serial_destroy(struct serial *s)
{
	if (!s)
		return;
	if (s->in_event)
		event_free(s->in_event);
	if (s->out_event)
		event_free(s->out_event);
	s->out_event = NULL;
	serial_drain(s);
	bus_del(&s->m->pio, s->conf.text_port);
	bus_del(&s->m->pio, s->conf.port);
	machine_del_device(s->m, s);
	free(s);
}
