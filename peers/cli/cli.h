/* SPDX-License-Identifier: Apache-2.0
 *
 * What the commands share: exit codes, the configuration as flags change it, and output.
 */
#ifndef PARLEY_PEERS_CLI_CLI_H
#define PARLEY_PEERS_CLI_CLI_H

#include <getopt.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

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

/* What getopt_long() answers for flags without a letter. */
enum cli_flag {
    CLI_FLAG_JSON = 256,
    CLI_FLAG_NODE_ID,
    CLI_FLAG_SET,
    CLI_FLAG_TARGET = 300,  /* target.h goes on here, */
    CLI_FLAG_COMMAND = 400, /* and a command's own flags here */
};

/* Flags that every command takes. */
#define CLI_SHORT_OPTIONS "c:hv"
#define CLI_LONG_OPTIONS                                                        \
    {"config", required_argument, NULL, 'c'}, {"help", no_argument, NULL, 'h'}, \
        {"json", no_argument, NULL, CLI_FLAG_JSON},                             \
        {"node-id", required_argument, NULL, CLI_FLAG_NODE_ID},                 \
        {"set", required_argument, NULL, CLI_FLAG_SET},                         \
    {                                                                           \
        "verbose", no_argument, NULL, 'v'                                       \
    }

#define CLI_COMMON_HELP                                                                     \
    "  -c, --config FILE     configuration, see conf/peer_service.yaml\n"                   \
    "      --node-id ID      name that peers know this node by\n"                           \
    "      --set KEY=VALUE   any other setting, as transport.http.attempts=5; repeatable\n" \
    "  -v, --verbose         log more to stderr; twice: everything\n"                       \
    "  -h, --help            this text\n"

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

/* ---- Flags (setup.c) ---- */

/** The next flag's letter, as getopt_long() says it; -1 when there are no more. A long flag
 *  that is near another one's name gets a hint. */
int cli_next_flag(const struct cli_setup *setup, int argc, char **argv, const char *letters,
                  const struct option *options);

/** Takes one of the common flags. @return CLI_OK, or CLI_USAGE having said why */
enum cli_exit cli_take(struct cli_setup *setup, int letter, char *argument);

/** Adds what a flag sets. @return CLI_OK, or CLI_USAGE when there are too many */
enum cli_exit cli_override(struct cli_setup *setup, const char *key, const char *value);

/** Reads a flag's whole number. @return CLI_OK, or CLI_USAGE having said what was expected */
enum cli_exit cli_number(const struct cli_setup *setup, const char *flag, const char *text,
                         uint32_t minimum, const char *what, uint32_t *ret_number);

/** Reads a flag's seconds, such as 0.2, within this range, as milliseconds. */
enum cli_exit cli_seconds(const struct cli_setup *setup, const char *flag, const char *text,
                          double minimum, double maximum, uint32_t *ret_ms);

/** Reads the file and the environment, then applies the flags; says what is wrong. */
enum cli_exit cli_load(struct cli_setup *setup);

/** This process is going to hold secrets: no core dump of it is written, and no other user's
 *  program reads its memory. cli_load() does it where the configuration has some. */
void cli_guard_memory(void);

/** Frees what cli_load() made. */
void cli_unload(struct cli_setup *setup);

/* ---- Output ---- */

/** Says on stderr what is wrong: "parley serve: …". @return `code` */
__attribute__((format(printf, 3, 4))) enum cli_exit cli_fail(const struct cli_setup *setup,
                                                             enum cli_exit code,
                                                             const char *format, ...);

/** Writes a JSON string, quotes included; NULL is written as null. */
void cli_json_string(FILE *file, const char *text);

/** Writes text from outside with blanks for what could steer a terminal; `file` NULL: only
 *  measures it. @return columns used, at most `columns` */
size_t cli_plain_text(FILE *file, const char *text, size_t len, size_t columns);

/** Returns "websocket", "http" or "none". */
const char *cli_transport_name(parley_transport transport);

/** Prints one line about a message: what `label` calls it, in JSON `members` ("\"a\":1").
 *  `more` stands at its end: ", text", in JSON ",\"b\":2"; "": nothing. */
void cli_print_result(const char *label, const char *members, const parley_result *result,
                      const char *more, bool json);

/** Prints one inbound message on one line; cut to the terminal's width unless `full`; with
 *  `digest` the payload's length and SHA-256 in its place. */
void cli_print_incoming(const parley_incoming *message, const struct timespec *received,
                        bool json, bool full, bool digest);

/** The exit code that a message with this outcome asks for. */
enum cli_exit cli_outcome_exit(parley_outcome outcome);

/** Says why a runtime could not be opened. @return the exit code */
enum cli_exit cli_open_failed(const struct cli_setup *setup, parley_status status,
                              const char *error);

/** Flushes stdout. @return `code`, or CLI_FAILED when something could not be written */
enum cli_exit cli_finish(const struct cli_setup *setup, enum cli_exit code);

/** The name nearest to a misspelt one, or NULL when none is near. NULL ends `names`. */
const char *cli_nearest(const char *word, const char *const *names);

/* ---- The commands ---- */

/** argv[0] is the command's whole name. @return the exit code */
enum cli_exit cli_serve(int argc, char **argv);
enum cli_exit cli_listen(int argc, char **argv);
enum cli_exit cli_send(int argc, char **argv);
enum cli_exit cli_broadcast(int argc, char **argv);
enum cli_exit cli_ping(int argc, char **argv);
enum cli_exit cli_keygen(int argc, char **argv);
enum cli_exit cli_config(int argc, char **argv);

#endif
