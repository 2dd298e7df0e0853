/* SPDX-License-Identifier: Apache-2.0
 *
 * Key files: what is written is private and readable by openssl, what is read is what only
 * its owner could have put there.
 */
#include <errno.h>

#include "test/build_tree.h"
#include "test/peers/key_files.h"

/* What openssl writes for the seed 00..1f. */
#define PEM_BODY "MC4CAQAwBQYDK2VwBCIEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
#define PEM      "-----BEGIN PRIVATE KEY-----\n" PEM_BODY "\n-----END PRIVATE KEY-----\n"
#define PUBLIC   "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8"
#define PUBLIC_PEM                                                   \
    "-----BEGIN PUBLIC KEY-----\n"                                   \
    "MCowBQYDK2VwAyEAA6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=\n" \
    "-----END PUBLIC KEY-----\n"

static char error[512];

static parley_status read_key(const char *path, parley_key *key)
{
    error[0] = '\0';
    return parley_key_read(path, error, sizeof(error), key);
}

/* The reason has to name the file. */
static void check_refused(const char *path, const char *reason)
{
    char expected[512];
    parley_key key;

    snprintf(expected, sizeof(expected), "%s: %s", path, reason);
    CHECK_STATUS(read_key(path, &key), ECONFIG);
    CHECK_TEXT(error, expected);
}

static void a_key_of_openssl_is_read(void)
{
    parley_key key = {.public_key = ""};

    if (key_dir_make()) {
        CHECK_STATUS(read_key(key_text("a.pem", PEM, 0600), &key), OK);
        CHECK_TEXT(key.public_key, PUBLIC);
        CHECK_TEXT(key.fingerprint, "SHA256:lbmsoA0yIEcEiVDRnMWuzm+nV+3ZEEpVIURqFoeSspg");
        CHECK_STATUS(read_key(key_text("b.pem", "x\r\n" PEM "y", 0400), &key), OK);
    }
    key_dir_remove();
}

static void a_new_key_is_private_and_openssl_reads_it(void)
{
    char command[512], output[512];
    parley_key key = {.public_key = ""}, again = {.public_key = ""};
    const char *path;
    struct stat status;

    if (key_dir_make()) {
        path = key_path("id.pem");
        CHECK_STATUS(parley_key_create(path, false, error, sizeof(error), &key), OK);
        CHECK(stat(path, &status) == 0);
        CHECK_U64(status.st_mode & 07777, 0600);
        CHECK_STATUS(read_key(path, &again), OK);
        CHECK_TEXT(again.public_key, key.public_key);
        CHECK_TEXT(again.fingerprint, key.fingerprint);
        snprintf(command, sizeof(command),
                 "openssl pkey -in %s -pubout -outform DER | tail -c 32 | od -An -v -tx1 | "
                 "tr -d ' \\n'",
                 path);
        CHECK_U64(command_run(command, output, sizeof(output)), 0);
        CHECK_TEXT(output, key.public_key);
    }
    key_dir_remove();
}

static void an_existing_file_is_kept_unless_forced(void)
{
    parley_key first, second, now = {.public_key = ""};
    size_t files = 0;
    DIR *directory;
    char *path;

    if (key_dir_make()) {
        path = strdup(key_path("id.pem"));
        CHECK_STATUS(parley_key_create(path, false, NULL, 0, &first), OK);
        CHECK_STATUS(parley_key_create(path, false, error, sizeof(error), &second), EEXIST);
        CHECK_CONTAINS(error, "id.pem: exists, and is kept");
        CHECK_STATUS(read_key(path, &now), OK);
        CHECK_TEXT(now.public_key, first.public_key);
        CHECK_STATUS(parley_key_create(path, true, error, sizeof(error), &second), OK);
        CHECK_STATUS(read_key(path, &now), OK);
        CHECK_TEXT(now.public_key, second.public_key);
        CHECK(strcmp(first.public_key, second.public_key) != 0);
        directory = opendir(key_dir);
        while (readdir(directory) != NULL)
            files++;
        closedir(directory);
        CHECK_U64(files, 3); /* ".", ".." and it: nothing temporary is left */
        free(path);
    }
    key_dir_remove();
}

/* A dangling link in the way is a file in the way, too: what it names is not written. */
static void a_link_in_the_way_is_not_followed(void)
{
    if (key_dir_make()) {
        CHECK(symlink(key_path("elsewhere"), key_path("id.pem")) == 0);
        CHECK_STATUS(parley_key_create(key_path("id.pem"), false, error, sizeof(error), NULL),
                     EEXIST);
        CHECK_STATUS(parley_key_create(key_path("id.pem"), true, error, sizeof(error), NULL),
                     OK);
        CHECK(access(key_path("elsewhere"), F_OK) != 0);
    }
    key_dir_remove();
}

static void files_open_to_others_are_refused(void)
{
    static const mode_t modes[] = {0640, 0604, 0620, 0602, 0610, 0601, 0644, 0666};
    const char *path;

    if (key_dir_make()) {
        for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
            path = key_text("a.pem", PEM, modes[i]);
            check_refused(path, "is open to group or others; expected mode 0600");
            CHECK(chmod(path, 0600) == 0);
        }
        if (geteuid() == 0) { /* who else may give files away? */
            path = key_text("b.pem", PEM, 0600);
            CHECK(chown(path, 65534, (gid_t)-1) == 0);
            check_refused(path, "belongs to another user");
        }
    }
    key_dir_remove();
}

static void what_is_no_regular_file_is_refused(void)
{
    parley_key key;

    if (key_dir_make()) {
        key_text("a.pem", PEM, 0600);
        CHECK(symlink(key_path("a.pem"), key_path("link.pem")) == 0);
        check_refused(key_path("link.pem"), "is a symbolic link");
        CHECK(mkfifo(key_path("fifo.pem"), 0600) == 0);
        check_refused(key_path("fifo.pem"), "is no regular file"); /* and nobody waits */
        CHECK(mkdir(key_path("dir.pem"), 0700) == 0);
        check_refused(key_path("dir.pem"), "is no regular file");
        CHECK_STATUS(read_key("/dev/null", &key), ECONFIG);
        CHECK_STATUS(read_key(key_path("none.pem"), &key), ESYSTEM);
        CHECK_CONTAINS(error, "none.pem: No such file or directory");
    }
    key_dir_remove();
}

static void what_holds_no_ed25519_key_is_refused(void)
{
    static const char *const others[] = {
        /* X25519; the Ed25519 one cut, longer, and with a bit of its algorithm changed */
        "MC4CAQAwBQYDK2VuBCIEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f",
        "MC4CAQAwBQYDK2VwBCIEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4=",
        "MC4CAQAwBQYDK2VwBCIEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4fAAAA",
        "MC4CAQAwBQYDK2VxBCIEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f",
        "not base64",
        "",
    };
    char text[IDENTITY_FILE_BYTES_MAX + 64];

    if (key_dir_make()) {
        for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
            snprintf(text, sizeof(text),
                     "-----BEGIN PRIVATE KEY-----\n%s\n-----END PRIVATE KEY-----\n",
                     others[i]);
            check_refused(key_text("a.pem", text, 0600),
                          "holds no Ed25519 key, or not as parley keygen writes it");
        }
        check_refused(key_text("a.pem", "", 0600), "holds no private key (PKCS#8 in PEM)");
        check_refused(key_text("a.pem", "-----BEGIN PRIVATE KEY-----\n" PEM_BODY, 0600),
                      "holds no private key (PKCS#8 in PEM)");
        check_refused(key_text("a.pem", PUBLIC_PEM, 0600),
                      "holds no private key (PKCS#8 in PEM)");
        check_refused(key_text("a.pem", "-----BEGIN ENCRYPTED PRIVATE KEY-----\n", 0600),
                      "is encrypted with a passphrase, which a node cannot ask for");
        memset(text, '\n', sizeof(text));
        memcpy(text, PEM, sizeof(PEM) - 1);
        text[sizeof(text) - 1] = '\0';
        check_refused(key_text("a.pem", text, 0600), "is too large for a key");
    }
    key_dir_remove();
}

/* ---- Public keys ---- */

static parley_status read_public(const char *name, uint8_t key[IDENTITY_KEY_BYTES])
{
    int directory = open(key_dir, O_RDONLY | O_DIRECTORY);
    parley_status status;

    error[0] = '\0';
    status = identity_file_read_public(directory, name, error, sizeof(error), key);
    close(directory);
    return status;
}

static void check_public_refused(const char *text, const char *reason)
{
    uint8_t key[IDENTITY_KEY_BYTES];

    key_text("a.pub", text, 0644);
    CHECK_STATUS(read_public("a.pub", key), ECONFIG);
    CHECK_TEXT(error, reason);
}

static void public_keys_are_hex_or_pem(void)
{
    static const char *const forms[] = {PUBLIC, PUBLIC "\n", PUBLIC " \r\n\n", PUBLIC_PEM};
    uint8_t key[IDENTITY_KEY_BYTES], expected[IDENTITY_KEY_BYTES];

    if (key_dir_make()) {
        CHECK(identity_from_hex(PUBLIC, 64, expected));
        for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
            memset(key, 0, sizeof(key));
            key_text("a.pub", forms[i], 0644);
            CHECK_STATUS(read_public("a.pub", key), OK);
            CHECK_BYTES(key, sizeof(key), expected, sizeof(expected));
        }
        CHECK(symlink("a.pub", key_path("b.pub")) == 0); /* as mounted volumes have them */
        CHECK_STATUS(read_public("b.pub", key), OK);
        check_public_refused("", "holds no public key (64 hex digits, or PEM)");
        check_public_refused(PUBLIC "0", "holds no public key (64 hex digits, or PEM)");
        check_public_refused(" " PUBLIC, "holds no public key (64 hex digits, or PEM)");
        check_public_refused(PEM, "holds a private key, which must not leave its owner");
        check_public_refused("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
                             "holds no Ed25519 key");
        check_public_refused(
            "0100000000000000000000000000000000000000000000000000000000000000",
            "holds a key of small order, or not in its one encoding");
        key_text("a.pub", PUBLIC, 0664);
        CHECK_STATUS(read_public("a.pub", key), ECONFIG);
        CHECK_TEXT(error, "can be written by group or others; expected mode 0644");
        CHECK_STATUS(read_public("c.pub", key), ESYSTEM);
        CHECK_TEXT(error, "No such file or directory");
    }
    key_dir_remove();
}

static const struct check_test tests[] = {
    {"a key of openssl is read", a_key_of_openssl_is_read},
    {"a new key is private and openssl reads it", a_new_key_is_private_and_openssl_reads_it},
    {"an existing file is kept unless forced", an_existing_file_is_kept_unless_forced},
    {"a link in the way is not followed", a_link_in_the_way_is_not_followed},
    {"files open to others are refused", files_open_to_others_are_refused},
    {"what is no regular file is refused", what_is_no_regular_file_is_refused},
    {"what holds no Ed25519 key is refused", what_holds_no_ed25519_key_is_refused},
    {"public keys are hex or PEM", public_keys_are_hex_or_pem},
};

CHECK_MAIN("identity files", tests)
