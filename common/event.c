#include "common/event.h"

#include <stddef.h>
#include <string.h>
#include <syslog.h>

static const struct event_row rows[] = {
    [EVENT_DEPLOYED] = {"deployed", "eb57846bb36544148ca9e67efe56bf39", LOG_INFO, false},
    [EVENT_SERVED_AGAIN] = {"served-again", "25912cce0a414115905a54d3ba22e441", LOG_NOTICE, false},
    [EVENT_PENDING] = {"pending", "bc9e77b9d43f43f8bf96cf1123edd27c", LOG_WARNING, false},
    [EVENT_NOT_SERVED] = {"not-served", "318deac485c046bb86dd36dd5146259e", LOG_ERR, false},
    [EVENT_ROLLED_BACK] = {"rolled-back", "c4e51529e1cd41c0881cf3ea2216e67d", LOG_ERR, false},
    [EVENT_QUARANTINED] = {"quarantined", "a927f6ef01434f5b9951766c6439f665", LOG_ERR, false},
    [EVENT_REJECTED] = {"rejected", "d20415fb5c8b4794aeb7a4dbbe1f9373", LOG_ERR, false},
    [EVENT_REFUSED] = {"refused", "a72051137237494abd9358ffdeb6ce91", LOG_ERR, false},
    [EVENT_WARNING] = {"warning", "749440b700cf4aa583b8816c4b27b52e", LOG_WARNING, true},
    [EVENT_NOT_VERIFIED] = {"not-verified", "25aace3ed2fa4803b34a5dbb9c3d8cf0", LOG_WARNING, true},
    [EVENT_NOT_RELOADED] = {"not-reloaded", "d648df65ca324917885a9a672ae9bb6a", LOG_WARNING, true},
    [EVENT_RESTARTED] = {"restarted", "0b3b5819ccdd40b3ab23e5a0656d6ff1", LOG_NOTICE, true},
    [EVENT_NOT_RESTARTED] = {"not-restarted", "94ef6d6e628540bc8466b9e1a029b328", LOG_ERR, true},
    [EVENT_LOGIN_BROKEN] = {"login-broken", "faf54f405e2d4020897d566c8d7d7ecb", LOG_ERR, true},
    [EVENT_RECOVERED] = {"recovered", "b95b0f3cc463470ea0e4041050f238aa", LOG_NOTICE, true},
    [EVENT_NOT_RECOVERED] = {"not-recovered", "9882622a1eca4a3e933fccf3b90e06f1", LOG_ERR, true},
    [EVENT_ADDED] = {"added", "8172c69a84c644638156fdff6ab3bd96", LOG_INFO, true},
    [EVENT_REMOVED] = {"removed", "afca0689662a44ed853d22974ab82cb7", LOG_INFO, true},
    [EVENT_CROWD] = {"crowd", "3d6b3559f9fe44b6ab281162fb77b7f5", LOG_WARNING, false},
    [EVENT_UNAVAILABLE] = {"unavailable", "9c6d20b840614e8fa138784e9b7cbabc", LOG_ERR, false},
    [EVENT_SESSION_FAILED] = {"session-failed", "9ab7371454b24bc7a911738bf6817cea", LOG_WARNING, false},
    [EVENT_SESSION_CRASHED] = {"session-crashed", "4c090a9dfd0144b98cc3433fc05a5ae7", LOG_ERR, false},
    [EVENT_PUSH_DELAYED] = {"push-delayed", "f05545ea047e44ddb38dcce2e607a64a", LOG_WARNING, false},
    [EVENT_PUSH_FAILED] = {"push-failed", "fd1f0514ef6640b7a68ef1a55915f209", LOG_ERR, false},
    [EVENT_HOST_KEY] = {"host-key", "aafdfaad4e6446ae88d08696e14f834c", LOG_ERR, false},
    [EVENT_KEY_REFUSED] = {"key-refused", "99a32bfd61dd446082b4409db265d5d6", LOG_ERR, false},
    [EVENT_NO_LINEAGE] = {"no-lineage", "a9cba7a5392346f884f67653c0b35495", LOG_ERR, false},
    [EVENT_LINEAGE_UNREADABLE] = {"lineage-unreadable", "fb061a4c26fb418dba9115bb5079175c", LOG_WARNING,
                                  false},
    [EVENT_SOURCE_UNREADABLE] = {"source-unreadable", "2370303f66f84ae3898e3375017bf617", LOG_ERR, false},
    [EVENT_CONFIGURATION] = {"configuration", "5952c48c7f0e422dbd9aa0872a84abfb", LOG_ERR, false},
    [EVENT_ALARM] = {"alarm", "b8ef7475302340f4b260603e18b51e82", LOG_ERR, false},
    [EVENT_ALARM_AGAIN] = {"alarm-again", "049df1443c674a44a2bc22405eea6e7d", LOG_ERR, false},
    [EVENT_ALARM_HELD] = {"alarm-held", "99c7db498e2d4d5085310ffb0a36c5e6", LOG_NOTICE, false},
    [EVENT_ALARM_OVER] = {"alarm-over", "a2fba1bbe0cc4a6d9d4b64c673c22b05", LOG_NOTICE, false},
};

const struct event_row *event_row(enum event event)
{
    return event > EVENT_NONE && event < EVENT_COUNT ? &rows[event] : NULL;
}

enum event event_of_line(const char *line)
{
    size_t len = strcspn(line, " :");
    for (int i = EVENT_NONE + 1; i < EVENT_COUNT; i++)
        if (rows[i].is_step && strlen(rows[i].name) == len && strncmp(rows[i].name, line, len) == 0)
            return (enum event)i;
    return EVENT_NONE;
}
