/*
 * Findings: what is wrong with a mail host, or will be, each with what resolves it. Made by preflight.c, told
 * by a deployment and by `mailcow-cert-deploy check`.
 */
#ifndef DEPLOYER_FINDING_H
#define DEPLOYER_FINDING_H

#include "common/want.h"

enum finding_severity {
    FINDING_NOTE,   /* good to know */
    FINDING_WARN,   /* wrong, or about to go wrong; a deployment goes on */
    FINDING_LATER,  /* nothing may be installed now; it passes by itself */
    FINDING_REFUSE, /* nothing may be installed until somebody has resolved it */
};

struct finding {
    enum finding_severity severity;
    const char *id;          /* a stable word: "acme-active" */
    char want[WANT_ID_SIZE]; /* that it concerns; "" for all, or for none in particular */
    char text[380];          /* what is wrong, and where; printable */
    char remedy[260];        /* the command or the setting that resolves it; printable, "" if there is none */
};

#define FINDING_MAX 64

/* A zeroed one is empty. */
struct finding_list {
    struct finding list[FINDING_MAX];
    size_t count;
    size_t omitted;        /* that there was no room for: never one before a less severe one */
    struct finding *added; /* the last one; NULL when it was omitted */
};

/* Adds a finding without a remedy. id must outlive the list; want may be NULL. */
void finding_add(struct finding_list *list, enum finding_severity severity, const char *id, const char *want,
                 const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* Gives the finding that was added last its remedy. */
void finding_remedy(struct finding_list *list, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The first finding of this severity, or NULL. */
const struct finding *finding_of(const struct finding_list *list, enum finding_severity severity);

/* "note", "warn", "later", "refuse" */
const char *finding_severity_str(enum finding_severity severity);

#endif
