/* SPDX-License-Identifier: Apache-2.0
 *
 * Wrong arguments, wrong places to call from, full mailboxes: each has its status, and
 * nothing is harmed.
 */
#include <sys/wait.h>
#include <unistd.h>

#include "test/peers/nodes.h"

static void bad_messages(void)
{
    static const struct {
        const char *type, *payload;
        parley_status expected;
    } cases[] = {
        {"test", "[]", PARLEY_EINVAL},       {"test", "", PARLEY_EINVAL},
        {"test", "{\"a\":1", PARLEY_EINVAL}, {"test", "{\"a\":1,\"a\":2}", PARLEY_EINVAL},
        {"test", "{} {}", PARLEY_EINVAL},    {"test", "{\"a\":\"\xff\"}", PARLEY_EINVAL},
        {"", "{}", PARLEY_EINVAL},           {"a b", "{}", PARLEY_EINVAL},
        {"chunk", "{}", PARLEY_EINVAL},      {NULL, "{}", PARLEY_EINVAL},
        {"test", NULL, PARLEY_EINVAL},       {"test", "{\"a\":01}", PARLEY_EINVAL},
        {"handshake", "{}", PARLEY_EINVAL},
    };
    struct pair pair;
    parley_message message;
    char *large = calloc(1, (64u << 20) + 1); /* transfer_bytes_max, and one */

    pair_open(&pair, PARLEY_WEBSOCKET_FIRST);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *payload = cases[i].payload;

        parley_message_init(&message, cases[i].type, payload,
                            payload != NULL ? strlen(payload) : 0);
        CHECK_U64(parley_send(pair.sender, pair.peer, &message, NULL, NULL, NULL),
                  cases[i].expected);
    }
    memset(large, ' ', 2u << 20);
    large[0] = '{';
    parley_message_init(&message, "test", large, (64u << 20) + 1);
    CHECK_STATUS(parley_send(pair.sender, pair.peer, &message, NULL, NULL, NULL), ETOOBIG);
    large[(1u << 20) - 1] = '}'; /* exactly message_bytes_max */
    message.payload_len = 1u << 20;
    CHECK_STATUS(
        parley_send(pair.sender, pair.peer, &message, tally_result, &pair.tally, NULL), OK);
    CHECK(check_wait(&pair.tally.results, 1));
    CHECK_U64(pair.tally.outcomes[PARLEY_DELIVERED], 1);
    message.hint = (parley_hint)7;
    CHECK_STATUS(parley_send(pair.sender, pair.peer, &message, NULL, NULL, NULL), EINVAL);
    CHECK_STATUS(post(pair.sender, (parley_peer){0}, "{}", &pair.tally), EUNKNOWN);
    CHECK_STATUS(post(pair.sender, (parley_peer){UINT64_MAX}, "{}", &pair.tally), EUNKNOWN);
    free(large);
    pair_close(&pair);
}

static void bad_peers(void)
{
    static const char *const urls[] = {
        "ftp://host", "http://", "http://h:0", "http://h:70000", "http://u:p@h", "h", ""};
    parley_peer_options options;
    struct pair pair;
    parley_peer peer;

    pair_open(&pair, PARLEY_WEBSOCKET_FIRST);
    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++)
        CHECK_STATUS(parley_peer_add(pair.sender, "p", urls[i], NULL, &peer), EURL);
    CHECK_STATUS(parley_peer_add(pair.sender, "a b", "http://h", NULL, &peer), EINVAL);
    CHECK_STATUS(parley_peer_add(pair.sender, "", "http://h", NULL, &peer), EINVAL);
    CHECK_STATUS(parley_peer_add(pair.sender, "receiver", "http://h", NULL, &peer), EEXIST);
    parley_peer_options_init(&options);
    options.preference_set = true;
    options.preference = (parley_preference)9;
    CHECK_STATUS(parley_peer_add(pair.sender, "p", "http://h", &options, &peer), EINVAL);
    CHECK_STATUS(parley_peer_find(pair.sender, "p", &peer), EUNKNOWN);
    CHECK_STATUS(parley_peer_find(pair.sender, "receiver", &peer), OK);
    CHECK_U64(peer.value, pair.peer.value);
    pair_close(&pair);
}

static void port_in_use(void)
{
    struct pair pair;
    parley_options options;
    parley *second = NULL;
    char error[256];

    pair_open(&pair, PARLEY_WEBSOCKET_FIRST);
    node_options(&options, "second");
    options.listen_host = "127.0.0.1";
    options.listen_port = parley_port(pair.receiver);
    CHECK_STATUS(parley_open(&options, error, sizeof(error), &second), EADDRINUSE);
    CHECK_CONTAINS(error, "127.0.0.1");
    CHECK(second == NULL);
    pair_close(&pair);
}

struct misuse {
    parley *node;
    parley_status drain, close, stats;
    _Atomic(uint64_t) done;
};

static void misuse_in_callback(const parley_result *result, void *user)
{
    struct misuse *misuse = user;
    parley_stats stats = {.size = sizeof(stats)};

    (void)result;
    misuse->drain = parley_drain(misuse->node, 0, NULL);
    misuse->close = parley_close(misuse->node);
    misuse->stats = parley_stats_get(misuse->node, &stats);
    atomic_store(&misuse->done, 1);
}

static void deadlocks_are_refused(void)
{
    struct misuse misuse = {0};
    parley_message message;
    struct pair pair;

    pair_open(&pair, PARLEY_WEBSOCKET_FIRST);
    misuse.node = pair.sender;
    parley_message_init(&message, "test", "{}", 2);
    CHECK_STATUS(
        parley_send(pair.sender, pair.peer, &message, misuse_in_callback, &misuse, NULL), OK);
    CHECK(check_wait(&misuse.done, 1));
    CHECK_STATUS(misuse.drain, EDEADLK);
    CHECK_STATUS(misuse.close, EDEADLK);
    CHECK_STATUS(misuse.stats, EDEADLK);
    pair_close(&pair);
}

static void forked_children_are_refused(void)
{
    struct pair pair;
    int status = 0;
    pid_t child;

    pair_open(&pair, PARLEY_WEBSOCKET_FIRST);
    child = fork();
    if (child == 0) {
        bool refused = post(pair.sender, pair.peer, "{}", NULL) == PARLEY_EFORK &&
                       parley_connect(pair.sender, pair.peer) == PARLEY_EFORK &&
                       parley_drain(pair.sender, 0, NULL) == PARLEY_EFORK &&
                       parley_close(pair.sender) == PARLEY_EFORK;

        _exit(refused ? 0 : 1);
    }
    CHECK(waitpid(child, &status, 0) == child);
    CHECK_U64(status, 0);
    CHECK_STATUS(post(pair.sender, pair.peer, "{}", &pair.tally), OK);
    CHECK(check_wait(&pair.tally.results, 1));
    pair_close(&pair);
}

static const struct check_test tests[] = {
    {"malformed messages are refused with their reason", bad_messages},
    {"malformed peers are refused with their reason", bad_peers},
    {"a port in use is said to be so", port_in_use},
    {"blocking calls inside callbacks are refused", deadlocks_are_refused},
    {"a forked child is refused", forked_children_are_refused},
};

CHECK_MAIN("misuse", tests)
