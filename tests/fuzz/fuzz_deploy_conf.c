/*
 * deploy.conf. What is accepted keeps to its bounds and can be written again; what is not, is told by file
 * and line.
 */
#include "common/text.h"
#include "deployer/deploy_conf.h"
#include "deployer/endpoint.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/problems.h"

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

static void check_bounds(const struct deploy_conf *c)
{
    static struct endpoint_list endpoints;
    struct error err;
    CHECK(*c->state == '/' && *c->socket == '/' && *c->trust == '/' && *c->mailcow == '/');
    CHECK(*c->docker_socket == '/' && *c->push_user && !strpbrk(c->push_user, " \t/:"));
    CHECK(c->idle >= 1 && c->idle <= 86400 && c->verify_timeout >= 5 && c->verify_timeout <= 90);
    for (size_t i = 0; i < c->require.count; i++)
        CHECK(text_is_host_name(c->require.items[i], true));
    for (size_t i = 0; i < c->optional.count; i++)
        CHECK(is_service(c->optional.items[i]));
    endpoints.count = 0;
    for (size_t i = 0; i < c->endpoints.count; i++)
        CHECK(endpoint_parse(c->endpoints.items[i], &endpoints, &err) == 0);
    CHECK(endpoints.count == c->endpoints.count);
}

/* ---- written again ---- */

static void write_list(FILE *f, const char *key, const struct conf_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        fprintf(f, "%s%s%s\n", i ? " " : key, i ? "" : "=", list->items[i]);
}

static char *write_conf(const struct deploy_conf *c)
{
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);
    fprintf(f, "[deploy]\nstate=%s\nsocket=%s\npush_user=%s\ntrust=%s\nidle=%llds\n", c->state, c->socket,
            c->push_user, c->trust, (long long)c->idle);
    fprintf(f, "[mailcow]\npath=%s\n", c->mailcow);
    write_list(f, "require", &c->require);
    write_list(f, "optional", &c->optional);
    fprintf(f, "[docker]\nsocket=%s\n[verify]\ntimeout=%llds\n", c->docker_socket,
            (long long)c->verify_timeout);
    write_list(f, "endpoints", &c->endpoints);
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
