// Making and changing elements.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) {
        if (typeof value === "function") {
            node.addEventListener(name, value);
        } else if (value !== null && value !== undefined && value !== false) {
            node.setAttribute(name, value === true ? "" : value);
        }
    }
    node.append(...children.flat().filter((child) => child !== null && child !== undefined));
    return node;
}

// An HTML element; a function among the attributes listens for the event of its name.
export function element(name, attributes = {}, ...children) {
    return fill(document.createElement(name), attributes, children);
}

// An SVG element.
export function shape(name, attributes = {}, ...children) {
    return fill(document.createElementNS(SVG, name), attributes, children);
}

export function byId(id) {
    return document.getElementById(id);
}

// Changes the text only where it differs, so that a screen reader and a selection are left in peace.
export function setText(node, text) {
    if (node.textContent !== text) {
        node.textContent = text;
    }
}

export function setAttribute(node, name, value) {
    if (value === null || value === false) {
        node.removeAttribute(name);
    } else if (node.getAttribute(name) !== String(value)) {
        node.setAttribute(name, value);
    }
}

// A mark whose form tells the state as well as its colour does: up, halted, down, unknown.
export function mark(state) {
    const drawn = {
        up: () => shape("circle", { cx: 6, cy: 6, r: 4.5 }),
        good: () => shape("path", { d: "M1.5 6.5 4.7 9.7 10.5 2.8", fill: "none", "stroke-width": 2 }),
        halted: () => shape("path", { d: "M2 1.5h2.8v9H2zM7.2 1.5H10v9H7.2z" }),
        down: () => shape("path", { d: "M2 2 10 10M10 2 2 10", fill: "none", "stroke-width": 2.4 }),
        unknown: () => shape("circle", { cx: 6, cy: 6, r: 4, fill: "none", "stroke-width": 1.6 }),
    }[state];
    return shape("svg", { class: `mark is-${state}`, viewBox: "0 0 12 12", "aria-hidden": "true" }, drawn());
}
