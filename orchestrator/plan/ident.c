/* Names and numbers derived by BLAKE2b, so that equal words always give equal objects. */
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "enshu/common/str.h"
#include "plan_inner.h"

void es_plan_digest(unsigned char ret_digest[16], const char *const *words, size_t count)
{
    crypto_generichash_state state;
    crypto_generichash_init(&state, NULL, 0, 16);
    for (size_t i = 0; i < count; i++)
        crypto_generichash_update(&state, (const unsigned char *)words[i],
                                  strlen(words[i]) + 1);
    crypto_generichash_final(&state, ret_digest, 16);
}

void es_plan_uuid(char ret_uuid[37], const char *kind, const char *range,
                  const char *rest)
{
    const char *const words[] = {"enshu uuid", kind, range, rest};
    unsigned char d[16];
    es_plan_digest(d, words, ES_COUNT(words));
    d[6] = (unsigned char)((d[6] & 0x0f) | 0x80);
    d[8] = (unsigned char)((d[8] & 0x3f) | 0x80);
    for (size_t i = 0, n = 0; i < sizeof d; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            ret_uuid[n++] = '-';
        snprintf(ret_uuid + n, 3, "%02x", d[i]);
        n += 2;
    }
}

const char *es_plan_team_name(int team, char dst[8])
{
    ES_ASSERT(team >= -1 && team <= ES_PLAN_TEAMS_MAX);
    dst[0] = '\0';
    if (team >= 0)
        snprintf(dst, 8, "t%02d", team);
    return dst;
}

const char *es_plan_name(char ret_name[ES_PLAN_NAME_MAX], const char *range, int team,
                         const char *rest)
{
    char label[8];
    es_plan_team_name(team, label);
    int rc = es_str_printf(ret_name, ES_PLAN_NAME_MAX, "es-%s-%s%s%s", range, label,
                           team >= 0 ? "-" : "", rest);
    ES_ASSERT(rc == 0);
    return ret_name;
}
