// SPDX-License-Identifier: Apache-2.0
//
// What Node makes of JSON documents: json_judge.c's records, without the integers. "D"
// stands for a document that is taken but nested too deeply to be written here.
"use strict";

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const bits = new BigUint64Array(1);
const double = new Float64Array(bits.buffer);

// JavaScript sorts by UTF-16 unit, the others by code point.
function byCodePoint(a, b) {
    const left = Array.from(a), right = Array.from(b);
    for (let i = 0; i < left.length && i < right.length; i++) {
        const order = left[i].codePointAt(0) - right[i].codePointAt(0);
        if (order !== 0)
            return order;
    }
    return left.length - right.length;
}

function sortedKeys(object) {
    const keys = Object.keys(object);
    return keys.some((key) => /[\ud800-\udfff]/.test(key)) ? keys.sort(byCodePoint)
                                                           : keys.sort();
}

function written(value) {
    switch (typeof value) {
    case "number":
        double[0] = value;
        return bits[0].toString();
    case "string":
        return JSON.stringify(value);
    case "object":
        if (value === null)
            return "null";
        if (Array.isArray(value))
            return "[" + value.map(written).join(",") + "]";
        return "{" + sortedKeys(value).map(
            (key) => JSON.stringify(key) + ":" + written(value[key])).join(",") + "}";
    default:
        return String(value);
    }
}

function judged(document) {
    let value;
    try {
        value = JSON.parse(decoder.decode(document));
    } catch (error) {
        return "R";
    }
    try {
        return "A" + written(value);
    } catch (error) {
        return "D";
    }
}

const input = require("fs").readFileSync(0);
const output = [];
for (let at = 0; at < input.length;) {
    const length = input.readUInt32LE(at);
    const record = Buffer.from(judged(input.subarray(at + 4, at + 4 + length)));
    const head = Buffer.alloc(4);
    head.writeUInt32LE(record.length);
    output.push(head, record);
    at += 4 + length;
}
require("fs").writeFileSync(1, Buffer.concat(output));
