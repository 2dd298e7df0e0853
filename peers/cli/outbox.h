/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages under way: each holds one ticket of a fixed number from its post until its
 * result is printed. Results arrive on the runtime's workers, which fill in the ticket and
 * ring the bell; the main thread collects them and does all the printing.
 */
#ifndef PARLEY_PEERS_CLI_OUTBOX_H
#define PARLEY_PEERS_CLI_OUTBOX_H

#include <pthread.h>

#include "peers/cli/cli.h"
#include "peers/cli/digest.h"
#include "peers/cli/watch.h"

struct ticket {
    struct outbox *outbox;
    struct ticket *next;
    size_t number;            /* the message's, or the peer's, from 1 */
    size_t line;              /* of the input; 0: it has none */
    size_t bytes;             /* of the payload */
    char sha256[DIGEST_TEXT]; /* of the payload; "": nobody asked */
    parley_result result;
    char detail[PARLEY_DETAIL_MAX];
};

/* How many ended in each way. */
struct outbox_counts {
    size_t of[PARLEY_CANCELLED + 1]; /* by outcome */
    size_t all;
};

/* The last that was told of a message that travels in chunks. */
struct outbox_progress {
    size_t number; /* the message's; 0: nothing new */
    uint64_t acknowledged, bytes;
};

struct outbox {
    struct watch watch;
    struct ticket *tickets;
    struct ticket *unused;
    size_t flying; /* tickets in use */
    bool full;     /* the mailbox was: wait for room before trying again */
    bool digest;   /* tickets tell their payload's SHA-256 */
    struct outbox_counts counts;

    pthread_mutex_t lock; /* guards what follows */
    struct ticket *done;
    struct ticket **done_end;
    struct outbox_progress progress;
    bool room; /* there may be some: a result came, or the mailbox said so */
};

/** Blocks signals, see watch_open(). @return CLI_OK, or CLI_FAILED having said why */
enum cli_exit outbox_init(struct outbox *outbox, const struct cli_setup *setup,
                          size_t tickets);

/** Only when no message is under way: after parley_close(). */
void outbox_fini(struct outbox *outbox);

/** Prepares a runtime whose mailboxes may get full. */
parley_status outbox_attach(struct outbox *outbox, parley *runtime);

/** Tells whether outbox_post() may be called now. */
bool outbox_ready(const struct outbox *outbox);

/**
 * Posts one message.
 *
 * @return PARLEY_OK; PARLEY_EAGAIN (post it again once outbox_ready()); any other status of
 *         parley_send()
 */
parley_status outbox_post(struct outbox *outbox, parley *runtime, parley_peer peer,
                          const parley_message *message, size_t number, size_t line);

/** Takes what was last told. @return false: nothing since */
bool outbox_progress(struct outbox *outbox, struct outbox_progress *ret_progress);

/** Waits as watch_wait() does. */
unsigned outbox_wait(struct outbox *outbox, int input);

/** Takes the next message that has a result, or NULL; give it back to outbox_done(). */
struct ticket *outbox_collect(struct outbox *outbox);

/** Counts the result and frees the ticket. */
void outbox_done(struct outbox *outbox, struct ticket *ticket);

#endif
