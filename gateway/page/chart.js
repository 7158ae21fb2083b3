// Lines and areas over time, with a readout for the pointer and for the keyboard.

import { element, setAttribute, setText, shape } from "./dom.js";
import { clock, inUnit } from "./format.js";
import { roundUp, ticks, timeLabel, timeTicks, valueNow } from "./scale.js";
import { pathOf } from "./spark.js";

const HEIGHT = 190;
const MARGIN = { top: 8, right: 10, bottom: 22, left: 56 };
// Colours for so many series; then they come again.
export const COLOURS = 10;

function frameOf(width) {
    const [left, right] = [MARGIN.left, width - MARGIN.right];
    return { left, right, top: MARGIN.top, bottom: HEIGHT - MARGIN.bottom, width: right - left };
}

// The value of each series at each moment of the answer; a moment that a series lacks is a gap.
export function columnsOf({ from, to, step, series }) {
    const length = Math.max(2, Math.round((to - from) / step) + 1);
    const moments = Array.from({ length }, (_, place) => from + place * step);
    const columns = series.map(({ points }) => {
        const values = new Array(length).fill(null);
        for (const [at, value] of points) {
            const place = Math.round((at - from) / step);
            if (place >= 0 && place < length) {
                values[place] = value;
            }
        }
        return values;
    });
    return { moments, columns };
}

// The upper edge of each series when they stand on each other.
function stacked(columns) {
    const below = new Array(columns[0]?.length ?? 0).fill(0);
    return columns.map((values) => {
        const base = [...below];
        // Where a series says nothing, those above it stand on what is below it.
        const top = values.map((value, place) => (value === null ? null : (below[place] += value)));
        return { base, top };
    });
}

function axes(frame, { from, to }, highest, unit, x, y) {
    const nodes = [];
    for (const value of ticks(0, highest, 4)) {
        const at = Math.round(y(value)) + 0.5;
        nodes.push(shape("line", { class: "grid", x1: frame.left, x2: frame.right, y1: at, y2: at }));
        nodes.push(shape("text", { class: "axis", x: frame.left - 8, y: at + 3.5, "text-anchor": "end" }, inUnit(value, unit)));
    }
    for (const at of timeTicks(from, to, Math.max(3, frame.width / 70))) {
        const place = x(at);
        if (place > frame.left + 12 && place < frame.right - 14) {
            nodes.push(shape("text", { class: "axis", x: place, y: HEIGHT - 6, "text-anchor": "middle" }, timeLabel(at)));
        }
    }
    return nodes;
}

function thresholds(frame, thresholds, highest, unit, y) {
    return thresholds.filter(({ value }) => value <= highest).map(({ value, colour }) => {
        const at = Math.round(y(value)) + 0.5;
        const title = shape("title", {}, `${colour} from ${inUnit(value, unit)} on`);
        return shape("line", { class: `threshold is-${colour}`, x1: frame.left, x2: frame.right, y1: at, y2: at }, title);
    });
}

function areaPath({ base, top }, x, y) {
    const isThere = (place) => top[place] !== null && top[place] !== undefined;
    let [path, start] = ["", null];
    top.forEach((value, place) => {
        if (value === null) {
            start = null;
            return;
        }
        start ??= place;
        if (!isThere(place + 1)) {
            const first = start;
            const back = base.slice(first, place + 1).map((value, step) => `L${x(first + step).toFixed(1)} ${y(value).toFixed(1)}`);
            path += `${pathOf(top.slice(first, place + 1), (step) => x(first + step), y)}${back.reverse().join("")}Z`;
        }
    });
    return path;
}

function drawnSeries(columns, isStacked, place, y) {
    if (isStacked) {
        return stacked(columns).flatMap((edges, number) => [
            shape("path", { class: `series-area colour-${number % COLOURS}`, d: areaPath(edges, place, y) }),
            shape("path", { class: `series colour-${number % COLOURS}`, d: pathOf(edges.top, place, y) }),
        ]);
    }
    return columns.flatMap((values, number) => {
        const line = shape("path", { class: `series colour-${number % COLOURS}`, d: pathOf(values, place, y) });
        // A value between two gaps is a line of no length, which its round ends make a point.
        return [line];
    });
}

function keyOf(answer, unit) {
    const { series } = answer;
    const current = series.map(({ points }) => valueNow(points, answer));
    const values = current.map((value) => element("td", { class: "is-number" }, inUnit(value, unit)));
    const rows = series.map(({ legend }, number) =>
        element(
            "tr",
            {},
            element("th", { scope: "row" }, element("span", { class: `swatch colour-${number % COLOURS}` }), legend || "value"),
            values[number],
        ),
    );
    const when = element("th", { scope: "col", class: "is-number" }, "now");
    const head = element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "Series"), when));
    const table = element("table", { class: "key" }, head, element("tbody", {}, rows));
    return { node: element("div", { class: "key-frame", tabindex: series.length > 5 ? 0 : null, role: "group", "aria-label": "Values" }, table), values, current, when };
}

// Shows the values at the pointer, or where the arrow keys have moved to.
function readout(svg, frame, { moments, columns }, key, unit, x) {
    const line = shape("line", { class: "cursor", y1: frame.top, y2: frame.bottom, display: "none" });
    svg.append(line);
    let chosen = null;
    function choose(place) {
        chosen = place === null ? null : Math.min(moments.length - 1, Math.max(0, place));
        setAttribute(line, "display", chosen === null ? "none" : null);
        setText(key.when, chosen === null ? "now" : clock(new Date(moments[chosen] * 1_000)));
        key.values.forEach((cell, number) => {
            const value = chosen === null ? key.current[number] : columns[number][chosen];
            setText(cell, inUnit(value, unit));
        });
        if (chosen !== null) {
            setAttribute(line, "x1", x(moments[chosen]));
            setAttribute(line, "x2", x(moments[chosen]));
        }
    }
    svg.addEventListener("pointermove", (event) => {
        const box = svg.getBoundingClientRect();
        const part = (event.clientX - box.left - frame.left) / frame.width;
        choose(Math.round(part * (moments.length - 1)));
    });
    svg.addEventListener("pointerleave", () => choose(null));
    svg.addEventListener("blur", () => choose(null));
    svg.addEventListener("keydown", (event) => {
        const last = moments.length - 1;
        const moves = { ArrowLeft: (chosen ?? last + 1) - 1, ArrowRight: (chosen ?? last) + 1, Home: 0, End: last, Escape: null };
        if (event.key in moves) {
            event.preventDefault();
            choose(moves[event.key]);
        }
    });
    return { chosen: () => chosen, choose };
}

// A chart with its key. `again` is the readout of the chart that this one replaces, which keeps its place.
export function chart(panel, answer, width, again) {
    const data = columnsOf(answer);
    const isStacked = panel.drawing === "areas";
    const tops = isStacked ? stacked(data.columns).map(({ top }) => top) : data.columns;
    const values = tops.flat().filter((value) => value !== null);
    const highest = roundUp(Math.max(0, ...values));
    const lowest = Math.min(0, ...values);
    const frame = frameOf(width);
    const x = (at) => frame.left + ((at - answer.from) / Math.max(1e-9, answer.to - answer.from)) * frame.width;
    const y = (value) => frame.bottom - ((value - lowest) / (highest - lowest)) * (frame.bottom - frame.top);
    const svg = shape("svg", {
        class: "chart",
        width,
        height: HEIGHT,
        viewBox: `0 0 ${width} ${HEIGHT}`,
        tabindex: 0,
        role: "img",
        "aria-label": `${panel.title}, from ${timeLabel(answer.from)} to ${timeLabel(answer.to)}. Arrow keys read values into the table below.`,
    });
    svg.append(
        ...axes(frame, answer, highest, panel.unit, x, y),
        ...drawnSeries(data.columns, isStacked, (place) => x(data.moments[place]), y),
        ...thresholds(frame, panel.thresholds, highest, panel.unit, y),
    );
    const key = keyOf(answer, panel.unit);
    const reader = readout(svg, frame, data, key, panel.unit, x);
    if (again?.chosen() !== null && again !== undefined) {
        reader.choose(again.chosen());
    }
    return { nodes: [svg, key.node], reader, svg };
}
