#include "deployer/verify.h"

#include "common/clock.h"
#include "deployer/probe.h"

#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#define FIRST_PAUSE_MS     100
#define LONGEST_PAUSE_MS   1000
#define CONNECT_TIMEOUT_MS 2000
#define ADDRESSES_MAX      16 /* of one endpoint, after names have been resolved */

/*
 * One endpoint on its way. It is asked in sweeps: a full one over all expectations; while something fails,
 * after each pause a sweep of a single expectation, the worst one; when that has recovered, a full one again.
 * It is settled by a full sweep without a failure.
 */
struct target {
    const struct endpoint *endpoint;
    struct verify_result *result;
    struct probe_address addresses[ADDRESSES_MAX];
    size_t address_count;
    size_t first; /* the address where something was heard last */
    size_t next;  /* expectations of this sweep that have not been started: next to end - 1 */
    size_t end;
    size_t running; /* probes */
    int64_t due_ms; /* the sweep does not start before */
    int pause_ms;
    bool full;
    bool settled;
    struct probe_outcome *outcomes; /* what was seen last, one for each expectation */
    bool *known;                    /* whether it was seen */
    const bool *applies;            /* whether it is asked at all */
};

struct run {
    const struct verify_opts *opts;
    struct tls_context *tls;
    struct target *targets;
    struct probe_outcome *outcomes;
    bool *known;
    bool *applies;
    struct probe *probes;   /* VERIFY_PARALLEL */
    struct target **owners; /* of the probes; NULL: free */
    size_t running;
    size_t unsettled;
    int64_t start_us;
    int64_t deadline_ms;
};

const char *verify_state_str(enum verify_state state)
{
    static const char *const names[] = {
        [VERIFY_SERVED] = "served",
        [VERIFY_STALE] = "stale",
        [VERIFY_HANDSHAKE] = "handshake failed",
        [VERIFY_DIALOGUE] = "dialogue failed",
        [VERIFY_DISTRUSTED] = "not trusted",
        [VERIFY_UNRESOLVED] = "unresolved",
        [VERIFY_UNREACHABLE] = "unreachable",
    };
    return names[state];
}

bool verify_completed(enum verify_state state)
{
    return state == VERIFY_SERVED || state == VERIFY_STALE;
}

bool verify_asked(enum verify_state state)
{
    return state != VERIFY_UNRESOLVED;
}

/* ---- results ---- */

/* One that was not asked counts as best, one that does not apply as better still. */
static int badness(const struct target *t, size_t expectation)
{
    if (!t->applies[expectation])
        return -2;
    return t->known[expectation] ? (int)t->outcomes[expectation].state : -1;
}

/* The expectation that was met worst, the first of them. */
static size_t find_worst(const struct run *run, const struct target *t)
{
    size_t worst = 0;
    for (size_t i = 1; i < run->opts->expectation_count; i++)
        if (badness(t, i) > badness(t, worst))
            worst = i;
    return worst;
}

static bool all_known(const struct run *run, const struct target *t)
{
    for (size_t i = 0; i < run->opts->expectation_count; i++)
        if (t->applies[i] && !t->known[i])
            return false;
    return true;
}

static void fill_result(const struct run *run, struct target *t)
{
    struct verify_result *r = t->result;
    size_t worst = find_worst(run, t);
    const struct probe_outcome *o = &t->outcomes[worst];
    r->state = o->state;
    if (t->known[worst]) {
        endpoint_address_text(r->address, t->addresses[o->address].named);
        snprintf(r->fingerprint, sizeof(r->fingerprint), "%s", o->fingerprint);
        snprintf(r->detail, sizeof(r->detail), "%s", o->detail);
    }
    if (!t->known[worst] || (o->state == VERIFY_SERVED && !all_known(run, t))) {
        r->state = VERIFY_UNREACHABLE;
        snprintf(r->detail, sizeof(r->detail), "not every name could be asked in time");
    }
    for (size_t i = 0; i < run->opts->expectation_count; i++)
        r->probes += t->applies[i] && t->known[i] && t->outcomes[i].state == VERIFY_SERVED;
}

static void settle(struct run *run, struct target *t)
{
    t->settled = true;
    run->unsettled--;
    t->result->us = clock_us() - run->start_us;
    if (run->opts->on_result)
        run->opts->on_result(run->opts->ctx, t->result);
}

/* ---- sweeps ---- */

/* The next expectation from i on that applies. */
static size_t next_applying(const struct target *t, size_t i, size_t end)
{
    while (i < end && !t->applies[i])
        i++;
    return i;
}

static void begin_full_sweep(const struct run *run, struct target *t)
{
    t->full = true;
    t->end = run->opts->expectation_count;
    t->next = next_applying(t, 0, t->end);
    memset(t->known, 0, t->end * sizeof(*t->known));
}

static void begin_single_sweep(struct target *t, size_t expectation)
{
    t->full = false;
    t->next = expectation;
    t->end = expectation + 1;
    t->due_ms = clock_ms() + t->pause_ms;
    t->pause_ms = t->pause_ms * 3 / 2 < LONGEST_PAUSE_MS ? t->pause_ms * 3 / 2 : LONGEST_PAUSE_MS;
}

static void end_sweep(struct run *run, struct target *t, size_t last)
{
    size_t worst = find_worst(run, t);
    if (!t->full && t->outcomes[last].state == VERIFY_SERVED) {
        begin_full_sweep(run, t);
    } else if (t->outcomes[worst].state == VERIFY_SERVED || run->opts->once) {
        fill_result(run, t);
        settle(run, t);
    } else {
        begin_single_sweep(t, worst);
    }
}

/* Takes the outcome of a probe that is over and frees its slot. */
static void finish(struct run *run, size_t slot)
{
    struct target *t = run->owners[slot];
    struct probe *p = &run->probes[slot];
    size_t expectation = (size_t)(p->opts.expectation - run->opts->expectations);
    t->outcomes[expectation] = p->outcome;
    t->known[expectation] = true;
    if (p->outcome.heard)
        t->first = p->outcome.address;
    probe_end(p);
    run->owners[slot] = NULL;
    run->running--;
    t->running--;
    /* Not a matter of names: the rest of the sweep would only wait as long again. */
    if (t->outcomes[expectation].state == VERIFY_UNREACHABLE)
        t->next = t->end;
    if (t->running == 0 && t->next == t->end)
        end_sweep(run, t, expectation);
}

static size_t find_slot(const struct run *run)
{
    size_t slot = 0;
    while (run->owners[slot])
        slot++;
    return slot;
}

/* Whether a probe of t was started. */
static bool start_one(struct run *run, struct target *t, int64_t now)
{
    if (t->settled || t->next == t->end || t->running == VERIFY_PER_ENDPOINT ||
        run->running == VERIFY_PARALLEL || now < t->due_ms)
        return false;
    size_t slot = find_slot(run);
    const struct verify_opts *o = run->opts;
    struct probe_opts probe = {
        .tls = run->tls,
        .dialogue = t->endpoint->proto->dialogue,
        .proxy = t->endpoint->proxy,
        .addresses = t->addresses,
        .address_count = t->address_count,
        .first = t->first,
        .expectation = &o->expectations[t->next],
        .connect_timeout_ms = o->connect_timeout_ms ? o->connect_timeout_ms : CONNECT_TIMEOUT_MS,
    };
    t->next = next_applying(t, t->next + 1, t->end);
    run->owners[slot] = t;
    run->running++;
    t->running++;
    if (probe_start(&run->probes[slot], &probe))
        finish(run, slot);
    return true;
}

/* In turn, so that every endpoint gets its first probe before any gets its second. */
static void start_due(struct run *run)
{
    int64_t now = clock_ms();
    bool any;
    do {
        any = false;
        for (size_t i = 0; i < run->opts->endpoints->count; i++)
            any |= start_one(run, &run->targets[i], now);
    } while (any);
}

/* ---- the loop ---- */

/* Milliseconds until something is due; -1 never comes back, there is always the run's own deadline. */
static int next_timeout(const struct run *run)
{
    int64_t next = run->deadline_ms;
    for (size_t i = 0; i < VERIFY_PARALLEL; i++)
        if (run->owners[i] && run->probes[i].deadline_ms < next)
            next = run->probes[i].deadline_ms;
    for (size_t i = 0; i < run->opts->endpoints->count; i++) {
        const struct target *t = &run->targets[i];
        if (!t->settled && !t->running && t->due_ms < next)
            next = t->due_ms;
    }
    return clock_left_ms(next);
}

static void wait_and_step(struct run *run)
{
    struct pollfd fds[VERIFY_PARALLEL];
    for (size_t i = 0; i < VERIFY_PARALLEL; i++)
        fds[i] =
            (struct pollfd){.fd = run->owners[i] ? run->probes[i].fd : -1, .events = run->probes[i].events};
    if (poll(fds, VERIFY_PARALLEL, next_timeout(run)) < 0)
        return;
    for (size_t i = 0; i < VERIFY_PARALLEL; i++)
        if (run->owners[i] && probe_step(&run->probes[i], fds[i].revents))
            finish(run, i);
}

/* The deadline has come: what is in flight tells something only where nothing is known yet. */
static void give_up(struct run *run)
{
    for (size_t i = 0; i < VERIFY_PARALLEL; i++) {
        struct target *t = run->owners[i];
        struct probe *p = &run->probes[i];
        if (!t)
            continue;
        size_t expectation = (size_t)(p->opts.expectation - run->opts->expectations);
        probe_expire(p);
        if (!t->known[expectation]) {
            t->outcomes[expectation] = p->outcome;
            t->known[expectation] = true;
        }
    }
    for (size_t i = 0; i < run->opts->endpoints->count; i++) {
        if (run->targets[i].settled)
            continue;
        fill_result(run, &run->targets[i]);
        settle(run, &run->targets[i]);
    }
}

/* ---- set-up ---- */

/* Appends what a name or literal stands for; on failure the result says why. */
static void resolve(struct target *t, const struct endpoint_address *a)
{
    struct addrinfo *found;
    if (endpoint_resolve(a, &found, t->result->detail, sizeof(t->result->detail)))
        return;
    for (struct addrinfo *i = found; i && t->address_count < ADDRESSES_MAX; i = i->ai_next) {
        struct probe_address *slot = &t->addresses[t->address_count++];
        memcpy(&slot->sa, i->ai_addr, i->ai_addrlen);
        slot->len = i->ai_addrlen;
        slot->named = a;
    }
    freeaddrinfo(found);
}

/* False when there is nothing to ask: nothing that could be connected to, or nothing that applies. */
static bool prepare(struct target *t)
{
    if (t->next == t->end) {
        t->result->state = VERIFY_SERVED;
        return false;
    }
    for (size_t i = 0; i < t->endpoint->address_count; i++)
        resolve(t, &t->endpoint->addresses[i]);
    if (t->address_count) {
        t->result->detail[0] = '\0';
        return true;
    }
    if (t->endpoint->address_count) {
        t->result->state = VERIFY_UNRESOLVED;
        endpoint_address_text(t->result->address, &t->endpoint->addresses[0]);
    } else {
        t->result->state = VERIFY_UNREACHABLE;
        snprintf(t->result->detail, sizeof(t->result->detail), "it has no address");
    }
    return false;
}

static void run_free(struct run *run)
{
    if (run->probes)
        for (size_t i = 0; i < VERIFY_PARALLEL; i++)
            probe_end(&run->probes[i]);
    tls_context_free(run->tls);
    free(run->targets);
    free(run->outcomes);
    free(run->known);
    free(run->applies);
    free(run->probes);
    free(run->owners);
}

static int run_init(struct run *run, const struct verify_opts *opts, struct error *err)
{
    size_t n = opts->endpoints->count, cells = n * opts->expectation_count;
    run->opts = opts;
    if (!cells)
        return error_set(err, E_FAILED, "verify: there is no %s", n ? "leaf to expect" : "endpoint to ask");
    run->targets = calloc(n, sizeof(*run->targets));
    run->outcomes = calloc(cells, sizeof(*run->outcomes));
    run->known = calloc(cells, sizeof(*run->known));
    run->applies = calloc(cells, sizeof(*run->applies));
    run->probes = calloc(VERIFY_PARALLEL, sizeof(*run->probes));
    run->owners = calloc(VERIFY_PARALLEL, sizeof(struct target *));
    if (!run->targets || !run->outcomes || !run->known || !run->applies || !run->probes || !run->owners)
        return error_memory(err);
    return tls_context_new(&run->tls, err);
}

static void find_applying(const struct run *run, const struct endpoint *endpoint, bool *applies)
{
    const struct verify_opts *o = run->opts;
    for (size_t i = 0; i < o->expectation_count; i++)
        applies[i] = !o->applies || o->applies(o->ctx, endpoint, i);
}

static void start_targets(struct run *run, struct verify_result *out_results)
{
    for (size_t i = 0; i < run->opts->endpoints->count; i++) {
        struct target *t = &run->targets[i];
        out_results[i] = (struct verify_result){.endpoint = &run->opts->endpoints->list[i]};
        t->endpoint = out_results[i].endpoint;
        t->result = &out_results[i];
        t->outcomes = &run->outcomes[i * run->opts->expectation_count];
        t->known = &run->known[i * run->opts->expectation_count];
        bool *applies = &run->applies[i * run->opts->expectation_count];
        find_applying(run, t->endpoint, applies);
        t->applies = applies;
        t->pause_ms = FIRST_PAUSE_MS;
        begin_full_sweep(run, t);
        run->unsettled++;
        if (!prepare(t))
            settle(run, t);
    }
}

/* Where nothing was seen. */
static enum verify_state unseen_state(const struct run *run, size_t cell)
{
    bool asked = verify_asked(run->targets[cell / run->opts->expectation_count].result->state);
    return asked ? VERIFY_UNREACHABLE : VERIFY_UNRESOLVED;
}

static void fill_cells(const struct run *run, struct verify_cell *cells)
{
    size_t count = run->opts->endpoints->count * run->opts->expectation_count;
    for (size_t i = 0; i < count; i++) {
        cells[i] = (struct verify_cell){.applies = run->applies[i], .state = unseen_state(run, i)};
        if (!run->known[i])
            continue;
        cells[i].state = run->outcomes[i].state;
        cells[i].heard = run->outcomes[i].heard;
        cells[i].not_before = run->outcomes[i].not_before;
        cells[i].not_after = run->outcomes[i].not_after;
        memcpy(cells[i].fingerprint, run->outcomes[i].fingerprint, sizeof cells[i].fingerprint);
    }
}

int verify_run(const struct verify_opts *opts, struct verify_result *out_results, struct error *err)
{
    CLEANUP(run_free) struct run run = {.start_us = clock_us()};
    int rc = run_init(&run, opts, err);
    if (rc)
        return rc;
    start_targets(&run, out_results);
    run.deadline_ms = clock_ms() + opts->timeout_ms;
    while (run.unsettled && clock_ms() < run.deadline_ms) {
        start_due(&run);
        if (run.unsettled)
            wait_and_step(&run);
    }
    give_up(&run);
    if (opts->out_cells)
        fill_cells(&run, opts->out_cells);
    for (size_t i = 0; i < opts->endpoints->count; i++)
        if (out_results[i].state != VERIFY_SERVED)
            return 1;
    return 0;
}
