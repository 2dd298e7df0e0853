/* SPDX-License-Identifier: Apache-2.0
 *
 * The `parley` command: finds the sub-command and hands over. Commands use the library
 * through parley.h only, as any host does.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "parley.h"
#include "peers/cli/cli.h"

static const char help[] =
    "parley: talk to many peers at once, over WebSocket and HTTP\n"
    "\n"
    "  parley serve       run a node that accepts messages\n"
    "  parley listen      run a node that prints the messages it gets\n"
    "  parley send        send messages to a peer and tell what became of them\n"
    "  parley broadcast   send one message to every peer\n"
    "  parley ping        ask a peer whether it is there, and how long it takes\n"
    "  parley keygen      make an identity for a node\n"
    "  parley config      check a configuration, start one, or show what is in effect\n"
    "\n"
    "  parley help COMMAND, parley COMMAND --help    what a command takes\n"
    "  parley --version                              the version\n"
    "\n"
    "Exit codes: 0 ok, 1 failed, 2 usage, 3 peer unreachable, 4 refused by the peer,\n"
    "5 timed out. The configuration is described in conf/peer_service.yaml; variables such\n"
    "as PARLEY_TRANSPORT_HTTP_ATTEMPTS override it, and flags override those.\n";

struct command {
    const char *name;
    char full_name[20]; /* what getopt_long() calls us in its messages */
    enum cli_exit (*run)(int argc, char **argv);
};

#define COMMANDS 7

static enum cli_exit unknown(const struct cli_setup *setup, const struct command *commands,
                             const char *name)
{
    const char *names[COMMANDS + 2] = {"help"};
    const char *nearest;

    for (size_t i = 0; i < COMMANDS; i++)
        names[i + 1] = commands[i].name;
    nearest = cli_nearest(name, names);
    if (nearest != NULL)
        return cli_fail(setup, CLI_USAGE,
                        "no command \"%.40s\"; did you mean %s? parley --help lists them",
                        name, nearest);
    return cli_fail(setup, CLI_USAGE, "no command \"%.40s\"; parley --help lists them", name);
}

static enum cli_exit print_help(const struct cli_setup *setup)
{
    fputs(help, stdout);
    return cli_finish(setup, CLI_OK);
}

static enum cli_exit run(struct command *commands, int argc, char **argv)
{
    static char help_flag[] = "--help";
    const struct cli_setup setup = {.command = "parley"};
    const char *name = argv[1];
    bool asks = strcmp(name, "help") == 0;
    char *asked[] = {NULL, help_flag, NULL};

    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || (asks && argc == 2))
        return print_help(&setup);
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
        printf("parley %s\n", parley_version());
        return cli_finish(&setup, CLI_OK);
    }
    if (asks)
        name = argv[2];
    for (size_t i = 0; i < COMMANDS; i++) {
        if (strcmp(commands[i].name, name) != 0)
            continue;
        asked[0] = argv[1] = commands[i].full_name;
        return asks ? commands[i].run(2, asked) : commands[i].run(argc - 1, argv + 1);
    }
    return unknown(&setup, commands, name);
}

/* The number of a standard stream that is closed goes to the next file that is opened, which
 * may be a socket: it would be read and written in the stream's place. So its number is
 * taken, by what can neither be read as input nor written as output. */
static void occupy_closed_streams(void)
{
    for (int stream = STDIN_FILENO; stream <= STDERR_FILENO; stream++) {
        if (fcntl(stream, F_GETFD) < 0 && errno == EBADF)
            (void)!open("/dev/null", stream == STDIN_FILENO ? O_WRONLY : O_RDONLY);
    }
}

int main(int argc, char **argv)
{
    struct command commands[COMMANDS] = {
        {"serve", "parley serve", cli_serve},
        {"listen", "parley listen", cli_listen},
        {"send", "parley send", cli_send},
        {"broadcast", "parley broadcast", cli_broadcast},
        {"ping", "parley ping", cli_ping},
        {"keygen", "parley keygen", cli_keygen},
        {"config", "parley config", cli_config},
    };

    occupy_closed_streams();
    if (argc < 2) {
        fputs(help, stderr);
        return CLI_USAGE;
    }
    return (int)run(commands, argc, argv);
}
