/* SPDX-License-Identifier: Apache-2.0
 *
 * parley-bench: what the library does per second, and what it costs. This file finds the
 * subcommand; each has a file of its own.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "bench/commands.h"
#include "bench/options.h"

struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help; /* NULL: hidden */
};

static const struct command commands[] = {
    {"run", command_run, "the main job: a fan-out over WebSocket, then with HTTP fallback"},
    {"fanout", command_fanout, "messages to many peers; with --with-rivals beside others"},
    {"mailbox", command_mailbox, "messages through actors' mailboxes, no network"},
    {"stall", command_stall, "what one stalled peer among many costs the others"},
    {"receive", command_receive, NULL},
};

static void print_commands(FILE *out)
{
    fputs("usage: parley-bench COMMAND [OPTIONS]\n\n", out);
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        if (commands[i].help)
            fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].help);
    fputs("\nparley-bench COMMAND --help lists a command's options. Exit code: 0 all as it\n"
          "should be, 1 a check failed (each is named on stderr), 2 usage.\n",
          out);
}

int main(int argc, char **argv)
{
    /* A receiver that was killed must not take us along. */
    signal(SIGPIPE, SIG_IGN);
    if (argc < 2) {
        print_commands(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
        print_commands(stdout);
        return EXIT_OK;
    }
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    return options_wrong("unknown command \"%s\"", argv[1]);
}
