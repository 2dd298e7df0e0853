// SPDX-License-Identifier: Apache-2.0
//
// The Node side of harness.py: a real node to drive, cases to count, the rows of the table.
// Run with NODE_PATH=/usr/share/nodejs, where Debian keeps ws.
'use strict';

const {spawn} = require('child_process');
const fs = require('fs');
const os = require('os');
const path = require('path');
const readline = require('readline');

const BUILD = process.env.BUILD || 'build';
const DEADLINE_MS = 1000 * Number(process.env.DEADLINE || 30);

const cases = [];

// The promise, or a failure when its time is up.
function within(promise, what) {
    let timer;
    const late = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error(`nothing came: ${what}`)), DEADLINE_MS);
    });
    return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

function check(what, seen, expected) {
    const [a, b] = [JSON.stringify(seen), JSON.stringify(expected)];
    if (a !== b) throw new Error(`${what}: expected ${b}, seen ${a}`);
}

// What arrives before somebody asks for it.
class Queue {
    constructor() { this.items = []; this.waiting = []; }

    push(item) {
        this.items.push(item);
        for (const wake of this.waiting.splice(0)) wake();
    }

    // The first item that fits; the others stay.
    async take(fits = () => true, what = 'an item') {
        for (;;) {
            const at = this.items.findIndex(fits);
            if (at >= 0) return this.items.splice(at, 1)[0];
            await within(new Promise((resolve) => this.waiting.push(resolve)),
                         `${what}; there are ${JSON.stringify(this.items)}`);
        }
    }
}

// A node of ours, through build/test/interop/driver; peers as in harness.py.
class Node {
    static async open(peers = [], websocket = {}) {
        const node = new Node();
        const file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'interop-')), 'node.yaml');
        const settings = {reconnect_min_ms: 20, reconnect_max_ms: 100, ack_timeout_ms: 5000,
                          connect_grace_ms: 20000, ...websocket};
        const list = peers.map((peer) => Object.entries({pace: false, ...peer}).map(
            ([key, value], i) => `${i ? '   ' : '  -'} ${key}: ${JSON.stringify(value)}`).join('\n'));
        fs.writeFileSync(file, [
            'node:', '  id: node', '  listen_host: 127.0.0.1', '  listen_port: 0',
            'runtime:', '  workers: 1', 'transport:', '  websocket:',
            ...Object.entries(settings).map(([key, value]) => `    ${key}: ${value}`),
            '  http:', '    backoff_ms: 20',
            list.length ? 'peers:' : 'peers: []', ...list, ''].join('\n'));
        node.process = spawn(`${BUILD}/test/interop/driver`, [file],
                             {stdio: ['pipe', 'pipe', 'inherit']});
        node.ended = new Promise((resolve) => node.process.on('exit', resolve));
        node.events = new Queue();
        readline.createInterface({input: node.process.stdout})
            .on('line', (line) => node.events.push(JSON.parse(line)));
        node.port = (await node.event('ready')).port;
        fs.rmSync(path.dirname(file), {recursive: true});
        return node;
    }

    event(kind, members = {}) {
        return this.events.take((event) => event.event === kind &&
            Object.entries(members).every(([key, value]) => event[key] === value), kind);
    }

    async command(text) {
        this.process.stdin.write(text + '\n');
        return (await this.event('done')).status;
    }

    async send(peer, type, payload) {
        check('send', await this.command(`send ${peer} ${type} ${JSON.stringify(payload)}`), 'OK');
    }

    async outcome(type) {
        const result = await this.event('result', {name: type});
        return [result.outcome, result.transport, result.attempts];
    }

    async close() {
        this.process.stdin.end('quit\n');
        check('exit code of the node', await within(this.ended, 'its exit'), 0);
    }
}

// Registers an async function as a case of the row [peer, direction, transport].
function play_case(row, run) { cases.push({row: row.join(' | '), run}); }

// Runs all cases one after the other and prints their rows.
async function play() {
    const rows = new Map();
    for (const {row, run} of cases) {
        const count = rows.get(row) || {all: 0, passed: 0};
        rows.set(row, count);
        count.all++;
        try {
            await run();
            count.passed++;
        } catch (error) {
            process.exitCode = 1;
            console.log(`FAILED ${run.name} (${row}): ${error.message}`);
        }
    }
    for (const [row, {all, passed}] of rows) console.log(`interop: ${row} | ${all} | ${passed}`);
    process.exit();
}

module.exports = {Node, Queue, check, play, play_case, within};
