//! `devstack watch`, with gateways that are played.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic is how a test fails, also in its helpers"
)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;

const PROGRAM: &str = env!("CARGO_BIN_EXE_devstack");

const EVENT: &str = r#"data: {"at":"2026-11-27T11:30:37.000000Z","broker":true,"accepted_per_s":1.5,"settled_per_s":1.5,"failed_per_s":0.0,"accept_p99_s":null,"settle_p99_s":0.02,"in_flight":3,"dead_letters":0,"money":{"is_audited":true,"audit_lag_s":1.0,"violations":0,"currencies":[]},"stages":[],"roles":[{"role":"fx","instances":0,"is_up":false}]}"#;
const HEAD: &str = "HTTP/1.0 200 OK\r\ncontent-type: text/event-stream\r\n\r\nretry: 1000\n\n: \n\n";
const SHOWN: &str = "11:30:37Z broker=up accepted/s=1.5 settled/s=1.5 failed/s=0.0 accept_p99=- settle_p99=20.0ms in_flight=3 dead=0 money=none away=fx";

/// Reads a request whole.
fn request(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    let mut byte = [0];
    while !text.ends_with("\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        text.push(char::from(byte[0]));
    }
    text
}

#[test]
fn numbers_are_a_line_a_second_and_a_gateway_that_is_away_is_waited_for() {
    let event = format!("{EVENT}\n\n");
    // What each connection is answered with; then it is closed.
    let rows: [(Vec<String>, &[&str]); 3] = [
        (vec![HEAD.to_owned() + &event + &event], &[SHOWN, SHOWN]),
        (
            vec![HEAD.to_owned() + &event, String::new(), HEAD.to_owned() + &event],
            &[SHOWN, "(it has ended the connection): waiting for it", SHOWN],
        ),
        (
            vec![
                "HTTP/1.1 503 Service Unavailable\r\n\r\n".to_owned(),
                format!("{HEAD}data: {{}}\n\n"),
                HEAD.to_owned() + &event + &event,
            ],
            &["(it answers `HTTP/1.1 503 Service Unavailable`): waiting for it", SHOWN, SHOWN],
        ),
    ];
    for (answers, expected) in rows {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let gateway = std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                assert!(request(&mut stream).starts_with("GET /live HTTP/1.0\r\n"));
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        let root = std::env::temp_dir().join(format!("kilat-watch-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&root).unwrap();
        let output = Command::new(PROGRAM)
            .arg("--root")
            .arg(&root)
            .args(["watch", "--count", "2"])
            .env("KILAT_GATEWAY__PORTS", format!("[{port}]"))
            .output()
            .unwrap();
        std::fs::remove_dir_all(&root).unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        gateway.join().unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), expected.len(), "{text}");
        for (line, expected) in lines.iter().zip(expected) {
            assert!(line.contains(expected) && !line.contains('\x1b'), "{text}");
        }
    }
}
