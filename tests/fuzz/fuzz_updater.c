/*
 * Command lines of processes, which every user of the mail host can choose, and mailcow's update.sh among
 * them. The input is what /proc/7/cmdline holds.
 */
#include "deployer/updater.h"
#include "tests/fuzz/fuzz.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char mailcow[300], proc[300];
static int process = -1;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    char folder[310];
    const char *top = fuzz_folder();
    (void)argc, (void)argv;
    snprintf(mailcow, sizeof mailcow, "%s/mailcow", top);
    snprintf(proc, sizeof proc, "%s/proc", top);
    snprintf(folder, sizeof folder, "%s/7", proc);
    CHECK(mkdir(mailcow, 0700) == 0 && mkdir(proc, 0700) == 0 && mkdir(folder, 0700) == 0);
    process = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK(symlinkat(mailcow, process, "cwd") == 0);
    return 0;
}

static bool ends_in_script(const char *word)
{
    const char *slash = strrchr(word, '/');
    return strcmp(slash ? slash + 1 : word, "update.sh") == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_write_file(process, "cmdline", data, size);
    pid_t found = updater_find(proc, mailcow);
    CHECK(found == 0 || found == 7);
    bool named = false;
    char word[5000];
    for (size_t at = 0; at < size; at += strlen(word) + 1) {
        snprintf(word, sizeof word, "%.*s", (int)strnlen((const char *)data + at, size - at),
                 (const char *)data + at);
        named = named || ends_in_script(word);
    }
    CHECK(named || !found);
    if (size == 10 && memcmp(data, "update.sh", 10) == 0)
        CHECK(found == 7);
    return 0;
}
