// SPDX-License-Identifier: BSD-2-Clause
#include "core/options.h"

#include "core/be.h"
#include "core/fdb.h"
#include "core/rate.h"

#define WORD_MAX 2047

static bool text_equal(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

/* What follows prefix in s, or NULL. */
static const char *after(const char *s, const char *prefix)
{
	while (*prefix) {
		if (*s++ != *prefix++)
			return NULL;
	}
	return s;
}

static int bad(struct text *error, const char *what, const char *got, const char *want)
{
	text_init(error);
	text_add(error, what);
	text_add(error, " '");
	text_add_n(error, got, 64);
	text_add(error, "': ");
	text_add(error, want);
	return -EINVAL;
}

static int parse_u32(const char *s, uint32_t min, uint32_t max, uint32_t *out)
{
	uint64_t v = 0;

	if (!*s)
		return -EINVAL;
	for (; *s; s++) {
		if (*s < '0' || *s > '9')
			return -EINVAL;
		v = v * 10 + (uint64_t)(*s - '0');
		if (v > UINT32_MAX)
			return -EINVAL;
	}
	if (v < min || v > max)
		return -EINVAL;
	*out = (uint32_t)v;
	return 0;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static int parse_mac(const char *s, uint64_t *out)
{
	uint8_t b[6];

	for (unsigned int i = 0; i < 6; i++) {
		int hi = hex_digit(s[0]), lo = hi < 0 ? -1 : hex_digit(s[1]);

		if (lo < 0 || s[2] != (i < 5 ? ':' : '\0'))
			return -EINVAL;
		b[i] = (uint8_t)(hi << 4 | lo);
		s += 3;
	}
	*out = fdb_mac(b);
	return *out && !fdb_is_group(*out) ? 0 : -EINVAL;
}

/* [A-Za-z0-9_.-], the first one alphanumeric; the same rule as the host programs'. */
static bool name_char(char c, bool first)
{
	if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'))
		return true;
	return !first && (c == '_' || c == '.' || c == '-');
}

/* Copies the name at s up to end; the length, or 0 when it is no name. */
static unsigned int take_name(char *to, const char *s, const char *end)
{
	unsigned int n = 0;

	for (; s < end; s++, n++) {
		if (n == BE_PORT_NAME_MAX || !name_char(*s, n == 0))
			return 0;
		to[n] = *s;
	}
	to[n] = '\0';
	return n;
}

static int set_poll(struct be_options *o, const char *v)
{
	const char *us = after(v, "adaptive:");

	if (text_equal(v, "always"))
		o->poll = BE_POLL_ALWAYS;
	else if (text_equal(v, "never"))
		o->poll = BE_POLL_NEVER;
	else if (text_equal(v, "adaptive"))
		o->poll = BE_POLL_ADAPTIVE;
	else if (us && !parse_u32(us, 1, BE_POLL_US_MAX, &o->poll_us))
		o->poll = BE_POLL_ADAPTIVE;
	else
		return -EINVAL;
	return 0;
}

static int set_names(struct be_options *o, const char *v)
{
	o->num_names = 0;
	for (;;) {
		const char *end = v;
		unsigned int n = o->num_names;

		while (*end && *end != ',')
			end++;
		if (n == BE_PORTS_MAX || !take_name(o->names[n], v, end))
			return -EINVAL;
		for (unsigned int i = 0; i < n; i++) {
			if (text_equal(o->names[i], o->names[n]))
				return -EINVAL;
		}
		o->num_names++;
		if (!*end)
			return 0;
		v = end + 1;
	}
}

static int set_mac(struct be_options *o, const char *rest, const char *end, const char *value)
{
	struct be_option_mac *m = &o->macs[o->num_macs];

	if (o->num_macs == BE_OPTION_MACS || !take_name(m->port, rest, end) ||
	    parse_mac(value, &m->mac))
		return -EINVAL;
	for (unsigned int i = 0; i < o->num_macs; i++) {
		if (o->macs[i].mac == m->mac)
			return -EINVAL;
	}
	o->num_macs++;
	return 0;
}

/* NUMBER, or NUMBER with k, M, G or T behind it: thousands, millions, ... */
static int parse_amount(const char *s, uint64_t min, uint64_t max, uint64_t *out)
{
	static const char units[] = "kMGT";
	uint64_t v = 0, factor = 1000;

	if (!*s)
		return -EINVAL;
	for (; *s >= '0' && *s <= '9'; s++) {
		if (v > max / 10)
			return -EINVAL;
		v = v * 10 + (uint64_t)(*s - '0');
	}
	for (const char *u = units; *s && *u; u++, factor *= 1000) {
		if (*s != *u)
			continue;
		if (v > max / factor)
			return -EINVAL;
		v *= factor;
		s++;
		break;
	}
	if (*s || v < min || v > max)
		return -EINVAL;
	*out = v;
	return 0;
}

const struct be_option_limit *be_options_limit(const struct be_options *o, const char *port)
{
	for (unsigned int i = 0; i < o->num_limits; i++) {
		if (text_equal(o->limits[i].port, port))
			return &o->limits[i];
	}
	return NULL;
}

/* The entry for the port, a new one if need be. */
static struct be_option_limit *limit_of(struct be_options *o, const char *rest, const char *end)
{
	struct be_option_limit *new = &o->limits[o->num_limits];
	const struct be_option_limit *old;

	if (o->num_limits == BE_PORTS_MAX || !take_name(new->port, rest, end))
		return NULL;
	old = be_options_limit(o, new->port);
	if (old)
		return &o->limits[old - o->limits];
	new->bits = 0;
	new->packets = 0;
	o->num_limits++;
	return new;
}

static int set_rate(struct be_options *o, const char *rest, const char *end, const char *value)
{
	struct be_option_limit *l = limit_of(o, rest, end);

	return !l || l->bits ? -EINVAL : parse_amount(value, BE_RATE_MIN, RATE_BITS_MAX, &l->bits);
}

static int set_pps(struct be_options *o, const char *rest, const char *end, const char *value)
{
	struct be_option_limit *l = limit_of(o, rest, end);

	return !l || l->packets ? -EINVAL : parse_amount(value, 1, RATE_PACKETS_MAX, &l->packets);
}

static const struct {
	const char *key;
	int (*set)(struct be_options *o, const char *rest, const char *end, const char *value);
	const char *want;
} port_options[] = {
	{ ".mac=", set_mac, "port.NAME.mac=XX:XX:XX:XX:XX:XX, an individual address, given once" },
	{ ".rate=", set_rate, "port.NAME.rate=BITS, 1k to 1T a second, once for a port" },
	{ ".pps=", set_pps, "port.NAME.pps=PACKETS, 1 to 1G a second, once for a port" },
};

/* port.NAME.KEY=VALUE; rest begins after "port.". Names may have dots: the last key counts. */
static int set_port(struct be_options *o, const char *word, const char *rest, struct text *error)
{
	const char *value = NULL, *end = NULL;
	unsigned int which = 0;

	for (const char *p = rest; *p; p++) {
		for (unsigned int i = 0; i < ARRAY_LEN(port_options); i++) {
			const char *v = after(p, port_options[i].key);

			if (!v)
				continue;
			end = p;
			value = v;
			which = i;
		}
	}
	if (!value)
		return bad(error, "port option", word, "port.NAME.mac=, .rate= or .pps=");
	return port_options[which].set(o, rest, end, value)
		       ? bad(error, "port option", word, port_options[which].want)
		       : 0;
}

void be_options_init(struct be_options *o)
{
	o->app = BE_APP_SWITCH;
	o->poll = BE_POLL_ADAPTIVE;
	o->poll_us = 50;
	o->offload = true;
	o->mtu = 0;
	o->age = FDB_AGE_DEFAULT;
	o->num_names = 0;
	o->num_macs = 0;
	o->num_limits = 0;
}

static int set_application(struct be_options *o, const char *word, struct text *error)
{
	if (text_equal(word, "switch"))
		o->app = BE_APP_SWITCH;
	else if (text_equal(word, "echo"))
		o->app = BE_APP_ECHO;
	else
		return bad(error, "unknown application", word, "switch or echo");
	return 0;
}

int be_options_word(struct be_options *o, const char *word, bool first, struct text *error)
{
	const char *v;
	uint32_t n = 0;

	for (v = word; *v && *v != '='; v++)
		;
	if (!*v) {
		if (first)
			return set_application(o, word, error);
		return bad(error, "option without a value", word, "options are KEY=VALUE");
	}
	if ((v = after(word, "poll="))) {
		if (set_poll(o, v))
			return bad(error, "poll", v,
				   "always, never, adaptive or adaptive:US (1 to 1000000)");
	} else if ((v = after(word, "offload="))) {
		if (!text_equal(v, "on") && !text_equal(v, "off"))
			return bad(error, "offload", v, "on or off");
		o->offload = text_equal(v, "on");
	} else if ((v = after(word, "mtu="))) {
		if (parse_u32(v, 68, 65535, &n))
			return bad(error, "mtu", v, "68 to 65535 bytes");
		o->mtu = (uint16_t)n;
	} else if ((v = after(word, "age="))) {
		if (parse_u32(v, 0, 1000000, &o->age))
			return bad(error, "age", v, "0 (never) to 1000000 seconds");
	} else if ((v = after(word, "names="))) {
		if (set_names(o, v))
			return bad(error, "names", v,
				   "up to 32 different port names, separated by commas");
	} else if ((v = after(word, "port."))) {
		return set_port(o, word, v, error);
	} else {
		return bad(error, "unknown option", word,
			   "poll=, offload=, mtu=, age=, names=, port.NAME.mac=, .rate=, .pps=");
	}
	return 0;
}

int be_options_line(struct be_options *o, const char *line, struct text *error)
{
	static char word[WORD_MAX + 1];
	bool first = true;

	for (;;) {
		unsigned int n = 0;
		int ret;

		while (*line == ' ' || *line == '\t' || *line == '\n')
			line++;
		if (!*line)
			return 0;
		for (; *line && *line != ' ' && *line != '\t' && *line != '\n'; line++) {
			if (n == WORD_MAX)
				return bad(error, "word too long", word, "at most 2047 characters");
			word[n++] = *line;
			word[n] = '\0';
		}
		ret = be_options_word(o, word, first, error);
		if (ret)
			return ret;
		first = false;
	}
}

static int check_port(const char *name, const char *const *ports, unsigned int num,
		      struct text *error)
{
	for (unsigned int p = 0; p < num; p++) {
		if (text_equal(ports[p], name))
			return 0;
	}
	return bad(error, "port option for an unknown port", name, "name one of the ports");
}

int be_options_check(const struct be_options *o, const char *const *ports, unsigned int num,
		     struct text *error)
{
	int ret = 0;

	for (unsigned int i = 0; i < o->num_macs && !ret; i++)
		ret = check_port(o->macs[i].port, ports, num, error);
	for (unsigned int i = 0; i < o->num_limits && !ret; i++)
		ret = check_port(o->limits[i].port, ports, num, error);
	return ret;
}
