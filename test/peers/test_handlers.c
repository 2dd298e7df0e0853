/* SPDX-License-Identifier: Apache-2.0 */
#include "peers/handlers.h"

#include <stdio.h>

#include "runtime/alloc.h"
#include "test/check.h"

static parley_verdict accept_it(const parley_incoming *message, char *detail, void *user)
{
    (void)message;
    (void)detail;
    (void)user;
    return PARLEY_ACCEPT;
}

static const void *user_of(struct handlers *handlers, const char *type)
{
    const struct handler *handler = handlers_find(handlers_get(handlers), type);

    return handler != NULL ? handler->user : NULL;
}

static void types_find_their_own_handler(void)
{
    static int users[3];
    struct alloc alloc;
    struct handlers handlers;

    alloc_init(&alloc, NULL);
    CHECK_STATUS(handlers_init(&handlers, &alloc), OK);
    CHECK(handlers_find(handlers_get(&handlers), "a") == NULL);
    CHECK_STATUS(handlers_set_message(&handlers, "a", accept_it, &users[0]), OK);
    CHECK_STATUS(handlers_set_message(&handlers, "ab", accept_it, &users[1]), OK);
    CHECK(user_of(&handlers, "a") == &users[0]);
    CHECK(user_of(&handlers, "ab") == &users[1]);
    CHECK(user_of(&handlers, "b") == NULL);
    CHECK_STATUS(handlers_set_message(&handlers, NULL, accept_it, &users[2]), OK);
    CHECK(user_of(&handlers, "b") == &users[2]);
    CHECK_STATUS(handlers_set_message(&handlers, "a", accept_it, &users[1]), OK);
    CHECK(user_of(&handlers, "a") == &users[1]);
    CHECK_U64(handlers_get(&handlers)->len, 2);
    CHECK_STATUS(handlers_set_message(&handlers, "a", NULL, NULL), OK);
    CHECK(user_of(&handlers, "a") == &users[2]);
    CHECK(user_of(&handlers, "ab") == &users[1]);
    CHECK_STATUS(handlers_set_message(&handlers, "never", NULL, NULL), OK);
    CHECK_STATUS(handlers_set_message(&handlers, NULL, NULL, NULL), OK);
    CHECK(user_of(&handlers, "a") == NULL);
    handlers_fini(&handlers);
}

static void many_types(void)
{
    static char users[200];
    struct alloc alloc;
    struct handlers handlers;
    char type[16];

    alloc_init(&alloc, NULL);
    CHECK_STATUS(handlers_init(&handlers, &alloc), OK);
    for (unsigned i = 0; i < 200; i++) {
        snprintf(type, sizeof(type), "type-%u", i);
        CHECK_STATUS(handlers_set_message(&handlers, type, accept_it, &users[i]), OK);
    }
    for (unsigned i = 0; i < 200; i++) {
        snprintf(type, sizeof(type), "type-%u", i);
        CHECK(user_of(&handlers, type) == &users[i]);
    }
    handlers_fini(&handlers);
}

static const struct check_test tests[] = {
    {"a type finds its own handler, else the default", types_find_their_own_handler},
    {"two hundred types keep their handlers", many_types},
};

CHECK_MAIN("handlers", tests)
