// Numbers and moments as people read them.

// What stands where a number is not known.
export const UNKNOWN = "–";

function digits(value, places) {
    return value.toLocaleString("en-GB", { minimumFractionDigits: places, maximumFractionDigits: places });
}

// Three digits that matter; whole numbers from a hundred on.
export function number(value) {
    if (!Number.isFinite(value)) {
        return UNKNOWN;
    }
    const size = Math.abs(value);
    if (size >= 1e9) {
        return `${digits(value / 1e9, 2)} G`;
    }
    if (size >= 1e6) {
        return `${digits(value / 1e6, 2)} M`;
    }
    if (size >= 100 || Number.isInteger(value)) {
        return digits(value, 0);
    }
    return digits(value, size >= 10 ? 1 : size >= 0.1 || size === 0 ? 2 : 3);
}

export function seconds(value) {
    if (!Number.isFinite(value)) {
        return UNKNOWN;
    }
    const size = Math.abs(value);
    if (size >= 172_800) {
        return `${digits(value / 86_400, 1)} d`;
    }
    if (size >= 7_200) {
        return `${digits(value / 3_600, 1)} h`;
    }
    if (size >= 120) {
        return `${digits(value / 60, 1)} min`;
    }
    if (size >= 1 || size === 0) {
        return `${digits(value, size >= 10 || Number.isInteger(value) ? 0 : 2)} s`;
    }
    if (size >= 0.001) {
        return `${digits(value * 1e3, size >= 0.01 ? 0 : 1)} ms`;
    }
    return `${digits(value * 1e6, 0)} µs`;
}

function bytes(value) {
    const names = ["B", "KiB", "MiB", "GiB", "TiB"];
    let [scaled, place] = [value, 0];
    while (Math.abs(scaled) >= 1_024 && place < names.length - 1) {
        [scaled, place] = [scaled / 1_024, place + 1];
    }
    return `${digits(scaled, place === 0 || Math.abs(scaled) >= 100 ? 0 : 1)} ${names[place]}`;
}

// A value in the unit of a panel.
export function inUnit(value, unit) {
    if (value === null || !Number.isFinite(value)) {
        return UNKNOWN;
    }
    switch (unit) {
        case "seconds":
            return seconds(value);
        case "part": {
            const percent = value * 100;
            return `${digits(percent, percent === 0 || Math.abs(percent) >= 10 ? 0 : Math.abs(percent) >= 1 ? 1 : 2)} %`;
        }
        case "bytes":
            return bytes(value);
        case "bytes_per_second":
            return `${bytes(value)}/s`;
        case "per_second":
        case "requests_per_second":
            return `${number(value)}/s`;
        default:
            return number(value);
    }
}

// A moment of the day, here; with milliseconds where they matter.
export function clock(date, withMilliseconds = false) {
    const two = (value) => String(value).padStart(2, "0");
    const text = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
    return withMilliseconds ? `${text}.${String(date.getMilliseconds()).padStart(3, "0")}` : text;
}

// The microseconds of an RFC 3339 time since 1970, which a Date cuts to milliseconds.
export function microseconds(at) {
    const fraction = /\.(\d+)/.exec(at)?.[1] ?? "";
    const whole = Date.parse(at.replace(/\.\d+/, ""));
    return whole * 1_000 + Number(fraction.padEnd(6, "0").slice(0, 6));
}

// A decimal string with its thousands apart. It stays a string: money is never a float.
export function money(text) {
    const [whole, fraction] = String(text).split(".");
    const grouped = whole.replace(/\B(?=(\d{3})+$)/g, ",");
    return fraction === undefined ? grouped : `${grouped}.${fraction}`;
}
