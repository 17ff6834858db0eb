/* Base64 by libsodium, between bytes and JSON strings. */
#include <sodium.h>
#include <string.h>

#include "enshu/common/mem.h"
#include "enshu/wire.h"

json_t *es_base64_json(const void *data, size_t len)
{
    if (len > (SIZE_MAX - 8) / 4 * 3)
        return NULL;
    size_t size = sodium_base64_ENCODED_LEN(len, sodium_base64_VARIANT_ORIGINAL);
    char *text = es_alloc(size);
    if (text == NULL)
        return NULL;
    sodium_bin2base64(text, size, data, len, sodium_base64_VARIANT_ORIGINAL);
    json_t *json = json_stringn_nocheck(text, size - 1);
    es_free(text);
    return json;
}

int es_base64_decode(const char *text, size_t len, struct es_buf *out)
{
    if (out->status != 0)
        return out->status;
    if (len % 4 != 0)
        return ES_EPROTO;
    if (len == 0)
        return 0;
    /* libsodium 1.0.18 takes some bytes past ASCII for digits where char is signed. */
    for (size_t i = 0; i < len; i++)
        if ((text[i] & 0x80) != 0)
            return ES_EPROTO;
    unsigned char *bytes = es_alloc(len / 4 * 3);
    if (bytes == NULL)
        return ES_ENOMEM;
    size_t got;
    const char *end;
    int rc = ES_EPROTO;
    if (sodium_base642bin(bytes, len / 4 * 3, text, len, NULL, &got, &end,
                          sodium_base64_VARIANT_ORIGINAL) == 0 &&
        end == text + len) {
        rc = es_buf_append(out, bytes, got);
        out->status = 0;
    }
    es_free(bytes);
    return rc;
}
