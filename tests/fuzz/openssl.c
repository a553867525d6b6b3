#include "tests/fuzz/openssl.h"
#include "tests/fuzz/fuzz.h"

#include <openssl/err.h>

__attribute__((section("__libfuzzer_extra_counters"))) static uint8_t counters[4096];

void openssl_said(const void *bytes, size_t len)
{
    counters[fuzz_hash(bytes, len) % sizeof counters] = 1;
}

void __real_ERR_clear_error(void);
void __wrap_ERR_clear_error(void);

void __wrap_ERR_clear_error(void)
{
    for (unsigned long code; (code = ERR_get_error());)
        openssl_said(&code, sizeof code);
    __real_ERR_clear_error();
}
