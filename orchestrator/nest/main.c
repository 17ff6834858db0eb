/* enshu-nest: the command line of the private libvirt daemon. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "enshu/common/str.h"

static const char usage[] =
    "enshu-nest: a private libvirt daemon in namespaces of its own\n"
    "\n"
    "  enshu-nest start  --state DIR [--kvm yes|no] [--share DIR]...\n"
    "      returns when libvirtd answers and prints its URI; no effect when it runs\n"
    "  enshu-nest stop   --state DIR [--purge]\n"
    "      ends libvirtd and every machine; --purge forgets definitions and caches too\n"
    "  enshu-nest status --state DIR [--json]\n"
    "  enshu-nest exec   --state DIR -- COMMAND [ARGUMENT]...\n"
    "      runs a command inside the namespaces\n"
    "\n"
    "  --share DIR  a folder outside the state directory whose images QEMU must reach\n"
    "  --kvm        by default /dev/kvm is used when QEMU's user can open it\n";

struct command {
    const char *name;
    int (*run)(struct options *options, struct es_err *err);
};
static const struct command commands[] = {{"start", command_start},
                                          {"stop", command_stop},
                                          {"status", command_status},
                                          {"exec", command_exec}};

static int set_kvm(struct options *options, const char *value, struct es_err *err)
{
    options->kvm = es_str_eq(value, "yes")  ? KVM_YES
                   : es_str_eq(value, "no") ? KVM_NO
                                            : KVM_AUTO;
    if (options->kvm == KVM_AUTO && !es_str_eq(value, "auto"))
        return es_err_set(err, ES_EINVAL, "--kvm %s: say yes, no or auto", value);
    return 0;
}

static int set_option(struct options *options, int c, struct es_err *err)
{
    switch (c) {
    case 's':
        options->state = optarg;
        return 0;
    case 'k':
        return set_kvm(options, optarg, err);
    case 'j':
        options->json = true;
        return 0;
    case 'p':
        options->purge = true;
        return 0;
    case 'd':
        if (options->share_count == SHARES_MAX)
            return es_err_set(err, ES_ELIMIT, "--share: at most %d", SHARES_MAX);
        options->shares[options->share_count++] = optarg;
        return 0;
    default:
        return es_err_set(err, ES_EINVAL, "see: enshu-nest --help");
    }
}

static int parse(int argc, char **argv, struct options *options, struct es_err *err)
{
    static const struct option longs[] = {
        {"state", required_argument, NULL, 's'}, {"kvm", required_argument, NULL, 'k'},
        {"json", no_argument, NULL, 'j'},        {"purge", no_argument, NULL, 'p'},
        {"share", required_argument, NULL, 'd'}, {NULL, 0, NULL, 0}};
    for (int c; (c = getopt_long(argc, argv, "+", longs, NULL)) != -1;) {
        int rc = set_option(options, c, err);
        if (rc != 0)
            return rc;
    }
    options->command = argv + optind;
    if (options->state == NULL)
        return es_err_set(err, ES_EINVAL, "say which nest: --state DIR");
    return 0;
}

int main(int argc, char **argv)
{
    struct options options = {0};
    struct es_err err = {0};
    if (argc < 2 || es_str_eq(argv[1], "--help") || es_str_eq(argv[1], "help")) {
        fputs(usage, argc < 2 ? stderr : stdout);
        return argc < 2 ? 64 : 0;
    }
    for (size_t i = 0; i < ES_COUNT(commands); i++) {
        if (!es_str_eq(argv[1], commands[i].name))
            continue;
        int rc = parse(argc - 1, argv + 1, &options, &err);
        bool has_command = rc == 0 && options.command[0] != NULL;
        if (rc == 0 && has_command != (commands[i].run == command_exec))
            rc = es_err_set(&err, ES_EINVAL,
                            has_command ? "%s: unexpected argument" : "%s: no command",
                            has_command ? options.command[0] : "exec");
        if (rc == 0)
            rc = commands[i].run(&options, &err);
        if (rc != 0)
            fprintf(stderr, "enshu-nest: %s\n", err.msg);
        return es_status_exit(rc);
    }
    fprintf(stderr, "enshu-nest: no command %s; see: enshu-nest --help\n", argv[1]);
    return 64;
}
