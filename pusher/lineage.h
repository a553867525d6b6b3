/*
 * Lineages: the named series of renewals that the sources hold, found by their names and inodes. What is in
 * their files is candidate.h's.
 */
#ifndef PUSHER_LINEAGE_H
#define PUSHER_LINEAGE_H

#include "common/cleanup.h"
#include "common/report.h"
#include "common/want.h"
#include "pusher/push_conf.h"

#define LINEAGE_MAX 4096 /* of all sources together */

struct lineage {
    char name[300];  /* "source/folder", or "source" for a pair of files or a single lineage */
    char *cert_path; /* leaf and chain */
    char *key_path;
    char *signature;   /* path, inode, size and change time of both files: as long as it is the same, so are
                          they */
    struct cert *cert; /* without its key; NULL until candidate_parse, or when it cannot be parsed */
    bool is_unread;    /* what is in its file could not be found out, whether or not it can be parsed */
};

struct lineage_list {
    struct lineage *list;
    size_t count;
    bool is_partial; /* there are more: a file is missing or cannot be reached, or too many */
    void (*free_cert)(struct cert *); /* set by whoever sets a cert, so that the scan needs no cryptography */
};
void lineage_list_free(struct lineage_list *l);
#define AUTO_LINEAGES CLEANUP(lineage_list_free)

/*
 * Finds the lineages of all sources by looking at names and inodes only. A source that is missing or cannot
 * be read is reported, and the rest goes on; returns 0, or the code of the last such failure.
 */
int lineage_scan(const struct push_conf *conf, struct lineage_list *out, struct report *report);

/* The same for one source; what is wrong with it, and with each lineage, goes to on_trouble. */
typedef void lineage_trouble(void *ctx, const struct source *source, const struct error *err);
int lineage_scan_source(const struct source *source, struct lineage_list *out, lineage_trouble *on_trouble,
                        void *ctx);

/* Whether the file of certificates can be read now. */
bool lineage_is_readable(const struct lineage *lineage);

#endif
