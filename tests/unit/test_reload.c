#include "tests/unit/fake_engine.h"

#include "deployer/reload.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define EXEC_ID      "feedfacefeedfacefeedfacefeedfacefeedfacefeedfacefeedfacefeedface"

#define CREATED                                                                                              \
    {                                                                                                        \
        .request = "/exec HTTP", .status = 201, .body = "{\"Id\":\"" EXEC_ID "\"}"                           \
    }
#define SILENT                                                                                               \
    {                                                                                                        \
        .request = "/start HTTP", .status = 200, .until_close = true                                         \
    }
#define ENDED(code)                                                                                          \
    {                                                                                                        \
        .request = "/json HTTP", .status = 200, .body = "{\"Running\":false,\"ExitCode\":" code "}"          \
    }

/* What the steps were, "service/container outcome[ tolerated] (detail)" in lines. */
struct log {
    char text[4000];
};

static void note(void *ctx, const struct reload_step *step)
{
    struct log *log = ctx;
    size_t len = strlen(log->text);
    snprintf(log->text + len, sizeof log->text - len, "%s/%s %s%s (%s)\n", step->service,
             step->container ? step->container : "-", reload_outcome_str(step->outcome),
             step->tolerated ? " tolerated" : "", step->detail);
    assert_true(step->us >= 0);
}

static struct docker_container container(const char *id, const char *service, const char *state)
{
    struct docker_container c = {.status = "so"};
    snprintf(c.id, sizeof c.id, "%s", id);
    snprintf(c.name, sizeof c.name, "mc-%s", id);
    snprintf(c.service, sizeof c.service, "%s", service);
    snprintf(c.state, sizeof c.state, "%s", state);
    return c;
}

static int run(struct engine *e, const struct rule *rules, size_t rule_count, struct docker_container *list,
               size_t count, const char *const *optional, struct log *log, struct error *err)
{
    AUTO_DOCKER struct docker *d = NULL;
    struct docker_containers containers = {.list = list, .count = count};
    struct reload_opts opts = {.optional = optional, .on_step = note, .ctx = log};
    engine_start(e, rules, rule_count);
    assert_int_equal(docker_new(&d, e->host, NULL, err), 0);
    return reload_run(d, &containers, &opts, err);
}

static const struct rule good[] = {PING_141, CREATED, SILENT, ENDED("0")};

static void reloads_every_container_in_order(void **state)
{
    struct engine *e = *state;
    struct log log = {0};
    struct error err = {0};
    struct docker_container list[] = {
        container("d1", "dovecot-mailcow", "running"),        container("n1", "nginx-mailcow", "running"),
        container("t1", "postfix-tlspol-mailcow", "running"), container("p1", "postfix-mailcow", "running"),
        container("n2", "nginx-mailcow", "running"),          container("n3", "nginx-mailcow", "exited"),
    };
    assert_int_equal(run(e, good, COUNT(good), list, COUNT(list), NULL, &log, &err), 0);
    assert_string_equal(log.text, "nginx-mailcow/mc-n1 done ()\n"
                                  "nginx-mailcow/mc-n2 done ()\n"
                                  "nginx-mailcow/mc-n3 not running tolerated (exited: so)\n"
                                  "postfix-mailcow/mc-p1 done ()\n"
                                  "dovecot-mailcow/mc-d1 done ()\n");
    assert_null(strstr(e->notes->requests, "/t1/"));
    assert_null(strstr(e->notes->requests, "/n3/"));
    const char *p = strstr(e->notes->requests, "/containers/p1/exec");
    assert_non_null(strstr(e->notes->requests, "[\"timeout\",\"20\",\"nginx\",\"-s\",\"reload\"]"));
    assert_non_null(strstr(p, "[\"timeout\",\"20\",\"postfix\",\"-c\",\"/opt/postfix/conf\",\"reload\"]"));
    assert_non_null(strstr(p, "[\"timeout\",\"20\",\"dovecot\",\"reload\"]"));
}

static void is_incomplete_without_a_running_container(void **state)
{
    static const char *const states[] = {"exited", "paused", "restarting", "created", "dead", "removing"};
    for (size_t i = 0; i < COUNT(states); i++) {
        struct log log = {0};
        struct error err = {0};
        char expected[300];
        struct docker_container list[] = {container("n1", "nginx-mailcow", states[i]),
                                          container("d1", "dovecot-mailcow", "running")};
        int r = run(*state, good, COUNT(good), list, COUNT(list), NULL, &log, &err);
        assert_int_equal(r, RELOAD_INCOMPLETE);
        snprintf(expected, sizeof expected,
                 "nginx-mailcow/mc-n1 not running (%s: so)\n"
                 "postfix-mailcow/- absent (no container of this service)\n"
                 "dovecot-mailcow/mc-d1 done ()\n",
                 states[i]);
        assert_string_equal(log.text, expected);
        engine_stop(*state);
    }
}

static void tolerates_what_is_optional(void **state)
{
    static const char *const optional[] = {"nginx-mailcow", "postfix-mailcow", NULL};
    struct log log = {0};
    struct error err = {0};
    struct docker_container list[] = {container("n1", "nginx-mailcow", "paused"),
                                      container("d1", "dovecot-mailcow", "running")};
    assert_int_equal(run(*state, good, COUNT(good), list, COUNT(list), optional, &log, &err), 0);
    assert_string_equal(log.text, "nginx-mailcow/mc-n1 not running tolerated (paused: so)\n"
                                  "postfix-mailcow/- absent tolerated (no container of this service)\n"
                                  "dovecot-mailcow/mc-d1 done ()\n");
}

/* A paused one holds the old certificate, a restarting one is in trouble. */
static void tolerates_only_stopped_siblings(void **state)
{
    struct log log = {0};
    struct error err = {0};
    struct docker_container list[] = {
        container("n1", "nginx-mailcow", "running"),
        container("p1", "postfix-mailcow", "running"),
        container("d1", "dovecot-mailcow", "running"),
        container("d2", "dovecot-mailcow", "paused"),
    };
    int r = run(*state, good, COUNT(good), list, COUNT(list), NULL, &log, &err);
    assert_int_equal(r, RELOAD_INCOMPLETE);
    assert_non_null(strstr(log.text, "dovecot-mailcow/mc-d2 not running (paused: so)\n"));
}

static void goes_on_after_a_failed_reload(void **state)
{
    static const char *const optional[] = {"nginx-mailcow", NULL};
    struct log log = {0};
    struct error err = {0};
    struct docker_container list[] = {container("n1", "nginx-mailcow", "running"),
                                      container("p1", "postfix-mailcow", "running"),
                                      container("d1", "dovecot-mailcow", "running")};
    const struct rule rules[] = {
        PING_141,
        {.request = "/p1/exec", .status = 409, .body = "{\"message\":\"Container p1 is restarting\"}"},
        CREATED,
        {.request = "/start HTTP",
         .status = 200,
         .body = "\2\0\0\0\0\0\0\x0f[emerg] \x1b key\n\n",
         .body_len = 23,
         .until_close = true,
         .once = true},
        SILENT,
        {.request = "/json HTTP", .status = 200, .body = "{\"Running\":false,\"ExitCode\":1}", .once = true},
        ENDED("0")};
    int r = run(*state, rules, COUNT(rules), list, COUNT(list), optional, &log, &err);
    assert_int_equal(r, RELOAD_INCOMPLETE);
    assert_non_null(strstr(log.text, "nginx-mailcow/mc-n1 failed (exit code 1: [emerg] \\x1b key)\n"));
    assert_non_null(strstr(log.text, "postfix-mailcow/mc-p1 failed (docker at "));
    assert_non_null(strstr(log.text, "HTTP 409: Container p1 is restarting)\n"));
    assert_non_null(strstr(log.text, "dovecot-mailcow/mc-d1 done ()\n"));
}

static void tells_where_commands_are_forbidden(void **state)
{
    struct log log = {0};
    struct error err = {0};
    struct docker_container list[] = {container("n1", "nginx-mailcow", "running"),
                                      container("p1", "postfix-mailcow", "running"),
                                      container("d1", "dovecot-mailcow", "running")};
    const struct rule rules[] = {
        PING_141, {.request = "/p1/exec", .status = 403}, CREATED, SILENT, ENDED("0")};
    int r = run(*state, rules, COUNT(rules), list, COUNT(list), NULL, &log, &err);
    assert_int_equal(r, RELOAD_INCOMPLETE);
    assert_non_null(strstr(log.text, "postfix-mailcow/mc-p1 forbidden (docker at "));
    assert_non_null(strstr(log.text, "dovecot-mailcow/mc-d1 done ()\n"));
}

/* Only the engine's silence ends the run, not that of one container. */
static void tells_a_lost_engine_from_a_container_in_trouble(void **state)
{
    static const struct {
        struct rule rules[6];
        int result;
    } cases[] = {
        {{PING_141, {.request = "/p1/exec", .fault = FAULT_CLOSE}, CREATED, SILENT, ENDED("0")},
         RELOAD_INCOMPLETE},
        {{{.request = "/_ping", .status = 200, .headers = "Api-Version: 1.41\r\n", .once = true},
          {.request = "/p1/exec", .fault = FAULT_CLOSE},
          {.request = "/_ping", .fault = FAULT_CLOSE},
          CREATED,
          SILENT,
          ENDED("0")},
         E_TEMPORARY},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct log log = {0};
        struct error err = {0};
        size_t count = cases[i].rules[5].request ? 6 : 5;
        struct docker_container list[] = {container("n1", "nginx-mailcow", "running"),
                                          container("p1", "postfix-mailcow", "running"),
                                          container("d1", "dovecot-mailcow", "running")};
        int r = run(*state, cases[i].rules, count, list, COUNT(list), NULL, &log, &err);
        assert_int_equal(r, cases[i].result);
        assert_non_null(strstr(log.text, "postfix-mailcow/mc-p1 failed"));
        assert_int_equal(strstr(log.text, "dovecot-mailcow/mc-d1 done") != NULL, r == RELOAD_INCOMPLETE);
        engine_stop(*state);
    }
}

/* "service command outcome (detail)" in lines. */
static void note_command(void *ctx, const struct reload_step *step)
{
    struct log *log = ctx;
    size_t len = strlen(log->text);
    snprintf(log->text + len, sizeof log->text - len, "%s %s %s (%s)\n", step->service,
             step->command ? step->command : "-", reload_outcome_str(step->outcome), step->detail);
}

static int run_level(struct engine *e, const struct rule *rules, size_t rule_count, enum reload_level level,
                     struct log *log)
{
    AUTO_DOCKER struct docker *d = NULL;
    struct error err = {0};
    struct docker_container list[] = {container("n1", "nginx-mailcow", "running"),
                                      container("p1", "postfix-mailcow", "running"),
                                      container("d1", "dovecot-mailcow", "exited")};
    struct docker_containers containers = {.list = list, .count = COUNT(list)};
    struct reload_opts opts = {.level = level, .on_step = note_command, .ctx = log};
    *log = (struct log){0};
    engine_start(e, rules, rule_count);
    assert_int_equal(docker_new(&d, e->host, NULL, &err), 0);
    return reload_run(d, &containers, &opts, &err);
}

static void does_more_for_sni_folders(void **state)
{
    static const char *const expected[] = {
        [RELOAD_PRIMARY] = "nginx-mailcow reload done ()\n"
                           "postfix-mailcow reload done ()\n"
                           "dovecot-mailcow - not running (exited: so)\n",
        [RELOAD_SNI] = "nginx-mailcow reload done ()\n"
                       "postfix-mailcow postmap done ()\n"
                       "postfix-mailcow reload done ()\n"
                       "dovecot-mailcow - not running (exited: so)\n",
        [RELOAD_REBUILD] = "nginx-mailcow bootstrap done ()\n"
                           "nginx-mailcow reload done ()\n"
                           "postfix-mailcow postmap done ()\n"
                           "postfix-mailcow reload done ()\n"
                           "dovecot-mailcow - not running (exited: so)\n",
    };
    struct engine *e = *state;
    for (enum reload_level level = RELOAD_PRIMARY; level <= RELOAD_REBUILD; level++) {
        struct log log;
        assert_int_equal(run_level(e, good, COUNT(good), level, &log), RELOAD_INCOMPLETE);
        assert_string_equal(log.text, expected[level]);
        const char *postmap = strstr(
            e->notes->requests, "[\"timeout\",\"20\",\"postmap\",\"-F\",\"hash:/opt/postfix/conf/sni.map\"]");
        assert_int_equal(postmap != NULL, level >= RELOAD_SNI);
        assert_int_equal(strstr(e->notes->requests, "python3 /bootstrap.py && nginx -t") != NULL,
                         level == RELOAD_REBUILD);
        engine_stop(e);
    }
}

#define SAYS(text)                                                                                           \
    {                                                                                                        \
        .request = "/start HTTP", .status = 200, .body = text, .body_len = sizeof(text) - 1,                 \
        .until_close = true, .once = true                                                                    \
    }

/* postmap exits with 0 whatever happens; of nginx warnings are no failures. */
static void reads_what_postmap_says(void **state)
{
    static const struct {
        const char *stream;
        size_t len;
        const char *step;
    } cases[] = {
#define CASE(stream, step) {stream, sizeof(stream) - 1, "postfix-mailcow postmap " step "\n"}
        CASE("\2\0\0\0\0\0\0\x1a"
             "postmap: warning: /a: open\n",
             "failed (postmap: warning: /a: open)"),
        CASE("\2\0\0\0\0\0\0\x18"
             "postmap: fatal: open db\n",
             "failed (postmap: fatal: open db)"),
        CASE("\2\0\0\0\0\0\0\x13"
             "postmap: error: db\n",
             "failed (postmap: error: db)"),
        CASE("\1\0\0\0\0\0\0\x0b"
             "warning: so",
             "done (warning: so)"),
#undef CASE
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct log log;
        const struct rule rules[] = {PING_141,
                                     CREATED,
                                     SAYS("\2\0\0\0\0\0\0\x0dwarning: name"),
                                     {.request = "/start HTTP",
                                      .status = 200,
                                      .body = cases[i].stream,
                                      .body_len = cases[i].len,
                                      .until_close = true,
                                      .once = true},
                                     SILENT,
                                     ENDED("0")};
        assert_int_equal(run_level(*state, rules, COUNT(rules), RELOAD_SNI, &log), RELOAD_INCOMPLETE);
        assert_non_null(strstr(log.text, "nginx-mailcow reload done (warning: name)\n"));
        if (!strstr(log.text, cases[i].step))
            fail_msg("%s is not in\n%s", cases[i].step, log.text);
        assert_non_null(strstr(log.text, "postfix-mailcow reload done ()\n"));
        engine_stop(*state);
    }
}

/* What failed keeps nothing back; what could not be run is not tried again in that container. */
static void goes_on_after_a_failed_command(void **state)
{
    struct log log;
    const struct rule failing[] = {
        PING_141,
        CREATED,
        SILENT,
        {.request = "/json HTTP", .status = 200, .body = "{\"Running\":false,\"ExitCode\":1}", .once = true},
        ENDED("0")};
    const struct rule hanging[] = {
        PING_141,
        {.request = "/n1/exec", .status = 409, .body = "{\"message\":\"Container n1 is restarting\"}"},
        CREATED,
        SILENT,
        ENDED("0")};
    run_level(*state, failing, COUNT(failing), RELOAD_REBUILD, &log);
    assert_non_null(strstr(log.text, "nginx-mailcow bootstrap failed (exit code 1: no output)\n"
                                     "nginx-mailcow reload done ()\n"));
    engine_stop(*state);
    run_level(*state, hanging, COUNT(hanging), RELOAD_REBUILD, &log);
    assert_non_null(strstr(log.text, "nginx-mailcow bootstrap failed (docker at "));
    assert_null(strstr(log.text, "nginx-mailcow reload"));
    assert_non_null(strstr(log.text, "postfix-mailcow postmap done ()\n"));
}

/* What forbids a restart is a service's word against its configuration, and nothing else. */
static void asks_whether_a_service_could_start(void **state)
{
    static const struct {
        struct rule last;
        int expected;
    } cases[] = {
        {ENDED("0"), 0},
        {ENDED("1"), E_FAILED},
        {ENDED("124"), 0},
        {{.request = "/json HTTP", .status = 403}, 0},
        {{.request = "/json HTTP", .status = 500}, 0},
    };
    const struct docker_container c = container("n1", "nginx-mailcow", "running");
    struct engine *e = *state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        AUTO_DOCKER struct docker *d = NULL;
        struct error err = {0};
        const struct rule rules[] = {PING_141, CREATED, SILENT, cases[i].last};
        engine_start(e, rules, COUNT(rules));
        assert_int_equal(docker_new(&d, e->host, NULL, &err), 0);
        assert_int_equal(reload_check(d, &c, &err), cases[i].expected);
        assert_non_null(strstr(e->notes->requests, "python3 /bootstrap.py && nginx -t &&"));
        if (cases[i].expected)
            assert_string_equal(err.text, "nginx-mailcow refuses its configuration, exit code 1: no output");
        engine_stop(e);
    }
}

#define WITH_ENGINE(test) cmocka_unit_test_setup_teardown(test, engine_setup, engine_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_ENGINE(reloads_every_container_in_order),
        WITH_ENGINE(is_incomplete_without_a_running_container),
        WITH_ENGINE(tolerates_what_is_optional),
        WITH_ENGINE(tolerates_only_stopped_siblings),
        WITH_ENGINE(goes_on_after_a_failed_reload),
        WITH_ENGINE(tells_where_commands_are_forbidden),
        WITH_ENGINE(tells_a_lost_engine_from_a_container_in_trouble),
        WITH_ENGINE(does_more_for_sni_folders),
        WITH_ENGINE(reads_what_postmap_says),
        WITH_ENGINE(goes_on_after_a_failed_command),
        WITH_ENGINE(asks_whether_a_service_could_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
