/* SPDX-License-Identifier: Apache-2.0
 *
 * A node whose handlers do what the payload says, for tests of older clients.
 */
#ifndef PARLEY_TEST_SERVED_H
#define PARLEY_TEST_SERVED_H

#include "test/peers/older_client.h"

#define LATER_MAX 64

/* ---- A node whose handlers do what the payload says ---- */

struct served {
    parley *node;
    _Atomic(uint64_t) handled, held;
    pthread_mutex_t mutex; /* guards what follows: the last message, and who waits */
    char type[80], sender[140], payload[256], message_id[140];
    parley_token tokens[LATER_MAX];
};

static inline parley_verdict obey(const parley_incoming *message, char *detail, void *user)
{
    struct served *served = user;
    parley_verdict verdict = PARLEY_ACCEPT;

    pthread_mutex_lock(&served->mutex);
    snprintf(served->type, sizeof(served->type), "%s", message->type);
    snprintf(served->sender, sizeof(served->sender), "%s", message->sender);
    snprintf(served->message_id, sizeof(served->message_id), "%s", message->message_id);
    snprintf(served->payload, sizeof(served->payload), "%.*s", (int)message->payload_len,
             message->payload);
    CHECK_U64(message->transport, PARLEY_TRANSPORT_WEBSOCKET);
    if (strstr(served->payload, "refuse") != NULL) {
        snprintf(detail, PARLEY_DETAIL_MAX, "not \"this\"");
        verdict = PARLEY_REJECT;
    } else if (strstr(served->payload, "later") != NULL) {
        served->tokens[atomic_load(&served->held)] = message->token;
        verdict = PARLEY_LATER;
    }
    pthread_mutex_unlock(&served->mutex);
    if (verdict == PARLEY_LATER)
        atomic_fetch_add(&served->held, 1);
    atomic_fetch_add(&served->handled, 1);
    return verdict;
}

static inline void serve_with(struct served *served, const parley_options *options)
{
    memset(served, 0, sizeof(*served));
    pthread_mutex_init(&served->mutex, NULL);
    served->node = node_open(options);
    parley_on_message(served->node, NULL, obey, served);
}

static inline void options_of(parley_options *options)
{
    node_options(options, "receiver");
    options->listen_host = "127.0.0.1";
    options->listen_port = 0;
}

static inline void serve(struct served *served)
{
    parley_options options;

    options_of(&options);
    serve_with(served, &options);
}

static inline void finish(struct served *served, unsigned which, parley_status status,
                          const char *detail)
{
    CHECK(check_wait(&served->held, which + 1));
    CHECK_STATUS(parley_message_finish(served->node, served->tokens[which], status, detail),
                 OK);
}

static inline void stop(struct served *served)
{
    CHECK_STATUS(parley_close(served->node), OK);
}

static inline void check_received(struct client *client, const char *seq)
{
    char expected[160];

    snprintf(expected, sizeof(expected),
             "{\"type\":\"status\",\"payload\":{\"event\":\"message_received\","
             "\"original_type\":\"peer_message\",\"seq\":%s}",
             seq);
    CHECK_CONTAINS(client_hear(client), expected);
}

#endif
