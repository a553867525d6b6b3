/*
 * What the programs do to their own processes.
 */
#ifndef COMMON_PROCESS_H
#define COMMON_PROCESS_H

#include <stdbool.h>
#include <sys/resource.h>

/* The build has AddressSanitizer, which reserves terabytes of address space and makes system calls of its
 * own: confinement leaves it room. */
#if defined(__SANITIZE_ADDRESS__)
#define PROCESS_SANITIZED
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PROCESS_SANITIZED
#endif
#endif

/*
 * What every program does first. Private keys pass through the process: from here on nobody of the same user
 * may look into it, nothing of it lands in a core file, and OpenSSL wipes what it frees. A peer that goes
 * away is an error of write(2), not a signal. What libraries would read when they first need it (openssl.cnf,
 * the time zone) is read now: a confined child can open nothing.
 */
void process_protect(void);

/* setrlimit(2) of both the soft and the hard limit. */
bool process_limit(int resource, rlim_t value);

/*
 * Confines a child process before it parses what a peer sent: descriptors 0 to count-1 stay, all others are
 * closed and none can be opened; no further process, no core, no new privileges; as root it becomes nobody
 * (65534). Needs no privilege. NULL, or what failed (with errno): the child must end then.
 *
 * poll(2) takes no more entries than RLIMIT_NOFILE allows: count is also how many can be polled.
 */
const char *process_confine(unsigned count);

#endif
