/* SPDX-License-Identifier: Apache-2.0
 *
 * The security session of one WebSocket: the handshake's steps as control frames, then sealed
 * frames in both directions, then new keys under load.
 *
 * A rekey is a handshake inside the channel. Frames arrive in order, so each direction changes
 * its keys by itself: a side's first frame in the new epoch (step 5, step 6) is its last with
 * the old keys behind it, and a receiver that opens one frame of the new epoch forgets the
 * old. Nothing waits, nothing is sent twice.
 *
 * Owned by whoever owns the WebSocket, on its worker.
 */
#ifndef PARLEY_PEERS_CHANNEL_H
#define PARLEY_PEERS_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "peers/handshake.h"
#include "peers/seal.h"
#include "peers/service.h"
#include "transport/ws_frame.h"

enum channel_state {
    CHANNEL_OPENING, /* the first handshake: nothing else passes */
    CHANNEL_SEALED,
    CHANNEL_BROKEN, /* the WebSocket has to be closed */
};

struct channel {
    struct bench *bench;
    enum channel_state state;
    bool initiator;
    char peer_id[ENVELOPE_ID_MAX + 1];
    struct seal in, out;            /* in use; not made in the first handshake */
    struct seal next_in, next_out;  /* of the handshake under way, once it has keys */
    struct handshake *handshake;    /* NULL: none is under way */
    struct handshake_limits limits; /* what the other side takes, as it has proven to say */
    uint8_t peer_key[IDENTITY_KEY_BYTES]; /* … with, of its identity; once sealed */
    uint32_t trust_version;               /* when that was last looked at */
    uint64_t keyed_ns;                    /* when the keys in use were agreed upon */
    uint32_t epoch;                       /* of the last handshake */
    char *say;                            /* a step to be written; NULL: none */
    size_t say_len;
    bool say_sealed_anew;
};

/** Opens at this end. @param peer_id who the other side has to prove to be
 *  @return NULL: no memory */
struct channel *channel_new(struct bench *bench, const char *peer_id, bool initiator);
/** Wipes the keys. NULL is allowed. */
void channel_free(struct channel *channel);

/** What a step has led to. */
enum channel_event {
    CHANNEL_QUIET,
    CHANNEL_SAYS,   /* channel_write() has something to write */
    CHANNEL_KEYED,  /* so it has, perhaps; and the new keys are agreed upon */
    CHANNEL_FAILED, /* channel_why() says why: to be closed */
};

/** The initiator: begins the first handshake, or one for new keys. */
enum channel_event channel_begin(struct channel *channel);

/** A step has come in the frame that is scanned in `doc`. */
enum channel_event channel_hear(struct channel *channel, const struct json_doc *doc);

/** The name of the error that it failed with. */
const char *channel_why(const struct channel *channel);

/** Opens a binary frame in place. @return as seal_open_frame() */
parley_status channel_open(struct channel *channel, char *data, size_t len, char **ret_text,
                           size_t *ret_len);

/** Whether the key that the other side has proven to have is still trusted to be its own. */
bool channel_trusted(struct channel *channel);

/** When the initiator wants new keys, and when these are too old for either. */
bool channel_rekey_due(const struct channel *channel, uint64_t now_ns);
uint64_t channel_rekey_ns(const struct channel *channel);
/** When either is to be looked at again. */
uint64_t channel_next_ns(const struct channel *channel);
bool channel_expired(const struct channel *channel, uint64_t now_ns);

/* ---- Writing. A NULL channel writes plain text frames. ---- */

static inline bool channel_sealed(const struct channel *channel)
{
    return channel != NULL && channel->state == CHANNEL_SEALED;
}

/** Writes the step that is to be said. To be called before any other frame is written.
 *  @return false: there was no room, or its key is not trusted any more; nothing else may
 *  be written now */
bool channel_write(struct channel *channel, struct ws_batch *batch);

/** As ws_frame_begin(). */
static inline char *channel_frame_begin(const struct channel *channel, struct ws_batch *batch,
                                        size_t payload_min, size_t *ret_room)
{
    char *payload;

    if (channel == NULL)
        return ws_frame_begin(batch, payload_min, ret_room);
    payload = ws_frame_begin(batch, payload_min + SEAL_OVERHEAD, ret_room);
    if (payload == NULL)
        return NULL;
    *ret_room -= SEAL_OVERHEAD;
    return payload + SEAL_HEADER_BYTES;
}

/** Seals the open frame where it stands. */
void channel_seal(struct channel *channel, struct ws_batch *batch, size_t len);

/** As ws_frame_end() of a text. If it cannot be sealed the frame is dropped, and the channel
 * is broken. */
static inline void channel_frame_end(struct channel *channel, struct ws_batch *batch,
                                     size_t len)
{
    if (channel == NULL)
        ws_frame_end(batch, WS_TEXT, len);
    else
        channel_seal(channel, batch, len);
}

#endif
