/* SPDX-License-Identifier: Apache-2.0
 *
 * The strict scanner: what it takes, what it refuses, what it records, and that no input
 * makes it read out of bounds (every text stands at the end of its own heap block, so a
 * sanitizer sees one byte too far) or slow.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peers/json.h"
#include "test/check.h"
#include "test/peers/json_cases.h"
#include "test/peers/json_oracle.h"

static const struct json_limits limits = {.depth_max = 32, .bytes_max = 1 << 26};
static struct alloc memory;

static void *count_allocate(size_t bytes, void *user)
{
    ++*(unsigned *)user;
    return malloc(bytes);
}

static void *count_resize(void *old, size_t bytes, void *user)
{
    ++*(unsigned *)user;
    return realloc(old, bytes);
}

static void count_release(void *old, void *user)
{
    (void)user;
    free(old);
}

/* An allocator whose n-th request and all later ones fail. */
struct failing {
    unsigned left;
};

static void *fail_allocate(size_t bytes, void *user)
{
    struct failing *failing = user;

    return failing->left > 0 && failing->left-- > 0 ? malloc(bytes) : NULL;
}

static void *fail_resize(void *old, size_t bytes, void *user)
{
    struct failing *failing = user;

    return failing->left > 0 && failing->left-- > 0 ? realloc(old, bytes) : NULL;
}

static parley_status scan_exact(struct json_doc *doc, const char *text, size_t len,
                                uint32_t depth, struct json_error *ret_error)
{
    char *block = malloc(len > 0 ? len : 1);
    parley_status status;

    memcpy(block, text, len);
    status = json_scan(doc, block, len, &limits, depth, ret_error);
    free(block);
    return status;
}

static bool takes(const char *text, size_t len)
{
    struct json_doc doc;
    struct json_error error = {0, NULL};
    parley_status status;

    json_init(&doc, &memory);
    status = scan_exact(&doc, text, len, 2, &error);
    if (status != PARLEY_OK)
        CHECK(error.reason != NULL && error.offset <= len && doc.count == 0);
    json_fini(&doc);
    return status == PARLEY_OK;
}

/* Scans a literal that must be good. */
static void scan_good(struct json_doc *doc, const char *text, uint32_t depth)
{
    struct json_error error = {0, ""};

    json_init(doc, &memory);
    if (json_scan(doc, text, strlen(text), &limits, depth, &error) != PARLEY_OK)
        CHECK_TEXT(error.reason, text);
}

static void test_table(void)
{
    for (size_t i = 0; i < sizeof(json_cases) / sizeof(json_cases[0]); i++) {
        const struct json_case *item = &json_cases[i];
        bool taken = takes(item->text, item->len);

        if (taken != item->good)
            CHECK_TEXT(item->text, item->good ? "(a text that is taken)" : "(a refusal)");
        CHECK(json_oracle(item->text, item->len, 32) == item->good);
    }
    CHECK(sizeof(json_cases) / sizeof(json_cases[0]) >= 120);
}

/* Appends bytes; `text` has the room. */
static size_t append(char *text, size_t len, const char *bytes, size_t bytes_len)
{
    for (size_t i = 0; i < bytes_len; i++)
        text[len + i] = bytes[i];
    return len + bytes_len;
}

static void test_table_in_containers(void)
{
    static const char before[] = "{\"k\":[", after[] = "],\"0123456789abcdef\":0}";
    char text[256];

    for (size_t i = 0; i < sizeof(json_cases) / sizeof(json_cases[0]); i++) {
        const struct json_case *item = &json_cases[i];
        size_t len = append(text, 0, before, sizeof(before) - 1);

        len = append(text, len, item->text, item->len);
        len = append(text, len, after, sizeof(after) - 1);
        if (takes(text, len) != json_oracle(text, len, 32))
            CHECK_TEXT(item->text, "(the same answer from both)");
    }
}

static void test_errors_say_where(void)
{
    static const struct {
        const char *text, *reason;
        size_t offset;
    } cases[] = {
        {"{\"a\":1,\"a\":2}", "duplicate key", 8},
        {"[1,01]", "leading zero", 3},
        {"[1,2", "unexpected end", 4},
        {"[\"a\nb\"]", "control character in a string", 3},
        {"[\"a\xff\"]", "invalid UTF-8", 3},
        {"[\"\\ud800\"]", "lone surrogate", 2},
        {"{\"\\u0000\":1}", "\\u0000 in a key", 2},
        {"{} x", "trailing bytes", 3},
        {"[1 2]", "expected a comma or the container's end", 3},
        {"{\"a\" 1}", "expected a colon", 5},
        {"{1:1}", "expected a key", 1},
        {"[1,]", "expected a value", 3},
        {"[\"\\q\"]", "unknown escape", 3},
        {"[1.x]", "expected a digit", 3},
    };
    struct json_doc doc;

    json_init(&doc, &memory);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct json_error error = {0, NULL};

        CHECK_STATUS(scan_exact(&doc, cases[i].text, strlen(cases[i].text), 1, &error),
                     EPROTO);
        CHECK_TEXT(error.reason, cases[i].reason);
        CHECK_U64(error.offset, cases[i].offset);
    }
    json_fini(&doc);
}

static void test_limits(void)
{
    char text[2 * JSON_DEPTH_MAX + 2];
    struct json_doc doc;
    struct json_error error;

    json_init(&doc, &memory);
    for (uint32_t depth_max = 1; depth_max <= JSON_DEPTH_MAX; depth_max++) {
        struct json_limits narrow = {.depth_max = depth_max, .bytes_max = 2 * depth_max};

        for (int object = 0; object < 2; object++) {
            memset(text, '[', depth_max);
            memset(text + depth_max, ']', depth_max);
            if (object) {
                text[depth_max - 1] = '{';
                text[depth_max] = '}';
            }
            CHECK_STATUS(json_scan(&doc, text, 2 * depth_max, &narrow, 255, &error), OK);
            CHECK_U64(doc.count, depth_max);
        }
        narrow.bytes_max--;
        CHECK_STATUS(json_scan(&doc, text, 2 * depth_max, &narrow, 0, &error), ETOOBIG);
        memset(text, '[', depth_max + 1);
        memset(text + depth_max + 1, ']', depth_max + 1);
        narrow.bytes_max = sizeof(text);
        CHECK_STATUS(json_scan(&doc, text, 2 * depth_max + 2, &narrow, 0, &error), EPROTO);
        CHECK_TEXT(error.reason, "nested too deeply");
        CHECK_U64(error.offset, depth_max);
    }
    json_fini(&doc);
}

static void test_recording_depth(void)
{
    static const char text[] = "{\"a\":[1,{\"b\":[2]},\"x\"],\"c\":{\"d\":{}},\"e\":null}";
    static const uint32_t counts[] = {1, 4, 8, 9, 10, 10};
    struct json_doc doc;

    for (uint32_t depth = 0; depth < sizeof(counts) / sizeof(counts[0]); depth++) {
        scan_good(&doc, text, depth);
        CHECK_U64(doc.count, counts[depth]);
        CHECK_U64(doc.items[0].value_len, sizeof(text) - 1);
        for (uint32_t i = 0; i < doc.count; i++)
            CHECK(doc.items[i].depth <= depth);
        CHECK((json_first(&doc, doc.items) == NULL) == (depth == 0));
        json_fini(&doc);
    }
}

static void test_walking(void)
{
    const struct json_item *list, *item, *member;
    struct json_doc doc;

    scan_good(&doc, "{\"list\":[1,\"two\",[],{\"k\":3}],\"empty\":{},\"\\u0065nd\":true}", 3);
    CHECK(json_member(&doc, doc.items, "lis") == NULL);
    CHECK(json_member(&doc, doc.items, "k") == NULL);
    list = json_member(&doc, doc.items, "list");
    if (!CHECK(list != NULL && list->type == JSON_ARRAY))
        return;
    CHECK_BYTES(doc.text + list->value, list->value_len, "[1,\"two\",[],{\"k\":3}]", 20);
    item = json_first(&doc, list);
    CHECK(item->type == JSON_NUMBER && item->key == 0 && item->key_len == 0);
    item = json_next(&doc, item);
    CHECK(item->type == JSON_STRING);
    CHECK_BYTES(doc.text + item->value, item->value_len, "two", 3);
    item = json_next(&doc, item);
    CHECK(item->type == JSON_ARRAY && json_first(&doc, item) == NULL);
    item = json_next(&doc, item);
    member = json_member(&doc, item, "k");
    CHECK(member != NULL && member->depth == 3 && json_next(&doc, member) == NULL);
    CHECK(json_next(&doc, item) == NULL);
    member = json_member(&doc, doc.items, "end");
    CHECK(member != NULL && member->type == JSON_TRUE && member->key_escaped);
    CHECK(json_key_is(&doc, member, "end", 3));
    CHECK(!json_key_is(&doc, member, "en", 2));
    CHECK(!json_key_is(&doc, member, "ends", 4));
    CHECK(json_first(&doc, json_member(&doc, doc.items, "empty")) == NULL);
    json_fini(&doc);
}

static void test_no_allocation_when_warm(void)
{
    unsigned count = 0;
    const parley_allocator host = {count_allocate, count_resize, count_release, &count};
    static const char text[] = "{\"a\":[1,2,{\"x\":[{\"y\":\"z\"}]}],\"b\":\"\\u0061\"}";
    struct json_error error;
    struct alloc counting;
    struct json_doc doc;
    unsigned warm;

    alloc_init(&counting, &host);
    json_init(&doc, &counting);
    CHECK_STATUS(json_check_object(&doc, text, sizeof(text) - 1, &limits, &error), OK);
    CHECK_U64(count, 0);
    CHECK_STATUS(json_scan(&doc, text, sizeof(text) - 1, &limits, 9, &error), OK);
    warm = count;
    for (int i = 0; i < 100; i++)
        CHECK_STATUS(json_scan(&doc, text, sizeof(text) - 1, &limits, 9, &error), OK);
    CHECK_U64(count, warm);
    json_fini(&doc);
}

static void test_check_object(void)
{
    struct json_doc doc;
    struct json_error error;

    json_init(&doc, &memory);
    CHECK_STATUS(json_check_object(&doc, " {\"a\":[1]} ", 11, &limits, &error), OK);
    CHECK_U64(doc.count, 0);
    CHECK_STATUS(json_check_object(&doc, "[{}]", 4, &limits, &error), EPROTO);
    CHECK_TEXT(error.reason, "expected an object");
    CHECK_STATUS(json_check_object(&doc, "null", 4, &limits, &error), EPROTO);
    CHECK_STATUS(json_check_object(&doc, "", 0, &limits, &error), EPROTO);
    CHECK_TEXT(error.reason, "unexpected end");
    CHECK_STATUS(json_check_object(&doc, "{\"a\":1,\"a\":2}", 13, &limits, &error), EPROTO);
    CHECK_STATUS(json_check_object(&doc, "{}x", 3, &limits, &error), EPROTO);
    json_fini(&doc);
}

/* ---- many keys ---- */

/* {"KEY0":0,…} with `count` keys made by `format`; one more key equal to number `again` at
 * the end, unless that is `count` or more. The caller frees it. */
static char *many_keys(const char *format, unsigned count, unsigned again, size_t *ret_len)
{
    size_t size = (size_t)count * 64 + 128, len = 0;
    char *text = malloc(size);

    text[len++] = '{';
    for (unsigned i = 0; i < count + (again < count); i++) {
        len += (size_t)snprintf(text + len, size - len, i > 0 ? ",\"" : "\"");
        len += (size_t)snprintf(text + len, size - len, format, i < count ? i : again);
        len += (size_t)snprintf(text + len, size - len, "\":0");
    }
    text[len++] = '}';
    *ret_len = len;
    return text;
}

/* The quick hash sees both ends only: all keys of the second format look alike to it. */
static const char *const formats[] = {"%u", "same-front%05usame-back", "\\u006b%u"};

static void test_many_keys(void)
{
    static const unsigned counts[] = {2, 63, 64, 65, 66, 500, 511, 512, 513, 1025, 5000};
    struct json_error error;
    struct json_doc doc;
    size_t len;

    json_init(&doc, &memory);
    for (size_t f = 0; f < 3; f++) {
        for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
            unsigned again[] = {0, 1, counts[i] / 2, counts[i] - 1};
            char *text = many_keys(formats[f], counts[i], UINT32_MAX, &len);

            CHECK_STATUS(scan_exact(&doc, text, len, 0, &error), OK);
            free(text);
            for (int k = 0; k < 4; k++) {
                text = many_keys(formats[f], counts[i], again[k], &len);
                CHECK_STATUS(scan_exact(&doc, text, len, 0, &error), EPROTO);
                CHECK_TEXT(error.reason, "duplicate key");
                free(text);
            }
        }
    }
    json_fini(&doc);
}

/* Fifty thousand comparisons with each other would be more than a thousand million; what is
 * asserted is that hostile objects end, and are judged rightly, in one go of the suite. */
static void test_hostile_objects(void)
{
    struct json_error error;
    struct json_doc doc;
    size_t len;

    json_init(&doc, &memory);
    for (size_t f = 0; f < 3; f++) {
        char *text = many_keys(formats[f], 100000, UINT32_MAX, &len);

        CHECK_STATUS(scan_exact(&doc, text, len, 0, &error), OK);
        free(text);
        text = many_keys(formats[f], 100000, 99999, &len);
        CHECK_STATUS(scan_exact(&doc, text, len, 0, &error), EPROTO);
        free(text);
    }
    json_fini(&doc);
}

/* Objects in objects, each with enough keys for the table, before and after the inner one. */
static void nest(char *text, size_t size, size_t *len, unsigned levels, unsigned again)
{
    for (unsigned i = 0; i < 70; i++)
        *len +=
            (size_t)snprintf(text + *len, size - *len, "%s\"k%u\":%u", i ? "," : "{", i, i);
    if (levels > 1) {
        *len += (size_t)snprintf(text + *len, size - *len, ",\"in\":");
        nest(text, size, len, levels - 1, again);
    }
    for (unsigned i = 70; i < 140; i++)
        *len += (size_t)snprintf(text + *len, size - *len, ",\"k%u\":%u", i, i);
    if (levels == again)
        *len += (size_t)snprintf(text + *len, size - *len, ",\"k%u\":0", levels * 4);
    *len += (size_t)snprintf(text + *len, size - *len, "}");
}

static void test_nested_tables(void)
{
    static char text[80000];
    struct json_error error;
    struct json_doc doc;

    json_init(&doc, &memory);
    for (unsigned again = 0; again <= 30; again++) {
        size_t len = 0;

        nest(text, sizeof(text), &len, 30, again);
        CHECK_TEXT(parley_status_name(json_scan(&doc, text, len, &limits, 0, &error)),
                   again == 0 ? "OK" : "EPROTO");
    }
    json_fini(&doc);
}

static void test_out_of_memory(void)
{
    size_t len;
    char *text = many_keys("%u", 3000, UINT32_MAX, &len);
    unsigned n = 0;
    parley_status status;

    do {
        struct failing failing = {.left = n++};
        const parley_allocator host = {fail_allocate, fail_resize, count_release, &failing};
        struct json_error error;
        struct alloc alloc;
        struct json_doc doc;

        alloc_init(&alloc, &host);
        json_init(&doc, &alloc);
        status = json_scan(&doc, text, len, &limits, 1, &error);
        CHECK(status == PARLEY_OK || status == PARLEY_ENOMEM);
        failing.left = 100; /* the same document goes on once there is memory */
        CHECK_STATUS(json_scan(&doc, text, len, &limits, 1, &error), OK);
        json_fini(&doc);
    } while (status != PARLEY_OK && n < 100);
    CHECK(n > 5 && n < 100);
    free(text);
}

/* ---- random ---- */

static const char batch_text[] =
    "{\"type\":\"batch\",\"session_id\":\"s\",\"base_seq\":1,\"first_seq\":1,\"messages\":[{"
    "\"msg_type\":\"t\",\"payload\":{\"a\":[1,2.5e-3,\"x\\u00e9\\n\"]},\"timestamp\":1.5}]}";

static const char *const seeds[] = {
    batch_text,
    "[\"\xc3\xa9\xe2\x98\x83\xf0\x9f\x98\x80\",\"\\ud83d\\ude00\",-0.0,1E+9,null,true,false]",
    "{\"a\":{\"b\":{\"a\":[[[]]],\"\\u0062\":{}}},\"0123456789abcdef0123\":[0,1,2,3,4,5,6]}",
    "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1,[2]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]",
};

static size_t mutate(struct check_random *random, char *text, size_t len, size_t size)
{
    static const char alphabet[] = "\"\\{}[]:,u0019aebftn-+. \n\x1f\x80\xc3\xed\xa0\xf4";
    size_t at = check_random_below(random, len);

    switch (check_random_below(random, 5)) {
    case 0: /* cut a piece out */
    {
        size_t cut = 1 + check_random_below(random, len - at < 4 ? len - at : 4);

        memmove(text + at, text + at + cut, len - at - cut);
        return len - cut;
    }
    case 1: /* put one in */
        if (len < size) {
            memmove(text + at + 1, text + at, len - at);
            text[at] = alphabet[check_random_below(random, sizeof(alphabet))];
            return len + 1;
        }
        return len;
    case 2: /* copy a piece elsewhere */
    {
        size_t from = check_random_below(random, len), span = len - (at > from ? at : from);

        memmove(text + at, text + from, span < 12 ? span : 12);
        return len;
    }
    default:
        text[at] = alphabet[check_random_below(random, sizeof(alphabet))];
        return len;
    }
}

static void test_mutations(void)
{
    struct check_random random = {check_seed(0x6a736f6e)};
    uint64_t seed = random.state;
    unsigned good = 0;

    for (unsigned round = 0; round < 60000; round++) {
        char text[512];
        const char *from = seeds[round % (sizeof(seeds) / sizeof(seeds[0]))];
        size_t len = append(text, 0, from, strlen(from));
        uint64_t changes = 1 + check_random_below(&random, 3);
        bool expected;

        for (uint64_t i = 0; i < changes && len > 0; i++)
            len = mutate(&random, text, len, sizeof(text));
        expected = json_oracle(text, len, 32);
        good += expected;
        if (takes(text, len) != expected) {
            CHECK_BYTES(text, len, expected ? "taken" : "refused", expected ? 5 : 7);
            fprintf(stderr, "SEED=%" PRIu64 " round %u\n", seed, round);
            return;
        }
    }
    CHECK(good > 1000 && good < 59000); /* both answers were asked for */
}

static void test_truncations(void)
{
    for (size_t i = 0; i < sizeof(seeds) / sizeof(seeds[0]); i++) {
        for (size_t len = 0; len < strlen(seeds[i]); len++)
            CHECK(!takes(seeds[i], len));
        CHECK(takes(seeds[i], strlen(seeds[i])));
    }
}

/* Every byte value at every distance from the end: the wide loops and their tails agree. */
static void test_every_byte_everywhere(void)
{
    for (size_t len = 0; len < 40; len++) {
        for (size_t at = 0; at < len; at++) {
            for (unsigned byte = 0; byte < 256; byte++) {
                char text[48];
                bool plain = byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\';

                memset(text, 'x', sizeof(text));
                text[0] = '"';
                text[1 + at] = (char)byte;
                text[1 + len] = '"';
                if (takes(text, len + 2) != plain) {
                    CHECK_U64(byte, 256);
                    return;
                }
            }
        }
    }
}

static const struct check_test tests[] = {
    {"each text of the table is taken or refused rightly", test_table},
    {"each text of the table inside containers", test_table_in_containers},
    {"errors say what and where", test_errors_say_where},
    {"depth and size are limited exactly", test_limits},
    {"values are recorded down to the depth asked for", test_recording_depth},
    {"recorded values can be walked", test_walking},
    {"a warm document allocates nothing", test_no_allocation_when_warm},
    {"check_object wants exactly one object", test_check_object},
    {"duplicates are found among any number of keys", test_many_keys},
    {"objects of 100,000 keys made to collide", test_hostile_objects},
    {"nested large objects keep their keys apart", test_nested_tables},
    {"running out of memory is a status and does not spoil the document", test_out_of_memory},
    {"mutated texts get the same answer as from a second checker", test_mutations},
    {"every truncation is refused", test_truncations},
    {"every byte at every place of short strings", test_every_byte_everywhere},
};

int main(int argc, char **argv)
{
    alloc_init(&memory, NULL);
    return check_main("json", tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
