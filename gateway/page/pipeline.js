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
    constructor(name, course, { x, y, width, height, isLow = false }) {
        Object.assign(this, { name, course });
        const [left, right] = [14, width - 14];
        // In a low box the rate stands beside the name, and the course beside the figures.
        const rate = isLow ? [right - 22, 30, "", "end"] : [left, 58];
        const [facts, factsUntil] = isLow ? [66, left + (width - 28) * 0.56] : [109, right];
        const spark = isLow ? { x: right - (width - 28) * 0.34, y: 54, width: (width - 28) * 0.34 } : { x: left, y: 68, width: width - 28 };
        this.signs = ["up", "halted", "down", "unknown"].map((state) => {
            const sign = mark(state);
            fillFrame(sign, right - 12, 12, 12);
            return sign;
        });
        this.rate = label("stage-rate", ...rate);
        this.state = label("stage-state", ...rate);
        this.sparkline = new Sparkline(spark.width, 24);
        this.sparkline.node.setAttribute("transform", `translate(${spark.x} ${spark.y})`);
        this.facts = ["batch", "lag", "p99"].map((fact, place) => {
            const at = left + (place * (factsUntil - left)) / 2;
            const anchor = ["start", "middle", "end"][place];
            const value = label("stage-fact", at, facts + 15, UNKNOWN, anchor);
            return { fact, value, name: label("stage-fact-name", at, facts, fact, anchor) };
        });
        if (name === "gateway") {
            // Nothing waits for the gateway but its own clients.
            this.facts.splice(1, 1);
        }
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
        const texts = { batch: number(batch ?? NaN), lag: number(lag ?? NaN), p99: inUnit(p99 ?? null, "seconds") };
        this.facts.forEach(({ fact, value }) => setText(value, texts[fact]));
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
        // A motion that nobody cancels runs on behind a picture that is gone.
        this.flows?.forEach((flow) => flow.show(0));
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
    const isAway = event !== null && !event.broker;
    // Without the broker no stage is heard of: that says nothing of the stages.
    const notes = isAway ? ["the broker is away"] : (event?.stages ?? []).flatMap((stage) => {
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
