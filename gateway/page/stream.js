// Server-sent events by `fetch`, which can carry headers where EventSource cannot.

import { refusal } from "./api.js";

const RETRY_MS_MIN = 1_000;
const RETRY_MS_MAX = 15_000;
// Where a route is missing it may come with a newer gateway.
const ABSENT_RETRY_MS = 30_000;
// A heartbeat comes every 15 s: whoever is silent for longer is gone.
const SILENCE_MS = 25_000;
// No event of ours is longer.
const EVENT_CHARACTERS_MAX = 1 << 20;

// Takes text as it comes and tells each event that is complete.
class EventParser {
    constructor(tell) {
        Object.assign(this, { tell, rest: "", data: [], id: undefined });
    }

    take(text) {
        const lines = (this.rest + text).split(/\r\n|\n|\r(?!$)/);
        this.rest = lines.pop();
        if (this.rest.length > EVENT_CHARACTERS_MAX) {
            throw new Error("an event without an end");
        }
        lines.forEach((line) => this.line(line));
    }

    line(line) {
        if (line === "") {
            if (this.data.length > 0) {
                this.tell({ id: this.id, data: this.data.join("\n") });
            }
            this.data = [];
            return;
        }
        const colon = line.indexOf(":");
        const name = colon < 0 ? line : line.slice(0, colon);
        const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
        if (name === "data") {
            this.data.push(value);
        } else if (name === "id") {
            this.id = value;
        }
    }
}

// Listens until `stop` is called. `told` gets each event's JSON; `changed` gets `open`, `waiting` (it tries
// again), `absent` (there is no such route), or `ended` (the server says there is no more), with the problem.
// With `isFinal`, a stream that ends after an event that is final is not asked for again.
export function listen(path, { told, changed, isFinal = () => false, silenceMs = SILENCE_MS }) {
    let [isStopped, lastId, attempts, isOver] = [false, undefined, 0, false];
    let [abort, timer, watchdog] = [undefined, undefined, undefined];

    function watch() {
        clearTimeout(watchdog);
        watchdog = setTimeout(() => abort.abort(), silenceMs);
    }

    function tell(event) {
        let value;
        try {
            value = JSON.parse(event.data);
        } catch {
            return;
        }
        [lastId, attempts] = [event.id ?? lastId, 0];
        isOver ||= isFinal(value);
        if (!isStopped) {
            told(value);
        }
    }

    // Reads one answer to its end; says what comes next.
    async function read() {
        const headers = { accept: "text/event-stream" };
        if (lastId !== undefined) {
            headers["last-event-id"] = lastId;
        }
        watch();
        const response = await fetch(path, { headers, cache: "no-store", signal: abort.signal });
        if (response.status === 204) {
            return { state: "ended" };
        }
        if (!response.ok) {
            const problem = await refusal(response);
            return { state: response.status >= 500 ? "waiting" : "absent", problem };
        }
        changed("open");
        const [parser, decoder] = [new EventParser(tell), new TextDecoder()];
        const reader = response.body.getReader();
        for (;;) {
            const { done, value } = await reader.read();
            if (done) {
                return { state: isOver ? "ended" : "waiting" };
            }
            watch();
            parser.take(decoder.decode(value, { stream: true }));
        }
    }

    async function run() {
        abort = new AbortController();
        let next;
        try {
            next = await read();
        } catch {
            next = { state: isOver ? "ended" : "waiting" };
        }
        clearTimeout(watchdog);
        // What was not read to its end holds its connection otherwise.
        abort.abort();
        if (isStopped) {
            return;
        }
        if (next.state === "waiting" || next.state === "absent") {
            const backOff = Math.min(RETRY_MS_MAX, RETRY_MS_MIN * 2 ** attempts);
            const asked = (next.problem?.retryAfter ?? 0) * 1_000;
            const wait = next.state === "absent" ? ABSENT_RETRY_MS : Math.max(backOff, Math.min(asked, RETRY_MS_MAX));
            attempts += 1;
            // Not all pages at once, after the gateway has come back.
            timer = setTimeout(run, wait * (0.75 + Math.random() / 2));
        }
        changed(next.state, next.problem);
    }

    run();
    return function stop() {
        isStopped = true;
        clearTimeout(timer);
        clearTimeout(watchdog);
        abort.abort();
    };
}
