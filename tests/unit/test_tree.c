/* common: files and folders. */
#include <check.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../support/scratch.h"
#include "enshu/common/tree.h"

static void put(const char *name, const char *text)
{
    struct es_err err = {0};
    int rc = es_tree_write(scratch_path(name), text, strlen(text), 0640, &err);
    ck_assert_msg(rc == 0, "%s", err.msg);
}

static void make(const char *name)
{
    struct es_err err = {0};
    int rc = es_tree_make(scratch_path(name), 0750, &err);
    ck_assert_msg(rc == 0, "%s", err.msg);
}

static bool is_there(const char *name)
{
    struct stat st;
    return lstat(scratch_path(name), &st) == 0;
}

START_TEST(folders_are_made_as_far_as_missing)
{
    struct stat st;
    struct es_err err = {0};
    make("a/b/c");
    ck_assert_int_eq(stat(scratch_path("a/b/c"), &st), 0);
    ck_assert(S_ISDIR(st.st_mode));
    ck_assert_uint_eq(st.st_mode & 0777, 0750);
    make("a/b/d");
    put("a/file", "");
    ck_assert_int_eq(es_tree_make(scratch_path("a/file/x"), 0750, &err), ES_EIO);
    ck_assert_ptr_nonnull(strstr(err.msg, "a/file"));
    ck_assert_int_eq(es_tree_make("", 0750, &err), ES_ELIMIT);
}
END_TEST

static void assert_holds(const char *name, const char *text, mode_t mode)
{
    char read_back[64] = "";
    struct stat st;
    FILE *file = fopen(scratch_path(name), "r");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fread(read_back, 1, sizeof read_back, file), strlen(text));
    ck_assert_int_eq(fstat(fileno(file), &st), 0);
    fclose(file);
    ck_assert_str_eq(read_back, text);
    ck_assert_uint_eq(st.st_mode & 0777, mode);
}

START_TEST(a_file_is_written_whole)
{
    struct es_err err = {0};
    umask(077);
    put("f", "first");
    assert_holds("f", "first", 0640);
    ck_assert_int_eq(es_tree_write(scratch_path("f"), "", 0, 0644, &err), 0);
    assert_holds("f", "", 0644);
    /* Something half written before, and a link in its place. */
    put("elsewhere", "untouched");
    ck_assert_int_eq(symlink("elsewhere", scratch_path("f.new")), 0);
    put("f", "second");
    assert_holds("f", "second", 0640);
    assert_holds("elsewhere", "untouched", 0640);
    ck_assert(!is_there("f.new"));
    ck_assert_int_eq(es_tree_write(scratch_path("no/f"), "x", 1, 0644, &err), ES_EIO);
    make("folder/x");
    ck_assert_int_eq(es_tree_write(scratch_path("folder"), "x", 1, 0644, &err), ES_EIO);
    ck_assert(!is_there("folder.new"));
}
END_TEST

START_TEST(a_tree_goes_with_all_in_it_and_nothing_else)
{
    struct es_err err = {0};
    make("out");
    put("out/kept", "x");
    make("t/a/b/c");
    put("t/a/one", "1");
    put("t/a/b/two", "2");
    ck_assert_int_eq(symlink("../../out", scratch_path("t/a/link")), 0);
    ck_assert_int_eq(symlink("nowhere", scratch_path("t/b")), 0);
    ck_assert_int_eq(mkfifo(scratch_path("t/fifo"), 0600), 0);
    ck_assert_int_eq(es_tree_remove(AT_FDCWD, scratch_path("t"), &err), 0);
    ck_assert(!is_there("t"));
    ck_assert(is_there("out/kept"));
    ck_assert_int_eq(es_tree_remove(AT_FDCWD, scratch_path("t"), &err), 0);
    ck_assert_int_eq(symlink("out", scratch_path("l")), 0);
    ck_assert_int_eq(es_tree_remove(AT_FDCWD, scratch_path("l"), &err), 0);
    ck_assert(!is_there("l"));
    ck_assert(is_there("out/kept"));
    ck_assert_int_eq(es_tree_remove(AT_FDCWD, scratch_path("out/kept"), &err), 0);
    ck_assert(!is_there("out/kept"));
}
END_TEST

/* A name below a file cannot be looked at, and the folder of one that cannot go stays. */
START_TEST(what_cannot_go_is_told_and_keeps_nothing_else)
{
    struct es_err err = {0};
    put("f", "x");
    ck_assert_int_eq(es_tree_remove(AT_FDCWD, scratch_path("f/x"), &err), ES_EIO);
    ck_assert_ptr_nonnull(strstr(err.msg, "f/x"));
    ck_assert_int_eq(es_tree_remove(AT_FDCWD, "/proc/self/task", &err), ES_EIO);
    ck_assert_int_eq(es_tree_remove(AT_FDCWD, "/proc/self/task", NULL), ES_EIO);
}
END_TEST

Suite *tree_suite(void);
Suite *tree_suite(void)
{
    Suite *suite = suite_create("tree");
    TCase *tc = tcase_create("tree");
    tcase_add_checked_fixture(tc, scratch_make, scratch_remove);
    tcase_add_test(tc, folders_are_made_as_far_as_missing);
    tcase_add_test(tc, a_file_is_written_whole);
    tcase_add_test(tc, a_tree_goes_with_all_in_it_and_nothing_else);
    tcase_add_test(tc, what_cannot_go_is_told_and_keeps_nothing_else);
    suite_add_tcase(suite, tc);
    return suite;
}
