#include "deployer/install.h"
#include "common/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define CERT      "cert.pem"
#define KEY       "key.pem"
#define CERT_TEMP ".cert.pem.certsync"
#define KEY_TEMP  ".key.pem.certsync"

static int open_folder(int ssl_fd, const char *want, bool make, struct error *err)
{
    bool primary = strcmp(want, WANT_PRIMARY) == 0;
    return file_open_dir(ssl_fd, primary ? "." : want, make, 0755, err);
}

int install_open_folder(int ssl_fd, const char *want, struct error *err)
{
    return open_folder(ssl_fd, want, false, err);
}

/* The owner that is configured, else that of what is replaced; a symbolic link or anything but a file there
 * is refused, not followed. */
static int find_owner(const struct install_place *place, int dirfd, const char *name, struct file_owner *out,
                      struct error *err)
{
    struct stat st;
    bool missing = fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0;
    if (missing && (errno != ENOENT || fstat(dirfd, &st) < 0))
        return error_errno(err, name, "stat");
    if (!missing && !S_ISREG(st.st_mode))
        return error_set(err, E_FAILED,
                         "%s: it is not a regular file (mailcow's containers cannot follow links): remove it",
                         name);
    *out = place->owner;
    if (out->uid == (uid_t)-1)
        out->uid = st.st_uid;
    if (out->gid == (gid_t)-1)
        out->gid = st.st_gid;
    return 0;
}

/* A file of the pair. */
struct part {
    const char *name, *temporary;
    mode_t mode;
};
static const struct part cert_part = {CERT, CERT_TEMP, 0644}, key_part = {KEY, KEY_TEMP, 0600};

static int write_temporary(const struct install_place *place, int dirfd, const struct part *part,
                           const struct secret *content, struct error *err)
{
    struct file_owner owner;
    int rc = find_owner(place, dirfd, part->name, &owner, err);
    if (rc < 0)
        return rc;
    /* Without privileges everything is ours already. */
    return file_create(dirfd, part->temporary, content->data, content->len, part->mode,
                       geteuid() == 0 ? &owner : NULL, err);
}

static void remove_temporaries(int dirfd)
{
    unlinkat(dirfd, CERT_TEMP, 0);
    unlinkat(dirfd, KEY_TEMP, 0);
}

static int write_temporaries(const struct install_place *place, int dirfd, const struct generation *g,
                             struct error *err)
{
    int rc = write_temporary(place, dirfd, &key_part, &g->key, err);
    if (!rc)
        rc = write_temporary(place, dirfd, &cert_part, &g->chain, err);
    return rc ? rc : file_sync_dir(dirfd, "SSL folder", err);
}

/* Two adjacent renames: a reader that comes between them sees a mixed pair for some microseconds. */
static int rename_both(int dirfd, struct error *err)
{
    if (renameat(dirfd, KEY_TEMP, dirfd, KEY) < 0)
        return error_errno(err, KEY, "rename");
    if (renameat(dirfd, CERT_TEMP, dirfd, CERT) < 0)
        return error_errno(err, CERT, "rename");
    return file_sync_dir(dirfd, "SSL folder", err);
}

/* Temporary files are made anew: those of before the crash may be half-written. */
static int finish(const struct install_place *place, int dirfd, const struct generation *g, struct error *err)
{
    int rc = write_temporaries(place, dirfd, g, err);
    if (!rc)
        rc = rename_both(dirfd, err);
    return rc ? rc : store_clear_intent(place->store, err);
}

static bool is_gone(int ssl_fd, const char *want)
{
    struct stat st;
    return strcmp(want, WANT_PRIMARY) != 0 && fstatat(ssl_fd, want, &st, AT_SYMLINK_NOFOLLOW) < 0 &&
           errno == ENOENT;
}

/* As the SSL folder is: under userns-remap root's would be nobody's to read. */
static int own_folder(const struct install_place *place, int dirfd, struct error *err)
{
    struct stat st;
    if (fchmod(dirfd, 0755) < 0 || fstat(place->ssl_fd, &st) < 0)
        return error_errno(err, "SNI folder", "set its mode");
    uid_t uid = place->owner.uid == (uid_t)-1 ? st.st_uid : place->owner.uid;
    gid_t gid = place->owner.gid == (gid_t)-1 ? st.st_gid : place->owner.gid;
    if (geteuid() == 0 && fchown(dirfd, uid, gid) < 0)
        return error_errno(err, "SNI folder", "set its owner");
    return 0;
}

/* The intent comes first, so that a crash leaves no folder that nobody finishes. */
static int install_new_folder(const struct install_place *place, struct intent *intent,
                              const struct generation *g, struct error *err)
{
    intent->makes_folder = true;
    int rc = store_write_intent(place->store, intent, err);
    if (rc < 0)
        return rc;
    AUTO_CLOSE int dirfd = open_folder(place->ssl_fd, intent->want, true, err);
    if (dirfd < 0)
        return err->code;
    rc = own_folder(place, dirfd, err);
    if (!rc)
        rc = file_sync_dir(place->ssl_fd, "SSL folder", err);
    return rc ? rc : finish(place, dirfd, g, err);
}

int install_generation(const struct install_place *place, const char *want, const struct generation *g,
                       struct error *err)
{
    struct intent intent = {.makes_folder = false};
    snprintf(intent.want, sizeof intent.want, "%s", want);
    memcpy(intent.generation, g->id, sizeof intent.generation);
    if (is_gone(place->ssl_fd, want))
        return install_new_folder(place, &intent, g, err);
    AUTO_CLOSE int dirfd = install_open_folder(place->ssl_fd, want, err);
    if (dirfd < 0)
        return err->code;
    int rc = write_temporaries(place, dirfd, g, err);
    if (!rc)
        rc = store_write_intent(place->store, &intent, err);
    if (rc < 0) {
        remove_temporaries(dirfd);
        return rc;
    }
    /* From here on only forward: at once, once more from the start, or by install_recover at the next start.
     */
    rc = rename_both(dirfd, err);
    return rc ? finish(place, dirfd, g, err) : store_clear_intent(place->store, err);
}

/* What a crash before the intent left: in the SSL folder or in any of its subfolders. */
static void remove_all_temporaries(int ssl_fd)
{
    remove_temporaries(ssl_fd);
    int fd = openat(ssl_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    AUTO_DIR DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        cleanup_closep(&fd);
        return;
    }
    for (struct dirent *e; (e = readdir(dir));) {
        struct error ignored;
        AUTO_CLOSE int folder = want_is_id(e->d_name) ? file_open_dir(fd, e->d_name, false, 0, &ignored) : -1;
        if (folder >= 0)
            remove_temporaries(folder);
    }
}

int install_recover(const struct install_place *place, char *out_want, struct error *err)
{
    struct intent intent;
    AUTO_GENERATION struct generation g = {0};
    int rc = store_read_intent(place->store, &intent, err);
    if (rc == STORE_NO_INTENT) {
        remove_all_temporaries(place->ssl_fd);
        return 0;
    }
    if (rc < 0)
        return rc;
    memcpy(out_want, intent.want, sizeof intent.want);
    if (!intent.makes_folder && is_gone(place->ssl_fd, intent.want))
        return store_clear_intent(place->store, err);
    rc = store_load(place->store, intent.want, intent.generation, &g, err);
    if (rc < 0) { /* what is given up may leave half a pair: not for an error that passes */
        generation_wipe(&g);
        rc = store_load(place->store, intent.want, intent.generation, &g, err);
    }
    if (rc < 0 && rc != E_TEMPORARY) { /* it would be in the way of every deployment to come */
        struct error ignored;
        store_clear_intent(place->store, &ignored);
        return INSTALL_LOST;
    }
    AUTO_CLOSE int dirfd = open_folder(place->ssl_fd, intent.want, intent.makes_folder, err);
    if (dirfd < 0)
        return err->code;
    if (!rc && intent.makes_folder)
        rc = own_folder(place, dirfd, err);
    if (!rc)
        rc = finish(place, dirfd, &g, err);
    return rc ? error_wrap(err, "recover the installation of %s", intent.want) : INSTALL_RECOVERED;
}
