/*
 * Candidates: the certificates of the lineages, parsed; the choice among them, and the pair that is to be
 * sent.
 */
#ifndef PUSHER_CANDIDATE_H
#define PUSHER_CANDIDATE_H

#include "common/cert.h"
#include "common/want.h"
#include "pusher/lineage.h"

/* Reads and parses the certificates; those that cannot be are reported and passed over afterwards. */
void candidate_parse(struct lineage_list *l, struct report *report);

/*
 * The newest lineage (by notBefore, then notAfter) that is valid at now and covers all names of the want.
 * NULL with err saying how near the nearest one comes; E_TEMPORARY if time alone may cure it: it is not valid
 * yet, or a lineage could not be read.
 */
const struct lineage *candidate_choose(const struct lineage_list *l, const struct want *want, time_t now,
                                       struct error *err);

/* When the first of those begins that are not valid yet; 0: there are none. */
time_t candidate_next_begin(const struct lineage_list *l, time_t now);

/*
 * Waits while a pair does not match of which a file changed less than ten seconds ago: it is in the midst of
 * a renewal. The lineages are to be looked for again then. A process of its own reads the keys.
 */
void candidate_settle(const struct lineage_list *l);

/* How long to wait for pairs that do not match, of all lineages: the mail host waits for the first word. */
#define CANDIDATE_LOAD_MS 2000

/*
 * Reads certificate and key of a lineage as one consistent pair: certbot moves its symbolic links one after
 * another, so a pair that does not match is read again until the deadline (of clock_ms()), and once after it.
 * out_bundle (empty, at most SECRET_MAX bytes): certificates, then key; out_cert: what was read, which may be
 * younger than lineage->cert.
 */
int candidate_load(const struct lineage *lineage, int64_t deadline_ms, struct secret *out_bundle,
                   struct cert **out_cert, struct error *err);

#endif
