use cqrs_es::test::TestFramework;
use uuid::Uuid;

use super::*;
use crate::{BusinessId, FieldError, Locale, UserId, notification::Kind};

fn given(
    events: Vec<MessageTemplateEvent>,
) -> cqrs_es::test::AggregateTestExecutor<MessageTemplate> {
    TestFramework::<MessageTemplate>::with(()).given(events)
}

fn german() -> Locale {
    "de".parse().unwrap()
}

fn subject(words: &str) -> TemplateParts {
    TemplateParts { subject: Some(words.to_owned()), ..TemplateParts::default() }
}

fn change(parts: TemplateParts, expected: Option<u64>) -> MessageTemplateCommand {
    let (kind, locale) = (Kind::Confirmation, german());
    MessageTemplateCommand::Change { kind, locale, parts, expected }
}

fn changed(words: &str) -> MessageTemplateEvent {
    let (kind, locale) = (Kind::Confirmation, german());
    MessageTemplateEvent::Changed { kind, locale, parts: subject(words) }
}

fn tested() -> MessageTemplateEvent {
    let to = TestRecipient::User(UserId::new(Uuid::nil()));
    MessageTemplateEvent::TestSent { kind: Kind::Confirmation, locale: german(), to }
}

fn refused(parts: TemplateParts) -> Vec<String> {
    let state = MessageTemplate::default();
    match crate::Decide::decide(&state, change(parts, None)) {
        Err(MessageTemplateError::Invalid(errors)) => {
            errors.into_iter().map(|FieldError { field, .. }| field).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn words_are_changed_and_the_same_words_are_already_so() {
    given(vec![]).when(change(subject("Hi"), Some(0))).then_expect_events(vec![changed("Hi")]);
    given(vec![changed("Hi")]).when(change(subject("Hi"), Some(1))).then_expect_events(vec![]);
    given(vec![changed("Hi")])
        .when(change(subject("Ho"), None))
        .then_expect_events(vec![changed("Ho")]);
}

#[test]
fn a_change_that_was_decided_on_older_words_is_refused() {
    let stale = || MessageTemplateError::Stale { current: 2 };
    let both = || vec![changed("Hi"), changed("Ho")];
    given(both()).when(change(subject("He"), Some(1))).then_expect_error(stale());
    given(both())
        .when(MessageTemplateCommand::Remove { expected: Some(1) })
        .then_expect_error(stale());
}

#[test]
fn what_was_removed_is_removed_once_and_can_be_said_again() {
    let remove = |expected| MessageTemplateCommand::Remove { expected };
    let removed = || MessageTemplateEvent::Removed {};
    given(vec![changed("Hi")]).when(remove(Some(1))).then_expect_events(vec![removed()]);
    given(vec![changed("Hi"), removed()]).when(remove(Some(2))).then_expect_events(vec![]);
    given(vec![]).when(remove(None)).then_expect_events(vec![]);
    given(vec![changed("Hi"), removed()])
        .when(change(subject("Hi"), Some(2)))
        .then_expect_events(vec![changed("Hi")]);
}

#[test]
fn a_test_is_noted_and_is_no_new_version() {
    let to = TestRecipient::User(UserId::new(Uuid::nil()));
    let note = MessageTemplateCommand::NoteTest { kind: Kind::Confirmation, locale: german(), to };
    given(vec![]).when(note).then_expect_events(vec![tested()]);
    given(vec![changed("Hi"), tested()])
        .when(change(subject("Ho"), Some(1)))
        .then_expect_events(vec![changed("Ho")]);
}

#[test]
fn each_part_has_its_length_and_one_must_be_there() {
    assert_eq!(refused(TemplateParts::default()), ["body"]);
    assert_eq!(refused(subject("two\nlines")), ["subject"]);
    assert_eq!(refused(subject(" ")), ["subject"]);
    let too_long = TemplateParts {
        subject: Some("s".repeat(201)),
        text: Some("t".repeat(20_001)),
        html: Some("h".repeat(60_001)),
        sms: Some("m".repeat(1_001)),
    };
    assert_eq!(refused(too_long), ["subject", "text", "html", "sms"]);
    assert_eq!(refused(TemplateParts { sms: Some("\0".into()), ..subject("s") }), ["sms"]);
    let longest = TemplateParts {
        subject: Some("ü".repeat(200)),
        text: Some("ü".repeat(20_000)),
        html: Some("ü".repeat(60_000)),
        sms: Some("ü".repeat(1_000)),
    };
    given(vec![]).when(change(longest.clone(), None)).then_expect_events(vec![
        MessageTemplateEvent::Changed {
            kind: Kind::Confirmation,
            locale: german(),
            parts: longest,
        },
    ]);
}

#[test]
fn messages_to_hosts_are_ours() {
    let (kind, locale, parts) = (Kind::HostBooked, german(), subject("Hi"));
    let change = MessageTemplateCommand::Change { kind, locale, parts, expected: None };
    let message = "must be a kind of message to guests".to_owned();
    let error = FieldError { field: "kind".to_owned(), message };
    given(vec![]).when(change).then_expect_error(MessageTemplateError::Invalid(vec![error]));
}

#[test]
fn there_is_one_for_each_business_kind_and_language() {
    let id = |business: u128, kind, locale: &str| {
        let business_id = BusinessId::new(Uuid::from_u128(business));
        template_id(business_id, kind, &locale.parse().unwrap())
    };
    let one = id(1, Kind::Reminder, "de-AT");
    assert_eq!(one, id(1, Kind::Reminder, "de-at"));
    for other in
        [id(2, Kind::Reminder, "de-AT"), id(1, Kind::Expired, "de-AT"), id(1, Kind::Reminder, "de")]
    {
        assert_ne!(one, other);
    }
    // Of which streams are named: it must never change.
    assert_eq!(id(1, Kind::Reminder, "de").to_string(), "tmpl_8696ec17372a51a885eb3ecfb3fd6907");
}
