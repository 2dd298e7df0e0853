/* SPDX-License-Identifier: Apache-2.0
 *
 * Sealed frames (PROTOCOL.md, "Between parleys", 10): AES-256-GCM under the keys of a security
 * session. Bytes in, bytes out; no clock, no socket.
 *
 * A struct seal is one direction of one epoch: its key, its salt, and the counter that comes
 * next. A frame is encrypted where it stands, its text written SEAL_HEADER_BYTES behind the
 * start, and decrypted where it arrived. A nonce cannot come twice: the counter only rises,
 * and ends before it could wrap; every epoch has a key of its own.
 *
 * Threads: a struct seal belongs to whoever holds it.
 */
#ifndef PARLEY_PEERS_SEAL_H
#define PARLEY_PEERS_SEAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "parley.h"
#include "peers/crypto.h"
#include "peers/envelope.h"

#define SEAL_VERSION       1
#define SEAL_HEADER_BYTES  9 /* version, epoch, counter */
#define SEAL_OVERHEAD      (SEAL_HEADER_BYTES + CRYPTO_TAG_BYTES)
#define SEAL_FRAMES_MAX    (UINT32_C(1) << 31) /* then a new handshake replaces the keys */
#define SEAL_FRAMES_BEYOND (UINT32_C(1) << 20) /* that may go out while it is under way */

/** Whose frames: part of the key. */
enum seal_direction { SEAL_BY_INITIATOR = 1, SEAL_BY_RESPONDER = 2 };
enum seal_transport { SEAL_WEBSOCKET = 1, SEAL_HTTP = 2 };

/** What the keys of a security session are made from. */
struct seal_keys {
    uint8_t secret[CRYPTO_KEY_BYTES];
    char session_id[ENVELOPE_SESSION_MAX + 1]; /* the security session's */
};

struct seal {
    EVP_CIPHER_CTX *context; /* NULL: not made */
    uint8_t salt[4];
    uint32_t epoch;
    uint64_t next; /* counter: of the next frame, or the least that is taken */
    uint8_t bound[ENVELOPE_SESSION_MAX + SEAL_HEADER_BYTES]; /* additional data: id, header */
    size_t id_len;
};

/** Makes one end of one direction, with its counter at 0. @param sealing false: it opens.
 *  @return PARLEY_OK; PARLEY_ENOMEM, and *seal is as good as after seal_fini() */
parley_status seal_init(struct seal *seal, const struct crypto *crypto,
                        const struct seal_keys *keys, enum seal_direction direction,
                        enum seal_transport transport, uint32_t epoch, bool sealing);
/** Wipes the key. Harmless when repeated. */
void seal_fini(struct seal *seal);

/**
 * Seals a frame in place: `frame` holds SEAL_HEADER_BYTES, the text, room for the tag.
 *
 * @return PARLEY_OK; PARLEY_ELIMIT (this epoch has sealed all it may: nothing was changed);
 *         PARLEY_ENOMEM
 */
parley_status seal_close_frame(struct seal *seal, void *frame, size_t text_len);

/** The same with a counter that the other direction chose: each at most once, rising.
 *  @return PARLEY_EINVAL (it does not rise), too */
parley_status seal_close_as(struct seal *seal, uint32_t counter, void *frame, size_t text_len);

/** What a frame says of itself, before anything is proven. @return false: it is none */
bool seal_peek(const void *frame, size_t len, uint32_t *ret_epoch, uint32_t *ret_counter);

/**
 * Opens a frame in place.
 *
 * @param gaps     counters may be left out (HTTP); otherwise each follows the last (WebSocket)
 * @param ret_text points into `frame`; NUL-terminated, where the tag was
 * @return PARLEY_OK; PARLEY_EPROTO (no frame, or of another epoch); PARLEY_EINVAL (a repeat,
 * or out of turn); PARLEY_EREFUSED (the tag is wrong); PARLEY_ENOMEM. But for _OK the counter
 * stays, and after _EREFUSED the frame's bytes are of no use.
 */
parley_status seal_open_frame(struct seal *seal, bool gaps, void *frame, size_t len,
                              char **ret_text, size_t *ret_len);

#endif
