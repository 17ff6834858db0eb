/* Runs the suites of the named folders or files (all without names) and ends with check's
 * closing lines. */
#include "runner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "enshu/common/str.h"

static int wanted(const struct test_entry *entry, int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (es_str_eq(argv[i], entry->dir) || es_str_eq(argv[i], entry->name))
            return 1;
    return argc == 1;
}

int main(int argc, char **argv)
{
    SRunner *runner = srunner_create(NULL);
    int suites = 0;
    for (const struct test_entry *entry = test_entries; entry->make != NULL; entry++) {
        if (!wanted(entry, argc, argv))
            continue;
        srunner_add_suite(runner, entry->make());
        suites++;
    }
    if (suites == 0) {
        fprintf(stderr, "enshu-tests: no suite of that name\n");
        return 2;
    }
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
