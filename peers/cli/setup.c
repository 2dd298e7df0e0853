/* SPDX-License-Identifier: Apache-2.0
 *
 * The commands' common flags, and the configuration they lead to.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "parley.h"
#include "peers/cli/cli.h"

#define FLAGS_MAX 48
#define FLAG_MAX  64

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
    if (strcmp(argument, "security.jwt_secret") == 0)
        return cli_fail(
            setup, CLI_USAGE,
            "--set security.jwt_secret: ps would show the secret to every user; put "
            "it into the file or into PARLEY_SECURITY_JWT_SECRET");
    return cli_override(setup, argument, equals + 1);
}

/* getopt_long() has said that there is no such flag; this is what it may have been. */
static void suggest_flag(const struct cli_setup *setup, const char *flag,
                         const struct option *options)
{
    const char *names[FLAGS_MAX + 1] = {NULL};
    char word[FLAG_MAX];
    const char *nearest;

    if (strncmp(flag, "--", 2) != 0)
        return;
    for (size_t i = 0; i < FLAGS_MAX && options[i].name != NULL; i++)
        names[i] = options[i].name;
    snprintf(word, sizeof(word), "%.*s", (int)strcspn(flag + 2, "="), flag + 2);
    nearest = cli_nearest(word, names);
    if (nearest != NULL)
        fprintf(stderr, "%s: did you mean --%s?\n", setup->command, nearest);
}

int cli_next_flag(const struct cli_setup *setup, int argc, char **argv, const char *letters,
                  const struct option *options)
{
    int letter = getopt_long(argc, argv, letters, options, NULL);

    if (letter == '?' && optopt == 0)
        suggest_flag(setup, argv[optind - 1], options);
    return letter;
}

enum cli_exit cli_number(const struct cli_setup *setup, const char *flag, const char *text,
                         uint32_t minimum, const char *what, uint32_t *ret_number)
{
    char *end = NULL;
    unsigned long number;

    errno = 0;
    number = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || number < minimum ||
        number > UINT32_MAX)
        return cli_fail(setup, CLI_USAGE, "%s %.40s: expected %s", flag, text, what);
    *ret_number = (uint32_t)number;
    return CLI_OK;
}

enum cli_exit cli_seconds(const struct cli_setup *setup, const char *flag, const char *text,
                          double minimum, double maximum, uint32_t *ret_ms)
{
    bool digits = text[0] != '\0' && text[strspn(text, "0123456789.")] == '\0';
    char *end = NULL;
    double seconds = digits ? strtod(text, &end) : -1;

    if (!digits || *end != '\0' || !(seconds >= minimum && seconds <= maximum))
        return cli_fail(setup, CLI_USAGE, "%s %.40s: expected %g to %g seconds", flag, text,
                        minimum, maximum);
    *ret_ms = (uint32_t)(seconds * 1000 + 0.5);
    return CLI_OK;
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
    case CLI_FLAG_JSON:
        setup->json = true;
        return CLI_OK;
    case CLI_FLAG_NODE_ID:
        return cli_override(setup, "node.id", argument);
    case CLI_FLAG_SET:
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

void cli_guard_memory(void)
{
    (void)prctl(PR_SET_DUMPABLE, 0); /* it cannot fail with 0 */
}

static bool holds_secrets(const parley_options *options)
{
    if (options->jwt_secret != NULL || options->identity_file != NULL)
        return true;
    for (size_t i = 0; i < options->peers_len; i++) {
        if (options->peers[i].options.token != NULL)
            return true;
    }
    return false;
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
    if (holds_secrets(setup->options))
        cli_guard_memory();
    return CLI_OK;
}

void cli_unload(struct cli_setup *setup)
{
    parley_config_free(setup->config);
    setup->config = NULL;
    setup->options = NULL;
}
