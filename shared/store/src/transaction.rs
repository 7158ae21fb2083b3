//! One way to run a transaction: in a task that nobody cancels, again when it loses a race, around what
//! others have locked.

use crate::error::{is_lock_timeout, lost_a_race};
use crate::lease::Lease;
use crate::locked_rows::RowKey;
use crate::locks::{Locks, Waiting};
use crate::{Store, StoreError};
use domain::system_account::OPERATIONS_MAX;
use sqlx::Connection;
use sqlx::postgres::PgConnection;
use std::future::Future;
use std::ops::{Deref, Range};
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// How often a batch is judged again before its caller hears of it. Locks are taken in one order, so losing
/// even once takes an outsider; ten losses in a row are an outage.
pub(crate) const ATTEMPTS_MAX: u32 = 10;

/// How often one batch may wait for keys that others insert. Finding one payment of a thousand takes eleven
/// waits.
const WAITS_MAX: u32 = 12;

/// How one attempt ended.
pub(crate) enum Attempt<T> {
    /// Everything expected was written: commit.
    Commit(T),
    /// Nothing is to be written: end the transaction without effect.
    Nothing(T),
    /// Fewer rows were written than judged: someone was faster. Roll back and judge again.
    Again,
}

/// Why an attempt broke off.
#[derive(Debug)]
pub(crate) enum Broken {
    /// A row that is to be locked stayed locked for `lock_timeout`.
    RowLocked(sqlx::Error),
    /// Another transaction is inserting a key that this one inserts, and did not end within `lock_timeout`.
    KeyLocked(sqlx::Error),
    /// What trying again does not mend.
    Failed(StoreError),
}

impl Broken {
    /// The error of a statement that locks rows.
    pub(crate) fn at_lock(error: sqlx::Error) -> Broken {
        if is_lock_timeout(&error) { Broken::RowLocked(error) } else { Broken::Failed(error.into()) }
    }

    /// The error of a statement that inserts keys which others may insert as well.
    pub(crate) fn at_insert(error: sqlx::Error) -> Broken {
        if is_lock_timeout(&error) { Broken::KeyLocked(error) } else { Broken::Failed(error.into()) }
    }

    /// Whether the same batch may be judged again at once.
    pub(crate) fn lost_a_race(&self) -> bool {
        matches!(self, Broken::Failed(StoreError::Unavailable(error)) if lost_a_race(error))
    }
}

impl From<StoreError> for Broken {
    fn from(error: StoreError) -> Broken {
        Broken::Failed(error)
    }
}

impl From<sqlx::Error> for Broken {
    fn from(error: sqlx::Error) -> Broken {
        Broken::Failed(error.into())
    }
}

impl From<Broken> for StoreError {
    fn from(broken: Broken) -> StoreError {
        match broken {
            // A whole table is locked: that is an outage.
            Broken::RowLocked(error) | Broken::KeyLocked(error) => StoreError::Unavailable(error),
            Broken::Failed(error) => error,
        }
    }
}

/// A part of a batch, in its order.
pub(crate) struct Piece<I> {
    items: Arc<[I]>,
    range: Range<usize>,
}

impl<I> Clone for Piece<I> {
    fn clone(&self) -> Piece<I> {
        Piece { items: Arc::clone(&self.items), range: self.range.clone() }
    }
}

impl<I> Deref for Piece<I> {
    type Target = [I];
    fn deref(&self) -> &[I] {
        self.items.get(self.range.clone()).unwrap_or_default()
    }
}

type Step<'t, T> = Pin<Box<dyn Future<Output = Result<Attempt<T>, Broken>> + Send + 't>>;

impl Store {
    /// Answers every item of a batch, in order. `rows` says which rows an item needs, the one that it inserts
    /// first: items that need a row which was locked a moment ago are `locked` without being asked about. The
    /// rest is judged at once, and where one of its INSERTs waits, in halves, down to the one item that is
    /// then `locked`.
    pub(crate) async fn judge_all<I, A, F>(
        &self,
        items: Vec<I>,
        rows: impl Fn(&I) -> Vec<RowKey>,
        locked: fn() -> A,
        judge: impl Fn(Piece<I>) -> F,
    ) -> Result<Vec<A>, StoreError>
    where
        F: Future<Output = Result<Vec<A>, Broken>>,
    {
        let is_locked = self.known_to_be_locked(&items, &rows);
        let free: Arc<[I]> = items
            .into_iter()
            .zip(&is_locked)
            .filter(|(_, is_locked)| !**is_locked)
            .map(|(item, _)| item)
            .collect();
        let remember = |item: &I| {
            if let Some(own) = rows(item).into_iter().next() {
                let mut memory = self.locked_rows.lock().unwrap_or_else(PoisonError::into_inner);
                memory.remember_key(own, Instant::now());
            }
        };
        let mut judged = judge_in_pieces(free, locked, judge, remember).await?.into_iter();
        Ok(is_locked
            .into_iter()
            .filter_map(|is_locked| if is_locked { Some(locked()) } else { judged.next() })
            .collect())
    }

    fn known_to_be_locked<I>(&self, items: &[I], rows: &impl Fn(&I) -> Vec<RowKey>) -> Vec<bool> {
        let now = Instant::now();
        let mut memory = self.locked_rows.lock().unwrap_or_else(PoisonError::into_inner);
        if memory.is_empty(now) {
            return vec![false; items.len()];
        }
        items.iter().map(|item| memory.has_any(&rows(item), now)).collect()
    }

    /// Runs `body` over `input` in a transaction until it commits. When the caller goes away the task goes on;
    /// whoever asks again meets its locks, or its rows.
    pub(crate) async fn transact<I, T, F>(&self, input: I, body: F) -> Result<T, Broken>
    where
        I: Send + Sync + 'static,
        T: Send + 'static,
        F: for<'t> Fn(&'t mut PgConnection, &'t I, &'t Locks) -> Step<'t, T> + Send + Sync + 'static,
    {
        let store = self.clone();
        // The task ends by itself, and by then its connection is free or closed.
        let ended = match tokio::spawn(async move { store.attempt(&input, &body).await }).await {
            Ok(ended) => ended,
            Err(failure) => Err(StoreError::Panicked(failure.to_string()).into()),
        };
        ended.map_err(|broken| match broken {
            Broken::Failed(error) => Broken::Failed(error.of(&self.pool.connect_options())),
            locked @ (Broken::RowLocked(_) | Broken::KeyLocked(_)) => locked,
        })
    }

    /// Makes one attempt after the other until one commits. All of them have one deadline, twice the patience
    /// however many statements they take: an attempt that loses against others loses quickly, and a server
    /// that takes longer for a batch is silent to us. That is some two hundred times a slow batch, and meant:
    /// what is cut is asked again.
    async fn attempt<I, T, F>(&self, input: &I, body: &F) -> Result<T, Broken>
    where
        F: for<'t> Fn(&'t mut PgConnection, &'t I, &'t Locks) -> Step<'t, T>,
    {
        let patience = self.patience * 2;
        let deadline = tokio::time::Instant::now() + patience;
        let memory = &self.locked_rows;
        let is_pointless =
            memory.lock().unwrap_or_else(PoisonError::into_inner).is_waiting_pointless(Instant::now());
        let mut waiting = if is_pointless { Waiting::Skipping } else { Waiting::UntilTimeout };
        let mut has_waited = false;
        for attempt in 0..ATTEMPTS_MAX {
            // A row that was skipped without a wait may be locked by a batch that is as healthy as this one.
            let locks = Locks::new(waiting, has_waited.then(|| Arc::clone(memory)));
            let Ok(lease) = tokio::time::timeout_at(deadline, Lease::take(self, &self.writes)).await else {
                return Err(StoreError::Unavailable(sqlx::Error::PoolTimedOut).into());
            };
            let mut lease = lease?;
            let tried = try_once(lease.connection(), input, &locks, body);
            let Ok(tried) = tokio::time::timeout_at(deadline, tried).await else {
                lease.give_up();
                return Err(StoreError::Silent(patience).into());
            };
            if matches!(tried, Ok(Attempt::Commit(_))) {
                lease.is_answered();
            }
            drop(lease);
            match tried {
                Ok(Attempt::Commit(outcome) | Attempt::Nothing(outcome)) => return Ok(outcome),
                Ok(Attempt::Again) => {}
                Err(Broken::RowLocked(_)) if waiting == Waiting::UntilTimeout => {
                    memory.lock().unwrap_or_else(PoisonError::into_inner).waited_in_vain(Instant::now());
                    (waiting, has_waited) = (Waiting::Skipping, true);
                    continue;
                }
                Err(broken) if broken.lost_a_race() => {}
                Err(broken) => {
                    if let Broken::Failed(StoreError::Unavailable(error)) = &broken {
                        self.renewal.notice(error);
                    }
                    return Err(broken);
                }
            }
            tokio::time::sleep(Duration::from_millis(u64::from(attempt))).await;
        }
        Err(StoreError::Contention(ATTEMPTS_MAX).into())
    }
}

/// Judges a batch at once, and where one of its INSERTs waits, in halves, down to the one item that is then
/// `locked`; `locked_key` is told of it.
pub(crate) async fn judge_in_pieces<I, A, F>(
    items: Arc<[I]>,
    locked: fn() -> A,
    judge: impl Fn(Piece<I>) -> F,
    locked_key: impl Fn(&I),
) -> Result<Vec<A>, StoreError>
where
    F: Future<Output = Result<Vec<A>, Broken>>,
{
    let mut answers = Vec::with_capacity(items.len());
    let starts = (0..items.len()).step_by(OPERATIONS_MAX).rev();
    let mut pieces: Vec<Range<usize>> =
        starts.map(|start| start..items.len().min(start + OPERATIONS_MAX)).collect();
    let (mut waits, mut is_any_judged) = (0, false);
    while let Some(range) = pieces.pop() {
        let piece = Piece { items: Arc::clone(&items), range: range.clone() };
        if waits == WAITS_MAX {
            answers.extend(piece.iter().map(|_| locked()));
            continue;
        }
        let error = match judge(piece.clone()).await {
            Ok(judged) => {
                answers.extend(judged);
                is_any_judged = true;
                continue;
            }
            Err(Broken::KeyLocked(error)) => error,
            Err(broken) => return Err(broken.into()),
        };
        waits += 1;
        if waits == WAITS_MAX && !is_any_judged {
            // Not one of them can be written: the others are no better off without the first.
            return Err(StoreError::Unavailable(error));
        } else if let [item] = &*piece {
            locked_key(item);
            answers.push(locked());
        } else {
            let middle = range.start + range.len() / 2;
            pieces.extend([middle..range.end, range.start..middle]);
        }
    }
    Ok(answers)
}

/// One transaction, from its BEGIN to its end.
async fn try_once<I, T, F>(
    connection: &mut PgConnection,
    input: &I,
    locks: &Locks,
    body: &F,
) -> Result<Attempt<T>, Broken>
where
    F: for<'t> Fn(&'t mut PgConnection, &'t I, &'t Locks) -> Step<'t, T>,
{
    let mut transaction = connection.begin().await?;
    let tried = body(&mut transaction, input, locks).await;
    match &tried {
        Ok(Attempt::Commit(_)) => transaction.commit().await?,
        // The connection may be what failed. If not, it is rolled back on its way to the pool.
        Err(broken @ Broken::Failed(_)) if !broken.lost_a_race() => drop(transaction),
        // Its locks are let go before anyone asks for them again.
        _ => transaction.rollback().await?,
    }
    tried
}
