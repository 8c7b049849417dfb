//! As much of HTTP as a page on loopback needs.

use std::io::{self, ErrorKind, Read};
use std::net::IpAddr;
use std::time::Instant;

const PAGE: &str = include_str!("page.html");

/// What was asked for.
pub(crate) enum Asked {
    /// The page.
    Page,
    /// The numbers.
    Numbers,
    /// Nothing that there is: this is to be said.
    Nothing(Answer),
}

/// What is said.
pub(crate) struct Answer {
    status: &'static str,
    kind: &'static str,
    body: String,
}

impl Answer {
    pub(crate) fn page() -> Self {
        Answer { status: "200 OK", kind: "text/html; charset=utf-8", body: PAGE.to_owned() }
    }

    pub(crate) fn json(body: String) -> Self {
        Answer { status: "200 OK", kind: "application/json", body }
    }

    fn plain(status: &'static str) -> Self {
        Answer { status, kind: "text/plain", body: format!("{status}\n") }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let Answer { status, kind, body } = self;
        let policy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\
             Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\
             Content-Security-Policy: {policy}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }
}

/// Bytes of a request that are read.
const LONGEST_REQUEST: usize = 16 << 10;

/// Reads a request.
///
/// # Errors
/// If it does not come, or not before `until`.
pub(crate) fn read(mut from: impl Read, until: Instant) -> io::Result<Asked> {
    let (mut request, mut part) = (Vec::new(), [0; 1024]);
    loop {
        let length = from.read(&mut part)?;
        request.extend_from_slice(&part[..length]);
        let is_whole = request.windows(4).any(|end| end == b"\r\n\r\n");
        if is_whole || length == 0 || request.len() > LONGEST_REQUEST {
            break;
        }
        if Instant::now() >= until {
            return Err(io::Error::from(ErrorKind::TimedOut));
        }
    }
    let request = String::from_utf8_lossy(&request);
    let mut lines = request.lines();
    let first = lines.next().unwrap_or("");
    let host = lines.take_while(|line| !line.is_empty()).find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("host").then(|| value.trim())
    });
    let mut words = first.split(' ');
    let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    Ok(if !host.is_some_and(is_this_machine) {
        // A page of another site whose name leads here may not read this one.
        Asked::Nothing(Answer::plain("403 Forbidden"))
    } else if method != "GET" {
        Asked::Nothing(Answer::plain("405 Method Not Allowed"))
    } else {
        match target.split('?').next() {
            Some("/") => Asked::Page,
            Some("/live.json") => Asked::Numbers,
            _ => Asked::Nothing(Answer::plain("404 Not Found")),
        }
    })
}

/// Is it loopback that this names?
fn is_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next(),
        None => host.split(':').next(),
    };
    let name = name.unwrap_or("");
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn asks(request: &str) -> Result<&'static str, String> {
        match read(request.as_bytes(), Instant::now() + Duration::from_secs(60)) {
            Ok(Asked::Page) => Ok("page"),
            Ok(Asked::Numbers) => Ok("numbers"),
            Ok(Asked::Nothing(answer)) => Err(answer.status.to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn requests_are_understood() {
        assert_eq!(asks("GET / HTTP/1.1\r\nHost: localhost:80\r\n\r\n"), Ok("page"));
        assert_eq!(asks("GET /live.json?x HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"), Ok("numbers"));
        assert_eq!(asks("GET / HTTP/1.1\r\nHost: [::1]:9\r\n\r\n"), Ok("page"));
        let refused = |request: &str| asks(request).unwrap_err()[..3].to_owned();
        assert_eq!(refused("GET /other HTTP/1.1\r\nHost: localhost\r\n\r\n"), "404");
        assert_eq!(refused("POST / HTTP/1.1\r\nHost: localhost\r\n\r\n"), "405");
        assert_eq!(refused("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n"), "403");
        assert_eq!(refused("GET / HTTP/1.1\r\nHost: 10.0.0.1\r\n\r\n"), "403");
        assert_eq!(refused("GET / HTTP/1.1\r\n\r\n"), "403");
        assert_eq!(refused("\r\n"), "403");
    }

    #[test]
    fn nothing_is_fetched_from_elsewhere() {
        assert!(!PAGE.contains("http:") && !PAGE.contains("https:") && !PAGE.contains("@import"));
        assert!(!PAGE.contains(" src=") && !PAGE.contains("<link"));
    }
}
