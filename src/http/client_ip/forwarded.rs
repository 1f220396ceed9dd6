//! The `Forwarded` header (RFC 7239), read from its end.
//!
//! What stands left in a line was there before our proxies appended to it, so it may be anything,
//! also a quote that is never closed. Read from the left, that one would swallow the good
//! elements behind it; read from the right, those come first and are whole.

use std::net::IpAddr;

/// The longest `for` value that can be an address: a quoted IPv6 address with a port, every byte
/// escaped, fits easily.
const MAX_NODE: usize = 64;

/// The elements of a line, from the last to the first, without empty ones (RFC 9110 §5.6.1).
pub(super) fn elements(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        loop {
            let line = rest?;
            let element = match last_comma(line) {
                Some(at) => {
                    rest = Some(&line[..at]);
                    &line[at.saturating_add(1)..]
                }
                None => {
                    rest = None;
                    line
                }
            };
            let element = element.trim_ascii();
            if !element.is_empty() {
                return Some(element);
            }
        }
    })
}

/// The last comma outside quotes, if quotes are paired from the right.
fn last_comma(line: &[u8]) -> Option<usize> {
    let mut quoted = false;
    for (at, &byte) in line.iter().enumerate().rev() {
        match byte {
            // Escaped, it is part of the string around it.
            b'"' => {
                let slashes = line[..at].iter().rev().take_while(|&&b| b == b'\\').count();
                quoted ^= slashes % 2 == 0;
            }
            b',' if !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

/// The address in the one `for` parameter of an element.
pub(super) fn client(element: &[u8]) -> Option<IpAddr> {
    let mut client = None;
    let mut rest = element;
    loop {
        let equals = rest.iter().position(|&byte| byte == b'=')?;
        let (name, value) = (&rest[..equals], &rest[equals.saturating_add(1)..]);
        let is_for = name.trim_ascii().eq_ignore_ascii_case(b"for");
        let mut buffer = [0; MAX_NODE];
        let (node, behind) = match value.strip_prefix(b"\"") {
            Some(quoted) => unquote(quoted, &mut buffer)?,
            None => {
                let end = value.iter().position(|&b| b == b';').unwrap_or(value.len());
                let (token, behind) = value.split_at(end);
                (Some(token.trim_ascii_end()), behind)
            }
        };
        if is_for {
            // Said twice, it is worth nothing.
            let None = client.replace(super::address(node?)?) else {
                return None;
            };
        }
        rest = match behind.trim_ascii_start() {
            [] => return client,
            [b';', next @ ..] if next.trim_ascii().is_empty() => return client,
            [b';', next @ ..] => next,
            _ => return None,
        };
    }
}

/// The content of a quoted string behind its opening quote, without the escapes, and what follows
/// the closing quote; `None` as the content if it is longer than the buffer. `None` at all if
/// there is no closing quote.
fn unquote<'a, 'b>(
    quoted: &'a [u8],
    buffer: &'b mut [u8; MAX_NODE],
) -> Option<(Option<&'b [u8]>, &'a [u8])> {
    let (mut at, mut len) = (0_usize, 0_usize);
    loop {
        let byte = match quoted.get(at)? {
            b'"' => return Some((buffer.get(..len), &quoted[at.saturating_add(1)..])),
            b'\\' => {
                at = at.saturating_add(1);
                *quoted.get(at)?
            }
            &byte => byte,
        };
        if let Some(free) = buffer.get_mut(len) {
            *free = byte;
        }
        len = len.saturating_add(1);
        at = at.saturating_add(1);
    }
}
