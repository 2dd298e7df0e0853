/* SPDX-License-Identifier: Apache-2.0
 *
 * `parley config init`: a configuration to start from, made from what the library tells of
 * its settings: every key with its meaning above it and its default. It is written to memory
 * first, so that a failure leaves no half of a file.
 */
#include "peers/cli/config_init.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "peers/cli/yaml.h"

static const char head[] =
    "# parley: configuration of a node. Every key stands here with its default, and every\n"
    "# key may be left out.\n"
    "#\n"
    "#   parley config check FILE     is it right?\n"
    "#   parley config show FILE      what is in effect\n"
    "#   parley serve -c FILE         run it\n"
    "#\n"
    "# The environment overrides this file: PARLEY_TRANSPORT_HTTP_ATTEMPTS=5 sets\n"
    "# transport.http.attempts. Flags override both: --set transport.http.attempts=5.\n"
    "\n";

static const char peers_head[] =
    "\n"
    "# Nodes to talk to. One with every key, of which only id is required:\n"
    "#\n";

static void write_key(const char *key, const char *value, bool text, const char *about,
                      void *user)
{
    struct yaml *yaml = user;
    char quoted[YAML_VALUE_MAX];
    const char *name;
    int indent;
    bool dash;

    if (strncmp(key, "peers[", 6) == 0)
        return;
    name = yaml_key(yaml, key, &indent, &dash);
    if (value != NULL)
        yaml_value(value, text, quoted, sizeof(quoted));
    fprintf(yaml->file, "%*s# %s\n%*s%s: %s\n", indent, "", about, indent, "", name,
            value != NULL ? quoted : "null");
}

static void write_example(const char *key, const char *value, bool text, const char *about,
                          void *user)
{
    if (strncmp(key, "peers[", 6) == 0)
        yaml_line(user, key, value, text, about);
}

/* The options are ours to change: one peer, of which the library then tells every key. */
static void write_peers(struct cli_setup *setup, FILE *file)
{
    struct yaml yaml = {.file = file, .prefix = "# "};
    parley_peer_entry example = {.id = "orders-1", .url = "https://orders-1:8443"};

    fputs(peers_head, file);
    parley_peer_options_init(&example.options);
    setup->options->peers = &example;
    setup->options->peers_len = 1;
    parley_config_each(setup->config, write_example, &yaml);
    setup->options->peers = NULL;
    setup->options->peers_len = 0;
    fputs("peers: []\n", file);
}

static enum cli_exit compose(struct cli_setup *setup, char **ret_text, size_t *ret_len)
{
    struct yaml yaml = {.prefix = ""};

    yaml.file = open_memstream(ret_text, ret_len);
    if (yaml.file == NULL)
        return cli_fail(setup, CLI_FAILED, "out of memory");
    fputs(head, yaml.file);
    parley_config_each(setup->config, write_key, &yaml);
    write_peers(setup, yaml.file);
    if (fclose(yaml.file) != 0)
        return cli_fail(setup, CLI_FAILED, "out of memory");
    return CLI_OK;
}

static enum cli_exit write_out(const struct cli_setup *setup, const char *path, bool force,
                               const char *text, size_t len)
{
    int file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | (force ? O_TRUNC : O_EXCL), 0666);
    int error;

    if (file < 0 && errno == EEXIST)
        return cli_fail(setup, CLI_FAILED, "%.200s exists; --force overwrites it", path);
    if (file < 0)
        return cli_fail(setup, CLI_FAILED, "%.200s: %s", path, strerror(errno));
    while (len > 0) {
        ssize_t wrote = write(file, text, len);

        if (wrote < 0)
            break;
        text += wrote;
        len -= (size_t)wrote;
    }
    error = len > 0 ? errno : 0;
    if (close(file) != 0 && error == 0)
        error = errno;
    if (error != 0)
        return cli_fail(setup, CLI_FAILED, "%.200s: %s", path, strerror(error));
    return CLI_OK;
}

static enum cli_exit emit(const struct cli_setup *setup, const char *path, bool force,
                          const char *text, size_t len)
{
    enum cli_exit code;

    if (path == NULL) {
        fwrite(text, 1, len, stdout);
        return CLI_OK;
    }
    code = write_out(setup, path, force, text, len);
    if (code != CLI_OK)
        return code;
    if (setup->json) {
        fputs("{\"ok\":true,\"file\":", stdout);
        cli_json_string(stdout, path);
        puts("}");
    } else {
        printf("%s: written\n", path);
    }
    return CLI_OK;
}

enum cli_exit config_init(struct cli_setup *setup, const char *path, bool force)
{
    char *text = NULL;
    size_t len = 0;
    enum cli_exit code;

    if (setup->config_path != NULL)
        return cli_fail(setup, CLI_USAGE, "init starts from the defaults, not from --config");
    if (path == NULL && (force || setup->json))
        return cli_fail(setup, CLI_USAGE, "--force and --json go with --output");
    clearenv(); /* what the environment overrides is no default */
    code = cli_load(setup);
    if (code == CLI_OK)
        code = compose(setup, &text, &len);
    if (code == CLI_OK)
        code = emit(setup, path, force, text, len);
    free(text);
    cli_unload(setup);
    return cli_finish(setup, code);
}
