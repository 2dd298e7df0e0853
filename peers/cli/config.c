/* SPDX-License-Identifier: Apache-2.0
 *
 * `parley config check` says whether a configuration is right; `parley config show` writes
 * what is in effect after file, environment and flags, as YAML that can be read again;
 * `parley config init` writes one to start from.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "parley.h"
#include "peers/cli/cli.h"
#include "peers/cli/config_init.h"
#include "peers/cli/yaml.h"

enum config_flag { FLAG_FORCE = CLI_FLAG_COMMAND };

static const char help[] =
    "parley config check [FILE]   say whether a configuration is right\n"
    "parley config init           write a configuration to start from: every key with its\n"
    "                             meaning and its default\n"
    "parley config show  [FILE]   write what is in effect, as YAML; secrets as asterisks\n"
    "\n"
    "  -o, --output FILE     init: write to FILE, which must not exist yet\n"
    "      --force           init: overwrite FILE\n"
    "      --json            one line of JSON; show: an object with dotted "
    "keys\n" CLI_COMMON_HELP "\n"
    "For check and show FILE is the same as --config FILE; without one: defaults and\n"
    "environment only. init knows neither file nor environment; --node-id and --set change\n"
    "what it writes. Exit codes: 0 right, 1 wrong or not readable, 2 usage. A mistake is\n"
    "reported as file:line:column: key: expected ..., with the nearest key there is.\n";

struct config {
    struct cli_setup setup;
    const char *output;
    bool force;
};

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

static void show_json(const char *key, const char *value, bool text, const char *about,
                      void *user)
{
    bool *first = user;

    (void)about;
    putchar(*first ? '{' : ',');
    *first = false;
    cli_json_string(stdout, key);
    putchar(':');
    if (text || value == NULL)
        cli_json_string(stdout, value);
    else
        fputs(value, stdout);
}

static void show_yaml(const char *key, const char *value, bool text, const char *about,
                      void *user)
{
    yaml_line(user, key, value, text, about);
}

static enum cli_exit show(struct cli_setup *setup)
{
    struct yaml yaml = {.file = stdout, .prefix = ""};
    bool first = true;
    enum cli_exit code = cli_load(setup);

    if (code != CLI_OK)
        return code;
    if (setup->json) {
        parley_config_each(setup->config, show_json, &first);
        puts("}");
    } else {
        parley_config_each(setup->config, show_yaml, &yaml);
    }
    cli_unload(setup);
    return cli_finish(setup, CLI_OK);
}

/* ---- Flags ---- */

static enum cli_exit take(struct config *config, int letter, char *argument)
{
    switch (letter) {
    case 'o':
        config->output = argument;
        return CLI_OK;
    case FLAG_FORCE:
        config->force = true;
        return CLI_OK;
    default:
        return cli_take(&config->setup, letter, argument);
    }
}

static enum cli_exit parse(struct config *config, int argc, char **argv,
                           const char **ret_action)
{
    static const struct option options[] = {
        CLI_LONG_OPTIONS,
        {"output", required_argument, NULL, 'o'},
        {"force", no_argument, NULL, FLAG_FORCE},
        {NULL, 0, NULL, 0},
    };
    struct cli_setup *setup = &config->setup;
    enum cli_exit code = CLI_OK;
    int letter;

    while (code == CLI_OK &&
           (letter = cli_next_flag(setup, argc, argv, "o:" CLI_SHORT_OPTIONS, options)) != -1)
        code = take(config, letter, optarg);
    if (code != CLI_OK || setup->help)
        return code;
    if (optind == argc)
        return cli_fail(setup, CLI_USAGE, "expected check, init or show");
    *ret_action = argv[optind++];
    if (optind < argc && setup->config_path == NULL && strcmp(*ret_action, "init") != 0)
        setup->config_path = argv[optind++];
    if (optind < argc)
        return cli_fail(setup, CLI_USAGE, "unexpected \"%.80s\"", argv[optind]);
    return CLI_OK;
}

static enum cli_exit unknown_action(const struct cli_setup *setup, const char *action)
{
    static const char *const actions[] = {"check", "init", "show", NULL};
    const char *nearest = cli_nearest(action, actions);

    return cli_fail(setup, CLI_USAGE, "expected check, init or show, found \"%.40s\"%s%s%s",
                    action, nearest != NULL ? "; did you mean " : "",
                    nearest != NULL ? nearest : "", nearest != NULL ? "?" : "");
}

enum cli_exit cli_config(int argc, char **argv)
{
    struct config config = {.setup.command = argv[0]};
    struct cli_setup *setup = &config.setup;
    const char *action = "";
    enum cli_exit code = parse(&config, argc, argv, &action);

    if (code != CLI_OK)
        return code;
    if (setup->help) {
        fputs(help, stdout);
        return cli_finish(setup, CLI_OK);
    }
    if (strcmp(action, "init") == 0)
        return config_init(setup, config.output, config.force);
    if (config.output != NULL || config.force)
        return cli_fail(setup, CLI_USAGE, "--output and --force go with init");
    if (strcmp(action, "check") == 0)
        return check(setup);
    if (strcmp(action, "show") == 0)
        return show(setup);
    return unknown_action(setup, action);
}
