#include "pusher/candidate.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/text.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define LOAD_PAUSE_MS 100

#define SETTLE_S       10    /* after a change, a pair that does not match may be completed yet */
#define SETTLE_LATE_MS 60000 /* then a pass goes on, whatever changes */

static int parse_cert(struct lineage *lineage, struct error *err)
{
    AUTO_SECRET struct secret pem = SECRET(SECRET_MAX);
    int rc = file_read(AT_FDCWD, lineage->cert_path, FILE_FOLLOW, &pem, NULL, err);
    lineage->is_unread = rc != 0;
    if (rc)
        return rc;
    rc = cert_parse(pem.data, pem.len, CERT_KEY_IGNORED, &lineage->cert, err);
    lineage->is_unread = rc < 0; /* no memory */
    return rc ? error_wrap(err, "%s", lineage->cert_path) : 0;
}

void candidate_parse(struct lineage_list *l, struct report *report)
{
    l->free_cert = cert_free;
    for (size_t i = 0; i < l->count; i++) {
        struct error err;
        if (!l->list[i].cert && parse_cert(&l->list[i], &err))
            report_event(report, EVENT_LINEAGE_UNREADABLE, NULL, "lineage %s: %s", l->list[i].name, err.text);
    }
}

static bool is_valid(const struct cert *c, time_t now)
{
    return now >= cert_info(c)->not_before && now < cert_info(c)->not_after;
}

static bool is_newer(const struct lineage *a, const struct lineage *b)
{
    const struct cert_info *x = cert_info(a->cert), *y = cert_info(b->cert);
    return x->not_before != y->not_before ? x->not_before > y->not_before : x->not_after > y->not_after;
}

static size_t count_covered(const struct cert *c, const struct want *want)
{
    size_t n = 0;
    for (size_t i = 0; i < want->name_count; i++)
        n += cert_covers(c, want->names[i]);
    return n;
}

static void explain(const struct lineage *nearest, size_t covered, const struct want *want, time_t now,
                    struct error *err)
{
    char when[TEXT_TIME_SIZE];
    if (!covered) {
        error_set(err, E_FAILED, "no lineage covers %s", want->names[0]);
    } else if (covered < want->name_count) {
        error_set(err, E_FAILED, "no lineage covers all %zu names; %s comes nearest and lacks %s",
                  want->name_count, nearest->name,
                  cert_first_uncovered(nearest->cert, (const char *const *)want->names, want->name_count));
    } else {
        const struct cert_info *info = cert_info(nearest->cert);
        bool early = now < info->not_before;
        error_set(err, early ? E_TEMPORARY : E_FAILED, "lineage %s covers %s, but %s at %s", nearest->name,
                  want->names[0], early ? "begins only" : "expired",
                  text_time(when, early ? info->not_before : info->not_after));
    }
}

/* What could not be read may hold what is missed. */
static void excuse(const struct lineage_list *l, struct error *err)
{
    for (size_t i = 0; i < l->count; i++)
        if (l->list[i].is_unread) {
            char found[sizeof err->text];
            strcpy(found, err->text);
            error_set(err, E_TEMPORARY, "%.600s; what lineage %s holds could not be read", found,
                      l->list[i].name);
            return;
        }
}

const struct lineage *candidate_choose(const struct lineage_list *l, const struct want *want, time_t now,
                                       struct error *err)
{
    const struct lineage *best = NULL, *nearest = NULL;
    size_t most = 0;
    if (!want->name_count) {
        error_set(err, E_FAILED, "want %s has no names", want->id);
        return NULL;
    }
    for (size_t i = 0; i < l->count; i++) {
        const struct lineage *lineage = &l->list[i];
        size_t covered = lineage->cert ? count_covered(lineage->cert, want) : 0;
        if (covered == want->name_count && is_valid(lineage->cert, now) && (!best || is_newer(lineage, best)))
            best = lineage;
        if (covered > most || (covered && covered == most && is_newer(lineage, nearest))) {
            nearest = lineage;
            most = covered;
        }
    }
    if (!best) {
        explain(nearest, most, want, now, err);
        excuse(l, err);
    }
    return best;
}

time_t candidate_next_begin(const struct lineage_list *l, time_t now)
{
    time_t next = 0;
    for (size_t i = 0; i < l->count; i++) {
        time_t begin = l->list[i].cert ? cert_info(l->list[i].cert)->not_before : 0;
        if (begin > now && (!next || begin < next))
            next = begin;
    }
    return next;
}

/* ---- load ---- */

static int try_load(const struct lineage *lineage, struct secret *bundle, struct cert **out_cert,
                    struct error *err)
{
    AUTO_SECRET struct secret key = SECRET(SECRET_MAX);
    int rc = file_read(AT_FDCWD, lineage->cert_path, FILE_FOLLOW, bundle, NULL, err);
    if (!rc)
        rc = file_read(AT_FDCWD, lineage->key_path, FILE_FOLLOW, &key, NULL, err);
    if (rc)
        return rc;
    if (secret_append(bundle, "\n", 1) < 0 || secret_append(bundle, key.data, key.len) < 0)
        return error_set(err, E_FAILED, "certificates and key take more than %zu bytes", bundle->max);
    return cert_parse(bundle->data, bundle->len, CERT_KEY_REQUIRED, out_cert, err);
}

/* Seconds since either file has changed; a clock that was set back makes it long ago. */
static time_t age(const struct lineage *lineage)
{
    struct stat cert, key;
    time_t now = time(NULL);
    if (stat(lineage->cert_path, &cert) < 0 || stat(lineage->key_path, &key) < 0)
        return SETTLE_S;
    time_t last = cert.st_ctime > key.st_ctime ? cert.st_ctime : key.st_ctime;
    return last > now ? SETTLE_S : now - last;
}

static bool is_torn(const struct lineage *lineage)
{
    AUTO_SECRET struct secret bundle = SECRET(SECRET_MAX);
    AUTO_CERT struct cert *c = NULL;
    struct error ignored;
    return try_load(lineage, &bundle, &c, &ignored) > 0;
}

static bool is_any_torn(const struct lineage_list *l)
{
    for (size_t i = 0; i < l->count; i++)
        if (age(&l->list[i]) < SETTLE_S && is_torn(&l->list[i]))
            return true;
    return false;
}

static void settle(const struct lineage_list *l)
{
    int64_t deadline = clock_ms() + SETTLE_LATE_MS;
    while (clock_left_ms(deadline) && is_any_torn(l))
        poll(NULL, 0, LOAD_PAUSE_MS);
}

void candidate_settle(const struct lineage_list *l)
{
    bool is_recent = false;
    for (size_t i = 0; i < l->count; i++)
        is_recent = is_recent || age(&l->list[i]) < SETTLE_S;
    pid_t pid = is_recent ? fork() : -1;
    if (pid == 0) {
        settle(l);
        _exit(0);
    }
    while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
}

int candidate_load(const struct lineage *lineage, int64_t deadline_ms, struct secret *out_bundle,
                   struct cert **out_cert, struct error *err)
{
    int rc = try_load(lineage, out_bundle, out_cert, err);
    while (rc > 0 && clock_left_ms(deadline_ms)) { /* a renewal may be in its midst */
        poll(NULL, 0, LOAD_PAUSE_MS);
        secret_wipe(out_bundle);
        rc = try_load(lineage, out_bundle, out_cert, err);
    } /* a negative one is beyond a reader's help: no permission, too large */
    if (!rc)
        return 0;
    secret_wipe(out_bundle);
    error_wrap(err, "lineage %s (%s, %s)", lineage->name, lineage->cert_path, lineage->key_path);
    return rc < 0 ? rc : E_FAILED;
}
