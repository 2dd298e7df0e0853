# parley: build, test, measure. `make help` lists what there is.

ifeq ($(origin CC),default)
CC       := gcc
endif
BUILD    ?= build
OPT      ?= -O2
SANITIZE ?=
COVERAGE ?=
V        ?=

# `make V=1` shows the commands.
Q := $(if $(V),,@)

PACKAGES := libwebsockets libcurl libcrypto libcjson yaml-0.1
WARNINGS := -Wall -Wextra -Werror -Wshadow -Wpointer-arith -Wstrict-prototypes \
            -Wmissing-prototypes -Wundef -Wvla -Wimplicit-fallthrough
CPPFLAGS += -D_GNU_SOURCE -I. -Iinclude
CFLAGS   += -std=c17 -g $(OPT) $(WARNINGS) -fvisibility=hidden -fPIC -fno-omit-frame-pointer \
            -MMD -MP -pthread $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-sanitize-recover=undefined) \
            $(if $(COVERAGE),-fprofile-instr-generate -fcoverage-mapping)
LDFLAGS  += -pthread $(if $(SANITIZE),-fsanitize=$(SANITIZE)) $(if $(COVERAGE),-fprofile-instr-generate)
LDLIBS   += -lwebsockets -lev -lcurl -lssl -lcrypto -lcjson -lyaml -lm

LIB_SRC   := $(wildcard runtime/*.c transport/*.c peers/*.c)
CLI_SRC   := $(wildcard peers/cli/*.c)
BENCH_SRC := $(wildcard bench/*.c)
RIVAL_SRC := $(wildcard bench/rivals/*.c)
TEST_SRC  := $(sort $(wildcard test/test_*.c test/*/test_*.c))
TEST_LIB  := test/check.c
HELPERS   := $(BUILD)/test/differential/json_judge $(BUILD)/test/differential/canonical_judge \
             $(BUILD)/test/interop/driver
FAULTS_SRC := $(wildcard test/faults/*.c)
FUZZ_SRC  := $(sort $(wildcard test/fuzz/*.c))
SIM_SRC   := $(wildcard test/sim/*.c)

comma := ,
obj = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
LIB_OBJ   := $(call obj,$(LIB_SRC))
CLI_OBJ   := $(call obj,$(CLI_SRC))
BENCH_OBJ := $(call obj,$(BENCH_SRC))
FAULTS_OBJ := $(call obj,$(FAULTS_SRC))
TESTS     := $(patsubst %.c,$(BUILD)/%,$(TEST_SRC))
RIVALS    := $(patsubst bench/rivals/%.c,$(BUILD)/rivals/%,$(RIVAL_SRC))
FUZZERS   := $(patsubst test/fuzz/%.c,$(BUILD)/fuzzers/%,$(FUZZ_SRC))
C_FILES    = $(shell git ls-files '*.c' '*.h' 2>/dev/null)

LIBS     := $(BUILD)/libparley.a $(BUILD)/libparley.so.0
PROGRAMS := $(BUILD)/parley $(BUILD)/parley-bench $(RIVALS)

.DEFAULT_GOAL := all
.PHONY: help deps deps-bench deps-fuzz run all test test-asan test-tsan fuzz fuzz-plants faults \
        sim sim-mutants bench lint format install clean nightly
.DELETE_ON_ERROR:

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

deps: ## install the Debian packages that building and testing need
	$(Q)sh conf/deps.sh build
deps-bench: ## install what the larger comparisons need
	$(Q)sh conf/deps.sh bench

deps-fuzz:
	$(Q)sh conf/deps.sh fuzz

all: deps ## build the libraries, parley and parley-bench
	$(Q)$(MAKE) --no-print-directory programs

.PHONY: programs tests fuzzers
fuzzers: $(FUZZERS)
.SECONDARY: $(call obj,$(FUZZ_SRC))
programs: $(LIBS) $(PROGRAMS)
tests: programs $(TESTS) $(HELPERS)

run: all ## the main job: 200,000 messages to 200 peers, then the same with fallback to HTTP
	$(Q)$(BUILD)/parley-bench run

test: all ## build and run every test
	$(Q)$(MAKE) --no-print-directory tests
	$(Q)BUILD=$(BUILD) CC="$(CC)" sh test/run.sh $(TESTS)

test-asan: deps ## the tests under Address, UB and LeakSanitizer
	$(Q)$(MAKE) --no-print-directory BUILD=$(BUILD)/asan OPT=-O1 SANITIZE=address,undefined test

# The scripts drive one node from other processes: the programs have the threads to watch.
test-tsan: deps ## the tests under ThreadSanitizer
	$(Q)SCRIPTS=none $(MAKE) --no-print-directory BUILD=$(BUILD)/tsan OPT=-O1 SANITIZE=thread test

# Coverage is measured with the fuzzers themselves: one build serves both.
FUZZ_SECONDS ?= 60
FUZZ_JOBS    ?= 2
FUZZ_MAKE     = $(MAKE) --no-print-directory CC=clang OPT=-O1 COVERAGE=1 \
                SANITIZE=fuzzer-no-link,address,undefined

faults: deps ## real faults between two processes, at each byte of a session; FAULTS=quick: a sample
	$(Q)$(MAKE) --no-print-directory $(BUILD)/faults
	$(Q)$(BUILD)/faults

fuzz: deps-fuzz ## every fuzz target for FUZZ_SECONDS, FUZZ_JOBS at a time; the parsers' coverage
	+$(Q)$(FUZZ_MAKE) BUILD=$(BUILD)/fuzz fuzzers
	$(Q)FUZZ_SECONDS=$(FUZZ_SECONDS) FUZZ_JOBS=$(FUZZ_JOBS) sh test/fuzz/run.sh $(BUILD)/fuzz

fuzz-plants: deps-fuzz ## plants a bug per fuzz target, which has to find it within 60 s
	+$(Q)$(FUZZ_MAKE) BUILD=$(BUILD)/fuzz fuzzers
	$(Q)FUZZ_MAKE="$(FUZZ_MAKE)" sh test/fuzz/plants.sh $(BUILD)/fuzz

# The whole of peers/ and what is pure below it, over a simulated world.
SEEDS  ?= 1000
SEED   ?=

sim: deps ## SEEDS simulated runs of several nodes with faults (SEED=n: one of them, aloud)
	$(Q)$(MAKE) --no-print-directory $(BUILD)/sim
	$(Q)$(BUILD)/sim $(if $(SEED),--seed $(SEED),--seeds $(SEEDS))

sim-mutants: deps ## does the simulation find each bug in test/sim/mutants?
	$(Q)BUILD=$(BUILD) sh test/sim/mutants.sh

bench: all ## fan-out beside its rivals
	$(Q)$(BUILD)/parley-bench fanout --peers 100 --messages 500000 --payload 100 --with-rivals

nightly: export JSON_DOCUMENTS ?= 1000000
nightly: SEEDS = 100000
nightly: test test-asan test-tsan sim sim-mutants fuzz fuzz-plants bench ## everything, the long parts included

lint: deps ## formatting, clang-tidy, cppcheck, layering
	$(Q)sh test/lint.sh

format: deps ## rewrite the sources as clang-format wants them
	$(Q)clang-format -i $(C_FILES)

PREFIX ?= /usr/local
install: all ## install below $(DESTDIR)$(PREFIX)
	$(Q)install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib $(DESTDIR)$(PREFIX)/include $(DESTDIR)$(PREFIX)/share/doc/parley/manual
	$(Q)install $(BUILD)/parley $(BUILD)/parley-bench $(DESTDIR)$(PREFIX)/bin
	$(Q)install -m 644 $(BUILD)/libparley.a $(BUILD)/libparley.so.0 $(DESTDIR)$(PREFIX)/lib
	$(Q)ln -sf libparley.so.0 $(DESTDIR)$(PREFIX)/lib/libparley.so
	$(Q)install -m 644 include/parley.h $(DESTDIR)$(PREFIX)/include
	$(Q)install -m 644 conf/peer_service.yaml README.md transport/PROTOCOL.md $(DESTDIR)$(PREFIX)/share/doc/parley
	$(Q)install -m 644 include/manual/*.md $(DESTDIR)$(PREFIX)/share/doc/parley/manual

clean: ## remove what was built
	$(Q)rm -rf $(BUILD)

# ---- how things are made ----

$(BUILD)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC    $<")
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -c -o $@ $<

$(BUILD)/libparley.a: $(LIB_OBJ)
	$(if $(V),,@echo "  AR    $@")
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(BUILD)/libparley.so.0: $(LIB_OBJ)
	$(if $(V),,@echo "  LD    $@")
	$(Q)$(CC) -shared -Wl,-soname,libparley.so.0 $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/parley: $(CLI_OBJ) $(BUILD)/libparley.a
	$(if $(V),,@echo "  LD    $@")
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/parley-bench: $(BENCH_OBJ) $(BUILD)/libparley.a
	$(if $(V),,@echo "  LD    $@")
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/rivals/%: $(BUILD)/obj/bench/rivals/%.o
	@mkdir -p $(@D)
	$(if $(V),,@echo "  LD    $@")
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/test/%: $(BUILD)/obj/test/%.o $(call obj,$(TEST_LIB)) $(BUILD)/libparley.a
	@mkdir -p $(@D)
	$(if $(V),,@echo "  LD    $@")
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS) -lcunit

# Their own worker, clock, resolver and transport take the place of the library's.
SIM_REPLACED := runtime/worker.c runtime/clock.c runtime/resolver.c
SIM_LIB      := $(filter-out $(SIM_REPLACED),$(wildcard runtime/*.c peers/*.c)) \
                transport/transport_layer.c transport/url.c transport/backoff.c transport/ws_frame.c
SIM_WRAP     := getrandom pthread_cond_wait pthread_cond_timedwait pthread_key_create \
                EVP_CIPHER_CTX_new EVP_CIPHER_CTX_free EVP_CipherInit_ex2 seal_close_as \
                seal_close_frame seal_open_frame handshake_receive identity_sign identity_verify \
                crypto_x25519 crypto_x25519_public nonces_file_open nonces_file_close \
                nonces_file_add

$(BUILD)/sim: $(call obj,$(SIM_SRC) $(SIM_LIB))
	$(if $(V),,@echo "  LD    $@")
	$(Q)$(CC) $(LDFLAGS) $(addprefix -Wl$(comma)--wrap=,$(SIM_WRAP)) -o $@ $^ -lcrypto -lyaml -lm

$(BUILD)/faults: $(FAULTS_OBJ) $(BUILD)/libparley.a
	$(if $(V),,@echo "  LD    $@")
	$(Q)$(CC) $(LDFLAGS) -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=free -o $@ $^ $(LDLIBS)

$(BUILD)/fuzzers/%: $(BUILD)/obj/test/fuzz/%.o $(BUILD)/libparley.a
	@mkdir -p $(@D)
	$(if $(V),,@echo "  LD    $@")
	$(Q)$(CC) -fsanitize=fuzzer $(LDFLAGS) -o $@ $^ $(LDLIBS)

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)
