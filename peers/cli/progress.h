/* SPDX-License-Identifier: Apache-2.0
 *
 * A progress bar on a terminal's stderr: how much of a transfer has been acknowledged, the
 * rate, the time left. It shares the terminal with what the command prints: the bar's line is
 * taken away before, and drawn again with the next news.
 */
#ifndef PARLEY_PEERS_CLI_PROGRESS_H
#define PARLEY_PEERS_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress_bar {
    bool terminal; /* stderr is one */
    bool shown;    /* the bar stands there now */
    uint64_t message;
    uint64_t from;    /* of this message, acknowledged at start_ms */
    int64_t start_ms; /* the rate counts from here */
};

void progress_init(struct progress_bar *bar);

/** Draws it. `message` tells one transfer from the next. */
void progress_show(struct progress_bar *bar, uint64_t message, uint64_t acknowledged,
                   uint64_t bytes);

/** Takes it away, if it is there. */
void progress_clear(struct progress_bar *bar);

#endif
