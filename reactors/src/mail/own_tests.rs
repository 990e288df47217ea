use domain::{
    Aggregate, BusinessId,
    business::{Business, BusinessEvent, Profile},
    message_template::TemplateParts,
    notification::Recipient,
};
use uuid::Uuid;

use super::{
    guest::{VARIABLES, values},
    *,
};

const LINK: &str = "https://book.example/api/v1/public/appointments/AQ-_";
const URLS: Urls<'_> = Urls { manage: LINK, unsubscribe: Some(LINK) };

fn business() -> BusinessState {
    let mut business = Business::default();
    let mut profile = Profile::new("Salon <Dana>".into(), "salon".into(), Zone::UTC);
    profile.locale = "de-AT".into();
    business.apply(BusinessEvent::Registered { profile });
    business.registered().unwrap().clone()
}

fn sample(kind: Kind, shape: Shape) -> Sample {
    let now = "2026-07-05T13:00:00Z".parse().unwrap();
    Sample::of(kind, &business(), now, shape).unwrap()
}

fn words(part: Part, source: &str) -> TemplateParts {
    let mut words = TemplateParts::default();
    let place = match part {
        Part::Subject => &mut words.subject,
        Part::Text => &mut words.text,
        Part::Html => &mut words.html,
        Part::Sms => &mut words.sms,
    };
    *place = Some(source.to_owned());
    words
}

fn render(part: Part, source: &str) -> Result<String, String> {
    let sample = sample(Kind::Confirmation, Shape::Full);
    let rendered = Mails::try_new().unwrap().preview(&words(part, source), &sample, URLS);
    let Rendered { subject, text, html, sms } = rendered.map_err(|errors| {
        let [error] = &errors[..] else { panic!("{errors:?}") };
        assert_eq!(error.part, part);
        error.reason.clone()
    })?;
    Ok(match part {
        Part::Subject => subject,
        Part::Text => text,
        Part::Html => html,
        Part::Sms => sms,
    })
}

#[track_caller]
fn refused(part: Part, source: &str, reason: &str) {
    match render(part, source) {
        Err(told) => assert!(told.contains(reason), "{told}"),
        Ok(text) => panic!("{text}"),
    }
}

#[test]
fn every_variable_is_known_and_no_other() {
    for shape in [Shape::AsItIs, Shape::Full, Shape::Bare] {
        let sample = sample(Kind::Confirmation, shape);
        let values = values(Kind::Confirmation, &sample.about(), &sample.contact, URLS);
        let mut names: Vec<String> =
            values.try_iter().unwrap().map(|name| name.to_string()).collect();
        let mut known = VARIABLES.map(str::to_owned).to_vec();
        names.sort();
        known.sort();
        assert_eq!(names, known);
    }
    let documented = include_str!("../../../docs/templates.md");
    for name in VARIABLES {
        assert!(documented.contains(&format!("| `{name}` |")), "{name}");
    }
    refused(Part::Text, "one\ntwo {{ nobody }}", "line 2: there is no `nobody` here");
    refused(Part::Text, "{% if false %}{{ nobody }}{% endif %}", "there is no `nobody` here");
    refused(Part::Text, "one\n{{ brand.size }}", "line 2: undefined value");
}

#[test]
fn our_own_words_are_of_the_language_and_can_be_taken_over() {
    let to_guest = |kind: &Kind| kind.recipient() == Recipient::Guest;
    for kind in Kind::ALL.into_iter().filter(to_guest) {
        for part in Part::ALL {
            let source = Mails::source(kind, part);
            assert!(!source.is_empty(), "{kind} {part}");
            for shape in [Shape::AsItIs, Shape::Full, Shape::Bare] {
                let (mails, sample) = (Mails::try_new().unwrap(), sample(kind, shape));
                let ours = mails.preview(&TemplateParts::default(), &sample, URLS).unwrap();
                let own = mails.preview(&words(part, source), &sample, URLS);
                assert_eq!(own.as_ref(), Ok(&ours), "{kind} {part} {shape:?}");
            }
        }
    }
}

#[test]
fn html_is_escaped_and_nothing_else_is() {
    let source = "{{ business }}";
    assert_eq!(render(Part::Html, source).unwrap(), "Salon &lt;Dana&gt;");
    for part in [Part::Subject, Part::Text, Part::Sms] {
        assert_eq!(render(part, source).unwrap(), "Salon <Dana>");
    }
    refused(Part::Html, "{{ business|safe }}", "the filter `safe` is not known here");
    refused(Part::Html, "{% autoescape false %}x{% endautoescape %}", "`autoescape` is not known");
}

#[test]
fn ours_can_be_included_and_extended_and_nothing_else() {
    let own = "{% extends \"layout.html\" %}{% block body %}<p>Servus {{ guest }}</p>\
               {% include \"visit.html\" %}{% endblock %}";
    let html = render(Part::Html, own).unwrap();
    assert!(html.contains("<p>Servus Ada Guest</p>"), "{html}");
    assert!(html.contains("<!doctype html>") && html.contains(LINK), "{html}");
    let around =
        "{% extends \"confirmation.html\" %}{% block body %}<p>Hi</p>{{ super() }}{% endblock %}";
    let html = render(Part::Html, around).unwrap();
    assert!(html.contains("<p>Hi</p>") && html.contains("You are booked"), "{html}");
    assert!(render(Part::Text, "Hi\n{% include \"visit.txt\" %}").unwrap().contains(LINK));
    for (part, odd) in [
        (Part::Html, "{% include \"visit.txt\" %}"),
        (Part::Text, "{% include \"visit.html\" %}"),
        (Part::Text, "{% include \"/etc/passwd\" %}"),
        (Part::Text, "{% include \"own.txt\" %}"),
        (Part::Text, "{% include guest %}"),
        (Part::Text, "{% include [\"visit.txt\"] %}"),
        (Part::Text, "{% extends business %}"),
    ] {
        refused(part, odd, "must be the name of one of ours");
    }
}

#[test]
fn what_takes_too_many_steps_runs_out_of_fuel() {
    let inner = "{% if guest %}{% endif %}".repeat(4_000);
    refused(Part::Text, &inner, "fuel");
    // What is done with a text costs as much as it is long.
    refused(Part::Text, "{% for a in guest %}x{% endfor %}", "only `said` can be repeated");
    let long = format!("{{{{ \"{}\"|upper }}}}", "x".repeat(201));
    refused(Part::Text, &long, "at most 200 bytes");
    // Nothing that was rendered before is missing of it.
    assert_eq!(render(Part::Text, "fine").unwrap(), "fine");
}

#[test]
fn nothing_can_make_a_few_words_grow_without_end() {
    for odd in [
        "{{ guest ~ guest }}",
        "{{ guest + guest }}",
        "{{ \"a\" * 1000000000 }}",
        "{{ 9 ** 9 }}",
        "{{ [guest, guest] }}",
        "{{ (guest, guest) }}",
        "{{ {\"a\": guest} }}",
        "{{ guest[1:] }}",
        "{{ guest|replace(\"a\", guest) }}",
        "{{ said|join(guest) }}",
        "{{ guest|indent(1000000000) }}",
        "{{ \"%1000000000s\"|format(guest) }}",
        "{{ range(1000000) }}",
        "{{ guest.upper() }}",
        "{{ namespace(a=guest) }}",
        "{% set a = guest %}",
        "{% with a = guest %}{% endwith %}",
        "{% macro m() %}{% endmacro %}",
        "{% filter upper %}x{% endfilter %}",
        "{% from \"row.html\" import row %}",
        "{% import \"row.html\" as rows %}",
        "{% do guest() %}",
        "{% for a in said recursive %}{{ loop(said) }}{% endfor %}",
        "{{ self.body() }}",
    ] {
        for part in [Part::Text, Part::Html] {
            let told = render(part, odd).unwrap_err();
            assert!(told.starts_with("line 1: "), "{odd}: {told}");
        }
    }
    let doubled = "{{ when }}".repeat(1_500);
    refused(Part::Text, &doubled, "is longer than 50000 bytes with sample data");
}

#[test]
fn nothing_can_be_nested_so_deeply_that_the_stack_ends() {
    let deep = [
        format!("{{{{ {}guest }}}}", "not ".repeat(10_000)),
        format!("{{{{ {}guest{} }}}}", "(".repeat(10_000), ")".repeat(10_000)),
        format!("{{{{ guest{} }}}}", ".a".repeat(20_000)),
        format!("{{{{ guest{} }}}}", "|upper".repeat(9_000)),
        format!("{{{{ guest{} }}}}", " and guest".repeat(5_000)),
        format!("{{{{ guest{} }}}}", " if guest else guest".repeat(2_500)),
        format!("{{% if guest %}}{}{{% endif %}}", "{% elif guest %}".repeat(3_000)),
        "{% if guest %}".repeat(4_000),
        "{% for a in said %}".repeat(3_000),
        "{% block a %}".repeat(4_000),
    ];
    // As small as that of a thread that serves requests.
    let small = std::thread::Builder::new().stack_size(2 * 1024 * 1024);
    let tried = small.spawn(move || {
        for odd in deep {
            let told = render(Part::Html, &odd).unwrap_err();
            assert!(told.contains("too much between") || told.contains("too deeply"), "{told}");
        }
    });
    tried.unwrap().join().unwrap();
}

#[test]
fn what_is_not_known_is_shown_as_nothing() {
    let sample = sample(Kind::Confirmation, Shape::Bare);
    let own = words(Part::Text, "[{{ address }}{{ service }}{{ reason }}]");
    let rendered = Mails::try_new().unwrap().preview(&own, &sample, URLS).unwrap();
    assert_eq!(rendered.text, "[]");
}

#[test]
fn each_part_has_its_form_and_its_length() {
    assert_eq!(render(Part::Subject, "{% if guest %}\r\n Hi\n{% endif %} you").unwrap(), "Hi you");
    refused(Part::Sms, &"{{ guest }}".repeat(200), "is longer than 1600 characters");
    refused(Part::Subject, &"{{ guest }}".repeat(30), "is longer than 200 characters");
    refused(Part::Sms, "{% if not guest %}x{% endif %}", "is empty");
    refused(Part::Text, "a\nb {{ guest", "line 2: syntax error");
    refused(Part::Text, "a\n{% if guest %}", "line 2: syntax error");
    refused(Part::Text, "a\n\n{{ service|upper }} {{ guest.name }}", "line 3: ");
}

#[test]
fn words_that_cannot_be_rendered_lose_no_message() {
    let sample = sample(Kind::Confirmation, Shape::AsItIs);
    let mails = Mails::try_new().unwrap();
    let send = |parts| {
        let own = Own { business_id: BusinessId::new(Uuid::nil()), parts };
        let (about, contact) = (sample.about(), &sample.contact);
        let mail = mails.to_guest(Kind::Confirmation, &about, contact, URLS, Some(&own)).unwrap();
        let text = mails.text_to_guest(Kind::Confirmation, &about, contact, LINK, Some(&own));
        (mail.subject, mail.text, text.unwrap())
    };
    let ours = send(TemplateParts::default());
    assert_eq!(ours.0, "Booked: your appointment at Salon <Dana>");
    let broken = TemplateParts { html: Some("{{ nobody }}".into()), ..words(Part::Subject, "Hi") };
    assert_eq!(send(broken), ours);
    let half = send(words(Part::Subject, "Servus"));
    assert_eq!((half.0.as_str(), half.1, half.2), ("Servus", ours.1.clone(), ours.2.clone()));
    let sms = send(words(Part::Sms, "Bis bald"));
    assert_eq!((sms.0, sms.1, sms.2.as_str()), (ours.0, ours.1, "Bis bald"));
}
