//! The rates of a run, which move; every fx process is told of them.

use crate::conditions::Conditions;
use domain::Timestamp;
use runtime::broker::{BucketChange, BucketEvent};
use std::sync::Mutex;

/// What a currency is worth in each other one, at first, in millionths.
const PAIRS: [(&str, u64); 3] = [("EUR.USD", 1_082_300), ("EUR.JPY", 163_500_000), ("EUR.KWD", 332_100)];

/// A way to tell a process of a rate.
type Tell = Box<dyn Fn(BucketEvent) + Send + Sync>;

/// One rate, in millionths; while it is taken out of the book it is kept here.
struct BookLine {
    key: &'static str,
    millionths: u64,
    at: Timestamp,
    is_out: bool,
}

/// The book, and who is told of it.
pub(crate) struct Rates {
    book: Mutex<Vec<BookLine>>,
    listeners: Mutex<Vec<(String, Tell)>>,
}

impl Rates {
    pub(crate) fn new(conditions: &Conditions) -> Rates {
        let now = conditions.now();
        let line = |(key, millionths): &(&'static str, u64)| BookLine {
            key,
            millionths: *millionths,
            at: now,
            is_out: false,
        };
        let book = PAIRS.iter().map(line).collect();
        Rates { book: Mutex::new(book), listeners: Mutex::default() }
    }

    /// A process of this name has started: it is told of the book, and of what changes.
    pub(crate) fn follow(&self, name: &str, tell: impl Fn(BucketEvent) + Send + Sync + 'static) {
        self.book.lock().unwrap().iter().for_each(|rate| tell(changed(rate)));
        tell(BucketEvent::Complete);
        let mut listeners = self.listeners.lock().unwrap();
        listeners.retain(|(other, _)| other != name);
        listeners.push((name.to_owned(), Box::new(tell)));
    }

    /// One of them changes by up to a tenth, or is taken out of the book, or is there again.
    pub(crate) fn change(&self, conditions: &Conditions) {
        let mut book = self.book.lock().unwrap();
        let place = usize::try_from(conditions.chance().below(book.len() as u64)).unwrap();
        let line = &mut book[place];
        line.millionths = line.millionths * conditions.chance().between(900..1_100) / 1_000;
        line.at = conditions.now();
        line.is_out = !line.is_out && conditions.chance().one_in(3);
        let BookLine { key, millionths, is_out, .. } = line;
        let is_there = if *is_out { "and is taken out" } else { "" };
        conditions.tell("world", || format!("{key} is {millionths} millionths {is_there}"));
        let event = changed(&book[place]);
        self.listeners.lock().unwrap().iter().for_each(|(_, tell)| tell(event.clone()));
    }
}

fn changed(line: &BookLine) -> BucketEvent {
    let value = format!("{}.{:06}", line.millionths / 1_000_000, line.millionths % 1_000_000);
    let value = (!line.is_out).then(|| value.into());
    BucketEvent::Changed(BucketChange { key: line.key.to_owned(), value, at: line.at })
}
