//! The routes of every port, as metrics, spans and log lines name them: templates, never what a client wrote.

domain::closed_set! {
    /// A route's template.
    Route {
        /// Accepts a payment.
        Payments = "/payments",
        /// A payment's status.
        Payment = "/payments/{id}",
        /// Opens an account.
        Accounts = "/accounts",
        /// An account.
        Account = "/accounts/{id}",
        /// Deposits into an account.
        Deposits = "/accounts/{id}/deposits",
        /// `wallet.balance`.
        Balance = "/balance/{id}",
        /// `fx.rate`.
        Rate = "/rate",
        /// `fx.convert`.
        Convert = "/convert",
        /// `risk.score`.
        Score = "/score",
        /// The process is alive.
        Health = "/healthz",
        /// The same.
        Liveness = "/livez",
        /// The role can do its work.
        Readiness = "/readyz",
        /// The role's metrics.
        Metrics = "/metrics",
        /// Which log lines are written.
        LogLevel = "/log-level",
        /// No route: whatever else was asked for.
        Other = "other",
    }
}

impl Route {
    /// The route of a path, with what the path puts in the template's place.
    pub fn of(path: &str) -> (Route, &str) {
        let mut segments = path.strip_prefix('/').unwrap_or("").split('/');
        let [first, second, third, beyond] = [(); 4].map(|()| segments.next());
        match (first, second, third, beyond) {
            (Some("payments"), Some(id), None, None) => (Route::Payment, id),
            (Some("accounts"), Some(id), None, None) => (Route::Account, id),
            (Some("accounts"), Some(id), Some("deposits"), None) => (Route::Deposits, id),
            (Some("balance"), Some(id), None, None) => (Route::Balance, id),
            _ => {
                (Route::named(path).filter(|route| !route.as_str().contains('{')).unwrap_or(Route::Other), "")
            }
        }
    }

    /// Whether people and probes ask this of a process, and not of the service.
    pub const fn is_about_the_process(self) -> bool {
        matches!(self, Route::Health | Route::Liveness | Route::Readiness | Route::Metrics | Route::LogLevel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_route() {
        for (path, expected) in [
            ("/payments", (Route::Payments, "")),
            ("/payments/", (Route::Payment, "")),
            ("/payments/PAY-1", (Route::Payment, "PAY-1")),
            ("/payments/PAY-1/x", (Route::Other, "")),
            ("/payments/{id}", (Route::Payment, "{id}")),
            ("/accounts/A/deposits", (Route::Deposits, "A")),
            ("/accounts/A/deposits/", (Route::Other, "")),
            ("/balance", (Route::Other, "")),
            ("/balance/A", (Route::Balance, "A")),
            ("/score", (Route::Score, "")),
            ("/metrics", (Route::Metrics, "")),
            ("other", (Route::Other, "")),
            ("/", (Route::Other, "")),
            ("", (Route::Other, "")),
            ("*", (Route::Other, "")),
        ] {
            assert_eq!(Route::of(path), expected, "{path}");
        }
    }
}
