/*
 * The file with a service mailbox's name and password. What is accepted is both; what is not, is told with
 * the file and without the password: that is the word Geheim7 wherever the key `password` has it.
 */
#include "deployer/login.h"
#include "tests/fuzz/fuzz.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define PASSWORD "Geheim7"

static char path[300];

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    snprintf(path, sizeof path, "%s/login", fuzz_folder());
    return 0;
}

/* Whether it stands nowhere but in values of the key password. */
static bool is_secret(const char *text)
{
    for (const char *at = text; (at = strstr(at, PASSWORD)); at++) {
        const char *line = at;
        while (line > text && line[-1] != '\n')
            line--;
        size_t key = strspn(line, "pasword"), blank = strspn(line + key, " \t");
        if (key != 8 || strncmp(line, "password", 8) != 0 || !strchr("=:", line[key + blank]) ||
            line + key + blank >= at)
            return false;
    }
    return true;
}

/* A line ends with it: nothing was cut off. */
static bool ends_a_line(const char *text, const char *value)
{
    for (const char *at = text; (at = strstr(at, value)); at++) {
        const char *rest = at + strlen(value);
        rest += strspn(rest, " \t\r\v\f");
        if (!*rest || *rest == '\n')
            return true;
    }
    return false;
}

static void check_login(const struct login *l, const char *text)
{
    CHECK(l->name && *l->name && !strpbrk(l->name, "\r\n"));
    CHECK(l->password.len && strlen((char *)l->password.data) == l->password.len);
    CHECK(strstr(text, l->name) && ends_a_line(text, (char *)l->password.data));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_LOGIN struct login login = {.name = NULL};
    struct error err;
    char *text = strndup((const char *)data, size);
    CHECK(text);
    fuzz_write_file(AT_FDCWD, path, data, size);
    int rc = login_read(path, &login, &err);
    if (rc == 0) {
        check_login(&login, text);
    } else {
        CHECK_ERROR(rc, &err);
        CHECK(rc == E_CONFIG && strstr(err.text, path));
        CHECK(!is_secret(text) || !strstr(err.text, PASSWORD));
        CHECK(!login.name && !login.password.len);
    }
    free(text);
    return 0;
}
