/*
 * push.conf. What is accepted keeps to its bounds and can be written again; what is not, is told by file and
 * line.
 */
#include "common/want.h"
#include "pusher/push_conf.h"
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
    snprintf(path, sizeof path, "%s/push.conf", fuzz_folder());
    return 0;
}

static int read_text(const char *text, struct push_conf *out, struct problems *problems)
{
    fuzz_write_file(AT_FDCWD, path, text, strlen(text));
    return push_conf_read(path, out, problems);
}

/* ---- what holds of an accepted file ---- */

static bool is_path(const char *text)
{
    return text && *text == '/';
}

static void check_bounds(const struct push_conf *c)
{
    CHECK(is_path(c->state) && c->verify_every >= 60 && c->verify_every <= 31536000 && c->watch_every >= 10 &&
          c->watch_every <= 86400);
    CHECK(!c->alarm.contact || c->alarm.contact > c->verify_every);
    CHECK(c->source_count >= 1 && c->source_count <= PUSH_CONF_MAX_SOURCES);
    CHECK(c->target_count >= 1 && c->target_count <= PUSH_CONF_MAX_TARGETS);
    for (size_t i = 0; i < c->source_count; i++) {
        const struct source *s = &c->sources[i];
        CHECK(s->name && !strpbrk(s->name, "/ \t") && s->name[0] != '.');
        CHECK(s->path ? is_path(s->path) && !s->cert && !s->key : is_path(s->cert) && is_path(s->key));
    }
    for (size_t i = 0; i < c->target_count; i++) {
        const struct target *t = &c->targets[i];
        CHECK(t->name && !strpbrk(t->name, "/ \t") && t->name[0] != '.');
        CHECK(t->host && *t->host && *t->host != '-' && !strpbrk(t->host, " \t\r\n"));
        CHECK(t->user && *t->user && *t->user != '-' && !strpbrk(t->user, " \t\r\n"));
        CHECK(t->port >= 1 && t->port <= 65535 && t->timeout >= 1 && t->timeout <= 600);
        CHECK(is_path(t->key) && is_path(t->known_hosts));
        for (size_t n = 0; n < t->wants.count; n++)
            CHECK(want_is_id(t->wants.items[n]));
    }
}

/* ---- written again ---- */

static void write_key(FILE *f, const char *key, const char *value)
{
    if (value)
        fprintf(f, "%s=%s\n", key, value);
}

static char *write_conf(const struct push_conf *c)
{
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);
    fprintf(f, "[push]\nstate=%s\nverify_every=%lld\nwatch_every=%lld\n", c->state,
            (long long)c->verify_every, (long long)c->watch_every);
    for (size_t i = 0; i < c->source_count; i++) {
        fprintf(f, "[source %s]\n", c->sources[i].name);
        write_key(f, "path", c->sources[i].path);
        write_key(f, "cert", c->sources[i].cert);
        write_key(f, "key", c->sources[i].key);
    }
    for (size_t i = 0; i < c->target_count; i++) {
        const struct target *t = &c->targets[i];
        fprintf(f, "[target %s]\nhost=%s\nport=%ld\nuser=%s\nkey=%s\nknown_hosts=%s\ntimeout=%llds\n",
                t->name, t->host, t->port, t->user, t->key, t->known_hosts, (long long)t->timeout);
        for (size_t n = 0; n < t->wants.count; n++)
            fprintf(f, "%s%s\n", n ? " " : "wants=", t->wants.items[n]);
    }
    fclose(f);
    return text;
}

static void check_again(const struct push_conf *c)
{
    AUTO_PUSH_CONF struct push_conf again;
    AUTO_PROBLEMS struct problems problems = {0};
    AUTO_FREE char *text = write_conf(c);
    int rc = read_text(text, &again, &problems);
    if (rc)
        fprintf(stderr, "%s\n%s\n", text, problems.text);
    CHECK(rc == 0);
    AUTO_FREE char *text_again = write_conf(&again);
    CHECK_TEXT(text_again, text);
}

static void check_moved(const char *text, int rc, const struct push_conf *c, const struct problems *problems)
{
    AUTO_PUSH_CONF struct push_conf again;
    AUTO_PROBLEMS struct problems moved = {0};
    AUTO_FREE char *below = NULL, *written = NULL, *written_again = NULL;
    CHECK(asprintf(&below, PROBLEMS_COMMENT "%s", text) > 0);
    CHECK(read_text(below, &again, &moved) == rc);
    problems_check_moved(&moved, problems, path);
    if (rc)
        return;
    written = write_conf(c);
    written_again = write_conf(&again);
    CHECK_TEXT(written_again, written);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_PUSH_CONF struct push_conf conf;
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
