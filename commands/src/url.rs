//! What counts as the address of a picture: one that mail clients can fetch.

use url::Url;

/// With a host, by TLS, and without anything to sign in with.
pub(crate) fn is_public(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| {
        let named = url.host_str().is_some_and(|host| !host.is_empty());
        url.scheme() == "https" && named && url.username().is_empty() && url.password().is_none()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_anybody_can_fetch_is_an_address() {
        assert!(is_public("https://salon.example/logo.png?size=2"));
        for odd in [
            "",
            "logo.png",
            "http://salon.example/logo.png",
            "https://",
            "https://?x",
            "https://ann:secret@salon.example/logo.png",
            "https://salon.example:99999/",
            "javascript:alert(1)",
            "data:image/png;base64,AA==",
        ] {
            assert!(!is_public(odd), "{odd}");
        }
    }
}
