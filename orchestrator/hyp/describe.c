/* Objects as libvirt's XML. Machines are small and plain: q35, direct kernel boot, virtio
 * everywhere, no USB, no balloon, no display unless asked for; what a fork needs equal in
 * mould and clone (machine type, CPU model, devices) is fixed here. */
#include "describe.h"

#include <inttypes.h>
#include <jansson.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "enshu/common/str.h"
#include "xml.h"

#define QEMU_NS "http://libvirt.org/schemas/domain/qemu/1.0"
/* The name of the memory block, equal in a mould and its forks. */
#define MEMORY_ID "enshu-ram"

struct object {
    const char *kind, *range, *node;
    int team;
    uint32_t instance;
    bool forked;
};

static void write_metadata(struct es_xml *x, const struct object *object,
                           const char *hash)
{
    es_xml_open(x, "metadata");
    es_xml_open(x, "enshu:object");
    es_xml_attr(x, "xmlns:enshu", ES_HYP_NS);
    es_xml_attr(x, "range", object->range);
    es_xml_attr_int(x, "team", object->team);
    es_xml_attr(x, "node", object->node);
    es_xml_attr(x, "kind", object->kind);
    es_xml_attr(x, "hash", hash);
    es_xml_attr_int(x, "instance", object->instance);
    if (object->forked)
        es_xml_attr(x, "mode", "fork");
    es_xml_close(x);
    es_xml_close(x);
}

static void hash_of(const struct es_buf *buf, char ret_hash[33])
{
    unsigned char d[16];
    crypto_generichash(d, sizeof d, (const unsigned char *)es_buf_str(buf), buf->len,
                       NULL, 0);
    sodium_bin2hex(ret_hash, 33, d, sizeof d);
}

static int finish(struct es_xml *x, const char *what, struct es_err *err)
{
    int rc = es_xml_finish(x);
    if (rc == ES_ENOMEM)
        return es_err_nomem(err);
    if (rc != 0)
        return es_err_set(err, rc, "%s cannot be described to libvirt: %s", what,
                          rc == ES_EINVAL ? "a value holds control bytes or is not UTF-8"
                                          : "its description is too long");
    return 0;
}

/* ------------------------------------------------------------------ machines */

static void write_boot(struct es_xml *x, const struct es_hyp_machine *spec, bool is_test)
{
    es_xml_open(x, "os");
    es_xml_open(x, "type");
    if (!is_test) {
        es_xml_attr(x, "arch", "x86_64");
        /* libvirt puts the canonical name in its place, so a restart keeps it. */
        es_xml_attr(x, "machine", "q35");
    }
    es_xml_text(x, "hvm");
    es_xml_close(x);
    if (spec->kernel != NULL)
        es_xml_text_element(x, "kernel", spec->kernel);
    if (spec->initrd != NULL)
        es_xml_text_element(x, "initrd", spec->initrd);
    if (spec->cmdline != NULL)
        es_xml_text_element(x, "cmdline", spec->cmdline);
    es_xml_close(x);
}

/* TCG has no host CPU to pass on: a fixed model that it emulates whole. */
static void write_cpu(struct es_xml *x, bool kvm)
{
    char number[24];
    es_xml_open(x, "features");
    es_xml_element(x, "acpi", NULL);
    es_xml_element(x, "apic", NULL);
    if (!kvm) {
        es_xml_open(x, "tcg");
        es_xml_open(x, "tb-cache");
        es_xml_attr(x, "unit", "MiB");
        snprintf(number, sizeof number, "%lld", ES_PLAN_TB_CACHE_BYTES >> 20);
        es_xml_text(x, number);
        es_xml_close(x);
        es_xml_close(x);
    }
    es_xml_close(x);
    es_xml_open(x, "cpu");
    if (kvm) {
        es_xml_attr(x, "mode", "host-passthrough");
        es_xml_attr(x, "migratable", "on");
    } else {
        es_xml_attr(x, "mode", "custom");
        es_xml_attr(x, "match", "exact");
        es_xml_attr(x, "check", "none");
        es_xml_text_element(x, "model", "Westmere");
        es_xml_element(x, "feature", "policy", "require", "name", "rdrand", NULL);
    }
    es_xml_close(x);
}

/* `cache`: NULL for a disk that is only read. */
static void write_disk(struct es_xml *x, const char *path, const char *format,
                       const char *target, const char *cache)
{
    es_xml_open(x, "disk");
    es_xml_attr(x, "type", "file");
    es_xml_attr(x, "device", "disk");
    if (cache == NULL)
        es_xml_element(x, "driver", "name", "qemu", "type", format, NULL);
    else
        es_xml_element(x, "driver", "name", "qemu", "type", format, "cache", cache,
                       "discard", "unmap", NULL);
    es_xml_element(x, "source", "file", path, NULL);
    es_xml_element(x, "target", "dev", target, "bus", "virtio", NULL);
    if (cache == NULL)
        es_xml_element(x, "readonly", NULL);
    es_xml_close(x);
}

/* Booting is from the kernel alone: a NIC's own ROM would only be loaded and, in a mould,
 * frozen along. */
static void write_nic(struct es_xml *x, const struct es_hyp_machine *spec,
                      size_t nic_index)
{
    const struct es_plan_nic *nic = &spec->machine->nics[nic_index];
    ES_ASSERT(nic->plan_network >= 0 &&
              (size_t)nic->plan_network < spec->plan->network_count);
    es_xml_open(x, "interface");
    es_xml_attr(x, "type", "network");
    es_xml_element(x, "mac", "address", nic->mac, NULL);
    es_xml_element(x, "source", "network", spec->plan->networks[nic->plan_network].name,
                   NULL);
    es_xml_element(x, "model", "type", "virtio", NULL);
    es_xml_element(x, "rom", "enabled", "no", NULL);
    if (nic->isolated)
        es_xml_element(x, "port", "isolated", "yes", NULL);
    es_xml_close(x);
}

bool es_hyp_nic_is_plugged(const struct es_hyp_machine *spec, size_t nic)
{
    return spec->memory == ES_HYP_MEMORY_FORK &&
           spec->plan->networks[spec->machine->nics[nic].plan_network].team < 0;
}

static void write_nics(struct es_xml *x, const struct es_hyp_machine *spec)
{
    for (size_t i = 0; i < spec->machine->nic_count; i++)
        if (!es_hyp_nic_is_plugged(spec, i))
            write_nic(x, spec, i);
}

/* One slot for each device that a mould and its forks have from the start, and one for each
 * NIC that a fork gets later. libvirt makes as many as it needs and none to spare. */
static void write_slots(struct es_xml *x, const struct es_hyp_machine *spec)
{
    size_t slots = spec->plan->scenario->nodes[spec->machine->node].nic_count;
    slots += (spec->disk != NULL ? 1U : 0U) + (spec->seed != NULL ? 1U : 0U);
    slots += 2; /* the channel's controller, the random number generator */
    es_xml_element(x, "controller", "type", "pci", "model", "pcie-root", NULL);
    for (size_t i = 0; i < slots; i++)
        es_xml_element(x, "controller", "type", "pci", "model", "pcie-root-port", NULL);
}

static void write_console(struct es_xml *x, const struct es_hyp_machine *spec)
{
    es_xml_open(x, "serial");
    es_xml_attr(x, "type", "pty");
    if (spec->serial_log != NULL)
        es_xml_element(x, "log", "file", spec->serial_log, "append", "on", NULL);
    es_xml_element(x, "target", "port", "0", NULL);
    es_xml_close(x);
    es_xml_open(x, "console");
    es_xml_attr(x, "type", "pty");
    es_xml_element(x, "target", "type", "serial", "port", "0", NULL);
    es_xml_close(x);
}

static void write_channel(struct es_xml *x, const char *path)
{
    es_xml_element(x, "controller", "type", "virtio-serial", "index", "0", NULL);
    es_xml_open(x, "channel");
    es_xml_attr(x, "type", "unix");
    es_xml_element(x, "source", "mode", "bind", "path", path, NULL);
    es_xml_element(x, "target", "type", "virtio", "name", "org.enshu.agent.0", NULL);
    es_xml_close(x);
}

static void write_display(struct es_xml *x, bool graphics)
{
    es_xml_open(x, "video");
    es_xml_element(x, "model", "type", graphics ? "vga" : "none", NULL);
    es_xml_close(x);
    if (!graphics)
        return;
    es_xml_open(x, "graphics");
    es_xml_attr(x, "type", "vnc");
    es_xml_element(x, "listen", "type", "socket", NULL);
    es_xml_close(x);
}

static void write_devices(struct es_xml *x, const struct es_hyp_machine *spec,
                          bool is_test)
{
    es_xml_open(x, "devices");
    if (spec->memory != ES_HYP_MEMORY_OWN)
        write_slots(x, spec);
    if (spec->disk != NULL)
        write_disk(x, spec->disk, "qcow2", "vda",
                   spec->disk_kept ? "writeback" : "unsafe");
    if (spec->seed != NULL)
        write_disk(x, spec->seed, "raw", "vdb", NULL);
    write_nics(x, spec);
    if (!is_test) {
        es_xml_element(x, "controller", "type", "usb", "model", "none", NULL);
        write_console(x, spec);
        if (spec->channel != NULL)
            write_channel(x, spec->channel);
        write_display(x, spec->graphics);
        es_xml_open(x, "rng");
        es_xml_attr(x, "model", "virtio");
        es_xml_open(x, "backend");
        es_xml_attr(x, "model", "random");
        es_xml_text(x, "/dev/urandom");
        es_xml_close(x);
        es_xml_close(x);
    }
    es_xml_element(x, "memballoon", "model", "none", NULL);
    es_xml_close(x);
}

/* The memory's file, by QEMU's own options: libvirt would choose its path. Of several
 * `-machine` the last value of a key counts. */
static int write_memory(struct es_xml *x, const struct es_hyp_machine *spec)
{
    bool fork = spec->memory == ES_HYP_MEMORY_FORK;
    json_t *object =
        json_pack("{s:s, s:s, s:I, s:s, s:b}", "qom-type", "memory-backend-file", "id",
                  MEMORY_ID, "size", (json_int_t)spec->machine->memory_bytes, "mem-path",
                  spec->ram, "share", !fork);
    char *text = json_dumps(object, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(object);
    if (text == NULL)
        return ES_ENOMEM;
    const char *const args[] = {
        "-object",   text,    "-machine", "memory-backend=" MEMORY_ID,
        "-incoming", "defer", NULL};
    es_xml_open(x, "qemu:commandline");
    for (size_t i = 0; args[i] != NULL && (fork || i < 4); i++)
        es_xml_element(x, "qemu:arg", "value", args[i], NULL);
    es_xml_close(x);
    es_free(text);
    return 0;
}

/* The guest is told by it that it is a copy; derived, so that the same fork is the same. */
static void write_genid(struct es_xml *x, const struct es_hyp_machine *spec)
{
    char genid[37], instance[16];
    es_str_printf(instance, sizeof instance, "%u", (unsigned)spec->instance);
    es_plan_uuid(genid, "genid", spec->machine->name, instance);
    es_xml_text_element(x, "genid", genid);
}

/* At a start libvirt asks QEMU for each property of the CPU by itself, 400 round trips and
 * three quarters of the time that a start takes. Told that this QEMU does not list what it
 * could not give, libvirt asks for the CPUID words at once instead, in three. It only
 * records the answer in the live XML; QEMU's command line stays the same. */
static void write_capabilities(struct es_xml *x)
{
    es_xml_open(x, "qemu:capabilities");
    es_xml_element(x, "qemu:del", "capability", "cpu-unavailable-features", NULL);
    es_xml_close(x);
}

static void write_machine(struct es_xml *x, const struct es_hyp_machine *spec,
                          const char *accel, bool is_test, const char *hash)
{
    const struct es_plan_machine *m = spec->machine;
    const struct object object = {
        "machine", spec->plan->range, spec->plan->scenario->nodes[m->node].name,
        m->team,   spec->instance,    spec->memory == ES_HYP_MEMORY_FORK};
    bool kvm = strcmp(accel, "kvm") == 0;
    char number[24];
    es_xml_open(x, "domain");
    es_xml_attr(x, "type", is_test ? "test" : kvm ? "kvm" : "qemu");
    if (!is_test)
        es_xml_attr(x, "xmlns:qemu", QEMU_NS);
    es_xml_text_element(x, "name", m->name);
    es_xml_text_element(x, "uuid", m->uuid);
    if (spec->memory != ES_HYP_MEMORY_OWN)
        write_genid(x, spec);
    write_metadata(x, &object, hash);
    es_xml_open(x, "memory");
    es_xml_attr(x, "unit", "b");
    snprintf(number, sizeof number, "%" PRId64, m->memory_bytes);
    es_xml_text(x, number);
    es_xml_close(x);
    snprintf(number, sizeof number, "%d", m->cpus);
    es_xml_text_element(x, "vcpu", number);
    write_boot(x, spec, is_test);
    if (!is_test)
        write_cpu(x, kvm);
    es_xml_element(x, "clock", "offset", "utc", NULL);
    es_xml_text_element(x, "on_poweroff", "destroy");
    es_xml_text_element(x, "on_reboot", "restart");
    es_xml_text_element(x, "on_crash", "destroy");
    write_devices(x, spec, is_test);
    int rc = spec->memory != ES_HYP_MEMORY_OWN ? write_memory(x, spec) : 0;
    if (rc != 0)
        x->status = rc;
    if (!is_test)
        write_capabilities(x);
    es_xml_close(x);
}

int es_hyp_nic_xml(const struct es_hyp_machine *spec, size_t nic, struct es_buf *out,
                   struct es_err *err)
{
    struct es_xml x;
    es_buf_clear(out);
    es_xml_init(&x, out);
    write_nic(&x, spec, nic);
    return finish(&x, spec->machine->name, err);
}

int es_hyp_machine_xml(const struct es_hyp_machine *spec, const char *accel, bool is_test,
                       struct es_buf *out, char ret_hash[33], struct es_err *err)
{
    char hash[33] = "";
    int rc = 0;
    /* Once for the hash, once with it. */
    for (int round = 0; rc == 0 && round < 2; round++) {
        struct es_xml x;
        es_buf_clear(out);
        es_xml_init(&x, out);
        write_machine(&x, spec, accel, is_test, hash);
        rc = finish(&x, spec->machine->name, err);
        if (round == 0)
            hash_of(out, hash);
    }
    if (rc == 0)
        memcpy(ret_hash, hash, sizeof hash);
    return rc;
}

/* Described as another machine with the same devices, on one network, with fixed paths. */
int es_hyp_machine_skeleton(const struct es_hyp *hyp, const struct es_hyp_machine *spec,
                            char ret_hash[33], struct es_err *err)
{
    struct es_plan_machine machine = *spec->machine;
    struct es_plan_network network = {.name = "network"};
    struct es_plan plan = {
        .scenario = spec->plan->scenario, .networks = &network, .network_count = 1};
    struct es_plan_nic *nics = es_calloc(machine.nic_count + 1, sizeof *nics);
    struct es_buf xml;
    if (nics == NULL)
        return es_err_nomem(err);
    for (size_t i = 0; i < machine.nic_count; i++) {
        nics[i] = machine.nics[i];
        nics[i].plan_network = 0;
    }
    es_str_printf(machine.name, sizeof machine.name, "skeleton");
    es_plan_uuid(machine.uuid, "skeleton", "", "");
    machine.nics = nics;
    machine.team = 0;
    const struct es_hyp_machine neutral = {.plan = &plan,
                                           .machine = &machine,
                                           .disk = spec->disk != NULL ? "disk" : NULL,
                                           .seed = spec->seed != NULL ? "seed" : NULL,
                                           .channel = "channel",
                                           .graphics = spec->graphics,
                                           .memory = ES_HYP_MEMORY_MOULD,
                                           .ram = "ram"};
    es_buf_init(&xml, ES_HYP_XML_MAX);
    int rc = es_hyp_machine_xml(&neutral, spec->accel != NULL ? spec->accel : hyp->accel,
                                hyp->is_test, &xml, ret_hash, err);
    es_buf_finish(&xml);
    es_free(nics);
    return rc;
}

/* ------------------------------------------------------------------ networks, disks */

/* No <forward> and no <ip>: a bridge that the host has no address on. */
static void write_network(struct es_xml *x, const struct object *object,
                          const struct es_plan_network *network, const char *hash)
{
    es_xml_open(x, "network");
    es_xml_text_element(x, "name", network->name);
    es_xml_text_element(x, "uuid", network->uuid);
    write_metadata(x, object, hash);
    es_xml_element(x, "bridge", "name", network->bridge, "stp", "off", "delay", "0",
                   NULL);
    es_xml_close(x);
}

int es_hyp_network_xml(const char *range, const struct es_plan_network *network,
                       const char *node, struct es_buf *out, char ret_hash[33],
                       struct es_err *err)
{
    const struct object object = {"network", range, node, network->team, 0, false};
    char hash[33] = "";
    int rc = 0;
    for (int round = 0; rc == 0 && round < 2; round++) {
        struct es_xml x;
        es_buf_clear(out);
        es_xml_init(&x, out);
        write_network(&x, &object, network, hash);
        rc = finish(&x, network->name, err);
        if (round == 0)
            hash_of(out, hash);
    }
    if (rc == 0)
        memcpy(ret_hash, hash, sizeof hash);
    return rc;
}

int es_hyp_pool_xml(const char *range, const char *path, struct es_buf *out,
                    struct es_err *err)
{
    char name[ES_PLAN_NAME_MAX], uuid[37];
    struct es_xml x;
    es_hyp_pool_name(name, range);
    es_plan_uuid(uuid, "pool", range, "");
    es_xml_init(&x, out);
    es_xml_open(&x, "pool");
    es_xml_attr(&x, "type", "dir");
    es_xml_text_element(&x, "name", name);
    es_xml_text_element(&x, "uuid", uuid);
    es_xml_open(&x, "target");
    es_xml_text_element(&x, "path", path);
    es_xml_close(&x);
    es_xml_close(&x);
    return finish(&x, name, err);
}

int es_hyp_volume_xml(const char *name, const char *backing, int64_t size_bytes,
                      struct es_buf *out, struct es_err *err)
{
    char number[24];
    struct es_xml x;
    snprintf(number, sizeof number, "%" PRId64, size_bytes);
    es_xml_init(&x, out);
    es_xml_open(&x, "volume");
    es_xml_text_element(&x, "name", name);
    es_xml_open(&x, "capacity");
    es_xml_attr(&x, "unit", "bytes");
    es_xml_text(&x, number);
    es_xml_close(&x);
    es_xml_open(&x, "target");
    es_xml_element(&x, "format", "type", "qcow2", NULL);
    es_xml_text_element(&x, "compat", "1.1");
    es_xml_close(&x);
    if (backing != NULL) {
        es_xml_open(&x, "backingStore");
        es_xml_text_element(&x, "path", backing);
        es_xml_element(&x, "format", "type", "qcow2", NULL);
        es_xml_close(&x);
    }
    es_xml_close(&x);
    return finish(&x, name, err);
}
