//! W3C trace context (<https://www.w3.org/TR/trace-context/>): which trace something belongs to, and what came
//! before it there.

use std::fmt;

/// Two hexadecimal digits of version, 32 of the trace, 16 of the span, two of flags, and the hyphens between.
const LENGTH: usize = 55;

/// A span of a trace, as those that follow it name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceContext {
    /// The trace; never zero.
    pub trace_id: u128,
    /// The span in it; never zero.
    pub span_id: u64,
    /// Whether whoever began the trace wants to see it.
    pub is_sampled: bool,
}

impl TraceContext {
    /// Reads a `traceparent`; nothing where it is not one. What later versions append is passed over, as the
    /// recommendation asks.
    pub fn parse(text: &str) -> Option<TraceContext> {
        let (fields, rest) = text.split_at_checked(LENGTH)?;
        let mut fields = fields.split('-');
        let [version, trace_id, span_id, flags] =
            [(); 4].map(|()| fields.next()).map(Option::unwrap_or_default);
        let version = digits(version, 2).and_then(|digits| u8::from_str_radix(digits, 16).ok())?;
        if version == u8::MAX
            || (version == 0 && !rest.is_empty())
            || !(rest.is_empty() || rest.starts_with('-'))
        {
            return None;
        }
        let trace_id = u128::from_str_radix(digits(trace_id, 32)?, 16).ok()?;
        let span_id = u64::from_str_radix(digits(span_id, 16)?, 16).ok()?;
        let flags = u8::from_str_radix(digits(flags, 2)?, 16).ok()?;
        (trace_id != 0 && span_id != 0).then_some(TraceContext {
            trace_id,
            span_id,
            is_sampled: flags & 1 == 1,
        })
    }
}

/// So many lower-case hexadecimal digits and nothing else.
fn digits(text: &str, count: usize) -> Option<&str> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    (text.len() == count && text.bytes().all(is_digit)).then_some(text)
}

impl TraceContext {
    /// The trace as people look it up: 32 hexadecimal digits.
    pub fn trace_id_text(&self) -> String {
        format!("{:032x}", self.trace_id)
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TraceContext { trace_id, span_id, is_sampled } = self;
        write!(formatter, "00-{trace_id:032x}-{span_id:016x}-{:02x}", u8::from(*is_sampled))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    #[test]
    fn a_context_is_read_as_it_is_written() {
        let context = |is_sampled| TraceContext {
            trace_id: 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736,
            span_id: 0x00f0_67aa_0ba9_02b7,
            is_sampled,
        };
        for (text, expected) in [
            (format!("00-{TRACE}-{SPAN}-01"), Some(context(true))),
            (format!("00-{TRACE}-{SPAN}-00"), Some(context(false))),
            (format!("00-{TRACE}-{SPAN}-03"), Some(context(true))),
            (format!("cc-{TRACE}-{SPAN}-01-what-comes"), Some(context(true))),
            (format!("00-{TRACE}-{SPAN}-01-what-comes"), None),
            (format!("cc-{TRACE}-{SPAN}-01.what-comes"), None),
            (format!("ff-{TRACE}-{SPAN}-01"), None),
            (format!("00-{}-{SPAN}-01", "0".repeat(32)), None),
            (format!("00-{TRACE}-{}-01", "0".repeat(16)), None),
            (format!("00-{}-{SPAN}-01", TRACE.to_uppercase()), None),
            (format!("00-{TRACE}-{SPAN}-+1"), None),
            (format!("00-{TRACE}-{SPAN}-1"), None),
            (format!("00_{TRACE}-{SPAN}-01"), None),
            (format!("00-{TRACE}-{}é-01", &SPAN[..14]), None),
            ("é".repeat(30), None),
            (String::new(), None),
        ] {
            let parsed = TraceContext::parse(&text);
            assert_eq!(parsed, expected, "{text}");
            if let Some(context) = parsed {
                assert_eq!(TraceContext::parse(&context.to_string()), Some(context));
            }
        }
        assert_eq!(context(true).to_string(), format!("00-{TRACE}-{SPAN}-01"));
    }
}
