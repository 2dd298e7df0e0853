/* SPDX-License-Identifier: Apache-2.0
 *
 * How much one sender may send us: a token bucket (pace.h) for each kind of message, kept for
 * each sender by name. The table is bounded; where it is full, the sender heard of longest
 * ago is forgotten, and with it that it had used something up. Peers of this node are not
 * limited, and on loopback nobody is unless the configuration says so, so most nodes pay
 * nothing for it.
 *
 * One table a runtime, under a mutex: it is asked about strangers only, each of whom gets a
 * few messages a second through at most. The caller brings the clock.
 */
#ifndef PARLEY_PEERS_LIMIT_H
#define PARLEY_PEERS_LIMIT_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "parley.h"
#include "peers/pace.h"
#include "runtime/alloc.h"

enum limit_kind {
    LIMIT_HANDSHAKE,
    LIMIT_HEARTBEAT,
    LIMIT_TASK, /* whatever is not of another kind */
    LIMIT_DISCOVERY,
    LIMIT_CHUNK,
};
#define LIMIT_KINDS (LIMIT_CHUNK + 1)

struct limited_sender;

struct limit_table {
    const struct alloc *alloc;
    bool on;
    struct pace fresh[LIMIT_KINDS]; /* full buckets */
    uint32_t senders_max;
    pthread_mutex_t mutex; /* guards the rest */
    uint32_t senders;
    struct limited_sender *by_name;
    struct limited_sender *first, *last; /* heard of last in front */
};

/** By an envelope's msg_type, or what an older client calls a frame. */
enum limit_kind limit_kind_of(const char *msg_type);

/** @param loopback the node listens there only, or not at all */
void limit_init(struct limit_table *table, const struct alloc *alloc,
                const parley_options *options, bool loopback);
void limit_fini(struct limit_table *table);

/**
 * Takes one message out of the sender's bucket. Any thread.
 *
 * @param ret_at_ns on false: the earliest time at which it can be taken
 * @return false: not now (or out of memory: a second later)
 */
bool limit_take(struct limit_table *table, const char *sender, enum limit_kind kind,
                uint64_t now_ns, uint64_t *ret_at_ns);

/** What Retry-After is to say: at least 1. */
uint32_t limit_wait_s(uint64_t now_ns, uint64_t at_ns);

/* ---- Who is limited ---- */

struct parley;

/** Whether a sender is a peer, remembered until peers are added or removed. Zeroed: unknown.
 *  Belongs to one worker, and to one sender. */
struct limit_trust {
    uint32_t version;
    bool known, trusted;
};

/** Whether what `sender` sends is to be counted at all. */
bool limit_applies(struct parley *runtime, struct limit_trust *trust, const char *sender);

#endif
