/* SPDX-License-Identifier: Apache-2.0
 *
 * Key files. What is read as a key stands there in its one encoding, whoever wrote the file,
 * and is kept through a file of ours; what is not leaves the caller's buffer alone and has a
 * reason. A file that is put together here is read exactly when every part of it is right.
 *
 * The input's first byte says what the rest is:
 *
 *   r  a file's content
 *   else a script that puts a file together from good and bad parts
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "peers/base64.h"
#include "peers/identity_file.h"
#include "test/fuzz/fuzz.h"

#define UNTOUCHED    0xee
#define KEY_BYTES    32
#define ENCODED_MAX  72
#define CONTENT_MAX  (2 * IDENTITY_FILE_BYTES_MAX)
#define LEN_OF(list) (sizeof(list) / sizeof((list)[0]))

static const uint8_t of_private[] = {0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06,
                                     0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20};
static const uint8_t of_public[] = {0x30, 0x2a, 0x30, 0x05, 0x06, 0x03,
                                    0x2b, 0x65, 0x70, 0x03, 0x21, 0x00};

/* ---- A directory of this process's own ---- */

static char dir[] = "/tmp/parley-fuzz-XXXXXX";
static char path[64], written[64];
static int directory = -1;

static void remove_dir(void)
{
    unlink(path);
    unlink(written);
    rmdir(dir);
}

static void make_dir(void)
{
    if (directory >= 0)
        return;
    FUZZ_CHECK(mkdtemp(dir) != NULL);
    snprintf(path, sizeof(path), "%s/key", dir);
    snprintf(written, sizeof(written), "%s/written", dir);
    directory = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    FUZZ_CHECK(directory >= 0 && atexit(remove_dir) == 0);
}

static void put_content(const void *data, size_t len)
{
    int file;

    make_dir();
    file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    FUZZ_CHECK(file >= 0 && write(file, data, len) == (ssize_t)len);
    close(file);
}

/* ---- What is promised of any content ---- */

static void encode(const uint8_t *prefix, size_t prefix_len, const uint8_t key[KEY_BYTES],
                   char text[ENCODED_MAX])
{
    char bytes[sizeof(of_private) + KEY_BYTES];

    memcpy(bytes, prefix, prefix_len);
    memcpy(bytes + prefix_len, key, KEY_BYTES);
    memset(text, 0, ENCODED_MAX);
    base64_encode(bytes, prefix_len + KEY_BYTES, text);
}

/* Without what may stand between two letters of base64. */
static char *squeezed(const char *data, size_t len)
{
    char *text = fuzz_text(data, len), *to = text;

    for (const char *from = text; *from != '\0'; from++) {
        if (strchr(" \t\r\n", *from) == NULL)
            *to++ = *from;
    }
    *to = '\0';
    return text;
}

static bool stands_between(const char *text, const char *label, const char *encoded)
{
    char expected[160];

    snprintf(expected, sizeof(expected), "-----BEGIN%sKEY-----%s-----END%sKEY-----", label,
             encoded, label);
    return strstr(text, expected) != NULL;
}

static void check_untouched(const uint8_t key[KEY_BYTES], const char *error)
{
    for (size_t i = 0; i < KEY_BYTES; i++)
        FUZZ_CHECK(key[i] == UNTOUCHED);
    FUZZ_CHECK(error[0] != '\0');
}

static bool read_private(const char *data, size_t len, uint8_t seed[KEY_BYTES])
{
    char error[256] = "", encoded[ENCODED_MAX], *text;
    uint8_t again[KEY_BYTES];

    memset(seed, UNTOUCHED, KEY_BYTES);
    if (identity_file_read(path, error, sizeof(error), seed) != PARLEY_OK) {
        check_untouched(seed, error);
        return false;
    }
    FUZZ_CHECK(len <= IDENTITY_FILE_BYTES_MAX);
    encode(of_private, sizeof(of_private), seed, encoded);
    text = squeezed(data, len);
    FUZZ_CHECK(stands_between(text, "PRIVATE", encoded));
    free(text);
    if (seed[0] % 16 != 0) /* it waits for the disk */
        return true;
    FUZZ_CHECK(identity_file_write(written, seed, true, error, sizeof(error)) == PARLEY_OK);
    FUZZ_CHECK(identity_file_read(written, error, sizeof(error), again) == PARLEY_OK);
    FUZZ_CHECK(memcmp(seed, again, KEY_BYTES) == 0);
    return true;
}

static bool read_public(const char *data, size_t len, uint8_t key[KEY_BYTES])
{
    char error[256] = "", encoded[ENCODED_MAX], *text;
    uint8_t of_text[KEY_BYTES];

    memset(key, UNTOUCHED, KEY_BYTES);
    if (identity_file_read_public(directory, "key", error, sizeof(error), key) != PARLEY_OK) {
        FUZZ_CHECK(error[0] != '\0');
        return false;
    }
    FUZZ_CHECK(len <= IDENTITY_FILE_BYTES_MAX && identity_key_acceptable(key));
    encode(of_public, sizeof(of_public), key, encoded);
    text = squeezed(data, len);
    FUZZ_CHECK(strstr(text, "PRIVATEKEY") == NULL);
    FUZZ_CHECK(stands_between(text, "PUBLIC", encoded) ||
               (strlen(text) == IDENTITY_KEY_HEX &&
                identity_from_hex(text, IDENTITY_KEY_HEX, of_text) &&
                memcmp(of_text, key, KEY_BYTES) == 0));
    free(text);
    return true;
}

static void try_content(const char *data, size_t len)
{
    uint8_t key[KEY_BYTES];

    if (len > CONTENT_MAX)
        return;
    put_content(data, len);
    (void)read_private(data, len, key);
    (void)read_public(data, len, key);
}

/* ---- From good and bad parts: the first of each list is good ---- */

static const char *choose(struct fuzz_script *script, const char *const *texts, size_t len,
                          bool *good)
{
    size_t choice = fuzz_byte(script) % (2 * len); /* good half of the time */

    choice = choice < len ? choice : 0;
    *good = *good && choice == 0;
    return texts[choice];
}

static const char *const before[] = {
    "-----BEGIN PRIVATE KEY-----", "-----BEGIN ENCRYPTED PRIVATE KEY-----",
    "-----BEGIN PUBLIC KEY-----", "-----BEGIN PRIVATE KEY", ""};
static const char *const after[] = {"-----END PRIVATE KEY-----", "-----END PUBLIC KEY-----",
                                    "-----BEGIN PRIVATE KEY-----", ""};
static const char *const amiss[] = {"", "=", "AAAA", "!", "-"};

/* Bytes of the key's encoding with breaks between them, and perhaps one that is another. */
static size_t put_body(struct fuzz_script *script, const char *encoded, char *text, bool *good)
{
    static const char breaks[] = " \t\r\n";
    size_t len = strlen(encoded), wrong = fuzz_byte(script), used = 0;

    for (size_t i = 0; i < len; i++) {
        uint8_t gap = fuzz_byte(script);

        if (gap > 128)
            text[used++] = breaks[gap % 4];
        text[used++] = encoded[i];
    }
    if (wrong < 16) { /* in what says that it is an Ed25519 key */
        for (size_t i = 0; i < used; i++) {
            if (strchr(breaks, text[i]) == NULL && wrong-- == 0)
                text[i] = text[i] == 'A' ? 'B' : 'A';
        }
        *good = false;
    }
    return used;
}

static size_t put_part(char *text, const char *part)
{
    size_t len = 0;

    for (; part[len] != '\0'; len++)
        text[len] = part[len];
    return len;
}

static void try_script(struct fuzz_script *script)
{
    uint8_t seed[KEY_BYTES], key[KEY_BYTES];
    char encoded[ENCODED_MAX], text[1024];
    bool good = true;
    size_t len;

    for (size_t i = 0; i < KEY_BYTES; i++)
        seed[i] = fuzz_byte(script);
    encode(of_private, sizeof(of_private), seed, encoded);
    len = put_part(text, choose(script, before, LEN_OF(before), &good));
    len += put_body(script, encoded, text + len, &good);
    len += put_part(text + len, choose(script, amiss, LEN_OF(amiss), &good));
    len += put_part(text + len, choose(script, after, LEN_OF(after), &good));
    put_content(text, len);
    FUZZ_CHECK(read_private(text, len, key) == good);
    if (good)
        FUZZ_CHECK(memcmp(key, seed, KEY_BYTES) == 0);
    (void)read_public(text, len, key);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct fuzz_script script = fuzz_script(data, len);

    if (len > 0 && fuzz_byte(&script) == 'r')
        try_content((const char *)data + 1, len - 1);
    else if (len > 0)
        try_script(&script);
    return 0;
}
