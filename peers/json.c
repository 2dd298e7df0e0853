/* SPDX-License-Identifier: Apache-2.0
 *
 * The scanner: one pass over the bytes, a stack of open containers instead of recursion.
 *
 * The pass goes from the first byte of one value to the first byte of the next: a scalar is
 * skipped, a container opened, then everything up to the next value (closing brackets, a
 * comma, a key, its colon) is taken by next_value() and member(). Each step returns where
 * to go on, or NULL once the scan has failed.
 */
#include "peers/json.h"

#include <assert.h>

#include "peers/json_keys.h"
#include "peers/json_text.h"

#define NOT_RECORDED UINT32_MAX
#define ITEMS_FIRST  256   /* items allocated at first */
#define ITEMS_KEPT   65536 /* more are given back with the next scan */

struct frame {
    struct json_object object;
    uint32_t item; /* the container's own, or NOT_RECORDED */
    uint32_t last; /* its last recorded child, 0: none yet */
    char close;    /* the bracket that ends it */
};

struct scan {
    struct json_doc *doc;
    const char *text, *end;
    uint32_t depth; /* open containers */
    uint32_t depth_max;
    uint32_t record_end; /* values at this depth and below are not recorded */
    struct frame *top;   /* frames + depth; frames[0] stands for the document */
    /* the key of the value to come */
    uint32_t key, key_len;
    bool key_escaped;
    bool null_seen; /* \u0000 in the string just taken */
    struct json_keys keys;
    parley_status status;
    struct json_error *error;
    struct frame frames[JSON_DEPTH_MAX + 1];
    struct json_key own_keys[JSON_KEYS_INLINE];
};

void json_init(struct json_doc *doc, const struct alloc *alloc)
{
    *doc = (struct json_doc){.alloc = alloc};
}

void json_fini(struct json_doc *doc)
{
    alloc_free(doc->alloc, doc->items);
    alloc_free(doc->alloc, doc->keys);
    alloc_free(doc->alloc, doc->buckets);
    *doc = (struct json_doc){.alloc = doc->alloc};
}

static const char *fail(struct scan *s, const char *at, const char *reason)
{
    s->status = PARLEY_EPROTO;
    s->error->offset = (size_t)(at - s->text);
    s->error->reason = at == s->end ? "unexpected end" : reason;
    return NULL;
}

static const char *fail_memory(struct scan *s, const char *at)
{
    s->status = PARLEY_ENOMEM;
    s->error->offset = (size_t)(at - s->text);
    s->error->reason = "out of memory";
    return NULL;
}

static inline const char *skip_space(const struct scan *s, const char *p)
{
    while (p < s->end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
        p++;
    return p;
}

/* ---- recording ---- */

static bool grow_items(struct json_doc *doc)
{
    uint32_t capacity = doc->capacity != 0 ? doc->capacity * 2 : ITEMS_FIRST;
    struct json_item *items = alloc_resize(doc->alloc, doc->items, capacity * sizeof(*items));

    if (items == NULL)
        return false;
    doc->items = items;
    doc->capacity = capacity;
    return true;
}

/* Appends the value at `value` to the items and to its parent's children. */
static inline bool record(struct scan *s, const char *value, uint32_t len, enum json_type type,
                          bool escaped)
{
    struct json_doc *doc = s->doc;
    uint32_t index = doc->count;
    bool member = s->top->close == '}';

    if (index == doc->capacity && !grow_items(doc)) {
        fail_memory(s, value);
        return false;
    }
    if (s->top->last != 0)
        doc->items[s->top->last].next = index;
    s->top->last = index;
    doc->items[index] = (struct json_item){
        .key = member ? s->key : 0,
        .key_len = member ? s->key_len : 0,
        .value = (uint32_t)(value - s->text),
        .value_len = len,
        .type = (uint8_t)type,
        .depth = (uint8_t)s->depth,
        .key_escaped = member && s->key_escaped,
        .value_escaped = escaped,
    };
    doc->count = index + 1;
    return true;
}

/* ---- strings, numbers, literals: each from its first byte to the byte behind it ---- */

static const char *escape(struct scan *s, const char *p)
{
    const char *start = p;
    int unit, low;

    p++;
    if (p == s->end)
        return fail(s, p, "");
    if (*p != '\0' && strchr("\"\\/bfnrt", *p) != NULL)
        return p + 1;
    if (*p != 'u')
        return fail(s, p, "unknown escape");
    p++;
    unit = s->end - p >= 4 ? json_hex4(p) : -1;
    if (unit < 0)
        return fail(s, start, "malformed \\u escape");
    p += 4;
    s->null_seen |= unit == 0;
    if (unit < 0xd800 || unit > 0xdfff)
        return p;
    low = s->end - p >= 6 && p[0] == '\\' && p[1] == 'u' ? json_hex4(p + 2) : -1;
    if (unit > 0xdbff || low < 0xdc00 || low > 0xdfff)
        return fail(s, start, "lone surrogate");
    return p + 6;
}

static const char *wide(struct scan *s, const char *p)
{
    while (p < s->end && (unsigned char)*p >= 0x80) {
        size_t len = json_utf8_len(p, s->end);

        if (len == 0)
            return fail(s, p, "invalid UTF-8");
        p += len;
    }
    return p;
}

/* The rest of a string from its first byte that is not plain: where its quote is. */
static const char *string_rest(struct scan *s, const char *p, bool *ret_escaped)
{
    while (p < s->end && *p != '"') {
        if (*p == '\\') {
            *ret_escaped = true;
            p = escape(s, p);
        } else if ((unsigned char)*p >= 0x80) {
            p = wide(s, p);
        } else {
            return fail(s, p, "control character in a string");
        }
        if (p == NULL)
            return NULL;
        p = json_plain_end(p, s->end);
    }
    return p < s->end ? p : fail(s, p, "");
}

/* From behind the opening quote to the closing one. */
static inline const char *string_end(struct scan *s, const char *p, bool *ret_escaped)
{
    *ret_escaped = false;
    p = json_plain_end(p, s->end);
    if (p < s->end && *p == '"')
        return p;
    return string_rest(s, p, ret_escaped);
}

static inline const char *take_string(struct scan *s, const char *p)
{
    bool escaped;
    const char *end = string_end(s, p + 1, &escaped);

    if (end == NULL)
        return NULL;
    if (s->depth < s->record_end &&
        !record(s, p + 1, (uint32_t)(end - p - 1), JSON_STRING, escaped))
        return NULL;
    return end + 1;
}

static inline const char *some_digits(struct scan *s, const char *p)
{
    const char *end = json_digits_end(p, s->end);

    return end > p ? end : fail(s, p, "expected a digit");
}

static inline const char *take_number(struct scan *s, const char *p)
{
    const char *start = p;

    if (*p == '-')
        p++;
    if (p < s->end && *p == '0') {
        p++;
        if (p < s->end && json_digit(*p))
            return fail(s, start, "leading zero");
    } else {
        p = some_digits(s, p);
    }
    if (p != NULL && p < s->end && *p == '.')
        p = some_digits(s, p + 1);
    if (p != NULL && p < s->end && (*p == 'e' || *p == 'E')) {
        p++;
        p += p < s->end && (*p == '+' || *p == '-');
        p = some_digits(s, p);
    }
    if (p == NULL)
        return NULL;
    if (p - start > JSON_NUMBER_BYTES_MAX)
        return fail(s, start, "number too long");
    if (s->depth < s->record_end &&
        !record(s, start, (uint32_t)(p - start), JSON_NUMBER, false))
        return NULL;
    return p;
}

static const char *take_literal(struct scan *s, const char *p, const char *literal,
                                enum json_type type)
{
    uint32_t len = (uint32_t)strlen(literal);

    if ((size_t)(s->end - p) < len || memcmp(p, literal, len) != 0)
        return fail(s, p, "expected a value");
    if (s->depth < s->record_end && !record(s, p, len, type, false))
        return NULL;
    return p + len;
}

/* ---- containers ---- */

/* From the quote of a key to its value. */
static inline const char *member(struct scan *s, const char *p)
{
    bool escaped;
    const char *end;
    enum json_keys_result result;

    if (p == s->end || *p != '"')
        return fail(s, p, "expected a key");
    p++;
    s->null_seen = false;
    end = string_end(s, p, &escaped);
    if (end == NULL)
        return NULL;
    if (escaped && s->null_seen)
        return fail(s, p, "\\u0000 in a key");
    s->key = (uint32_t)(p - s->text);
    s->key_len = (uint32_t)(end - p);
    s->key_escaped = escaped;
    result = json_keys_add(&s->keys, &s->top->object, s->key, s->key_len, escaped);
    if (result != JSON_KEYS_NEW)
        return result == JSON_KEYS_DUPLICATE ? fail(s, p, "duplicate key") : fail_memory(s, p);
    p = skip_space(s, end + 1);
    if (p == s->end || *p != ':')
        return fail(s, p, "expected a colon");
    return skip_space(s, p + 1);
}

/* Closes the innermost container. @return behind its bracket */
static inline const char *close_container(struct scan *s, const char *p)
{
    struct frame *top = s->top;

    p++;
    if (top->item != NOT_RECORDED) {
        struct json_item *item = &s->doc->items[top->item];

        item->value_len = (uint32_t)(p - s->text) - item->value;
    }
    json_object_close(&s->keys, &top->object);
    s->depth--;
    s->top--;
    return p;
}

/* Opens a container. @return its first value; behind its bracket when it is empty */
static inline const char *open_container(struct scan *s, const char *p, bool *ret_empty)
{
    bool object = *p == '{';
    uint32_t index = NOT_RECORDED;

    if (s->depth == s->depth_max)
        return fail(s, p, "nested too deeply");
    if (s->depth < s->record_end) {
        index = s->doc->count;
        if (!record(s, p, 0, object ? JSON_OBJECT : JSON_ARRAY, false))
            return NULL;
    }
    s->depth++;
    if (s->depth > s->doc->deepest)
        s->doc->deepest = s->depth;
    s->top++;
    s->top->item = index;
    s->top->last = 0;
    s->top->close = object ? '}' : ']';
    json_object_open(&s->keys, &s->top->object);
    p = skip_space(s, p + 1);
    if (p == s->end)
        return fail(s, p, "");
    *ret_empty = *p == s->top->close;
    if (*ret_empty)
        return close_container(s, p);
    return object ? member(s, p) : p;
}

/* From behind a value to the first byte of the next one; behind the document's last byte
 * once depth is 0. */
static inline const char *next_value(struct scan *s, const char *p)
{
    while (s->depth > 0) {
        p = skip_space(s, p);
        if (p == s->end)
            return fail(s, p, "");
        if (*p == ',') {
            p = skip_space(s, p + 1);
            return s->top->close == '}' ? member(s, p) : p;
        }
        if (*p != s->top->close)
            return fail(s, p, "expected a comma or the container's end");
        p = close_container(s, p);
    }
    return p;
}

static inline const char *take_value(struct scan *s, const char *p)
{
    bool empty = false;

    if (p == s->end)
        return fail(s, p, "");
    switch (*p) {
    case '"':
        p = take_string(s, p);
        break;
    case '{':
    case '[':
        p = open_container(s, p, &empty);
        if (p == NULL || !empty)
            return p;
        break;
    case 't':
        p = take_literal(s, p, "true", JSON_TRUE);
        break;
    case 'f':
        p = take_literal(s, p, "false", JSON_FALSE);
        break;
    case 'n':
        p = take_literal(s, p, "null", JSON_NULL);
        break;
    default:
        if (*p != '-' && !json_digit(*p))
            return fail(s, p, "expected a value");
        p = take_number(s, p);
        break;
    }
    return p != NULL ? next_value(s, p) : NULL;
}

/* ---- the pass ---- */

static bool any_hashed(const struct scan *s)
{
    for (uint32_t i = 1; i <= s->depth; i++) {
        if (s->frames[i].object.hashed)
            return true;
    }
    return false;
}

static parley_status scan_text(struct scan *s, bool object_only)
{
    const char *p = skip_space(s, s->text);

    if (object_only && p < s->end && *p != '{')
        p = fail(s, p, "expected an object");
    do {
        p = p != NULL ? take_value(s, p) : NULL;
    } while (p != NULL && s->depth > 0);
    if (p != NULL) {
        p = skip_space(s, p);
        if (p < s->end)
            p = fail(s, p, "trailing bytes");
    }
    if (p == NULL) {
        json_keys_abandon(&s->keys, any_hashed(s));
        s->doc->count = 0;
        return s->status;
    }
    assert(s->keys.len == 0);
    return PARLEY_OK;
}

/* Gives back what one unusually large text needed. */
static void trim(struct json_doc *doc)
{
    if (doc->capacity > ITEMS_KEPT) {
        alloc_free(doc->alloc, doc->items);
        doc->items = NULL;
        doc->capacity = 0;
    }
    json_keys_trim(doc);
}

static parley_status scan(struct json_doc *doc, const char *text, size_t len,
                          const struct json_limits *limits, uint32_t record_end,
                          bool object_only, struct json_error *ret_error)
{
    struct scan s; /* its arrays are filled as they are needed */
    uint32_t bytes_max =
        limits->bytes_max < JSON_BYTES_MAX ? limits->bytes_max : JSON_BYTES_MAX;

    assert(limits->depth_max >= 1 && limits->depth_max <= JSON_DEPTH_MAX);
    doc->text = text;
    doc->len = len;
    doc->count = doc->deepest = 0;
    trim(doc);
    if (len > bytes_max) {
        *ret_error = (struct json_error){bytes_max, "too large"};
        return PARLEY_ETOOBIG;
    }
    s.doc = doc;
    s.text = text;
    s.end = text + len;
    s.depth = 0;
    s.depth_max = limits->depth_max;
    s.record_end = record_end;
    s.top = s.frames;
    s.top->item = NOT_RECORDED;
    s.top->last = 0;
    s.top->close = 0;
    s.key = s.key_len = 0;
    s.key_escaped = s.null_seen = false;
    s.status = PARLEY_OK;
    s.error = ret_error;
    json_keys_init(&s.keys, doc, s.own_keys);
    return scan_text(&s, object_only);
}

parley_status json_scan(struct json_doc *doc, const char *text, size_t len,
                        const struct json_limits *limits, uint32_t record_depth,
                        struct json_error *ret_error)
{
    assert(record_depth < UINT32_MAX);
    return scan(doc, text, len, limits, record_depth + 1, false, ret_error);
}

parley_status json_check_object(struct json_doc *doc, const char *text, size_t len,
                                const struct json_limits *limits, struct json_error *ret_error)
{
    return scan(doc, text, len, limits, 0, true, ret_error);
}
