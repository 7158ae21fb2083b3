// Light or dark: as the system has it, until somebody chooses.

import { byId, setText } from "./dom.js";

const KEY = "kilat-theme";
const NAMES = { system: "Auto", light: "Light", dark: "Dark" };
const prefersDark = matchMedia("(prefers-color-scheme: dark)");

function stored() {
    try {
        return localStorage.getItem(KEY) ?? "system";
    } catch {
        return "system";
    }
}

function apply(name) {
    const known = name in NAMES ? name : "system";
    document.documentElement.dataset.theme = known;
    setText(byId("theme"), NAMES[known]);
    byId("theme").setAttribute("aria-label", `Theme: ${NAMES[known]}`);
}

// What is seen now.
export function currentTheme() {
    const { theme } = document.documentElement.dataset;
    return theme === "light" || theme === "dark" ? theme : prefersDark.matches ? "dark" : "light";
}

export function startTheme() {
    apply(stored());
    byId("theme").addEventListener("click", () => {
        const names = Object.keys(NAMES);
        const next = names[(names.indexOf(document.documentElement.dataset.theme) + 1) % names.length];
        try {
            localStorage.setItem(KEY, next);
        } catch {
            // Where nothing may be kept, the choice lasts as long as the page.
        }
        apply(next);
    });
}
