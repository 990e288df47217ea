use domain::{BusinessId, UserId, user::Role};
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use streams::clock;
use uuid::Uuid;

use super::{KeyError, SigningKey};

/// How long an access token is good for.
const LIFETIME: SignedDuration = SignedDuration::from_mins(15);
const ISSUER: &str = "apptremind";

/// What a token may be used for; one for another use is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Calling the API.
    Auth,
    /// Managing one appointment, as its guest.
    Manage,
    /// Changing an appointment, once.
    Change,
    /// Reading the calendar feed of a staff member.
    Feed,
    /// Waiting for a time to become free, as a guest.
    Wait,
}

impl Audience {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Manage => "manage",
            Self::Change => "change",
            Self::Feed => "feed",
            Self::Wait => "wait",
        }
    }
}

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Who.
    pub sub: UserId,
    /// In which business.
    pub business_id: BusinessId,
    /// As what.
    pub role: Role,
    /// For what.
    pub aud: String,
    /// By whom.
    pub iss: String,
    /// Since when, in seconds.
    pub iat: i64,
    /// Until when, in seconds.
    pub exp: i64,
    /// Names this token.
    pub jti: Uuid,
}

/// Why a token is not accepted. Callers are told only that it is not.
#[derive(Debug, thiserror::Error)]
#[error("the token is not valid: {0}")]
pub struct TokenError(#[from] jsonwebtoken::errors::Error);

/// Signs and verifies access tokens (`EdDSA`).
pub struct Tokens {
    header: Header,
    signing: EncodingKey,
    verifying: DecodingKey,
    validation: Validation,
    x: String,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").field("kid", &self.header.kid).finish_non_exhaustive()
    }
}

impl Tokens {
    /// Signs with this key.
    ///
    /// # Errors
    /// When the key cannot be written as DER.
    pub fn try_new(key: &SigningKey) -> Result<Self, KeyError> {
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(key.kid());
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.leeway = 5;
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[Audience::Auth.as_str()]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        Ok(Self {
            header,
            signing: EncodingKey::from_ed_der(&key.der()?),
            verifying: DecodingKey::from_ed_der(&key.public()),
            validation,
            x: key.x(),
        })
    }

    /// The seconds that a new token is good for.
    #[must_use]
    pub const fn lifetime_seconds() -> i64 {
        LIFETIME.as_secs()
    }

    /// A token for calling the API.
    pub(super) fn issue(
        &self,
        user_id: UserId,
        business_id: BusinessId,
        role: Role,
        now: Timestamp,
    ) -> Result<String, TokenError> {
        let claims = Claims {
            sub: user_id,
            business_id,
            role,
            aud: Audience::Auth.as_str().to_owned(),
            iss: ISSUER.to_owned(),
            iat: now.as_second(),
            exp: now.as_second() + Self::lifetime_seconds(),
            jti: clock::new_id(),
        };
        Ok(jsonwebtoken::encode(&self.header, &claims, &self.signing)?)
    }

    /// # Errors
    /// When the token is not one of ours, is for another use, or has expired.
    pub fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        let header = jsonwebtoken::decode_header(token)?;
        if header.kid != self.header.kid {
            return Err(TokenError(jsonwebtoken::errors::ErrorKind::InvalidSignature.into()));
        }
        Ok(jsonwebtoken::decode::<Claims>(token, &self.verifying, &self.validation)?.claims)
    }

    /// The public keys as a JSON Web Key Set.
    #[must_use]
    pub fn jwks(&self) -> serde_json::Value {
        serde_json::json!({ "keys": [{
            "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA",
            "kid": self.header.kid, "x": self.x,
        }] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> Tokens {
        Tokens::try_new(&SigningKey::generate()).unwrap()
    }

    fn issue(tokens: &Tokens, now: Timestamp) -> String {
        let (user, business) = (UserId::new(clock::new_id()), BusinessId::new(clock::new_id()));
        tokens.issue(user, business, Role::Owner, now).unwrap()
    }

    #[test]
    fn a_token_of_ours_is_accepted_until_it_expires() {
        let tokens = tokens();
        let now = clock::now();
        assert_eq!(tokens.verify(&issue(&tokens, now)).unwrap().role, Role::Owner);
        let expired = now - LIFETIME - SignedDuration::from_secs(6);
        assert!(tokens.verify(&issue(&tokens, expired)).is_err());
    }

    #[test]
    fn a_token_of_another_key_without_signature_or_for_another_use_is_refused() {
        let tokens = tokens();
        let now = clock::now();
        let mut other = self::tokens();
        other.header.kid = tokens.header.kid.clone();
        assert!(tokens.verify(&issue(&other, now)).is_err());
        let good = issue(&tokens, now);
        let mut parts = good.split('.');
        let (_, claims) = (parts.next(), parts.next().unwrap());
        // {"alg":"none"}
        assert!(tokens.verify(&format!("eyJhbGciOiJub25lIn0.{claims}.")).is_err());
        let mut elsewhere = Tokens { verifying: tokens.verifying.clone(), ..self::tokens() };
        elsewhere.validation.set_audience(&["reset"]);
        elsewhere.header = tokens.header.clone();
        assert!(elsewhere.verify(&good).is_err());
    }
}
