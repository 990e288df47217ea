//! Settings from the environment: all that is wrong is said at once, and secrets are never shown.

mod limits;
mod reader;
mod sms;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, net::IpAddr, num::NonZeroU32, path::PathBuf, sync::Arc};

use commands::identity::Cost;
use ipnet::IpNet;
use jiff::SignedDuration;
pub(crate) use limits::{HttpLimits, RateLimits};
use reactors::{SendRates, Sms, Smtp};
pub(crate) use reader::{Effective, Secret, SettingsError};
use reader::{PREFIX, Reader};
use url::Url;

/// What the process is told from outside. `.env.example` says the same with a line on each.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Postgres as the application role.
    pub(crate) database_url: Secret,
    /// Postgres as the owner of the schema, for `migrate` and `replay`.
    pub(crate) migrate_database_url: Secret,
    /// Connections for requests.
    pub(crate) database_connections: u32,
    pub(crate) nats_url: Secret,
    /// On so many servers of a NATS cluster each stream is kept.
    pub(crate) nats_replicas: usize,
    /// The gateway mails tests by it, too.
    pub(crate) smtp: Arc<Smtp>,
    /// Who sends text messages; the gateway knows them, too, since they tell it what became of them.
    pub(crate) sms: Arc<Sms>,
    /// How much is sent at most, by mail and by text.
    pub(crate) send_rates: [SendRates; 2],
    pub(crate) http_host: String,
    pub(crate) http_port: u16,
    /// Where guests reach the API, without a slash at its end: links in mails begin with it.
    pub(crate) public_url: String,
    /// Businesses are at `{handle}.{base_domain}`, too, when there is one.
    pub(crate) base_domain: Option<String>,
    /// Where `/metrics` listens: loopback unless told otherwise.
    pub(crate) admin_host: String,
    pub(crate) admin_port: u16,
    /// Made on first start when missing.
    pub(crate) signing_key_file: PathBuf,
    /// A key that signs tokens is replaced at this age.
    pub(crate) signing_key_age: SignedDuration,
    /// What hashing a password costs.
    pub(crate) password_cost: Cost,
    /// Appointments that a business on the free tier can make in one UTC month.
    pub(crate) free_monthly_cap: u32,
    /// Pages of these origins may call the API in browsers, with the cookies of whoever is signed in.
    pub(crate) cors_origins: Vec<String>,
    /// Whose word about the address of a caller is believed.
    pub(crate) trusted_proxies: Vec<IpNet>,
    pub(crate) http: HttpLimits,
    pub(crate) rates: RateLimits,
    /// All of them as they are in force, without secrets.
    pub(crate) effective: Vec<Effective>,
    /// Names in the environment that look like ours and are none.
    pub(crate) unknown: Vec<String>,
}

/// Read where the log begins.
const ELSEWHERE: &[&str] = &["LOG"];
/// Of the scripts, which share the environment.
const OF_SCRIPTS: &[&str] =
    &["TEST_", "DEV_", "INBOX_URL", "OWNER_PASSWORD", "APP_PASSWORD", "URL", "BENCH_"];
/// Text messages cost money, and guests say themselves where they go.
const TEXTS_A_MINUTE: u32 = 60;
/// The least that OWASP asks of Argon2id with two passes.
const LEAST_MEMORY_KIB: u32 = 19 * 1024;

/// An address that paths can be put behind.
fn base(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    let plain = url.query().is_none() && url.fragment().is_none();
    let nobody = url.username().is_empty() && url.password().is_none();
    let http = matches!(url.scheme(), "http" | "https") && url.has_host();
    (http && plain && nobody).then(|| url.as_str().trim_end_matches('/').to_owned())
}

/// An origin as browsers send it, such as `https://book.example`.
fn origin(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    let http = matches!(url.scheme(), "http" | "https");
    let origin = url.origin().ascii_serialization();
    let exact = !origin.contains('*');
    (http && exact && origin == text.trim_end_matches('/').to_ascii_lowercase()).then_some(origin)
}

/// A network, or one address.
fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

fn domain_name(text: &str) -> bool {
    let label = |label: &str| {
        let fits =
            (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-');
        fits && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    text.len() <= 200 && text.split('.').all(label)
}

/// Whether only this machine can reach it.
fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl Settings {
    /// # Errors
    /// Every setting that is wrong.
    pub(crate) fn from_environment() -> Result<Self, SettingsError> {
        let of_ours = |(name, _): &(String, String)| {
            let rest = name.strip_prefix(PREFIX);
            rest.is_some_and(|rest| !OF_SCRIPTS.iter().any(|theirs| rest.starts_with(theirs)))
        };
        Self::from_values(std::env::vars().filter(of_ours).collect())
    }

    fn from_values(values: BTreeMap<String, String>) -> Result<Self, SettingsError> {
        let mut reader = Reader::new(values);
        let reader = &mut reader;
        let (database_url, migrate_database_url) = databases(reader);
        let nats_url = nats(reader);
        let nats_replicas = reader.number("NATS_REPLICAS", 1, 1, 5);
        reader.check([1, 3, 5].contains(&nats_replicas), "NATS_REPLICAS", "must be 1, 3 or 5");
        let smtp = smtp(reader);
        let database_connections = reader.number("DATABASE_CONNECTIONS", 20, 2, 1_000);
        let http_host = reader.text("HTTP_HOST", "127.0.0.1");
        let http_port = reader.number("HTTP_PORT", 8_080, 0, u16::MAX);
        let public_url = public_url(reader, http_port);
        let sms = sms::sms(reader, &http_host, &public_url);
        let send_rates = [("MAIL", 0), ("SMS", TEXTS_A_MINUTE)]
            .map(|(channel, each)| send_rates(reader, channel, each));
        let base_domain = base_domain(reader);
        let admin_host = reader.text("ADMIN_HOST", "127.0.0.1");
        let admin_port = reader.number("ADMIN_PORT", 9_090, 0, u16::MAX);
        let signing_key_file = reader.text("SIGNING_KEY_FILE", ".local/signing-key.pem").into();
        let days = |days: i64| SignedDuration::from_hours(days * 24);
        let signing_key_age = days(reader.number("SIGNING_KEY_DAYS", 30, 1, 3_650));
        let password_cost = Cost {
            memory_kib: reader.number("ARGON2_MEMORY_KIB", LEAST_MEMORY_KIB, 64, 4 * 1024 * 1024),
            iterations: reader.number("ARGON2_ITERATIONS", 2, 1, 100),
        };
        let free_monthly_cap = reader.number("FREE_MONTHLY_CAP", 100, 1, 1_000_000_000);
        let rule = "must be origins such as https://book.example, separated by commas; no wildcard";
        let cors_origins = reader.list("CORS_ORIGINS", rule, origin);
        let rule = "must be addresses or networks such as 10.0.0.0/8, separated by commas";
        let trusted_proxies = reader.list("TRUSTED_PROXIES", rule, network);
        let http = HttpLimits::read(reader);
        let rates = RateLimits::read(reader);
        if !is_loopback(&http_host) {
            // What is only good for trying things out must not be found by others.
            reader.check(
                rates.on,
                "LIMITS",
                "may be off only while HTTP_HOST is a loopback address",
            );
            let rule = "may be below 19456 only while HTTP_HOST is a loopback address";
            reader.check(password_cost.memory_kib >= LEAST_MEMORY_KIB, "ARGON2_MEMORY_KIB", rule);
        }
        let unknown = reader.left(ELSEWHERE);
        match (smtp, sms, reader.errors.is_empty()) {
            (Some(smtp), Some(sms), true) => Ok(Self {
                database_url: Secret::new(database_url),
                migrate_database_url: Secret::new(migrate_database_url),
                database_connections,
                nats_url: Secret::new(nats_url),
                nats_replicas,
                smtp: Arc::new(smtp),
                sms: Arc::new(sms),
                send_rates,
                http_host,
                http_port,
                public_url,
                base_domain,
                admin_host,
                admin_port,
                signing_key_file,
                signing_key_age,
                password_cost,
                free_monthly_cap,
                cors_origins,
                trusted_proxies,
                http,
                rates,
                effective: std::mem::take(&mut reader.effective),
                unknown,
            }),
            _ => Err(SettingsError(std::mem::take(&mut reader.errors))),
        }
    }

    /// The origins whose pages may act for whoever is signed in: our own, and those that are named.
    pub(crate) fn own_origins(&self) -> Vec<String> {
        let own = Url::parse(&self.public_url).map(|url| url.origin().ascii_serialization());
        own.into_iter().chain(self.cors_origins.iter().cloned()).collect()
    }
}

fn databases(reader: &mut Reader) -> (String, String) {
    let wrong = reader.errors.len();
    let database_url = reader.secret("DATABASE_URL");
    if database_url.is_none() && reader.errors.len() == wrong {
        reader.wrong("DATABASE_URL", "is needed");
    }
    let is_postgres = |url: &String| {
        ["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme))
    };
    let rule = "must be a postgres:// address";
    reader.check(database_url.as_ref().is_none_or(is_postgres), "DATABASE_URL", rule);
    let database_url = database_url.unwrap_or_default();
    let migrate = reader.secret_or("MIGRATE_DATABASE_URL", &database_url);
    reader.check(migrate.is_empty() || is_postgres(&migrate), "MIGRATE_DATABASE_URL", rule);
    (database_url, migrate)
}

fn nats(reader: &mut Reader) -> String {
    let url = reader.secret_or("NATS_URL", "nats://127.0.0.1:4222");
    let schemes = ["nats://", "tls://", "ws://", "wss://"];
    reader.check(
        url.split(',').all(|url| schemes.iter().any(|scheme| url.trim().starts_with(scheme))),
        "NATS_URL",
        "must be a nats:// or tls:// address, or several separated by commas",
    );
    url
}

fn smtp(reader: &mut Reader) -> Option<Smtp> {
    let url = reader.secret_or("SMTP_URL", "smtp://127.0.0.1:1025");
    let from = reader.text("MAIL_FROM", "ApptRemind <reminders@localhost.localdomain>");
    Smtp::try_new(&url, &from)
        .map_err(|error| {
            let name = match error {
                reactors::SmtpAddressError::Url => "SMTP_URL",
                reactors::SmtpAddressError::From => "MAIL_FROM",
            };
            reader.wrong(name, error);
        })
        .ok()
}

/// 0 is no limit; `each` is that of one business, unless it is set.
fn send_rates(reader: &mut Reader, channel: &str, each: u32) -> SendRates {
    let mut rate = |what: &str, usual: u32| {
        NonZeroU32::new(reader.number(&format!("{channel}_{what}"), usual, 0, 1_000_000))
    };
    SendRates { a_second: rate("PER_SECOND", 0), a_minute_each: rate("PER_MINUTE_EACH", each) }
}

fn public_url(reader: &mut Reader, http_port: u16) -> String {
    let text = reader.text("PUBLIC_URL", &format!("http://127.0.0.1:{http_port}"));
    let url = base(&text);
    let rule = "must be an http:// or https:// address without user, query and fragment";
    reader.check(url.is_some(), "PUBLIC_URL", rule);
    url.unwrap_or_default()
}

fn base_domain(reader: &mut Reader) -> Option<String> {
    let text = reader.text("BASE_DOMAIN", "").to_ascii_lowercase();
    let rule = "must be the name of a domain, such as book.example";
    reader.check(text.is_empty() || domain_name(&text), "BASE_DOMAIN", rule);
    Some(text).filter(|text| !text.is_empty())
}
