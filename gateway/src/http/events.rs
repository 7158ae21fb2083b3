//! `GET /events`: what happens to all payments.

use super::routes::Routes;
use runtime::http::{Answer, RequestContext, event_stream};
use wire::Problem;

/// Tells until the client goes, an hour has passed, or the gateway drains.
pub(super) fn all(context: &RequestContext, routes: &Routes) -> Result<Answer, Problem> {
    let place = routes.listeners.enter()?;
    let (answer, sender) = event_stream(&context.connection, &routes.drain);
    routes.feed.join(sender, place)?;
    Ok(answer)
}
