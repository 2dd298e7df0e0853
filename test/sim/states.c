/* SPDX-License-Identifier: Apache-2.0
 *
 * Distinct states: what a worker's peers and sessions look like after a step, small numbers
 * told apart and large ones not, as one bit of a map that all processes' maps are joined to.
 */
#include "peers/peer.h"
#include "peers/service.h"
#include "peers/session.h"
#include "test/sim/ledger.h"

static uint64_t few(uint64_t count)
{
    return count < 3 ? count : 3;
}

static uint64_t mixed(uint64_t hash, uint64_t value)
{
    return (hash ^ value) * UINT64_C(0x9e3779b97f4a7c15) >> 7;
}

static uint64_t state_of_peer(const struct peer *peer)
{
    const struct link *link = &peer->link;
    const struct post *post = &peer->post;
    uint64_t bits =
        (uint64_t)link->state | (uint64_t)peer->delivery.route << 4 |
        few(peer->delivery.outstanding) << 6 | few(peer->delivery.counts.pending) << 8 |
        few(post->failures) << 10 | few(link->backoff.failures) << 12 |
        (uint64_t)peer->preference << 14 | (uint64_t)post->busy << 16 |
        (uint64_t)post->parley << 17 | (uint64_t)post->single << 18 |
        (uint64_t)link->suspect << 19 | (uint64_t)(link->carrier != NULL) << 20 |
        (uint64_t)(link->inbound != NULL) << 21 | (uint64_t)peer->closing << 22 |
        (uint64_t)peer->health.healthy << 23 |
        (uint64_t)(link->grace_until_ns != CLOCK_NEVER) << 24 |
        (uint64_t)(post->next_ns != CLOCK_NEVER) << 25 | (uint64_t)link->redial << 26 |
        (uint64_t)(link->pinged_ns != 0) << 27 | (uint64_t)(peer->transfers != NULL) << 28 |
        (uint64_t)(peer->transfers != peer->transfers_last) << 29 |
        few(peer->transfers_in_order) << 30 | few(peer->delivery.asides) << 32;

    return mixed(UINT64_C(0xcbf29ce484222325), bits);
}

static uint64_t state_of_session(const struct session *session)
{
    const struct receive *receive = &session->receive;
    uint64_t bits = few(receive->watermark - receive->ack_seq) |
                    few(receive->rejected_len) << 2 | (uint64_t)receive->known << 4 |
                    (uint64_t)(session->connection != NULL) << 5 |
                    (uint64_t)(session->waiting != NULL) << 6 | 1u << 7;

    return mixed(UINT64_C(0x84222325cbf29ce4), bits);
}

static void reach(uint64_t state)
{
    uint64_t bit = mixed(state, 1) & ((1u << STATES_BITS) - 1);

    tally->reached[bit / 8] |= (uint8_t)(1u << bit % 8);
}

/* Of unfinished transfers, how many, and whether they have room for more. */
static uint64_t state_of_chunks(const struct chunks *chunks)
{
    uint64_t count = 0;

    for (const struct chunk_transfer *t = chunks->oldest; t != NULL && count < 3; t = t->newer)
        count++;
    return mixed(UINT64_C(0x9ce484222325cbf2),
                 count | (uint64_t)(chunks->memory > chunks->limits.memory_bytes_max / 2)
                             << 2);
}

void states_reach(const struct bench *bench)
{
    uint64_t state = state_of_chunks(&bench->runtime->transfers.chunks);

    for (const struct peer *peer = bench->peers; peer != NULL; peer = peer->next)
        state += state_of_peer(peer);
    for (const struct session *session = bench->sessions; session != NULL;
         session = session->next)
        state += state_of_session(session);
    reach(state);
}
