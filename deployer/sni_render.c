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
#define CONTENT_MAX (64 * 1024 * 1024)
#define SUBORDINATE 100000 /* where subordinate uids begin: SUB_UID_MIN in login.defs(5) */

/* ---- what is to be in them ---- */

/* Owned by the caller; NULL without memory. */
static char *make_entry(enum sni_reader reader, const char *name, const char *folder)
{
    char *out = NULL;
    int n = reader == SNI_POSTFIX
                ? asprintf(&out, "%s " SNI_MOUNTED "/%s/key.pem " SNI_MOUNTED "/%s/cert.pem\n", name, folder,
                           folder)
                : asprintf(&out,
                           "local_name %s {\n  ssl_cert = <" SNI_MOUNTED "/%s/cert.pem\n"
                           "  ssl_key = <" SNI_MOUNTED "/%s/key.pem\n}\n",
                           name, folder, folder);
    return n < 0 ? NULL : out;
}

/* Adds the name whose entry for the folder begins at line, if one does. */
static int keep_name(const char *line, enum sni_reader reader, const char *folder, struct conf_list *out,
                     struct error *err)
{
    static const char block[] = "local_name ";
    char name[300];
    const char *begin = line + (reader == SNI_DOVECOT ? strlen(block) : 0);
    if (reader == SNI_DOVECOT && strncmp(line, block, strlen(block)) != 0)
        return 0;
    size_t len = strcspn(begin, " \n");
    if (len >= sizeof name)
        return 0;
    snprintf(name, sizeof name, "%.*s", (int)len, begin);
    AUTO_FREE char *entry = make_entry(reader, name, folder);
    if (!entry)
        return error_memory(err);
    return strncmp(line, entry, strlen(entry)) == 0 ? sni_words(name, reader, out, err) : 0;
}

static int keep_names(const char *now, enum sni_reader reader, const char *folder, struct conf_list *out,
                      struct error *err)
{
    int rc = 0;
    for (const char *line = now; !rc && line; line = strchr(line, '\n')) {
        line += *line == '\n';
        rc = keep_name(line, reader, folder, out, err);
    }
    return rc;
}

/* now: what the file says. */
static int write_all(FILE *f, const struct sni_folders *folders, enum sni_reader reader, const char *now,
                     struct error *err)
{
    for (size_t i = 0; i < folders->count; i++) {
        const struct sni_folder *folder = &folders->list[i];
        CLEANUP(conf_list_free) struct conf_list words = {0};
        int rc = folder->text ? sni_words(folder->text, reader, &words, err) : 0;
        if (!rc && folder->is_unread)
            rc = keep_names(now, reader, folder->file_name, &words, err);
        for (size_t n = 0; !rc && n < words.count; n++) {
            AUTO_FREE char *entry = make_entry(reader, words.items[n], folder->file_name);
            rc = entry ? 0 : error_memory(err);
            fputs(entry ? entry : "", f);
        }
        if (rc < 0)
            return rc;
    }
    return 0;
}

static bool is_any_unread(const struct sni_folders *folders)
{
    size_t i = 0;
    while (i < folders->count && !folders->list[i].is_unread)
        i++;
    return i < folders->count;
}

/* Nothing, unless it is needed: then what is there and cannot be read now is an error. */
static int read_now(int dirfd, const char *name, const struct sni_folders *folders, struct secret *out,
                    struct error *err)
{
    int rc = is_any_unread(folders) ? file_read(dirfd, name, 0, out, NULL, err) : 0;
    if (!rc)
        return 0;
    out->len = 0;
    if (rc == FILE_MISSING || !file_is_there(dirfd, name, S_IFREG, CONTENT_MAX))
        return 0;
    return rc == FILE_CHANGED ? E_TEMPORARY : rc;
}

static int compose(int dirfd, const char *name, const struct sni_folders *folders, enum sni_reader reader,
                   char **out, size_t *out_len, struct error *err)
{
    AUTO_SECRET struct secret now = SECRET(CONTENT_MAX);
    int rc = read_now(dirfd, name, folders, &now, err);
    if (rc < 0)
        return rc;
    FILE *f = open_memstream(out, out_len);
    if (!f)
        return error_memory(err);
    rc = write_all(f, folders, reader, now.len ? (const char *)now.data : "", err);
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
    int rc = compose(dirfd, MAP, folders, SNI_POSTFIX, &text, &len, err);
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
    int rc = compose(dirfd, CONF, folders, SNI_DOVECOT, &text, &len, err);
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
    out->unread = is_any_unread(&folders);
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
