//! What a schema says, as far as the API document uses it; patterns are looked at by `scripts/schema/check_examples.py`.

use std::collections::BTreeSet;

use serde_json::Value;

/// What a reference leads to.
fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#')).unwrap(),
        None => schema,
    }
}

/// Schemas of which any or all must fit.
fn parts<'a>(schema: &'a Value, keyword: &str) -> &'a [Value] {
    schema[keyword].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn kinds(schema: &Value) -> Vec<&str> {
    match schema["type"].as_str() {
        Some(kind) => vec![kind],
        None => parts(schema, "type").iter().filter_map(Value::as_str).collect(),
    }
}

/// Of what may be sent: places where nothing says how much that is.
pub(super) struct Unbounded<'a> {
    document: &'a Value,
    seen: BTreeSet<&'a str>,
    pub(super) places: Vec<String>,
}

impl<'a> Unbounded<'a> {
    pub(super) fn of(document: &'a Value) -> Self {
        Self { document, seen: BTreeSet::new(), places: vec![] }
    }

    pub(super) fn look(&mut self, place: &str, schema: &'a Value) {
        if let Some(reference) = schema["$ref"].as_str() {
            if self.seen.insert(reference) {
                self.look(reference.rsplit('/').next().unwrap(), resolved(self.document, schema));
            }
            return;
        }
        let mut combined = false;
        for keyword in ["allOf", "anyOf", "oneOf"] {
            for part in parts(schema, keyword) {
                combined = true;
                self.look(place, part);
            }
        }
        let kinds = kinds(schema);
        if kinds.is_empty() && !combined {
            self.places.push(format!("{place} may be anything"));
        }
        for kind in kinds {
            let missing = match kind {
                "string" => {
                    !["enum", "pattern", "maxLength", "format"].iter().any(|k| said(schema, k))
                }
                "integer" => !["minimum", "maximum"].iter().all(|k| said(schema, k)),
                "array" => !said(schema, "maxItems"),
                _ => false,
            };
            if missing {
                self.places.push(format!("{place} may be any {kind}"));
            }
        }
        if said(schema, "items") {
            self.look(&format!("{place}[]"), &schema["items"]);
        }
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            self.look(&format!("{place}.{name}"), field);
        }
        if schema["additionalProperties"].is_object() {
            self.look(&format!("{place}.*"), &schema["additionalProperties"]);
        }
    }
}

fn said(schema: &Value, keyword: &str) -> bool {
    !schema[keyword].is_null()
}

/// How a value does not fit a schema.
pub(super) fn misfits(document: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    let schema = resolved(document, schema);
    let mut found = vec![];
    for part in parts(schema, "allOf") {
        found.extend(misfits(document, part, value, at));
    }
    for keyword in ["anyOf", "oneOf"] {
        let parts = parts(schema, keyword);
        let fits = |part: &Value| misfits(document, part, value, at).is_empty();
        if !parts.is_empty() && !parts.iter().any(fits) {
            found.push(format!("{at}: {value} fits none of {keyword}"));
        }
    }
    let kinds = kinds(schema);
    if !kinds.is_empty() && !kinds.iter().any(|kind| is_of(value, kind)) {
        found.push(format!("{at}: {value} is none of {kinds:?}"));
    }
    if said(schema, "enum") && !parts(schema, "enum").contains(value) {
        found.push(format!("{at}: {value} is not in the enum"));
    }
    found.extend(out_of_range(schema, value).map(|keyword| format!("{at}: {value} {keyword}")));
    for (place, item) in value.as_array().into_iter().flatten().enumerate() {
        found.extend(misfits(document, &schema["items"], item, &format!("{at}[{place}]")));
    }
    let Some(members) = value.as_object() else { return found };
    for name in parts(schema, "required").iter().filter_map(Value::as_str) {
        if !members.contains_key(name) {
            found.push(format!("{at}: {name} is missing"));
        }
    }
    for (name, member) in members {
        let at = format!("{at}.{name}");
        match (&schema["properties"][name], &schema["additionalProperties"]) {
            (Value::Null, Value::Bool(false)) => found.push(format!("{at} is unknown")),
            (Value::Null, other) => found.extend(misfits(document, other, member, &at)),
            (known, _) => found.extend(misfits(document, known, member, &at)),
        }
    }
    found
}

fn is_of(value: &Value, kind: &str) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}

/// The keywords that a value breaks.
fn out_of_range<'a>(
    schema: &'a Value,
    value: &'a Value,
) -> impl Iterator<Item = &'static str> + 'a {
    let number = value.as_f64();
    let characters = value.as_str().map(|text| text.chars().count() as f64);
    let items = value.as_array().map(|items| items.len() as f64);
    let limits = [
        ("minimum", number, true),
        ("maximum", number, false),
        ("minLength", characters, true),
        ("maxLength", characters, false),
        ("minItems", items, true),
        ("maxItems", items, false),
    ];
    limits.into_iter().filter_map(move |(keyword, measure, least)| {
        let (limit, measure) = (schema[keyword].as_f64()?, measure?);
        let broken = if least { measure < limit } else { measure > limit };
        broken.then_some(keyword)
    })
}
