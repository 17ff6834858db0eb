/* A VFS that fails on purpose and remembers what was synced. */
#include "sqlite_faults.h"

#include <check.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "enshu/common/err.h"
#include "enshu/common/mem.h"

struct shim {
    sqlite3_file base;
    char name[512];
    sqlite3_file *real; /* behind this struct */
};

static sqlite3_vfs *system_vfs;
static sqlite3_vfs shim_vfs;
static enum sqlite_fault planned;
static long left; /* operations until it happens; negative once it has */
static const char *reserve_path;

static bool is_due(enum sqlite_fault a, enum sqlite_fault b)
{
    if (planned != a && planned != b)
        return false;
    if (left > 0)
        left--;
    return left == 0;
}

/* One failure only, or a state that lasts. */
static void spend(void)
{
    left = -1;
    if (planned == FAULT_WRITE || planned == FAULT_SYNC || planned == FAULT_READ)
        planned = FAULT_NONE;
}

static bool is_dead(void)
{
    return planned == FAULT_POWER && left < 0;
}

/* ------------------------------------------------------------------ what was synced */

static void copy_file(const char *from, const char *to)
{
    int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    struct stat st;
    ck_assert_int_ge(out, 0);
    if (in >= 0 && fstat(in, &st) == 0)
        for (off_t off = 0; off < st.st_size;)
            ck_assert_int_gt(sendfile(out, in, &off, (size_t)(st.st_size - off)), 0);
    if (in >= 0)
        close(in);
    close(out);
}

static void synced_name(char *dst, size_t size, const char *name)
{
    snprintf(dst, size, "%s.synced", name);
}

/* ------------------------------------------------------------------ one file */

static struct shim *shim_of(sqlite3_file *file)
{
    return ES_CONTAINER(file, struct shim, base);
}

static int on_close(sqlite3_file *file)
{
    sqlite3_file *real = shim_of(file)->real;
    return real->pMethods->xClose(real);
}

static int on_read(sqlite3_file *file, void *dst, int len, sqlite3_int64 off)
{
    sqlite3_file *real = shim_of(file)->real;
    if (is_dead())
        return SQLITE_IOERR_READ;
    if (is_due(FAULT_READ, FAULT_READ)) {
        spend();
        return SQLITE_IOERR_READ;
    }
    return real->pMethods->xRead(real, dst, len, off);
}

static int on_write(sqlite3_file *file, const void *src, int len, sqlite3_int64 off)
{
    sqlite3_file *real = shim_of(file)->real;
    if (is_dead())
        return SQLITE_IOERR_WRITE;
    if (planned == FAULT_FULL && left <= 1) {
        left = -1;
        return access(reserve_path, F_OK) == 0
                   ? SQLITE_FULL
                   : real->pMethods->xWrite(real, src, len, off);
    }
    if (planned == FAULT_FULL)
        left--;
    if (is_due(FAULT_WRITE, FAULT_POWER)) {
        spend();
        real->pMethods->xWrite(real, src, len / 2, off);
        return SQLITE_IOERR_WRITE;
    }
    return real->pMethods->xWrite(real, src, len, off);
}

static int on_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    sqlite3_file *real = shim_of(file)->real;
    return is_dead() ? SQLITE_IOERR_TRUNCATE : real->pMethods->xTruncate(real, size);
}

static int on_sync(sqlite3_file *file, int flags)
{
    struct shim *shim = shim_of(file);
    if (is_dead())
        return SQLITE_IOERR_FSYNC;
    if (is_due(FAULT_SYNC, FAULT_POWER)) {
        spend();
        return SQLITE_IOERR_FSYNC;
    }
    int rc = shim->real->pMethods->xSync(shim->real, flags);
    char name[640];
    synced_name(name, sizeof name, shim->name);
    copy_file(shim->name, name);
    return rc;
}

static int on_file_size(sqlite3_file *file, sqlite3_int64 *size)
{
    sqlite3_file *real = shim_of(file)->real;
    return real->pMethods->xFileSize(real, size);
}

static int on_lock(sqlite3_file *file, int level)
{
    sqlite3_file *real = shim_of(file)->real;
    return real->pMethods->xLock(real, level);
}

static int on_unlock(sqlite3_file *file, int level)
{
    sqlite3_file *real = shim_of(file)->real;
    return real->pMethods->xUnlock(real, level);
}

static int on_reserved(sqlite3_file *file, int *result)
{
    sqlite3_file *real = shim_of(file)->real;
    return real->pMethods->xCheckReservedLock(real, result);
}

static int on_control(sqlite3_file *file, int op, void *arg)
{
    sqlite3_file *real = shim_of(file)->real;
    return real->pMethods->xFileControl(real, op, arg);
}

static int on_sector_size(sqlite3_file *file)
{
    sqlite3_file *real = shim_of(file)->real;
    return real->pMethods->xSectorSize(real);
}

static int on_characteristics(sqlite3_file *file)
{
    sqlite3_file *real = shim_of(file)->real;
    return real->pMethods->xDeviceCharacteristics(real);
}

static const sqlite3_io_methods methods = {
    .iVersion = 1,
    .xClose = on_close,
    .xRead = on_read,
    .xWrite = on_write,
    .xTruncate = on_truncate,
    .xSync = on_sync,
    .xFileSize = on_file_size,
    .xLock = on_lock,
    .xUnlock = on_unlock,
    .xCheckReservedLock = on_reserved,
    .xFileControl = on_control,
    .xSectorSize = on_sector_size,
    .xDeviceCharacteristics = on_characteristics,
};

/* ------------------------------------------------------------------ the file system */

static int on_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags,
                   int *out_flags)
{
    (void)vfs;
    struct shim *shim = shim_of(file);
    shim->base.pMethods = NULL;
    shim->real = (sqlite3_file *)(void *)(shim + 1);
    if (is_dead())
        return SQLITE_CANTOPEN;
    snprintf(shim->name, sizeof shim->name, "%s", name != NULL ? name : "");
    int rc = system_vfs->xOpen(system_vfs, name, shim->real, flags, out_flags);
    if (rc == SQLITE_OK)
        shim->base.pMethods = &methods;
    return rc;
}

static int on_delete(sqlite3_vfs *vfs, const char *name, int sync_folder)
{
    (void)vfs;
    if (is_dead())
        return SQLITE_IOERR_DELETE;
    char synced[640];
    synced_name(synced, sizeof synced, name);
    unlink(synced);
    return system_vfs->xDelete(system_vfs, name, sync_folder);
}

/* ------------------------------------------------------------------ memory */

#define SIZE_BYTES 16

static void *on_malloc(int size)
{
    int *block = es_alloc((size_t)size + SIZE_BYTES);
    if (block == NULL)
        return NULL;
    *block = size;
    return (char *)block + SIZE_BYTES;
}

static int on_size(void *ptr)
{
    return ptr != NULL ? *(int *)(void *)((char *)ptr - SIZE_BYTES) : 0;
}

static void on_free(void *ptr)
{
    es_free(ptr != NULL ? (char *)ptr - SIZE_BYTES : NULL);
}

static void *on_realloc(void *ptr, int size)
{
    int *block = es_realloc((char *)ptr - SIZE_BYTES, (size_t)size + SIZE_BYTES);
    if (block == NULL)
        return NULL;
    *block = size;
    return (char *)block + SIZE_BYTES;
}

static int on_roundup(int size)
{
    return (size + 7) & ~7;
}

static int on_init(void *ctx)
{
    (void)ctx;
    return SQLITE_OK;
}

static void on_shutdown(void *ctx)
{
    (void)ctx;
}

/* ------------------------------------------------------------------ for tests */

void sqlite_faults_install(void)
{
    static sqlite3_mem_methods memory = {on_malloc,  on_free, on_realloc,  on_size,
                                         on_roundup, on_init, on_shutdown, NULL};
    ck_assert_int_eq(sqlite3_config(SQLITE_CONFIG_MALLOC, &memory), SQLITE_OK);
    ck_assert_int_eq(sqlite3_initialize(), SQLITE_OK);
    system_vfs = sqlite3_vfs_find(NULL);
    shim_vfs = *system_vfs;
    shim_vfs.zName = "faults";
    shim_vfs.pNext = NULL;
    shim_vfs.szOsFile = (int)sizeof(struct shim) + system_vfs->szOsFile;
    shim_vfs.xOpen = on_open;
    shim_vfs.xDelete = on_delete;
    ck_assert_int_eq(sqlite3_vfs_register(&shim_vfs, 1), SQLITE_OK);
}

void sqlite_faults_set(enum sqlite_fault fault, long n, const char *reserve)
{
    planned = fault;
    left = n;
    reserve_path = reserve;
}

bool sqlite_faults_happened(void)
{
    return left < 0;
}

void sqlite_faults_power_back(const char *db, bool db_kept, bool wal_kept)
{
    char wal[512], synced[640];
    sqlite_faults_set(FAULT_NONE, 0, NULL);
    snprintf(wal, sizeof wal, "%s-wal", db);
    synced_name(synced, sizeof synced, db);
    if (!db_kept)
        copy_file(synced, db);
    synced_name(synced, sizeof synced, wal);
    if (!wal_kept)
        copy_file(synced, wal);
}
