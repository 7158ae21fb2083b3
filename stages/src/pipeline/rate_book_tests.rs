use super::*;
use devstack::testing::TestNats;
use runtime::config::NatsConfig;

fn currency(code: &str) -> Currency {
    Currency::parse(code).unwrap()
}

/// The rate in major units, or why there is none.
fn rate(books: &RateBooks, from: &str, to: &str) -> Result<String, Refusal> {
    let (from, to) = (currency(from), currency(to));
    // No rate of the tests is older than this.
    let now = Timestamp::parse("2999-01-01T00:00:00Z").unwrap();
    books.rate(from, to, now).map(|found| found.rate.to_major_string(from, to))
}

#[test]
fn every_line_of_the_day_file_is_a_rate() {
    let entries = seed();
    assert_eq!(entries.len(), SEED.lines().count() - 2);
    let books = RateBooks::new(1);
    for (key, value) in entries {
        let value = String::from_utf8(value).unwrap();
        books.write().tell(changed(&key, Some(&value), Timestamp::default()));
    }
    assert_eq!(rate(&books, "USD", "IDR"), Ok("18148.2008593".to_owned()));
}

/// What the watch tells, in order: `-` begins a watch, `!` says that the content is complete, `key=` removes
/// a pair. Then whether the rates are loaded, and the rate from EUR to USD.
#[test]
fn the_book_is_what_the_bucket_holds_once_it_was_read_whole() {
    let rows: [(&[&str], bool, Option<&str>); 9] = [
        (&["-"], false, None),
        (&["-", "!"], true, None),
        // Every seeded key was seen, and yet not all that is there.
        (&["-", "EUR.USD=1.1", "EUR.IDR=17000"], false, None),
        (&["-", "EUR.USD=1.1", "EUR.IDR=17000", "!"], true, Some("1.1")),
        (&["-", "EUR.USD=1.1", "!", "EUR.USD=1.2"], true, Some("1.2")),
        (&["-", "EUR.USD=1.1", "!", "EUR.USD=nonsense", "EURUSD=1.3"], true, Some("1.1")),
        (&["-", "EUR.USD=1.1", "!", "EUR.USD="], true, None),
        // The watch broke. What it knew holds until the next has read everything: then what was removed
        // meanwhile is gone, and what was mistyped meanwhile is as it was.
        (&["-", "EUR.USD=1.1", "!", "-", "EUR.IDR=17000"], true, Some("1.1")),
        (&["-", "EUR.USD=1.1", "!", "-", "EUR.USD=1.2", "-", "EUR.USD=nonsense", "!"], true, Some("1.1")),
    ];
    let again: (&[&str], bool, Option<&str>) =
        (&["-", "EUR.USD=1.1", "!", "-", "EUR.USD=1.2", "EUR.USD=nonsense", "!"], true, Some("1.2"));
    let gone: (&[&str], bool, Option<&str>) = (&["-", "EUR.USD=1.1", "!", "-", "!"], true, None);
    for (events, is_loaded, expected) in rows.into_iter().chain([again, gone]) {
        let books = RateBooks::new(i64::MAX);
        for event in events {
            let event = match event.split_once('=') {
                Some((key, "")) => changed(key, None, Timestamp::default()),
                Some((key, value)) => changed(key, Some(value), Timestamp::default()),
                None if *event == "!" => BucketEvent::Complete,
                None => {
                    books.write().coming = Some(RateBook::default());
                    continue;
                }
            };
            books.write().tell(event);
        }
        assert_eq!(books.is_loaded(), is_loaded, "{events:?}");
        assert_eq!(rate(&books, "EUR", "USD").ok().as_deref(), expected, "{events:?}");
    }
}

/// A bucket with far more in it than the day file: whoever is told that the rates are loaded has them all.
#[tokio::test(flavor = "multi_thread")]
async fn loaded_means_all_that_the_bucket_holds() {
    let nats = TestNats::start().await;
    let config = NatsConfig { url: nats.url().to_owned(), timeout_ms: 5_000 };
    let broker = Broker::connect(&config, "rates", None).await.unwrap();
    broker.connected().await;
    let codes = ["SGD", "AUD", "CAD", "CHF", "CNY", "HKD", "INR", "KRW", "MXN", "NZD", "THB", "ZAR"];
    let pair = |number: usize| format!("{}.{}", codes[number / 12], codes[number % 12]);
    let mut pairs = seed();
    pairs.extend(
        (0..144).filter(|number| number / 12 != number % 12).map(|number| (pair(number), b"2".to_vec())),
    );
    broker.seed_bucket(rates::BUCKET, rates::BUCKET_DESCRIPTION, &pairs).await.unwrap();
    let (books, drain) = (RateBooks::new(i64::MAX), Drain::default());
    let loaded = async {
        while !books.is_loaded() {
            tokio::task::yield_now().await;
        }
        let known = books.read().book.len();
        drain.begin();
        known
    };
    let ((), known) = tokio::join!(books.follow(&broker, &drain), loaded);
    assert_eq!(known, pairs.len());
}
