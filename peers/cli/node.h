/* SPDX-License-Identifier: Apache-2.0
 *
 * What serve and listen share: a node that accepts peers at an address.
 */
#ifndef PARLEY_PEERS_CLI_NODE_H
#define PARLEY_PEERS_CLI_NODE_H

#include "peers/cli/cli.h"

#define NODE_HOST_MAX 64

enum node_flag {
    NODE_FLAG_LISTEN = CLI_FLAG_TARGET,
    NODE_FLAG_NO_WEBSOCKET,
};

#define NODE_LONG_OPTIONS                                                    \
    CLI_LONG_OPTIONS, {"listen", required_argument, NULL, NODE_FLAG_LISTEN}, \
    {                                                                        \
        "no-websocket", no_argument, NULL, NODE_FLAG_NO_WEBSOCKET            \
    }

#define NODE_HELP                                                                            \
    "      --listen ADDRESS  HOST:PORT to accept on; [HOST]:PORT for IPv6; port 0: any "     \
    "free\n"                                                                                 \
    "                        one. Default: node.listen_host and listen_port, or 127.0.0.1\n" \
    "                        and any free port\n"                                            \
    "      --no-websocket    HTTP only, in both directions\n"

struct node_flags {
    char host[NODE_HOST_MAX]; /* of --listen, without brackets */
};

/** Takes one flag, of these or of the common ones. */
enum cli_exit node_take(struct node_flags *flags, struct cli_setup *setup, int letter,
                        char *argument);

/** Loads the configuration; without an address in it the node listens on loopback. */
enum cli_exit node_load(struct cli_setup *setup);

/** Opens the runtime; says which address is at fault. */
enum cli_exit node_open(const struct cli_setup *setup, parley **ret_runtime);

/** Says where it listens, on this stream: text, or JSON as the flags want it. */
enum cli_exit node_announce(const struct cli_setup *setup, const parley *runtime, FILE *file);

#endif
