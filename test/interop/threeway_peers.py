# SPDX-License-Identifier: Apache-2.0
"""Old services of Python's own that encrypt payloads in both ways, and handshake in both roles.

WIRE facts: PROTOCOL.md, "Payload encryption", "Three messages, with the old service".
"""
import os
import sys
import uuid

sys.path.insert(0, sys.path[0] + "/players")
from encrypting_service import REFUSED, STRANGER, THEM, US, Old, Pair, post
from harness import Failed, case, check, play, within
from http_service import RECEIVED
from signing import envelope
from threeway import (Initiator, Session, b64, by_identity, hsalsa20, identity_key,
                      open_by_identity, step)

INITIATOR = ("initiating old service (Python)", "to us", "three-way handshake")
RESPONDER = ("responding old service (Python)", "from us", "three-way handshake")
SESSION_IN = ("encrypting old service (Python)", "to us", "_e2e_encrypted")
SESSION_OUT = ("decrypting old service (Python)", "from us", "_e2e_encrypted")
IDENTITY_IN = ("encrypting old service (Python)", "to us", "_encrypted_payload")
IDENTITY_OUT = ("decrypting old service (Python)", "from us", "_encrypted_payload")

PAYLOAD = {"text": "h\u00e9llo \u2603 \U0001f600", "n": [1, 0.5, None, True]}


async def initiated(pair):
    """The old service's handshake with us, begun by it; its side of it."""
    initiator = Initiator(THEM, US.hex)
    check("handshake", (await post(pair.node, step(
        THEM, "them", "node", "handshake", initiator.handshake_id, initiator.start())))[0], 200)
    ack = await within(pair.old.steps.get())
    check("ack", ack["msg_type"], "handshake_ack")
    check("outer session", ack["session_id"], initiator.handshake_id)
    check("recipient", ack["recipient_id"], "them")
    confirm = initiator.finish(ack["payload"])
    check("confirm", (await post(pair.node, step(
        THEM, "them", "node", "handshake_confirm", initiator.handshake_id, confirm)))[0], 200)
    return initiator


def numbered(payload, number, session=None):
    return envelope(THEM, "them", "node", number=number, payload=payload,
                    session_id=session or str(uuid.uuid4()))


# ---- We respond ----

@case(*INITIATOR)
async def vectors_hold_here():
    check("HSalsa20", hsalsa20(bytes.fromhex(
        "ce22dd271d55b5ae6c91b2a901b0148821a3e9fefc3aabb8e6d725428f91027b")).hex(),
        "c073f483dfd55bf65a8a347f7501bbf7774cfafea4bfec95d5b2afd32a918360")


@case(*INITIATOR)
async def its_handshake_is_answered():
    async with Pair(encryption="none") as pair:
        initiator = await initiated(pair)
        check("sent", (await post(pair.node, numbered(
            initiator.session.sealed(PAYLOAD), 1)))[0], 200)
        check("payload", (await pair.node.message())["payload"], PAYLOAD)


@case(*INITIATOR)
async def we_send_in_the_session_it_began():
    async with Pair() as pair:
        initiator = await initiated(pair)
        pair.old.sessions.append(initiator.session)
        await pair.node.send("them", "task", PAYLOAD)
        check("outcome", (await pair.node.outcome("task"))[0], "delivered")
        check("opened", pair.old.opened, [PAYLOAD])


@case(*INITIATOR)
async def only_its_key_begins_one():
    async with Pair(encryption="none") as pair:
        one = Initiator(THEM, US.hex)
        value = step(THEM, "them", "node", "handshake", one.handshake_id, one.start())
        for what, wrong, detail in (
                ("unsigned", {**value, "signature": None}, "Missing signature"),
                ("changed", {**value, "payload": {**value["payload"], "challenge": "00" * 32}},
                 "Invalid signature"),
                ("another's key", step(STRANGER, "them", "node", "handshake", one.handshake_id,
                                       one.start()), "Invalid signature"),
                ("says another's key", step(THEM, "them", "node", "handshake", one.handshake_id,
                                            {**one.start(), "public_key": STRANGER.hex}),
                 "AUTHENTICATION_FAILED"),
                ("no encryption", step(THEM, "them", "node", "handshake", one.handshake_id,
                                       {**one.start(), "e2e_enabled": False}), "INVALID_STATE"),
                ("small order", step(THEM, "them", "node", "handshake", one.handshake_id,
                                     {**one.start(), "e2e_ephemeral_key": b64(bytes(32))}),
                 "AUTHENTICATION_FAILED")):
            check(what, await post(pair.node, wrong), (400, {"detail": detail}))
        check("nothing was said", pair.old.steps.empty(), True)


@case(*INITIATOR)
async def a_handshake_is_heard_once():
    async with Pair(encryption="none") as pair:
        one = Initiator(THEM, US.hex)
        value = step(THEM, "them", "node", "handshake", one.handshake_id, one.start())
        check("first", (await post(pair.node, value))[0], 200)
        await within(pair.old.steps.get())
        check("again", (await post(pair.node, value))[0], 200)
        await initiated(pair)  # the next ack is this one's
        check("no other", pair.old.steps.empty(), True)


# ---- We initiate ----

@case(*RESPONDER)
async def our_handshake_is_answered():
    async with Pair(Old(adopt="theirs-1")) as pair:
        await pair.node.send("them", "task", PAYLOAD)
        check("outcome", (await pair.node.outcome("task"))[0], "delivered")
        start, confirm = [await within(pair.old.steps.get()) for _ in range(2)]
        check("ack", pair.old.ack[0], 200)
        check("keys", sorted(start["payload"]), sorted(
            ["version", "session_id", "challenge", "public_key", "supported_versions",
             "capabilities", "e2e_enabled", "e2e_session_id", "e2e_ephemeral_key"]))
        check("recipient", start["recipient_id"], "them")
        check("nonce", len(bytes.fromhex(start["nonce"])), 16)
        check("time", isinstance(start["timestamp"], str), True)
        check("confirm", (confirm["msg_type"], confirm["payload"]["confirm"],
                          confirm["session_id"]),
              ("handshake_confirm", True, start["payload"]["session_id"]))
        check("adopted", pair.old.raw[0]["payload"]["session_id"], "theirs-1")
        check("opened", pair.old.opened, [PAYLOAD])


@case(*RESPONDER)
async def a_lost_answer_is_asked_for_again():
    old = Old()
    old.mute = 1
    async with Pair(old, ttl_ms=60000) as pair:
        await pair.node.send("them", "task", PAYLOAD)
        check("outcome", (await pair.node.outcome("task"))[0], "delivered")


async def fails(old, detail):
    async with Pair(old, ttl_ms=400) as pair:
        await pair.node.send("them", "task", PAYLOAD)
        result = await pair.node.result("task")
        check("outcome", result["outcome"], "expired")
        if detail not in result["detail"]:
            raise Failed(f"detail: {result['detail']}")
        check("nothing was sent", old.raw, [])


@case(*RESPONDER)
async def who_cannot_meet_the_challenge_gets_nothing():
    await fails(Old(challenge="00" * 32), "AUTHENTICATION_FAILED")


@case(*RESPONDER)
async def who_signs_with_another_key_gets_nothing():
    await fails(Old(signer=STRANGER), "no encrypted session")


@case(*RESPONDER)
async def a_session_it_forgot_is_replaced():
    async with Pair() as pair:
        await pair.node.send("them", "one", PAYLOAD)
        check("outcome", (await pair.node.outcome("one"))[0], "delivered")
        pair.old.sessions.clear()
        await pair.node.send("them", "two", {"n": 2})
        check("outcome", (await pair.node.outcome("two"))[0], "delivered")
        check("opened", pair.old.opened, [PAYLOAD, {"n": 2}])


# ---- Payloads in a session ----

@case(*SESSION_OUT)
async def what_we_send_is_encrypted_and_signed():
    async with Pair() as pair:
        for n in range(20):
            await pair.node.send("them", f"task{n}", {"n": n})
        for n in range(20):
            check("outcome", (await pair.node.outcome(f"task{n}"))[0], "delivered")
        check("opened", pair.old.opened, [{"n": n} for n in range(20)])
        check("numbers", [value["sequence_num"] for value in pair.old.raw], [*range(1, 21)])
        check("nonces", len({value["payload"]["nonce"] for value in pair.old.raw}), 20)


@case(*SESSION_OUT)
async def long_ones_are_cut_first():
    async with Pair() as pair:
        await pair.node.send("them", "long", {"text": "x" * 20000})
        check("outcome", (await pair.node.outcome("long"))[0], "delivered")
        check("chunks", [piece["chunk_index"] for piece in pair.old.opened],
              [*range(pair.old.opened[0]["total_chunks"])])


@case(*SESSION_IN)
async def what_it_encrypts_is_run_once():
    async with Pair(encryption="none") as pair:
        session = (await initiated(pair)).session
        value = numbered(session.sealed(PAYLOAD), 3)
        check("first", (await post(pair.node, value))[0], 200)
        check("again", (await post(pair.node, value))[0], 200)
        check("payload", (await pair.node.message())["payload"], PAYLOAD)
        check("repeats", (await pair.node.stats())["repeats"], 1)


@case(*SESSION_IN)
async def its_numbers_rise():
    async with Pair(encryption="none") as pair:
        session = (await initiated(pair)).session
        check("3", (await post(pair.node, numbered(session.sealed({"n": 3}), 3)))[0], 200)
        for number in (3, 2):
            check("no more", await post(pair.node, numbered(session.sealed({}), number)),
                  (400, {"detail": "SEQUENCE_ERROR"}))
        check("4", (await post(pair.node, numbered(session.sealed({"n": 4}), 4)))[0], 200)


@case(*SESSION_IN)
async def what_cannot_be_opened_is_refused():
    async with Pair(encryption="none") as pair:
        session = (await initiated(pair)).session
        sealed = session.sealed(PAYLOAD)
        for what, payload in (
                ("unknown session", {**sealed, "session_id": str(uuid.uuid4())}),
                ("no session", {k: v for k, v in sealed.items() if k != "session_id"}),
                ("another key", Session(session.id, bytes(32)).sealed(PAYLOAD)),
                ("a changed tag", {**sealed, "data": b64(os.urandom(40))}),
                ("another nonce", {**sealed, "nonce": b64(bytes(12))}),
                ("no data", {k: v for k, v in sealed.items() if k != "data"})):
            check(what, await post(pair.node, numbered(payload, 1)), REFUSED)
        check("handled", (await pair.node.stats())["handled"], 0)


# ---- Payloads by identity ----

@case(*IDENTITY_OUT)
async def it_opens_what_we_encrypt_by_identity():
    async with Pair(encryption="payload") as pair:
        pair.old.sessions = []
        pair.old._decrypt = lambda value: (pair.old.raw.append(value), RECEIVED)[1]
        await pair.node.send("them", "task", PAYLOAD)
        check("outcome", (await pair.node.outcome("task"))[0], "delivered")
        check("opened", open_by_identity(identity_key(THEM, US.hex),
                                         pair.old.raw[0]["payload"]), PAYLOAD)


@case(*IDENTITY_IN)
async def we_open_what_it_encrypts_by_identity():
    async with Pair(encryption="none") as pair:
        key = identity_key(THEM, US.hex)
        for number, size in ((1, 12), (2, 16)):
            check("sent", (await post(pair.node, numbered(
                by_identity(key, {**PAYLOAD, "size": size}, size), number)))[0], 200)
            check("payload", (await pair.node.message())["payload"], {**PAYLOAD, "size": size})
        check("wrong key", await post(pair.node, numbered(by_identity(bytes(32), {}), 3)),
              REFUSED)


play()
