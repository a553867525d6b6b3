/* deployer/preflight_files: links, owners, modes, dhparams.pem, sni.map, file systems. */
#include "tests/unit/testing.h"

#include "deployer/preflight_impl.h"
#include "tests/unit/findings.h"

#define NOBODY ((uid_t)-1)
#define REMAP  231072

static const struct preflight_owners usual = {.configured = {.uid = NOBODY, .gid = (gid_t)-1}};
static const struct preflight_owners remapped = {.configured = {.uid = NOBODY, .gid = (gid_t)-1},
                                                 .is_remapped = true,
                                                 .root_is_known = true,
                                                 .root = {.uid = REMAP, .gid = REMAP}};

/* An SSL folder with a pair, as acme leaves it. */
struct ssl {
    struct directory *d;
    int fd;
};

static int ssl_setup(void **state)
{
    struct ssl *s = calloc(1, sizeof *s);
    void *d = NULL;
    if (!s || directory_setup(&d) != 0)
        return -1;
    memset(&found, 0, sizeof found);
    s->d = d;
    make_folder(s->d, "ssl");
    set_mode(s->d, "ssl", 0755);
    write_text(s->d, "ssl/cert.pem", "chain");
    write_text(s->d, "ssl/key.pem", "key");
    write_text(s->d, "ssl/dhparams.pem",
               "-----BEGIN DH PARAMETERS-----\nMIIB\n-----END DH PARAMETERS-----\n");
    set_mode(s->d, "ssl/cert.pem", 0644);
    set_mode(s->d, "ssl/dhparams.pem", 0644);
    s->fd = openat(s->d->fd, "ssl", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *state = s;
    return s->fd < 0 ? -1 : 0;
}

static int ssl_teardown(void **state)
{
    struct ssl *s = *state;
    void *d = s->d;
    close(s->fd);
    free(s);
    return directory_teardown(&d);
}

#define WITH_SSL(test) cmocka_unit_test_setup_teardown(test, ssl_setup, ssl_teardown)

static void look(const struct ssl *s, const struct preflight_owners *owners)
{
    preflight_pair(s->fd, "/ssl", "primary", owners, &found);
}

static void give(const struct ssl *s, const char *name, uid_t uid, gid_t gid)
{
    if (geteuid() != 0)
        skip();
    assert_int_equal(fchownat(s->d->fd, name, uid, gid, AT_SYMLINK_NOFOLLOW), 0);
}

static void give_all(const struct ssl *s, uid_t uid, gid_t gid)
{
    give(s, "ssl", uid, gid);
    give(s, "ssl/cert.pem", uid, gid);
    give(s, "ssl/key.pem", uid, gid);
    give(s, "ssl/dhparams.pem", uid, gid);
}

static void finds_nothing_in_a_usual_folder(void **state)
{
    struct ssl *s = *state;
    look(s, &usual);
    preflight_dhparams(s->fd, "/ssl", &usual, &found);
    found_nothing();
    assert_false(preflight_is_foreign(s->fd, &usual));
    assert_int_equal(unlinkat(s->fd, "cert.pem", 0), 0); /* nothing was ever installed */
    assert_int_equal(unlinkat(s->fd, "key.pem", 0), 0);
    look(s, &usual);
    found_nothing();
}

static void replace_by_link(const struct ssl *s, const char *name, const char *target)
{
    assert_int_equal(unlinkat(s->fd, name, 0), 0);
    assert_int_equal(symlinkat(target, s->fd, name), 0);
}

static void refuses_what_is_no_file(void **state)
{
    struct ssl *s = *state;
    replace_by_link(s, "cert.pem", "dhparams.pem");
    look(s, &usual);
    assert_string_equal(found.list[0].want, "primary");
    assert_string_equal(found.list[0].remedy,
                        "cp --remove-destination \"$(readlink -f /ssl/cert.pem)\" /ssl/cert.pem");
    found_one(FINDING_REFUSE, "symlink", "/ssl/cert.pem is a symbolic link", "");
    assert_int_equal(unlinkat(s->fd, "cert.pem", 0), 0);
    replace_by_link(s, "key.pem", "/nonexistent");
    look(s, &usual);
    found_one(FINDING_REFUSE, "symlink", "/ssl/key.pem is a symbolic link", "");
    assert_int_equal(unlinkat(s->fd, "key.pem", 0), 0);
    make_folder(s->d, "ssl/key.pem");
    look(s, &usual);
    found_one(FINDING_REFUSE, "symlink", "/ssl/key.pem is not a regular file", "rm -r /ssl/key.pem");
}

static void warns_of_modes(void **state)
{
    struct ssl *s = *state;
    set_mode(s->d, "ssl/key.pem", 0604);
    look(s, &usual);
    found_one(FINDING_WARN, "mode", "/ssl/key.pem has mode 0604: others may read it",
              "chmod 600 /ssl/key.pem");
    set_mode(s->d, "ssl/key.pem", 0600);
    set_mode(s->d, "ssl/cert.pem", 0646);
    look(s, &usual);
    found_one(FINDING_WARN, "mode", "/ssl/cert.pem has mode 0646: others may write it",
              "chmod go-w /ssl/cert.pem");
    set_mode(s->d, "ssl/cert.pem", 0644);
    set_mode(s->d, "ssl", 0757);
    look(s, &usual);
    found_one(FINDING_WARN, "mode", "/ssl has mode 0757: others may write it", "chmod go-w /ssl");
}

static void counts_groups_as_others_unless_they_are_roots(void **state)
{
    struct ssl *s = *state;
    struct preflight_owners configured = usual;
    set_mode(s->d, "ssl/key.pem", 0640);
    look(s, &usual);
    found_nothing();
    give(s, "ssl/key.pem", 0, 1001);
    look(s, &usual);
    found_one(FINDING_WARN, "mode", "/ssl/key.pem has mode 0640", "");
    assert_true(preflight_is_foreign(s->fd, &usual));
    configured.configured.gid = 1001;
    look(s, &configured);
    found_nothing();
    set_mode(s->d, "ssl/key.pem", 0600);
    look(s, &usual);
    found_nothing();
}

static void warns_of_foreign_owners(void **state)
{
    static const char *const names[] = {"ssl", "ssl/cert.pem", "ssl/key.pem"};
    struct ssl *s = *state;
    struct preflight_owners configured = usual;
    configured.configured.uid = 1001;
    for (size_t i = 0; i < COUNT(names); i++) {
        char text[100];
        give(s, names[i], 1001, 0);
        assert_true(preflight_is_foreign(s->fd, &usual));
        look(s, &usual);
        snprintf(text, sizeof text, "/%s belongs to uid 1001", names[i]);
        found_one(FINDING_WARN, "owner", text, "owner = 1001");
        assert_false(preflight_is_foreign(s->fd, &configured));
        look(s, &configured);
        found_nothing();
        give(s, names[i], 0, 0);
    }
}

static void knows_the_root_of_a_remapped_engine(void **state)
{
    struct ssl *s = *state;
    struct preflight_owners unknown = remapped, configured = remapped;
    give_all(s, REMAP, REMAP);
    look(s, &remapped);
    preflight_dhparams(s->fd, "/ssl", &remapped, &found);
    found_nothing();
    give_all(s, 0, 0); /* 0600 of root, who the containers' root is not */
    look(s, &remapped);
    found_one(FINDING_WARN, "owner", "/ssl/key.pem belongs to uid 0, and the containers' root (uid 231072",
              "chown 231072:231072 /ssl/key.pem");
    configured.configured.uid = 0; /* somebody knows better */
    look(s, &configured);
    found_nothing();
    set_mode(s->d, "ssl/key.pem", 0640);
    give(s, "ssl/key.pem", 0, REMAP);
    look(s, &remapped);
    found_nothing();
    give_all(s, 1001, 1001);
    unknown.root_is_known = false;
    look(s, &unknown);
    found_nothing();
}

static void dhparams(const struct ssl *s, const struct preflight_owners *owners, const char *text)
{
    preflight_dhparams(s->fd, "/ssl", owners, &found);
    found_one(FINDING_WARN, "dhparams", text, "cp --remove-destination /ssl-example/dhparams.pem /ssl/");
}

static void warns_of_dhparams(void **state)
{
    struct ssl *s = *state;
    write_text(s->d, "ssl/dhparams.pem", "");
    dhparams(s, &usual, "/ssl/dhparams.pem holds no DH parameters: Dovecot does not start");
    write_text(s->d, "ssl/dhparams.pem", "-----BEGIN CERTIFICATE-----\n");
    dhparams(s, &usual, "holds no DH parameters");
    write_text(s->d, "ssl/dhparams.pem", "-----BEGIN X9.42 DH PARAMETERS-----\n");
    preflight_dhparams(s->fd, "/ssl", &usual, &found);
    found_nothing();
    replace_by_link(s, "dhparams.pem", "cert.pem");
    dhparams(s, &usual, "is not a regular file");
    assert_int_equal(unlinkat(s->fd, "dhparams.pem", 0), 0);
    dhparams(s, &usual, "is missing");
    write_text(s->d, "ssl/dhparams.pem", "-----BEGIN DH PARAMETERS-----\n");
    set_mode(s->d, "ssl/dhparams.pem", 0600);
    preflight_dhparams(s->fd, "/ssl", &usual, &found);
    found_nothing();
    if (geteuid() == 0)
        dhparams(s, &remapped, "cannot be read by the containers' root");
}

static void warns_of_keys_in_the_map(void **state)
{
    struct ssl *s = *state;
    const struct directory *d = s->d;
    char remedy[700];
    make_folder(d, "postfix");
    preflight_sni_map(path_in(d, "postfix"), &found); /* before the first start */
    found_nothing();
    write_text(d, "postfix/sni.map", "");
    write_text(d, "postfix/sni.map.db", "an empty table");
    set_mode(d, "postfix/sni.map.db", 0644);
    preflight_sni_map(path_in(d, "postfix"), &found);
    found_nothing();
    write_text(d, "postfix/sni.map", "a.example.org key cert\n");
    preflight_sni_map(path_in(d, "postfix"), &found);
    snprintf(remedy, sizeof remedy, "chmod 600 %s/postfix/sni.map %s/postfix/sni.map.db", d->path, d->path);
    found_one(FINDING_WARN, "sni-map", "sni.map.db has mode 0644, and holds the private keys", remedy);
    set_mode(d, "postfix/sni.map.db", 0600);
    preflight_sni_map(path_in(d, "postfix"), &found);
    found_nothing();
    set_mode(d, "postfix/sni.map.db", 0604);
    assert_int_equal(unlinkat(d->fd, "postfix/sni.map", 0), 0);
    preflight_sni_map(path_in(d, "postfix"), &found);
    found_one(FINDING_WARN, "sni-map", "mode 0604", "");
}

static void space(unsigned long flags, unsigned long blocks, unsigned long inodes, unsigned long free_inodes)
{
    const struct statvfs fs = {
        .f_flag = flags, .f_bavail = blocks, .f_frsize = 4096, .f_files = inodes, .f_favail = free_inodes};
    preflight_space("/state", &fs, &found);
}

static void warns_of_full_and_read_only_file_systems(void **state)
{
    (void)state;
    space(0, 256, 1000, 1);
    space(0, 256, 0, 0); /* btrfs counts no inodes */
    found_nothing();
    space(0, 255, 1000, 1);
    found_one(FINDING_WARN, "disk-full", "/state is on a file system that is full: less than 1 MiB",
              "df -h /state");
    space(0, 256, 1000, 0);
    found_one(FINDING_WARN, "disk-full", "no inode is left", "df -hi /state");
    space(ST_RDONLY, 0, 0, 0);
    found_one(FINDING_WARN, "read-only", "/state is on a file system that is mounted read-only",
              "remount,rw");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SSL(finds_nothing_in_a_usual_folder),
        WITH_SSL(refuses_what_is_no_file),
        WITH_SSL(warns_of_modes),
        WITH_SSL(counts_groups_as_others_unless_they_are_roots),
        WITH_SSL(warns_of_foreign_owners),
        WITH_SSL(knows_the_root_of_a_remapped_engine),
        WITH_SSL(warns_of_dhparams),
        WITH_SSL(warns_of_keys_in_the_map),
        WITH_SSL(warns_of_full_and_read_only_file_systems),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
