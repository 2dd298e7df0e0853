/* SPDX-License-Identifier: Apache-2.0
 *
 * `parley config check` says whether a configuration is right; `parley config show` writes
 * what is in effect after file, environment and flags, as YAML that can be read again.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "parley.h"
#include "peers/cli/cli.h"

#define KEY_MAX        256
#define COMMENT_COLUMN 44

static const char help[] =
    "parley config check [FILE]   say whether a configuration is right\n"
    "parley config show  [FILE]   write what is in effect, as YAML\n"
    "\n"
    "  -c, --config FILE     the same as FILE; without one: defaults and environment only\n"
    "      --node-id ID      as --set node.id=ID\n"
    "      --set KEY=VALUE   as the flag of the other commands; repeatable\n"
    "      --json            one line of JSON; show: an object with dotted keys\n"
    "\n"
    "Exit codes: 0 right, 1 wrong or not readable, 2 usage. A mistake is reported as\n"
    "file:line:column: key: expected ...\n";

/* ---- check ---- */

static enum cli_exit check(struct cli_setup *setup)
{
    const char *name = setup->config_path != NULL ? setup->config_path : "defaults";
    enum cli_exit code = cli_load(setup);

    if (setup->json) {
        printf("{\"ok\":%s,\"file\":", code == CLI_OK ? "true" : "false");
        cli_json_string(stdout, setup->config_path);
        fputs(",\"error\":", stdout);
        cli_json_string(stdout, code == CLI_OK ? NULL : setup->error);
        puts("}");
    } else if (code == CLI_OK) {
        printf("%s: ok\n", name);
    }
    cli_unload(setup);
    return cli_finish(setup, code);
}

/* ---- show ---- */

struct show {
    bool first;
    char section[KEY_MAX]; /* of the last key: "transport.http", "peers[0]" */
};

static void show_json(const char *key, const char *value, bool text, const char *about,
                      void *user)
{
    struct show *show = user;

    (void)about;
    putchar(show->first ? '{' : ',');
    show->first = false;
    cli_json_string(stdout, key);
    putchar(':');
    if (text || value == NULL)
        cli_json_string(stdout, value);
    else
        fputs(value, stdout);
}

/* Levels of nesting: dots, or two for a list entry. */
static int depth_of(const char *section)
{
    int depth = 1;

    for (; *section != '\0'; section++)
        depth += *section == '.' || *section == '[';
    return depth;
}

/* Writes the headings from the last section to this one: those it does not begin with. */
static void open_section(struct show *show, const char *section)
{
    size_t start = 0;
    int depth = 0;

    for (;;) {
        size_t len = strcspn(section + start, ".[");
        size_t end = start + len;
        bool open = strncmp(section, show->section, end) == 0 &&
                    strchr(".[", show->section[end]) != NULL; /* '\0' too */

        if (!open)
            printf("%s%*s%.*s:\n", depth == 0 && !show->first ? "\n" : "", depth * 2, "",
                   (int)len, section + start);
        if (section[end] != '.')
            break; /* the end, or a list entry: its dash comes with its first key */
        start = end + 1;
        depth++;
    }
    snprintf(show->section, sizeof(show->section), "%s", section);
    show->first = false;
}

/* What YAML would not take for text, though it is made of letters. */
static bool is_word(const char *value)
{
    static const char *const others[] = {"true", "false", "null", "yes", "no", "on", "off"};

    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        if (strcmp(value, others[i]) == 0)
            return false;
    }
    return value[0] != '\0' && value[strspn(value, "abcdefghijklmnopqrstuvwxyz_")] == '\0';
}

/* Names such as http_first need no quotes; everything else gets them, as JSON has them. */
static void write_value(const char *value, bool text, char *buffer, size_t len)
{
    FILE *memory;

    if (!text || is_word(value)) {
        snprintf(buffer, len, "%s", value);
        return;
    }
    memory = fmemopen(buffer, len, "w");
    if (memory == NULL)
        return;
    cli_json_string(memory, value);
    fclose(memory);
}

static void show_yaml(const char *key, const char *value, bool text, const char *about,
                      void *user)
{
    struct show *show = user;
    const char *dot = strrchr(key, '.');
    char section[KEY_MAX], quoted[8192] = "";
    bool dash, opened;
    const char *mark;
    int used;

    snprintf(section, sizeof(section), "%.*s", (int)(dot - key), key);
    opened = strcmp(section, show->section) != 0;
    if (opened)
        open_section(show, section);
    dash = opened && strchr(section, '[') != NULL;
    if (value != NULL)
        write_value(value, text, quoted, sizeof(quoted));
    mark = dash ? "- " : value == NULL ? "# " : "";
    used = printf("%*s%s%s:%s%s", depth_of(section) * 2 - (dash ? 2 : 0), "", mark, dot + 1,
                  value != NULL ? " " : "", quoted);
    printf("%*s # %s\n", used < COMMENT_COLUMN ? COMMENT_COLUMN - used : 0, "", about);
}

static enum cli_exit show(struct cli_setup *setup)
{
    struct show state = {.first = true};
    enum cli_exit code = cli_load(setup);

    if (code != CLI_OK)
        return code;
    parley_config_each(setup->config, setup->json ? show_json : show_yaml, &state);
    if (setup->json)
        puts("}");
    cli_unload(setup);
    return cli_finish(setup, CLI_OK);
}

/* ---- Flags ---- */

static enum cli_exit parse(struct cli_setup *setup, int argc, char **argv,
                           const char **ret_action)
{
    static const struct option options[] = {CLI_LONG_OPTIONS, {NULL, 0, NULL, 0}};
    enum cli_exit code = CLI_OK;
    int letter;

    while (code == CLI_OK &&
           (letter = getopt_long(argc, argv, CLI_SHORT_OPTIONS, options, NULL)) != -1)
        code = cli_take(setup, letter, optarg);
    if (code != CLI_OK || setup->help)
        return code;
    if (optind == argc)
        return cli_fail(setup, CLI_USAGE, "expected check or show");
    *ret_action = argv[optind++];
    if (optind < argc && setup->config_path == NULL)
        setup->config_path = argv[optind++];
    if (optind < argc)
        return cli_fail(setup, CLI_USAGE, "unexpected \"%.80s\"", argv[optind]);
    return CLI_OK;
}

enum cli_exit cli_config(int argc, char **argv)
{
    struct cli_setup setup = {.command = argv[0]};
    const char *action = "";
    enum cli_exit code = parse(&setup, argc, argv, &action);

    if (code != CLI_OK)
        return code;
    if (setup.help) {
        fputs(help, stdout);
        return cli_finish(&setup, CLI_OK);
    }
    if (strcmp(action, "check") == 0)
        return check(&setup);
    if (strcmp(action, "show") == 0)
        return show(&setup);
    return cli_fail(&setup, CLI_USAGE, "expected check or show, found \"%.40s\"", action);
}
