/* SQLite on a disk and a memory that fail when a test says so: a VFS in front of the
 * system's, and allocation through es_alloc (so es_mem_fail_nth reaches SQLite too). */
#ifndef TESTS_SUPPORT_SQLITE_FAULTS_H
#define TESTS_SUPPORT_SQLITE_FAULTS_H

#include <stdbool.h>

enum sqlite_fault {
    FAULT_NONE,
    FAULT_WRITE, /* the n-th write fails, half of it done */
    FAULT_FULL,  /* from the n-th write on the disk is full, while the reserve stands */
    FAULT_SYNC,  /* the n-th sync fails */
    FAULT_READ,  /* the n-th read fails */
    FAULT_POWER, /* at the n-th write or sync the power goes: nothing works any more */
};

/* Before SQLite's first use in the process. */
void sqlite_faults_install(void);
/* FAULT_FULL ends when `reserve` is gone. */
void sqlite_faults_set(enum sqlite_fault fault, long n, const char *reserve);
/* Whether the fault has happened since it was set. */
bool sqlite_faults_happened(void);

/* What the disk holds after a power cut: of the writes after a file's last sync none
 * (false) or all (true) are there. Sets the fault to FAULT_NONE. */
void sqlite_faults_power_back(const char *db, bool db_kept, bool wal_kept);

#endif
