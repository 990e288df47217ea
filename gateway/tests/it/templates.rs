//! Messages in a business's own words.

use reqwest::Method;
use serde_json::{Value, json};
use testkit::{
    eventually,
    mailsink::{Fault, Mail},
};

use crate::{
    reminders::{mails_to, only_guests_are_told, until},
    salon::{Salon, start_in, text},
    stand::{Answer, Client, Process, Stand},
};

const ALL: &str = "/api/v1/business/templates";

fn path(kind: &str, locale: &str) -> String {
    format!("{ALL}/{kind}/{locale}")
}

async fn set(owner: &Client, kind: &str, locale: &str, words: &Value) -> Value {
    owner.edit(Method::PUT, &path(kind, locale), words).await.expect(200)
}

async fn salon(process: &Process) -> Salon {
    let salon = Salon::open(&process.client(), 1).await;
    only_guests_are_told(&salon).await;
    salon
}

/// The confirmation of a new booking.
async fn confirmation(stand: &Stand, salon: &Salon, minutes: i64) -> Mail {
    let booked = salon.book(0, start_in(minutes)).await.expect(201);
    let message = until(salon, &text(&booked["appointment_id"]), "confirmation", "sent").await;
    let mails = mails_to(stand, &message).await;
    let [mail] = <[Mail; 1]>::try_from(mails).unwrap_or_else(|mails| panic!("{mails:?}"));
    mail
}

fn german(word: &str) -> Value {
    json!({
        "subject": format!("{word}: Ihr Termin bei {{{{ business }}}}"),
        "text": "Liebe/r {{ guest }}, bis bald: {{ when }}\n{{ manage_url }}",
        "html": "{% extends \"layout.html\" %}{% block body %}<p>Servus {{ guest }}</p>\
                 {% include \"visit.html\" %}{% endblock %}",
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn guests_read_the_words_of_their_business_and_no_others() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let (salon, other) = (self::salon(&process).await, self::salon(&process).await);
    let ours = "Booked: Cut at Test Salon";
    let shown = salon.owner.read(&path("confirmation", "en")).await;
    assert_eq!(shown.header("etag"), "\"0\"");
    let shown = shown.expect(200);
    assert_eq!((&shown["own_locale"], &shown["subject"]["own"]), (&Value::Null, &json!(false)));
    assert!(text(&shown["text"]["source"]).contains("visit.txt"), "{shown}");
    assert_eq!(confirmation(&stand, &salon, 3_000).await.subject, ours);

    let written = set(&salon.owner, "confirmation", "en", &german("Hallo")).await;
    assert_eq!((&written["version"], &written["own_locale"]), (&json!(1), &json!("en")));
    assert_eq!((&written["html"]["own"], &written["sms"]["own"]), (&json!(true), &json!(false)));
    let mail = confirmation(&stand, &salon, 3_100).await;
    assert_eq!(mail.subject, "Hallo: Ihr Termin bei Test Salon");
    let (words, html) = (mail.text.unwrap(), mail.html.unwrap());
    assert!(words.starts_with("Liebe/r Ada Guest, bis bald: "), "{words}");
    assert!(html.contains("<p>Servus Ada Guest</p>") && html.contains("See or cancel"), "{html}");
    // The guest's calendar has it all the same.
    assert!(mail.calendar.is_some());
    // Another kind of message, and another business.
    assert_eq!(confirmation(&stand, &other, 3_100).await.subject, ours);
    assert_eq!(other.owner.read(ALL).await.expect(200)["items"], json!([]));

    let listed = salon.owner.read(ALL).await.expect(200);
    let [item] = &listed["items"].as_array().unwrap()[..] else { panic!("{listed}") };
    assert_eq!((&item["kind"], &item["locale"]), (&json!("confirmation"), &json!("en")));
    assert_eq!((&item["text"], &item["sms"]), (&german("Hallo")["text"], &Value::Null));

    let removed = salon.owner.call(Method::DELETE, &path("confirmation", "EN"), None).await;
    removed.expect(204);
    assert_eq!(confirmation(&stand, &salon, 3_200).await.subject, ours);
    assert_eq!(salon.owner.read(ALL).await.expect(200)["items"], json!([]));
    stand.addresses.caught_up().await;
    stand.addresses.assert_healthy();
    stand.database.execute("UPDATE message_template SET subject = 'forged'").await;
    let (code, found) = stand.addresses.run(&["doctor"]);
    assert_eq!(code, 5, "{found}");
    assert!(found.contains("BROKEN  every template has the words of its last change"), "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_language_of_the_business_chooses_exactly_then_roughly_then_ours() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = self::salon(&process).await;
    salon.set(&json!({"locale": "de-AT"})).await;
    set(&salon.owner, "confirmation", "fr", &german("Bonjour")).await;
    let subject = async |minutes| {
        let mail = confirmation(&stand, &salon, minutes).await;
        mail.subject.split(':').next().unwrap().to_owned()
    };
    assert_eq!(subject(3_000).await, "Booked");
    set(&salon.owner, "confirmation", "de", &german("Hallo")).await;
    assert_eq!(subject(3_100).await, "Hallo");
    let shown = salon.owner.read(&path("confirmation", "de-AT")).await.expect(200);
    assert_eq!((&shown["own_locale"], &shown["version"]), (&json!("de"), &json!(0)));
    set(&salon.owner, "confirmation", "de-at", &german("Servus")).await;
    assert_eq!(subject(3_200).await, "Servus");
    salon.owner.call(Method::DELETE, &path("confirmation", "de-AT"), None).await.expect(204);
    assert_eq!(subject(3_300).await, "Hallo");
    salon.set(&json!({"locale": "en"})).await;
    assert_eq!(subject(3_400).await, "Booked");
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn words_that_fail_when_they_are_sent_lose_no_message() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = self::salon(&process).await;
    // Fits the sample, and not a guest with a long name.
    let long = json!({"subject": "{{ guest }} {{ guest }} Servus"});
    set(&salon.owner, "confirmation", "en", &long).await;
    let mut booking = salon.booking(0, start_in(3_000));
    booking["customer"]["name"] = json!("A".repeat(110));
    let booked = salon.guest.post("/api/v1/public/book", &booking).await.expect(201);
    let id = text(&booked["appointment_id"]);
    let message = until(&salon, &id, "confirmation", "sent").await;
    assert_eq!(message["attempts"], 1);
    assert_eq!(mails_to(&stand, &message).await[0].subject, "Booked: Cut at Test Salon");
    let failures = process.metric("apptremind_template_failures_total").await;
    assert!(failures >= 1.0, "{failures}");
    let short = confirmation(&stand, &salon, 3_100).await.subject;
    assert_eq!(short, "Ada Guest Ada Guest Servus");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_rendered_is_refused_with_part_line_and_reason() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let owner = self::salon(&process).await.owner;
    let confirmation = path("confirmation", "de");
    let told = |answer: &Answer| {
        let errors = answer.problem(422, "invalid_request")["errors"].clone();
        (text(&errors[0]["field"]), text(&errors[0]["message"]))
    };
    for (part, source, reason) in [
        ("html", "<p>\n{{ nobody }}", "line 2: there is no `nobody` here"),
        ("text", "a\n\n{% if guest %}", "line 3: syntax error"),
        ("subject", "{{ brand.size }}", "line 1: undefined value"),
        ("html", "{% include \"/etc/passwd\" %}", "line 1: must be the name of one of ours"),
        ("sms", "{{ \"a\" * 100000000 }}", "line 1: nothing can be added or multiplied here"),
        ("text", "\n{% set x = guest %}", "line 2: `set` is not known here"),
    ] {
        let words = json!({ part: source });
        let preview = format!("{confirmation}/preview");
        for answer in [
            owner.edit(Method::PUT, &confirmation, &words).await,
            owner.post(&preview, &words).await,
        ] {
            let (field, message) = told(&answer);
            assert_eq!(field, part);
            assert!(message.starts_with(reason), "{message}");
        }
    }
    for (words, field) in [
        (json!({}), "body"),
        (json!({"subject": null, "html": null}), "body"),
        (json!({"subject": "two\nlines"}), "subject"),
        (json!({"text": "x".repeat(20_001)}), "text"),
        (json!({"html": "x".repeat(60_001)}), "html"),
        (json!({"sms": "x".repeat(1_001)}), "sms"),
        (json!({"title": "x"}), "title"),
    ] {
        assert_eq!(told(&owner.edit(Method::PUT, &confirmation, &words).await).0, field);
    }
    let words = json!({"subject": "Servus"});
    for odd in ["confirmation/d", "confirmation/de_AT", "host_booked/de", "nothing/de"] {
        let odd = format!("{ALL}/{odd}");
        owner.read(&odd).await.problem(404, "not_found");
        owner.edit(Method::PUT, &odd, &words).await.problem(404, "not_found");
    }
    assert_eq!(owner.read(ALL).await.expect(200)["items"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_names_the_version_that_it_is_for() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let owner = self::salon(&process).await.owner;
    let confirmation = path("confirmation", "de");
    let at = async |method: Method, tag: Option<&str>, word: &str| {
        let mut request = owner.request(method.clone(), &confirmation);
        if let Some(tag) = tag {
            request = request.header("If-Match", tag);
        }
        if method == Method::PUT {
            request = request.json(&json!({ "subject": word }));
        }
        owner.send(request).await
    };
    at(Method::PUT, None, "a").await.problem(428, "if_match_required");
    at(Method::DELETE, None, "").await.problem(428, "if_match_required");
    let first = at(Method::PUT, Some("\"0\""), "a").await;
    assert_eq!(first.header("etag"), "\"1\"");
    assert!(!first.header("x-position").is_empty());
    // The same words are no new version, and answer with the place where they were written.
    let again = at(Method::PUT, Some("\"1\""), "a").await;
    assert_eq!(
        (again.header("etag"), again.header("x-position")),
        ("\"1\"", first.header("x-position"))
    );
    at(Method::PUT, Some("\"0\""), "b").await.problem(412, "stale");
    at(Method::DELETE, Some("\"0\""), "").await.problem(412, "stale");
    // A test changes no words.
    owner.post(&format!("{confirmation}/test-send"), &json!({})).await.expect(200);
    assert_eq!(at(Method::PUT, Some("\"1\""), "b").await.header("etag"), "\"3\"");
    at(Method::DELETE, Some("\"3\""), "").await.expect(204);
    assert_eq!(owner.read(&confirmation).await.header("etag"), "\"4\"");
    at(Method::DELETE, Some("\"4\""), "").await.expect(204);
    let audit = |query: &str| format!("/api/v1/audit?action=message_template.{query}");
    stand.addresses.caught_up().await;
    let all = owner.read(&audit("")).await.expect(200);
    let all = all["items"].as_array().unwrap().clone();
    let names: Vec<&str> = all.iter().filter_map(|item| item["action"].as_str()).collect();
    let [changed, removed, tested] =
        ["changed", "removed", "test_sent"].map(|name| format!("message_template.{name}.v1"));
    assert_eq!(names, [&removed, &changed, &tested, &changed]);
    assert!(text(&all[2]["data"]["to"]["user"]).starts_with("user_"), "{all:?}");
    assert!(!all[2].to_string().contains("\"to\":\"owner"), "{all:?}");
    let shown = stand.addresses.run(&["events", "show", &text(&all[0]["subject_id"])]);
    assert!(shown.1.contains("message_template.removed.v1"), "{}", shown.1);
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_is_what_would_be_sent_and_changes_nothing() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = self::salon(&process).await;
    salon.set(&json!({"timezone": "Europe/Vienna", "address": "Ring 1"})).await;
    let preview = format!("{}/preview", path("reminder", "de"));
    let ours = salon.owner.post(&preview, &json!({})).await.expect(200);
    assert_eq!(ours["subject"], "Reminder: Cut at Test Salon");
    let words = text(&ours["text"]);
    let tomorrow = streams::clock::now().in_tz("Europe/Vienna").unwrap().tomorrow().unwrap();
    let when = format!("When: {}, 10:00 CE", tomorrow.strftime("%A, %-d %B %Y"));
    for fact in ["What: Cut", "With: Staff 0", "Where: Ring 1", "Ada Guest", when.as_str()] {
        assert!(words.contains(fact), "{fact}: {words}");
    }
    assert!(text(&ours["html"]).contains("<!doctype html>"));
    assert!(text(&ours["sms"]).starts_with("Test Salon: Reminder: Cut with Staff 0, "));
    // What is not given is as it is in force.
    set(&salon.owner, "reminder", "de", &json!({"subject": "Bis bald", "sms": "Kurz"})).await;
    let own = salon.owner.post(&preview, &json!({"sms": "Kürzer, {{ guest }}"})).await.expect(200);
    assert_eq!((&own["subject"], &own["sms"]), (&json!("Bis bald"), &json!("Kürzer, Ada Guest")));
    assert_eq!(own["text"], ours["text"]);
    let listed = salon.owner.read(ALL).await.expect(200);
    assert_eq!(listed["items"][0]["sms"], "Kurz");
    // The link of the sample leads nowhere.
    let link = text(&ours["sms"]).rsplit(' ').next().unwrap().to_owned();
    salon.guest.read(&crate::salon::path_of(&json!(link))).await.problem(404, "not_found");
    assert!(stand.mail.messages().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_goes_to_somebody_of_the_business_and_to_nobody_else() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let (salon, other) = (self::salon(&process).await, self::salon(&process).await);
    set(&salon.owner, "reminder", "de", &german("Servus")).await;
    let staff = json!({"email": "dana@staff.example"});
    let member = format!("/api/v1/business/staff/{}", salon.staff[0]);
    salon.owner.edit(Method::PATCH, &member, &staff).await.expect(200);
    let test = format!("{}/test-send", path("reminder", "de"));
    let own = text(&salon.owner.read("/api/v1/auth/me").await.expect(200)["email"]);
    for (to, address) in [
        (json!({}), own.as_str()),
        (json!({ "to": own.to_uppercase() }), own.as_str()),
        (json!({"to": "Dana@staff.example"}), "dana@staff.example"),
    ] {
        let before = stand.mail.messages().await.len();
        let sent = salon.owner.post(&test, &to).await;
        assert!(!sent.header("x-position").is_empty());
        let sent = sent.expect(200);
        let subject = "[Test] Servus: Ihr Termin bei Test Salon";
        assert_eq!((&sent["to"], &sent["subject"]), (&json!(address), &json!(subject)));
        let mail = eventually("the test arrives", async || {
            let mails = stand.mail.messages().await;
            (mails.len() > before).then(|| mails.last().cloned()).flatten()
        })
        .await;
        assert_eq!((mail.subject.as_str(), &mail.to[..]), (subject, &[address.to_owned()][..]));
        assert!(mail.text.unwrap().starts_with("Liebe/r Ada Guest"));
        assert_eq!(mail.calendar, None);
    }
    let theirs = text(&other.owner.read("/api/v1/auth/me").await.expect(200)["email"]);
    let long = format!("{}@staff.example", "d".repeat(300));
    for to in [theirs.as_str(), "nobody@example.org", "", "d\0", &long] {
        let refused = salon.owner.post(&test, &json!({ "to": to })).await;
        assert_eq!(refused.problem(422, "invalid_request")["errors"][0]["field"], "to");
    }
    // A program has no address of its own.
    let key = json!({"name": "Till", "scopes": ["business:write"]});
    let key = salon.owner.post("/api/v1/api-keys", &key).await.expect(201);
    let program = salon.guest.signed_in(&text(&key["key"]));
    program.post(&test, &json!({})).await.problem(422, "invalid_request");
    program.post(&test, &json!({ "to": own })).await.expect(200);
    assert_eq!(stand.mail.messages().await.len(), 4);
    // It is no message to a guest.
    let rows = "SELECT kind FROM notification WHERE kind <> 'invitation'";
    assert!(stand.database.texts(rows).await.is_empty());
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_server_that_does_not_take_a_test_says_why() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = self::salon(&process).await;
    let test = format!("{}/test-send", path("reminder", "de"));
    for (fault, status, code, words) in [
        (Fault::NoSuchMailbox, 502, "mail_refused", "550"),
        (Fault::TryLater, 503, "mail_unavailable", "451"),
        (Fault::DropAfterData, 502, "mail_uncertain", ""),
    ] {
        stand.mail.fault(fault, 1).await;
        let refused = salon.owner.post(&test, &json!({})).await;
        assert_eq!(refused.code(), (status, code), "{}", refused.body);
        assert!(text(&refused.body["answer"]).contains(words), "{}", refused.body);
    }
    salon.owner.post(&test, &json!({})).await.expect(200);
    stand.addresses.caught_up().await;
    let tests = "/api/v1/audit?action=message_template.test_sent";
    let noted = salon.owner.read(tests).await.expect(200);
    assert_eq!(noted["items"].as_array().unwrap().len(), 1, "{noted}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_business_changes_and_tests_its_words_so_often_and_no_more() {
    let mut stand = Stand::new().await;
    for (name, value) in [
        ("LIMITS", "on"),
        ("TEMPLATE_TESTS_PER_BUSINESS", "2"),
        ("TEMPLATE_CHANGES_PER_BUSINESS", "3"),
    ] {
        stand.addresses.set(name, value);
    }
    let process = stand.serve().await;
    let (salon, other) = (self::salon(&process).await, self::salon(&process).await);
    let test = format!("{}/test-send", path("reminder", "de"));
    for _ in 0..2 {
        salon.owner.post(&test, &json!({})).await.expect(200);
    }
    let refused = salon.owner.post(&test, &json!({})).await;
    assert_eq!(refused.problem(429, "rate_limited")["quota"], "template_tests");
    assert!(refused.header("retry-after").parse::<u64>().unwrap() > 3_000);
    other.owner.post(&test, &json!({})).await.expect(200);
    for word in ["a", "b"] {
        set(&salon.owner, "reminder", "de", &json!({ "subject": word })).await;
    }
    salon.owner.call(Method::DELETE, &path("reminder", "de"), None).await.expect(204);
    let more = json!({"subject": "c"});
    let refused = salon.owner.edit(Method::PUT, &path("reminder", "de"), &more).await;
    assert_eq!(refused.problem(429, "rate_limited")["quota"], "template_changes");
    // What is refused for another reason is not counted.
    let wrong = json!({"subject": "{{ nobody }}"});
    let refused = other.owner.edit(Method::PUT, &path("reminder", "de"), &wrong).await;
    refused.problem(422, "invalid_request");
    assert_eq!(stand.mail.messages().await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_templates_as_a_business_may_have_hinder_nothing_but_one_more() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let owner = salon(&process).await.owner;
    let words = json!({"subject": "{{ business }}"});
    let locales: Vec<String> = (0..200).map(|n| format!("de-x-{n}")).collect();
    for locale in &locales {
        set(&owner, "reminder", locale, &words).await;
    }
    let (last, more) = (path("reminder", &locales[199]), path("reminder", "de"));
    let put = async |path: &str| owner.edit(Method::PUT, path, &words).await;
    put(&more).await.problem(422, "too_many");
    // A test is none, and what is there is changed and emptied as ever.
    let test = format!("{more}/test-send");
    owner.post(&test, &json!({})).await.expect(200);
    put(&more).await.problem(422, "too_many");
    let other = json!({"subject": "{{ guest }}"});
    owner.edit(Method::PUT, &last, &other).await.expect(200);
    owner.call(Method::DELETE, &last, None).await.expect(204);
    put(&more).await.expect(200);
    // What was emptied counts no more, and is one more when it is filled again.
    put(&last).await.problem(422, "too_many");
    owner.call(Method::DELETE, &more, None).await.expect(204);
    put(&last).await.expect(200);
    assert_eq!(owner.read(ALL).await.expect(200)["items"].as_array().unwrap().len(), 200);
}
