// The figures that move each second: where they come from, and the row at the top.

import { byId, element, mark, setAttribute, setText, shape } from "./dom.js";
import { UNKNOWN, clock, inUnit } from "./format.js";
import { whileSeen } from "./presence.js";
import { Course, Sparkline } from "./spark.js";
import { listen } from "./stream.js";

// Events come each second: after so long without one, what was told is not live any more.
const STALE_MS = 3_500;
// The connection is given up, and a new one made.
const SILENCE_MS = 6_000;

const watchers = [];

// Calls `watcher` with each event of `/live`, and with null and the reason while there are none.
export function watchLive(watcher) {
    watchers.push(watcher);
}

function tell(event, reason) {
    watchers.forEach((watcher) => watcher(event, reason));
}

// A card of the top row.
class Figure {
    constructor({ title, hint, value, unit, isDrawn = true, alarm = () => false }) {
        Object.assign(this, { value, unit, alarm, hint, course: new Course() });
        this.number = element("dd", { class: "figure-value" }, UNKNOWN);
        this.note = element("dd", { class: "figure-note" }, "");
        this.spark = isDrawn ? new Sparkline(120, 26) : null;
        const drawing = this.spark && shape(
            "svg",
            { class: "figure-spark", viewBox: "0 0 120 26", preserveAspectRatio: "none", "aria-hidden": "true" },
            this.spark.node,
        );
        this.node = element("div", { class: "figure" }, element("dt", {}, title), this.number, this.note, drawing);
    }

    show(event) {
        const value = event === null ? null : this.value(event);
        this.course.push(value);
        setText(this.number, inUnit(value, this.unit));
        const isAlarming = value !== null && this.alarm(value);
        setAttribute(this.node, "data-state", event === null ? "unknown" : isAlarming ? "bad" : "well");
        setText(this.note, event === null ? "" : this.hint(event, value));
        this.spark?.draw(this.course.values);
    }
}

const noTraffic = (what) => (event, value) => (value === null ? `no traffic to measure` : what);

const figures = [
    new Figure({
        title: "Settled",
        value: (event) => event.settled_per_s,
        unit: "per_second",
        hint: (event) =>
            `${inUnit(event.accepted_per_s, "per_second")} in, ${inUnit(event.failed_per_s, "per_second")} failed`,
    }),
    new Figure({
        title: "Accept p99",
        value: (event) => event.accept_p99_s,
        unit: "seconds",
        hint: noTraffic("whatever the answer"),
        alarm: (value) => value >= 0.5,
    }),
    new Figure({
        title: "Settle p99",
        value: (event) => event.settle_p99_s,
        unit: "seconds",
        hint: noTraffic("until money has arrived"),
        alarm: (value) => value >= 1,
    }),
    new Figure({
        title: "In flight",
        value: (event) => event.in_flight,
        unit: "count",
        hint: () => "payments on their way",
    }),
    new Figure({
        title: "Dead letters",
        value: (event) => event.dead_letters,
        unit: "count",
        isDrawn: false,
        hint: (event, value) => (value === null ? "the janitor does not say" : value > 0 ? "wait for a person" : "nobody is needed"),
        alarm: (value) => value > 0,
    }),
];

// What is said of money: its state, a headline, and why.
export function moneyOf(event) {
    const money = event?.money;
    if (!money) {
        return { state: "unknown", headline: "Not known", why: "there are no live figures" };
    }
    const off = money.currencies.filter((currency) => currency.imbalance_minor);
    if (money.violations > 0 || off.length > 0) {
        const words = off.map((currency) => `${currency.currency} is off by ${currency.imbalance_minor} minor units`);
        if (money.violations > 0) {
            words.unshift(`the audit has found ${money.violations} violation${money.violations === 1 ? "" : "s"}`);
        }
        // Without a janitor the imbalances are those of its last audit.
        const since = money.violations === null ? "last known: " : "";
        return { state: "bad", headline: "Not conserved", why: `${since}${words.join(", ")}` };
    }
    if (!money.is_audited) {
        const isLate = Number.isFinite(money.audit_lag_s);
        const why = isLate ? `the audit is ${inUnit(money.audit_lag_s, "seconds")} behind` : "no janitor answers";
        return { state: "unknown", headline: "Not known", why };
    }
    if (money.currencies.length === 0) {
        return { state: "unknown", headline: "No money yet", why: "the audit has seen no entry" };
    }
    const isWhole = money.currencies.every((currency) => currency.is_conserved) && money.violations === 0;
    if (!isWhole) {
        return { state: "unknown", headline: "Not known", why: "the audit does not vouch for every currency" };
    }
    return { state: "good", headline: "Conserved", why: `audited ${inUnit(money.audit_lag_s, "seconds")} ago, no violations` };
}

const moneyMarks = { good: "good", bad: "down", unknown: "unknown" };

function showMoney(event) {
    const { state, headline, why } = moneyOf(event);
    const node = byId("money");
    setText(byId("money-why"), why);
    const chips = (event?.money?.currencies ?? []).map(({ currency, imbalance_minor: off, is_conserved: isWell }) => {
        const about = isWell ? "good" : off ? "bad" : "unknown";
        return [currency, about, isWell ? "0" : off ? String(off) : "?"];
    });
    const drawn = JSON.stringify([state, headline, chips]);
    if (node.dataset.drawn !== drawn) {
        node.dataset.drawn = drawn;
        node.dataset.state = state;
        byId("money-value").replaceChildren(mark(moneyMarks[state]), headline);
        byId("money-currencies").replaceChildren(
            ...chips.map(([currency, about, off]) =>
                element("li", { class: "chip", "data-state": about }, mark(moneyMarks[about]), `${currency} ${off}`),
            ),
        );
    }
}

function showConnection(event, reason) {
    const state = event === null ? "waiting" : event.broker ? "live" : "broken";
    const pill = byId("connection");
    const text = { live: "Live", waiting: reason, broken: "No broker: nothing moves" }[state];
    if (pill.dataset.text !== text) {
        pill.dataset.text = text;
        pill.dataset.state = state;
        pill.replaceChildren(mark({ live: "up", waiting: "unknown", broken: "down" }[state]), text);
    }
    setText(byId("live-at"), event === null ? "" : clock(new Date(event.at)));
    setAttribute(byId("live"), "data-live", state === "waiting" ? "no" : "yes");
}

function show(event, reason) {
    figures.forEach((figure) => figure.show(event));
    showMoney(event);
    showConnection(event, reason);
}

function reasonOf(state, problem) {
    if (state === "absent") {
        return "No live figures here";
    }
    return problem?.code === "overloaded" ? "Too many listeners, trying again" : "Reconnecting";
}

function follow() {
    let stale;
    const lose = (reason) => {
        clearTimeout(stale);
        tell(null, reason);
    };
    const stop = listen("/live", {
        silenceMs: SILENCE_MS,
        told: (event) => {
            clearTimeout(stale);
            stale = setTimeout(() => lose("Reconnecting"), STALE_MS);
            tell(event, "");
        },
        changed: (state, problem) => state !== "open" && lose(reasonOf(state, problem)),
    });
    return () => {
        stop();
        lose("Paused while hidden");
    };
}

export function startLive() {
    byId("figures").prepend(...figures.map((figure) => figure.node));
    watchLive(show);
    tell(null, "Connecting");
    whileSeen(follow);
}
