// How many observations fell where, over time.

import { columnsOf } from "./chart.js";
import { element, shape } from "./dom.js";
import { inUnit } from "./format.js";
import { timeLabel, timeTicks } from "./scale.js";

const HEIGHT = 220;
const MARGIN = { top: 6, right: 10, bottom: 22, left: 56 };
// More cells than this are not told apart by the eye, and cost.
const COLUMNS_MAX = 60;
// Of how strongly a cell is drawn.
const SHADES = 8;

// The buckets from the lowest bound, each with what fell into it alone: a bucket counts all below its bound.
function bucketsOf(series, columns) {
    const bounds = series.map(({ labels, legend }) => {
        const text = labels.le ?? legend;
        return text === "+Inf" ? Infinity : Number(text);
    });
    const order = bounds.map((bound, place) => [bound, place]).filter(([bound]) => !Number.isNaN(bound)).sort(([a], [b]) => a - b);
    return order.map(([bound, place], rank) => {
        const below = rank === 0 ? null : columns[order[rank - 1][1]];
        const values = columns[place].map((value, at) =>
            value === null ? null : Math.max(0, value - (below?.[at] ?? 0)),
        );
        return { bound, values };
    });
}

function merged(values, size) {
    const found = [];
    for (let start = 0; start < values.length; start += size) {
        const part = values.slice(start, start + size).filter((value) => value !== null);
        found.push(part.length === 0 ? null : part.reduce((sum, value) => sum + value, 0) / part.length);
    }
    return found;
}

export function heatmap(panel, answer, width) {
    const { moments, columns } = columnsOf(answer);
    const size = Math.ceil(moments.length / COLUMNS_MAX);
    const buckets = bucketsOf(answer.series, columns).map(({ bound, values }) => ({ bound, values: merged(values, size) }));
    const highest = Math.max(1e-9, ...buckets.flatMap(({ values }) => values));
    const frame = { left: MARGIN.left, right: width - MARGIN.right, top: MARGIN.top, bottom: HEIGHT - MARGIN.bottom };
    const [rows, across] = [buckets.length, buckets[0]?.values.length ?? 1];
    const [cellWidth, cellHeight] = [(frame.right - frame.left) / across, (frame.bottom - frame.top) / rows];
    const nodes = [];
    buckets.forEach(({ bound, values }, rank) => {
        const top = frame.bottom - (rank + 1) * cellHeight;
        values.forEach((value, place) => {
            if (value > 0) {
                // By the root: a few late ones are what one looks for.
                const shade = Math.max(1, Math.ceil(Math.sqrt(value / highest) * SHADES));
                const cell = { x: frame.left + place * cellWidth, y: top, width: cellWidth - 0.6, height: cellHeight - 0.6 };
                nodes.push(shape("rect", { class: `cell shade-${shade}`, ...cell }));
            }
        });
        // Every second bound has room for its name.
        if (rank % 2 === 1 || rows < 8) {
            const text = bound === Infinity ? "more" : inUnit(bound, panel.unit);
            nodes.push(shape("text", { class: "axis", x: frame.left - 8, y: top + 4, "text-anchor": "end" }, text));
        }
    });
    for (const at of timeTicks(answer.from, answer.to, Math.max(2, (frame.right - frame.left) / 90))) {
        const place = frame.left + ((at - answer.from) / (answer.to - answer.from)) * (frame.right - frame.left);
        nodes.push(shape("text", { class: "axis", x: place, y: HEIGHT - 6, "text-anchor": "middle" }, timeLabel(at)));
    }
    const drawing = { class: "chart", width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, role: "img" };
    const svg = shape("svg", { ...drawing, "aria-label": summary(panel, buckets) }, nodes);
    return { nodes: [svg, element("p", { class: "note" }, summary(panel, buckets))], svg };
}

// In words: where most of them fell last.
function summary(panel, buckets) {
    const sums = buckets.map(({ values }) => values.findLast((value) => value !== null) ?? 0);
    const most = Math.max(0, ...sums);
    if (most === 0) {
        return "Nothing fell into any bucket lately.";
    }
    const bound = buckets[sums.indexOf(most)].bound;
    return bound === Infinity ? "Most took longer than the last bound." : `Most took up to ${inUnit(bound, panel.unit)}.`;
}
