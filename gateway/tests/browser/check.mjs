// What a browser sees of the page. Environment: PAGE_URL, PAGE_MODULES (the folder of the packages), PAGE_CHROMIUM,
// PAGE_SCREENSHOTS for pictures of both views, and PAGE_IS_SAMPLED=yes where more payments pass than are told of.
// Lines `act ...` on the output ask whoever started this to do something to the stack, and wait for `done`.

import { PAGE, Troubles, axeSource, check, launch, step } from "./browser.mjs";
import * as dashboards from "./dashboards.mjs";
import * as live from "./live.mjs";

const BYTES_MAX = 200 * 1_024;
const SIZES = [{ width: 400, height: 860 }, { width: 1_400, height: 900 }];
const THEMES = ["light", "dark"];

const troubles = new Troubles();

async function open(browser, options = {}) {
    const context = await browser.newContext({ viewport: SIZES[1], ...options });
    context.setDefaultTimeout(30_000);
    const page = await context.newPage();
    troubles.watch(page);
    page.troubles = troubles;
    return page;
}

async function weight() {
    step("weight, policy and the second visit");
    const response = await fetch(PAGE);
    const bytes = (await response.arrayBuffer()).byteLength;
    check(bytes < BYTES_MAX, `${bytes} bytes are fewer than ${BYTES_MAX}`);
    console.log(`step ${bytes} bytes in all`);
    const policy = response.headers.get("content-security-policy");
    check(policy.startsWith("default-src 'none'; script-src 'sha256-") && !policy.includes("unsafe"), policy);
    const again = await fetch(PAGE, { headers: { "if-none-match": response.headers.get("etag") } });
    check(again.status === 304, `${again.status} for a page that is known`);
}

// What reaches beyond the screen's edge, where the page can be moved sideways at all.
function tooWide() {
    if (document.documentElement.scrollWidth <= innerWidth) {
        return [];
    }
    const beyond = [...document.querySelectorAll("body *")].filter((node) => node.getBoundingClientRect().right > innerWidth + 1);
    return beyond.map((node) => node.outerHTML.slice(0, 160)).slice(0, 12);
}

// No rule of accessibility is broken, and nothing is wider than the screen, in any dress.
async function everyDress(browser) {
    for (const viewport of SIZES) {
        for (const theme of THEMES) {
            const page = await open(browser, { viewport, colorScheme: theme, reducedMotion: "reduce" });
            for (const view of ["live", "dashboards"]) {
                step(`${view}, ${viewport.width} wide, ${theme}`);
                await page.goto(`${PAGE}#${view}`);
                await page.locator('#connection[data-state="live"]').waitFor();
                if (view === "dashboards") {
                    await page.locator(".number").first().waitFor();
                    await page.locator(".panel.draws-lines").first().scrollIntoViewIfNeeded();
                    await page.locator("svg.chart").first().waitFor();
                } else {
                    await page.locator("#event-rows tr").first().waitFor();
                    await page.locator("#event-rows a").first().click();
                    await page.locator("#waterfall-rows tr").first().waitFor();
                }
                const wide = await page.evaluate(tooWide);
                check(wide.length === 0, `nothing is wider than the screen:\n${wide.join("\n")}`);
                await page.evaluate(axeSource);
                const { violations } = await page.evaluate(() => globalThis.axe.run());
                const told = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 160)).join(" | ")}`);
                check(violations.length === 0, `no rule of axe is broken:\n${told.join("\n")}`);
                await picture(page, `${view}-${viewport.width}-${theme}`);
            }
            await page.context().close();
        }
    }
}

async function picture(page, name) {
    const folder = process.env.PAGE_SCREENSHOTS;
    if (folder) {
        await page.evaluate(() => scrollTo(0, 0));
        await page.screenshot({ path: `${folder}/${name}.png`, fullPage: true });
    }
}

const browser = await launch();
let page;
try {
    await weight();
    page = await open(browser);
    await page.goto(PAGE);
    await live.figuresAreLive(page);
    const id = await live.payByKeyboard(page, process.env.PAGE_IS_SAMPLED === "yes");
    await live.conversion(page);
    await live.refused(page);
    await live.oneASecond(page);
    await live.opened(page, id);
    await dashboards.everyDashboard(page);
    await dashboards.readout(page);
    await everyDress(browser);
    await page.click("#to-live");
    await live.stoppedStage(page);
    await live.gatewayAway(page);
    check(troubles.found.length === 0, `nothing in the console:\n${troubles.found.join("\n")}`);
    console.log("passed");
} catch (failure) {
    console.error(failure.stack);
    console.error(troubles.found.join("\n"));
    if (process.env.PAGE_FAILURE && page) {
        await page.screenshot({ path: process.env.PAGE_FAILURE, fullPage: true }).catch(() => {});
    }
    process.exitCode = 1;
} finally {
    await browser.close();
    // The test's end of the input may stay open.
    process.exit(process.exitCode ?? 0);
}
