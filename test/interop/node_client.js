// SPDX-License-Identifier: Apache-2.0
//
// An old client and a lower-case client on Node's ws at our server, and ours to the former.
// WIRE facts: PROTOCOL.md, "Older WebSocket peers".
'use strict';

const {randomUUID} = require('crypto');
const WebSocket = require('ws');
const {Node, Queue, check, play, play_case, within} = require('./players/harness.js');

const OLD = ['old client (Node ws)', 'to us', 'WebSocket'];
const TO_OLD = ['old client (Node ws)', 'from us', 'WebSocket'];
const LOWER = ['lower-case client (Node ws)', 'to us', 'WebSocket'];
const KEYS = ['message_id', 'type', 'from_entity', 'to_entity', 'timestamp', 'payload',
              'signature'];

class Client {
    constructor(node, entity, query = '') {
        this.entity = entity;
        this.frames = new Queue();
        this.ws = new WebSocket(`ws://127.0.0.1:${node.port}/ws/v1/peers${query}`);
        this.opened = new Promise((resolve, reject) => {
            this.ws.on('open', resolve);
            this.ws.on('error', reject);
        });
        this.closed = new Promise((resolve) =>
            this.ws.on('close', (code, reason) => resolve([code, reason.toString()])));
        this.ws.on('message', (data) => this.frames.push(JSON.parse(data)));
    }

    get() { return this.frames.take(() => true, 'a frame'); }

    of(...types) { return this.frames.take((frame) => types.includes(frame.type), types.join()); }

    close(code = 1000) {
        this.ws.close(code);
        return within(this.closed, 'the close');
    }
}

class OldClient extends Client {
    static async open(node, entity) {
        const client = new OldClient(node, entity);
        await within(client.opened, 'the upgrade');
        client.say('HELLO', {version: '1.2', capabilities: ['websocket', 'ed25519', 'heartbeat']});
        await client.of('READY');
        return client;
    }

    say(type, payload) {
        const frame = {message_id: randomUUID(), type, from_entity: this.entity,
                       to_entity: 'node', timestamp: Math.floor(Date.now() / 1000) + 0.25,
                       payload, signature: null};
        this.ws.send(JSON.stringify(frame));
        return frame.message_id;
    }

    // The next MESSAGE, acknowledged; its seven keys must be there.
    async handle(acknowledge = true) {
        const frame = await this.of('MESSAGE');
        check('keys it needs', KEYS.filter((key) => !(key in frame)), []);
        if (acknowledge) this.say('ACK', {ack_message_id: frame.message_id});
        return frame;
    }
}

class LowerClient extends Client {
    static async open(node, entity) {
        const client = new LowerClient(node, entity,
                                       `?entity_id=${entity}&session_id=${randomUUID()}`);
        await within(client.opened, 'the upgrade');
        check('greeting', (await client.get()).payload.event, 'connected');
        return client;
    }

    say(type, payload, more) {
        this.ws.send(JSON.stringify({type, payload, timestamp: new Date().toISOString(),
                                     message_id: randomUUID(), ...more}));
    }
}

// A case with a node and one client of it; both are closed whatever happens.
function with_client(row, Kind, peers, run, websocket) {
    const body = {async [run.name]() {
        const node = await Node.open(peers, websocket);
        let client;
        try {
            client = await Kind.open(node, 'foreign');
            await run(node, client);
        } finally {
            if (client) client.ws.terminate();
            await node.close();
        }
    }};
    play_case(row, body[run.name]);
}

with_client(OLD, OldClient, [], async function hello_message_ack(node, client) {
    const id = client.say('MESSAGE', {text: 'h\u00ef \u{1f600}'});
    const ack = await client.of('ACK');
    check('acknowledged', ack.payload.ack_message_id, id);
    check('keys of the reply', Object.keys(ack).slice(0, KEYS.length), KEYS);
    const message = await node.event('message');
    check('message', [message.sender, message.payload], ['foreign', {text: 'h\u00ef \u{1f600}'}]);
});

with_client(OLD, OldClient, [], async function heartbeats(node, client) {
    client.say('HEARTBEAT', {type: 'ping', timestamp: 1700000000.5});
    check('pong', (await client.of('HEARTBEAT')).payload.type, 'pong');
    client.say('HEARTBEAT', {type: 'pong', timestamp: 1700000000.5});
    client.say('MESSAGE', {});
    check('a pong draws nothing', (await client.of('ACK', 'HEARTBEAT')).type, 'ACK');
});

with_client(OLD, OldClient, [], async function many_in_order(node, client) {
    const ids = Array.from({length: 50}, (_, n) => client.say('MESSAGE', {n}));
    for (const id of ids) check('ack', (await client.of('ACK')).payload.ack_message_id, id);
    for (let n = 0; n < 50; n++) check('order', (await node.event('message')).payload.n, n);
});

with_client(OLD, OldClient, [], async function fragments_are_put_together(node, client) {
    const text = JSON.stringify({message_id: 'x1', type: 'MESSAGE', from_entity: 'foreign',
                                 to_entity: 'node', timestamp: 1700000000.5,
                                 payload: {long: 'y'.repeat(100000)}, signature: null});
    client.ws.send(text.slice(0, 10), {fin: false});
    client.ws.send(text.slice(10, 70000), {fin: false});
    client.ws.ping();
    client.ws.send(text.slice(70000), {fin: true});
    check('acknowledged', (await client.of('ACK')).payload.ack_message_id, 'x1');
    check('length', (await node.event('message')).payload.long.length, 100000);
});

with_client(OLD, OldClient, [], async function compression_is_declined(node, client) {
    check('extensions', client.ws.extensions, '');
});

with_client(OLD, OldClient, [], async function bye_and_close(node, client) {
    client.say('BYE', {reason: 'done'});
    check('close', (await client.close())[0], 1000);
});

with_client(OLD, OldClient, [], async function newer_replaces_older(node, client) {
    const newer = await OldClient.open(node, 'foreign');
    check('close', await within(client.closed, 'the close'),
          [1008, 'New connection established']);
    newer.say('MESSAGE', {});
    await newer.of('ACK');
    newer.ws.terminate();
});

const ours = [{id: 'foreign'}];

with_client(TO_OLD, OldClient, ours, async function our_message(node, client) {
    await node.send('foreign', 'note', {n: 1});
    const frame = await client.handle();
    check('frame', [frame.from_entity, frame.to_entity, frame.payload],
          ['node', 'foreign', {n: 1}]);
    check('result', await node.outcome('note'), ['delivered', 'websocket', 1]);
});

with_client(TO_OLD, OldClient, ours, async function ours_in_order(node, client) {
    for (let n = 0; n < 20; n++) await node.send('foreign', `note.${n}`, {n});
    for (let n = 0; n < 20; n++) check('order', (await client.handle()).payload.n, n);
    for (let n = 0; n < 20; n++) {
        check('result', await node.outcome(`note.${n}`), ['delivered', 'websocket', 1]);
    }
});

with_client(TO_OLD, OldClient, ours, async function silence_means_sent(node, client) {
    await node.send('foreign', 'note', {n: 1});
    await client.handle(false);
    check('result', await node.outcome('note'), ['sent', 'websocket', 1]);
}, {ack_timeout_ms: 100});

with_client(TO_OLD, OldClient, ours, async function resent_when_it_comes_back(node, client) {
    await node.send('foreign', 'note', {n: 1});
    const first = await client.handle(false);
    client.ws.terminate();
    const again = await OldClient.open(node, 'foreign');
    check('the same id', (await again.handle()).message_id, first.message_id);
    check('outcome', (await node.outcome('note'))[0], 'delivered');
    again.ws.terminate();
});

with_client(LOWER, LowerClient, [], async function ping_pong(node, client) {
    client.say('ping', {}, {seq: 3});
    const frame = await client.get();
    check('answer', [frame.type, frame.seq ?? frame.payload.seq], ['pong', 3]);
});

with_client(LOWER, LowerClient, [], async function pong_draws_nothing(node, client) {
    client.say('pong', {}, {seq: 3});
    client.say('ping', {}, {seq: 4});
    const frame = await client.get();
    check('answer', [frame.type, frame.seq ?? frame.payload.seq], ['pong', 4]);
});

with_client(LOWER, LowerClient, [], async function capability_exchange(node, client) {
    client.say('capability_exchange', {capabilities: ['x']}, {seq: 1});
    const frame = await client.get();
    check('answer', [frame.type, frame.payload.acknowledged], ['capability_exchange', true]);
});

with_client(LOWER, LowerClient, [], async function status(node, client) {
    client.say('status', {event: 'busy'}, {seq: 1});
    check('answer', (await client.get()).type, 'status');
});

with_client(LOWER, LowerClient, [], async function message_received(node, client) {
    client.say('task_delegate', {n: 1}, {seq: 8});
    const frame = await client.get();
    check('answer', [frame.type, frame.payload.event, frame.payload.original_type,
                     frame.payload.seq], ['status', 'message_received', 'task_delegate', 8]);
    const message = await node.event('message');
    check('message', [message.sender, message.type, message.payload],
          ['foreign', 'task_delegate', {n: 1}]);
});

with_client(LOWER, LowerClient, [], async function invalid_json(node, client) {
    client.ws.send('{');
    const frame = await client.get();
    check('answer', [frame.type, frame.payload.error], ['error', 'Invalid JSON format']);
});

play();
