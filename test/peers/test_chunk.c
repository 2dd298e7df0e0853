/* SPDX-License-Identifier: Apache-2.0
 *
 * Chunks, cut and joined: the vectors of older senders and receivers, every form and order
 * of pieces, and every limit.
 */
#include <cjson/cJSON.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peers/base64.h"
#include "peers/chunk.h"
#include "peers/chunk_in.h"
#include "test/check.h"
#include "test/peers/vectors.h"

#define NOW UINT64_C(1000000000)

static const struct chunk_limits roomy = {
    .bytes_max = 1 << 20,
    .chunks_max = 1000,
    .transfers_max = 4,
    .memory_bytes_max = 1 << 22,
    .idle_ns = 300 * NOW,
};

struct world {
    struct alloc alloc;
    struct chunks chunks;
    struct chunk_transfer *transfer;
    char reason[CHUNK_REASON_MAX];
    char *text;
    size_t len;
};

static void world_init(struct world *w, const struct chunk_limits *limits)
{
    memset(w, 0, sizeof(*w));
    alloc_init(&w->alloc, NULL);
    chunks_init(&w->chunks, &w->alloc, limits);
}

static void world_fini(struct world *w)
{
    alloc_free(&w->alloc, w->text);
    chunks_fini(&w->chunks);
    CHECK_U64(w->chunks.memory, 0);
}

/* A name with a '?' in front is a stranger's. */
static enum chunk_result add_at(struct world *w, const char *sender, const char *id,
                                uint64_t index, uint64_t total, const char *text, size_t len,
                                uint64_t now_ns)
{
    const struct chunk_place place = {sender, id, index, total, false, 0, sender[0] == '?'};
    struct chunk_piece *piece = chunk_piece_new(&w->alloc, text, len);
    enum chunk_result result =
        chunks_add(&w->chunks, &place, piece, now_ns, &w->transfer, w->reason);

    chunks_check(&w->chunks);
    return result;
}

static enum chunk_result add(struct world *w, const char *id, uint64_t index, uint64_t total,
                             const char *text)
{
    return add_at(w, "s", id, index, total, text, strlen(text), NOW);
}

static parley_status join(struct world *w)
{
    parley_status status;

    alloc_free(&w->alloc, w->text);
    w->text = NULL;
    status = chunk_transfer_join(&w->alloc, w->transfer, &w->text, &w->len);
    chunks_release(&w->chunks, w->transfer);
    return status;
}

static void hex_sha256(const char *bytes, size_t len, char text[65])
{
    unsigned char digest[32];

    EVP_Digest(bytes, len, digest, NULL, EVP_sha256(), NULL);
    for (int i = 0; i < 32; i++)
        snprintf(text + 2 * i, 3, "%02x", digest[i]);
}

static char *encoded(const char *bytes, size_t len)
{
    char *text = malloc(base64_chars(len) + 1);

    base64_encode(bytes, len, text);
    text[base64_chars(len)] = '\0';
    return text;
}

/* ---- Vectors ---- */

/* The inner text of the vector, as the older sender's json writes it. */
static char *inner_text(size_t *ret_len)
{
    char *text = malloc(10200);
    size_t at =
        (size_t)sprintf(text, "{\"original_msg_type\": \"big\", \"data\": {\"blob\": \"");

    for (int i = 0; i < 10000; i++)
        text[at++] = (char)('0' + i % 10);
    at += (size_t)sprintf(text + at, "\", \"u\": \"\\u00e9\"}}");
    *ret_len = at;
    return text;
}

static void chunks_of_an_older_sender(void)
{
    cJSON *all = vectors_load(), *group = cJSON_GetObjectItem(all, "chunks_sent"), *entry;
    struct world w;
    size_t len, at = 0;
    char *inner = inner_text(&len), digest[65];

    if (!CHECK(group != NULL))
        return;
    world_init(&w, &roomy);
    CHECK_U64(len, cJSON_GetObjectItem(group, "inner_json_length")->valuedouble);
    hex_sha256(inner, len, digest);
    CHECK_TEXT(digest, cJSON_GetObjectItem(group, "inner_json_sha256")->valuestring);
    cJSON_ArrayForEach(entry, cJSON_GetObjectItem(group, "chunks"))
    {
        size_t some = len - at < 8192 ? len - at : 8192;
        char *text = encoded(inner + at, some);
        bool last = cJSON_IsTrue(cJSON_GetObjectItem(entry, "is_last"));

        CHECK_U64(strlen(text), cJSON_GetObjectItem(entry, "data_length")->valuedouble);
        hex_sha256(text, strlen(text), digest);
        CHECK_TEXT(digest, cJSON_GetObjectItem(entry, "data_sha256")->valuestring);
        CHECK_U64(add(&w, cJSON_GetObjectItem(entry, "message_id")->valuestring,
                      (uint64_t)cJSON_GetObjectItem(entry, "chunk_index")->valuedouble,
                      (uint64_t)cJSON_GetObjectItem(entry, "total_chunks")->valuedouble, text),
                  last ? CHUNK_COMPLETE : CHUNK_STORED);
        free(text);
        at += some;
    }
    CHECK_STATUS(join(&w), OK);
    CHECK_BYTES(w.text, w.len, inner, len);
    world_fini(&w);
    free(inner);
    cJSON_Delete(all);
}

static void threshold_of_an_older_sender(void)
{
    cJSON *all = vectors_load(), *group = cJSON_GetObjectItem(all, "chunk_threshold"), *entry;
    int seen = 0;

    cJSON_ArrayForEach(entry, cJSON_GetObjectItem(group, "json_length_to_chunked"))
    {
        CHECK(chunk_wanted(strtoul(entry->string, NULL, 10), 8192) ==
              (cJSON_IsTrue(entry) != 0));
        seen++;
    }
    CHECK_U64(seen, 5);
    cJSON_Delete(all);
}

/* What an older receiver does, which joins first and decodes once. Its decoder, Python's,
 * refuses padding that is followed by more. */
static bool older_receiver_joins(const char *bytes, size_t len, size_t piece)
{
    char *joined = malloc(2 * len + 64), *decoded = malloc(2 * len + 64);
    size_t at = 0, decoded_len = 0;
    bool good;

    for (size_t from = 0; from < len; from += piece) {
        size_t some = len - from < piece ? len - from : piece;

        base64_encode(bytes + from, some, joined + at);
        at += base64_chars(some);
    }
    good = base64_decode(joined, at, decoded, &decoded_len) && decoded_len == len &&
           memcmp(decoded, bytes, len) == 0;
    free(joined);
    free(decoded);
    return good;
}

static void sizes_an_older_receiver_can_join(void)
{
    cJSON *all = vectors_load(), *entry;
    size_t len = 100000;
    char *bytes = malloc(len);
    struct world w;

    for (size_t i = 0; i < len; i++)
        bytes[i] = (char)(i * 7);
    cJSON_ArrayForEach(entry, cJSON_GetObjectItem(all, "chunk_reassembly_by_size"))
    {
        size_t size = strtoul(entry->string, NULL, 10);
        uint64_t total = (len + size - 1) / size;

        CHECK(older_receiver_joins(bytes, len, size) == (cJSON_IsTrue(entry) != 0));
        world_init(&w, &roomy);
        for (uint64_t i = 0; i < total; i++) { /* we take all of them */
            char *text = encoded(bytes + i * size, i + 1 < total ? size : len - i * size);

            CHECK_U64(add(&w, "x", i, total, text),
                      i + 1 < total ? CHUNK_STORED : CHUNK_COMPLETE);
            free(text);
        }
        CHECK_STATUS(join(&w), OK);
        CHECK_BYTES(w.text, w.len, bytes, len);
        world_fini(&w);
    }
    free(bytes);
    cJSON_Delete(all);
}

/* ---- Forms and orders ---- */

/* The whole's base64, cut anywhere, in any order, some of it twice. */
static void any_cut_in_any_order(void)
{
    struct check_random random = {check_seed(8)};

    for (int round = 0; round < 300; round++) {
        size_t len = 1 + (size_t)check_random_below(&random, 600), chars, size, total;
        char bytes[600], *text;
        uint32_t order[900];
        struct world w;
        enum chunk_result last = CHUNK_STORED;

        for (size_t i = 0; i < len; i++)
            bytes[i] = (char)check_random_next(&random);
        text = encoded(bytes, len);
        chars = strlen(text);
        size = 1 + (size_t)check_random_below(&random, chars);
        total = (chars + size - 1) / size;
        for (uint32_t i = 0; i < total; i++) {
            uint32_t j = (uint32_t)check_random_below(&random, i + 1);

            order[i] = order[j];
            order[j] = i;
        }
        world_init(&w, &roomy);
        for (size_t i = 0; i < total; i++) {
            size_t from = order[i] * size, some = chars - from < size ? chars - from : size;

            last = add_at(&w, "s", "x", order[i], total, text + from, some, NOW);
            if (last == CHUNK_STORED && i % 3 == 0)
                CHECK_U64(add_at(&w, "s", "x", order[i], total, text + from, some, NOW),
                          CHUNK_REPEAT);
        }
        if (CHECK_U64(last, CHUNK_COMPLETE)) {
            CHECK_STATUS(join(&w), OK);
            CHECK_BYTES(w.text, w.len, bytes, len);
        }
        world_fini(&w);
        free(text);
    }
}

static void what_is_no_base64(void)
{
    static const char *const bad[] = {
        "A", "AAA=A", "====", "AB==", "AAB=", "A===", "AA A", "-_AA", "AA==AA=="};
    struct world w;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        world_init(&w, &roomy);
        CHECK_U64(add(&w, "x", 0, 1, bad[i]), CHUNK_COMPLETE);
        CHECK_STATUS(join(&w), EPROTO);
        world_fini(&w);
    }
}

static const char *read_text(const char *text, struct chunk *chunk, char *data, size_t len)
{
    static const struct json_limits limits = {.depth_max = 8, .bytes_max = 10000};
    struct json_error error;
    struct alloc alloc;
    struct json_doc doc;
    const char *wrong = "malformed";

    alloc_init(&alloc, NULL);
    json_init(&doc, &alloc);
    if (json_scan(&doc, text, strlen(text), &limits, CHUNK_RECORD_DEPTH, &error) == PARLEY_OK)
        wrong = chunk_read(&doc, doc.items, chunk);
    if (wrong == NULL)
        json_string(&doc, chunk->data, data, len);
    json_fini(&doc);
    return wrong;
}

static void every_form_of_a_chunk(void)
{
    static const char *const good[] = {
        "{\"message_id\":\"t1\",\"chunk_index\":2,\"total_chunks\":5,\"data\":\"AA/=\"}",
        "{\"chunk_id\":\"t1\",\"message_id\":\"m\",\"chunk_index\":2,\"total_chunks\":5,"
        "\"data\":\"AA/=\",\"is_last\":false,\"original_msg_type\":\"x\"}",
        "{\"transfer_id\":\"t1\",\"chunk_index\":\"2\",\"total_chunks\":5,\"data\":\"AA\\/"
        "=\"}",
        "{\"chunk\":{\"transfer_id\":\"t1\",\"chunk_index\":2,\"total_chunks\":5,"
        "\"data\":\"AA/=\",\"checksum\":\"00112233445566778899aabbccddeeff\"}}",
        "{\"chunk\":{\"chunk_id\":\"t1\",\"chunk_index\":2,\"total_chunks\":5},"
        "\"data\":\"AA/=\"}",
    };
    static const char *const bad[] = {
        "{}",
        "{\"chunk_index\":2,\"total_chunks\":5,\"data\":\"AA==\"}",
        "{\"message_id\":\"\",\"chunk_index\":2,\"total_chunks\":5,\"data\":\"AA==\"}",
        "{\"message_id\":7,\"chunk_index\":2,\"total_chunks\":5,\"data\":\"AA==\"}",
        "{\"message_id\":\"t\",\"chunk_index\":-1,\"total_chunks\":5,\"data\":\"AA==\"}",
        "{\"message_id\":\"t\",\"chunk_index\":1.5,\"total_chunks\":5,\"data\":\"AA==\"}",
        "{\"message_id\":\"t\",\"chunk_index\":1,\"data\":\"AA==\"}",
        "{\"message_id\":\"t\",\"chunk_index\":1,\"total_chunks\":5,\"data\":{}}",
        "{\"message_id\":\"t\",\"chunk_index\":1,\"total_chunks\":5,\"data\":null}",
    };
    struct chunk chunk = {.total = 0};
    char data[16];

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        if (!CHECK(read_text(good[i], &chunk, data, sizeof(data)) == NULL))
            continue;
        CHECK_TEXT(chunk.id, "t1");
        CHECK_TEXT(data, "AA/=");
        CHECK_U64(chunk.index, 2);
        CHECK_U64(chunk.total, 5);
        CHECK(!chunk.ordered);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CHECK(read_text(bad[i], &chunk, data, sizeof(data)) != NULL);
}

/* What we cut is read, decoded piece by piece or joined, and says what went in. */
static void what_we_cut(void)
{
    static const size_t sizes[] = {2, 3, 50, 6143, 6144, 6145, 20000};
    static const size_t chars[] = {4, 8, 8190, 8192, 1 << 18};
    static const uint8_t id[16] = {0x5a, 1, 2, 3};
    char *payload = malloc(20000), *text = malloc(400000), *data = malloc(400000),
         *joined = malloc(400000);

    memset(payload, 'x', 20000);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        for (size_t k = 0; k < sizeof(chars) / sizeof(chars[0]); k++) {
            struct chunk_cut cut;
            struct chunk chunk = {.total = 0};
            struct world w;
            size_t joined_len = 0, whole_len = 0;
            char expected[64];

            world_init(&w, &roomy);
            chunk_cut_init(&cut, id, "big", 3, payload, sizes[i], chars[k]);
            w.chunks.limits.chunks_max = cut.total;
            for (uint32_t n = 0; n < cut.total; n++) {
                size_t len = chunk_cut_write(&cut, n, text);

                CHECK(len <= chunk_cut_room(&cut, n));
                text[len] = '\0';
                CHECK(read_text(text, &chunk, data, 400000) == NULL || len > 9999);
                if (len > 9999) /* beyond read_text()'s limit: between the quotes */
                    sscanf(strstr(text, "\"data\":\"") + 8, "%399999[^\"]", data);
                CHECK(strlen(data) % 4 == 0 && strlen(data) <= chars[k]);
                memcpy(joined + joined_len, data, strlen(data) + 1);
                joined_len += strlen(data);
                CHECK_U64(add(&w, cut.id, n, cut.total, data),
                          n + 1 < cut.total ? CHUNK_STORED : CHUNK_COMPLETE);
            }
            CHECK_STATUS(join(&w), OK);
            CHECK_U64(w.len, chunk_cut_bytes(&cut));
            CHECK(base64_decode(joined, joined_len, data, &whole_len));
            CHECK_BYTES(data, whole_len, w.text, w.len);
            snprintf(expected, sizeof(expected), "{\"original_msg_type\":\"big\",\"data\":x");
            CHECK(strncmp(w.text, expected, strlen(expected)) == 0);
            CHECK(w.text[w.len - 1] == '}' && w.text[w.len - 2] == 'x');
            world_fini(&w);
        }
    }
    free(payload);
    free(text);
    free(data);
    free(joined);
}

/* ---- Limits ---- */

static void a_bomb_costs_nothing(void)
{
    struct chunk_limits limits = roomy;
    struct world w;

    world_init(&w, &limits);
    CHECK_U64(add(&w, "x", 0, 1000000000, "AAAA"), CHUNK_REFUSED);
    CHECK_TEXT(w.reason, "transfer exceeds transfer_chunks_max");
    CHECK_U64(add(&w, "x", UINT64_MAX, UINT64_MAX, "AAAA"), CHUNK_REFUSED);
    CHECK_U64(w.chunks.memory, 0);
    w.chunks.limits.chunks_max = UINT32_MAX;
    CHECK_U64(add(&w, "x", 999999999, 1000000000, "AAAA"), CHUNK_STORED);
    CHECK(w.chunks.memory < 1000);
    world_fini(&w);
}

static void what_does_not_fit_together(void)
{
    struct world w;

    world_init(&w, &roomy);
    CHECK_U64(add(&w, "x", 0, 0, "AAAA"), CHUNK_REFUSED);
    CHECK_U64(add(&w, "x", 3, 3, "AAAA"), CHUNK_REFUSED);
    CHECK_TEXT(w.reason, "chunk_index is out of range");
    CHECK_U64(add(&w, "x", 0, 3, "AAAA"), CHUNK_STORED);
    CHECK_U64(add(&w, "x", 1, 4, "AAAA"), CHUNK_REFUSED);
    CHECK_TEXT(w.reason, "total_chunks has changed");
    CHECK_U64(add(&w, "x", 0, 3, "AAAB"), CHUNK_REFUSED);
    CHECK_TEXT(w.reason, "chunk differs from the one that came before");
    CHECK_U64(add(&w, "x", 0, 3, "AAA"), CHUNK_REFUSED);
    CHECK_U64(add(&w, "x", 0, 3, "AAAA"), CHUNK_REPEAT);
    CHECK_U64(add(&w, "x", 1, 3, "AAAA"), CHUNK_STORED);
    CHECK_U64(add(&w, "x", 2, 3, "AAAA"), CHUNK_COMPLETE);
    CHECK_STATUS(join(&w), OK);
    world_fini(&w);
}

static void bounds_of_bytes(void)
{
    struct chunk_limits limits = roomy;
    struct world w;
    char text[1001];

    memset(text, 'A', 1000);
    text[1000] = '\0';
    limits.bytes_max = 1500;
    world_init(&w, &limits);
    CHECK_U64(add(&w, "x", 0, 9, text), CHUNK_STORED);
    CHECK_U64(add(&w, "x", 1, 9, text), CHUNK_STORED);
    CHECK_U64(add(&w, "x", 2, 9, text), CHUNK_REFUSED); /* 2250 of 1500 bytes */
    CHECK_CONTAINS(w.reason, "transfer_bytes_max");
    CHECK_U64(w.chunks.memory, 0); /* nobody will complete it */
    world_fini(&w);

    limits.bytes_max = 2000;
    limits.memory_bytes_max = 8000;
    world_init(&w, &limits);
    CHECK_U64(add_at(&w, "a", "x", 0, 9, text, 1000, NOW), CHUNK_STORED);
    CHECK_U64(add_at(&w, "a", "y", 0, 9, text, 1000, NOW), CHUNK_STORED);
    CHECK_U64(add_at(&w, "a", "z", 0, 9, text, 1000, NOW), CHUNK_STORED);
    CHECK_U64(add_at(&w, "a", "x", 1, 9, text, 1000, NOW), CHUNK_STORED);
    CHECK_U64(add_at(&w, "a", "y", 1, 9, text, 1000, NOW), CHUNK_REFUSED);
    CHECK_TEXT(w.reason, "one sender exceeds its half of transfer_memory_bytes_max");
    for (int i = 0; i < 20; i++) {
        char name[16];

        snprintf(name, sizeof(name), "b%d", i);
        add_at(&w, name, "x", 0, 9, text, 1000, NOW);
    }
    CHECK_TEXT(w.reason, "all transfers exceed transfer_memory_bytes_max");
    CHECK(w.chunks.memory <= 8000);
    world_fini(&w);
}

/* However many names they invent, the other half is for those who are peers. */
static void strangers_share_one_half(void)
{
    struct chunk_limits limits = roomy;
    enum chunk_result last = CHUNK_STORED;
    struct world w;
    char text[1001], name[16];

    memset(text, 'A', 1000);
    text[1000] = '\0';
    limits.bytes_max = 2000;
    limits.memory_bytes_max = 12000;
    world_init(&w, &limits);
    for (int i = 0; i < 40 && last == CHUNK_STORED; i++) {
        snprintf(name, sizeof(name), "?%d", i);
        last = add_at(&w, name, "x", 0, 9, text, 1000, NOW);
    }
    CHECK_U64(last, CHUNK_REFUSED);
    CHECK_TEXT(w.reason, "strangers exceed their half of transfer_memory_bytes_max");
    CHECK(w.chunks.memory <= 6000);
    CHECK_U64(add_at(&w, "peer", "x", 0, 2, text, 1000, NOW), CHUNK_STORED);
    CHECK_U64(add_at(&w, "peer", "x", 1, 2, text, 1000, NOW), CHUNK_COMPLETE);
    CHECK_STATUS(join(&w), OK);
    CHECK_U64(chunks_expire(&w.chunks, 1000 * NOW) > 0, true);
    CHECK_U64(w.chunks.strangers_memory, 0);
    CHECK_U64(add_at(&w, "?new", "x", 0, 9, text, 1000, 1001 * NOW), CHUNK_STORED);
    world_fini(&w);
}

static void bound_of_transfers(void)
{
    struct world w;

    world_init(&w, &roomy);
    CHECK_U64(add(&w, "1", 0, 2, "AAAA"), CHUNK_STORED);
    CHECK_U64(add(&w, "2", 0, 2, "AAAA"), CHUNK_STORED);
    CHECK_U64(add(&w, "3", 0, 2, "AAAA"), CHUNK_STORED);
    CHECK_U64(add(&w, "4", 0, 2, "AAAA"), CHUNK_STORED);
    CHECK_U64(add(&w, "5", 0, 2, "AAAA"), CHUNK_REFUSED);
    CHECK_TEXT(w.reason, "more unfinished transfers than transfers_max");
    CHECK_U64(add_at(&w, "other", "5", 0, 2, "AAAA", 4, NOW), CHUNK_STORED);
    CHECK_U64(add(&w, "1", 1, 2, "AAAA"), CHUNK_COMPLETE);
    CHECK_STATUS(join(&w), OK);
    CHECK_U64(add(&w, "5", 0, 2, "AAAA"), CHUNK_STORED);
    world_fini(&w);
}

static void unfinished_transfers_are_forgotten(void)
{
    struct world w;

    world_init(&w, &roomy);
    add_at(&w, "s", "x", 0, 3, "AAAA", 4, NOW);
    add_at(&w, "s", "y", 0, 3, "AAAA", 4, 100 * NOW);
    add_at(&w, "s", "x", 1, 3, "AAAA", 4, 200 * NOW);
    CHECK_U64(chunks_expire(&w.chunks, 399 * NOW), 0);
    CHECK_U64(chunks_expire(&w.chunks, 400 * NOW), 1); /* y; x had one more since */
    CHECK_U64(add_at(&w, "s", "x", 1, 3, "AAAA", 4, 450 * NOW), CHUNK_REPEAT);
    CHECK_U64(chunks_expire(&w.chunks, 500 * NOW), 1); /* a repeat is no progress */
    CHECK_U64(w.chunks.memory, 0);
    world_fini(&w);
}

static void a_sender_in_order_is_told_what_is_missing(void)
{
    struct chunk_place last = {"s", "x", 3, 4, true, 0, false};
    uint64_t from = 0;
    struct world w;

    world_init(&w, &roomy);
    CHECK_U64(chunks_add(&w.chunks, &last, chunk_piece_new(&w.alloc, "AAAA", 4), NOW,
                         &w.transfer, w.reason),
              CHUNK_REFUSED);
    CHECK_TEXT(w.reason, "CHUNKS_MISSING from 0");
    add(&w, "x", 0, 4, "AAAA");
    add(&w, "x", 1, 4, "AAAA");
    CHECK_U64(chunks_add(&w.chunks, &last, chunk_piece_new(&w.alloc, "AAAA", 4), NOW,
                         &w.transfer, w.reason),
              CHUNK_REFUSED);
    CHECK(chunks_missing_read(w.reason, &from) && from == 2);
    CHECK_U64(add(&w, "x", 2, 4, "AAAA"), CHUNK_COMPLETE); /* the last one was kept */
    CHECK_STATUS(join(&w), OK);
    CHECK_U64(w.len, 12);
    CHECK(chunks_missing_read("Handler error: CHUNKS_MISSING from 7", &from) && from == 7);
    CHECK(!chunks_missing_read("CHUNKS_MISSING from ", &from));
    CHECK(!chunks_missing_read("CHUNKS_MISSING from 1x", &from));
    CHECK(!chunks_missing_read("CHUNKS_MISSING from 99999999999", &from));
    world_fini(&w);
}

/* What is sent again from the first missing one on: complete with the last, not before. */
static void the_last_one_completes_for_a_sender_in_order(void)
{
    static const uint64_t indices[] = {2, 3, 0, 1, 2, 3};
    static const enum chunk_result expected[] = {CHUNK_STORED, CHUNK_REFUSED, CHUNK_STORED,
                                                 CHUNK_STORED, CHUNK_REPEAT,  CHUNK_COMPLETE};
    struct world w;

    world_init(&w, &roomy);
    for (int i = 0; i < 6; i++) {
        const struct chunk_place place = {"s", "x", indices[i], 4, true, 0, false};

        CHECK_U64(chunks_add(&w.chunks, &place, chunk_piece_new(&w.alloc, "AAAA", 4), NOW,
                             &w.transfer, w.reason),
                  expected[i]);
        chunks_check(&w.chunks);
    }
    CHECK_STATUS(join(&w), OK);
    CHECK_U64(w.len, 12);
    world_fini(&w);
}

/* One after the other in a session: a new one says that the one before was given up. */
static void the_next_one_of_a_session_replaces_what_was_given_up(void)
{
    struct chunk_place place = {"s", "", 0, 2, true, 7, false};
    char id[16];
    struct world w;

    world_init(&w, &roomy);
    add(&w, "other", 0, 2, "AAAA");
    for (int i = 0; i < 20; i++) {
        snprintf(id, sizeof(id), "t%d", i);
        place.id = id;
        place.session = i % 2 == 0 ? 7 : 8;
        CHECK_U64(chunks_add(&w.chunks, &place, chunk_piece_new(&w.alloc, "AAAA", 4), NOW,
                             &w.transfer, w.reason),
                  CHUNK_STORED);
        chunks_check(&w.chunks);
    }
    CHECK_U64(add(&w, "other", 1, 2, "AAAA"), CHUNK_COMPLETE);
    CHECK_STATUS(join(&w), OK);
    place.index = 1;
    CHECK_U64(chunks_add(&w.chunks, &place, chunk_piece_new(&w.alloc, "AAAA", 4), NOW,
                         &w.transfer, w.reason),
              CHUNK_COMPLETE);
    CHECK_STATUS(join(&w), OK);
    world_fini(&w);
}

static const struct check_test tests[] = {
    {"the chunks of an older sender", chunks_of_an_older_sender},
    {"the threshold of an older sender", threshold_of_an_older_sender},
    {"the sizes an older receiver can join", sizes_an_older_receiver_can_join},
    {"any cut, in any order, some twice", any_cut_in_any_order},
    {"what is no base64", what_is_no_base64},
    {"every form of a chunk", every_form_of_a_chunk},
    {"what we cut", what_we_cut},
    {"a bomb costs nothing", a_bomb_costs_nothing},
    {"what does not fit together", what_does_not_fit_together},
    {"bounds of bytes", bounds_of_bytes},
    {"strangers share one half", strangers_share_one_half},
    {"bound of transfers", bound_of_transfers},
    {"unfinished transfers are forgotten", unfinished_transfers_are_forgotten},
    {"a sender in order is told what is missing", a_sender_in_order_is_told_what_is_missing},
    {"the last one completes, for a sender in order",
     the_last_one_completes_for_a_sender_in_order},
    {"the next one of a session replaces what was given up",
     the_next_one_of_a_session_replaces_what_was_given_up},
};

CHECK_MAIN("chunk", tests)
