//! The routes of every port, as metrics, spans and log lines name them: templates, never what a client wrote.

use crate::Role;
use crate::service::Endpoint;

domain::closed_set! {
    /// How a route is asked for.
    Method {
        /// Reads.
        Get = "GET",
        /// Reads, and leaves the body out.
        Head = "HEAD",
        /// Adds.
        Post = "POST",
        /// Sets.
        Put = "PUT",
        /// Removes.
        Delete = "DELETE",
        /// Changes.
        Patch = "PATCH",
        /// Asks what may be asked.
        Options = "OPTIONS",
        /// No HTTP at all: request-reply.
        Nats = "NATS",
        /// Whatever else a client may call it.
        Other = "other",
    }
}

domain::closed_set! {
    /// A route's template.
    Route {
        /// Accepts a payment.
        Payments = "/payments",
        /// Accepts many payments, each by itself.
        PaymentBatch = "/payments/batch",
        /// A payment's status.
        Payment = "/payments/{id}",
        /// What happens to a payment, as it happens.
        PaymentEvents = "/payments/{id}/events",
        /// What happens to all payments.
        Events = "/events",
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
        /// The page.
        Page = "/",
        /// How every role does, once a second.
        Live = "/live",
        /// The panels of the dashboards.
        Panels = "/panels",
        /// What a panel shows.
        Panel = "/panels/{id}",
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
            (Some("payments"), Some(id @ "batch"), None, None) => (Route::PaymentBatch, id),
            (Some("payments"), Some(id), None, None) => (Route::Payment, id),
            (Some("payments"), Some(id), Some("events"), None) => (Route::PaymentEvents, id),
            (Some("panels"), Some(id), None, None) => (Route::Panel, id),
            (Some("accounts"), Some(id), None, None) => (Route::Account, id),
            (Some("accounts"), Some(id), Some("deposits"), None) => (Route::Deposits, id),
            (Some("balance"), Some(id), None, None) => (Route::Balance, id),
            _ => {
                (Route::named(path).filter(|route| !route.as_str().contains('{')).unwrap_or(Route::Other), "")
            }
        }
    }

    /// The route as it is asked for by this method: a payment may be called what another route is called.
    pub fn by(self, method: Method) -> Route {
        if self == Route::PaymentBatch && method != Method::Post { Route::Payment } else { self }
    }

    /// Whether people and probes ask this of a process, and not of the service.
    pub const fn is_about_the_process(self) -> bool {
        matches!(self, Route::Health | Route::Liveness | Route::Readiness | Route::Metrics | Route::LogLevel)
    }

    /// How the route is asked for, and the HTTP status of its good answer; nothing where nothing is served.
    pub const fn good_answer(self) -> Option<(Method, u16)> {
        match self {
            Route::Payments => Some((Method::Post, 202)),
            Route::Accounts | Route::Deposits => Some((Method::Post, 201)),
            Route::PaymentBatch | Route::Score => Some((Method::Post, 200)),
            Route::Payment | Route::PaymentEvents | Route::Events => Some((Method::Get, 200)),
            Route::Account | Route::Balance | Route::Rate | Route::Convert => Some((Method::Get, 200)),
            Route::Page | Route::Live | Route::Panels | Route::Panel => Some((Method::Get, 200)),
            Route::Health | Route::Liveness | Route::Readiness | Route::Metrics => Some((Method::Get, 200)),
            Route::LogLevel => Some((Method::Put, 200)),
            Route::Other => None,
        }
    }

    /// Whether a role answers it with more than that there is nothing.
    pub fn is_served_by(self, role: Role) -> bool {
        match self {
            Route::Payments | Route::PaymentBatch | Route::Payment => role == Role::Gateway,
            Route::PaymentEvents | Route::Events => role == Role::Gateway,
            Route::Accounts | Route::Account | Route::Deposits => role == Role::Gateway,
            Route::Page | Route::Live | Route::Panels | Route::Panel => role == Role::Gateway,
            Route::Balance | Route::Rate | Route::Convert | Route::Score => {
                role == Role::Gateway || Endpoint::at(self).is_some_and(|endpoint| endpoint.role() == role)
            }
            Route::Health | Route::Liveness | Route::Readiness | Route::Metrics | Route::LogLevel => true,
            Route::Other => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_serves_its_own_routes_and_the_gateway_all() {
        for (role, expected) in [
            (Role::Fx, "/rate /convert"),
            (Role::Risk, "/score"),
            (Role::Wallet, "/balance/{id}"),
            (Role::Reserve, ""),
        ] {
            let own = Route::ALL.into_iter().filter(|route| !route.is_about_the_process());
            let served: Vec<&str> = own.filter(|route| route.is_served_by(role)).map(Route::as_str).collect();
            assert_eq!(served.join(" "), expected, "{role}");
        }
        for route in Route::ALL {
            let is_served = route.is_served_by(Role::Gateway);
            assert_eq!(
                (is_served, route.good_answer().is_some()),
                (route != Route::Other, is_served),
                "{route}"
            );
        }
    }

    #[test]
    fn a_path_has_one_route() {
        for (path, expected) in [
            ("/payments", (Route::Payments, "")),
            ("/payments/", (Route::Payment, "")),
            ("/payments/PAY-1", (Route::Payment, "PAY-1")),
            ("/payments/batch", (Route::PaymentBatch, "batch")),
            ("/payments/batch/", (Route::Other, "")),
            ("/payments/batch/events", (Route::PaymentEvents, "batch")),
            ("/payments/PAY-1/x", (Route::Other, "")),
            ("/payments/{id}", (Route::Payment, "{id}")),
            ("/payments/PAY-1/events", (Route::PaymentEvents, "PAY-1")),
            ("/payments/PAY-1/events/", (Route::Other, "")),
            ("/events", (Route::Events, "")),
            ("/live", (Route::Live, "")),
            ("/panels", (Route::Panels, "")),
            ("/panels/flow", (Route::Panel, "flow")),
            ("/accounts/A/deposits", (Route::Deposits, "A")),
            ("/accounts/A/deposits/", (Route::Other, "")),
            ("/balance", (Route::Other, "")),
            ("/balance/A", (Route::Balance, "A")),
            ("/score", (Route::Score, "")),
            ("/metrics", (Route::Metrics, "")),
            ("other", (Route::Other, "")),
            ("/", (Route::Page, "")),
            ("//", (Route::Other, "")),
            ("", (Route::Other, "")),
            ("*", (Route::Other, "")),
        ] {
            assert_eq!(Route::of(path), expected, "{path}");
        }
    }

    #[test]
    fn a_payment_may_be_called_batch() {
        for (path, method, expected) in [
            ("/payments/batch", Method::Post, Route::PaymentBatch),
            ("/payments/batch", Method::Get, Route::Payment),
            ("/payments/batch", Method::Delete, Route::Payment),
            ("/payments/PAY-1", Method::Post, Route::Payment),
            ("/payments", Method::Get, Route::Payments),
        ] {
            assert_eq!(Route::of(path).0.by(method), expected, "{method} {path}");
        }
    }
}
