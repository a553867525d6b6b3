#include "deployer/docker_json.h"

#include "common/cleanup.h"
#include "common/text.h"

#include <arpa/inet.h>
#include <jansson.h>
#include <string.h>
#include <strings.h>

#define LABEL_PROJECT "com.docker.compose.project"
#define LABEL_SERVICE "com.docker.compose.service"
#define LABEL_ONEOFF  "com.docker.compose.oneoff"

#define LENGTH(array) (sizeof(array) / sizeof *(array))

#define AUTO_JSON CLEANUP(json_decrefp)

static int parse(const char *bytes, size_t len, json_t **out, struct error *err)
{
    char shown[120];
    *out = json_loadb(bytes, len, 0, NULL);
    if (*out)
        return 0;
    text_escape(shown, sizeof shown, bytes, len);
    return error_set(err, E_FAILED, "the answer is not JSON: \"%s\"", shown);
}

static int bad_shape(struct error *err, const char *what, const json_error_t *why)
{
    char shown[160] = "";
    if (why)
        text_escape(shown, sizeof shown, why->text, strlen(why->text));
    return error_set(err, E_FAILED, "the answer is not as documented: %s%s%s", what, why ? ": " : "", shown);
}

/* Several members of the API's are null where they could be empty. */
static bool is_missing(const json_t *value)
{
    return !value || json_is_null(value);
}

static void copy_text(char *out, size_t size, const char *in)
{
    text_escape(out, size, in, strlen(in));
}

static bool is_id(const char *text)
{
    size_t len = strlen(text);
    return len >= 12 && len <= 64 && strspn(text, "0123456789abcdef") == len;
}

static bool is_address(const char *text)
{
    unsigned char bytes[16];
    return inet_pton(AF_INET, text, bytes) == 1 || inet_pton(AF_INET6, text, bytes) == 1;
}

/* A container of the list */

static int add_address(struct docker_container *c, const char *address, struct error *err)
{
    if (!*address || c->address_count == LENGTH(c->addresses))
        return 0;
    if (!is_address(address))
        return bad_shape(err, "an address of NetworkSettings", NULL);
    snprintf(c->addresses[c->address_count++], sizeof *c->addresses, "%s", address);
    return 0;
}

static int read_networks(json_t *networks, struct docker_container *c, struct error *err)
{
    const char *name;
    json_t *network;
    json_error_t why;
    if (!is_missing(networks) && !json_is_object(networks))
        return bad_shape(err, "NetworkSettings.Networks", NULL);
    json_object_foreach(networks, name, network)
    {
        const char *v4 = "", *v6 = "";
        if (json_unpack_ex(network, &why, 0, "{s?s,s?s}", "IPAddress", &v4, "GlobalIPv6Address", &v6))
            return bad_shape(err, "NetworkSettings.Networks", &why);
        int r = add_address(c, v4, err);
        if (!r)
            r = add_address(c, v6, err);
        if (r)
            return r;
    }
    return 0;
}

static void add_port(struct docker_container *c, uint16_t inside, uint16_t outside, const char *ip)
{
    if (c->port_count == LENGTH(c->ports))
        return;
    struct docker_port *port = &c->ports[c->port_count++];
    port->container_port = inside;
    port->host_port = outside;
    if (outside)
        snprintf(port->host_ip, sizeof port->host_ip, "%s", *ip ? ip : "0.0.0.0");
}

static int read_port(json_t *row, struct docker_container *c, struct error *err)
{
    const char *type, *ip = "";
    json_int_t inside, outside = 0;
    json_error_t why;
    if (json_unpack_ex(row, &why, 0, "{s:s,s:I,s?I,s?s}", "Type", &type, "PrivatePort", &inside, "PublicPort",
                       &outside, "IP", &ip))
        return bad_shape(err, "Ports", &why);
    if (inside < 1 || inside > 65535 || outside < 0 || outside > 65535 || (*ip && !is_address(ip)))
        return bad_shape(err, "Ports: no port or address", NULL);
    if (strcmp(type, "tcp") == 0)
        add_port(c, (uint16_t)inside, (uint16_t)outside, ip);
    return 0;
}

static int read_mount(json_t *row, struct docker_container *c, struct error *err)
{
    const char *source = "", *target;
    json_error_t why;
    if (json_unpack_ex(row, &why, 0, "{s:s,s?s}", "Destination", &target, "Source", &source))
        return bad_shape(err, "Mounts", &why);
    if (c->mount_count == LENGTH(c->mounts))
        return 0;
    struct docker_mount *mount = &c->mounts[c->mount_count];
    if (strlen(source) >= sizeof mount->source || strlen(target) >= sizeof mount->target)
        return 0;
    strcpy(mount->source, source);
    strcpy(mount->target, target);
    c->mount_count++;
    return 0;
}

static int read_rows(const char *key, json_t *rows,
                     int (*read_row)(json_t *, struct docker_container *, struct error *),
                     struct docker_container *c, struct error *err)
{
    size_t i;
    json_t *row;
    if (!is_missing(rows) && !json_is_array(rows))
        return bad_shape(err, key, NULL);
    json_array_foreach(rows, i, row)
    {
        int r = read_row(row, c, err);
        if (r)
            return r;
    }
    return 0;
}

/* Names also holds the aliases of links, "/other/alias"; a container that is being removed may have none. */
static int read_name(json_t *names, struct docker_container *c, struct error *err)
{
    size_t i;
    json_t *name;
    snprintf(c->name, sizeof c->name, "%.12s", c->id);
    if (!is_missing(names) && !json_is_array(names))
        return bad_shape(err, "Names", NULL);
    json_array_foreach(names, i, name)
    {
        const char *text = json_string_value(name);
        if (!text)
            return bad_shape(err, "Names", NULL);
        text += *text == '/';
        if (*text && !strchr(text, '/'))
            copy_text(c->name, sizeof c->name, text);
    }
    return 0;
}

/* The members that container_read puts in their places. */
struct row {
    const char *id, *state, *status;
    json_int_t created;
    json_t *names, *labels, *ports, *mounts, *networks;
};

static int read_row(json_t *json, struct row *row, struct error *err)
{
    json_t *conf = NULL;
    json_error_t why;
    if (json_unpack_ex(json, &why, 0, "{s:s,s:s,s?s,s?I,s:o,s:o,s?o,s?o,s?o}", "Id", &row->id, "State",
                       &row->state, "Status", &row->status, "Created", &row->created, "Names", &row->names,
                       "Labels", &row->labels, "Ports", &row->ports, "Mounts", &row->mounts,
                       "NetworkSettings", &conf))
        return bad_shape(err, "a container", &why);
    if (!is_missing(row->labels) && !json_is_object(row->labels))
        return bad_shape(err, "Labels", NULL);
    if (!is_missing(conf) && !json_is_object(conf))
        return bad_shape(err, "NetworkSettings", NULL);
    row->networks = json_object_get(conf, "Networks");
    return is_id(row->id) ? 0 : bad_shape(err, "Id", NULL);
}

static int fill_container(const struct row *row, const char *service, struct docker_container *c,
                          struct error *err)
{
    snprintf(c->id, sizeof c->id, "%s", row->id);
    copy_text(c->service, sizeof c->service, service);
    copy_text(c->state, sizeof c->state, row->state);
    copy_text(c->status, sizeof c->status, row->status ? row->status : "");
    c->created = row->created;
    int r = read_name(row->names, c, err);
    if (!r)
        r = read_networks(row->networks, c, err);
    if (!r)
        r = read_rows("Ports", row->ports, read_port, c, err);
    return r ? r : read_rows("Mounts", row->mounts, read_mount, c, err);
}

static const char *label_of(const json_t *labels, const char *label)
{
    const char *text = json_string_value(json_object_get(labels, label));
    return text ? text : "";
}

static int add_container(json_t *json, const char *project, struct docker_containers *all, struct error *err)
{
    struct row row = {0};
    int r = read_row(json, &row, err);
    if (r)
        return r;
    if (strcasecmp(label_of(row.labels, LABEL_PROJECT), project) != 0 ||
        strcasecmp(label_of(row.labels, LABEL_ONEOFF), "true") == 0)
        return 0;
    if (all->count == DOCKER_CONTAINERS_MAX)
        return error_set(err, E_FAILED, "more than %d containers", DOCKER_CONTAINERS_MAX);
    return fill_container(&row, label_of(row.labels, LABEL_SERVICE), &all->list[all->count++], err);
}

int docker_json_containers(const char *bytes, size_t len, const char *project, struct docker_containers *out,
                           struct error *err)
{
    AUTO_JSON json_t *rows = NULL;
    AUTO_CONTAINERS struct docker_containers all = {0};
    size_t i;
    json_t *row;
    int r = parse(bytes, len, &rows, err);
    if (!r && !json_is_array(rows))
        r = bad_shape(err, "no array", NULL);
    if (r)
        return r;
    size_t count = json_array_size(rows);
    all.list = calloc(count < DOCKER_CONTAINERS_MAX ? count + 1 : DOCKER_CONTAINERS_MAX, sizeof *all.list);
    if (!all.list)
        return error_memory(err);
    json_array_foreach(rows, i, row)
    {
        r = add_container(row, project, &all, err);
        if (r)
            return r;
    }
    *out = all;
    all.list = NULL;
    return 0;
}

void docker_containers_free(struct docker_containers *containers)
{
    free(containers->list);
    memset(containers, 0, sizeof *containers);
}

/* A container that is looked at */

static int read_binding(json_t *row, uint16_t inside, struct docker_container *c, struct error *err)
{
    const char *ip = "", *text;
    long outside;
    json_error_t why;
    if (json_unpack_ex(row, &why, 0, "{s?s,s:s}", "HostIp", &ip, "HostPort", &text))
        return bad_shape(err, "NetworkSettings.Ports", &why);
    if (!text_parse_number(text, 1, 65535, &outside) || (*ip && !is_address(ip)))
        return bad_shape(err, "NetworkSettings.Ports: no port or address", NULL);
    add_port(c, inside, (uint16_t)outside, ip);
    return 0;
}

/* "443/tcp": its bindings, or null for a port that is only exposed */
static int read_bindings(const char *port, json_t *rows, struct docker_container *c, struct error *err)
{
    char digits[8];
    size_t i, len = strcspn(port, "/");
    json_t *row;
    long inside;
    if (strcmp(port + len, "/tcp") != 0)
        return 0;
    snprintf(digits, sizeof digits, "%.*s", len < sizeof digits ? (int)len : 0, port);
    if (!text_parse_number(digits, 1, 65535, &inside) || (!is_missing(rows) && !json_is_array(rows)))
        return bad_shape(err, "NetworkSettings.Ports", NULL);
    if (json_array_size(rows) == 0)
        add_port(c, (uint16_t)inside, 0, "");
    json_array_foreach(rows, i, row)
    {
        int r = read_binding(row, (uint16_t)inside, c, err);
        if (r)
            return r;
    }
    return 0;
}

static int read_port_map(json_t *ports, struct docker_container *c, struct error *err)
{
    const char *port;
    json_t *rows;
    if (!is_missing(ports) && !json_is_object(ports))
        return bad_shape(err, "NetworkSettings.Ports", NULL);
    json_object_foreach(ports, port, rows)
    {
        int r = read_bindings(port, rows, c, err);
        if (r)
            return r;
    }
    return 0;
}

static int read_health(json_t *health, struct docker_container *c, struct error *err)
{
    const char *status = "";
    json_error_t why;
    if (is_missing(health))
        return 0;
    if (json_unpack_ex(health, &why, 0, "{s?s}", "Status", &status))
        return bad_shape(err, "State.Health", &why);
    if (strcmp(status, "none") != 0)
        copy_text(c->health, sizeof c->health, status);
    return 0;
}

static int fill_inspected(json_t *json, struct docker_container *c, struct error *err)
{
    struct row row = {0};
    const char *name;
    json_t *health = NULL, *conf = NULL, *settings = NULL;
    json_error_t why;
    if (json_unpack_ex(json, &why, 0, "{s:s,s:s,s:{s:s,s?o},s?o,s?o,s?o}", "Id", &row.id, "Name", &name,
                       "State", "Status", &row.state, "Health", &health, "Config", &conf, "NetworkSettings",
                       &settings, "Mounts", &row.mounts))
        return bad_shape(err, "a container", &why);
    if (!is_id(row.id))
        return bad_shape(err, "Id", NULL);
    row.networks = json_object_get(settings, "Networks");
    int r = fill_container(&row, label_of(json_object_get(conf, "Labels"), LABEL_SERVICE), c, err);
    copy_text(c->name, sizeof c->name, name + (*name == '/'));
    if (!r)
        r = read_port_map(json_object_get(settings, "Ports"), c, err);
    return r ? r : read_health(health, c, err);
}

int docker_json_container(const char *bytes, size_t len, struct docker_container *out, struct error *err)
{
    AUTO_JSON json_t *json = NULL;
    struct docker_container c = {0};
    int r = parse(bytes, len, &json, err);
    if (!r)
        r = fill_inspected(json, &c, err);
    if (!r)
        *out = c;
    return r;
}

/* The details of a container */

static int read_env(json_t *rows, struct docker_details *out, struct error *err)
{
    size_t i;
    json_t *row;
    if (!is_missing(rows) && !json_is_array(rows))
        return bad_shape(err, "Config.Env", NULL);
    out->env = calloc(json_array_size(rows) + 1, sizeof *out->env);
    if (!out->env)
        return error_memory(err);
    json_array_foreach(rows, i, row)
    {
        if (!json_is_string(row))
            return bad_shape(err, "Config.Env", NULL);
        out->env[i] = strdup(json_string_value(row));
        if (!out->env[i])
            return error_memory(err);
    }
    return 0;
}

/* As Go writes it, with a fraction of a second and Z or an offset; 0 for what is none, or is long ago. */
static int64_t read_time(const char *text)
{
    struct tm tm = {0}, zone = {0};
    const char *end = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    if (end && *end == '.')
        end += 1 + strspn(end + 1, "0123456789");
    if (!end || !strptime(end, "%z", &zone))
        return 0;
    int64_t t = timegm(&tm) - zone.tm_gmtoff;
    return t > 0 ? t : 0;
}

int docker_json_details(const char *bytes, size_t len, struct docker_details *out, struct error *err)
{
    AUTO_JSON json_t *json = NULL;
    AUTO_DETAILS struct docker_details details = {0};
    const char *userns = "", *policy = "", *started = "";
    json_t *env = NULL;
    json_error_t why;
    int r = parse(bytes, len, &json, err);
    if (r)
        return r;
    if (json_unpack_ex(json, &why, 0, "{s:{s?o},s:{s?s,s?{s?s}},s?{s?s}}", "Config", "Env", &env,
                       "HostConfig", "UsernsMode", &userns, "RestartPolicy", "Name", &policy, "State",
                       "StartedAt", &started))
        return bad_shape(err, "a container", &why);
    copy_text(details.userns_mode, sizeof details.userns_mode, userns);
    copy_text(details.restart_policy, sizeof details.restart_policy, policy);
    details.started = read_time(started);
    r = read_env(env, &details, err);
    if (r)
        return r;
    *out = details;
    details.env = NULL;
    return 0;
}

void docker_details_free(struct docker_details *details)
{
    for (char **p = details->env; p && *p; p++)
        free(*p);
    free(details->env);
    memset(details, 0, sizeof *details);
}

const char *docker_env(const struct docker_details *details, const char *key)
{
    size_t len = strlen(key);
    for (char **p = details->env; p && *p; p++)
        if (strncmp(*p, key, len) == 0 && (*p)[len] == '=')
            return *p + len + 1;
    return NULL;
}

/* The engine */

/* An engine that remaps keeps its data in a folder that is named by its root: /var/lib/docker/231072.231072.
 */
static void read_root(const char *folder, struct docker_info *out)
{
    char rest;
    const char *slash = strrchr(folder, '/');
    out->root_is_known = slash && sscanf(slash + 1, "%9u.%9u%c", &out->root_uid, &out->root_gid, &rest) == 2;
}

int docker_json_info(const char *bytes, size_t len, struct docker_info *out, struct error *err)
{
    AUTO_JSON json_t *json = NULL;
    struct docker_info info = {0};
    const char *folder = "";
    json_t *options = NULL, *option;
    size_t i;
    json_error_t why;
    int r = parse(bytes, len, &json, err);
    if (r)
        return r;
    if (json_unpack_ex(json, &why, 0, "{s?s,s?o}", "DockerRootDir", &folder, "SecurityOptions", &options))
        return bad_shape(err, "the engine", &why);
    if (!is_missing(options) && !json_is_array(options))
        return bad_shape(err, "SecurityOptions", NULL);
    json_array_foreach(options, i, option)
    {
        const char *text = json_string_value(option);
        info.remaps_users = info.remaps_users || (text && strcmp(text, "name=userns") == 0);
    }
    if (info.remaps_users)
        read_root(folder, &info);
    *out = info;
    return 0;
}

/* The other answers */

int docker_json_exec_id(const char *bytes, size_t len, char out[65], struct error *err)
{
    AUTO_JSON json_t *json = NULL;
    int r = parse(bytes, len, &json, err);
    if (r)
        return r;
    const char *id = json_string_value(json_object_get(json, "Id"));
    if (!id || !is_id(id))
        return bad_shape(err, "Id of the command", NULL);
    snprintf(out, 65, "%s", id);
    return 0;
}

int docker_json_exec_state(const char *bytes, size_t len, int *out_exit_code, struct error *err)
{
    AUTO_JSON json_t *json = NULL;
    json_t *code;
    json_error_t why;
    int running;
    int r = parse(bytes, len, &json, err);
    if (r)
        return r;
    if (json_unpack_ex(json, &why, 0, "{s:b,s:o}", "Running", &running, "ExitCode", &code))
        return bad_shape(err, "the state of the command", &why);
    if (running || json_is_null(code))
        return DOCKER_JSON_RUNNING;
    if (!json_is_integer(code) || json_integer_value(code) < 0 || json_integer_value(code) > 255)
        return bad_shape(err, "ExitCode", NULL);
    *out_exit_code = (int)json_integer_value(code);
    return 0;
}

int docker_json_oldest_api(const char *bytes, size_t len, char out[16], struct error *err)
{
    AUTO_JSON json_t *json = NULL;
    int r = parse(bytes, len, &json, err);
    if (r)
        return r;
    const char *text = json_string_value(json_object_get(json, "MinAPIVersion"));
    if (!text || strlen(text) >= 16)
        return bad_shape(err, "MinAPIVersion", NULL);
    snprintf(out, 16, "%s", text);
    return 0;
}

char *docker_json_message(char *out, size_t size, const char *bytes, size_t len)
{
    AUTO_JSON json_t *json = json_loadb(bytes, len, 0, NULL);
    const char *message = json_string_value(json_object_get(json, "message"));
    return message ? text_escape(out, size, message, strlen(message)) : text_escape(out, size, bytes, len);
}

/* What is asked */

char *docker_json_filters(const char *project)
{
    AUTO_FREE char *label = NULL;
    if (asprintf(&label, LABEL_PROJECT "=%s", project) < 0) {
        label = NULL;
        return NULL;
    }
    AUTO_JSON json_t *json = json_pack("{s:[s]}", "label", label);
    return json ? json_dumps(json, JSON_COMPACT) : NULL;
}

char *docker_json_exec(const char *const argv[])
{
    AUTO_JSON json_t *cmd = json_array();
    for (size_t i = 0; argv[i]; i++)
        if (json_array_append_new(cmd, json_string(argv[i])))
            return NULL;
    AUTO_JSON json_t *body = json_pack("{s:b,s:b,s:b,s:b,s:O}", "AttachStdin", 0, "AttachStdout", 1,
                                       "AttachStderr", 1, "Tty", 0, "Cmd", cmd);
    return body ? json_dumps(body, JSON_COMPACT) : NULL;
}
