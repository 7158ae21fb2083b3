// The live view: paying by keyboard, following, what stands still, and what is said when the gateway is away.

import { act, check, step } from "./browser.mjs";

async function isState(page, selector, state) {
    await page.locator(`${selector}[data-state="${state}"]`).waitFor();
}

// Tab after tab, as somebody without a pointer goes.
async function tabTo(page, id) {
    for (let tabs = 0; tabs < 60; tabs += 1) {
        if (await page.evaluate((id) => document.activeElement?.id === id, id)) {
            return;
        }
        await page.keyboard.press("Tab");
    }
    throw new Error(`no number of tabs leads to ${id}`);
}

export async function figuresAreLive(page) {
    step("figures are live, and money is conserved");
    await isState(page, "#connection", "live");
    await isState(page, "#money", "good");
    for (const stage of ["gateway", "risk", "fx", "reserve", "settle", "settle_rejected"]) {
        await isState(page, `.stage[data-stage="${stage}"]`, "up");
    }
}

export async function payByKeyboard(page, isSampled) {
    step("a payment by keyboard alone");
    await page.keyboard.press("Tab");
    check(await page.evaluate(() => document.activeElement.id === "skip"), "the first tab leads to the skip link");
    await page.keyboard.press("Enter");
    check(await page.evaluate(() => document.activeElement.id === "main"), "it leads to the content");
    await tabTo(page, "pay-amount");
    await page.keyboard.press("Control+A");
    await page.keyboard.type("7.25");
    await tabTo(page, "pay-send");
    await page.keyboard.press("Enter");
    await isState(page, "#payment-status", "good");
    const id = await page.locator("#payment-id").textContent();
    check(/^WEB-[0-9A-Z]+-[0-9A-Z]+$/.test(id), `an id of the page's own: ${id}`);
    await page.locator("#payment-facts", { hasText: "7.25 USD" }).waitFor();
    const widths = await page.locator("#waterfall-rows .waterfall-step").evaluateAll((bars) => bars.map((bar) => bar.getBBox().width));
    check(widths.length === 5 && widths.every((width) => width > 0), `five bars that are seen: ${widths}`);
    // Above a rate only some payments are told of; any will do then.
    await page.locator("#event-rows tr", { hasText: isSampled ? /./ : id }).filter({ hasText: "CAPTURED" }).first().waitFor();
    return id;
}

export async function conversion(page) {
    step("a conversion, its cost told before it is sent");
    await page.click('[data-preset="ACC_DST_EUR"]');
    await page.locator("#preview-rows .is-whole", { hasText: "EUR" }).waitFor();
    await page.locator("#preview-rows", { hasText: "Fee" }).waitFor();
    const told = await page.locator("#preview-rows .is-whole dd").textContent();
    await page.click("#pay-send");
    await page.locator("#payment-facts", { hasText: "ACC_DST_EUR" }).waitFor();
    await isState(page, "#payment-status", "good");
    await page.locator("#payment-facts", { hasText: told }).waitFor();
}

export async function refused(page) {
    step("a refusal says why");
    await page.fill("#pay-destination", "ACC_SRC_ABC");
    const before = page.troubles.isExpected;
    // A browser writes each 4xx into its console.
    page.troubles.isExpected = true;
    await page.click("#pay-send");
    await page.locator("#pay-problem", { hasText: "same_account" }).waitFor();
    page.troubles.isExpected = before;
    await page.click('[data-preset="ACC_DST_DEF"]');
}

export async function opened(page, id) {
    step("a link to a payment opens it");
    await page.goto(`${page.url().split("#")[0]}#payment=${id}`);
    await page.locator("#payment-id", { hasText: id }).waitFor();
    await isState(page, "#payment-status", "good");
}

export async function oneASecond(page) {
    step("one a second, until it is switched off");
    await page.click("#pay-streak");
    await page.locator("#pay-streak-note", { hasText: /^[4-9] of/ }).waitFor();
    const course = await page.locator('.stage[data-stage="settle"] .spark-line').getAttribute("d");
    check((course.match(/L/g) ?? []).length >= 2, `a course with points: ${course}`);
    await page.click("#pay-streak");
    check((await page.getAttribute("#pay-streak", "aria-checked")) === "false", "it is off");
}

export async function stoppedStage(page) {
    step("a stage that is killed is seen to stand still");
    await act("stop fx");
    await isState(page, '.stage[data-stage="fx"]', "down");
    await page.locator('.stage[data-stage="fx"]', { hasText: "STOPPED" }).waitFor();
    await page.locator("#stopped", { hasText: "fx has stopped" }).waitFor();
    await act("start fx");
    await isState(page, '.stage[data-stage="fx"]', "up");
    await page.locator("#stopped").waitFor({ state: "hidden" });
}

export async function gatewayAway(page) {
    step("a gateway that is away: nothing old is shown as live");
    page.troubles.isExpected = true;
    await act("stop gateway");
    await isState(page, "#connection", "waiting");
    const values = await page.locator(".figure:not(.is-money) .figure-value").allTextContents();
    check(values.every((value) => value === "–"), `no figures: ${values}`);
    await isState(page, "#money", "unknown");
    await act("start gateway");
    await figuresAreLive(page);
}
