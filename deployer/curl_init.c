#include "deployer/curl_init.h"

#include "common/secret.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

bool curl_init(void)
{
    return curl_global_init_mem(CURL_GLOBAL_DEFAULT, malloc, secret_free, secret_realloc, strdup, calloc) ==
           CURLE_OK;
}
