/* The commands and their options: parsing, help and completion come from here. */
#include "cli.h"

const struct cli_option cli_options[OPT_COUNT] = {
#define X(name, arg, text) {#name, arg, text},
    CLI_OPTION_MAP(X)
#undef X
};

#define CORE " socket state json help"
#define MANY CLI_ARGS_MAX

/* clang-format off */
const struct cli_command cli_commands[] = {
    /* scenarios, without a core */
    {"validate", "FILE...", "check scenarios",
     "Prints every problem at once as path:line:col: error: key: text. A folder stands for\n"
     "the scenario.yaml in it. Exit code 65 when there is an error; warnings alone are 0.",
     "enshu validate scenarios/city-hall\n"
     "enshu validate --json drill.yaml",
     "json help", 1, MANY, false, run_validate},
    {"plan", "FILE", "show what a scenario needs",
     "Networks, machines, addresses and sizes for N teams, and the capacity needed against\n"
     "what this host has. With --mode fork also what forks take: as measured when this\n"
     "scenario was up before, else by estimate. Exit code 71 when it does not fit.",
     "enshu plan scenarios/city-hall --teams 4\n"
     "enshu plan scenarios/city-hall --teams 20 --mode fork\n"
     "enshu plan scenarios/city-hall --teams 2 --dot | dot -Tsvg > plan.svg",
     "teams range mode state json dot help", 1, 1, false, run_plan},
    {"schema", "", "print the JSON Schema of the scenario language",
     "For editors: begin a scenario with\n"
     "  # yaml-language-server: $schema=enshu.schema.json",
     "enshu schema > enshu.schema.json",
     "json help", 0, 0, false, run_schema},
    {"reference", "", "print the reference of the scenario language",
     "Markdown, made from the same tables as the checks.",
     "enshu reference | less",
     "json help", 0, 0, false, run_reference},
    {"doctor", "", "explain what this host can and cannot do",
     "Looks at libvirt, the accelerator, rights, space, limits and tools; every finding that\n"
     "is not ok says what to do. Exit code 1 when something would keep ranges from running.",
     "enshu doctor\n"
     "enshu doctor --json --uri qemu:///system",
     "state uri json root help", 0, 0, false, run_doctor},
    /* images */
    {"image build", "NAME", "build a guest image from its recipe",
     "Built once and cached by a hash of all that goes in. `up` builds what it needs by\n"
     "itself; building ahead saves the wait.",
     "enshu image build debian-12\n"
     "enshu image build debian-12 --packages nginx,php-fpm",
     "packages force" CORE, 1, 1, false, run_image_build},
    {"image list", "", "list the images in the cache", "",
     "enshu image list",
     CORE, 0, 0, false, run_image_list},
    {"image rm", "DIGEST", "remove an image from the cache",
     "DIGEST as `image list` shows it; a beginning of four digits or more that fits only\n"
     "one is enough.",
     "enshu image rm 3f9a2c",
     CORE, 1, 1, false, run_image_rm},
    /* moulds */
    {"mould list", "", "list what machines are forked or booted from",
     "disk: a node's disk after its setup. frozen: the running machines of a scenario's\n"
     "teams, from which a range appears in seconds.",
     "enshu mould list",
     CORE, 0, 0, false, run_mould_list},
    {"mould build", "FILE", "set up and freeze a scenario's moulds ahead",
     "`up` does it by itself; building ahead saves the wait.",
     "enshu mould build scenarios/city-hall",
     "accel" CORE, 1, 1, false, run_mould_build},
    {"mould rm", "KEY", "remove a mould that nothing stands on",
     "KEY as `mould list` shows it; a beginning that fits only one is enough.",
     "enshu mould rm 3f9a2c",
     CORE, 1, 1, false, run_mould_rm},
    {"mould verify", "[KEY]", "read frozen moulds and compare them with what they were",
     "Exit code 74 when one was changed: remove it, the next `up` builds it anew.",
     "enshu mould verify",
     CORE, 0, 1, false, run_mould_verify},
    /* a range's life */
    {"up", "FILE", "bring up a range",
     "Checks and plans the scenario, builds missing images, starts every machine and waits\n"
     "until all are ready. Run it again after a failure: only what is missing is done.\n"
     "The exercise's clock stands until `enshu start`. --range names the range; without it\n"
     "it is called as the scenario.",
     "enshu up scenarios/city-hall --teams 2\n"
     "enshu up drill.yaml --teams 4 --range monday --accel tcg",
     "teams range accel mode" CORE, 1, 1, false, run_up},
    {"status", "[RANGE]", "show ranges, machines and scores",
     "",
     "enshu status\n"
     "enshu status monday --json",
     "range lang" CORE, 0, 1, false, run_status},
    {"watch", "[RANGE]", "follow a range live: teams by objectives, clock, machines",
     "Redrawn on every change; plain lines when standard output is no terminal. Ctrl-C ends.",
     "enshu watch\n"
     "enshu watch monday --lang ja",
     "range lang" CORE, 0, 1, false, run_watch},
    {"start", "[RANGE]", "start the exercise's clock", "",
     "enshu start\nenshu start monday --by mori",
     "range by" CORE, 0, 1, false, run_start},
    {"pause", "[RANGE]", "pause the clock", "",
     "enshu pause --reason lunch",
     "range by reason" CORE, 0, 1, false, run_pause},
    {"resume", "[RANGE]", "let the clock run on", "",
     "enshu resume",
     "range by reason" CORE, 0, 1, false, run_resume},
    {"stop", "[RANGE]", "end the exercise",
     "The clock never runs again; the ledger's head is signed. Machines stay until `down`.",
     "enshu stop --reason 'time is up'",
     "range by reason" CORE, 0, 1, false, run_stop},
    {"park", "[RANGE]", "put a range to sleep: over a night, a week, a reboot of the host",
     "Pauses the clock, suspends all machines at one moment, saves each to the disk and ends\n"
     "it: its memory is free for others. Scores, clock and connections between machines stay\n"
     "as they are. Wake it with `enshu unpark`.",
     "enshu park\nenshu park monday --reason 'until next week'",
     "range by reason" CORE, 0, 1, false, run_park},
    {"unpark", "[RANGE]", "wake a parked range",
     "Its machines go on from where they were, with the time of now. The clock stays paused\n"
     "until `enshu resume`.",
     "enshu unpark monday && enshu resume monday",
     "range by reason" CORE, 0, 1, false, run_unpark},
    {"exec", "MACHINE -- COMMAND [ARGUMENT...]", "run a command inside a machine",
     "MACHINE is TEAM/NODE: t1/web or 1/web. Ends with the command's exit code, 128 plus the\n"
     "number of the signal that ended it, or 75 when it took too long.",
     "enshu exec t1/web -- systemctl status nginx\n"
     "enshu exec t1/web --shell -- 'grep -c POST /var/log/nginx/*.log'\n"
     "enshu exec 2/pc --user mori --timeout 5m -- ./update.sh",
     "range user timeout stdin shell by" CORE, 1, MANY, true, run_exec},
    {"console", "MACHINE", "open a machine's serial console",
     "Ctrl-] leaves it.",
     "enshu console t1/web",
     "range socket state help", 1, 1, false, run_console},
    {"reset", "MACHINE|TEAM", "put a machine or a team's machines back to the start",
     "A reset is recorded and never wins a point. A machine whose disk is kept (lifetime:\n"
     "programme) is reset with --force only: its disk is made anew.",
     "enshu reset t1/web\n"
     "enshu reset 2",
     "range force" CORE, 1, 1, false, run_reset},
    /* judging */
    {"score", "[RANGE]", "show the scoreboard", "",
     "enshu score\nenshu score monday --team 1",
     "range team lang" CORE, 0, 1, false, run_score},
    {"score explain", "TEAM", "name the event behind each point of a team", "",
     "enshu score explain 1",
     "range" CORE, 1, 1, false, run_score_explain},
    {"rescore", "[RANGE|FILE]", "compute the scores again from the ledger",
     "Exit code 74 when they differ from the live ones. FILE is a ledger that `down` kept in\n"
     "STATE/ledgers, or an export: no core is needed, the scenario lies in it.",
     "enshu rescore\nenshu rescore ~/.local/state/enshu/ledgers/monday-20261123T090000Z.db",
     "range" CORE, 0, 1, false, run_rescore},
    {"correct", "points|override|void ...", "correct the score, with a reason",
     "  points TEAM --points N          add or take points\n"
     "  override OBJECTIVE --team N --met yes|no\n"
     "                                  decide an objective by hand\n"
     "  void condition NAME | void node NAME | void span [--team N] [--from TIME --to TIME]\n"
     "                                  what was observed does not count\n"
     "Corrections are events of the ledger like any other; nothing is erased.",
     "enshu correct points 2 --points 10 --reason 'found it before the inject'\n"
     "enshu correct override cut-c2 --team 1 --met yes --reason 'seen by the instructor'\n"
     "enshu correct void span --from 12m --to 20m --reason 'power failure'",
     "range team points met from to by reason" CORE, 2, 3, false, run_correct},
    {"ledger export", "[RANGE]", "write the ledger as JSON lines",
     "Lines with \"person\" hold names, the other lines ids: without them the rest still verifies.",
     "enshu ledger export monday > monday.jsonl",
     "range output" CORE, 0, 1, false, run_ledger_export},
    {"ledger verify", "[RANGE]", "check the ledger's chain and signature",
     "Exit code 74 when it is damaged.",
     "enshu ledger verify",
     "range" CORE, 0, 1, false, run_ledger_verify},
    {"ledger forget", "PERSON [RANGE|FILE]", "erase a person's name from the ledger",
     "The chain keeps a random id and verifies as before; nothing tells any more who it was.\n"
     "PERSON is a name as given with --by, or an id. FILE is a ledger that `down` kept.",
     "enshu ledger forget mori\n"
     "enshu ledger forget mori ~/.local/state/enshu/ledgers/monday-20261123T090000Z.db",
     "range" CORE, 1, 2, false, run_ledger_forget},
    {"rehearse", "FILE", "prove a scenario playable on real machines",
     "Brings up one team, finds every condition as it should be at first, runs sabotage and\n"
     "solutions, sees each condition both ways and writes a certificate. Exit code 1 names\n"
     "what is not proved.",
     "enshu rehearse scenarios/city-hall",
     "accel keep patience" CORE, 1, 1, false, run_rehearse},
    {"down", "[RANGE]", "take a range down",
     "Removes its machines, networks and disks; the ledger is kept, in STATE/ledgers. Disks of\n"
     "nodes with `lifetime: programme` are kept, in STATE/programme/RANGE, for the next range\n"
     "of this name; --purge drops them, also when the range is down already.",
     "enshu down\nenshu down monday\nenshu down course --purge",
     "range purge" CORE, 0, 1, false, run_down},
    {"gc", "", "remove leftovers of ranges that are gone", "",
     "enshu gc",
     CORE, 0, 0, false, run_gc},
    {"shutdown", "", "end the core; machines go on", "",
     "enshu shutdown",
     CORE, 0, 0, false, run_shutdown},
    {"help", "[COMMAND | exit-codes | methods | commands | options]", "help on a command",
     "commands and options are lists for programs, with tabs between.",
     "enshu help up\n"
     "enshu help exit-codes",
     "help", 0, 2, false, run_help},
    {"version", "", "versions of this program and of the running core", "",
     "enshu version",
     CORE, 0, 0, false, run_version},
    {NULL, NULL, NULL, NULL, NULL, NULL, 0, 0, false, NULL}};
/* clang-format on */
