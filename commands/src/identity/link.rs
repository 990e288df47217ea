//! Manage links, the nonces of changes, and the links of calendar feeds and of the waitlist. All are computed anew whenever
//! they are needed and never stored: whoever reads the tables or the log of events cannot use anybody's.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use domain::{AppointmentId, InvitationId, ResetId, StaffId, WaitlistId};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use sha2::Sha256;
use uuid::Uuid;

use super::{Audience, KeyError, RootKeys, SigningKey};

/// What a manage link stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// The one appointment that its holder may see and change.
    pub appointment_id: AppointmentId,
    /// Raising it ends all links of the appointment that were given out before.
    pub generation: u16,
}

impl Link {
    /// The link of an appointment as it is given out now.
    #[must_use]
    pub const fn of(appointment_id: AppointmentId) -> Self {
        Self { appointment_id, generation: GENERATION }
    }

    fn bytes(self) -> impl Iterator<Item = u8> {
        let id = self.appointment_id.uuid().into_bytes();
        id.into_iter().chain(self.generation.to_be_bytes())
    }
}

/// Why a nonce does not authorise a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NonceRefused {
    /// Not one that was given out for this link.
    #[error("must be the nonce that this link's own view answered")]
    Forged,
    /// Given out too long ago.
    #[error("the nonce has expired")]
    Expired,
}

/// Makes links and nonces, and knows its own again.
#[derive(Clone)]
pub struct Links {
    /// Makes links.
    current: LinkKey,
    /// Knows what was made with earlier ones.
    earlier: Vec<LinkKey>,
}

#[derive(Clone)]
struct LinkKey {
    /// Says which key it was, so that the next key can stand beside this one.
    kid: [u8; 4],
    key: Hmac<Sha256>,
}

impl std::fmt::Debug for Links {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Links").field("kid", &self.current.kid).finish_non_exhaustive()
    }
}

/// The generation of every link, until there is a command that raises it: it belongs into the stream of
/// what the link stands for then, and is compared where the link is read.
const GENERATION: u16 = 1;
/// The first byte of a link: what follows it, and how.
const FORM: u8 = 1;
/// 128 bits of the MAC: more than anybody can guess, and a link that still fits a line.
const TAG: usize = 16;
/// Labels keep what is derived apart, from each other and from whatever else the signing key is used for.
const KEY_LABEL: &[u8] = b"apptremind links v1: key";
const KID_LABEL: &[u8] = b"apptremind links v1: kid";

impl Links {
    /// Derives its own key (HKDF, RFC 5869), so that there is no second secret to keep.
    ///
    /// # Errors
    /// When none can be derived.
    pub fn try_new(keys: &RootKeys) -> Result<Self, KeyError> {
        let mut all = keys.iter().map(LinkKey::try_new);
        let current = all.next().ok_or(KeyError::Empty)??;
        Ok(Self { current, earlier: all.collect::<Result<_, _>>()? })
    }

    fn keys(&self) -> impl Iterator<Item = &LinkKey> {
        std::iter::once(&self.current).chain(&self.earlier)
    }

    /// The link as text that can stand in a URL.
    #[must_use]
    pub fn manage(&self, link: Link) -> String {
        self.named(Audience::Manage, link.appointment_id.uuid(), link.generation)
    }

    /// What a link stands for; nothing when it is not one of ours, or not any more.
    #[must_use]
    pub fn managed(&self, text: &str) -> Option<Link> {
        self.meant(Audience::Manage, text).map(|id| Link::of(AppointmentId::new(id)))
    }

    /// The link by which the guest of an appointment is not reminded by mail any more, as text that can stand
    /// in a URL. Providers of mail read it: it is good for nothing else.
    #[must_use]
    pub fn unsubscribe(&self, appointment_id: AppointmentId) -> String {
        self.named(Audience::Unsubscribe, appointment_id.uuid(), GENERATION)
    }

    /// Whose guest a link stands for; nothing when it is not one of ours, or not any more.
    #[must_use]
    pub fn unsubscribing(&self, text: &str) -> Option<AppointmentId> {
        self.meant(Audience::Unsubscribe, text).map(AppointmentId::new)
    }

    /// The link of a staff member's calendar feed, as text that can stand in a URL.
    #[must_use]
    pub fn feed(&self, staff_id: StaffId) -> String {
        self.named(Audience::Feed, staff_id.uuid(), GENERATION)
    }

    /// Whose feed a link stands for; nothing when it is not one of ours, or not any more.
    #[must_use]
    pub fn fed(&self, text: &str) -> Option<StaffId> {
        self.meant(Audience::Feed, text).map(StaffId::new)
    }

    /// The link of an entry of the waitlist, as text that can stand in a URL.
    #[must_use]
    pub fn wait(&self, waitlist_id: WaitlistId) -> String {
        self.named(Audience::Wait, waitlist_id.uuid(), GENERATION)
    }

    /// Whose entry a link stands for; nothing when it is not one of ours, or not any more.
    #[must_use]
    pub fn waiting(&self, text: &str) -> Option<WaitlistId> {
        self.meant(Audience::Wait, text).map(WaitlistId::new)
    }

    /// The link by which a forgotten password is replaced.
    #[must_use]
    pub fn reset(&self, reset_id: ResetId) -> String {
        self.named(Audience::Reset, reset_id.uuid(), GENERATION)
    }

    /// Which replacement a link stands for; nothing when it is not one of ours, or not any more.
    #[must_use]
    pub fn resetting(&self, text: &str) -> Option<ResetId> {
        self.meant(Audience::Reset, text).map(ResetId::new)
    }

    /// The link by which an invitation is accepted.
    #[must_use]
    pub fn invitation(&self, invitation_id: InvitationId) -> String {
        self.named(Audience::Invite, invitation_id.uuid(), GENERATION)
    }

    /// Which invitation a link stands for; nothing when it is not one of ours, or not any more.
    #[must_use]
    pub fn invited(&self, text: &str) -> Option<InvitationId> {
        self.meant(Audience::Invite, text).map(InvitationId::new)
    }

    /// Authorises one change by the holder of this link, of the appointment at this version. Every change
    /// makes another version, so the change itself spends it.
    #[must_use]
    pub fn nonce(&self, link: Link, version: u64, expires: Timestamp) -> String {
        let mut bytes = version.to_be_bytes().to_vec();
        bytes.extend(expires.as_second().to_be_bytes());
        self.sealed(Audience::Change, &link.bytes().collect::<Vec<_>>(), bytes)
    }

    /// The version that a nonce was given out for.
    ///
    /// # Errors
    /// When it was not given out for this link, or has expired.
    pub fn version(&self, link: Link, nonce: &str, now: Timestamp) -> Result<u64, NonceRefused> {
        let about: Vec<u8> = link.bytes().collect();
        let (_, body) = self.opened(Audience::Change, &about, nonce).ok_or(NonceRefused::Forged)?;
        let (version, expires) = body.split_first_chunk().ok_or(NonceRefused::Forged)?;
        let expires = expires.try_into().map_err(|_length| NonceRefused::Forged)?;
        if now.as_second() >= i64::from_be_bytes(expires) {
            return Err(NonceRefused::Expired);
        }
        Ok(u64::from_be_bytes(*version))
    }

    fn named(&self, audience: Audience, id: Uuid, generation: u16) -> String {
        let mut bytes = vec![FORM];
        bytes.extend(self.current.kid);
        bytes.extend(id.as_bytes());
        bytes.extend(generation.to_be_bytes());
        self.sealed(audience, &[], bytes)
    }

    fn meant(&self, audience: Audience, text: &str) -> Option<Uuid> {
        let (key, body) = self.opened(audience, &[], text)?;
        let ([FORM], body) = body.split_first_chunk()? else { return None };
        let (kid, body) = body.split_first_chunk()?;
        let (id, generation) = body.split_first_chunk()?;
        let current = *kid == key.kid && *generation == GENERATION.to_be_bytes();
        current.then_some(Uuid::from_bytes(*id))
    }

    fn sealed(&self, audience: Audience, about: &[u8], mut body: Vec<u8>) -> String {
        let tag = self.current.mac(audience, about, &body).finalize().into_bytes();
        body.extend(tag.iter().take(TAG));
        URL_SAFE_NO_PAD.encode(body)
    }

    /// Compares in constant time.
    fn opened(&self, audience: Audience, about: &[u8], text: &str) -> Option<(&LinkKey, Vec<u8>)> {
        let mut bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (body, tag) = bytes.split_last_chunk::<TAG>()?;
        let made =
            |key: &&LinkKey| key.mac(audience, about, body).verify_truncated_left(tag).is_ok();
        let key = self.keys().find(made)?;
        bytes.truncate(bytes.len() - TAG);
        Some((key, bytes))
    }
}

impl LinkKey {
    fn try_new(key: &SigningKey) -> Result<Self, KeyError> {
        let derived = Hkdf::<Sha256>::new(None, &key.secret());
        let (mut secret, mut kid) = ([0; 32], [0; 4]);
        derived.expand(KEY_LABEL, &mut secret).map_err(|_length| KeyError::Derive)?;
        derived.expand(KID_LABEL, &mut kid).map_err(|_length| KeyError::Derive)?;
        let key = Hmac::new_from_slice(&secret).map_err(|_length| KeyError::Derive)?;
        Ok(Self { kid, key })
    }

    /// Everything before `body` has one length for one audience, so no two messages are alike.
    fn mac(&self, audience: Audience, about: &[u8], body: &[u8]) -> Hmac<Sha256> {
        let mac = self.key.clone().chain_update(audience.as_str()).chain_update([0]);
        mac.chain_update(about).chain_update(body)
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use streams::clock;

    use super::*;

    fn links() -> Links {
        Links::try_new(&RootKeys::of(SigningKey::generate())).unwrap()
    }

    fn link() -> Link {
        Link::of(AppointmentId::new(clock::new_id()))
    }

    /// Links stand in mails for months: a build that makes others with the same key ends all of them. What
    /// is pinned here was computed by another program, from RFC 2104 and RFC 5869.
    #[test]
    fn the_same_key_makes_the_same_links_for_ever() {
        let links = Links::try_new(&RootKeys::of(SigningKey::of_seed([7; 32]))).unwrap();
        let id = Uuid::from_u128(1);
        let link = Link::of(AppointmentId::new(id));
        let manage = "AfQwRHgAAAAAAAAAAAAAAAAAAAABAAE_wJGJNNQsBkh9NZCf-p4i";
        assert_eq!(links.manage(link), manage);
        assert_eq!(links.managed(manage), Some(link));
        let feed = "AfQwRHgAAAAAAAAAAAAAAAAAAAABAAGBaR8vAFpzyUqh-9bTPcRH";
        assert_eq!(links.feed(StaffId::new(id)), feed);
        let expires = "2026-03-02T09:00:00Z".parse().unwrap();
        let nonce = "AAAAAAAAAAMAAAAAaaVRkG5QDs3sBg-tpSLp5Sy36fI";
        assert_eq!(links.nonce(link, 3, expires), nonce);
    }

    #[test]
    fn a_link_is_url_safe_and_stands_for_one_appointment() {
        let (links, link) = (links(), link());
        let text = links.manage(link);
        assert_eq!(text, links.manage(link), "it is computed, not made up");
        assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)), "{text}");
        assert_eq!(links.managed(&text), Some(link));
        assert_eq!(self::links().managed(&text), None, "of another key");
    }

    #[test]
    fn a_link_with_any_bit_changed_or_cut_is_not_ours() {
        let (links, link) = (links(), link());
        let text = links.manage(link);
        let bytes = URL_SAFE_NO_PAD.decode(&text).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut forged = bytes.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(links.managed(&URL_SAFE_NO_PAD.encode(forged)), None, "bit {bit}");
        }
        for length in 0..text.len() {
            assert_eq!(links.managed(&text[..length]), None, "cut to {length}");
        }
        for odd in [format!("{text}A"), format!("{text}="), format!(" {text}"), format!("{text}\0")]
        {
            assert_eq!(links.managed(&odd), None, "{odd:?}");
        }
    }

    #[test]
    fn a_link_of_another_generation_is_refused_though_it_is_signed() {
        let (links, link) = (links(), link());
        let old = Link { generation: link.generation - 1, ..link };
        assert_eq!(links.managed(&links.manage(old)), None);
    }

    #[test]
    fn a_nonce_is_for_its_link_and_version_until_it_expires() {
        let (links, link, now) = (links(), link(), clock::now());
        let expires = now + SignedDuration::from_mins(1);
        let nonce = links.nonce(link, 3, expires);
        assert_eq!(links.version(link, &nonce, now), Ok(3));
        assert_eq!(links.version(link, &nonce, expires), Err(NonceRefused::Expired));
        let forged = Err(NonceRefused::Forged);
        assert_eq!(links.version(self::link(), &nonce, now), forged, "of another appointment");
        let old = Link { generation: link.generation - 1, ..link };
        assert_eq!(links.version(old, &nonce, now), forged, "of another generation");
        assert_eq!(self::links().version(link, &nonce, now), forged, "of another key");
        let bytes = URL_SAFE_NO_PAD.decode(&nonce).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut altered = bytes.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            let altered = URL_SAFE_NO_PAD.encode(altered);
            assert_eq!(links.version(link, &altered, now), forged, "bit {bit}");
        }
    }

    #[test]
    fn a_link_for_one_use_is_none_for_another() {
        let (links, link, now) = (links(), link(), clock::now());
        let nonce = links.nonce(link, 1, now + SignedDuration::from_mins(1));
        let staff_id = StaffId::new(link.appointment_id.uuid());
        let feed = links.feed(staff_id);
        assert_eq!(links.fed(&feed), Some(staff_id));
        assert_eq!((links.managed(&nonce), links.managed(&feed)), (None, None));
        assert_eq!((links.fed(&nonce), links.fed(&links.manage(link))), (None, None));
        let waitlist_id = WaitlistId::new(link.appointment_id.uuid());
        let wait = links.wait(waitlist_id);
        assert_eq!(links.waiting(&wait), Some(waitlist_id));
        assert_eq!((links.managed(&wait), links.fed(&wait)), (None, None));
        assert_eq!((links.waiting(&links.manage(link)), links.waiting(&feed)), (None, None));
        assert_eq!(links.version(link, &links.manage(link), now), Err(NonceRefused::Forged));
    }
}
