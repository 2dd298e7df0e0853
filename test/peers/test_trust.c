/* SPDX-License-Identifier: Apache-2.0
 *
 * Whose keys are trusted: by peers' options and by a directory, which change together or not
 * at all while workers look them up.
 */
#include "peers/service.h"
#include "peers/trust.h"
#include "peers/trust_ring.h"
#include "test/peers/key_files.h"
#include "test/peers/nodes.h"
#include "test/runtime/fail_alloc.h"

static char error[512];

/* ---- The table ---- */

#define ENTITIES 300

/* Against a plain array, with entries coming and going until tombstones are reused. */
static void the_table_finds_what_is_in_it(void)
{
    struct check_random random = {check_seed(20261123)};
    struct trust_entry *entries[ENTITIES];
    bool present[ENTITIES] = {false};
    struct trust_ring *ring;
    uint8_t key[IDENTITY_KEY_BYTES];
    struct alloc alloc;
    char id[32];

    alloc_init(&alloc, NULL);
    CHECK(identity_from_hex(key_hex(1), IDENTITY_KEY_HEX, key));
    ring = trust_ring_new(&alloc, ENTITIES);
    for (size_t i = 0; i < ENTITIES; i++) {
        snprintf(id, sizeof(id), "entity-%zu", i);
        CHECK_STATUS(trust_entry_new(&alloc, id, key, &entries[i]), OK);
    }
    for (size_t round = 0; round < 20000; round++) {
        size_t i = check_random_below(&random, ENTITIES);
        struct trust_entry *found = trust_ring_find(ring, entries[i]->id);

        if (!CHECK(found == (present[i] ? entries[i] : NULL)))
            break;
        if (present[i])
            trust_ring_remove(ring, entries[i]);
        else if (trust_ring_has_room(ring))
            trust_ring_put(ring, entries[i]);
        else
            continue;
        present[i] = !present[i];
    }
    for (size_t i = 0; i < ENTITIES; i++)
        trust_entry_free(&alloc, entries[i]);
    alloc_free(&alloc, ring);
}

/* ---- Asked on a worker, as everything that verifies does ---- */

struct asker {
    parley *node;
    _Atomic(uint64_t) asked;
    _Atomic(uint64_t) found, missing, torn;
    char expected[2][IDENTITY_KEY_BYTES]; /* "changing" has one of these */
};

static parley_verdict ask_trust(const parley_incoming *message, char *detail, void *user)
{
    struct asker *asker = user;
    const struct identity_key *key = trust_find(asker->node, "changing");
    const struct identity *identity = trust_identity(asker->node);

    (void)message;
    (void)detail;
    if (key == NULL)
        atomic_fetch_add(&asker->missing, 1);
    else if (memcmp(identity_key_bytes(key), asker->expected[0], IDENTITY_KEY_BYTES) != 0 &&
             memcmp(identity_key_bytes(key), asker->expected[1], IDENTITY_KEY_BYTES) != 0)
        atomic_fetch_add(&asker->torn, 1);
    else
        atomic_fetch_add(&asker->found, 1);
    if (identity != NULL && identity_public(identity)[0] == 0 &&
        identity_public(identity)[1] == 0)
        atomic_fetch_add(&asker->torn, 1);
    atomic_fetch_add(&asker->asked, 1);
    return PARLEY_ACCEPT;
}

static bool trusts(parley *node, const char *entity, const char *hex)
{
    const struct identity_key *key = trust_find(node, entity); /* nobody changes it now */
    char text[IDENTITY_KEY_HEX + 1];

    if (key == NULL || hex == NULL)
        return key == NULL && hex == NULL;
    identity_hex(identity_key_bytes(key), text);
    return strcmp(text, hex) == 0;
}

static parley_status reload(parley *node, const parley_options *options)
{
    error[0] = '\0';
    return parley_reload_keys(node, options, error, sizeof(error));
}

/* ---- Opening ---- */

static void keys_come_from_peers_and_the_directory(void)
{
    parley_peer_entry peers[2] = {{.id = "a"}, {.id = "b"}};
    parley_options options;
    parley_peer peer;
    parley *node;

    if (key_dir_make()) {
        key_text("c.pub", key_hex(3), 0644);
        key_text("d.e:f_g-1.pub", key_hex(4), 0644);
        key_text("README", "no key", 0644);
        key_text(".hidden.pub", "no key", 0644);
        node_options(&options, "me");
        parley_peer_options_init(&peers[0].options);
        parley_peer_options_init(&peers[1].options);
        peers[0].options.public_key = key_hex(1);
        options.peers = peers;
        options.peers_len = 2;
        options.trusted_keys_dir = key_dir;
        node = node_open(&options);
        CHECK(trusts(node, "a", key_hex(1)) && trusts(node, "b", NULL));
        CHECK(trusts(node, "c", key_hex(3)) && trusts(node, "d.e:f_g-1", key_hex(4)));
        CHECK(trusts(node, "README", NULL) && trusts(node, "me", NULL));
        CHECK(trust_identity(node) == NULL);
        CHECK_STATUS(parley_peer_find(node, "a", &peer), OK);
        CHECK_STATUS(parley_peer_remove(node, peer), OK);
        CHECK(trusts(node, "a", NULL) && trusts(node, "c", key_hex(3)));
        parley_close(node);
    }
    key_dir_remove();
}

static void a_bad_key_file_keeps_the_node_from_opening(void)
{
    parley_peer_entry peer = {.id = "c"};
    parley_options options;
    parley *node = NULL;

    if (key_dir_make()) {
        node_options(&options, "me");
        options.trusted_keys_dir = key_dir;
        key_text("c.pub", "nonsense", 0644);
        CHECK_STATUS(parley_open(&options, error, sizeof(error), &node), ECONFIG);
        CHECK_CONTAINS(error, "security.trusted_keys_dir: /tmp/parley-keys-");
        CHECK_CONTAINS(error, "/c.pub: holds no public key (64 hex digits, or PEM)");
        key_text("c.pub", key_hex(3), 0644);
        parley_peer_options_init(&peer.options);
        peer.options.public_key = key_hex(4);
        options.peers = &peer;
        options.peers_len = 1;
        CHECK_STATUS(parley_open(&options, error, sizeof(error), &node), ECONFIG);
        CHECK_TEXT(error, "peers: c: public_key: expected the one in "
                          "security.trusted_keys_dir");
        options.peers_len = 0;
        CHECK(chmod(key_dir, 0777) == 0);
        CHECK_STATUS(parley_open(&options, error, sizeof(error), &node), ECONFIG);
        CHECK_CONTAINS(error, "can be written by group or others; expected mode 0755");
        CHECK(chmod(key_dir, 0700) == 0);
        key_text("a b.pub", key_hex(3), 0644);
        CHECK_STATUS(parley_open(&options, error, sizeof(error), &node), ECONFIG);
        CHECK_CONTAINS(error, "/a b.pub: is not an entity's name and .pub");
        options.trusted_keys_dir = key_path("none");
        CHECK_STATUS(parley_open(&options, error, sizeof(error), &node), ECONFIG);
        CHECK_CONTAINS(error, "/none: No such file or directory");
        options.trusted_keys_dir = NULL;
        options.identity_file = key_text("id.pem", "nonsense", 0600);
        CHECK_STATUS(parley_open(&options, error, sizeof(error), &node), ECONFIG);
        CHECK_CONTAINS(error, "security.identity_file: /tmp/parley-keys-");
        CHECK_CONTAINS(error, "/id.pem: holds no private key (PKCS#8 in PEM)");
        CHECK(node == NULL);
    }
    key_dir_remove();
}

static void an_identity_comes_from_a_file_or_a_seed(void)
{
    uint8_t seed[IDENTITY_SEED_BYTES];
    char hex[IDENTITY_KEY_HEX + 1];
    parley_options options;
    parley *node = NULL;

    if (key_dir_make()) {
        key_seed(7, seed);
        node_options(&options, "me");
        options.identity_seed = seed;
        node = node_open(&options);
        identity_hex(identity_public(trust_identity(node)), hex);
        CHECK_TEXT(hex, key_hex(7));
        CHECK(trust_signs(node) && !trust_verifies(node));
        parley_close(node);
        options.identity_file = key_file("id.pem", 8);
        CHECK_STATUS(parley_open(&options, error, sizeof(error), &node), EINVAL);
        CHECK_CONTAINS(error, "security.identity_file: expected none beside identity_seed");
        options.identity_seed = NULL;
        options.signatures = PARLEY_SIGNATURES_OFF;
        node = node_open(&options);
        identity_hex(identity_public(trust_identity(node)), hex);
        CHECK_TEXT(hex, key_hex(8));
        CHECK(!trust_signs(node) && !trust_verifies(node));
        parley_close(node);
    }
    key_dir_remove();
}

static void a_peer_with_a_bad_key_is_not_added(void)
{
    static const char *const bad[] = {
        "", "0", "0100000000000000000000000000000000000000000000000000000000000000",
        "0200000000000000000000000000000000000000000000000000000000000000", /* no point */
    };
    parley_peer_options peer_options;
    parley_options options;
    parley_peer peer;
    parley *node;

    node_options(&options, "me");
    node = node_open(&options);
    parley_peer_options_init(&peer_options);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        peer_options.public_key = bad[i];
        CHECK_STATUS(parley_peer_add(node, "a", NULL, &peer_options, &peer), EINVAL);
        CHECK_STATUS(parley_peer_find(node, "a", &peer), EUNKNOWN);
    }
    peer_options.public_key = key_hex(1);
    CHECK_STATUS(parley_peer_add(node, "a", NULL, &peer_options, &peer), OK);
    peer_options.public_key = key_hex(2);
    CHECK_STATUS(parley_peer_add(node, "a", NULL, &peer_options, NULL), EEXIST);
    CHECK(trusts(node, "a", key_hex(1)));
    CHECK_STATUS(parley_peer_remove(node, peer), OK);
    parley_close(node);
}

/* ---- Reloading ---- */

static void a_reload_changes_everything_or_nothing(void)
{
    parley_peer_entry peers[2] = {{.id = "a"}, {.id = "stranger"}};
    char hex[IDENTITY_KEY_HEX + 1];
    const struct identity_key *kept;
    parley_options options;
    char identity[128];
    parley *node;

    if (key_dir_make()) {
        node_options(&options, "me");
        parley_peer_options_init(&peers[0].options);
        parley_peer_options_init(&peers[1].options);
        peers[0].options.public_key = key_hex(1);
        peers[1].options.public_key = key_hex(9);
        options.peers = peers;
        options.peers_len = 1;
        options.trusted_keys_dir = key_dir;
        snprintf(identity, sizeof(identity), "%s", key_file("id.pem", 7));
        options.identity_file = identity;
        key_text("c.pub", key_hex(3), 0644);
        key_text("d.pub", key_hex(4), 0644);
        node = node_open(&options);
        kept = trust_find(node, "c");

        /* all of it is different, but one file is bad */
        peers[0].options.public_key = key_hex(2);
        key_file("id.pem", 8);
        unlink(key_path("d.pub"));
        key_text("e.pub", "nonsense", 0644);
        CHECK_STATUS(reload(node, &options), ECONFIG);
        CHECK_CONTAINS(error, "/e.pub: holds no public key");
        CHECK(trusts(node, "a", key_hex(1)) && trusts(node, "d", key_hex(4)) &&
              trusts(node, "e", NULL));
        identity_hex(identity_public(trust_identity(node)), hex);
        CHECK_TEXT(hex, key_hex(7));

        key_text("e.pub", key_hex(5), 0644);
        options.peers_len = 2;
        CHECK_STATUS(reload(node, &options), OK);
        CHECK_TEXT(error, "");
        CHECK(trusts(node, "a", key_hex(2)) && trusts(node, "d", NULL) &&
              trusts(node, "e", key_hex(5)) && trusts(node, "stranger", NULL));
        CHECK(trust_find(node, "c") == kept);
        identity_hex(identity_public(trust_identity(node)), hex);
        CHECK_TEXT(hex, key_hex(8));

        key_text("a.pub", key_hex(6), 0644);
        CHECK_STATUS(reload(node, &options), ECONFIG);
        CHECK_TEXT(error, "peers: a: public_key: expected the one in "
                          "security.trusted_keys_dir");
        CHECK(trusts(node, "a", key_hex(2)));
        peers[0].options.public_key = NULL;
        options.identity_file = NULL;
        CHECK_STATUS(reload(node, &options), OK);
        CHECK(trusts(node, "a", key_hex(6)) && trust_identity(node) == NULL);
        options.trusted_keys_dir = NULL;
        CHECK_STATUS(reload(node, &options), OK);
        CHECK(trusts(node, "a", NULL) && trusts(node, "c", NULL));
        options.ttl_ms = 0;
        CHECK_STATUS(reload(node, &options), EINVAL);
        CHECK_CONTAINS(error, "transport.ttl_ms: ");
        parley_close(node);
    }
    key_dir_remove();
}

static void asking_log(parley_log_level level, const char *line, void *user)
{
    struct asker *asker = user;
    parley_peer peer;

    to_stderr(level, line, NULL);
    if (asker->node != NULL && strstr(line, "trusted") != NULL &&
        parley_peer_find(asker->node, "a", &peer) != PARLEY_EINVAL)
        atomic_fetch_add(&asker->asked, 1);
}

/* It would wait for ever if a lock were held. Keys are told by fingerprint only. */
static void a_log_may_ask_about_what_it_is_told(void)
{
    struct asker asker = {.node = NULL};
    parley_peer_options peer_options;
    parley_options options;
    parley_peer peer;

    if (key_dir_make()) {
        key_text("c.pub", key_hex(3), 0644);
        node_options(&options, "me");
        options.log = asking_log;
        options.log_user = &asker;
        options.trusted_keys_dir = key_dir;
        asker.node = node_open(&options);
        parley_peer_options_init(&peer_options);
        peer_options.public_key = key_hex(1);
        CHECK_STATUS(parley_peer_add(asker.node, "a", NULL, &peer_options, &peer), OK);
        CHECK_U64(asker.asked, 1);
        peer_options.public_key = key_hex(4);
        CHECK_STATUS(parley_peer_add(asker.node, "c", NULL, &peer_options, NULL), ECONFIG);
        CHECK_U64(asker.asked, 2);
        key_text("c.pub", key_hex(4), 0644);
        CHECK_STATUS(reload(asker.node, &options), OK); /* one is lost, one gained */
        CHECK_U64(asker.asked, 4);
        parley_close(asker.node);
    }
    key_dir_remove();
}

static parley_verdict reload_here(const parley_incoming *message, char *detail, void *user)
{
    struct asker *asker = user;
    parley_options options;

    (void)message;
    (void)detail;
    parley_options_init(&options);
    if (parley_reload_keys(asker->node, &options, NULL, 0) == PARLEY_EDEADLK)
        atomic_fetch_add(&asker->found, 1);
    return PARLEY_ACCEPT;
}

static void a_worker_does_not_reload(void)
{
    struct tally tally = {.mutex = PTHREAD_MUTEX_INITIALIZER};
    struct asker asker = {.node = receiver_open(0, true)};
    parley_options options;
    parley *sender;

    parley_on_message(asker.node, NULL, reload_here, &asker);
    node_options(&options, "sender");
    sender = node_open(&options);
    CHECK_STATUS(post(sender, peer_to(sender, asker.node, "receiver", PARLEY_WEBSOCKET_FIRST),
                      "{}", &tally),
                 OK);
    CHECK(check_wait(&tally.results, 1));
    CHECK_U64(asker.found, 1);
    parley_close(sender);
    parley_close(asker.node);
}

/* Workers ask all the while; a sanitizer sees one that reads what has been freed. */
static void workers_may_ask_while_keys_change(void)
{
    struct tally tally = {.mutex = PTHREAD_MUTEX_INITIALIZER};
    struct asker asker = {.node = NULL};
    parley_options options, keys;
    parley_peer_options peer_options;
    parley_peer to, peer;
    uint8_t seed[IDENTITY_SEED_BYTES];
    parley *sender;
    char id[32];

    if (key_dir_make()) {
        asker.node = receiver_open(0, true);
        CHECK(identity_from_hex(key_hex(1), 64, (uint8_t *)asker.expected[0]) &&
              identity_from_hex(key_hex(2), 64, (uint8_t *)asker.expected[1]));
        parley_on_message(asker.node, NULL, ask_trust, &asker);
        node_options(&options, "sender");
        sender = node_open(&options);
        to = peer_to(sender, asker.node, "receiver", PARLEY_WEBSOCKET_FIRST);
        parley_options_init(&keys);
        keys.trusted_keys_dir = key_dir;
        keys.identity_seed = seed;
        parley_peer_options_init(&peer_options);
        for (unsigned round = 0; round < 60; round++) {
            uint64_t posted = atomic_load(&tally.results);

            for (unsigned i = 0; i < 20; i++)
                CHECK_STATUS(post(sender, to, "{}", &tally), OK);
            key_seed((uint8_t)(1 + round % 2), seed);
            if (round % 3 == 2)
                unlink(key_path("changing.pub"));
            else
                key_text("changing.pub", key_hex(1 + round % 2), 0644);
            CHECK_STATUS(reload(asker.node, &keys), OK);
            CHECK_TEXT(error, "");
            peer_options.public_key = key_hex(1 + round % 4);
            snprintf(id, sizeof(id), "peer-%u", round % 40);
            if (parley_peer_find(asker.node, id, &peer) == PARLEY_OK)
                CHECK_STATUS(parley_peer_remove(asker.node, peer), OK);
            CHECK_STATUS(parley_peer_add(asker.node, id, NULL, &peer_options, &peer), OK);
            CHECK(check_wait(&tally.results, posted + 20));
        }
        CHECK_U64(atomic_load(&asker.asked), 60 * 20);
        CHECK_U64(atomic_load(&asker.torn), 0);
        CHECK(atomic_load(&asker.found) > 0);
        parley_close(sender);
        parley_close(asker.node);
    }
    key_dir_remove();
}

/* Every allocation of a reload fails once: nothing has changed then, and nothing leaks. */
static void want_of_memory_changes_nothing(void)
{
    struct fail_alloc state = {.left = -1};
    struct alloc failing = fail_alloc_init(&state, -1);
    parley_options options;
    parley_status status = PARLEY_ENOMEM;
    int64_t before;
    parley *node;

    if (key_dir_make()) {
        key_text("a.pub", key_hex(1), 0644);
        node_options(&options, "me");
        options.workers = 1;
        options.allocator = &failing.host;
        options.trusted_keys_dir = key_dir;
        node = node_open(&options);
        key_text("a.pub", key_hex(2), 0644);
        key_text("b.pub", key_hex(3), 0644);
        options.identity_file = key_file("id.pem", 7);
        before = state.out;
        for (int64_t successes = 0; status == PARLEY_ENOMEM && successes < 100; successes++) {
            CHECK(trusts(node, "a", key_hex(1)) && trusts(node, "b", NULL) &&
                  trust_identity(node) == NULL);
            CHECK_U64(state.out, before);
            atomic_store(&state.left, successes);
            status = reload(node, &options);
            atomic_store(&state.left, -1);
        }
        CHECK_STATUS(status, OK);
        CHECK(trusts(node, "a", key_hex(2)) && trusts(node, "b", key_hex(3)));
        parley_close(node);
        CHECK_U64(state.out, 0);
    }
    key_dir_remove();
}

static const struct check_test tests[] = {
    {"the table finds what is in it", the_table_finds_what_is_in_it},
    {"keys come from peers and the directory", keys_come_from_peers_and_the_directory},
    {"a bad key file keeps the node from opening", a_bad_key_file_keeps_the_node_from_opening},
    {"an identity comes from a file or a seed", an_identity_comes_from_a_file_or_a_seed},
    {"a peer with a bad key is not added", a_peer_with_a_bad_key_is_not_added},
    {"a reload changes everything or nothing", a_reload_changes_everything_or_nothing},
    {"a log may ask about what it is told", a_log_may_ask_about_what_it_is_told},
    {"a worker does not reload", a_worker_does_not_reload},
    {"workers may ask while keys change", workers_may_ask_while_keys_change},
    {"want of memory changes nothing", want_of_memory_changes_nothing},
};

CHECK_MAIN("trust", tests)
