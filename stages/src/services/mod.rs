//! The micro services: what other processes, and people, ask by request-reply.

pub(crate) mod rates;
pub(crate) mod score;
pub(crate) mod wallet;
