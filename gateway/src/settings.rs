//! Settings from the environment: all that is wrong is said at once, and secrets are never shown.

use std::{collections::BTreeMap, fmt, path::PathBuf, str::FromStr};

use reactors::Smtp;
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
    pub(crate) smtp: Smtp,
    pub(crate) http_host: String,
    pub(crate) http_port: u16,
    /// Where guests reach the API, without a slash at its end: links in mails begin with it.
    pub(crate) public_url: String,
    /// Where `/metrics` listens: loopback unless told otherwise.
    pub(crate) admin_host: String,
    pub(crate) admin_port: u16,
    /// Made on first start when missing.
    pub(crate) signing_key_file: PathBuf,
    /// Appointments that a business on the free tier can make in one UTC month.
    pub(crate) free_monthly_cap: u32,
}

/// Text that is not shown: addresses with passwords.
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Every setting that is wrong, with the reason.
#[derive(Debug)]
pub(crate) struct SettingsError(Vec<String>);

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("these settings are not valid (see .env.example):")?;
        self.0.iter().try_for_each(|error| write!(f, "\n  {error}"))
    }
}

impl std::error::Error for SettingsError {}

/// Names beginning so are ours. `APPTREMIND_LOG` is read where the log begins.
const PREFIX: &str = "APPTREMIND_";
struct Reader {
    values: BTreeMap<String, String>,
    errors: Vec<String>,
}

impl Reader {
    fn text(&mut self, name: &str, default: Option<&str>) -> String {
        let value = self.values.get(&format!("{PREFIX}{name}")).filter(|v| !v.is_empty());
        match (value, default) {
            (Some(value), _) => value.clone(),
            (None, Some(default)) => default.to_owned(),
            (None, None) => {
                self.errors.push(format!("{PREFIX}{name} is needed"));
                String::new()
            }
        }
    }

    fn number<T: Copy + FromStr + Default + PartialOrd + fmt::Display>(
        &mut self,
        name: &str,
        default: T,
        least: T,
        most: T,
    ) -> T {
        let text = self.text(name, Some(&default.to_string()));
        match text.parse::<T>() {
            Ok(number) if number >= least && number <= most => number,
            Ok(_) | Err(_) => {
                self.errors.push(format!("{PREFIX}{name} must be a number from {least} to {most}"));
                T::default()
            }
        }
    }

    fn check(&mut self, holds: bool, name: &str, rule: &str) {
        if !holds {
            self.errors.push(format!("{PREFIX}{name} {rule}"));
        }
    }
}

/// An address that paths can be put behind.
fn base(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    let plain = url.query().is_none() && url.fragment().is_none();
    let nobody = url.username().is_empty() && url.password().is_none();
    let http = matches!(url.scheme(), "http" | "https") && url.has_host();
    (http && plain && nobody).then(|| url.as_str().trim_end_matches('/').to_owned())
}

impl Settings {
    /// # Errors
    /// Every setting that is wrong.
    pub(crate) fn from_environment() -> Result<Self, SettingsError> {
        Self::from_values(std::env::vars().filter(|(name, _)| name.starts_with(PREFIX)).collect())
    }

    fn from_values(values: BTreeMap<String, String>) -> Result<Self, SettingsError> {
        let mut reader = Reader { values, errors: vec![] };
        let database_url = reader.text("DATABASE_URL", None);
        let postgres = ["postgres://", "postgresql://"];
        let is_postgres = |url: &str| postgres.iter().any(|scheme| url.starts_with(scheme));
        reader.check(
            database_url.is_empty() || is_postgres(&database_url),
            "DATABASE_URL",
            "must be a postgres:// address",
        );
        let migrate_database_url = reader.text("MIGRATE_DATABASE_URL", Some(&database_url));
        let nats_url = reader.text("NATS_URL", Some("nats://127.0.0.1:4222"));
        let nats = ["nats://", "tls://", "ws://", "wss://"];
        reader.check(
            nats_url.split(',').all(|url| nats.iter().any(|scheme| url.trim().starts_with(scheme))),
            "NATS_URL",
            "must be a nats:// or tls:// address, or several separated by commas",
        );
        let nats_replicas = reader.number("NATS_REPLICAS", 1, 1, 5);
        reader.check([0, 1, 3, 5].contains(&nats_replicas), "NATS_REPLICAS", "must be 1, 3 or 5");
        let smtp_url = reader.text("SMTP_URL", Some("smtp://127.0.0.1:1025"));
        let from = reader.text("MAIL_FROM", Some("ApptRemind <reminders@localhost.localdomain>"));
        let smtp = Smtp::try_new(&smtp_url, &from);
        if let Err(error) = &smtp {
            let name = match error {
                reactors::SmtpAddressError::Url => "SMTP_URL",
                reactors::SmtpAddressError::From => "MAIL_FROM",
            };
            reader.check(false, name, &error.to_string());
        }
        let database_connections = reader.number("DATABASE_CONNECTIONS", 20, 2, 1_000);
        let http_host = reader.text("HTTP_HOST", Some("127.0.0.1"));
        let http_port = reader.number("HTTP_PORT", 8_080, 0, u16::MAX);
        let here = format!("http://127.0.0.1:{http_port}");
        let public_url = base(&reader.text("PUBLIC_URL", Some(&here)));
        let rule = "must be an http:// or https:// address without user, query and fragment";
        reader.check(public_url.is_some(), "PUBLIC_URL", rule);
        let admin_host = reader.text("ADMIN_HOST", Some("127.0.0.1"));
        let admin_port = reader.number("ADMIN_PORT", 9_090, 0, u16::MAX);
        let signing_key_file = reader.text("SIGNING_KEY_FILE", Some(".local/signing-key.pem"));
        let free_monthly_cap = reader.number("FREE_MONTHLY_CAP", 100, 1, 1_000_000_000);
        match (smtp, reader.errors.is_empty()) {
            (Ok(smtp), true) => Ok(Self {
                database_url: Secret(database_url),
                migrate_database_url: Secret(migrate_database_url),
                database_connections,
                nats_url: Secret(nats_url),
                nats_replicas,
                smtp,
                http_host,
                http_port,
                public_url: public_url.unwrap_or_default(),
                admin_host,
                admin_port,
                signing_key_file: signing_key_file.into(),
                free_monthly_cap,
            }),
            _ => Err(SettingsError(reader.errors)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        let own = |(name, value): &(&str, &str)| (format!("{PREFIX}{name}"), (*value).to_owned());
        Settings::from_values(pairs.iter().map(own).collect())
    }

    #[test]
    fn every_wrong_setting_is_named_at_once() {
        let error = read(&[
            ("DATABASE_URL", "mysql://nope"),
            ("HTTP_PORT", "eighty"),
            ("SMTP_URL", "http://mail"),
            ("FREE_MONTHLY_CAP", "0"),
            ("NATS_URL", "nats://one:4222,two:4222"),
            ("NATS_REPLICAS", "2"),
            ("PUBLIC_URL", "booking.example"),
        ])
        .unwrap_err()
        .to_string();
        let all = [
            "DATABASE_URL",
            "HTTP_PORT",
            "SMTP_URL",
            "FREE_MONTHLY_CAP",
            "NATS_URL",
            "NATS_REPLICAS",
            "PUBLIC_URL",
        ];
        for name in all {
            assert!(error.contains(&format!("APPTREMIND_{name} ")), "{name} in {error}");
        }
    }

    #[test]
    fn passwords_are_never_shown() {
        let settings = read(&[
            ("DATABASE_URL", "postgres://app:s3cret@db/apptremind"),
            ("SMTP_URL", "smtps://user:s3cret@mail.example"),
        ])
        .unwrap();
        let shown = format!("{settings:?}");
        assert!(!shown.contains("s3cret"), "{shown}");
    }

    #[test]
    fn links_begin_with_the_public_address_which_is_this_machine_unless_told() {
        let database = ("DATABASE_URL", "postgres://db/apptremind");
        let address = |pairs: &[(&str, &str)]| {
            read(&[&[database], pairs].concat()).map(|settings| settings.public_url)
        };
        assert_eq!(address(&[("HTTP_PORT", "81")]).unwrap(), "http://127.0.0.1:81");
        let behind_a_proxy = address(&[("PUBLIC_URL", "https://Book.example/salons/")]).unwrap();
        assert_eq!(behind_a_proxy, "https://book.example/salons");
        for odd in ["ftp://book.example", "https://me@book.example", "https://b.example?x", "/b"] {
            assert!(address(&[("PUBLIC_URL", odd)]).is_err(), "{odd}");
        }
    }

    #[test]
    fn the_database_address_is_needed() {
        assert!(read(&[]).unwrap_err().to_string().contains("APPTREMIND_DATABASE_URL is needed"));
    }
}
