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

#[test]
fn a_secret_may_stand_in_a_file_and_is_not_shown_either() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "postgres://app:s3cret@db/apptremind\n").unwrap();
    let path = file.path().to_str().unwrap();
    let settings = read(&[("DATABASE_URL_FILE", path)]).unwrap();
    assert_eq!(settings.database_url.expose(), "postgres://app:s3cret@db/apptremind");
    let shown = format!("{settings:?}");
    assert!(!shown.contains("s3cret"), "{shown}");
    let database = settings.effective.iter().find(|s| s.name == "APPTREMIND_DATABASE_URL").unwrap();
    assert_eq!(database.value, "postgres://app:redacted@db/apptremind");
    assert_eq!(database.source, "file");

    let both = read(&[("DATABASE_URL", "postgres://db/a"), ("DATABASE_URL_FILE", path)]);
    let error = both.unwrap_err().to_string();
    assert!(error.contains("APPTREMIND_DATABASE_URL and APPTREMIND_DATABASE_URL_FILE"), "{error}");
    let missing = read(&[("DATABASE_URL_FILE", "/nowhere/at/all")]).unwrap_err().to_string();
    assert!(missing.contains("APPTREMIND_DATABASE_URL_FILE cannot be read"), "{missing}");
    assert!(!missing.contains("is needed"), "{missing}");
}

#[test]
fn what_is_only_good_for_trying_things_out_is_not_served_to_others() {
    let database = ("DATABASE_URL", "postgres://db/apptremind");
    for unsafe_one in [("LIMITS", "off"), ("ARGON2_MEMORY_KIB", "64")] {
        for host in ["127.0.0.1", "::1", "[::1]", "localhost"] {
            assert!(read(&[database, unsafe_one, ("HTTP_HOST", host)]).is_ok(), "{host}");
        }
        for host in ["0.0.0.0", "::", "192.0.2.1", "book.example"] {
            let error = read(&[database, unsafe_one, ("HTTP_HOST", host)]).unwrap_err().to_string();
            assert!(error.contains(&format!("APPTREMIND_{} may be", unsafe_one.0)), "{error}");
        }
    }
}

#[test]
fn limits_that_are_off_are_all_off() {
    let database = ("DATABASE_URL", "postgres://db/apptremind");
    let rates = read(&[database, ("LIMITS", "off"), ("RATE_PUBLIC", "5")]).unwrap().rates;
    assert_eq!((rates.sign_in, rates.public, rates.account, rates.tenant), (0, 0, 0, 0));
    let policy = rates.policy;
    let all = [
        policy.tries_from_network_to_account,
        policy.tries_to_account,
        policy.tries_from_network,
        policy.resets_to_account,
        policy.resets_from_network,
        policy.registrations_from_network,
        policy.invitations,
        rates.bookings_from_network,
    ];
    assert!(all.iter().all(|quota| quota.most == 0), "{all:?}");
    assert_eq!(rates.open_visits_of_guest, 0);
    let on = read(&[database, ("RATE_PUBLIC", "5")]).unwrap().rates;
    assert_eq!((on.public, on.account), (5, 1_200));
}

#[test]
fn lists_name_whole_origins_and_networks() {
    let database = ("DATABASE_URL", "postgres://db/apptremind");
    let settings = read(&[
        database,
        ("CORS_ORIGINS", "https://Book.example, http://localhost:5173"),
        ("TRUSTED_PROXIES", "10.0.0.0/8,2001:db8::1"),
        ("PUBLIC_URL", "https://api.example/salons"),
    ])
    .unwrap();
    assert_eq!(settings.cors_origins, ["https://book.example", "http://localhost:5173"]);
    assert_eq!(settings.trusted_proxies.len(), 2);
    let own = settings.own_origins();
    assert_eq!(own[0], "https://api.example");
    for odd in ["*", "null", "https://book.example/page", "book.example", "https://*.example"] {
        assert!(read(&[database, ("CORS_ORIGINS", odd)]).is_err(), "{odd}");
    }
    for odd in ["*", "10.0.0.0/33", "proxy.example"] {
        assert!(read(&[database, ("TRUSTED_PROXIES", odd)]).is_err(), "{odd}");
    }
    for odd in ["-a.example", "book..example", "https://book.example"] {
        assert!(read(&[database, ("BASE_DOMAIN", odd)]).is_err(), "{odd}");
    }
}

#[test]
fn a_name_that_is_no_setting_is_noticed() {
    let database = ("DATABASE_URL", "postgres://db/apptremind");
    let settings = read(&[database, ("RATE_PUBLISH", "5"), ("LOG", "warn")]).unwrap();
    assert_eq!(settings.unknown, ["APPTREMIND_RATE_PUBLISH"]);
}

/// A setting that nobody can find out about is as good as none, and one that is gone misleads.
#[test]
fn the_example_names_each_setting_and_its_default_once() {
    let example = include_str!("../../../.env.example");
    let named: Vec<&str> = example
        .lines()
        .filter_map(|line| line.split_once('=').map(|(name, _)| name.trim_start_matches("# ")))
        .filter(|name| name.starts_with(PREFIX) && !name.contains(' '))
        .collect();
    let settings = read(&[("DATABASE_URL", "postgres://db/apptremind")]).unwrap();
    let mut known: Vec<&str> = settings.effective.iter().map(|s| s.name.as_str()).collect();
    known.push("APPTREMIND_LOG");
    let (mut named, mut known) = (named, known);
    named.sort_unstable();
    known.sort_unstable();
    assert_eq!(named, known);
}
