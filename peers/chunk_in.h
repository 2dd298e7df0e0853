/* SPDX-License-Identifier: Apache-2.0
 *
 * Puts chunks together again. Pure: no lock, no clock.
 *
 * A transfer belongs to its sender's id and its own, whichever session or transport its
 * pieces come by: older senders do not keep to one. Memory is taken for pieces that have
 * arrived, sorted by index, and never by the announced total. A piece that can be decoded by
 * itself is kept decoded, any other as text until all are there: then the texts are joined
 * and decoded once. Bounds hold for each transfer, each sender and all of them.
 */
#ifndef PARLEY_PEERS_CHUNK_IN_H
#define PARLEY_PEERS_CHUNK_IN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "peers/hash.h"
#include "runtime/alloc.h"

struct chunk_limits {
    uint64_t bytes_max;        /* of one transfer */
    uint32_t chunks_max;       /* of one transfer */
    uint32_t transfers_max;    /* of one sender */
    uint64_t memory_bytes_max; /* of all; one sender may have half of it, and
                                  so may all strangers together */
    uint64_t idle_ns;          /* without a new piece: forgotten */
};

/** One piece's text, or what it says. */
struct chunk_piece {
    uint32_t index;
    uint32_t len;
    bool decoded;
    char bytes[];
};

struct chunk_sender;

struct chunk_transfer {
    UT_hash_handle by_name;
    struct chunk_sender *sender;
    struct chunk_transfer *next;          /* of its sender */
    uint64_t session;                     /* of a sender in order; 0: any */
    struct chunk_transfer *older, *newer; /* by their last new piece */
    struct chunk_piece **pieces;          /* by index, rising */
    uint32_t len, capacity;
    uint32_t total;
    bool complete;   /* and no longer of the table */
    bool stranger;   /* its sender was one when it began */
    uint64_t bytes;  /* of pieces */
    uint64_t memory; /* counted for it */
    uint64_t used_ns;
    size_t name_len;
    char name[]; /* sender, NUL, id */
};

struct chunks {
    const struct alloc *alloc;
    struct chunk_limits limits;
    struct chunk_transfer *by_name;
    struct chunk_sender *senders;
    struct chunk_transfer *oldest, *newest;
    uint64_t memory;
    uint64_t strangers_memory; /* of it */
};

void chunks_init(struct chunks *chunks, const struct alloc *alloc,
                 const struct chunk_limits *limits);
void chunks_fini(struct chunks *chunks);

/** Makes a piece of its text, decoded if it can be. @return NULL: out of memory */
struct chunk_piece *chunk_piece_new(const struct alloc *alloc, const char *text, size_t len);

enum chunk_result {
    CHUNK_STORED,
    CHUNK_REPEAT,   /* it is there already */
    CHUNK_COMPLETE, /* it was the last one that was missing */
    CHUNK_REFUSED,
    CHUNK_NO_MEMORY,
};

/** What a piece says of itself. */
struct chunk_place {
    const char *sender, *id;
    uint64_t index, total;
    bool ordered; /* nothing is complete before the last index comes, or comes again; that one
                     is refused if anything is missing, and kept */
    uint64_t session; /* with `ordered`: there it has one transfer at a time, and a new one
                         says that those before it were given up; 0: not known */
    bool stranger;    /* the sender is no peer, and may have invented its name */
};

#define CHUNK_REASON_MAX 80

/**
 * Adds a piece.
 *
 * @param piece        taken over, whatever the result
 * @param ret_transfer with CHUNK_COMPLETE: no longer of the table; chunks_release() it
 * @param reason       with CHUNK_REFUSED: why
 */
enum chunk_result chunks_add(struct chunks *chunks, const struct chunk_place *place,
                             struct chunk_piece *piece, uint64_t now_ns,
                             struct chunk_transfer **ret_transfer,
                             char reason[CHUNK_REASON_MAX]);

/**
 * Joins the pieces of a complete transfer, and frees them. Touches nothing else: no lock.
 *
 * @return PARLEY_OK; PARLEY_EPROTO (it is not base64); PARLEY_ENOMEM. The text is the
 *         caller's, to be freed with `alloc`
 */
parley_status chunk_transfer_join(const struct alloc *alloc, struct chunk_transfer *transfer,
                                  char **ret_text, size_t *ret_len);

/** A complete transfer is over: its memory counts no longer. */
void chunks_release(struct chunks *chunks, struct chunk_transfer *transfer);

/** Forgets what has waited for too long. @return how many transfers */
uint32_t chunks_expire(struct chunks *chunks, uint64_t now_ns);

/** Asserts the order of pieces and transfers, and that what is counted adds up. */
void chunks_check(const struct chunks *chunks);

#endif
