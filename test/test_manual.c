/* SPDX-License-Identifier: Apache-2.0
 *
 * The migration page, the threat list and the README's promise are true to the tests: in a
 * table whose last column is "shown by", the last cell of each row names the tests that show
 * the row, as `file`: its name, and that file has a test of this name.
 */
#include <stdint.h>

#include "test/build_tree.h"
#include "test/check.h"

#define TEXT_MAX (1 << 20)
#define ROW_MAX  2048

/** The text of the last cell, cut out of the row in place. @return NULL: not a row */
static char *last_cell(char *row)
{
    char *end = strrchr(row, '|');
    char *start;

    if (row[0] != '|' || end == row)
        return NULL;
    *end = '\0';
    start = strrchr(row, '|');
    return start != NULL ? start + 1 : NULL;
}

/** @return whether a test's list or a script names this test in quotes */
static bool has_test(const char *text, const char *name)
{
    char quoted[ROW_MAX];

    snprintf(quoted, sizeof(quoted), "\"%s\"", name);
    return strstr(text, quoted) != NULL;
}

/** Checks one "`file`: name". @return what follows it, or NULL: it says no such thing */
static char *check_reference(const struct build_tree *tree, char *at)
{
    char *path = strchr(at, '`');
    char *path_end = path != NULL ? strchr(path + 1, '`') : NULL;
    char *words, *words_end, *text;

    if (path_end == NULL || strncmp(path_end, "`: ", 3) != 0)
        return NULL;
    *path_end = '\0';
    words = path_end + 3;
    words_end = words + strcspn(words, ";");
    if (*words_end == ';')
        *words_end++ = '\0';
    for (size_t len = strlen(words); len > 0 && words[len - 1] == ' '; len--)
        words[len - 1] = '\0';
    text = file_read(tree->source, path + 1, TEXT_MAX);
    if (text == NULL)
        CHECK_TEXT(path + 1, "(a file of the project)");
    else if (!has_test(text, words))
        check_text_(words, "(a test of that file)", path + 1, __FILE__, __LINE__);
    free(text);
    return words_end;
}

static void check_row(const struct build_tree *tree, const char *line, size_t len)
{
    char row[ROW_MAX];
    char *cell;
    unsigned references = 0;

    if (!CHECK(len < sizeof(row)))
        return;
    memcpy(row, line, len);
    row[len] = '\0';
    cell = last_cell(row);
    while (cell != NULL && strchr(cell, '`') != NULL) {
        cell = check_reference(tree, cell);
        references += cell != NULL;
    }
    if (references == 0)
        check_text_(row, "a row that names its test", "row", __FILE__, __LINE__);
}

/** @return whether the next line makes this one a table's head */
static bool is_head(const char *line)
{
    const char *next = strchr(line, '\n');

    return next != NULL && strncmp(next + 1, "| ---", 5) == 0;
}

static bool is_shown(const char *head, size_t len)
{
    static const char end[] = "| shown by |";

    return len >= sizeof(end) - 1 &&
           strncmp(head + len - (sizeof(end) - 1), end, sizeof(end) - 1) == 0;
}

/** Checks the tables that say what shows them. @return their rows */
static uint64_t check_tables(const struct build_tree *tree, const char *page)
{
    bool shown = false;
    uint64_t rows = 0;

    for (const char *line = page; line != NULL && *line != '\0';) {
        size_t len = strcspn(line, "\n");

        if (is_head(line)) {
            shown = is_shown(line, len);
        } else if (shown && line[0] == '|' && strncmp(line, "| ---", 5) != 0) {
            check_row(tree, line, len);
            rows++;
        }
        line = line[len] == '\n' ? line + len + 1 : NULL;
    }
    return rows;
}

static void rows_name_their_tests(const char *name, uint64_t rows_least)
{
    struct build_tree tree;
    char *page;

    if (!CHECK(build_tree_find(&tree)))
        return;
    page = file_read(tree.source, name, TEXT_MAX);
    if (CHECK(page != NULL))
        CHECK(check_tables(&tree, page) >= rows_least);
    free(page);
}

static void the_migration_page_names_tests(void)
{
    rows_name_their_tests("include/manual/migration.md", 40);
}

static void the_promise_names_tests(void)
{
    rows_name_their_tests("README.md", 11);
}

static void the_threats_name_tests(void)
{
    rows_name_their_tests("include/manual/threats.md", 18);
}

static const struct check_test tests[] = {
    {"the threat list names its tests", the_threats_name_tests},
    {"each row of the migration page names a test that exists",
     the_migration_page_names_tests},
    {"each line of the promise names a test that exists", the_promise_names_tests},
};

CHECK_MAIN("manual", tests)
