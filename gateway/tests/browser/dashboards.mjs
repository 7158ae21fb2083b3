// The dashboards: every panel of our services draws numbers.

import { check, step } from "./browser.mjs";

// Whether what is drawn has points, and not merely a frame.
function isDrawn(panel) {
    const paths = [...panel.querySelectorAll(".series, .spark-line")].map((path) => path.getAttribute("d") ?? "");
    const hasLine = paths.some((path) => (path.match(/[ML]/g) ?? []).length >= 2);
    const hasCells = panel.querySelectorAll(".cell").length > 0;
    const hasRows = panel.querySelectorAll(".table-frame tbody tr").length > 0;
    return hasLine || hasCells || hasRows;
}

// Scrolls through the dashboard until so many panels are drawn.
async function drawn(page, least) {
    for (let round = 0; round < 12; round += 1) {
        const panels = page.locator(".panel");
        for (let place = 0; place < (await panels.count()); place += 3) {
            await panels.nth(place).scrollIntoViewIfNeeded();
            // Panels are asked for when they are seen, four at once.
            await page.waitForTimeout(350);
        }
        const states = await panels.evaluateAll(
            (all, source) => {
                const isDrawn = new Function(`return (${source})`)();
                return all.map((panel) => [panel.dataset.panel, isDrawn(panel)]);
            },
            isDrawn.toString(),
        );
        const count = states.filter(([, isDrawn]) => isDrawn).length;
        if (count >= least) {
            return count;
        }
        page.missing = states.filter(([, isDrawn]) => !isDrawn).map(([id]) => id);
    }
    throw new Error(`fewer than ${least} panels are drawn; not these: ${page.missing}`);
}

export async function everyDashboard(page) {
    await page.click("#to-dashboards");
    const choices = page.locator("#dashboard-choice button");
    await choices.first().waitFor();
    check((await choices.count()) === 3, "three dashboards");
    for (const [place, least] of [[0, 20], [1, 18], [2, 14]]) {
        const title = await choices.nth(place).textContent();
        await choices.nth(place).click();
        await page.click('#ranges [data-value="5m"]');
        step(`${title}: ${await drawn(page, least)} panels drawn`);
    }
}

export async function readout(page) {
    step("values of a chart by keyboard");
    await page.locator("#dashboard-choice button").first().click();
    const panel = page.locator(".panel.draws-lines", { has: page.locator("svg.chart") }).first();
    await panel.scrollIntoViewIfNeeded();
    await panel.locator("svg.chart").focus();
    await page.keyboard.press("ArrowLeft");
    await panel.locator(".key thead th", { hasText: /^\d\d:\d\d:\d\d$/ }).waitFor();
    await page.keyboard.press("Escape");
    await panel.locator(".key thead th", { hasText: "now" }).waitFor();
}
