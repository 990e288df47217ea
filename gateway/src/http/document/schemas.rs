//! What is said of schemas after they were derived.

use std::collections::BTreeMap;

use utoipa::openapi::{
    Ref, RefOr,
    schema::{AdditionalProperties, ArrayItems, Object, Schema, SchemaType, Type},
};

use super::{
    answers::{ANSWERS, EVERYWHERE},
    bodies::BODIES,
    rule::{Rule, is_any_text, never_null},
    words::note,
};

/// Rules of fields that several schemas have.
pub(super) type Group = (&'static [&'static str], &'static [(&'static str, Rule)]);

type Schemas = BTreeMap<String, RefOr<Schema>>;

/// A schema that is like another, with rules of its own because of where it stands.
struct Apart {
    like: &'static str,
    name: &'static str,
    description: &'static str,
    /// Fields that must be there as well, and not be null.
    required: &'static [&'static str],
    /// Schema and field.
    at: &'static [(&'static str, &'static str)],
}

const APART: &[Apart] = &[
    Apart {
        like: "Price",
        name: "PriceRequest",
        description: "What a service costs, in the currency of the business.",
        required: &[],
        at: &[("ServiceRequest", "price"), ("ServicePatch", "price")],
    },
    Apart {
        like: "Guest",
        name: "WaitingGuest",
        description: "Who waits: what becomes free is offered by mail.",
        required: &["email"],
        at: &[("JoinRequest", "customer")],
    },
];

/// Fields that serde does not write, so that they are not derived: of which schema they are, and which schema
/// has the same.
const UNWRITTEN: &[(&str, &str, &str)] = &[("BookRequest", "CreateRequest", "idempotency_key")];

/// Who answers what services ask.
const ASKED: &[&str] = &["BookRequest", "CreateRequest"];
const MOST_ANSWERS: usize = 20;

/// Says all rules; answers with those that found nothing to be said of.
pub(super) fn complete(schemas: &mut Schemas) -> Vec<String> {
    let mut idle = vec![];
    for (schema, like, name) in UNWRITTEN {
        let known = field(schemas, like, name).cloned();
        match (known, schemas.get_mut(*schema).and_then(members)) {
            (Some(known), Some(object)) => {
                object.properties.entry((*name).to_owned()).or_insert(known);
            }
            (Some(_) | None, _) => idle.push(format!("{schema}.{name}")),
        }
    }
    for apart in APART {
        if !set_apart(schemas, apart) {
            idle.push(apart.name.to_owned());
        }
    }
    for schema in ASKED {
        if !field(schemas, schema, "answers").is_some_and(bound_answers) {
            idle.push(format!("{schema}.answers"));
        }
    }
    for (names, rules) in BODIES.iter().chain(ANSWERS) {
        for schema in *names {
            for (name, rule) in *rules {
                if !field(schemas, schema, name).is_some_and(|found| rule.put(found)) {
                    idle.push(format!("{schema}.{name}"));
                }
            }
        }
    }
    idle.extend(say_everywhere(schemas));
    name_items(schemas);
    idle
}

/// The part that has the fields: it stands beside others when something is flattened into it.
fn members(schema: &mut RefOr<Schema>) -> Option<&mut Object> {
    match schema {
        RefOr::T(Schema::Object(object)) => Some(object),
        RefOr::T(Schema::AllOf(all)) => all.items.iter_mut().find_map(|part| match part {
            RefOr::T(Schema::Object(object)) => Some(object),
            RefOr::T(_) | RefOr::Ref(_) => None,
        }),
        RefOr::T(_) | RefOr::Ref(_) => None,
    }
}

/// A field, or with `[]` behind its name what its items are.
fn field<'a>(schemas: &'a mut Schemas, schema: &str, name: &str) -> Option<&'a mut RefOr<Schema>> {
    let object = members(schemas.get_mut(schema)?)?;
    let Some(list) = name.strip_suffix("[]") else { return object.properties.get_mut(name) };
    let RefOr::T(Schema::Array(array)) = object.properties.get_mut(list)? else { return None };
    match &mut array.items {
        ArrayItems::RefOrSchema(items) => Some(items.as_mut()),
        ArrayItems::False => None,
    }
}

fn set_apart(schemas: &mut Schemas, apart: &Apart) -> bool {
    let Some(RefOr::T(Schema::Object(mut new))) = schemas.get(apart.like).cloned() else {
        return false;
    };
    new.description = Some(apart.description.to_owned());
    for name in apart.required {
        let Some(field) = new.properties.get_mut(*name) else { return false };
        never_null(field);
        new.required.push((*name).to_owned());
    }
    schemas.insert(apart.name.to_owned(), new.into());
    apart.at.iter().all(|(schema, name)| {
        field(schemas, schema, name).is_some_and(|place| refer(place, apart.name))
    })
}

/// Lets a reference be to another schema.
fn refer(place: &mut RefOr<Schema>, name: &str) -> bool {
    match place {
        RefOr::Ref(reference) => {
            reference.ref_location = Ref::from_schema_name(name).ref_location;
            true
        }
        RefOr::T(Schema::OneOf(choice)) => choice.items.iter_mut().any(|one| refer(one, name)),
        RefOr::T(_) => false,
    }
}

fn bound_answers(answers: &mut RefOr<Schema>) -> bool {
    let RefOr::T(Schema::Object(answers)) = answers else { return false };
    let kinds: SchemaType = [Type::String, Type::Number, Type::Boolean].into_iter().collect();
    let mut answer: RefOr<Schema> = Object::with_type(kinds).into();
    let said = note(2000).put(&mut answer);
    answers.max_properties = Some(MOST_ANSWERS);
    answers.additional_properties = Some(Box::new(AdditionalProperties::RefOr(answer)));
    said
}

/// What fields mean by their names alone.
fn say_everywhere(schemas: &mut Schemas) -> Vec<String> {
    let mut idle: Vec<String> = EVERYWHERE.iter().map(|(name, _)| (*name).to_owned()).collect();
    for object in schemas.values_mut().filter_map(members) {
        for (name, rule) in EVERYWHERE {
            let Some(field) = object.properties.get_mut(*name) else { continue };
            if is_any_text(field) && rule.put(field) {
                idle.retain(|other| other != name);
            }
        }
    }
    idle
}

/// A page refers to what its items are, instead of saying it again.
fn name_items(schemas: &mut Schemas) {
    let pages: Vec<String> =
        schemas.keys().filter(|name| name.starts_with("Items_")).cloned().collect();
    for page in pages {
        let Some(item) = page.strip_prefix("Items_").filter(|item| schemas.contains_key(*item))
        else {
            continue;
        };
        if let Some(items) = field(schemas, &page, "items[]") {
            *items = Ref::from_schema_name(item).into();
        }
    }
}
