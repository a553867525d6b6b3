#include "deployer/operator.h"
#include "common/client.h"
#include "common/clock.h"
#include "deployer/status_table.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

/* A deployment that waits for another one, restarts containers and verifies takes minutes at the worst. */
#define SESSION_MS 900000

static int connect_to(const char *path, struct error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        return error_set(err, E_CONFIG, "%s: too long for a socket", path);
    strcpy(address.sun_path, path);
    AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return error_errno(err, path, "socket");
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        return error_set(err, E_TEMPORARY, "%s: connect: %s; is mailcow-cert-deploy.socket running?", path,
                         strerror(errno));
    int out = fd;
    fd = -1;
    return out;
}

struct answer {
    struct report *report;
    bool has_complaint; /* a finding that is no mere note */
    bool has_alarm;     /* that stands */
};

/* The daemon has told it in its own journal; here it is what ended the command. */
static enum event event_of_result(const char *result)
{
    if (strcmp(result, "pending") == 0)
        return EVENT_PENDING;
    return strcmp(result, "rolled-back") == 0 ? EVENT_ROLLED_BACK : EVENT_NOT_SERVED;
}

/* The code is the whole's: what failed may be another want, or the alarms. */
static bool has_failed(int code, const char *result)
{
    return client_result(code) < 0 && strcmp(result, "deployed") != 0 && strcmp(result, "unchanged") != 0;
}

static void on_want(struct answer *a, int code, const char *text)
{
    struct client_want want;
    if (!client_parse_want(text, &want))
        return;
    const struct report_field fields[] = {{"GENERATION", want.generation}, {0}};
    bool failed = has_failed(code, want.result);
    report_result(a->report, &(struct report_result){
                                 .event = failed ? event_of_result(want.result) : EVENT_NONE,
                                 .fields = fields,
                                 .want = want.id,
                                 .result = want.result,
                                 .fingerprint = want.fingerprint,
                                 .not_after = want.not_after,
                                 .detail = want.detail,
                                 .failed = failed,
                             });
}

static void on_finding(struct answer *a, int code, const char *text)
{
    struct client_finding finding;
    (void)code;
    if (!client_parse_finding(text, &finding))
        return;
    const struct report_field fields[] = {{"FINDING", finding.id}, {0}};
    bool refuses = strcmp(finding.severity, "refuse") == 0;
    a->has_complaint = a->has_complaint || strcmp(finding.severity, "note") != 0;
    report_result(a->report, &(struct report_result){
                                 .event = refuses                                 ? EVENT_REFUSED
                                          : strcmp(finding.severity, "note") != 0 ? EVENT_WARNING
                                                                                  : EVENT_NONE,
                                 .fields = fields,
                                 .want = finding.want,
                                 .result = finding.severity,
                                 .id = finding.id,
                                 .detail = finding.detail,
                                 .failed = refuses,
                             });
}

static void on_alarm(struct answer *a, int code, const char *text)
{
    struct alarm alarm;
    (void)code;
    if (!client_parse_alarm(text, &alarm))
        return;
    a->has_alarm = a->has_alarm || alarm_stands(&alarm);
    alarm_tell(&alarm, a->report);
}

static void on_row(void *ctx, int code, const char *text)
{
    static const struct {
        const char *kind;
        void (*tell)(struct answer *a, int code, const char *text);
    } rows[] = {{"want", on_want}, {"finding", on_finding}, {"alarm", on_alarm}};
    char kind[16] = "";
    wire_word(text, 0, kind, sizeof kind);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(rows[i].kind, kind) == 0)
            rows[i].tell(ctx, code, text);
}

/* What has been found makes the command fail, also where no deployment would. */
static int conclude_check(const struct answer *a, const struct client_reply *reply, struct error *err)
{
    if (a->has_complaint)
        return error_set(err, E_FAILED, "%s", reply->text);
    report_result(a->report, &(struct report_result){.result = "ok", .detail = "nothing to complain of"});
    return 0;
}

static int ask(struct wire *w, const char *command, struct client_greeting *out_greeting, struct error *err)
{
    wire_set_deadline(w, clock_ms() + SESSION_MS);
    int rc = client_read_greeting(w, out_greeting, err);
    if (!rc)
        rc = wire_write_line(w, err, "HELLO %d %s/%s", WIRE_PROTOCOL, "mailcow-cert-deploy", VERSION);
    return rc ? rc : wire_write_line(w, err, "%s", command);
}

static int converse(struct wire *w, const char *command, struct report *report, struct error *err)
{
    struct answer answer = {.report = report};
    AUTO_GREETING struct client_greeting greeting = {0};
    struct client_reply reply;
    bool is_status = strcmp(command, "STATUS") == 0;
    int rc = ask(w, command, &greeting, err);
    if (!rc)
        rc = is_status ? status_show(w, &greeting, report, &reply, err)
                       : client_read_reply(w, report, on_row, &answer, &reply, err);
    if (rc == WIRE_END)
        return error_set(err, E_TEMPORARY, "the daemon ended the session without a verdict; try again");
    if (rc)
        return rc < 0 ? rc : E_FAILED;
    rc = client_result(reply.code);
    if (!rc && strcmp(command, "CHECK") == 0)
        return conclude_check(&answer, &reply, err);
    if (rc)
        return error_set(err, rc, "%s", reply.text);
    err->text[0] = '\0';
    return answer.has_alarm ? E_FAILED : 0; /* it has been told */
}

int operator_run(const char *socket_path, const char *command, struct report *report)
{
    AUTO_WIRE struct wire *wire = NULL;
    struct error err;
    AUTO_CLOSE int fd = connect_to(socket_path, &err);
    int rc = fd < 0 ? fd : wire_new(&wire, fd, &err);
    if (!rc)
        rc = converse(wire, command, report, &err);
    if (rc < 0 && err.text[0])
        report_failure(report, &err);
    return rc;
}
