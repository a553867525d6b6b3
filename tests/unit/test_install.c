/* deployer/install: the pair that is replaced, what is refused, and what each crash leaves to recover. */
#include <stdbool.h>

#include "tests/unit/testing.h"

#include "common/file.h"
#include "deployer/install.h"

#include <dirent.h>
#include <errno.h>

#define FINGERPRINT "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define SNI         "mail.example.net"
#define START       1795244520

/* A state folder with one generation of each want, and an SSL folder with an old pair in both places. */
struct host {
    struct directory *d;
    struct store *s;
    int ssl_fd;
    char id[STORE_GENERATION_SIZE];
    struct file_owner owner; /* configured */
};

static void stage(struct host *h, const char *want)
{
    struct judge_verdict v = {.not_before = START, .not_after = START + 1, .fingerprint = FINGERPRINT};
    struct error err;
    secret_init(&v.chain, SECRET_MAX);
    secret_init(&v.key, SECRET_MAX);
    assert_int_equal(secret_append(&v.chain, "new chain", 9), 0);
    assert_int_equal(secret_append(&v.key, "new key", 7), 0);
    assert_int_equal(store_stage(h->s, want, &v, START, h->id, &err), 0);
    judge_verdict_wipe(&v);
}

static int host_setup(void **state)
{
    struct host *h = calloc(1, sizeof *h);
    struct error err;
    void *d = NULL;
    if (!h || directory_setup(&d) != 0)
        return -1;
    h->d = d;
    h->owner = (struct file_owner){.uid = (uid_t)-1, .gid = (gid_t)-1};
    *state = h;
    if (store_open(&h->s, path_in(h->d, "state"), &err) < 0)
        return -1;
    make_folder(h->d, "ssl");
    make_folder(h->d, "ssl/" SNI);
    write_text(h->d, "ssl/cert.pem", "old chain");
    write_text(h->d, "ssl/key.pem", "old key");
    write_text(h->d, "ssl/" SNI "/cert.pem", "old chain");
    write_text(h->d, "ssl/" SNI "/key.pem", "old key");
    h->ssl_fd = openat(h->d->fd, "ssl", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    stage(h, WANT_PRIMARY);
    stage(h, SNI);
    return h->ssl_fd < 0 ? -1 : 0;
}

static int host_teardown(void **state)
{
    struct host *h = *state;
    void *d = h->d;
    store_close(h->s);
    close(h->ssl_fd);
    free(h);
    return directory_teardown(&d);
}

#define WITH_HOST(test) cmocka_unit_test_setup_teardown(test, host_setup, host_teardown)

static struct install_place place_of(const struct host *h)
{
    return (struct install_place){.store = h->s, .ssl_fd = h->ssl_fd, .owner = h->owner};
}

static int install(struct host *h, const char *want, struct error *err)
{
    const struct install_place place = place_of(h);
    AUTO_GENERATION struct generation g = {0};
    assert_int_equal(store_load(h->s, want, h->id, &g, err), 0);
    return install_generation(&place, want, &g, err);
}

static void installs(struct host *h, const char *want)
{
    struct error err = {.text = ""};
    int rc = install(h, want, &err);
    assert_string_equal(err.text, "");
    assert_int_equal(rc, 0);
}

/* A folder holds exactly this pair and `others` further entries. */
static void holds(const struct host *h, const char *folder, const char *chain, const char *key, int others)
{
    char path[300];
    AUTO_DIR DIR *dir = opendir(path_in(h->d, folder));
    int entries = 0;
    assert_non_null(dir);
    while (readdir(dir))
        entries++;
    snprintf(path, sizeof path, "%s/cert.pem", folder);
    assert_string_equal(read_text_of(h->d, path), chain);
    snprintf(path, sizeof path, "%s/key.pem", folder);
    assert_string_equal(read_text_of(h->d, path), key);
    assert_int_equal(entries, 2 + 2 + others);
}

static struct stat stat_of(const struct host *h, const char *name)
{
    struct stat st;
    assert_int_equal(fstatat(h->d->fd, name, &st, AT_SYMLINK_NOFOLLOW), 0);
    return st;
}

static void intends(const struct host *h, bool expected)
{
    assert_int_equal(is_there(h->d, "state/intent.json"), expected);
}

/* ---- installing ---- */

static void test_install(void **state)
{
    struct host *h = *state;
    mode_t mask = umask(0);
    struct stat before = stat_of(h, "ssl");
    installs(h, WANT_PRIMARY);
    umask(mask);
    holds(h, "ssl", "new chain", "new key", 1);
    holds(h, "ssl/" SNI, "old chain", "old key", 0);
    assert_int_equal(stat_of(h, "ssl/cert.pem").st_mode, S_IFREG | 0644);
    assert_int_equal(stat_of(h, "ssl/key.pem").st_mode, S_IFREG | 0600);
    assert_int_equal(stat_of(h, "ssl").st_ino, before.st_ino);
    assert_int_equal(stat_of(h, "ssl").st_mode, before.st_mode);
    intends(h, false);
}

static void test_install_sni(void **state)
{
    struct host *h = *state;
    struct stat before = stat_of(h, "ssl/" SNI);
    write_text(h->d, "ssl/" SNI "/domains", SNI);
    installs(h, SNI);
    holds(h, "ssl/" SNI, "new chain", "new key", 1);
    holds(h, "ssl", "old chain", "old key", 1);
    assert_int_equal(stat_of(h, "ssl/" SNI).st_ino, before.st_ino);
    intends(h, false);
}

/* What the containers have open or mounted sees either content, whole: files are never written in place. */
static void test_files_are_replaced(void **state)
{
    struct host *h = *state;
    char old[20] = "";
    AUTO_CLOSE int key = openat(h->ssl_fd, "key.pem", O_RDONLY | O_CLOEXEC);
    ino_t inode = stat_of(h, "ssl/key.pem").st_ino;
    installs(h, WANT_PRIMARY);
    assert_int_equal(pread(key, old, sizeof old - 1, 0), 7);
    assert_string_equal(old, "old key");
    assert_int_not_equal(stat_of(h, "ssl/key.pem").st_ino, inode);
}

static void test_owner_is_kept(void **state)
{
    struct host *h = *state;
    if (geteuid() != 0)
        skip();
    assert_int_equal(chown(path_in(h->d, "ssl/cert.pem"), 1001, 1002), 0);
    assert_int_equal(chown(path_in(h->d, "ssl/key.pem"), 1003, 1004), 0);
    assert_int_equal(chown(path_in(h->d, "ssl"), 1005, 1006), 0);
    installs(h, WANT_PRIMARY);
    assert_int_equal(stat_of(h, "ssl/cert.pem").st_uid, 1001);
    assert_int_equal(stat_of(h, "ssl/cert.pem").st_gid, 1002);
    assert_int_equal(stat_of(h, "ssl/key.pem").st_uid, 1003);
    assert_int_equal(stat_of(h, "ssl/key.pem").st_gid, 1004);
    assert_int_equal(stat_of(h, "ssl/key.pem").st_mode, S_IFREG | 0600);
}

static void test_owner_that_is_configured(void **state)
{
    struct host *h = *state;
    if (geteuid() != 0)
        skip();
    assert_int_equal(chown(path_in(h->d, "ssl/cert.pem"), 1001, 1002), 0);
    h->owner.uid = 1007;
    installs(h, WANT_PRIMARY);
    assert_int_equal(stat_of(h, "ssl/cert.pem").st_uid, 1007);
    assert_int_equal(stat_of(h, "ssl/cert.pem").st_gid, 1002);
}

static void test_owner_of_the_folder(void **state)
{
    struct host *h = *state;
    if (geteuid() != 0)
        skip();
    assert_int_equal(unlinkat(h->ssl_fd, "cert.pem", 0), 0);
    assert_int_equal(unlinkat(h->ssl_fd, "key.pem", 0), 0);
    assert_int_equal(chown(path_in(h->d, "ssl"), 1005, 1006), 0);
    installs(h, WANT_PRIMARY);
    holds(h, "ssl", "new chain", "new key", 1);
    assert_int_equal(stat_of(h, "ssl/cert.pem").st_uid, 1005);
    assert_int_equal(stat_of(h, "ssl/key.pem").st_gid, 1006);
}

/* ---- what is refused ---- */

static void refuses(struct host *h, const char *name, const char *chain, const char *key)
{
    struct error err = {.text = ""};
    assert_int_equal(install(h, WANT_PRIMARY, &err), E_FAILED);
    assert_has(err.text, name);
    assert_has(err.text, "not a regular file");
    assert_false(is_there(h->d, "ssl/.cert.pem.certsync"));
    assert_false(is_there(h->d, "ssl/.key.pem.certsync"));
    intends(h, false);
    if (chain)
        assert_string_equal(read_text_of(h->d, "ssl/cert.pem"), chain);
    if (key)
        assert_string_equal(read_text_of(h->d, "ssl/key.pem"), key);
}

static void test_links_are_refused(void **state)
{
    struct host *h = *state;
    const char *target = write_text(h->d, "target", "target");
    assert_int_equal(unlinkat(h->ssl_fd, "key.pem", 0), 0);
    assert_int_equal(symlinkat(target, h->ssl_fd, "key.pem"), 0);
    refuses(h, "key.pem", "old chain", "target");
    assert_int_equal(unlinkat(h->ssl_fd, "key.pem", 0), 0);
    assert_int_equal(symlinkat("/nonexistent", h->ssl_fd, "key.pem"), 0);
    refuses(h, "key.pem", "old chain", NULL);
    assert_int_equal(unlinkat(h->ssl_fd, "key.pem", 0), 0);
    write_text(h->d, "ssl/key.pem", "old key");
    assert_int_equal(unlinkat(h->ssl_fd, "cert.pem", 0), 0);
    assert_int_equal(symlinkat(target, h->ssl_fd, "cert.pem"), 0);
    refuses(h, "cert.pem", "target", "old key");
    assert_string_equal(read_text_of(h->d, "target"), "target");
}

static void test_folders_are_refused(void **state)
{
    struct host *h = *state;
    assert_int_equal(unlinkat(h->ssl_fd, "key.pem", 0), 0);
    make_folder(h->d, "ssl/key.pem");
    refuses(h, "key.pem", "old chain", NULL);
}

/* Somebody in a container with the folder mounted may have put a link where the temporary file goes. */
static void test_planted_temporary(void **state)
{
    struct host *h = *state;
    const char *target = write_text(h->d, "target", "target");
    assert_int_equal(symlinkat(target, h->ssl_fd, ".key.pem.certsync"), 0);
    write_text(h->d, "ssl/.cert.pem.certsync", "half a ch");
    installs(h, WANT_PRIMARY);
    holds(h, "ssl", "new chain", "new key", 1);
    assert_string_equal(read_text_of(h->d, "target"), "target");
}

static void test_open_folder(void **state)
{
    struct host *h = *state;
    struct error err = {.text = ""};
    AUTO_CLOSE int primary = install_open_folder(h->ssl_fd, WANT_PRIMARY, &err);
    struct stat st;
    assert_int_equal(fstat(primary, &st), 0);
    assert_int_equal(st.st_ino, stat_of(h, "ssl").st_ino);
    assert_int_equal(install_open_folder(h->ssl_fd, "missing.example.org", &err), -1);
    assert_has(err.text, "missing.example.org");
    assert_int_equal(symlinkat(".", h->ssl_fd, "link.example.org"), 0);
    assert_int_equal(install_open_folder(h->ssl_fd, "link.example.org", &err), -1);
    assert_int_equal(install_open_folder(h->ssl_fd, "cert.pem", &err), -1);
}

/* No intent can be recorded: the old pair stays. */
static void test_no_intent(void **state)
{
    struct host *h = *state;
    struct error err = {.text = ""};
    make_folder(h->d, "state/intent.json");
    assert_true(install(h, WANT_PRIMARY, &err) < 0);
    assert_has(err.text, "intent.json");
    holds(h, "ssl", "old chain", "old key", 1);
}

/* ---- recovery ---- */

static void temporaries(const struct host *h, const char *folder, const char *chain, const char *key)
{
    char path[300];
    snprintf(path, sizeof path, "%s/.cert.pem.certsync", folder);
    if (chain)
        write_text(h->d, path, chain);
    snprintf(path, sizeof path, "%s/.key.pem.certsync", folder);
    if (key)
        write_text(h->d, path, key);
}

static void recover(struct host *h, int expected, const char *expected_want)
{
    const struct install_place place = place_of(h);
    char want[WANT_ID_SIZE] = "";
    struct error err = {.text = ""};
    int rc = install_recover(&place, want, &err);
    if (rc != expected)
        fail_msg("%d: %s", rc, err.text);
    if (expected_want)
        assert_string_equal(want, expected_want);
    intends(h, false);
    assert_int_equal(install_recover(&place, want, &err), 0); /* and then there is nothing more */
}

static void write_intent(struct host *h, const char *want)
{
    struct error err;
    struct intent intent = {.makes_folder = false};
    snprintf(intent.want, sizeof intent.want, "%s", want);
    memcpy(intent.generation, h->id, sizeof intent.generation);
    assert_int_equal(store_write_intent(h->s, &intent, &err), 0);
}

#define NEW "new.example.org"

/* As mailcow's own: the unit's umask is 077, and root in a container may be another user. */
static void test_install_into_a_new_folder(void **state)
{
    struct host *h = *state;
    if (geteuid() == 0) {
        assert_int_equal(fchown(h->ssl_fd, 1007, -1), 0);
        h->owner.gid = 1008;
    }
    stage(h, NEW);
    mode_t before = umask(0077);
    installs(h, NEW);
    umask(before);
    holds(h, "ssl/" NEW, "new chain", "new key", 0);
    struct stat folder = stat_of(h, "ssl/" NEW);
    assert_int_equal(folder.st_mode & 0777, 0755);
    if (geteuid() == 0) {
        assert_int_equal(folder.st_uid, 1007);
        assert_int_equal(folder.st_gid, 1008);
    }
    intends(h, false);
}

/* A crash between the intent and the folder, and one between the folder and its files. */
static void test_recover_a_new_folder(void **state)
{
    struct host *h = *state;
    for (int with_folder = 0; with_folder < 2; with_folder++) {
        struct intent intent = {.want = NEW, .makes_folder = true};
        struct error err = {.text = ""};
        stage(h, NEW);
        memcpy(intent.generation, h->id, sizeof intent.generation);
        assert_int_equal(file_remove_tree(h->ssl_fd, NEW, &err), 0);
        if (with_folder)
            assert_int_equal(mkdirat(h->ssl_fd, NEW, 0700), 0);
        assert_int_equal(store_write_intent(h->s, &intent, &err), 0);
        recover(h, INSTALL_RECOVERED, NEW);
        assert_int_equal(stat_of(h, "ssl/" NEW).st_mode & 0777, 0755);
        holds(h, "ssl/" NEW, "new chain", "new key", 0);
    }
}

static void test_recover_with_a_configured_owner(void **state)
{
    struct host *h = *state;
    if (geteuid() != 0)
        skip();
    h->owner.gid = 1008;
    write_intent(h, WANT_PRIMARY);
    recover(h, INSTALL_RECOVERED, WANT_PRIMARY);
    assert_int_equal(stat_of(h, "ssl/key.pem").st_uid, 0);
    assert_int_equal(stat_of(h, "ssl/key.pem").st_gid, 1008);
}

static void test_recover_nothing(void **state)
{
    struct host *h = *state;
    recover(h, 0, NULL);
    holds(h, "ssl", "old chain", "old key", 1);
}

/* A crash before the intent: the old pair stays. */
static void test_recover_before_the_intent(void **state)
{
    struct host *h = *state;
    temporaries(h, "ssl", NULL, "new k");
    recover(h, 0, NULL);
    holds(h, "ssl", "old chain", "old key", 1);
    temporaries(h, "ssl", "new chain", "new key");
    recover(h, 0, NULL);
    holds(h, "ssl", "old chain", "old key", 1);
}

static void test_recover_sni_before_the_intent(void **state)
{
    struct host *h = *state;
    temporaries(h, "ssl/" SNI, "new chain", "new key");
    make_folder(h->d, "elsewhere");
    temporaries(h, "elsewhere", "not", "ours");
    assert_int_equal(symlinkat("../elsewhere", h->ssl_fd, "link"), 0);
    recover(h, 0, NULL);
    holds(h, "ssl/" SNI, "old chain", "old key", 0);
    holds(h, "ssl", "old chain", "old key", 2);
    assert_true(is_there(h->d, "elsewhere/.key.pem.certsync")); /* links are not followed */
}

/* A crash after the intent: forward, whatever was done of the rest. */
static void test_recover_after_the_intent(void **state)
{
    static const struct {
        const char *chain_temporary, *key_temporary, *key, *chain;
    } points[] = {
        {"new chain", "new key", "old key", "old chain"}, /* nothing renamed */
        {"new chain", NULL, "new key", "old chain"},      /* the key renamed */
        {NULL, NULL, "new key", "new chain"},             /* both renamed, the intent left */
        {"new ch", "", "old key", "old chain"},           /* temporaries that never got to the disk */
        {NULL, NULL, "old key", "old chain"},             /* renames that never got to the disk */
    };
    static const char *const wants[] = {WANT_PRIMARY, SNI}, *const folders[] = {"ssl", "ssl/" SNI};
    struct host *h = *state;
    for (size_t w = 0; w < COUNT(wants); w++)
        for (size_t i = 0; i < COUNT(points); i++) {
            char path[300];
            snprintf(path, sizeof path, "%s/cert.pem", folders[w]);
            write_text(h->d, path, points[i].chain);
            snprintf(path, sizeof path, "%s/key.pem", folders[w]);
            write_text(h->d, path, points[i].key);
            temporaries(h, folders[w], points[i].chain_temporary, points[i].key_temporary);
            write_intent(h, wants[w]);
            recover(h, INSTALL_RECOVERED, wants[w]);
            holds(h, folders[w], "new chain", "new key", w == 0);
        }
}

/* The operator removed the folder since: there is no pair any more that could be half of anything. */
static void test_recover_without_folder(void **state)
{
    struct host *h = *state;
    write_intent(h, SNI);
    assert_int_equal(unlinkat(h->ssl_fd, SNI "/cert.pem", 0), 0);
    assert_int_equal(unlinkat(h->ssl_fd, SNI "/key.pem", 0), 0);
    assert_int_equal(unlinkat(h->ssl_fd, SNI, AT_REMOVEDIR), 0);
    recover(h, 0, NULL);
    holds(h, "ssl", "old chain", "old key", 0);
}

static void cannot_recover(struct host *h, const char *why)
{
    const struct install_place place = place_of(h);
    char want[WANT_ID_SIZE];
    struct error err = {.text = ""};
    assert_true(install_recover(&place, want, &err) < 0);
    assert_has(err.text, why);
    intends(h, true);
}

/* What cannot be finished is said, and the intent stays for the next start. */
static void test_recover_fails(void **state)
{
    struct host *h = *state;
    write_intent(h, WANT_PRIMARY);
    assert_int_equal(unlinkat(h->ssl_fd, "key.pem", 0), 0);
    make_folder(h->d, "ssl/key.pem");
    cannot_recover(h, "recover the installation of primary: key.pem: it is not a regular file");
    assert_int_equal(unlinkat(h->ssl_fd, "key.pem", AT_REMOVEDIR), 0);
    recover(h, INSTALL_RECOVERED, WANT_PRIMARY);
    holds(h, "ssl", "new chain", "new key", 1);

    write_text(h->d, "state/intent.json", "{");
    cannot_recover(h, "intent.json:1: ");
    holds(h, "ssl", "new chain", "new key", 1);
}

/* It would be in the way of every deployment to come. */
static void test_recover_lost(void **state)
{
    struct host *h = *state;
    strcpy(h->id, "20200101T000000Z-0123456789ab");
    write_intent(h, WANT_PRIMARY);
    recover(h, INSTALL_LOST, WANT_PRIMARY);
    holds(h, "ssl", "old chain", "old key", 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_HOST(test_install),
        WITH_HOST(test_install_sni),
        WITH_HOST(test_files_are_replaced),
        WITH_HOST(test_owner_is_kept),
        WITH_HOST(test_owner_that_is_configured),
        WITH_HOST(test_owner_of_the_folder),
        WITH_HOST(test_links_are_refused),
        WITH_HOST(test_folders_are_refused),
        WITH_HOST(test_planted_temporary),
        WITH_HOST(test_open_folder),
        WITH_HOST(test_no_intent),
        WITH_HOST(test_install_into_a_new_folder),
        WITH_HOST(test_recover_a_new_folder),
        WITH_HOST(test_recover_nothing),
        WITH_HOST(test_recover_with_a_configured_owner),
        WITH_HOST(test_recover_before_the_intent),
        WITH_HOST(test_recover_sni_before_the_intent),
        WITH_HOST(test_recover_after_the_intent),
        WITH_HOST(test_recover_without_folder),
        WITH_HOST(test_recover_fails),
        WITH_HOST(test_recover_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
