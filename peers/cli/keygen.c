/* SPDX-License-Identifier: Apache-2.0
 *
 * `parley keygen`: makes the identity of a node, or tells the public half of one there is. The
 * private half goes into a file and nowhere else: not to the terminal, whose scrollback and
 * logs live long.
 */
#include <stdio.h>

#include "parley.h"
#include "peers/cli/cli.h"

enum keygen_flag { FLAG_FORCE = CLI_FLAG_COMMAND, FLAG_PUBLIC };

#define DEFAULT_FILE "identity.pem"

static const char help[] =
    "parley keygen: make an identity (Ed25519) for security.identity_file\n"
    "\n"
    "  -o, --out FILE        where to write the private key; default: " DEFAULT_FILE "\n"
    "      --force           overwrite FILE: who trusted its key has to be told the new one\n"
    "      --public FILE     make nothing: tell the public half of FILE\n"
    "      --json            one line of JSON\n"
    "  -h, --help            this text\n"
    "\n"
    "Prints the public key, which goes into the others' configuration (peers: public_key, or\n"
    "NAME.pub in security.trusted_keys_dir), and its fingerprint, by which people make sure\n"
    "over another channel that it is the same. The file is readable by its owner only, and "
    "has\n"
    "to stay so. Exit codes: 0 done, 1 failed, 2 usage.\n";

struct keygen {
    struct cli_setup setup;
    const char *out;
    const char *public_of;
    bool force;
};

static enum cli_exit take(struct keygen *keygen, int letter, char *argument)
{
    switch (letter) {
    case 'o':
        keygen->out = argument;
        return CLI_OK;
    case FLAG_FORCE:
        keygen->force = true;
        return CLI_OK;
    case FLAG_PUBLIC:
        keygen->public_of = argument;
        return CLI_OK;
    default:
        return cli_take(&keygen->setup, letter, argument);
    }
}

static enum cli_exit parse(struct keygen *keygen, int argc, char **argv)
{
    static const struct option options[] = {
        {"out", required_argument, NULL, 'o'},
        {"force", no_argument, NULL, FLAG_FORCE},
        {"public", required_argument, NULL, FLAG_PUBLIC},
        {"json", no_argument, NULL, CLI_FLAG_JSON},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    struct cli_setup *setup = &keygen->setup;
    enum cli_exit code = CLI_OK;
    int letter;

    while (code == CLI_OK && (letter = cli_next_flag(setup, argc, argv, "o:h", options)) != -1)
        code = take(keygen, letter, optarg);
    if (code != CLI_OK || setup->help)
        return code;
    if (optind < argc)
        return cli_fail(setup, CLI_USAGE, "unexpected \"%.80s\"", argv[optind]);
    if (keygen->public_of != NULL && (keygen->out != NULL || keygen->force))
        return cli_fail(setup, CLI_USAGE, "--public makes no file: without --out and --force");
    return CLI_OK;
}

static void print_key(const struct keygen *keygen, const char *path, const parley_key *key)
{
    if (keygen->setup.json) {
        fputs("{\"ok\":true,\"file\":", stdout);
        cli_json_string(stdout, path);
        printf(",\"public_key\":\"%s\",\"fingerprint\":\"%s\"}\n", key->public_key,
               key->fingerprint);
        return;
    }
    if (keygen->public_of == NULL)
        printf("%s: written\n", path);
    printf("public key: %s\nfingerprint: %s\n", key->public_key, key->fingerprint);
}

static enum cli_exit run(const struct keygen *keygen)
{
    const char *path = keygen->public_of;
    char error[CLI_ERROR_MAX] = "";
    parley_status status;
    parley_key key;

    cli_guard_memory();
    if (path != NULL) {
        status = parley_key_read(path, error, sizeof(error), &key);
    } else {
        path = keygen->out != NULL ? keygen->out : DEFAULT_FILE;
        status = parley_key_create(path, keygen->force, error, sizeof(error), &key);
    }
    if (status == PARLEY_OK)
        print_key(keygen, path, &key);
    else if (status == PARLEY_EEXIST)
        return cli_fail(&keygen->setup, CLI_FAILED, "%.200s exists; --force overwrites it",
                        path);
    else
        return cli_fail(&keygen->setup, CLI_FAILED, "%s",
                        error[0] != '\0' ? error : parley_strerror(status));
    return cli_finish(&keygen->setup, CLI_OK);
}

enum cli_exit cli_keygen(int argc, char **argv)
{
    struct keygen keygen = {.setup.command = argv[0]};
    enum cli_exit code = parse(&keygen, argc, argv);

    if (code != CLI_OK)
        return code;
    if (!keygen.setup.help)
        return run(&keygen);
    fputs(help, stdout);
    return cli_finish(&keygen.setup, CLI_OK);
}
