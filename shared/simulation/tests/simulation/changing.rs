//! A value that changes, and that others wait for. Tokio's watch channel wakes those who wait in an order of
//! chance, so that no run could be repeated; here whoever came first is woken first.

use std::pin::pin;
use std::sync::Mutex;
use tokio::sync::Notify;

pub(crate) struct Changing<T> {
    value: Mutex<T>,
    changed: Notify,
}

impl<T: Copy> Changing<T> {
    pub(crate) fn new(value: T) -> Changing<T> {
        Changing { value: Mutex::new(value), changed: Notify::new() }
    }

    pub(crate) fn get(&self) -> T {
        *self.value.lock().unwrap()
    }

    pub(crate) fn set(&self, value: T) {
        *self.value.lock().unwrap() = value;
        self.changed.notify_waiters();
    }

    /// Waits until it is one of these; at once, where it is.
    pub(crate) async fn wait_for(&self, is_one: impl Fn(T) -> bool) {
        loop {
            let mut changed = pin!(self.changed.notified());
            // Before the look: a change right after it is not missed.
            changed.as_mut().enable();
            if is_one(self.get()) {
                return;
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tokio::task::JoinSet;

    #[tokio::test(start_paused = true)]
    async fn whoever_came_first_is_woken_first() {
        const WAITING: u32 = 32;
        for _ in 0..8 {
            let (number, woken) = (Arc::new(Changing::new(0)), Arc::new(Mutex::new(Vec::new())));
            let mut tasks = JoinSet::new();
            for place in 0..WAITING {
                let (number, woken) = (number.clone(), woken.clone());
                tasks.spawn(async move {
                    number.wait_for(|number| number > 1).await;
                    woken.lock().unwrap().push(place);
                });
            }
            for value in 1..=2 {
                tokio::task::yield_now().await;
                number.set(value);
            }
            while tasks.join_next().await.is_some() {}
            assert_eq!(*woken.lock().unwrap(), (0..WAITING).collect::<Vec<_>>());
            number.wait_for(|number| number == 2).await;
        }
    }
}
