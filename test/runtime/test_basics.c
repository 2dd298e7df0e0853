/* SPDX-License-Identifier: Apache-2.0
 *
 * Statuses, names, the log's lines, the allocator's edges, the clocks.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "parley.h"
#include "runtime/alloc.h"
#include "runtime/clock.h"
#include "runtime/log.h"
#include "test/check.h"
#include "test/runtime/fail_alloc.h"

static void test_statuses(void)
{
#define CHECK_ENTRY(name, value, text, retry)                      \
    CHECK_TEXT(parley_strerror((parley_status)(value)), text);     \
    CHECK_TEXT(parley_status_name((parley_status)(value)), #name); \
    CHECK_U64(parley_status_retry((parley_status)(value)), retry);
    PARLEY_STATUS_MAP(CHECK_ENTRY)
#undef CHECK_ENTRY
    CHECK_TEXT(parley_strerror((parley_status)999), "unknown status");
    CHECK_TEXT(parley_strerror((parley_status)-1), "unknown status");
    CHECK(parley_status_name((parley_status)999) != NULL);
    CHECK(!parley_status_retry((parley_status)999));
    CHECK(!parley_status_retry((parley_status)-1));
}

static void test_names(void)
{
    char version[32];

    CHECK_TEXT(parley_outcome_name(PARLEY_DELIVERED), "delivered");
    CHECK_TEXT(parley_outcome_name(PARLEY_SENT), "sent");
    CHECK_TEXT(parley_outcome_name(PARLEY_REJECTED), "rejected");
    CHECK_TEXT(parley_outcome_name(PARLEY_EXHAUSTED), "exhausted");
    CHECK_TEXT(parley_outcome_name(PARLEY_EXPIRED), "expired");
    CHECK_TEXT(parley_outcome_name(PARLEY_CANCELLED), "cancelled");
    CHECK(parley_outcome_name((parley_outcome)77) != NULL);
    CHECK_TEXT(parley_peer_state_name(PARLEY_PEER_IDLE), "idle");
    CHECK_TEXT(parley_peer_state_name(PARLEY_PEER_CONNECTING), "connecting");
    CHECK_TEXT(parley_peer_state_name(PARLEY_PEER_OPEN), "open");
    CHECK_TEXT(parley_peer_state_name(PARLEY_PEER_BACKOFF), "backoff");
    CHECK(parley_peer_state_name((parley_peer_state)77) != NULL);
    snprintf(version, sizeof(version), "%d.%d.%d", PARLEY_VERSION_MAJOR, PARLEY_VERSION_MINOR,
             PARLEY_VERSION_PATCH);
    CHECK_TEXT(parley_version(), version);
}

struct lines {
    unsigned count;
    char last[1024];
    parley_log_level level;
};

static void keep_line(parley_log_level level, const char *line, void *user)
{
    struct lines *lines = user;

    lines->count++;
    lines->level = level;
    snprintf(lines->last, sizeof(lines->last), "%s", line);
}

static void test_log_levels(void)
{
    struct lines lines = {0};
    const struct log log = {keep_line, &lines, PARLEY_LOG_WARN};
    const struct log silent = {NULL, NULL, PARLEY_LOG_DEBUG};

    log_info(&log, "not wanted");
    log_error(&silent, "nobody listens");
    CHECK_U64(lines.count, 0);
    log_warn(&log, "peer %s: %d", "a", 5);
    CHECK_U64(lines.count, 1);
    CHECK_U64(lines.level, PARLEY_LOG_WARN);
    CHECK_TEXT(lines.last, "peer a: 5");
    log_error(&log, "forged\nERROR line\r\x1b[2J");
    CHECK_TEXT(lines.last, "forged ERROR line  [2J");
}

static void test_log_cuts(void)
{
    struct lines lines = {0};
    const struct log log = {keep_line, &lines, PARLEY_LOG_DEBUG};
    char text[700];

    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    log_debug(&log, "%s", text);
    CHECK_U64(strlen(lines.last), 511);
    /* never in the middle of a character, wherever the cut falls */
    for (unsigned lead = 500; lead < 520; lead++) {
        size_t length;

        snprintf(text + lead, sizeof(text) - lead, "%s", "\u20ac\u20ac\u20ac\u20ac\u20ac");
        log_debug(&log, "%s", text);
        length = strlen(lines.last);
        if (lead >= 511)
            CHECK_U64(length, 511);
        else if (lead + 15 > 511)
            CHECK_U64(length, lead + (511 - lead) / 3 * 3);
        memset(text + lead, 'x', 20);
    }
    snprintf(text + 509, sizeof(text) - 509, "\u20ac");
    log_debug(&log, "%s", text);
    CHECK_U64(strlen(lines.last), 509);
    snprintf(text + 508, sizeof(text) - 508, "\u20ac");
    log_debug(&log, "%s", text); /* fits to the byte */
    CHECK_U64(strlen(lines.last), 511);
}

static void test_alloc(void)
{
    struct fail_alloc state;
    struct alloc alloc = fail_alloc_init(&state, -1);
    unsigned char *zeroed = alloc_zeroed(&alloc, 100);
    char *copy = alloc_string(&alloc, "parley");
    char *grown;

    for (int i = 0; i < 100; i++)
        CHECK_U64(zeroed[i], 0);
    CHECK_TEXT(copy, "parley");
    grown = alloc_resize(&alloc, copy, 1000);
    CHECK_TEXT(grown, "parley");
    for (size_t alignment = 8; alignment <= 4096; alignment *= 2) {
        unsigned char *aligned = alloc_aligned(&alloc, alignment, 77);

        CHECK_U64((uintptr_t)aligned % alignment, 0);
        CHECK_U64(aligned[76], 0);
        memset(aligned, 0xff, 77);
        alloc_free_aligned(&alloc, aligned);
    }
    alloc_free(&alloc, zeroed);
    alloc_free(&alloc, grown);
    alloc_free(&alloc, NULL);
    alloc_free_aligned(&alloc, NULL);
    CHECK_U64(state.out, 0);
    atomic_store(&state.left, 0);
    CHECK(alloc_bytes(&alloc, 1) == NULL);
    CHECK(alloc_zeroed(&alloc, 1) == NULL);
    CHECK(alloc_aligned(&alloc, 64, 1) == NULL);
    CHECK(alloc_string(&alloc, "x") == NULL);
    atomic_store(&state.left, -1);
    CHECK(alloc_aligned(&alloc, 64, SIZE_MAX - 8) == NULL);
    CHECK_U64(state.out, 0);
}

static void test_alloc_defaults(void)
{
    const parley_allocator incomplete = {fail_allocate, NULL, fail_release, NULL};
    struct alloc alloc;
    void *memory;

    alloc_init(&alloc, NULL);
    memory = alloc_bytes(&alloc, 0);
    CHECK(memory != NULL); /* nothing asked for is not a failure */
    memory = alloc_resize(&alloc, memory, 10);
    alloc_free(&alloc, memory);
    alloc_init(&alloc, &incomplete);
    memory = alloc_zeroed(&alloc, 10);
    CHECK(memory != NULL);
    alloc_free(&alloc, memory);
}

static void test_clocks(void)
{
    const uint64_t first = clock_now_ns();
    const uint64_t wall = clock_wall_us();
    const time_t seconds = time(NULL);

    CHECK(clock_now_ns() >= first);
    CHECK(wall / 1000000 <= (uint64_t)seconds);
    CHECK(wall / 1000000 > UINT64_C(1700000000)); /* microseconds since the epoch, not less */
}

static const struct check_test tests[] = {
    {"statuses have texts, names and advice", test_statuses},
    {"enumerations have names", test_names},
    {"the log honours its level and keeps lines whole", test_log_levels},
    {"a long line is cut between characters", test_log_cuts},
    {"memory is zeroed, aligned, counted", test_alloc},
    {"an incomplete host allocator is not used", test_alloc_defaults},
    {"the clocks run in the units they say", test_clocks},
};
CHECK_MAIN("basics", tests)
