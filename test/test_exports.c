/* SPDX-License-Identifier: Apache-2.0
 *
 * The shared library's surface. Three lists of names must be the same: what libparley.so.0
 * exports, what include/parley.h declares with PARLEY_API, and test/exports.txt. The last
 * makes a change of the surface visible as a changed line of its own: to add or remove a
 * function, change the header and that list together.
 */
#include <ctype.h>

#include "test/build_tree.h"
#include "test/check.h"

#define NAMES_MAX 512
#define NAME_MAX_ 96

struct names {
    char name[NAMES_MAX][NAME_MAX_];
    size_t len;
};

static int compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void names_sort(struct names *names)
{
    qsort(names->name, names->len, NAME_MAX_, compare);
}

static bool names_add(struct names *names, const char *name, size_t len)
{
    if (!CHECK(names->len < NAMES_MAX) || !CHECK(len < NAME_MAX_))
        return false;
    memcpy(names->name[names->len], name, len);
    names->name[names->len++][len] = '\0';
    return true;
}

static bool names_contain(const struct names *names, const char *name)
{
    return bsearch(name, names->name, names->len, NAME_MAX_, compare) != NULL;
}

/** Names each entry of `some` that `others` lacks. */
static void check_within(const struct names *some, const char *some_name,
                         const struct names *others, const char *others_name)
{
    char expected[256];

    for (size_t i = 0; i < some->len; i++) {
        if (names_contain(others, some->name[i])) {
            CHECK(true);
            continue;
        }
        snprintf(expected, sizeof(expected), "%s, named in %s, is also in %s", some->name[i],
                 some_name, others_name);
        CHECK_TEXT("it is not", expected);
    }
}

static void check_same(const struct names *a, const char *a_name, const struct names *b,
                       const char *b_name)
{
    CHECK(a->len > 0);
    CHECK(b->len > 0);
    check_within(a, a_name, b, b_name);
    check_within(b, b_name, a, a_name);
}

static bool is_name(char c)
{
    return isalnum((unsigned char)c) || c == '_';
}

/** The function a declaration is about: the last word before its first parenthesis. */
static bool add_declared(struct names *names, const char *declaration)
{
    const char *end = strpbrk(declaration, "(;{");
    const char *start;

    if (!CHECK(end != NULL && *end == '('))
        return false;
    for (start = end; start > declaration && is_name(start[-1]); start--)
        continue;
    return names_add(names, start, (size_t)(end - start));
}

/** Names declared with PARLEY_API at the start of a line. */
static bool read_header(const char *text, struct names *ret_names)
{
    static const char mark[] = "\nPARLEY_API ";
    struct names *names = ret_names;

    names->len = 0;
    for (const char *at = strstr(text, mark); at != NULL; at = strstr(at + 1, mark)) {
        if (!add_declared(names, at + sizeof(mark) - 1))
            return false;
    }
    names_sort(names);
    return true;
}

/** One name a line. */
static bool read_lines(const char *text, struct names *ret_names)
{
    ret_names->len = 0;
    while (*text != '\0') {
        size_t len = strcspn(text, "\n");

        if (len > 0 && !names_add(ret_names, text, len))
            return false;
        text += len + (text[len] == '\n');
    }
    return true;
}

static bool load_header(struct names *ret_names)
{
    struct build_tree tree;
    bool read = false;
    char *text;

    if (!CHECK(build_tree_find(&tree)))
        return false;
    text = file_read(tree.source, "include/parley.h", 1 << 20);
    if (CHECK(text != NULL))
        read = read_header(text, ret_names);
    free(text);
    return read;
}

static bool load_list(struct names *ret_names)
{
    struct build_tree tree;
    bool read = false;
    char *text;

    if (!CHECK(build_tree_find(&tree)))
        return false;
    text = file_read(tree.source, "test/exports.txt", 1 << 20);
    if (CHECK(text != NULL))
        read = read_lines(text, ret_names);
    free(text);
    return read;
}

/** The library's defined dynamic symbols, without their versions. */
static bool load_library(struct names *ret_names)
{
    static char output[256 * 1024];
    struct build_tree tree;
    char command[COMMAND_LEN_MAX];
    bool read;

    if (!CHECK(build_tree_find(&tree)))
        return false;
    snprintf(command, sizeof(command),
             "nm -D --defined-only --without-symbol-versions '%s/libparley.so.0' |"
             " awk '{print $NF}'",
             tree.build);
    read = CHECK_U64(command_run(command, output, sizeof(output)), 0) &&
           read_lines(output, ret_names);
    if (read)
        names_sort(ret_names);
    return read;
}

static void header_is_understood(void)
{
    static const char text[] = "\n#define PARLEY_API x\n"
                               "\nPARLEY_API const char *parley_b(int (*f)(void));\n"
                               " PARLEY_API in a comment (see there)\n"
                               "\nPARLEY_API void\nparley_a(void);\n";
    static struct names names;

    if (!CHECK(read_header(text, &names)) || !CHECK_U64(names.len, 2))
        return;
    CHECK_TEXT(names.name[0], "parley_a");
    CHECK_TEXT(names.name[1], "parley_b");
}

static void list_is_sorted(void)
{
    static struct names list;

    if (!load_list(&list))
        return;
    CHECK(list.len > 0);
    for (size_t i = 1; i < list.len; i++) {
        if (strcmp(list.name[i - 1], list.name[i]) >= 0)
            CHECK_TEXT(list.name[i], "a name after, and not equal to, the line before");
    }
}

static void list_is_the_headers(void)
{
    static struct names list, header;

    if (load_list(&list) && load_header(&header))
        check_same(&header, "include/parley.h", &list, "test/exports.txt");
}

static void library_exports_the_list(void)
{
    static struct names list, library;

    if (load_list(&list) && load_library(&library))
        check_same(&library, "libparley.so.0", &list, "test/exports.txt");
}

static void every_name_has_the_prefix(void)
{
    static struct names library;

    if (!load_library(&library))
        return;
    CHECK(library.len > 0);
    for (size_t i = 0; i < library.len; i++) {
        if (strncmp(library.name[i], "parley_", 7) != 0)
            CHECK_TEXT(library.name[i], "a name that starts with parley_");
    }
}

static const struct check_test tests[] = {
    {"declarations are found in a header, and only they", header_is_understood},
    {"the list of exports is sorted and names each once", list_is_sorted},
    {"the list of exports is what the header declares", list_is_the_headers},
    {"the shared library exports the list and nothing else", library_exports_the_list},
    {"every exported name starts with parley_", every_name_has_the_prefix},
};

CHECK_MAIN("exports", tests)
