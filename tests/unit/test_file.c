/* common/file: what may be read, and that a replaced file is old or new, never less. */
#include "tests/unit/testing.h"

#include "common/file.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define NOBODY 65534

/* Reads name into s (max bytes), which it wipes before. */
static int read_it(const struct directory *d, const char *name, int flags, struct secret *s,
                   struct error *err)
{
    secret_wipe(s);
    *err = (struct error){0};
    return file_read(d->fd, name, flags, s, NULL, err);
}

/* Reading */

static void reads_a_file_and_says_what_it_was(void **state)
{
    const struct directory *d = *state;
    AUTO_SECRET struct secret s = SECRET(100);
    struct error err;
    struct stat st;
    write_text(d, "f", "some text");
    assert_int_equal(file_read(d->fd, "f", 0, &s, &st, &err), 0);
    assert_string_equal((char *)s.data, "some text");
    assert_int_equal(st.st_size, 9);
    write_text(d, "empty", "");
    assert_int_equal(read_it(d, "empty", 0, &s, &err), 0);
    assert_int_equal(s.len, 0);
    assert_int_equal(file_read(AT_FDCWD, path_in(d, "empty"), 0, &s, NULL, &err), 0);
}

static void tells_a_missing_file_from_other_failures(void **state)
{
    const struct directory *d = *state;
    AUTO_SECRET struct secret s = SECRET(100);
    struct error err;
    assert_int_equal(read_it(d, "none", 0, &s, &err), FILE_MISSING);
    assert_string_equal(err.text, "none: open: No such file or directory");
    write_text(d, "f", "x");
    assert_int_equal(read_it(d, "f/none", 0, &s, &err), E_FAILED);
}

static void reads_up_to_the_maximum(void **state)
{
    const struct directory *d = *state;
    AUTO_SECRET struct secret s = SECRET(10);
    struct error err;
    write_text(d, "f", "0123456789");
    assert_int_equal(read_it(d, "f", 0, &s, &err), 0);
    assert_int_equal(s.len, 10);
    write_text(d, "f", "0123456789a");
    assert_int_equal(read_it(d, "f", 0, &s, &err), E_FAILED);
    assert_string_equal(err.text, "f: larger than 10 bytes");
}

static void follows_links_only_when_asked_to(void **state)
{
    const struct directory *d = *state;
    AUTO_SECRET struct secret s = SECRET(100);
    struct error err;
    write_text(d, "f", "text");
    assert_int_equal(symlinkat("f", d->fd, "link"), 0);
    assert_int_equal(symlinkat("gone", d->fd, "dangling"), 0);
    assert_int_equal(read_it(d, "link", 0, &s, &err), E_FAILED);
    assert_int_equal(s.len, 0);
    assert_int_equal(read_it(d, "link", FILE_FOLLOW, &s, &err), 0);
    assert_string_equal((char *)s.data, "text");
    assert_int_equal(read_it(d, "dangling", FILE_FOLLOW, &s, &err), FILE_MISSING);
    assert_int_equal(read_it(d, "dangling", 0, &s, &err), E_FAILED);
}

static void reads_regular_files_only(void **state)
{
    const struct directory *d = *state;
    AUTO_SECRET struct secret s = SECRET(100);
    struct error err;
    make_folder(d, "folder");
    assert_int_equal(mkfifoat(d->fd, "fifo", 0600), 0);
    alarm(20); /* a fifo without a writer must not hold it up */
    assert_int_equal(read_it(d, "folder", 0, &s, &err), E_FAILED);
    assert_string_equal(err.text, "folder: not a regular file");
    assert_int_equal(read_it(d, "fifo", 0, &s, &err), E_FAILED);
    assert_string_equal(err.text, "fifo: not a regular file");
    assert_int_equal(file_read(AT_FDCWD, "/dev/zero", 0, &s, NULL, &err), E_FAILED);
    alarm(0);
}

static void refuses_a_private_key_that_others_may_read(void **state)
{
    const struct directory *d = *state;
    static const mode_t wrong[] = {0640, 0604, 0644, 0660, 0601, 0610};
    static const mode_t right[] = {0600, 0400, 0700};
    AUTO_SECRET struct secret s = SECRET(100);
    struct error err;
    write_text(d, "key", "secret");
    for (size_t i = 0; i < COUNT(wrong); i++) {
        set_mode(d, "key", wrong[i]);
        assert_int_equal(read_it(d, "key", FILE_PRIVATE_KEY, &s, &err), E_CONFIG);
        assert_int_equal(s.len, 0);
        assert_has(err.text, "chmod 600 key");
        assert_int_equal(read_it(d, "key", 0, &s, &err), 0);
    }
    for (size_t i = 0; i < COUNT(right); i++) {
        set_mode(d, "key", right[i]);
        assert_int_equal(read_it(d, "key", FILE_PRIVATE_KEY, &s, &err), 0);
    }
    set_mode(d, "key", 0644);
    assert_int_equal(symlinkat("key", d->fd, "link"), 0);
    assert_int_equal(read_it(d, "link", FILE_PRIVATE_KEY | FILE_FOLLOW, &s, &err), E_CONFIG);
    assert_has(err.text, "0644");
}

static void refuses_a_private_key_of_someone_else(void **state)
{
    const struct directory *d = *state;
    AUTO_SECRET struct secret s = SECRET(100);
    struct error err;
    if (geteuid() != 0)
        skip();
    write_text(d, "key", "secret");
    assert_int_equal(fchownat(d->fd, "key", NOBODY, NOBODY, 0), 0);
    assert_int_equal(read_it(d, "key", FILE_PRIVATE_KEY, &s, &err), E_CONFIG);
    assert_string_equal(err.text, "key: it belongs to uid 65534: chown it to the user that runs this");
    assert_int_equal(seteuid(NOBODY), 0);
    int own = read_it(d, "key", FILE_PRIVATE_KEY, &s, &err);
    assert_int_equal(seteuid(0), 0);
    assert_int_equal(own, E_FAILED); /* the folder is root's */
    assert_has(err.text, "Permission denied");
    fchmod(d->fd, 0711);
    assert_int_equal(seteuid(NOBODY), 0);
    own = read_it(d, "key", FILE_PRIVATE_KEY, &s, &err);
    assert_int_equal(seteuid(0), 0);
    assert_int_equal(own, 0);
}

/* A writer changes the file again and again: what is read is always one of its states, or refused. */
static pid_t keep_rewriting(const struct directory *d, const char *name)
{
    pid_t pid = fork();
    if (pid)
        return pid;
    char page[8192];
    int fd = openat(d->fd, name, O_WRONLY | O_CLOEXEC);
    for (unsigned round = 0;; round++) {
        memset(page, 'a' + (int)(round % 26), sizeof page);
        lseek(fd, 0, SEEK_SET);
        for (int i = 0; i < 32; i++)
            if (write(fd, page, sizeof page) < 0)
                _exit(1);
    }
}

static void notices_a_change_while_it_reads(void **state)
{
    const struct directory *d = *state;
    static char content[32 * 8192];
    AUTO_SECRET struct secret s = SECRET(sizeof content);
    struct error err;
    int changed = 0;
    write_bytes(d, "f", content, sizeof content);
    pid_t pid = keep_rewriting(d, "f");
    for (int i = 0; i < 2000 && !changed; i++) {
        int rc = read_it(d, "f", 0, &s, &err);
        if (rc == FILE_CHANGED)
            changed++;
        else if (rc)
            break;
    }
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    assert_int_equal(changed, 1);
    assert_string_equal(err.text, "f: it changed while it was read");
    assert_int_equal(err.code, E_TEMPORARY);
    assert_int_equal(read_it(d, "f", 0, &s, &err), 0);
}

/* Files that say another size than they hold are not to be trusted either. */
static void refuses_what_is_not_as_long_as_it_says(void **state)
{
    (void)state;
    AUTO_SECRET struct secret s = SECRET(100000);
    struct error err;
    assert_int_equal(file_read(AT_FDCWD, "/proc/self/status", 0, &s, NULL, &err), FILE_CHANGED);
}

/* Writing */

static void creates_a_file_over_an_old_one(void **state)
{
    const struct directory *d = *state;
    struct error err;
    struct stat st;
    const struct file_owner owner = {.uid = geteuid(), .gid = getegid()};
    write_text(d, "target", "untouched");
    assert_int_equal(symlinkat("target", d->fd, "f"), 0);
    mode_t mask = umask(077);
    int rc = file_create(d->fd, "f", "text", 4, 0644, &owner, &err);
    umask(mask);
    assert_int_equal(rc, 0);
    assert_string_equal(read_text_of(d, "f"), "text");
    assert_string_equal(read_text_of(d, "target"), "untouched");
    assert_int_equal(fstatat(d->fd, "f", &st, AT_SYMLINK_NOFOLLOW), 0);
    assert_int_equal(st.st_mode, S_IFREG | 0644);
    make_folder(d, "folder");
    assert_int_equal(file_create(d->fd, "folder", "text", 4, 0600, NULL, &err), E_FAILED);
    assert_has(err.text, "folder: create: ");
}

static void gives_a_file_to_its_owner(void **state)
{
    const struct directory *d = *state;
    struct error err;
    struct stat st;
    if (geteuid() != 0)
        skip();
    const struct file_owner owner = {.uid = NOBODY, .gid = 8};
    assert_int_equal(file_create(d->fd, "f", "text", 4, 0640, &owner, &err), 0);
    assert_int_equal(fstatat(d->fd, "f", &st, 0), 0);
    assert_int_equal(st.st_uid, NOBODY);
    assert_int_equal(st.st_gid, 8);
    assert_int_equal(st.st_mode & 07777, 0640);
}

static void replaces_a_file(void **state)
{
    const struct directory *d = *state;
    struct error err;
    struct stat before, after;
    write_text(d, "f", "old");
    assert_int_equal(fstatat(d->fd, "f", &before, 0), 0);
    write_text(d, ".f.tmp", "left by a crash");
    assert_int_equal(file_replace(d->fd, "f", "new", 3, 0600, &err), 0);
    assert_int_equal(fstatat(d->fd, "f", &after, 0), 0);
    assert_string_equal(read_text_of(d, "f"), "new");
    assert_false(is_there(d, ".f.tmp"));
    assert_true(before.st_ino != after.st_ino); /* renamed over, not written in place */
    assert_int_equal(file_replace(d->fd, "g", "first", 5, 0600, &err), 0);
    assert_string_equal(read_text_of(d, "g"), "first");
}

static void keeps_the_old_file_when_it_cannot_be_replaced(void **state)
{
    const struct directory *d = *state;
    struct error err;
    write_text(d, "f", "old");
    make_folder(d, ".f.tmp"); /* the temporary cannot be made */
    assert_true(file_replace(d->fd, "f", "new", 3, 0600, &err) < 0);
    assert_string_equal(read_text_of(d, "f"), "old");
    make_folder(d, "g"); /* the rename fails */
    assert_true(file_replace(d->fd, "g", "new", 3, 0600, &err) < 0);
    assert_has(err.text, "g: rename: ");
    assert_false(is_there(d, ".g.tmp"));
    int fd = openat(d->fd, "g", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(unlinkat(d->fd, "g", AT_REMOVEDIR), 0);
    assert_true(file_replace(fd, "f", "new", 3, 0600, &err) < 0);
    close(fd);
}

/* Stands for a disk that is full in the middle of the file. */
static void keeps_the_old_file_when_the_disk_is_full(void **state)
{
    const struct directory *d = *state;
    write_text(d, "f", "old");
    pid_t pid = fork();
    if (!pid) {
        static char large[20000];
        const struct rlimit limit = {.rlim_cur = 10000, .rlim_max = 10000};
        struct error err;
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &limit);
        _exit(file_replace(d->fd, "f", large, sizeof large, 0600, &err) < 0 ? 0 : 1);
    }
    int status = -1;
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
    assert_string_equal(read_text_of(d, "f"), "old");
    assert_false(is_there(d, ".f.tmp"));
}

/* Directories */

static void opens_and_makes_directories(void **state)
{
    const struct directory *d = *state;
    struct error err;
    struct stat st;
    assert_true(file_open_dir(d->fd, "new", false, 0, &err) < 0);
    assert_has(err.text, "new: open the directory: No such file or directory");
    int fd = file_open_dir(d->fd, "new", true, 0700, &err);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_mode, S_IFDIR | 0700);
    close(fd);
    fd = file_open_dir(d->fd, "new", true, 0700, &err);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(symlinkat("new", d->fd, "link"), 0);
    assert_true(file_open_dir(d->fd, "link", true, 0700, &err) < 0);
    write_text(d, "f", "x");
    assert_true(file_open_dir(d->fd, "f", true, 0700, &err) < 0);
    assert_true(file_open_dir(d->fd, "none/deep", true, 0700, &err) < 0);
}

static void removes_a_tree_and_nothing_behind_links(void **state)
{
    const struct directory *d = *state;
    struct error err;
    make_folder(d, "tree");
    make_folder(d, "tree/sub");
    make_folder(d, "kept");
    write_text(d, "kept/f", "kept");
    write_text(d, "tree/a", "x");
    write_text(d, "tree/sub/.b", "x");
    assert_int_equal(symlinkat("../kept", d->fd, "tree/link"), 0);
    assert_int_equal(symlinkat("kept", d->fd, "top"), 0);
    assert_int_equal(file_remove_tree(d->fd, "tree", &err), 0);
    assert_false(is_there(d, "tree"));
    assert_int_equal(file_remove_tree(d->fd, "top", &err), 0);
    assert_false(is_there(d, "top"));
    assert_string_equal(read_text_of(d, "kept/f"), "kept");
    assert_int_equal(file_remove_tree(d->fd, "tree", &err), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_DIRECTORY(reads_a_file_and_says_what_it_was),
        WITH_DIRECTORY(tells_a_missing_file_from_other_failures),
        WITH_DIRECTORY(reads_up_to_the_maximum),
        WITH_DIRECTORY(follows_links_only_when_asked_to),
        WITH_DIRECTORY(reads_regular_files_only),
        WITH_DIRECTORY(refuses_a_private_key_that_others_may_read),
        WITH_DIRECTORY(refuses_a_private_key_of_someone_else),
        WITH_DIRECTORY(notices_a_change_while_it_reads),
        cmocka_unit_test(refuses_what_is_not_as_long_as_it_says),
        WITH_DIRECTORY(creates_a_file_over_an_old_one),
        WITH_DIRECTORY(gives_a_file_to_its_owner),
        WITH_DIRECTORY(replaces_a_file),
        WITH_DIRECTORY(keeps_the_old_file_when_it_cannot_be_replaced),
        WITH_DIRECTORY(keeps_the_old_file_when_the_disk_is_full),
        WITH_DIRECTORY(opens_and_makes_directories),
        WITH_DIRECTORY(removes_a_tree_and_nothing_behind_links),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
