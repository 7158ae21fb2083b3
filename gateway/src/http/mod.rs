//! The HTTP face: headers, bodies, paths and status codes are known here and nowhere else in the gateway.

mod accounts;
mod events;
mod live;
mod page;
mod panels;
mod payments;
mod status;

mod payment_events;

mod conditions;

mod routes;

use hyper::header::{HeaderName, HeaderValue};
pub(crate) use routes::Routes;

/// On an answer that was given before.
const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
const TRUE: HeaderValue = HeaderValue::from_static("true");
