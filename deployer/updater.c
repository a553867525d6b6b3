#include "deployer/updater.h"
#include "common/cleanup.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#define SCRIPT      "update.sh"
#define COMMAND_MAX 4096 /* bytes of a command line; its first words are what matters */

struct command {
    char bytes[COMMAND_MAX + 1]; /* words, each ended by a NUL */
    size_t len;
};

static bool read_command(int process, struct command *out)
{
    AUTO_CLOSE int fd = openat(process, "cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, out->bytes, COMMAND_MAX);
    out->len = n < 0 ? 0 : (size_t)n;
    out->bytes[out->len] = '\0';
    return out->len > 0;
}

static const char *next_word(const struct command *c, const char *word)
{
    word += strlen(word) + 1;
    return word < c->bytes + c->len ? word : NULL;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static bool is_shell(const char *program)
{
    const char *name = base_name(program);
    return strcmp(name, "bash") == 0 || strcmp(name, "sh") == 0 || strcmp(name, "dash") == 0;
}

/* The script that the command line executes: its first word, or a shell's first that is no option. */
static const char *script_of(const struct command *c)
{
    const char *word = c->bytes;
    if (!is_shell(word))
        return word;
    do
        word = next_word(c, word);
    while (word && *word == '-');
    return word;
}

static bool belongs_to_root(int process)
{
    struct stat st;
    return fstat(process, &st) == 0 && st.st_uid == 0;
}

/*
 * The folder and not the file is compared: the script replaces itself while it runs. A relative path is that
 * of the process's working directory, and update.sh insists on being called in its own. Which that is only
 * CAP_SYS_PTRACE shows of a process with more capabilities: then root's is taken for it. Nobody else can run
 * mailcow's.
 */
static bool lies_in(int process, const char *script, const struct stat *folder)
{
    char path[COMMAND_MAX + 8];
    struct stat st;
    int len = (int)(base_name(script) - script);
    snprintf(path, sizeof path, "%s%.*s", *script == '/' ? "" : "cwd/", len, script);
    if (fstatat(process, path, &st, 0) < 0)
        return errno == EACCES && belongs_to_root(process);
    return st.st_dev == folder->st_dev && st.st_ino == folder->st_ino;
}

static bool is_update(int process, const struct stat *folder)
{
    struct command c;
    if (!read_command(process, &c))
        return false;
    const char *script = script_of(&c);
    return script && strcmp(base_name(script), SCRIPT) == 0 && lies_in(process, script, folder);
}

pid_t updater_find(const char *proc, const char *mailcow)
{
    struct stat folder;
    AUTO_DIR DIR *dir = opendir(proc);
    if (!dir || stat(mailcow, &folder) < 0)
        return 0;
    for (struct dirent *e; (e = readdir(dir));) {
        if (!isdigit((unsigned char)e->d_name[0]))
            continue;
        AUTO_CLOSE int process = openat(dirfd(dir), e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (process >= 0 && is_update(process, &folder))
            return (pid_t)strtol(e->d_name, NULL, 10);
    }
    return 0;
}
