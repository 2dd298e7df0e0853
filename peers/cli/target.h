/* SPDX-License-Identifier: Apache-2.0
 *
 * Whom send, broadcast and ping address, and how: peers of the configuration by their ids,
 * or addresses given by --url; flags override what the configuration says of a peer.
 */
#ifndef PARLEY_PEERS_CLI_TARGET_H
#define PARLEY_PEERS_CLI_TARGET_H

#include "peers/cli/cli.h"

#define TARGET_URLS_MAX  64
#define TARGET_ID_MAX    128
#define TARGET_TOKEN_MAX 1024

enum target_way { TARGET_WAY_AUTO, TARGET_WAY_WEBSOCKET, TARGET_WAY_HTTP, TARGET_WAY_BOTH };

enum target_flag {
    TARGET_FLAG_URL = CLI_FLAG_TARGET,
    TARGET_FLAG_PEER_ID,
    TARGET_FLAG_TRANSPORT,
    TARGET_FLAG_DIALECT,
    TARGET_FLAG_VERSION,
    TARGET_FLAG_NO_PACE,
    TARGET_FLAG_TOKEN_FILE,
    TARGET_FLAG_TOKEN_IN_QUERY,
};

#define TARGET_LONG_OPTIONS                                                 \
    CLI_LONG_OPTIONS, {"url", required_argument, NULL, TARGET_FLAG_URL},    \
        {"peer-id", required_argument, NULL, TARGET_FLAG_PEER_ID},          \
        {"transport", required_argument, NULL, TARGET_FLAG_TRANSPORT},      \
        {"dialect", required_argument, NULL, TARGET_FLAG_DIALECT},          \
        {"envelope-version", required_argument, NULL, TARGET_FLAG_VERSION}, \
        {"no-pace", no_argument, NULL, TARGET_FLAG_NO_PACE},                \
        {"token-file", required_argument, NULL, TARGET_FLAG_TOKEN_FILE},    \
    {                                                                       \
        "token-in-query", no_argument, NULL, TARGET_FLAG_TOKEN_IN_QUERY     \
    }

#define TARGET_PEER_HELP                                                                      \
    "      --dialect DIALECT auto (default), parley, manager (the older WebSocket\n"          \
    "                        server) or service (the older HTTP service)\n"                   \
    "      --envelope-version V  what an older peer is told: auto (default), 1.0, 0.3\n"      \
    "      --no-pace         do not keep to the rate that an older peer takes\n"              \
    "      --token-file FILE token to show to the peer, one line. Without it, PARLEY_TOKEN\n" \
    "                        of the environment is shown to peers given by --url. There is\n" \
    "                        no flag for the token itself: every user could see it in ps\n"   \
    "      --token-in-query  show it in the WebSocket's URL, too, as older servers want it\n"

struct target_flags {
    const char *urls[TARGET_URLS_MAX];
    size_t urls_len;
    const char *peer_id; /* --peer-id, or of the configuration */
    enum target_way way;
    bool both_allowed; /* --transport both is for ping */
    const char *dialect, *version, *token_file;
    bool no_pace, token_in_query;
};

struct targets {
    parley_peer_entry *entries;
    size_t len;
    char (*ids)[TARGET_ID_MAX + 1]; /* of those given by --url */
    char token[TARGET_TOKEN_MAX + 2];
};

/** Takes one flag, of these or of the common ones. */
enum cli_exit target_take(struct target_flags *flags, struct cli_setup *setup, int letter,
                          char *argument);

/** Finds the one peer that the flags name. The configuration is loaded. */
enum cli_exit targets_find_one(struct targets *targets, const struct target_flags *flags,
                               const struct cli_setup *setup);

/** Finds every peer: those of --url, or else of the configuration. */
enum cli_exit targets_find_all(struct targets *targets, const struct target_flags *flags,
                               const struct cli_setup *setup);

void targets_free(struct targets *targets);

/** Opens a runtime that has only these peers and does not listen; says what failed. */
enum cli_exit targets_open(const struct targets *targets, const struct cli_setup *setup,
                           parley **ret_runtime);

/** Says so when messages cannot have this type. @return CLI_OK, or CLI_USAGE */
enum cli_exit target_check_type(const struct cli_setup *setup, parley *runtime,
                                const char *type);

#endif
