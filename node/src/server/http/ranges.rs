//! The range of a blob that a request is for.

use hyper::header::{self, HeaderMap};
use hyper::{Method, Request};
use vouch_core::session::ByteRange;

use super::problem::Problem;

/// The range of a GET that is answered with a part (RFC 9110 section 14.2). `None` for the whole blob: no range, several ranges, another
/// unit, a malformed range, or a condition that does not hold.
pub(super) fn of_header(request: &Request<()>, tag: &str) -> Option<ByteRange> {
    let headers = request.headers();
    if request.method() != Method::GET || !condition_holds(headers, tag) {
        return None;
    }
    let (unit, ranges) = only(headers, &header::RANGE)?.split_once('=')?;
    // A list of ranges, with commas, does not parse.
    let range = ranges.trim_matches([' ', '\t']).parse();
    unit.eq_ignore_ascii_case("bytes").then_some(range.ok()).flatten()
}

/// Whether `If-Range` holds (RFC 9110 section 13.1.5). Only strong tags count; a date is too imprecise.
fn condition_holds(headers: &HeaderMap, tag: &str) -> bool {
    !headers.contains_key(header::IF_RANGE) || only(headers, &header::IF_RANGE) == Some(tag)
}

/// The value of a header that occurs exactly once.
fn only<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).into_iter();
    let value = values.next()?.to_str().ok()?.trim();
    values.next().is_none().then_some(value)
}

/// The range in a query, `start=0&end=1024`. The end is not included. Both are optional.
pub(super) fn of_query(query: &str) -> Result<Option<ByteRange>, Problem> {
    let (mut start, mut end) = (None, None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let place = match key {
            "start" => &mut start,
            "end" => &mut end,
            _ => {
                let key: String = key.chars().take(80).collect();
                return Err(Problem::bad_request(format!("expected the query keys start and end, got {key:?}")));
            }
        };
        let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
        let number = is_number.then(|| value.parse::<u64>().ok()).flatten();
        let number = number.ok_or_else(|| {
            let value: String = value.chars().take(80).collect();
            Problem::bad_request(format!("{key}: expected a number of bytes, got {value:?}"))
        })?;
        if place.replace(number).is_some() {
            return Err(Problem::bad_request(format!("{key}: expected once, got twice")));
        }
    }
    match (start.unwrap_or(0), end) {
        (0, None) => Ok(None),
        (first, None) => Ok(Some(ByteRange::From(first))),
        (first, Some(end)) if first < end => Ok(Some(ByteRange::Between { first, last: end - 1 })),
        (start, Some(end)) => {
            Err(Problem::bad_request(format!("end: expected more than the start {start}, got {end}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: &str = "\"00ff\"";

    fn range(headers: &[(&str, &str)]) -> Option<String> {
        let mut request = Request::get("/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        of_header(&request.body(()).unwrap(), TAG).map(|range| range.to_string())
    }

    #[test]
    fn one_range_of_bytes_is_a_range() {
        for (value, expected) in [
            ("bytes=0-1023", "0-1023"),
            ("bytes=500-", "500-"),
            ("bytes=-500", "-500"),
            ("Bytes=1-2", "1-2"),
            ("bytes= 1-2 ", "1-2"),
        ] {
            assert_eq!(range(&[("range", value)]).as_deref(), Some(expected), "{value}");
        }
        for value in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=2-1",
            "bytes=0-1,3-4",
            "bytes=0-1,",
            "lines=0-1",
            "0-1",
            "bytes=a-b",
        ] {
            assert_eq!(range(&[("range", value)]), None, "{value}");
        }
        assert_eq!(range(&[("range", "bytes=0-1"), ("range", "bytes=0-1")]), None);
        let head = Request::head("/").header("range", "bytes=0-1").body(()).unwrap();
        assert_eq!(of_header(&head, TAG), None);
    }

    #[test]
    fn a_condition_is_a_strong_tag() {
        let with = |condition| range(&[("range", "bytes=0-1"), ("if-range", condition)]);
        assert_eq!(with(TAG).as_deref(), Some("0-1"));
        for other in ["\"00fe\"", "W/\"00ff\"", "00ff", "Sat, 29 Oct 1994 19:43:31 GMT", "", "*", "\"00ff\", \"00ff\""]
        {
            assert_eq!(with(other), None, "{other}");
        }
        assert_eq!(range(&[("range", "bytes=0-1"), ("if-range", TAG), ("if-range", TAG)]), None);
    }

    #[test]
    fn queries_name_bytes() {
        let range = |query| of_query(query).map(|range| range.map(|range| range.to_string()));
        for (query, expected) in [
            ("", None),
            ("start=0", None),
            ("start=5", Some("5-")),
            ("end=5", Some("0-4")),
            ("start=5&end=6", Some("5-5")),
            ("end=6&start=5", Some("5-5")),
        ] {
            assert_eq!(range(query), Ok(expected.map(str::to_owned)), "{query}");
        }
        for query in [
            "start",
            "start=",
            "start=-1",
            "start=x",
            "start=1&start=1",
            "begin=1",
            "start=5&end=5",
            "end=0",
            "start=99999999999999999999",
            "start=1%30",
            "start=+1",
        ] {
            assert!(range(query).is_err(), "{query}");
        }
    }
}
