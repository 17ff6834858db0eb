/* The language: every key with its type, where it goes, whether it must be there, and what
 * it means. Binding, the JSON Schema and the reference all come from these tables. */
#include "room.h"

/* clang-format off */
#define KEY(key_name, key_type, record, member, ...) \
    {.name = (key_name), .type = (key_type), .offset = offsetof(struct record, member), __VA_ARGS__}
#define LIST(key_name, key_type, record, member, counter, ...)                                \
    {.name = (key_name), .type = (key_type), .offset = offsetof(struct record, member),      \
     .count_offset = offsetof(struct record, counter), __VA_ARGS__}
#define OWN(key_name, binder, json, ...) \
    {.name = (key_name), .type = T_CUSTOM, .bind = (binder), .schema = (json), __VA_ARGS__}
/* A map whose keys fill the same struct as the keys around it. */
#define WHOLE(key_name, ...) {.name = (key_name), .type = T_OBJECT, __VA_ARGS__}
#define LATER(key_name, text) {.name = (key_name), .type = T_LATER, .doc = (text)}
#define END {.name = NULL}
#define WORDS(...) .words = (const char *const[]){__VA_ARGS__, NULL}
/* enum es_scope has its own order; "world" keeps its place and is refused. */
#define SCOPE_WORDS .bind = bind_scope, .schema = "{\"enum\":[\"team\",\"range\"]}"
#define SECONDS(n) ((n) * INT64_C(1000))
#define DAYS(n) SECONDS((n) * INT64_C(86400))
#define MIB(n) ((n) * INT64_C(1048576))

#define S_STRING  "{\"type\":\"string\"}"
#define S_NAME    "{\"type\":\"string\",\"pattern\":\"^[a-z0-9][a-z0-9_-]*$\"}"
/* A map with keys of the author's; those of his own are free. */
#define S_MAP(item) "{\"type\":\"object\",\"patternProperties\":{\"^x-\":true},\"additionalProperties\":" item "}"
#define S_ADDRESS "{\"type\":\"string\",\"format\":\"ipv4\"}"

/* ------------------------------------------------------------------ head */

static const struct key languages_keys[] = {
    KEY("default", T_STRING, draft_languages, standard, .fallback = "ja", .doc = "language of texts written without one"),
    LIST("complete", T_STRINGS, draft_languages, complete, complete_count, .max = 16, .doc = "languages in which every text must be there"),
    END};
const struct shape languages_shape = {.name = "languages", .title = "languages", .size = sizeof(struct draft_languages), .keys = languages_keys,
    .doc = "`lang/<code>.yaml` may hold translations by key path (`nodes.web.title: …`, nested or flat), for any language."};

static const struct key random_keys[] = {
    OWN("hex", bind_random_hex, "{\"type\":\"integer\",\"minimum\":1,\"maximum\":128}", .doc = "so many hexadecimal digits"),
    OWN("flag", bind_random_flag, S_STRING, .doc = "a text with one \"…\" in it, which becomes 24 hexadecimal digits"),
    OWN("int", bind_random_int, "{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"minItems\":2,\"maxItems\":2}", .doc = "a number between the two, both included"),
    END};
const struct shape random_shape = {.name = "random", .title = "random values", .size = sizeof(struct es_random), .keys = random_keys,
    .name_offset = offsetof(struct es_random, name), .is_named = true, .done = random_done,
    .doc = "One value per team, kept for the whole exercise: `${random.NAME}`. Exactly one of the keys."};

static const struct key defaults_keys[] = {
    OWN("node", bind_defaults, "#node", .doc = "keys every node has unless it says otherwise"),
    END};
const struct shape defaults_shape = {.name = "defaults", .title = "defaults", .size = 1, .keys = defaults_keys};

static const struct key rehearse_keys[] = {
    OWN("teams", bind_rehearse_teams, "{\"const\":1}", .fallback = "1", .doc = "teams of a rehearsal: one"),
    OWN("speed", bind_speed, "{\"type\":\"number\",\"minimum\":0.1,\"maximum\":1000}", .fallback = "1", .doc = "how fast the exercise clock runs in a rehearsal"),
    END};
const struct shape rehearse_shape = {.name = "rehearse", .title = "rehearse", .size = sizeof(struct es_scenario), .keys = rehearse_keys};

/* ------------------------------------------------------------------ where */

static const struct key network_keys[] = {
    OWN("cidr", bind_cidr, "{\"type\":\"string\",\"pattern\":\"^[0-9.]+/[0-9]+$\"}", .flags = KEY_REQUIRED, .doc = "addresses, /8 to /30; networks of one scenario do not overlap"),
    KEY("scope", T_CUSTOM, es_network, scope, SCOPE_WORDS, .fallback = "team", .doc = "`team`: each team has its own, isolated; `range`: one for all"),
    KEY("slice", T_INT32, es_network, slice, .min = 9, .max = 30, .doc = "on a range network: prefix length of the part that each team owns"),
    KEY("meet", T_BOOL, es_network, meet, .fallback = "false", .doc = "on a range network: teams can reach each other"),
    KEY("gateway", T_REF, es_network, gateway, .space = SPACE_NODE, .doc = "node that routes; must be on the network"),
    KEY("dns", T_REF, es_network, dns, .space = SPACE_NODE, .doc = "node that answers names"),
    OWN("names", bind_addresses, S_MAP(S_ADDRESS), .doc = "names every machine on it knows, with their addresses"),
    LATER("capture", "keep the traffic"),
    END};
static void network_init(void *object)
{
    struct es_network *network = object;
    network->gateway = network->dns = -1;
}
const struct shape network_shape = {.name = "network", .title = "networks", .size = sizeof(struct es_network), .keys = network_keys,
    .name_offset = offsetof(struct es_network, name), .is_named = true, .pos_offset = offsetof(struct es_network, pos), .has_pos = true,
    .init = network_init, .done = network_done,
    .doc = "Isolated from the host and from other networks; what connects them is a node on both."};

static const struct key image_keys[] = {
    KEY("recipe", T_STRING, es_node, recipe, .flags = KEY_REQUIRED, .doc = "image recipe, `scenarios/images/<recipe>/`"),
    LIST("packages", T_STRINGS, es_node, packages, package_count, .max = 200, .doc = "packages added to it; make a derived image"),
    END};
const struct shape image_shape = {.name = "image", .title = "image", .size = sizeof(struct es_node), .keys = image_keys,
    .doc = "`image: tiny` is short for `image: {recipe: tiny}`."};

static const struct key account_keys[] = {
    OWN("user", bind_user_name, S_STRING, .flags = KEY_REQUIRED, .doc = "login name; made when the image lacks it"),
    OWN("password", bind_password, S_STRING, .fallback = "generate", .doc = "`generate`: another for each team; else this text"),
    LATER("show", "which roles are shown the password"),
    END};
const struct shape account_shape = {.name = "account", .title = "accounts", .size = sizeof(struct es_account), .keys = account_keys,
    .doc = "The password stands elsewhere as `${account.NODE.USER}`."};

static const struct key trainee_keys[] = {
    KEY("console", T_WORD, es_node, trainee.console, WORDS("serial", "graphic", "none"), .fallback = "serial; none on a hidden node", .doc = "console that trainees get"),
    OWN("as", bind_user_name, S_STRING, .offset = offsetof(struct es_node, trainee.as), .doc = "user they work as"),
    KEY("power", T_BOOL, es_node, trainee.power, .fallback = "false", .doc = "they may switch it off and on"),
    KEY("reset", T_BOOL, es_node, trainee.reset, .fallback = "false", .doc = "they may reset it"),
    END};
const struct shape trainee_shape = {.name = "trainee", .title = "trainee", .size = sizeof(struct es_node), .keys = trainee_keys};

static void ready_init(void *object)
{
    ((struct draft_ready *)object)->timeout_ms = SECONDS(300);
}
static const struct key ready_keys[] = {
    KEY("timeout", T_DURATION, draft_ready, timeout_ms, .min = SECONDS(1), .max = DAYS(1), .fallback = "5m", .doc = "longest wait after the start"),
    END};
const struct shape ready_shape = {.name = "ready", .title = "ready", .size = sizeof(struct draft_ready), .keys = ready_keys,
    .init = ready_init, .on_probe = ready_on_probe, .done = ready_done, .has_probes = true,
    .doc = "One probe (see Probes), run inside the node until it passes. Without it a node is ready when its agent answers."};

static const struct key copy_keys[] = {
    OWN("from", bind_nothing, S_STRING, .flags = KEY_REQUIRED, .doc = "file or folder of the scenario; a folder ends with \"/\""),
    OWN("to", bind_guest_path, S_STRING, .offset = offsetof(struct es_step, to), .flags = KEY_REQUIRED, .doc = "absolute path in the guest"),
    KEY("owner", T_STRING, es_step, owner, .fallback = "root", .doc = "`user` or `user:group`"),
    OWN("mode", bind_mode, "{\"type\":\"string\",\"pattern\":\"^[0-7]{3,4}$\"}", .offset = offsetof(struct es_step, mode), .fallback = "\"0644\"", .doc = "permissions, quoted: \"0640\""),
    OWN("mtime", bind_time, S_STRING, .offset = offsetof(struct es_step, mtime_s), .doc = "time of the last change: \"2026-10-03T09:13+09:00\""),
    KEY("template", T_BOOL, es_step, template_, .fallback = "false", .doc = "`${…}` inside the file is replaced; not for folders"),
    END};
const struct shape copy_shape = {.name = "copy", .title = "copy", .size = sizeof(struct es_step), .keys = copy_keys};

static const struct key write_keys[] = {
    OWN("to", bind_guest_path, S_STRING, .offset = offsetof(struct es_step, to), .flags = KEY_REQUIRED, .doc = "absolute path in the guest"),
    KEY("text", T_STRING, es_step, text, .flags = KEY_REQUIRED | KEY_EXPANDS, .doc = "what the file holds"),
    KEY("owner", T_STRING, es_step, owner, .fallback = "root", .doc = "`user` or `user:group`"),
    OWN("mode", bind_mode, "{\"type\":\"string\",\"pattern\":\"^[0-7]{3,4}$\"}", .offset = offsetof(struct es_step, mode), .fallback = "\"0644\"", .doc = "permissions, quoted: \"0640\""),
    OWN("mtime", bind_time, S_STRING, .offset = offsetof(struct es_step, mtime_s), .doc = "time of the last change"),
    END};
const struct shape write_shape = {.name = "write", .title = "write", .size = sizeof(struct es_step), .keys = write_keys};

static const struct key service_step_keys[] = {
    KEY("name", T_STRING, es_step, text, .flags = KEY_REQUIRED, .doc = "service of systemd or sysv"),
    KEY("state", T_WORD, es_step, service_state, WORDS("started", "stopped", "restarted", "reloaded", "enabled", "disabled"), .fallback = "started", .doc = "what becomes of it"),
    END};
const struct shape service_step_shape = {.name = "service-step", .title = "service", .size = sizeof(struct es_step), .keys = service_step_keys,
    .doc = "`service: nginx` is short for `service: {name: nginx, state: started}`."};

#define STEP_TIMEOUT(record, member) \
    KEY("timeout", T_DURATION, record, member, .min = SECONDS(1), .max = DAYS(1), .fallback = "5m", .doc = "longest time it may take")
static const struct key step_keys[] = {
    OWN("copy", bind_copy, "#copy", .doc = "puts a file or folder of the scenario into the guest"),
    OWN("write", bind_write, "#write", .doc = "writes a small file"),
    OWN("script", bind_script, S_STRING, .doc = "runs a file of the scenario"),
    OWN("run", bind_run, S_STRING, .flags = KEY_EXPANDS, .doc = "runs a shell line"),
    OWN("service", bind_service_step, "{\"anyOf\":[" S_STRING ",#service-step]}", .doc = "starts or stops a service"),
    STEP_TIMEOUT(es_step, timeout_ms),
    LATER("traces", "log lines shifted in time"),
    END};
static void step_init(void *object)
{
    struct es_step *step = object;
    step->mode = -1;
    step->mtime_s = -1;
    step->timeout_ms = SECONDS(300);
}
const struct shape step_shape = {.name = "step", .title = "setup and personalise", .size = sizeof(struct es_step), .keys = step_keys,
    .init = step_init, .done = step_done, .pos_offset = offsetof(struct es_step, pos), .has_pos = true,
    .doc = "A list of steps, each with exactly one of copy, write, script, run, service. They run as root, in order."};

static const struct key node_keys[] = {
    OWN("kind", bind_nothing, S_NAME, .doc = "takes over the keys of `kinds.<kind>`; the node's own keys replace them"),
    KEY("title", T_TEXT, es_node, title, .doc = "shown to people"),
    OWN("image", bind_image, "{\"anyOf\":[" S_STRING ",#image]}", .flags = 0, .doc = "what it starts from; every node has one"),
    OWN("networks", bind_nics, S_MAP("{\"anyOf\":[{\"type\":\"string\"},{\"type\":\"null\"},{\"type\":\"object\",\"maxProperties\":0}]}"),
        .doc = "network to address: an address, `slice+N` (the N-th of the team's slice), or `{}` for an automatic one"),
    OWN("count", bind_nothing, "{\"type\":\"integer\",\"minimum\":1,\"maximum\":200}", .fallback = "1", .doc = "`pc: {count: 4}` gives pc-1 … pc-4"),
    KEY("memory", T_SIZE, es_node, memory_bytes, .min = MIB(32), .max = MIB(1048576), .fallback = "256 MiB", .doc = "RAM"),
    KEY("cpus", T_INT32, es_node, cpus, .min = 1, .max = 64, .fallback = "1", .doc = "processors"),
    KEY("disk", T_SIZE, es_node, disk_bytes, .min = MIB(1), .max = MIB(16777216), .fallback = "as the image's", .doc = "size of its disk"),
    KEY("scope", T_CUSTOM, es_node, scope, SCOPE_WORDS, .fallback = "team", .doc = "`team`: one for each team; `range`: one for all, only on range networks"),
    KEY("hidden", T_BOOL, es_node, hidden, .fallback = "false", .doc = "not on the trainees' map, no console; what it says is trusted"),
    KEY("lifetime", T_CHOICE_BOOL, es_node, programme, WORDS("exercise", "programme"), .fallback = "exercise",
        .doc = "how long its disk lives: with the range, or over `down` and the next `up` of a range of that name, until `down --purge` (courses over months). A kept disk is written safely, is booted and never forked, and sees `setup` once, `personalise` at each start; passwords and random values stay, too"),
    LIST("accounts", T_LIST, es_node, accounts, account_count, .shape = &account_shape, .max = 100, .doc = "users with their passwords"),
    OWN("setup", bind_setup, "{\"type\":\"array\",\"items\":#step}", .doc = "steps run once, on the mould, which has no team: generated passwords, `${team.*}` and `${random.*}` are errors"),
    OWN("personalise", bind_personalise, "{\"type\":\"array\",\"items\":#step}", .doc = "steps run for each team after each start"),
    OWN("ready", bind_ready, "#ready", .doc = "when it counts as up"),
    WHOLE("trainee", .shape = &trainee_shape, .doc = "what trainees may do with it"),
    KEY("freeze", T_CHOICE_BOOL, es_node, before_services, WORDS("ready", "before-services"), .fallback = "ready",
        .doc = "`before-services`: what `service` steps of `setup` start is stopped before the mould is frozen and starts anew in each fork, so that teams share no secrets of its memory"),
    END};
const struct shape node_shape = {.name = "node", .title = "nodes", .size = sizeof(struct es_node), .keys = node_keys,
    .doc = "The machines. Names of nodes hold no \"_\" (they become host names) and do not begin with \"prober-\"."};

/* ------------------------------------------------------------------ observing */

static const struct key at_least_keys[] = {
    KEY("count", T_INT, draft_at_least, count, .min = 1, .max = ES_MAX_CONDITIONS, .flags = KEY_REQUIRED, .doc = "how many must pass"),
    LIST("of", T_REFS, draft_at_least, parts, part_count, .space = SPACE_CONDITION, .flags = KEY_REQUIRED, .max = ES_MAX_CONDITIONS, .doc = "conditions"),
    END};
const struct shape at_least_shape = {.name = "at-least", .title = "at-least", .size = sizeof(struct draft_at_least), .keys = at_least_keys};

static const struct key condition_keys[] = {
    KEY("title", T_TEXT, es_condition, title, .doc = "shown to people"),
    KEY("node", T_REF, es_condition, node, .space = SPACE_NODE, .doc = "look inside this node"),
    OWN("from", bind_from, S_STRING, .doc = "look over the network, out of this node, or `prober.NETWORK`: a hidden observer of ours there"),
    LIST("all", T_REFS, es_condition, parts, part_count, .space = SPACE_CONDITION, .max = ES_MAX_CONDITIONS, .doc = "passes when all of these conditions pass"),
    LIST("any", T_REFS, es_condition, parts, part_count, .space = SPACE_CONDITION, .max = ES_MAX_CONDITIONS, .doc = "passes when one of these conditions passes"),
    OWN("not", bind_not, S_NAME, .doc = "swaps pass and fail of a condition"),
    OWN("at-least", bind_at_least, "#at-least", .doc = "passes when so many of these conditions pass"),
    KEY("fact", T_REF, es_condition, fact, .space = SPACE_FACT, .doc = "passes once this fact is true"),
    KEY("within", T_DURATION, es_condition, within_ms, .max = DAYS(366), .doc = "with `fact` and `of`: at most so long after it"),
    KEY("of", T_REF, es_condition, of, .space = SPACE_FACT, .doc = "the fact `within` counts from"),
    KEY("every", T_DURATION, es_condition, every_ms, .min = SECONDS(1), .max = DAYS(1), .fallback = "10s", .doc = "exercise time between two looks; at least one real second"),
    KEY("timeout", T_DURATION, es_condition, timeout_ms, .min = 100, .max = SECONDS(600), .fallback = "10s", .doc = "real time one look may take"),
    KEY("control", T_REF, es_condition, control, .space = SPACE_CONDITION, .doc = "must pass for this verdict to count; else the outcome is `fault`"),
    OWN("cover", bind_nothing, "{\"type\":\"array\",\"items\":{\"type\":\"string\"}}", .doc = "decoy paths, looked at together with the real one"),
    KEY("for", T_DURATION, es_condition, for_ms, .max = DAYS(366), .doc = "must pass so long without a fail"),
    KEY("after", T_ANCHOR, es_condition, after, .doc = "not known before this time"),
    KEY("starts", T_CHOICE_BOOL, es_condition, starts_pass, WORDS("fail", "pass"), .fallback = "fail; pass for a service's", .doc = "what a rehearsal must find at first"),
    END};
static void condition_init(void *object)
{
    struct es_condition *condition = object;
    condition->node = condition->prober = condition->control = -1;
    condition->fact = condition->of = condition->after.fact = -1;
    condition->within_ms = -1;
    condition->every_ms = SECONDS(10);
    condition->timeout_ms = SECONDS(10);
}
const struct shape condition_shape = {.name = "condition", .title = "conditions", .size = sizeof(struct es_condition), .keys = condition_keys,
    .name_offset = offsetof(struct es_condition, name), .is_named = true, .pos_offset = offsetof(struct es_condition, pos), .has_pos = true,
    .has_probes = true, .init = condition_init, .on_probe = condition_on_probe, .done = condition_done,
    .doc = "Each holds one probe (see Probes) with `node` or `from`, or one of all, any, not, at-least, fact."};

/* ------------------------------------------------------------------ judging */

static const struct key phase_keys[] = {
    KEY("title", T_TEXT, es_phase, title, .doc = "shown to people"),
    KEY("from", T_ANCHOR, es_phase, from, .fallback = "the phase before it is done", .doc = "when its stop-watch starts"),
    KEY("done", T_REF, es_phase, done, .space = SPACE_CONDITION, .flags = KEY_REQUIRED, .doc = "condition that ends it"),
    KEY("plan", T_DURATION, es_phase, plan_ms, .max = DAYS(366), .doc = "time it should take"),
    KEY("stuck", T_DURATION, es_phase, stuck_ms, .max = DAYS(366), .doc = "time after which a team counts as stuck"),
    END};
static void phase_init(void *object)
{
    struct es_phase *phase = object;
    phase->done = phase->from.fact = -1;
}
const struct shape phase_shape = {.name = "phase", .title = "phases", .size = sizeof(struct es_phase), .keys = phase_keys,
    .name_offset = offsetof(struct es_phase, name), .is_named = true, .pos_offset = offsetof(struct es_phase, pos), .has_pos = true, .init = phase_init,
    .doc = "Stop-watches of each team, in order."};

static const struct key objective_keys[] = {
    KEY("title", T_TEXT, es_objective, title, .doc = "shown to people"),
    KEY("phase", T_REF, es_objective, phase, .space = SPACE_PHASE, .doc = "phase it belongs to"),
    KEY("when", T_REF, es_objective, when, .space = SPACE_CONDITION, .flags = KEY_REQUIRED, .doc = "condition that meets it"),
    KEY("judged", T_CHOICE, es_objective, judged, WORDS("once", "held", "at-end"), .fallback = "once", .doc = "`once`: the first time it is met after opening, kept; `held`: by the share of time held; `at-end`"),
    KEY("opens", T_ANCHOR, es_objective, opens, .fallback = "T", .doc = "from when it can be met"),
    KEY("closes", T_ANCHOR, es_objective, closes, .fallback = "never", .doc = "until when"),
    KEY("points", T_INT, es_objective, points, .min = 0, .max = 1000000, .flags = KEY_REQUIRED, .doc = "what it is worth"),
    KEY("part", T_NAME, es_objective, part, .fallback = "handling", .doc = "part of the score it counts in"),
    KEY("may-start-met", T_BOOL, es_objective, may_start_met, .fallback = "false", .doc = "a rehearsal accepts that it is met when it opens"),
    LIST("techniques", T_STRINGS, es_objective, techniques, technique_count, .max = 50, .doc = "MITRE ATT&CK identifiers"),
    LATER("competencies", "entries of a competency framework"),
    END};
static void objective_init(void *object)
{
    struct es_objective *objective = object;
    objective->phase = objective->when = objective->opens.fact = objective->closes.fact = -1;
    objective->part = "handling";
}
const struct shape objective_shape = {.name = "objective", .title = "objectives", .size = sizeof(struct es_objective), .keys = objective_keys,
    .name_offset = offsetof(struct es_objective, name), .is_named = true, .pos_offset = offsetof(struct es_objective, pos), .has_pos = true, .init = objective_init};

static const struct key sla_keys[] = {
    KEY("after", T_INT, es_service, sla_after, .min = 1, .max = 10000, .flags = KEY_REQUIRED, .doc = "rounds missed in a row"),
    KEY("penalty", T_INT, es_service, sla_penalty, .min = 0, .max = 1000000, .flags = KEY_REQUIRED, .doc = "points taken then; the count starts again"),
    END};
const struct shape sla_shape = {.name = "sla", .title = "sla", .size = sizeof(struct es_service), .keys = sla_keys};

static const struct key service_keys[] = {
    KEY("title", T_TEXT, es_service, title, .doc = "shown to people"),
    KEY("condition", T_REF, es_service, condition, .space = SPACE_CONDITION, .flags = KEY_REQUIRED, .doc = "what must pass"),
    KEY("round", T_DURATION, es_service, round_ms, .min = SECONDS(1), .max = DAYS(1), .fallback = "1m", .doc = "length of a round"),
    KEY("points", T_INT, es_service, points, .min = 0, .max = 1000000, .flags = KEY_REQUIRED, .doc = "for each passing round"),
    WHOLE("sla", .shape = &sla_shape, .doc = "penalty for being down"),
    LIST("waive", T_REFS, es_service, waive, waive_count, .space = SPACE_FACT, .max = 100, .doc = "facts from which on a failing round is not counted"),
    KEY("part", T_NAME, es_service, part, .fallback = "uptime", .doc = "part of the score it counts in"),
    END};
static void service_init(void *object)
{
    struct es_service *service = object;
    service->condition = -1;
    service->round_ms = SECONDS(60);
    service->part = "uptime";
}
const struct shape service_shape = {.name = "service", .title = "services", .size = sizeof(struct es_service), .keys = service_keys,
    .name_offset = offsetof(struct es_service, name), .is_named = true, .pos_offset = offsetof(struct es_service, pos), .has_pos = true, .init = service_init};

static const struct key board_keys[] = {
    KEY("trainees", T_WORD, es_scoring, board_trainees, WORDS("own", "ranks", "all", "none"), .fallback = "own", .doc = "what teams see of the scores"),
    KEY("public", T_WORD, es_scoring, board_public, WORDS("own", "ranks", "all", "none"), .fallback = "ranks", .doc = "what everybody sees"),
    END};
const struct shape board_shape = {.name = "board", .title = "board", .size = sizeof(struct es_scoring), .keys = board_keys};

static const struct key scoring_keys[] = {
    KEY("model", T_WORD, es_scoring, model, WORDS("drill", "uptime"), .later = (const char *const[]){"attack-defence", "hill", NULL}, .fallback = "drill", .doc = "`drill`: each part is scaled to its own maximum and weighted; `uptime`: points as they are, neither scaled nor weighted"),
    OWN("parts", bind_parts, S_MAP("{\"type\":\"integer\",\"minimum\":0,\"maximum\":1000000}"), .fallback = "the parts used, weighted alike", .doc = "part to weight"),
    KEY("freeze", T_ANCHOR, es_scoring, freeze, .doc = "from when boards stand still"),
    WHOLE("board", .shape = &board_shape, .doc = "who sees what"),
    END};
const struct shape scoring_shape = {.name = "scoring", .title = "scoring", .size = sizeof(struct es_scoring), .keys = scoring_keys};

/* ------------------------------------------------------------------ proving */

static void solution_step_init(void *object)
{
    struct es_solution_step *step = object;
    step_init(&step->run);
    step->node = -1;
    step->await.fact = -1;
}
static const struct key solution_step_keys[] = {
    KEY("await", T_ANCHOR, es_solution_step, await, .doc = "wait for this first"),
    KEY("node", T_REF, es_solution_step, node, .space = SPACE_NODE, .doc = "where it runs"),
    OWN("script", bind_script, S_STRING, .offset = offsetof(struct es_solution_step, run), .doc = "runs a file of the scenario"),
    OWN("run", bind_run, S_STRING, .offset = offsetof(struct es_solution_step, run), .flags = KEY_EXPANDS, .doc = "runs a shell line"),
    STEP_TIMEOUT(es_solution_step, run.timeout_ms),
    LIST("proves", T_REFS, es_solution_step, proves, prove_count, .space = SPACE_CONDITION, .max = 100, .doc = "conditions seen to pass after it"),
    LATER("answer", "answers a task"), LATER("with", "the answer"), LATER("decide", "takes a decision"), LATER("report", "hands in a report"),
    END};
const struct shape solution_step_shape = {.name = "solution-step", .title = "steps of a solution", .size = sizeof(struct es_solution_step), .keys = solution_step_keys,
    .init = solution_step_init, .done = solution_step_done, .pos_offset = offsetof(struct es_solution_step, pos), .has_pos = true};

static const struct key solution_keys[] = {
    LIST("steps", T_LIST, es_solution, steps, step_count, .shape = &solution_step_shape, .max = ES_MAX_STEPS, .doc = "what a team that plays well does, in order; needed without `from`"),
    KEY("from", T_REF, es_solution, from, .space = SPACE_SOLUTION, .doc = "another solution, whose steps come first"),
    LIST("expect", T_REFS, es_solution, expects, expect_count, .space = SPACE_FACT, .max = 100, .doc = "facts that must be true at its end"),
    LATER("replace", "other decisions"),
    END};
static void solution_init(void *object)
{
    ((struct es_solution *)object)->from = -1;
}
const struct shape solution_shape = {.name = "solution", .title = "solutions", .size = sizeof(struct es_solution), .keys = solution_keys,
    .name_offset = offsetof(struct es_solution, name), .is_named = true, .pos_offset = offsetof(struct es_solution, pos), .has_pos = true, .init = solution_init, .done = solution_done,
    .doc = "A rehearsal plays them and sees each condition both ways."};

static const struct key sabotage_keys[] = {
    KEY("node", T_REF, es_solution_step, node, .space = SPACE_NODE, .flags = KEY_REQUIRED, .doc = "where it runs"),
    OWN("script", bind_script, S_STRING, .offset = offsetof(struct es_solution_step, run), .doc = "runs a file of the scenario"),
    OWN("run", bind_run, S_STRING, .offset = offsetof(struct es_solution_step, run), .flags = KEY_EXPANDS, .doc = "runs a shell line"),
    STEP_TIMEOUT(es_solution_step, run.timeout_ms),
    LIST("breaks", T_REFS, es_solution_step, proves, prove_count, .space = SPACE_CONDITION, .max = 100, .doc = "conditions seen to fail after it"),
    END};
const struct shape sabotage_step_shape = {.name = "sabotage", .title = "sabotage", .size = sizeof(struct es_solution_step), .keys = sabotage_keys,
    .init = solution_step_init, .done = sabotage_done, .pos_offset = offsetof(struct es_solution_step, pos), .has_pos = true,
    .doc = "What starts true must be seen to fail."};

/* ------------------------------------------------------------------ the whole */

#define MAP_OF(key_name, member, what, item, cap, text)                                      \
    LIST(key_name, T_MAP, es_scenario, member, member##_count, .space = (what), .shape = &(item), \
         .max = (cap), .doc = (text))
/* Languages, kinds and defaults come first: what follows is bound with them. */
static const struct key scenario_keys[] = {
    OWN("enshu", bind_version, "{\"const\":1}", .flags = KEY_REQUIRED, .doc = "version of the language: 1"),
    OWN("languages", bind_languages, "#languages", .doc = "languages of its texts"),
    KEY("name", T_NAME, es_scenario, name, .flags = KEY_REQUIRED, .doc = "short name: a-z, 0-9, \"-\" and \"_\""),
    KEY("version", T_STRING, es_scenario, version, .doc = "of the scenario, quoted; trends compare versions"),
    KEY("title", T_TEXT, es_scenario, title, .flags = KEY_REQUIRED, .doc = "shown to people"),
    KEY("description", T_TEXT, es_scenario, description, .doc = "what it is about"),
    {.name = "authors", .type = T_NOTE, .doc = "who wrote it"},
    KEY("license", T_STRING, es_scenario, license, .doc = "terms of use"),
    {.name = "audience", .type = T_NOTE, .doc = "whom it is for"},
    KEY("duration", T_DURATION, es_scenario, duration_ms, .min = SECONDS(1), .max = DAYS(366), .doc = "exercise time it is planned to take; shown beside the clock, which goes on"),
    KEY("marking", T_TEXT, es_scenario, marking, .doc = "put on every message to trainees"),
    OWN("include", bind_nothing, "{\"type\":\"array\",\"items\":{\"type\":\"string\"}}", .doc = "files of the folder whose sections are added: networks, nodes, kinds, conditions, phases, objectives, services, random, solutions, sabotage"),
    LATER("parameters", "values set per session"), LATER("story", "story time"), LATER("pause", "what a pause does to machines"),
    MAP_OF("random", randoms, SPACE_RANDOM, random_shape, 1000, "values made for each team"),
    WHOLE("defaults", .shape = &defaults_shape, .doc = "what holds unless said otherwise"),
    OWN("kinds", bind_kinds, S_MAP("#node"), .doc = "sets of keys that nodes take over with `kind`"),
    LATER("teams", "sizes and roles"), LATER("entities", "kinds of teams"), LATER("channels", "who may write to whom"),
    MAP_OF("networks", networks, SPACE_NETWORK, network_shape, ES_MAX_NETWORKS, "networks"),
    LATER("links", "what may pass between networks"),
    OWN("nodes", bind_nodes, S_MAP("#node"), .doc = "machines"),
    MAP_OF("conditions", conditions, SPACE_CONDITION, condition_shape, ES_MAX_CONDITIONS, "what is observed"),
    MAP_OF("phases", phases, SPACE_PHASE, phase_shape, ES_MAX_PHASES, "stop-watches"),
    LATER("periods", "parts of a contest"),
    MAP_OF("objectives", objectives, SPACE_OBJECTIVE, objective_shape, ES_MAX_OBJECTIVES, "what earns points"),
    LATER("tasks", "answers, decisions, reports"), LATER("gauges", "numbers that are shown"),
    MAP_OF("services", services, SPACE_SERVICE, service_shape, ES_MAX_SERVICES, "what must stay up"),
    KEY("scoring", T_OBJECT, es_scenario, scoring, .shape = &scoring_shape, .doc = "how points become a score"),
    LATER("injects", "messages"), LATER("storyline", "what happens when"), LATER("agenda", "the day's plan"), LATER("surveys", "questions before and after"),
    MAP_OF("solutions", solutions, SPACE_SOLUTION, solution_shape, ES_MAX_SOLUTIONS, "proofs that it can be played"),
    LIST("sabotage", T_LIST, es_scenario, sabotage, sabotage_count, .shape = &sabotage_step_shape, .max = ES_MAX_STEPS, .doc = "proofs that what starts true can fail"),
    WHOLE("rehearse", .shape = &rehearse_shape, .doc = "how it is rehearsed"),
    END};
const struct shape scenario_shape = {.name = "scenario", .title = "the scenario", .size = sizeof(struct es_scenario), .keys = scenario_keys};
/* clang-format on */

const struct shape *const all_shapes[] = {
    &scenario_shape,      &languages_shape, &random_shape,
    &defaults_shape,      &network_shape,   &node_shape,
    &image_shape,         &account_shape,   &step_shape,
    &copy_shape,          &write_shape,     &service_step_shape,
    &ready_shape,         &trainee_shape,   &condition_shape,
    &at_least_shape,      &phase_shape,     &objective_shape,
    &service_shape,       &sla_shape,       &scoring_shape,
    &board_shape,         &solution_shape,  &solution_step_shape,
    &sabotage_step_shape, &rehearse_shape,  NULL};
