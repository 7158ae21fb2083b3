// One panel: its card, and what is drawn into it.

import { chart } from "./chart.js";
import { element, mark, setAttribute, setText, shape } from "./dom.js";
import { UNKNOWN, clock, inUnit } from "./format.js";
import { heatmap } from "./heatmap.js";
import { valueNow } from "./scale.js";
import { Sparkline } from "./spark.js";

const EXPORTERS = { node_exporter: "node-exporter", postgres_exporter: "postgres-exporter" };
const JUDGED = { well: "", yellow: "look at it", red: "act" };

// How bad a value is: the last threshold that it has reached.
function judge(value, thresholds) {
    const reached = thresholds.filter((threshold) => value !== null && value >= threshold.value);
    return reached.at(-1)?.colour ?? "well";
}

function numberOf(panel, answer, width) {
    const series = answer.series[0];
    const value = series === undefined ? null : valueNow(series.points, answer);
    const judged = judge(value, panel.thresholds);
    const spark = new Sparkline(width, 44);
    const values = (series?.points ?? []).map(([, value]) => value);
    spark.draw(values, Math.max(2, values.length));
    const svg = shape("svg", { class: "number-course", width, height: 44, viewBox: `0 0 ${width} 44`, "aria-hidden": "true" }, spark.node);
    const states = { well: "good", yellow: "halted", red: "down" };
    const sign = panel.thresholds.length > 0 && value !== null ? mark(states[judged]) : null;
    const words = JUDGED[judged] ? element("span", { class: "note" }, JUDGED[judged]) : null;
    return {
        nodes: [element("p", { class: "number", "data-state": value === null ? "unknown" : judged }, sign, inUnit(value, panel.unit), words), svg],
        svg,
    };
}

function tableOf(panel, answer) {
    // A row without a value of now is of something that is gone.
    const present = answer.series.map(({ labels, points }) => ({ labels, value: valueNow(points, answer) })).filter(({ value }) => value !== null);
    if (present.length === 0) {
        return { nodes: [element("p", { class: "panel-empty" }, "No data of now.")] };
    }
    const names = [...new Set(present.flatMap(({ labels }) => Object.keys(labels)))].sort();
    const head = [...names, "value"].map((name) => element("th", { scope: "col" }, name.replaceAll("_", " ")));
    const rows = present.map(({ labels, value }) => {
        const cells = names.map((name) => element("td", {}, labels[name] ?? UNKNOWN));
        return element("tr", {}, cells, element("td", { class: "is-number" }, inUnit(value, panel.unit)));
    });
    const table = element("table", {}, element("thead", {}, element("tr", {}, head)), element("tbody", {}, rows));
    return { nodes: [element("div", { class: "table-frame", tabindex: 0, role: "group", "aria-label": panel.title }, table)] };
}

function nothing(panel) {
    const exporter = EXPORTERS[panel.source];
    const why = exporter ? `No data: it comes from ${exporter}, which does not run here.` : "No data in this time.";
    return { nodes: [element("p", { class: "panel-empty" }, why)] };
}

// A card of the dashboards.
export class PanelCard {
    constructor(panel) {
        Object.assign(this, { panel, answer: null, width: 0, reader: undefined });
        this.body = element("div", { class: "panel-body" }, element("p", { class: "panel-empty" }, "Asking"));
        this.state = element("p", { class: "panel-state" });
        const title = `panel-${panel.id}`;
        this.node = element(
            "article",
            { class: `panel draws-${panel.drawing}`, "aria-labelledby": title, "data-panel": panel.id },
            element("h4", { id: title }, panel.title),
            element("p", { class: "panel-question" }, panel.question),
            this.body,
            this.state,
        );
    }

    // Draws an answer of the gateway.
    show(answer) {
        this.answer = answer;
        setAttribute(this.node, "data-stale", null);
        setText(this.state, "");
        this.draw();
    }

    // What is drawn stays, and says that it is old.
    fail(problem) {
        if (this.answer === null) {
            this.body.replaceChildren(element("p", { class: "panel-empty" }, `${problem.code}: ${problem.detail}`));
            return;
        }
        setAttribute(this.node, "data-stale", "");
        setText(this.state, `As of ${clock(new Date(this.answer.to * 1_000))}. ${problem.detail}`);
    }

    // Of another time: what was drawn is of no use.
    forget() {
        this.answer = null;
        setAttribute(this.node, "data-stale", null);
        setText(this.state, "");
        this.body.replaceChildren(element("p", { class: "panel-empty" }, "Asking"));
    }

    draw() {
        const width = Math.floor(this.body.clientWidth);
        if (this.answer === null || width === 0) {
            return;
        }
        const hadFocus = this.body.contains(document.activeElement) && document.activeElement.matches(".chart");
        const drawn = this.drawn(width);
        this.reader = drawn.reader;
        this.body.replaceChildren(...drawn.nodes);
        if (hadFocus) {
            drawn.svg?.focus();
            drawn.reader?.choose(this.chosen ?? null);
        }
    }

    drawn(width) {
        const { panel, answer } = this;
        this.chosen = this.reader?.chosen();
        if (answer.series.length === 0) {
            return nothing(panel);
        }
        switch (panel.drawing) {
            case "number":
                return numberOf(panel, answer, width);
            case "table":
                return tableOf(panel, answer);
            case "heatmap":
                return heatmap(panel, answer, width);
            default:
                return chart(panel, answer, width, this.reader);
        }
    }
}
