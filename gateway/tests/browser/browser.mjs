// A browser on this machine, what went wrong on its pages, and the words that are spoken with the test that started
// this program.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";

// Whatever happens, this program ends: the stack behind it is somebody else's.
const DEADLINE_MS = Number(process.env.PAGE_DEADLINE_MS ?? 240_000);

const require = createRequire(`${process.env.PAGE_MODULES}/`);
const { chromium } = require("playwright-core");
export const axeSource = require("axe-core").source;

export const PAGE = process.env.PAGE_URL;

setTimeout(() => {
    console.error("the deadline has passed");
    process.exit(3);
}, DEADLINE_MS).unref();

export function launch() {
    return chromium.launch({
        executablePath: process.env.PAGE_CHROMIUM,
        headless: true,
        args: [
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ],
    });
}

// What went wrong on pages, until somebody looks.
export class Troubles {
    constructor() {
        Object.assign(this, { found: [], isExpected: false });
    }

    watch(page) {
        const add = (text) => !this.isExpected && this.found.push(text);
        page.on("console", (message) => ["error", "warning"].includes(message.type()) && add(`${message.type()}: ${message.text()}`));
        page.on("pageerror", (error) => add(`uncaught: ${error.stack}`));
        page.on("request", (request) => {
            const isOwn = request.url().startsWith(PAGE) || request.url().startsWith("data:");
            // Nothing may ever ask elsewhere, not even in an outage.
            if (!isOwn) {
                this.found.push(`asked elsewhere: ${request.url()}`);
            }
        });
    }
}

export function check(isTrue, what) {
    if (!isTrue) {
        throw new Error(`not so: ${what}`);
    }
}

export function step(text) {
    console.log(`step ${text}`);
}

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

// Has the test do something to the stack, and waits until it is done.
export async function act(what) {
    console.log(`act ${what}`);
    const { value, done } = await lines.next();
    check(!done && value === "done", `the test did: ${what}`);
}
