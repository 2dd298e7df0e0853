/* SPDX-License-Identifier: Apache-2.0
 *
 * Tokens over real sockets: what is refused without one, what one lets its owner do, and
 * that no token shows up in a log.
 */
#include <malloc.h>

#include "test/peers/nodes.h"
#include "test/peers/tokens.h"
#include "test/transport/host.h"

/* ---- A log that is searched for what must not be in it ---- */

static _Atomic(uint64_t) log_lines, leaks;
static const char *const needles[] = {SECRET, "hunter2", "eyJhbGciOiJIUzI1Ni", "a.b-c_d"};

static void searching_log(parley_log_level level, const char *line, void *user)
{
    to_stderr(level, line, user);
    atomic_fetch_add(&log_lines, 1);
    for (size_t i = 0; i < sizeof(needles) / sizeof(needles[0]); i++) {
        if (strstr(line, needles[i]) != NULL)
            atomic_fetch_add(&leaks, 1);
    }
}

static void options_for(parley_options *options, const char *id)
{
    node_options(options, id);
    options->log = searching_log;
}

static parley *guarded_open(const char *host, bool token_in_query)
{
    parley_options options;

    options_for(&options, "receiver");
    options.listen_host = host;
    options.jwt_secret = SECRET;
    options.token_in_query = token_in_query;
    return node_open(&options);
}

/* ---- By hand ---- */

/* One request on a connection of its own. `token` NULL: none; a body makes it a POST. */
static const char *ask(const parley *node, const char *path, const char *header,
                       const char *body)
{
    static char answer[16384];
    char request[8192];
    int fd = raw_connect(parley_port(node));

    snprintf(request, sizeof(request),
             "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%s"
             "Content-Length: %zu\r\n\r\n%s",
             body != NULL ? "POST" : "GET", path, header, body != NULL ? strlen(body) : 0,
             body != NULL ? body : "");
    answer[0] = '\0';
    CHECK(raw_send(fd, request, strlen(request)) && raw_answer(fd, answer, sizeof(answer)));
    close(fd);
    return answer;
}

static const char *upgrade(const parley *node, const char *query, const char *header)
{
    static char answer[4096];
    char request[8192];
    int fd = raw_connect(parley_port(node));

    snprintf(request, sizeof(request),
             "GET " WS_PATH "%s HTTP/1.1\r\n" UPGRADE_HEADERS "%s\r\n", query, header);
    answer[0] = '\0';
    CHECK(raw_send(fd, request, strlen(request)) && raw_answer(fd, answer, sizeof(answer)));
    close(fd);
    return answer;
}

static const char *bearer(const char *token)
{
    static char header[1200];

    snprintf(header, sizeof(header), "Authorization: Bearer %s\r\n", token);
    return header;
}

static const char *envelope_from(const char *sender)
{
    static char text[512];

    snprintf(text, sizeof(text),
             "{\"version\":\"1.0\",\"msg_type\":\"t\",\"sender_id\":\"%s\",\"payload\":{},"
             "\"timestamp\":%ld,\"nonce\":\"n\",\"session_id\":\"s\",\"sequence_num\":1}",
             sender, (long)time(NULL));
    return text;
}

static void an_upgrade_needs_a_valid_token(void)
{
    char token[1024], stale[1024], forged[1024];
    parley *node = guarded_open("127.0.0.1", false);
    const char *answer;

    token_for(token, "alice", 300);
    token_for(stale, "alice", -1);
    token_make(forged, HEADER_HS256, "{\"sub\":\"alice\",\"exp\":9999999999}", "guessed");
    answer = upgrade(node, "?session_id=s", "");
    CHECK_CONTAINS(answer, "HTTP/1.1 403 ");
    CHECK_CONTAINS(answer, "{\"detail\":\"Forbidden\"}");
    CHECK_CONTAINS(upgrade(node, "?session_id=s&entity_id=alice", ""), " 403 ");
    CHECK_CONTAINS(upgrade(node, "", bearer(stale)), " 403 ");
    CHECK_CONTAINS(upgrade(node, "", bearer(forged)), " 403 ");
    CHECK_CONTAINS(upgrade(node, "", "Authorization: Basic YTpi\r\n"), " 403 ");
    CHECK_CONTAINS(upgrade(node, "", "Authorization: Bearer\r\n"), " 403 ");
    CHECK_CONTAINS(upgrade(node, "?entity_id=bob", bearer(token)), " 403 ");
    CHECK_CONTAINS(upgrade(node, "?entity_id=alice", bearer(token)), " 101 ");
    CHECK_CONTAINS(upgrade(node, "", bearer(token)), " 101 ");
    CHECK_STATUS(parley_close(node), OK);
}

static void a_token_in_the_url_counts_where_it_is_permitted(void)
{
    char token[1024], query[1200], stale[1024];
    parley *strict = guarded_open("127.0.0.1", false);
    parley *mild = guarded_open("127.0.0.1", true);

    snprintf(query, sizeof(query), "?token=%s&session_id=s", token_for(token, "alice", 300));
    CHECK_CONTAINS(upgrade(strict, query, ""), " 403 ");
    CHECK_CONTAINS(upgrade(mild, query, ""), " 101 ");
    CHECK_CONTAINS(upgrade(mild, "?token=", ""), " 403 ");
    CHECK_CONTAINS(upgrade(mild, "?token=x", ""), " 403 ");
    token_for(stale, "alice", -1); /* a header is not made up for by a query */
    CHECK_CONTAINS(upgrade(mild, query, bearer(stale)), " 403 ");
    snprintf(query, sizeof(query), "/stats?token=%s", token);
    CHECK_CONTAINS(ask(strict, query, "", NULL), " 401 ");
    CHECK_CONTAINS(ask(mild, query, "", NULL), " 200 ");
    CHECK_STATUS(parley_close(strict), OK);
    CHECK_STATUS(parley_close(mild), OK);
}

static void requests_need_a_token_but_for_health(void)
{
    static const char *const open[] = {"/health", "/public-key", "/"};
    static const char *const guarded[] = {"/peers", "/stats"};
    char token[1024];
    parley *node = guarded_open("127.0.0.1", false);
    const char *answer = ask(node, "/peers", "", NULL);

    CHECK_CONTAINS(answer, "HTTP/1.1 401 Unauthorized\r\n");
    CHECK_CONTAINS(answer, "\r\nWWW-Authenticate: Bearer\r\n");
    CHECK_CONTAINS(answer, "{\"detail\":\"Unauthorized\"}");
    token_for(token, "alice", 300);
    for (size_t i = 0; i < 3; i++)
        CHECK_CONTAINS(ask(node, open[i], "", NULL), " 200 ");
    for (size_t i = 0; i < 2; i++) {
        CHECK_CONTAINS(ask(node, guarded[i], "", NULL), " 401 ");
        CHECK_CONTAINS(ask(node, guarded[i], "Authorization: Bearer x.y.z\r\n", NULL),
                       " 401 ");
        CHECK_CONTAINS(ask(node, guarded[i], bearer(token), NULL), " 200 ");
    }
    CHECK_CONTAINS(ask(node, "/message", "", envelope_from("alice")), " 401 ");
    CHECK_CONTAINS(ask(node, "/messages", "", "not even JSON"), " 401 ");
    CHECK_CONTAINS(ask(node, "/message", bearer(token), "not even JSON"), " 400 ");
    CHECK_CONTAINS(ask(node, "/nowhere", "", NULL), " 404 ");
    CHECK_STATUS(parley_close(node), OK);
}

/* Two messages, with what is said of their senders put in. */
static const char *batch_with(const char *first, const char *second)
{
    static char text[1024];

    snprintf(text, sizeof(text),
             "{\"type\":\"batch\",\"session_id\":\"b\",\"base_seq\":1,\"first_seq\":1,"
             "\"messages\":[{\"msg_type\":\"t\",\"payload\":{},\"timestamp\":1%s},"
             "{\"msg_type\":\"t\",\"payload\":{},\"timestamp\":1%s}]}",
             first, second);
    return text;
}

static void nobody_sends_in_anothers_name(void)
{
    char token[1024];
    parley *node = guarded_open("127.0.0.1", false);
    struct seen seen = {0};
    const char *answer;

    parley_on_message(node, NULL, seen_handler, &seen);
    token_for(token, "alice", 300);
    answer = ask(node, "/message", bearer(token), envelope_from("bob"));
    CHECK_CONTAINS(answer, "HTTP/1.1 403 ");
    CHECK_CONTAINS(answer, "{\"detail\":\"Forbidden\"}");
    CHECK_CONTAINS(
        ask(node, "/messages", bearer(token), batch_with(",\"sender_id\":\"bob\"", "")),
        " 403 ");
    CHECK_CONTAINS(ask(node, "/messages", bearer(token),
                       batch_with(",\"sender_id\":\"alice\"", ",\"sender_id\":\"bob\"")),
                   " 403 ");
    CHECK_U64(seen.handled, 0);
    CHECK_CONTAINS(ask(node, "/message", bearer(token), envelope_from("alice")), " 200 ");
    CHECK_CONTAINS(ask(node, "/messages", bearer(token), batch_with("", "")), " 200 ");
    CHECK_U64(seen.handled, 3);
    CHECK_STATUS(parley_close(node), OK);
}

static void a_token_opens_what_strangers_may_not_see(void)
{
    char token[1024];
    parley_options options;
    parley *node = guarded_open("0.0.0.0", false), *bare;

    token_for(token, "alice", 300);
    CHECK_CONTAINS(ask(node, "/peers", "", NULL), " 401 ");
    CHECK_CONTAINS(ask(node, "/peers", bearer(token), NULL), " 200 ");
    CHECK_CONTAINS(ask(node, "/stats", bearer(token), NULL), " 200 ");
    CHECK_STATUS(parley_close(node), OK);
    options_for(&options, "receiver");
    options.listen_host = "0.0.0.0";
    bare = node_open(&options); /* without a secret no token means anything */
    CHECK_CONTAINS(ask(bare, "/peers", bearer(token), NULL), " 403 ");
    /* but beyond loopback it takes nothing that is not signed, unless told to */
    CHECK_CONTAINS(ask(bare, "/message", "", envelope_from("alice")),
                   "{\"detail\":\"Missing signature\"}");
    CHECK_STATUS(parley_close(bare), OK);
    options.signatures = PARLEY_SIGNATURES_OPTIONAL;
    bare = node_open(&options);
    CHECK_CONTAINS(ask(bare, "/message", "", envelope_from("alice")), " 200 ");
    CHECK_STATUS(parley_close(bare), OK);
}

/* ---- Between nodes ---- */

static parley *client_open(const char *id)
{
    parley_options options;

    options_for(&options, id);
    options.http_backoff_ms = 20;
    options.reconnect_min_ms = 50;
    return node_open(&options);
}

static parley_status add(parley *client, const parley *node, const char *token, bool in_query,
                         parley_preference preference, parley_peer *peer)
{
    parley_peer_options options;
    char url[64];

    parley_peer_options_init(&options);
    options.preference = preference;
    options.preference_set = true;
    options.token = token;
    options.token_in_query = in_query;
    url_of(node, url, sizeof(url));
    return parley_peer_add(client, "receiver", url, &options, peer);
}

static void send_with(const char *token, parley_preference preference, struct tally *tally)
{
    parley *node = guarded_open("127.0.0.1", false);
    parley *client = client_open("alice");
    parley_peer peer;

    CHECK_STATUS(add(client, node, token, false, preference, &peer), OK);
    CHECK_STATUS(post(client, peer, "{\"n\":1}", tally), OK);
    CHECK_STATUS(post(client, peer, "{\"n\":2}", tally), OK);
    CHECK(check_wait(&tally->results, 2));
    CHECK_STATUS(parley_close(client), OK);
    CHECK_STATUS(parley_close(node), OK);
}

static void messages_go_with_the_peers_token(void)
{
    static const parley_preference ways[] = {PARLEY_WEBSOCKET_ONLY, PARLEY_HTTP_ONLY,
                                             PARLEY_WEBSOCKET_FIRST};
    char token[1024];

    token_for(token, "alice", 300);
    for (size_t i = 0; i < 3; i++) {
        struct tally tally = TALLY_INIT;

        send_with(token, ways[i], &tally);
        CHECK_U64(tally.outcomes[PARLEY_DELIVERED], 2);
    }
}

static void without_a_token_messages_are_rejected(void)
{
    struct tally none = TALLY_INIT, wrong = TALLY_INIT;
    char token[1024];

    send_with(NULL, PARLEY_HTTP_ONLY, &none);
    CHECK_U64(none.outcomes[PARLEY_REJECTED], 2);
    CHECK_U64(none.http_code, 401);
    CHECK_TEXT(none.detail, "Unauthorized");
    send_with(token_for(token, "bob", 300), PARLEY_WEBSOCKET_FIRST, &wrong);
    CHECK_U64(wrong.outcomes[PARLEY_REJECTED], 2); /* refused upgrade, then over HTTP */
    CHECK_U64(wrong.http_code, 403);
    CHECK_TEXT(wrong.detail, "Forbidden");
}

struct states {
    _Atomic(uint64_t) refused;
    char reason[128];
};

static void note_state(parley_peer peer, const char *id, parley_peer_state state, bool healthy,
                       const char *reason, void *user)
{
    struct states *states = user;

    (void)peer, (void)id, (void)healthy;
    if (state != PARLEY_PEER_BACKOFF || atomic_load(&states->refused) > 0)
        return;
    snprintf(states->reason, sizeof(states->reason), "%s", reason);
    atomic_fetch_add(&states->refused, 1);
}

static void a_refused_upgrade_is_told(void)
{
    parley *node = guarded_open("127.0.0.1", false);
    parley *client = client_open("alice");
    struct states states = {0};
    parley_peer peer;

    parley_on_peer_state(client, note_state, &states);
    CHECK_STATUS(add(client, node, "no.such.token", false, PARLEY_WEBSOCKET_FIRST, &peer), OK);
    CHECK_STATUS(parley_connect(client, peer), OK);
    CHECK(check_wait(&states.refused, 1));
    CHECK_TEXT(states.reason, "refused with 403");
    CHECK_STATUS(parley_close(client), OK);
    CHECK_STATUS(parley_close(node), OK);
}

static void read_head(int fd, char *head, size_t size)
{
    size_t used = 0;

    do {
        ssize_t got = raw_some(fd, head + used, size - 1 - used);

        if (!CHECK(got > 0))
            return;
        used += (size_t)got;
        head[used] = '\0';
    } while (strstr(head, "\r\n\r\n") == NULL);
}

static void ignore_pong(const parley_pong *pong, void *user)
{
    (void)pong, (void)user;
}

/* What a dial and a request look like to who listens. */
static void the_token_is_said_where_it_is_to_be(void)
{
    char head[4096] = "", url[64];
    parley_peer_options options;
    parley *client = client_open("alice");
    uint16_t port;
    int listener = raw_listen(&port), fd;
    struct tally tally = TALLY_INIT;
    parley_peer peer;

    for (int i = 0; i < 3; i++) { /* the URL with and without it, then HTTP */
        parley_peer_options_init(&options);
        options.preference = i < 2 ? PARLEY_WEBSOCKET_ONLY : PARLEY_HTTP_ONLY;
        options.preference_set = true;
        options.token = "a.b-c_d/e+f=&?%";
        options.token_in_query = i != 1;
        snprintf(url, sizeof(url), "http://127.0.0.1:%u", port);
        CHECK_STATUS(parley_peer_add(client, "x", url, &options, &peer), OK);
        CHECK_STATUS(post(client, peer, "{}", &tally), OK);
        fd = accept(listener, NULL, NULL);
        read_head(fd, head, sizeof(head));
        CHECK_CONTAINS(head, "\r\nAuthorization: Bearer a.b-c_d/e+f=&?%\r\n");
        if (i == 0)
            CHECK_CONTAINS(head, "&token=a.b-c_d%2Fe%2Bf%3D%26%3F%25 HTTP/1.1\r\n");
        else
            CHECK(strstr(head, "token=") == NULL);
        close(fd);
        CHECK_STATUS(parley_peer_remove(client, peer), OK);
        CHECK(check_wait(&tally.results, (uint64_t)i + 1));
    }
    CHECK_STATUS(parley_peer_add(client, "x", url, &options, &peer), OK);
    CHECK_STATUS(parley_ping(client, peer, PARLEY_TRANSPORT_HTTP, 20000, ignore_pong, NULL),
                 OK);
    fd = accept(listener, NULL, NULL);
    read_head(fd, head, sizeof(head));
    CHECK_CONTAINS(head, "GET /health HTTP/1.1\r\n");
    CHECK_CONTAINS(head, "\r\nAuthorization: Bearer a.b-c_d/e+f=&?%\r\n");
    close(fd);
    close(listener);
    CHECK_STATUS(parley_close(client), OK);
}

static void a_token_that_no_header_holds_is_refused(void)
{
    static const char *const tokens[] = {"", "a b", "a\r\nX: y", "a\tb", "\x7f", "t\xc3\xb6"};
    parley *node = guarded_open("127.0.0.1", false);
    parley *client = client_open("alice");
    char *huge = malloc(5000);
    parley_peer peer;

    for (size_t i = 0; i < sizeof(tokens) / sizeof(tokens[0]); i++)
        CHECK_STATUS(add(client, node, tokens[i], false, PARLEY_HTTP_ONLY, &peer), EINVAL);
    memset(huge, 'x', 4999);
    huge[4999] = '\0';
    CHECK_STATUS(add(client, node, huge, false, PARLEY_HTTP_ONLY, &peer), EINVAL);
    free(huge);
    CHECK_STATUS(parley_close(client), OK);
    CHECK_STATUS(parley_close(node), OK);
}

/* ---- Memory that is searched when it is given back ---- */

static char wiped_token[1024];
static _Atomic(uint64_t) unwiped, releases;

/* Zeroed: what libraries left there is not ours. */
static void *zeroed_allocate(size_t bytes, void *user)
{
    (void)user;
    return calloc(1, bytes);
}

static void searching_release(void *memory, void *user)
{
    size_t bytes = malloc_usable_size(memory);

    (void)user;
    if (memmem(memory, bytes, SECRET, strlen(SECRET)) != NULL ||
        memmem(memory, bytes, wiped_token, strlen(wiped_token)) != NULL)
        atomic_fetch_add(&unwiped, 1);
    atomic_fetch_add(&releases, 1);
    free(memory);
}

static void *searching_resize(void *memory, size_t bytes, void *user)
{
    size_t former = memory != NULL ? malloc_usable_size(memory) : 0;
    void *grown = calloc(1, bytes);

    if (grown == NULL || memory == NULL)
        return grown;
    memcpy(grown, memory, former < bytes ? former : bytes);
    searching_release(memory, user);
    return grown;
}

static void secrets_are_wiped(void)
{
    static const parley_allocator searching = {zeroed_allocate, searching_resize,
                                               searching_release, NULL};
    struct tally tally = TALLY_INIT;
    parley *node = guarded_open("127.0.0.1", true), *client;
    parley_options options;
    parley_peer peer;

    token_for(wiped_token, "alice", 300);
    options_for(&options, "alice");
    options.allocator = &searching;
    options.jwt_secret = SECRET; /* it would be asked for here, too */
    client = node_open(&options);
    CHECK_STATUS(add(client, node, wiped_token, true, PARLEY_WEBSOCKET_ONLY, &peer), OK);
    CHECK_STATUS(post(client, peer, "{}", &tally), OK);
    CHECK(check_wait(&tally.outcomes[PARLEY_DELIVERED], 1));
    CHECK_STATUS(parley_close(client), OK);
    CHECK(releases > 0);
    CHECK_U64(unwiped, 0);
    CHECK_STATUS(parley_close(node), OK);
}

static void a_short_secret_is_warned_of(void)
{
    parley_options options;
    uint64_t before = atomic_load(&log_lines);

    options_for(&options, "receiver");
    options.log_level = PARLEY_LOG_WARN;
    options.jwt_secret = SECRET;
    CHECK_STATUS(parley_close(node_open(&options)), OK);
    CHECK_U64(log_lines, before);
    options.jwt_secret = "hunter2";
    CHECK_STATUS(parley_close(node_open(&options)), OK);
    CHECK_U64(log_lines, before + 1);
}

static void nothing_of_it_is_logged(void)
{
    a_refused_upgrade_is_told(); /* and what ran before this: all at debug level */
    the_token_is_said_where_it_is_to_be();
    messages_go_with_the_peers_token();
    CHECK(log_lines > 0);
    CHECK_U64(leaks, 0);
}

static const struct check_test tests[] = {
    {"an upgrade needs a valid token", an_upgrade_needs_a_valid_token},
    {"a token in the URL counts where that is permitted",
     a_token_in_the_url_counts_where_it_is_permitted},
    {"requests need a token but for health", requests_need_a_token_but_for_health},
    {"nobody sends in another's name", nobody_sends_in_anothers_name},
    {"a token opens what strangers may not see", a_token_opens_what_strangers_may_not_see},
    {"messages go with the peer's token", messages_go_with_the_peers_token},
    {"without a token messages are rejected", without_a_token_messages_are_rejected},
    {"a refused upgrade is told", a_refused_upgrade_is_told},
    {"the token is said where it is to be", the_token_is_said_where_it_is_to_be},
    {"a token that no header holds is refused", a_token_that_no_header_holds_is_refused},
    {"secrets are wiped", secrets_are_wiped},
    {"a short secret is warned of", a_short_secret_is_warned_of},
    {"nothing of it is logged", nothing_of_it_is_logged},
};

CHECK_MAIN("tokens over sockets", tests)
