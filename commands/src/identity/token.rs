use std::sync::{Arc, PoisonError, RwLock};

use domain::{BusinessId, LoginId, StaffId, UserId, team::Place, user::Role};
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use streams::clock;
use uuid::Uuid;

use super::{KeyError, SigningKey};

/// How long an access token is good for.
pub(super) const LIFETIME: SignedDuration = SignedDuration::from_mins(15);
/// Clocks of two machines differ by so much at most.
pub(super) const LEEWAY: SignedDuration = SignedDuration::from_secs(5);
const ISSUER: &str = "apptremind";

/// What a token or link may be used for; one for another use is refused.
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
    /// Not being reminded by mail any more, as a guest.
    Unsubscribe,
    /// Waiting for a time to become free, as a guest.
    Wait,
    /// Replacing a forgotten password, once.
    Reset,
    /// Joining a business, once.
    Invite,
}

impl Audience {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Manage => "manage",
            Self::Change => "change",
            Self::Feed => "feed",
            Self::Unsubscribe => "unsubscribe",
            Self::Wait => "wait",
            Self::Reset => "reset",
            Self::Invite => "invite",
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
    /// Whose calendar is theirs, if one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staff_id: Option<StaffId>,
    /// By which sign-in.
    pub sid: LoginId,
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

/// Somebody in a business, by one sign-in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bearer {
    pub(super) user_id: UserId,
    pub(super) business_id: BusinessId,
    pub(super) place: Place,
    pub(super) session_id: LoginId,
}

/// Why a token is not accepted. Callers are told only that it is not.
#[derive(Debug, thiserror::Error)]
#[error("the token is not valid: {0}")]
pub struct TokenError(#[from] jsonwebtoken::errors::Error);

/// A key that signs, or did.
pub(super) struct TokenKey {
    header: Header,
    signing: EncodingKey,
    verifying: DecodingKey,
    kid: String,
    x: String,
}

impl TokenKey {
    pub(super) fn try_new(key: &SigningKey) -> Result<Self, KeyError> {
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(key.kid());
        Ok(Self {
            header,
            signing: EncodingKey::from_ed_der(&key.der()?),
            verifying: DecodingKey::from_ed_der(&key.public()),
            kid: key.kid(),
            x: key.x(),
        })
    }
}

/// The key that signs now, and all that verify: those that signed until lately, and the next one.
#[derive(Clone)]
struct Ring {
    signing: Arc<TokenKey>,
    verifying: Vec<Arc<TokenKey>>,
}

/// Signs and verifies access tokens (`EdDSA`).
pub struct Tokens {
    ring: RwLock<Ring>,
    validation: Validation,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").field("kid", &self.ring().signing.kid).finish_non_exhaustive()
    }
}

impl Tokens {
    /// Signs with this key, until there are others.
    ///
    /// # Errors
    /// When the key cannot be written as DER.
    pub fn try_new(key: &SigningKey) -> Result<Self, KeyError> {
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.leeway = LEEWAY.as_secs().unsigned_abs();
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[Audience::Auth.as_str()]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        let signing = Arc::new(TokenKey::try_new(key)?);
        let ring = Ring { verifying: vec![Arc::clone(&signing)], signing };
        Ok(Self { ring: RwLock::new(ring), validation })
    }

    /// From now on the first signs, and all verify.
    pub(super) fn turn(&self, signing: Arc<TokenKey>, verifying: Vec<Arc<TokenKey>>) {
        let mut ring = self.ring.write().unwrap_or_else(PoisonError::into_inner);
        *ring = Ring { signing, verifying };
    }

    fn ring(&self) -> Ring {
        self.ring.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The seconds that a new token is good for.
    #[must_use]
    pub const fn lifetime_seconds() -> i64 {
        LIFETIME.as_secs()
    }

    /// A token for calling the API, from `now` on.
    pub(super) fn issue(&self, bearer: Bearer, now: Timestamp) -> Result<String, TokenError> {
        let Bearer { user_id, business_id, place, session_id } = bearer;
        let claims = Claims {
            sub: user_id,
            business_id,
            role: place.role,
            staff_id: place.staff_id,
            sid: session_id,
            aud: Audience::Auth.as_str().to_owned(),
            iss: ISSUER.to_owned(),
            iat: now.as_second(),
            exp: now.as_second() + Self::lifetime_seconds(),
            jti: clock::new_id(),
        };
        let key = self.ring().signing;
        Ok(jsonwebtoken::encode(&key.header, &claims, &key.signing)?)
    }

    /// # Errors
    /// When the token is not one of ours, is for another use, or has expired.
    pub fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        let kid = jsonwebtoken::decode_header(token)?.kid;
        let ring = self.ring();
        let key = ring.verifying.iter().find(|key| Some(&key.kid) == kid.as_ref());
        let Some(key) = key else {
            return Err(TokenError(jsonwebtoken::errors::ErrorKind::InvalidSignature.into()));
        };
        Ok(jsonwebtoken::decode::<Claims>(token, &key.verifying, &self.validation)?.claims)
    }

    /// The public keys as a JSON Web Key Set.
    #[must_use]
    pub fn jwks(&self) -> serde_json::Value {
        let key = |key: &Arc<TokenKey>| {
            serde_json::json!({
                "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA",
                "kid": key.kid, "x": key.x,
            })
        };
        let keys: Vec<_> = self.ring().verifying.iter().map(key).collect();
        serde_json::json!({ "keys": keys })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> Tokens {
        Tokens::try_new(&SigningKey::generate()).unwrap()
    }

    fn issue(tokens: &Tokens, now: Timestamp) -> String {
        let bearer = Bearer {
            user_id: UserId::new(clock::new_id()),
            business_id: BusinessId::new(clock::new_id()),
            place: Place { role: Role::Owner, staff_id: None },
            session_id: LoginId::new(clock::new_id()),
        };
        tokens.issue(bearer, now).unwrap()
    }

    #[test]
    fn a_token_of_ours_is_accepted_until_it_expires() {
        let tokens = tokens();
        let now = clock::now();
        assert_eq!(tokens.verify(&issue(&tokens, now)).unwrap().role, Role::Owner);
        let expired = now - LIFETIME - LEEWAY - SignedDuration::from_secs(1);
        assert!(tokens.verify(&issue(&tokens, expired)).is_err());
    }

    #[test]
    fn a_key_that_signs_no_more_still_verifies_until_it_is_taken_away() {
        let tokens = tokens();
        let old = issue(&tokens, clock::now());
        let before = tokens.ring().signing;
        let next = Arc::new(TokenKey::try_new(&SigningKey::generate()).unwrap());
        tokens.turn(Arc::clone(&next), vec![Arc::clone(&next), before]);
        let new = issue(&tokens, clock::now());
        assert!(tokens.verify(&old).is_ok() && tokens.verify(&new).is_ok());
        assert_eq!(tokens.jwks()["keys"].as_array().unwrap().len(), 2);
        tokens.turn(Arc::clone(&next), vec![next]);
        assert!(tokens.verify(&old).is_err() && tokens.verify(&new).is_ok());
    }

    /// A token that somebody else made, with any header, claims and signature.
    fn forged(header: &Header, claims: &serde_json::Value, key: &EncodingKey) -> String {
        jsonwebtoken::encode(header, claims, key).unwrap()
    }

    #[test]
    fn what_is_not_signed_by_us_for_the_api_is_refused() {
        let tokens = tokens();
        let good = issue(&tokens, clock::now());
        let claims = serde_json::to_value(tokens.verify(&good).unwrap()).unwrap();
        let key = tokens.ring().signing;
        let ours =
            |header: &Header, claims: &serde_json::Value| forged(header, claims, &key.signing);
        assert!(tokens.verify(&ours(&key.header, &claims)).is_ok());

        let mut parts = good.split('.');
        let (_, body) = (parts.next(), parts.next().unwrap());
        // {"alg":"none"}, and the same with our key's name.
        assert!(tokens.verify(&format!("eyJhbGciOiJub25lIn0.{body}.")).is_err());
        use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
        let none = serde_json::json!({"alg": "none", "kid": key.kid}).to_string();
        assert!(tokens.verify(&format!("{}.{body}.", URL_SAFE_NO_PAD.encode(none))).is_err());

        // HS256, with the public key as the secret.
        let mut symmetric = Header::new(Algorithm::HS256);
        symmetric.kid = Some(key.kid.clone());
        let public = URL_SAFE_NO_PAD.decode(&key.x).unwrap();
        for secret in [public, key.x.clone().into_bytes()] {
            let token = forged(&symmetric, &claims, &EncodingKey::from_secret(&secret));
            assert!(tokens.verify(&token).is_err());
        }

        let other = TokenKey::try_new(&SigningKey::generate()).unwrap();
        assert!(tokens.verify(&forged(&key.header, &claims, &other.signing)).is_err(), "their key");
        assert!(tokens.verify(&forged(&other.header, &claims, &other.signing)).is_err());
        assert!(tokens.verify(&ours(&other.header, &claims)).is_err(), "an unknown kid");
        let mut nameless = key.header.clone();
        nameless.kid = None;
        assert!(tokens.verify(&ours(&nameless, &claims)).is_err(), "no kid");

        for (claim, wrong) in [
            ("aud", serde_json::json!("reset")),
            ("aud", serde_json::json!(["reset", "manage"])),
            ("iss", serde_json::json!("somebody")),
            ("exp", serde_json::json!(1)),
            ("sub", serde_json::json!("nobody")),
            ("role", serde_json::json!("god")),
        ] {
            let mut changed = claims.clone();
            changed[claim] = wrong;
            assert!(tokens.verify(&ours(&key.header, &changed)).is_err(), "{claim}");
            changed.as_object_mut().unwrap().remove(claim);
            assert!(tokens.verify(&ours(&key.header, &changed)).is_err(), "without {claim}");
        }
        let (head, tail) = good.split_at(good.len() - 4);
        assert!(tokens.verify(&format!("{head}AAAA{}", &tail[4..])).is_err());
    }
}
