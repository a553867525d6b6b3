/*
 * What the engine answers: the same bytes as the answer to each question. What is read is within its bounds,
 * printable where it is for people, and the same from another spelling of the same JSON.
 */
#include "deployer/docker_json.h"
#include "deployer/endpoint.h"
#include "tests/fuzz/fuzz.h"

#include <arpa/inet.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define PROJECT        "mailcowdockerized"
#define LENGTH(array)  (sizeof(array) / sizeof *(array))
#define CHECK_RC(call) ((call) < 0 ? CHECK_ERROR(err.code, &err) : (void)0)

static bool is_address(const char *text)
{
    unsigned char bytes[16];
    return inet_pton(AF_INET, text, bytes) == 1 || inet_pton(AF_INET6, text, bytes) == 1;
}

static bool is_id(const char *text)
{
    size_t n = strlen(text);
    return n >= 12 && n <= 64 && strspn(text, "0123456789abcdef") == n;
}

static void check_container(const struct docker_container *c)
{
    CHECK(is_id(c->id) && c->name[0]);
    CHECK(fuzz_is_printable(c->name) && fuzz_is_printable(c->service));
    CHECK(fuzz_is_printable(c->state) && fuzz_is_printable(c->status) && fuzz_is_printable(c->health));
    CHECK(c->address_count <= LENGTH(c->addresses) && c->port_count <= LENGTH(c->ports));
    CHECK(c->mount_count <= LENGTH(c->mounts));
    for (size_t i = 0; i < c->address_count; i++)
        CHECK(is_address(c->addresses[i]));
    for (size_t i = 0; i < c->port_count; i++)
        CHECK(c->ports[i].container_port &&
              (c->ports[i].host_port ? is_address(c->ports[i].host_ip) : !*c->ports[i].host_ip));
}

/* What is published can be asked. */
static void check_endpoints(const struct docker_containers *all)
{
    static struct endpoint_list endpoints;
    struct error err;
    char text[ENDPOINT_TEXT];
    int rc = endpoint_derive(all, &(struct endpoint_https){.port = 443}, &endpoints, &err);
    if (rc)
        CHECK_ERROR(rc, &err);
    CHECK(endpoints.count <= ENDPOINT_MAX);
    for (size_t i = 0; i < endpoints.count; i++) {
        const struct endpoint *e = &endpoints.list[i];
        CHECK(e->address_count && e->address_count <= LENGTH(e->addresses));
        for (size_t n = 0; n < e->address_count; n++) {
            CHECK(is_address(e->addresses[n].host) && e->addresses[n].port);
            CHECK(strlen(endpoint_address_text(text, &e->addresses[n])) < sizeof text);
        }
    }
}

/* All that was read from an answer. */
struct answers {
    int rc[7];
    struct docker_containers containers;
    struct docker_container container;
    struct docker_details details;
    struct docker_info info;
    char id[65];
    char version[16];
    int exit_code;
};

static void read_answers(const char *bytes, size_t len, struct answers *out)
{
    struct error err;
    memset(out, 0, sizeof *out);
    out->exit_code = -1;
    CHECK_RC(out->rc[0] = docker_json_containers(bytes, len, PROJECT, &out->containers, &err));
    CHECK_RC(out->rc[1] = docker_json_exec_id(bytes, len, out->id, &err));
    CHECK_RC(out->rc[2] = docker_json_exec_state(bytes, len, &out->exit_code, &err));
    CHECK_RC(out->rc[3] = docker_json_oldest_api(bytes, len, out->version, &err));
    CHECK_RC(out->rc[4] = docker_json_container(bytes, len, &out->container, &err));
    CHECK_RC(out->rc[5] = docker_json_details(bytes, len, &out->details, &err));
    CHECK_RC(out->rc[6] = docker_json_info(bytes, len, &out->info, &err));
}

static void free_answers(struct answers *a)
{
    docker_containers_free(&a->containers);
    docker_details_free(&a->details);
}

/* The first of a name counts. */
static void check_details(const struct docker_details *d)
{
    CHECK(fuzz_is_printable(d->userns_mode) && fuzz_is_printable(d->restart_policy));
    for (char **p = d->env; p && *p; p++) {
        char *name = strndup(*p, strcspn(*p, "="));
        const char *value = docker_env(d, name);
        CHECK(name && (!strchr(*p, '=') || value));
        CHECK(!value || value[-1] == '=');
        free(name);
    }
}

static void check_answers(const struct answers *a)
{
    CHECK(a->containers.count <= DOCKER_CONTAINERS_MAX);
    for (size_t i = 0; i < a->containers.count; i++)
        check_container(&a->containers.list[i]);
    if (a->rc[0] == 0)
        check_endpoints(&a->containers);
    CHECK(a->rc[1] == 0 ? is_id(a->id) : !*a->id);
    CHECK(a->rc[2] == 0 ? a->exit_code >= 0 && a->exit_code <= 255 : a->exit_code == -1);
    CHECK(a->rc[2] <= 0 || a->rc[2] == DOCKER_JSON_RUNNING);
    if (a->rc[4] == 0) {
        struct docker_container container = a->container;
        check_container(&a->container);
        check_endpoints(&(struct docker_containers){.list = &container, .count = 1});
    }
    if (a->rc[5] == 0)
        check_details(&a->details);
    CHECK(a->info.remaps_users || !a->info.root_is_known);
}

static void check_same_env(const struct docker_details *a, const struct docker_details *b)
{
    char **p = a->env, **q = b->env;
    CHECK(!p == !q);
    for (; p && *p && *q; p++, q++)
        CHECK_TEXT(*p, *q);
    CHECK(!p || (!*p && !*q));
    CHECK_TEXT(a->userns_mode, b->userns_mode);
    CHECK_TEXT(a->restart_policy, b->restart_policy);
}

/* The same value, written by jansson. */
static void check_respelled(const char *bytes, size_t len, const struct answers *a)
{
    static struct answers b;
    json_t *json = json_loadb(bytes, len, 0, NULL);
    char *text = json ? json_dumps(json, JSON_INDENT(1) | JSON_ENSURE_ASCII) : NULL;
    json_decref(json);
    if (!text)
        return;
    read_answers(text, strlen(text), &b);
    CHECK(memcmp(a->rc, b.rc, sizeof b.rc) == 0 && a->exit_code == b.exit_code);
    CHECK_TEXT(a->id, b.id);
    CHECK_TEXT(a->version, b.version);
    CHECK(a->containers.count == b.containers.count);
    CHECK(!b.containers.count ||
          memcmp(a->containers.list, b.containers.list, b.containers.count * sizeof *b.containers.list) == 0);
    CHECK(memcmp(&a->container, &b.container, sizeof b.container) == 0);
    CHECK(memcmp(&a->info, &b.info, sizeof b.info) == 0);
    check_same_env(&a->details, &b.details);
    free_answers(&b);
    free(text);
}

static void check_message(const char *bytes, size_t len)
{
    char shown[80];
    CHECK(docker_json_message(shown, sizeof shown, bytes, len) == shown);
    CHECK(strlen(shown) < sizeof shown && fuzz_is_printable(shown));
}

/* What is asked holds the words as they are, or is not asked. */
static void check_questions(const char *bytes, size_t len)
{
    char *word = strndup(bytes, len);
    CHECK(word);
    char *body = docker_json_exec((const char *const[]){"sh", word, NULL});
    json_t *json = body ? json_loads(body, 0, NULL) : NULL;
    CHECK(!body == !json);
    if (json)
        CHECK_TEXT(json_string_value(json_array_get(json_object_get(json, "Cmd"), 1)), word);
    json_decref(json);
    free(body);
    body = docker_json_filters(word);
    json = body ? json_loads(body, 0, NULL) : NULL;
    CHECK(!body == !json);
    if (json)
        CHECK(strstr(json_string_value(json_array_get(json_object_get(json, "label"), 0)), word));
    json_decref(json);
    free(body);
    free(word);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *bytes = (const char *)data;
    static struct answers answers;
    read_answers(bytes, size, &answers);
    check_answers(&answers);
    check_respelled(bytes, size, &answers);
    check_message(bytes, size);
    if (size < 200)
        check_questions(bytes, size);
    free_answers(&answers);
    return 0;
}
