#include "pusher/identity.h"
#include "common/command.h"
#include "common/file.h"
#include "pusher/ssh_blob.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <string.h>

#define IDENTITY_MAX (64 * 1024)

int identity_read(const char *path, struct ssh_key *out, struct error *err)
{
    AUTO_SECRET struct secret key = SECRET(IDENTITY_MAX);
    int rc = file_read(AT_FDCWD, path, FILE_FOLLOW | FILE_PRIVATE_KEY, &key, NULL, err);
    if (rc == FILE_MISSING)
        return IDENTITY_NONE;
    return rc ? (err->code = E_CONFIG) : ssh_key_inspect(&key, path, out, err);
}

/* What goes into the comment, and from there into a command line: no quotes, no spaces. */
static const char *comment(char *out, size_t size)
{
    char host[HOST_NAME_MAX + 1] = "";
    if (gethostname(host, sizeof host - 1) < 0 || !*host)
        strcpy(host, "proxy");
    for (char *p = host; *p; p++)
        if (!strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-", *p))
            *p = '-';
    snprintf(out, size, "mailcow-certsync@%s", host);
    return out;
}

static int generate(const char *path, struct error *err)
{
    char name[HOST_NAME_MAX + 32], why[300];
    AUTO_COMMAND struct command_output output = {0};
    const char *const argv[] = {
        "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment(name, sizeof name), "-f", path, NULL};
    int status = command_run(argv, NULL, &output, err);
    if (status < 0)
        return error_wrap(err, "make a key");
    if (status)
        return error_set(err, E_FAILED, "make a key: ssh-keygen: %s",
                         command_first_line(output.errors, why, sizeof why));
    return 0;
}

/* The private half last: when it is there, both are. A key that somebody else has made meanwhile is not
 * replaced. */
static int put_in_place(const char *from, const char *path, struct error *err)
{
    char from_public[PATH_MAX + 16], public[PATH_MAX + 16], folder[PATH_MAX];
    snprintf(from_public, sizeof from_public, "%s.pub", from);
    snprintf(public, sizeof public, "%s.pub", path);
    snprintf(folder, sizeof folder, "%s", path);
    AUTO_CLOSE int private_fd = open(from, O_RDONLY | O_CLOEXEC);
    if (private_fd < 0 || fsync(private_fd) < 0)
        return error_errno(err, from, "fsync");
    if (rename(from_public, public) < 0)
        return error_errno(err, public, "rename");
    if (link(from, path) < 0)
        return error_errno(err, path, "link");
    AUTO_CLOSE int dir = file_open_dir(AT_FDCWD, dirname(folder), false, 0, err);
    return dir < 0 ? err->code : file_sync_dir(dir, path, err);
}

int identity_make(const char *path, struct error *err)
{
    char folder[PATH_MAX], made[PATH_MAX], file[PATH_MAX + 8];
    snprintf(folder, sizeof folder, "%s", path);
    int n = snprintf(made, sizeof made, "%s/.enroll-XXXXXX", dirname(folder));
    if (n >= (int)sizeof made - 8)
        return error_set(err, E_CONFIG, "%s: too long", path);
    if (!mkdtemp(made))
        return error_errno(err, made, "make a folder");
    snprintf(file, sizeof file, "%s/key", made);
    int rc = generate(file, err);
    if (!rc)
        rc = put_in_place(file, path, err);
    struct error ignored;
    file_remove_tree(AT_FDCWD, made, &ignored);
    return rc;
}

bool identity_line(const struct ssh_key *key, char *out, size_t size)
{
    char base64[4 * sizeof key->blob / 3 + 8], name[HOST_NAME_MAX + 32];
    if (!ssh_blob_encode(base64, sizeof base64, key->blob, key->len))
        return false;
    return snprintf(out, size, "%s %s %s", key->type, base64, comment(name, sizeof name)) < (int)size;
}
