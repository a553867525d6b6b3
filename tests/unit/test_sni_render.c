/* deployer/sni_render: byte for byte what mailcow's start scripts write, and how it is put in place. */
#include "tests/unit/testing.h"

#include "tests/unit/failing.h"

#include "deployer/sni_render.h"

/* The loops of postfix.sh and of Dovecot's docker-entrypoint.sh, for folders below $1; their files go to $2.
 * sed: the SSL folder has another path in the containers. */
static const char scripts[] = "export LC_ALL=C; cd / || exit 1\n"
                              "map=$2/sni.map conf=$2/sni.conf; : > $map; : > $conf\n"
                              "for cert_dir in $1/*/ ; do\n"
                              "  if [[ ! -f ${cert_dir}domains ]] || [[ ! -f ${cert_dir}cert.pem ]] || [[ ! "
                              "-f ${cert_dir}key.pem ]]; then\n"
                              "    continue\n"
                              "  fi\n"
                              "  IFS=\" \" read -r -a domains <<< \"$(cat \"${cert_dir}domains\")\"\n"
                              "  for domain in \"${domains[@]}\"; do\n"
                              "    echo -n \"${domain} ${cert_dir}key.pem ${cert_dir}cert.pem\" >> $map\n"
                              "    echo \"\" >> $map\n"
                              "  done\n"
                              "  domains=($(cat \"${cert_dir}domains\"))\n"
                              "  for domain in \"${domains[@]}\"; do\n"
                              "    echo \"local_name ${domain} {\" >> $conf\n"
                              "    echo \"  ssl_cert = <${cert_dir}cert.pem\" >> $conf\n"
                              "    echo \"  ssl_key = <${cert_dir}key.pem\" >> $conf\n"
                              "    echo \"}\" >> $conf\n"
                              "  done\n"
                              "done\n"
                              "sed -i \"s,$1/,/etc/ssl/mail/,g\" $map $conf\n";

struct host {
    struct directory dir;
    struct mailcow m;
    int ssl_fd;
};

static int host_setup(void **state)
{
    struct directory *d;
    struct host *h = calloc(1, sizeof *h);
    if (!h || directory_setup((void **)&d))
        return -1;
    h->dir = *d;
    free(d);
    static const char *const folders[] = {
        "data",        "data/conf",       "data/conf/postfix", "data/conf/dovecot",
        "data/assets", "data/assets/ssl", "expected"};
    for (size_t i = 0; i < COUNT(folders); i++)
        if (mkdirat(h->dir.fd, folders[i], 0755) < 0)
            return -1;
    mailcow_locate(h->dir.path, &h->m);
    h->ssl_fd = openat(h->dir.fd, "data/assets/ssl", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *state = h;
    return h->ssl_fd < 0 ? -1 : 0;
}

static int host_teardown(void **state)
{
    struct host *h = *state;
    struct directory *d = malloc(sizeof *d);
    void *as_state = d;
    *d = h->dir;
    close(h->ssl_fd);
    free(h);
    return directory_teardown(&as_state);
}

#define WITH_HOST(test) cmocka_unit_test_setup_teardown(test, host_setup, host_teardown)
#define MAP             "data/conf/postfix/sni.map"
#define MAP_DB          MAP ".db"
#define CONF            "data/conf/dovecot/sni.conf"

static void make_sni(const struct host *h, const char *folder, const char *domains)
{
    static const char *const files[] = {"cert.pem", "key.pem", "domains"};
    char name[400];
    snprintf(name, sizeof name, "data/assets/ssl/%s", folder);
    make_folder(&h->dir, name);
    for (size_t i = 0; i < COUNT(files); i++) {
        snprintf(name, sizeof name, "data/assets/ssl/%s/%s", folder, files[i]);
        write_text(&h->dir, name, i == 2 ? domains : "pem");
    }
}

static struct sni_changes render(const struct host *h, bool no_postfix)
{
    struct sni_changes changes = {.postfix = true, .dovecot = true};
    struct error err = {0};
    if (sni_render(&h->m, h->ssl_fd, no_postfix, &changes, &err) != 0)
        fail_msg("%s", err.text);
    return changes;
}

static unsigned mode_of(const struct host *h, const char *name)
{
    struct stat st;
    assert_int_equal(fstatat(h->dir.fd, name, &st, AT_SYMLINK_NOFOLLOW), 0);
    return st.st_mode & 07777;
}

static void run_scripts(const struct host *h)
{
    char command[5000];
    write_text(&h->dir, "scripts", scripts);
    snprintf(command, sizeof command, "bash %s/scripts %s %s/expected", h->dir.path, h->m.ssl_path,
             h->dir.path);
    assert_int_equal(system(command), 0);
}

static void same_as_scripts(const struct host *h)
{
    char expected[4096];
    run_scripts(h);
    strcpy(expected, read_text_of(&h->dir, "expected/sni.map"));
    assert_string_equal(read_text_of(&h->dir, MAP), expected);
    strcpy(expected, read_text_of(&h->dir, "expected/sni.conf"));
    assert_string_equal(read_text_of(&h->dir, CONF), expected);
}

static void writes_what_the_start_scripts_write(void **state)
{
    const struct host *h = *state;
    make_sni(h, "mail.example.net", "mail.example.net imap.example.net");
    make_sni(h, "mail.example.net.old", "a.org\nb.org  c.org");
    make_sni(h, "mail.example", "  d.org ");
    make_sni(h, "*.example.com", "example.com *.example.com .example.com");
    make_sni(h, "upper", "Mail.Example.Net");
    make_sni(h, "acme", "");
    make_folder(&h->dir, "data/assets/ssl/backups");
    struct sni_changes changes = render(h, false);
    assert_true(changes.postfix && changes.dovecot);
    same_as_scripts(h);
    assert_has(
        read_text_of(&h->dir, MAP),
        "mail.example.net /etc/ssl/mail/mail.example.net/key.pem /etc/ssl/mail/mail.example.net/cert.pem\n");
    assert_has(read_text_of(&h->dir, CONF),
               "local_name .example.com {\n  ssl_cert = </etc/ssl/mail/*.example.com/cert.pem\n");
}

static void writes_nothing_that_is_there(void **state)
{
    const struct host *h = *state;
    struct stat before, after;
    struct sni_changes changes = render(h, false);
    assert_false(changes.postfix || changes.dovecot);
    assert_false(is_there(&h->dir, MAP) || is_there(&h->dir, CONF)); /* nothing to say is said by no file */
    make_sni(h, "a.org", "a.org");
    run_scripts(h);
    char text[4096];
    strcpy(text, read_text_of(&h->dir, "expected/sni.map"));
    write_text(&h->dir, MAP, text);
    assert_int_equal(fstatat(h->dir.fd, MAP, &before, 0), 0);
    changes = render(h, false);
    assert_true(!changes.postfix && changes.dovecot);
    changes = render(h, false);
    assert_false(changes.postfix || changes.dovecot);
    assert_int_equal(fstatat(h->dir.fd, MAP, &after, 0), 0);
    assert_int_equal(before.st_ino, after.st_ino);
}

static void leaves_out_what_was_retired(void **state)
{
    const struct host *h = *state;
    make_sni(h, "a.org", "a.org");
    make_sni(h, "b.org", "b.org");
    render(h, false);
    assert_int_equal(unlinkat(h->dir.fd, "data/assets/ssl/a.org/domains", 0), 0);
    struct sni_changes changes = render(h, false);
    assert_true(changes.postfix && changes.dovecot);
    assert_lacks(read_text_of(&h->dir, MAP), "a.org");
    assert_lacks(read_text_of(&h->dir, CONF), "a.org");
    same_as_scripts(h);
}

/* It is still there, and served: a map without it would take its certificate off the wire. */
static void leaves_out_nothing_that_it_cannot_read(void **state)
{
    const struct host *h = *state;
    char map[400];
    make_sni(h, "x", "a.org");
    render(h, false);
    strcpy(map, read_text_of(&h->dir, MAP));
    for (size_t i = 0; i < COUNT(sni_failures); i++) {
        struct sni_changes changes = {.postfix = true, .dovecot = true};
        struct error err = {0};
        failing = sni_failures[i];
        int rc = sni_render(&h->m, h->ssl_fd, false, &changes, &err);
        failing = (struct failing){0};
        assert_true(rc < 0);
        assert_false(changes.postfix || changes.dovecot);
        assert_string_equal(read_text_of(&h->dir, MAP), map);
    }
}

static void take_what_the_scripts_wrote(const struct host *h)
{
    static char text[20000];
    run_scripts(h);
    strcpy(text, read_text_of(&h->dir, "expected/sni.map"));
    write_text(&h->dir, MAP, text);
    strcpy(text, read_text_of(&h->dir, "expected/sni.conf"));
    write_text(&h->dir, CONF, text);
}

static void link_in(const struct host *h, const char *target, const char *name)
{
    char path[100];
    snprintf(path, sizeof path, "data/assets/ssl/%s", name);
    unlinkat(h->dir.fd, path, 0);
    assert_int_equal(symlinkat(target, h->dir.fd, path), 0);
}

/* The start scripts follow links and mind no folder's name: what they serve is not taken off the wire. */
static void keeps_what_it_does_not_read(void **state)
{
    const struct host *h = *state;
    make_sni(h, "a", "a.org");
    make_sni(h, "m.real", "real.org\nsecond.org");
    make_sni(h, "linked-file", "file.org more.org");
    make_sni(h, "linked-domains", "gone");
    make_sni(h, "primary", "p.org");
    make_sni(h, "with space", "space.org");
    link_in(h, "m.real", "link");
    link_in(h, "../m.real/cert.pem", "linked-file/cert.pem");
    link_in(h, "../m.real/domains", "linked-domains/domains");
    take_what_the_scripts_wrote(h);
    struct sni_changes changes = render(h, false);
    assert_false(changes.postfix || changes.dovecot);
    assert_true(changes.unread);
    same_as_scripts(h);
    make_sni(h, "z", "z.org");
    assert_int_equal(unlinkat(h->dir.fd, "data/assets/ssl/a/domains", 0), 0);
    changes = render(h, false);
    assert_true(changes.postfix && changes.dovecot);
    same_as_scripts(h);
    assert_has(read_text_of(&h->dir, MAP), "file.org /etc/ssl/mail/linked-file/key.pem ");
    assert_has(read_text_of(&h->dir, MAP), "space.org /etc/ssl/mail/with space/key.pem ");
    assert_has(read_text_of(&h->dir, CONF),
               "local_name second.org {\n  ssl_cert = </etc/ssl/mail/link/cert.pem");
}

/* A service could not read them, and would refuse all the rest. */
static void keeps_nothing_that_is_gone(void **state)
{
    const struct host *h = *state;
    make_sni(h, "real", "real.org");
    make_sni(h, "linked-file", "file.org");
    link_in(h, "real", "link");
    link_in(h, "../real/cert.pem", "linked-file/cert.pem");
    take_what_the_scripts_wrote(h);
    assert_int_equal(unlinkat(h->dir.fd, "data/assets/ssl/real/cert.pem", 0), 0);
    struct sni_changes changes = render(h, false);
    assert_true(changes.postfix && changes.dovecot && !changes.unread);
    assert_string_equal(read_text_of(&h->dir, MAP), "");
    same_as_scripts(h);
}

/* Whoever wrote it into the files: only whole entries with names are kept. */
static void keeps_nothing_but_entries(void **state)
{
    const struct host *h = *state;
    make_sni(h, "real", "real.org");
    link_in(h, "real", "x");
    write_text(&h->dir, MAP,
               "\nok.org /etc/ssl/mail/x/key.pem /etc/ssl/mail/x/cert.pem\n"
               "$(id) /etc/ssl/mail/x/key.pem /etc/ssl/mail/x/cert.pem\n"
               "b.org /etc/ssl/mail/x/key.pem /etc/shadow\n"
               "c.org /etc/ssl/mail/x/key.pem /etc/ssl/mail/x/cert.pem");
    write_text(&h->dir, CONF,
               "local_name ok.org {\n  ssl_cert = </etc/ssl/mail/x/cert.pem\n"
               "  ssl_key = </etc/ssl/mail/x/key.pem\n}\n"
               "local_name b.org {\n  ssl_cert = </etc/ssl/mail/x/cert.pem\n  auth = no\n}\n"
               "!include /etc/ssl/mail/x/cert.pem\n");
    render(h, false);
    assert_string_equal(read_text_of(&h->dir, MAP),
                        "real.org /etc/ssl/mail/real/key.pem /etc/ssl/mail/real/cert.pem\n"
                        "ok.org /etc/ssl/mail/x/key.pem /etc/ssl/mail/x/cert.pem\n");
    assert_string_equal(read_text_of(&h->dir, CONF),
                        "local_name real.org {\n  ssl_cert = </etc/ssl/mail/real/cert.pem\n"
                        "  ssl_key = </etc/ssl/mail/real/key.pem\n}\n"
                        "local_name ok.org {\n  ssl_cert = </etc/ssl/mail/x/cert.pem\n"
                        "  ssl_key = </etc/ssl/mail/x/key.pem\n}\n");
}

/* A start script would paste these into a configuration; they could match nothing. */
static void pastes_nothing_that_is_no_name(void **state)
{
    const struct host *h = *state;
    make_sni(h, "evil", "a.org { x} /etc/shadow $(id) good.org <x * ?.b");
    render(h, false);
    assert_string_equal(read_text_of(&h->dir, MAP),
                        "a.org /etc/ssl/mail/evil/key.pem /etc/ssl/mail/evil/cert.pem\n"
                        "good.org /etc/ssl/mail/evil/key.pem /etc/ssl/mail/evil/cert.pem\n");
    assert_lacks(read_text_of(&h->dir, CONF), "shadow");
    assert_has(read_text_of(&h->dir, CONF), "local_name good.org {\n");
}

static void keeps_the_keys_from_others(void **state)
{
    const struct host *h = *state;
    write_text(&h->dir, MAP, "");
    write_text(&h->dir, MAP_DB, "db");
    set_mode(&h->dir, MAP, 0644);
    set_mode(&h->dir, MAP_DB, 0644);
    render(h, false);
    assert_int_equal(mode_of(h, MAP_DB), 0644); /* without names there are no keys in it */
    make_sni(h, "a.org", "a.org");
    render(h, false);
    assert_int_equal(mode_of(h, MAP), 0600);
    assert_int_equal(mode_of(h, MAP_DB), 0600);
    set_mode(&h->dir, MAP, 0644);
    set_mode(&h->dir, MAP_DB, 0640);
    assert_false(render(h, false).postfix);
    assert_int_equal(mode_of(h, MAP), 0600);
    assert_int_equal(mode_of(h, MAP_DB), 0600);
}

static void keeps_the_mode_of_dovecots_file(void **state)
{
    const struct host *h = *state;
    make_sni(h, "a.org", "a.org");
    render(h, false);
    assert_int_equal(mode_of(h, CONF), 0644);
    write_text(&h->dir, CONF, "old");
    set_mode(&h->dir, CONF, 0640);
    assert_true(render(h, false).dovecot);
    assert_int_equal(mode_of(h, CONF), 0640);
}

static void owner_is(const struct host *h, const char *name, uid_t uid)
{
    struct stat st;
    assert_int_equal(fstatat(h->dir.fd, name, &st, 0), 0);
    assert_int_equal(st.st_uid, uid);
}

/* postmap becomes the owner of sni.map: it must be who writes sni.map.db. */
static void gives_the_map_to_whom_postmap_is(void **state)
{
    const struct host *h = *state;
    if (geteuid() != 0)
        skip();
    make_sni(h, "a.org", "a.org");
    write_text(&h->dir, MAP, "old");
    assert_int_equal(fchownat(h->dir.fd, MAP, 1000, 1000, 0), 0);
    render(h, false);
    owner_is(h, MAP, 0);
    assert_int_equal(fchownat(h->dir.fd, MAP, 1000, 1000, 0), 0); /* what it says is right */
    assert_true(render(h, false).postfix);
    owner_is(h, MAP, 0);
    write_text(&h->dir, MAP_DB, "db");
    assert_int_equal(fchownat(h->dir.fd, MAP_DB, 1000, 1000, 0), 0); /* an administrator's chown -R */
    assert_false(render(h, false).postfix);
    assert_int_equal(fchownat(h->dir.fd, MAP_DB, 100000, 100000, 0), 0); /* userns-remap */
    assert_true(render(h, false).postfix);
    owner_is(h, MAP, 100000);
}

static void empties_the_map_where_postfix_does(void **state)
{
    const struct host *h = *state;
    make_sni(h, "a.org", "a.org");
    render(h, false);
    struct sni_changes changes = render(h, true);
    assert_true(changes.postfix && !changes.dovecot);
    assert_string_equal(read_text_of(&h->dir, MAP), "");
    assert_has(read_text_of(&h->dir, CONF), "local_name a.org");
}

/* The containers can write in these folders. */
static void follows_no_links(void **state)
{
    const struct host *h = *state;
    struct sni_changes changes;
    struct error err = {0};
    make_sni(h, "a.org", "a.org");
    write_text(&h->dir, "victim", "v");
    set_mode(&h->dir, "victim", 0644);
    assert_int_equal(symlinkat("../../../victim", h->dir.fd, MAP), 0);
    assert_int_equal(symlinkat("../../../victim", h->dir.fd, CONF), 0);
    assert_int_equal(symlinkat("../../../victim", h->dir.fd, "data/conf/postfix/.sni.map.tmp"), 0);
    render(h, false);
    assert_string_equal(read_text_of(&h->dir, "victim"), "v");
    assert_has(read_text_of(&h->dir, MAP), "a.org");
    assert_int_equal(symlinkat("../../../victim", h->dir.fd, MAP_DB), 0);
    assert_true(sni_render(&h->m, h->ssl_fd, false, &changes, &err) < 0);
    assert_int_equal(mode_of(h, "victim"), 0644);
    assert_has(err.text, "/data/conf/postfix: sni.map.db: open: ");
}

static void says_what_it_could_not_write(void **state)
{
    const struct host *h = *state;
    struct sni_changes changes;
    struct error err = {0};
    make_sni(h, "a.org", "a.org");
    make_folder(&h->dir, CONF);
    assert_true(sni_render(&h->m, h->ssl_fd, false, &changes, &err) < 0);
    assert_true(changes.postfix && !changes.dovecot);
    assert_has(err.text, "/data/conf/dovecot: sni.conf: rename: ");
    assert_false(is_there(&h->dir, "data/conf/dovecot/.sni.conf.tmp"));
    assert_int_equal(unlinkat(h->dir.fd, CONF, AT_REMOVEDIR), 0);
    assert_int_equal(unlinkat(h->dir.fd, "data/conf/dovecot", AT_REMOVEDIR), 0);
    assert_int_equal(sni_render(&h->m, h->ssl_fd, false, &changes, &err), E_CONFIG);
}

static void removes_half_written_files(void **state)
{
    const struct host *h = *state;
    write_text(&h->dir, "data/conf/postfix/.sni.map.tmp", "half");
    write_text(&h->dir, "data/conf/dovecot/.sni.conf.tmp", "half");
    sni_render_remove_temporaries(&h->m);
    assert_false(is_there(&h->dir, "data/conf/postfix/.sni.map.tmp"));
    assert_false(is_there(&h->dir, "data/conf/dovecot/.sni.conf.tmp"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_HOST(writes_what_the_start_scripts_write),
        WITH_HOST(writes_nothing_that_is_there),
        WITH_HOST(leaves_out_what_was_retired),
        WITH_HOST(leaves_out_nothing_that_it_cannot_read),
        WITH_HOST(keeps_what_it_does_not_read),
        WITH_HOST(keeps_the_keys_from_others),
        WITH_HOST(keeps_nothing_that_is_gone),
        WITH_HOST(keeps_nothing_but_entries),
        WITH_HOST(pastes_nothing_that_is_no_name),
        WITH_HOST(keeps_the_mode_of_dovecots_file),
        WITH_HOST(gives_the_map_to_whom_postmap_is),
        WITH_HOST(empties_the_map_where_postfix_does),
        WITH_HOST(follows_no_links),
        WITH_HOST(says_what_it_could_not_write),
        WITH_HOST(removes_half_written_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
