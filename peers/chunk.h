/* SPDX-License-Identifier: Apache-2.0
 *
 * One piece of a message that travels in chunks: how it is read, in every form a sender
 * gives it, and how ours is written, which both kinds of older receivers understand. Pure.
 *
 * What is cut is the base64 of {"original_msg_type":T,"data":PAYLOAD}. Our pieces are
 * multiples of 4 characters long, so that each can be decoded by itself, and all of them
 * after joining. PROTOCOL.md, Chunks.
 */
#ifndef PARLEY_PEERS_CHUNK_H
#define PARLEY_PEERS_CHUNK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "peers/envelope.h"
#include "peers/json.h"

#define CHUNK_TYPE           "chunk"
#define CHUNK_ID_MAX         ENVELOPE_MESSAGE_ID_MAX
#define CHUNK_RECORD_DEPTH   2    /* what chunk_read() asks of json_scan() on the payload */
#define CHUNK_CHARS_OLDER    8192 /* of base64 in a piece, to an older peer */
#define CHUNK_CHARS_PARLEY   (1 << 18) /* … to a parley */
#define CHUNK_OVERHEAD_MAX   384       /* of a piece's payload beyond its base64 */
#define CHUNK_CHECKSUM_CHARS 32

/** What answers the last piece of a transfer whose sender goes by the order, when pieces are
 *  missing; the first missing one's index follows. */
#define CHUNKS_MISSING "CHUNKS_MISSING from "

/** What answers a message of a batch, a piece perhaps, that is longer than the receiver takes.
 */
#define CHUNK_TOO_LARGE "message exceeds message_bytes_max"

/** One piece as received. Strings are NUL-terminated; "" when absent. */
struct chunk {
    char id[CHUNK_ID_MAX + 1];
    char checksum[CHUNK_CHECKSUM_CHARS + 1];
    uint64_t index, total;
    const struct json_item *data; /* a string: the base64 */
    bool ordered;                 /* its sender sends them in order and wants to be told what
                                     is missing with the last one */
};

/** Reads a chunk's payload, an object scanned with CHUNK_RECORD_DEPTH. @return NULL, or what
 * is wrong with it (static text) */
const char *chunk_read(const struct json_doc *doc, const struct json_item *payload,
                       struct chunk *ret_chunk);

/** What a whole transfer says. */
struct chunk_whole {
    char type[ENVELOPE_TYPE_MAX + 1];
    const char *payload; /* text of an object, in the scanned text */
    size_t payload_len;
};

/** Reads the joined text, scanned with record depth 1. @return as chunk_read() */
const char *chunk_whole_read(const struct json_doc *doc, const struct json_item *root,
                             struct chunk_whole *ret_whole);

/** A message being cut. `payload` is the caller's and stays. */
struct chunk_cut {
    char id[33];
    char head[ENVELOPE_TYPE_MAX + 48]; /* of the whole, before the payload */
    size_t head_len;
    const char *type;
    size_t type_len;
    const char *payload;
    size_t payload_len;
    size_t piece_bytes; /* of the whole in one piece, a multiple of 3 */
    uint32_t total;
};

/**
 * Plans the cutting.
 *
 * @param random    its id
 * @param type      a valid message type
 * @param chars_max of base64 in a piece, at least 4
 */
void chunk_cut_init(struct chunk_cut *cut, const uint8_t random[16], const char *type,
                    size_t type_len, const char *payload, size_t payload_len,
                    size_t chars_max);

/** Bytes of the whole. */
uint64_t chunk_cut_bytes(const struct chunk_cut *cut);

/** Bytes of the whole before piece `index`, which may be `total`. */
uint64_t chunk_cut_before(const struct chunk_cut *cut, uint32_t index);

/** Room that the payload of piece `index` needs. */
size_t chunk_cut_room(const struct chunk_cut *cut, uint32_t index);

/** Writes the payload of piece `index` < total. @return its length */
size_t chunk_cut_write(const struct chunk_cut *cut, uint32_t index, char *buffer);

/** Tells whether a payload goes to an older peer in chunks. */
static inline bool chunk_wanted(size_t payload_len, uint32_t threshold)
{
    return payload_len > threshold;
}

/** Reads a rejection's detail, also as a parley words it in an older dialect. @return whether
 * it says CHUNKS_MISSING */
bool chunks_missing_read(const char *detail, uint64_t *ret_from);

#endif
