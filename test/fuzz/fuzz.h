/* SPDX-License-Identifier: Apache-2.0
 *
 * What the fuzz targets share: a check that stops the fuzzer, texts scanned for one input,
 * buffers of exactly the size that was asked for, and bytes taken as a script.
 *
 * Each target is one file with LLVMFuzzerTestOneInput(). It asserts what its readers and
 * writers promise, so a crash is either a sanitizer's finding or a broken promise. libFuzzer
 * hands over a copy that ends with its last byte: reading one too far is found.
 */
#ifndef PARLEY_TEST_FUZZ_H
#define PARLEY_TEST_FUZZ_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peers/json.h"
#include "runtime/alloc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/** Stops the fuzzer, which keeps the input, unless `held`. */
#define FUZZ_CHECK(held) fuzz_check((held), #held, __FILE__, __LINE__)

static inline void fuzz_check(bool held, const char *text, const char *file, int line)
{
    if (held)
        return;
    fprintf(stderr, "%s:%d: broken promise: %s\n", file, line, text);
    abort();
}

/** Memory of exactly `len` bytes, so that a sanitizer sees the byte behind it. */
static inline void *fuzz_memory(size_t len)
{
    void *memory = malloc(len > 0 ? len : 1);

    FUZZ_CHECK(memory != NULL);
    return memory;
}

static inline void *fuzz_copy(const void *data, size_t len)
{
    void *copy = fuzz_memory(len);

    if (len > 0)
        memcpy(copy, data, len);
    return copy;
}

/** A NUL-terminated copy. */
static inline char *fuzz_text(const void *data, size_t len)
{
    char *text = fuzz_memory(len + 1);

    if (len > 0)
        memcpy(text, data, len);
    text[len] = '\0';
    return text;
}

static inline struct alloc fuzz_alloc(void)
{
    struct alloc alloc;

    alloc_init(&alloc, NULL);
    return alloc;
}

/* ---- texts ---- */

#define FUZZ_JSON_DEPTH 32

/** A text scanned as a peer's would be. */
struct fuzz_json {
    struct alloc alloc;
    struct json_doc doc;
    parley_status status;
};

static inline void fuzz_json_init(struct fuzz_json *json, const void *text, size_t len,
                                  uint32_t record_depth)
{
    static const struct json_limits limits = {.depth_max = FUZZ_JSON_DEPTH,
                                              .bytes_max = 1 << 20};
    struct json_error error = {0, ""};

    json->alloc = fuzz_alloc();
    json_init(&json->doc, &json->alloc);
    json->status = json_scan(&json->doc, text, len, &limits, record_depth, &error);
}

static inline void fuzz_json_fini(struct fuzz_json *json)
{
    json_fini(&json->doc);
}

/** Room to write into; `capacity` is what a sanitizer guards. */
static inline struct json_out fuzz_out(size_t capacity)
{
    return (struct json_out){.buffer = fuzz_memory(capacity), .capacity = capacity};
}

/** Tells whether a view lies within the text. */
static inline bool fuzz_within(const struct json_doc *doc, const char *view, size_t len)
{
    return view >= doc->text && len <= doc->len &&
           (size_t)(view - doc->text) <= doc->len - len;
}

/* ---- scripts ---- */

/** Bytes taken one after the other; zeros when there are no more. */
struct fuzz_script {
    const uint8_t *at, *end;
};

static inline struct fuzz_script fuzz_script(const uint8_t *data, size_t len)
{
    return (struct fuzz_script){data, data + len};
}

static inline bool fuzz_more(const struct fuzz_script *script)
{
    return script->at < script->end;
}

static inline uint8_t fuzz_byte(struct fuzz_script *script)
{
    return fuzz_more(script) ? *script->at++ : 0;
}

static inline uint16_t fuzz_u16(struct fuzz_script *script)
{
    uint16_t high = fuzz_byte(script);

    return (uint16_t)(high << 8 | fuzz_byte(script));
}

#endif
