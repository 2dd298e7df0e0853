/* SPDX-License-Identifier: Apache-2.0
 *
 * What the commands share: exit codes, the configuration as flags change it, and output.
 */
#ifndef PARLEY_PEERS_CLI_CLI_H
#define PARLEY_PEERS_CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "parley.h"

enum cli_exit {
    CLI_OK = 0,
    CLI_FAILED = 1,
    CLI_USAGE = 2,
    CLI_UNREACHABLE = 3,
    CLI_REFUSED = 4,
    CLI_TIMED_OUT = 5,
};

#define CLI_OVERRIDES_MAX 64
#define CLI_ERROR_MAX     512

/* Flags that every command takes; their letters in getopt_long()'s answer. */
#define CLI_SHORT_OPTIONS "c:hv"
#define CLI_LONG_OPTIONS                                                             \
    {"config", required_argument, NULL, 'c'}, {"help", no_argument, NULL, 'h'},      \
        {"json", no_argument, NULL, 'j'}, {"node-id", required_argument, NULL, 'n'}, \
        {"set", required_argument, NULL, 's'},                                       \
    {                                                                                \
        "verbose", no_argument, NULL, 'v'                                            \
    }

/* One command's flags, gathered first and applied once the file is read. */
struct cli_setup {
    const char *command; /* "parley serve" */
    const char *config_path;
    bool json;
    bool help;
    int verbose;
    struct {
        const char *key;
        const char *value;
    } overrides[CLI_OVERRIDES_MAX];
    size_t overrides_len;
    parley_config *config;
    parley_options *options;   /* the configuration's */
    char error[CLI_ERROR_MAX]; /* why cli_load() failed */
};

/** Takes one of the common flags. @return CLI_OK, or CLI_USAGE having said why */
enum cli_exit cli_take(struct cli_setup *setup, int letter, char *argument);

/** Adds what a flag sets. @return CLI_OK, or CLI_USAGE when there are too many */
enum cli_exit cli_override(struct cli_setup *setup, const char *key, const char *value);

/** Reads the file and the environment, then applies the flags; says what is wrong. */
enum cli_exit cli_load(struct cli_setup *setup);

/** Frees what cli_load() made. */
void cli_unload(struct cli_setup *setup);

/** Says on stderr what is wrong: "parley serve: …". @return `code` */
__attribute__((format(printf, 3, 4))) enum cli_exit cli_fail(const struct cli_setup *setup,
                                                             enum cli_exit code,
                                                             const char *format, ...);

/** Writes a JSON string, quotes included; NULL is written as null. */
void cli_json_string(FILE *file, const char *text);

/** Prints one line about the message with this number, from 1. */
void cli_print_result(size_t number, const parley_result *result, bool json);

/** The exit code that a message with this outcome asks for. */
enum cli_exit cli_outcome_exit(parley_outcome outcome);

/** Flushes stdout. @return `code`, or CLI_FAILED when something could not be written */
enum cli_exit cli_finish(const struct cli_setup *setup, enum cli_exit code);

/** The commands. argv[0] is the command's whole name. @return the exit code */
enum cli_exit cli_serve(int argc, char **argv);
enum cli_exit cli_send(int argc, char **argv);
enum cli_exit cli_config(int argc, char **argv);

#endif
