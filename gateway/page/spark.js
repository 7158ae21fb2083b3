// Short courses of a number without axes.

import { shape, setAttribute } from "./dom.js";

// A minute of a figure that comes each second.
export const COURSE_LENGTH = 60;

// Keeps the last minute; `null` is a gap.
export class Course {
    constructor() {
        Object.assign(this, { values: [], at: performance.now() });
    }

    push(value) {
        // Seconds that nobody told of are a gap as long as they were.
        const missed = Math.round((performance.now() - this.at) / 1_000) - 1;
        this.at = performance.now();
        if (this.values.length > 0 && missed > 0) {
            this.values.push(...new Array(Math.min(missed, COURSE_LENGTH)).fill(null));
        }
        this.values.push(Number.isFinite(value) ? value : null);
        this.values.splice(0, this.values.length - COURSE_LENGTH);
    }
}

// The path through values; it starts anew behind each gap. `x` and `y` place a value.
export function pathOf(values, x, y) {
    let [path, isDown] = ["", false];
    values.forEach((value, place) => {
        if (value === null) {
            isDown = false;
            return;
        }
        path += `${isDown ? "L" : "M"}${x(place).toFixed(1)} ${y(value).toFixed(1)}`;
        isDown = true;
    });
    return path;
}

// A sparkline of a fixed size; the newest value stands at its right end.
export class Sparkline {
    constructor(width, height) {
        Object.assign(this, { width, height });
        this.area = shape("path", { class: "spark-area" });
        this.line = shape("path", { class: "spark-line" });
        this.node = shape("g", { class: "spark", "aria-hidden": "true" }, this.area, this.line);
    }

    draw(values, length = COURSE_LENGTH) {
        const highest = Math.max(1e-9, ...values.filter((value) => value !== null));
        const first = length - values.length;
        const x = (place) => ((first + place) / (length - 1)) * this.width;
        const y = (value) => this.height - 1 - (value / highest) * (this.height - 2);
        setAttribute(this.line, "d", pathOf(values, x, y));
        // An area for each run of values between two gaps.
        let [area, start] = ["", null];
        values.forEach((value, place) => {
            if (value === null) {
                start = null;
                return;
            }
            start ??= place;
            if (place === values.length - 1 || values[place + 1] === null) {
                const run = values.slice(start, place + 1);
                const line = pathOf(run, (step) => x(start + step), y);
                area += `${line}L${x(place).toFixed(1)} ${this.height}L${x(start).toFixed(1)} ${this.height}Z`;
            }
        });
        setAttribute(this.area, "d", area);
    }
}
