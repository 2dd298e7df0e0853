/* SPDX-License-Identifier: Apache-2.0
 *
 * What comes in: steps, and payloads encrypted in a session. Runs on whichever worker the
 * sender's session lives; what has to be said in turn is left with the peer, whose worker
 * posts it (peer_threeway.c). Ephemeral keys are used outside of the mutex, so what a step
 * begins from is looked at again before its result counts.
 */
#include "peers/threeway.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

#include "peers/peer.h"
#include "peers/secure.h"
#include "peers/trust.h"
#include "peers/wire.h"
#include "runtime/clock.h"

static const char unknown[] = "SESSION_NOT_FOUND";
static const char no_memory[] = "out of memory";

bool threeway_is_step(const char *msg_type)
{
    return strcmp(msg_type, HANDSHAKE_OLD_TYPE) == 0 ||
           strcmp(msg_type, HANDSHAKE_OLD_ACK) == 0 ||
           strcmp(msg_type, HANDSHAKE_OLD_CONFIRM) == 0;
}

/* ---- Sessions; with the registry's mutex ---- */

struct threeway *threeway_of(struct peer *peer)
{
    if (peer->threeway == NULL)
        peer->threeway = alloc_zeroed(&peer->runtime->alloc, sizeof(*peer->threeway));
    return peer->threeway;
}

static struct threeway *find(struct parley *runtime, const char *entity_id)
{
    struct peer *peer = registry_find(&runtime->registry, entity_id);

    return peer != NULL ? peer->threeway : NULL;
}

static bool is_alive(const struct threeway_session *session,
                     const struct identity_key *peer_key, uint64_t now_ns, uint64_t age_s)
{
    return session->keys.id[0] != '\0' && now_ns < session->made_ns + age_s * NS_PER_S &&
           peer_key != NULL &&
           memcmp(session->peer_key, identity_key_bytes(peer_key), IDENTITY_KEY_BYTES) == 0;
}

struct threeway_session *threeway_newest(const struct peer *peer, uint64_t now_ns,
                                         uint64_t age_s)
{
    const struct identity_key *key = trust_find(peer->runtime, peer->id);
    struct threeway *threeway = peer->threeway;

    for (unsigned i = 0; threeway != NULL && i < THREEWAY_SESSIONS; i++) {
        if (threeway->sessions[i].confirmed &&
            is_alive(&threeway->sessions[i], key, now_ns, age_s))
            return &threeway->sessions[i];
    }
    return NULL;
}

/* In front; the last one goes. What is not confirmed makes room for what is not either, so
 * that handshakes which come to nothing do not end the session in use. */
static void add_session(struct threeway *threeway, const struct old_session *keys,
                        const char *handshake_id, const struct identity_key *peer_key,
                        uint64_t now_ns)
{
    struct threeway_session *sessions = threeway->sessions;
    unsigned last = THREEWAY_SESSIONS - 1;

    for (unsigned i = 0; i < THREEWAY_SESSIONS; i++) {
        if (!sessions[i].confirmed)
            last = i;
    }
    OPENSSL_cleanse(&sessions[last], sizeof(sessions[last]));
    memmove(sessions + 1, sessions, last * sizeof(sessions[0]));
    OPENSSL_cleanse(&sessions[0], sizeof(sessions[0]));
    sessions[0].keys = *keys;
    sessions[0].made_ns = now_ns;
    memcpy(sessions[0].peer_key, identity_key_bytes(peer_key), IDENTITY_KEY_BYTES);
    snprintf(sessions[0].handshake_id, sizeof(sessions[0].handshake_id), "%s", handshake_id);
}

static void leave_word(struct threeway *threeway, enum threeway_step step,
                       const char *handshake_id, const struct json_out *out)
{
    struct threeway_say *say = &threeway->says[step];

    snprintf(say->session_id, sizeof(say->session_id), "%s", handshake_id);
    memcpy(say->text, out->buffer, out->len);
    say->len = out->len;
    say->tries = 0;
    say->due = true;
}

/* ---- Steps ---- */

struct hearing {
    struct bench *bench;
    const char *sender;
    const struct json_doc *doc;
    const struct json_item *payload;
    struct handshake_old_parties parties;
};

static const char *reason_of(parley_status status)
{
    switch (status) {
    case PARLEY_EREFUSED:
        return "AUTHENTICATION_FAILED";
    case PARLEY_ENOMEM:
        return no_memory;
    default:
        return "INVALID_STATE";
    }
}

/* Keeps the session, and leaves word for the peer. @return NULL or the reason why not */
static const char *commit(const struct hearing *hearing, enum threeway_step say,
                          const char *handshake_id, const struct old_session *keys,
                          const struct json_out *out)
{
    struct parley *runtime = hearing->bench->runtime;
    const char *wrong = NULL;
    struct threeway *threeway;
    struct peer *peer;

    registry_lock(&runtime->registry);
    peer = registry_find(&runtime->registry, hearing->sender);
    threeway = peer != NULL && peer->has_url ? threeway_of(peer) : NULL;
    if (peer == NULL || !peer->has_url)
        wrong = "no address to answer to";
    else if (threeway == NULL || peer_post_control(peer, CONTROL_HANDSHAKE) != PARLEY_OK)
        wrong = no_memory;
    else if (say == THREEWAY_CONFIRM &&
             strcmp(threeway->handshake.session_id, handshake_id) != 0)
        wrong = unknown;
    if (wrong == NULL) {
        if (say == THREEWAY_CONFIRM)
            handshake_old_fini(&threeway->handshake);
        add_session(threeway, keys, handshake_id, hearing->parties.peer_key,
                    worker_now_ns(hearing->bench->worker));
        leave_word(threeway, say, handshake_id, out);
    }
    registry_unlock(&runtime->registry);
    return wrong;
}

static const char *hear_start(const struct hearing *hearing)
{
    char text[HANDSHAKE_OLD_TEXT_MAX], handshake_id[ENVELOPE_SESSION_MAX + 1];
    struct json_out out = {.buffer = text, .capacity = sizeof(text)};
    struct handshake_old_random random;
    struct old_session keys;
    parley_status status;
    const char *wrong;

    secure_random(&random, sizeof(random));
    status = handshake_old_answer(&hearing->parties, &random, hearing->doc, hearing->payload,
                                  &keys, handshake_id, &out);
    OPENSSL_cleanse(&random, sizeof(random));
    if (status != PARLEY_OK)
        return reason_of(status);
    wrong = commit(hearing, THREEWAY_ACK, handshake_id, &keys, &out);
    OPENSSL_cleanse(&keys, sizeof(keys));
    return wrong;
}

/* The handshake that this may be the answer to; a copy, to be wiped. */
static bool copy_handshake(const struct hearing *hearing, struct handshake_old *ret_handshake)
{
    struct parley *runtime = hearing->bench->runtime;
    struct threeway *threeway;
    bool found;

    registry_lock(&runtime->registry);
    threeway = find(runtime, hearing->sender);
    found = threeway != NULL &&
            handshake_old_is_answer(&threeway->handshake, hearing->doc, hearing->payload);
    if (found)
        *ret_handshake = threeway->handshake;
    registry_unlock(&runtime->registry);
    return found;
}

/* The peer itself has said so: this handshake has failed. */
static const char *give_up(const struct hearing *hearing, const char *handshake_id,
                           const char *reason)
{
    struct parley *runtime = hearing->bench->runtime;
    struct threeway *threeway;

    registry_lock(&runtime->registry);
    threeway = find(runtime, hearing->sender);
    if (threeway != NULL && strcmp(threeway->handshake.session_id, handshake_id) == 0) {
        handshake_old_fini(&threeway->handshake);
        threeway->refused = reason;
        (void)peer_post_control(registry_find(&runtime->registry, hearing->sender),
                                CONTROL_HANDSHAKE); /* else at its deadline */
    }
    registry_unlock(&runtime->registry);
    return reason;
}

static const char *hear_ack(const struct hearing *hearing)
{
    char text[HANDSHAKE_OLD_TEXT_MAX], handshake_id[ENVELOPE_SESSION_MAX + 1];
    struct json_out out = {.buffer = text, .capacity = sizeof(text)};
    struct handshake_old handshake;
    struct old_session keys;
    parley_status status;
    const char *wrong;

    if (!copy_handshake(hearing, &handshake))
        return unknown;
    snprintf(handshake_id, sizeof(handshake_id), "%s", handshake.session_id);
    status = handshake_old_finish(&handshake, &hearing->parties, hearing->doc,
                                  hearing->payload, clock_wall_us(), &keys, &out);
    handshake_old_fini(&handshake);
    if (status != PARLEY_OK)
        return give_up(hearing, handshake_id, reason_of(status));
    wrong = commit(hearing, THREEWAY_CONFIRM, handshake_id, &keys, &out);
    OPENSSL_cleanse(&keys, sizeof(keys));
    return wrong;
}

static const char *hear_confirm(const struct hearing *hearing)
{
    struct parley *runtime = hearing->bench->runtime;
    const struct json_item *id = wire_member(hearing->doc, hearing->payload, "session_id");
    const struct json_item *yes = wire_member(hearing->doc, hearing->payload, "confirm");
    struct threeway *threeway;
    bool found = false;

    if (id == NULL || yes == NULL || yes->type != JSON_TRUE)
        return "INVALID_STATE";
    registry_lock(&runtime->registry);
    threeway = find(runtime, hearing->sender);
    for (unsigned i = 0; threeway != NULL && !found && i < THREEWAY_SESSIONS; i++) {
        struct threeway_session *session = &threeway->sessions[i];

        if (session->keys.id[0] != '\0' && wire_is(hearing->doc, id, session->handshake_id))
            session->confirmed = found = true;
    }
    if (found)
        (void)peer_post_control(registry_find(&runtime->registry, hearing->sender),
                                CONTROL_HANDSHAKE); /* messages may wait; they look again */
    registry_unlock(&runtime->registry);
    return found ? NULL : unknown;
}

const char *threeway_heard(struct bench *bench, const char *sender, const struct json_doc *doc,
                           const struct envelope *envelope)
{
    struct parley *runtime = bench->runtime;
    struct hearing hearing = {.bench = bench,
                              .sender = sender,
                              .doc = doc,
                              .payload = wire_payload(doc, doc->items),
                              .parties = {.crypto = &runtime->crypto,
                                          .identity = trust_identity(runtime),
                                          .peer_key = trust_find(runtime, sender)}};

    if (runtime->options.sessions != PARLEY_SESSIONS_AUTO ||
        hearing.parties.identity == NULL || hearing.parties.peer_key == NULL)
        return "AUTHENTICATION_FAILED";
    if (hearing.payload == NULL)
        return "Unknown message format";
    if (strcmp(envelope->msg_type, HANDSHAKE_OLD_TYPE) == 0)
        return hear_start(&hearing);
    if (strcmp(envelope->msg_type, HANDSHAKE_OLD_ACK) == 0)
        return hear_ack(&hearing);
    return hear_confirm(&hearing);
}

/* ---- Payloads ---- */

static struct threeway_session *find_session(struct threeway *threeway, const char *id)
{
    for (unsigned i = 0; threeway != NULL && id[0] != '\0' && i < THREEWAY_SESSIONS; i++) {
        if (strcmp(threeway->sessions[i].keys.id, id) == 0)
            return &threeway->sessions[i];
    }
    return NULL;
}

parley_status threeway_key(struct bench *bench, const char *sender, const char *session_id,
                           uint8_t ret_key[CRYPTO_KEY_BYTES])
{
    struct parley *runtime = bench->runtime;
    struct threeway_session *session;
    bool found;

    registry_lock(&runtime->registry);
    session = find_session(find(runtime, sender), session_id);
    found = session != NULL &&
            is_alive(session, trust_find(runtime, sender), worker_now_ns(bench->worker),
                     runtime->options.secure_session_s);
    if (found)
        memcpy(ret_key, session->keys.key, CRYPTO_KEY_BYTES);
    registry_unlock(&runtime->registry);
    return found ? PARLEY_OK : PARLEY_EREFUSED;
}

bool threeway_take(struct parley *runtime, const char *sender, const char *session_id,
                   uint64_t number, uint64_t *ret_before)
{
    struct threeway_session *session;
    bool rises;

    registry_lock(&runtime->registry);
    session = find_session(find(runtime, sender), session_id);
    rises = session != NULL && number > session->number;
    if (rises) {
        *ret_before = session->number;
        session->number = number;
    }
    registry_unlock(&runtime->registry);
    return rises;
}

void threeway_untake(struct parley *runtime, const char *sender, const char *session_id,
                     uint64_t number, uint64_t before)
{
    struct threeway_session *session;

    registry_lock(&runtime->registry);
    session = find_session(find(runtime, sender), session_id);
    if (session != NULL && session->number == number)
        session->number = before;
    registry_unlock(&runtime->registry);
}
