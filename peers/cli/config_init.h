/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PARLEY_PEERS_CLI_CONFIG_INIT_H
#define PARLEY_PEERS_CLI_CONFIG_INIT_H

#include "peers/cli/cli.h"

/** Writes a configuration to start from to `path`, NULL: to stdout. */
enum cli_exit config_init(struct cli_setup *setup, const char *path, bool force);

#endif
