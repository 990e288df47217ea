use std::{io, path::Path};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey, spki::der::pem::LineEnding};
use hkdf::Hkdf;
use sha2::{Digest, Sha256};

/// The key that signs tokens (Ed25519).
pub struct SigningKey {
    key: ed25519_dalek::SigningKey,
}

/// The key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or made.
    #[error("the signing key file cannot be used: {0}")]
    File(#[from] io::Error),
    /// No key for links can be derived from it.
    #[error("no key can be derived from the signing key")]
    Derive,
    /// It holds no key.
    #[error("the signing key file holds no PRIVATE KEY block")]
    Empty,
    /// It holds something else.
    #[error("the signing key is not an Ed25519 key in PKCS#8 PEM form: {0}")]
    Format(#[from] ed25519_dalek::pkcs8::Error),
}

/// The secrets of the settings, the one in force first. The others are there to be recognised: what was
/// made with them, such as links in mails, stays good.
#[derive(Debug)]
pub struct RootKeys(Vec<SigningKey>);

impl RootKeys {
    /// Reads the file, which has one key or several, or makes one when it is missing. Readable by its owner
    /// only.
    ///
    /// # Errors
    /// When the file cannot be read, made, or holds something else.
    pub fn read_or_create(path: &Path) -> Result<Self, KeyError> {
        match std::fs::read_to_string(path) {
            Ok(pem) => Self::parse(&pem),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let new = SigningKey::generate();
                // Whoever creates the file first decides: the others read it.
                if new.create(path)? {
                    Ok(Self(vec![new]))
                } else {
                    Self::parse(&std::fs::read_to_string(path)?)
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    /// # Errors
    /// When it is something else than keys.
    pub fn parse(pem: &str) -> Result<Self, KeyError> {
        let keys = pem.split_inclusive(END).filter(|part| part.contains(BEGIN));
        let keys = keys.map(|part| {
            let from = part.find(BEGIN).unwrap_or_default();
            let key = part.get(from..).unwrap_or_default();
            Ok(SigningKey { key: ed25519_dalek::SigningKey::from_pkcs8_pem(key)? })
        });
        let keys: Vec<SigningKey> = keys.collect::<Result<_, KeyError>>()?;
        if keys.is_empty() { Err(KeyError::Empty) } else { Ok(Self(keys)) }
    }

    /// A single one.
    #[must_use]
    pub fn of(key: SigningKey) -> Self {
        Self(vec![key])
    }

    /// The one in force first; there is always one.
    pub(super) fn iter(&self) -> impl Iterator<Item = &SigningKey> {
        self.0.iter()
    }
}

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("kid", &self.kid()).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// A new key.
    #[must_use]
    pub fn generate() -> Self {
        Self { key: ed25519_dalek::SigningKey::from_bytes(&rand::random()) }
    }

    /// The same key each time.
    #[must_use]
    pub fn of_seed(seed: [u8; 32]) -> Self {
        Self { key: ed25519_dalek::SigningKey::from_bytes(&seed) }
    }

    /// The key with this salt that follows from this one.
    pub(super) fn derive(&self, salt: &[u8]) -> Result<Self, KeyError> {
        self.derive_for(b"apptremind tokens v1: key", Some(salt))
    }

    /// The key for this use that follows from this one.
    pub(super) fn derive_for(&self, label: &[u8], salt: Option<&[u8]>) -> Result<Self, KeyError> {
        let mut seed = [0; 32];
        Hkdf::<Sha256>::new(salt, &self.secret())
            .expand(label, &mut seed)
            .map_err(|_length| KeyError::Derive)?;
        Ok(Self { key: ed25519_dalek::SigningKey::from_bytes(&seed) })
    }

    /// Writes a file of its own first, so that nobody reads half a key. False when somebody else
    /// was faster.
    fn create(&self, path: &Path) -> Result<bool, KeyError> {
        use std::{io::Write, os::unix::fs::OpenOptionsExt};
        let pem = self.key.to_pkcs8_pem(LineEnding::LF)?;
        let draft = path.with_extension(format!("draft-{:016x}", rand::random::<u64>()));
        let mut file =
            std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        let written = file.write_all(pem.as_bytes()).and_then(|()| file.sync_all());
        // A hard link fails when the name is taken; a rename would replace it.
        let linked = written.and_then(|()| std::fs::hard_link(&draft, path));
        std::fs::remove_file(&draft)?;
        match linked {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Names the key in tokens: the start of its public half's hash.
    #[must_use]
    pub fn kid(&self) -> String {
        let hash = Sha256::digest(self.key.verifying_key().as_bytes());
        URL_SAFE_NO_PAD.encode(hash.get(..12).unwrap_or_default())
    }

    /// The public half, as a JSON Web Key has it (RFC 8037).
    #[must_use]
    pub fn x(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.key.verifying_key().as_bytes())
    }

    /// The private half, for deriving other keys from it.
    pub(super) fn secret(&self) -> [u8; 32] {
        self.key.to_bytes()
    }

    pub(super) fn public(&self) -> [u8; 32] {
        self.key.verifying_key().to_bytes()
    }

    pub(super) fn der(&self) -> Result<Vec<u8>, KeyError> {
        Ok(self.key.to_pkcs8_der()?.as_bytes().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_one_key_or_several_and_is_made_when_it_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        let made = RootKeys::read_or_create(&path).unwrap();
        let again = RootKeys::read_or_create(&path).unwrap();
        let kids = |keys: &RootKeys| keys.iter().map(SigningKey::kid).collect::<Vec<_>>();
        assert_eq!(kids(&made), kids(&again));
        let old = std::fs::read_to_string(&path).unwrap();
        let newer = SigningKey::generate();
        let pem = newer.key.to_pkcs8_pem(LineEnding::LF).unwrap();
        let both = RootKeys::parse(&format!("# newest first\n{}\n{old}", *pem)).unwrap();
        assert_eq!(kids(&both), [newer.kid(), kids(&made)[0].clone()]);
        assert!(matches!(RootKeys::parse("nothing"), Err(KeyError::Empty)));
        let broken = format!("{BEGIN}\nAAAA\n{END}\n");
        assert!(matches!(RootKeys::parse(&broken), Err(KeyError::Format(_))));
    }

    #[test]
    fn what_follows_from_a_key_is_the_same_each_time_and_another_for_another_salt() {
        let root = SigningKey::of_seed([7; 32]);
        let kid = |salt: &[u8]| root.derive(salt).unwrap().kid();
        assert_eq!(kid(b"one"), kid(b"one"));
        assert_ne!(kid(b"one"), kid(b"two"));
        assert_ne!(kid(b"one"), root.kid());
        // Two builds may run side by side, and must sign with one key: this is pinned.
        assert_eq!(kid(b"one"), PINNED);
    }

    const PINNED: &str = "xVXUV9mAvxSj46XP";
}
