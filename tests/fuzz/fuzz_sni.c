/*
 * SNI folders. The first line of the input is the folder's name, the rest its file `domains`, which anybody
 * may have written who can write in mailcow's SSL folder. Its readers are imitated word by word; what is
 * rendered of it for Postfix and Dovecot holds nothing but names and our own words around them.
 */
#include "common/file.h"
#include "common/text.h"
#include "deployer/sni.h"
#include "deployer/sni_render.h"
#include "tests/fuzz/fuzz.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._"

static struct mailcow mailcow;
static int ssl = -1, postfix = -1, dovecot = -1;

static int make_folder(const char *path)
{
    CHECK(mkdir(path, 0700) == 0);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK(fd >= 0);
    return fd;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    const char *top = fuzz_folder();
    (void)argc, (void)argv;
    snprintf(mailcow.postfix_path, sizeof mailcow.postfix_path, "%s/postfix", top);
    snprintf(mailcow.dovecot_path, sizeof mailcow.dovecot_path, "%s/dovecot", top);
    snprintf(mailcow.ssl_path, sizeof mailcow.ssl_path, "%s/ssl", top);
    postfix = make_folder(mailcow.postfix_path);
    dovecot = make_folder(mailcow.dovecot_path);
    ssl = make_folder(mailcow.ssl_path);
    return 0;
}

/* ---- the readers' words ---- */

static bool could_be_name(const char *word, size_t len)
{
    size_t star = len >= 2 && memcmp(word, "*.", 2) == 0;
    return strspn(word + star, LETTERS) >= len - star;
}

/* What is between separators, as the start scripts take it. */
static void check_words(const char *text, size_t len, enum sni_reader reader, const char *separators,
                        const struct conf_list *words)
{
    size_t n = 0;
    for (size_t at = 0; at < len;) {
        size_t word = 0;
        while (at + word < len && !strchr(separators, text[at + word]))
            word++;
        if (word && could_be_name(text + at, word)) {
            CHECK(n < words->count && strlen(words->items[n]) == word);
            CHECK(memcmp(words->items[n++], text + at, word) == 0);
        }
        at += word + 1;
    }
    (void)reader;
    CHECK(n == words->count);
}

static void read_words(const char *text, struct conf_list *by_postfix, struct conf_list *by_dovecot)
{
    struct error err;
    size_t first = strcspn(text, "\n");
    CHECK(sni_words(text, SNI_POSTFIX, by_postfix, &err) == 0);
    CHECK(sni_words(text, SNI_DOVECOT, by_dovecot, &err) == 0);
    check_words(text, first && text[first - 1] == '\r' ? first - 1 : first, SNI_POSTFIX, " ", by_postfix);
    check_words(text, strlen(text), SNI_DOVECOT, " \t\n", by_dovecot);
}

static bool has(const struct conf_list *list, const char *word)
{
    for (size_t i = 0; i < list->count; i++)
        if (strcasecmp(list->items[i], word) == 0)
            return true;
    return false;
}

/* ---- names ---- */

static void check_uniform(const struct sni_domains *d, const struct conf_list *by_postfix,
                          const struct conf_list *by_dovecot)
{
    for (size_t i = 0; i < d->names.count; i++) {
        const char *name = d->names.items[i];
        CHECK(has(by_dovecot, name));
        CHECK(has(by_postfix, *name == '*' ? name + 1 : name));
    }
}

/* Written as all three need it, in whatever order, the same names are read again, and all three serve them. */
static void check_formatted(const struct sni_domains *d)
{
    AUTO_SNI_DOMAINS struct sni_domains again = {.uniform = false};
    struct error err;
    char *text = sni_format_domains(d->names.items, d->names.count);
    CHECK(text && *text && strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-.* ") == strlen(text));
    CHECK(!strstr(text, "  ") && *text != ' ' && text[strlen(text) - 1] != ' ');
    CHECK(sni_parse_domains(text, &again, &err) == 0);
    CHECK(again.uniform && again.names.count == d->names.count);
    for (size_t i = 0; i < d->names.count; i++)
        CHECK(has(&again.names, d->names.items[i]));
    free(text);
}

/* Whether it is a want's file. */
static bool check_domains(const char *text)
{
    AUTO_SNI_DOMAINS struct sni_domains d = {.uniform = false};
    struct conf_list by_postfix = {0}, by_dovecot = {0};
    struct error err;
    read_words(text, &by_postfix, &by_dovecot);
    int rc = sni_parse_domains(text, &d, &err);
    if (rc)
        CHECK_ERROR(rc, &err);
    CHECK(rc ? !d.names.count : d.names.count && d.names.count <= WANT_MAX_NAMES);
    for (size_t i = 0; i < d.names.count; i++)
        CHECK(text_is_host_name(d.names.items[i], true));
    if (d.uniform)
        check_uniform(&d, &by_postfix, &by_dovecot);
    if (!rc)
        check_formatted(&d);
    conf_list_free(&by_postfix);
    conf_list_free(&by_dovecot);
    return rc == 0;
}

/* ---- what is rendered ---- */

static char *read_file(int dirfd, const char *name)
{
    AUTO_SECRET struct secret text = SECRET(1024 * 1024);
    struct error err;
    int rc = file_read(dirfd, name, 0, &text, NULL, &err);
    CHECK(rc == 0 || rc == FILE_MISSING);
    char *copy = strdup(text.len ? (char *)text.data : "");
    CHECK(copy);
    return copy;
}

/* Every line is exactly what a word of the file gives, in order; and there is a line for each. */
static void check_map(const char *map, const struct conf_list *words, const char *folder)
{
    char line[1000];
    for (size_t i = 0; i < words->count; i++) {
        int n = snprintf(line, sizeof line, "%s /etc/ssl/mail/%s/key.pem /etc/ssl/mail/%s/cert.pem\n",
                         words->items[i], folder, folder);
        CHECK(n < (int)sizeof line ? strncmp(map, line, (size_t)n) == 0 : true);
        map += n;
    }
    CHECK(!*map);
}

static void check_conf(const char *conf, const struct conf_list *words, const char *folder)
{
    char block[1000];
    for (size_t i = 0; i < words->count; i++) {
        int n = snprintf(block, sizeof block,
                         "local_name %s {\n  ssl_cert = </etc/ssl/mail/%s/cert.pem\n  ssl_key = "
                         "</etc/ssl/mail/%s/key.pem\n}\n",
                         words->items[i], folder, folder);
        CHECK(n < (int)sizeof block ? strncmp(conf, block, (size_t)n) == 0 : true);
        conf += n;
    }
    CHECK(!*conf);
}

/* rendered: whether the start scripts would have read the folder. */
static void check_rendered(const char *text, const char *folder, bool rendered)
{
    struct conf_list by_postfix = {0}, by_dovecot = {0};
    struct sni_changes changes;
    struct error err;
    CHECK(sni_render(&mailcow, ssl, false, &changes, &err) == 0);
    if (rendered)
        read_words(text, &by_postfix, &by_dovecot);
    char *map = read_file(postfix, "sni.map"), *conf = read_file(dovecot, "sni.conf");
    check_map(map, &by_postfix, folder);
    check_conf(conf, &by_dovecot, folder);
    CHECK(sni_render(&mailcow, ssl, false, &changes, &err) == 0);
    CHECK(!changes.postfix && !changes.dovecot);
    free(map);
    free(conf);
    conf_list_free(&by_postfix);
    conf_list_free(&by_dovecot);
}

/* ---- the folder ---- */

static bool make_sni_folder(const char *name, const void *domains, size_t len)
{
    static const char *const pair[] = {"cert.pem", "key.pem"};
    if (mkdirat(ssl, name, 0700) < 0)
        return false;
    int fd = openat(ssl, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK(fd >= 0);
    for (size_t i = 0; i < 2; i++)
        fuzz_write_file(fd, pair[i], "pem", 3);
    fuzz_write_file(fd, "domains", domains, len);
    close(fd);
    return true;
}

/* As it is found among the others: a want, or a reason why not. */
static void check_folder(const char *name, const char *text, bool is_text, bool good)
{
    AUTO_SNI_FOLDERS struct sni_folders folders = {0};
    struct error err;
    CHECK(sni_scan(ssl, &folders, &err) == 0);
    CHECK(folders.count == 1);
    const struct sni_folder *f = folders.list;
    bool is_want = good && want_is_id(name) && *name != '.' && strcmp(name, WANT_PRIMARY) != 0;
    CHECK(f->state == (is_want ? SNI_USED : SNI_UNUSABLE));
    CHECK(fuzz_is_printable(f->name) && fuzz_is_printable(f->problem) && !*f->problem == is_want);
    CHECK(!!f->domains.names.count == is_want);
    CHECK(!f->text || (want_is_id(name) && is_text && strcmp(f->text, text) == 0));
    check_rendered(text, name, f->text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error err;
    const uint8_t *lf = memchr(data, '\n', size);
    if (!lf || lf - data > 200)
        return 0;
    const uint8_t *domains = lf + 1;
    size_t len = size - (size_t)(domains - data);
    char *name = strndup((const char *)data, (size_t)(lf - data)),
         *text = strndup((const char *)domains, len);
    CHECK(name && text);
    bool is_text = strlen(text) == len, good = check_domains(text) && is_text;
    if (*name && !strchr(name, '/') && make_sni_folder(name, domains, len)) {
        check_folder(name, text, is_text, good);
        CHECK(file_remove_tree(ssl, name, &err) == 0);
    }
    free(name);
    free(text);
    return 0;
}
