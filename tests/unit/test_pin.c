/* pusher/pin: a host's key is pinned or no longer; the other lines of known_hosts stay. */
#include "tests/unit/testing.h"

#include "pusher/pin.h"

#define KEY_A "AAAAC3NzaC1lZDI1NTE5AAAAIEmlScWxoK2MsBHMwoFVnUR/9LSb77YwI2cNLH9LGrjy"
#define KEY_B "AAAAC3NzaC1lZDI1NTE5AAAAIG6pHbuWcpkCYzLVyK8YGDQIVYaJiCiTb4U33HqDFVah"
#define A     "ssh-ed25519 " KEY_A
#define B     "ssh-ed25519 " KEY_B

static int edit(const char *text, uint16_t port, const char *base64, char **out, struct error *err)
{
    AUTO_KNOWN_HOSTS struct known_hosts known = {0};
    assert_int_equal(known_hosts_load(text, "kh", "m", port, &known, err), 0);
    return pin_edit(text, "kh", &known, "m", port, base64 ? "ssh-ed25519" : NULL, base64, out, err);
}

static void becomes(const char *text, uint16_t port, const char *base64, const char *expected)
{
    struct error err;
    char *out = NULL;
    assert_int_equal(edit(text, port, base64, &out, &err), 0);
    assert_string_equal(out, expected);
    free(out);
}

static void pins(void **state)
{
    (void)state;
    becomes("", 22, KEY_A, "m " A "\n");
    becomes("", 2222, KEY_A, "[m]:2222 " A "\n");
    becomes("# mine\n\nother " B, 22, KEY_A, "# mine\n\nother " B "\nm " A "\n");
}

static void replaces(void **state)
{
    (void)state;
    becomes("m " B "\nother " B "\n", 22, KEY_A, "other " B "\nm " A "\n");
    becomes("[m]:2222 " B "\nm " B "\n", 2222, KEY_A, "m " B "\n[m]:2222 " A "\n");
    becomes("m " B "\n", 2222, KEY_A, "m " B "\n[m]:2222 " A "\n");
}

static void keeps_what_is_revoked(void **state)
{
    (void)state;
    becomes("@revoked m " B "\n", 22, KEY_A, "@revoked m " B "\nm " A "\n");
    becomes("@revoked m " B "\nm " A "\n", 22, NULL, "@revoked m " B "\n");
}

static void unpins(void **state)
{
    (void)state;
    becomes("m " A "\nother " B "\n", 22, NULL, "other " B "\n");
    becomes("m " A "\n", 2222, NULL, "m " A "\n");
}

static void does_not_unpin_other_hosts(void **state)
{
    struct error err;
    char *out = NULL;
    (void)state;
    assert_int_equal(edit("# x\nm,other " A "\n", 22, KEY_B, &out, &err), E_CONFIG);
    assert_has(err.text, "kh:2: ");
    assert_null(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pins),
        cmocka_unit_test(replaces),
        cmocka_unit_test(keeps_what_is_revoked),
        cmocka_unit_test(unpins),
        cmocka_unit_test(does_not_unpin_other_hosts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
