/* SPDX-License-Identifier: Apache-2.0 */
#include "test/check.h"

#include <CUnit/Basic.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WAIT_SECONDS 20

static const char *program;

static bool record(bool held, const char *message, const char *file, unsigned line)
{
    const char *test = CU_get_current_test() ? CU_get_current_test()->pName : "";

    if (!held) {
        fprintf(stderr, "\n%s:%u: %s\n    run it alone: %s '%s'\n", file, line, message,
                program, test);
    }
    CU_assertImplementation(held, line, message, file, test, CU_FALSE);
    return held;
}

bool check_true_(bool seen, const char *text, const char *file, unsigned line)
{
    char message[512];

    snprintf(message, sizeof(message), "expected to hold: %s", text);
    return record(seen, message, file, line);
}

bool check_u64_(uint64_t seen, uint64_t expected, const char *text, const char *file,
                unsigned line)
{
    char message[512];

    snprintf(message, sizeof(message), "%s: expected %" PRIu64 ", seen %" PRIu64, text,
             expected, seen);
    return record(seen == expected, message, file, line);
}

bool check_text_(const char *seen, const char *expected, const char *text, const char *file,
                 unsigned line)
{
    char message[2048];

    snprintf(message, sizeof(message), "%s:\n    expected %s\n    seen     %s", text, expected,
             seen ? seen : "(NULL)");
    return record(seen != NULL && strcmp(seen, expected) == 0, message, file, line);
}

bool check_contains_(const char *seen, const char *expected, const char *text,
                     const char *file, unsigned line)
{
    char message[2048];

    snprintf(message, sizeof(message), "%s:\n    expected to contain %s\n    seen %s", text,
             expected, seen ? seen : "(NULL)");
    return record(seen != NULL && strstr(seen, expected) != NULL, message, file, line);
}

bool check_bytes_(const void *seen, size_t seen_len, const void *expected, size_t expected_len,
                  const char *text, const char *file, unsigned line)
{
    char message[2048];
    bool held = seen_len == expected_len && memcmp(seen, expected, seen_len) == 0;

    snprintf(message, sizeof(message),
             "%s:\n    expected (%zu bytes) %.*s\n    seen     (%zu bytes) %.*s", text,
             expected_len, expected_len > 800 ? 800 : (int)expected_len,
             (const char *)expected, seen_len, seen_len > 800 ? 800 : (int)seen_len,
             (const char *)seen);
    return record(held, message, file, line);
}

uint64_t check_random_next(struct check_random *random)
{
    uint64_t z = (random->state += UINT64_C(0x9e3779b97f4a7c15)); /* splitmix64 */

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

uint64_t check_random_below(struct check_random *random, uint64_t bound)
{
    return check_random_next(random) % bound;
}

uint64_t check_seed(uint64_t fallback)
{
    const char *text = getenv("SEED");

    return text != NULL ? strtoull(text, NULL, 0) : fallback;
}

bool check_until(bool (*condition)(void *user), void *user)
{
    const struct timespec pause = {.tv_nsec = 200000};
    struct timespec start, now;

    clock_gettime(CLOCK_MONOTONIC, &start);
    while (!condition(user)) {
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (now.tv_sec - start.tv_sec >= WAIT_SECONDS)
            return false;
        nanosleep(&pause, NULL); /* between two looks; nothing is assumed about its length */
    }
    return true;
}

struct wait {
    const _Atomic(uint64_t) *flag;
    uint64_t value;
};

static bool reached(void *user)
{
    const struct wait *wait = user;

    return atomic_load(wait->flag) >= wait->value;
}

bool check_wait(const _Atomic(uint64_t) *flag, uint64_t value)
{
    struct wait wait = {flag, value};

    return check_until(reached, &wait);
}

static bool wanted(const char *name, int argc, char **argv)
{
    if (argc < 2)
        return true;
    for (int i = 1; i < argc; i++) {
        if (strstr(name, argv[i]) != NULL)
            return true;
    }
    return false;
}

int check_main(const char *suite, const struct check_test *tests, size_t tests_len, int argc,
               char **argv)
{
    unsigned failures;
    CU_pSuite registered;

    program = argv[0];
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 2;
    registered = CU_add_suite(suite, NULL, NULL);
    if (registered == NULL)
        return 2;
    for (size_t i = 0; i < tests_len; i++) {
        if (wanted(tests[i].name, argc, argv) &&
            CU_add_test(registered, tests[i].name, tests[i].run) == NULL)
            return 2;
    }
    CU_basic_set_mode(CU_BRM_NORMAL);
    CU_basic_run_tests();
    failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures == 0 ? 0 : 1;
}
