// The form to pay: what it costs before it is sent, and one payment a second for whoever wants to see money move.

import { get, post } from "./api.js";
import { byId, element, setAttribute, setText } from "./dom.js";
import { money } from "./format.js";
import { showPayment, watchEnds } from "./payment.js";

// A preview is asked for when the typing has stopped for so long.
const PREVIEW_AFTER_MS = 250;
const EVERY_MS = 1_000;
// Two minutes of one payment a second, and it stops by itself.
const STREAK_MAX = 120;
// It stops when as many in a row are turned away.
const REFUSALS_MAX = 3;

const AMOUNT = /^\d{1,15}(\.\d{1,4})?$/;

const accounts = new Map();
let previewTimer;
let previewNumber = 0;

function field(name) {
    return byId(`pay-${name}`).value.trim();
}

function freshId() {
    const random = crypto.getRandomValues(new Uint32Array(1))[0].toString(36).padStart(7, "0");
    return `WEB-${Date.now().toString(36)}-${random}`.toUpperCase();
}

function explain(problem) {
    const node = byId("pay-problem");
    node.hidden = problem === null;
    node.replaceChildren(...(problem === null ? [] : [element("code", {}, problem.code), ` ${problem.detail}`]));
}

// The account's balance, or the problem in its place.
async function balance(id) {
    try {
        accounts.set(id, await get(`/balance/${encodeURIComponent(id)}`));
    } catch (problem) {
        accounts.set(id, { problem });
    }
    return accounts.get(id);
}

function balanceRow(id) {
    const known = accounts.get(id);
    const name = element("th", { scope: "row" }, id);
    if (known === undefined || known.problem) {
        const missing = known?.problem?.status === 404 ? "no such account" : known?.problem?.detail ?? "…";
        return element("tr", {}, name, element("td", { colspan: 3, class: "note" }, missing));
    }
    const cell = (text) => element("td", { class: "is-number" }, text);
    return element("tr", {}, name, cell(money(known.balance)), cell(money(known.held)), cell(known.currency));
}

async function refreshBalances() {
    const ids = [...new Set([field("source"), field("destination")])].filter(Boolean);
    await Promise.all(ids.map(balance));
    for (const id of accounts.keys()) {
        if (!ids.includes(id)) {
            accounts.delete(id);
        }
    }
    byId("balance-rows").replaceChildren(...ids.map(balanceRow));
    const currency = accounts.get(field("source"))?.currency;
    setText(byId("pay-currency"), currency ?? "");
}

function showPreview(rows, problem = null) {
    byId("preview-rows").replaceChildren(
        ...rows.map(([name, text, kind]) => element("div", { class: kind ?? "" }, element("dt", {}, name), element("dd", {}, text))),
    );
    setText(byId("preview-problem"), problem === null ? "" : `${problem.code}: ${problem.detail}`);
}

async function preview() {
    const number = (previewNumber += 1);
    await refreshBalances();
    const [source, destination] = [accounts.get(field("source")), accounts.get(field("destination"))];
    const amount = field("amount");
    if (number !== previewNumber) {
        return;
    }
    if (!AMOUNT.test(amount) || !source?.currency || !destination?.currency) {
        showPreview([]);
        return;
    }
    if (source.currency === destination.currency) {
        showPreview([["Arrives", `${money(amount)} ${source.currency}`, "is-whole"], ["Conversion", "none"]]);
        return;
    }
    try {
        const query = new URLSearchParams({ from: source.currency, to: destination.currency, amount });
        const quote = await get(`/convert?${query}`);
        if (number === previewNumber) {
            showPreview(previewOf(quote));
        }
    } catch (problem) {
        if (number === previewNumber) {
            showPreview([], problem);
        }
    }
}

function previewOf(quote) {
    const rows = [["Arrives", `${money(quote.converted)} ${quote.to}`, "is-whole"], ["Rate", quote.rate]];
    if (quote.gross !== undefined) {
        rows.push(["Before the fee", `${money(quote.gross)} ${quote.to}`]);
        rows.push(["Fee", `${money(quote.fee)} ${quote.to} (${quote.spread_bps / 100} %)`]);
    }
    return rows;
}

function previewSoon() {
    clearTimeout(previewTimer);
    previewTimer = setTimeout(preview, PREVIEW_AFTER_MS);
}

// A payment that was sent and not answered: it may have been taken. The same payment sent again has the same id,
// and the gateway takes an id once.
let unanswered = null;

function samePayment(one, other) {
    const names = ["source_account", "destination_account", "amount", "currency"];
    return names.every((name) => one[name] === other[name]);
}

// What the form says, under the id of the last time where that was not answered.
function requestOf(currency) {
    const request = {
        id: freshId(),
        source_account: field("source"),
        destination_account: field("destination"),
        amount: field("amount"),
        currency,
    };
    return unanswered !== null && samePayment(unanswered, request) ? unanswered : request;
}

// Whether what came of a request leaves open if it was taken. Whoever is told to come later was not looked at.
function isOpen(request, status) {
    return status === 0 || status >= 500 || ([408, 429].includes(status) && request === unanswered);
}

function remember(request, mayBeTaken) {
    if (mayBeTaken) {
        unanswered = request;
    } else if (unanswered !== null && (unanswered === request || !samePayment(unanswered, request))) {
        // One like it that was on its way at the same time says nothing of the other.
        unanswered = null;
    }
}

// Sends what the form says; gives whether it was taken.
async function pay() {
    // Nor does it become another payment when the balance cannot be asked for just then.
    const known = unanswered?.source_account === field("source") ? unanswered.currency : accounts.get(field("source"))?.currency;
    const request = requestOf(known ?? (await balance(field("source"))).currency ?? "USD");
    try {
        const accepted = await post("/payments", request);
        remember(request, false);
        explain(null);
        showPayment(accepted.id, { ...accepted, timeline: [] });
        setText(byId("pay-told"), `Payment ${accepted.id} is accepted.`);
        return true;
    } catch (problem) {
        const mayBeTaken = isOpen(request, problem.status);
        remember(request, mayBeTaken);
        const detail = mayBeTaken ? `${problem.detail}. Sending it again is safe: it is paid once.` : problem.detail;
        explain({ code: problem.code, detail });
        return false;
    }
}

const streak = { timer: null, sent: 0, refused: 0, isBusy: false };

function stopStreak(why) {
    clearInterval(streak.timer);
    streak.timer = null;
    setAttribute(byId("pay-streak"), "aria-checked", "false");
    setText(byId("pay-streak-note"), why);
}

async function sendNext() {
    if (streak.isBusy) {
        return;
    }
    streak.isBusy = true;
    const isTaken = await pay();
    streak.isBusy = false;
    if (streak.timer === null) {
        return;
    }
    streak.sent += 1;
    streak.refused = isTaken ? 0 : streak.refused + 1;
    setText(byId("pay-streak-note"), `${streak.sent} of ${STREAK_MAX} sent`);
    if (streak.refused >= REFUSALS_MAX) {
        stopStreak("stopped: turned away three times");
    } else if (streak.sent >= STREAK_MAX) {
        stopStreak(`stopped after ${STREAK_MAX}`);
    }
}

function toggleStreak() {
    if (streak.timer !== null) {
        stopStreak(`stopped after ${streak.sent}`);
        return;
    }
    Object.assign(streak, { sent: 0, refused: 0, timer: setInterval(sendNext, EVERY_MS) });
    setAttribute(byId("pay-streak"), "aria-checked", "true");
    sendNext();
}

async function submit(event) {
    event.preventDefault();
    const button = byId("pay-send");
    // Not `disabled`: the keyboard's place would be lost.
    if (button.getAttribute("aria-disabled") === "true") {
        return;
    }
    setAttribute(button, "aria-disabled", "true");
    await pay();
    setAttribute(button, "aria-disabled", null);
}

export function startPay() {
    byId("pay-form").addEventListener("submit", submit);
    byId("pay-streak").addEventListener("click", toggleStreak);
    for (const name of ["source", "destination", "amount"]) {
        byId(`pay-${name}`).addEventListener("input", previewSoon);
    }
    document.querySelectorAll("[data-preset]").forEach((button) => {
        button.addEventListener("click", () => {
            byId("pay-destination").value = button.dataset.preset;
            previewSoon();
        });
    });
    document.addEventListener("visibilitychange", () => {
        if (document.visibilityState === "hidden" && streak.timer !== null) {
            stopStreak("stopped: the page was hidden");
        }
    });
    watchEnds(refreshBalances);
    preview();
}
