// Axes: round numbers at round distances. And which of the values over time is the one of now.

// A value of now may be so old: one scrape may be missed.
const NOW_SECONDS_MIN = 20;

// The value of now, from the last two steps of the answer; what is older says nothing of now.
export function valueNow(points, { to, step }) {
    // Instants are whole milliseconds: the edge itself is too old.
    const since = to - Math.max(2 * step, NOW_SECONDS_MIN) + 0.01;
    return points.findLast(([at, value]) => at > since && value !== null)?.[1] ?? null;
}

// About `count` round values from `low` to `high`.
export function ticks(low, high, count) {
    const span = high - low;
    if (!(span > 0)) {
        return [low];
    }
    const rough = span / count;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= rough);
    const found = [];
    for (let place = Math.ceil(low / step - 1e-9); place * step <= high + step * 1e-9; place += 1) {
        // Not the zero below zero.
        found.push(place * step || 0);
    }
    return found;
}

// The least round value that is not below `value`.
export function roundUp(value) {
    if (!(value > 0)) {
        return 1;
    }
    const power = 10 ** Math.floor(Math.log10(value));
    return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((factor) => factor * power).find((round) => round >= value * 0.999_999);
}

const TIME_STEPS = [30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 14_400, 21_600];

// Moments of a time axis, in seconds since 1970, at round times of the day here.
export function timeTicks(from, to, count) {
    const step = TIME_STEPS.find((step) => (to - from) / step <= count) ?? 43_200;
    const shift = new Date(from * 1_000).getTimezoneOffset() * 60;
    const found = [];
    for (let at = Math.ceil((from - shift) / step) * step + shift; at <= to; at += step) {
        found.push(at);
    }
    return found;
}

export function timeLabel(at) {
    const date = new Date(at * 1_000);
    const two = (value) => String(value).padStart(2, "0");
    const text = `${two(date.getHours())}:${two(date.getMinutes())}`;
    return date.getSeconds() === 0 ? text : `${text}:${two(date.getSeconds())}`;
}
