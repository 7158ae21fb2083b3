//! HTTP/1.1 on hyper: one listener for the gateway and every admin port, with every bound that hyper leaves
//! to us.

mod admin;
mod answer;
mod body;
mod client;
mod context;
mod event_stream;
mod log_level;
mod peers;
mod request;
mod server;
mod service_routes;

pub use admin::{Admin, Check, Health, NoService};
pub use answer::{
    Answer, Parts, about, bare, json, method_not_allowed, not_found, parts, problem, text, waited,
};
pub use body::{BodyLimit, BodyPlace, BodyRoom, read_json, read_large_json};
pub use client::{Heard, HttpClient, NoAnswer, public_url};
pub use context::{Connection, RequestContext};
pub use event_stream::{EventSender, EventStream, Lagging, event, event_stream};
pub use server::{BindError, Handler, bind, serve};
pub use service_routes::{Refused, query, service_request};
