/* The SQLite connection: opening, the schema, statements, errors in our words. */
#include <errno.h>
#include <string.h>

#include "enshu/common/mem.h"
#include "store_inner.h"

static const char *const stmt_sql[STMT_COUNT] = {
    [STMT_BEGIN] = "BEGIN IMMEDIATE",
    [STMT_COMMIT] = "COMMIT",
    [STMT_ROLLBACK] = "ROLLBACK",
    [STMT_ADD_EVENT] =
        "INSERT INTO event(pos, ex_ms, type, team, subject, a, b, instance,"
        " epoch, seq, text) VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11)",
    [STMT_ADD_BATCH] =
        "INSERT INTO batch(id, last_pos, boot_id, boottime_ms, ex_ms, state,"
        " speed_permille, wall_us, hash) VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9)",
    [STMT_PUT_BLOB] = "INSERT OR REPLACE INTO blob(name, key, data) VALUES(?1,?2,?3)",
    [STMT_GET_BLOB] = "SELECT key, data FROM blob WHERE name = ?1",
    [STMT_ERASE_BLOB] = "DELETE FROM blob WHERE name = ?1",
    [STMT_NEXT_BLOB] =
        "SELECT name FROM blob WHERE name > ?1 AND name GLOB ?2 ORDER BY name LIMIT 1",
    [STMT_BATCH_AT] = "SELECT id, last_pos, boot_id, boottime_ms, ex_ms, state,"
                      " speed_permille, wall_us, hash FROM batch WHERE id = ?1",
    [STMT_SCAN_BATCHES] = "SELECT id, last_pos, boot_id, boottime_ms, ex_ms, state,"
                          " speed_permille, wall_us, hash FROM batch WHERE id > ?1"
                          " ORDER BY id",
    [STMT_SCAN_EVENTS] = "SELECT pos, ex_ms, type, team, subject, a, b, instance, epoch,"
                         " seq, text FROM event WHERE pos > ?1 ORDER BY pos",
    [STMT_SCAN_TYPES] = "SELECT pos, ex_ms, type, team, subject, a, b, instance, epoch,"
                        " seq, text FROM event WHERE pos > ?1 AND pos <= ?2"
                        " AND ?3 & (1 << type) ORDER BY pos",
    [STMT_ADD_LOOK] = "INSERT INTO look(ex_ms, team, subject, a, instance, epoch, seq)"
                      " VALUES(?1,?2,?3,?4,?5,?6,?7)",
    [STMT_CLEAR_LOOKS] = "DELETE FROM look",
    [STMT_SCAN_LOOKS] = "SELECT id, ex_ms, team, subject, a, instance, epoch, seq"
                        " FROM look WHERE id > ?1 ORDER BY id",
    [STMT_PUT_MARK] = "INSERT OR REPLACE INTO mark(one, batch, boot_id, boottime_ms,"
                      " ex_ms, state, speed_permille) VALUES(1,?1,?2,?3,?4,?5,?6)",
    [STMT_GET_MARK] = "SELECT batch, boot_id, boottime_ms, ex_ms, state, speed_permille"
                      " FROM mark",
};

/* Triggers keep a stray hand off the chain; the hashes find a determined one. */
static const char schema[] =
    "CREATE TABLE ledger(one INTEGER PRIMARY KEY CHECK(one = 1), id BLOB NOT NULL,"
    " created_us INTEGER NOT NULL) STRICT;"
    "CREATE TABLE event(pos INTEGER PRIMARY KEY, ex_ms INTEGER NOT NULL,"
    " type INTEGER NOT NULL, team INTEGER NOT NULL, subject INTEGER NOT NULL,"
    " a INTEGER NOT NULL, b INTEGER NOT NULL, instance INTEGER NOT NULL,"
    " epoch INTEGER NOT NULL, seq INTEGER NOT NULL, text TEXT) STRICT;"
    "CREATE TABLE batch(id INTEGER PRIMARY KEY, last_pos INTEGER NOT NULL,"
    " boot_id TEXT NOT NULL, boottime_ms INTEGER NOT NULL, ex_ms INTEGER NOT NULL,"
    " state INTEGER NOT NULL, speed_permille INTEGER NOT NULL, wall_us INTEGER NOT NULL,"
    " hash BLOB NOT NULL) STRICT;"
    "CREATE TABLE blob(name TEXT PRIMARY KEY, key BLOB, data BLOB NOT NULL)"
    " STRICT;"
    "CREATE TABLE look(id INTEGER PRIMARY KEY, ex_ms INTEGER NOT NULL,"
    " team INTEGER NOT NULL, subject INTEGER NOT NULL, a INTEGER NOT NULL,"
    " instance INTEGER NOT NULL, epoch INTEGER NOT NULL, seq INTEGER NOT NULL) STRICT;"
    "CREATE TABLE mark(one INTEGER PRIMARY KEY CHECK(one = 1), batch INTEGER NOT NULL,"
    " boot_id TEXT NOT NULL, boottime_ms INTEGER NOT NULL, ex_ms INTEGER NOT NULL,"
    " state INTEGER NOT NULL, speed_permille INTEGER NOT NULL) STRICT;"
    "CREATE TABLE signature(batch INTEGER PRIMARY KEY, public_key BLOB NOT NULL,"
    " signature BLOB NOT NULL, wall_us INTEGER NOT NULL) STRICT;"
    "CREATE TRIGGER event_stays BEFORE UPDATE ON event"
    " BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;"
    "CREATE TRIGGER event_kept BEFORE DELETE ON event"
    " BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;"
    "CREATE TRIGGER batch_stays BEFORE UPDATE ON batch"
    " BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;"
    "CREATE TRIGGER batch_kept BEFORE DELETE ON batch"
    " BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;";

int db_fail(struct es_store *store, int rc, const char *what, struct es_err *err)
{
    const char *path = store->path;
    store->last_rc = rc & 0xff;
    switch (rc & 0xff) {
    case SQLITE_NOMEM:
        return es_err_nomem(err);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return es_err_set(err, ES_EBUSY,
                          "ledger %s is in use by another process: stop it first (is a "
                          "second enshud running?)",
                          path);
    case SQLITE_FULL:
        return es_err_set(err, ES_EIO, "ledger %s: %s: the disk is full: make room", path,
                          what);
    case SQLITE_NOTADB:
        return es_err_set(err, ES_ECORRUPT, "%s is not a ledger of enshu", path);
    case SQLITE_CORRUPT:
        return es_err_set(err, ES_ECORRUPT,
                          "ledger %s: %s: the file is damaged: restore it from a copy",
                          path, what);
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return es_err_set(err, ES_EDENIED,
                          "ledger %s: %s: not writable: check its rights", path, what);
    default:
        break;
    }
    int os = store->db != NULL ? sqlite3_system_errno(store->db) : 0;
    return es_err_set(err, ES_EIO, "ledger %s: %s: %s%s%s: check the disk", path, what,
                      sqlite3_errstr(rc), os != 0 ? ": " : "",
                      os != 0 ? strerror(os) : "");
}

int db_prepare(struct es_store *store, const char *sql, sqlite3_stmt **ret_stmt,
               struct es_err *err)
{
    int rc =
        sqlite3_prepare_v3(store->db, sql, -1, SQLITE_PREPARE_PERSISTENT, ret_stmt, NULL);
    return rc == SQLITE_OK ? 0 : db_fail(store, rc, "prepare", err);
}

int db_stmt(struct es_store *store, enum stmt which, sqlite3_stmt **ret_stmt,
            struct es_err *err)
{
    if (store->stmts[which] == NULL) {
        int status = db_prepare(store, stmt_sql[which], &store->stmts[which], err);
        if (status < 0)
            return status;
    }
    sqlite3_reset(store->stmts[which]);
    *ret_stmt = store->stmts[which];
    return 0;
}

int db_run(struct es_store *store, sqlite3_stmt *stmt, const char *what,
           struct es_err *err)
{
    int rc = sqlite3_step(stmt);
    sqlite3_reset(stmt);
    return rc == SQLITE_DONE || rc == SQLITE_ROW ? 0 : db_fail(store, rc, what, err);
}

int db_exec(struct es_store *store, const char *sql, struct es_err *err)
{
    int rc = sqlite3_exec(store->db, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? 0 : db_fail(store, rc, "set up", err);
}

int db_begin(struct es_store *store, struct es_err *err)
{
    ES_ASSERT(sqlite3_get_autocommit(store->db) != 0);
    sqlite3_stmt *stmt;
    int status = db_stmt(store, STMT_BEGIN, &stmt, err);
    return status < 0 ? status : db_run(store, stmt, "begin", err);
}

int db_commit(struct es_store *store, struct es_err *err)
{
    sqlite3_stmt *stmt;
    int status = db_stmt(store, STMT_COMMIT, &stmt, err);
    return status < 0 ? status : db_run(store, stmt, "commit", err);
}

void db_rollback(struct es_store *store)
{
    /* Some errors have rolled back by themselves. */
    if (sqlite3_get_autocommit(store->db) != 0)
        return;
    sqlite3_stmt *stmt;
    if (db_stmt(store, STMT_ROLLBACK, &stmt, NULL) == 0)
        db_run(store, stmt, "roll back", NULL);
}

static int pragma_int(struct es_store *store, const char *sql, int64_t *ret_value,
                      struct es_err *err)
{
    sqlite3_stmt *stmt = NULL;
    int status = db_prepare(store, sql, &stmt, err);
    if (status < 0)
        return status;
    int rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW)
        *ret_value = sqlite3_column_int64(stmt, 0);
    else
        status = db_fail(store, rc, "open", err);
    sqlite3_finalize(stmt);
    return status;
}

static int create_schema(struct es_store *store, struct es_err *err)
{
    sqlite3_stmt *stmt = NULL;
    char pragmas[96];
    snprintf(pragmas, sizeof pragmas, "PRAGMA application_id=%d; PRAGMA user_version=%d;",
             APPLICATION_ID, FORMAT);
    int status = db_begin(store, err);
    if (status == 0)
        status = db_exec(store, schema, err);
    if (status == 0)
        status = db_exec(store, pragmas, err);
    if (status == 0)
        status = db_prepare(store,
                            "INSERT INTO ledger(one, id, created_us)"
                            " VALUES(1, ?1, ?2)",
                            &stmt, err);
    if (status == 0) {
        sqlite3_bind_blob(stmt, 1, store->id, ID_BYTES, SQLITE_STATIC);
        sqlite3_bind_int64(stmt, 2, store->created_us);
        status = db_run(store, stmt, "create", err);
    }
    sqlite3_finalize(stmt);
    if (status == 0)
        status = db_commit(store, err);
    if (status < 0)
        db_rollback(store);
    return status;
}

/* An empty file is what a crash in the middle of a creation leaves behind. */
static int check_format(struct es_store *store, bool create, struct es_err *err)
{
    int64_t app = 0, format = 0, tables = 0;
    int status = pragma_int(store, "PRAGMA application_id", &app, err);
    if (status == 0)
        status = pragma_int(store, "PRAGMA user_version", &format, err);
    if (status == 0)
        status = pragma_int(store, "SELECT count(*) FROM sqlite_schema", &tables, err);
    if (status < 0)
        return status;
    if (app == 0 && format == 0 && tables == 0 && create)
        return create_schema(store, err);
    if (app != APPLICATION_ID)
        return es_err_set(err, ES_ECORRUPT, "%s is not a ledger of enshu", store->path);
    if (format != FORMAT)
        return es_err_set(
            err, ES_ENOTSUP,
            "ledger %s has format %lld, this enshu reads format %d: use the "
            "version that wrote it",
            store->path, (long long)format, FORMAT);
    return 0;
}

static int read_identity(struct es_store *store, struct es_err *err)
{
    sqlite3_stmt *stmt = NULL;
    int status = db_prepare(store, "SELECT id, created_us FROM ledger", &stmt, err);
    if (status < 0)
        return status;
    int rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW && sqlite3_column_bytes(stmt, 0) == ID_BYTES) {
        memcpy(store->id, sqlite3_column_blob(stmt, 0), ID_BYTES);
        store->created_us = sqlite3_column_int64(stmt, 1);
    } else {
        status =
            db_fail(store, rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_CORRUPT : rc,
                    "read its identity", err);
    }
    sqlite3_finalize(stmt);
    return status;
}

int db_open(struct es_store *store, bool create, struct es_err *err)
{
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE |
                (create ? SQLITE_OPEN_CREATE : 0);
    int rc = sqlite3_open_v2(store->path, &store->db, flags, NULL);
    if ((rc & 0xff) == SQLITE_CANTOPEN) {
        int os = store->db != NULL ? sqlite3_system_errno(store->db) : 0;
        return es_err_set(err, os == EACCES ? ES_EDENIED : ES_ENOENT,
                          "ledger %s cannot be opened: %s: check the path", store->path,
                          os != 0 ? strerror(os) : "not found");
    }
    if (rc != SQLITE_OK)
        return db_fail(store, rc, "open", err);
    sqlite3_db_config(store->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(store->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    /* Exclusive before the first access: the lock is taken once and held, and the WAL's
     * index lives in our memory instead of a shared file. */
    int status = db_exec(store,
                         "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL;"
                         "PRAGMA synchronous=FULL; PRAGMA secure_delete=ON;"
                         "PRAGMA journal_size_limit=16777216; PRAGMA cell_size_check=ON;"
                         "PRAGMA cache_size=-8192; PRAGMA temp_store=MEMORY",
                         err);
    if (status == 0)
        status = check_format(store, create, err);
    /* A reader alone would take a shared lock; a write takes the ledger for itself. */
    if (status == 0)
        status = db_begin(store, err);
    if (status == 0)
        status = db_commit(store, err);
    return status == 0 ? read_identity(store, err) : status;
}

void db_close(struct es_store *store)
{
    for (int i = 0; i < STMT_COUNT; i++)
        sqlite3_finalize(store->stmts[i]);
    int rc = sqlite3_close(store->db);
    ES_ASSERT(rc == SQLITE_OK);
}
