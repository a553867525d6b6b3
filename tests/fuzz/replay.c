/*
 * Runs a target on the files of a folder, without libFuzzer: make unit does so with the corpora, under the
 * sanitizers.
 */
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INPUT_MAX (1024 * 1024)

#pragma weak LLVMFuzzerInitialize

/* Of the sanitizers' runtime. */
void __sanitizer_set_death_callback(void (*callback)(void));
#pragma weak __sanitizer_set_death_callback

/* Mutators are linked, not called. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size)
{
    (void)data, (void)max_size;
    return size;
}

static char running[600];

static void say_which(void)
{
    fprintf(stderr, "\nthe input was %s\n", running);
}

static void on_abort(int number)
{
    say_which();
    signal(number, SIG_DFL);
    raise(number);
}

/* A copy of exactly its size, so that a read behind it is seen. */
static void run_file(const char *path)
{
    static uint8_t buffer[INPUT_MAX];
    snprintf(running, sizeof running, "%s", path);
    FILE *f = fopen(path, "re");
    CHECK(f);
    size_t len = fread(buffer, 1, sizeof buffer, f);
    fclose(f);
    uint8_t *input = malloc(len ? len : 1);
    CHECK(input);
    memcpy(input, buffer, len);
    LLVMFuzzerTestOneInput(input, len);
    free(input);
}

static int is_input(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

int main(int argc, char **argv)
{
    struct dirent **entries = NULL;
    int count = argc == 2 ? scandir(argv[1], &entries, is_input, alphasort) : -1;
    if (count <= 0) {
        fprintf(stderr, "usage: %s FOLDER (with inputs in it)\n", argv[0]);
        return 1;
    }
    signal(SIGABRT, on_abort);
    if (__sanitizer_set_death_callback)
        __sanitizer_set_death_callback(say_which);
    if (LLVMFuzzerInitialize)
        LLVMFuzzerInitialize(&argc, &argv);
    for (int i = 0; i < count; i++) {
        char path[600];
        snprintf(path, sizeof path, "%s/%s", argv[1], entries[i]->d_name);
        run_file(path);
        free(entries[i]);
    }
    free(entries);
    printf("%s: %d inputs\n", argv[0], count);
    return 0;
}
