// The hops of a payment, and how far one has come.

import { shape } from "./dom.js";

// In the order of the way.
export const HOPS = ["accepted", "screened", "quoted", "reserved", "finished"];

export function isFinal(status) {
    return status === "CAPTURED" || status === "FAILED";
}

// A payment's state as colours and marks know it.
export function stateOfPayment({ status, stage }) {
    return stage === "dead" ? "bad" : { CAPTURED: "good", FAILED: "bad" }[status] ?? "busy";
}

// Five bars, of which as many are filled as hops are behind it.
export function progress({ status, stage }) {
    const reached = isFinal(status) ? HOPS.length : HOPS.indexOf(stage) + 1;
    const bars = HOPS.map((hop, place) =>
        shape("rect", { x: place * 11, y: 0, width: 9, height: 8, rx: 2, class: place < reached ? "is-reached" : "" }),
    );
    return shape("svg", { class: "progress", viewBox: "0 0 53 8", "aria-hidden": "true" }, bars);
}
