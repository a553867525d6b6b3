#include "pusher/lineage.h"
#include "common/file.h"
#include "common/text.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

void lineage_list_free(struct lineage_list *l)
{
    for (size_t i = 0; i < l->count; i++) {
        free(l->list[i].cert_path);
        free(l->list[i].key_path);
        free(l->list[i].signature);
        if (l->list[i].cert)
            l->free_cert(l->list[i].cert);
    }
    free(l->list);
    *l = (struct lineage_list){0};
}

/* ---- scan ---- */

/* A file that is replaced, rewritten or re-linked gets another inode or change time; nothing sets the latter
 * back. */
static int sign(struct lineage *lineage, struct error *err)
{
    char path[4 * PATH_MAX];
    struct stat cert, key;
    if (stat(lineage->cert_path, &cert) < 0)
        return error_errno(err, lineage->cert_path, "stat");
    if (stat(lineage->key_path, &key) < 0)
        return error_errno(err, lineage->key_path, "stat");
    text_escape(path, sizeof path, lineage->cert_path, strlen(lineage->cert_path)); /* it is to be JSON */
    if (asprintf(&lineage->signature, "%s %llu %lld %lld.%09ld %llu %lld %lld.%09ld", path,
                 (unsigned long long)cert.st_ino, (long long)cert.st_size, (long long)cert.st_ctim.tv_sec,
                 cert.st_ctim.tv_nsec, (unsigned long long)key.st_ino, (long long)key.st_size,
                 (long long)key.st_ctim.tv_sec, key.st_ctim.tv_nsec) < 0)
        return error_memory(err);
    return 0;
}

static int add(struct lineage_list *l, const char *name, const char *cert_path, const char *key_path,
               struct error *err)
{
    if (l->count == LINEAGE_MAX)
        return error_set(
            err, E_CONFIG,
            "more than %d lineages: %s and those that come after it are left out; what is needed of "
            "them can be a source of its own, in front of this one",
            LINEAGE_MAX, strrchr(name, '/') ? strrchr(name, '/') + 1 : name);
    struct lineage *grown = reallocarray(l->list, l->count + 1, sizeof *grown);
    if (!grown)
        return error_memory(err);
    l->list = grown;
    struct lineage *lineage = &grown[l->count];
    *lineage = (struct lineage){.cert_path = strdup(cert_path), .key_path = strdup(key_path)};
    text_escape(lineage->name, sizeof lineage->name, name, strlen(name));
    for (char *p = lineage->name; *p; p++)
        if (*p == ' ' || *p == '=')
            *p = '_'; /* it is a field's value in reports */
    int rc = lineage->cert_path && lineage->key_path ? sign(lineage, err) : error_memory(err);
    if (rc < 0) {
        free(lineage->cert_path);
        free(lineage->key_path);
        return rc;
    }
    l->count++;
    return 0;
}

/* By the name alone: a link that leads nowhere is a lineage with a trouble that is to be reported. */
static bool is_lineage(const char *folder)
{
    char file[PATH_MAX + 16];
    struct stat st;
    snprintf(file, sizeof file, "%s/fullchain.pem", folder);
    return lstat(file, &st) == 0;
}

static int add_folder(struct lineage_list *l, const char *name, const char *folder, struct error *err)
{
    char cert[PATH_MAX + 16], key[PATH_MAX + 16];
    snprintf(cert, sizeof cert, "%s/fullchain.pem", folder);
    snprintf(key, sizeof key, "%s/privkey.pem", folder);
    return add(l, name, cert, key, err);
}

static int not_hidden(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

/* A subfolder without fullchain.pem is not a lineage (certbot's README lies there); a half one is reported.
 */
static int scan_entry(struct lineage_list *l, const struct source *source, const char *entry,
                      lineage_trouble *on_trouble, void *ctx)
{
    char folder[PATH_MAX], name[300];
    struct error err;
    if (snprintf(folder, sizeof folder, "%s/%s", source->path, entry) >= (int)sizeof folder ||
        !is_lineage(folder))
        return 0;
    snprintf(name, sizeof name, "%s/%s", source->name, entry);
    int rc = add_folder(l, name, folder, &err);
    if (rc < 0) {
        l->is_partial = true;
        on_trouble(ctx, source, &err);
    }
    return rc;
}

static int scan_folder(struct lineage_list *l, const struct source *source, lineage_trouble *on_trouble,
                       void *ctx, struct error *err)
{
    struct dirent **entries = NULL;
    if (is_lineage(source->path))
        return add_folder(l, source->name, source->path, err);
    int count = scandir(source->path, &entries, not_hidden, alphasort), rc = 0;
    if (count < 0) {
        error_errno(err, source->path, "open the folder");
        return err->code = E_CONFIG;
    }
    size_t before = l->count;
    bool is_full = false;
    for (int i = 0; i < count; i++) {
        int entry_rc = is_full ? 0 : scan_entry(l, source, entries[i]->d_name, on_trouble, ctx);
        is_full = is_full || (entry_rc < 0 && l->count == LINEAGE_MAX);
        rc = entry_rc < 0 ? 1 : rc;
        free(entries[i]);
    }
    free(entries);
    if (l->count == before && !rc)
        return error_set(err, E_FAILED, "%s: no lineage in it (no folder with a fullchain.pem)",
                         source->path);
    return 0;
}

int lineage_scan_source(const struct source *source, struct lineage_list *out, lineage_trouble *on_trouble,
                        void *ctx)
{
    struct error err;
    int rc = source->path ? scan_folder(out, source, on_trouble, ctx, &err)
                          : add(out, source->name, source->cert, source->key, &err);
    if (rc < 0)
        on_trouble(ctx, source, &err);
    return rc;
}

static void report_trouble(void *report, const struct source *source, const struct error *err)
{
    report_event(report, EVENT_SOURCE_UNREADABLE, NULL, "source %s: %s", source->name, err->text);
}

int lineage_scan(const struct push_conf *conf, struct lineage_list *out, struct report *report)
{
    int worst = 0;
    for (size_t i = 0; i < conf->source_count; i++)
        worst = error_worse(worst, lineage_scan_source(&conf->sources[i], out, report_trouble, report));
    return worst;
}

bool lineage_is_readable(const struct lineage *lineage)
{
    AUTO_SECRET struct secret ignored = SECRET(SECRET_MAX);
    struct error why;
    return file_read(AT_FDCWD, lineage->cert_path, FILE_FOLLOW, &ignored, NULL, &why) == 0;
}
