/* deployer/docker: what is asked of one container and of the engine itself. */
#include "tests/unit/fake_engine.h"

#include "deployer/docker.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define ID           "1234567890abcdef1234567890abcdef1234567890abcdef1234567890abcdef"

static void assert_text(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("\"%s\" does not hold \"%s\"", text, part);
}

/* Asks an engine that answers everything with this body. */
static int inspect(struct engine *e, int status, const char *body, struct docker_details *out,
                   struct error *err)
{
    AUTO_DOCKER struct docker *d = NULL;
    const struct rule rules[] = {PING_141, {.request = "GET ", .status = status, .body = body}};
    engine_start(e, rules, COUNT(rules));
    assert_int_equal(docker_new(&d, e->host, NULL, err), 0);
    int rc = docker_inspect(d, ID, out, err);
    assert_text(e->notes->requests, "GET /v1.41/containers/" ID "/json HTTP/1.1\r\n");
    engine_stop(e);
    return rc;
}

static int ask(struct engine *e, const char *body, struct docker_info *out, struct error *err)
{
    AUTO_DOCKER struct docker *d = NULL;
    const struct rule rules[] = {PING_141, {.request = "GET ", .status = 200, .body = body}};
    engine_start(e, rules, COUNT(rules));
    assert_int_equal(docker_new(&d, e->host, NULL, err), 0);
    int rc = docker_info(d, out, err);
    assert_text(e->notes->requests, "GET /v1.41/info HTTP/1.1\r\n");
    engine_stop(e);
    return rc;
}

static void tells_the_details_of_a_container(void **state)
{
    AUTO_DETAILS struct docker_details details = {0};
    struct error err = {0};
    assert_int_equal(inspect(*state, 200,
                             "{\"Id\":\"" ID "\",\"Config\":{\"Env\":[\"PATH=/bin\",\"SKIP_LETS_ENCRYPT=y\","
                             "\"SKIP=\",\"DBPASS=a=b\"]},\"HostConfig\":{\"UsernsMode\":\"host\","
                             "\"RestartPolicy\":{\"Name\":\"always\",\"MaximumRetryCount\":0}},"
                             "\"State\":{\"StartedAt\":\"2026-11-22T02:07:39.123456789Z\"}}",
                             &details, &err),
                     0);
    assert_string_equal(docker_env(&details, "SKIP_LETS_ENCRYPT"), "y");
    assert_string_equal(docker_env(&details, "SKIP"), "");
    assert_string_equal(docker_env(&details, "DBPASS"), "a=b");
    assert_null(docker_env(&details, "SKIP_LETS"));
    assert_null(docker_env(&details, "BPASS"));
    assert_string_equal(details.userns_mode, "host");
    assert_string_equal(details.restart_policy, "always");
    assert_int_equal(details.started, 1795313259);
}

/* Docker writes UTC; Podman an offset. */
static void tells_when_it_was_started(void **state)
{
    static const struct {
        const char *body;
        int64_t started;
    } cases[] = {
        {"{\"Config\":{},\"HostConfig\":{},\"State\":{\"StartedAt\":\"2026-11-22T04:07:39.5+02:00\"}}",
         1795313259},
        {"{\"Config\":{},\"HostConfig\":{},\"State\":{\"StartedAt\":\"2026-11-22T02:07:39Z\"}}", 1795313259},
        {"{\"Config\":{},\"HostConfig\":{},\"State\":{\"StartedAt\":\"0001-01-01T00:00:00Z\"}}", 0},
        {"{\"Config\":{},\"HostConfig\":{},\"State\":{\"StartedAt\":\"2026-11-22T02:07:39\"}}", 0},
        {"{\"Config\":{},\"HostConfig\":{},\"State\":{\"StartedAt\":\"yesterday\"}}", 0},
        {"{\"Config\":{},\"HostConfig\":{},\"State\":{}}", 0},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        AUTO_DETAILS struct docker_details details = {0};
        struct error err = {0};
        assert_int_equal(inspect(*state, 200, cases[i].body, &details, &err), 0);
        assert_int_equal(details.started, cases[i].started);
    }
}

static void takes_what_may_be_missing(void **state)
{
    static const char *const bodies[] = {
        "{\"Config\":{},\"HostConfig\":{}}",
        "{\"Config\":{\"Env\":null},\"HostConfig\":{\"UsernsMode\":\"\",\"RestartPolicy\":{}}}",
        "{\"Config\":{\"Env\":[]},\"HostConfig\":{\"RestartPolicy\":{\"Name\":\"\"}}}",
    };
    for (size_t i = 0; i < COUNT(bodies); i++) {
        AUTO_DETAILS struct docker_details details = {0};
        struct error err = {0};
        assert_int_equal(inspect(*state, 200, bodies[i], &details, &err), 0);
        assert_null(docker_env(&details, "SKIP_LETS_ENCRYPT"));
        assert_string_equal(details.userns_mode, "");
        assert_string_equal(details.restart_policy, "");
    }
}

static void refuses_other_details(void **state)
{
    static const struct {
        const char *body, *part;
    } cases[] = {
        {"", "not JSON"},
        {"[]", "a container: "},
        {"{}", "a container: "},
        {"{\"Config\":{},\"HostConfig\":[]}", "a container: "},
        {"{\"Config\":{\"Env\":{}},\"HostConfig\":{}}", "Config.Env"},
        {"{\"Config\":{\"Env\":[\"A=b\",1]},\"HostConfig\":{}}", "Config.Env"},
        {"{\"Config\":{},\"HostConfig\":{\"UsernsMode\":1}}", "a container: "},
        {"{\"Config\":{},\"HostConfig\":{\"RestartPolicy\":{\"Name\":1}}}", "a container: "},
        {"{\"Config\":{},\"HostConfig\":{},\"State\":{\"StartedAt\":1}}", "a container: "},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct docker_details details = {.env = NULL};
        struct error err = {0};
        assert_int_equal(inspect(*state, 200, cases[i].body, &details, &err), E_FAILED);
        assert_text(err.text, "container 1234567890ab: inspect it: ");
        assert_text(err.text, cases[i].part);
        assert_null(details.env);
    }
    struct docker_details details = {.env = NULL};
    struct error err = {0};
    assert_int_equal(inspect(*state, 404, "{\"message\":\"No such container\"}", &details, &err), E_FAILED);
    assert_text(err.text, "HTTP 404: No such container");
}

static void tells_who_the_containers_root_is(void **state)
{
    static const struct {
        const char *body;
        bool remaps, known;
        unsigned uid, gid;
    } cases[] = {
        {"{\"SecurityOptions\":[\"name=seccomp,profile=default\"],\"DockerRootDir\":\"/var/lib/docker\"}",
         false, false, 0, 0},
        {"{\"SecurityOptions\":[\"name=apparmor\",\"name=userns\"],"
         "\"DockerRootDir\":\"/var/lib/docker/231072.231073\"}",
         true, true, 231072, 231073},
        {"{\"SecurityOptions\":[\"name=userns\"],\"DockerRootDir\":\"/var/lib/docker\"}", true, false, 0, 0},
        {"{\"SecurityOptions\":[\"name=userns\"],\"DockerRootDir\":\"/1.2.3\"}", true, false, 0, 0},
        {"{\"SecurityOptions\":[\"name=userns\"]}", true, false, 0, 0},
        {"{\"SecurityOptions\":[\"name=usernsx\",1],\"DockerRootDir\":\"/1.2\"}", false, false, 0, 0},
        {"{\"SecurityOptions\":null}", false, false, 0, 0},
        {"{}", false, false, 0, 0},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct docker_info info;
        struct error err = {0};
        assert_int_equal(ask(*state, cases[i].body, &info, &err), 0);
        assert_int_equal(info.remaps_users, cases[i].remaps);
        assert_int_equal(info.root_is_known, cases[i].known);
        if (cases[i].known) {
            assert_int_equal(info.root_uid, cases[i].uid);
            assert_int_equal(info.root_gid, cases[i].gid);
        }
    }
}

static void refuses_other_information(void **state)
{
    static const char *const bodies[] = {"[]", "{\"SecurityOptions\":{}}", "{\"DockerRootDir\":1}", "x"};
    for (size_t i = 0; i < COUNT(bodies); i++) {
        struct docker_info info;
        struct error err = {0};
        assert_int_equal(ask(*state, bodies[i], &info, &err), E_FAILED);
        assert_text(err.text, "ask what it is: the answer is not ");
    }
}

#define WITH_ENGINE(test) cmocka_unit_test_setup_teardown(test, engine_setup, engine_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_ENGINE(tells_the_details_of_a_container),
        WITH_ENGINE(tells_when_it_was_started),
        WITH_ENGINE(takes_what_may_be_missing),
        WITH_ENGINE(refuses_other_details),
        WITH_ENGINE(tells_who_the_containers_root_is),
        WITH_ENGINE(refuses_other_information),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
