//! How the program ends, and what it prints, when nobody reads its output any more.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use devstack::Signal;
use devstack::testing::{TestPort, UnreadProgram};
use std::io::{Read, Write};
use std::net::TcpStream;

/// The gateway on a port of its own, with servers that are away: it starts all the same.
struct Gateway {
    port: TestPort,
    program: UnreadProgram,
    _servers: [TestPort; 2],
}

impl Gateway {
    fn start(settings: &[&str]) -> Gateway {
        let (port, servers) = (TestPort::take(), [TestPort::take(), TestPort::take()]);
        let mut arguments = vec![
            format!("--set=gateway.ports=[{}]", port.number()),
            format!("--set=nats.url=nats://127.0.0.1:{}", servers[0].number()),
            format!("--set=postgres.url=postgres://nobody@127.0.0.1:{}/none", servers[1].number()),
        ];
        arguments.extend(settings.iter().map(|setting| format!("--set={setting}")));
        let mut program = UnreadProgram::start(env!("CARGO_BIN_EXE_gateway"), &arguments).unwrap();
        assert!(program.await_listening(port.number(), true), "the gateway opens its port");
        Gateway { port, program, _servers: servers }
    }
}

#[test]
fn a_signal_ends_a_gateway_whose_output_nobody_reads() {
    // Nothing is logged before the signal, then what is usual, then all there is.
    for (signal, filter) in [
        (Signal::Terminate, "runtime::drain=info"),
        (Signal::Interrupt, "info"),
        (Signal::Terminate, "trace"),
    ] {
        let mut gateway = Gateway::start(&[&format!("log.filter={filter}")]);
        gateway.program.signal(signal).unwrap();
        assert_eq!(gateway.program.exit_code(), Some(0), "{signal:?}, {filter}");
    }
}

/// A request whose body never comes keeps the drain waiting for minutes; whoever asks twice does not wait.
#[test]
fn a_second_signal_ends_a_draining_gateway_at_once() {
    let mut gateway =
        Gateway::start(&["http.body_timeout_ms=600000", "http.drain_ms=600000", "log.filter=error"]);
    let mut request = TcpStream::connect(("127.0.0.1", gateway.port.number())).unwrap();
    let head = "POST /payments HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n";
    request.write_all(head.as_bytes()).unwrap();
    let mut answer = [0; 12];
    request.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 100", "the body is waited for");
    gateway.program.signal(Signal::Terminate).unwrap();
    assert!(
        gateway.program.await_listening(gateway.port.number(), false),
        "the drain has begun and waits for the request"
    );
    gateway.program.signal(Signal::Terminate).unwrap();
    assert_eq!(gateway.program.exit_code(), Some(1));
}

#[test]
fn what_is_printed_for_nobody_is_no_failure() {
    let rows: [(&[&str], i32); 5] = [
        (&["--print-config"], 0),
        (&["--help"], 0),
        (&["--set", "gateway.in_flight_max=0"], 64),
        (&["--set", "log.filter=a=b=c"], 64),
        (&["--nonsense"], 64),
    ];
    for (arguments, code) in rows {
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let mut program = UnreadProgram::start(env!("CARGO_BIN_EXE_gateway"), &arguments).unwrap();
        assert_eq!(program.exit_code(), Some(code), "{arguments:?}");
    }
}
