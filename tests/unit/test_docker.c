#include "tests/unit/fake_engine.h"

#include "common/clock.h"
#include "deployer/docker.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define ID           "1234567890abcdef1234567890abcdef1234567890abcdef1234567890abcdef"
#define EXEC_ID      "feedfacefeedfacefeedfacefeedfacefeedfacefeedfacefeedfacefeedface"
#define SOON_MS      300 /* a deadline that is to pass */
#define LATE_MS      20000

static const char *const reload_argv[] = {"timeout", "20", "nginx", "-s", "reload", NULL};

static void start(struct engine *e, struct docker **d, const struct rule *rules, size_t count)
{
    struct error err = {0};
    engine_start(e, rules, count);
    assert_int_equal(docker_new(d, e->host, NULL, &err), 0);
}

static void assert_text(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("\"%s\" does not hold \"%s\"", text, part);
}

/* Transport */

static void names_the_socket_of_an_engine_that_is_down(void **state)
{
    struct engine *e = *state;
    struct error err = {0};
    AUTO_DOCKER struct docker *d = NULL;
    AUTO_DOCKER struct docker *gone = NULL;
    struct docker_containers all = {0};
    start(e, &d, NULL, 0);
    kill(e->pid, SIGKILL);
    waitpid(e->pid, NULL, 0);
    munmap(e->notes, sizeof *e->notes);
    e->pid = 0;
    assert_int_equal(docker_containers(d, "m", &all, &err), E_TEMPORARY);
    assert_text(err.text, e->path);
    assert_text(err.text, "cannot connect: Connection refused (is the engine running?)");
    char path[80];
    snprintf(path, sizeof path, "unix://%s/none.sock", e->dir);
    assert_int_equal(docker_new(&gone, path, NULL, &err), 0);
    assert_int_equal(docker_exec(gone, ID, reload_argv, LATE_MS, NULL, &err), E_TEMPORARY);
    assert_text(err.text, path);
    assert_text(err.text, "container 1234567890ab: run a command: cannot connect: No such file or directory");
    assert_int_equal(docker_ping(gone, &err), E_TEMPORARY);
    assert_int_equal(docker_restart(gone, ID, LATE_MS, NULL), E_TEMPORARY);
}

static void refuses_what_is_no_host(void **state)
{
    (void)state;
    static const char *const hosts[] = {
        "",       "/var/run/docker.sock", "unix://docker.sock", "http://127.0.0.1:2375",
        "tcp://", "tcp://127.0.0.1"};
    struct docker *d = NULL;
    struct error err = {0};
    for (size_t i = 0; i < COUNT(hosts); i++) {
        assert_int_equal(docker_new(&d, hosts[i], NULL, &err), E_CONFIG);
        assert_text(err.text,
                    ": expected unix:///PATH or tcp://HOST:PORT, such as unix:///var/run/docker.sock");
    }
    assert_null(d);
    docker_free(NULL);
}

#define CHUNKED .status = 200, .headers = "Transfer-Encoding: chunked\r\n"

static void survives_every_fault(void **state)
{
    static const struct {
        struct rule rule;
        int code;
        const char *part;
    } cases[] = {
        {{.fault = FAULT_HANG}, E_TEMPORARY, "no answer in time"},
        {{.status = 200, .body = "[", .fault = FAULT_HANG_AFTER}, E_TEMPORARY, "did not end in time; "},
        {{.status = 200, .body = "[", .fault = FAULT_DRIP}, E_TEMPORARY, "did not end in time; "},
        {{.status = 500, .body = "[", .fault = FAULT_DRIP}, E_TEMPORARY, "did not end in time; "},
        {{.status = 200, .fault = FAULT_DRIP_HEADER}, E_TEMPORARY, "did not end in time; "},
        {{.status = 200, .body = "[", .fault = FAULT_CUT}, E_TEMPORARY, "closed in the midst of the answer"},
        {{CHUNKED, .body = "5\r\n[1", .until_close = true}, E_TEMPORARY, "closed in the midst of the answer"},
        {{.status = 200, .fault = FAULT_CUT_HEADER}, E_TEMPORARY, "closed in the midst of the answer"},
        {{.fault = FAULT_CLOSE}, E_TEMPORARY, "closed without an answer"},
        {{.status = 200, .fault = FAULT_FLOOD}, E_FAILED, "the answer is too long"},
        {{.status = 500, .fault = FAULT_FLOOD}, E_FAILED, "the answer is too long"},
        {{.status = 200, .fault = FAULT_FLOOD_HEADER}, E_FAILED, "header is too long"},
        {{.status = 200, .fault = FAULT_FLOOD_LINE}, E_FAILED, "header is too long"},
        {{.status = 200, .fault = FAULT_FLOOD_BEFORE}, E_FAILED, "header is too long"},
        {{.body = "\x16\x03\x01\x02garbage \x1b\r\n\r\n"}, E_FAILED, "is not HTTP: is this a Docker Engine?"},
        {{.body = "HTTP/1.1 2000 OK\r\n\r\n"}, E_FAILED, "is not HTTP: is this a Docker Engine?"},
        {{CHUNKED, .body = "zz\r\n[]\r\n0\r\n\r\n", .until_close = true}, E_FAILED, "is badly chunked"},
        {{CHUNKED, .body = "fffffffffffffffff\r\n[]", .until_close = true}, E_FAILED, "is badly chunked"},
        {{CHUNKED, .body = "2\r\n[]xx0\r\n\r\n", .until_close = true}, E_FAILED, "is badly chunked"},
        {{.status = 200, .headers = "Content-Length: -1\r\n", .until_close = true}, E_FAILED, "not HTTP"},
        {{.status = 301, .headers = "Location: http://127.0.0.1:9/\r\n"},
         E_FAILED,
         "a redirect, which is not followed; is this a Docker Engine? HTTP 301: no reason given"},
        {{.status = 200, .headers = "Content-Encoding: gzip\r\n", .body = "\x1f\x8b"},
         E_FAILED,
         "is not JSON: \"\\x1f\\x8b\""},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        AUTO_DOCKER struct docker *d = NULL;
        struct docker_containers all = {.count = 77};
        struct error err = {0};
        struct rule rules[] = {PING_141, cases[i].rule};
        rules[1].request = "/containers/json";
        start(*state, &d, rules, COUNT(rules));
        docker_set_timeout(d, cases[i].code == E_TEMPORARY ? SOON_MS : LATE_MS);
        int64_t begin = clock_ms();
        int r = docker_containers(d, "m", &all, &err);
        if (r != cases[i].code)
            fail_msg("case %zu: %d %s", i, r, err.text);
        assert_text(err.text, cases[i].part);
        assert_int_equal(all.count, 77);
        assert_true(clock_ms() - begin < 10000);
        engine_stop(*state);
    }
}

static void bounds_small_answers_more_tightly(void **state)
{
    AUTO_DOCKER struct docker *d = NULL;
    struct error err = {0};
    static char body[65 * 1024];
    memset(body, ' ', sizeof body - 1);
    const struct rule rules[] = {PING_141, {.request = "POST", .status = 201, .body = body}};
    start(*state, &d, rules, COUNT(rules));
    assert_int_equal(docker_exec(d, ID, reload_argv, LATE_MS, NULL, &err), E_FAILED);
    assert_text(err.text, "the answer is too long");
}

static void shows_what_the_engine_says_of_an_error(void **state)
{
    static const struct {
        int status;
        const char *body;
        int code;
        const char *part;
    } cases[] = {
        {404, "{\"message\":\"No such container: x\"}", E_FAILED, "HTTP 404: No such container: x"},
        {409, "{\"message\":\"Container x is paused\"}", E_FAILED,
         "container 1234567890ab: run a command: not possible in the container's present state: HTTP 409: "
         "Container x is paused"},
        {500, "{\"message\":\"a\\nb\\u001b[1m\"}", E_FAILED, "HTTP 500: a\\x0ab\\x1b[1m"},
        {503, "{\"message\":\"later\"}", E_TEMPORARY, "HTTP 503: later"},
        {403, "<html>no\r\n", DOCKER_FORBIDDEN,
         "container 1234567890ab: run a command: forbidden by a proxy or plugin in front of the engine: HTTP "
         "403: <html>no\\x0d\\x0a"},
        {500, "{\"message\":7}", E_FAILED, "HTTP 500: {\"message\":7}"},
        {500, "", E_FAILED, "HTTP 500: no reason given"},
        {200, "{}", E_FAILED, "HTTP 200"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        AUTO_DOCKER struct docker *d = NULL;
        struct error err = {0};
        const struct rule rules[] = {PING_141,
                                     {.request = "POST", .status = cases[i].status, .body = cases[i].body}};
        start(*state, &d, rules, COUNT(rules));
        assert_int_equal(docker_exec(d, ID, reload_argv, LATE_MS, NULL, &err), cases[i].code);
        assert_text(err.text, cases[i].part);
        engine_stop(*state);
    }
}

static void keeps_one_connection_and_ignores_the_proxy(void **state)
{
    struct engine *e = *state;
    AUTO_DOCKER struct docker *d = NULL;
    struct error err = {0};
    const struct rule rules[] = {PING_141, {.request = "/containers/json", .status = 200, .body = "[]"}};
    setenv("http_proxy", "http://127.0.0.1:9", 1);
    start(e, &d, rules, COUNT(rules));
    for (int i = 0; i < 3; i++) {
        AUTO_CONTAINERS struct docker_containers all = {0};
        assert_int_equal(docker_containers(d, "m", &all, &err), 0);
        assert_int_equal(all.count, 0);
    }
    unsetenv("http_proxy");
    assert_int_equal(e->notes->connections, 1);
    assert_ptr_equal(strstr(strstr(e->notes->requests, "/_ping") + 1, "/_ping"), NULL);
}

/* The API version */

static void negotiates_the_version(void **state)
{
    static const struct {
        const char *headers, *version;
        const char *expected; /* the path that is then asked, or a part of the error */
    } cases[] = {
        {"Api-Version: 1.41\r\n", NULL, "/v1.41/"},
        {"api-version:  1.44 \r\n", NULL, "/v1.44/"},
        {"Api-Version: 1.52\r\n", NULL, "/v1.52/"},
        {"Api-Version: 1.53\r\n", "{\"MinAPIVersion\":\"1.40\"}", "/v1.52/"},
        {"Api-Version: 1.60\r\n", "{\"MinAPIVersion\":\"1.54\"}", "/v1.54/"},
        {"Api-Version: 2.1\r\n", "{\"MinAPIVersion\":\"1.99\"}", "/v1.99/"},
        {"Api-Version: 1.24\r\n", NULL, "/v1.24/"},
        {"Api-Version: 1.23\r\n", NULL, "API version 1.23 is too old, 1.24 is needed"},
        {"Api-Version: 1.53\r\n", "{\"MinAPIVersion\":1.4}", "MinAPIVersion"},
        {"Api-Version: 1.53\r\n", "{\"MinAPIVersion\":\"1.-4\"}", "MinAPIVersion"},
        {"Api-Version: 1.53\r\n", "{}", "MinAPIVersion"},
        {"Api-Version: 1.53\r\n", "[", "not JSON"},
        {"Api-Version: 1.53\r\n", NULL, "HTTP 404"},
        {"Api-Version: x\r\n", NULL, "names no API version"},
        {"Api-Version: 1.41.1\r\n", NULL, "names no API version"},
        {"Api-Version: 1.\r\n", NULL, "names no API version"},
        {"Api-Version: 1.41/../../\r\n", NULL, "names no API version"},
        {"Api-Version: 99999.1\r\n", NULL, "names no API version"},
        {"", NULL, "names no API version"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct engine *e = *state;
        AUTO_DOCKER struct docker *d = NULL;
        struct docker_containers all = {0};
        struct error err = {0};
        const struct rule rules[] = {
            {.request = "/_ping", .status = 200, .body = "OK", .headers = cases[i].headers},
            {.request = "/containers/json", .status = 200, .body = "[]"},
            {.request = cases[i].version ? "GET /version" : "nothing",
             .status = 200,
             .body = cases[i].version},
        };
        start(e, &d, rules, COUNT(rules));
        bool good = cases[i].expected[0] == '/';
        assert_int_equal(docker_containers(d, "m", &all, &err), good ? 0 : E_FAILED);
        assert_text(good ? e->notes->requests : err.text, cases[i].expected);
        docker_containers_free(&all);
        engine_stop(e);
    }
}

static void negotiates_again_after_a_loss(void **state)
{
    struct engine *e = *state;
    AUTO_DOCKER struct docker *d = NULL;
    AUTO_CONTAINERS struct docker_containers all = {0};
    struct error err = {0};
    const struct rule rules[] = {
        {.request = "/_ping", .status = 200, .headers = "Api-Version: 1.41\r\n", .once = true},
        {.request = "/_ping", .status = 200, .headers = "Api-Version: 1.44\r\n"},
        {.request = "/v1.41/containers", .status = 200, .body = "[", .fault = FAULT_CUT},
        {.request = "/v1.44/containers", .status = 200, .body = "[]"},
    };
    start(e, &d, rules, COUNT(rules));
    assert_int_equal(docker_containers(d, "m", &all, &err), E_TEMPORARY);
    assert_int_equal(docker_containers(d, "m", &all, &err), 0);
}

static void pings(void **state)
{
    AUTO_DOCKER struct docker *d = NULL;
    struct error err = {0};
    const struct rule rules[] = {
        {.request = "/_ping", .status = 200, .headers = "Api-Version: 1.41\r\n", .once = true},
        {.request = "/_ping", .status = 500, .body = "{\"message\":\"no\"}"}};
    start(*state, &d, rules, COUNT(rules));
    assert_int_equal(docker_ping(d, &err), 0);
    assert_int_equal(docker_ping(d, &err), E_FAILED);
    assert_text(err.text, "ask for its version: HTTP 500: no");
}

/* Commands */

#define CREATED                                                                                              \
    {                                                                                                        \
        .request = "POST /v1.41/containers/" ID "/exec", .status = 201, .body = "{\"Id\":\"" EXEC_ID "\"}"   \
    }
#define STATE_PATH "GET /v1.41/exec/" EXEC_ID "/json"
#define START_PATH "POST /v1.41/exec/" EXEC_ID "/start"
#define FRAMES(bytes)                                                                                        \
    {                                                                                                        \
        .request = START_PATH, .status = 200, .body = bytes, .body_len = sizeof bytes - 1,                   \
        .until_close = true                                                                                  \
    }
#define ENDED(code)                                                                                          \
    {                                                                                                        \
        .request = STATE_PATH, .status = 200, .body = "{\"Running\":false,\"ExitCode\":" code "}"            \
    }

static int exec_with(struct engine *e, const struct rule *rules, size_t count, int timeout_ms,
                     struct docker_exec *out, struct error *err)
{
    AUTO_DOCKER struct docker *d = NULL;
    start(e, &d, rules, count);
    return docker_exec(d, ID, reload_argv, timeout_ms, out, err);
}

static void runs_a_command(void **state)
{
    struct engine *e = *state;
    struct docker_exec out;
    struct error err = {0};
    const struct rule rules[] = {
        PING_141,
        CREATED,
        FRAMES("\1\0\0\0\0\0\0\3ab\n\2\0\0\0\0\0\0\6\x1b[1mc\n"),
        {.request = STATE_PATH, .status = 200, .body = "{\"Running\":true,\"ExitCode\":0}", .once = true},
        {.request = STATE_PATH, .status = 200, .body = "{\"Running\":false,\"ExitCode\":null}", .once = true},
        ENDED("3")};
    assert_int_equal(exec_with(e, rules, COUNT(rules), LATE_MS, &out, &err), 0);
    assert_int_equal(out.exit_code, 3);
    assert_string_equal(out.output, "ab \\x1b[1mc");
    assert_string_equal(out.errors, "\\x1b[1mc");
    assert_text(e->notes->requests, "\r\nContent-Type: application/json\r\n");
    assert_text(e->notes->requests, "\"Cmd\":[\"timeout\",\"20\",\"nginx\",\"-s\",\"reload\"]");
    assert_text(e->notes->requests, "{\"Detach\":false,\"Tty\":false}");
}

static void says_that_a_command_could_not_be_started(void **state)
{
    struct docker_exec out = {.exit_code = 77};
    struct error err = {0};
    const struct rule rules[] = {PING_141, CREATED,
                                 FRAMES("\1\0\0\0\0\0\0\x1aOCI runtime exec failed: \x1b\n"), ENDED("126")};
    assert_int_equal(exec_with(*state, rules, COUNT(rules), LATE_MS, &out, &err), E_FAILED);
    assert_text(err.text, "it could not be started (exit code 126): OCI runtime exec failed: \\x1b");
    assert_int_equal(out.exit_code, 77);
}

/* The engine says 126 of a command whose client has gone: that is no exit code of its own. */
static void cuts_a_flooding_command(void **state)
{
    enum {
        FRAME = 2 * 1024 * 1024
    };
    AUTO_FREE char *body = malloc(FRAME + 8);
    struct docker_exec out = {.exit_code = 77};
    struct error err = {0};
    memset(body, 'x', FRAME + 8);
    memcpy(body, "\1\0\0\0\0\x20\0\0", 8);
    const struct rule rules[] = {
        PING_141,
        CREATED,
        {.request = START_PATH, .status = 200, .body = body, .body_len = FRAME + 8, .until_close = true},
        ENDED("126")};
    assert_int_equal(exec_with(*state, rules, COUNT(rules), LATE_MS, &out, &err), E_FAILED);
    assert_text(err.text, "run a command: the command's output is too long");
    assert_int_equal(out.exit_code, 77);
}

static void keeps_the_beginning_of_a_long_output(void **state)
{
    enum {
        FRAME = 1000 * 1000
    };
    AUTO_FREE char *body = malloc(FRAME + 8);
    struct docker_exec out;
    struct error err = {0};
    memset(body, 'x', FRAME + 8);
    memcpy(body, "\1\0\0\0\x00\x0f\x42\x40", 8);
    const struct rule rules[] = {
        PING_141,
        CREATED,
        {.request = START_PATH, .status = 200, .body = body, .body_len = FRAME + 8, .until_close = true},
        ENDED("0")};
    assert_int_equal(exec_with(*state, rules, COUNT(rules), LATE_MS, &out, &err), 0);
    assert_int_equal(out.exit_code, 0);
    assert_in_range(strspn(out.output, "x"), 2000, sizeof out.output - 1);
}

static void refuses_what_is_no_command(void **state)
{
    const struct {
        struct rule rules[4];
        const char *part;
    } cases[] = {
        {{PING_141, {.request = "POST", .status = 201, .body = "{\"Id\":\"../../x\"}"}}, "Id of the command"},
        {{PING_141, {.request = "POST", .status = 201, .body = "{}"}}, "Id of the command"},
        {{PING_141, {.request = "POST", .status = 201, .body = "x"}}, "not JSON"},
        {{PING_141, CREATED, {.request = START_PATH, .status = 409, .body = "{\"message\":\"twice\"}"}},
         "HTTP 409: twice"},
        {{PING_141,
          CREATED,
          {.request = START_PATH, .status = 200, .body = "plain text", .until_close = true}},
         "not in frames"},
        {{PING_141, CREATED, FRAMES(""), ENDED("\"0\"")}, "ExitCode"},
        {{PING_141, CREATED, FRAMES(""), ENDED("4711")}, "ExitCode"},
        {{PING_141,
          CREATED,
          FRAMES(""),
          {.request = STATE_PATH, .status = 200, .body = "{\"Running\":0,\"ExitCode\":0}"}},
         "the state of the command"},
        {{PING_141, CREATED, FRAMES(""), {.request = STATE_PATH, .status = 200, .body = "{}"}},
         "the state of the command"},
        {{PING_141,
          CREATED,
          FRAMES(""),
          {.request = STATE_PATH, .status = 404, .body = "{\"message\":\"gone\"}"}},
         "HTTP 404: gone"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct docker_exec out = {.exit_code = 77};
        struct error err = {0};
        struct rule rules[4];
        size_t count = 0;
        for (; count < 4 && cases[i].rules[count].request; count++)
            rules[count] = cases[i].rules[count];
        assert_int_equal(exec_with(*state, rules, count, LATE_MS, &out, &err), E_FAILED);
        assert_text(err.text, cases[i].part);
        assert_int_equal(out.exit_code, 77);
        engine_stop(*state);
    }
}

/* An engine that answers is not unreachable: a command without an end is its own failure. */
static void ends_the_wait_at_the_deadline(void **state)
{
    const struct {
        struct rule rules[4];
        int code;
        const char *part;
    } cases[] = {
        {{PING_141, {.request = "POST", .fault = FAULT_HANG}}, E_TEMPORARY, "no answer in time"},
        {{PING_141, CREATED, {.request = START_PATH, .fault = FAULT_HANG}}, E_TEMPORARY, "no answer in time"},
        {{PING_141, CREATED, {.request = START_PATH, .status = 200, .body = "\1", .fault = FAULT_HANG_AFTER}},
         E_FAILED,
         "the command did not end in time"},
        {{PING_141,
          CREATED,
          FRAMES(""),
          {.request = STATE_PATH, .status = 200, .body = "{\"Running\":true,\"ExitCode\":null}"}},
         E_FAILED,
         "the command did not end in time"},
        {{{.request = "/_ping", .fault = FAULT_HANG}}, E_TEMPORARY, "no answer in time"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct docker_exec out;
        struct error err = {0};
        size_t count = 0;
        while (count < 4 && cases[i].rules[count].request)
            count++;
        int64_t begin = clock_ms();
        assert_int_equal(exec_with(*state, cases[i].rules, count, SOON_MS, &out, &err), cases[i].code);
        assert_text(err.text, cases[i].part);
        assert_in_range(clock_ms() - begin, 0, 3000);
        engine_stop(*state);
    }
}

static void restarts(void **state)
{
    struct engine *e = *state;
    AUTO_DOCKER struct docker *d = NULL;
    struct error err = {0};
    const struct rule rules[] = {PING_141, {.request = "/containers/mailcow_nginx-1/restart", .status = 204}};
    start(e, &d, rules, COUNT(rules));
    assert_int_equal(docker_restart(d, "mailcow_nginx-1", LATE_MS, &err), 0);
    assert_text(e->notes->requests, "POST /v1.41/containers/mailcow_nginx-1/restart HTTP/1.1\r\n");
    assert_int_equal(docker_restart(d, ID, LATE_MS, &err), E_FAILED);
    assert_text(err.text, "container 1234567890ab: restart: HTTP 404: page not found");
}

/* A proxy with rules in front of the engine */

#define FORBIDDEN(part)                                                                                      \
    {                                                                                                        \
        .request = part, .status = 403, .body = "<html>no"                                                   \
    }

/* As the first request that is forbidden: to create it, to start it, to look at its end. */
static void tells_a_forbidden_command(void **state)
{
    static const struct {
        struct rule rules[4];
    } cases[] = {
        {{PING_141, FORBIDDEN("POST /v1.41/containers/" ID "/exec")}},
        {{PING_141, CREATED, FORBIDDEN(START_PATH)}},
        {{PING_141, CREATED, FRAMES(""), FORBIDDEN(STATE_PATH)}},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct docker_exec out = {.exit_code = 77};
        struct error err = {0};
        assert_int_equal(exec_with(*state, cases[i].rules, i + 2, LATE_MS, &out, &err), DOCKER_FORBIDDEN);
        assert_text(err.text, "run a command: forbidden by a proxy");
        assert_int_equal(out.exit_code, 77);
        engine_stop(*state);
    }
}

/* There is no way around these. */
static void says_what_has_to_be_allowed(void **state)
{
    AUTO_DOCKER struct docker *d = NULL;
    AUTO_DOCKER struct docker *deaf = NULL;
    struct docker_containers all = {0};
    struct error err = {0};
    const struct rule rules[] = {PING_141, FORBIDDEN("/restart")};
    const struct rule deaf_rules[] = {FORBIDDEN("/_ping")};
    const struct rule new_rules[] = {{.request = "/_ping", .status = 200, .headers = "Api-Version: 1.99\r\n"},
                                     FORBIDDEN("/version")};
    start(*state, &d, rules, COUNT(rules));
    assert_int_equal(docker_restart(d, ID, LATE_MS, &err), E_CONFIG);
    assert_int_equal(err.code, E_CONFIG);
    assert_text(err.text, "restart: POST /containers/NAME/restart has to be allowed: forbidden by a proxy");
    engine_stop(*state);
    start(*state, &deaf, deaf_rules, COUNT(deaf_rules));
    assert_int_equal(docker_containers(deaf, "m", &all, &err), E_CONFIG);
    assert_text(err.text, "GET /_ping has to be allowed: forbidden");
    engine_stop(*state);
    docker_free(deaf);
    start(*state, &deaf, new_rules, COUNT(new_rules));
    assert_int_equal(docker_containers(deaf, "m", &all, &err), E_CONFIG);
    assert_text(err.text, "GET /version has to be allowed: forbidden");
}

/* Waiting */

#define INSPECT_PATH "GET /v1.41/containers/" ID "/json"
#define INSPECTED(state, ...)                                                                                \
    {                                                                                                        \
        .request = INSPECT_PATH, .status = 200,                                                              \
        .body = "{\"Id\":\"" ID "\",\"Name\":\"/a\",\"State\":{\"Status\":\"" state "}}", __VA_ARGS__        \
    }

static void waits_until_a_container_runs_and_is_healthy(void **state)
{
    static const struct {
        struct rule rules[5];
        int looks;
    } cases[] = {
        {{PING_141, INSPECTED("running\"")}, 1},
        {{PING_141, INSPECTED("running\",\"Health\":null")}, 1},
        {{PING_141, INSPECTED("running\",\"Health\":{\"Status\":\"none\"}")}, 1},
        {{PING_141, INSPECTED("exited\"", .once = true), INSPECTED("restarting\"", .once = true),
          INSPECTED("running\"")},
         3},
        {{PING_141, INSPECTED("running\",\"Health\":{\"Status\":\"starting\"}", .once = true),
          INSPECTED("running\",\"Health\":{\"Status\":\"unhealthy\"}", .once = true),
          INSPECTED("running\",\"Health\":{\"Status\":\"healthy\"}")},
         3},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct engine *e = *state;
        AUTO_DOCKER struct docker *d = NULL;
        struct error err = {0};
        start(e, &d, cases[i].rules, 5);
        assert_int_equal(docker_wait_running(d, ID, LATE_MS, &err), 0);
        int looks = 0;
        for (const char *p = e->notes->requests; (p = strstr(p, INSPECT_PATH)); p++)
            looks++;
        assert_int_equal(looks, cases[i].looks);
        engine_stop(e);
    }
}

static void ends_the_wait_for_a_container(void **state)
{
    static const struct {
        struct rule rule;
        int code;
        const char *part;
    } cases[] = {
        {INSPECTED("exited\""), E_FAILED,
         "container 1234567890ab: wait until it runs and is healthy: not in time: it is exited"},
        {INSPECTED("running\",\"Health\":{\"Status\":\"unhealthy\"}"), E_FAILED,
         "not in time: it is running and unhealthy"},
        {{.request = INSPECT_PATH, .status = 404, .body = "{\"message\":\"No such container: x\"}"},
         E_FAILED,
         "HTTP 404: No such container: x"},
        {{.request = INSPECT_PATH, .fault = FAULT_HANG}, E_TEMPORARY, "no answer in time"},
        {{.request = INSPECT_PATH, .status = 403}, DOCKER_FORBIDDEN, "healthy: forbidden by a proxy"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        AUTO_DOCKER struct docker *d = NULL;
        struct error err = {0};
        const struct rule rules[] = {PING_141, cases[i].rule};
        start(*state, &d, rules, COUNT(rules));
        int64_t begin = clock_ms();
        assert_int_equal(docker_wait_running(d, ID, SOON_MS, &err), cases[i].code);
        assert_text(err.text, cases[i].part);
        assert_true(clock_ms() - begin < 10000);
        engine_stop(*state);
    }
}

static void sends_no_id_that_needs_escaping(void **state)
{
    static const char *const ids[] = {"", "..", ".", "a/b", "a?b", "a b", "a%2f", "-x", "a\n", "\xc3\xa4"};
    struct engine *e = *state;
    AUTO_DOCKER struct docker *d = NULL;
    struct error err = {0};
    start(e, &d, NULL, 0);
    for (size_t i = 0; i < COUNT(ids); i++) {
        assert_int_equal(docker_exec(d, ids[i], reload_argv, LATE_MS, NULL, &err), E_FAILED);
        assert_text(err.text, "not the id or the name of a container");
        assert_int_equal(docker_restart(d, ids[i], LATE_MS, &err), E_FAILED);
        assert_int_equal(docker_wait_running(d, ids[i], LATE_MS, &err), E_FAILED);
    }
    assert_int_equal(e->notes->connections, 0);
}

#define WITH_ENGINE(test) cmocka_unit_test_setup_teardown(test, engine_setup, engine_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_ENGINE(names_the_socket_of_an_engine_that_is_down),
        cmocka_unit_test(refuses_what_is_no_host),
        WITH_ENGINE(survives_every_fault),
        WITH_ENGINE(bounds_small_answers_more_tightly),
        WITH_ENGINE(shows_what_the_engine_says_of_an_error),
        WITH_ENGINE(keeps_one_connection_and_ignores_the_proxy),
        WITH_ENGINE(negotiates_the_version),
        WITH_ENGINE(negotiates_again_after_a_loss),
        WITH_ENGINE(pings),
        WITH_ENGINE(runs_a_command),
        WITH_ENGINE(says_that_a_command_could_not_be_started),
        WITH_ENGINE(cuts_a_flooding_command),
        WITH_ENGINE(keeps_the_beginning_of_a_long_output),
        WITH_ENGINE(refuses_what_is_no_command),
        WITH_ENGINE(ends_the_wait_at_the_deadline),
        WITH_ENGINE(restarts),
        WITH_ENGINE(tells_a_forbidden_command),
        WITH_ENGINE(says_what_has_to_be_allowed),
        WITH_ENGINE(waits_until_a_container_runs_and_is_healthy),
        WITH_ENGINE(ends_the_wait_for_a_container),
        WITH_ENGINE(sends_no_id_that_needs_escaping),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
