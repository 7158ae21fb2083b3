//! The streams as the border, the stages and the janitor use them, so that each can work on streams in memory
//! as well.

use super::{AcceptedHead, Bounds, Broker, BrokerError, Outgoing, Progress, Since, Stored, Subscription};
use crate::config::PipelineConfig;
use std::future::Future;
use wire::{Stream, Subject};

/// A trait over some of the broker's own methods, which say what they do.
macro_rules! seam {
    ($(#[$doc:meta])* $seam:ident { $(fn $name:ident(&self $(, $argument:ident: $kind:ty)*) -> $answer:ty;)+ }) => {
        $(#[$doc])*
        pub trait $seam: Clone + Send + Sync + 'static {
            $(
                #[doc = concat!("See [`Broker::", stringify!($name), "`].")]
                fn $name(&self $(, $argument: $kind)*) -> impl Future<Output = Result<$answer, BrokerError>> + Send;
            )+
        }

        impl $seam for Broker {
            $(
                async fn $name(&self $(, $argument: $kind)*) -> Result<$answer, BrokerError> {
                    Broker::$name(self $(, $argument)*).await
                }
            )+
        }
    };
}

seam! {
    /// The streams of the pipeline.
    Streams {
        fn declare_all(&self, pipeline: &PipelineConfig) -> ();
        fn publish(&self, message: &Outgoing) -> ();
        fn publish_singles(&self, messages: &[Outgoing]) -> Vec<Result<(), BrokerError>>;
        fn publish_batch(&self, batch: &[Outgoing]) -> ();
        fn last(&self, stream: Stream, subject: &Subject) -> Option<Stored>;
        fn last_of_each(&self, stream: Stream, subjects: &[Subject]) -> Vec<Stored>;
        fn progress(&self, stream: Stream) -> Option<Progress>;
        fn bounds(&self, stream: Stream) -> Option<Bounds>;
        fn accepted_heads(&self, seq: u64, max: usize) -> Vec<AcceptedHead>;
        fn accepted_since(&self, since: Since, last: u64, visit: &mut (dyn FnMut(Stored) + Send)) -> ();
        fn purge_below(&self, stream: Stream, seq: u64) -> u64;
        fn subscribe(&self, subject: &str) -> Subscription;
        fn trim(&self, stream: Stream, pipeline: &PipelineConfig) -> Option<Progress>;
    }
}
