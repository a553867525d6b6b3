/* common/conf: every problem is reported, each with its line. */
#include "tests/unit/testing.h"

#include "common/conf.h"

#define MAX_THINGS 3

struct thing {
    char name[60];
    char *path;
};

struct record {
    char *text;
    char *path;
    long number;
    int64_t duration;
    struct conf_list list;
    struct thing things[MAX_THINGS];
    size_t thing_count;
};

static bool is_lower(const char *item)
{
    return *item && strspn(item, "abcdefghijklmnopqrstuvwxyz.") == strlen(item);
}

static void *main_record(void *config, const char *instance)
{
    assert_null(instance);
    return config;
}

static void *thing_record(void *config, const char *instance)
{
    struct record *r = config;
    for (size_t i = 0; i < r->thing_count; i++)
        if (strcmp(r->things[i].name, instance) == 0)
            return &r->things[i];
    if (r->thing_count == MAX_THINGS)
        return NULL;
    struct thing *thing = &r->things[r->thing_count++];
    snprintf(thing->name, sizeof thing->name, "%s", instance);
    return thing;
}

static const struct conf_key main_keys[] = {
    {.name = "text",
     .type = CONF_STRING,
     .offset = offsetof(struct record, text),
     .accepts = is_lower,
     .expected = "lower case"},
    {.name = "path", .type = CONF_PATH, .offset = offsetof(struct record, path)},
    {.name = "number", .type = CONF_NUMBER, .offset = offsetof(struct record, number), .min = 1, .max = 99},
    {.name = "duration",
     .type = CONF_DURATION,
     .offset = offsetof(struct record, duration),
     .min = 10,
     .max = 3600},
};
static const struct conf_key more_keys[] = {
    {.name = "list",
     .type = CONF_LIST,
     .offset = offsetof(struct record, list),
     .accepts = is_lower,
     .expected = "words in lower case"},
};
static const struct conf_key thing_keys[] = {
    {.name = "path", .type = CONF_PATH, .offset = offsetof(struct thing, path)},
};
static const struct conf_section sections[] = {
    {.name = "main", .record = main_record, .keys = main_keys, .key_count = COUNT(main_keys)},
    {.name = "more", .record = main_record, .keys = more_keys, .key_count = COUNT(more_keys)},
    {.name = "thing",
     .named = true,
     .record = thing_record,
     .keys = thing_keys,
     .key_count = COUNT(thing_keys)},
};

struct reading {
    struct directory *d;
    struct record record;
    struct problems problems;
};

static int setup(void **state)
{
    struct reading *r = calloc(1, sizeof *r);
    void *d = NULL;
    if (!r || directory_setup(&d) < 0)
        return -1;
    r->d = d;
    *state = r;
    return 0;
}

static void forget(struct reading *r)
{
    free(r->record.text);
    free(r->record.path);
    conf_list_free(&r->record.list);
    for (size_t i = 0; i < r->record.thing_count; i++)
        free(r->record.things[i].path);
    problems_free(&r->problems);
    r->record = (struct record){0};
}

static int teardown(void **state)
{
    struct reading *r = *state;
    void *d = r->d;
    forget(r);
    free(r);
    return directory_teardown(&d);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

static int read_file(struct reading *r, const char *name)
{
    return conf_read(path_in(r->d, name), sections, COUNT(sections), &r->record, &r->problems);
}

/* Reads text as a file; what was read before is forgotten. */
static int read_bytes(struct reading *r, const char *text, size_t len)
{
    forget(r);
    write_bytes(r->d, "c", text, len);
    int rc = read_file(r, "c");
    assert_int_equal(rc, r->problems.count ? E_CONFIG : 0);
    return rc;
}

static void good(struct reading *r, const char *text)
{
    if (read_bytes(r, text, strlen(text)) != 0)
        fail_msg("%s", r->problems.text);
}

/* The problems must be exactly those of `expected`, where ^ stands for the file's path. */
static void bad(struct reading *r, const char *text, const char *expected)
{
    char whole[8000] = "";
    size_t n = 0;
    for (const char *p = expected; *p; p++)
        n += (size_t)(*p == '^' ? snprintf(whole + n, sizeof whole - n, "%s/c", r->d->path)
                                : snprintf(whole + n, sizeof whole - n, "%c", *p));
    read_bytes(r, text, strlen(text));
    assert_non_null(r->problems.text);
    assert_string_equal(r->problems.text, whole);
}

/* What is right */

static void reads_values_of_every_type(void **state)
{
    struct reading *r = *state;
    good(r,
         "# a comment\n; another\n\n[main]\ntext = word\npath=/a b\nnumber = 42 \nduration = 1m30s ; inline\n"
         "[more]\nlist = a, b,c  d\te,,\n");
    assert_string_equal(r->record.text, "word");
    assert_string_equal(r->record.path, "/a b");
    assert_int_equal(r->record.number, 42);
    assert_int_equal(r->record.duration, 90);
    assert_int_equal(r->record.list.count, 5);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(r->record.list.items[i][0], 'a' + (int)i);
    assert_null(r->record.list.items[5]);
}

static void reads_an_empty_file(void **state)
{
    struct reading *r = *state;
    good(r, "");
    good(r, "\n\n# nothing");
    good(r, "[main]\n");
}

static void reads_crlf_and_a_missing_last_line_end(void **state)
{
    struct reading *r = *state;
    good(r, "[main]\r\n\r\ntext = word\r\npath = /a\r\n[more]\r\nlist = a\r\n  b\r\n\tc");
    assert_string_equal(r->record.text, "word");
    assert_string_equal(r->record.path, "/a");
    assert_int_equal(r->record.list.count, 3);
    assert_string_equal(r->record.list.items[2], "c");
}

static void goes_on_with_a_list_in_indented_lines(void **state)
{
    struct reading *r = *state;
    good(r, "[more]\nlist = one,\n  two, three\n\n\t# a comment\n\tfour\n[main]\nnumber = 5\n");
    assert_int_equal(r->record.list.count, 4);
    assert_string_equal(r->record.list.items[0], "one");
    assert_string_equal(r->record.list.items[3], "four");
    good(r, "[more]\nlist =\n    one\n    two\n");
    assert_int_equal(r->record.list.count, 2);
    good(r, "[more]\n  list = one\n");
    assert_int_equal(r->record.list.count, 1);
}

static void reads_named_sections(void **state)
{
    struct reading *r = *state;
    good(r, "[thing a]\npath = /a\n[thing b]\npath = /b\n[main]\npath = /c\n");
    assert_int_equal(r->record.thing_count, 2);
    assert_string_equal(r->record.things[0].name, "a");
    assert_string_equal(r->record.things[0].path, "/a");
    assert_string_equal(r->record.things[1].name, "b");
    assert_string_equal(r->record.things[1].path, "/b");
    assert_string_equal(r->record.path, "/c");
}

/* What is wrong */

static void names_a_file_that_cannot_be_read(void **state)
{
    struct reading *r = *state;
    assert_int_equal(read_file(r, "none"), E_CONFIG);
    assert_has(r->problems.text, "/none: read: No such file or directory");
    forget(r);
    assert_int_equal(read_file(r, "."), E_CONFIG);
    assert_has(r->problems.text, "read: Is a directory");
}

static void takes_a_mark_of_the_byte_order(void **state)
{
    struct reading *r = *state;
    good(r, "\xef\xbb\xbf[main]\ntext = word\n");
    assert_string_equal(r->record.text, "word");
    good(r, "\xef\xbb\xbf\xef\xbb\xbf[main]\ntext = word\n");
    bad(r, "\xef\xbb\xbf\xef\xbb\xbf[nosuch]\nx = y\n",
        "^:1: unknown section [nosuch]; there are [main], [more], [thing NAME]");
}

static void refuses_control_characters(void **state)
{
    struct reading *r = *state;
    bad(r, "[main]\ntext = a\rb\npath = /\x1b\n[more]\nlist = a\n b\x7f\n",
        "^:2: text: it holds control characters\n^:3: path: it holds control characters\n"
        "^:6: list: it holds control characters");
    good(r, "[main]\r\ntext\t= word\r\n# \x1b\n");
    assert_string_equal(r->record.text, "word");
}

static void refuses_what_is_no_configuration(void **state)
{
    struct reading *r = *state;
    char *large = malloc(65537);
    read_bytes(r, "[main]\n\0text = word\n", 20);
    assert_has(r->problems.text, "/c: not a configuration file: NUL bytes");
    memset(large, '\n', 65537);
    memcpy(large, "[main]\ntext = a", 15);
    assert_int_equal(read_bytes(r, large, 65536), 0);
    assert_string_equal(r->record.text, "a");
    read_bytes(r, large, 65537);
    assert_has(r->problems.text, "/c: not a configuration file: too long");
    free(large);
}

static void reports_unknown_sections_and_keys(void **state)
{
    struct reading *r = *state;
    bad(r, "[main]\nnumbr = 4\n", "^:2: unknown key numbr in [main]; there are text, path, number, duration");
    bad(r, "[mian]\n\nnumber = 4\n\n\ntext = a\n[main]\nNumber = 4",
        "^:1: unknown section [mian]; there are [main], [more], [thing NAME]\n"
        "^:8: unknown key Number in [main]; there are text, path, number, duration");
    bad(r, "number = 4\n", "^:1: a key before the first section");
    bad(r, "[main x]\nnumber = 4\n[thing]\npath = /a\n[things a]\npath = /a\n[thing ]\npath = /a\n",
        "^:1: unknown section [main x]; there are [main], [more], [thing NAME]\n"
        "^:3: unknown section [thing]; there are [main], [more], [thing NAME]\n"
        "^:5: unknown section [things a]; there are [main], [more], [thing NAME]\n"
        "^:7: unknown section [thing ]; there are [main], [more], [thing NAME]");
    bad(r, "[ma\x1b]\ntext = a\n[main]\nte\xc3\xa4xt = a\n",
        "^:1: unknown section [ma\\x1b]; there are [main], [more], [thing NAME]\n"
        "^:4: unknown key te\\xc3\\xa4xt in [main]; there are text, path, number, duration");
}

static void reports_duplicates(void **state)
{
    struct reading *r = *state;
    bad(r, "[main]\ntext = a\nnumber = 1\ntext = b\n", "^:4: text is given twice in [main]");
    assert_string_equal(r->record.text, "a");
    bad(r, "[main]\ntext = a\n[more]\nlist = a\n[main]\ntext = b\n", "^:6: text is given twice in [main]");
    bad(r, "[more]\nlist = a\n b\nlist = c\n", "^:4: list is given twice in [more]");
    bad(r, "[more]\n list = a\n b\nlist = c\n", "^:4: list is given twice in [more]");
    bad(r, "[thing a]\npath = /a\n[thing b]\npath = /b\n[thing  a]\npath = /c\n",
        "^:6: path is given twice in [thing a]");
}

static void reports_bad_values(void **state)
{
    struct reading *r = *state;
    bad(r, "[main]\ntext = A\npath = a\nnumber = 100\nduration = 5\n[more]\nlist = a B c\n D\n",
        "^:2: text = A: expected lower case\n"
        "^:3: path = a: expected an absolute path\n"
        "^:4: number = 100: expected a number from 1 to 99\n"
        "^:5: duration = 5: expected a duration such as 30s or 24h, from 10s to 3600s\n"
        "^:7: list = B: expected words in lower case\n"
        "^:8: list = D: expected words in lower case");
    bad(r, "[main]\ntext =\npath =\nnumber =\nduration =\n",
        "^:2: text = : expected lower case\n"
        "^:3: path = : expected an absolute path\n"
        "^:4: number = : expected a number from 1 to 99\n"
        "^:5: duration = : expected a duration such as 30s or 24h, from 10s to 3600s");
    bad(r, "[main]\nnumber = 0\nduration = 3601\n",
        "^:2: number = 0: expected a number from 1 to 99\n"
        "^:3: duration = 3601: expected a duration such as 30s or 24h, from 10s to 3600s");
    bad(r, "[main]\ntext = \xff\n", "^:2: text = \\xff: expected lower case");
    assert_null(r->record.text);
}

/* inih takes ; for a comment behind a value, and # for a part of it. */
static void reports_a_comment_behind_a_path(void **state)
{
    struct reading *r = *state;
    bad(r, "[main]\npath = /a # where\n",
        "^:2: path = /a # where: expected an absolute path (a comment needs a line of its own)");
    good(r, "[main]\npath = /a#b\n");
}

static void reports_syntax_errors_on_every_line(void **state)
{
    struct reading *r = *state;
    bad(r, "[main]\nnonsense\ntext = a\nmore nonsense\n[main\nnumber = 4\n]\nduration = 30\n",
        "^:2: neither `key = value` nor `[section]`\n"
        "^:4: neither `key = value` nor `[section]`\n"
        "^:5: neither `key = value` nor `[section]`\n"
        "^:7: neither `key = value` nor `[section]`");
    assert_string_equal(r->record.text, "a");
    assert_int_equal(r->record.number, 4);
    assert_int_equal(r->record.duration, 30);
    bad(r, "nonsense\r\n[main]\r\nnonsense",
        "^:1: neither `key = value` nor `[section]`\n"
        "^:3: neither `key = value` nor `[section]`");
}

static void reports_all_kinds_of_problems_at_once(void **state)
{
    struct reading *r = *state;
    bad(r, "[main]\ntext = A\nnonsense\nnumber = 4\nnumber = 5\ncolour = red\n[mean]\npath = /a\n",
        "^:3: neither `key = value` nor `[section]`\n"
        "^:2: text = A: expected lower case\n"
        "^:5: number is given twice in [main]\n"
        "^:6: unknown key colour in [main]; there are text, path, number, duration\n"
        "^:7: unknown section [mean]; there are [main], [more], [thing NAME]");
    assert_int_equal(r->problems.count, 5);
}

static void reports_an_indented_line_behind_what_is_no_list(void **state)
{
    struct reading *r = *state;
    bad(r, "[main]\ntext = a\n  b\n[more]\nlist = a\n",
        "^:3: it is indented, but text is no list that it could go on with");
    assert_string_equal(r->record.text, "a");
    assert_int_equal(r->record.list.count, 1);
    bad(r, "[main]\n  text = a\n  number = 4\n",
        "^:2: it is indented, but text is no list that it could go on with\n"
        "^:3: it is indented, but text is no list that it could go on with");
}

static void reports_lines_that_are_too_long(void **state)
{
    struct reading *r = *state;
    char text[1000], word[300];
    memset(word, 'a', sizeof word);
    /* 198 bytes with the key are read whole, also into a list */
    snprintf(text, sizeof text, "[main]\ntext = %.191s\n[more]\nlist = %.191s\n", word, word);
    good(r, text);
    assert_int_equal(strlen(r->record.text), 191);
    assert_int_equal(strlen(r->record.list.items[0]), 191);
    snprintf(text, sizeof text, "[main]\ntext = %.192s\n\nnumber = 0\n# %.290s\n  ; %.290s\r\n", word, word,
             word);
    bad(r, text,
        "^:2: longer than 198 bytes; a list may go on in indented lines\n"
        "^:4: number = 0: expected a number from 1 to 99");
    assert_null(r->record.text);
}

static void names_the_trouble_with_named_sections(void **state)
{
    struct reading *r = *state;
    bad(r, "[thing a]\npath=/a\n[thing b]\npath=/b\n[thing c]\npath=/c\n[thing d]\npath=/d\n",
        "^:8: too many [thing] sections");
    bad(r, "[thing a b]\npath=/a\n[thing ../x]\npath=/a\n[thing .x]\npath=/a\n",
        "^:1: [thing a b]: a name has letters, digits, - _ . and no . in front, 40 at most\n"
        "^:3: [thing ../x]: a name has letters, digits, - _ . and no . in front, 40 at most\n"
        "^:5: [thing .x]: a name has letters, digits, - _ . and no . in front, 40 at most");
    good(r, "[thing aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]\npath=/a\n");
    bad(r, "[thing aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]\npath=/a\n",
        "^:1: [thing aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]: a name has letters, digits, - _ . and no . "
        "in "
        "front, 40 at most");
}

/* Not in quadratic time, and not without end. */
static void gives_up_on_a_file_of_another_kind(void **state)
{
    struct reading *r = *state;
    static char text[60001] = "";
    for (size_t i = 0; i < 60000; i += 2)
        memcpy(text + i, "x\n", 2);
    alarm(20);
    read_bytes(r, text, 60000);
    alarm(0);
    const char *last = strstr(r->problems.text, "/c:100: ");
    assert_non_null(last);
    assert_string_equal(last, "/c:100: neither `key = value` nor `[section]`\nand more");
    strcpy(text, "[main]\n");
    for (size_t i = 0; i < 300; i++)
        strcat(text, "x = 1\n");
    read_bytes(r, text, strlen(text));
    last = strstr(r->problems.text, "/c:101: ");
    assert_non_null(last);
    assert_string_equal(strchr(last, '\n'), "\nand more");
}

static void an_error_has_whole_lines(void **state)
{
    (void)state;
    struct problems few = {0}, many = {0}, one = {0};
    struct error err;
    problem_add(&few, "a");
    problem_add(&few, "b");
    assert_int_equal(problems_error(&few, E_CONFIG, &err), E_CONFIG);
    assert_string_equal(err.text, "a\nb");
    for (int i = 0; i < 40; i++)
        problem_add(&many, "%039d", i);
    problems_error(&many, E_CONFIG, &err);
    assert_string_equal(strrchr(err.text, '\n'), "\nand more");
    assert_int_equal((strlen(err.text) - strlen("\nand more") + 1) % 40, 0);
    assert_true(strlen(err.text) > sizeof err.text - 60);
    problem_add(&one, "%02000d", 1);
    problems_error(&one, E_CONFIG, &err);
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
    problems_free(&few);
    problems_free(&many);
    problems_free(&one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(reads_values_of_every_type),
        TEST(reads_an_empty_file),
        TEST(reads_crlf_and_a_missing_last_line_end),
        TEST(goes_on_with_a_list_in_indented_lines),
        TEST(reads_named_sections),
        TEST(names_a_file_that_cannot_be_read),
        TEST(takes_a_mark_of_the_byte_order),
        TEST(refuses_control_characters),
        TEST(refuses_what_is_no_configuration),
        TEST(reports_unknown_sections_and_keys),
        TEST(reports_duplicates),
        TEST(reports_bad_values),
        TEST(reports_a_comment_behind_a_path),
        TEST(reports_syntax_errors_on_every_line),
        TEST(reports_all_kinds_of_problems_at_once),
        TEST(reports_an_indented_line_behind_what_is_no_list),
        TEST(reports_lines_that_are_too_long),
        TEST(names_the_trouble_with_named_sections),
        TEST(gives_up_on_a_file_of_another_kind),
        cmocka_unit_test(an_error_has_whole_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
