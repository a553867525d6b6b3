/* deployer/docker_host: what DOCKER_HOST may be. */
#include "tests/unit/testing.h"

#include "deployer/docker_host.h"

static void reads_unix_sockets(void **state)
{
    (void)state;
    struct docker_host host;
    assert_true(docker_host_parse(DOCKER_HOST_DEFAULT, &host));
    assert_string_equal(host.path, "/var/run/docker.sock");
    assert_string_equal(host.authority, "");
    assert_true(docker_host_parse("unix:///run/podman/podman.sock", &host));
    assert_string_equal(host.path, "/run/podman/podman.sock");
}

static void reads_tcp(void **state)
{
    (void)state;
    static const struct {
        const char *text, *authority;
        bool is_loopback;
    } cases[] = {
        {"tcp://127.0.0.1:2375", "127.0.0.1:2375", true},
        {"tcp://127.255.0.7:1", "127.255.0.7:1", true},
        {"tcp://localhost:2375", "localhost:2375", true},
        {"tcp://LocalHost:2375", "LocalHost:2375", true},
        {"tcp://[::1]:2376", "[::1]:2376", true},
        {"tcp://[0:0:0:0:0:0:0:1]:2376", "[0:0:0:0:0:0:0:1]:2376", true},
        {"tcp://[::ffff:127.0.0.1]:2376", "[::ffff:127.0.0.1]:2376", false},
        {"tcp://[2001:db8::1]:65535", "[2001:db8::1]:65535", false},
        {"tcp://docker_proxy:2375", "docker_proxy:2375", false},
        {"tcp://mail.example.org:2376", "mail.example.org:2376", false},
        {"tcp://127.1:2375", "127.1:2375", false},
        {"tcp://0177.0.0.1:2375", "0177.0.0.1:2375", false},
        {"tcp://127.0.0.1.example.org:1", "127.0.0.1.example.org:1", false},
        {"tcp://0.0.0.0:2375", "0.0.0.0:2375", false},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct docker_host host = {.path = "x", .is_loopback = !cases[i].is_loopback};
        if (!docker_host_parse(cases[i].text, &host))
            fail_msg("%s", cases[i].text);
        assert_string_equal(host.path, "");
        assert_string_equal(host.authority, cases[i].authority);
        if (host.is_loopback != cases[i].is_loopback)
            fail_msg("%s: %d", cases[i].text, host.is_loopback);
    }
}

static void refuses_all_else(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "unix://",
        "unix:///",
        "unix://docker.sock",
        "unix:/var/run/docker.sock",
        "/var/run/docker.sock",
        "tcp://",
        "tcp://127.0.0.1",
        "tcp://127.0.0.1:",
        "tcp://127.0.0.1:0",
        "tcp://127.0.0.1:65536",
        "tcp://127.0.0.1:2375/",
        "tcp://127.0.0.1:2375/v1.41",
        "tcp://127.0.0.1:+1",
        "tcp://:2375",
        "tcp://::1:2375",
        "tcp://[::1]",
        "tcp://[::1]2375",
        "tcp://[::1:2375",
        "tcp://[fe80::1%eth0]:2375",
        "tcp://root@127.0.0.1:2375",
        "tcp://127.0.0.1#@evil:2375",
        "tcp://a b:2375",
        "tcp://a\r\nHost: b:2375",
        "tcp://-a:2375",
        "TCP://127.0.0.1:2375",
        "http://127.0.0.1:2375",
        "https://127.0.0.1:2376",
        "ssh://root@mail.example.org",
        "npipe:////./pipe/docker_engine",
        "fd://",
    };
    for (size_t i = 0; i < COUNT(texts); i++) {
        struct docker_host host = {.path = "untouched"};
        if (docker_host_parse(texts[i], &host))
            fail_msg("%s", texts[i]);
        assert_string_equal(host.path, "untouched");
    }
}

static void bounds_the_path(void **state)
{
    (void)state;
    struct docker_host host;
    char text[200] = "unix:///";
    memset(text + 8, 'a', 106);
    assert_true(docker_host_parse(text, &host));
    assert_int_equal(strlen(host.path), 107);
    strcat(text, "a");
    assert_false(docker_host_parse(text, &host));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_unix_sockets),
        cmocka_unit_test(reads_tcp),
        cmocka_unit_test(refuses_all_else),
        cmocka_unit_test(bounds_the_path),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
