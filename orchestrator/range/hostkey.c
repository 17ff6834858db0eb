/* Format: OpenSSH's PROTOCOL.key and RFC 8709; every integer and length is 32 bits, big
 * end first. */
#include "hostkey.h"

#include <sodium.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "enshu/common/err.h"

#define TYPE       "ssh-ed25519"
#define LINE_CHARS 70
#define BLOCK      8 /* the private part is padded to this when it is not encrypted */

struct blob {
    unsigned char data[512];
    size_t len;
};

static void put(struct blob *blob, const void *data, size_t len)
{
    ES_ASSERT(len <= sizeof blob->data - blob->len);
    memcpy(blob->data + blob->len, data, len);
    blob->len += len;
}

static void put_int(struct blob *blob, uint32_t v)
{
    const unsigned char bytes[] = {(unsigned char)(v >> 24), (unsigned char)(v >> 16),
                                   (unsigned char)(v >> 8), (unsigned char)v};
    put(blob, bytes, sizeof bytes);
}

static void put_string(struct blob *blob, const void *data, size_t len)
{
    put_int(blob, (uint32_t)len);
    put(blob, data, len);
}

static void put_text(struct blob *blob, const char *text)
{
    put_string(blob, text, strlen(text));
}

static void make_public(struct blob *blob, const unsigned char *public_key)
{
    put_text(blob, TYPE);
    put_string(blob, public_key, crypto_sign_PUBLICKEYBYTES);
}

/* The two check words are equal, so that a reader sees whether it decrypted well; they are
 * not secret, and here the same at every making. */
static void make_private(struct blob *blob, const unsigned char *public_key,
                         const unsigned char *secret_key, const char *comment)
{
    for (int i = 0; i < 2; i++)
        put(blob, public_key, 4);
    make_public(blob, public_key);
    put_string(blob, secret_key, crypto_sign_SECRETKEYBYTES);
    put_text(blob, comment);
    for (unsigned char pad = 1; blob->len % BLOCK != 0; pad++)
        put(blob, &pad, 1);
}

static void armour(const struct blob *blob, char dst[HOSTKEY_TEXT_MAX])
{
    char base64[HOSTKEY_TEXT_MAX];
    size_t at = 0;
    sodium_bin2base64(base64, sizeof base64, blob->data, blob->len,
                      sodium_base64_VARIANT_ORIGINAL);
    at +=
        (size_t)snprintf(dst, HOSTKEY_TEXT_MAX, "-----BEGIN OPENSSH PRIVATE KEY-----\n");
    for (size_t i = 0, len = strlen(base64); i < len; i += LINE_CHARS)
        at += (size_t)snprintf(dst + at, HOSTKEY_TEXT_MAX - at, "%.*s\n", LINE_CHARS,
                               base64 + i);
    at += (size_t)snprintf(dst + at, HOSTKEY_TEXT_MAX - at,
                           "-----END OPENSSH PRIVATE KEY-----\n");
    ES_ASSERT(at < HOSTKEY_TEXT_MAX);
    sodium_memzero(base64, sizeof base64);
}

void hostkey_make(const unsigned char seed[HOSTKEY_SEED_BYTES], const char *comment,
                  struct hostkey *ret_key)
{
    static const char magic[] = "openssh-key-v1";
    unsigned char public_key[crypto_sign_PUBLICKEYBYTES];
    unsigned char secret_key[crypto_sign_SECRETKEYBYTES];
    struct blob open = {.len = 0}, hidden = {.len = 0}, whole = {.len = 0};
    char base64[128];
    _Static_assert(HOSTKEY_SEED_BYTES == crypto_sign_SEEDBYTES, "libsodium's seed");
    ES_ASSERT(strlen(comment) <= 64);
    crypto_sign_seed_keypair(public_key, secret_key, seed);
    make_public(&open, public_key);
    make_private(&hidden, public_key, secret_key, comment);
    put(&whole, magic, sizeof magic); /* with its NUL */
    put_text(&whole, "none");         /* cipher */
    put_text(&whole, "none");         /* key derivation */
    put_text(&whole, "");             /* its options */
    put_int(&whole, 1);               /* keys */
    put_string(&whole, open.data, open.len);
    put_string(&whole, hidden.data, hidden.len);
    armour(&whole, ret_key->private_text);
    sodium_bin2base64(base64, sizeof base64, open.data, open.len,
                      sodium_base64_VARIANT_ORIGINAL);
    snprintf(ret_key->public_text, sizeof ret_key->public_text, TYPE " %s %s\n", base64,
             comment);
    sodium_memzero(secret_key, sizeof secret_key);
    sodium_memzero(&hidden, sizeof hidden);
    sodium_memzero(&whole, sizeof whole);
}
