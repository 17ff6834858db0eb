/* The account files, read and rewritten without NSS: a static program must not call
 * getpw* & co. [any]
 *
 * `root` stands before every path ("" for the real system). Files are read whole, up to
 * ES_ETC_FILE_MAX bytes; lines that are not of the file's form are passed over. Writers
 * write beside and rename, keeping mode and owner; they do not wait for the disk: what is
 * written is written again at the agent's next start. */
#ifndef ENSHU_PROBE_ETC_H
#define ENSHU_PROBE_ETC_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "enshu/common/buf.h"
#include "enshu/common/err.h"

#define ES_ETC_FILE_MAX   (4U << 20)
#define ES_ETC_FIELDS_MAX 10

struct es_etc_user {
    char name[64];
    uid_t uid;
    gid_t gid;
    char home[256];
    char shell[128];
};

/* Reads root + path into `out` (caller initialises, its cap counts). ES_ENOENT,
 * ES_EDENIED, ES_ELIMIT, ES_EIO, ES_ENOMEM. */
int es_etc_read(const char *root, const char *path, struct es_buf *out,
                struct es_err *err);

/* Replaces root + path with the bytes, atomically; a new file gets `mode`. */
int es_etc_write(const char *root, const char *path, const void *data, size_t len,
                 mode_t mode, struct es_err *err);

/* The next line of a text as fields cut at ':', in place. False at the end. */
bool es_etc_next(char **text, char *fields[ES_ETC_FIELDS_MAX], size_t *ret_count);

/* ES_ENOENT when there is no such user. */
int es_etc_user_by_name(const char *root, const char *name, struct es_etc_user *ret_user,
                        struct es_err *err);
/* Names for numbers, for people: "" when there is none. ES_ENOMEM alone is an error. */
int es_etc_user_name(const char *root, uid_t uid, char *dst, size_t size);
int es_etc_group_name(const char *root, gid_t gid, char *dst, size_t size);
int es_etc_group_by_name(const char *root, const char *name, gid_t *ret_gid,
                         struct es_err *err);
/* The groups a user is in, the first being `gid`. ES_ENOMEM alone is an error. */
int es_etc_user_groups(const char *root, const char *name, gid_t gid, gid_t *groups,
                       size_t max, size_t *ret_count);
/* Whether `name` stands in a list of names cut at ','. */
bool es_etc_in_list(const char *list, const char *name);
struct es_etc_shadow {
    char hash[512];
    int64_t last_change_day; /* -1: not stated */
    bool locked;             /* a hash no password fits, or the account has expired */
};
/* The line of /etc/shadow, or the password field of /etc/passwd where it stands there. */
int es_etc_shadow_by_name(const char *root, const char *name,
                          struct es_etc_shadow *ret_shadow, struct es_err *err);
/* "user", "user:group" or numbers. */
int es_etc_owner(const char *root, const char *text, uid_t *ret_uid, gid_t *ret_gid,
                 struct es_err *err);

#endif
