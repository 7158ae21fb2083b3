//! What lies between a process and a server: a request may be lost, late, or answered to nobody, and the
//! process may die before or after it.

use crate::conditions::Conditions;
use crate::faults::Fault;
use crate::process::{Process, Reach, Server};
use crate::windows::Struck;
use runtime::broker::BrokerError;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use store::StoreError;

/// How long each server is waited for: as the clients of the programs do.
const BROKER_PATIENCE: Duration = Duration::from_secs(5);
pub(crate) const LEDGER_PATIENCE: Duration = Duration::from_secs(8);

/// How an error of a server's client says that nothing is known, and that nothing was done.
pub(crate) trait Unreached: Send {
    fn unanswered(call: &'static str) -> Self;
    fn refused() -> Self;
}

impl Unreached for BrokerError {
    fn unanswered(call: &'static str) -> BrokerError {
        match call {
            "publish" | "publish_batch" | "publish_singles" => {
                BrokerError::Unknown("no answer in time".to_owned())
            }
            _ => BrokerError::Unavailable("no answer in time".to_owned()),
        }
    }

    fn refused() -> BrokerError {
        BrokerError::Unavailable("not connected".to_owned())
    }
}

impl Unreached for StoreError {
    fn unanswered(_: &'static str) -> StoreError {
        StoreError::Silent(LEDGER_PATIENCE)
    }

    fn refused() -> StoreError {
        StoreError::Silent(Duration::ZERO)
    }
}

/// A process' way to the servers; clones are the same way.
#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) process: Arc<Process>,
}

impl Link {
    pub(crate) fn conditions(&self) -> &Conditions {
        &self.process.conditions
    }

    /// Tells a step of the process.
    pub(crate) fn tell<T: std::fmt::Display>(&self, what: impl FnOnce() -> T) {
        self.conditions().tell(&self.process.name, what);
    }

    /// One call. `told` is how the trace names it; `act` is what the server does.
    pub(crate) async fn ask<T, E: Unreached>(
        &self,
        server: Server,
        call: &'static str,
        told: impl Fn() -> String + Send,
        act: impl Future<Output = Result<T, E>> + Send,
    ) -> Result<T, E> {
        let conditions = self.conditions();
        conditions.called();
        self.process.goes_on().await;
        self.may_die(Fault::DiesBefore, Struck::DiedBefore, call, &told).await;
        self.travel().await;
        match self.process.reach(server) {
            Reach::Up if conditions.strikes(Fault::RequestLost) => {
                return self.give_up(server, call, &told, "is not carried out").await;
            }
            Reach::Up => {}
            Reach::Away => {
                self.tell(|| format!("{} is refused", told()));
                return Err(E::refused());
            }
            Reach::Silent => return self.give_up(server, call, &told, "is not heard").await,
        }
        let answer = act.await;
        let struck = if answer.is_ok() { Struck::DiedAfter } else { Struck::DiedAfterError };
        self.may_die(Fault::DiesAfter, struck, call, &told).await;
        // An error is an answer, too; what was carried out and is not answered is what hurts.
        if answer.is_ok()
            && (conditions.strikes(Fault::AnswerLost) || self.process.reach(server) == Reach::Silent)
        {
            return self.give_up(server, call, &told, "is carried out, and not answered").await;
        }
        self.travel().await;
        self.process.goes_on().await;
        answer
    }

    /// Nothing comes until patience ends.
    async fn give_up<T, E: Unreached>(
        &self,
        server: Server,
        call: &'static str,
        told: &(impl Fn() -> String + Send),
        what: &'static str,
    ) -> Result<T, E> {
        self.tell(|| format!("{} {what}", told()));
        self.conditions().struck_call(self.process.role, call, Struck::NoAnswer);
        self.patience(server).await;
        Err(E::unanswered(call))
    }

    pub(crate) async fn patience(&self, server: Server) {
        let patience = match server {
            Server::Broker => BROKER_PATIENCE,
            Server::Ledger => LEDGER_PATIENCE,
        };
        tokio::time::sleep(patience).await;
        self.process.goes_on().await;
    }

    /// The process may come to its end here.
    async fn may_die(
        &self,
        fault: Fault,
        struck: Struck,
        call: &'static str,
        told: &(impl Fn() -> String + Send),
    ) {
        // Most calls are reads, and a death between two of them shows nothing.
        let writes =
            matches!(call, "publish_batch" | "publish_singles" | "reserve" | "settle" | "record_rejections");
        if (writes || self.conditions().chance().one_in(8)) && self.conditions().strikes(fault) {
            let when = if struck == Struck::DiedBefore { "before" } else { "after" };
            self.tell(|| format!("dies {when} {}", told()));
            self.conditions().struck_call(self.process.role, call, struck);
            self.process.die();
            std::future::pending().await
        }
    }

    /// The way of a request or an answer.
    pub(crate) async fn travel(&self) {
        let chance = self.conditions().chance();
        if self.conditions().strikes(Fault::Delay) {
            tokio::time::sleep(chance.milliseconds(100..4_000)).await;
        } else {
            match chance.below(4) {
                0 => {}
                1 => tokio::task::yield_now().await,
                _ => tokio::time::sleep(chance.milliseconds(1..4)).await,
            }
        }
    }
}
