#include "pusher/places.h"
#include "pusher/lineage.h"

#include <glob.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name, *pattern;
} usual[] = {
    {"certbot", "/etc/letsencrypt/live"},
    {"npm", "/etc/nginx/letsencrypt/live"},
    /* beside a compose file that mounts ./letsencrypt, as its documentation has it */
    {"npm", "/opt/*/letsencrypt/live"},
    {"npm", "/srv/*/letsencrypt/live"},
    {"npm", "/root/*/letsencrypt/live"},
    {"npm", "/home/*/*/letsencrypt/live"},
    {"npm", "/var/lib/docker/volumes/*letsencrypt*/_data/live"},
};

static bool has_lineage(const char *path)
{
    char folder[PATH_MAX];
    AUTO_LINEAGES struct lineage_list lineages = {0};
    struct push_conf conf = {.sources = {{.name = (char[]){"place"}, .path = folder}}, .source_count = 1};
    snprintf(folder, sizeof folder, "%s", path);
    lineage_scan(&conf, &lineages, NULL);
    return lineages.count > 0;
}

static void add(struct place *out, size_t *count, const char *name, const char *path)
{
    unsigned same = 1;
    if (*count == PLACES_MAX || strlen(path) >= sizeof out->path || !has_lineage(path))
        return;
    for (size_t i = 0; i < *count; i++)
        same += strncmp(out[i].name, name, strlen(name)) == 0;
    struct place *place = &out[(*count)++];
    strcpy(place->path, path);
    if (same == 1)
        snprintf(place->name, sizeof place->name, "%s", name);
    else
        snprintf(place->name, sizeof place->name, "%s-%u", name, same);
}

size_t places_find(struct place *out)
{
    size_t count = 0;
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++) {
        glob_t found = {0};
        if (glob(usual[i].pattern, 0, NULL, &found) == 0)
            for (size_t n = 0; n < found.gl_pathc; n++)
                add(out, &count, usual[i].name, found.gl_pathv[n]);
        globfree(&found);
    }
    return count;
}
