#include "deployer/status.h"
#include "common/member.h"
#include "common/text.h"
#include "deployer/ledger.h"
#include "deployer/verify.h"

#include <string.h>

enum store_state status_of(const struct want *want, const struct record *record)
{
    bool ours = strcmp(record->fingerprint, want->installed) == 0;
    return ours || record->state == STORE_PENDING ? record->state : STORE_NONE;
}

static const char *dash(const char *text)
{
    return *text ? text : "-";
}

static const char *show_time(char out[TEXT_TIME_SIZE], time_t t)
{
    return t ? text_time(out, t) : "-";
}

/* ---- wants and generations ---- */

static const char *standing_of(const struct record *r, const char *generation, bool quarantined)
{
    if (strcmp(r->current, generation) == 0)
        return "current";
    return quarantined ? "quarantined" : strcmp(r->previous, generation) == 0 ? "previous" : "kept";
}

static int write_generations(struct wire *w, struct store *store, const char *want, const struct record *r,
                             struct error *err)
{
    AUTO_FREE struct generation_meta *list = NULL;
    char when[TEXT_TIME_SIZE], reason[STORE_REASON_SIZE] = "";
    size_t count;
    int rc = store_list(store, want, &list, &count, err);
    for (size_t i = count; rc >= 0 && i-- > 0;) {
        rc = store_is_quarantined(store, want, list[i].fingerprint, reason, err);
        bool quarantined = rc == STORE_QUARANTINED;
        if (rc >= 0)
            rc = wire_write_line(
                w, err, "%d-generation want=%s id=%s fingerprint=%s not-after=%s state=%s%s%s", WIRE_OK, want,
                list[i].id, list[i].fingerprint, text_time(when, list[i].not_after),
                standing_of(r, list[i].id, quarantined), quarantined ? ": " : "", quarantined ? reason : "");
    }
    return rc;
}

static int write_want(struct wire *w, struct store *store, const struct want *want, struct error *err)
{
    struct record r;
    char begin[TEXT_TIME_SIZE], end[TEXT_TIME_SIZE], verified[TEXT_TIME_SIZE], changed[TEXT_TIME_SIZE];
    int rc = store_read_record(store, want->id, &r, err);
    if (rc < 0)
        return rc;
    enum store_state state = status_of(want, &r);
    rc = wire_write_line(
        w, err,
        "%d-want id=%s result=%s fingerprint=%s not-after=%s generation=%s verified=%s "
        "not-before=%s since=%s%s%s",
        WIRE_OK, want->id, store_state_str(state), dash(want->installed), show_time(end, want->not_after),
        dash(r.current), show_time(verified, r.verified), show_time(begin, want->not_before),
        show_time(changed, state == STORE_NONE ? 0 : r.changed), r.detail[0] ? ": " : "", r.detail);
    return rc ? rc : write_generations(w, store, want->id, &r, err);
}

/* ---- what is kept of deployments ---- */

/* Whether it showed what was installed then, and is not any more. */
static bool is_outdated(const struct want *want, const json_t *row)
{
    return strcmp(member_text(row, "state"), verify_state_str(VERIFY_SERVED)) == 0 &&
           strcmp(member_text(row, "fingerprint"), want->installed) != 0;
}

static int write_endpoint(struct wire *w, const struct want *want, const json_t *row, struct error *err)
{
    char state[32];
    bool outdated = is_outdated(want, row);
    const char *detail =
        outdated ? "another certificate has been installed since it was asked" : member_text(row, "detail");
    snprintf(state, sizeof state, "%s",
             outdated ? verify_state_str(VERIFY_STALE) : member_text(row, "state"));
    for (char *p = state; *p; p++) /* "handshake failed" */
        *p = *p == ' ' ? '-' : *p;
    return wire_write_line(
        w, err,
        "%d-endpoint want=%s endpoint=%s address=%s state=%s fingerprint=%s not-before=%s not-after=%s "
        "since=%s seen=%s%s%s",
        WIRE_OK, want->id, dash(member_text(row, "endpoint")), dash(member_text(row, "address")), dash(state),
        dash(member_text(row, "fingerprint")), dash(member_text(row, "not_before")),
        dash(member_text(row, "not_after")), dash(member_text(row, "since")), dash(member_text(row, "seen")),
        *detail ? ": " : "", detail);
}

static int write_deployment(struct wire *w, const json_t *pass, struct error *err)
{
    const char *detail = member_text(pass, "detail");
    return wire_write_line(
        w, err,
        "%d-deployment time=%s by=%s result=%s us=%lld served=%lld endpoints=%lld reloads=%lld restarts=%lld "
        "rollbacks=%lld%s%s",
        WIRE_OK, dash(member_text(pass, "time")), dash(member_text(pass, "by")),
        dash(member_text(pass, "result")), (long long)member_number(pass, "us"),
        (long long)member_number(pass, "served"), (long long)member_number(pass, "endpoints"),
        (long long)member_number(pass, "reloads"), (long long)member_number(pass, "restarts"),
        (long long)member_number(pass, "rollbacks"), *detail ? ": " : "", detail);
}

/* Of wants that there still are. */
static int write_endpoints(struct wire *w, const struct want_list *wants, const json_t *seen,
                           struct error *err)
{
    int rc = 0;
    for (size_t i = 0; !rc && i < json_array_size(seen); i++) {
        const json_t *row = json_array_get(seen, i);
        const struct want *want = want_find(wants, member_text(row, "want"));
        rc = want ? write_endpoint(w, want, row, err) : 0;
    }
    return rc;
}

/* The latest first. */
static int write_deployments(struct wire *w, const json_t *passes, struct error *err)
{
    int rc = 0;
    for (size_t i = json_array_size(passes); !rc && i-- > 0;)
        rc = write_deployment(w, json_array_get(passes, i), err);
    return rc;
}

int status_write(struct wire *w, struct mailhost *host, struct error *err)
{
    json_auto_t *history = NULL;
    char contact[TEXT_TIME_SIZE];
    int rc = ledger_read(&history, host->store, err);
    for (size_t i = 0; !rc && i < host->wants.count; i++)
        rc = write_want(w, host->store, &host->wants.list[i], err);
    if (!rc)
        rc = write_endpoints(w, &host->wants, ledger_seen(history), err);
    if (!rc)
        rc = write_deployments(w, history_passes(history), err);
    return rc ? rc
              : wire_write_line(w, err, "%d status contact=%s", WIRE_OK,
                                show_time(contact, store_last_contact(host->store)));
}
