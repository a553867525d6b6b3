#include "pusher/watch.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#define LINKS_MAX 40 /* as the kernel's */
/* Of a folder on the way, and of one with a file in it. */
#define FOLDER_EVENTS                                                                                        \
    (IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF)
#define FILE_EVENTS (FOLDER_EVENTS | IN_CLOSE_WRITE)

/* A name in a folder that matters; NULL: every name. */
struct watched {
    int wd;
    char *name;
};

struct watch {
    int fd;
    struct watched *list;
    size_t count;
    int *folders; /* the wd of each folder */
    size_t folder_count;
    struct error trouble; /* the first of this arming */
};

int watch_new(struct watch **out, struct error *err)
{
    struct watch *w = calloc(1, sizeof *w);
    if (!w)
        return error_memory(err);
    w->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (w->fd < 0) {
        free(w);
        return error_errno(err, "watch", "inotify_init (fs.inotify.max_user_instances limits it)");
    }
    *out = w;
    return 0;
}

static void forget(struct watch *w)
{
    for (size_t i = 0; i < w->count; i++)
        free(w->list[i].name);
    free(w->list);
    free(w->folders);
    w->list = NULL;
    w->folders = NULL;
    w->count = w->folder_count = 0;
}

void watch_free(struct watch *w)
{
    forget(w);
    close(w->fd);
    free(w);
}

int watch_fd(const struct watch *w)
{
    return w->fd;
}

size_t watch_folders(const struct watch *w)
{
    return w->folder_count;
}

/* ---- arming ---- */

static bool has_folder(const int *folders, size_t count, int wd)
{
    for (size_t i = 0; i < count; i++)
        if (folders[i] == wd)
            return true;
    return false;
}

static bool same_name(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static int remember(struct watch *w, int wd, const char *name)
{
    for (size_t i = 0; i < w->count; i++)
        if (w->list[i].wd == wd && same_name(w->list[i].name, name))
            return 0;
    struct watched *list = reallocarray(w->list, w->count + 1, sizeof *list);
    if (!list)
        return -1;
    w->list = list;
    list[w->count] = (struct watched){.wd = wd, .name = name ? strdup(name) : NULL};
    if (name && !list[w->count].name)
        return -1;
    w->count++;
    if (has_folder(w->folders, w->folder_count, wd))
        return 0;
    int *folders = reallocarray(w->folders, w->folder_count + 1, sizeof *folders);
    if (!folders)
        return -1;
    w->folders = folders;
    folders[w->folder_count++] = wd;
    return 0;
}

static void note_trouble(struct watch *w, const char *folder)
{
    if (w->trouble.code || errno == ENOENT ||
        errno == ENOTDIR) /* these come back as events of the folder above */
        return;
    if (errno == ENOSPC)
        error_set(&w->trouble, E_TEMPORARY,
                  "%s: cannot be watched: raise fs.inotify.max_user_watches (sysctl); until then its changes "
                  "are seen "
                  "only by the passes that the clock starts",
                  folder);
    else
        error_errno(&w->trouble, folder, "watch");
}

/* folder: "" is the root. */
static void add(struct watch *w, const char *folder, const char *name, uint32_t events)
{
    int wd = inotify_add_watch(w->fd, *folder ? folder : "/", events | IN_ONLYDIR | IN_MASK_ADD);
    if (wd < 0)
        note_trouble(w, folder);
    else if (remember(w, wd, name) < 0)
        error_memory(&w->trouble);
}

/* Where a path leads, as far as it has been followed. */
struct way {
    char real[PATH_MAX]; /* without links; "" is the root */
    char rest[PATH_MAX];
    unsigned links;
};

static bool take_name(struct way *way, char name[NAME_MAX + 1])
{
    size_t skip = strspn(way->rest, "/"), len = strcspn(way->rest + skip, "/");
    if (!len || len > NAME_MAX)
        return false;
    memcpy(name, way->rest + skip, len);
    name[len] = '\0';
    memmove(way->rest, way->rest + skip + len, strlen(way->rest + skip + len) + 1);
    return true;
}

static void go_up(struct way *way)
{
    char *slash = strrchr(way->real, '/');
    if (slash)
        *slash = '\0';
}

/* The link's target is what is to be followed next. */
static bool follow_link(struct way *way, const char *link)
{
    char target[PATH_MAX], rest[PATH_MAX];
    ssize_t n = readlink(link, target, sizeof target - 1);
    if (n < 0 || ++way->links > LINKS_MAX)
        return false;
    target[n] = '\0';
    strcpy(rest, way->rest);
    if ((size_t)n + strlen(rest) + 2 > sizeof way->rest)
        return false;
    snprintf(way->rest, sizeof way->rest, "%.*s/%.*s", (int)n, target, (int)(sizeof rest - (size_t)n - 2),
             rest);
    if (*target == '/')
        way->real[0] = '\0';
    return true;
}

/* Watches the folder for the name before looking at what it leads to, so that no change is missed in between.
 */
static bool step(struct watch *w, struct way *way, const char *name)
{
    char next[PATH_MAX + NAME_MAX + 2];
    struct stat st;
    if (strcmp(name, ".") == 0)
        return true;
    if (strcmp(name, "..") == 0) {
        go_up(way);
        return true;
    }
    add(w, way->real, name, way->rest[strspn(way->rest, "/")] ? FOLDER_EVENTS : FILE_EVENTS);
    snprintf(next, sizeof next, "%s/%s", way->real, name);
    if (strlen(next) >= sizeof way->real || lstat(next, &st) < 0)
        return false;
    if (S_ISLNK(st.st_mode))
        return follow_link(way, next);
    strcpy(way->real, next);
    return true;
}

/* Follows path, below folder; out_real (may be NULL) is where it leads. False: to nothing as yet. */
static bool follow(struct watch *w, const char *folder, const char *path, char out_real[PATH_MAX])
{
    struct way way = {.links = 0};
    char name[NAME_MAX + 1];
    snprintf(way.real, sizeof way.real, "%s", folder);
    snprintf(way.rest, sizeof way.rest, "%s", path);
    while (take_name(&way, name))
        if (!step(w, &way, name))
            return false;
    if (out_real)
        strcpy(out_real, way.real);
    return true;
}

static void watch_lineage(struct watch *w, const char *folder, const char *name)
{
    static const char *const files[] = {"fullchain.pem", "privkey.pem"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char path[NAME_MAX + 32];
        snprintf(path, sizeof path, "%s/%s", name, files[i]);
        follow(w, folder, path, NULL);
    }
}

/* A folder of lineages, or one lineage: which of both may change. */
static void watch_folder(struct watch *w, const char *path)
{
    char real[PATH_MAX];
    if (!follow(w, "", path, real))
        return;
    add(w, real, NULL, FOLDER_EVENTS);
    watch_lineage(w, real, ".");
    AUTO_DIR DIR *dir = opendir(*real ? real : "/");
    for (struct dirent *e; dir && (e = readdir(dir));)
        if (e->d_name[0] != '.' && (e->d_type == DT_DIR || e->d_type == DT_LNK || e->d_type == DT_UNKNOWN))
            watch_lineage(w, real, e->d_name);
}

/* What was watched before, and is not any more. */
static void drop(const struct watch *w, const int *folders, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!has_folder(w->folders, w->folder_count, folders[i]))
            inotify_rm_watch(w->fd, folders[i]);
}

int watch_arm(struct watch *w, const char *config, const struct push_conf *conf, struct error *err)
{
    AUTO_FREE int *before = w->folders;
    size_t before_count = w->folder_count;
    w->folders = NULL;
    forget(w);
    w->trouble = (struct error){0};
    follow(w, "", config, NULL);
    for (size_t i = 0; i < conf->source_count; i++) {
        const struct source *s = &conf->sources[i];
        if (s->path) {
            watch_folder(w, s->path);
        } else {
            follow(w, "", s->cert, NULL);
            follow(w, "", s->key, NULL);
        }
    }
    drop(w, before, before_count);
    if (w->trouble.code)
        *err = w->trouble;
    return w->trouble.code;
}

/* ---- events ---- */

static bool concerns(const struct watch *w, const struct inotify_event *event)
{
    if (event->mask & IN_Q_OVERFLOW)
        return true;
    if (event->mask & (IN_IGNORED | IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT))
        return has_folder(w->folders, w->folder_count, event->wd);
    for (size_t i = 0; i < w->count; i++)
        if (w->list[i].wd == event->wd &&
            (!w->list[i].name || (event->len && same_name(w->list[i].name, event->name))))
            return true;
    return false;
}

bool watch_read(struct watch *w)
{
    union {
        struct inotify_event event;
        char bytes[16384];
    } buffer;
    bool changed = false;
    for (ssize_t n; (n = read(w->fd, buffer.bytes, sizeof buffer.bytes)) > 0;)
        for (char *p = buffer.bytes; p < buffer.bytes + n;) {
            struct inotify_event event;
            memcpy(&event, p, sizeof event);
            changed = concerns(w, (const struct inotify_event *)(const void *)p) || changed;
            p += sizeof event + event.len;
        }
    return changed;
}
