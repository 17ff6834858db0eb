/* What the checks share. */
#ifndef ENSHU_DOCTOR_INNER_H
#define ENSHU_DOCTOR_INNER_H

#include <stddef.h>
#include <stdint.h>

#include "enshu/common/err.h"
#include "enshu/doctor.h"

/* A check fills the finding; it starts as ok with empty texts. */
typedef void (*doctor_check)(const struct es_doctor_host *host,
                             struct es_doctor_finding *finding);

/* clang-format off */
/* X(name, function, only with the embedded libvirt) */
#define DOCTOR_CHECK_MAP(X)                    \
    X("processor",  processor,  false)         \
    X("kvm",        kvm,        false)         \
    X("accelerator", accelerator, false)       \
    X("qemu",       qemu,       false)         \
    X("libvirt",    libvirt,    false)         \
    X("namespaces", namespaces, true)          \
    X("uidmap",     uidmap,     false)         \
    X("tun",        tun,        true)          \
    X("iptables",   iptables,   true)          \
    X("apparmor",   apparmor,   false)         \
    X("image tools", image_tools, false)       \
    X("state",      state,      false)         \
    X("disk",       disk,       false)         \
    X("memory",     memory,     false)         \
    X("CPU shares", shares,     false)         \
    X("open files", open_files, false)
/* clang-format on */
#define X(name, function, embedded)                                                      \
    void check_##function(const struct es_doctor_host *host,                             \
                          struct es_doctor_finding *finding);
DOCTOR_CHECK_MAP(X)
#undef X

/* Sets level, text and remedy (may be NULL). */
void found(struct es_doctor_finding *finding, enum es_doctor_level level,
           const char *remedy, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* look.c. Paths are absolute and taken below the host's root. */
void look_path(const struct es_doctor_host *host, const char *path, char *dst,
               size_t size);
bool look_there(const struct es_doctor_host *host, const char *path);
/* The beginning of a file, "" when it cannot be read. */
bool look_read(const struct es_doctor_host *host, const char *path, char *dst,
               size_t size);
/* The number after `key` in a file of lines such as /proc/meminfo; -1. */
int64_t look_number(const struct es_doctor_host *host, const char *path, const char *key);
/* Whether the host's user may read and write a file; `others`: whether anybody may. */
bool look_may_open(const struct es_doctor_host *host, const char *path, bool others);
/* The program's path below root in dst; false when it is in no folder. */
bool look_program(const struct es_doctor_host *host, const char *name, char *dst,
                  size_t size);
/* The first version number the program tells with --version; "" unless live. */
void look_version(const struct es_doctor_host *host, const char *program, char *dst,
                  size_t size);

#endif
