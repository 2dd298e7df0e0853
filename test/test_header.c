/* SPDX-License-Identifier: Apache-2.0
 *
 * The public header as an embedder meets it: alone, twice, first in the file, in strict C99
 * and in C++11, with every compiler found here.
 */
#include "test/build_tree.h"
#include "test/check.h"

#define STRICT "-pedantic -Wall -Wextra -Werror -fsyntax-only"

/* In both languages: every function and type is usable, and a second inclusion is empty. */
static const char *const program =
    "#include <parley.h>\n"
    "#include <parley.h>\n"
    "static parley_stats stats;\n"
    "static parley_verdict take(const parley_incoming *message, char *detail, void *user)\n"
    "{\n"
    "    (void)message; (void)detail; (void)user;\n"
    "    return PARLEY_ACCEPT;\n"
    "}\n"
    "int main(void)\n"
    "{\n"
    "    parley_options options;\n"
    "    parley *runtime;\n"
    "    parley_options_init(&options);\n"
    "    if (parley_open(&options, NULL, 0, &runtime) != PARLEY_OK)\n"
    "        return 1;\n"
    "    parley_on_message(runtime, NULL, take, NULL);\n"
    "    parley_stats_get(runtime, &stats);\n"
    "    return parley_close(runtime) == PARLEY_OK && stats.pending == 0 ? 0 : 1;\n"
    "}\n";

static bool installed(const char *compiler)
{
    char command[256], output[64];

    snprintf(command, sizeof(command), "command -v %s", compiler);
    return command_run(command, output, sizeof(output)) == 0;
}

static void check_compiles(const char *compiler, const char *language)
{
    struct build_tree tree;
    char command[COMMAND_LEN_MAX];
    char output[1500];
    int code;

    if (!CHECK(build_tree_find(&tree)))
        return;
    snprintf(command, sizeof(command),
             "cat <<'END' | %s %s " STRICT " -I'%s/include' -\n%sEND\n", compiler, language,
             tree.source, program);
    code = command_run(command, output, sizeof(output));
    CHECK_TEXT(output, "");
    CHECK_U64(code, 0);
}

/** Tries each compiler that is installed; at least one must be. */
static void check_each(const char *const compilers[], size_t len, const char *language)
{
    size_t tried = 0;

    for (size_t i = 0; i < len; i++) {
        if (!installed(compilers[i]))
            continue;
        check_compiles(compilers[i], language);
        tried++;
    }
    CHECK(tried > 0);
}

static void compiles_as_c99(void)
{
    static const char *const compilers[] = {"gcc", "clang"};

    check_each(compilers, 2, "-x c -std=c99");
}

static void compiles_as_c17(void)
{
    static const char *const compilers[] = {"gcc", "clang"};

    check_each(compilers, 2, "-x c -std=c17 -Wstrict-prototypes -Wundef");
}

static void compiles_as_cxx11(void)
{
    static const char *const compilers[] = {"g++", "clang++"};

    check_each(compilers, 2, "-x c++ -std=c++11");
}

static void includes_only_standard_headers(void)
{
    static const char *const allowed[] = {"<stdbool.h>", "<stddef.h>", "<stdint.h>"};
    struct build_tree tree;
    char *text, *line, *rest;

    if (!CHECK(build_tree_find(&tree)))
        return;
    text = file_read(tree.source, "include/parley.h", 1 << 20);
    if (!CHECK(text != NULL))
        return;
    for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        bool known = false;

        if (strncmp(line, "#include", 8) != 0)
            continue;
        for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++)
            known = known || strstr(line, allowed[i]) != NULL;
        if (!known)
            CHECK_TEXT(line, "#include of <stdbool.h>, <stddef.h> or <stdint.h>");
    }
    free(text);
}

static const struct check_test tests[] = {
    {"the header compiles alone as strict C99", compiles_as_c99},
    {"the header compiles alone as strict C17", compiles_as_c17},
    {"the header compiles alone as strict C++11", compiles_as_cxx11},
    {"the header includes nothing but standard C headers", includes_only_standard_headers},
};

CHECK_MAIN("header", tests)
