/* SPDX-License-Identifier: Apache-2.0
 *
 * CUnit with failures that say what was expected and what was seen.
 *
 * A test program lists its tests and calls check_main(); `PROGRAM NAME…` runs only those
 * whose names contain one of the words.
 */
#ifndef PARLEY_TEST_CHECK_H
#define PARLEY_TEST_CHECK_H

#include <CUnit/CUnit.h>
#include <stdbool.h>
#include <stdint.h>

struct check_test {
    const char *name;
    void (*run)(void);
};

/** Runs the tests, prints CUnit's summary. @return main's result */
int check_main(const char *suite, const struct check_test *tests, size_t tests_len, int argc,
               char **argv);

#define CHECK_MAIN(suite, tests)                                                             \
    int main(int argc, char **argv)                                                          \
    {                                                                                        \
        return check_main((suite), (tests), sizeof(tests) / sizeof((tests)[0]), argc, argv); \
    }

bool check_true_(bool seen, const char *text, const char *file, unsigned line);
bool check_u64_(uint64_t seen, uint64_t expected, const char *text, const char *file,
                unsigned line);
bool check_text_(const char *seen, const char *expected, const char *text, const char *file,
                 unsigned line);
bool check_contains_(const char *seen, const char *expected, const char *text,
                     const char *file, unsigned line);
bool check_bytes_(const void *seen, size_t seen_len, const void *expected, size_t expected_len,
                  const char *text, const char *file, unsigned line);

/* Each returns whether it held, so that a test can stop early. */
#define CHECK(condition) check_true_((condition), #condition, __FILE__, __LINE__)
#define CHECK_U64(seen, expected) \
    check_u64_((uint64_t)(seen), (uint64_t)(expected), #seen, __FILE__, __LINE__)
#define CHECK_TEXT(seen, expected) check_text_((seen), (expected), #seen, __FILE__, __LINE__)
#define CHECK_CONTAINS(seen, expected) \
    check_contains_((seen), (expected), #seen, __FILE__, __LINE__)
#define CHECK_BYTES(seen, seen_len, expected, expected_len) \
    check_bytes_((seen), (seen_len), (expected), (expected_len), #seen, __FILE__, __LINE__)
#define CHECK_STATUS(seen, expected) CHECK_TEXT(parley_status_name(seen), #expected)

/** A small seeded generator, equal on every machine. */
struct check_random {
    uint64_t state;
};
uint64_t check_random_next(struct check_random *random);
/** Uniform in [0, bound). */
uint64_t check_random_below(struct check_random *random, uint64_t bound);

/** The seed to use: $SEED, or `fallback`. Print it with every failure. */
uint64_t check_seed(uint64_t fallback);

/** Waits until `*flag` is not less than `value`, for 20 s at most. @return whether it came */
bool check_wait(const _Atomic(uint64_t) *flag, uint64_t value);

/** Waits until `condition` is true, asking often, for 20 s at most. @return whether it came */
bool check_until(bool (*condition)(void *user), void *user);

#endif
