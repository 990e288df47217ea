//! What a request says about the form of the answer.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

fn items(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

/// Whether the client has what this weak tag names (RFC 9110, 13.1.2).
pub(super) fn is_known(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let opaque = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag).to_owned();
    let Ok(tag) = tag.to_str().map(opaque) else { return false };
    items(headers, header::IF_NONE_MATCH).any(|known| known == "*" || opaque(known) == tag)
}

/// Whether the client takes gzip (RFC 9110, 12.5.3).
pub(super) fn takes_gzip(headers: &HeaderMap) -> bool {
    let mut any = false;
    for item in items(headers, header::ACCEPT_ENCODING) {
        let (coding, weight) = item.split_once(';').unwrap_or((item, "q=1"));
        let weight = weight.trim();
        let weight = weight.strip_prefix("q=").or_else(|| weight.strip_prefix("Q="));
        let wanted = weight.and_then(|q| q.trim().parse::<f32>().ok()).is_some_and(|q| q > 0.0);
        match coding.trim() {
            "*" => any = wanted,
            coding if coding.eq_ignore_ascii_case("gzip") => return wanted,
            _ => {}
        }
    }
    any
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn gzip_is_taken_when_it_is_named_and_not_refused() {
        for (value, taken) in [
            ("gzip", true),
            ("deflate, GZIP;q=0.5", true),
            ("br, *", true),
            ("gzip;q=0, *", false),
            ("gzip; q=0.000", false),
            ("*;q=0", false),
            ("identity", false),
            ("", false),
        ] {
            assert_eq!(takes_gzip(&headers(header::ACCEPT_ENCODING, value)), taken, "{value}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }

    #[test]
    fn a_tag_is_known_in_either_form() {
        let tag = HeaderValue::from_static("W/\"1f\"");
        for (value, known) in [
            ("W/\"1f\"", true),
            ("\"1f\"", true),
            ("\"0\", W/\"1f\"", true),
            ("*", true),
            ("W/\"1e\"", false),
            ("1f", false),
        ] {
            assert_eq!(is_known(&headers(header::IF_NONE_MATCH, value), &tag), known, "{value}");
        }
    }
}
