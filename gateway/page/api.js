// Asking the gateway, and what its problems say.

// An answer is waited for no longer than this.
const DEADLINE_MS = 10_000;

// What went wrong, as an RFC 9457 problem has it. `status` 0: there was no answer at all.
export class Refused extends Error {
    constructor(status, code, detail, retryAfter = 0) {
        super(detail);
        Object.assign(this, { status, code, detail, retryAfter });
    }
}

// The problem that a response holds, whoever wrote it.
export async function refusal(response) {
    const retryAfter = Number(response.headers.get("retry-after")) || 0;
    let body = {};
    try {
        body = await response.json();
    } catch {
        // Something between us and the gateway answered.
    }
    const detail = body.detail ?? body.title ?? response.statusText;
    return new Refused(response.status, body.code ?? `http_${response.status}`, detail || "no details", retryAfter);
}

async function send(path, options) {
    const signals = [AbortSignal.timeout(DEADLINE_MS), options.signal].filter(Boolean);
    try {
        return await fetch(path, { cache: "no-store", ...options, signal: AbortSignal.any(signals) });
    } catch (error) {
        if (options.signal?.aborted) {
            throw error;
        }
        const detail = error.name === "TimeoutError" ? "the gateway did not answer in time" : "the gateway does not answer";
        throw new Refused(0, "no_answer", detail);
    }
}

async function body(response) {
    if (!response.ok) {
        throw await refusal(response);
    }
    try {
        return await response.json();
    } catch {
        throw new Refused(0, "no_answer", "the answer broke off");
    }
}

export async function get(path, signal) {
    return body(await send(path, { signal, headers: { accept: "application/json" } }));
}

export async function post(path, value) {
    const headers = { "content-type": "application/json", accept: "application/json" };
    return body(await send(path, { method: "POST", headers, body: JSON.stringify(value) }));
}
