// The page: two views under one heading.

import { byId, setAttribute } from "./dom.js";
import { startEvents } from "./events.js";
import { startLive } from "./live.js";
import { startPanels } from "./panels.js";
import { startPay } from "./pay.js";
import { startPayment } from "./payment.js";
import { startPipeline } from "./pipeline.js";
import { view } from "./presence.js";
import { startTheme } from "./theme.js";

function showView() {
    const shown = view();
    for (const name of ["live", "dashboards"]) {
        byId(name).hidden = name !== shown;
        setAttribute(byId(`to-${name}`), "aria-current", name === shown ? "page" : null);
    }
    document.title = shown === "live" ? "Kilat: live" : "Kilat: dashboards";
}

startTheme();
showView();
addEventListener("hashchange", showView);
startPipeline();
startLive();
startPayment();
startPay();
startEvents();
startPanels();

// A jump that leaves the address alone, which names the view.
byId("skip").addEventListener("click", (event) => {
    event.preventDefault();
    byId("main").focus();
});
