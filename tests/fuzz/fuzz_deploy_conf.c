/*
 * deploy.conf. What is accepted keeps to its bounds and can be written again; what is not, is told by file
 * and line.
 */
#include "common/text.h"
#include "common/want.h"
#include "deployer/deploy_conf.h"
#include "deployer/docker_host.h"
#include "deployer/endpoint.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/problems.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char path[300];

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    snprintf(path, sizeof path, "%s/deploy.conf", fuzz_folder());
    return 0;
}

static int read_text(const char *text, struct deploy_conf *out, struct problems *problems)
{
    fuzz_write_file(AT_FDCWD, path, text, strlen(text));
    return deploy_conf_read(path, out, problems);
}

/* ---- what holds of an accepted file ---- */

static bool is_service(const char *name)
{
    bool known = false;
    for (size_t i = 0; i < endpoint_proto_count; i++)
        known = known || strcmp(endpoint_protos[i].service, name) == 0;
    return known;
}

/* Nobody but this host's root may speak to the engine without TLS. */
static void check_docker(const struct deploy_conf *c)
{
    struct docker_host host;
    CHECK(docker_host_parse(c->docker_host, &host) && !*host.path == !!*host.authority);
    CHECK(*host.path || host.is_loopback || c->docker_cert_path);
    for (size_t i = 0; i < c->docker_containers.count; i++) {
        const char *item = c->docker_containers.items[i], *equals = strchr(item, '=');
        CHECK(equals && isalnum((unsigned char)equals[1]) && !strpbrk(equals + 1, "/%?#& "));
    }
}

static void check_sni(const struct deploy_conf *c)
{
    CHECK(c->sni_count <= DEPLOY_CONF_SNI_MAX);
    for (size_t i = 0; i < c->sni_count; i++) {
        const struct deploy_sni *sni = &c->sni[i];
        CHECK(want_is_id(sni->name) && *sni->name != '.' && strcmp(sni->name, WANT_PRIMARY) != 0);
        CHECK(deploy_conf_sni(c, sni->name) == sni);
        CHECK(sni->domains.count && sni->domains.count <= WANT_MAX_NAMES);
        for (size_t n = 0; n < sni->domains.count; n++)
            CHECK(text_is_host_name(sni->domains.items[n], true));
    }
}

static void check_bounds(const struct deploy_conf *c)
{
    static struct endpoint_list endpoints;
    struct error err;
    CHECK(*c->state == '/' && *c->socket == '/' && *c->trust == '/' && *c->mailcow == '/');
    CHECK(*c->push_user && !strpbrk(c->push_user, " \t/:") && (!c->login || *c->login == '/'));
    CHECK(c->keep >= 2 && c->keep <= 100);
    CHECK(c->idle >= 1 && c->idle <= 86400 && c->verify_timeout >= 5 && c->verify_timeout <= 90);
    for (size_t i = 0; i < c->require.count; i++)
        CHECK(text_is_host_name(c->require.items[i], true));
    for (size_t i = 0; i < c->optional.count; i++)
        CHECK(is_service(c->optional.items[i]));
    endpoints.count = 0;
    for (size_t i = 0; i < c->endpoints.count; i++)
        CHECK(endpoint_parse(c->endpoints.items[i], &endpoints, &err) == 0);
    CHECK(endpoints.count == c->endpoints.count);
    check_docker(c);
    check_sni(c);
}

/* ---- written again ---- */

static void write_list(FILE *f, const char *key, const struct conf_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        fprintf(f, "%s%s%s\n", i ? " " : key, i ? "" : "=", list->items[i]);
}

static void write_key(FILE *f, const char *key, const char *value)
{
    if (value)
        fprintf(f, "%s=%s\n", key, value);
}

static char *write_conf(const struct deploy_conf *c)
{
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);
    fprintf(f, "[deploy]\nstate=%s\nsocket=%s\npush_user=%s\ntrust=%s\nidle=%llds\nkeep=%ld\n", c->state,
            c->socket, c->push_user, c->trust, (long long)c->idle, c->keep);
    fprintf(f, "[mailcow]\npath=%s\n", c->mailcow);
    write_key(f, "owner", c->owner);
    write_key(f, "group", c->group);
    write_list(f, "require", &c->require);
    write_list(f, "optional", &c->optional);
    fprintf(f, "[docker]\nhost=%s\n", c->docker_host);
    write_key(f, "cert_path", c->docker_cert_path);
    write_list(f, "containers", &c->docker_containers);
    fprintf(f, "[verify]\ntimeout=%llds\n", (long long)c->verify_timeout);
    write_key(f, "login", c->login);
    write_list(f, "endpoints", &c->endpoints);
    for (size_t i = 0; i < c->sni_count; i++) {
        fprintf(f, "[sni %s]\n", c->sni[i].name);
        write_list(f, "domains", &c->sni[i].domains);
    }
    fclose(f);
    return text;
}

static void check_again(const struct deploy_conf *c)
{
    AUTO_DEPLOY_CONF struct deploy_conf again;
    AUTO_PROBLEMS struct problems problems = {0};
    AUTO_FREE char *text = write_conf(c);
    int rc = read_text(text, &again, &problems);
    if (rc)
        fprintf(stderr, "%s\n%s\n", text, problems.text);
    CHECK(rc == 0);
    AUTO_FREE char *text_again = write_conf(&again);
    CHECK_TEXT(text_again, text);
}

static void check_moved(const char *text, int rc, const struct deploy_conf *c,
                        const struct problems *problems)
{
    AUTO_DEPLOY_CONF struct deploy_conf again;
    AUTO_PROBLEMS struct problems moved = {0};
    AUTO_FREE char *below = NULL, *written = write_conf(c), *written_again = NULL;
    CHECK(asprintf(&below, PROBLEMS_COMMENT "%s", text) > 0);
    CHECK(read_text(below, &again, &moved) == rc);
    problems_check_moved(&moved, problems, path);
    written_again = write_conf(&again);
    CHECK_TEXT(written_again, written);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_DEPLOY_CONF struct deploy_conf conf;
    AUTO_PROBLEMS struct problems problems = {0};
    AUTO_FREE char *text = strndup((const char *)data, size);
    int rc = read_text(text, &conf, &problems);
    problems_check(&problems, path, text);
    CHECK(rc == (problems.count ? E_CONFIG : 0));
    if (!rc) {
        check_bounds(&conf);
        check_again(&conf);
    }
    if (strncmp(text, "\xef\xbb\xbf", 3) != 0) /* a mark of the byte order is one only at the beginning */
        check_moved(text, rc, &conf, &problems);
    return 0;
}
