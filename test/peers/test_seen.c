/* SPDX-License-Identifier: Apache-2.0
 *
 * What a sender used lately: found for 300 s, bounded, and in agreement with a model.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peers/seen.h"
#include "test/check.h"

#define SECOND UINT64_C(1000000000)

static const uint8_t key[SEEN_KEY_BYTES] = {0, 1, 2,  3,  4,  5,  6,  7,
                                            8, 9, 10, 11, 12, 13, 14, 15};

struct heap {
    bool fails;
    int held;
};

static void *heap_allocate(size_t bytes, void *user)
{
    struct heap *heap = user;

    if (heap->fails)
        return NULL;
    heap->held++;
    return malloc(bytes);
}

static void *heap_resize(void *memory, size_t bytes, void *user)
{
    return ((struct heap *)user)->fails ? NULL : realloc(memory, bytes);
}

static void heap_release(void *memory, void *user)
{
    ((struct heap *)user)->held -= memory != NULL ? 1 : 0;
    free(memory);
}

static void heap_init(struct heap *heap, struct alloc *alloc)
{
    const parley_allocator host = {heap_allocate, heap_resize, heap_release, heap};

    memset(heap, 0, sizeof(*heap));
    alloc_init(alloc, &host);
}

static bool find(const struct seen *seen, enum seen_kind kind, const char *text,
                 uint64_t now_ns, uint64_t number)
{
    uint64_t found = UINT64_MAX;

    return seen_find(seen, kind, text, strlen(text), now_ns, &found) && found == number;
}

static parley_status add(struct seen *seen, enum seen_kind kind, const char *text,
                         uint64_t now_ns, uint64_t number)
{
    parley_status status = seen_reserve(seen, 1, now_ns);

    if (status == PARLEY_OK)
        seen_add(seen, kind, text, strlen(text), now_ns, number);
    seen_check(seen);
    return status;
}

/* From SipHash's own list: bytes 00, 01, … under the key 00 … 0f; the kind is the last one. */
static void hash_vectors(void)
{
    static const struct {
        size_t len;
        uint64_t hash;
    } cases[] = {
        {1, UINT64_C(0x74f839c593dc67fd)},
        {2, UINT64_C(0x0d6c8009d9a94f5a)},
        {8, UINT64_C(0x93f5f5799a932462)},
        {15, UINT64_C(0xa129ca6149be45e5)},
    };
    uint8_t text[16];
    uint64_t words[2] = {UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908)};

    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (uint8_t)i;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        CHECK_U64(seen_hash(words, (enum seen_kind)(cases[i].len - 1), text, cases[i].len - 1),
                  cases[i].hash);
}

static void kinds_and_texts(void)
{
    struct seen seen;
    struct alloc alloc;
    struct heap heap;

    heap_init(&heap, &alloc);
    seen_init(&seen, &alloc, 100, key);
    CHECK(!find(&seen, SEEN_NONCE, "a", 0, 1));
    CHECK_U64(heap.held, 0); /* nothing is taken before the first one */
    CHECK_STATUS(add(&seen, SEEN_NONCE, "a", 0, 1), OK);
    CHECK_STATUS(add(&seen, SEEN_MESSAGE_ID, "a", 0, 2), OK);
    CHECK_STATUS(add(&seen, SEEN_NONCE, "", 0, 3), OK);
    CHECK(find(&seen, SEEN_NONCE, "a", 0, 1));
    CHECK(find(&seen, SEEN_MESSAGE_ID, "a", 0, 2));
    CHECK(find(&seen, SEEN_NONCE, "", 0, 3));
    CHECK(!find(&seen, SEEN_MESSAGE_ID, "", 0, 3));
    CHECK(!find(&seen, SEEN_NONCE, "b", 0, 1));
    seen_fini(&seen);
    seen_fini(&seen);
    CHECK_U64(heap.held, 0);
}

static void lifetime(void)
{
    struct seen seen;
    struct alloc alloc;
    struct heap heap;

    heap_init(&heap, &alloc);
    seen_init(&seen, &alloc, 100, key);
    add(&seen, SEEN_NONCE, "a", 10 * SECOND, 1);
    CHECK(find(&seen, SEEN_NONCE, "a", 310 * SECOND, 1));
    CHECK(!find(&seen, SEEN_NONCE, "a", 310 * SECOND + 1, 1));
    add(&seen, SEEN_NONCE, "a", 311 * SECOND, 2); /* forgotten, so it is new */
    CHECK(find(&seen, SEEN_NONCE, "a", 312 * SECOND, 2));
    CHECK_U64(seen.len, 1);
    seen_fini(&seen);
}

static void bound(void)
{
    struct seen seen;
    struct alloc alloc;
    struct heap heap;
    char text[16];

    heap_init(&heap, &alloc);
    seen_init(&seen, &alloc, 1000, key); /* not a power of two */
    for (unsigned i = 0; i < 5000; i++) {
        snprintf(text, sizeof(text), "%u", i);
        if (!CHECK_STATUS(add(&seen, SEEN_NONCE, text, i, i), OK))
            break;
    }
    for (unsigned i = 0; i < 5000; i++) {
        snprintf(text, sizeof(text), "%u", i);
        CHECK(find(&seen, SEEN_NONCE, text, 5000, i) == (i >= 4000));
    }
    CHECK_U64(heap.held, 1);
    seen_fini(&seen);
    CHECK_U64(heap.held, 0);
}

static void out_of_memory(void)
{
    struct seen seen;
    struct alloc alloc;
    struct heap heap;
    char text[16];
    unsigned stored = 0;

    heap_init(&heap, &alloc);
    seen_init(&seen, &alloc, 1000, key);
    heap.fails = true;
    CHECK_STATUS(add(&seen, SEEN_NONCE, "a", 0, 1), ENOMEM);
    heap.fails = false;
    CHECK_STATUS(add(&seen, SEEN_NONCE, "a", 0, 1), OK);
    heap.fails = true;
    do
        snprintf(text, sizeof(text), "%u", ++stored);
    while (add(&seen, SEEN_NONCE, text, 0, stored) == PARLEY_OK);
    CHECK(find(&seen, SEEN_NONCE, "a", 0, 1)); /* what is stored stays */
    CHECK(!find(&seen, SEEN_NONCE, text, 0, stored));
    heap.fails = false;
    CHECK_STATUS(add(&seen, SEEN_NONCE, text, 0, stored), OK);
    CHECK(find(&seen, SEEN_NONCE, "a", 0, 1));
    seen_fini(&seen);
}

/* ---- Random use against a list ---- */

#define MODEL 20000

struct model {
    unsigned text[MODEL];
    uint64_t at_ns[MODEL];
    size_t first, len;
};

static const uint64_t *model_find(const struct model *model, unsigned text, uint64_t now_ns)
{
    for (size_t i = model->len; i-- > model->first;) {
        if (model->text[i] == text)
            return now_ns - model->at_ns[i] > SEEN_LIFETIME_NS ? NULL : &model->at_ns[i];
    }
    return NULL;
}

static void random_use(void)
{
    static struct model model;
    struct check_random random = {check_seed(1)};
    struct seen seen;
    struct alloc alloc;
    struct heap heap;
    uint64_t now_ns = 0, number;
    char text[16];
    bool held = true;

    heap_init(&heap, &alloc);
    seen_init(&seen, &alloc, 150, key);
    for (unsigned i = 0; held && i < MODEL; i++) {
        unsigned choice = (unsigned)check_random_below(&random, 400);
        const uint64_t *expected;

        now_ns += check_random_below(&random, 6 * SECOND);
        snprintf(text, sizeof(text), "%u", choice);
        expected = model_find(&model, choice, now_ns);
        if (seen_find(&seen, SEEN_NONCE, text, strlen(text), now_ns, &number)) {
            held = expected != NULL && *expected == number;
        } else {
            held =
                expected == NULL && add(&seen, SEEN_NONCE, text, now_ns, now_ns) == PARLEY_OK;
            model.text[model.len] = choice;
            model.at_ns[model.len++] = now_ns;
            if (model.len - model.first > 150)
                model.first = model.len - 150;
        }
    }
    if (!CHECK(held))
        fprintf(stderr, "    replay: SEED=%" PRIu64 "\n", check_seed(1));
    seen_fini(&seen);
}

static const struct check_test tests[] = {
    {"the hash is SipHash-2-4", hash_vectors},
    {"the same text of another kind is another one", kinds_and_texts},
    {"a text is known for 300 s", lifetime},
    {"beyond the limit the oldest is forgotten", bound},
    {"out of memory stores nothing and forgets nothing", out_of_memory},
    {"random use agrees with a list", random_use},
};

CHECK_MAIN("seen", tests)
