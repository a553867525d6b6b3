#include "common/secret.h"
#include "deployer/preflight_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define SPACE_MIN (1024 * 1024) /* bytes; a generation has some 10000, and is written twice */

/* ---- who owns what ---- */

static bool is_expected(const struct preflight_owners *o, uid_t uid)
{
    return uid == 0 || uid == geteuid() || uid == o->configured.uid ||
           (o->is_remapped && !o->root_is_known) || (o->is_remapped && uid == o->root.uid);
}

static bool is_expected_group(const struct preflight_owners *o, gid_t gid)
{
    return gid == 0 || gid == o->configured.gid ||
           (o->is_remapped && (!o->root_is_known || gid == o->root.gid));
}

/* Whether the containers' root, being another user than the host's, is kept from reading it. */
static bool is_unreadable(const struct preflight_owners *o, const struct stat *st)
{
    return o->is_remapped && o->root_is_known && st->st_uid != o->root.uid && !(st->st_mode & S_IROTH) &&
           !(st->st_gid == o->root.gid && st->st_mode & S_IRGRP);
}

static void check_owner(const char *path, const char *want, const struct stat *st,
                        const struct preflight_owners *o, struct finding_list *out)
{
    if (is_expected(o, st->st_uid))
        return;
    finding_add(out, FINDING_WARN, "owner", want, "%s belongs to uid %u, who can replace the certificate",
                path, st->st_uid);
    finding_remedy(out, "chown root:root %s; or say in [mailcow] whose it is to be: owner = %u", path,
                   st->st_uid);
}

/* others: what the others may not do, and neither the members of a group that is not root's. */
static void check_mode(const char *path, const char *want, const struct stat *st, mode_t others,
                       const struct preflight_owners *o, struct finding_list *out)
{
    mode_t group = is_expected_group(o, st->st_gid) ? 0 : others << 3;
    if (!(st->st_mode & (others | group)))
        return;
    finding_add(out, FINDING_WARN, "mode", want, "%s has mode %04o: others may %s it", path,
                st->st_mode & 07777U, others & S_IROTH ? "read" : "write");
    finding_remedy(out, "chmod %s %s", others & S_IROTH ? "600" : "go-w", path);
}

/* ---- the pair ---- */

static void not_a_file(const char *path, const char *want, const struct stat *st, struct finding_list *out)
{
    bool is_link = S_ISLNK(st->st_mode);
    finding_add(out, FINDING_REFUSE, "symlink", want, "%s is %s: %s", path,
                is_link ? "a symbolic link" : "not a regular file",
                is_link ? "the containers see only what is in their SSL folder, and it would be written over"
                        : "no certificate can be put there");
    finding_remedy(out, is_link ? "cp --remove-destination \"$(readlink -f %1$s)\" %1$s" : "rm -r %s", path);
}

/* others: see check_mode. */
static void check_file(int folder_fd, const char *folder, const char *name, mode_t others, const char *want,
                       const struct preflight_owners *owners, struct finding_list *out)
{
    char path[4400];
    struct stat st;
    if (fstatat(folder_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (!S_ISREG(st.st_mode)) {
        not_a_file(path, want, &st, out);
        return;
    }
    check_owner(path, want, &st, owners, out);
    check_mode(path, want, &st, others, owners, out);
    if (owners->configured.uid == (uid_t)-1 && is_unreadable(owners, &st)) {
        finding_add(out, FINDING_WARN, "owner", want,
                    "%s belongs to uid %u, and the containers' root (uid %u, userns-remap) cannot read it",
                    path, st.st_uid, owners->root.uid);
        finding_remedy(out, "chown %u:%u %s", owners->root.uid, owners->root.gid, path);
    }
}

void preflight_pair(int folder_fd, const char *path, const char *want, const struct preflight_owners *owners,
                    struct finding_list *out)
{
    struct stat st;
    check_file(folder_fd, path, "cert.pem", S_IWOTH, want, owners, out);
    check_file(folder_fd, path, "key.pem", S_IRWXO, want, owners, out);
    if (fstat(folder_fd, &st) < 0)
        return;
    check_owner(path, want, &st, owners, out);
    check_mode(path, want, &st, S_IWOTH, owners, out);
}

bool preflight_is_foreign(int folder_fd, const struct preflight_owners *owners)
{
    static const char *const names[] = {".", "cert.pem", "key.pem"};
    struct stat st;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (fstatat(folder_fd, names[i], &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            (!is_expected(owners, st.st_uid) || !is_expected_group(owners, st.st_gid)))
            return true;
    return false;
}

/* ---- dhparams.pem ---- */

/* NULL: Dovecot can use it. */
static const char *dhparams_fault(int ssl_fd, const struct preflight_owners *owners)
{
    AUTO_SECRET struct secret text = SECRET(SECRET_MAX);
    struct error ignored;
    struct stat st;
    if (fstatat(ssl_fd, "dhparams.pem", &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? "is missing" : NULL;
    if (!S_ISREG(st.st_mode))
        return "is not a regular file (the containers see only what is in their SSL folder)";
    if (is_unreadable(owners, &st))
        return "cannot be read by the containers' root (userns-remap)";
    if (file_read(ssl_fd, "dhparams.pem", 0, &text, NULL, &ignored) || secret_append(&text, "", 1) < 0)
        return NULL;
    return strstr((const char *)text.data, "DH PARAMETERS-----") ? NULL : "holds no DH parameters";
}

void preflight_dhparams(int ssl_fd, const char *ssl_path, const struct preflight_owners *owners,
                        struct finding_list *out)
{
    const char *fault = dhparams_fault(ssl_fd, owners);
    if (!fault)
        return;
    finding_add(out, FINDING_WARN, "dhparams", NULL, "%s/dhparams.pem %s: Dovecot does not start without it",
                ssl_path, fault);
    finding_remedy(out, "cp --remove-destination %s-example/dhparams.pem %s/", ssl_path, ssl_path);
}

/* ---- sni.map ---- */

/* postmap -F puts the keys themselves into the table, with the mode of sni.map; an empty one holds none. */
void preflight_sni_map(const char *postfix, struct finding_list *out)
{
    char map[4200], table[4200];
    struct stat map_st, st;
    snprintf(map, sizeof map, "%.4000s/sni.map", postfix);
    snprintf(table, sizeof table, "%.4000s/sni.map.db", postfix);
    bool is_empty = stat(map, &map_st) == 0 && map_st.st_size == 0;
    if (is_empty || stat(table, &st) < 0 || !(st.st_mode & S_IRWXO))
        return;
    finding_add(out, FINDING_WARN, "sni-map", NULL,
                "%s has mode %04o, and holds the private keys of the SNI folders", table,
                st.st_mode & 07777U);
    finding_remedy(out, "chmod 600 %s %s", map, table);
}

/* ---- file systems ---- */

void preflight_space(const char *path, const struct statvfs *fs, struct finding_list *out)
{
    bool no_space = (unsigned long long)fs->f_bavail * fs->f_frsize < SPACE_MIN;
    bool no_inode = fs->f_files && !fs->f_favail;
    if (fs->f_flag & ST_RDONLY) {
        finding_add(out, FINDING_WARN, "read-only", NULL, "%s is on a file system that is mounted read-only",
                    path);
        finding_remedy(out, "where mailcow is not in /opt/mailcow-dockerized: systemctl edit "
                            "mailcow-cert-deploy.service mailcow-cert-recover.service, [Service], "
                            "ReadWritePaths=PATH/data; "
                            "else dmesg says why; mount -o remount,rw");
    } else if (no_space || no_inode) {
        finding_add(out, FINDING_WARN, "disk-full", NULL, "%s is on a file system that is full: %s", path,
                    no_space ? "less than 1 MiB is left" : "no inode is left");
        finding_remedy(out, "df -h%s %s", no_space ? "" : "i", path);
    }
}
