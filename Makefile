# enshu: build, test, demo. One non-recursive makefile; objects under build/$(VARIANT)/.
#
#   make                 binaries in build/release/bin/
#   make test            install what is missing, build, run every test
#   make demo            install what is missing, build, run the bundled drill (KEEP=1 leaves it running)
#   make check DIRS=unit one part of the tests; make check-one T=tests/unit/test_str.c one file
#   VARIANT=debug|release|asan|tsan|cov   V=1 shows commands   CC=clang works too

VARIANT ?= release
PREFIX ?= /usr/local
DESTDIR ?=
CC = gcc
VERSION := 0.1.0
B := build/$(VARIANT)

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules
Q := $(if $(V),,@)

# ------------------------------------------------------------------------------------------------ flags
PKGS := libvirt libvirt-qemu yaml-0.1 libuv jansson libsodium sqlite3 libarchive
WARN := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes \
	-Wcast-qual -Wwrite-strings -Wvla -Wundef -Wformat=2 -Werror
CPPFLAGS := -Iinclude -I$(B)/gen -D_GNU_SOURCE -DES_VERSION='"$(VERSION)"'
CFLAGS_release := -O2 -g -D_FORTIFY_SOURCE=2 -fstack-protector-strong
CFLAGS_debug := -O0 -g3
CFLAGS_asan := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
CFLAGS_tsan := -O1 -g -fsanitize=thread
# Built by clang for `make fuzz` only; its warnings are judged in the other variants.
CFLAGS_fuzz := -O1 -g -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined -Wno-error
CFLAGS_cov := -O0 -g --coverage
CFLAGS := -std=c11 -fPIC $(WARN) $(CFLAGS_$(VARIANT)) $(EXTRA_CFLAGS)
LDFLAGS := $(filter -fsanitize% --coverage,$(CFLAGS_$(VARIANT))) -Wl,--as-needed $(EXTRA_LDFLAGS)
PKG_CFLAGS = $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
# The address sanitizer has a crypt_r of its own, which calls the library's: it must be there.
LDLIBS = $(shell pkg-config --libs $(PKGS) 2>/dev/null) -Wl,--push-state,--no-as-needed -lcrypt -Wl,--pop-state -lpthread
CHECK_LIBS = $(shell pkg-config --libs check 2>/dev/null)

# ------------------------------------------------------------------------------------------------ sources
# A room is a folder below orchestrator/; the folders named MAINS hold one program each.
MAINS := enshud enshu nest
ROOMS := $(filter-out $(MAINS),$(notdir $(patsubst %/,%,$(wildcard orchestrator/*/))))
ROOM_SRC := $(sort $(foreach r,$(ROOMS),$(wildcard orchestrator/$r/*.c orchestrator/$r/*/*.c)))
ROOM_OBJ := $(ROOM_SRC:%.c=$(B)/obj/%.o)
LIB := $(B)/lib/libenshu.a
MAIN_OBJ = $(patsubst %.c,$(B)/obj/%.o,$(wildcard orchestrator/$1/*.c))

BINS := $(B)/bin/enshu $(B)/bin/enshud $(B)/bin/enshu-nest $(B)/bin/enshu-agent
TEST_DIRS := unit flow libvirt vm
TEST_SRC := $(sort $(foreach d,$(TEST_DIRS),$(wildcard tests/$d/test_*.c)))
TEST_SUPPORT := $(sort $(wildcard tests/support/*.c))
TEST_NAMES := $(notdir $(TEST_SRC:.c=))

.PHONY: all rooms clean check check-one test demo bench fuzz lint format install deps
all: $(BINS)
rooms: $(LIB)

$(B)/obj/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC      $<")
	$(Q)$(CC) $(CPPFLAGS) $(PKG_CFLAGS) $(CFLAGS) -MMD -MP -c $< -o $@

$(LIB): $(ROOM_OBJ)
	@mkdir -p $(@D)
	$(if $(V),,@echo "  AR      $@")
	$(Q)rm -f $@ && ar rcs $@ $^

define PROGRAM
$(B)/bin/$2: $(call MAIN_OBJ,$1) $(LIB)
	@mkdir -p $$(@D)
	$(if $(V),,@echo "  LINK    $$@")
	$(Q)$(CC) $(CFLAGS) $$^ $(LDFLAGS) $$(LDLIBS) -o $$@
endef
$(eval $(call PROGRAM,enshud,enshud))
$(eval $(call PROGRAM,enshu,enshu))
$(eval $(call PROGRAM,nest,enshu-nest))

# The agent is static and small, so any Linux guest runs it; always built the same way. glibc's notes that
# name look-ups need its shared objects are silenced: the agent makes none.
AGENT_SRC := $(sort $(wildcard agents/*/*.c orchestrator/common/*.c orchestrator/wire/*.c))
# Debian 12 names the static library libuv_a.a, later ones libuv.a.
UV_STATIC := $(if $(wildcard /usr/lib/*/libuv_a.a),-luv_a,-l:libuv.a)
AGENT_OBJ := $(AGENT_SRC:%.c=$(B)/agent/%.o)
AGENT_CFLAGS := -std=c11 $(WARN) -Os -g -ffunction-sections -fdata-sections
$(B)/agent/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC      $< (agent)")
	$(Q)$(CC) $(CPPFLAGS) $(PKG_CFLAGS) $(AGENT_CFLAGS) -MMD -MP -c $< -o $@
$(B)/bin/enshu-agent: $(AGENT_OBJ)
	@mkdir -p $(@D)
	$(if $(V),,@echo "  LINK    $@")
	$(Q)$(CC) -static -s -Wl,--gc-sections -Wl,--no-warnings $^ $(UV_STATIC) -ljansson -lsodium -lpthread -ldl -o $@

# The agent's parts for tests, and the agent as an ordinary program of this variant (sanitizers), for tests on the
# host.
AGENT_LIB := $(B)/lib/libagent.a
$(AGENT_LIB): $(patsubst %.c,$(B)/obj/%.o,$(filter-out agents/agent/main.c,$(wildcard agents/*/*.c)))
	@mkdir -p $(@D)
	$(if $(V),,@echo "  AR      $@")
	$(Q)rm -f $@ && ar rcs $@ $^
$(B)/bin/enshu-agent-host: $(B)/obj/agents/agent/main.o $(AGENT_LIB) $(LIB)
	@mkdir -p $(@D)
	$(if $(V),,@echo "  LINK    $@")
	$(Q)$(CC) $(CFLAGS) $^ $(LDFLAGS) $(LDLIBS) -o $@

# ------------------------------------------------------------------------------------------------ tests
# Every tests/DIR/test_NAME.c defines `Suite *NAME_suite(void)`; the runner is generated from the list.
$(B)/gen/test_main.c: Makefile $(TEST_SRC)
	@mkdir -p $(@D)
	@{ echo '#include "../../../tests/support/runner.h"'; \
	  for f in $(TEST_SRC); do n=$$(basename $$f .c); echo "Suite *$${n#test_}_suite(void);"; done; \
	  echo 'const struct test_entry test_entries[] = {'; \
	  for f in $(TEST_SRC); do n=$$(basename $$f .c); d=$$(basename $$(dirname $$f)); \
	    echo "    {\"$$d\", \"$${n#test_}\", $${n#test_}_suite},"; done; \
	  echo '    {0, 0, 0}};'; } > $@
TEST_OBJ := $(TEST_SRC:%.c=$(B)/obj/%.o) $(TEST_SUPPORT:%.c=$(B)/obj/%.o)
$(B)/bin/enshu-tests: $(TEST_OBJ) $(B)/gen/test_main.c $(AGENT_LIB) $(LIB) | $(B)/bin/enshu-agent-host
	$(if $(V),,@echo "  LINK    $@")
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(TEST_OBJ) $(B)/gen/test_main.c $(AGENT_LIB) $(LIB) $(LDFLAGS) $(LDLIBS) $(CHECK_LIBS) -o $@

TEST_ENV = ENSHU_BIN=$(abspath $(B)/bin) ENSHU_TOP=$(abspath .) \
	TSAN_OPTIONS=suppressions=$(abspath tests/tsan.supp)
check: all $(B)/bin/enshu-tests
	$(TEST_ENV) $(B)/bin/enshu-tests $(DIRS)

# One test file alone, linked with the rooms only (and the agent's parts when it is a test of the agent).
ONE_AGENT := $(if $(findstring agent,$(T)),$(AGENT_LIB))
check-one: $(LIB) $(ONE_AGENT) $(if $(ONE_AGENT),$(B)/bin/enshu-agent-host) $(T:%.c=$(B)/obj/%.o) $(TEST_SUPPORT:%.c=$(B)/obj/%.o)
	@n=$$(basename $(T) .c); n=$${n#test_}; d=$$(basename $$(dirname $(T))); \
	printf '#include "../../../tests/support/runner.h"\nSuite *%s_suite(void);\nconst struct test_entry test_entries[] = {{"%s", "%s", %s_suite}, {0, 0, 0}};\n' $$n $$d $$n $$n > $(B)/gen-one-$$n.c && mkdir -p $(B)/gen $(B)/bin && mv $(B)/gen-one-$$n.c $(B)/gen/one_$$n.c && \
	$(CC) $(CPPFLAGS) $(CFLAGS) $(T:%.c=$(B)/obj/%.o) $(TEST_SUPPORT:%.c=$(B)/obj/%.o) $(B)/gen/one_$$n.c $(ONE_AGENT) $(LIB) $(LDFLAGS) $(LDLIBS) $(CHECK_LIBS) -o $(B)/bin/one-$$n && \
	$(TEST_ENV) $(B)/bin/one-$$n

# What is missing is installed first; the rest is a second make, which then finds it.
test:
	@.ci/install
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory check

demo:
	@.ci/install
	@$(MAKE) --no-print-directory all
	@scenarios/demo.sh $(abspath $(B)/bin) $(SCENARIO)

# ------------------------------------------------------------------------------------------------ install
# PREFIX/bin, and beside it what enshud finds from there: libexec/enshu, share/enshu.
I := $(DESTDIR)$(PREFIX)
install: all
	install -d $(I)/bin $(I)/libexec/enshu $(I)/share/enshu $(I)/share/doc/enshu
	install -d $(I)/lib/systemd/user $(I)/share/bash-completion/completions
	install -m 0755 $(B)/bin/enshu $(B)/bin/enshud $(I)/bin
	install -m 0755 $(B)/bin/enshu-agent $(B)/bin/enshu-nest $(I)/libexec/enshu
	cp -R scenarios/images $(I)/share/enshu
	cp -R scenarios $(I)/share/enshu
	rm -rf $(I)/share/enshu/scenarios/images
	chmod -R a+rX,go-w $(I)/share/enshu
	install -m 0644 orchestrator/enshu/enshu.bash $(I)/share/bash-completion/completions/enshu
	sed 's|@PREFIX@|$(PREFIX)|g' orchestrator/enshud/enshud.service.in > $(I)/lib/systemd/user/enshud.service
	orchestrator/enshud/install-apparmor.sh "$(DESTDIR)"
	if [ -f README.md ]; then install -m 0644 README.md $(I)/share/doc/enshu; fi

# ------------------------------------------------------------------------------------------------ numbers
# Simulated agents as a program, for load and crash tests.
$(B)/bin/enshu-simagents: $(B)/obj/tests/bench/simagents.o $(B)/obj/tests/support/simagent.o $(LIB)
	@mkdir -p $(@D)
	$(if $(V),,@echo "  LINK    $@")
	$(Q)$(CC) $(CFLAGS) $^ $(LDFLAGS) $(LDLIBS) -o $@

# Each tests/fuzz/fuzz_NAME.c becomes a libFuzzer program over the rooms; `make fuzz` runs each for FUZZ_SECONDS.
# What it finds goes to build/fuzz/, new inputs too; the corpus in the tree is only read.
FUZZ_SECONDS ?= 60
FUZZ_NAMES := $(patsubst fuzz_%.c,%,$(notdir $(wildcard tests/fuzz/fuzz_*.c)))
FUZZ_LIB := build/fuzz/lib/libenshu.a
.PHONY: fuzz-rooms
fuzz-rooms:
	@$(MAKE) --no-print-directory VARIANT=fuzz CC=clang rooms build/fuzz/lib/libagent.a
build/fuzz/fuzz-%: tests/fuzz/fuzz_%.c fuzz-rooms
	$(if $(V),,@echo "  FUZZ    $@")
	$(Q)clang $(CPPFLAGS) $(PKG_CFLAGS) -std=c11 $(CFLAGS_fuzz) -fsanitize=fuzzer -DES_FUZZER $< build/fuzz/lib/libagent.a $(FUZZ_LIB) $(LDLIBS) -o $@
fuzz: $(FUZZ_NAMES:%=build/fuzz/fuzz-%)
	@for n in $(FUZZ_NAMES); do mkdir -p build/fuzz/new/$$n && echo "  $$n: $(FUZZ_SECONDS) s" && \
	  build/fuzz/fuzz-$$n -max_total_time=$(FUZZ_SECONDS) -max_len=80000 -print_final_stats=1 -verbosity=0 \
	    $$(test -f tests/fuzz/fuzz_$$n.dict && echo -dict=tests/fuzz/fuzz_$$n.dict) \
	    -artifact_prefix=build/fuzz/found-$$n- build/fuzz/new/$$n tests/fuzz/corpus/$$n || exit 1; done

# Each tests/bench/bench_NAME.c is a program of its own that prints a table and JSON; beside them lies what they share.
BENCH_SHARED := lab hand hand_fork
BENCH_OBJ := $(patsubst %.c,$(B)/obj/%.o,$(filter-out tests/support/runner.c,$(TEST_SUPPORT)) $(BENCH_SHARED:%=tests/bench/%.c))
$(B)/bin/bench-%: $(B)/obj/tests/bench/bench_%.o $(BENCH_OBJ) $(LIB)
	@mkdir -p $(@D)
	$(if $(V),,@echo "  LINK    $@")
	$(Q)$(CC) $(CFLAGS) $^ $(LDFLAGS) $(LDLIBS) $(CHECK_LIBS) -o $@
.PRECIOUS: $(B)/obj/%.o
# What each measures: tests/bench/run.sh. `make bench BENCH="core store"` runs some of them.
BENCH_NAMES := $(patsubst bench_%.c,%,$(notdir $(wildcard tests/bench/bench_*.c)))
bench: all $(B)/bin/enshu-simagents $(BENCH_NAMES:%=$(B)/bin/bench-%)
	@tests/bench/run.sh $(B)/bin build/bench $(BENCH)

# ------------------------------------------------------------------------------------------------ taste
# Who may include what, banned functions, form; then that these checks find planted violations.
lint:
	$(Q)CC="$(CC)" CPPFLAGS="$(PKG_CFLAGS)" sh tests/lint/lint.sh
	$(Q)CC="$(CC)" CPPFLAGS="$(PKG_CFLAGS)" sh tests/lint/selftest.sh
format:
	$(Q)clang-format -i $$(find orchestrator agents include tests -name '*.[ch]')

clean:
	rm -rf build

-include $(ROOM_OBJ:.o=.d) $(wildcard $(B)/obj/tests/bench/*.d) $(AGENT_OBJ:.o=.d) $(wildcard $(B)/obj/agents/*/*.d) $(TEST_OBJ:.o=.d) $(foreach m,$(MAINS),$(patsubst %.o,%.d,$(call MAIN_OBJ,$m)))
