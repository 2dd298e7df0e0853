/* SPDX-License-Identifier: Apache-2.0 */
#include "peers/secure.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "peers/connection.h"
#include "peers/peer.h"
#include "peers/trust.h"
#include "runtime/clock.h"

bool secure_offered(const struct parley *runtime)
{
    return runtime->options.sessions == PARLEY_SESSIONS_AUTO &&
           runtime->options.parley_protocol && trust_identity(runtime) != NULL;
}

bool secure_wanted(struct parley *runtime, const char *entity_id)
{
    return secure_offered(runtime) && trust_find(runtime, entity_id) != NULL;
}

bool secure_trusted(struct parley *runtime, const char *entity_id,
                    const uint8_t key[IDENTITY_KEY_BYTES])
{
    const struct identity_key *trusted = trust_find(runtime, entity_id);

    return trusted != NULL &&
           memcmp(identity_key_bytes(trusted), key, IDENTITY_KEY_BYTES) == 0;
}

uint64_t secure_rekey_ns(const struct parley *runtime)
{
    const uint64_t rekey = runtime->options.rekey_s * NS_PER_S;
    const uint64_t session = runtime->options.secure_session_s * NS_PER_S;

    return rekey < session / 4 * 3 ? rekey : session / 4 * 3;
}

void secure_review(struct bench *bench)
{
    for (struct connection *connection = bench->connections; connection != NULL;
         connection = connection->next)
        connection_secure_check(connection);
    for (struct peer *peer = bench->peers, *next; peer != NULL; peer = next) {
        next = peer->next;
        link_review(peer);
        post_review(peer);
    }
}

bool secure_parties(struct bench *bench, const char *entity_id,
                    struct handshake_parties *ret_parties)
{
    struct parley *runtime = bench->runtime;
    const parley_options *options = &runtime->options;

    if (!secure_wanted(runtime, entity_id))
        return false;
    *ret_parties = (struct handshake_parties){
        .crypto = &runtime->crypto,
        .canonical = &bench->canonical,
        .own_id = runtime->node_id,
        .identity = trust_identity(runtime),
        .peer_id = entity_id,
        .peer_key = trust_find(runtime, entity_id),
        .limits = {.max_batch_bytes = options->batch_bytes_max,
                   .max_in_flight = options->in_flight_max,
                   .max_message_bytes = options->message_bytes_max},
    };
    return true;
}

void secure_random(void *bytes, size_t len)
{
    uint8_t *at = bytes;

    while (len > 0) {
        ssize_t got = getrandom(at, len, 0);

        if (got > 0) {
            at += got;
            len -= (size_t)got;
        } else {
            assert(errno == EINTR); /* nothing else can happen to a valid buffer */
        }
    }
}

parley_security secure_minimum(struct parley *runtime, struct secure_minimum *known,
                               const char *entity_id)
{
    const struct peer *peer;
    /* acquire: pairs with the release in registry.c, as in limit.c. */
    uint32_t version = atomic_load_explicit(&runtime->registry.version, memory_order_acquire);

    if (known->known && known->version == version)
        return known->minimum;
    known->version = version;
    known->known = true;
    registry_lock(&runtime->registry);
    peer = registry_find(&runtime->registry, entity_id);
    known->minimum = peer != NULL ? peer->security_min : PARLEY_SECURITY_OFF;
    registry_unlock(&runtime->registry);
    return known->minimum;
}
