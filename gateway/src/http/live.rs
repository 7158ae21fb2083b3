//! `GET /live`: how every role does.

use super::routes::Routes;
use runtime::http::{Answer, RequestContext, event_stream};
use wire::Problem;

/// Tells once a second until the client goes, an hour has passed, or the gateway drains.
pub(super) fn listen(context: &RequestContext, routes: &Routes) -> Result<Answer, Problem> {
    let place = routes.listeners.enter()?;
    let (answer, sender) = event_stream(&context.connection, &routes.drain);
    routes.live.join(sender, place);
    Ok(answer)
}
