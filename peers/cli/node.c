/* SPDX-License-Identifier: Apache-2.0 */
#include "peers/cli/node.h"

#include <string.h>

/* Takes --listen apart; the library judges the parts. */
static enum cli_exit take_listen(struct node_flags *flags, struct cli_setup *setup,
                                 const char *address)
{
    const char *colon = strrchr(address, ':');
    const char *host = address;
    size_t len = colon != NULL ? (size_t)(colon - address) : 0;

    if (len >= 2 && host[0] == '[' && host[len - 1] == ']') {
        host++;
        len -= 2;
    } else if (memchr(host, ':', len) != NULL) {
        len = 0; /* IPv6 without brackets: which colon starts the port is anyone's guess */
    }
    if (len == 0 || len >= sizeof(flags->host))
        return cli_fail(setup, CLI_USAGE,
                        "--listen %.80s: expected HOST:PORT, or [HOST]:PORT for IPv6",
                        address);
    memcpy(flags->host, host, len);
    flags->host[len] = '\0';
    if (cli_override(setup, "node.listen_host", flags->host) != CLI_OK)
        return CLI_USAGE;
    return cli_override(setup, "node.listen_port", colon + 1);
}

enum cli_exit node_take(struct node_flags *flags, struct cli_setup *setup, int letter,
                        char *argument)
{
    switch (letter) {
    case NODE_FLAG_LISTEN:
        return take_listen(flags, setup, argument);
    case NODE_FLAG_NO_WEBSOCKET:
        if (cli_override(setup, "node.accept_websocket", "false") != CLI_OK)
            return CLI_USAGE;
        return cli_override(setup, "transport.websocket.enabled", "false");
    default:
        return cli_take(setup, letter, argument);
    }
}

enum cli_exit node_load(struct cli_setup *setup)
{
    enum cli_exit code = cli_load(setup);

    if (code == CLI_OK && setup->options->listen_host == NULL)
        setup->options->listen_host = "127.0.0.1";
    return code;
}

/* "127.0.0.1:80", "[::1]:80" */
static void write_address(const parley_options *options, unsigned port, char *buffer,
                          size_t len)
{
    bool brackets = strchr(options->listen_host, ':') != NULL;

    snprintf(buffer, len, "%s%s%s:%u", brackets ? "[" : "", options->listen_host,
             brackets ? "]" : "", port);
}

enum cli_exit node_open(const struct cli_setup *setup, parley **ret_runtime)
{
    char address[NODE_HOST_MAX + 16], error[CLI_ERROR_MAX] = "";
    parley_status status = parley_open(setup->options, error, sizeof(error), ret_runtime);

    if (status == PARLEY_OK)
        return CLI_OK;
    if (status == PARLEY_EADDRINUSE || status == PARLEY_EADDR) {
        write_address(setup->options, setup->options->listen_port, address, sizeof(address));
        return cli_fail(setup, CLI_FAILED, "%s: %s", address, parley_strerror(status));
    }
    return cli_fail(setup, CLI_FAILED, "%s",
                    error[0] != '\0' ? error : parley_strerror(status));
}

enum cli_exit node_announce(const struct cli_setup *setup, const parley *runtime, FILE *file)
{
    char address[NODE_HOST_MAX + 16];

    write_address(setup->options, parley_port(runtime), address, sizeof(address));
    if (setup->json) {
        fprintf(file,
                "{\"event\":\"listening\",\"url\":\"http://%s\",\"port\":%u,\"node_id\":",
                address, (unsigned)parley_port(runtime));
        cli_json_string(file, parley_node_id(runtime));
        fputs("}\n", file);
    } else {
        fprintf(file, "listening on http://%s\n", address);
    }
    return file == stdout ? cli_finish(setup, CLI_OK) : CLI_OK;
}
