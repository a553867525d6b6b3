/*
 * mailcow.conf, which people edit and bash reads as well. What is taken from it is safe to use; the last
 * assignment counts, whatever stands above it; line ends of either kind are the same.
 */
#include "common/file.h"
#include "common/text.h"
#include "deployer/mailcow.h"
#include "tests/fuzz/fuzz.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char folder[300], file[320];

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    snprintf(folder, sizeof folder, "%s/mailcow-dockerized", fuzz_folder());
    snprintf(file, sizeof file, "%s/mailcow.conf", folder);
    CHECK(mkdir(folder, 0700) == 0);
    return 0;
}

static int read_bytes(const void *bytes, size_t len, struct mailcow *out, struct error *err)
{
    fuzz_write_file(AT_FDCWD, file, bytes, len);
    return mailcow_read(folder, out, err);
}

/* Its number in "mailcow.conf:N: ", 0 if it concerns no line. */
static unsigned check_error(int rc, const struct error *err)
{
    unsigned line = 0;
    CHECK_ERROR(rc, err);
    CHECK(rc == E_CONFIG && strstr(err->text, file));
    sscanf(strstr(err->text, file) + strlen(file), ":%u: ", &line);
    return line;
}

static void check_values(const struct mailcow *m)
{
    CHECK(text_is_host_name(m->hostname, false));
    CHECK(*m->project && strspn(m->project, "abcdefghijklmnopqrstuvwxyz0123456789_-") == strlen(m->project));
    CHECK(m->https_port);
    CHECK(mailcow_is_yes("yEs") && !mailcow_is_yes("true") &&
          mailcow_is_yes(m->skip_acme) <= !!*m->skip_acme);
}

static void check_same(const struct mailcow *a, const struct mailcow *b)
{
    CHECK_TEXT(a->hostname, b->hostname);
    CHECK_TEXT(a->project, b->project);
    CHECK(a->https_port == b->https_port && a->https_proxy == b->https_proxy);
    CHECK_TEXT(a->server_names, b->server_names);
    CHECK_TEXT(a->skip_acme, b->skip_acme);
}

/* Below a comment it says the same, one line further down. */
static void check_moved(const char *text, int rc, const struct mailcow *m, unsigned line)
{
    struct mailcow again;
    struct error err;
    char *moved;
    int n = asprintf(&moved, "# a comment\n%s", text);
    CHECK(n > 0 && read_bytes(moved, (size_t)n, &again, &err) == rc);
    if (rc)
        CHECK(check_error(rc, &err) == line + !!line);
    else
        check_same(m, &again);
    free(moved);
}

static void check_line_ends(const char *text, int rc, const struct mailcow *m)
{
    struct mailcow again;
    struct error err;
    char *crlf = malloc(2 * strlen(text) + 1), *out = crlf;
    CHECK(crlf);
    for (const char *p = text; *p; p++) {
        if (*p == '\n')
            *out++ = '\r';
        *out++ = *p;
    }
    CHECK(read_bytes(crlf, (size_t)(out - crlf), &again, &err) == rc);
    if (!rc)
        check_same(m, &again);
    free(crlf);
}

/* A project's name of any length is taken whole, or refused. */
static void check_last(const char *text)
{
    struct mailcow m;
    struct error err;
    size_t len = strlen(text) % 200 + 1;
    char project[201] = "", *longer;
    memset(project, 'P', len);
    int n = asprintf(
        &longer,
        "%s\nMAILCOW_HOSTNAME=Last.example.org.\n export COMPOSE_PROJECT_NAME=\"%s\"\nHTTPS_PORT=8443 # x\n",
        text, project);
    CHECK(n > 0);
    int rc = read_bytes(longer, (size_t)n, &m, &err);
    if (rc) {
        check_error(rc, &err);
        CHECK(len >= sizeof m.project);
    } else {
        CHECK_TEXT(m.hostname, "last.example.org");
        CHECK(strlen(m.project) == len && m.https_port == 8443);
    }
    free(longer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mailcow m;
    struct error err;
    unsigned line = 0;
    int rc = read_bytes(data, size, &m, &err);
    if (rc)
        line = check_error(rc, &err);
    else
        check_values(&m);
    if (memchr(data, '\0', size)) { /* not a text */
        CHECK(rc == E_CONFIG);
        return 0;
    }
    char *text = strndup((const char *)data, size);
    check_moved(text, rc, &m, line);
    check_line_ends(text, rc, &m);
    check_last(text);
    free(text);
    return 0;
}
