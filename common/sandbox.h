/*
 * What a confined process may still ask of the kernel: seccomp(2) by libseccomp.
 */
#ifndef COMMON_SANDBOX_H
#define COMMON_SANDBOX_H

struct sandbox_call {
    const char *name;  /* NULL ends a list */
    unsigned argument; /* 0: with any arguments; else which of them, counted from 0, must be the value */
    unsigned long value;
};

/*
 * From here on the process may make the system calls of the list, and those that every process needs: memory
 * that cannot be executed, time, random bytes, its end. Any other one kills it (SIGSYS). A call that this
 * architecture does not have is left out: a list names what 32-bit ones have instead as well.
 *
 * To be called last, after process_confine. NULL, or what failed (with errno): the process must end then.
 */
const char *sandbox_enter(const struct sandbox_call *calls);

#endif
