/* SPDX-License-Identifier: Apache-2.0
 *
 * What a command waits for, in one place: signals, a bell that the runtime's workers ring,
 * an input that can be read, a time. No signal handler runs: SIGINT, SIGTERM and,
 * where asked for, SIGHUP are blocked in every thread and read from a descriptor, so the
 * library never meets them.
 */
#ifndef PARLEY_PEERS_CLI_WATCH_H
#define PARLEY_PEERS_CLI_WATCH_H

#include <stdbool.h>
#include <stdint.h>

struct watch {
    int signals; /* signalfd; -1: not open */
    int bell;    /* eventfd */
    int output;  /* whose reader's end is an event, too; -1: none */
};

#define WATCH_CLOSED                            \
    {                                           \
        .signals = -1, .bell = -1, .output = -1 \
    }

enum watch_event {
    WATCH_SIGNAL = 1,
    WATCH_BELL = 2,
    WATCH_INPUT = 4,   /* data, end of file or an error: read() will say */
    WATCH_OUTPUT = 8,  /* nobody reads `output` any more */
    WATCH_HANGUP = 16, /* SIGHUP, where watch_take_hangup() was called */
};

/** Blocks SIGINT and SIGTERM for this thread and those it starts: call it before there are
 *  any. @return false: no descriptors left */
bool watch_open(struct watch *watch);

/** SIGHUP becomes an event, too, and ends nobody any more: call it as watch_open().
 *  @return false: it cannot be */
bool watch_take_hangup(const struct watch *watch);

void watch_close(struct watch *watch);

/** Ends the waiting, now or when it starts. Any thread. */
void watch_ring(const struct watch *watch);

/**
 * Waits for the first of these and takes the bell's and the signals' events.
 *
 * @param input      descriptor to read from; -1: none
 * @param timeout_ms -1: for ever
 * @return a set of enum watch_event; 0: the time is over, or ask again
 */
unsigned watch_wait(const struct watch *watch, int input, int timeout_ms);

/** Milliseconds of the monotonic clock. */
int64_t watch_now_ms(void);

#endif
