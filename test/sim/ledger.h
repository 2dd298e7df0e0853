/* SPDX-License-Identifier: Apache-2.0
 *
 * The ledger: every message that was accepted, what its handler will do with it, and what has
 * become of it so far. Kept by promise.c; transfers.c adds what is told of messages that
 * travel in chunks.
 */
#ifndef PARLEY_TEST_SIM_LEDGER_H
#define PARLEY_TEST_SIM_LEDGER_H

#include "test/sim/sim.h"

#define MESSAGES_MAX      4096
#define PAYLOAD_BYTES_MAX (96u * 1024)
#define SLACK_NS          (10 * NS_PER_MS)

struct transfer_entry;

enum plan {
    PLAN_ACCEPT,
    PLAN_REJECT,
    PLAN_LATER,
    PLAN_LATER_REJECT,
    PLAN_STALL, /* until all is well again */
    PLAN_NEVER, /* answers; what comes after it is delivered all the same */
};

/* Messages of one poster to one peer. */
struct stream {
    struct process *process;
    unsigned to;
    parley_peer peer;
    bool removed;
    unsigned life;      /* of the receiver, in which … */
    uint32_t last;      /* … the latest posted that ran is the one before this number */
    uint32_t last_long; /* the same of those in chunks */
    uint64_t accepted;
    uint64_t outcomes[PARLEY_CANCELLED + 1];
    bool writable_owed;
    uint32_t owed; /* answers by handlers that never will */
    uint64_t http_failures;
};

struct message_entry {
    struct stream *stream;
    enum plan plan;
    uint32_t delay_ms;
    uint64_t deadline_ns, result_ns;
    parley_hint hint;
    parley_outcome outcome;
    uint32_t padding;     /* the payload follows from it and the number */
    uint32_t payload_len; /* bytes */
    bool in_order;
    bool probe, accepted, refused, refused_between, doubled, lost_with_sender;
    bool older;       /* its sender or its receiver knows no parley/1 */
    bool oldest_form; /* was sent without a number, to what seemed to be an older peer */
    bool twice;       /* and so ran again */
    unsigned results, runs, run_life;
    parley_token token;
    struct transfer_entry *transfer; /* NULL: no chunk of it was sent */
    uint64_t progress;               /* told last */
};

void ledger_reset(void);
uint32_t ledger_len(void);
/** NULL: the ledger is full. */
struct message_entry *ledger_add(void);
void ledger_drop_last(void);
struct message_entry *ledger_get(uint32_t number);
uint32_t ledger_number(const struct message_entry *message);
/** Text of the message's payload, in static memory. @return its length */
size_t ledger_payload(uint32_t number, uint32_t padding, const char **ret_text);

/* ---- Messages in texts: frames and bodies ---- */

struct ledger_text {
    const char *text, *at, *end;
    uint64_t first; /* a batch's first_seq; 0: it is no batch */
    uint64_t items; /* of the batch, so far */
};

struct ledger_named {
    struct message_entry *message;
    struct transfer_entry *transfer; /* that the text has a chunk of; NULL: it has it whole */
    uint32_t index, total;           /* of the chunk */
    uint64_t number;                 /* its sequence_num; 0: none */
    bool single; /* in no batch: to what is no parley, or not known as one */
};

struct ledger_text ledger_text(const char *text, size_t len);
/** The next message that the text has. */
bool ledger_next(struct ledger_text *text, struct ledger_named *ret_named);

/* ---- Messages in chunks: transfers.c ---- */

void transfers_reset(void);
/** A chunk as a text has it, `at` its id; the first one makes the transfer known. */
void transfers_read(const char *at, const char *end, struct ledger_named *ret_named);
/** It goes on a transport. */
void transfers_sent(const struct process *process, const struct ledger_named *named);
/** Its handler runs: is that the message that was posted, all of it? */
void transfers_content(const struct message_entry *message, const parley_incoming *incoming);
/** Whether what was posted later may run before it. */
bool transfers_may_be_overtaken(const struct message_entry *message);
/** Whether the receiver's limits are a reason to refuse it so. */
bool transfers_refused(const struct message_entry *message, const char *detail);
void transfers_progress(parley_id id, uint64_t done, uint64_t bytes, void *user);
/** After every step: what this process has of unfinished ones. */
struct chunks;
void transfers_check(const struct process *process, const struct chunks *chunks);
void transfers_process_gone(const struct process *process);
/** Long after the last chunk. */
void transfers_check_end(void);

/* ---- Distinct states: states.c ---- */

struct bench;
void states_reach(const struct bench *bench);

#endif
