/* SPDX-License-Identifier: Apache-2.0
 *
 * The memory against replay: its bounds, that nobody reaches another's part of it, and that
 * it survives a restart, a cut-off record and a turn from one file to the other.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "peers/nonces.h"
#include "peers/nonces_file.h"
#include "runtime/clock.h"
#include "test/check.h"
#include "test/runtime/fail_alloc.h"

#define S          NS_PER_S
#define WALL_S(s)  ((UINT64_C(1700000000) + (s)) * 1000000)
#define WINDOW_S   300
#define NONCES_MAX 16

static struct alloc alloc;
static struct nonces nonces;
static char dir[] = "build/nonces-XXXXXX";

static void start(void)
{
    static const uint8_t key[NONCES_KEY_BYTES] = {1};
    const struct nonces_limits limits = {.window_s = WINDOW_S, .nonces_max = NONCES_MAX};

    alloc_init(&alloc, NULL);
    CHECK_STATUS(nonces_init(&nonces, &alloc, &limits, key), OK);
}

/* As after a restart at second `now_s`. */
static void start_with_files(uint64_t now_s)
{
    char error[256] = "";

    start();
    if (nonces_file_open(&nonces, dir, "me", now_s * S, WALL_S(now_s), error, sizeof(error)) !=
        PARLEY_OK)
        CHECK_TEXT(error, "");
}

static void path_of(char *path, size_t len, unsigned which)
{
    snprintf(path, len, "%s/nonces-me.%u", dir, which);
}

static void new_dir(void)
{
    strcpy(dir, "build/nonces-XXXXXX");
    CHECK(mkdtemp(dir) != NULL);
}

static void remove_dir(void)
{
    char path[256];

    for (unsigned i = 0; i < 2; i++) {
        path_of(path, sizeof(path), i);
        unlink(path);
    }
    CHECK(rmdir(dir) == 0);
}

static enum nonces_answer take(const char *sender, const char *nonce, uint64_t at_s)
{
    enum nonces_answer answer = nonces_look(&nonces, sender, nonce, at_s * S);

    if (answer == NONCES_NEW)
        answer = nonces_add(&nonces, sender, nonce, at_s * S, WALL_S(at_s));
    return answer;
}

static enum nonces_answer session(const char *id, bool known, uint64_t newest_us,
                                  uint64_t at_s)
{
    return nonces_session(&nonces, "a", id, known, newest_us, newest_us, at_s * S,
                          WALL_S(at_s));
}

/* ---- Nonces ---- */

static void a_nonce_is_taken_once_within_the_window(void)
{
    start();
    CHECK_U64(take("a", "n", 1000), NONCES_NEW);
    CHECK_U64(take("a", "n", 1000), NONCES_SEEN);
    CHECK_U64(take("a", "n", 1000 + WINDOW_S), NONCES_SEEN);
    CHECK_U64(take("b", "n", 1000), NONCES_NEW);
    CHECK_U64(take("a", "n", 1001 + WINDOW_S), NONCES_NEW);
    nonces_fini(&nonces);
}

/* Who has used up its part waits; it neither loses what is remembered nor others theirs. */
static void a_full_memory_makes_its_own_sender_wait(void)
{
    char nonce[16];

    start();
    CHECK_U64(take("b", "its own", 1000), NONCES_NEW);
    for (int i = 0; i < NONCES_MAX; i++) {
        snprintf(nonce, sizeof(nonce), "n%d", i);
        CHECK_U64(take("a", nonce, 1000), NONCES_NEW);
    }
    CHECK_U64(take("a", "one more", 1100), NONCES_FULL);
    CHECK_U64(take("a", "n0", 1100), NONCES_SEEN);
    CHECK_U64(take("b", "its own", 1100), NONCES_SEEN);
    CHECK_U64(take("b", "another", 1100), NONCES_NEW);
    CHECK_U64(take("a", "one more", 1001 + WINDOW_S), NONCES_NEW);
    nonces_fini(&nonces);
}

static void senders_are_bounded(void)
{
    char name[16];

    start();
    for (int i = 0; i < NONCES_SENDERS_MAX; i++) {
        snprintf(name, sizeof(name), "s%d", i);
        if (take(name, "n", 1000) != NONCES_NEW)
            CHECK_TEXT(name, "(taken)");
    }
    CHECK_U64(take("late", "n", 1000), NONCES_FULL);
    CHECK_U64(take("s0", "n", 1000), NONCES_SEEN);
    CHECK_U64(take("late", "n", 1001 + WINDOW_S), NONCES_NEW);
    CHECK_U64(nonces.senders, 1);
    nonces_fini(&nonces);
}

/* ---- Sessions ---- */

static void an_unknown_session_goes_on_where_it_was(void)
{
    start();
    CHECK_U64(session("s", false, 500, 1000), NONCES_NEW);
    CHECK_U64(session("s", true, 500, 1000), NONCES_NEW); /* its numbers tell repeats */
    CHECK_U64(session("s", true, 900, 1001), NONCES_NEW);
    CHECK_U64(session("s", false, 900, 1002), NONCES_SEEN);
    CHECK_U64(session("s", false, 901, 1002), NONCES_NEW);
    CHECK_U64(session("other", false, 500, 1002), NONCES_NEW);
    CHECK_U64(session("s", false, 500, 1003 + WINDOW_S), NONCES_NEW);
    nonces_fini(&nonces);
}

static void sessions_are_bounded(void)
{
    char id[16];

    start();
    for (int i = 0; i < NONCES_SESSIONS_MAX; i++) {
        snprintf(id, sizeof(id), "s%d", i);
        CHECK_U64(session(id, false, 500, 1000), NONCES_NEW);
    }
    CHECK_U64(session("late", false, 500, 1000), NONCES_FULL);
    CHECK_U64(session("s0", false, 500, 1000), NONCES_SEEN);
    CHECK_U64(session("late", false, 500, 1001 + WINDOW_S), NONCES_NEW);
    nonces_fini(&nonces);
}

/* ---- Restarts ---- */

static void a_restart_forgets_nothing(void)
{
    new_dir();
    start_with_files(1000);
    CHECK_U64(take("a", "n", 1000), NONCES_NEW);
    CHECK_U64(take("a", "older", 1001), NONCES_NEW);
    CHECK_U64(session("s", false, 900, 1002), NONCES_NEW);
    nonces_fini(&nonces);
    start_with_files(1100);
    CHECK_U64(take("a", "n", 1100), NONCES_SEEN);
    CHECK_U64(session("s", false, 900, 1100), NONCES_SEEN);
    CHECK_U64(session("s", false, 901, 1100), NONCES_NEW);
    nonces_fini(&nonces);
    start_with_files(1001 + WINDOW_S); /* the first one's time is over */
    CHECK_U64(take("a", "n", 1001 + WINDOW_S), NONCES_NEW);
    CHECK_U64(take("a", "older", 1001 + WINDOW_S), NONCES_SEEN);
    nonces_fini(&nonces);
    remove_dir();
}

static void a_damaged_end_is_cut_off(void)
{
    static const char *const damage[] = {"\x01", "parley",
                                         "1NapXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX"};
    char path[256];

    for (size_t i = 0; i < sizeof(damage) / sizeof(damage[0]); i++) {
        FILE *file;

        new_dir();
        path_of(path, sizeof(path), 0);
        start_with_files(1000);
        CHECK_U64(take("a", "n", 1000), NONCES_NEW);
        nonces_fini(&nonces);
        file = fopen(path, "ab");
        fputs(damage[i], file);
        fclose(file);
        start_with_files(1001);
        CHECK_U64(take("a", "n", 1001), NONCES_SEEN);
        CHECK_U64(take("a", "after", 1001), NONCES_NEW);
        nonces_fini(&nonces);
        start_with_files(1002);
        CHECK_U64(take("a", "n", 1002), NONCES_SEEN);
        CHECK_U64(take("a", "after", 1002), NONCES_SEEN);
        nonces_fini(&nonces);
        remove_dir();
    }
}

/* A record cut off anywhere: those before it are still there. */
static void a_record_cut_off_anywhere(void)
{
    char path[256];
    off_t one, both;
    struct stat stat_of;

    new_dir();
    path_of(path, sizeof(path), 0);
    start_with_files(1000);
    CHECK_U64(take("a", "n", 1000), NONCES_NEW);
    CHECK(stat(path, &stat_of) == 0);
    one = stat_of.st_size;
    CHECK_U64(take("a", "m", 1000), NONCES_NEW);
    CHECK(stat(path, &stat_of) == 0);
    both = stat_of.st_size;
    CHECK_U64(stat_of.st_mode & 0777, 0600);
    nonces_fini(&nonces);
    for (off_t len = both - 1; len >= one; len--) {
        CHECK(truncate(path, len) == 0);
        start_with_files(1001);
        CHECK_U64(nonces_look(&nonces, "a", "n", 1001 * S), NONCES_SEEN);
        CHECK_U64(nonces_look(&nonces, "a", "m", 1001 * S), NONCES_NEW);
        nonces_fini(&nonces);
        CHECK(stat(path, &stat_of) == 0 && stat_of.st_size == one);
    }
    remove_dir();
}

/* The files do not grow beyond what two windows write, and neither turn forgets what counts.
 */
static void files_take_turns(void)
{
    char path[256], nonce[32];
    struct stat stat_of;

    new_dir();
    start_with_files(1000);
    for (unsigned s = 1000; s < 1000 + 10 * WINDOW_S; s += 30) {
        snprintf(nonce, sizeof(nonce), "n%u", s);
        CHECK_U64(take("a", nonce, s), NONCES_NEW);
    }
    nonces_fini(&nonces);
    for (unsigned i = 0; i < 2; i++) {
        path_of(path, sizeof(path), i);
        CHECK(stat(path, &stat_of) == 0 && stat_of.st_size < 13 * 64);
    }
    start_with_files(1000 + 10 * WINDOW_S);
    for (unsigned s = 1000 + 9 * WINDOW_S; s < 1000 + 10 * WINDOW_S; s += 30) {
        snprintf(nonce, sizeof(nonce), "n%u", s);
        CHECK_U64(take("a", nonce, 1000 + 10 * WINDOW_S), NONCES_SEEN);
    }
    nonces_fini(&nonces);
    remove_dir();
}

/* Restarted within the window again and again: none of them may begin the time anew. */
static void restarts_do_not_make_files_grow(void)
{
    struct stat file;
    char path[256];

    new_dir();
    for (uint64_t at = 0; at < 40 * WINDOW_S; at += WINDOW_S / 2) {
        char nonce[32];

        start_with_files(at + 1);
        snprintf(nonce, sizeof(nonce), "n%llu", (unsigned long long)at);
        CHECK_U64(nonces_add(&nonces, "a", nonce, (at + 1) * S, WALL_S(at + 1)), NONCES_NEW);
        nonces_fini(&nonces);
    }
    for (unsigned i = 0; i < 2; i++) {
        path_of(path, sizeof(path), i);
        CHECK(stat(path, &file) == 0 && file.st_size < 400);
    }
    remove_dir();
}

static void a_directory_that_cannot_be_used(void)
{
    char error[256] = "";
    static const uint8_t key[NONCES_KEY_BYTES] = {1};
    const struct nonces_limits limits = {.window_s = WINDOW_S, .nonces_max = NONCES_MAX};
    struct nonces second;

    start();
    CHECK_STATUS(
        nonces_file_open(&nonces, "build/none/such", "me", S, WALL_S(1), error, sizeof(error)),
        ESYSTEM);
    CHECK_CONTAINS(error, "build/none/such/nonces-me.0: No such file");
    nonces_fini(&nonces);
    new_dir();
    start_with_files(1000);
    CHECK_STATUS(nonces_init(&second, &alloc, &limits, key), OK);
    CHECK_STATUS(nonces_file_open(&second, dir, "me", S, WALL_S(1), error, sizeof(error)),
                 ESYSTEM);
    CHECK_CONTAINS(error, "another process uses it");
    nonces_fini(&second);
    nonces_fini(&nonces);
    remove_dir();
}

static void memory_that_runs_out_makes_senders_wait(void)
{
    static const uint8_t key[NONCES_KEY_BYTES] = {1};
    const struct nonces_limits limits = {.window_s = WINDOW_S, .nonces_max = NONCES_MAX};
    struct fail_alloc state;

    for (int64_t successes = 0; successes < 4; successes++) {
        struct alloc failing = fail_alloc_init(&state, successes);
        enum nonces_answer answer;

        CHECK_STATUS(nonces_init(&nonces, &failing, &limits, key), OK);
        answer = nonces_add(&nonces, "a", "n", S, WALL_S(1));
        CHECK(answer == NONCES_FULL || successes == 3 || answer == NONCES_NEW);
        if (successes == 0)
            CHECK_U64(answer, NONCES_FULL);
        atomic_store(&state.left, -1);
        CHECK_U64(take("a", "n", 2), answer == NONCES_NEW ? NONCES_SEEN : NONCES_NEW);
        nonces_fini(&nonces);
        CHECK_U64(atomic_load(&state.out), 0);
    }
}

static const struct check_test tests[] = {
    {"a nonce is taken once within the window", a_nonce_is_taken_once_within_the_window},
    {"a full memory makes its own sender wait", a_full_memory_makes_its_own_sender_wait},
    {"senders are bounded", senders_are_bounded},
    {"an unknown session goes on where it was", an_unknown_session_goes_on_where_it_was},
    {"sessions are bounded", sessions_are_bounded},
    {"a restart forgets nothing", a_restart_forgets_nothing},
    {"a damaged end is cut off", a_damaged_end_is_cut_off},
    {"a record cut off anywhere", a_record_cut_off_anywhere},
    {"files take turns", files_take_turns},
    {"restarts do not make files grow", restarts_do_not_make_files_grow},
    {"a directory that cannot be used", a_directory_that_cannot_be_used},
    {"memory that runs out makes senders wait", memory_that_runs_out_makes_senders_wait},
};

CHECK_MAIN("nonces", tests)
