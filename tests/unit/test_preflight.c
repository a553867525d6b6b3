/* deployer/preflight: acme, containers, mounts, lifetimes, SNI folders: facts in, findings out. */
#include "tests/unit/testing.h"

#include "deployer/preflight_impl.h"
#include "tests/unit/findings.h"

#define NOW   1795244520
#define DAY   86400
#define NGINX "nginx-mailcow"

static const char *const no_nginx[] = {NGINX, NULL};

static const struct preflight_stack stack = {.directory = "/opt/mailcow", .project = "mc", .now = NOW};

static int forget(void **state)
{
    (void)state;
    memset(&found, 0, sizeof found);
    return 0;
}

/* ---- acme ---- */

static void acme(const char *state, const char *skip, const char *configured)
{
    preflight_acme(&stack,
                   &(struct preflight_acme){.container = "mc-acme-mailcow-1",
                                            .state = state,
                                            .skip = skip,
                                            .starts_by_itself = true,
                                            .configured = configured},
                   &found);
}

/* acme.sh:60: [[ $SKIP_LETS_ENCRYPT =~ ^([yY][eE][sS]|[yY])+$ ]] */
static void acme_is_off_only_by_mailcows_own_rule(void **state)
{
    static const char *const yes[] = {"y", "Y", "yes", "YES", "yEs", "yy", "yesyes", "yYeS"};
    static const char *const no[] = {"n", "", "true", "1", "ye", "yes ", " y", "ja", "y\nn", "\"y\""};
    (void)state;
    for (size_t i = 0; i < COUNT(yes); i++) {
        assert_true(mailcow_is_yes(yes[i]));
        acme("running", yes[i], "n");
        found_nothing();
    }
    for (size_t i = 0; i < COUNT(no); i++) {
        assert_false(mailcow_is_yes(no[i]));
        acme("running", no[i], "n");
        found_one(FINDING_REFUSE, "acme-active", "mc-acme-mailcow-1 is running with SKIP_LETS_ENCRYPT=",
                  "set SKIP_LETS_ENCRYPT=y in mailcow.conf, then in /opt/mailcow: docker compose up -d "
                  "acme-mailcow");
    }
    acme("running", NULL, "n");
    found_one(FINDING_REFUSE, "acme-active", "", "");
}

static void acme_goes_by_the_container(void **state)
{
    (void)state;
    acme("running", "n", "y");
    assert_lacks(found.list[0].remedy, "set SKIP");
    found_one(FINDING_REFUSE, "acme-active",
              "mailcow.conf says otherwise, but the container was made before that",
              "in /opt/mailcow: docker compose up -d acme-mailcow");
    acme("running", "n", "n");
    assert_lacks(found.list[0].text, "otherwise");
    acme("running", "y", "");
    assert_int_equal(found.count, 1);
}

static void acme_may_stand_still(void **state)
{
    static const char *const active[] = {"running", "restarting", "paused"};
    static const char *const idle[] = {"exited", "created", "dead", "removing"};
    (void)state;
    for (size_t i = 0; i < COUNT(active); i++) {
        acme(active[i], "n", "n");
        found_one(FINDING_REFUSE, "acme-active", active[i], "");
    }
    for (size_t i = 0; i < COUNT(idle); i++) {
        acme(idle[i], "n", "n");
        found_one(FINDING_NOTE, "acme-stopped", "as Docker does when it is restarted",
                  "docker compose up -d");
    }
    preflight_acme(&stack, &(struct preflight_acme){.state = "exited", .skip = "n", .configured = "n"},
                   &found);
    found_nothing();
}

/* ---- containers ---- */

static struct docker_container list[6];
static struct docker_containers containers = {.list = list};

static struct docker_container *container(const char *service, const char *state)
{
    struct docker_container *c = &list[containers.count++];
    *c = (struct docker_container){.status = "what Docker says"};
    snprintf(c->service, sizeof c->service, "%s", service);
    snprintf(c->state, sizeof c->state, "%s", state);
    snprintf(c->name, sizeof c->name, "mc-%s-1", service);
    return c;
}

/* All three services, nginx in this state ("" for none). */
static struct docker_container *with_nginx(const char *state)
{
    containers.count = 0;
    container("postfix-mailcow", "running");
    container("dovecot-mailcow", "running");
    return *state ? container(NGINX, state) : NULL;
}

static void look(void)
{
    preflight_containers(&stack, &containers, &found);
}

static void finds_nothing_where_all_run(void **state)
{
    (void)state;
    with_nginx("running");
    look();
    found_nothing();
}

static void tells_what_does_not_run(void **state)
{
    (void)state;
    with_nginx("");
    look();
    found_one(FINDING_WARN, "container-missing", "no container of nginx-mailcow in project mc",
              "in /opt/mailcow: docker compose up -d nginx-mailcow");
    with_nginx("exited");
    look();
    found_one(FINDING_WARN, "container-stopped", "mc-nginx-mailcow-1 is exited",
              "docker start mc-nginx-mailcow-1");
    with_nginx("dead");
    look();
    found_one(FINDING_WARN, "container-stopped", "is dead", "");
    with_nginx("paused");
    look();
    found_one(FINDING_WARN, "container-paused", "mc-nginx-mailcow-1 is paused",
              "docker unpause mc-nginx-mailcow-1");
    with_nginx("restarting");
    look();
    found_one(FINDING_WARN, "container-restarting", "what Docker says",
              "docker logs --tail 50 mc-nginx-mailcow-1");
}

static void waits_for_what_is_being_changed(void **state)
{
    (void)state;
    with_nginx("removing");
    look();
    found_one(FINDING_LATER, "container-changing", "is being removed at this moment", "by itself");
    with_nginx("created")->created = NOW - 599;
    look();
    found_one(FINDING_LATER, "container-changing", "is being made at this moment", "by itself");
    with_nginx("created")->created = NOW + 599; /* by another clock */
    look();
    found_one(FINDING_LATER, "container-changing", "is being made at this moment", "by itself");
    with_nginx("created")->created = NOW + 600; /* before a clock was set back */
    look();
    found_one(FINDING_WARN, "container-stopped", "is created", "docker start");
    with_nginx("created")->created = NOW - 600;
    look();
    found_one(FINDING_WARN, "container-stopped", "is created", "docker start");
    with_nginx("created");
    look();
    found_one(FINDING_WARN, "container-stopped", "is created", "docker start");
}

static void goes_by_labels_and_notes_other_names(void **state)
{
    static const char *const usual[] = {"mc-nginx-mailcow-1", "mc_nginx-mailcow_1", "mc-nginx-mailcow-12"};
    static const char *const others[] = {"web", "mc-nginx-mailcow", "mc-nginx-mailcow-",
                                         "mc-nginx-mailcow-1-old", "mcx-nginx-mailcow-1"};
    (void)state;
    for (size_t i = 0; i < COUNT(usual); i++) {
        strcpy(with_nginx("running")->name, usual[i]);
        look();
        found_nothing();
    }
    for (size_t i = 0; i < COUNT(others); i++) {
        char remedy[100];
        strcpy(with_nginx("running")->name, others[i]);
        snprintf(remedy, sizeof remedy, "docker rename %s mc-nginx-mailcow-1", others[i]);
        look();
        found_one(FINDING_NOTE, "container-renamed", others[i], remedy);
    }
}

static void notes_what_runs_twice(void **state)
{
    (void)state;
    with_nginx("running");
    strcpy(container(NGINX, "running")->name, "mc-nginx-mailcow-2");
    look();
    found_one(FINDING_NOTE, "container-scaled", "2 containers of nginx-mailcow run",
              "docker compose up -d --scale nginx-mailcow=1");
    with_nginx("running");
    container(NGINX, "exited"); /* left from a scaling: it serves nobody */
    look();
    found_nothing();
    with_nginx("running");
    container(NGINX, "paused"); /* it holds the old certificate */
    look();
    found_one(FINDING_WARN, "container-paused", "", "");
}

static void is_silent_of_what_is_optional(void **state)
{
    static const char *const states[] = {"", "exited", "paused", "restarting", "removing"};
    struct preflight_stack other = stack;
    (void)state;
    other.optional = no_nginx;
    for (size_t i = 0; i < COUNT(states); i++) {
        with_nginx(states[i]);
        preflight_containers(&other, &containers, &found);
        found_nothing();
    }
    containers.count = 1;
    preflight_containers(&other, &containers, &found);
    found_one(FINDING_WARN, "container-missing", "dovecot-mailcow", "");
}

static void tells_an_empty_project_once(void **state)
{
    (void)state;
    containers.count = 0;
    look();
    found_one(FINDING_WARN, "project-empty", "com.docker.compose.project=mc", "COMPOSE_PROJECT_NAME");
    container("mysql-mailcow", "running");
    look();
    assert_int_equal(found.count, 3);
}

static void mount_at(struct docker_container *c, const char *source, const char *target)
{
    struct docker_mount *mount = &c->mounts[c->mount_count++];
    snprintf(mount->source, sizeof mount->source, "%s", source);
    snprintf(mount->target, sizeof mount->target, "%s", target);
}

static void tells_of_another_folder_that_is_mounted(void **state)
{
    const struct directory *d = *state;
    make_folder(d, "ssl");
    make_folder(d, "other");
    assert_int_equal(symlinkat("ssl", d->fd, "link"), 0);
    int fd = openat(d->fd, "ssl", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct docker_container *c = with_nginx("running");
    const char *const fine[] = {"ssl", "link", "none"}; /* what cannot be looked at is no finding */
    for (size_t i = 0; i < COUNT(fine); i++) {
        c->mount_count = 0;
        mount_at(c, path_in(d, fine[i]), "/etc/ssl/mail");
        preflight_mounts(&containers, fd, path_in(d, "ssl"), &found);
        found_nothing();
    }
    c->mount_count = 0;
    mount_at(c, path_in(d, "ssl"), "/elsewhere");
    mount_at(c, path_in(d, "other"), "/etc/ssl/mail");
    preflight_mounts(&containers, fd, path_in(d, "ssl"), &found);
    found_one(FINDING_WARN, "ssl-mount", "/other mounted at /etc/ssl/mail, not ", "set path in [mailcow]");
    preflight_mounts(&containers, fd, path_in(d, "other"), &found); /* of that very name, for the engine */
    found_nothing();
    strcpy(c->service, "acme-mailcow");
    preflight_mounts(&containers, fd, path_in(d, "ssl"), &found);
    found_nothing();
    close(fd);
}

/* ---- lifetimes ---- */

/* A certificate for so many hours that has so many left. */
static struct want of(long hours, long left)
{
    return (struct want){
        .id = "primary", .not_before = NOW - (hours - left) * 3600, .not_after = NOW + left * 3600};
}

static void lifetime(long hours, long left)
{
    const struct want v = of(hours, left);
    preflight_lifetime(&v, NOW, &found);
}

static void goes_by_fractions_of_the_lifetime(void **state)
{
    static const struct {
        long hours;
        const char *name, *third, *sixth;
    } cases[] = {
        {90 * 24, "90 days", "29 days", "14 days"},
        {45 * 24, "45 days", "14 days", "7 days"},
        {160, "6 days", "2 days", "25 hours"}, /* Let's Encrypt's shortlived */
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        long hours = cases[i].hours;
        lifetime(hours, hours / 3 + 1);
        found_nothing();
        lifetime(hours, hours / 3 - 1);
        assert_has(found.list[0].text, cases[i].name);
        assert_has(found.list[0].text, cases[i].third);
        found_one(FINDING_WARN, "expiring", "less than a third: its renewal is due", "mailcow-cert-push -v");
        lifetime(hours, hours / 6 + 1);
        found_one(FINDING_WARN, "expiring", "less than a third", "");
        lifetime(hours, hours / 6 - 1);
        assert_has(found.list[0].text, cases[i].sixth);
        found_one(FINDING_WARN, "expiring", "less than a SIXTH", "");
        lifetime(hours, 0);
        found_one(FINDING_WARN, "expired", "has EXPIRED", "mailcow-cert-push --force");
        lifetime(hours, -24);
        found_one(FINDING_WARN, "expired", "has EXPIRED", "");
    }
}

static void doubts_the_clock(void **state)
{
    (void)state;
    const struct want v = {.id = "x", .not_before = NOW + 1, .not_after = NOW + 90 * DAY};
    preflight_lifetime(&v, NOW, &found);
    found_one(FINDING_WARN, "clock", "is valid from 2026-11-21T", "timedatectl");
    preflight_lifetime(&v, NOW + 1, &found);
    found_nothing();
    const struct want reversed = {.id = "x", .not_before = NOW, .not_after = NOW - 1};
    preflight_lifetime(&reversed, NOW, &found);
    found_nothing();
}

static void notes_when_the_watchdog_is_of_no_use(void **state)
{
    static const struct {
        long hours;
        const char *text; /* NULL: nothing is to be noted */
    } cases[] = {
        {90 * 24, NULL}, {45 * 24, NULL},    {21 * 24, NULL}, {20 * 24, "20 days that is in every period"},
        {160, "always"}, {7 * 24, "always"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        const struct want v = of(cases[i].hours, 1);
        preflight_watchdog(&v, &found);
        if (cases[i].text)
            found_one(FINDING_NOTE, "watchdog", cases[i].text, "do not go by its mails");
        else
            found_nothing();
    }
}

/* ---- SNI folders ---- */

/* A folder that takes a name of the primary, its certificate having so many of 90 days left. */
static void shadow(long left, bool is_same, bool check)
{
    struct want folder = of(90 * 24, left * 24), primary = of(90 * 24, 60 * 24);
    strcpy(folder.id, "stale.example.org");
    strcpy(folder.installed, "a");
    strcpy(primary.installed, is_same ? "a" : "b");
    preflight_shadow(
        &(struct preflight_shadow){
            .service = "postfix-mailcow", .name = "mail.example.org", .folder = &folder, .primary = &primary},
        NOW, check, &found);
}

static void tells_of_folders_that_take_names(void **state)
{
    (void)state;
    shadow(-1, false, false);
    found_one(FINDING_WARN, "stale-folder", "postfix-mailcow serves for mail.example.org",
              "mailcow-cert-deploy remove stale.example.org");
    shadow(14, false, false);
    found_one(FINDING_WARN, "stale-folder", "", "");
    shadow(16, false, false); /* renewed together with the primary, it may be its turn */
    found_nothing();
    shadow(16, false, true);
    found_one(FINDING_WARN, "stale-folder", "", "");
    shadow(70, false, true);
    found_one(FINDING_NOTE, "folder-overlap", "not the primary certificate", "");
    shadow(60, true, true);
    found_one(FINDING_NOTE, "folder-overlap", "the same certificate", "");
    shadow(-1, true, false); /* then the primary has expired as well, which is told of that */
    found_nothing();
}

/* What mailcow's services make of this file `domains`. */
static void domains(const struct directory *d, const char *text)
{
    AUTO_SNI_FOLDERS struct sni_folders folders = {0};
    struct error err;
    write_text(d, "ssl/sni/domains", text);
    int fd = openat(d->fd, "ssl", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(sni_scan(fd, &folders, &err), 0);
    close(fd);
    preflight_domains("/ssl", &folders, &found);
}

static void tells_of_domains_that_are_read_differently(void **state)
{
    const struct directory *d = *state;
    make_folder(d, "ssl");
    make_folder(d, "ssl/sni");
    write_text(d, "ssl/sni/cert.pem", "x");
    write_text(d, "ssl/sni/key.pem", "x");
    domains(d, "example.org *.example.org .example.org");
    domains(d, "a.example.org b.example.org\n");
    found_nothing();
    domains(d, "a.example.org\tb.example.org");
    found_one(FINDING_WARN, "domains",
              "/ssl/sni/domains: ", "printf %s 'a.example.org b.example.org' > /ssl/sni/domains");
    domains(d, "a.example.org\nb.example.org\n");
    found_one(FINDING_WARN, "domains", "", "'a.example.org b.example.org'");
    domains(d, "*.example.org"); /* Postfix does not know this form */
    found_one(FINDING_WARN, "domains", "", "'*.example.org .example.org'");
    domains(d, "example.org .example.org"); /* nor Dovecot that one */
    found_one(FINDING_WARN, "domains", "", "'example.org *.example.org .example.org'");
}

static void passes_on_what_was_found_before(void **state)
{
    (void)state;
    AUTO_PROBLEMS struct problems problems = {0};
    preflight_problems(&problems, &found);
    found_nothing();
    problem_add(&problems, "SNI folder a: %s", "not a host name: x;y");
    problem_add(&problems, "SNI folder b: b.example.org belongs to c already");
    preflight_problems(&problems, &found);
    assert_int_equal(found.count, 2);
    assert_string_equal(found.list[0].text, "SNI folder a: not a host name: x;y");
    assert_string_equal(found.list[1].text, "SNI folder b: b.example.org belongs to c already");
    assert_string_equal(found.list[1].id, "sni-folder");
    assert_int_equal(found.list[1].severity, FINDING_WARN);
}

static int directory_setup_forget(void **state)
{
    forget(state);
    return directory_setup(state);
}

#define TEST(test)         cmocka_unit_test_setup(test, forget)
#define IN_DIRECTORY(test) cmocka_unit_test_setup_teardown(test, directory_setup_forget, directory_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(acme_is_off_only_by_mailcows_own_rule),
        TEST(acme_goes_by_the_container),
        TEST(acme_may_stand_still),
        TEST(finds_nothing_where_all_run),
        TEST(tells_what_does_not_run),
        TEST(waits_for_what_is_being_changed),
        TEST(goes_by_labels_and_notes_other_names),
        TEST(notes_what_runs_twice),
        TEST(is_silent_of_what_is_optional),
        TEST(tells_an_empty_project_once),
        IN_DIRECTORY(tells_of_another_folder_that_is_mounted),
        TEST(goes_by_fractions_of_the_lifetime),
        TEST(doubts_the_clock),
        TEST(notes_when_the_watchdog_is_of_no_use),
        TEST(tells_of_folders_that_take_names),
        IN_DIRECTORY(tells_of_domains_that_are_read_differently),
        TEST(passes_on_what_was_found_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
