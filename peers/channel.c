/* SPDX-License-Identifier: Apache-2.0 */
#include "peers/channel.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <string.h>

#include "peers/secure.h"
#include "peers/trust.h"
#include "runtime/clock.h"

struct channel *channel_new(struct bench *bench, const char *peer_id, bool initiator)
{
    struct channel *channel = alloc_zeroed(&bench->runtime->alloc, sizeof(*channel));

    if (channel == NULL)
        return NULL;
    channel->bench = bench;
    channel->initiator = initiator;
    snprintf(channel->peer_id, sizeof(channel->peer_id), "%s", peer_id);
    return channel;
}

static void end_handshake(struct channel *channel)
{
    if (channel->handshake != NULL)
        handshake_fini(channel->handshake);
    alloc_free(&channel->bench->runtime->alloc, channel->handshake);
    channel->handshake = NULL;
}

void channel_free(struct channel *channel)
{
    const struct alloc *alloc;

    if (channel == NULL)
        return;
    alloc = &channel->bench->runtime->alloc;
    end_handshake(channel);
    seal_fini(&channel->in);
    seal_fini(&channel->out);
    seal_fini(&channel->next_in);
    seal_fini(&channel->next_out);
    alloc_free(alloc, channel->say);
    alloc_free(alloc, channel);
}

static uint64_t now_ns(const struct channel *channel)
{
    return worker_now_ns(channel->bench->worker);
}

/* ---- Steps ---- */

static enum channel_event fail(struct channel *channel)
{
    channel->state = CHANNEL_BROKEN;
    return CHANNEL_FAILED;
}

const char *channel_why(const struct channel *channel)
{
    if (channel->handshake == NULL || channel->handshake->error == HANDSHAKE_E_NONE)
        return "AUTHENTICATION_FAILED";
    return handshake_error_name(channel->handshake->error);
}

static bool new_handshake(struct channel *channel)
{
    channel->handshake =
        alloc_bytes(&channel->bench->runtime->alloc, sizeof(*channel->handshake));
    if (channel->handshake == NULL)
        return false;
    handshake_init(channel->handshake);
    channel->epoch++;
    return true;
}

/* Both ends of the new epoch, which are used as the frames that begin it are. */
static bool make_next(struct channel *channel)
{
    const struct crypto *crypto = &channel->bench->runtime->crypto;
    const struct seal_keys *keys = &channel->handshake->keys;
    enum seal_direction ours = channel->initiator ? SEAL_BY_INITIATOR : SEAL_BY_RESPONDER;
    enum seal_direction theirs = channel->initiator ? SEAL_BY_RESPONDER : SEAL_BY_INITIATOR;

    return seal_init(&channel->next_out, crypto, keys, ours, SEAL_WEBSOCKET, channel->epoch,
                     true) == PARLEY_OK &&
           seal_init(&channel->next_in, crypto, keys, theirs, SEAL_WEBSOCKET, channel->epoch,
                     false) == PARLEY_OK;
}

static bool keep(struct channel *channel, const struct json_out *out, bool sealed_anew)
{
    const struct alloc *alloc = &channel->bench->runtime->alloc;

    alloc_free(alloc, channel->say);
    channel->say = alloc_bytes(alloc, out->len);
    if (channel->say == NULL)
        return false;
    memcpy(channel->say, out->buffer, out->len);
    channel->say_len = out->len;
    channel->say_sealed_anew = sealed_anew;
    return true;
}

/* The last keys are agreed upon: what the handshake needed is wiped. */
static enum channel_event keyed(struct channel *channel,
                                const struct handshake_parties *parties)
{
    memcpy(channel->peer_key, identity_key_bytes(parties->peer_key), IDENTITY_KEY_BYTES);
    channel->limits = channel->handshake->peer;
    channel->keyed_ns = now_ns(channel);
    channel->state = CHANNEL_SEALED;
    end_handshake(channel);
    return CHANNEL_KEYED;
}

/* From the step that lets us know that the other side has the keys, too. */
static bool wants_keys(const struct channel *channel)
{
    enum handshake_state state = channel->handshake->state;

    return channel->next_in.context == NULL &&
           (state == HANDSHAKE_SESSION_ESTABLISHED || state == HANDSHAKE_SESSION_CONFIRMED);
}

static enum channel_event follow(struct channel *channel,
                                 const struct handshake_parties *parties,
                                 enum handshake_result result, const struct json_out *out)
{
    switch (result) {
    case HANDSHAKE_SAY:
    case HANDSHAKE_SAY_SEALED:
        if ((wants_keys(channel) && !make_next(channel)) ||
            !keep(channel, out, result == HANDSHAKE_SAY_SEALED))
            return fail(channel);
        break;
    case HANDSHAKE_DONE:
        break;
    case HANDSHAKE_IGNORED:
        return CHANNEL_QUIET;
    case HANDSHAKE_FAILED:
    case HANDSHAKE_NO_MEMORY:
        return fail(channel);
    }
    return channel->handshake->state == HANDSHAKE_READY ? keyed(channel, parties)
                                                        : CHANNEL_SAYS;
}

enum channel_event channel_begin(struct channel *channel)
{
    struct handshake_parties parties;
    struct handshake_random random;
    char text[HANDSHAKE_MESSAGE_MAX];
    struct json_out out = {.buffer = text, .capacity = sizeof(text)};
    enum handshake_result result;

    assert(channel->initiator && channel->handshake == NULL);
    if (!secure_parties(channel->bench, channel->peer_id, &parties) || !new_handshake(channel))
        return fail(channel);
    secure_random(&random, sizeof(random));
    result = handshake_start(channel->handshake, &parties, &random, now_ns(channel),
                             clock_wall_us(), &out);
    OPENSSL_cleanse(&random, sizeof(random));
    return follow(channel, &parties, result, &out);
}

enum channel_event channel_hear(struct channel *channel, const struct json_doc *doc)
{
    struct handshake_parties parties;
    struct handshake_message message;
    struct handshake_random random;
    char text[HANDSHAKE_MESSAGE_MAX];
    struct json_out out = {.buffer = text, .capacity = sizeof(text)};
    enum handshake_result result;
    bool proven;

    if (!secure_parties(channel->bench, channel->peer_id, &parties) ||
        handshake_message_read(doc, doc->items, &message) != PARLEY_OK)
        return fail(channel);
    if (channel->handshake == NULL && (channel->initiator || !new_handshake(channel)))
        return fail(channel);
    proven = channel->in.context != NULL && channel->in.epoch == channel->epoch;
    secure_random(&random, sizeof(random));
    result = handshake_receive(channel->handshake, &parties, &message, proven, &random,
                               now_ns(channel), clock_wall_us(), &out);
    OPENSSL_cleanse(&random, sizeof(random));
    return follow(channel, &parties, result, &out);
}

/* ---- Frames ---- */

/* The other side's first frame with the new keys is its last step: the old ones go. */
static parley_status open_next(struct channel *channel, char *data, size_t len,
                               char **ret_text, size_t *ret_len)
{
    parley_status status =
        seal_open_frame(&channel->next_in, false, data, len, ret_text, ret_len);

    if (status != PARLEY_OK)
        return status;
    seal_fini(&channel->in);
    channel->in = channel->next_in;
    memset(&channel->next_in, 0, sizeof(channel->next_in));
    return PARLEY_OK;
}

parley_status channel_open(struct channel *channel, char *data, size_t len, char **ret_text,
                           size_t *ret_len)
{
    uint32_t epoch, counter;

    if (!seal_peek(data, len, &epoch, &counter) || !channel_trusted(channel))
        return PARLEY_EPROTO;
    if (channel->next_in.context != NULL && epoch == channel->next_in.epoch)
        return open_next(channel, data, len, ret_text, ret_len);
    if (channel->in.context == NULL)
        return PARLEY_EPROTO;
    return seal_open_frame(&channel->in, false, data, len, ret_text, ret_len);
}

void channel_seal(struct channel *channel, struct ws_batch *batch, size_t len)
{
    char *frame = (char *)batch->buffer + batch->payload;

    if (channel->out.context != NULL &&
        seal_close_frame(&channel->out, frame, len) == PARLEY_OK) {
        ws_frame_end(batch, WS_BINARY, len + SEAL_OVERHEAD);
        return;
    }
    ws_frame_drop(batch);
    channel->state = CHANNEL_BROKEN;
}

/* The first steps go before there are any keys. */
static bool write_plain(struct channel *channel, struct ws_batch *batch)
{
    size_t room;
    char *payload = ws_frame_begin(batch, channel->say_len, &room);

    if (payload == NULL)
        return false;
    memcpy(payload, channel->say, channel->say_len);
    ws_frame_end(batch, WS_TEXT, channel->say_len);
    return true;
}

static bool write_sealed(struct channel *channel, struct ws_batch *batch)
{
    size_t room;
    char *payload = channel_frame_begin(channel, batch, channel->say_len, &room);

    if (payload == NULL)
        return false;
    if (channel->say_sealed_anew) {
        seal_fini(&channel->out);
        channel->out = channel->next_out;
        memset(&channel->next_out, 0, sizeof(channel->next_out));
    }
    memcpy(payload, channel->say, channel->say_len);
    channel_frame_end(channel, batch, channel->say_len);
    return true;
}

bool channel_write(struct channel *channel, struct ws_batch *batch)
{
    bool plain;

    if (channel == NULL)
        return true;
    if (!channel_trusted(channel))
        return false; /* secure_review() is on its way */
    if (channel->say == NULL)
        return true;
    plain = channel->out.context == NULL && !channel->say_sealed_anew;
    if (!(plain ? write_plain(channel, batch) : write_sealed(channel, batch)))
        return false;
    alloc_free(&channel->bench->runtime->alloc, channel->say);
    channel->say = NULL;
    return true;
}

/* ---- Time ---- */

static const parley_options *options_of(const struct channel *channel)
{
    return &channel->bench->runtime->options;
}

static uint64_t end_ns(const struct channel *channel)
{
    return channel->keyed_ns + options_of(channel)->secure_session_s * NS_PER_S;
}

/* When what is under way has taken too long, too. */
uint64_t channel_next_ns(const struct channel *channel)
{
    if (channel != NULL && channel->state == CHANNEL_SEALED && channel->handshake != NULL)
        return channel->handshake->until_ns < end_ns(channel) ? channel->handshake->until_ns
                                                              : end_ns(channel);
    return channel_rekey_ns(channel);
}

uint64_t channel_rekey_ns(const struct channel *channel)
{
    if (channel == NULL || !channel->initiator || channel->state != CHANNEL_SEALED ||
        channel->handshake != NULL)
        return CLOCK_NEVER;
    return channel->keyed_ns + secure_rekey_ns(channel->bench->runtime);
}

bool channel_rekey_due(const struct channel *channel, uint64_t now_ns_)
{
    uint32_t most = options_of(channel)->rekey_frames;

    return channel_rekey_ns(channel) != CLOCK_NEVER &&
           (now_ns_ >= channel_rekey_ns(channel) || channel->out.next >= most ||
            channel->in.next >= most);
}

/* A key that takes the place of another one was trusted when it was looked up: as long as the
 * version stays, it is. */
bool channel_trusted(struct channel *channel)
{
    struct parley *runtime = channel->bench->runtime;
    uint32_t version = trust_version(runtime);

    if (channel->state != CHANNEL_SEALED || version == channel->trust_version)
        return true;
    if (!secure_trusted(runtime, channel->peer_id, channel->peer_key))
        return false;
    channel->trust_version = version;
    return true;
}

bool channel_expired(const struct channel *channel, uint64_t now_ns_)
{
    if (channel->handshake != NULL && handshake_expire(channel->handshake, now_ns_))
        return true;
    return channel->state == CHANNEL_SEALED && now_ns_ >= end_ns(channel);
}
