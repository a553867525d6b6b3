#include "common/libexec.h"

#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

/* The folder of this program's file. */
static const char *own_folder(char buffer[PATH_MAX], struct error *err)
{
    ssize_t n = readlink("/proc/self/exe", buffer, PATH_MAX - 1);
    if (n < 0) {
        error_errno(err, "/proc/self/exe", "readlink");
        return NULL;
    }
    buffer[n] = '\0';
    return dirname(buffer);
}

int libexec_path(char *out, size_t size, const char *program, struct error *err)
{
    char self[PATH_MAX];
    const char *folder = own_folder(self, err);
    if (!folder)
        return E_FAILED;
    snprintf(out, size, "%s/%s", folder, program);
    if (access(out, X_OK) == 0)
        return 0;
    snprintf(out, size, "%s/libexec/%s", dirname(self), program);
    return 0;
}

int libexec_data(char *out, size_t size, const char *name, struct error *err)
{
    char self[PATH_MAX];
    const char *folder = own_folder(self, err);
    if (!folder)
        return E_FAILED;
    snprintf(out, size, "%s/share/mailcow-certsync/%s", dirname(self), name);
    return 0;
}
