/* SPDX-License-Identifier: Apache-2.0
 *
 * Tokens of identities over real sockets: what one lets its owner do, who is kept out, and
 * that nodes show each other theirs and make new ones in time.
 */
#include "peers/auth.h"
#include "peers/jwt.h"
#include "peers/peer.h"
#include "peers/service.h"
#include "test/peers/key_files.h"
#define seen seen_by_handler /* peers/seen.h has another one */
#include "test/peers/nodes.h"
#include "test/peers/tokens.h"
#include "test/transport/host.h"

static _Atomic(uint64_t) leaks;

static void searching_log(parley_log_level level, const char *line, void *user)
{
    to_stderr(level, line, user);
    if (strstr(line, "eyJ") != NULL)
        atomic_fetch_add(&leaks, 1);
}

/* A node that trusts "alice" (seed 1) and "sender" (seed 2). */
static parley *receiver(bool required, const char *secret, bool in_query)
{
    parley_peer_entry peers[2] = {{.id = "alice"}, {.id = "sender"}};
    parley_options options;

    node_options(&options, "receiver");
    options.log = searching_log;
    options.listen_host = "127.0.0.1";
    options.tokens_required = required;
    options.token_in_query = in_query;
    options.jwt_secret = secret;
    for (size_t i = 0; i < 2; i++) {
        parley_peer_options_init(&peers[i].options);
        peers[i].options.public_key = key_hex((uint8_t)(i + 1));
    }
    options.peers = peers;
    options.peers_len = 2;
    return node_open(&options);
}

/* A header with a token for `audience` by seed `number`, made `ago_s` seconds ago. */
static const char *token_of(uint8_t number, const char *sub, const char *audience, long ago_s)
{
    static char headers[8][AUTH_HEADER_MAX + 32];
    static unsigned next;
    char *header = headers[next++ % 8], token[JWT_MADE_MAX + 1] = "";
    uint8_t seed[IDENTITY_SEED_BYTES];
    struct identity *identity = NULL;
    struct alloc alloc;

    alloc_init(&alloc, NULL);
    key_seed(number, seed);
    CHECK_STATUS(identity_new(&alloc, seed, &identity), OK);
    CHECK_STATUS(jwt_make(identity, sub, audience, (uint64_t)(time(NULL) - ago_s), token), OK);
    identity_free(identity);
    snprintf(header, sizeof(headers[0]), "Authorization: Bearer %s\r\n", token);
    return header;
}

static const char *exchange(const parley *node, const char *request)
{
    static char answer[16384];
    int fd = raw_connect(parley_port(node));

    answer[0] = '\0';
    CHECK(raw_send(fd, request, strlen(request)) && raw_answer(fd, answer, sizeof(answer)));
    close(fd);
    return answer;
}

static const char *upgrade(const parley *node, const char *query, const char *header)
{
    char request[4096];

    snprintf(request, sizeof(request),
             "GET " WS_PATH "%s HTTP/1.1\r\n" UPGRADE_HEADERS "%s\r\n", query, header);
    return exchange(node, request);
}

static const char *get(const parley *node, const char *path, const char *header)
{
    char request[4096];

    snprintf(request, sizeof(request),
             "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%s\r\n", path,
             header);
    return exchange(node, request);
}

/* ---- Shown to us ---- */

static void an_identitys_token_opens_what_is_guarded(void)
{
    parley *node = receiver(true, NULL, false);
    char hs256[1024], header[1200];
    const char *answer;

    CHECK_CONTAINS(upgrade(node, "", token_of(1, "alice", "receiver", 0)), " 101 ");
    CHECK_CONTAINS(upgrade(node, "?entity_id=alice", token_of(1, "alice", "receiver", 0)),
                   " 101 ");
    CHECK_CONTAINS(get(node, "/stats", token_of(1, "alice", "receiver", 0)), " 200 ");
    CHECK_CONTAINS(get(node, "/health", ""), " 200 ");
    answer = upgrade(node, "", "");
    CHECK_CONTAINS(answer, " 403 ");
    CHECK_CONTAINS(answer, "{\"detail\":\"Forbidden\"}");
    answer = get(node, "/stats", "");
    CHECK_CONTAINS(answer, " 401 ");
    CHECK_CONTAINS(answer, "{\"detail\":\"Unauthorized\"}");
    /* expired, of tomorrow, for another node, another's key, a stranger, another's name */
    CHECK_CONTAINS(upgrade(node, "", token_of(1, "alice", "receiver", 301)), " 403 ");
    CHECK_CONTAINS(upgrade(node, "", token_of(1, "alice", "receiver", -90)), " 403 ");
    CHECK_CONTAINS(upgrade(node, "", token_of(1, "alice", "other", 0)), " 403 ");
    CHECK_CONTAINS(upgrade(node, "", token_of(2, "alice", "receiver", 0)), " 403 ");
    CHECK_CONTAINS(upgrade(node, "", token_of(3, "mallory", "receiver", 0)), " 403 ");
    CHECK_CONTAINS(upgrade(node, "?entity_id=sender", token_of(1, "alice", "receiver", 0)),
                   " 403 ");
    CHECK_CONTAINS(get(node, "/stats", token_of(1, "alice", "other", 0)), " 401 ");
    token_for(hs256, "alice", 300); /* of a secret that this node does not have */
    snprintf(header, sizeof(header), "Authorization: Bearer %s\r\n", hs256);
    CHECK_CONTAINS(upgrade(node, "", header), " 403 ");
    parley_close(node);
}

static void both_kinds_count_where_there_is_a_secret(void)
{
    parley *node = receiver(false, SECRET, false);
    char hs256[1024], header[1200];

    token_for(hs256, "alice", 300);
    snprintf(header, sizeof(header), "Authorization: Bearer %s\r\n", hs256);
    CHECK_CONTAINS(upgrade(node, "", header), " 101 ");
    CHECK_CONTAINS(upgrade(node, "", token_of(1, "alice", "receiver", 0)), " 101 ");
    CHECK_CONTAINS(upgrade(node, "", token_of(1, "alice", "receiver", 301)), " 403 ");
    CHECK_CONTAINS(upgrade(node, "", ""), " 403 ");
    parley_close(node);
}

/* A token that nobody asked for: a stranger's says nothing, a trusted identity's is right. */
static void an_uncalled_for_token_must_not_be_a_lie(void)
{
    parley *node = receiver(false, NULL, false);

    CHECK_CONTAINS(upgrade(node, "", ""), " 101 ");
    CHECK_CONTAINS(upgrade(node, "", "Authorization: Bearer nonsense\r\n"), " 101 ");
    CHECK_CONTAINS(upgrade(node, "", token_of(3, "mallory", "receiver", 0)), " 101 ");
    CHECK_CONTAINS(upgrade(node, "", token_of(1, "alice", "receiver", 0)), " 101 ");
    CHECK_CONTAINS(upgrade(node, "", token_of(3, "alice", "receiver", 0)), " 403 ");
    CHECK_CONTAINS(upgrade(node, "", token_of(1, "alice", "receiver", 301)), " 403 ");
    CHECK_CONTAINS(upgrade(node, "?entity_id=sender", token_of(1, "alice", "receiver", 0)),
                   " 403 ");
    parley_close(node);
}

static void a_key_that_is_no_longer_trusted_opens_nothing(void)
{
    parley *node = receiver(true, NULL, false);
    parley_peer alice;

    CHECK_CONTAINS(upgrade(node, "", token_of(1, "alice", "receiver", 0)), " 101 ");
    CHECK_STATUS(parley_peer_find(node, "alice", &alice), OK);
    CHECK_STATUS(parley_peer_remove(node, alice), OK);
    CHECK_CONTAINS(upgrade(node, "", token_of(1, "alice", "receiver", 0)), " 403 ");
    parley_close(node);
}

/* ---- Shown by us ---- */

static parley *identity_sender(uint8_t number, const char *url, parley_preference preference,
                               bool in_query)
{
    parley_peer_options peer_options;
    uint8_t seed[IDENTITY_SEED_BYTES];
    parley_options options;
    parley *node;

    key_seed(number, seed);
    node_options(&options, "sender");
    options.log = searching_log;
    options.identity_seed = seed;
    node = node_open(&options);
    parley_peer_options_init(&peer_options);
    peer_options.identity_token = true;
    peer_options.token_in_query = in_query;
    peer_options.preference = preference;
    peer_options.preference_set = true;
    CHECK_STATUS(parley_peer_add(node, "receiver", url, &peer_options, NULL), OK);
    return node;
}

static void check_sends(uint8_t number, parley_preference preference, bool in_query,
                        parley_outcome expected)
{
    struct tally tally = {.mutex = PTHREAD_MUTEX_INITIALIZER};
    parley *node = receiver(true, NULL, in_query), *sender;
    struct seen seen = {0};
    parley_peer peer;
    char url[64];

    parley_on_message(node, NULL, seen_handler, &seen);
    url_of(node, url, sizeof(url));
    sender = identity_sender(number, url, preference, in_query);
    CHECK_STATUS(parley_peer_find(sender, "receiver", &peer), OK);
    for (int i = 0; i < 3; i++)
        CHECK_STATUS(post(sender, peer, "{}", &tally), OK);
    CHECK(check_wait(&tally.results, 3));
    CHECK_U64(tally.outcomes[expected], 3);
    CHECK_U64(seen.handled, expected == PARLEY_DELIVERED ? 3 : 0);
    parley_close(sender);
    parley_close(node);
}

static void nodes_show_each_other_their_tokens(void)
{
    check_sends(2, PARLEY_WEBSOCKET_ONLY, false, PARLEY_DELIVERED);
    check_sends(2, PARLEY_HTTP_ONLY, false, PARLEY_DELIVERED);
    check_sends(2, PARLEY_WEBSOCKET_ONLY, true, PARLEY_DELIVERED);
    check_sends(3, PARLEY_HTTP_ONLY, false, PARLEY_REJECTED);
    CHECK_U64(leaks, 0);
}

/* ---- In time ---- */

static char shown[8][1200]; /* Authorization headers that requests came with */
static _Atomic(uint64_t) shown_len;

/* Answers each request on each connection, and remembers its token. */
static void *shown_server(void *user)
{
    static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
    int listener = *(const int *)user;
    char request[8192];

    for (;;) {
        int fd = accept(listener, NULL, NULL);
        size_t used = 0;
        ssize_t got;

        if (fd < 0)
            return NULL;
        while ((got = read(fd, request + used, sizeof(request) - 1 - used)) > 0) {
            const char *header, *body;

            used += (size_t)got;
            request[used] = '\0';
            body = strstr(request, "\r\n\r\n");
            if (body == NULL || request[used - 1] != '}')
                continue;
            header = strstr(request, "Authorization: Bearer ");
            snprintf(shown[atomic_load(&shown_len) % 8], sizeof(shown[0]), "%.*s",
                     header != NULL ? (int)strcspn(header, "\r") : 0,
                     header != NULL ? header : "");
            atomic_fetch_add(&shown_len, 1);
            used = 0;
            if (write(fd, answer, sizeof(answer) - 1) < 0)
                break;
        }
        close(fd);
    }
}

static _Atomic(uint64_t) made_s; /* of the one peer's token */

static void age_token(struct visit *visit, struct bench *bench)
{
    (void)visit;
    for (struct peer *peer = bench->peers; peer != NULL; peer = peer->next)
        atomic_store(&made_s, peer->post.token_made_s -= 241);
}

static void look_at_token(struct visit *visit, struct bench *bench)
{
    (void)visit;
    for (struct peer *peer = bench->peers; peer != NULL; peer = peer->next)
        atomic_store(&made_s, peer->post.token_made_s);
}

static _Atomic(uint64_t) visited;

static void note_visit(struct visit *visit, struct bench *bench)
{
    (void)visit;
    (void)bench;
    atomic_fetch_add(&visited, 1);
}

/* One token serves many requests; once it is 240 s old, or our identity another, a new one. */
static void tokens_are_renewed_before_they_expire(void)
{
    struct tally tally = {.mutex = PTHREAD_MUTEX_INITIALIZER};
    uint16_t port = 0;
    int listener = raw_listen(&port);
    char url[64];
    parley *sender;
    parley_options keys;
    uint8_t seed[IDENTITY_SEED_BYTES];
    struct visit visit = {.next = 0};
    parley_peer peer;
    pthread_t thread;

    snprintf(url, sizeof(url), "http://127.0.0.1:%u", (unsigned)port);
    pthread_create(&thread, NULL, shown_server, &listener);
    sender = identity_sender(2, url, PARLEY_HTTP_ONLY, false);
    CHECK_STATUS(parley_peer_find(sender, "receiver", &peer), OK);
    for (uint64_t i = 0; i < 2; i++) {
        CHECK_STATUS(post(sender, peer, "{}", &tally), OK);
        CHECK(check_wait(&tally.results, i + 1) && check_wait(&shown_len, i + 1));
    }
    CHECK_CONTAINS(shown[0], "Authorization: Bearer eyJ");
    CHECK_TEXT(shown[1], shown[0]);
    visit_start(&visit, sender, age_token, note_visit);
    CHECK(check_wait(&visited, 1));
    CHECK(atomic_load(&made_s) + 200 < (uint64_t)time(NULL));
    CHECK_STATUS(post(sender, peer, "{}", &tally), OK);
    CHECK(check_wait(&tally.results, 3) && check_wait(&shown_len, 3));
    CHECK_CONTAINS(shown[2], "Authorization: Bearer eyJ");
    visit_start(&visit, sender, look_at_token, note_visit);
    CHECK(check_wait(&visited, 2));
    CHECK(atomic_load(&made_s) + 200 > (uint64_t)time(NULL));
    parley_options_init(&keys);
    key_seed(3, seed);
    keys.identity_seed = seed;
    CHECK_STATUS(parley_reload_keys(sender, &keys, NULL, 0), OK);
    CHECK_STATUS(post(sender, peer, "{}", &tally), OK);
    CHECK(check_wait(&tally.results, 4) && check_wait(&shown_len, 4));
    CHECK_CONTAINS(shown[3], "Authorization: Bearer eyJ");
    CHECK(strcmp(shown[3], shown[2]) != 0);
    keys.identity_seed = NULL;
    CHECK_STATUS(parley_reload_keys(sender, &keys, NULL, 0), OK);
    CHECK_STATUS(post(sender, peer, "{}", &tally), OK);
    CHECK(check_wait(&tally.results, 5) && check_wait(&shown_len, 5));
    CHECK_TEXT(shown[4], "");
    parley_close(sender);
    shutdown(listener, SHUT_RDWR);
    pthread_join(thread, NULL);
    close(listener);
}

static const struct check_test tests[] = {
    {"an identity's token opens what is guarded", an_identitys_token_opens_what_is_guarded},
    {"both kinds count where there is a secret", both_kinds_count_where_there_is_a_secret},
    {"an uncalled-for token must not be a lie", an_uncalled_for_token_must_not_be_a_lie},
    {"a key that is no longer trusted opens nothing",
     a_key_that_is_no_longer_trusted_opens_nothing},
    {"nodes show each other their tokens", nodes_show_each_other_their_tokens},
    {"tokens are renewed before they expire", tokens_are_renewed_before_they_expire},
};

CHECK_MAIN("identity tokens", tests)
