#include "tests/unit/fake_engine.h"

#include "deployer/docker.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define ID           "1234567890abcdef1234567890abcdef1234567890abcdef1234567890abcdef"

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

#define LABELS(project, service)                                                                             \
    "{\"com.docker.compose.project\":\"" project "\",\"com.docker.compose.service\":\"" service "\"}"

#define NGINX_LABELS   LABELS("MailCow", "nginx-mailcow")
#define OTHER_LABELS   LABELS("mailcow2", "nginx-mailcow")
#define DOVECOT_LABELS LABELS("mailcow", "dovecot\\u001b")
#define ONCE_LABELS    "{\"com.docker.compose.project\":\"mailcow\",\"com.docker.compose.oneoff\":\"True\"}"

static const char list_body[] =
    "[{\"Id\":\"" ID
    "\",\"Names\":[\"/mc-nginx-mailcow-1/db\",\"/mailcow-nginx-mailcow-1\",\"/mc-postfix-mailcow-1/web\"],"
    "\"State\":\"running\",\"Status\":\"Up 3 minutes (healthy)\",\"Created\":1795244520,"
    "\"Labels\":" NGINX_LABELS ","
    "\"Ports\":[{\"IP\":\"0.0.0.0\",\"PrivatePort\":443,\"PublicPort\":8443,\"Type\":\"tcp\"},"
    "{\"IP\":\"::\",\"PrivatePort\":443,\"PublicPort\":8443,\"Type\":\"tcp\"},{\"PrivatePort\":80,\"Type\":"
    "\"tcp\"},"
    "{\"PrivatePort\":53,\"PublicPort\":53,\"Type\":\"udp\"},{\"PrivatePort\":25,\"PublicPort\":25,\"Type\":"
    "\"tcp\"}],"
    "\"NetworkSettings\":{\"Networks\":{\"a\":{\"IPAddress\":\"172.22.1.5\",\"GlobalIPv6Address\":\"fd4d::"
    "5\"},"
    "\"b\":{\"IPAddress\":\"\",\"GlobalIPv6Address\":\"\"}}},"
    "\"Mounts\":[{\"Type\":\"bind\",\"Source\":\"/opt/m/data/assets/ssl\",\"Destination\":\"/etc/ssl/mail\"},"
    "{\"Type\":\"tmpfs\",\"Destination\":\"/run\"}]},"
    "{\"Id\":\"" ID "\",\"Names\":[\"/once\"],\"State\":\"running\",\"Labels\":" ONCE_LABELS "},"
    "{\"Id\":\"" ID "\",\"Names\":[\"/other\"],\"State\":\"running\",\"Labels\":" OTHER_LABELS "},"
    "{\"Id\":\"" ID "\",\"Names\":[\"/bare\"],\"State\":\"running\",\"Labels\":null},"
    "{\"Id\":\"" ID "\",\"Names\":null,\"State\":\"exited\",\"Labels\":" DOVECOT_LABELS ","
    "\"Ports\":null,\"NetworkSettings\":null,\"Mounts\":null}]";

static void lists_the_containers(void **state)
{
    struct engine *e = *state;
    AUTO_DOCKER struct docker *d = NULL;
    AUTO_CONTAINERS struct docker_containers all = {0};
    struct error err = {0};
    const struct rule rules[] = {PING_141, {.request = "/containers/json", .status = 200, .body = list_body}};
    start(e, &d, rules, COUNT(rules));
    assert_int_equal(docker_containers(d, "MAILcow", &all, &err), 0);
    assert_text(
        e->notes->requests,
        "GET /v1.41/containers/json?all=1&filters=%7B%22label%22%3A%5B%22com.docker.compose.project%3D"
        "mailcow%22%5D%7D HTTP/1.1\r\n");
    assert_int_equal(all.count, 2);
    const struct docker_container *c = &all.list[0];
    assert_string_equal(c->id, ID);
    assert_string_equal(c->name, "mailcow-nginx-mailcow-1");
    assert_string_equal(c->service, "nginx-mailcow");
    assert_string_equal(c->state, "running");
    assert_string_equal(c->status, "Up 3 minutes (healthy)");
    assert_int_equal(c->created, 1795244520);
    assert_int_equal(c->address_count, 2);
    assert_string_equal(c->addresses[0], "172.22.1.5");
    assert_string_equal(c->addresses[1], "fd4d::5");
    assert_int_equal(c->port_count, 4);
    assert_int_equal(c->ports[0].container_port, 443);
    assert_int_equal(c->ports[0].host_port, 8443);
    assert_string_equal(c->ports[1].host_ip, "::");
    assert_int_equal(c->ports[2].host_port, 0);
    assert_string_equal(c->ports[2].host_ip, "");
    assert_string_equal(c->ports[3].host_ip, "0.0.0.0");
    assert_int_equal(c->mount_count, 2);
    assert_string_equal(c->mounts[0].source, "/opt/m/data/assets/ssl");
    assert_string_equal(c->mounts[0].target, "/etc/ssl/mail");
    assert_string_equal(c->mounts[1].source, "");
    assert_string_equal(all.list[1].name, "1234567890ab");
    assert_string_equal(all.list[1].service, "dovecot\\x1b");
    assert_string_equal(all.list[1].state, "exited");
    assert_int_equal(all.list[1].created, 0);
}

#define ROW(members)                                                                                         \
    "[{\"Id\":\"" ID "\",\"Names\":[\"/a\"],\"State\":\"running\",\"Labels\":" LABELS("m", "s") members "}]"

static void refuses_answers_of_another_shape(void **state)
{
    static const struct {
        const char *body, *part;
    } cases[] = {
        {"", "not JSON"},
        {"<html>\x1b[2J", "not JSON: \"<html>\\x1b[2J\""},
        {"[{\"Id\":", "not JSON"},
        {"{\"message\":\"fine\"}", "no array"},
        {"null", "not JSON"},
        {"[1]", "a container: "},
        {"[{}]", "a container: "},
        {"[{\"Id\":7,\"Names\":[],\"State\":\"\",\"Labels\":{}}]", "a container: Expected string"},
        {"[{\"Id\":\"../..\",\"Names\":[],\"State\":\"\",\"Labels\":{}}]", "Id"},
        {"[{\"Id\":\"" ID "\",\"Names\":[],\"State\":\"\",\"Labels\":[]}]", "Labels"},
        {"[{\"Id\":\"" ID "\",\"Names\":[1],\"State\":\"\",\"Labels\":" LABELS("m", "s") "}]", "Names"},
        {"[{\"Id\":\"" ID "\",\"Names\":\"a\",\"State\":\"\",\"Labels\":" LABELS("m", "s") "}]", "Names"},
        {ROW(",\"Status\":[]"), "a container"},
        {ROW(",\"Created\":\"2026\""), "a container"},
        {ROW(",\"Ports\":{}"), "Ports"},
        {ROW(",\"Ports\":[[]]"), "Ports"},
        {ROW(",\"Ports\":[{\"Type\":\"tcp\",\"PrivatePort\":70000}]"), "Ports: no port"},
        {ROW(",\"Ports\":[{\"Type\":\"tcp\",\"PrivatePort\":\"25\"}]"), "Ports: Expected integer"},
        {ROW(",\"Ports\":[{\"Type\":\"tcp\",\"PrivatePort\":25,\"PublicPort\":25,\"IP\":\"x\"}]"),
         "Ports: no port"},
        {ROW(",\"NetworkSettings\":\"x\""), "NetworkSettings"},
        {ROW(",\"NetworkSettings\":{\"Networks\":[]}"), "NetworkSettings.Networks"},
        {ROW(",\"NetworkSettings\":{\"Networks\":{\"a\":{\"IPAddress\":1}}}"), "NetworkSettings.Networks"},
        {ROW(",\"NetworkSettings\":{\"Networks\":{\"a\":{\"IPAddress\":\"x\"}}}"), "NetworkSettings"},
        {ROW(",\"Mounts\":1"), "Mounts"},
        {ROW(",\"Mounts\":[{\"Source\":\"/\"}]"), "Mounts"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        AUTO_DOCKER struct docker *d = NULL;
        struct docker_containers all = {.count = 77};
        struct error err = {0};
        const struct rule rules[] = {PING_141,
                                     {.request = "/containers/json", .status = 200, .body = cases[i].body}};
        start(*state, &d, rules, COUNT(rules));
        assert_int_equal(docker_containers(d, "m", &all, &err), E_FAILED);
        assert_text(err.text, cases[i].part);
        assert_text(err.text, "list the containers: the answer is not ");
        assert_int_equal(all.count, 77);
        engine_stop(*state);
    }
}

static void refuses_too_many_containers(void **state)
{
    enum {
        ROWS = DOCKER_CONTAINERS_MAX + 1
    };
    static const char row[] =
        "{\"Id\":\"" ID "\",\"Names\":[],\"State\":\"exited\",\"Labels\":" LABELS("m", "s") "}";
    AUTO_DOCKER struct docker *d = NULL;
    AUTO_FREE char *body = malloc(ROWS * sizeof row + 2);
    struct docker_containers all = {0};
    struct error err = {0};
    size_t len = 0;
    for (size_t i = 0; i < ROWS; i++)
        len += (size_t)sprintf(body + len, "%c%s", i ? ',' : '[', row);
    strcpy(body + len, "]");
    const struct rule rules[] = {PING_141, {.request = "/containers/json", .status = 200, .body = body}};
    start(*state, &d, rules, COUNT(rules));
    assert_int_equal(docker_containers(d, "m", &all, &err), E_FAILED);
    assert_text(err.text, "more than 256 containers");
}

static void tells_a_forbidden_list(void **state)
{
    AUTO_DOCKER struct docker *d = NULL;
    struct docker_containers all = {.count = 77};
    struct error err = {0};
    const struct rule rules[] = {PING_141, {.request = "/containers/json", .status = 403, .body = "no"}};
    start(*state, &d, rules, COUNT(rules));
    assert_int_equal(docker_containers(d, "m", &all, &err), DOCKER_FORBIDDEN);
    assert_text(err.text,
                "list the containers: forbidden by a proxy or plugin in front of the engine: HTTP 403");
    assert_int_equal(all.count, 77);
}

/* By name */

static const char inspect_body[] =
    "{\"Id\":\"" ID "\",\"Name\":\"/web\",\"State\":{\"Status\":\"running\",\"Health\":{\"Status\":"
    "\"healthy\"}},\"Config\":{\"Labels\":" OTHER_LABELS "},\"NetworkSettings\":{\"Ports\":{\"443/tcp\":"
    "[{\"HostIp\":\"0.0.0.0\",\"HostPort\":\"8443\"},{\"HostIp\":\"\",\"HostPort\":\"8444\"}],\"80/"
    "tcp\":null,"
    "\"53/"
    "udp\":[{\"HostIp\":\"\",\"HostPort\":\"53\"}]},\"Networks\":{\"a\":{\"IPAddress\":\"172.22.1.5\"}}},"
    "\"Mounts\":[{\"Type\":\"bind\",\"Source\":\"/s\",\"Destination\":\"/etc/ssl/mail\"}]}";

static void looks_at_named_containers(void **state)
{
    static const char *const names[] = {"nginx-mailcow=web", "postfix-mailcow=mta", "dovecot-mailcow=gone",
                                        NULL};
    struct engine *e = *state;
    AUTO_DOCKER struct docker *d = NULL;
    AUTO_CONTAINERS struct docker_containers all = {0};
    struct error err = {0};
    const struct rule rules[] = {
        PING_141,
        {.request = "GET /v1.41/containers/web/json", .status = 200, .body = inspect_body},
        {.request = "GET /v1.41/containers/mta/json", .status = 403}};
    start(e, &d, rules, COUNT(rules));
    assert_int_equal(docker_containers_named(d, names, &all, &err), 0);
    assert_int_equal(all.count, 2);
    const struct docker_container *web = &all.list[0], *mta = &all.list[1];
    assert_string_equal(web->id, ID);
    assert_string_equal(web->name, "web");
    assert_string_equal(web->service, "nginx-mailcow");
    assert_string_equal(web->state, "running");
    assert_string_equal(web->health, "healthy");
    assert_int_equal(web->port_count, 3);
    assert_int_equal(web->ports[0].container_port, 443);
    assert_int_equal(web->ports[0].host_port, 8443);
    assert_string_equal(web->ports[0].host_ip, "0.0.0.0");
    assert_int_equal(web->ports[1].host_port, 8444);
    assert_string_equal(web->ports[1].host_ip, "0.0.0.0");
    assert_int_equal(web->ports[2].container_port, 80);
    assert_int_equal(web->ports[2].host_port, 0);
    assert_int_equal(web->address_count, 1);
    assert_string_equal(web->mounts[0].target, "/etc/ssl/mail");
    assert_string_equal(mta->id, "mta");
    assert_string_equal(mta->name, "mta");
    assert_string_equal(mta->service, "postfix-mailcow");
    assert_string_equal(mta->state, "running");
    assert_int_equal(mta->port_count + mta->address_count + mta->mount_count, 0);
}

static void falls_back_to_the_names(void **state)
{
    static const char *const names[] = {"nginx-mailcow=web", NULL};
    AUTO_DOCKER struct docker *d = NULL;
    AUTO_CONTAINERS struct docker_containers listed = {0};
    AUTO_CONTAINERS struct docker_containers named = {0};
    struct docker_containers none = {.count = 77};
    struct error err = {0};
    const struct rule rules[] = {
        PING_141,
        {.request = "/containers/json", .status = 200, .body = list_body, .once = true},
        {.request = "/containers/", .status = 403, .body = "no"}};
    start(*state, &d, rules, COUNT(rules));
    assert_int_equal(docker_containers_found(d, "mailcow", names, &listed, &err), 0);
    assert_string_equal(listed.list[0].name, "mailcow-nginx-mailcow-1");
    assert_false(listed.is_by_name);
    assert_int_equal(docker_containers_found(d, "mailcow", names, &named, &err), 0);
    assert_string_equal(named.list[0].name, "web");
    assert_true(named.is_by_name);
    assert_int_equal(docker_containers_found(d, "mailcow", NULL, &none, &err), E_CONFIG);
    assert_int_equal(err.code, E_CONFIG);
    assert_text(err.text, "set containers = SERVICE=NAME, ... in [docker]: docker at unix://");
    assert_text(err.text, "HTTP 403: no");
    assert_int_equal(docker_containers_found(d, "mailcow", names + 1, &none, &err), E_CONFIG);
    assert_int_equal(none.count, 77);
}

static void refuses_names_that_are_none(void **state)
{
    static const struct {
        const char *name;
        int code;
    } cases[] = {
        {"web", E_CONFIG},
        {"=web", E_CONFIG},
        {"nginx-mailcow=", E_CONFIG},
        {"nginx-mailcow=../x", E_FAILED},
        {"nginx-mailcow=a234567890123456789012345678901234567890123456789012345678901234567", E_CONFIG}};
    struct engine *e = *state;
    AUTO_DOCKER struct docker *d = NULL;
    struct error err = {0};
    start(e, &d, NULL, 0);
    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *const names[] = {cases[i].name, NULL};
        struct docker_containers all = {.count = 77};
        assert_int_equal(docker_containers_named(d, names, &all, &err), cases[i].code);
        assert_int_equal(all.count, 77);
    }
    assert_int_equal(e->notes->connections, 0);
}

#define LOOK(members) "{\"Id\":\"" ID "\",\"Name\":\"/a\",\"State\":{\"Status\":\"running\"}" members "}"

static void refuses_a_container_of_another_shape(void **state)
{
    static const struct {
        const char *body, *part;
    } cases[] = {
        {"[]", "a container: "},
        {"{}", "a container: "},
        {"{\"Id\":\"x\",\"Name\":\"/a\",\"State\":{\"Status\":\"running\"}}", "Id"},
        {"{\"Id\":\"" ID "\",\"Name\":\"/a\",\"State\":\"running\"}", "a container: "},
        {"{\"Id\":\"" ID "\",\"Name\":\"/a\",\"State\":{\"Status\":\"running\",\"Health\":1}}",
         "State.Health"},
        {LOOK(",\"NetworkSettings\":{\"Ports\":[]}"), "NetworkSettings.Ports"},
        {LOOK(",\"NetworkSettings\":{\"Ports\":{\"443/tcp\":{}}}"), "NetworkSettings.Ports"},
        {LOOK(",\"NetworkSettings\":{\"Ports\":{\"70000/tcp\":null}}"), "NetworkSettings.Ports"},
        {LOOK(",\"NetworkSettings\":{\"Ports\":{\"0000000443/tcp\":null}}"), "NetworkSettings.Ports"},
        {LOOK(",\"NetworkSettings\":{\"Ports\":{\"443/tcp\":[{\"HostPort\":443}]}}"),
         "NetworkSettings.Ports"},
        {LOOK(",\"NetworkSettings\":{\"Ports\":{\"443/tcp\":[{\"HostPort\":\"\"}]}}"),
         "NetworkSettings.Ports"},
        {LOOK(",\"NetworkSettings\":{\"Ports\":{\"443/tcp\":[{\"HostIp\":\"x\",\"HostPort\":\"1\"}]}}"),
         "NetworkSettings.Ports"},
        {LOOK(",\"NetworkSettings\":{\"Networks\":[]}"), "NetworkSettings.Networks"},
        {LOOK(",\"Mounts\":{}"), "Mounts"},
    };
    static const char *const names[] = {"nginx-mailcow=web", NULL};
    for (size_t i = 0; i < COUNT(cases); i++) {
        AUTO_DOCKER struct docker *d = NULL;
        struct docker_containers all = {.count = 77};
        struct error err = {0};
        const struct rule rules[] = {
            PING_141, {.request = "/containers/web/json", .status = 200, .body = cases[i].body}};
        start(*state, &d, rules, COUNT(rules));
        assert_int_equal(docker_containers_named(d, names, &all, &err), E_FAILED);
        assert_text(err.text, cases[i].part);
        assert_text(err.text, "container web: look at it: the answer is not as documented: ");
        assert_int_equal(all.count, 77);
        engine_stop(*state);
    }
}

#define WITH_ENGINE(test) cmocka_unit_test_setup_teardown(test, engine_setup, engine_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_ENGINE(lists_the_containers),        WITH_ENGINE(refuses_answers_of_another_shape),
        WITH_ENGINE(refuses_too_many_containers), WITH_ENGINE(tells_a_forbidden_list),
        WITH_ENGINE(looks_at_named_containers),   WITH_ENGINE(falls_back_to_the_names),
        WITH_ENGINE(refuses_names_that_are_none), WITH_ENGINE(refuses_a_container_of_another_shape),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
