/* deployer/sni: the file `domains` as its readers see it, and what is done to folders. */
#include "tests/unit/testing.h"

#include "tests/unit/failing.h"

#include "deployer/sni.h"

/* ---- domains ---- */

/* The names joined by spaces, '!' behind them where the readers differ; or the error in parentheses. */
static const char *parsed(const char *text)
{
    static char out[2000];
    AUTO_SNI_DOMAINS struct sni_domains d = {.uniform = false};
    struct error err = {0};
    size_t n = 0;
    if (sni_parse_domains(text, &d, &err) < 0) {
        snprintf(out, sizeof out, "(%s)", err.text);
        return out;
    }
    for (size_t i = 0; i < d.names.count; i++)
        n += (size_t)snprintf(out + n, sizeof out - n, "%s%s", i ? " " : "", d.names.items[i]);
    snprintf(out + n, sizeof out - n, "%s", d.uniform ? "" : " !");
    return out;
}

static void reads_what_mailcow_writes(void **state)
{
    (void)state;
    assert_string_equal(parsed("mail.example.net"), "mail.example.net");
    assert_string_equal(parsed("mail.example.net imap.example.net a.example.com"),
                        "mail.example.net imap.example.net a.example.com");
    assert_string_equal(parsed("  mail.example.net   imap.example.net \n\n"),
                        "mail.example.net imap.example.net");
    assert_string_equal(parsed("a.org b.org a.org"), "a.org b.org");
}

static void knows_what_a_reader_misses(void **state)
{
    (void)state;
    assert_string_equal(parsed("a.org\nb.org"), "a.org b.org !"); /* Postfix: only the first line */
    assert_string_equal(parsed("\na.org"), "a.org !");
    assert_string_equal(parsed("a.org\tb.org"), "a.org b.org !"); /* Postfix: one word */
    assert_string_equal(parsed("a.org\r\n"), "a.org !");          /* Dovecot: the CR belongs to it */
    assert_string_equal(parsed("A.org"), "a.org");                /* none of them minds */
    assert_string_equal(parsed("a.org\n"), "a.org");
}

static void knows_the_forms_of_a_wildcard(void **state)
{
    (void)state;
    assert_string_equal(parsed("*.example.net .example.net"), "*.example.net");
    assert_string_equal(parsed("example.net *.example.net .example.net"), "example.net *.example.net");
    assert_string_equal(parsed("example.net .example.net *.example.net"), "example.net *.example.net");
    assert_string_equal(parsed("*.example.net .example.net example.net"), "*.example.net example.net !");
    assert_string_equal(parsed("*.example.net"), "*.example.net !"); /* Postfix has none */
    assert_string_equal(parsed(".example.net"), "*.example.net !");  /* Dovecot has none */
    assert_string_equal(parsed("*.example.net\n.example.net"), "*.example.net !");
    assert_string_equal(parsed(".example.net *.example.net"), "*.example.net !"); /* nginx: the apex, too */
    assert_string_equal(parsed(".example.net *.example.net example.net"), "*.example.net example.net");
}

static void refuses_what_is_no_name(void **state)
{
    static const char *const wrong[] = {"a_b.org", "a.org;",    "\"a.org\"", "localhost", "*",
                                        "a.*.org", "*.*.a.org", "..a.org",   "-a.org",    "a.org.",
                                        "*.",      ".",         "[a].org",   "a/b.org",   "${x}.org",
                                        "*a.org",  "http://a"};
    char problem[200];
    (void)state;
    for (size_t i = 0; i < COUNT(wrong); i++) {
        snprintf(problem, sizeof problem, "(not a host name: %s)", wrong[i]);
        assert_string_equal(parsed(wrong[i]), problem);
    }
    assert_string_equal(parsed("a.org \x1b[1m"), "(not a host name: \\x1b[1m)");
    assert_string_equal(parsed("a.org b\xc3\xa4r.org"), "(not a host name: b\\xc3\\xa4r.org)");
    assert_string_equal(parsed(""), "(no name in it)");
    assert_string_equal(parsed(" \t\r\n"), "(no name in it)");
}

static void bounds_names_and_their_number(void **state)
{
    char text[16000] = "";
    size_t n = 0;
    (void)state;
    for (int i = 0; i < 400; i++)
        text[n++] = 'a';
    text[n] = '\0';
    assert_has(parsed(text), "(not a host name: aaa");
    n = 0;
    for (int i = 0; i < 256; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "n%d.example.org ", i);
    AUTO_SNI_DOMAINS struct sni_domains d = {.uniform = false};
    struct error err;
    assert_int_equal(sni_parse_domains(text, &d, &err), 0);
    assert_int_equal(d.names.count, 256);
    snprintf(text + n, sizeof text - n, "n256.example.org");
    assert_string_equal(parsed(text), "(more than 256 names)");
}

static void gives_each_reader_its_words(void **state)
{
    static const struct {
        const char *text, *postfix, *dovecot;
    } cases[] = {
        {"a.org b.org", "a.org b.org ", "a.org b.org "},
        {"a.org\r\n", "a.org ", ""},
        {"a.org\nb.org", "a.org ", "a.org b.org "},
        {"a.org\tb.org", "", "a.org b.org "},
        {"*.a.org .a.org A_b.org", "*.a.org .a.org A_b.org ", "*.a.org .a.org A_b.org "},
        {"* a{ $(id) <x \"y\" a.* **.b ?.c a.org#", "", ""},
        {"", "", ""},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++)
        for (enum sni_reader reader = SNI_POSTFIX; reader <= SNI_DOVECOT; reader++) {
            CLEANUP(conf_list_free) struct conf_list words = {0};
            struct error err;
            char all[200] = "";
            assert_int_equal(sni_words(cases[i].text, reader, &words, &err), 0);
            for (size_t n = 0; n < words.count; n++) {
                strcat(all, words.items[n]);
                strcat(all, " ");
            }
            assert_string_equal(all, reader == SNI_POSTFIX ? cases[i].postfix : cases[i].dovecot);
        }
}

static void writes_what_all_readers_need(void **state)
{
    char a[] = "*.example.net", b[] = "example.net", c[] = "mail.example.com";
    char *names[] = {a, b, c};
    AUTO_FREE char *text = sni_format_domains(names, 3);
    (void)state;
    assert_string_equal(text, "example.net mail.example.com *.example.net .example.net");
    assert_string_equal(parsed(text), "example.net mail.example.com *.example.net");
    AUTO_FREE char *apex = sni_format_domains(names, 1);
    assert_string_equal(apex, "*.example.net .example.net");
}

/* ---- scanning ---- */

static void put(const struct directory *d, const char *folder, const char *file, const char *text)
{
    char name[600];
    snprintf(name, sizeof name, "%s/%s", folder, file);
    write_text(d, name, text);
}

/* domains: NULL for none */
static void make_sni(const struct directory *d, const char *folder, const char *domains)
{
    make_folder(d, folder);
    put(d, folder, "cert.pem", "c");
    put(d, folder, "key.pem", "k");
    if (domains)
        put(d, folder, "domains", domains);
}

static const char *scanned(const struct directory *d)
{
    static char out[4000];
    static const char *const states[] = {
        [SNI_USED] = "used", [SNI_INERT] = "inert", [SNI_UNUSABLE] = "unusable"};
    AUTO_SNI_FOLDERS struct sni_folders folders = {0};
    struct error err = {0};
    size_t n = 0;
    assert_int_equal(sni_scan(d->fd, &folders, &err), 0);
    *out = '\0';
    for (size_t i = 0; i < folders.count; i++) {
        const struct sni_folder *f = &folders.list[i];
        n += (size_t)snprintf(out + n, sizeof out - n, "%s %s%s%s", f->name, states[f->state],
                              f->is_unread ? " unread"
                              : f->text    ? " rendered"
                                           : "",
                              *f->problem ? ": " : "");
        assert_string_equal(f->name, f->file_name);
        n += (size_t)snprintf(out + n, sizeof out - n, "%s\n", f->problem);
        assert_int_equal(f->state == SNI_USED, f->domains.names.count > 0);
    }
    return out;
}

/* A shell compares whole paths: a dot and a hyphen come before the slash behind a shorter name. */
static void sees_the_folders_in_the_shells_order(void **state)
{
    struct directory *d = *state;
    static const char *const names[] = {"b", "a", "a.b", "a-b", "A", "*.x.org", "*.x.org.a", "ab"};
    char expected[600] = "", shell[800], line[100];
    for (size_t i = 0; i < COUNT(names); i++)
        make_sni(d, names[i], "a.org");
    snprintf(shell, sizeof shell,
             "cd %s && LC_ALL=C bash -c 'for f in %s/*/; do f=${f%%/}; echo ${f##*/}; done'", d->path,
             d->path);
    AUTO_FILE FILE *pipe = popen(shell, "re");
    assert_non_null(pipe);
    while (fgets(line, sizeof line, pipe)) {
        line[strcspn(line, "\n")] = '\0';
        strcat(expected, line);
        strcat(expected, " used rendered\n");
    }
    assert_string_equal(scanned(d), expected);
    assert_has(expected, "a-b used");
}

static void tells_folders_that_are_no_wants(void **state)
{
    struct directory *d = *state;
    assert_string_equal(scanned(d), "");
    make_folder(d, "acme");
    put(d, "acme", "key.pem", "k");
    make_folder(d, "backups");
    write_text(d, "domains", "a.org");
    assert_string_equal(scanned(d), "");
    make_sni(d, "no-domains", NULL);
    make_folder(d, "only-domains");
    put(d, "only-domains", "domains", "a.org");
    make_sni(d, "bad", "a.org; b");
    make_sni(d, "empty", "");
    make_sni(d, ".dot", "a.org");
    make_sni(d, "primary", "a.org");
    make_sni(d, "with space", "a.org");
    assert_string_equal(
        scanned(d),
        ".dot unusable: its name begins with a dot: nginx reads it, Postfix and Dovecot do not\n"
        "bad unusable rendered: domains: not a host name: a.org;\n"
        "empty unusable rendered: domains: no name in it\n"
        "no-domains inert: no service reads it: it lacks domains\n"
        "only-domains inert: no service reads it: it lacks cert.pem, key.pem\n"
        "primary unusable unread: its name is that of the primary certificate: rename it\n"
        "with space unusable unread: its name has other characters than letters, digits and - . _ *\n");
}

static void link_in(const struct directory *d, const char *target, const char *name)
{
    assert_int_equal(symlinkat(target, d->fd, name), 0);
}

static void follows_no_links(void **state)
{
    struct directory *d = *state;
    make_sni(d, "real", "a.org");
    link_in(d, "real", "link");
    link_in(d, "nowhere", "dangling");
    make_sni(d, "linked-file", NULL);
    link_in(d, "../real/domains", "linked-file/domains");
    assert_string_equal(
        scanned(d),
        "link unusable unread: it is a symbolic link, which is not followed from here: nothing renews it; "
        "put "
        "the folder itself there\n"
        "linked-file unusable unread: domains is a symbolic link, which is not followed from here: nothing "
        "renews it; put the file itself there\n"
        "real used rendered\n");
}

static bool is_unread(const struct directory *d, const char *name)
{
    char line[100];
    snprintf(line, sizeof line, "%s unusable unread: ", name);
    return strstr(scanned(d), line) != NULL;
}

/* As the start scripts see it, in whose SSL folder a relative link works, and an absolute one into their
 * mount. */
static void tells_links_that_may_be_served(void **state)
{
    struct directory *d = *state;
    make_sni(d, "no-domains", NULL);
    link_in(d, "no-domains", "inert");
    assert_false(is_unread(d, "inert"));
    put(d, "no-domains", "domains", "a.org");
    assert_true(is_unread(d, "inert"));
    link_in(d, SNI_MOUNTED "/no-domains", "mounted");
    assert_true(is_unread(d, "mounted"));
    link_in(d, "/nowhere/at-all", "absolute");
    assert_false(is_unread(d, "absolute"));
    link_in(d, SNI_MOUNTED "/nowhere", "gone");
    assert_false(is_unread(d, "gone"));
    link_in(d, "no-domains", ".dot");
    assert_false(is_unread(d, ".dot"));
    make_sni(d, "dead-file", NULL);
    link_in(d, "../nowhere", "dead-file/domains");
    assert_false(is_unread(d, "dead-file"));
    make_sni(d, "absolute-file", NULL);
    link_in(d, SNI_MOUNTED "/no-domains/domains", "absolute-file/domains");
    assert_true(is_unread(d, "absolute-file"));
    make_sni(d, "gone-file", NULL);
    link_in(d, "/nowhere/at-all", "gone-file/domains");
    assert_false(is_unread(d, "gone-file"));
    make_sni(d, "gone-mounted", NULL);
    link_in(d, SNI_MOUNTED "/nowhere/domains", "gone-mounted/domains");
    assert_false(is_unread(d, "gone-mounted"));
    make_sni(d, "folder-file", NULL);
    make_folder(d, "folder-file/domains");
    assert_has(scanned(d), "folder-file unusable: domains is not a regular file\n");
}

static void refuses_domains_that_are_no_text(void **state)
{
    struct directory *d = *state;
    AUTO_FREE char *large = malloc(SNI_DOMAINS_MAX + 2);
    make_sni(d, "nul", NULL);
    write_bytes(d, "nul/domains", "a.org\0b.org", 11);
    make_sni(d, "large", NULL);
    memset(large, ' ', SNI_DOMAINS_MAX + 1);
    write_bytes(d, "large/domains", large, SNI_DOMAINS_MAX + 1);
    assert_string_equal(scanned(d), "large unusable unread: domains: larger than 65536 bytes\n"
                                    "nul unusable unread: domains: not a text: NUL bytes\n");
}

/* What cannot be read now is neither missing nor unusable. */
static void tells_what_cannot_be_read_from_what_is_not_there(void **state)
{
    struct directory *d = *state;
    make_sni(d, "x", "a.org");
    for (size_t i = 0; i < COUNT(sni_failures); i++) {
        AUTO_SNI_FOLDERS struct sni_folders folders = {0};
        struct error err = {0};
        failing = sni_failures[i];
        int rc = sni_scan(d->fd, &folders, &err);
        failing = (struct failing){0};
        if (rc >= 0)
            fail_msg("%s of %s (%s) is forwarded as %d, with %zu folders", sni_failures[i].call,
                     sni_failures[i].path, strerror(sni_failures[i].number), rc, folders.count);
        assert_int_equal(folders.count, 0);
        assert_has(err.text, "x: ");
    }
    assert_string_equal(scanned(d), "x used rendered\n");
}

/* ---- changing folders ---- */

static char net[] = "example.net", wild[] = "*.example.net";
static char *const names[] = {net, wild};

static void writes_domains(void **state)
{
    struct directory *d = *state;
    struct error err = {0};
    struct stat st;
    assert_true(sni_write_domains(d->fd, "x", names, 2, &err) < 0);
    make_folder(d, "x");
    assert_int_equal(sni_write_domains(d->fd, "x", names, 2, &err), SNI_NEW);
    assert_string_equal(read_text_of(d, "x/domains"), "example.net *.example.net .example.net");
    assert_int_equal(fstatat(d->fd, "x/domains", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0644);
    assert_int_equal(sni_write_domains(d->fd, "x", names, 2, &err), SNI_SAME);
    assert_false(is_there(d, "x/.domains.tmp"));
}

/* What says the same, and to all readers, is the administrator's and stays. */
static void writes_domains_only_where_they_differ(void **state)
{
    static const struct {
        const char *text;
        int rc;
    } cases[] = {
        {".Example.net *.example.net   example.net\n", SNI_SAME},
        {"example.net\n*.example.net .example.net", 0},
        {"example.net *.example.net", 0},
        {"example.net", 0},
        {"example.net *.example.net .example.net a.org", 0},
        {"example.net *.example.net .example.net ;", 0},
        {"", 0},
    };
    struct directory *d = *state;
    struct error err = {0};
    make_folder(d, "x");
    for (size_t i = 0; i < COUNT(cases); i++) {
        put(d, "x", "domains", cases[i].text);
        assert_int_equal(sni_write_domains(d->fd, "x", names, 2, &err), cases[i].rc);
        assert_string_equal(read_text_of(d, "x/domains"),
                            cases[i].rc ? cases[i].text : "example.net *.example.net .example.net");
    }
}

/* It may say these names already: then it is neither new nor changed. */
static void writes_no_domains_over_what_it_cannot_read(void **state)
{
    static const struct failing failures[] = {
        {"openat", "domains", 0, EIO}, {"openat", "domains", 0, EMFILE}, {"fstatat", "domains", 0, EIO}};
    struct directory *d = *state;
    make_sni(d, "x", "*.example.net .example.net\n");
    for (size_t i = 0; i < COUNT(failures); i++) {
        struct error err = {0};
        failing = failures[i];
        int rc = sni_write_domains(d->fd, "x", names, 2, &err);
        failing = (struct failing){0};
        assert_true(rc < 0);
        assert_has(err.text, "SNI folder x: domains: ");
        assert_string_equal(read_text_of(d, "x/domains"), "*.example.net .example.net\n");
    }
}

static void retires_a_folder_and_removes_it(void **state)
{
    struct directory *d = *state;
    struct error err = {0};
    make_sni(d, "x", "a.org");
    put(d, "x", "acme.csr", "r");
    put(d, "x", ".key.pem.certsync", "k");
    put(d, "x", ".domains.tmp", "t");
    assert_int_equal(sni_has_domains(d->fd, "x", &err), 1);
    assert_int_equal(sni_retire_folder(d->fd, "x", &err), 0);
    assert_false(is_there(d, "x/domains"));
    assert_int_equal(sni_has_domains(d->fd, "x", &err), 0);
    assert_true(is_there(d, "x/key.pem") && is_there(d, "x/cert.pem"));
    assert_int_equal(sni_retire_folder(d->fd, "x", &err), 0);
    assert_int_equal(sni_remove_folder(d->fd, "x", &err), 0);
    assert_false(is_there(d, "x"));
    assert_int_equal(sni_remove_folder(d->fd, "x", &err), 0);
    assert_int_equal(sni_retire_folder(d->fd, "x", &err), 0);
    assert_int_equal(sni_has_domains(d->fd, "x", &err), 0);
}

/* Whatever a crash has left of a removal, the next one ends it; and the folder was never read in between. */
static void removes_what_is_left_of_a_folder(void **state)
{
    static const char *const files[] = {"domains", "acme.csr", "key.pem", "cert.pem"};
    struct directory *d = *state;
    struct error err = {0};
    char name[40];
    for (size_t gone = 0; gone <= COUNT(files); gone++) {
        make_folder(d, "x");
        for (size_t i = gone; i < COUNT(files); i++)
            put(d, "x", files[i], "a.org");
        if (gone)
            assert_lacks(scanned(d), "used");
        assert_int_equal(sni_remove_folder(d->fd, "x", &err), 0);
        assert_false(is_there(d, "x"));
    }
    /* domains is the first to go: what cannot be removed behind it leaves an inert folder */
    make_sni(d, "x", "a.org");
    assert_int_equal(unlinkat(d->fd, "x/key.pem", 0), 0);
    make_folder(d, "x/key.pem");
    snprintf(name, sizeof name, "x/key.pem/y");
    write_text(d, name, "");
    assert_true(sni_remove_folder(d->fd, "x", &err) < 0);
    assert_false(is_there(d, "x/domains"));
    assert_string_equal(scanned(d), "x inert: no service reads it: it lacks domains\n");
}

static void keeps_what_others_have_put_there(void **state)
{
    struct directory *d = *state;
    struct error err = {0};
    make_sni(d, "x", "a.org");
    put(d, "x", "notes.txt", "mine");
    assert_int_equal(sni_remove_folder(d->fd, "x", &err), SNI_KEPT);
    assert_string_equal(err.text, "the folder x stays: it holds notes.txt, which is not from here");
    assert_string_equal(read_text_of(d, "x/notes.txt"), "mine");
    assert_false(is_there(d, "x/cert.pem") || is_there(d, "x/key.pem") || is_there(d, "x/domains"));
    assert_int_equal(sni_remove_folder(d->fd, "x", &err), SNI_KEPT);
}

static void touches_nothing_but_folders_of_its_kind(void **state)
{
    static const char *const wrong[] = {"primary", ".", "..", ".x", "a/b", "../x", "", "a b"};
    struct directory *d = *state;
    struct error err = {0};
    for (size_t i = 0; i < COUNT(wrong); i++) {
        assert_int_equal(sni_write_domains(d->fd, wrong[i], names, 2, &err), E_FAILED);
        assert_has(err.text, "not the name of an SNI folder: ");
        assert_int_equal(sni_retire_folder(d->fd, wrong[i], &err), E_FAILED);
        assert_int_equal(sni_remove_folder(d->fd, wrong[i], &err), E_FAILED);
    }
    make_sni(d, "real", "a.org");
    link_in(d, "real", "link");
    assert_true(sni_write_domains(d->fd, "link", names, 2, &err) < 0);
    assert_true(sni_retire_folder(d->fd, "link", &err) < 0);
    assert_true(sni_remove_folder(d->fd, "link", &err) < 0);
    assert_string_equal(read_text_of(d, "real/domains"), "a.org");
}

static void removes_half_written_files(void **state)
{
    struct directory *d = *state;
    make_sni(d, "x", "a.org");
    put(d, "x", ".domains.tmp", "half");
    sni_remove_temporaries(d->fd);
    assert_false(is_there(d, "x/.domains.tmp"));
    assert_string_equal(read_text_of(d, "x/domains"), "a.org");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_mailcow_writes),
        cmocka_unit_test(knows_what_a_reader_misses),
        cmocka_unit_test(knows_the_forms_of_a_wildcard),
        cmocka_unit_test(refuses_what_is_no_name),
        cmocka_unit_test(bounds_names_and_their_number),
        cmocka_unit_test(gives_each_reader_its_words),
        cmocka_unit_test(writes_what_all_readers_need),
        WITH_DIRECTORY(sees_the_folders_in_the_shells_order),
        WITH_DIRECTORY(tells_folders_that_are_no_wants),
        WITH_DIRECTORY(follows_no_links),
        WITH_DIRECTORY(tells_links_that_may_be_served),
        WITH_DIRECTORY(refuses_domains_that_are_no_text),
        WITH_DIRECTORY(tells_what_cannot_be_read_from_what_is_not_there),
        WITH_DIRECTORY(writes_domains),
        WITH_DIRECTORY(writes_domains_only_where_they_differ),
        WITH_DIRECTORY(writes_no_domains_over_what_it_cannot_read),
        WITH_DIRECTORY(retires_a_folder_and_removes_it),
        WITH_DIRECTORY(removes_what_is_left_of_a_folder),
        WITH_DIRECTORY(keeps_what_others_have_put_there),
        WITH_DIRECTORY(touches_nothing_but_folders_of_its_kind),
        WITH_DIRECTORY(removes_half_written_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
