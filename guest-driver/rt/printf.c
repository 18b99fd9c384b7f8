// SPDX-License-Identifier: BSD-2-Clause
/* vsnprintf for what a guest prints: d i u x X p c s %, widths, precisions (also *), flags 0 - #,
 * sizes hh h l ll z. */
#include "internal.h"

struct out {
	char *buf;
	size_t size;
	size_t len; /* as if there were room */
};

struct spec {
	bool left, zero, alt;
	int width;
	int precision; /* -1: none */
	int longs;     /* of the argument: 0 int, 1 long or size_t, 2 long long */
};

static void put(struct out *o, char c)
{
	if (o->len + 1 < o->size)
		o->buf[o->len] = c;
	o->len++;
}

static void pad(struct out *o, int n, char c)
{
	while (n-- > 0)
		put(o, c);
}

static void put_text(struct out *o, const struct spec *sp, const char *s)
{
	int len = 0;

	if (!s)
		s = "(null)";
	while ((sp->precision < 0 || len < sp->precision) && s[len])
		len++;
	if (!sp->left)
		pad(o, sp->width - len, ' ');
	for (int i = 0; i < len; i++)
		put(o, s[i]);
	if (sp->left)
		pad(o, sp->width - len, ' ');
}

static void put_number(struct out *o, const struct spec *sp, uint64_t v, unsigned int base,
		       bool upper, const char *prefix)
{
	const char *digits = upper ? "0123456789ABCDEF" : "0123456789abcdef";
	char tmp[24];
	int n = 0, prefix_len = (int)strlen(prefix), digits_min;

	do {
		tmp[n++] = digits[v % base];
		v /= base;
	} while (v);
	digits_min = sp->precision >= 0 ? sp->precision : 1;
	if (sp->zero && !sp->left && sp->precision < 0 && sp->width - prefix_len > digits_min)
		digits_min = sp->width - prefix_len;
	int total = prefix_len + (n > digits_min ? n : digits_min);

	if (!sp->left)
		pad(o, sp->width - total, ' ');
	while (*prefix)
		put(o, *prefix++);
	pad(o, digits_min - n, '0');
	while (n)
		put(o, tmp[--n]);
	if (sp->left)
		pad(o, sp->width - total, ' ');
}

static const char *parse_number(const char *f, int *v)
{
	*v = 0;
	for (; *f >= '0' && *f <= '9'; f++)
		if (*v < 1000)
			*v = *v * 10 + (*f - '0');
	return f;
}

/* Parses flags, width, precision and size; returns the conversion character's place. */
static const char *parse_spec(const char *f, struct spec *sp, va_list *ap)
{
	*sp = (struct spec){ .precision = -1 };
	for (;; f++) {
		if (*f == '-')
			sp->left = true;
		else if (*f == '0')
			sp->zero = true;
		else if (*f == '#')
			sp->alt = true;
		else
			break;
	}
	if (*f == '*') {
		sp->width = va_arg(*ap, int);
		f++;
	} else {
		f = parse_number(f, &sp->width);
	}
	if (*f == '.') {
		if (*++f == '*') {
			sp->precision = va_arg(*ap, int);
			f++;
		} else {
			f = parse_number(f, &sp->precision);
		}
	}
	for (; *f == 'l' || *f == 'z' || *f == 'h'; f++)
		sp->longs += *f != 'h';
	return f;
}

static void put_conversion(struct out *o, const struct spec *sp, char conv, va_list *ap)
{
	char one[2] = { 0 };
	uint64_t u;
	int64_t d;

	switch (conv) {
	case 'd':
	case 'i':
		d = sp->longs ? va_arg(*ap, long) : va_arg(*ap, int);
		put_number(o, sp, d < 0 ? 0 - (uint64_t)d : (uint64_t)d, 10, false,
			   d < 0 ? "-" : "");
		break;
	case 'u':
	case 'x':
	case 'X':
		u = sp->longs ? va_arg(*ap, unsigned long) : va_arg(*ap, unsigned int);
		put_number(o, sp, u, conv == 'u' ? 10 : 16, conv == 'X',
			   sp->alt && conv != 'u' && u ? "0x" : "");
		break;
	case 'p':
		put_number(o, sp, (uintptr_t)va_arg(*ap, void *), 16, false, "0x");
		break;
	case 'c':
		one[0] = (char)va_arg(*ap, int);
		put_text(o, sp, one);
		break;
	case 's':
		put_text(o, sp, va_arg(*ap, const char *));
		break;
	default:
		put(o, conv);
	}
}

int rt_vsnprintf(char *buf, size_t size, const char *fmt, va_list ap_in)
{
	struct out o = { .buf = buf, .size = size };
	struct spec sp;
	va_list ap;

	va_copy(ap, ap_in);
	for (; *fmt; fmt++) {
		if (*fmt != '%') {
			put(&o, *fmt);
			continue;
		}
		fmt = parse_spec(fmt + 1, &sp, &ap);
		if (!*fmt)
			break;
		put_conversion(&o, &sp, *fmt, &ap);
	}
	va_end(ap);
	if (size)
		buf[o.len < size ? o.len : size - 1] = '\0';
	return (int)o.len;
}

int rt_snprintf(char *buf, size_t size, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = rt_vsnprintf(buf, size, fmt, ap);
	va_end(ap);
	return n;
}
