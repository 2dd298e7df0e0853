// SPDX-License-Identifier: Apache-2.0
//
// We connect to an old manager on Node's ws, with Node's http beside it.
// WIRE facts: PROTOCOL.md, "Older WebSocket peers", "HTTP".
'use strict';

const {randomUUID} = require('crypto');
const http = require('http');
const WebSocket = require('ws');
const {Node, Queue, check, play, play_case, within} = require('./players/harness.js');

const TO_IT = ['old manager (Node ws)', 'from us', 'WebSocket'];
const TO_US = ['old manager (Node ws)', 'to us', 'WebSocket'];
const OVER_HTTP = ['old manager (Node http)', 'from us', 'HTTP'];
const KEYS = ['payload', 'timestamp', 'nonce', 'signature', 'encrypted_payload',
              'sender_public_key', 'jwt_token', 'sender_id', 'recipient_id', 'session_id',
              'sequence_num', 'version', 'msg_type', 'message_id', 'type'];

class Connection {
    constructor(ws) {
        this.ws = ws;
        this.frames = new Queue();
        ws.on('message', (data) => this.frames.push(JSON.parse(data)));
        this.say('status', {event: 'connected', entity_id: 'manager', session_id: randomUUID(),
                            protocol_version: '1.1', capabilities: ['messaging'],
                            timestamp: new Date().toISOString()});
    }

    say(type, payload, more) {
        this.ws.send(JSON.stringify({type, payload, timestamp: new Date().toISOString(),
                                     message_id: randomUUID(), ...more}));
    }

    get() { return this.frames.take(() => true, 'a frame'); }

    async handle() {
        const frame = await this.get();
        this.say('status', {event: 'message_received', original_type: frame.type,
                            seq: frame.seq});
        return frame;
    }
}

class Manager {
    // `upgrade` false: a refused upgrade, 403.
    static async open(upgrade = true) {
        const manager = new Manager();
        manager.connections = new Queue();
        manager.envelopes = [];
        manager.upgrades = [];
        manager.server = http.createServer((request, response) => {
            let body = '';
            request.on('data', (data) => { body += data; });
            request.on('end', () => {
                manager.envelopes.push(JSON.parse(body || '{}'));
                response.setHeader('Content-Type', 'application/json');
                response.end(JSON.stringify({status: 'received', entity_id: 'manager',
                                             verification: 'disabled'}));
            });
        });
        const sockets = new WebSocket.Server({noServer: true});
        manager.server.on('upgrade', (request, socket, head) => {
            manager.upgrades.push(request);
            if (!upgrade) {
                socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n');
                return;
            }
            sockets.handleUpgrade(request, socket, head, (ws) =>
                manager.connections.push(new Connection(ws)));
        });
        await new Promise((resolve) => manager.server.listen(0, '127.0.0.1', resolve));
        manager.url = `http://127.0.0.1:${manager.server.address().port}`;
        manager.sockets = sockets;
        return manager;
    }

    connection() { return this.connections.take(() => true, 'a connection'); }

    close() {
        for (const ws of this.sockets.clients) ws.terminate();
        this.server.close();
        this.server.closeAllConnections();
    }
}

function with_manager(row, run, {peer = {}, websocket = {}, upgrade = true} = {}) {
    const body = {async [run.name]() {
        const manager = await Manager.open(upgrade);
        let node;
        try {
            node = await Node.open([{id: 'manager', url: manager.url,
                                     preference: 'websocket_only', ...peer}], websocket);
            await run(node, manager);
        } finally {
            if (node) await node.close();
            manager.close();
        }
    }};
    play_case(row, body[run.name]);
}

async function connected(node, manager) {
    check('connect', await node.command('connect manager'), 'OK');
    const connection = await manager.connection();
    await node.event('state', {peer: 'manager', state: 'open'});
    return connection;
}

with_manager(TO_IT, async function message_received_acknowledges(node, manager) {
    await node.send('manager', 'task_delegate', {n: 1});
    const frame = await (await manager.connection()).handle();
    check('keys', Object.keys(frame).filter((key) => key !== 'seq'), KEYS);
    check('frame', [frame.type, frame.msg_type, frame.sender_id, frame.recipient_id,
                    frame.sequence_num, frame.version, frame.payload],
          ['peer_message', 'task_delegate', 'node', 'manager', 1, '1.0', {n: 1}]);
    check('result', await node.outcome('task_delegate'), ['delivered', 'websocket', 1]);
});

with_manager(TO_IT, async function no_extension_is_offered(node, manager) {
    await connected(node, manager);
    check('extensions', manager.upgrades[0].headers['sec-websocket-extensions'] ?? null, null);
    check('version', manager.upgrades[0].headers['sec-websocket-version'], '13');
    check('session', /[?&]session_id=[0-9a-f-]{36}/.test(manager.upgrades[0].url), true);
});

with_manager(TO_IT, async function many_in_order(node, manager) {
    for (let n = 0; n < 30; n++) await node.send('manager', `note.${n}`, {n});
    const connection = await manager.connection();
    for (let n = 0; n < 30; n++) {
        const frame = await connection.handle();
        check('order', [frame.payload.n, frame.sequence_num], [n, n + 1]);
    }
    for (let n = 0; n < 30; n++) {
        check('result', (await node.outcome(`note.${n}`))[0], 'delivered');
    }
});

with_manager(TO_IT, async function silence_means_sent(node, manager) {
    await node.send('manager', 'note', {n: 1});
    await (await manager.connection()).get();
    check('result', await node.outcome('note'), ['sent', 'websocket', 1]);
}, {websocket: {ack_timeout_ms: 100}});

with_manager(TO_IT, async function a_lost_connection_resends(node, manager) {
    await node.send('manager', 'note', {n: 1});
    const connection = await manager.connection();
    const first = await connection.get();
    connection.ws.terminate();
    const again = await (await manager.connection()).handle();
    check('the same', [again.message_id, again.sequence_num],
          [first.message_id, first.sequence_num]);
    check('result', await node.outcome('note'), ['delivered', 'websocket', 2]);
});

with_manager(TO_US, async function its_ping(node, manager) {
    const connection = await connected(node, manager);
    connection.say('ping', {}, {seq: 12});
    const frame = await connection.get();
    check('answer', [frame.type, frame.seq ?? frame.payload.seq], ['pong', 12]);
});

with_manager(TO_US, async function its_pong_draws_nothing(node, manager) {
    const connection = await connected(node, manager);
    connection.say('pong', {}, {seq: 12});
    connection.say('ping', {}, {seq: 13});
    const frame = await connection.get();
    check('answer', [frame.type, frame.seq ?? frame.payload.seq], ['pong', 13]);
});

with_manager(TO_US, async function its_message(node, manager) {
    const connection = await connected(node, manager);
    connection.say('task_result', {n: 1}, {seq: 4});
    const message = await node.event('message');
    check('message', [message.sender, message.type, message.payload],
          ['manager', 'task_result', {n: 1}]);
});

with_manager(OVER_HTTP, async function a_refused_upgrade_leaves_http(node, manager) {
    await node.send('manager', 'note', {n: 1});
    check('result', await node.outcome('note'), ['delivered', 'http', 1]);
    check('payload', manager.envelopes[0].payload, {n: 1});
}, {peer: {preference: 'websocket_first'}, upgrade: false});

with_manager(OVER_HTTP, async function http_only_opens_no_websocket(node, manager) {
    for (let n = 0; n < 3; n++) await node.send('manager', `note.${n}`, {n});
    for (let n = 0; n < 3; n++) {
        check('result', await node.outcome(`note.${n}`), ['delivered', 'http', 1]);
    }
    check('upgrades', manager.upgrades.length, 0);
    check('keys', Object.keys(manager.envelopes[0]), KEYS);
}, {peer: {preference: 'http_only'}});

with_manager(OVER_HTTP, async function a_lost_connection_moves_to_http(node, manager) {
    await node.send('manager', 'note', {n: 1});
    const connection = await manager.connection();
    const frame = await connection.get();
    manager.sockets.options.noServer = true;
    manager.server.removeAllListeners('upgrade');
    manager.server.on('upgrade', (request, socket) => socket.destroy());
    connection.ws.terminate();
    check('result', (await node.outcome('note')).slice(0, 2), ['delivered', 'http']);
    check('the same message', manager.envelopes[0].message_id, frame.message_id);
}, {peer: {preference: 'websocket_first'}});

play();
