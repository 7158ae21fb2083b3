// Where the parts of the pipeline's picture stand, for a width.

// Below this width the stages stand one below the other.
const WIDE_FROM = 820;
const BOX_HEIGHT = 136;
// Where there is width, a box needs less height.
const LOW_HEIGHT = 92;
const LOW_WIDTH = 300;

const MAIN = ["gateway", "risk", "fx", "reserve", "settle"];
// Who refuses payments: what they refuse is recorded beside the main way.
const REFUSING = ["risk", "fx"];

// The frame of each stage, and the height of the picture.
export function places(width) {
    return width >= WIDE_FROM ? wide(width) : narrow(width);
}

function wide(width) {
    const gap = width >= 1_100 ? 52 : 28;
    const box = (width - 2 - gap * 4) / 5;
    const boxes = {};
    MAIN.forEach((name, place) => {
        boxes[name] = { x: 1 + place * (box + gap), y: 1, width: box, height: BOX_HEIGHT };
    });
    const last = { x: width - 1 - LOW_WIDTH, y: BOX_HEIGHT + 33, width: LOW_WIDTH, height: LOW_HEIGHT, isLow: true };
    boxes.settle_rejected = last;
    return { isWide: true, boxes, height: last.y + last.height + 1 };
}

function narrow(width) {
    const [gap, rail] = [24, 22];
    const boxes = {};
    [...MAIN, "settle_rejected"].forEach((name, place) => {
        boxes[name] = { x: 1, y: 1 + place * (LOW_HEIGHT + gap), width: width - 2 - rail, height: LOW_HEIGHT, isLow: true };
    });
    return { isWide: false, boxes, height: 6 * LOW_HEIGHT + 5 * gap + 2 };
}

// The ways between them, each as a path.
export function routes({ isWide, boxes }) {
    const main = MAIN.slice(1).map((to, place) => {
        const [from, into] = [boxes[MAIN[place]], boxes[to]];
        const path = isWide
            ? `M${from.x + from.width + 5} ${from.y + 58}H${into.x - 5}`
            : `M${from.x + from.width / 2} ${from.y + from.height + 4}V${into.y - 4}`;
        return { from: MAIN[place], to, path };
    });
    const end = boxes.settle_rejected;
    const refused = REFUSING.map((name, place) => {
        const from = boxes[name];
        // The first way goes all along the rail, and the others end on it.
        const [turn, join] = isWide
            ? [`V${end.y + 34}q0 12 12 12H${end.x - 5}`, `V${end.y + 46}`]
            : [`h4q8 0 8 8V${end.y + 38}q0 8 -8 8h-4`, "h12"];
        const start = isWide
            ? `M${from.x + from.width / 2} ${from.y + from.height + 5}`
            : `M${from.x + from.width + 4} ${from.y + 46}`;
        const path = start + (place === 0 ? turn : join);
        return { from: name, to: "settle_rejected", path };
    });
    return [...main, ...refused];
}
