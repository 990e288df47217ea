//! What we sign for others to keep, such as the evidence of what a guest was told.

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::{KeyError, RootKeys, SigningKey};

/// Keeps the key apart from whatever else follows from the secret of the settings. It is not replaced with the
/// keys of tokens: what it signed is looked at years later.
const LABEL: &[u8] = b"apptremind evidence v1: key";
/// What is signed: neither a token nor a link.
const TYPE: &str = "evidence+jws";

/// Signs documents, and shows what they can be checked with.
pub struct Seals {
    header: Header,
    signing: EncodingKey,
    keys: Value,
}

impl std::fmt::Debug for Seals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seals").field("kid", &self.header.kid).finish_non_exhaustive()
    }
}

/// A document that cannot be signed.
#[derive(Debug, thiserror::Error)]
#[error("it cannot be signed: {0}")]
pub struct SealError(#[from] jsonwebtoken::errors::Error);

impl Seals {
    /// Signs with a key that follows from the secret in force; the keys that followed from earlier ones are shown
    /// still.
    ///
    /// # Errors
    /// When none can be derived.
    pub fn try_new(roots: &RootKeys) -> Result<Self, KeyError> {
        let keys = roots.iter().map(|root| root.derive_for(LABEL, None));
        let keys: Vec<SigningKey> = keys.collect::<Result<_, _>>()?;
        let current = keys.first().ok_or(KeyError::Empty)?;
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(TYPE.to_owned());
        header.kid = Some(current.kid());
        let signing = EncodingKey::from_ed_der(&current.der()?);
        let shown = keys.iter().map(|key| {
            json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": key.kid(),
                   "x": key.x()})
        });
        Ok(Self { header, signing, keys: json!({ "keys": shown.collect::<Vec<_>>() }) })
    }

    /// A detached signature of the document (JWS, RFC 7515, Appendix F). What is signed is its canonical form
    /// (RFC 8785), which is how it is written without blanks and with the members of objects in order.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn seal(&self, document: &Value) -> Result<String, SealError> {
        let whole = jsonwebtoken::encode(&self.header, document, &self.signing)?;
        let mut parts = whole.split('.');
        let (header, signature) = (parts.next(), parts.next_back());
        Ok(format!("{}..{}", header.unwrap_or_default(), signature.unwrap_or_default()))
    }

    /// The public keys as a JSON Web Key Set, the one in force first.
    #[must_use]
    pub const fn jwks(&self) -> &Value {
        &self.keys
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    use jsonwebtoken::{DecodingKey, crypto::verify};

    use super::*;

    fn holds(seals: &Seals, document: &str, seal: &str) -> bool {
        let (header, signature) = seal.split_once("..").unwrap();
        let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(document));
        let x = seals.jwks()["keys"][0]["x"].as_str().unwrap().to_owned();
        let key = DecodingKey::from_ed_components(&x).unwrap();
        verify(signature, signed.as_bytes(), &key, Algorithm::EdDSA).unwrap()
    }

    #[test]
    fn whoever_has_the_public_key_sees_whether_a_document_is_as_it_was_signed() {
        let seals = Seals::try_new(&RootKeys::of(SigningKey::of_seed([7; 32]))).unwrap();
        let document =
            json!({"to": "Ada \u{20ac}\n", "at": "2026-03-02T08:00:00Z", "n": 1, "a": null});
        let seal = seals.seal(&document).unwrap();
        let canonical =
            "{\"a\":null,\"at\":\"2026-03-02T08:00:00Z\",\"n\":1,\"to\":\"Ada \u{20ac}\\n\"}";
        assert!(holds(&seals, canonical, &seal));
        assert!(!holds(&seals, &canonical.replace("08:00", "09:00"), &seal));
    }

    #[test]
    fn the_key_is_the_same_each_time_and_no_other() {
        let root = || SigningKey::of_seed([7; 32]);
        let kid = |seals: &Seals| seals.jwks()["keys"][0]["kid"].as_str().unwrap().to_owned();
        let seals = Seals::try_new(&RootKeys::of(root())).unwrap();
        // Documents of years ago must be checked with it: this is pinned.
        assert_eq!(kid(&seals), PINNED);
        assert_ne!(kid(&seals), root().kid());
        assert_ne!(kid(&seals), root().derive(b"").unwrap().kid());
    }

    const PINNED: &str = "r60dAasBsnK1FisO";
}
