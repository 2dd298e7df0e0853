/* SPDX-License-Identifier: Apache-2.0
 *
 * The benchmarks' payload: its length, its bookkeeping fields, and the hash both ends sum.
 */
#include "bench/payload.h"

#include <cjson/cJSON.h>
#include <stdlib.h>

#include "test/check.h"

static void a_payload_is_json_of_exactly_the_length_asked_for(void)
{
    struct payload_key key = {99, 3, 1250};
    for (size_t len = payload_bytes_min(key); len < 300; len++) {
        char buffer[300];
        payload_prepare(buffer, len);
        payload_write(buffer, len, key);
        const char *end = NULL;
        cJSON *json = cJSON_ParseWithLengthOpts(buffer, len, &end, false);
        if (!CHECK(json != NULL))
            return;
        CHECK_U64(end - buffer, len);
        CHECK_U64(cJSON_GetObjectItem(json, "p")->valuedouble, 99);
        CHECK_U64(cJSON_GetObjectItem(json, "t")->valuedouble, 3);
        CHECK_U64(cJSON_GetObjectItem(json, "n")->valuedouble, 1250);
        CHECK(cJSON_IsString(cJSON_GetObjectItem(json, "pad")));
        cJSON_Delete(json);
    }
}

static void a_reused_buffer_keeps_nothing_of_the_payload_before(void)
{
    char reused[120], fresh[120];
    payload_prepare(reused, sizeof(reused));
    struct check_random random = {check_seed(3)};
    for (unsigned i = 0; i < 2000; i++) {
        struct payload_key key = {
            (uint32_t)(check_random_next(&random) >> (32 + check_random_below(&random, 32))),
            (uint32_t)check_random_below(&random, 64),
            check_random_next(&random) >> check_random_below(&random, 64)};
        payload_write(reused, sizeof(reused), key);
        payload_prepare(fresh, sizeof(fresh));
        payload_write(fresh, sizeof(fresh), key);
        if (!CHECK_BYTES(reused, sizeof(reused), fresh, sizeof(fresh)))
            return;
        struct payload_key back = {0};
        CHECK(payload_parse(reused, sizeof(reused), &back));
        CHECK_U64(back.peer, key.peer);
        CHECK_U64(back.thread, key.thread);
        CHECK_U64(back.number, key.number);
    }
}

static void what_is_not_ours_is_refused(void)
{
    static const char *const texts[] = {
        "",
        "{}",
        "{\"p\":1}",
        "{\"p\":,\"t\":1,\"n\":1}",
        "{\"q\":1,",
        "{\"p\":1,\"t\":2,\"n\":}",
        "{\"p\":4294967296,\"t\":0,\"n\":1}",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct payload_key key;
        CHECK(!payload_parse(texts[i], strlen(texts[i]), &key));
    }
}

static void any_changed_byte_changes_the_hash(void)
{
    char bytes[150];
    payload_prepare(bytes, sizeof(bytes));
    payload_write(bytes, sizeof(bytes), (struct payload_key){1, 2, 3});
    for (size_t len = 1; len <= sizeof(bytes); len++) {
        uint64_t before = payload_hash(bytes, len);
        CHECK(len == 1 || before != payload_hash(bytes, len - 1));
        for (size_t i = 0; i < len; i++) {
            bytes[i] ^= 1;
            CHECK(payload_hash(bytes, len) != before);
            bytes[i] ^= 1;
        }
    }
}

static void swapped_words_change_the_hash(void)
{
    CHECK(payload_hash("aaaaaaaabbbbbbbb", 16) != payload_hash("bbbbbbbbaaaaaaaa", 16));
    CHECK(payload_hash("aaaaaaaab", 9) != payload_hash("baaaaaaaa", 9));
}

static const struct check_test tests[] = {
    {"a payload is JSON of exactly the length asked for",
     a_payload_is_json_of_exactly_the_length_asked_for},
    {"a reused buffer keeps nothing of the payload before",
     a_reused_buffer_keeps_nothing_of_the_payload_before},
    {"what is not ours is refused", what_is_not_ours_is_refused},
    {"any changed byte changes the hash", any_changed_byte_changes_the_hash},
    {"swapped words change the hash", swapped_words_change_the_hash},
};

CHECK_MAIN("payload", tests)
