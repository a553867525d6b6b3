#include "deployer/rollout_wire.h"

#include "deployer/mailcow.h"
#include "deployer/reload.h"

#include <string.h>
#include <time.h>

/* ---- questions ---- */

static bool is_primary(const struct want *want)
{
    return strcmp(want->id, WANT_PRIMARY) == 0;
}

/* A wildcard is asked for by a name that it covers. */
static void ask_name(struct rollout_wire *w, const char *name)
{
    struct rollout_question *q = &w->questions[w->question_count];
    q->name = name;
    if (strncmp(name, "*.", 2) == 0) {
        snprintf(q->wildcard, sizeof q->wildcard, "certsync-probe.%s", name + 2);
        q->name = q->wildcard;
    }
    for (size_t i = 1; i < w->question_count; i++)
        if (strcmp(w->questions[i].name, q->name) == 0)
            return;
    w->question_count++;
}

static int prepare_questions(struct rollout_wire *w, struct error *err)
{
    size_t room = 2;
    for (size_t i = 0; i < w->pair_count; i++)
        room += w->pairs[i].want->name_count;
    w->questions = calloc(room, sizeof *w->questions);
    if (!w->questions)
        return error_memory(err);
    w->question_count = 1; /* without a name */
    for (size_t i = 0; i < w->pair_count; i++)
        for (size_t n = 0; n < w->pairs[i].want->name_count; n++)
            ask_name(w, w->pairs[i].want->names[n]);
    w->owners = calloc(reload_service_count * w->question_count, sizeof *w->owners);
    return w->owners ? 0 : error_memory(err);
}

static bool has_name(const struct rollout_wire *w, const struct want *want, size_t question)
{
    const char *name = w->questions[question].name, *dot = name ? strchr(name, '.') : NULL;
    bool is_wildcard = name == w->questions[question].wildcard;
    for (size_t i = 0; name && i < want->name_count; i++)
        if (strcmp(want->names[i], name) == 0 || (is_wildcard && strcmp(want->names[i] + 1, dot) == 0))
            return true;
    return false;
}

/*
 * Whose leaf a service is to show for a question: that of the folder into which it looks. Not where that has
 * expired and the primary has the name, too: such a folder is one that was forgotten. pair_count: nobody's.
 */
static size_t find_owner(const struct rollout_wire *w, const char *service, size_t question)
{
    const struct want *want =
        mailcow_serves(&w->host->mailcow, &w->host->wants, service, w->questions[question].name);
    const struct want *primary = want_find(&w->host->wants, WANT_PRIMARY);
    bool is_forgotten = want->not_after <= time(NULL) && has_name(w, primary, question);
    if (is_forgotten || (w->skips_sni_map && strcmp(service, MAILCOW_POSTFIX) == 0))
        want = primary;
    for (size_t i = 0; i < w->pair_count; i++)
        if (w->pairs[i].want == want && w->pairs[i].expected[0])
            return i;
    return w->pair_count;
}

/* To be called whenever something was installed or removed. */
static void find_owners(struct rollout_wire *w)
{
    for (size_t s = 0; s < reload_service_count; s++)
        for (size_t q = 0; q < w->question_count; q++)
            w->owners[s * w->question_count + q] = find_owner(w, reload_services[s].name, q);
}

static size_t owner_of(const struct rollout_wire *w, const struct endpoint *endpoint, size_t question)
{
    return w->owners[reload_service_index(endpoint->proto->service) * w->question_count + question];
}

int rollout_wire_init(struct rollout_wire *w, const struct mailhost *host, const struct pair *pairs,
                      size_t pair_count, const struct progress *progress, struct error *err)
{
    *w = (struct rollout_wire){
        .host = host,
        .pairs = pairs,
        .pair_count = pair_count,
        .progress = progress,
    };
    return prepare_questions(w, err);
}

void rollout_wire_release(struct rollout_wire *w)
{
    free(w->questions);
    free(w->owners);
    free(w->now);
    free(w->before);
}

int rollout_wire_find_endpoints(struct rollout_wire *w, const struct docker_containers *containers,
                                struct error *err)
{
    const struct conf_list *configured = &w->host->conf->endpoints;
    struct endpoint_https https = {w->host->mailcow.https_port, w->host->mailcow.https_proxy};
    int rc = 0;
    for (size_t i = 0; !rc && i < configured->count; i++)
        rc = endpoint_parse(configured->items[i], &w->endpoints, err);
    if (!rc && configured->count == 0)
        rc = endpoint_derive(containers, &https, &w->endpoints, err);
    if (rc < 0)
        return rc;
    size_t cells = w->endpoints.count * w->question_count + 1;
    w->now = calloc(cells, sizeof *w->now);
    w->before = calloc(cells, sizeof *w->before);
    return w->now && w->before ? 0 : error_memory(err);
}

/* ---- asking ---- */

struct batch {
    const struct rollout_wire *wire;
    struct endpoint_list endpoints;
    size_t places[ENDPOINT_MAX]; /* of the endpoints in the rollout's list */
    struct verify_expectation *expectations;
    struct asked {
        size_t question;
        size_t owner;
    } * asked; /* for each expectation */
    size_t count;
    struct verify_cell *cells;
    struct verify_result results[ENDPOINT_MAX];
};

static void batch_free(struct batch *b)
{
    if (!b)
        return;
    free(b->expectations);
    free(b->asked);
    free(b->cells);
    free(b);
}
CLEANUP_DEFINE(struct batch *, batch_free)

/* Services differ in whose leaf they are to show: one expectation for each owner that there is. */
static void expect(struct batch *b, size_t question)
{
    const struct rollout_wire *w = b->wire;
    size_t first = b->count;
    for (size_t s = 0; s < reload_service_count; s++) {
        size_t owner = w->owners[s * w->question_count + question], i = first;
        while (i < b->count && b->asked[i].owner != owner)
            i++;
        if (owner == w->pair_count || i < b->count)
            continue;
        b->asked[b->count] = (struct asked){.question = question, .owner = owner};
        b->expectations[b->count++] = (struct verify_expectation){.name = w->questions[question].name,
                                                                  .fingerprint = w->pairs[owner].expected};
    }
}

/* service: only its endpoints, or (not only) all but its; NULL: all. */
static struct batch *batch_new(const struct rollout_wire *w, const char *service, bool only)
{
    struct batch *b = calloc(1, sizeof *b);
    size_t room = w->question_count * reload_service_count;
    if (!b)
        return NULL;
    b->wire = w;
    for (size_t i = 0; i < w->endpoints.count; i++) {
        if (service && (strcmp(w->endpoints.list[i].proto->service, service) == 0) != only)
            continue;
        b->places[b->endpoints.count] = i;
        b->endpoints.list[b->endpoints.count++] = w->endpoints.list[i];
    }
    b->expectations = calloc(room, sizeof *b->expectations);
    b->asked = calloc(room, sizeof *b->asked);
    b->cells = calloc(b->endpoints.count * room + 1, sizeof *b->cells);
    if (!b->expectations || !b->asked || !b->cells) {
        batch_free(b);
        return NULL;
    }
    for (size_t q = 0; q < w->question_count; q++)
        expect(b, q);
    return b;
}

static void take_cells(struct rollout_wire *w, const struct batch *b, struct verify_cell *cells)
{
    for (size_t i = 0; i < b->endpoints.count; i++) {
        size_t row = b->places[i] * w->question_count;
        w->results[b->places[i]] = b->results[i];
        w->results[b->places[i]].endpoint = &w->endpoints.list[b->places[i]];
        memset(&cells[row], 0, w->question_count * sizeof *cells);
        for (size_t e = 0; e < b->count; e++)
            if (b->cells[i * b->count + e].applies)
                cells[row + b->asked[e].question] = b->cells[i * b->count + e];
    }
}

static bool applies(void *ctx, const struct endpoint *endpoint, size_t expectation)
{
    const struct batch *b = ctx;
    const struct asked *asked = &b->asked[expectation];
    return owner_of(b->wire, endpoint, asked->question) == asked->owner;
}

static void tell(const struct rollout_wire *w, const struct verify_result *v)
{
    char name[ENDPOINT_NAME_SIZE];
    endpoint_name(name, v->endpoint);
    if (v->state == VERIFY_SERVED)
        progress_say(w->progress, "verified endpoint=%s address=%s handshakes=%u us=%lld", name, v->address,
                     v->probes, (long long)v->us);
    else
        progress_say(w->progress, "not-verified endpoint=%s address=%s us=%lld: %s: %s", name,
                     v->address[0] ? v->address : "-", (long long)v->us, verify_state_str(v->state),
                     v->detail);
}

void rollout_wire_tell(const struct rollout_wire *w, size_t endpoint)
{
    tell(w, &w->results[endpoint]);
}

static void on_verified(void *ctx, const struct verify_result *v)
{
    const struct batch *b = ctx;
    tell(b->wire, v);
}

/* As verify_run. once: a look, told to nobody. */
static int ask_batch(struct rollout_wire *w, struct batch *b, bool once, struct error *err)
{
    if (!b->endpoints.count)
        return error_set(err, E_FAILED,
                         "no endpoint to verify: mailcow publishes no port; set endpoints in [verify]");
    if (!b->count)
        return error_set(err, E_FAILED, "nothing is installed yet");
    const struct verify_opts opts = {
        .endpoints = &b->endpoints,
        .expectations = b->expectations,
        .expectation_count = b->count,
        .out_cells = b->cells,
        .timeout_ms = (int)w->host->conf->verify_timeout * 1000,
        .once = once,
        .applies = applies,
        .on_result = once ? NULL : on_verified,
        .ctx = b,
    };
    return verify_run(&opts, b->results, err);
}

/* Into cells; else as rollout_wire_ask. */
static int ask_endpoints(struct rollout_wire *w, const char *service, bool only, bool once,
                         struct verify_cell *cells, struct error *err)
{
    find_owners(w);
    CLEANUP(batch_freep) struct batch *b = batch_new(w, service, only);
    if (!b)
        return error_memory(err);
    if (!b->endpoints.count && w->endpoints.count)
        return 0;
    int rc = ask_batch(w, b, once, err);
    if (rc >= 0)
        take_cells(w, b, cells);
    return rc;
}

int rollout_wire_ask(struct rollout_wire *w, const char *service, bool only, bool once, struct error *err)
{
    return ask_endpoints(w, service, only, once, w->now, err);
}

/* ---- before ---- */

void rollout_wire_look_before(struct rollout_wire *w)
{
    struct error ignored; /* with nothing installed, nothing can break */
    w->has_before = ask_endpoints(w, NULL, true, true, w->before, &ignored) >= 0;
}

#define UNRESOLVED "/unresolved "
#define NOTE_SIZE  (ENDPOINT_LISTENER_SIZE + sizeof UNRESOLVED)

/* What is stable over a crash: protocol and container, or address; with what follows it in the list. */
static const char *note(const struct endpoint *e, enum verify_state state, char *out)
{
    endpoint_listener(out, e);
    return strcat(out, verify_asked(state) ? " " : UNRESOLVED);
}

/* VERIFY_SERVED unless one of its names did not complete a handshake. */
static enum verify_state state_before(const struct rollout_wire *w, size_t endpoint)
{
    for (size_t q = 0; q < w->question_count; q++) {
        const struct verify_cell *cell = rollout_wire_before(w, endpoint, q);
        if (cell->applies && !verify_completed(cell->state))
            return cell->state;
    }
    return VERIFY_SERVED;
}

void rollout_wire_down_before(const struct rollout_wire *w, char *out, size_t size)
{
    char text[NOTE_SIZE];
    snprintf(out, size, "%s", w->has_before ? "" : STORE_DOWN_UNKNOWN);
    for (size_t i = 0; w->has_before && i < w->endpoints.count; i++) {
        size_t n = strlen(out);
        enum verify_state state = state_before(w, i);
        if (state == VERIFY_SERVED)
            continue;
        if (n + strlen(note(&w->endpoints.list[i], state, text)) >= size) {
            snprintf(out, size, STORE_DOWN_UNKNOWN); /* half the list would accuse the other half */
            return;
        }
        strcpy(out + n, text);
    }
}

static enum verify_state recall_state(const struct endpoint *e, const char *down_before)
{
    static const enum verify_state noted[] = {VERIFY_UNREACHABLE, VERIFY_UNRESOLVED};
    char text[NOTE_SIZE];
    for (size_t i = 0; i < sizeof noted / sizeof *noted; i++)
        if (strstr(down_before, note(e, noted[i], text)))
            return noted[i];
    return VERIFY_SERVED;
}

void rollout_wire_recall_before(struct rollout_wire *w, const char *down_before)
{
    for (size_t i = 0; i < w->endpoints.count; i++) {
        enum verify_state state = recall_state(&w->endpoints.list[i], down_before);
        for (size_t q = 0; q < w->question_count; q++) {
            struct verify_cell *cell = &w->before[i * w->question_count + q];
            if (!w->has_before || verify_completed(cell->state)) /* where nobody accuses it */
                *cell = (struct verify_cell){.applies = true, .state = state};
        }
    }
    w->has_before = true;
}

/* ---- what was seen ---- */

const struct verify_cell *rollout_wire_now(const struct rollout_wire *w, size_t endpoint, size_t question)
{
    return &w->now[endpoint * w->question_count + question];
}

const struct verify_cell *rollout_wire_before(const struct rollout_wire *w, size_t endpoint, size_t question)
{
    return &w->before[endpoint * w->question_count + question];
}

const struct pair *rollout_wire_owner(const struct rollout_wire *w, size_t endpoint, size_t question)
{
    size_t owner = owner_of(w, &w->endpoints.list[endpoint], question);
    return owner < w->pair_count ? &w->pairs[owner] : NULL;
}

const char *rollout_wire_primary(const struct rollout_wire *w)
{
    size_t i = 0;
    while (!is_primary(w->pairs[i].want))
        i++;
    return w->pairs[i].expected;
}

/* A name of a folder that goes stays its concern until others serve it. */
bool rollout_wire_concerns(const struct rollout_wire *w, size_t pair, size_t endpoint, size_t question)
{
    const struct pair *p = &w->pairs[pair];
    return p->is_removed ? has_name(w, p->want, question)
                         : owner_of(w, &w->endpoints.list[endpoint], question) == pair;
}

bool rollout_wire_is_served(const struct rollout_wire *w)
{
    for (size_t i = 0; i < w->endpoints.count; i++)
        if (!w->results[i].endpoint || w->results[i].state != VERIFY_SERVED)
            return false;
    return true;
}
