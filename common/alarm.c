#include "common/alarm.h"
#include "common/file.h"
#include "common/member.h"
#include "common/text.h"

#include <jansson.h>
#include <string.h>

#define BOOK     ALARM_BOOK ".json"
#define BOOK_MAX (4 * 1024 * 1024)
#define DAY      86400
#define WEEK     (7 * DAY)

struct entry {
    struct alarm alarm;
    bool is_judged;
};

struct alarm_book {
    time_t now;
    struct entry *list;
    size_t count;
    bool lacks_memory;
};

static const char *const kinds[ALARM_KINDS] = {"contact", "unserved", "expiry", "failing"};
static const char *const states[ALARM_STATES] = {"held", "raised", "again", "over"};

static bool parse_word(const char *const *words, int count, const char *text, int *out)
{
    for (int i = 0; i < count; i++)
        if (strcmp(words[i], text) == 0) {
            *out = i;
            return true;
        }
    return false;
}

const char *alarm_kind_str(enum alarm_kind kind)
{
    return kinds[kind];
}

bool alarm_parse_kind(const char *text, enum alarm_kind *out)
{
    int i;
    bool known = parse_word(kinds, ALARM_KINDS, text, &i);
    if (known)
        *out = (enum alarm_kind)i;
    return known;
}

const char *alarm_state_str(enum alarm_state state)
{
    return states[state];
}

bool alarm_parse_state(const char *text, enum alarm_state *out)
{
    int i;
    bool known = parse_word(states, ALARM_STATES, text, &i);
    if (known)
        *out = (enum alarm_state)i;
    return known;
}

/* ---- configuration ---- */

/* Certificates are renewed when a third of their lifetime is left: a tenth of that is for it to arrive. */
const struct alarm_conf alarm_conf_defaults = {
    .contact = 2 * DAY, .unserved = 3, .expiry = 30, .failures = 3};

#define AT(field) offsetof(struct alarm_conf, field)

const struct conf_key alarm_keys[] = {
    {.name = "contact",
     .type = CONF_DURATION,
     .offset = AT(contact),
     .max = 365 * DAY,
     .line_offset = AT(contact_line)},
    {.name = "expiry", .type = CONF_NUMBER, .offset = AT(expiry), .max = 90},
    {.name = "failures", .type = CONF_NUMBER, .offset = AT(failures), .max = 1000},
    {.name = "unserved", .type = CONF_NUMBER, .offset = AT(unserved), .max = 90},
};

/* ---- the book ---- */

/* NULL: there is no memory. */
static struct entry *new_entry(struct alarm_book *b)
{
    struct entry *grown = reallocarray(b->list, b->count + 1, sizeof *grown);
    if (!grown) {
        b->lacks_memory = true;
        return NULL;
    }
    b->list = grown;
    grown[b->count] = (struct entry){.is_judged = false};
    return &grown[b->count++];
}

static bool parse_entry(struct alarm_book *b, const json_t *object)
{
    struct entry *e = new_entry(b);
    if (!e)
        return false;
    struct alarm *a = &e->alarm;
    snprintf(a->target, sizeof a->target, "%s", member_text(object, "target"));
    snprintf(a->want, sizeof a->want, "%s", member_text(object, "want"));
    snprintf(a->detail, sizeof a->detail, "%s", member_text(object, "detail"));
    a->since = member_time(object, "since");
    a->told = member_time(object, "told");
    a->times = (unsigned)member_number(object, "times");
    a->passes = (unsigned)member_number(object, "passes");
    return alarm_parse_kind(member_text(object, "alarm"), &a->kind) && a->since;
}

static bool parse_book(struct alarm_book *b, const json_t *root)
{
    const json_t *item;
    size_t i;
    const json_t *list = json_object_get(root, "alarms");
    bool good = json_is_array(list);
    json_array_foreach(list, i, item) good = good && parse_entry(b, item);
    return good;
}

static int load(struct alarm_book *b, int dirfd, struct error *err)
{
    json_error_t detail;
    AUTO_SECRET struct secret text = SECRET(BOOK_MAX);
    int rc = file_read(dirfd, BOOK, 0, &text, NULL, err);
    if (rc == FILE_MISSING)
        return 0;
    if (rc)
        return rc < 0 ? rc : E_TEMPORARY;
    json_auto_t *root = json_loadb((char *)text.data, text.len, 0, &detail);
    if (root && parse_book(b, root))
        return 0;
    b->count = 0;
    error_set(err, E_FAILED, "%s is damaged: alarms begin anew", BOOK);
    return ALARM_DAMAGED;
}

int alarm_book_read(struct alarm_book **out, int dirfd, time_t now, struct error *err)
{
    AUTO_ALARMS struct alarm_book *b = calloc(1, sizeof *b);
    if (!b)
        return error_memory(err);
    b->now = now;
    int rc = load(b, dirfd, err);
    if (rc < 0)
        return rc;
    *out = b;
    b = NULL;
    return rc;
}

void alarm_book_free(struct alarm_book *b)
{
    if (!b)
        return;
    free(b->list);
    free(b);
}

static json_t *new_object(const struct alarm *a)
{
    char since[TEXT_TIME_SIZE], told[TEXT_TIME_SIZE], detail[sizeof a->detail];
    text_escape(detail, sizeof detail, a->detail, strlen(a->detail));
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:i, s:i, s:s}", "alarm", kinds[a->kind], "target", a->target,
                     "want", a->want, "since", text_time(since, a->since), "told",
                     a->told ? text_time(told, a->told) : "", "times", (int)a->times, "passes",
                     (int)a->passes, "detail", detail);
}

int alarm_book_write(const struct alarm_book *b, int dirfd, struct error *err)
{
    json_t *list = json_array();
    for (size_t i = 0; i < b->count; i++)
        if (b->list[i].alarm.state != ALARM_OVER)
            json_array_append_new(list, new_object(&b->list[i].alarm));
    json_auto_t *root = json_pack("{s:o}", "alarms", list);
    AUTO_FREE char *text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
    if (!text || b->lacks_memory)
        return error_memory(err);
    return file_replace(dirfd, BOOK, text, strlen(text), 0600, err);
}

/* ---- judging ---- */

static struct entry *find(struct alarm_book *b, enum alarm_kind kind, const char *target, const char *want)
{
    for (size_t i = 0; i < b->count; i++) {
        const struct alarm *a = &b->list[i].alarm;
        if (a->kind == kind && strcmp(a->target, target) == 0 && strcmp(a->want, want) == 0)
            return &b->list[i];
    }
    return NULL;
}

/* One, two, four days after it was told, then every week. */
static time_t next_time(const struct alarm *a)
{
    return a->told + (a->times > 3 ? WEEK : DAY << (a->times - 1));
}

/* after: how many passes in a row it takes. */
static enum alarm_state advance(struct alarm *a, unsigned after, time_t now)
{
    a->passes++;
    if (a->told > now) /* the clock was set back */
        a->told = now;
    if (a->passes < after || (a->times && now < next_time(a)))
        return ALARM_HELD;
    a->told = now;
    return a->times++ ? ALARM_AGAIN : ALARM_RAISED;
}

/* The one that there is, or a new one; NULL: there is no memory. */
static struct entry *enter(struct alarm_book *b, enum alarm_kind kind, const char *target, const char *want)
{
    struct entry *e = find(b, kind, target, want);
    if (!e && (e = new_entry(b))) {
        e->alarm.kind = kind;
        e->alarm.since = b->now;
        snprintf(e->alarm.target, sizeof e->alarm.target, "%s", target);
        snprintf(e->alarm.want, sizeof e->alarm.want, "%s", want);
    }
    return e;
}

__attribute__((format(printf, 6, 7))) static void stand(struct alarm_book *b, enum alarm_kind kind,
                                                        const char *target, const char *want, unsigned after,
                                                        const char *fmt, ...)
{
    struct entry *e = enter(b, kind, target, want);
    if (!e)
        return;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(e->alarm.detail, sizeof e->alarm.detail, fmt, ap);
    va_end(ap);
    e->alarm.state = advance(&e->alarm, after, b->now);
    e->is_judged = true;
}

/* Where nobody ever was, the time counts from the first pass that saw that. */
static time_t wait_for_first(struct alarm_book *b, const char *target)
{
    struct entry *e = enter(b, ALARM_CONTACT, target, "");
    if (!e)
        return b->now;
    e->is_judged = true;
    if (e->alarm.since > b->now) /* the clock was set back */
        e->alarm.since = b->now;
    return e->alarm.since;
}

void alarm_judge_contact(struct alarm_book *b, const struct alarm_conf *conf, const char *target, time_t last)
{
    char when[TEXT_TIME_SIZE], span[32], limit[32];
    if (!conf->contact)
        return;
    time_t from = last ? last : wait_for_first(b, target);
    int64_t silent = (int64_t)b->now - from;
    if (silent < conf->contact)
        return;
    text_span(span, silent);
    text_span(limit, conf->contact);
    if (*target)
        stand(b, ALARM_CONTACT, target, "", 1,
              "the mail host gave no verdict for %s (%s%s); expected at least every %s", span,
              last ? "the last one: " : "never since ", text_time(when, from), limit);
    else
        stand(b, ALARM_CONTACT, "", "", 1,
              "no pusher has been here for %s (%s%s); expected at least every %s: on the proxy host, see "
              "systemctl status mailcow-cert-push.timer",
              span, last ? "the last time: " : "never since ", text_time(when, from), limit);
}

void alarm_judge_expiry(struct alarm_book *b, const struct alarm_conf *conf, const struct alarm_cert *served)
{
    char when[TEXT_TIME_SIZE], span[32];
    int64_t lifetime = (int64_t)served->not_after - served->not_before,
            left = (int64_t)served->not_after - b->now;
    bool has_expired = served->not_after && left <= 0;
    if (!conf->expiry)
        return;
    if (!served->not_after || (!served->not_before && !has_expired)) {
        alarm_keep(b, ALARM_EXPIRY, served->target, served->want, 0);
        return;
    }
    if (!has_expired && (lifetime <= 0 || left > lifetime / 100 * conf->expiry))
        return;
    text_time(when, served->not_after);
    if (has_expired)
        stand(b, ALARM_EXPIRY, served->target, served->want, 1,
              "the certificate that is served has EXPIRED, at %s: mail clients and servers refuse it", when);
    else
        stand(b, ALARM_EXPIRY, served->target, served->want, 1,
              "the certificate that is served ends in %s, at %s, and no renewal has come: see whether the "
              "proxy host renewed it (certbot certificates)",
              text_span(span, left), when);
}

void alarm_judge_unserved(struct alarm_book *b, const struct alarm_conf *conf,
                          const struct alarm_cert *renewal, bool is_served)
{
    char when[TEXT_TIME_SIZE], span[32];
    int64_t lifetime = (int64_t)renewal->not_after - renewal->not_before,
            age = (int64_t)b->now - renewal->not_before;
    if (is_served || !conf->unserved || lifetime <= 0 || age < lifetime / 100 * conf->unserved)
        return;
    stand(b, ALARM_UNSERVED, renewal->target, renewal->want, 1,
          "a renewal has been there for %s (since %s) and is not served", text_span(span, age),
          text_time(when, renewal->not_before));
}

void alarm_judge_pass(struct alarm_book *b, const struct alarm_conf *conf, const char *target,
                      const char *want, int rc, const char *detail)
{
    const struct entry *before = find(b, ALARM_FAILING, target, want);
    unsigned passes = before ? before->alarm.passes + 1 : 1;
    if (!rc || !conf->failures)
        return;
    stand(b, ALARM_FAILING, target, want, rc == E_TEMPORARY ? (unsigned)conf->failures : 1,
          "%u pass%s in a row failed; the last: %.300s", passes, passes == 1 ? "" : "es", detail);
}

void alarm_keep(struct alarm_book *b, enum alarm_kind kind, const char *target, const char *want,
                time_t since)
{
    for (size_t i = 0; i < b->count; i++) {
        const struct alarm *a = &b->list[i].alarm;
        if (a->kind == kind && strcmp(a->target, target) == 0 && (!want || strcmp(a->want, want) == 0) &&
            a->since >= since)
            b->list[i].is_judged = true;
    }
}

static bool environment_says(const char *word)
{
    const char *said = getenv("MAILCOW_CERT_ALARMS");
    return said && strcmp(said, word) == 0;
}

bool alarm_is_kept(void)
{
    return environment_says("keep");
}

bool alarm_is_off(void)
{
    return environment_says("off");
}

bool alarm_has_begun(const struct alarm *a)
{
    return a->passes > 0;
}

bool alarm_stands(const struct alarm *a)
{
    return a->state != ALARM_OVER && a->times;
}

/* What never was told need not be told to be over. */
bool alarm_book_settle(struct alarm_book *b)
{
    bool stands = false;
    size_t kept = 0;
    for (size_t i = 0; i < b->count; i++) {
        struct entry *e = &b->list[i];
        if (!e->is_judged)
            e->alarm.state = ALARM_OVER;
        stands = stands || alarm_stands(&e->alarm);
        if (e->is_judged || e->alarm.times)
            b->list[kept++] = *e;
    }
    b->count = kept;
    return stands;
}

size_t alarm_book_count(const struct alarm_book *b)
{
    return b->count;
}

const struct alarm *alarm_book_at(const struct alarm_book *b, size_t i)
{
    return &b->list[i].alarm;
}

/* ---- telling ---- */

void alarm_tell(const struct alarm *a, struct report *report)
{
    static const enum event events[ALARM_STATES] = {EVENT_ALARM_HELD, EVENT_ALARM, EVENT_ALARM_AGAIN,
                                                    EVENT_ALARM_OVER};
    char since[TEXT_TIME_SIZE];
    text_time(since, a->since);
    const struct report_field fields[] = {{"ALARM", kinds[a->kind]}, {"SINCE", since}, {0}};
    report_result(report, &(struct report_result){
                              .event = events[a->state],
                              .target = a->target,
                              .want = a->want,
                              .result = event_row(events[a->state])->name,
                              .id = kinds[a->kind],
                              .detail = a->detail,
                              .failed = alarm_stands(a),
                              .fields = fields,
                          });
}
