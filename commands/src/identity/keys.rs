use std::{io, path::Path};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey, spki::der::pem::LineEnding};
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
    /// It holds something else.
    #[error("the signing key is not an Ed25519 key in PKCS#8 PEM form: {0}")]
    Format(#[from] ed25519_dalek::pkcs8::Error),
}

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
    #[cfg(test)]
    pub(super) fn of_seed(seed: [u8; 32]) -> Self {
        Self { key: ed25519_dalek::SigningKey::from_bytes(&seed) }
    }

    /// Reads the key, or makes the file when it is missing. Readable by its owner only.
    ///
    /// # Errors
    /// When the file cannot be read, made, or holds something else.
    pub fn read_or_create(path: &Path) -> Result<Self, KeyError> {
        match std::fs::read_to_string(path) {
            Ok(pem) => Ok(Self { key: ed25519_dalek::SigningKey::from_pkcs8_pem(&pem)? }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let new = Self::generate();
                // Whoever creates the file first decides: the others read it.
                if new.create(path)? { Ok(new) } else { Self::read(path) }
            }
            Err(error) => Err(error.into()),
        }
    }

    fn read(path: &Path) -> Result<Self, KeyError> {
        let pem = std::fs::read_to_string(path)?;
        Ok(Self { key: ed25519_dalek::SigningKey::from_pkcs8_pem(&pem)? })
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
