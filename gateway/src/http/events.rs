//! `GET /events`: what happens to all payments.

use super::routes::Routes;
use runtime::http::{Answer, RequestContext, event_stream};
use wire::{Code, Problem};

/// Tells until the client goes, an hour has passed, or the gateway drains.
pub(super) fn all(context: &RequestContext, routes: &Routes) -> Result<Answer, Problem> {
    let place = routes.event_streams.clone().try_acquire_owned().map_err(|_| {
        Problem::new(Code::Overloaded, "more streams of events are open than the gateway keeps")
    })?;
    let (answer, sender) = event_stream(&context.connection, &routes.drain);
    routes.feed.join(sender, place)?;
    Ok(answer)
}
