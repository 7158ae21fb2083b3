// The dashboards: which one, over which time, and the asking of its panels.

import { get } from "./api.js";
import { byId, element, setAttribute, setText } from "./dom.js";
import { PanelCard } from "./panel.js";
import { view, whileSeen } from "./presence.js";
import { currentTheme } from "./theme.js";

const TOGETHER_MAX = 4;
const LOOK_EVERY_MS = 500;
const REFRESH_MS = 5_000;
// Hours move slowly.
const REFRESH_SLOW_MS = 10_000;
const SLOW_RANGES = ["6h", "24h"];
const RETRY_LIST_MS = 10_000;

const state = { list: null, dashboard: null, range: "15m", isEmbedded: false, cards: [], asked: 0 };

// Asks those panels that are seen and old, the oldest first; never more than a few at once.
function askSome() {
    const now = performance.now();
    const every = SLOW_RANGES.includes(state.range) ? REFRESH_SLOW_MS : REFRESH_MS;
    const due = state.cards.filter((card) => card.isSeen && !card.isAsked && now - card.askedAt >= every);
    due.sort((one, other) => one.askedAt - other.askedAt);
    due.slice(0, TOGETHER_MAX - state.asked).forEach(ask);
}

async function ask(card) {
    const range = state.range;
    state.asked += 1;
    Object.assign(card, { isAsked: true, askedAt: performance.now() });
    const isWanted = () => state.range === range && state.cards.includes(card);
    try {
        const answer = await get(`/panels/${encodeURIComponent(card.panel.id)}?range=${range}`);
        if (isWanted()) {
            card.show(answer);
        }
    } catch (problem) {
        if (isWanted()) {
            card.fail(problem);
        }
    }
    card.isAsked = false;
    state.asked -= 1;
    askSome();
}

const seen = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
        const card = state.cards.find((card) => card.node === target);
        if (card) {
            card.isSeen = isIntersecting;
        }
    }
    askSome();
}, { rootMargin: "120px" });

const sizes = new ResizeObserver(() => state.cards.forEach((card) => card.draw()));

function makeCard(panel) {
    const card = new PanelCard(panel);
    Object.assign(card, { isSeen: false, isAsked: false, askedAt: -Infinity });
    return card;
}

function showDashboard() {
    const { list, dashboard, isEmbedded } = state;
    seen.disconnect();
    state.cards = [];
    setText(byId("dashboard-title"), dashboard.title);
    setText(byId("dashboard-description"), dashboard.description);
    const isInGrafana = isEmbedded && list.grafana !== null;
    byId("ranges").hidden = isInGrafana;
    if (isInGrafana) {
        const source = `${list.grafana.replace(/\/$/, "")}/d/${dashboard.uid}?kiosk&theme=${currentTheme()}`;
        byId("dashboard-rows").replaceChildren(element("iframe", { class: "grafana", src: source, title: `${dashboard.title} in Grafana` }));
        return;
    }
    const rows = dashboard.rows.map((row) => {
        const cards = row.panels.map(makeCard);
        state.cards.push(...cards);
        const grid = element("div", { class: `panel-grid of-${row.panels.length}` }, cards.map((card) => card.node));
        return element("section", { class: "panel-row" }, element("h3", {}, row.title), grid);
    });
    byId("dashboard-rows").replaceChildren(...rows);
    state.cards.forEach((card) => seen.observe(card.node));
}

function choices(holder, values, chosen, choose) {
    holder.replaceChildren(
        ...values.map(([value, text]) =>
            element("button", { type: "button", "aria-pressed": String(value === chosen), "data-value": value, click: () => choose(value) }, text),
        ),
    );
}

function press(holder, value) {
    holder.querySelectorAll("button").forEach((button) => setAttribute(button, "aria-pressed", String(button.dataset.value === value)));
}

function shortTitle(title) {
    const short = title.replace(/^Kilat: /, "");
    return short.charAt(0).toUpperCase() + short.slice(1);
}

function chooseDashboard(uid) {
    state.dashboard = state.list.dashboards.find((dashboard) => dashboard.uid === uid);
    press(byId("dashboard-choice"), uid);
    byId("grafana-link").setAttribute("href", `${(state.list.grafana ?? "").replace(/\/$/, "")}/d/${uid}`);
    showDashboard();
}

function chooseRange(range) {
    state.range = range;
    press(byId("ranges"), range);
    state.cards.forEach((card) => {
        card.forget();
        card.askedAt = -Infinity;
    });
    askSome();
}

function showList(list) {
    state.list = list;
    byId("panels-absent").hidden = true;
    byId("panels-known").hidden = false;
    byId("grafana").hidden = list.grafana === null;
    state.range = list.ranges.includes(state.range) ? state.range : list.ranges[0];
    choices(byId("dashboard-choice"), list.dashboards.map(({ uid, title }) => [uid, shortTitle(title)]), null, chooseDashboard);
    choices(byId("ranges"), list.ranges.map((range) => [range, range]), state.range, chooseRange);
    chooseDashboard(list.dashboards[0].uid);
}

function explain(problem) {
    byId("panels-absent").hidden = false;
    byId("panels-known").hidden = true;
    const isOff = problem.status === 404;
    setText(byId("panels-absent-title"), isOff ? "Dashboards are not switched on" : "Dashboards cannot be had now");
    setText(byId("panels-absent-why"), `${problem.code}: ${problem.detail}`);
    byId("panels-absent-how").hidden = !isOff;
}

// Runs while the view is seen.
function run() {
    let timer;
    let isStopped = false;
    async function load() {
        try {
            const list = await get("/panels");
            if (!isStopped) {
                showList(list);
            }
        } catch (problem) {
            if (!isStopped) {
                explain(problem);
                timer = setTimeout(load, RETRY_LIST_MS);
            }
        }
    }
    if (state.list === null) {
        load();
    }
    const asking = setInterval(askSome, LOOK_EVERY_MS);
    askSome();
    return () => {
        isStopped = true;
        clearInterval(asking);
        clearTimeout(timer);
    };
}

export function startPanels() {
    sizes.observe(byId("dashboard-rows"));
    byId("grafana-embedded").addEventListener("click", () => {
        state.isEmbedded = !state.isEmbedded;
        setAttribute(byId("grafana-embedded"), "aria-pressed", String(state.isEmbedded));
        showDashboard();
    });
    whileSeen(run, () => view() === "dashboards");
}
