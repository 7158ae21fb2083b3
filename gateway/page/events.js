// The newest payments, a row each.

import { byId, element, mark, setAttribute, setText } from "./dom.js";
import { clock } from "./format.js";
import { HOPS, isFinal, progress, stateOfPayment } from "./hops.js";
import { view, whileSeen } from "./presence.js";
import { listen } from "./stream.js";

const ROWS_MAX = 50;

// By payment; the newest last.
const payments = new Map();
let isPaused = false;
let missed = 0;
let frame = null;

function rank(event) {
    return isFinal(event.status) ? HOPS.length : HOPS.indexOf(event.stage);
}

function told(event) {
    const known = payments.get(event.id);
    // What is shown goes on to its end; only new rows are held back.
    if (isPaused && known === undefined) {
        missed += 1;
        drawSoon();
        return;
    }
    if (known && event.stage !== "dead" && rank(known.event) >= rank(event)) {
        return;
    }
    payments.set(event.id, { event, row: known?.row ?? null, first: known?.first ?? event.at });
    if (payments.size > ROWS_MAX) {
        const oldest = payments.keys().next().value;
        payments.get(oldest).row?.node.remove();
        payments.delete(oldest);
    }
    drawSoon();
}

// However many events there are, the page is drawn once for each picture of the screen.
function drawSoon() {
    frame ??= requestAnimationFrame(draw);
}

function fresh(event, first) {
    const link = element("a", { href: `#payment=${encodeURIComponent(event.id)}` }, event.id);
    const cells = { state: element("td", { class: "event-state" }) };
    const time = element("td", { class: "is-number" }, clock(new Date(first)));
    return { ...cells, node: element("tr", {}, time, element("th", { scope: "row" }, link), cells.state) };
}

function draw() {
    frame = null;
    const body = byId("event-rows");
    for (const payment of payments.values()) {
        const { event } = payment;
        if (payment.row === null) {
            payment.row = fresh(event, payment.first);
            body.prepend(payment.row.node);
        }
        if (payment.drawn !== event) {
            payment.drawn = event;
            const state = stateOfPayment(event);
            const text = event.stage === "dead" ? "DEAD LETTER" : isFinal(event.status) ? event.status : event.stage;
            setAttribute(payment.row.node, "data-state", state);
            payment.row.state.replaceChildren(
                state === "busy" ? progress(event) : mark({ good: "good", bad: "down" }[state]),
                element("span", {}, text),
                event.reason ? element("span", { class: "note" }, event.reason) : "",
            );
        }
    }
    byId("events-empty").hidden = payments.size > 0;
    byId("events-table").hidden = payments.size === 0;
    setText(byId("events-missed"), isPaused && missed > 0 ? `${missed} events not shown` : "");
}

function changed(state, problem) {
    const words = {
        open: payments.size === 0 ? "Nothing moves yet" : "",
        absent: "This gateway does not tell of all payments",
        waiting: problem?.code === "overloaded" ? "Too many listeners, trying again" : "Reconnecting",
        ended: "Reconnecting",
    };
    const text = words[state];
    setText(byId("events-empty"), text || "Nothing moves yet");
    setText(byId("events-state"), state === "open" ? "" : text);
}

function togglePause() {
    isPaused = !isPaused;
    missed = 0;
    setAttribute(byId("events-pause"), "aria-pressed", String(isPaused));
    setText(byId("events-pause"), isPaused ? "Go on" : "Pause");
    drawSoon();
}

export function startEvents() {
    byId("events-pause").addEventListener("click", togglePause);
    whileSeen(() => listen("/events", { told, changed }), () => view() === "live");
}
