// Streams for as long as the page is seen. A browser opens six connections to a server, whatever the number of
// tabs: a page that nobody sees must hold none of them.

// Runs `start`, which gives what stops it, whenever `isWanted` holds and the page is seen. Gives what looks again.
export function whileSeen(start, isWanted = () => true) {
    let stop = null;
    function look() {
        const shall = isWanted() && document.visibilityState === "visible";
        if (shall && stop === null) {
            stop = start();
        } else if (!shall && stop !== null) {
            stop();
            stop = null;
        }
    }
    document.addEventListener("visibilitychange", look);
    addEventListener("hashchange", look);
    look();
    return look;
}

// Which view the address names.
export function view() {
    return location.hash.startsWith("#dashboards") ? "dashboards" : "live";
}

// The payment that the address names.
export function paymentInAddress() {
    const found = /^#payment=(.+)$/.exec(location.hash);
    try {
        return found === null ? null : decodeURIComponent(found[1]);
    } catch {
        return null;
    }
}
