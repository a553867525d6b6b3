#include "deployer/ledger.h"
#include "common/clock.h"
#include "common/member.h"
#include "common/wire.h"

#include <string.h>

#define FILE_NAME "history.json"
#define SEEN      "seen"

int ledger_open(struct ledger *l, struct store *store, const char *by, struct error *err)
{
    *l = (struct ledger){.by = by, .begin_us = clock_us()};
    return history_read(&l->history, store_folder(store), FILE_NAME, err);
}

void ledger_free(struct ledger *l)
{
    json_decref(l->history);
    *l = (struct ledger){0};
}

int ledger_read(json_t **out, const struct store *store, struct error *err)
{
    return history_read(out, store_folder(store), FILE_NAME, err);
}

const json_t *ledger_seen(const json_t *history)
{
    return json_object_get(history, SEEN);
}

/* ---- counting ---- */

static void count_service(struct ledger *l, const char *line, const char *counter, const char *how)
{
    char service[32] = "", kind[48];
    wire_field(line, "service", service, sizeof service);
    snprintf(kind, sizeof kind, "%s %s", service, how);
    history_count(l->history, counter, kind);
}

void ledger_hear(struct ledger *l, const char *line)
{
    static const struct {
        const char *word, *counter, *how;
        size_t offset; /* of the deployment's own count, SIZE_MAX: none */
    } words[] = {
        {"reloaded", LEDGER_RELOADS, "done", offsetof(struct ledger, reloads)},
        {"not-reloaded", LEDGER_RELOADS, "failed", SIZE_MAX},
        {"restarted", LEDGER_RESTARTS, "done", offsetof(struct ledger, restarts)},
        {"not-restarted", LEDGER_RESTARTS, "failed", SIZE_MAX},
        {"rolled-back", LEDGER_ROLLBACKS, NULL, offsetof(struct ledger, rollbacks)},
    };
    char word[24] = "";
    if (!l->history)
        return;
    wire_word(line, 0, word, sizeof word);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcmp(words[i].word, word) != 0)
            continue;
        if (words[i].how)
            count_service(l, line, words[i].counter, words[i].how);
        else
            history_count(l->history, words[i].counter, NULL);
        if (words[i].offset != SIZE_MAX)
            ++*(unsigned *)((char *)l + words[i].offset);
    }
}

/* ---- what was seen ---- */

/* Since when the listener has shown this leaf for this want. */
static time_t since(const json_t *seen, const char *want, const char *listener, const char *fingerprint,
                    time_t now)
{
    size_t i;
    const json_t *row;
    json_array_foreach(seen, i, row)
    {
        if (strcmp(member_text(row, "want"), want) == 0 &&
            strcmp(member_text(row, "listener"), listener) == 0)
            return strcmp(member_text(row, "fingerprint"), fingerprint) == 0 ? member_time(row, "since")
                                                                             : now;
    }
    return now;
}

static json_t *describe(const json_t *before, const char *want, const struct rollout_seen *s, time_t now)
{
    const struct verify_result *r = s->result;
    const struct verify_cell *c = s->cell;
    char name[ENDPOINT_NAME_SIZE], listener[ENDPOINT_LISTENER_SIZE];
    bool served = c->state == VERIFY_SERVED;
    endpoint_name(name, r->endpoint);
    endpoint_listener(listener, r->endpoint);
    time_t from = since(before, want, listener, c->fingerprint, now);
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o}", "want", want, "endpoint",
                     name, "listener", listener, "address", r->address, "state", verify_state_str(c->state),
                     "fingerprint", c->fingerprint, "not_before", member_new_time(c->not_before), "not_after",
                     member_new_time(c->not_after), "since", member_new_time(c->fingerprint[0] ? from : 0),
                     "seen", member_new_time(now), "detail", member_new_text(served ? "" : r->detail));
}

void ledger_see(struct ledger *l, const struct pair *pairs, size_t count, const struct rollout *rollout)
{
    const json_t *before = l->history ? ledger_seen(l->history) : NULL;
    time_t now = time(NULL);
    json_auto_t *seen = json_array();
    for (size_t i = 0; l->history && i < count; i++)
        for (size_t e = 0; e < ENDPOINT_MAX; e++) {
            struct rollout_seen s;
            if (!pairs[i].is_removed && rollout_see(rollout, i, e, &s))
                json_array_append_new(seen, describe(before, pairs[i].want->id, &s, now));
        }
    if (json_array_size(seen))
        json_object_set(l->history, SEEN, seen);
}

/* ---- the end ---- */

int ledger_close(struct ledger *l, struct store *store, const struct ledger_end *end, struct error *err)
{
    const char *result = outcome_str(end->outcome->result);
    history_count(l->history, LEDGER_DEPLOYMENTS, result);
    history_add_pass(l->history, json_pack("{s:o, s:s, s:s, s:I, s:i, s:i, s:i, s:i, s:i, s:o}", "time",
                                           member_new_time(time(NULL)), "by", l->by, "result", result, "us",
                                           (json_int_t)(clock_us() - l->begin_us), "served", (int)end->served,
                                           "endpoints", (int)end->endpoints, "reloads", (int)l->reloads,
                                           "restarts", (int)l->restarts, "rollbacks", (int)l->rollbacks,
                                           "detail", member_new_text(end->outcome->detail)));
    return history_write(l->history, store_folder(store), FILE_NAME, err);
}
