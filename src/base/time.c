#include "base/time.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "base/text.h"

static int64_t clock_ms(clockid_t id)
{
	struct timespec ts;

	(void)clock_gettime(id, &ts); /* cannot fail for the two clocks used here */
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

struct mono mono_now(void)
{
	return (struct mono){ clock_ms(CLOCK_BOOTTIME) };
}

struct wall wall_now(void)
{
	return (struct wall){ clock_ms(CLOCK_REALTIME) };
}

const char *wall_text(struct wall t, char buf[static WALL_TEXT_BYTES])
{
	time_t s = (time_t)wall_s(t);
	int ms = (int)((t.ms % 1000 + 1000) % 1000);
	struct tm tm;

	if (!gmtime_r(&s, &tm) || tm.tm_year > 9999 - 1900 || tm.tm_year < -1900) {
		(void)snprintf(buf, WALL_TEXT_BYTES, "never"); /* fits */
		return buf;
	}
	(void)snprintf(buf, WALL_TEXT_BYTES, "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ", /* fits */
		       (unsigned)(tm.tm_year + 1900) % 10000, (unsigned)(tm.tm_mon + 1) % 100,
		       (unsigned)tm.tm_mday % 100, (unsigned)tm.tm_hour % 100, (unsigned)tm.tm_min % 100,
		       (unsigned)tm.tm_sec % 100, (unsigned)ms % 1000);
	return buf;
}

static bool digits(struct span t, size_t at, size_t n, int *ret)
{
	uint64_t v;

	if (at + n > t.n || text_parse_u64(span_sub(t, at, n), 9999, &v, TEXT_LEADING_ZEROS) < 0)
		return false;
	*ret = (int)v;
	return true;
}

static bool zone(struct span t, size_t at, int *ret_min)
{
	int h, m;

	*ret_min = 0;
	if (at + 1 == t.n && (t.p[at] == 'Z' || t.p[at] == 'z'))
		return true;
	if (at + 6 != t.n || (t.p[at] != '+' && t.p[at] != '-') || t.p[at + 3] != ':' ||
	    !digits(t, at + 1, 2, &h) || !digits(t, at + 4, 2, &m) || h > 23 || m > 59)
		return false;
	*ret_min = (t.p[at] == '-' ? -1 : 1) * (h * 60 + m);
	return true;
}

static int month_days(int year, int month)
{
	static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

	return days[month - 1] + (month == 2 && leap);
}

int wall_parse(struct span t, struct wall *ret)
{
	uint64_t secs;
	struct tm tm = { 0 };
	int year, month, zone_min, ms = 0;

	if (text_parse_u64(t, INT64_MAX / 1000, &secs, 0) >= 0) {
		*ret = wall_from_s((int64_t)secs);
		return 0;
	}
	if (t.n < 20 || t.p[4] != '-' || t.p[7] != '-' || (t.p[10] != 'T' && t.p[10] != 't' && t.p[10] != ' ') ||
	    t.p[13] != ':' || t.p[16] != ':' || !digits(t, 0, 4, &year) || !digits(t, 5, 2, &month) ||
	    !digits(t, 8, 2, &tm.tm_mday) || !digits(t, 11, 2, &tm.tm_hour) || !digits(t, 14, 2, &tm.tm_min) ||
	    !digits(t, 17, 2, &tm.tm_sec))
		return -EBADMSG;
	if (month < 1 || month > 12 || tm.tm_mday < 1 || tm.tm_mday > month_days(year, month) ||
	    tm.tm_hour > 23 || tm.tm_min > 59 || tm.tm_sec > 60)
		return -EBADMSG;
	size_t at = 19;
	if (t.p[at] == '.') {
		int scale = 100;
		size_t dot = at;
		for (at++; at < t.n && t.p[at] >= '0' && t.p[at] <= '9'; at++, scale /= 10)
			ms += scale * (t.p[at] - '0');
		if (at == dot + 1)
			return -EBADMSG;
	}
	if (at >= t.n || !zone(t, at, &zone_min))
		return -EBADMSG;
	tm.tm_year = year - 1900;
	tm.tm_mon = month - 1;
	*ret = (struct wall){ ((int64_t)timegm(&tm) - (int64_t)zone_min * 60) * 1000 + ms };
	return 0;
}
