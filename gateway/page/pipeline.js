// The pipeline as a picture: what flows between its stages, and which of them stand still.

import { byId, element, mark, setAttribute, setText, shape } from "./dom.js";
import { UNKNOWN, inUnit, number } from "./format.js";
import { watchLive } from "./live.js";
import { routes, places } from "./plan.js";
import { Course, Sparkline } from "./spark.js";

const STAGES = ["gateway", "risk", "fx", "reserve", "settle", "settle_rejected"];
const DOES = {
    gateway: "accepts",
    risk: "screens",
    fx: "quotes",
    reserve: "holds money",
    settle: "moves money",
    settle_rejected: "records refusals",
};

const isStill = matchMedia("(prefers-reduced-motion: reduce)");

function label(kind, x, y, text = "", anchor = "start") {
    return shape("text", { class: kind, x, y, "text-anchor": anchor }, text);
}

// A stage in the picture.
class StageBox {
    constructor(name, course, { x, y, width, height }) {
        Object.assign(this, { name, course });
        const [left, right] = [14, width - 14];
        this.signs = ["up", "halted", "down", "unknown"].map((state) => {
            const sign = mark(state);
            fillFrame(sign, right - 12, 12, 12);
            return sign;
        });
        this.rate = label("stage-rate", left, 58);
        this.state = label("stage-state", left, 58);
        this.sparkline = new Sparkline(width - 28, 24);
        this.sparkline.node.setAttribute("transform", `translate(${left} 68)`);
        this.facts = ["batch", "lag", "p99"].map((fact, place) => {
            const at = left + (place * (width - 28)) / 2;
            const anchor = ["start", "middle", "end"][place];
            const value = label("stage-fact", at, 124, UNKNOWN, anchor);
            return { fact, value, name: label("stage-fact-name", at, 109, fact, anchor) };
        });
        this.node = shape(
            "g",
            { class: "stage", "data-stage": name, transform: `translate(${x} ${y})` },
            shape("rect", { class: "stage-frame", width, height, rx: 10 }),
            label("stage-name", left, 24, name.replace("_", " ")),
            label("stage-does", left, 37, DOES[name]),
            ...this.signs,
            this.rate,
            this.state,
            this.sparkline.node,
            this.facts.flatMap(({ name: above, value }) => [above, value]),
        );
        this.show(null, "");
    }

    show(stage, state) {
        setAttribute(this.node, "data-state", state || "unknown");
        this.signs.forEach((sign) => setAttribute(sign, "display", sign.classList.contains(`is-${state || "unknown"}`) ? null : "none"));
        const isUp = state === "up";
        setText(this.rate, isUp || state === "" ? inUnit(stage?.per_s ?? null, "per_second") : "");
        setText(this.state, { down: "STOPPED", halted: "HALTED" }[state] ?? "");
        const [batch, lag, p99] = state === "down" ? [null, stage.lag, null] : [stage?.batch, stage?.lag, stage?.p99_s];
        const texts = [number(batch ?? NaN), number(lag ?? NaN), inUnit(p99 ?? null, "seconds")];
        this.facts.forEach(({ value }, place) => setText(value, texts[place]));
        this.sparkline.draw(this.course.values);
    }
}

function fillFrame(svg, x, y, size) {
    for (const [name, value] of Object.entries({ x, y, width: size, height: size })) {
        svg.setAttribute(name, value);
    }
}

// What flows from one stage to the next: dots that are as quick as the payments are many.
class Flow {
    constructor({ from, to, path }) {
        Object.assign(this, { from, to });
        this.dots = shape("path", { class: "flow-dots", d: path });
        const kind = to === "settle_rejected" ? "flow is-refused" : "flow";
        this.node = shape("g", { class: kind }, shape("path", { class: "flow-pipe", d: path }), this.dots);
        this.motion = null;
    }

    show(rate) {
        const moves = rate > 0;
        setAttribute(this.node, "data-moves", moves ? "yes" : "no");
        if (isStill.matches || !moves) {
            this.motion?.cancel();
            this.motion = null;
            return;
        }
        this.motion ??= this.dots.animate([{ strokeDashoffset: 12 }, { strokeDashoffset: 0 }], { duration: 1_000, iterations: Infinity });
        // A thousand times as many payments are four times as quick to the eye.
        this.motion.updatePlaybackRate(0.5 + Math.log10(1 + rate));
    }
}

class Picture {
    constructor() {
        this.courses = new Map(STAGES.map((name) => [name, new Course()]));
        this.rows = new Map(STAGES.map((name) => [name, this.row(name)]));
        byId("pipeline-rows").replaceChildren(...[...this.rows.values()].map(({ node }) => node));
        this.last = null;
        new ResizeObserver(() => this.lay()).observe(byId("pipeline-frame"));
    }

    row(name) {
        const cells = ["", "", "", "", ""].map(() => element("td"));
        return { node: element("tr", {}, element("th", { scope: "row" }, name), cells), cells };
    }

    // Draws the picture anew for the width that there is.
    lay() {
        const width = Math.floor(byId("pipeline-frame").clientWidth);
        if (width === this.width || width === 0) {
            return;
        }
        this.width = width;
        const plan = places(width);
        const svg = byId("pipeline");
        setAttribute(svg, "viewBox", `0 0 ${width} ${plan.height}`);
        setAttribute(svg, "height", plan.height);
        this.flows = routes(plan).map((route) => new Flow(route));
        this.boxes = STAGES.map((name) => new StageBox(name, this.courses.get(name), plan.boxes[name]));
        byId("pipeline-drawing").replaceChildren(
            ...this.flows.map((flow) => flow.node),
            ...this.boxes.map((box) => box.node),
        );
        this.draw();
    }

    tell(event) {
        this.last = event;
        const stages = new Map((event?.stages ?? []).map((stage) => [stage.stage, stage]));
        for (const [name, course] of this.courses) {
            const stage = stages.get(name);
            course.push(stage?.is_up ? stage.per_s : null);
            const texts = stage === undefined
                ? ["not known", UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN]
                : [stateOf(stage), inUnit(stage.per_s, "per_second"), number(stage.batch ?? NaN), number(stage.lag ?? NaN), inUnit(stage.p99_s, "seconds")];
            this.rows.get(name).cells.forEach((cell, place) => setText(cell, texts[place]));
        }
        this.draw();
        showRoles(event);
        showStopped(event);
    }

    draw() {
        if (!this.boxes) {
            return;
        }
        const stages = new Map((this.last?.stages ?? []).map((stage) => [stage.stage, stage]));
        this.boxes.forEach((box) => {
            const stage = stages.get(box.name) ?? null;
            box.show(stage, stage === null ? "" : stateOf(stage));
        });
        this.flows.forEach((flow) => {
            const stage = stages.get(flow.to);
            flow.show(stage?.is_up && !stage.halted ? stage.per_s ?? 0 : 0);
        });
    }
}

function stateOf(stage) {
    return !stage.is_up ? "down" : stage.halted ? "halted" : "up";
}

function showRoles(event) {
    const roles = event?.roles ?? [];
    const drawn = JSON.stringify(roles);
    const list = byId("roles");
    if (list.dataset.drawn === drawn) {
        return;
    }
    list.dataset.drawn = drawn;
    list.replaceChildren(
        ...roles.map(({ role, instances, is_up: isUp }) => {
            const text = isUp ? (instances > 1 ? `${role} ×${instances}` : role) : `${role} does not answer`;
            return element("li", { class: "chip", "data-state": isUp ? "good" : "bad" }, mark(isUp ? "up" : "down"), text);
        }),
    );
}

// In words, and announced only when it changes.
function showStopped(event) {
    const notes = (event?.stages ?? []).flatMap((stage) => {
        const state = stateOf(stage);
        const name = stage.stage.replace("_", " ");
        const what = { down: `${name} has stopped`, halted: `${name} is halted: too many payments would be buried` };
        return what[state] ? [what[state]] : [];
    });
    const node = byId("stopped");
    const isShut = notes.length === 0;
    setText(node, isShut ? "" : `${notes.join("; ")}. Payments wait and are not lost.`);
    node.hidden = isShut;
}

export function startPipeline() {
    const picture = new Picture();
    watchLive((event) => picture.tell(event));
}
