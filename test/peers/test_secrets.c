/* SPDX-License-Identifier: Apache-2.0
 *
 * Canaries for a secret, a token and an identity, in a node that is used and misused with its
 * log wide open: none of them is told to anybody, and none is left in memory once the node is
 * closed. The needles are kept scrambled, so that the search does not find itself.
 */
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "peers/crypto.h"
#include "peers/handshake.h"
#include "peers/identity.h"
#include "test/peers/key_files.h"
#include "test/peers/nodes.h"
#include "test/peers/secure_pair.h"
#include "test/peers/tokens.h"
#include "test/transport/host.h"

#define MASK       0x5a
#define NEEDLES    12
#define NEEDLE_MAX 64

struct needle {
    const char *name;
    uint8_t bytes[NEEDLE_MAX]; /* each with MASK */
    size_t len;
};

static struct needle needles[NEEDLES];
static size_t needles_len;
static _Atomic(uint64_t) log_lines, leaks;

static void hide(const char *name, const void *bytes, size_t len)
{
    struct needle *needle = &needles[needles_len++];

    needle->name = name;
    needle->len = len < NEEDLE_MAX ? len : NEEDLE_MAX;
    for (size_t i = 0; i < needle->len; i++)
        needle->bytes[i] = ((const uint8_t *)bytes)[i] ^ MASK;
}

static bool found_at(const struct needle *needle, const uint8_t *at)
{
    for (size_t i = 0; i < needle->len; i++) {
        if ((at[i] ^ MASK) != needle->bytes[i])
            return false;
    }
    return true;
}

static size_t count_in(const struct needle *needle, const uint8_t *bytes, size_t len)
{
    size_t found = 0;

    for (size_t i = 0; i + needle->len <= len; i++)
        found += found_at(needle, bytes + i);
    return found;
}

static void check_silent(const char *where, const char *text)
{
    for (size_t i = 0; i < needles_len; i++) {
        if (count_in(&needles[i], (const uint8_t *)text, strlen(text)) > 0)
            check_text_(where, "(without a secret)", needles[i].name, __FILE__, __LINE__);
    }
}

static void searching_log(parley_log_level level, const char *line, void *user)
{
    to_stderr(level, line, user);
    atomic_fetch_add(&log_lines, 1);
    for (size_t i = 0; i < needles_len; i++)
        atomic_fetch_add(&leaks, count_in(&needles[i], (const uint8_t *)line, strlen(line)));
}

/* ---- Secrets nobody else has ---- */

#define LETTERS 40

static struct check_random a_new_generator(void)
{
    static uint64_t made;

    return (struct check_random){(uint64_t)time(NULL) ^ (uint64_t)getpid() << 20 ^
                                 ++made << 50};
}

/* Random, as text: what is written for one test is in no other's memory. */
static void make_text(char text[LETTERS + 1], const char *name)
{
    struct check_random random = a_new_generator();

    for (size_t i = 0; i < LETTERS; i++)
        text[i] = (char)('a' + check_random_below(&random, 26));
    text[LETTERS] = '\0';
    hide(name, text, LETTERS);
}

static void make_seed(uint8_t seed[IDENTITY_SEED_BYTES])
{
    struct check_random random = a_new_generator();
    uint8_t expanded[SHA512_DIGEST_LENGTH];
    char base64[64];

    for (size_t i = 0; i < IDENTITY_SEED_BYTES; i++)
        seed[i] = (uint8_t)check_random_next(&random);
    hide("the seed", seed, IDENTITY_SEED_BYTES);
    SHA512(seed, IDENTITY_SEED_BYTES, expanded);
    hide("the scalar", expanded + 1, 30); /* clamping changes the bytes around */
    hide("the prefix", expanded + 32, 32);
    base64url(base64, seed, 30);
    hide("the seed as text", base64, 40);
    OPENSSL_cleanse(expanded, sizeof(expanded));
    OPENSSL_cleanse(base64, sizeof(base64));
}

/* ---- Told to nobody ---- */

static void ask(const parley *node, const char *method, const char *path, const char *header,
                const char *body)
{
    static char answer[65536];
    char request[4096];
    int fd = raw_connect(parley_port(node));

    snprintf(request, sizeof(request),
             "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%s"
             "Content-Length: %zu\r\n\r\n%s",
             method, path, header, strlen(body), body);
    answer[0] = '\0';
    CHECK(raw_send(fd, request, strlen(request)));
    raw_answer(fd, answer, sizeof(answer));
    close(fd);
    check_silent(path, answer);
    OPENSSL_cleanse(request, sizeof(request));
    OPENSSL_cleanse(answer, sizeof(answer));
}

/* Everything that a stranger can ask, with `token` where tokens stand. */
static void ask_everything(const parley *node, const char *token)
{
    static const char *const paths[] = {"/health",     "/stats",   "/peers",
                                        "/public-key", "/",        "/message",
                                        "/messages",   "/nowhere", WS_PATH};
    char header[512], path[512], body[512];

    snprintf(header, sizeof(header), "Authorization: Bearer %s\r\n", token);
    snprintf(body, sizeof(body), "{\"sender_id\":\"x\",\"payload\":{\"a\":\"b\"},%s", token);
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        ask(node, "GET", paths[i], header, "");
        ask(node, "POST", paths[i], header, body);
        snprintf(path, sizeof(path), "%s?token=%s&entity_id=x", paths[i], token);
        ask(node, "GET", path, "", "");
    }
    OPENSSL_cleanse(header, sizeof(header));
    OPENSSL_cleanse(path, sizeof(path));
    OPENSSL_cleanse(body, sizeof(body));
}

static void use_and_close(parley *node, const char *token)
{
    struct tally tally = {.mutex = PTHREAD_MUTEX_INITIALIZER};
    static const char *const ids[] = {"here", "nowhere", "proven"};
    parley_peer peer;

    ask_everything(node, token);
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        CHECK_STATUS(parley_peer_find(node, ids[i], &peer), OK);
        CHECK_STATUS(post(node, peer, "{}", &tally), OK);
    }
    CHECK(check_wait(&tally.results, 3));
    pthread_mutex_lock(&tally.mutex);
    check_silent("a result", tally.detail);
    pthread_mutex_unlock(&tally.mutex);
    CHECK_STATUS(parley_close(node), OK);
}

static void add_peers(parley *node, const char *token)
{
    parley_peer_options options;
    char url[64];

    url_of(node, url, sizeof(url));
    parley_peer_options_init(&options);
    options.token = token;
    options.ttl_ms = 300;
    options.token_in_query = true;
    CHECK_STATUS(parley_peer_add(node, "here", url, &options, NULL), OK);
    CHECK_STATUS(parley_peer_add(node, "nowhere", "http://127.0.0.1:9", &options, NULL), OK);
    options.token = NULL;
    options.identity_token = true;
    CHECK_STATUS(parley_peer_add(node, "proven", url, &options, NULL), OK);
}

/* A node with every kind of secret, from opening to closing. `file`: the identity's. */
static void play(const char *secret, const char *token, const uint8_t *seed, const char *file)
{
    char error[512] = "";
    parley_options options;
    parley *node = NULL;

    node_options(&options, "me");
    options.log = searching_log;
    options.listen_host = "127.0.0.1";
    options.token_in_query = true;
    options.jwt_secret = secret;
    options.identity_seed = seed;
    options.identity_file = file;
    if (CHECK_STATUS(parley_open(&options, error, sizeof(error), &node), OK)) {
        CHECK_STATUS(parley_reload_keys(node, &options, error, sizeof(error)), OK);
        add_peers(node, token);
        use_and_close(node, token);
    }
    check_silent("opening", error);
    options.listen_port = 1 << 20;
    CHECK_STATUS(parley_open(&options, error, sizeof(error), &node), EINVAL);
    check_silent("not opening", error);
}

static void nobody_is_told_a_secret(void)
{
    char secret[LETTERS + 1], token[LETTERS + 1];
    uint8_t seed[IDENTITY_SEED_BYTES];

    needles_len = 0;
    make_text(secret, "the JWT secret");
    make_text(token, "the token");
    make_seed(seed);
    play(secret, token, seed, NULL);
    CHECK(log_lines > 10);
    CHECK_U64(leaks, 0);
    OPENSSL_cleanse(secret, sizeof(secret)); /* the next test looks for what is left */
    OPENSSL_cleanse(seed, sizeof(seed));
}

/* ---- Left nowhere ---- */

/* A sanitizer keeps what is freed, and terabytes besides. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SHADOWED true
#elif defined(__has_feature)
#define SHADOWED (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#else
#define SHADOWED false
#endif

#define REGION_MAX (256u << 20)

/* Reads our memory as a debugger does. @return how often any of the needles is in it */
static size_t count_in_memory(const struct needle *first, size_t len)
{
    static uint8_t chunk[1 << 16];
    FILE *maps = fopen("/proc/self/maps", "re");
    int memory = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
    unsigned long from, to;
    char line[512], mode[8];
    size_t found = 0;

    while (maps != NULL && memory >= 0 && fgets(line, sizeof(line), maps) != NULL) {
        if (sscanf(line, "%lx-%lx %7s", &from, &to, mode) != 3 || mode[1] != 'w' ||
            to - from > REGION_MAX)
            continue;
        for (unsigned long at = from; at < to; at += sizeof(chunk) - NEEDLE_MAX) {
            size_t want = to - at < sizeof(chunk) ? to - at : sizeof(chunk);
            ssize_t got = pread(memory, chunk, want, (off_t)at);

            if (got > 0 && (at + sizeof(chunk) <= (unsigned long)chunk ||
                            at >= (unsigned long)chunk + sizeof(chunk)))
                for (size_t i = 0; i < len; i++)
                    found += count_in(&first[i], chunk, (size_t)got);
        }
    }
    OPENSSL_cleanse(chunk, sizeof(chunk));
    if (maps != NULL)
        fclose(maps);
    close(memory);
    return found;
}

/* The search does find what is there: the secret and the seed here, the scalar in OpenSSL. */
static void check_search(const uint8_t *seed)
{
    struct identity *identity = NULL;
    struct alloc alloc;

    alloc_init(&alloc, NULL);
    CHECK_STATUS(identity_new(&alloc, seed, &identity), OK);
    for (size_t i = 0; i < 3 && !SHADOWED; i++)
        CHECK(count_in_memory(&needles[i], 1) >= 1);
    identity_free(identity);
}

static void nothing_is_left_in_memory(void)
{
    char secret[LETTERS + 1], token[LETTERS + 1], path[128];
    uint8_t seed[IDENTITY_SEED_BYTES];

    needles_len = 0;
    if (!key_dir_make())
        return;
    make_text(secret, "the JWT secret");
    make_seed(seed);
    snprintf(path, sizeof(path), "%s", key_path("id.pem"));
    CHECK_STATUS(identity_file_write(path, seed, false, NULL, 0), OK);
    snprintf(token, sizeof(token),
             "another-token"); /* libcurl and lws keep copies of theirs */
    check_search(seed);
    play(secret, token, seed, NULL);
    play(secret, token, NULL, path);
    OPENSSL_cleanse(secret, sizeof(secret));
    OPENSSL_cleanse(seed, sizeof(seed));
    for (size_t i = 0; i < needles_len && !SHADOWED; i++) {
        size_t found = count_in_memory(&needles[i], 1);

        if (found > 0)
            check_u64_(found, 0, needles[i].name, __FILE__, __LINE__);
    }
    CHECK_U64(leaks, 0);
    key_dir_remove();
}

/* ---- Of handshakes ---- */

#define EPHEMERALS_MAX 4

static _Atomic(uint64_t) ephemerals; /* handed out while `recording`; each with MASK */
static uint8_t ephemeral[EPHEMERALS_MAX][32], ephemeral_public[EPHEMERALS_MAX][32];
static _Atomic(bool) recording;

/* Takes the place of libc's: sees the bytes that handshakes make their keys of. */
ssize_t getrandom(void *buffer, size_t length, unsigned flags)
{
    ssize_t got = syscall(SYS_getrandom, buffer, length, flags);
    uint64_t at;

    if (got != (ssize_t)sizeof(struct handshake_random) || !atomic_load(&recording))
        return got;
    at = atomic_fetch_add(&ephemerals, 1);
    for (size_t i = 0; at < EPHEMERALS_MAX && i < 32; i++)
        ephemeral[at][i] = ((const struct handshake_random *)buffer)->ephemeral[i] ^ MASK;
    return got;
}

static void unmask(uint64_t number, uint8_t key[32])
{
    for (size_t i = 0; i < 32; i++)
        key[i] = ephemeral[number][i] ^ MASK;
}

/* @return how many secrets are left of the first handshakes: ephemeral keys, and what any two
 * of them agree upon */
static uint64_t count_left(void)
{
    uint8_t key[32], shared[32];

    needles_len = 0;
    for (uint64_t i = 0; i < EPHEMERALS_MAX; i++) {
        unmask(i, key);
        hide("an ephemeral key", key + 1, 30); /* clamping changes the bytes around */
        for (uint64_t j = 0; j < i; j++) {
            if (crypto_x25519(key, ephemeral_public[j], shared) == PARLEY_OK)
                hide("what was agreed upon", shared, sizeof(shared));
        }
        CHECK(crypto_x25519_public(key, ephemeral_public[i]));
        OPENSSL_cleanse(key, sizeof(key));
        OPENSSL_cleanse(shared, sizeof(shared));
    }
    return SHADOWED ? 0 : count_in_memory(needles, needles_len);
}

/* While what they were for is in use: who reads our memory then cannot open what went before.
 */
static void handshakes_leave_nothing(void)
{
    struct secure_setup setup = {.sender_min = PARLEY_SECURITY_SEALED, .rekey_frames = 16};
    static const parley_preference preferences[] = {PARLEY_WEBSOCKET_ONLY, PARLEY_HTTP_ONLY};
    struct secure_pair pair;

    for (size_t i = 0; i < 2; i++) {
        setup.preference = preferences[i];
        atomic_store(&ephemerals, 0);
        atomic_store(&recording, true);
        secure_open(&pair, &setup);
        for (uint64_t n = 0; n < 26; n++) {
            secure_post(&pair, n, 1);
            CHECK(check_wait(&pair.tally.results, n + 1));
        }
        CHECK_U64(pair.tally.outcomes[PARLEY_DELIVERED], 26);
        CHECK(ephemerals >= EPHEMERALS_MAX);
        CHECK_U64(count_left(), 0);
        atomic_store(&recording, false);
        secure_close(&pair);
    }
}

static const struct check_test tests[] = {
    {"nobody is told a secret", nobody_is_told_a_secret},
    {"nothing is left in memory", nothing_is_left_in_memory},
    {"handshakes leave nothing in memory", handshakes_leave_nothing},
};

CHECK_MAIN("secrets", tests)
