/* SPDX-License-Identifier: Apache-2.0
 *
 * The commands' common flags, and the configuration they lead to.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "parley.h"
#include "peers/cli/cli.h"

enum cli_exit cli_fail(const struct cli_setup *setup, enum cli_exit code, const char *format,
                       ...)
{
    char text[2 * CLI_ERROR_MAX];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    fprintf(stderr, "%s: %s\n", setup->command, text);
    return code;
}

enum cli_exit cli_override(struct cli_setup *setup, const char *key, const char *value)
{
    if (setup->overrides_len == CLI_OVERRIDES_MAX)
        return cli_fail(setup, CLI_USAGE, "at most %d settings can be given as flags",
                        CLI_OVERRIDES_MAX);
    setup->overrides[setup->overrides_len].key = key;
    setup->overrides[setup->overrides_len].value = value;
    setup->overrides_len++;
    return CLI_OK;
}

/* Splits "key=value" in place: argv belongs to the program. */
static enum cli_exit take_set(struct cli_setup *setup, char *argument)
{
    char *equals = strchr(argument, '=');

    if (equals == NULL)
        return cli_fail(setup, CLI_USAGE, "--set %.80s: expected key=value", argument);
    *equals = '\0';
    return cli_override(setup, argument, equals + 1);
}

enum cli_exit cli_take(struct cli_setup *setup, int letter, char *argument)
{
    switch (letter) {
    case 'c':
        setup->config_path = argument;
        return CLI_OK;
    case 'h':
        setup->help = true;
        return CLI_OK;
    case 'j':
        setup->json = true;
        return CLI_OK;
    case 'n':
        return cli_override(setup, "node.id", argument);
    case 's':
        return take_set(setup, argument);
    case 'v':
        setup->verbose++;
        return CLI_OK;
    default:
        fprintf(stderr, "%s --help lists what it takes\n", setup->command);
        return CLI_USAGE; /* getopt_long() has said what is wrong */
    }
}

static void log_line(parley_log_level level, const char *line, void *user)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    const struct cli_setup *setup = user;

    fprintf(stderr, "%s: %s: %s\n", setup->command, names[level], line);
}

static enum cli_exit load_failed(struct cli_setup *setup, parley_status status,
                                 enum cli_exit code)
{
    if (setup->error[0] == '\0')
        snprintf(setup->error, sizeof(setup->error), "%s", parley_strerror(status));
    cli_unload(setup);
    return cli_fail(setup, code, "%s", setup->error);
}

static parley_log_level log_level(int verbose)
{
    if (verbose == 0)
        return PARLEY_LOG_WARN;
    return verbose == 1 ? PARLEY_LOG_INFO : PARLEY_LOG_DEBUG;
}

enum cli_exit cli_load(struct cli_setup *setup)
{
    parley_status status = parley_config_load(setup->config_path, setup->error,
                                              sizeof(setup->error), &setup->config);

    if (status != PARLEY_OK)
        return load_failed(setup, status, CLI_FAILED);
    for (size_t i = 0; i < setup->overrides_len; i++) {
        status =
            parley_config_set(setup->config, setup->overrides[i].key,
                              setup->overrides[i].value, setup->error, sizeof(setup->error));
        if (status != PARLEY_OK)
            return load_failed(setup, status, CLI_USAGE);
    }
    setup->options = parley_config_options(setup->config);
    setup->options->log = log_line;
    setup->options->log_user = setup;
    setup->options->log_level = log_level(setup->verbose);
    return CLI_OK;
}

void cli_unload(struct cli_setup *setup)
{
    parley_config_free(setup->config);
    setup->config = NULL;
    setup->options = NULL;
}

void cli_json_string(FILE *file, const char *text)
{
    if (text == NULL) {
        fputs("null", file);
        return;
    }
    fputc('"', file);
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;

        if (c == '"' || c == '\\')
            fprintf(file, "\\%c", c);
        else if (c < ' ' || c == 0x7f)
            fprintf(file, "\\u%04x", c);
        else
            fputc(c, file);
    }
    fputc('"', file);
}

enum cli_exit cli_finish(const struct cli_setup *setup, enum cli_exit code)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    return cli_fail(setup, CLI_FAILED, "standard output cannot be written");
}
