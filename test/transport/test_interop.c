/* SPDX-License-Identifier: Apache-2.0
 *
 * Against an implementation that is not ours: Python's websockets, in both roles. Skipped
 * where it is not installed.
 */
#include "test/transport/host.h"

#define PYTHON "/usr/bin/python3"
#define SCRIPT "test/transport/interop.py"

static struct host host;

static bool installed(void)
{
    bool found =
        system(PYTHON " -c 'import websockets' 2>/dev/null") == 0 && access(SCRIPT, R_OK) == 0;

    if (!found)
        printf("no Python websockets here: skipped\n");
    return found;
}

static void a_python_client_gets_its_echoes(void)
{
    char command[200], line[64] = "";
    FILE *python;

    if (!installed())
        return;
    host_start(&host, 1);
    host.prepare = prepare_echo;
    snprintf(command, sizeof(command), PYTHON " " SCRIPT " client %u", host_port(&host));
    python = popen(command, "r");
    CHECK(fgets(line, sizeof(line), python) != NULL);
    CHECK_TEXT(line, "ok\n");
    CHECK_U64(pclose(python), 0);
    CHECK(check_wait(&host.ends[0].closed, 1));
    CHECK_U64(host.ends[0].why.code, 1000);
    host_stop(&host);
}

static void a_python_server_understands_our_frames(void)
{
    struct end end = {.on_fill = send_numbered, .to_send = 2000, .message_len = 300};
    char line[64] = "";
    FILE *python;

    if (!installed())
        return;
    host_start(&host, 1);
    python = popen(PYTHON " " SCRIPT " server", "r");
    CHECK(fgets(line, sizeof(line), python) != NULL);
    if (end_connect(&host, &end, (uint16_t)strtoul(line, NULL, 10))) {
        end_write(&end);
        CHECK(check_wait(&end.received, 2000));
        CHECK_U64(end.received_bytes, 2000 * 300);
        end_close(&end, 4321, "thanks");
        CHECK(check_wait(&end.closed, 1));
    }
    CHECK(fgets(line, sizeof(line), python) != NULL);
    CHECK_TEXT(line, "4321\n");
    CHECK_U64(pclose(python), 0);
    host_stop(&host);
}

static const struct check_test tests[] = {
    {"a Python client gets its echoes", a_python_client_gets_its_echoes},
    {"a Python server understands our frames", a_python_server_understands_our_frames},
};

CHECK_MAIN("interop", tests)
