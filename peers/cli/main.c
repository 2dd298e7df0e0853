/* SPDX-License-Identifier: Apache-2.0
 *
 * The `parley` command: finds the sub-command and hands over. Commands use the library
 * through parley.h only, as any host does.
 */
#include <stdio.h>
#include <string.h>

#include "parley.h"
#include "peers/cli/cli.h"

static const char help[] =
    "parley: talk to many peers at once, over WebSocket and HTTP\n"
    "\n"
    "  parley serve   run a node that accepts messages\n"
    "  parley send    send messages to a peer and tell what became of them\n"
    "  parley config  check a configuration, or show what is in effect\n"
    "\n"
    "  parley COMMAND --help    what a command takes\n"
    "  parley --version         the version\n"
    "\n"
    "Exit codes: 0 ok, 1 failed, 2 usage, 3 peer unreachable, 4 refused by the peer,\n"
    "5 timed out. The configuration is described in conf/peer_service.yaml; variables such\n"
    "as PARLEY_TRANSPORT_HTTP_ATTEMPTS override it, and flags override those.\n";

struct command {
    const char *name;
    char full_name[16]; /* what getopt_long() calls us in its messages */
    enum cli_exit (*run)(int argc, char **argv);
};

int main(int argc, char **argv)
{
    struct command commands[] = {
        {"serve", "parley serve", cli_serve},
        {"send", "parley send", cli_send},
        {"config", "parley config", cli_config},
    };
    const struct cli_setup setup = {.command = "parley"};
    const char *name = argc > 1 ? argv[1] : NULL;

    if (name == NULL) {
        fputs(help, stderr);
        return CLI_USAGE;
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        fputs(help, stdout);
        return (int)cli_finish(&setup, CLI_OK);
    }
    if (strcmp(name, "--version") == 0) {
        printf("parley %s\n", parley_version());
        return (int)cli_finish(&setup, CLI_OK);
    }
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(commands[i].name, name) == 0) {
            argv[1] = commands[i].full_name;
            return (int)commands[i].run(argc - 1, argv + 1);
        }
    }
    return (int)cli_fail(&setup, CLI_USAGE, "no command \"%.40s\"; parley --help lists them",
                         name);
}
