/*
 * The engine's JSON: reads what it answers and writes what it is asked, as pure functions of bytes. What is
 * not JSON, or not of the documented shape, is E_FAILED with what was wrong; texts of the engine are escaped.
 */
#ifndef DEPLOYER_DOCKER_JSON_H
#define DEPLOYER_DOCKER_JSON_H

#include "common/error.h"
#include "deployer/docker.h"

#include <stddef.h>

/* GET /containers/json: those of the project (lower case), as docker_containers documents them. */
int docker_json_containers(const char *bytes, size_t len, const char *project, struct docker_containers *out,
                           struct error *err);

/* GET /containers/ID/json, as docker_containers documents a container, and its health. */
int docker_json_container(const char *bytes, size_t len, struct docker_container *out, struct error *err);

/* GET /containers/ID/json: what docker_inspect documents. */
int docker_json_details(const char *bytes, size_t len, struct docker_details *out, struct error *err);

/* GET /info */
int docker_json_info(const char *bytes, size_t len, struct docker_info *out, struct error *err);

/* POST /containers/ID/exec: the id of the command, hexadecimal. */
int docker_json_exec_id(const char *bytes, size_t len, char out[65], struct error *err);

/* Positive result of docker_json_exec_state, beside DOCKER_FORBIDDEN. */
#define DOCKER_JSON_RUNNING 2

/* GET /exec/ID/json: 0 and the exit code of a command that has ended, or DOCKER_JSON_RUNNING. */
int docker_json_exec_state(const char *bytes, size_t len, int *out_exit_code, struct error *err);

/* GET /version: the member MinAPIVersion, as it is. */
int docker_json_oldest_api(const char *bytes, size_t len, char out[16], struct error *err);

/* The message of an error's body, or the body itself, escaped. Returns out. */
char *docker_json_message(char *out, size_t size, const char *bytes, size_t len);

/* {"label":["com.docker.compose.project=…"]}; owned by the caller, NULL without memory. */
char *docker_json_filters(const char *project);

/* The body that creates a command; owned by the caller, NULL without memory or when argv is not UTF-8. */
char *docker_json_exec(const char *const argv[]);

#endif
