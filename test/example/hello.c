/* SPDX-License-Identifier: Apache-2.0
 *
 * Sends one message and says what became of it.
 */
#include <parley.h>
#include <stdio.h>

static void on_result(const parley_result *result, void *user) /* on a worker thread */
{
    printf("hello: %s in %.1f ms%s%s\n", parley_outcome_name(result->outcome),
           result->latency_ns / 1e6, result->detail[0] ? ": " : "", result->detail);
    *(parley_outcome *)user = result->outcome;
}

int main(int argc, char **argv)
{
    const char json[] = "{\"text\":\"hello\"}";
    parley_outcome outcome = PARLEY_CANCELLED;
    parley_status status;
    parley_message message;
    parley_peer peer;
    parley *runtime;

    if (argc != 2 || parley_open(NULL, NULL, 0, &runtime) != PARLEY_OK)
        return 2;
    parley_message_init(&message, "greeting", json, sizeof(json) - 1);
    status = parley_peer_add(runtime, "friend", argv[1], NULL, &peer);
    if (status == PARLEY_OK)
        status = parley_send(runtime, peer, &message, on_result, &outcome, NULL);
    if (status != PARLEY_OK)
        printf("hello: %s\n", parley_strerror(status));

    parley_drain(runtime, 10000, NULL); /* until it has its result, 10 s at most */
    parley_close(runtime);              /* after this no callback runs any more */
    return outcome == PARLEY_DELIVERED ? 0 : 1;
}
