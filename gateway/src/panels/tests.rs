use super::*;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Barrier;

const UP: &str = r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#;

/// How a Prometheus answers each question.
#[derive(Debug, Clone)]
enum Manner {
    /// With this status and body.
    Says(u16, String),
    /// With nothing found, once so many ask at the same time.
    Together(Arc<Barrier>),
    IsSilent,
    IsAway,
}

/// What it has seen.
#[derive(Debug, Default)]
struct Seen {
    asked: AtomicUsize,
    present: AtomicUsize,
    peak: AtomicUsize,
}

/// A server of one manner, and its URL.
async fn server(manner: Manner) -> (String, Arc<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::new(Seen::default());
    if !matches!(manner, Manner::IsAway) {
        let seen = seen.clone();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (manner, seen) = (manner.clone(), seen.clone());
                tokio::spawn(async move {
                    let mut request = vec![0; 1 << 14];
                    let _ = stream.read(&mut request).await;
                    seen.asked.fetch_add(1, Ordering::Relaxed);
                    let present = seen.present.fetch_add(1, Ordering::Relaxed) + 1;
                    seen.peak.fetch_max(present, Ordering::Relaxed);
                    let (status, body) = match manner {
                        Manner::Says(status, body) => (status, body),
                        Manner::Together(barrier) => {
                            barrier.wait().await;
                            (200, UP.to_owned())
                        }
                        Manner::IsSilent | Manner::IsAway => std::future::pending().await,
                    };
                    seen.present.fetch_sub(1, Ordering::Relaxed);
                    let length = body.len();
                    let answer = format!("HTTP/1.1 {status} Said\r\nContent-Length: {length}\r\n\r\n{body}");
                    let _ = stream.write_all(answer.as_bytes()).await;
                    // Whatever else it sends is read, or the answer would be reset.
                    while stream.read(&mut request).await.is_ok_and(|count| count > 0) {}
                });
            }
        });
    }
    (url, seen)
}

fn panels(prometheus: &str, grafana: &str) -> Arc<Panels> {
    let mut config = runtime::config::Config::on(runtime::config::StackConfig::shifted(0)).telemetry;
    (config.prometheus_url, config.grafana_url) = (prometheus.to_owned(), grafana.to_owned());
    Arc::new(Panels::new(&config))
}

/// Panels that ask one question.
fn simple_panels() -> Vec<&'static str> {
    let all = dashboards::all();
    let panels = all.iter().flat_map(Dashboard::panels);
    panels.filter(|panel| panel.queries.len() == 1).map(|panel| panel.id).collect()
}

#[tokio::test]
async fn whatever_prometheus_does_a_panel_is_answered_or_the_problem_named() {
    let says = |status, body: &str| Manner::Says(status, body.to_owned());
    let series = r#"{"metric":{"le":"+Inf"},"values":[[1,"2"]]},{"metric":{"le":"10"},"values":[]},{"metric":{"le":"9"},"values":[]}"#;
    let found = UP.replace("[]", &format!("[{series}]"));
    let one = r#"{"metric":{},"values":[]}"#;
    let many = UP.replace("[]", &format!("[{}]", vec![one; 300].join(",")));
    // How Prometheus answers; how many series the panel has, and the first legend, or the code.
    let rows = [
        (says(200, &found), Ok((3, "9"))),
        (says(200, UP), Ok((0, ""))),
        (says(200, &many), Ok((200, ""))),
        (says(200, &" ".repeat(3 << 20)), Err(Code::Unavailable)),
        (says(200, "no figures"), Err(Code::Unavailable)),
        (says(200, &UP.replace("matrix", "vector")), Err(Code::Unavailable)),
        (says(422, r#"{"status":"error"}"#), Err(Code::Unavailable)),
        (says(503, ""), Err(Code::Unavailable)),
        (Manner::IsAway, Err(Code::Unavailable)),
    ];
    for (manner, expected) in rows {
        let (url, _) = server(manner).await;
        let shown = panels(&url, "").show("end-to-end", Range::DEFAULT).await;
        let shown = shown.map_err(|problem| problem.code).map(|body| -> Value {
            assert!(body.len() < 2 << 20);
            serde_json::from_slice(&body).unwrap()
        });
        let seen = shown.as_ref().map(|shown| {
            let series = shown["series"].as_array().unwrap();
            (series.len(), series.first().map_or("", |first| first["legend"].as_str().unwrap()))
        });
        assert_eq!(seen, expected.as_ref().map(|expected| *expected));
    }
}

/// Time flies while nothing happens.
#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_prometheus_that_is_silent() {
    let (url, _) = server(Manner::IsSilent).await;
    let panels = panels(&url, &url);
    let asked = (0..3).map(|_| panels.show("end-to-end", Range::DEFAULT));
    for answer in futures::future::join_all(asked).await {
        assert_eq!(answer.unwrap_err().code, Code::Unavailable);
    }
    assert_eq!(panels.list().await.unwrap()["grafana"], Value::Null);
}

#[tokio::test]
async fn what_is_asked_by_many_is_asked_of_prometheus_once() {
    let (url, seen) = server(Manner::Says(200, UP.to_owned())).await;
    let panels = panels(&url, "");
    let asked = (0..WAITING_MAX).map(|_| panels.show("end-to-end", Range::Hour));
    let answers = futures::future::join_all(asked).await;
    let first = answers[0].clone().unwrap();
    assert!(answers.into_iter().all(|answer| answer.unwrap() == first));
    assert_eq!(panels.show("end-to-end", Range::Hour).await.unwrap(), first, "while it is fresh");
    assert_eq!(seen.asked.load(Ordering::Relaxed), 1);
    panels.show("end-to-end", Range::Day).await.unwrap();
    assert_eq!(seen.asked.load(Ordering::Relaxed), 2, "another range is another question");
}

#[tokio::test]
async fn prometheus_works_on_few_questions_at_once_and_few_wait() {
    let (url, seen) = server(Manner::Together(Arc::new(Barrier::new(QUESTIONS_MAX)))).await;
    let panels = panels(&url, "");
    let ids: Vec<&str> = simple_panels().into_iter().take(3 * QUESTIONS_MAX).collect();
    let answers = futures::future::join_all(ids.iter().map(|id| panels.show(id, Range::DEFAULT))).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(seen.peak.load(Ordering::Relaxed), QUESTIONS_MAX);
    let _places = panels.waiting.try_acquire_many(u32::try_from(WAITING_MAX).unwrap()).unwrap();
    assert_eq!(panels.show("end-to-end", Range::Day).await.unwrap_err().code, Code::Overloaded);
    assert!(panels.show(ids[0], Range::DEFAULT).await.is_ok(), "what is fresh waits for nobody");
}

#[tokio::test]
async fn who_leaves_early_makes_prometheus_hear_nothing_twice() {
    let (url, seen) = server(Manner::Says(200, UP.to_owned())).await;
    let (panels, id) = (panels(&url, ""), simple_panels()[0]);
    {
        let mut asking = std::pin::pin!(panels.show(id, Range::DEFAULT));
        assert!(futures::poll!(&mut asking).is_pending());
    }
    while panels.fresh(&(id, Range::DEFAULT)).is_none() {
        tokio::task::yield_now().await;
    }
    assert!(panels.show(id, Range::DEFAULT).await.is_ok());
    assert_eq!(seen.asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn panels_are_listed_where_there_are_any() {
    let (url, _) = server(Manner::Says(200, UP.to_owned())).await;
    let (ill, _) = server(Manner::Says(503, String::new())).await;
    let secret = url.replace("http://", "http://admin:SECRET@");
    for (grafana, shown) in [
        (secret.as_str(), Value::from(url.as_str())),
        (&ill, Value::Null),
        ("", Value::Null),
        ("https://u:SECRET@grafana.example/?token=SECRET", "https://grafana.example".into()),
    ] {
        let listed = panels(&url, grafana).list().await.unwrap();
        assert_eq!(listed["grafana"], shown);
        assert_eq!(listed["dashboards"].as_array().unwrap().len(), dashboards::all().len());
        assert!(!listed.to_string().contains("SECRET"));
        // Nothing of a question leaves the process.
        assert!(!listed.to_string().contains("rate("));
    }
    let nowhere = panels("", &url);
    for problem in
        [nowhere.list().await.unwrap_err(), nowhere.show("end-to-end", Range::DEFAULT).await.unwrap_err()]
    {
        assert_eq!(problem.code, Code::NotFound);
        assert!(problem.detail.contains("telemetry.prometheus_url"));
    }
    assert_eq!(panels(&url, "").show("x", Range::DEFAULT).await.unwrap_err().code, Code::NotFound);
}
