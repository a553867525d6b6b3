#include "deployer/sni_render.h"
#include "common/file.h"
#include "deployer/sni.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define MAP         "sni.map"
#define MAP_DB      "sni.map.db"
#define CONF        "sni.conf"
#define MAP_TEMP    ".sni.map.tmp" /* file_replace's */
#define CONF_TEMP   ".sni.conf.tmp"
#define MOUNTED     "/etc/ssl/mail" /* the SSL folder in the containers */
#define CONTENT_MAX (64 * 1024 * 1024)
#define SUBORDINATE 100000 /* where subordinate uids begin: SUB_UID_MIN in login.defs(5) */

/* ---- what is to be in them ---- */

static void write_map_line(FILE *f, const char *name, const char *folder)
{
    fprintf(f, "%s " MOUNTED "/%s/key.pem " MOUNTED "/%s/cert.pem\n", name, folder, folder);
}

static void write_conf_block(FILE *f, const char *name, const char *folder)
{
    fprintf(
        f, "local_name %s {\n  ssl_cert = <" MOUNTED "/%s/cert.pem\n  ssl_key = <" MOUNTED "/%s/key.pem\n}\n",
        name, folder, folder);
}

static int write_all(FILE *f, const struct sni_folders *folders, enum sni_reader reader, struct error *err)
{
    for (size_t i = 0; i < folders->count; i++) {
        const struct sni_folder *folder = &folders->list[i];
        CLEANUP(conf_list_free) struct conf_list words = {0};
        int rc = folder->text ? sni_words(folder->text, reader, &words, err) : 0;
        if (rc < 0)
            return rc;
        for (size_t n = 0; n < words.count; n++)
            (reader == SNI_POSTFIX ? write_map_line : write_conf_block)(f, words.items[n], folder->name);
    }
    return 0;
}

static int compose(const struct sni_folders *folders, enum sni_reader reader, char **out, size_t *out_len,
                   struct error *err)
{
    FILE *f = open_memstream(out, out_len);
    if (!f)
        return error_memory(err);
    int rc = write_all(f, folders, reader, err);
    bool failed = ferror(f);
    if (fclose(f) || failed)
        return error_memory(err);
    return rc;
}

/* ---- replacing them ---- */

/* A missing file is an empty one. */
static bool has_content(int dirfd, const char *name, const char *text, size_t len)
{
    AUTO_SECRET struct secret have = SECRET(CONTENT_MAX);
    struct error ignored;
    int rc = file_read(dirfd, name, 0, &have, NULL, &ignored);
    return (rc == 0 || rc == FILE_MISSING) && have.len == len && (!len || memcmp(have.data, text, len) == 0);
}

static bool find(int dirfd, const char *name, struct stat *out)
{
    return fstatat(dirfd, name, out, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(out->st_mode);
}

/* Nobody but its owner is to read it. A missing one is made with the mode of sni.map. */
static int make_private(int dirfd, const char *name, struct error *err)
{
    AUTO_CLOSE int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat st;
    if (fd < 0)
        return errno == ENOENT ? 0 : error_errno(err, name, "open");
    if (fstat(fd, &st) < 0 || ((st.st_mode & 077) && fchmod(fd, 0600) < 0))
        return error_errno(err, name, "chmod");
    return 0;
}

/*
 * postmap becomes the owner of sni.map, who must be able to read the keys and to write sni.map.db: the
 * container's root. With userns-remap that is the subordinate uid that has sni.map.db already.
 */
static struct file_owner map_owner(int dirfd)
{
    struct stat st;
    if (find(dirfd, MAP_DB, &st) && st.st_uid >= SUBORDINATE)
        return (struct file_owner){.uid = st.st_uid, .gid = st.st_gid};
    return (struct file_owner){.uid = 0, .gid = 0};
}

static bool is_owned_by(int dirfd, const char *name, const struct file_owner *owner)
{
    struct stat st;
    return !owner || fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_uid == owner->uid;
}

static int render_map(int dirfd, const struct sni_folders *folders, bool *out_changed, struct error *err)
{
    AUTO_FREE char *text = NULL;
    size_t len = 0;
    const struct file_owner root = map_owner(dirfd), *owner = geteuid() == 0 ? &root : NULL;
    int rc = compose(folders, SNI_POSTFIX, &text, &len, err);
    if (rc < 0)
        return rc;
    if (!has_content(dirfd, MAP, text, len) || (len && !is_owned_by(dirfd, MAP, owner))) {
        rc = file_replace_as(dirfd, MAP, text, len, 0600, owner, err);
        *out_changed = !rc;
    }
    if (!rc && len)
        rc = make_private(dirfd, MAP, err);
    return rc || !len ? rc : make_private(dirfd, MAP_DB, err);
}

static int render_conf(int dirfd, const struct sni_folders *folders, bool *out_changed, struct error *err)
{
    AUTO_FREE char *text = NULL;
    size_t len = 0;
    struct stat st;
    int rc = compose(folders, SNI_DOVECOT, &text, &len, err);
    if (rc < 0 || has_content(dirfd, CONF, text, len))
        return rc;
    bool known = find(dirfd, CONF, &st);
    struct file_owner owner = {.uid = known ? st.st_uid : 0, .gid = known ? st.st_gid : 0};
    rc = file_replace_as(dirfd, CONF, text, len, known ? st.st_mode & 0777 : 0644,
                         geteuid() == 0 ? &owner : NULL, err);
    *out_changed = !rc;
    return rc;
}

static int open_conf_folder(const char *path, struct error *err)
{
    int fd = file_open_dir(AT_FDCWD, path, false, 0, err);
    if (fd < 0)
        err->code = E_CONFIG;
    return fd;
}

int sni_render(const struct mailcow *m, int ssl_fd, bool no_postfix, struct sni_changes *out,
               struct error *err)
{
    AUTO_SNI_FOLDERS struct sni_folders folders = {0};
    const struct sni_folders none = {0};
    *out = (struct sni_changes){0};
    AUTO_CLOSE int postfix = open_conf_folder(m->postfix_path, err);
    if (postfix < 0)
        return err->code;
    AUTO_CLOSE int dovecot = open_conf_folder(m->dovecot_path, err);
    if (dovecot < 0)
        return err->code;
    int rc = sni_scan(ssl_fd, &folders, err);
    if (rc < 0)
        return rc;
    rc = render_map(postfix, no_postfix ? &none : &folders, &out->postfix, err);
    if (rc < 0)
        return error_wrap(err, "%s", m->postfix_path);
    rc = render_conf(dovecot, &folders, &out->dovecot, err);
    return rc ? error_wrap(err, "%s", m->dovecot_path) : 0;
}

static void remove_temporary(const char *folder, const char *name)
{
    struct error ignored;
    AUTO_CLOSE int fd = file_open_dir(AT_FDCWD, folder, false, 0, &ignored);
    if (fd >= 0)
        unlinkat(fd, name, 0);
}

void sni_render_remove_temporaries(const struct mailcow *m)
{
    remove_temporary(m->postfix_path, MAP_TEMP);
    remove_temporary(m->dovecot_path, CONF_TEMP);
}
