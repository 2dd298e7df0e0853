/* SPDX-License-Identifier: Apache-2.0
 *
 * Sessions with older services, in which payloads are encrypted (PROTOCOL.md, "Three messages,
 * with the old service"): who is in one with us, and what of a handshake is still to be said.
 * handshake_old.h knows the messages, payload_crypt.h the encryption.
 *
 * Messages of a handshake are believed only if the trusted key of their sender has signed
 * them, whatever `signatures` says: nothing else tells whose ephemeral key that is.
 *
 * Bounded: a peer has one handshake of ours and THREEWAY_SESSIONS sessions. Keys are wiped.
 * Threads: what hears and decrypts runs on any worker, what posts on the peer's. What they
 * share is under the registry's mutex, which no cryptography is done with.
 */
#ifndef PARLEY_PEERS_THREEWAY_H
#define PARLEY_PEERS_THREEWAY_H

#include <stdbool.h>
#include <stdint.h>

#include "parley.h"
#include "peers/envelope.h"
#include "peers/handshake_old.h"
#include "peers/json.h"

struct bench;
struct parley;
struct peer;

#define THREEWAY_SESSIONS 4 /* the one in use, the one before, and those being set up */

struct threeway_session {
    struct old_session keys; /* id "": none */
    char handshake_id[ENVELOPE_SESSION_MAX + 1];
    uint8_t peer_key[IDENTITY_KEY_BYTES]; /* once it is trusted no more, this is of no use */
    uint64_t made_ns;
    uint64_t number; /* the highest sequence_num taken in it */
    bool confirmed;  /* we may send in it, too */
};

enum threeway_step { THREEWAY_START, THREEWAY_ACK, THREEWAY_CONFIRM, THREEWAY_STEPS };

/** A step to be posted. */
struct threeway_say {
    bool due;
    uint32_t tries;
    char session_id[ENVELOPE_SESSION_MAX + 1]; /* the handshake's */
    size_t len;
    char text[HANDSHAKE_OLD_TEXT_MAX];
};

struct threeway {
    /* under the registry's mutex */
    struct handshake_old handshake; /* of ours, session_id "": none waits for its answer */
    const char *refused;            /* the answer was none: why; static text */
    struct threeway_session sessions[THREEWAY_SESSIONS]; /* the newest first */
    struct threeway_say says[THREEWAY_STEPS];
    /* the peer's worker */
    enum threeway_step posted; /* what the request under way is */
    char posted_id[ENVELOPE_SESSION_MAX + 1];
    uint64_t answer_ns; /* until then its answer may come */
    uint64_t again_ns;  /* the next attempt, not before */
    uint32_t failures;  /* in a row */
    char why[PARLEY_DETAIL_MAX];
};

/* ---- What came in; any worker ---- */

bool threeway_is_step(const char *msg_type);

/**
 * A step has come, signed by its sender's trusted key and new.
 *
 * @param doc its envelope
 * @return NULL: taken; else the answer's detail
 */
const char *threeway_heard(struct bench *bench, const char *sender, const struct json_doc *doc,
                           const struct envelope *envelope);

/** The key of a session with an entity. @return PARLEY_OK; PARLEY_EREFUSED: there is none */
parley_status threeway_key(struct bench *bench, const char *sender, const char *session_id,
                           uint8_t ret_key[CRYPTO_KEY_BYTES]);

/** The session's numbers rise: takes this one. @return false: it does not */
bool threeway_take(struct parley *runtime, const char *sender, const char *session_id,
                   uint64_t number, uint64_t *ret_before);
/** It was not begun after all. */
void threeway_untake(struct parley *runtime, const char *sender, const char *session_id,
                     uint64_t number, uint64_t before);

/* ---- A peer's; its worker ---- */

/** Whether messages may be encrypted now, or are not to be. */
bool threeway_ready(const struct peer *peer);
/** The session to send in. @return false: there is none */
bool threeway_out(const struct peer *peer, struct old_session *ret_session);
/** Posts what there is to say; begins a handshake where messages wait for one. */
void threeway_pump(struct peer *peer);
/** When it wants to be called again. */
uint64_t threeway_next_ns(const struct peer *peer);
/** The request that threeway_pump() made has ended. */
void threeway_posted(struct peer *peer);
/** The peer does not know our session: nothing more is sent in what there is. */
void threeway_forget(struct peer *peer);
/** What a message that waited in vain is told; NULL: it did not wait for this. */
const char *threeway_why(const struct peer *peer);
/** Nobody finds the peer any more. */
void threeway_free(struct peer *peer);

/* ---- Between the two files; with the registry's mutex ---- */

/** The newest session that we may send in, younger than `age_s`; NULL: none. */
struct threeway_session *threeway_newest(const struct peer *peer, uint64_t now_ns,
                                         uint64_t age_s);
/** A peer's, made if need be. @return NULL: no memory */
struct threeway *threeway_of(struct peer *peer);

#endif
