/* SPDX-License-Identifier: Apache-2.0
 *
 * The scanner against a slow recursive reading of the same text, and what it records against
 * the text itself: every offset inside, every child inside its parent, every value decoded
 * alike by each reader, the same result whatever the document held before.
 */
#include <math.h>

#include "peers/json.h"
#include "test/fuzz/fuzz.h"
#include "test/peers/json_oracle.h"
#include "test/runtime/fail_alloc.h"

#define RECORD_ALL JSON_DEPTH_MAX

static const struct json_limits usual = {.depth_max = FUZZ_JSON_DEPTH, .bytes_max = 1 << 20};

/* ---- values ---- */

/* Writes a string, reads it again. */
static void check_written(const char *text, size_t len)
{
    struct json_out out = fuzz_out(6 * len + 2);
    struct fuzz_json again;
    char *seen = fuzz_memory(len + 1);

    json_put_string(&out, text, len);
    FUZZ_CHECK(!out.overflow);
    fuzz_json_init(&again, out.buffer, out.len, 0);
    FUZZ_CHECK(again.status == PARLEY_OK);
    FUZZ_CHECK(json_string(&again.doc, again.doc.items, seen, len + 1) == (int)len);
    FUZZ_CHECK(memcmp(seen, text, len) == 0);
    fuzz_json_fini(&again);
    out.capacity = out.len - 1;
    out.len = 0;
    json_put_string(&out, text, len);
    FUZZ_CHECK(out.overflow && out.len <= out.capacity);
    free(seen);
    free(out.buffer);
}

/* json_string() needs room for exactly what it gives; cutting gives a beginning of it. */
static void check_string(const struct json_doc *doc, const struct json_item *item)
{
    size_t room = (size_t)item->value_len + 1;
    char *whole = fuzz_memory(room);
    int len = json_string(doc, item, whole, room);

    if (len >= 0) {
        size_t used = (size_t)len, half = used / 2 + 1;
        char *exact = fuzz_memory(used + 1), *cut = fuzz_memory(half);

        FUZZ_CHECK(strlen(whole) == used);
        FUZZ_CHECK(json_string(doc, item, exact, used + 1) == len);
        FUZZ_CHECK(memcmp(exact, whole, used + 1) == 0);
        FUZZ_CHECK(json_string(doc, item, exact, used) == -1);
        json_string_cut(doc, item, exact, used + 1);
        FUZZ_CHECK(memcmp(exact, whole, used + 1) == 0);
        json_string_cut(doc, item, cut, half);
        FUZZ_CHECK(strlen(cut) < half && strncmp(cut, whole, strlen(cut)) == 0);
        check_written(whole, used);
        free(cut);
        free(exact);
    } else {
        FUZZ_CHECK(memmem(doc->text + item->value, item->value_len, "\\u0000", 6) != NULL);
        json_string_cut(doc, item, whole, room);
        FUZZ_CHECK(strstr(whole, "\xef\xbf\xbd") != NULL);
    }
    free(whole);
}

static void check_number(const struct json_doc *doc, const struct json_item *item)
{
    char *text = fuzz_text(doc->text + item->value, item->value_len);
    double expected = strtod(text, NULL), seen = 0;
    bool finite = json_double(doc, item, &seen);
    uint64_t whole = 0;

    FUZZ_CHECK(finite == (isfinite(expected) != 0));
    if (finite)
        FUZZ_CHECK(seen == expected && signbit(seen) == signbit(expected));
    if (json_u64(doc, item, false, &whole)) {
        FUZZ_CHECK(whole <= INT64_MAX && strtoull(text, NULL, 10) == whole);
        FUZZ_CHECK((double)whole == seen);
    } else {
        FUZZ_CHECK(strspn(text, "0123456789") != strlen(text) || strlen(text) >= 19);
    }
    free(text);
}

static void check_value(const struct json_doc *doc, const struct json_item *item)
{
    const char *value = doc->text + item->value;
    double number;
    uint64_t whole;
    char one[1];

    FUZZ_CHECK(fuzz_within(doc, value, item->value_len));
    if (item->type == JSON_STRING) {
        FUZZ_CHECK(value[-1] == '"' && value[item->value_len] == '"');
        check_string(doc, item);
    } else {
        json_string_cut(doc, item, one, sizeof(one));
        FUZZ_CHECK(one[0] == '\0' && json_string(doc, item, one, sizeof(one)) == -1);
    }
    if (item->type == JSON_NUMBER)
        check_number(doc, item);
    else
        FUZZ_CHECK(!json_double(doc, item, &number) && !json_u64(doc, item, false, &whole));
    if (item->type == JSON_OBJECT || item->type == JSON_ARRAY)
        FUZZ_CHECK(value[item->value_len - 1] == (item->type == JSON_OBJECT ? '}' : ']'));
}

/* ---- the tree ---- */

/* The member is found under its own key, decoded, and under no longer one. */
static void check_key(const struct json_doc *doc, const struct json_item *object,
                      const struct json_item *item)
{
    const struct json_item key = {.value = item->key,
                                  .value_len = item->key_len,
                                  .type = JSON_STRING,
                                  .value_escaped = item->key_escaped};
    size_t room = (size_t)item->key_len + 2;
    char *text = fuzz_memory(room);
    int len;

    FUZZ_CHECK(doc->text[item->key - 1] == '"' && doc->text[item->key + item->key_len] == '"');
    len = json_string(doc, &key, text, room);
    FUZZ_CHECK(len >= 0);
    FUZZ_CHECK(json_key_is(doc, item, text, (size_t)len));
    FUZZ_CHECK(json_member(doc, object, text) == item);
    text[len] = 'x';
    FUZZ_CHECK(!json_key_is(doc, item, text, (size_t)len + 1));
    free(text);
}

/* Everything below `parent` stands behind it, in order and inside. @return items seen */
static uint32_t check_children(const struct json_doc *doc, const struct json_item *parent)
{
    uint32_t seen = 0, children = 0;
    uint32_t at = parent->value + 1, end = parent->value + parent->value_len;

    for (const struct json_item *item = json_first(doc, parent); item != NULL;
         item = json_next(doc, item)) {
        FUZZ_CHECK(item == parent + 1 + seen && item->depth == parent->depth + 1);
        FUZZ_CHECK(item->value >= at && item->value + item->value_len < end);
        check_value(doc, item);
        if (parent->type == JSON_OBJECT) {
            FUZZ_CHECK(item->key > parent->value && item->key + item->key_len < item->value);
            if (children++ < 80)
                check_key(doc, parent, item);
        } else {
            FUZZ_CHECK(parent->type == JSON_ARRAY && item->key == 0 && item->key_len == 0);
        }
        at = item->value + item->value_len;
        seen += 1 + check_children(doc, item);
    }
    return seen;
}

/* Recording less gives the same items, without the deeper ones. */
static void check_depths(const struct json_doc *all, const char *text, size_t len)
{
    struct alloc alloc = fuzz_alloc();
    struct json_doc doc;
    struct json_error error;

    json_init(&doc, &alloc);
    for (uint32_t depth = 0; depth <= 3; depth++) {
        uint32_t seen = 0;

        FUZZ_CHECK(json_scan(&doc, text, len, &usual, depth, &error) == PARLEY_OK);
        for (uint32_t i = 0; i < all->count; i++) {
            if (all->items[i].depth > depth)
                continue;
            FUZZ_CHECK(seen < doc.count && doc.items[seen].value == all->items[i].value &&
                       doc.items[seen].value_len == all->items[i].value_len);
            seen++;
        }
        FUZZ_CHECK(seen == doc.count);
    }
    json_fini(&doc);
}

/* ---- limits, agreement, memory ---- */

/* A text is refused as soon as a limit is below what it needs. */
static void check_limits(const struct json_doc *all, const char *text, size_t len)
{
    struct alloc alloc = fuzz_alloc();
    struct json_doc doc;
    struct json_error error;
    struct json_limits limits = {.depth_max = 1, .bytes_max = (uint32_t)len};
    uint32_t needed = 1;

    for (uint32_t i = 0; i < all->count; i++) {
        const struct json_item *item = &all->items[i];
        bool container = item->type == JSON_OBJECT || item->type == JSON_ARRAY;

        if (container && item->depth + 1U > needed)
            needed = item->depth + 1U;
    }
    json_init(&doc, &alloc);
    limits.depth_max = needed;
    FUZZ_CHECK(json_scan(&doc, text, len, &limits, 1, &error) == PARLEY_OK);
    if (needed > 1) {
        limits.depth_max = needed - 1;
        FUZZ_CHECK(json_scan(&doc, text, len, &limits, 1, &error) == PARLEY_EPROTO);
        limits.depth_max = needed;
    }
    limits.bytes_max--;
    FUZZ_CHECK(json_scan(&doc, text, len, &limits, 1, &error) == PARLEY_ETOOBIG);
    FUZZ_CHECK(doc.count == 0);
    json_fini(&doc);
}

/* The oracle gives up on objects of more than 64 keys and compares 128 characters of each. */
static bool oracle_can_tell(const struct json_doc *doc)
{
    uint32_t keys = 0;

    for (uint32_t i = 0; i < doc->count; i++) {
        keys += doc->items[i].key != 0;
        if (doc->items[i].key_len > ORACLE_KEY_MAX)
            return false;
    }
    return keys <= ORACLE_KEYS_MAX;
}

/* Out of memory is a status, leaks nothing and leaves the document usable. */
static void check_memory(const char *text, size_t len, parley_status expected)
{
    for (int64_t successes = 0; successes < 4; successes++) {
        struct fail_alloc state;
        struct alloc alloc = fail_alloc_init(&state, successes);
        struct json_doc doc;
        struct json_error error;
        parley_status status;

        json_init(&doc, &alloc);
        status = json_scan(&doc, text, len, &usual, RECORD_ALL, &error);
        FUZZ_CHECK(status == expected || status == PARLEY_ENOMEM);
        atomic_store(&state.left, -1);
        FUZZ_CHECK(json_scan(&doc, text, len, &usual, RECORD_ALL, &error) == expected);
        json_fini(&doc);
        FUZZ_CHECK(atomic_load(&state.out) == 0);
    }
}

/* Each result again, after the document held something else: a text cut off. */
static void check_again(struct json_doc *doc, const char *text, size_t len,
                        parley_status expected, const struct json_error *expected_error)
{
    struct json_error error = {0, ""};
    uint32_t count = doc->count;
    char *cut = fuzz_copy(text, len / 2);
    bool object = count > 0 && doc->items[0].type == JSON_OBJECT;
    parley_status status;

    (void)json_scan(doc, cut, len / 2, &usual, RECORD_ALL, &error);
    FUZZ_CHECK(error.offset <= len / 2);
    status = json_check_object(doc, text, len, &usual, &error);
    FUZZ_CHECK((status == PARLEY_OK) == object && doc->count == 0);
    status = json_scan(doc, text, len, &usual, RECORD_ALL, &error);
    FUZZ_CHECK(status == expected && doc->count == count);
    if (status != PARLEY_OK)
        FUZZ_CHECK(error.offset == expected_error->offset &&
                   strcmp(error.reason, expected_error->reason) == 0);
    free(cut);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    const char *text = (const char *)data;
    struct alloc alloc = fuzz_alloc();
    struct json_doc doc;
    struct json_error error = {0, ""};
    bool agreed = json_oracle(text, len, FUZZ_JSON_DEPTH);
    parley_status status;

    json_init(&doc, &alloc);
    status = json_scan(&doc, text, len, &usual, RECORD_ALL, &error);
    FUZZ_CHECK(status == PARLEY_OK || status == PARLEY_EPROTO);
    if (status != PARLEY_OK) /* a NUL behind a key's 128th character escapes the oracle */
        FUZZ_CHECK(error.offset <= len && (!agreed || strstr(error.reason, "u0000") != NULL));
    check_again(&doc, text, len, status, &error);
    check_memory(text, len, status);
    if (status == PARLEY_OK) {
        FUZZ_CHECK(agreed || !oracle_can_tell(&doc));
        FUZZ_CHECK(doc.items[0].depth == 0 && json_next(&doc, doc.items) == NULL);
        check_value(&doc, doc.items);
        FUZZ_CHECK(check_children(&doc, doc.items) + 1 == doc.count);
        check_depths(&doc, text, len);
        check_limits(&doc, text, len);
    }
    json_fini(&doc);
    return 0;
}
