/* SPDX-License-Identifier: Apache-2.0
 *
 * A node with one peer, which the test plays as the older server.
 */
#ifndef PARLEY_TEST_OLD_MANAGER_H
#define PARLEY_TEST_OLD_MANAGER_H

#include "test/peers/old_player.h"

#define STATES_MAX 64

/** Every state the peer reported. */
struct states {
    pthread_mutex_t mutex;
    size_t len;
    struct {
        parley_peer_state state;
        char reason[128];
    } entries[STATES_MAX];
};

struct old_manager {
    int listener;
    uint16_t port;
    parley_options options;
    parley_peer_options peer_options;
    parley *node;
    parley_peer peer;
    struct old_end end;
    struct states states;
};

static inline void note_state(parley_peer peer, const char *id, parley_peer_state state,
                              bool healthy, const char *reason, void *user)
{
    struct states *states = user;

    (void)peer;
    (void)id;
    (void)healthy;
    pthread_mutex_lock(&states->mutex);
    if (states->len < STATES_MAX) {
        states->entries[states->len].state = state;
        snprintf(states->entries[states->len].reason, sizeof(states->entries[0].reason), "%s",
                 reason);
        states->len++;
    }
    pthread_mutex_unlock(&states->mutex);
}

struct expected_state {
    struct states *states;
    parley_peer_state state;
    const char *reason;
};

static inline bool was_in_state(void *user)
{
    struct expected_state *expected = user;
    bool found = false;

    pthread_mutex_lock(&expected->states->mutex);
    for (size_t i = 0; i < expected->states->len; i++)
        found =
            found || (expected->states->entries[i].state == expected->state &&
                      strstr(expected->states->entries[i].reason, expected->reason) != NULL);
    pthread_mutex_unlock(&expected->states->mutex);
    return found;
}

/** Waits until the peer has reported this state with such a reason. */
static inline void check_state(struct old_manager *manager, parley_peer_state state,
                               const char *reason)
{
    struct expected_state expected = {&manager->states, state, reason};

    if (!CHECK(check_until(was_in_state, &expected)))
        fprintf(stderr, "never %s: %s\n", parley_peer_state_name(state), reason);
}

/** Sets what a test may then change before old_manager_open(). */
static inline void old_manager_init(struct old_manager *manager, parley_preference preference)
{
    memset(manager, 0, sizeof(*manager));
    manager->end.fd = -1;
    pthread_mutex_init(&manager->states.mutex, NULL);
    manager->port = old_listen(&manager->listener);
    node_options(&manager->options, "sender");
    manager->options.reconnect_min_ms = 20;
    manager->options.http_backoff_ms = 20;
    parley_peer_options_init(&manager->peer_options);
    manager->peer_options.preference = preference;
    manager->peer_options.preference_set = true;
}

static inline void old_manager_open(struct old_manager *manager)
{
    char url[64];

    manager->node = node_open(&manager->options);
    parley_on_peer_state(manager->node, note_state, &manager->states);
    snprintf(url, sizeof(url), "http://127.0.0.1:%u", manager->port);
    CHECK_STATUS(
        parley_peer_add(manager->node, "old", url, &manager->peer_options, &manager->peer),
        OK);
}

/** A node whose peer is connected to an older server. */
static inline bool old_manager_start(struct old_manager *manager)
{
    old_manager_init(manager, PARLEY_WEBSOCKET_ONLY);
    old_manager_open(manager);
    CHECK_STATUS(parley_connect(manager->node, manager->peer), OK);
    return old_welcome(manager->listener, &manager->end);
}

static inline void old_manager_stop(struct old_manager *manager)
{
    old_hang_up(&manager->end);
    CHECK_STATUS(parley_close(manager->node), OK);
    close(manager->listener);
}

static inline void manager_send(struct old_manager *manager, const char *payload,
                                struct fate *fate)
{
    send_one(manager->node, manager->peer, payload, 0, fate);
}

/** Says message_received; `seq` as JSON text, NULL: without one. */
static inline void old_receive(struct old_end *end, const char *seq)
{
    char text[256];

    snprintf(text, sizeof(text),
             "{\"type\":\"status\",\"payload\":{\"event\":\"message_received\","
             "\"original_type\":\"peer_message\"%s%s}}",
             seq != NULL ? ",\"seq\":" : "", seq != NULL ? seq : "");
    old_say(end, text);
}

static inline void old_error(struct old_end *end, const char *error)
{
    char text[256];

    snprintf(text, sizeof(text), "{\"type\":\"error\",\"payload\":{\"error\":\"%s\"}}", error);
    old_say(end, text);
}

#endif
