/* SSH host keys, made here and sent: an ed25519 key pair from a seed, as the files a guest's
 * sshd reads. Pure. [any] */
#ifndef ORCHESTRATOR_RANGE_HOSTKEY_H
#define ORCHESTRATOR_RANGE_HOSTKEY_H

#include <stddef.h>

#define HOSTKEY_SEED_BYTES 32
#define HOSTKEY_TEXT_MAX   768

struct hostkey {
    char private_text[HOSTKEY_TEXT_MAX]; /* "openssh-key-v1", not encrypted */
    char public_text[HOSTKEY_TEXT_MAX];  /* "ssh-ed25519 BASE64 COMMENT" */
};
/* The comment is at most 64 bytes. Clear the result with sodium_memzero after use. */
void hostkey_make(const unsigned char seed[HOSTKEY_SEED_BYTES], const char *comment,
                  struct hostkey *ret_key);

#endif
