#include "common/member.h"
#include "common/text.h"

#include <stdio.h>
#include <string.h>

const char *member_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

int64_t member_number(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

time_t member_time(const json_t *object, const char *key)
{
    time_t t;
    return text_parse_time(member_text(object, key), &t) ? t : 0;
}

void member_copy(const json_t *object, const char *key, char *out, size_t size)
{
    const char *text = member_text(object, key);
    snprintf(out, size, "%s", strlen(text) < size ? text : "");
}

json_t *member_new_text(const char *text)
{
    char shown[2000];
    json_t *string = json_string(text);
    return string ? string : json_string(text_escape(shown, sizeof shown, text, strlen(text)));
}

json_t *member_new_time(time_t t)
{
    char text[TEXT_TIME_SIZE];
    return t ? json_string(text_time(text, t)) : json_null();
}
