#include "pusher/pin.h"
#include "common/cleanup.h"

#include <string.h>

#define SSH_PORT 22

static bool is_to_go(const struct known_hosts *known, size_t line, uint16_t port)
{
    for (size_t i = 0; i < known->count; i++) {
        const struct known_key *key = &known->keys[i];
        if (key->line == line && !key->revoked && (key->for_port || port == SSH_PORT))
            return true;
    }
    return false;
}

static bool names_several(const char *line)
{
    line += strspn(line, " \t");
    return line[strcspn(line, ", \t\n")] == ',';
}

static int copy_others(FILE *out, const char *text, const char *path, const struct known_hosts *known,
                       uint16_t port, struct error *err)
{
    for (size_t line = 1; *text; line++) {
        size_t len = strcspn(text, "\n");
        bool go = is_to_go(known, line, port);
        if (go && names_several(text))
            return error_set(err, E_CONFIG,
                             "%s:%zu: it names other hosts, too: take this one out of the line, then "
                             "try again",
                             path, line);
        if (!go)
            fprintf(out, "%.*s\n", (int)len, text);
        text += len + (text[len] == '\n');
    }
    return 0;
}

int pin_edit(const char *text, const char *path, const struct known_hosts *known, const char *host,
             uint16_t port, const char *type, const char *base64, char **out, struct error *err)
{
    AUTO_FREE char *edited = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&edited, &size);
    if (!f)
        return error_memory(err);
    int rc = copy_others(f, text, path, known, port, err);
    if (type && port == SSH_PORT)
        fprintf(f, "%s %s %s\n", host, type, base64);
    else if (type)
        fprintf(f, "[%s]:%u %s %s\n", host, port, type, base64);
    if (fclose(f) != 0)
        return error_memory(err);
    if (rc < 0)
        return rc;
    *out = edited;
    edited = NULL;
    return 0;
}
