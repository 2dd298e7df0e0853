/* SPDX-License-Identifier: Apache-2.0
 *
 * A handler that never answers one message must not take the next ones with it.
 */
#include "test/peers/nodes.h"

/* Owes the answer to {"n":0}, takes all others. */
static parley_verdict owe_first(const parley_incoming *message, char *detail, void *user)
{
    _Atomic(uint64_t) *runs = user;

    (void)detail;
    atomic_fetch_add(runs, 1);
    return payload_number(message, "n") == 0 ? PARLEY_LATER : PARLEY_ACCEPT;
}

static void send_for(struct pair *pair, const char *payload, uint32_t ttl_ms,
                     struct tally *tally)
{
    parley_message message;

    parley_message_init(&message, "test", payload, strlen(payload));
    message.ttl_ms = ttl_ms;
    CHECK_STATUS(parley_send(pair->sender, pair->peer, &message, tally_result, tally, NULL),
                 OK);
}

/* Nothing is sent after them that could tell the receiver. */
static void later_ones_are_delivered(void)
{
    struct tally owed = TALLY_INIT, taken = TALLY_INIT;
    _Atomic(uint64_t) runs = 0;
    struct pair pair;

    pair_open(&pair, PARLEY_WEBSOCKET_ONLY);
    parley_on_message(pair.receiver, NULL, owe_first, &runs);
    send_for(&pair, "{\"n\":0}", 300, &owed);
    send_for(&pair, "{\"n\":1}", 60000, &taken);
    send_for(&pair, "{\"n\":2}", 60000, &taken);
    CHECK(check_wait(&owed.results, 1));
    CHECK_U64(atomic_load(&owed.outcomes[PARLEY_EXPIRED]), 1);
    CHECK(check_wait(&taken.results, 2));
    CHECK_U64(atomic_load(&taken.outcomes[PARLEY_DELIVERED]), 2);
    CHECK_U64(atomic_load(&runs), 3);
    check_adds_up(pair.sender);
    pair_close(&pair);
}

/* The same for a peer that is reached over the connection it opened. */
static void later_ones_are_delivered_back(void)
{
    struct tally owed = TALLY_INIT, taken = TALLY_INIT, first = TALLY_INIT;
    struct pair pair, back;
    _Atomic(uint64_t) runs = 0;

    pair_open(&pair, PARLEY_WEBSOCKET_ONLY);
    back = (struct pair){.sender = pair.receiver};
    CHECK_STATUS(parley_peer_add(pair.receiver, "sender", NULL, NULL, &back.peer), OK);
    parley_on_message(pair.sender, NULL, owe_first, &runs);
    send_for(&pair, "{\"t\":9}", 60000, &first);
    CHECK(check_wait(&first.results, 1));
    send_for(&back, "{\"n\":0}", 300, &owed);
    send_for(&back, "{\"n\":1}", 60000, &taken);
    CHECK(check_wait(&owed.results, 1));
    CHECK(check_wait(&taken.results, 1));
    CHECK_U64(atomic_load(&taken.outcomes[PARLEY_DELIVERED]), 1);
    CHECK_U64(atomic_load(&runs), 2);
    pair_close(&pair);
}

static const struct check_test tests[] = {
    {"messages after one without an answer are delivered", later_ones_are_delivered},
    {"and those to a peer without an address", later_ones_are_delivered_back},
};

CHECK_MAIN("unanswered messages", tests)
