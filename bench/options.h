/* SPDX-License-Identifier: Apache-2.0
 *
 * Command line options as a table: parsing, range checks and the help text from one list.
 */
#ifndef PARLEY_BENCH_OPTIONS_H
#define PARLEY_BENCH_OPTIONS_H

#include <stddef.h>
#include <stdint.h>

enum exit_code { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

enum option_kind {
    OPTION_FLAG,    /* bool, no value */
    OPTION_NUMBER,  /* uint64_t, min … max */
    OPTION_SECONDS, /* double, not negative */
    OPTION_TEXT,    /* const char * into argv */
    OPTION_WORD,    /* the same, only after '=' and "" without it */
};

struct option_spec {
    const char *name;     /* without the dashes */
    const char *argument; /* how the help calls its value; NULL for a flag */
    enum option_kind kind;
    void *value; /* holds the default */
    uint64_t min, max;
    const char *help;
};

/**
 * Parses `argv[1…]`; "--help" prints `usage` and the table on stdout.
 *
 * @return -1: go on; otherwise the process's exit code (what was wrong is on stderr)
 */
int options_parse(const char *usage, const struct option_spec *specs, size_t specs_len,
                  int argc, char **argv);

/** Says on stderr what is wrong. @return EXIT_USAGE */
__attribute__((format(printf, 1, 2))) int options_wrong(const char *format, ...);

#endif
