/* SPDX-License-Identifier: Apache-2.0
 *
 * Canonical bytes of any text against the text itself: the same values under the same keys,
 * numbers of the same double, in ASCII, keys in order; and canonical bytes are their own.
 */
#include <math.h>

#include "peers/canonical.h"
#include "peers/json_text.h"
#include "test/fuzz/fuzz.h"
#include "test/runtime/fail_alloc.h"

struct pair {
    const struct json_doc *wire, *canonical;
};

static char *decoded(const char *text, size_t len, size_t *ret_len)
{
    const char *at = text, *end = text + len;
    char *bytes = fuzz_memory(len + 4);

    for (*ret_len = 0; at < end;)
        *ret_len += json_text_next(&at, bytes + *ret_len);
    return bytes;
}

static void check_text(const char *a, size_t a_len, const char *b, size_t b_len)
{
    size_t one_len, other_len;
    char *one = decoded(a, a_len, &one_len), *other = decoded(b, b_len, &other_len);

    FUZZ_CHECK(one_len == other_len && memcmp(one, other, one_len) == 0);
    free(one);
    free(other);
}

static void check_number(const struct pair *pair, const struct json_item *wire,
                         const struct json_item *canonical)
{
    const char *text = pair->wire->text + wire->value;
    double one = 0, other = 0;

    FUZZ_CHECK(json_double(pair->wire, wire, &one) ==
               json_double(pair->canonical, canonical, &other));
    FUZZ_CHECK(one == other);
    if (!(wire->value_len == 2 && memcmp(text, "-0", 2) == 0))
        FUZZ_CHECK(signbit(one) == signbit(other));
    if (memchr(text, '.', wire->value_len) == NULL &&
        memchr(text, 'e', wire->value_len) == NULL &&
        memchr(text, 'E', wire->value_len) == NULL && one != 0)
        FUZZ_CHECK(wire->value_len == canonical->value_len &&
                   memcmp(text, pair->canonical->text + canonical->value, wire->value_len) ==
                       0);
}

static void check_value(const struct pair *pair, const struct json_item *wire,
                        const struct json_item *canonical);

static void check_members(const struct pair *pair, const struct json_item *wire,
                          const struct json_item *canonical)
{
    const struct json_doc *doc = pair->canonical;
    char *before = NULL;
    size_t seen = 0, there = 0;

    for (const struct json_item *item = json_first(pair->wire, wire); item != NULL;
         item = json_next(pair->wire, item))
        there++;
    for (const struct json_item *item = json_first(doc, canonical); item != NULL;
         item = json_next(doc, item)) {
        size_t len;
        char *key = decoded(doc->text + item->key, item->key_len, &len);
        const struct json_item *original;

        key[len] = '\0'; /* room for it is there; no key holds NUL */
        original = json_member(pair->wire, wire, key);
        FUZZ_CHECK(original != NULL);
        FUZZ_CHECK(before == NULL || strcmp(before, key) < 0);
        check_value(pair, original, item);
        free(before);
        before = key;
        seen++;
    }
    free(before);
    FUZZ_CHECK(seen == there);
}

static void check_value(const struct pair *pair, const struct json_item *wire,
                        const struct json_item *canonical)
{
    FUZZ_CHECK(wire->type == canonical->type);
    if (wire->type == JSON_OBJECT) {
        check_members(pair, wire, canonical);
    } else if (wire->type == JSON_ARRAY) {
        const struct json_item *one = json_first(pair->wire, wire);
        const struct json_item *other = json_first(pair->canonical, canonical);

        for (; one != NULL && other != NULL;
             one = json_next(pair->wire, one), other = json_next(pair->canonical, other))
            check_value(pair, one, other);
        FUZZ_CHECK(one == NULL && other == NULL);
    } else if (wire->type == JSON_STRING) {
        check_text(pair->wire->text + wire->value, wire->value_len,
                   pair->canonical->text + canonical->value, canonical->value_len);
    } else if (wire->type == JSON_NUMBER) {
        check_number(pair, wire, canonical);
    }
}

/* Its own canonical bytes are the same; out of memory on the way is a status. */
static void check_again(const char *bytes, size_t len)
{
    for (int64_t successes = -1; successes < 4; successes++) {
        struct fail_alloc state;
        struct alloc alloc = fail_alloc_init(&state, successes);
        struct canonical canonical;
        const char *again;
        size_t again_len;
        parley_status status;

        canonical_init(&canonical, &alloc);
        status = canonical_text(&canonical, bytes, len, &again, &again_len);
        FUZZ_CHECK(status == PARLEY_OK || (successes >= 0 && status == PARLEY_ENOMEM));
        if (status == PARLEY_OK)
            FUZZ_CHECK(again_len == len && memcmp(again, bytes, len) == 0);
        canonical_fini(&canonical);
        FUZZ_CHECK(atomic_load(&state.out) == 0);
    }
}

static void check_written(const struct fuzz_json *wire, const char *bytes, size_t len)
{
    char *copy = fuzz_copy(bytes, len); /* a sanitizer sees one byte too far */
    struct fuzz_json again;

    FUZZ_CHECK(len <= wire->doc.len * CANONICAL_GROWTH_MAX + 1);
    for (size_t i = 0; i < len; i++)
        FUZZ_CHECK(copy[i] >= 0x20 && copy[i] < 0x7f);
    fuzz_json_init(&again, copy, len, JSON_DEPTH_MAX);
    if (again.status == PARLEY_OK) {
        const struct pair pair = {&wire->doc, &again.doc};

        check_value(&pair, wire->doc.items, again.doc.items);
        check_again(copy, len);
    } else {
        FUZZ_CHECK(memmem(copy, len, "Infinity", 8) != NULL);
    }
    fuzz_json_fini(&again);
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct alloc alloc = fuzz_alloc();
    struct canonical canonical;
    struct fuzz_json wire;
    const char *bytes;
    size_t bytes_len;

    fuzz_json_init(&wire, data, len, JSON_DEPTH_MAX);
    canonical_init(&canonical, &alloc);
    if (wire.status == PARLEY_OK) {
        FUZZ_CHECK(canonical_text(&canonical, (const char *)data, len, &bytes, &bytes_len) ==
                   PARLEY_OK);
        check_written(&wire, bytes, bytes_len);
    }
    canonical_fini(&canonical);
    fuzz_json_fini(&wire);
    return 0;
}
