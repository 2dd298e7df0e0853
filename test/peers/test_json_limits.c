/* SPDX-License-Identifier: Apache-2.0
 *
 * What bounds the scanner: sizes at and beyond their limits, the length of a number, and the
 * memory a document takes and keeps.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peers/json.h"
#include "test/check.h"

static const struct json_limits limits = {.depth_max = 32, .bytes_max = 1 << 26};

/* An allocator that knows how much is out. */
struct counting {
    size_t bytes, requests;
};

static void *count_allocate(size_t bytes, void *user)
{
    struct counting *counting = user;
    size_t *block = malloc(bytes + 16);

    if (block == NULL)
        return NULL;
    block[0] = bytes;
    counting->bytes += bytes;
    counting->requests++;
    return block + 2;
}

static void count_release(void *old, void *user)
{
    struct counting *counting = user;
    size_t *block = old;

    if (block == NULL)
        return;
    counting->bytes -= block[-2];
    free(block - 2);
}

static void *count_resize(void *old, size_t bytes, void *user)
{
    size_t *block = old;
    void *grown = count_allocate(bytes, user);

    if (grown != NULL && block != NULL) {
        memcpy(grown, block, block[-2] < bytes ? block[-2] : bytes);
        count_release(block, user);
    }
    return grown;
}

/* Grants a first block, and never a larger one. */
static void *refuse_resize(void *old, size_t bytes, void *user)
{
    return old == NULL ? count_allocate(bytes, user) : NULL;
}

struct fixture {
    struct counting counting;
    struct alloc alloc;
    struct json_doc doc;
    struct json_error error;
};

static void fixture_init(struct fixture *f)
{
    const parley_allocator host = {count_allocate, count_resize, count_release, &f->counting};

    *f = (struct fixture){.error = {0, ""}};
    alloc_init(&f->alloc, &host);
    json_init(&f->doc, &f->alloc);
}

static void fixture_fini(struct fixture *f)
{
    json_fini(&f->doc);
    CHECK_U64(f->counting.bytes, 0);
}

/* ---- sizes ---- */

static void test_sizes_beyond_any_text(void)
{
    static const struct {
        uint32_t bytes_max;
        size_t len, offset;
    } cases[] = {
        {10, 11, 10},
        {10, (size_t)UINT32_MAX + 2, 10}, /* not 1: no length is cut to 32 bits */
        {JSON_BYTES_MAX, (size_t)JSON_BYTES_MAX + 1, JSON_BYTES_MAX},
        {UINT32_MAX, (size_t)JSON_BYTES_MAX + 1, JSON_BYTES_MAX},
        {UINT32_MAX, SIZE_MAX, JSON_BYTES_MAX},
    };
    struct fixture f;

    fixture_init(&f);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct json_limits narrow = {.depth_max = 1, .bytes_max = cases[i].bytes_max};

        /* refused by its length alone: there are no such bytes to look at */
        CHECK_STATUS(json_scan(&f.doc, "{}", cases[i].len, &narrow, 1, &f.error), ETOOBIG);
        CHECK_U64(f.error.offset, cases[i].offset);
        CHECK_U64(f.doc.count, 0);
        CHECK_STATUS(json_check_object(&f.doc, "{}", cases[i].len, &narrow, &f.error),
                     ETOOBIG);
    }
    fixture_fini(&f);
}

/* ---- numbers ---- */

/* [<front>777…<back>], the number in it `bytes` long. */
static parley_status scan_number(struct fixture *f, const char *front, size_t bytes,
                                 const char *back)
{
    char *text = malloc(bytes + 2), *end = text + bytes + 1;
    parley_status status;

    memset(text, '7', bytes + 2);
    text[0] = '[';
    for (size_t i = 0; front[i] != '\0'; i++)
        text[1 + i] = front[i];
    for (size_t i = strlen(back); i > 0; i--)
        *--end = back[i - 1];
    text[bytes + 1] = ']';
    status = json_scan(&f->doc, text, bytes + 2, &limits, 1, &f->error);
    free(text);
    return status;
}

static void test_numbers_end(void)
{
    static const char *const fronts[] = {"", "-", "0.", "1e", "-0.1E+"};
    struct fixture f;

    fixture_init(&f);
    for (size_t i = 0; i < sizeof(fronts) / sizeof(fronts[0]); i++) {
        CHECK_STATUS(scan_number(&f, fronts[i], JSON_NUMBER_BYTES_MAX, ""), OK);
        CHECK_STATUS(scan_number(&f, fronts[i], JSON_NUMBER_BYTES_MAX + 1, ""), EPROTO);
        CHECK_TEXT(f.error.reason, "number too long");
        CHECK_U64(f.error.offset, 1);
        CHECK_STATUS(scan_number(&f, fronts[i], 1000000, ""), EPROTO);
    }
    CHECK_STATUS(scan_number(&f, "", JSON_NUMBER_BYTES_MAX + 1, "e5"), EPROTO);
    CHECK_STATUS(scan_number(&f, "", JSON_NUMBER_BYTES_MAX + 1, ".5"), EPROTO);
    fixture_fini(&f);
}

/* ---- memory ---- */

/* `opening`, then `count` times `piece` with commas between, then `closing`. */
static char *repeated(const char *opening, const char *piece, size_t count,
                      const char *closing, size_t *ret_len)
{
    size_t piece_len = strlen(piece), len = 0;
    char *text = malloc(strlen(opening) + count * (piece_len + 12) + strlen(closing) + 1);

    len += (size_t)sprintf(text, "%s", opening);
    for (size_t i = 0; i < count; i++)
        len += (size_t)sprintf(text + len, piece, i > 0 ? "," : "", (unsigned)i);
    len += (size_t)sprintf(text + len, "%s", closing);
    *ret_len = len;
    return text;
}

/* One frame full of tiny values or keys costs memory while it is read, not for good. */
static void test_memory_is_given_back(void)
{
    static const struct {
        const char *opening, *piece, *closing;
    } cases[] = {
        {"[", "%s0", "]"},
        {"{\"a\":{\"b\":[[", "%s[]", "]]}}"},
        {"{", "%s\"%x\":0", "}"},
        {"[[{", "%s\"\\u006b%x\":0", "}]]"},
    };
    struct fixture f;

    fixture_init(&f);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        size_t len;
        char *text =
            repeated(cases[i].opening, cases[i].piece, 200000, cases[i].closing, &len);

        CHECK_STATUS(json_scan(&f.doc, text, len, &limits, 4, &f.error), OK);
        CHECK(f.counting.bytes > 3000000);
        CHECK_STATUS(json_scan(&f.doc, "{\"a\":[1]}", 9, &limits, 4, &f.error), OK);
        CHECK_U64(f.doc.count, 3);
        CHECK(f.counting.bytes < 3000000);
        free(text);
    }
    fixture_fini(&f);
}

/* Frames of the ordinary size find their memory there. */
static void test_memory_is_kept(void)
{
    struct fixture f;
    size_t len, warm;
    char *text = repeated("{\"messages\":[", "%s{\"k%u\":0}", 10000, "]}", &len);

    fixture_init(&f);
    CHECK_STATUS(json_scan(&f.doc, text, len, &limits, 3, &f.error), OK);
    warm = f.counting.requests;
    for (int i = 0; i < 10; i++) {
        CHECK_STATUS(json_scan(&f.doc, text, len, &limits, 3, &f.error), OK);
        CHECK_STATUS(json_scan(&f.doc, "{}", 2, &limits, 3, &f.error), OK);
    }
    CHECK_U64(f.counting.requests, warm);
    free(text);
    fixture_fini(&f);
}

/* Whatever the value that finds no room, the scan ends there and the document goes on. */
static void test_no_room_to_record(void)
{
    static const char *const pieces[] = {"%s\"s\"", "%strue", "%s1", "%s[]", "%s{}"};
    struct counting counting = {0, 0};
    const parley_allocator host = {count_allocate, refuse_resize, count_release, &counting};
    struct json_error error = {0, ""};

    for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
        struct alloc alloc;
        struct json_doc doc;
        size_t len;
        char *text = repeated("[", pieces[i], 300, "]", &len);

        alloc_init(&alloc, &host);
        json_init(&doc, &alloc);
        CHECK_STATUS(json_scan(&doc, text, len, &limits, 1, &error), ENOMEM);
        CHECK_TEXT(error.reason, "out of memory");
        CHECK(error.offset > 255 && error.offset < len); /* 256 were recorded */
        CHECK_U64(doc.count, 0);
        CHECK_STATUS(json_scan(&doc, "[1]", 3, &limits, 1, &error), OK);
        json_fini(&doc);
        free(text);
    }
    CHECK_U64(counting.bytes, 0);
}

/* Objects of `keys` keys each, `levels` of them one in the other. */
static size_t nested_keys(char *text, unsigned levels, unsigned keys)
{
    size_t len = 0;

    for (unsigned level = 0; level < levels; level++) {
        for (unsigned i = 0; i < keys; i++)
            len += (size_t)sprintf(text + len, "%s\"%u\":", i > 0 ? "0," : "{", i);
    }
    len += (size_t)sprintf(text + len, "0");
    for (unsigned level = 0; level < levels; level++)
        len += (size_t)sprintf(text + len, "}");
    return len;
}

/* The promise of json_check_object(), at both its limits. */
static void test_check_allocates_nothing(void)
{
    static char text[16384];
    struct fixture f;

    fixture_init(&f);
    CHECK_STATUS(json_check_object(&f.doc, text, nested_keys(text, 8, 64), &limits, &f.error),
                 OK);
    CHECK_STATUS(json_check_object(&f.doc, text, nested_keys(text, 32, 16), &limits, &f.error),
                 OK);
    CHECK_U64(f.counting.requests, 0);
    CHECK_STATUS(json_check_object(&f.doc, text, nested_keys(text, 9, 57), &limits, &f.error),
                 OK); /* 513 keys open */
    CHECK(f.counting.requests > 0);
    CHECK_U64(f.doc.count, 0);
    fixture_fini(&f);
}

static const struct check_test tests[] = {
    {"no size beyond the limits is looked into", test_sizes_beyond_any_text},
    {"a number has an end", test_numbers_end},
    {"one large text does not take memory for good", test_memory_is_given_back},
    {"a value without room to record it", test_no_room_to_record},
    {"texts of the usual size find their memory there", test_memory_is_kept},
    {"checking a payload allocates nothing up to its limits", test_check_allocates_nothing},
};

CHECK_MAIN("json limits", tests)
