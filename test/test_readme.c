/* SPDX-License-Identifier: Apache-2.0
 *
 * The README's example does what the README says: it is test/example/hello.c, it compiles
 * with the README's own command against this build's library, and it delivers its message
 * to a runtime that listens in this process.
 */
#include <stdatomic.h>

#include "parley.h"
#include "test/build_tree.h"
#include "test/check.h"

#define TEXT_MAX       (1 << 20)
#define HELLO_PAYLOAD  "{\"text\":\"hello\"}"
#define RUN_SECONDS    "30"
#define EXIT_TIMED_OUT 124 /* timeout(1) */

/** Cuts the first block of `language` out of Markdown. @return its text, to be freed, or NULL
 */
static char *block(const char *markdown, const char *language)
{
    char fence[32];
    const char *start, *end;

    snprintf(fence, sizeof(fence), "\n```%s\n", language);
    start = strstr(markdown, fence);
    end = start != NULL ? strstr(start + strlen(fence), "\n```\n") : NULL;
    if (end == NULL) {
        CHECK_TEXT(NULL, fence);
        return NULL;
    }
    start += strlen(fence);
    return strndup(start, (size_t)(end + 1 - start));
}

static char *readme_block(const struct build_tree *tree, const char *language)
{
    char *readme = file_read(tree->source, "README.md", TEXT_MAX);
    char *text = NULL;

    if (CHECK(readme != NULL))
        text = block(readme, language);
    free(readme);
    return text;
}

static void code_is_the_example(void)
{
    struct build_tree tree;
    char *shown, *example;

    if (!CHECK(build_tree_find(&tree)))
        return;
    shown = readme_block(&tree, "c");
    example = file_read(tree.source, "test/example/hello.c", TEXT_MAX);
    if (CHECK(shown != NULL) && CHECK(example != NULL))
        CHECK_BYTES(shown, strlen(shown), example, strlen(example));
    free(shown);
    free(example);
}

static void readme_is_short(void)
{
    struct build_tree tree;
    char *readme;
    size_t lines = 0;

    if (!CHECK(build_tree_find(&tree)))
        return;
    readme = file_read(tree.source, "README.md", TEXT_MAX);
    if (!CHECK(readme != NULL))
        return;
    for (const char *at = readme; (at = strchr(at, '\n')) != NULL; at++)
        lines++;
    CHECK(lines < 200);
    free(readme);
}

/** Appends `text` with every "build/" turned into this build's directory. */
static bool append_here(char *command, size_t len, const char *text,
                        const struct build_tree *tree)
{
    static const char word[] = "build/";
    size_t used = strlen(command);

    while (*text != '\0') {
        bool found = strncmp(text, word, sizeof(word) - 1) == 0;
        int wrote = found ? snprintf(command + used, len - used, "'%s'/", tree->build)
                          : snprintf(command + used, len - used, "%c", *text);

        if (wrote < 0 || (size_t)wrote >= len - used)
            return false;
        used += (size_t)wrote;
        text += found ? sizeof(word) - 1 : 1;
    }
    return true;
}

/** Runs the README's compiler command, with this build's compiler, sanitizers and library,
 *  and with warnings as errors. */
static bool compile_example(const struct build_tree *tree)
{
    char command[COMMAND_LEN_MAX], output[1500];
    char *shown = readme_block(tree, "sh");
    bool known;

    if (shown == NULL)
        return false;
    snprintf(command, sizeof(command), "cd '%s' && " BUILD_TREE_CC " %s -Wall -Wextra -Werror",
             tree->source, BUILD_TREE_SANITIZE);
    known = CHECK(strncmp(shown, "cc ", 3) == 0) &&
            CHECK(append_here(command, sizeof(command), shown + 2, tree));
    free(shown);
    if (!known)
        return false;
    known = CHECK_U64(command_run(command, output, sizeof(output)), 0);
    return CHECK_TEXT(output, "") && known;
}

/** Runs the example with one argument (or none: NULL). @return its exit code */
static int run_example(const struct build_tree *tree, const char *argument, char *output,
                       size_t len)
{
    char command[COMMAND_LEN_MAX];

    snprintf(command, sizeof(command), "timeout " RUN_SECONDS " '%s/hello' %s", tree->build,
             argument ? argument : "");
    return command_run(command, output, len);
}

struct seen {
    _Atomic(uint64_t) count; /* release: publishes type and payload; the reader acquires it */
    char type[64];
    char payload[64];
};

static parley_verdict take(const parley_incoming *message, char *detail, void *user)
{
    struct seen *seen = user;

    (void)detail;
    snprintf(seen->type, sizeof(seen->type), "%s", message->type);
    snprintf(seen->payload, sizeof(seen->payload), "%.*s", (int)message->payload_len,
             message->payload);
    atomic_fetch_add_explicit(&seen->count, 1, memory_order_release);
    return PARLEY_ACCEPT;
}

/** Opens the runtime that the example calls its friend. */
static parley *open_friend(struct seen *seen)
{
    char error[512] = "";
    parley_options options;
    parley *runtime = NULL;

    parley_options_init(&options);
    options.node_id = "friend";
    options.listen_host = "127.0.0.1";
    options.workers = 1;
    if (!CHECK_STATUS(parley_open(&options, error, sizeof(error), &runtime), OK)) {
        CHECK_TEXT(error, "");
        return NULL;
    }
    CHECK_STATUS(parley_on_message(runtime, NULL, take, seen), OK);
    return runtime;
}

static void example_delivers(void)
{
    struct seen seen = {.count = 0};
    struct build_tree tree;
    char url[64], output[1500];
    parley *runtime;
    int code;

    if (!CHECK(build_tree_find(&tree)) || !compile_example(&tree))
        return;
    runtime = open_friend(&seen);
    if (runtime == NULL)
        return;
    snprintf(url, sizeof(url), "http://127.0.0.1:%u", (unsigned)parley_port(runtime));
    code = run_example(&tree, url, output, sizeof(output));
    CHECK_STATUS(parley_close(runtime), OK);

    CHECK_CONTAINS(output, "hello: delivered in ");
    CHECK_U64(code, 0);
    if (CHECK_U64(atomic_load_explicit(&seen.count, memory_order_acquire), 1)) {
        CHECK_TEXT(seen.type, "greeting");
        CHECK_TEXT(seen.payload, HELLO_PAYLOAD);
    }
}

static void example_says_what_is_wrong(void)
{
    struct build_tree tree;
    char output[1500];

    if (!CHECK(build_tree_find(&tree)) || !compile_example(&tree))
        return;
    CHECK_U64(run_example(&tree, NULL, output, sizeof(output)), 2);
    CHECK_U64(run_example(&tree, "gopher://127.0.0.1", output, sizeof(output)), 1);
    CHECK_CONTAINS(output, parley_strerror(PARLEY_EURL));
}

/** Nobody listens there: a port that was free a moment ago. */
static void example_fails_without_a_friend(void)
{
    struct seen seen = {.count = 0};
    struct build_tree tree;
    char url[64], output[1500];
    parley *runtime;
    int code;

    if (!CHECK(build_tree_find(&tree)) || !compile_example(&tree))
        return;
    runtime = open_friend(&seen);
    if (runtime == NULL)
        return;
    snprintf(url, sizeof(url), "http://127.0.0.1:%u", (unsigned)parley_port(runtime));
    CHECK_STATUS(parley_close(runtime), OK);
    code = run_example(&tree, url, output, sizeof(output));
    CHECK(code != EXIT_TIMED_OUT);
    CHECK_U64(code, 1);
    CHECK_CONTAINS(output, "hello: ");
    CHECK(strstr(output, "delivered") == NULL);
}

static const struct check_test tests[] = {
    {"the README stays under 200 lines", readme_is_short},
    {"the README's code is test/example/hello.c", code_is_the_example},
    {"the README's example compiles and delivers its message", example_delivers},
    {"the README's example says what is wrong with its argument", example_says_what_is_wrong},
    {"the README's example fails when nobody is there", example_fails_without_a_friend},
};

CHECK_MAIN("readme", tests)
