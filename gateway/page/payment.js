// One payment: what happens to it as it happens, drawn as a waterfall.

import { get } from "./api.js";
import { byId, element, mark, setText, shape } from "./dom.js";
import { clock, microseconds, money, seconds } from "./format.js";
import { HOPS, isFinal, stateOfPayment } from "./hops.js";
import { paymentInAddress, view, whileSeen } from "./presence.js";
import { listen } from "./stream.js";

// Where events are not to be had, the payment is asked for instead: so often, and so many times.
const ASK_EVERY_MS = 1_000;
const ASKS_MAX = 60;
// A payment that cannot be opened is asked for again, so seldom in the end.
const RETRY_MS_MAX = 15_000;

const WORDS = { good: "Captured", bad: "Failed", busy: "On its way" };
const NEXT = { accepted: "screened", screened: "quoted", quoted: "reserved", reserved: "finished" };

const ended = [];

// Calls `watcher` with each payment that ends while it is shown.
export function watchEnds(watcher) {
    ended.push(watcher);
}

// What is known of the payment that is shown.
let shown = null;
// Whether its events are listened to, and what has a look whether they still should be.
let isFollowed = false;
let look = () => {};
// Whether it is asked for, until it is opened (`open`) or has ended (`end`), and what has a look whether it still should be.
let asking = null;
let lookToAsk = () => {};

function about(name, value) {
    return value === undefined || value === null ? [] : [element("div", {}, element("dt", {}, name), element("dd", {}, value))];
}

function facts(payment) {
    const { destination_amount: arrives, destination_currency: currency } = payment;
    const fee = payment.fee === undefined ? null : `${money(payment.fee)} ${currency} (${payment.spread_bps / 100} %)`;
    const rateTitle = payment.rate_as_of === undefined ? "Rate" : `Rate of ${payment.rate_as_of.slice(0, 10)}`;
    return [
        ...about("From", payment.source_account),
        ...about("To", payment.destination_account),
        ...about("Sent", payment.amount && `${money(payment.amount)} ${payment.currency}`),
        ...about(payment.status === "FAILED" ? "Would have arrived" : "Arrives", arrives && `${money(arrives)} ${currency}`),
        ...about(rateTitle, payment.rate),
        ...about("Before the fee", payment.gross && `${money(payment.gross)} ${currency}`),
        ...about("Fee", fee),
        ...about("Refused for", payment.reason),
        ...about("Rules", payment.rules?.length ? payment.rules.join(", ") : null),
        ...about("Trace", payment.trace_id && element("code", {}, payment.trace_id)),
    ];
}

function notesOf(item) {
    return [
        item.attempt > 1 ? `attempt ${item.attempt}` : null,
        item.score !== undefined ? `score ${item.score}` : null,
        item.reason ?? null,
        item.rules?.length ? item.rules.join(", ") : null,
    ].filter(Boolean).join(" · ");
}

function bar(from, until, whole, kind) {
    const part = (value) => `${((value / whole) * 100).toFixed(2)}%`;
    const width = Math.max(until - from, whole * 0.006);
    return shape(
        "svg",
        { class: "waterfall-bar", width: "100%", height: 14, "aria-hidden": "true" },
        shape("rect", { class: "waterfall-track", x: 0, y: 6, width: "100%", height: 2 }),
        shape("rect", { class: `waterfall-step is-${kind}`, x: part(Math.min(from, whole * 0.994)), y: 1, width: part(width), height: 12, rx: 3 }),
    );
}

function row(item, [from, until], whole, kind) {
    return element(
        "tr",
        { "data-state": kind },
        element("th", { scope: "row" }, item.stage, element("span", { class: "note" }, notesOf(item))),
        element("td", { class: "waterfall-cell" }, bar(from, until, whole, kind)),
        element("td", { class: "is-number" }, item.stage === HOPS[0] ? clock(new Date(item.at), true) : `+${seconds((until - from) / 1e6)}`),
    );
}

function waterfall(payment) {
    const timeline = payment.timeline.filter((item) => item.at);
    if (timeline.length === 0) {
        return [];
    }
    const times = timeline.map((item) => microseconds(item.at));
    const whole = Math.max(1, Math.max(...times) - times[0]);
    const rows = timeline.map((item, place) => {
        const from = item.entered_at ? microseconds(item.entered_at) : times[Math.max(0, place - 1)];
        const isEnd = item.stage === "dead" || (item.stage === "finished" && payment.status === "FAILED");
        return row(item, [Math.max(0, from - times[0]), times[place] - times[0]], whole, isEnd ? "bad" : "good");
    });
    const next = NEXT[payment.stage];
    if (!isFinal(payment.status) && next) {
        rows.push(element("tr", { "data-state": "busy" }, element("th", { scope: "row" }, next), element("td", { colspan: 2 }, "waits for its stage")));
    }
    return rows;
}

function statusOf({ payment, problem, isGivenUp }, state) {
    if (payment.stage === "dead") {
        return "Waits for a person";
    }
    if (problem) {
        return problem.detail;
    }
    if (isGivenUp) {
        return "Not followed any more";
    }
    return payment.status ? WORDS[state] : "Asking";
}

function draw() {
    const { payment, problem } = shown;
    const state = problem ? "bad" : stateOfPayment(payment);
    byId("payment-empty").hidden = true;
    byId("payment-known").hidden = false;
    setText(byId("payment-id"), payment.id);
    byId("payment-id").setAttribute("href", `#payment=${encodeURIComponent(payment.id)}`);
    const status = statusOf(shown, state);
    const badge = byId("payment-status");
    if (badge.dataset.text !== status) {
        badge.dataset.text = status;
        badge.dataset.state = state;
        badge.replaceChildren(mark({ good: "good", bad: "down", busy: "unknown" }[state]), status);
    }
    byId("payment-facts").replaceChildren(...facts(payment));
    byId("waterfall-rows").replaceChildren(...waterfall(payment));
    const times = payment.timeline.map((item) => microseconds(item.at));
    const isOver = isFinal(payment.status) && times.length > 1;
    setText(byId("waterfall-whole"), isOver ? `${seconds((Math.max(...times) - times[0]) / 1e6)} from the 202 to the end` : "");
}

// An event adds to the timeline; it never takes back what was told.
function add(event) {
    const { payment } = shown;
    const isKnown = payment.timeline.some((item) => item.stage === event.stage);
    const timeline = isKnown ? payment.timeline : [...payment.timeline, { stage: event.stage, at: event.at, reason: event.reason }];
    const isStill = isFinal(payment.status) && !isFinal(event.status);
    shown.payment = isStill ? payment : { ...payment, status: event.status, stage: event.stage, reason: event.reason, timeline };
    draw();
    if (isFinal(event.status)) {
        end();
    }
}

// The whole of it is asked for once more: money, rate, score.
async function end() {
    const { id } = shown.payment;
    isFollowed = false;
    await ask(id);
    if (shown?.payment.id === id) {
        ended.forEach((watcher) => watcher(shown.payment));
    }
}

// Whether the payment has ended, or there is none.
async function ask(id) {
    try {
        const payment = await get(`/payments/${encodeURIComponent(id)}`);
        if (shown?.payment.id !== id) {
            return true;
        }
        shown = { payment: { timeline: [], ...payment }, problem: null };
        draw();
        return isFinal(payment.status);
    } catch (problem) {
        if (shown?.payment.id !== id) {
            return true;
        }
        if (problem.status === 404 || shown.payment.timeline.length === 0) {
            shown.problem = problem;
            draw();
        }
        return problem.status === 404;
    }
}

function backOff(asks, problem) {
    const asked = (problem?.retryAfter ?? 0) * 1_000;
    const wait = Math.min(RETRY_MS_MAX, Math.max(ASK_EVERY_MS * 2 ** asks, asked));
    // Not all pages at once, after the gateway has come back.
    return wait * (0.75 + Math.random() / 2);
}

// Asks until the payment is opened or has ended; gives what stops it. Begins anew when the view is shown again.
function askWhileSeen() {
    const { id } = shown.payment;
    const isOpening = asking === "open";
    let [timer, isStopped] = [undefined, false];
    async function once(asks) {
        const isOver = await ask(id);
        if (isStopped) {
            return;
        }
        const { problem } = shown;
        if (isOver || (isOpening && problem === null)) {
            leave();
            if (!isOver) {
                isFollowed = true;
                look();
            } else if (!isOpening && problem === null) {
                ended.forEach((watcher) => watcher(shown.payment));
            }
        } else if (!isOpening && asks >= ASKS_MAX) {
            shown.isGivenUp = true;
            draw();
        } else {
            timer = setTimeout(() => once(asks + 1), isOpening ? backOff(asks, problem) : ASK_EVERY_MS);
        }
    }
    shown.isGivenUp = false;
    draw();
    once(0);
    return () => {
        isStopped = true;
        clearTimeout(timer);
    };
}

function startAsking(what) {
    asking = what;
    lookToAsk();
}

function follow() {
    const { id } = shown.payment;
    const isStill = () => shown?.payment.id === id;
    return listen(`/payments/${encodeURIComponent(id)}/events`, {
        told: (event) => isStill() && add(event),
        isFinal: (event) => isFinal(event.status),
        changed: (state) => {
            if (isStill() && state === "absent") {
                // Either there is no such payment, or this gateway tells no events: asking says which.
                leave();
                startAsking("end");
            }
        },
    });
}

function leave() {
    [isFollowed, asking] = [false, null];
    look();
    lookToAsk();
}

// Shows a payment and follows it to its end. `known` is what is known already.
export function showPayment(id, known = {}) {
    leave();
    shown = { payment: { id, timeline: [], ...known }, problem: null };
    draw();
    isFollowed = true;
    look();
}

// A payment that may have ended long ago is asked for first.
function openPayment(id) {
    leave();
    shown = { payment: { id, timeline: [] }, problem: null };
    draw();
    startAsking("open");
}

function openFromAddress() {
    const id = paymentInAddress();
    if (id !== null && id !== shown?.payment.id) {
        openPayment(id);
        byId("payment").scrollIntoView({ block: "nearest" });
    }
}

async function copyLink() {
    const link = new URL(`#payment=${encodeURIComponent(shown.payment.id)}`, location.href).href;
    try {
        await navigator.clipboard.writeText(link);
        setText(byId("payment-copied"), "Copied");
    } catch {
        // Not allowed, or not on a secure origin: the address bar has it then.
        location.hash = `payment=${encodeURIComponent(shown.payment.id)}`;
        setText(byId("payment-copied"), "It is in the address bar");
    }
    setTimeout(() => setText(byId("payment-copied"), ""), 2_500);
}

export function startPayment() {
    look = whileSeen(follow, () => isFollowed && view() === "live");
    lookToAsk = whileSeen(askWhileSeen, () => asking !== null && view() === "live");
    byId("payment-copy").addEventListener("click", copyLink);
    addEventListener("hashchange", openFromAddress);
    openFromAddress();
}
