/*
 * Small things done to text: escaping what a peer sent, and the words that configuration values are made of.
 */
#ifndef COMMON_TEXT_H
#define COMMON_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

/*
 * Copies bytes into out (size bytes with the NUL) so that they can be shown: everything but printable ASCII
 * becomes \xHH (and a backslash \\), what does not fit is cut and ends in "...". Returns out.
 */
char *text_escape(char *out, size_t size, const void *bytes, size_t len);

/* Lower-case copy; cut at size. Returns out. */
char *text_lower(char *out, size_t size, const char *in);

/* "90s", "24h", "7d", "1h30m", units s m h d w; a bare number is seconds. False when it is something else or
 * too long. */
bool text_parse_duration(const char *text, int64_t *out_seconds);

/* Decimal, digits only, min..max. */
bool text_parse_number(const char *text, long min, long max, long *out);

/*
 * A host name as certificates carry it, RFC 1123 letters, digits and hyphens, two labels or more, lower case,
 * no trailing dot; with wildcard, a leading "*." is allowed. Names that pass are safe to paste into the files
 * mailcow's services read, and safe to hand to X509_check_host.
 */
bool text_is_host_name(const char *name, bool wildcard);

/*
 * Takes the host off the front of "host:port" (a name, an IPv4 address, an IPv6 address in brackets) into
 * out, without brackets. Returns what follows it, or NULL when there is no host or it does not fit.
 */
const char *text_take_host(const char *text, char *out, size_t size);

/* 64 lower-case hex digits. */
bool text_is_fingerprint(const char *text);

void text_hex(char *out, const unsigned char *bytes, size_t len); /* out: 2 * len + 1 bytes */

#define TEXT_TIME_SIZE 21
/* "2026-11-21T07:02:00Z"; out: TEXT_TIME_SIZE bytes. Returns out. */
char *text_time(char *out, time_t t);
/* Reads what text_time writes, and nothing else. */
bool text_parse_time(const char *text, time_t *out);

#define TEXT_SPAN_SIZE 32
/* "37 days", "5 hours", "12 minutes"; out: TEXT_SPAN_SIZE bytes. Returns out. */
char *text_span(char *out, int64_t seconds);

#endif
