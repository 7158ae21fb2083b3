//! Taking what is ready, all of it, without waiting for more.

use futures::{FutureExt, Stream, StreamExt};

/// The next item if it is ready: nothing when it is not, `Some(None)` at the end.
///
/// Tokio lets a task poll its channels some hundred times and then answers that nothing is ready although
/// thousands wait, so that other tasks have their turn. Batches would end there; they have bounds of their
/// own.
pub(super) fn ready<S: Stream + Unpin>(stream: &mut S) -> Option<Option<S::Item>> {
    tokio::task::unconstrained(stream.next()).now_or_never()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;

    #[tokio::test]
    async fn a_batch_takes_all_that_waits() {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        (0..2_000).for_each(|number| sender.send(number).unwrap());
        let mut waiting = futures::stream::poll_fn(|context| receiver.poll_recv(context));
        let mut batch = Vec::new();
        while batch.len() < 512
            && let Some(Some(number)) = ready(&mut waiting)
        {
            batch.push(number);
        }
        assert_eq!(batch.len(), 512);
        while let Some(Some(number)) = ready(&mut waiting) {
            batch.push(number);
        }
        assert_eq!(batch, (0..2_000).collect::<Vec<_>>());
        drop(sender);
        assert_eq!(ready(&mut waiting), Some(None), "the end is told apart from a pause");
    }
}
