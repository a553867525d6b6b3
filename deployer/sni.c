#include "deployer/sni.h"
#include "common/file.h"
#include "common/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>

#define DOMAINS      "domains"
#define DOMAINS_TEMP ".domains.tmp" /* file_replace's */

enum {
    PART_CERT,
    PART_KEY,
    PART_DOMAINS,
    PART_COUNT
};
static const char *const parts[PART_COUNT] = {"cert.pem", "key.pem", DOMAINS};

/* ---- lists of words ---- */

/* Where it is in the list, whatever the case of its letters, which none of the readers minds; or count. */
static size_t position(const struct conf_list *list, const char *item)
{
    size_t i = 0;
    while (i < list->count && strcasecmp(list->items[i], item) != 0)
        i++;
    return i;
}

static bool list_has(const struct conf_list *list, const char *item)
{
    return position(list, item) < list->count;
}

static int list_add(struct conf_list *list, const char *item, size_t len, struct error *err)
{
    char **grown = reallocarray(list->items, list->count + 2, sizeof *grown);
    if (!grown)
        return error_memory(err);
    list->items = grown;
    if (!(grown[list->count] = strndup(item, len)))
        return error_memory(err);
    grown[++list->count] = NULL;
    return 0;
}

/* The words of len bytes between any of the characters of separators. */
static int split(const char *text, size_t len, const char *separators, struct conf_list *out,
                 struct error *err)
{
    int rc = 0;
    for (size_t i = 0, begin = 0; !rc && i <= len; i++)
        if (i == len || strchr(separators, text[i])) {
            rc = i > begin ? list_add(out, text + begin, i - begin, err) : 0;
            begin = i + 1;
        }
    return rc;
}

static bool could_be_name(const char *word)
{
    if (strncmp(word, "*.", 2) == 0)
        word++;
    return strspn(word, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._") == strlen(word);
}

/*
 * postfix.sh: IFS=" " read -r -a, of what $(cat) gives; postmap takes no notice of a CR at the end.
 * docker-entrypoint.sh: ($(cat)), where a CR belongs to the word.
 */
int sni_words(const char *text, enum sni_reader reader, struct conf_list *out, struct error *err)
{
    CLEANUP(conf_list_free) struct conf_list words = {0};
    size_t len = reader == SNI_POSTFIX ? strcspn(text, "\n") : strlen(text);
    if (reader == SNI_POSTFIX && len && text[len - 1] == '\r')
        len--;
    int rc = split(text, len, reader == SNI_POSTFIX ? " " : " \t\n", &words, err);
    for (size_t i = 0; !rc && i < words.count; i++)
        if (could_be_name(words.items[i]))
            rc = list_add(out, words.items[i], strlen(words.items[i]), err);
    return rc;
}

/* ---- the file `domains` ---- */

void sni_domains_free(struct sni_domains *d)
{
    conf_list_free(&d->names);
    *d = (struct sni_domains){0};
}

static int add_name(struct conf_list *names, const char *word, struct error *err)
{
    char name[300], shown[100];
    size_t len = strlen(word);
    bool dot = *word == '.';
    if (len + dot < sizeof name) {
        name[0] = '*';
        text_lower(name + dot, sizeof name - dot, word);
    }
    if (len + dot >= sizeof name || !text_is_host_name(name, true))
        return error_set(err, E_FAILED, "not a host name: %s", text_escape(shown, sizeof shown, word, len));
    if (list_has(names, name))
        return 0;
    if (names->count == WANT_MAX_NAMES)
        return error_set(err, E_FAILED, "more than %d names", WANT_MAX_NAMES);
    return list_add(names, name, strlen(name), err);
}

/*
 * For nginx, whose words are Dovecot's but for a CR, `.x` is `*.x` and x at once. Behind `*.x` it is ignored,
 * and so is an x that comes still later.
 */
static bool serve_wildcard(const struct conf_list *names, const struct conf_list *postfix,
                           const struct conf_list *dovecot, const char *name)
{
    const char *parent = name + 1, *apex = parent + 1;
    size_t at = position(dovecot, name), parent_at = position(dovecot, parent);
    if (!list_has(postfix, parent) || !list_has(dovecot, name))
        return false;
    return list_has(names, apex) ? parent_at < at || position(dovecot, apex) < parent_at : at < parent_at;
}

static bool serve_all(const struct conf_list *names, const struct conf_list *postfix,
                      const struct conf_list *dovecot)
{
    for (size_t i = 0; i < names->count; i++) {
        const char *name = names->items[i];
        bool served = *name == '*' ? serve_wildcard(names, postfix, dovecot, name)
                                   : list_has(postfix, name) && list_has(dovecot, name);
        if (!served)
            return false;
    }
    return true;
}

static int parse_domains(const char *text, struct sni_domains *out, struct error *err)
{
    CLEANUP(conf_list_free) struct conf_list words = {0};
    CLEANUP(conf_list_free) struct conf_list postfix = {0};
    CLEANUP(conf_list_free) struct conf_list dovecot = {0};
    int rc = split(text, strlen(text), " \t\r\n", &words, err);
    if (!rc)
        rc = sni_words(text, SNI_POSTFIX, &postfix, err);
    if (!rc)
        rc = sni_words(text, SNI_DOVECOT, &dovecot, err);
    for (size_t i = 0; !rc && i < words.count; i++)
        rc = add_name(&out->names, words.items[i], err);
    if (!rc && !out->names.count)
        rc = error_set(err, E_FAILED, "no name in it");
    out->uniform = !rc && serve_all(&out->names, &postfix, &dovecot);
    return rc;
}

int sni_parse_domains(const char *text, struct sni_domains *out, struct error *err)
{
    struct sni_domains d = {.uniform = false};
    int rc = parse_domains(text, &d, err);
    if (rc < 0) {
        sni_domains_free(&d);
        return rc;
    }
    *out = d;
    return 0;
}

static void write_names(FILE *f, char *const *names, size_t count, bool wildcards)
{
    for (size_t i = 0; i < count; i++) {
        const char *space = ftell(f) > 0 ? " " : "";
        if (wildcards && *names[i] == '*')
            fprintf(f, "%s%s %s", space, names[i], names[i] + 1);
        if (!wildcards && *names[i] != '*')
            fprintf(f, "%s%s", space, names[i]);
    }
}

/* The order matters to nginx: see serve_wildcard. */
char *sni_format_domains(char *const *names, size_t count)
{
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    if (!f)
        return NULL;
    write_names(f, names, count, false);
    write_names(f, names, count, true);
    bool failed = ferror(f);
    if (fclose(f) || failed) {
        free(text);
        return NULL;
    }
    return text;
}

/* ---- scanning ---- */

void sni_folders_free(struct sni_folders *folders)
{
    for (size_t i = 0; i < folders->count; i++) {
        sni_domains_free(&folders->list[i].domains);
        free(folders->list[i].text);
    }
    free(folders->list);
    *folders = (struct sni_folders){0};
}

enum found {
    FOUND_NOTHING,
    FOUND_FILE,
    FOUND_LINK,
    FOUND_OTHER, /* a folder, … */
};

static int look_at(int dirfd, const char *name, enum found *out, struct error *err)
{
    struct stat st;
    if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        *out = S_ISREG(st.st_mode) ? FOUND_FILE : S_ISLNK(st.st_mode) ? FOUND_LINK : FOUND_OTHER;
    else if (errno == ENOENT)
        *out = FOUND_NOTHING;
    else
        return error_errno(err, name, "stat");
    return 0;
}

__attribute__((format(printf, 3, 4))) static void judge_as(struct sni_folder *folder, enum sni_state state,
                                                           const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(folder->problem, sizeof folder->problem, fmt, ap);
    va_end(ap);
    folder->state = state;
}

#define NOT_FOLLOWED "which is not followed from here: nothing renews it"

/* True when all three are files. */
static bool has_all(const enum found found[PART_COUNT], struct sni_folder *folder)
{
    char missing[64] = "";
    const char *other = NULL, *link = NULL;
    for (size_t i = 0; i < PART_COUNT; i++) {
        size_t len = strlen(missing);
        if (found[i] == FOUND_NOTHING)
            snprintf(missing + len, sizeof missing - len, "%s%s", len ? ", " : "", parts[i]);
        if (found[i] == FOUND_OTHER)
            other = parts[i];
        if (found[i] == FOUND_LINK)
            link = parts[i];
    }
    if (missing[0])
        judge_as(folder, SNI_INERT, "no service reads it: it lacks %s", missing);
    else if (other)
        judge_as(folder, SNI_UNUSABLE, "%s is not a regular file", other);
    else if (link)
        judge_as(folder, SNI_UNUSABLE, "%s is a symbolic link, " NOT_FOLLOWED "; put the file itself there",
                 link);
    return !missing[0] && !other && !link;
}

/* 0 without a text: it is none, and unusable. */
static int read_text(int dirfd, struct sni_folder *folder, struct error *err)
{
    AUTO_SECRET struct secret text = SECRET(SNI_DOMAINS_MAX);
    if (file_read(dirfd, DOMAINS, 0, &text, NULL, err)) {
        if (file_is_there(dirfd, DOMAINS, S_IFREG, SNI_DOMAINS_MAX))
            return err->code;
        judge_as(folder, SNI_UNUSABLE, "%.390s", err->text);
        return 0;
    }
    if (text.len && memchr(text.data, '\0', text.len)) {
        judge_as(folder, SNI_UNUSABLE, DOMAINS ": not a text: NUL bytes");
        return 0;
    }
    folder->text = strdup(text.len ? (char *)text.data : "");
    return folder->text ? 0 : error_memory(err);
}

static int read_domains(int dirfd, struct sni_folder *folder, struct error *err)
{
    int rc = read_text(dirfd, folder, err);
    if (rc || !folder->text)
        return rc;
    rc = sni_parse_domains(folder->text, &folder->domains, err);
    if (rc == E_FAILED) {
        judge_as(folder, SNI_UNUSABLE, DOMAINS ": %.380s", err->text);
        rc = 0;
    }
    return rc;
}

/* What would be a want, but for its name. */
static bool name_is_good(struct sni_folder *folder, const char *name)
{
    if (!want_is_id(name))
        judge_as(folder, SNI_UNUSABLE, "its name has other characters than letters, digits and - . _ *");
    else if (*name == '.')
        judge_as(folder, SNI_UNUSABLE,
                 "its name begins with a dot: nginx reads it, Postfix and Dovecot do not");
    else if (strcmp(name, WANT_PRIMARY) == 0)
        judge_as(folder, SNI_UNUSABLE, "its name is that of the primary certificate: rename it");
    else
        return true;
    return false;
}

/* Positive: none that holds cert.pem or domains. */
static int look_into(int dirfd, const char *name, struct sni_folder *out, struct error *err)
{
    enum found found[PART_COUNT] = {FOUND_NOTHING};
    int rc = 0;
    for (size_t i = 0; !rc && i < PART_COUNT; i++)
        rc = look_at(dirfd, parts[i], &found[i], err);
    if (rc < 0)
        return rc;
    if (found[PART_CERT] == FOUND_NOTHING && found[PART_DOMAINS] == FOUND_NOTHING)
        return 1;
    return has_all(found, out) && name_is_good(out, name) ? read_domains(dirfd, out, err) : 0;
}

/* A path in the SSL folder as the containers follow it: an absolute link into their mount leads to another
 * one in it. out: PATH_MAX bytes for that. */
static const char *follow(int ssl_fd, const char *path, char *out)
{
    static const char mounted[] = SNI_MOUNTED "/";
    const size_t len = sizeof mounted - 1;
    ssize_t n = readlinkat(ssl_fd, path, out, PATH_MAX - 1);
    if (n <= (ssize_t)len || memcmp(out, mounted, len) != 0)
        return path;
    out[n] = '\0';
    return out + len;
}

/* Other absolute links are taken to lead where they do on this host: dead ones would have Dovecot and nginx
 * refuse all. */
static bool leads_to(mode_t type, int ssl_fd, const char *path)
{
    char target[PATH_MAX];
    struct stat st;
    return fstatat(ssl_fd, follow(ssl_fd, path, target), &st, 0) == 0 && (st.st_mode & S_IFMT) == type;
}

/* Whether Postfix's and Dovecot's start scripts find all that they need in the folder, or through the link.
 */
static bool may_be_served(int ssl_fd, const char *name)
{
    char target[PATH_MAX], path[PATH_MAX + 20];
    const char *folder = follow(ssl_fd, name, target);
    bool may = *name != '.';
    for (size_t i = 0; may && i < PART_COUNT; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, parts[i]);
        may = leads_to(S_IFREG, ssl_fd, path);
    }
    return may;
}

/* The same of whatever has this name in the SSL folder. */
static int look_for(int ssl_fd, const char *name, struct sni_folder *out, struct error *err)
{
    struct stat st;
    text_escape(out->name, sizeof out->name, name, strlen(name));
    snprintf(out->file_name, sizeof out->file_name, "%s", name);
    if (fstatat(ssl_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 1 : error_errno(err, out->name, "stat");
    if (S_ISLNK(st.st_mode) && leads_to(S_IFDIR, ssl_fd, name)) {
        judge_as(out, SNI_UNUSABLE, "it is a symbolic link, " NOT_FOLLOWED "; put the folder itself there");
        return 0;
    }
    if (!S_ISDIR(st.st_mode))
        return 1;
    AUTO_CLOSE int dirfd = file_open_dir(ssl_fd, name, false, 0, err);
    if (dirfd < 0)
        return file_is_there(ssl_fd, name, S_IFDIR, SIZE_MAX) ? err->code : 1;
    int rc = look_into(dirfd, name, out, err);
    return rc < 0 ? error_wrap(err, "SNI folder %s", out->name) : rc;
}

static int add_folder(struct sni_folders *folders, int ssl_fd, const char *name, struct error *err)
{
    struct sni_folder *grown = reallocarray(folders->list, folders->count + 1, sizeof *grown);
    if (!grown)
        return error_memory(err);
    folders->list = grown;
    struct sni_folder *folder = &grown[folders->count];
    *folder = (struct sni_folder){.state = SNI_USED};
    int rc = look_for(ssl_fd, name, folder, err);
    if (rc < 0) {
        free(folder->text);
        return rc;
    }
    folder->is_unread = folder->state == SNI_UNUSABLE && !folder->text && may_be_served(ssl_fd, name);
    folders->count += rc == 0;
    return 0;
}

/* A shell sorts the whole paths, with the slash behind the name; the start scripts run in the C locale. */
int sni_compare(const char *a, const char *b)
{
    char x[WANT_ID_SIZE + 1], y[WANT_ID_SIZE + 1];
    snprintf(x, sizeof x, "%s/", a);
    snprintf(y, sizeof y, "%s/", b);
    return strcmp(x, y);
}

static int compare(const void *a, const void *b)
{
    return sni_compare(((const struct sni_folder *)a)->name, ((const struct sni_folder *)b)->name);
}

int sni_scan(int ssl_fd, struct sni_folders *out, struct error *err)
{
    AUTO_SNI_FOLDERS struct sni_folders found = {0};
    int fd = openat(ssl_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;
    AUTO_DIR DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        rc = error_errno(err, "SSL folder", "open");
        cleanup_closep(&fd);
        return rc;
    }
    for (struct dirent *e; !rc && (errno = 0, e = readdir(dir));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            rc = add_folder(&found, ssl_fd, e->d_name, err);
    if (!rc && errno)
        rc = error_errno(err, "SSL folder", "read");
    if (rc < 0)
        return rc;
    if (found.count)
        qsort(found.list, found.count, sizeof *found.list, compare);
    *out = found;
    found = (struct sni_folders){0};
    return 0;
}

/* ---- changing folders ---- */

/* Owner as this file has it; without privileges everything is ours already. */
static const struct file_owner *owner_of(const struct stat *st, struct file_owner *out)
{
    *out = (struct file_owner){.uid = st->st_uid, .gid = st->st_gid};
    return geteuid() == 0 ? out : NULL;
}

static int not_a_folder(const char *name, struct error *err)
{
    char shown[100];
    return error_set(err, E_FAILED, "not the name of an SNI folder: %s",
                     text_escape(shown, sizeof shown, name, strlen(name)));
}

static bool is_folder_name(const char *name)
{
    return want_is_id(name) && *name != '.' && strcmp(name, WANT_PRIMARY) != 0;
}

/* Positive: its file says these names, in whatever order and form, and so that every service serves them. */
static int says(int dirfd, char *const *names, size_t count, struct error *err)
{
    struct sni_folder folder = {.state = SNI_USED};
    int rc = read_domains(dirfd, &folder, err);
    bool same = folder.domains.uniform && folder.domains.names.count == count;
    for (size_t i = 0; same && i < count; i++)
        same = list_has(&folder.domains.names, names[i]);
    free(folder.text);
    sni_domains_free(&folder.domains);
    return rc ? rc : same;
}

static int write_domains(int dirfd, char *const *names, size_t count, struct error *err)
{
    struct file_owner owner;
    struct stat st;
    AUTO_FREE char *text = sni_format_domains(names, count);
    if (!text)
        return error_memory(err);
    bool is_new = fstatat(dirfd, DOMAINS, &st, AT_SYMLINK_NOFOLLOW) < 0;
    if (is_new && (errno != ENOENT || fstat(dirfd, &st) < 0))
        return error_errno(err, DOMAINS, "stat");
    int rc = is_new ? 0 : says(dirfd, names, count, err);
    if (rc)
        return rc < 0 ? rc : SNI_SAME;
    rc = file_replace_as(dirfd, DOMAINS, text, strlen(text), 0644, owner_of(&st, &owner), err);
    return !rc && is_new ? SNI_NEW : rc;
}

int sni_write_domains(int ssl_fd, const char *name, char *const *names, size_t count, struct error *err)
{
    if (!is_folder_name(name))
        return not_a_folder(name, err);
    AUTO_CLOSE int dirfd = file_open_dir(ssl_fd, name, false, 0, err);
    if (dirfd < 0)
        return err->code;
    int rc = write_domains(dirfd, names, count, err);
    return rc < 0 ? error_wrap(err, "SNI folder %s", name) : rc;
}

void sni_remove_temporaries(int ssl_fd)
{
    struct error ignored;
    int fd = openat(ssl_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    AUTO_DIR DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir)
        cleanup_closep(&fd);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        AUTO_CLOSE int folder =
            is_folder_name(e->d_name) ? file_open_dir(ssl_fd, e->d_name, false, 0, &ignored) : -1;
        if (folder >= 0)
            unlinkat(folder, DOMAINS_TEMP, 0);
    }
}

static int remove_file(int dirfd, const char *name, struct error *err)
{
    return unlinkat(dirfd, name, 0) < 0 && errno != ENOENT ? error_errno(err, name, "remove") : 0;
}

/* -1 with *out_rc: 0 when there is no such folder, or the failure. */
static int open_folder(int ssl_fd, const char *name, int *out_rc, struct error *err)
{
    struct stat st;
    *out_rc = 0;
    if (!is_folder_name(name)) {
        *out_rc = not_a_folder(name, err);
        return -1;
    }
    if (fstatat(ssl_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        *out_rc = errno == ENOENT ? 0 : error_errno(err, name, "stat");
        return -1;
    }
    int dirfd = file_open_dir(ssl_fd, name, false, 0, err);
    if (dirfd < 0)
        *out_rc = err->code;
    return dirfd;
}

int sni_has_domains(int ssl_fd, const char *name, struct error *err)
{
    int rc;
    enum found found;
    AUTO_CLOSE int dirfd = open_folder(ssl_fd, name, &rc, err);
    if (dirfd < 0)
        return rc;
    rc = look_at(dirfd, DOMAINS, &found, err);
    return rc ? rc : found != FOUND_NOTHING;
}

int sni_retire_folder(int ssl_fd, const char *name, struct error *err)
{
    int rc;
    AUTO_CLOSE int dirfd = open_folder(ssl_fd, name, &rc, err);
    if (dirfd < 0)
        return rc;
    rc = remove_file(dirfd, DOMAINS, err);
    return rc ? rc : file_sync_dir(dirfd, name, err);
}

/* domains first: without it the folder is inert. */
static int remove_parts(int dirfd, const char *name, struct error *err)
{
    static const char *const ours[] = {
        DOMAINS, ".key.pem.certsync", ".cert.pem.certsync", DOMAINS_TEMP, "acme.csr", "key.pem", "cert.pem"};
    int rc = remove_file(dirfd, ours[0], err);
    if (!rc)
        rc = file_sync_dir(dirfd, name, err);
    for (size_t i = 1; !rc && i < sizeof ours / sizeof *ours; i++)
        rc = remove_file(dirfd, ours[i], err);
    return rc;
}

/* What is left in a folder that could not be removed. */
static int name_foreign(int dirfd, const char *name, struct error *err)
{
    char shown[100] = "other files";
    int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    AUTO_DIR DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir)
        cleanup_closep(&fd);
    for (struct dirent *e; dir && (e = readdir(dir));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) {
            text_escape(shown, sizeof shown, e->d_name, strlen(e->d_name));
            break;
        }
    error_set(err, E_FAILED, "the folder %s stays: it holds %s, which is not from here", name, shown);
    return SNI_KEPT;
}

int sni_remove_folder(int ssl_fd, const char *name, struct error *err)
{
    int rc;
    AUTO_CLOSE int dirfd = open_folder(ssl_fd, name, &rc, err);
    if (dirfd < 0)
        return rc;
    rc = remove_parts(dirfd, name, err);
    if (rc < 0)
        return rc;
    if (unlinkat(ssl_fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
        return errno == ENOTEMPTY || errno == EEXIST ? name_foreign(dirfd, name, err)
                                                     : error_errno(err, name, "remove");
    return file_sync_dir(ssl_fd, "SSL folder", err);
}
