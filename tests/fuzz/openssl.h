/*
 * OpenSSL is not instrumented: what it says is given to libFuzzer as coverage instead, so that an input with
 * which it finds another fault is kept. Its errors are taken where the product clears them.
 */
#ifndef TESTS_FUZZ_OPENSSL_H
#define TESTS_FUZZ_OPENSSL_H

#include <stddef.h>

/* Anything else that tells inputs apart. */
void openssl_said(const void *bytes, size_t len);

#endif
