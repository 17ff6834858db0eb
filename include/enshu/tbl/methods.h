/* Every method of the control socket: X(name, function, kind, params, result).
 *
 * kind: CALL answers once; STREAM sends progress notifications before its answer.
 * params: words "name:type", type string|int|bool|list|object, "!" when required.
 * result: what the answer holds. All methods are for the core's owner (admin).
 * The dispatcher, its parameter checks and `enshu help methods` come from this table;
 * function names es_range_call_<function> in the room range. */
/* clang-format off */
#define ES_METHOD_MAP(X)                                                                                          \
    X("version",       version,       CALL,   "",                                                                  "{version, pid, state, uri, hypervisor, accel, ranges}") \
    X("image.build",   image_build,   STREAM, "name:string! packages:list force:bool",                             "{name, digest, bytes, took_ms, cached}") \
    X("image.list",    image_list,    CALL,   "",                                                                  "{images: [{name, digest, bytes, built, packages}]}") \
    X("image.rm",      image_rm,      CALL,   "digest:string!",                                                    "{removed}") \
    X("mould.list",    mould_list,    CALL,   "",                                                                  "{moulds: [{key, kind, scenario, bytes, used_by…}]}") \
    X("mould.build",   mould_build,   STREAM, "file:string! accel:string",                                         "{key}") \
    X("mould.rm",      mould_rm,      CALL,   "key:string!",                                                       "{removed}") \
    X("mould.verify",  mould_verify,  STREAM, "key:string",                                                        "{ok, moulds: [{key, scenario, ok, changed}]}") \
    X("up",            up,            STREAM, "file:string! teams:int range:string accel:string mode:string",      "{range, teams, machines}") \
    X("status",        status,        CALL,   "range:string",                                                      "{ranges: [{range, state, clock, teams, machines…}], capacity}") \
    X("watch",         watch,         STREAM, "range:string!",                                                     "progress: status snapshots and events, until the client leaves") \
    X("start",         start,         CALL,   "range:string! by:string",                                           "{clock}") \
    X("pause",         pause,         CALL,   "range:string! by:string reason:string",                             "{clock}") \
    X("resume",        resume,        CALL,   "range:string! by:string reason:string",                             "{clock}") \
    X("stop",          stop,          CALL,   "range:string! by:string reason:string",                             "{clock, signed}") \
    X("park",          park,          STREAM, "range:string! by:string reason:string",                             "{range, machines, bytes, took_ms}") \
    X("unpark",        unpark,        STREAM, "range:string! by:string reason:string",                             "{range, machines, took_ms, clock}") \
    X("exec",          exec,          STREAM, "range:string! machine:string! argv:list shell:string user:string timeout_ms:int stdin:string by:string", "{exit|signal, truncated, timeout}; progress {stream, data}") \
    X("console",       console,       STREAM, "range:string! machine:string!",                                     "progress {data}, base64, until the client leaves") \
    X("console.send",  console_send,  CALL,   "range:string! machine:string! data:string!",                        "{}") \
    X("reset",         reset,         STREAM, "range:string! machine:string team:int force:bool",                  "{machines}") \
    X("score",         score,         CALL,   "range:string! team:int",                                            "{teams: [es_score_json…]}") \
    X("score.explain", score_explain, CALL,   "range:string! team:int!",                                           "{team, reasons: [{ex_ms, pos, part, what, text, by, mpts}], total_mpts}") \
    X("rescore",       rescore,       CALL,   "range:string!",                                                     "{events, digest, live_digest, equal, teams: [{team, total_mpts}]}") \
    X("correct",       correct,       CALL,   "range:string! what:string! team:int subject:string points:int met:bool from_ms:int to_ms:int reason:string! by:string", "{pos}") \
    X("ledger.export", ledger_export, STREAM, "range:string!",                                                     "progress {line}; {events}") \
    X("ledger.verify", ledger_verify, CALL,   "range:string!",                                                     "{events, batches, chain_ok, signed, signature_ok, head}") \
    X("ledger.forget", ledger_forget, CALL,   "range:string! person:string!",                                       "{erased}; a name or id: the chain keeps the id alone") \
    X("rehearse",      rehearse,      STREAM, "file:string! accel:string keep:bool patience_ms:int",                               "{certificate, proved, path}") \
    X("down",          down,          STREAM, "range:string! purge:bool",                                          "{removed, kept: [disks]}") \
    X("gc",            gc,            STREAM, "",                                                                  "{removed: [names]}") \
    X("shutdown",      shutdown,      CALL,   "",                                                                  "{}; the core ends, machines go on")
/* clang-format on */
